//! A small pool of PostgreSQL connections.
//!
//! A pooled connection that died is never the reason why a request fails: each checkout asks the server
//! for a sign of life (one round trip), drops what does not answer, and connects anew, again and again
//! until its patience ends. So a database that restarts makes requests wait, and only a database that
//! stays away makes them fail.
//!
//! Statements are prepared once per connection. They name every column they read, so that a migration
//! that adds columns under a running release cannot change a cached plan's result.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What can fail between us and the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// `DATABASE_URL` cannot be read. The address itself is not shown: it holds a password.
    #[error(
        "DATABASE_URL is no PostgreSQL address; write it as postgres://user:password@host:5432/name"
    )]
    Address(#[source] tokio_postgres::Error),
    /// No connection in the time given.
    #[error("no database connection within {waited:?}")]
    Unreachable {
        /// How long was waited.
        waited: Duration,
        /// The last refusal, if there was an answer at all.
        #[source]
        last: Option<tokio_postgres::Error>,
    },
    /// A statement failed.
    #[error("the database could not {purpose}")]
    Statement {
        /// What the statement is for, as "list returns".
        purpose: &'static str,
        /// The database's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A stored value that this release does not know.
    #[error("the database holds {what} that this release does not know: {value}")]
    Foreign {
        /// The kind of value.
        what: &'static str,
        /// The value.
        value: String,
    },
}

/// A statement and what it is for; the purpose appears in errors, the text is the key of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Completes "the database could not …".
    pub purpose: &'static str,
    /// One statement.
    pub sql: &'static str,
}

/// Parameters of a statement.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection with its prepared statements.
pub struct Session {
    client: Client,
    prepared: Mutex<HashMap<&'static str, tokio_postgres::Statement>>,
}

impl From<Client> for Session {
    fn from(client: Client) -> Self {
        Self {
            client,
            prepared: Mutex::default(),
        }
    }
}

impl Session {
    /// All rows.
    pub async fn all(&self, statement: Statement, params: Params<'_>) -> Result<Vec<Row>, DbError> {
        let failed = |source| DbError::Statement {
            purpose: statement.purpose,
            source,
        };
        let prepared = self.prepare(statement).await.map_err(failed)?;
        self.client.query(&prepared, params).await.map_err(failed)
    }

    /// The first row, if any.
    pub async fn first(
        &self,
        statement: Statement,
        params: Params<'_>,
    ) -> Result<Option<Row>, DbError> {
        Ok(self.all(statement, params).await?.into_iter().next())
    }

    /// How many rows were changed.
    pub async fn change(&self, statement: Statement, params: Params<'_>) -> Result<u64, DbError> {
        let failed = |source| DbError::Statement {
            purpose: statement.purpose,
            source,
        };
        let prepared = self.prepare(statement).await.map_err(failed)?;
        self.client.execute(&prepared, params).await.map_err(failed)
    }

    /// Several statements without parameters.
    pub async fn batch(&self, purpose: &'static str, sql: &str) -> Result<(), DbError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|source| DbError::Statement { purpose, source })
    }

    async fn prepare(
        &self,
        statement: Statement,
    ) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        if let Some(known) = self
            .prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(statement.sql)
        {
            return Ok(known.clone());
        }
        let fresh = self.client.prepare(statement.sql).await?;
        self.prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(statement.sql, fresh.clone());
        Ok(fresh)
    }

    /// Whether the server answers now, within two seconds.
    pub async fn lives(&self) -> bool {
        !self.client.is_closed()
            && matches!(
                timeout(SIGN_OF_LIFE, self.client.batch_execute("")).await,
                Ok(Ok(()))
            )
    }
}

/// Connects once, outside any pool; the task that drives the connection ends with it.
pub async fn connect(config: &Config) -> Result<Session, DbError> {
    let failed = |source| DbError::Statement {
        purpose: "be reached",
        source,
    };
    let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
    tokio::spawn(connection);
    Ok(Session::from(client))
}

/// Reads `DATABASE_URL`'s value; a connection attempt may take two seconds, unless it says otherwise.
pub fn config(url: &str, program: &str) -> Result<Config, DbError> {
    let mut config: Config = url.parse().map_err(DbError::Address)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(2));
    }
    if config.get_application_name().is_none() {
        config.application_name(program);
    }
    Ok(config)
}

/// The pool; clones share it.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    patience: Duration,
    slots: Arc<Semaphore>,
    idle: Mutex<VecDeque<Session>>,
}

impl Pool {
    /// A pool of at most `size` connections, made when needed; a checkout waits at most `patience`.
    pub fn new(config: Config, size: usize, patience: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(size));
        Self {
            inner: Arc::new(Inner {
                config,
                patience,
                slots,
                idle: Mutex::default(),
            }),
        }
    }

    /// A connection that answered just now.
    pub async fn get(&self) -> Result<Lease, DbError> {
        let inner = &self.inner;
        let deadline = Instant::now() + inner.patience;
        let unreachable = |last| DbError::Unreachable {
            waited: inner.patience,
            last,
        };
        let permit = match timeout_at(deadline, inner.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(unreachable(None)),
        };
        let session = match inner.living().await {
            Some(session) => session,
            None => inner.connect_until(deadline).await.map_err(unreachable)?,
        };
        Ok(Lease {
            session: Some(session),
            open_work: false,
            pool: self.clone(),
            permit: Some(permit),
        })
    }
}

impl Inner {
    /// The most recently used connection that still answers; the dead ones before it are dropped.
    async fn living(&self) -> Option<Session> {
        loop {
            let candidate = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_back()?;
            if candidate.lives().await {
                return Some(candidate);
            }
        }
    }

    async fn connect_until(
        &self,
        deadline: Instant,
    ) -> Result<Session, Option<tokio_postgres::Error>> {
        let mut pause = FIRST_PAUSE;
        loop {
            let refusal = match timeout_at(deadline, self.config.connect(NoTls)).await {
                Ok(Ok((client, connection))) => {
                    tokio::spawn(connection);
                    return Ok(Session::from(client));
                }
                Ok(Err(refusal)) => refusal,
                Err(_) => return Err(None),
            };
            if Instant::now() + pause >= deadline {
                return Err(Some(refusal));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A connection on loan; it goes back to the pool when dropped.
pub struct Lease {
    session: Option<Session>,
    open_work: bool,
    pool: Pool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("the session leaves only in drop")
    }
}

impl Lease {
    /// Begins a transaction. What is not committed is rolled back, also when the future that holds it is
    /// dropped because the client went away.
    pub async fn begin(&mut self) -> Result<Work<'_>, DbError> {
        // Marked before the server hears of it: a future dropped in between must roll back too.
        self.open_work = true;
        self.batch("begin a transaction", "begin").await?;
        Ok(Work { lease: self })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(session), permit) = (self.session.take(), self.permit.take()) else {
            return;
        };
        let pool = self.pool.clone();
        if !self.open_work {
            pool.inner
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(session);
            return;
        }
        // An abandoned transaction holds locks: end it now, not at the next checkout. The permit moves
        // along, so that the pool's size stays true meanwhile.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(())) =
                    timeout(SIGN_OF_LIFE, session.client.batch_execute("rollback")).await
                {
                    pool.inner
                        .idle
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_back(session);
                }
                drop(permit);
            });
        }
    }
}

/// A transaction.
pub struct Work<'a> {
    lease: &'a mut Lease,
}

impl Deref for Work<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.lease
    }
}

impl Work<'_> {
    /// Makes it last.
    pub async fn commit(self) -> Result<(), DbError> {
        self.lease.batch("commit", "commit").await?;
        self.lease.open_work = false;
        Ok(())
    }
}
