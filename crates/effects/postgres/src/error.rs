//! What can go wrong before an instance starts; later faults are in the instance's output.

use std::io;
use std::path::{Path, PathBuf};

use crate::installation::INSTALL;

/// Why a database cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No PostgreSQL, or only ones that are too old.
    #[error(
        "PostgreSQL 15 or later is not installed{}; install it with: {INSTALL}",
        found_text(found)
    )]
    NotInstalled {
        /// The older major versions that are there.
        found: Vec<u32>,
    },
    /// The data was made by a major version that is not installed.
    #[error(
        "the data in {} was made by PostgreSQL {major}, which is not installed; install it with: \
         sudo apt-get install -y postgresql-{major}",
        data.display()
    )]
    OtherMajor {
        /// The data's folder.
        data: PathBuf,
        /// The newest major version that has data there.
        major: u32,
    },
    /// A file or folder of the state folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("cannot draw a password")]
    Random(#[source] io::Error),
}

fn found_text(found: &[u32]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let versions: Vec<String> = found.iter().map(u32::to_string).collect();
    format!(" (found {})", versions.join(", "))
}

pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
