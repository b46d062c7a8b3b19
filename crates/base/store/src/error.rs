//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use ward_types::event::MisfitEvent;
use ward_types::id::Term;

/// A store operation that did not succeed. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the state folder.
    #[error(
        "another Ward{} uses the state folder {}; stop it, or set WARD_HOME to another folder",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), home.display()
    )]
    Locked {
        /// The state folder.
        home: PathBuf,
        /// The process that holds it, when it can be known.
        pid: Option<u32>,
    },
    /// A file or folder of the store could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb: `open`, `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database was written by a newer Ward.
    #[error(
        "{} was written by a newer Ward (its layout is {found}, this binary knows up to {known}); run that Ward, or a newer one",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The layout's number in the file.
        found: i64,
        /// The newest layout that this binary knows.
        known: i64,
    },
    /// The file is no database, or a damaged one.
    #[error("{} is damaged or no database; restore it from a copy, or move it away to begin anew", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A row does not hold what Ward wrote there.
    #[error(
        "{what} in the database cannot be read; `ward audit verify` says what is wrong with the log"
    )]
    Row {
        /// Which row.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full; nothing was recorded; free some space and try again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// Any other failure of the database.
    #[error("cannot {action} in {}", path.display())]
    Database {
        /// What was tried, as a verb.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// An entry does not follow from what the log says.
    #[error("the event `{kind}` does not fit the log; nothing was recorded")]
    Misfit {
        /// The event's kind.
        kind: &'static str,
        /// Why.
        #[source]
        source: MisfitEvent,
    },
    /// An entry has no canonical form.
    #[error("the event `{kind}` cannot be written down; nothing was recorded")]
    Unwritable {
        /// The event's kind.
        kind: &'static str,
        /// Why.
        #[source]
        source: crate::canonical::NotCanonical,
    },
    /// Somebody else wrote to the log.
    #[error(
        "the log in {} holds {found} events where this process wrote {known}: another process wrote to it; stop one of them",
        path.display()
    )]
    OtherWriter {
        /// The database.
        path: PathBuf,
        /// Events in the database.
        found: u64,
        /// Events that this process knows.
        known: u64,
    },
    /// Another server has taken over.
    #[error(
        "this server, with the fencing number {term}, {}",
        found.map_or_else(
            || format!("cannot tell whether it was succeeded: {} holds no number any more, and it changes nothing without; `ward up --platform` starts another", path.display()),
            |found| format!("was succeeded by {found}, as {} says, and changes nothing any more", path.display()),
        )
    )]
    Fenced {
        /// The lease's file.
        path: PathBuf,
        /// The number that is not good any more.
        term: Term,
        /// The number that is; `None`: nobody can tell.
        found: Option<Term>,
    },
    /// An event is not what was appended.
    #[error("event {event} of the log was altered or moved")]
    Altered {
        /// Its number.
        event: u64,
    },
    /// The log's head is not one, and its events are not whole either.
    #[error(
        "the head of the log in {} is lost or not that of its events; `ward audit verify` says which event was altered; restore ward.db and checkpoints/ from a copy",
        path.display()
    )]
    Head {
        /// The database.
        path: PathBuf,
    },
    /// The key that signs checkpoints cannot be used.
    #[error("{} does not hold a key that signs checkpoints; restore it from a copy, or move it away to have a new one made", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
    },
    /// The writer thread is gone, which only a defect of Ward can cause.
    #[error("the log's writer has ended; start the server again")]
    WriterGone,
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn database(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, source }
            }
            _ => Self::Database {
                action,
                path,
                source,
            },
        }
    }
}
