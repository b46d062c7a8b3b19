//! The service: configuration, start, and an orderly end.
//!
//! It listens before it knows whether the database answers: `/healthz` says 503 until it does. On SIGTERM
//! (or Ctrl-C) it stops accepting, ends event streams, finishes the requests under way, long uploads
//! included, and exits 0; how long that may take is for whoever sent the signal to decide. A second signal
//! ends it at once.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::serve::ListenerExt;
use returns_domain::changes::Listener;
use returns_domain::log;
use returns_domain::pool::{self, Pool};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a request waits for a connection to the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who this instance is, for `/version` and the header `x-release`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Identity {
    pub(crate) release: String,
    pub(crate) instance: String,
    pub(crate) version: String,
    pub(crate) pid: u32,
}

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: Pool,
    pub(crate) listener: Listener,
    pub(crate) identity: Identity,
    /// Becomes true when the service is ending.
    pub(crate) ending: watch::Receiver<bool>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    #[error(
        "DATABASE_URL is not set; give the database as postgres://user:password@host:5432/name"
    )]
    NoDatabase,
    #[error("{name} is “{value}”; it must be a whole number from {least} to {most}")]
    Number {
        name: &'static str,
        value: String,
        least: usize,
        most: usize,
    },
    #[error("port {port} cannot be listened on; another program may hold it, PORT chooses another")]
    Port { port: u16, source: std::io::Error },
}

/// Serves until told to stop.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let config = database()?;
    let port = number("PORT", 8080, 0, 65_535)? as u16;
    let size = number("DATABASE_POOL", 8, 1, 64)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config, port, size))
}

async fn serve(
    config: tokio_postgres::Config,
    port: u16,
    size: usize,
) -> Result<(), Box<dyn Error>> {
    let mut asked_to_end = Signals::new()?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .map_err(|source| SettingError::Port { port, source })?;
    let (end, ending) = watch::channel(false);
    let app = App {
        pool: Pool::new(config.clone(), size, PATIENCE),
        listener: Listener::start(config),
        identity: identity(),
        ending,
    };
    log::info(
        "listening",
        &[
            ("addr", &listener.local_addr()?),
            ("release", &app.identity.release),
        ],
    );
    // Small answers must not wait for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let graceful =
        axum::serve(listener, crate::pages::router(app)).with_graceful_shutdown(async move {
            let name = asked_to_end.next().await;
            log::info("ending", &[("signal", &name)]);
            end.send_replace(true);
            tokio::spawn(async move {
                asked_to_end.next().await;
                std::process::exit(1);
            });
        });
    graceful.await?;
    log::info("ended", &[]);
    Ok(())
}

/// The database's address from `DATABASE_URL`.
pub(crate) fn database() -> Result<tokio_postgres::Config, Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| SettingError::NoDatabase)?;
    Ok(pool::config(&url, "returns-web")?)
}

fn number(
    name: &'static str,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, SettingError> {
    let Ok(value) = std::env::var(name) else {
        return Ok(default);
    };
    match value.trim().parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(SettingError::Number {
            name,
            value,
            least,
            most,
        }),
    }
}

fn identity() -> Identity {
    let read = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    Identity {
        release: read("WARD_RELEASE", "none"),
        instance: read("WARD_INSTANCE", "none"),
        version: read("WARD_VERSION", env!("CARGO_PKG_VERSION")),
        pid: std::process::id(),
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
