//! Decision: the database has room for events that are not there yet.
//!
//! A release that fills the disk is when a rollback is needed, and a rollback is events. So there are pages in the database
//! that nothing uses, and as many in its journal, from when it is opened on; what is written takes those first.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

/// So many bytes. A rollback needs a hundredth of it.
const BYTES: i64 = 2 << 20;

/// Makes room in the database at `path`; not on a disk that is nearly full.
pub(crate) fn make(db: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    let disk = path
        .parent()
        .and_then(|folder| rustix::fs::statvfs(folder).ok());
    let left = disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if left < 8 * BYTES.unsigned_abs() {
        return Ok(());
    }
    let filled = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    filled.execute_batch("CREATE TABLE IF NOT EXISTS room (bytes BLOB) STRICT")?;
    filled.execute("INSERT INTO room VALUES (zeroblob(?1))", [BYTES])?;
    // Written, or else there would be a hole where the pages are.
    filled.commit()?;
    db.execute_batch("DROP TABLE room")?;
    begin_journal(db)
}

/// Lets the journal begin at its beginning again, once all of it is in the database.
pub(crate) fn begin_journal(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
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
        for name in ["log", "log-wal"] {
            let bytes = allocated(name);
            let least = BYTES.unsigned_abs();
            assert!((least..2 * least).contains(&bytes), "{name} {bytes}");
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = db.query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }
}
