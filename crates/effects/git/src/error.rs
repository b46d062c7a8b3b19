//! What can go wrong with git.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result of something that git is asked for.
pub type Result<T> = std::result::Result<T, Error>;

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is not there.
    #[error("the program `git` is not installed")]
    NotInstalled,
    /// It could not be started.
    #[error("cannot start git")]
    Start(#[source] io::Error),
    /// It took too long, and was ended.
    #[error("git took longer than {} s to {doing}, and was ended", within.as_secs())]
    TookLong {
        /// What it was to do.
        doing: String,
        /// How long it was given.
        within: Duration,
    },
    /// It said no.
    #[error("git cannot {doing}: {said}")]
    Failed {
        /// What it was to do.
        doing: String,
        /// What it said, shortened.
        said: String,
    },
    /// It said more than anybody would read.
    #[error("git said more than {limit} bytes when it was to {doing}")]
    TooMuch {
        /// What it was to do.
        doing: String,
        /// How much is read.
        limit: usize,
    },
    /// What it said makes no sense.
    #[error("what git said of {of} makes no sense: {said}")]
    Unreadable {
        /// Of what.
        of: String,
        /// What it said.
        said: String,
    },
    /// An address, a branch, a pattern or a folder is none.
    #[error("{message}")]
    Invalid {
        /// Why, as a sentence.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// A file or a folder could not be made, read or removed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NotInstalled => Some(crate::INSTALL.to_owned()),
            Error::Invalid { hint, .. } => Some(hint.clone()),
            Error::Failed { said, .. } if said.contains("dubious ownership") => Some(
                "the repository belongs to another user: let Ward reach it by ssh://, or give it to Ward's user"
                    .to_owned(),
            ),
            Error::Failed { said, .. } if asks_for_credentials(said) => Some(
                "the repository is not public: `ward source token NAME < FILE` gives the source a token that may read it, \
                 or a new one, and `ward source add … --token < FILE` begins with one"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Invalid {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Whether a server wants to know who asks, or does not believe it.
fn asks_for_credentials(said: &str) -> bool {
    let asks = ["could not read Username", "Authentication failed"];
    asks.iter().any(|words| said.contains(words))
}
