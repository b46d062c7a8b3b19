//! Hearing of state changes as they are committed (`LISTEN state_change`).
//!
//! One connection listens and tells whoever subscribed. It comes back by itself when the database was
//! away, and says so, because what was announced meanwhile was not heard.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Config, NoTls};

use crate::log;
use crate::pool::{DbError, Session, Statement};

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A committed change of state, as it is announced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announced {
    /// Id of the line of history.
    pub id: i64,
    /// The return.
    pub return_id: i64,
    /// The state before; absent for a new draft.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Who did it.
    pub actor: String,
    /// When, RFC 3339.
    pub at: String,
}

/// What a subscriber hears.
#[derive(Clone, Debug)]
pub enum News {
    /// A change.
    Changed(Announced),
    /// The connection came back; changes may have been missed.
    Resumed,
}

/// A subscription point, with the connection's state: whether the database answers at this moment.
#[derive(Clone)]
pub struct Listener {
    news: broadcast::Sender<News>,
    session: watch::Receiver<Option<std::sync::Arc<Session>>>,
}

const MISSED: Statement = Statement {
    purpose: "read missed changes",
    sql: "select id, return_id, from_state, to_state, actor,
                 to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
          from state_change where id > $1 order by id limit 1000",
};

impl Listener {
    /// Starts listening in the background, for as long as the runtime lives.
    pub fn start(config: Config) -> Self {
        let (news, _) = broadcast::channel(1024);
        let (standing, session) = watch::channel(None);
        tokio::spawn(listen_for_ever(config, news.clone(), standing));
        Self { news, session }
    }

    /// From now on.
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// The listening connection, if it stands. It may be used for short questions beside the pool, so
    /// that a busy pool does not make the service look ill.
    pub fn session(&self) -> Option<std::sync::Arc<Session>> {
        self.session.borrow().clone()
    }
}

/// At most 1,000 changes after the given one, for a subscriber that comes back.
pub async fn missed(session: &Session, after: i64) -> Result<Vec<Announced>, DbError> {
    let rows = session.all(MISSED, &[&after]).await?;
    let read = |row: &tokio_postgres::Row| Announced {
        id: row.get(0),
        return_id: row.get(1),
        from: row.get(2),
        to: row.get(3),
        actor: row.get(4),
        at: row.get(5),
    };
    Ok(rows.iter().map(read).collect())
}

async fn listen_for_ever(
    config: Config,
    news: broadcast::Sender<News>,
    standing: watch::Sender<Option<std::sync::Arc<Session>>>,
) {
    let first_pause = Duration::from_millis(50);
    let mut pause = first_pause;
    loop {
        let started = tokio::time::Instant::now();
        let end = listen_once(&config, &news, &standing).await;
        standing.send_replace(None);
        if started.elapsed() > LONGEST_PAUSE {
            pause = first_pause;
        }
        match end {
            Ok(()) => log::warn(
                "database connection ended",
                &[("retry_ms", &pause.as_millis())],
            ),
            Err(error) => {
                log::warn(
                    "database not reachable",
                    &[
                        ("error", &log::chain(&error)),
                        ("retry_ms", &pause.as_millis()),
                    ],
                );
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens until the connection ends.
async fn listen_once(
    config: &Config,
    news: &broadcast::Sender<News>,
    standing: &watch::Sender<Option<std::sync::Arc<Session>>>,
) -> Result<(), DbError> {
    let failed = |source| DbError::Statement {
        purpose: "be reached",
        source,
    };
    let (client, mut connection) = config.connect(NoTls).await.map_err(failed)?;
    let session = std::sync::Arc::new(Session::from(client));
    let drive = async {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(note) = message {
                tell(news, note.payload());
            }
        }
    };
    let ready = async {
        session
            .batch("listen for changes", "listen state_change")
            .await?;
        log::info("database connected", &[]);
        standing.send_replace(Some(session.clone()));
        let _ = news.send(News::Resumed);
        std::future::pending::<Result<(), DbError>>().await
    };
    match select(pin!(drive), pin!(ready)).await {
        Either::Left(((), _)) => Ok(()),
        Either::Right((result, _)) => result,
    }
}

fn tell(news: &broadcast::Sender<News>, payload: &str) {
    match serde_json::from_str(payload) {
        // Nobody subscribed: nobody to tell.
        Ok(change) => drop(news.send(News::Changed(change))),
        Err(error) => log::warn("announcement not understood", &[("error", &error)]),
    }
}
