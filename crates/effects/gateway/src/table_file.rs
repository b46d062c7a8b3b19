//! The routing table on disk: what a restarted gateway begins with (promise P10). It is stored as it came.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const NAME: &str = "table.json";

/// Writes a table so that a crash leaves the old one or the new one, never a part.
pub(crate) fn store(folder: &Path, text: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{NAME}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text)?;
    file.sync_data()?;
    std::fs::rename(&beside, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// The table that was stored last; `None` when there is none.
pub(crate) fn load(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(folder.join(NAME)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What tells a stored table from the one before, without reading it: file, size, and when it was written and
/// put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([i64; 6]);

/// That of the table that was stored last; `None` when there is none, or it cannot be seen.
pub(crate) fn stamp(folder: &Path) -> Option<Stamp> {
    let seen = std::fs::metadata(folder.join(NAME)).ok()?;
    let (file, size) = (seen.ino().cast_signed(), seen.size().cast_signed());
    let written = [seen.mtime(), seen.mtime_nsec()];
    let placed = [seen.ctime(), seen.ctime_nsec()];
    Some(Stamp([
        file, size, written[0], written[1], placed[0], placed[1],
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_table_comes_back_and_is_seen_to_be_another() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), None);
        assert_eq!(stamp(folder.path()), None);
        let mut before = None;
        for text in ["one", "two!"] {
            store(folder.path(), text.as_bytes()).unwrap();
            assert_eq!(load(folder.path()).unwrap().unwrap(), text.as_bytes());
            let now = stamp(folder.path());
            assert!(now.is_some() && now != before);
            before = now;
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
