//! Who asks, and how Ward says no.

use std::fs;

use ward_types::id::Name;

/// Who asks for something: the user at the other end of the API's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// As the log records it: `uid:1000(anna)`.
    pub who: String,
}

impl Actor {
    /// The user with this id, with the name that the machine knows it by.
    #[must_use]
    pub fn of_uid(uid: u32) -> Self {
        let who = match name_of(uid) {
            Some(name) => format!("uid:{uid}({name})"),
            None => format!("uid:{uid}"),
        };
        Self { who }
    }

    /// A source that found something by itself.
    #[must_use]
    pub fn source(name: &Name) -> Self {
        Self {
            who: format!("source:{name}"),
        }
    }

    /// Ward itself.
    #[must_use]
    pub fn ward() -> Self {
        Self {
            who: "ward".to_owned(),
        }
    }
}

fn name_of(uid: u32) -> Option<String> {
    let mut users = users().into_iter();
    users.find_map(|(known, name)| (known == uid).then_some(name))
}

/// The users that the machine knows, by number and name.
pub(crate) fn users() -> Vec<(u32, String)> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    users.lines().filter_map(user).collect()
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which kind of no it is.
    pub kind: RefusalKind,
    /// What happened and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// The kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// What was named does not exist.
    NotFound,
    /// It cannot be done as things stand.
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// Ward or the machine failed.
    Failed,
}

impl Refusal {
    /// A refusal without a hint.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Both at once.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let hints = [self.hint, other.hint].into_iter().flatten();
        let hint = hints.reduce(|one, next| format!("{one}; {next}"));
        Self {
            kind: self.kind,
            message: format!("{}; {}", self.message, other.message),
            hint,
        }
    }

    /// An error of Ward's or the machine's, with its causes in one line.
    #[must_use]
    pub fn failed(doing: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(RefusalKind::Failed, format!("{doing}: {}", causes(error)))
    }
}

/// An error and its causes, in one line.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
