//! The audit: everything that the log claims, computed again from the records themselves.
//!
//! Each way to tamper is found at another place: an altered record by its leaf hash; one whose leaf hash
//! was altered with it by the root that was stored with it; a removed or moved event by its number; a
//! log that was rewritten whole, or whose tail was cut, by a checkpoint; an edited projection by the fold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, Row as SqlRow};
use ward_types::event::{Record, State};
use ward_types::view::AuditView;

use crate::checkpoint::{Checkpoint, Folder, Signer, Verifier, key_path};
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::{Error, Result, canonical, projection, sqlite};

/// More than so many breaks are not listed one by one.
const LISTED: usize = 20;

/// Verifies the log of a database that need not be in use, such as a copy. Changes nothing.
///
/// # Errors
/// Only when the database cannot be read at all; what is wrong with it is in [`AuditView::breaks`].
pub fn verify_file(path: &Path, checkpoint: Option<&str>) -> Result<AuditView> {
    let mut db = sqlite::connect_read_only(path)?;
    verify(&mut db, path, checkpoint)
}

pub(crate) fn verify(
    db: &mut Connection,
    path: &Path,
    checkpoint: Option<&str>,
) -> Result<AuditView> {
    let mut audit = Audit::default();
    // Before the transaction begins: a checkpoint that is written later may be ahead of what it sees.
    audit.read_checkpoints(path, checkpoint)?;
    let tx = db
        .transaction()
        .map_err(Error::database("read the log", path))?;
    audit.damage(&tx);
    match audit.events(&tx).and_then(|()| audit.head(&tx)) {
        Ok(()) => audit.projections(&tx),
        Err(error) => audit.broken(format!(
            "the database cannot be read after event {}: {error}",
            audit.tree.size()
        )),
    }
    audit.cut_tail();
    Ok(audit.view())
}

#[derive(Default)]
struct Audit {
    tree: Frontier,
    state: State,
    breaks: Vec<String>,
    /// The lowest event that a break names.
    first: Option<u64>,
    /// Where the first checkpoint that differs does so at the earliest.
    from: Option<u64>,
    unlisted: usize,
    /// Checkpoints by size: where each came from.
    checkpoints: BTreeMap<u64, Vec<(String, Checkpoint)>>,
    /// The number that the next row should have.
    next: u64,
    /// The size of the last checkpoint that the log agreed with.
    agreed: u64,
    /// What need not be said a second time.
    said: BTreeSet<Said>,
}

/// As JSON, not as a record: one that an older Ward wrote lacks the fields that came later.
fn is_canonical(record: &[u8]) -> bool {
    let value = serde_json::from_slice::<serde_json::Value>(record);
    let written = value
        .ok()
        .and_then(|value| canonical::to_bytes(&value).ok());
    written.as_deref() == Some(record)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Tree,
    Checkpoint,
    Fold,
}

/// One row of the log, as it is.
struct Stored {
    seq: u64,
    env: Option<String>,
    kind: String,
    record: Vec<u8>,
    leaf: Hash,
    root: Hash,
}

impl Stored {
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            env: row.get(1)?,
            kind: row.get(2)?,
            record: row.get(3)?,
            leaf: row.get(4)?,
            root: row.get(5)?,
        })
    }
}

impl Audit {
    fn broken_at(&mut self, event: u64, what: String) {
        self.first = Some(self.first.map_or(event, |first| first.min(event)));
        self.broken(what);
    }

    fn broken(&mut self, what: String) {
        if self.breaks.len() < LISTED {
            self.breaks.push(what);
        } else {
            self.unlisted += 1;
        }
    }

    fn read_checkpoints(&mut self, path: &Path, given: Option<&str>) -> Result<()> {
        let mut texts = Folder::beside(path).all()?;
        for (name, _) in &mut texts {
            *name = format!("checkpoints/{name}");
        }
        texts.extend(given.map(|text| ("the checkpoint given".to_owned(), text.to_owned())));
        let Some(signer) = Signer::find(&key_path(path)) else {
            if !texts.is_empty() {
                self.broken(
                    "checkpoint.key is missing or no key, so no checkpoint can be checked".into(),
                );
            }
            return Ok(());
        };
        for (name, text) in texts {
            self.read_checkpoint(signer.verifier(), name, &text);
        }
        Ok(())
    }

    fn read_checkpoint(&mut self, verifier: &Verifier, name: String, text: &str) {
        match verifier.read(text) {
            Ok(checkpoint) => self
                .checkpoints
                .entry(checkpoint.size)
                .or_default()
                .push((name, checkpoint)),
            Err(error) => self.broken(format!("{name}: {error}")),
        }
    }

    /// What SQLite itself finds wrong with the file.
    fn damage(&mut self, db: &Connection) {
        let list = || -> rusqlite::Result<Vec<String>> {
            let mut statement = db.prepare("PRAGMA quick_check(5)")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        match list() {
            Ok(lines) if lines == ["ok"] => {}
            Ok(lines) => lines
                .into_iter()
                .for_each(|line| self.broken(format!("the database is damaged: {line}"))),
            Err(error) => self.broken(format!("the database is damaged: {error}")),
        }
    }

    fn events(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.compare_checkpoints();
        let mut statement = db.prepare(
            "SELECT seq, env, kind, record, leaf, root FROM events NOT INDEXED ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.event(&Stored::read(row)?);
        }
        Ok(())
    }

    fn event(&mut self, stored: &Stored) {
        let seq = stored.seq;
        match seq.checked_sub(self.next) {
            Some(0) => {}
            Some(1) => self.broken_at(self.next, format!("event {} is missing", self.next)),
            _ => self.broken_at(
                self.next,
                format!(
                    "events {} to {} are missing",
                    self.next,
                    seq.wrapping_sub(1)
                ),
            ),
        }
        self.next = seq.wrapping_add(1);
        self.hashes(stored);
        self.compare_checkpoints();
        self.record(stored);
    }

    fn hashes(&mut self, stored: &Stored) {
        let seq = stored.seq;
        let leaf = leaf_hash(&stored.record);
        self.tree.push(leaf);
        if leaf != stored.leaf {
            self.broken_at(
                seq,
                format!("event {seq} was altered: its record does not have the hash of its leaf"),
            );
            self.said.insert(Said::Tree);
        } else if self.tree.root() != stored.root && self.said.insert(Said::Tree) {
            self.broken_at(seq, format!(
                "event {seq} breaks the tree: it, or what stands before it, is not what was appended"
            ));
        }
    }

    fn record(&mut self, stored: &Stored) {
        let seq = stored.seq;
        let record: Record = match serde_json::from_slice(&stored.record) {
            Ok(record) => record,
            Err(error) => {
                self.said.insert(Said::Fold);
                return self.broken_at(seq, format!("event {seq} holds no record: {error}"));
            }
        };
        if record.seq != seq {
            let moved = format!(
                "event {seq} holds the record of event {}: it was moved",
                record.seq
            );
            self.broken_at(seq, moved);
        }
        if !is_canonical(&stored.record) {
            self.broken_at(seq, format!("event {seq} is not in canonical form"));
        }
        let env = record.event.env().map(|env| env.as_str());
        if stored.env.as_deref() != env || stored.kind != record.event.kind() {
            self.broken_at(
                seq,
                format!(
                    "event {seq} is filed under another environment or kind than its record says"
                ),
            );
        }
        if self.said.contains(&Said::Fold) {
            return;
        }
        if let Err(misfit) = self.state.apply(record.at, &record.event) {
            self.said.insert(Said::Fold);
            self.broken_at(
                seq,
                format!("event {seq} does not follow from those before it: {misfit}"),
            );
        }
    }

    /// Compares the tree, as it stands, with the checkpoints of its size.
    fn compare_checkpoints(&mut self) {
        let (size, root) = (self.tree.size(), self.tree.root());
        for (name, checkpoint) in self.checkpoints.remove(&size).unwrap_or_default() {
            if checkpoint.root == root {
                self.agreed = size;
            } else if self.said.insert(Said::Checkpoint) {
                let from = self.agreed;
                self.from = Some(from);
                self.broken(format!(
                    "{name}: the log was other when it had {size} events; the first that differs is one of events {from} to {}",
                    size.saturating_sub(1)
                ));
            }
        }
    }

    /// Checkpoints of more events than there are.
    fn cut_tail(&mut self) {
        let size = self.tree.size();
        let longer = self.checkpoints.split_off(&(size + 1));
        for (signed, checkpoints) in longer {
            for (name, _) in checkpoints {
                self.broken_at(size, format!(
                    "{name}: the log had {signed} events and has {size}: its tail was cut from event {size} on"
                ));
            }
        }
    }

    /// The stored head against the tree.
    fn head(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let (size, frontier): (i64, Vec<u8>) =
            db.query_row("SELECT size, frontier FROM head", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let size = size.cast_unsigned();
        if size != self.tree.size() {
            self.broken(format!(
                "the log's head says {size} events, and there are {}",
                self.tree.size()
            ));
        } else if frontier != self.tree.bytes() && self.said.insert(Said::Tree) {
            self.broken(format!("the log's head is not that of its {size} events"));
        }
        Ok(())
    }

    /// The projections against the fold. Without a fold of every event there is nothing to compare with;
    /// those of another Ward's fold are made anew by the next server that starts.
    fn projections(&mut self, db: &Connection) {
        let fold = db.query_row("SELECT fold FROM head", [], |row| row.get::<_, i64>(0));
        if self.said.contains(&Said::Fold) || fold.is_ok_and(|fold| fold != projection::FOLD) {
            return;
        }
        let (expected, found) = match (projection::rows(&self.state), projection::read(db)) {
            (Ok(expected), Ok(found)) => (expected, found),
            (_, Err(error)) => {
                return self.broken(format!("the projections cannot be read: {error}"));
            }
            (Err(error), _) => {
                return self.broken(format!("the fold cannot be written down: {error}"));
            }
        };
        for difference in projection::differences(expected, found) {
            self.broken(difference);
        }
    }

    fn view(mut self) -> AuditView {
        if self.unlisted > 0 {
            self.breaks.push(format!("and {} more", self.unlisted));
        }
        let root = self.tree.root();
        AuditView {
            events: self.tree.size(),
            root: hex::encode(root),
            first: self.first.or(self.from),
            breaks: self.breaks,
        }
    }
}
