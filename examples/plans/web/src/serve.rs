//! The service: its configuration and its start.
//!
//! It listens before it knows whether the database answers: `/healthz` says 503 until it does.

use std::error::Error;
use std::time::Duration;

use plans_service::settings::{number, required};
use plans_store::pool::{self, Pool};

/// How long a request waits for a connection to the database.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a health check does: it must answer before whoever asks gives up.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: Pool,
    /// One connection of its own: a pool that is busy must not make a healthy instance look ill.
    pub(crate) health: Pool,
}

/// Serves until told to stop.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let config = database()?;
    let port = number("PORT", 8080, 0, 65_535)? as u16;
    let size = number("DATABASE_POOL", 6, 1, 64)?;
    let app = App {
        pool: Pool::new(config.clone(), size, PATIENCE),
        health: Pool::new(config, 1, HEALTH_PATIENCE),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(plans_service::serve::serve(crate::pages::router(app), port))
}

/// The database's address from `DATABASE_URL`.
pub(crate) fn database() -> Result<tokio_postgres::Config, Box<dyn Error>> {
    let url = required("DATABASE_URL", "postgres://user:password@host:5432/name")?;
    Ok(pool::config(&url, "plans-web")?)
}
