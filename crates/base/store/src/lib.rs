//! The event log (a Merkle log) and its projections in SQLite.
//!
//! The log is the only truth: a projection (a row per environment, release and deployment) is the fold of
//! its events, written in the same transaction. Each start folds the events again and makes anew what
//! differs from them (0.6 s per 100 000 events), and [`Log::verify`] compares. One thread writes (`BEGIN
//! IMMEDIATE`); reads have connections of their own. What is acknowledged is on disk (`synchronous=FULL`).
//!
//! Each event is a leaf of a Merkle tree (RFC 6962). After each append the tree's head is signed and kept
//! as a [checkpoint] beside the database, because the tree alone cannot tell a log whose tail was
//! cut from one that never had it.

pub mod canonical;
pub mod checkpoint;
mod error;
mod lease;
mod lock;
pub mod merkle;
mod opening;
mod projection;
mod room;
mod schema;
mod sqlite;
mod verify;
mod writer;

use std::sync::Arc;

use tokio::sync::watch;
use ward_types::event::{Event, Record, State};
use ward_types::id::EnvId;
use ward_types::time::Timestamp;
use ward_types::view::AuditView;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use lease::{HEARTBEAT, Holder, Lease};
pub use lock::{Lock, lock};
pub use sqlite::Store;
pub use verify::verify_file;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// An event that asks to become a [`Record`]: the store gives it its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was accepted.
    pub at: Timestamp,
    /// Who: `uid:1000(anna)`, or `ward` for what Ward decided by itself.
    pub who: String,
    /// Why, in the words of the one who asked; may be empty.
    pub why: String,
    /// The request that caused it; may be empty.
    pub request: String,
    /// What happened.
    pub event: Event,
}

/// The log as the control plane needs it. [`Store`] keeps it in SQLite; another store can take its place.
///
/// Every method blocks until it is done, an append for about as long as the disk needs to make it
/// durable; call it from a thread that may block.
pub trait Log: Send + Sync {
    /// Appends the entries in one transaction: all of them, or none. They are durable on return, and
    /// [`Log::state`] holds them.
    ///
    /// # Errors
    /// [`Error::Misfit`] when an entry does not follow from the state, [`Error::Full`] when the disk is
    /// full, and others of the disk. Nothing was recorded then.
    fn append(&self, entries: Vec<Entry>) -> Result<Vec<Record>>;

    /// The fold of every event so far. Cheap; the value does not change any more.
    fn state(&self) -> Arc<State>;

    /// The records after number `after` (`None`: from the first), oldest first, at most `limit`, of one
    /// environment or of all.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn records(&self, after: Option<u64>, limit: usize, env: Option<&EnvId>)
    -> Result<Vec<Record>>;

    /// The number of events, and a wake-up whenever it grows.
    fn changed(&self) -> watch::Receiver<u64>;

    /// How many events the log held after the last one that changed this environment, or more. Every event that
    /// [`Log::changed`] has told of before this is asked is looked at.
    fn concerned(&self, env: &EnvId) -> u64;

    /// Takes `count` numbers of the series `key` (such as `ordinal/returns/dev`) and gives the first of
    /// them. A series begins at 1, and no number is given twice, whatever happens. With a `count` of 0 it
    /// tells the next number without taking it.
    ///
    /// # Errors
    /// When the number could not be made durable; it was not given out then.
    fn next_number(&self, key: &str, count: u32) -> Result<u64>;

    /// Recomputes every hash and the tree, folds every event again, and compares with the projections,
    /// with the checkpoints beside the database, and with `checkpoint`, one that was kept elsewhere.
    ///
    /// # Errors
    /// Only when the database cannot be read at all; what is wrong with it is in [`AuditView::breaks`].
    fn verify(&self, checkpoint: Option<&str>) -> Result<AuditView>;

    /// The signed head of the log as it is now, to be kept elsewhere.
    ///
    /// # Errors
    /// When the database cannot be read, or the checkpoint not be written beside it.
    fn checkpoint(&self) -> Result<Checkpoint>;
}
