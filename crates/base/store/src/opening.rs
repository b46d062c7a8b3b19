//! Decision: what a database that is opened says.
//!
//! The events are the truth as long as they are whole: each has the hash of its leaf, and the tree over
//! them is the head's. Then the state is their fold; rows of the projections that say anything else are
//! made anew, a head that is lost is computed, and what was mended is told, because somebody wrote to the
//! database beside Ward. Where the events are not whole, the projections are the better witness: they serve
//! as they are, and the audit names what was altered.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, Transaction};
use ward_types::event::{Record, State};

use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::projection::{self, FOLD};
use crate::{Error, Result};

/// What a database holds.
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) frontier: Frontier,
    /// What was not as Ward had left it and was made anew, in sentences.
    pub(crate) mended: Vec<String>,
}

/// The head of the log, as it was written.
struct Head {
    size: u64,
    frontier: Vec<u8>,
    fold: i64,
}

/// The events, read from the first to the last.
#[derive(Default)]
struct Reading {
    tree: Frontier,
    state: State,
    /// The root that was stored with the last event.
    last_root: Option<Hash>,
    /// Why the events are not the truth.
    doubt: Option<Error>,
}

/// Reads a database, and mends in one transaction what can be told from its events.
pub(crate) fn open(db: &mut Connection, path: &Path) -> Result<Opened> {
    let failed = |source| Error::database("read the log", path)(source);
    // It writes only where there is something to mend: a full disk does not keep it from reading.
    let tx = db.transaction().map_err(failed)?;
    let head = head(&tx).map_err(failed)?;
    let reading = Reading::of(&tx).map_err(failed)?;
    let opened = match (&head, reading.is_whole(head.as_ref())) {
        (_, true) => from_events(&tx, path, head.as_ref(), reading)?,
        (Some(head), false) => from_rows(&tx, path, head, reading)?,
        (None, false) => return Err(headless(path)),
    };
    tx.commit().map_err(failed)?;
    Ok(opened)
}

fn head(db: &Connection) -> rusqlite::Result<Option<Head>> {
    let read = |row: &SqlRow<'_>| {
        Ok(Head {
            size: row.get::<_, i64>(0)?.cast_unsigned(),
            frontier: row.get(1)?,
            fold: row.get(2)?,
        })
    };
    db.query_row("SELECT size, frontier, fold FROM head", [], read)
        .optional()
}

fn headless(path: &Path) -> Error {
    Error::Head {
        path: path.to_owned(),
    }
}

impl Reading {
    fn of(db: &Connection) -> rusqlite::Result<Self> {
        let mut reading = Self::default();
        let mut statement =
            db.prepare("SELECT seq, record, leaf, root FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            reading.event(row)?;
        }
        Ok(reading)
    }

    fn event(&mut self, row: &SqlRow<'_>) -> rusqlite::Result<()> {
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        let (bytes, leaf): (Vec<u8>, Hash) = (row.get(1)?, row.get(2)?);
        self.last_root = Some(row.get(3)?);
        let in_place = seq == self.tree.size() && leaf_hash(&bytes) == leaf;
        self.tree.push(leaf);
        if self.doubt.is_none() {
            self.doubt = self.fold(seq, in_place, &bytes).err();
        }
        Ok(())
    }

    fn fold(&mut self, seq: u64, in_place: bool, bytes: &[u8]) -> Result<()> {
        let record: Record = serde_json::from_slice(bytes).map_err(|source| Error::Row {
            what: format!("event {seq}"),
            source,
        })?;
        if !in_place || record.seq != seq {
            return Err(Error::Altered { event: seq });
        }
        let kind = record.event.kind();
        let applied = self.state.apply(record.at, &record.event);
        applied.map_err(|source| Error::Misfit { kind, source })?;
        Ok(())
    }

    /// Whether they are what was appended, as far as the database alone can tell. A lost head is made up
    /// for by the root that was stored with the last event.
    fn is_whole(&self, head: Option<&Head>) -> bool {
        let root = self.last_root.unwrap_or_else(crate::merkle::empty_root);
        let headed = head
            .is_none_or(|head| head.size == self.tree.size() && head.frontier == self.tree.bytes());
        self.doubt.is_none() && headed && root == self.tree.root()
    }
}

/// The fold is the state; whatever else there is becomes what it says.
fn from_events(
    tx: &Transaction<'_>,
    path: &Path,
    head: Option<&Head>,
    reading: Reading,
) -> Result<Opened> {
    let failed = |source| Error::database("write projections", path)(source);
    let mut mended = Vec::new();
    let fold = head.map(|head| head.fold);
    if fold.is_none() {
        mended.push("the log's head was missing".to_owned());
    }
    let of_other_fold = fold.is_some_and(|fold| fold != FOLD);
    let differences = differences(tx, path, &reading.state)?;
    if !differences.is_empty() || of_other_fold {
        projection::rebuild(tx, &reading.state)
            .map_err(|failure| failure.error("write projections", path))?;
    }
    if !of_other_fold {
        mended.extend(differences);
    }
    if fold != Some(FOLD) {
        write_head(tx, &reading.tree).map_err(failed)?;
    }
    Ok(Opened {
        state: reading.state,
        frontier: reading.tree,
        mended,
    })
}

/// Also of rows that cannot be read at all: they are made anew like any other.
fn differences(tx: &Transaction<'_>, path: &Path, state: &State) -> Result<Vec<String>> {
    let expected = projection::rows(state).map_err(|source| Error::Unwritable {
        kind: "projection",
        source,
    })?;
    let found = projection::read(tx);
    let found = found.map_err(Error::database("read projections", path))?;
    Ok(projection::differences(expected, found))
}

fn write_head(tx: &Transaction<'_>, tree: &Frontier) -> rusqlite::Result<usize> {
    tx.execute(
        "INSERT OR REPLACE INTO head (id, size, frontier, fold) VALUES (0, ?1, ?2, ?3)",
        rusqlite::params![tree.size().cast_signed(), tree.bytes(), FOLD],
    )
}

/// An altered log keeps nothing from being served. Where the rows are of a newer Ward, it is this one that
/// does not understand them.
fn from_rows(tx: &Transaction<'_>, path: &Path, head: &Head, reading: Reading) -> Result<Opened> {
    let doubt = reading.doubt.unwrap_or_else(|| headless(path));
    if head.fold > FOLD {
        return Err(doubt);
    }
    tracing::error!(error = %doubt, "the log is not what was appended to it; `ward audit verify` says more");
    let state = projection::load(tx).map_err(|failure| failure.error("read the log", path))?;
    let frontier = Frontier::from_parts(head.size, &head.frontier);
    Ok(Opened {
        state,
        frontier: frontier.ok_or_else(|| headless(path))?,
        mended: Vec::new(),
    })
}
