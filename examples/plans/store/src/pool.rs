//! A small pool of PostgreSQL connections.
//!
//! A pooled connection that died is never the reason why a request fails: each checkout asks the server for
//! a sign of life, drops what does not answer and connects anew, until its patience ends. So a database that
//! restarts makes requests wait, and only one that stays away makes them fail.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::{Client, Config, NoTls};

const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

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
        /// Completes the sentence.
        purpose: &'static str,
        /// The database's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A stored value that this release does not know.
    #[error("the database holds {0} that this release does not know")]
    Foreign(&'static str),
}

impl DbError {
    /// Whether it may be gone at the next attempt: connection lost, shutting down, starting up.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Statement { source, .. } => {
                let code = source.code().map(|code| code.code());
                let passing = |code: &str| code.starts_with("57P") || code.starts_with("08");
                source.is_closed() || code.is_none_or(passing)
            }
            Self::Address(_) | Self::Foreign(_) => false,
        }
    }
}

/// Gives a failed statement its purpose.
pub fn could_not(purpose: &'static str) -> impl FnOnce(tokio_postgres::Error) -> DbError {
    move |source| DbError::Statement { purpose, source }
}

/// Reads the value of `DATABASE_URL`; an attempt to connect may take two seconds, unless it says otherwise.
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
    idle: Mutex<Vec<Client>>,
}

impl Pool {
    /// A pool of at most `size` connections, made when needed; a checkout waits at most `patience`.
    pub fn new(config: Config, size: usize, patience: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                patience,
                slots: Arc::new(Semaphore::new(size)),
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
        let slot = timeout_at(deadline, inner.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            return Err(unreachable(None));
        };
        let client = match inner.living().await {
            Some(client) => client,
            None => inner.connect_until(deadline).await.map_err(unreachable)?,
        };
        Ok(Lease {
            client: Some(client),
            pool: self.clone(),
            _slot: slot,
        })
    }
}

impl Inner {
    /// The most recently used connection that still answers; the dead ones before it are dropped.
    async fn living(&self) -> Option<Client> {
        loop {
            let candidate = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()?;
            // A transaction that was abandoned is ended by the driver before this: it sends ROLLBACK first.
            let answer = timeout(SIGN_OF_LIFE, candidate.batch_execute("")).await;
            if matches!(answer, Ok(Ok(()))) {
                return Some(candidate);
            }
        }
    }

    async fn connect_until(
        &self,
        deadline: Instant,
    ) -> Result<Client, Option<tokio_postgres::Error>> {
        loop {
            let refusal = match timeout_at(deadline, self.config.connect(NoTls)).await {
                Ok(Ok((client, connection))) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Ok(Err(refusal)) => refusal,
                Err(_) => return Err(None),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(Some(refusal));
            }
            sleep(PAUSE).await;
        }
    }
}

/// A connection on loan; it goes back to the pool when dropped.
pub struct Lease {
    client: Option<Client>,
    pool: Pool,
    _slot: OwnedSemaphorePermit,
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
            .as_ref()
            .expect("the client leaves only in drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
            .as_mut()
            .expect("the client leaves only in drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            let mut idle = self
                .pool
                .inner
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            idle.push(client);
        }
    }
}
