//! Disks that are full: a server that cannot start for that cannot write down why, so who started it looks.

use std::error::Error;
use std::io;
use std::path::Path;

use crate::commands::Trouble;

/// A server that starts writes less.
const LITTLE: u64 = 1 << 20;

/// Whether a failure comes from a disk without room, at any depth.
pub(crate) fn is_cause(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// How many bytes are left on the disk of a folder, where that is too little for a server to start.
pub(crate) fn left(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let left = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some count no files: then none are left of none.
    let files = disk.f_files == 0 || disk.f_favail > 0;
    (left < LITTLE || !files).then_some(left)
}

/// What to do about it.
pub(crate) fn hint(folder: &Path) -> String {
    let folder = folder.display();
    format!("make room on the disk of {folder}, then do the same again; nothing was lost")
}

/// What is said of something that failed for a failure of this kind.
pub(crate) fn trouble(what: &str, folder: &Path, error: &io::Error) -> Trouble {
    let hint = match is_full(error) {
        true => hint(folder),
        false => "is the folder writable?".to_owned(),
    };
    Trouble::failure(format!("{what} {}: {error}", folder.display()), Some(hint))
}
