//! What can go wrong with a volume's folder.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done with a volume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
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
    /// Nobody waits for it any more.
    #[error("it was given up")]
    GivenUp,
    /// A restore was cut short, and nobody has found out yet how far it came.
    #[error("a restore of it was cut short; what it held before is in {}", former.display())]
    Unsettled {
        /// What the volume held before.
        former: PathBuf,
    },
    /// The disk would be full for everybody else.
    #[error("the disk is nearly full: less than {} MiB are free", reserve >> 20)]
    NoRoom {
        /// How many bytes stay free.
        reserve: u64,
    },
    /// The work broke off.
    #[error("it broke off: {message}")]
    Broken {
        /// Why.
        message: String,
    },
    /// There is no such snapshot on the disk.
    #[error("the snapshot {} is not there", path.display())]
    NoSnapshot {
        /// Where it should be.
        path: PathBuf,
    },
}

pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
