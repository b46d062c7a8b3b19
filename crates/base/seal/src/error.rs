//! Why a secret cannot be sealed or opened. No message holds a value or a key.

use std::io;
use std::path::{Path, PathBuf};

use ward_types::secrets::SecretLabel;

use crate::key::KeyId;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no such sealed value.
    #[error("{label} is not there: {path} is missing")]
    Missing {
        /// Which.
        label: Box<SecretLabel>,
        /// Where it should be.
        path: PathBuf,
    },
    /// A sealed value is not what was written.
    #[error("{path} is damaged, or was made for something else: it does not open as {label}")]
    Damaged {
        /// Which.
        label: Box<SecretLabel>,
        /// Where it is.
        path: PathBuf,
    },
    /// The master key that is needed is not to be had.
    #[error("the master key {needed} is needed, and {looked}")]
    KeyGone {
        /// Which, or several.
        needed: String,
        /// Where it was looked for, and what was there.
        looked: String,
    },
    /// A file with a master key that holds something else.
    #[error("{path} holds no master key")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file with a master key that holds another one than its name says.
    #[error("{path} should hold the master key {named}, and holds {found}")]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// By its name.
        named: KeyId,
        /// By what is in it.
        found: KeyId,
    },
    /// A file with a master key that others may read.
    #[error("{path} can be read by others than its owner (mode {mode:04o})")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The command that gives the master key failed.
    #[error("the command of WARD_MASTER_KEY_COMMAND {what}")]
    Command {
        /// What it did, as a predicate.
        what: String,
    },
    /// There is no such backup.
    #[error("the backup {path} is not there")]
    NoBackup {
        /// Where it should be.
        path: PathBuf,
    },
    /// A backup is not what was written.
    #[error("the backup {path} was altered: it is not what was written")]
    AlteredBackup {
        /// The file.
        path: PathBuf,
    },
    /// The kernel gives no randomness.
    #[error("the machine gives no random bytes")]
    Random,
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::KeyGone { .. } => Some(
                "put the key back where it was looked for; what serves goes on serving, and nothing is started without \
                 its secrets meanwhile"
                    .to_owned(),
            ),
            Error::NoKey { .. } | Error::WrongKey { .. } => Some(
                "put the right file back, from where you keep a copy of it; what serves goes on serving".to_owned(),
            ),
            Error::Open { path, .. } => Some(format!(
                "`chmod 600 {}`; where others may have read it: `ward secret rekey`",
                path.display()
            )),
            Error::Command { .. } => Some(
                "it must write 32 bytes to standard output, in base64 or in hexadecimal digits, and end with status 0"
                    .to_owned(),
            ),
            Error::Missing { .. } | Error::Damaged { .. } => Some(
                "set it again with `ward secret set`, which makes a new version and a new release".to_owned(),
            ),
            Error::NoBackup { .. } | Error::AlteredBackup { .. } => {
                Some("`ward db backups` lists the others".to_owned())
            }
            Error::File { .. } | Error::Random => None,
        }
    }
}

pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
