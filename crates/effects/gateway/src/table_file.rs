//! The routing table on disk: what a restarted gateway begins with (promise P10). It is stored as it came: whole in one
//! file, and what changed since in another, a line for each change, with its digest before it.
//!
//! Decision: a disk that is full keeps no table from coming into force, because a release that fills it is when a rollback is
//! needed. So there are two files for whole tables, which change places; all files have more room than they need, and what is
//! behind a table is spaces. Lines that are left of changes before the table was stored whole change another table: nobody
//! takes them for changes of this one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

const NAME: &str = "table.json";
/// The table before, in whose place the next one is written.
const SPARE: &str = "table.json.spare";
const CHANGES: &str = "table.changes";
/// By so many bytes the next table may be longer than this one, at the least.
const ROOM: usize = 64 * 1024;

/// What was stored, to be changed.
pub(crate) struct Stored {
    changes: File,
    /// Where the next change is written.
    end: usize,
    /// How far changes may go.
    room: usize,
    /// What nobody else has written since.
    stamp: Stamp,
}

/// Writes a table so that a crash leaves the old one or the new one, never a part. `None`: it cannot be changed, because
/// there is no room for that.
pub(crate) fn store(folder: &Path, text: &[u8]) -> io::Result<Option<Stored>> {
    // While one gateway takes over from another.
    let all = File::open(folder)?;
    flock(&all, FlockOperation::LockExclusive)?;
    let (table, spare) = (folder.join(NAME), folder.join(SPARE));
    write(&spare, text)?;
    if renameat_with(CWD, &spare, CWD, &table, RenameFlags::EXCHANGE).is_err() {
        // It is the first one; or the file system cannot do that.
        std::fs::rename(&spare, &table)?;
    }
    let changes = room_for_changes(folder, text.len());
    all.sync_all()?;
    let stored = changes.and_then(|(changes, room)| {
        // Changes make the table longer by themselves, at the most, and it is written whole then.
        let spare = make_room(&spare, text.len() + room + ROOM)?;
        Ok(stamp(folder).map(|stamp| Stored {
            room: room.min(spare.saturating_sub(text.len())),
            end: 0,
            changes,
            stamp,
        }))
    });
    Ok(stored.unwrap_or_else(|error| {
        tracing::warn!(%error, "there is no room for another routing table");
        None
    }))
}

/// Changes may come to half a table before it is written whole again.
fn room_for_changes(folder: &Path, table: usize) -> io::Result<(File, usize)> {
    let path = folder.join(CHANGES);
    let room = make_room(&path, ROOM.max(table / 2))?;
    Ok((open(&path)?, room))
}

impl Stored {
    /// Whether anything has changed since it was stored whole.
    pub(crate) fn is_changed(&self) -> bool {
        self.end > 0
    }

    /// Writes what changes in the table, so that a crash leaves all of it or nothing. `false`: nothing was written, and the
    /// table is to be stored whole, because there is not the room, somebody else has stored one, or a gateway that leaves
    /// reads what is stored, which may be of a version that knows no changes.
    ///
    /// # Errors
    /// What the disk says; nothing can be written behind it then.
    pub(crate) fn change(&mut self, folder: &Path, text: &str) -> io::Result<bool> {
        let all = File::open(folder)?;
        flock(&all, FlockOperation::LockExclusive)?;
        let line = format!("{} {text}\n", digest_of(text));
        let fits = line.len() <= self.room.saturating_sub(self.end);
        if !fits || stamp(folder) != Some(self.stamp) || is_read_by_others(folder)? {
            return Ok(false);
        }
        let written = self.changes.write_all_at(line.as_bytes(), self.end as u64);
        if let Err(error) = written.and_then(|()| self.changes.sync_data()) {
            // Whoever asked is told that it was not stored.
            let _ = self.changes.write_all_at(b" ", self.end as u64);
            self.room = 0;
            return Err(error);
        }
        self.end += line.len();
        // The clock of files is too coarse to tell two changes in a row apart.
        let told = self.changes.set_modified(SystemTime::now());
        match stamp(folder).filter(|_| told.is_ok()) {
            Some(stamp) => self.stamp = stamp,
            None => self.room = 0,
        }
        Ok(true)
    }
}

fn digest_of(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// Of this version they know changes; the elder of the first that knows them does not.
fn is_read_by_others(folder: &Path) -> io::Result<bool> {
    let mut names = std::fs::read_dir(folder)?.map(|item| Ok(item?.file_name()));
    names.try_fold(false, |found, name: io::Result<_>| {
        Ok(found || name?.to_str().is_some_and(crate::is_leaving_socket))
    })
}

/// Writes a table over what the file has, and spaces over the rest of that.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    file.write_all(text)?;
    match length.checked_sub(text.len()) {
        Some(rest) => file.write_all(&vec![b' '; rest])?,
        // For the next ones, where the disk has room for that.
        None => drop(file.write_all(&vec![b' '; 4 * ROOM])),
    }
    file.sync_data()
}

/// Sees to it that a file has so many bytes; how many it has.
fn make_room(path: &Path, bytes: usize) -> io::Result<usize> {
    let file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length >= bytes {
        return Ok(length);
    }
    // More than is needed, so that it need not be done each time.
    write_spaces(&file, bytes + ROOM)?;
    Ok(bytes + ROOM)
}

fn write_spaces(mut file: &File, bytes: usize) -> io::Result<()> {
    file.write_all(&vec![b' '; bytes])?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    options.open(path)
}

/// The table that was stored last, and the changes behind it, which may be some of another table; `None` when there is none.
pub(crate) fn load(folder: &Path) -> io::Result<Option<(Vec<u8>, Vec<String>)>> {
    // What is read is the spare one, which is written, once another table has come.
    let all = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        all => all?,
    };
    lock_for_a_moment(&all)?;
    let Some(mut text) = read(&folder.join(NAME))? else {
        return Ok(None);
    };
    text.truncate(text.trim_ascii_end().len());
    let changes = read(&folder.join(CHANGES))?.unwrap_or_default();
    let lines = changes.split(|byte| *byte == b'\n').map(whole);
    let changes = lines.take_while(Option::is_some).flatten();
    Ok(Some((text, changes.map(str::to_owned).collect())))
}

/// The change that a line has, where all of it was written.
fn whole(line: &[u8]) -> Option<&str> {
    let (digest, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (digest == digest_of(text)).then_some(text)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
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

/// What tells a stored table, and what changed in it, from the one before, without reading it: files, sizes, and when they
/// were written and put in their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([[i64; 6]; 2]);

/// That of the table that was stored last; `None` when there is none, or it cannot be seen.
pub(crate) fn stamp(folder: &Path) -> Option<Stamp> {
    let of = |name: &str| Some(stamped(&std::fs::metadata(folder.join(name)).ok()?));
    // Before the first change there is none.
    Some(Stamp([of(NAME)?, of(CHANGES).unwrap_or_default()]))
}

fn stamped(seen: &Metadata) -> [i64; 6] {
    let (file, size) = (seen.ino().cast_signed(), seen.size().cast_signed());
    let written = [seen.mtime(), seen.mtime_nsec()];
    let placed = [seen.ctime(), seen.ctime_nsec()];
    [file, size, written[0], written[1], placed[0], placed[1]]
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
            assert_eq!(table(folder.path()), text.as_bytes());
            let now = stamp(folder.path());
            assert!(now.is_some() && now != before);
            before = now;
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    fn table(folder: &Path) -> Vec<u8> {
        load(folder).unwrap().unwrap().0
    }

    fn changes(folder: &Path) -> Vec<String> {
        load(folder).unwrap().unwrap().1
    }

    #[test]
    fn changes_come_back_in_order_and_each_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut stored = store(path, b"one").unwrap().unwrap();
        let mut before = stamp(path);
        let said = ["first", "second, which is longer", "third"];
        for (at, text) in said.iter().enumerate() {
            assert!(stored.change(path, text).unwrap());
            assert_eq!(
                (table(path), changes(path)),
                (b"one".to_vec(), owned(&said[..=at]))
            );
            let now = stamp(path);
            assert_ne!(now, before);
            before = now;
        }
        // Of one that a crash left half written nothing comes back, nor anything behind it.
        let file = open(&path.join(CHANGES)).unwrap();
        let second = 64 + 1 + "first".len() + 1 + 64 + 1;
        file.write_all_at(b"SECOND", second as u64).unwrap();
        assert_eq!(changes(path), ["first"]);
        file.write_all_at(b"second", second as u64).unwrap();
        // The next table begins anew; the lines behind say by themselves whose changes they are.
        let mut stored = store(path, b"two").unwrap().unwrap();
        assert!(stored.change(path, "FIRST").unwrap());
        assert_eq!(
            (table(path), changes(path)),
            (b"two".to_vec(), owned(&["FIRST", said[1], said[2]]))
        );
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_table_is_stored_whole_where_a_change_would_not_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let stored = || store(path, b"one").unwrap().unwrap();
        // No room; what is shorter has it still.
        let mut small = stored();
        assert!(!small.change(path, &"x".repeat(3 * ROOM)).unwrap());
        let fits = (0..).take_while(|_| small.change(path, &"x".repeat(ROOM / 8)).unwrap());
        assert!(fits.count() >= 7);
        // Somebody else has stored one, or a change.
        let (mut one, mut other) = (stored(), stored());
        assert!(!one.change(path, "x").unwrap());
        let changes = open(&path.join(CHANGES)).unwrap();
        let mut third = Stored { changes, ..other };
        assert!(other.change(path, "x").unwrap());
        assert!(!third.change(path, "x").unwrap());
        // A gateway that leaves may know no changes.
        let mut stored = stored();
        std::fs::write(path.join(crate::leaving_socket(7)), "").unwrap();
        assert!(!stored.change(path, "x").unwrap());
        assert!(!stored.is_changed());
    }

    #[test]
    fn there_is_room_for_a_table_that_has_grown_by_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut length = 4 * ROOM;
        let mut stored = store(path, &vec![b'x'; length]).unwrap().unwrap();
        while stored.change(path, &"x".repeat(ROOM / 8)).unwrap() {
            length += ROOM / 8;
        }
        let spare = std::fs::metadata(path.join(SPARE)).unwrap().len();
        assert!(spare >= length as u64, "{spare}, and {length} are needed");
    }

    #[test]
    fn there_is_room_for_another_table_before_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let allocated = || {
            let files =
                [NAME, SPARE, CHANGES].map(|name| std::fs::metadata(path.join(name)).unwrap());
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
            assert_eq!(table(path), text);
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
            let reading = threads.spawn(|| table(path));
            half.write_all(b"w table").unwrap();
            flock(&all, FlockOperation::Unlock).unwrap();
            assert_eq!(reading.join().unwrap(), b"new table");
        });
        flock(&all, FlockOperation::LockExclusive).unwrap();
        assert_eq!(table(path), b"new table");
    }
}
