//! Decision: the database has room for events that are not there yet.
//!
//! A release that fills the disk is when a rollback is needed, and a rollback is events. So there are pages in the database
//! that nothing uses, and as many in its journal, from when it is opened on; what is written takes those first. They are
//! made again as they are used up. The journal goes with whoever closes the database last, so that it is one file then:
//! a server that begins on a disk that is full already has no room.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

/// So many bytes. A rollback needs a hundredth of it.
const BYTES: i64 = 2 << 20;

/// What is said when there is none.
pub(crate) const NONE: &str = "there is no room for events that a full disk would have to take";

/// How long those who read may hold up that the journal begins anew: where that can wait, and where nothing is recorded
/// without it.
const PATIENCE: Duration = Duration::from_millis(200);
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// Makes room in the database at `path`, where there is not enough; not on a disk that is nearly full. Whether there is.
pub(crate) fn make(db: &mut Connection, path: &Path) -> rusqlite::Result<bool> {
    // Of one that ended before it had dropped it.
    db.execute_batch("DROP TABLE IF EXISTS room")?;
    let journal = path.with_file_name(journal_of(path));
    let journal = journal.metadata().map_or(0, |journal| journal.len());
    if is_enough(db)? && journal >= BYTES.unsigned_abs() {
        return Ok(true);
    }
    let disk = path
        .parent()
        .and_then(|folder| rustix::fs::statvfs(folder).ok());
    let left = disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if left < 3 * BYTES.unsigned_abs() {
        return Ok(false);
    }
    let filled = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    filled.execute_batch("CREATE TABLE room (bytes BLOB) STRICT")?;
    filled.execute("INSERT INTO room VALUES (zeroblob(?1))", [BYTES])?;
    // Written, or else there would be a hole where the pages are.
    filled.commit()?;
    db.execute_batch("DROP TABLE room")?;
    begin_journal(db, PATIENCE).map(|_| true)
}

/// Whether at least half of the room in the database is left.
pub(crate) fn is_enough(db: &Connection) -> rusqlite::Result<bool> {
    let asked = |pragma: &str| db.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let free = asked("PRAGMA freelist_count")?.saturating_mul(asked("PRAGMA page_size")?);
    Ok(free >= BYTES / 2)
}

/// Lets the journal begin at its beginning again, once all of it is in the database; whether it does.
pub(crate) fn begin_journal(db: &Connection, patience: Duration) -> rusqlite::Result<bool> {
    let before: i64 = db.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    db.busy_timeout(patience)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
    db.busy_timeout(Duration::from_millis(before.unsigned_abs()))?;
    busy.map(|busy: i64| busy == 0)
}

fn journal_of(path: &Path) -> std::ffi::OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("-wal");
    name
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn there_is_room_on_the_disk_that_nothing_uses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        for _ in 0..3 {
            make(&mut db, &path).unwrap();
        }
        let allocated = |name| fs::metadata(folder.path().join(name)).unwrap().blocks() * 512;
        let is_there = || {
            for name in ["log", "log-wal"] {
                let bytes = allocated(name);
                let least = BYTES.unsigned_abs();
                assert!((least..2 * least).contains(&bytes), "{name} {bytes}");
            }
        };
        is_there();
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = db.query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
        // It is made again when it is used up, and the journal when it is gone.
        drop(db);
        let mut db = Connection::open(&path).unwrap();
        make(&mut db, &path).unwrap();
        is_there();
        assert!(is_enough(&db).unwrap());
        db.execute_batch("CREATE TABLE log (bytes BLOB) STRICT")
            .unwrap();
        let entry = "INSERT INTO log VALUES (zeroblob(?1))";
        db.execute(entry, [BYTES * 2 / 3]).unwrap();
        assert!(!is_enough(&db).unwrap());
        make(&mut db, &path).unwrap();
        assert!(is_enough(&db).unwrap());
        // One that ended while it made it used it up.
        db.execute_batch("CREATE TABLE room (bytes BLOB) STRICT")
            .unwrap();
        db.execute("INSERT INTO room VALUES (zeroblob(?1))", [BYTES])
            .unwrap();
        assert!(!is_enough(&db).unwrap());
        make(&mut db, &path).unwrap();
        assert!(is_enough(&db).unwrap());
    }

    #[test]
    fn a_journal_that_somebody_reads_does_not_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        make(&mut db, &path).unwrap();
        db.execute_batch("CREATE TABLE log (bytes BLOB) STRICT")
            .unwrap();
        let mut reader = Connection::open(&path).unwrap();
        let reading = reader.transaction().unwrap();
        let count = "SELECT count(*) FROM log";
        assert_eq!(
            reading.query_row(count, [], |row| row.get::<_, i64>(0)),
            Ok(0)
        );
        db.execute("INSERT INTO log VALUES (zeroblob(10))", [])
            .unwrap();
        assert!(!begin_journal(&db, PATIENCE).unwrap());
        reading.commit().unwrap();
        assert!(begin_journal(&db, PATIENCE).unwrap());
        let patience: i64 = db
            .query_row("PRAGMA busy_timeout", [], |row| row.get(0))
            .unwrap();
        assert_eq!(patience, 10_000);
    }
}
