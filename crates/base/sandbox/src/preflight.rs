//! What this kernel allows this user, for `ward doctor`.

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What its lack weakens; a sentence.
    pub weakens: String,
    /// What to do about it; a sentence, or empty.
    pub remedy: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there.
    Ok,
    /// It is not, and a protection is missing for it.
    Missing,
    /// It is not, and no instance can run without it.
    Fatal,
}

impl Finding {
    /// Whether it is there.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == State::Ok
    }

    /// Whether no instance can run without it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.state == State::Fatal
    }
}

/// Looks at everything.
#[must_use]
pub fn findings() -> Vec<Finding> {
    let limits = [
        ("memory", "the limit of memory is not enforced: one instance can take the machine's"),
        ("pids", "the number of processes is not limited: one instance can take the machine's"),
    ];
    limits.map(|(controller, weakens)| limit(controller, weakens)).into()
}

fn limit(controller: &str, weakens: &str) -> Finding {
    let found = crate::cgroup::can_limit(controller);
    Finding {
        name: format!("control groups: {controller}"),
        state: if found.is_ok() { State::Ok } else { State::Missing },
        weakens: weakens.to_owned(),
        remedy: found.err().map(|error| error.to_string()).unwrap_or_default(),
    }
}
