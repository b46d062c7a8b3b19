//! The log in SQLite: one writer thread, read connections beside it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::watch;
use ward_types::event::{Record, State};
use ward_types::id::EnvId;
use ward_types::view::AuditView;

use crate::checkpoint::{Checkpoint, Folder, Signer, key_path};
use crate::opening::{self, Opened};
use crate::writer::{Job, Published, Writer};
use crate::{Entry, Error, Log, Result, room, schema, verify};

/// The log in an SQLite database. Cheap to clone; the database is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    mended: Vec<String>,
    published: Arc<Published>,
    readers: Mutex<Vec<Connection>>,
    /// The next numbers of the series that were asked for. Only this process takes any.
    numbers: Mutex<BTreeMap<String, u64>>,
    /// `None` only while it is dropped: the writer ends when nobody can ask it any more.
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the database at `path`, which is made (mode 0600) when it is not there; the folder has to
    /// be. The files `checkpoint.key` and `checkpoints/` are made beside it. One process at a time: take
    /// the [lock](crate::lock()) first.
    ///
    /// # Errors
    /// [`Error::Newer`] for the database of a newer Ward, [`Error::Corrupt`] for a damaged one,
    /// [`Error::Full`], and others of the disk.
    pub fn open(path: &Path) -> Result<Self> {
        let mut db = connect(path)?;
        schema::migrate(&mut db, path)?;
        let Opened {
            state,
            frontier,
            mended,
        } = opening::open(&mut db, path)?;
        let signer = Signer::open(&key_path(path))?;
        let folder = Folder::beside(path);
        folder.make(&signer.verifier().text())?;
        let kept = latest_kept(&db, path, &signer, &folder)?;
        let room = match room::make(&mut db, path) {
            Ok(room) => room,
            Err(error) => {
                tracing::debug!(%error, "room for the log");
                false
            }
        };
        if !room {
            tracing::warn!("{}", room::NONE);
        }
        let state = Arc::new(state);
        let published = Arc::new(Published::new(Arc::clone(&state), frontier.size()));
        let writer = Writer {
            db,
            path: path.to_owned(),
            state,
            frontier,
            published: Arc::clone(&published),
            signer,
            folder,
            kept,
            room,
        };
        Self::start(writer, path, published, mended)
    }

    /// What was not as Ward had left it when the database was opened, and was made anew from the events;
    /// in sentences. Nothing, unless somebody else wrote to it.
    #[must_use]
    pub fn mended(&self) -> &[String] {
        &self.inner.mended
    }

    fn start(
        writer: Writer,
        path: &Path,
        published: Arc<Published>,
        mended: Vec<String>,
    ) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log writer".into());
        let thread = thread.spawn(move || writer.run(&inbox));
        let thread = thread.map_err(Error::file("start the writer of", path))?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                mended,
                published,
                readers: Mutex::new(Vec::new()),
                numbers: Mutex::default(),
                jobs: Some(jobs),
                writer: Some(thread),
            }),
        })
    }

    fn ask<T>(&self, job: impl FnOnce(SyncSender<Result<T>>) -> Job) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let jobs = self.inner.jobs.as_ref().ok_or(Error::WriterGone)?;
        jobs.send(job(reply)).map_err(|_| Error::WriterGone)?;
        answer.recv().map_err(|_| Error::WriterGone)?
    }

    fn numbers(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        let numbers = self.inner.numbers.lock();
        numbers.unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, action: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let readers = || {
            self.inner
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let idle = readers().pop();
        let mut db = match idle {
            Some(db) => db,
            None => connect_read_only(&self.inner.path)?,
        };
        let answer = action(&mut db);
        readers().push(db);
        answer
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that the database is closed when the last store is gone.
    fn drop(&mut self) {
        // Before the writer: only the last connection that closes can fold the journal into the database,
        // and one that may only read cannot.
        let readers = self.readers.get_mut();
        readers.unwrap_or_else(PoisonError::into_inner).clear();
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

impl Log for Store {
    fn append(&self, entries: Vec<Entry>) -> Result<Vec<Record>> {
        self.ask(|reply| Job::Append { entries, reply })
    }

    fn state(&self) -> Arc<State> {
        self.inner.published.state()
    }

    fn records(
        &self,
        after: Option<u64>,
        limit: usize,
        env: Option<&EnvId>,
    ) -> Result<Vec<Record>> {
        self.read(|db| records(db, &self.inner.path, after, limit, env))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.inner.published.changed()
    }

    fn concerned(&self, env: &EnvId) -> u64 {
        self.inner.published.concerned(env)
    }

    fn next_number(&self, key: &str, count: u32) -> Result<u64> {
        // The next one is asked for far more often than any is taken, and shall not wait for the disk.
        if count == 0
            && let Some(next) = self.numbers().get(key)
        {
            return Ok(*next);
        }
        let taken = self.ask(|reply| Job::Number {
            key: key.to_owned(),
            count,
            reply,
        });
        let mut numbers = self.numbers();
        match &taken {
            Ok(first) => {
                let next = numbers.entry(key.to_owned()).or_default();
                // Of two that were taken at once the answers may come in any order.
                *next = (*next).max(first + u64::from(count));
            }
            // It may have been made durable all the same.
            Err(_) => drop(numbers.remove(key)),
        }
        taken
    }

    fn verify(&self, checkpoint: Option<&str>) -> Result<AuditView> {
        // Asked for first, so that the head of everything acknowledged is there to compare with. An audit
        // of what is there can do without it.
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "the audit goes without the latest checkpoint");
        }
        self.read(|db| verify::verify(db, &self.inner.path, checkpoint))
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        self.ask(|reply| Job::Checkpoint { reply })
    }
}

fn records(
    db: &Connection,
    path: &Path,
    after: Option<u64>,
    limit: usize,
    env: Option<&EnvId>,
) -> Result<Vec<Record>> {
    let failed = |source| Error::database("read the log", path)(source);
    let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = match env {
        None => {
            "SELECT seq, record FROM events WHERE seq > ?1 AND ?3 IS NULL ORDER BY seq LIMIT ?2"
        }
        Some(_) => {
            "SELECT seq, record FROM events WHERE seq > ?1 AND env = ?3 ORDER BY seq LIMIT ?2"
        }
    };
    let mut statement = db.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map(params![after, limit, env.map(EnvId::as_str)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let mut records = Vec::new();
    for row in rows.map_err(failed)? {
        let (seq, bytes) = row.map_err(failed)?;
        let record = serde_json::from_slice(&bytes);
        records.push(record.map_err(|source| Error::Row {
            what: format!("event {seq}"),
            source,
        })?);
    }
    Ok(records)
}

fn connect(path: &Path) -> Result<Connection> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).map_err(Error::file("open", path))?;
    let failed = |source| Error::database("open the log", path)(source);
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    db.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    schema::check(&db, path)?;
    db.pragma_update(None, "journal_mode", "WAL")
        .map_err(failed)?;
    db.pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    db.pragma_update(None, "journal_size_limit", 4 << 20)
        .map_err(failed)?;
    Ok(db)
}

pub(crate) fn connect_read_only(path: &Path) -> Result<Connection> {
    let failed = |source| Error::database("open the log", path)(source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    schema::check(&db, path)?;
    Ok(db)
}

/// The size of the latest checkpoint beside the database, or 0. One that the log contradicts is moved
/// aside, where `verify` finds it: it says that the log was changed behind Ward's back.
fn latest_kept(db: &Connection, path: &Path, signer: &Signer, folder: &Folder) -> Result<u64> {
    let Some(text) = folder.latest() else {
        return Ok(0);
    };
    if let Ok(latest) = signer.verifier().read(&text) {
        let root = match latest.size {
            0 => Some(crate::merkle::empty_root()),
            size => db
                .query_row(
                    "SELECT root FROM events WHERE seq = ?1 - 1",
                    [size.cast_signed()],
                    |row| row.get(0),
                )
                .optional()
                .map_err(Error::database("read the log", path))?,
        };
        if root == Some(latest.root) {
            return Ok(latest.size);
        }
    }
    tracing::error!("the latest checkpoint does not fit the log; `ward audit verify` says more");
    folder.dispute_latest()?;
    Ok(0)
}
