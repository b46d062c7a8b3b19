//! Decision: plain HTTP/1.1 requests are carried without hyper, and everything else goes to it.
//!
//! Most requests are plain: a method that everybody knows, a path of harmless characters, one host, no body or one
//! whose length is told, a route that asks nothing special. For these hyper's two tasks, channels and maps cost
//! several times what reading and writing does. So a connection begins here: its bytes are read into a buffer, a
//! head is read and written anew in one pass, and the answer's likewise, on a connection to the instance that
//! nobody else uses.
//!
//! **Whatever is not plain is handed over**: the connection with all bytes that were read, and with what became of
//! the request so far, goes to hyper for good. That is so for heads that are malformed, slow or large, for HTTP/2,
//! upgrades, chunked bodies, bodies that have yet to come and are not long (but while many of those are under way), for splits, affinity, hedges, deadlines,
//! maintenance, redirects, and for every request that fails: refusing, waiting and trying again are written once, in
//! [`crate::proxy`]. Here a request either succeeds, or goes there, or, once its answer has begun, ends with its
//! connection.
//!
//! **Nothing is passed on as it came.** Both heads are written from what was understood of them, as hyper's path
//! does, so that no third reading of them exists; [`ask`] lets through less than the grammar allows.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod body;
mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod line;
mod pipe;
mod rest;
mod spare;
mod timer;
mod way;

use bytes::Bytes;

pub(crate) use line::{Line, origin};
pub(crate) use pipe::Pipe;
pub(crate) use spare::{Dates, Spare};
pub(crate) use way::{Own, Way};

use crate::account::Account;
use crate::clock;
use crate::proxy::Begun;

/// The longest head of an answer.
pub(crate) const LONGEST_HEAD: usize = 64 * 1024;
/// A body of which more bytes than this are to come is passed on as it comes, through a pipe where that can be done.
pub(crate) const LONG: usize = 64 * 1024;
/// A piece that is smaller is copied behind what goes before it, which is cheaper than naming both to the kernel.
pub(crate) const SMALL: usize = 8 * 1024;

/// How a connection ends here.
pub(crate) enum Parted {
    /// It is over.
    Ended,
    /// Its client has ended it.
    Gone,
    /// It goes on with hyper.
    Handed(Box<Handed>),
}

/// What hyper has to know of a connection that it takes over.
pub(crate) struct Handed {
    /// Bytes of the client's that it reads first.
    pub(crate) ahead: Bytes,
    /// Since when the client owes the rest of a head (milliseconds).
    pub(crate) since: u64,
    /// Requests so far, the one that is handed over not counted.
    pub(crate) requests: usize,
    /// The first request, if it was begun.
    pub(crate) resume: Option<Resume>,
}

impl Handed {
    /// A connection of which nothing was read.
    pub(crate) fn nothing() -> Self {
        Self {
            ahead: Bytes::new(),
            since: clock::millis(),
            requests: 0,
            resume: None,
        }
    }
}

/// A request that was begun here and goes on elsewhere.
pub(crate) struct Resume {
    /// What is kept of it. Its words are written.
    pub(crate) account: Account,
    /// How far it came.
    pub(crate) begun: Begun,
}
