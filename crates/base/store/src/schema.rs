//! The tables, as numbered migrations: the database's `user_version` says how many were done.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::{Error, Result};

/// Each brings a database one number further. One that was released is never edited.
const MIGRATIONS: &[&str] = &["
    -- The log. `root` is that of the tree up to and with this event, so that an altered event is found
    -- at its place.
    CREATE TABLE events (
        seq    INTEGER PRIMARY KEY,
        env    TEXT,
        kind   TEXT NOT NULL,
        record BLOB NOT NULL,
        leaf   BLOB NOT NULL,
        root   BLOB NOT NULL
    ) STRICT;
    CREATE INDEX events_of_env ON events (env, seq);
    -- The head of the log, one row. `fold` is the number of the fold that wrote the projections.
    CREATE TABLE head (
        id       INTEGER PRIMARY KEY CHECK (id = 0),
        size     INTEGER NOT NULL,
        frontier BLOB NOT NULL,
        fold     INTEGER NOT NULL
    ) STRICT;
    INSERT INTO head (id, size, frontier, fold) VALUES (0, 0, x'', 0);
    -- Projections: canonical JSON.
    CREATE TABLE environments (env TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE releases (
        env TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (env, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deployments (
        env TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (env, number)
    ) STRICT, WITHOUT ROWID;
    -- Small durable numbers that are no events.
    CREATE TABLE counters (key TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"];

/// The newest layout that this binary knows.
const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Refuses a database of a newer Ward. Writes nothing.
pub(crate) fn check(db: &Connection, path: &Path) -> Result<i64> {
    let found: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(Error::database("read the layout", path))?;
    if found > NEWEST {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known: NEWEST,
        });
    }
    Ok(found)
}

/// Brings the database to the newest layout, each step in a transaction of its own.
pub(crate) fn migrate(db: &mut Connection, path: &Path) -> Result<()> {
    let found = check(db, path)?;
    for (number, migration) in (1..).zip(MIGRATIONS) {
        if number > found {
            step(db, migration, number).map_err(Error::database("change the layout", path))?;
        }
    }
    Ok(())
}

fn step(db: &mut Connection, migration: &str, number: i64) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(migration)?;
    tx.pragma_update(None, "user_version", number)?;
    tx.commit()
}
