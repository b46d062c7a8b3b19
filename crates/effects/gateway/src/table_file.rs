//! The routing table on disk: what a restarted gateway begins with (promise P10). It is stored as it came.
//!
//! Decision: a disk that is full keeps no table from coming into force, because a release that fills it is when a rollback is
//! needed. So there are two files, which change places; both have more room than their tables need, and what is behind a
//! table is spaces.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

const NAME: &str = "table.json";
/// The table before, in whose place the next one is written.
const SPARE: &str = "table.json.spare";
/// By so many bytes the next table may be longer than this one, at the least.
const ROOM: usize = 64 * 1024;

/// Writes a table so that a crash leaves the old one or the new one, never a part.
pub(crate) fn store(folder: &Path, text: &[u8]) -> io::Result<()> {
    // While one gateway takes over from another.
    let all = File::open(folder)?;
    flock(&all, FlockOperation::LockExclusive)?;
    let (table, spare) = (folder.join(NAME), folder.join(SPARE));
    write(&spare, text)?;
    if renameat_with(CWD, &spare, CWD, &table, RenameFlags::EXCHANGE).is_err() {
        // It is the first one; or the file system cannot do that.
        std::fs::rename(&spare, &table)?;
    }
    all.sync_all()?;
    if let Err(error) = make_room(&spare, text.len() + ROOM) {
        tracing::warn!(%error, "there is no room for another routing table");
    }
    Ok(())
}

/// Writes a table over what the file has, and spaces over the rest of that.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    file.write_all(text)?;
    match length.checked_sub(text.len()) {
        Some(rest) => file.write_all(&vec![b' '; rest])?,
        // For the next ones, where the disk has room for that.
        None => drop(file.write_all(&vec![b' '; 2 * ROOM])),
    }
    file.sync_data()
}

/// Sees to it that a file has so many bytes.
fn make_room(path: &Path, bytes: usize) -> io::Result<()> {
    let file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    match length >= bytes {
        true => Ok(()),
        // More than is needed, so that it need not be done each time.
        false => write_spaces(file, bytes + ROOM),
    }
}

fn write_spaces(mut file: File, bytes: usize) -> io::Result<()> {
    file.write_all(&vec![b' '; bytes])?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    options.open(path)
}

/// The table that was stored last; `None` when there is none.
pub(crate) fn load(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    // What is read is the spare one, which is written, once another table has come.
    let all = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        all => all?,
    };
    lock_for_a_moment(&all)?;
    match std::fs::read(folder.join(NAME)) {
        Ok(mut text) => {
            text.truncate(text.trim_ascii_end().len());
            Ok(Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a table that is just being stored; not for long, because whoever stores it may be hung, and what is half
/// written then is no table.
fn lock_for_a_moment(all: &File) -> io::Result<()> {
    for _ in 0..100 {
        match flock(all, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(Duration::from_millis(10)),
            locked => return Ok(locked?),
        }
    }
    Ok(())
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn there_is_room_for_another_table_before_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let allocated = || {
            let files = [NAME, SPARE].map(|name| std::fs::metadata(path.join(name)).unwrap());
            files.map(|file| file.blocks() * 512)
        };
        store(path, b"one").unwrap();
        let before = allocated();
        assert!(
            before.iter().all(|bytes| *bytes >= ROOM as u64),
            "{before:?}"
        );
        // Tables that are longer, and shorter, need nothing more.
        for length in [ROOM / 2, 1, ROOM / 2, 10] {
            let text = vec![b'x'; length];
            store(path, &text).unwrap();
            assert_eq!(load(path).unwrap().unwrap(), text);
            assert_eq!(allocated().iter().sum::<u64>(), before.iter().sum::<u64>());
        }
    }

    #[test]
    fn a_table_that_is_just_written_is_waited_for_and_a_writer_that_hangs_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        store(path, b"old").unwrap();
        let all = File::open(path).unwrap();
        flock(&all, FlockOperation::LockExclusive).unwrap();
        let half = std::fs::OpenOptions::new()
            .write(true)
            .open(path.join(NAME));
        let mut half = half.unwrap();
        half.write_all(b"ne").unwrap();
        thread::scope(|threads| {
            let reading = threads.spawn(|| load(path).unwrap().unwrap());
            half.write_all(b"w table").unwrap();
            flock(&all, FlockOperation::Unlock).unwrap();
            assert_eq!(reading.join().unwrap(), b"new table");
        });
        flock(&all, FlockOperation::LockExclusive).unwrap();
        assert_eq!(load(path).unwrap().unwrap(), b"new table");
    }
}
