//! The one thread that writes.
//!
//! An append is: fold the entries into a copy of the state (a misfit ends it here, before anything was
//! written), write events, tree and projections in one transaction, commit, publish the new state, answer,
//! and then keep the checkpoint. The checkpoint comes last because it must never be ahead of what is on
//! disk, or a crash would look like a cut tail; one that is behind says less, and nothing wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::watch;
use ward_types::event::{Record, State};
use ward_types::id::EnvId;

use crate::checkpoint::{Checkpoint, Folder, Signer};
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::projection::{self, FOLD, Failure, Row};
use crate::{Entry, Error, Result, canonical, opening, room};

/// What is asked of the writer, and where its answer goes. An asker that is gone does not matter.
pub(crate) enum Job {
    Append {
        entries: Vec<Entry>,
        reply: SyncSender<Result<Vec<Record>>>,
    },
    Number {
        key: String,
        count: u32,
        reply: SyncSender<Result<u64>>,
    },
    Checkpoint {
        reply: SyncSender<Result<Checkpoint>>,
    },
}

/// What readers see of the writer's work.
pub(crate) struct Published {
    state: RwLock<Arc<State>>,
    size: watch::Sender<u64>,
    concerned: RwLock<Concerned>,
}

/// How many events the log held when one last concerned each environment.
#[derive(Default)]
struct Concerned {
    /// Of those that are not named here nobody knows more than this.
    others: u64,
    named: BTreeMap<EnvId, u64>,
}

impl Published {
    pub(crate) fn new(state: Arc<State>, size: u64) -> Self {
        Self {
            state: RwLock::new(state),
            size: watch::Sender::new(size),
            concerned: RwLock::new(Concerned {
                others: size,
                named: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn concerned(&self, env: &EnvId) -> u64 {
        let concerned = self.concerned.read();
        let concerned = concerned.unwrap_or_else(PoisonError::into_inner);
        let named = concerned.named.get(env).copied();
        named.unwrap_or(concerned.others)
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// The state first, and the size last: whoever is woken by it, or has read it, sees the other two.
    fn publish(&self, state: Arc<State>, size: u64, changes: Changes<'_>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        let concerned = self.concerned.write();
        let mut concerned = concerned.unwrap_or_else(PoisonError::into_inner);
        match changes {
            Changes::Rows(rows) => {
                let named = rows.iter().map(|row| (row.env().clone(), size));
                concerned.named.extend(named);
            }
            Changes::Any => {
                *concerned = Concerned {
                    others: size,
                    named: BTreeMap::new(),
                }
            }
        }
        drop(concerned);
        self.size.send_replace(size);
    }
}

/// What of the state is another one.
enum Changes<'a> {
    /// What has these rows.
    Rows(&'a BTreeSet<Row>),
    /// Nobody knows.
    Any,
}

/// An event, ready to be written.
struct Leaf {
    record: Record,
    bytes: Vec<u8>,
    hash: Hash,
    root: Hash,
}

/// Where the log would stand after an append.
struct Next {
    state: State,
    frontier: Frontier,
    leaves: Vec<Leaf>,
    rows: BTreeSet<Row>,
}

pub(crate) struct Writer {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) state: Arc<State>,
    pub(crate) frontier: Frontier,
    pub(crate) published: Arc<Published>,
    pub(crate) signer: Signer,
    pub(crate) folder: Folder,
    /// The size of the last checkpoint that was kept.
    pub(crate) kept: u64,
    /// Whether there is room for what a full disk would have to take.
    pub(crate) room: bool,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Append { entries, reply } => {
                    let answer = self.append(entries);
                    drop(reply.send(answer));
                    self.keep_checkpoint();
                    self.keep_room();
                }
                Job::Number { key, count, reply } => {
                    let number = self.with_room(|writer| writer.number(&key, count));
                    drop(reply.send(number));
                }
                Job::Checkpoint { reply } => drop(reply.send(self.checkpoint())),
            }
        }
    }

    fn append(&mut self, entries: Vec<Entry>) -> Result<Vec<Record>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let next = self.fold(entries)?;
        if let Err(error) = self.with_room(|writer| writer.write(&next)) {
            self.resume_after_failure();
            return Err(error);
        }
        self.state = Arc::new(next.state);
        self.frontier = next.frontier;
        self.published.publish(
            Arc::clone(&self.state),
            self.frontier.size(),
            Changes::Rows(&next.rows),
        );
        Ok(next.leaves.into_iter().map(|leaf| leaf.record).collect())
    }

    /// On a full disk the journal may still have room at its beginning.
    fn with_room<T>(&mut self, write: impl Fn(&mut Self) -> Result<T>) -> Result<T> {
        match write(self) {
            Err(Error::Full { .. }) if self.begins_journal() => write(self),
            done => done,
        }
    }

    fn begins_journal(&self) -> bool {
        room::begin_journal(&self.db, room::LONG_PATIENCE).unwrap_or(false)
    }

    /// Most of what is written takes some of the room. That there is none is said when it comes to that.
    pub(crate) fn keep_room(&mut self) {
        let kept = match room::is_enough(&self.db) {
            Ok(false) => room::make(&mut self.db, &self.path),
            enough => enough,
        };
        let before = std::mem::replace(&mut self.room, *kept.as_ref().unwrap_or(&false));
        match kept {
            Ok(false) if before => tracing::warn!("{}", room::NONE),
            Err(error) if before => tracing::warn!(%error, "{}", room::NONE),
            _ => {}
        }
    }

    fn fold(&self, entries: Vec<Entry>) -> Result<Next> {
        let mut next = Next {
            state: (*self.state).clone(),
            frontier: self.frontier.clone(),
            leaves: Vec::with_capacity(entries.len()),
            rows: BTreeSet::new(),
        };
        for entry in entries {
            next.push(entry)?;
        }
        Ok(next)
    }

    fn write(&mut self, next: &Next) -> Result<()> {
        let path = self.path.clone();
        let failed = |source| Error::database("append to the log", &path)(source);
        let begun = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = begun.map_err(failed)?;
        let found = tx.query_row("SELECT size FROM head", [], |row| row.get::<_, i64>(0));
        let found = found.map_err(failed)?.cast_unsigned();
        if found != self.frontier.size() {
            let known = self.frontier.size();
            return Err(Error::OtherWriter { path, found, known });
        }
        next.write(&tx)
            .map_err(|failure| failure.error("append to the log", &path))?;
        tx.commit().map_err(failed)
    }

    /// After a commit that failed it is not certain what the disk holds, so what it holds is read again;
    /// an event that is there although its append failed is then part of the state.
    fn resume_after_failure(&mut self) {
        match opening::open(&mut self.db, &self.path) {
            Ok(found) if found.frontier == self.frontier => {}
            Ok(found) => {
                self.state = Arc::new(found.state);
                self.frontier = found.frontier;
                self.published
                    .publish(Arc::clone(&self.state), self.frontier.size(), Changes::Any);
            }
            Err(error) => tracing::warn!(%error, "the log cannot be read after a failed append"),
        }
    }

    fn number(&mut self, key: &str, count: u32) -> Result<u64> {
        let path = &self.path;
        let first = if count == 0 {
            let found =
                self.db
                    .query_row("SELECT next FROM counters WHERE key = ?1", [key], |row| {
                        row.get(0)
                    });
            match found {
                Err(rusqlite::Error::QueryReturnedNoRows) => Ok(1),
                other => other,
            }
        } else {
            self.db.query_row(
                "INSERT INTO counters (key, next) VALUES (?1, 1 + ?2)
                 ON CONFLICT (key) DO UPDATE SET next = next + ?2 RETURNING next - ?2",
                params![key, count],
                |row| row.get::<_, i64>(0),
            )
        };
        first
            .map(i64::cast_unsigned)
            .map_err(Error::database("take a number", path))
    }

    fn keep_checkpoint(&mut self) {
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "the checkpoint was not kept; the next append tries again");
        }
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let checkpoint = self.signer.sign(self.frontier.size(), self.frontier.root());
        if self.kept != checkpoint.size {
            self.folder.keep(&checkpoint, self.kept)?;
            self.kept = checkpoint.size;
        }
        Ok(checkpoint)
    }
}

impl Next {
    fn push(&mut self, entry: Entry) -> Result<()> {
        let kind = entry.event.kind();
        let touched = projection::touched(&self.state, &entry.event);
        let applied = self.state.apply(entry.at, &entry.event);
        applied.map_err(|source| Error::Misfit { kind, source })?;
        let record = Record {
            seq: self.frontier.size(),
            at: entry.at,
            who: entry.who,
            why: entry.why,
            request: entry.request,
            event: entry.event,
        };
        let bytes =
            canonical::to_bytes(&record).map_err(|source| Error::Unwritable { kind, source })?;
        let hash = leaf_hash(&bytes);
        self.frontier.push(hash);
        self.rows.extend(touched);
        let root = self.frontier.root();
        self.leaves.push(Leaf {
            record,
            bytes,
            hash,
            root,
        });
        Ok(())
    }

    fn write(&self, tx: &Transaction<'_>) -> std::result::Result<(), Failure> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO events (seq, env, kind, record, leaf, root) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for leaf in &self.leaves {
            let env = leaf.record.event.env().map(|env| env.as_str());
            let (seq, kind) = (leaf.record.seq.cast_signed(), leaf.record.event.kind());
            insert.execute(params![seq, env, kind, leaf.bytes, leaf.hash, leaf.root])?;
        }
        projection::write(tx, &self.state, &self.rows)?;
        tx.execute(
            "UPDATE head SET size = ?1, frontier = ?2, fold = ?3",
            params![
                self.frontier.size().cast_signed(),
                self.frontier.bytes(),
                FOLD
            ],
        )?;
        Ok(())
    }
}
