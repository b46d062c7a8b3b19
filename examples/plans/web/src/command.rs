//! The commands that prepare the database and end.

use std::error::Error;
use std::time::Duration;

use plans_service::log;
use plans_store::{Pool, migrate as schema, seed as synthetic};

/// How long a command waits for a database that is still starting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Brings the schema up to date, and says what it applied.
pub(crate) fn migrate() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(crate::serve::database()?, 1, PATIENCE);
    one_thread()?.block_on(async {
        let applied = schema::run(&mut *pool.get().await?).await?;
        for migration in &applied {
            let pairs: [(&str, &dyn std::fmt::Display); 2] =
                [("number", &migration.number), ("name", &migration.name)];
            log::info("applied migration", &pairs);
        }
        log::info(
            "schema is up to date",
            &[("version", &schema::NEEDED), ("applied", &applied.len())],
        );
        Ok(())
    })
}

/// Adds the synthetic employers that are missing.
pub(crate) fn seed() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(crate::serve::database()?, 1, PATIENCE);
    one_thread()?.block_on(async {
        let added = synthetic::seed(&mut *pool.get().await?).await?;
        log::info("synthetic data is there", &[("employers_added", &added)]);
        Ok(())
    })
}

fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
