//! The commands that prepare the database and end.

use std::error::Error;
use std::time::{Duration, Instant};

use returns_domain::{demo, log, migrate, pool};

use crate::serve;

/// How long a command waits for a database that is still starting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Brings the schema up to date, and says what it applied.
pub(crate) fn migrate() -> Result<(), Box<dyn Error>> {
    let config = serve::database()?;
    one_thread()?.block_on(async {
        wait_for(&config).await?;
        let said = |m: &migrate::Migration| {
            log::info(
                "applying migration",
                &[("number", &m.number), ("name", &m.name)],
            )
        };
        let applied = migrate::run(&config, said).await?;
        log::info(
            "schema is up to date",
            &[("version", &migrate::NEEDED), ("applied", &applied.len())],
        );
        Ok(())
    })
}

/// Adds the demonstration data that is missing.
pub(crate) fn seed_demo() -> Result<(), Box<dyn Error>> {
    let config = serve::database()?;
    one_thread()?.block_on(async {
        wait_for(&config).await?;
        let added = demo::seed(&config, jiff::Timestamp::now()).await?;
        log::info("demonstration data is there", &[("returns_added", &added)]);
        Ok(())
    })
}

async fn wait_for(config: &tokio_postgres::Config) -> Result<(), pool::DbError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pool::connect(config).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
