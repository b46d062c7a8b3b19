//! Numbered migrations, embedded in the program.
//!
//! Each runs once, in a transaction of its own, together with the row that records it. An advisory lock
//! lets one migrator in at a time; a second one waits, and then finds nothing to do. A migration that was
//! applied and then edited is refused: what ran cannot be made to have run differently.

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::pool::{DbError, could_not};

/// One numbered file.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Counted from 1 without gaps.
    pub number: i32,
    /// The file's name without number and ending.
    pub name: &'static str,
    sql: &'static str,
}

/// All migrations of this release, in order.
pub const ALL: &[Migration] = &[
    Migration {
        number: 1,
        name: "plans",
        sql: include_str!("../migrations/0001_plans.sql"),
    },
    Migration {
        number: 2,
        name: "comparisons",
        sql: include_str!("../migrations/0002_comparisons.sql"),
    },
];

/// The schema that this release needs.
pub const NEEDED: i32 = ALL.len() as i32;

/// What stops a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed. What was under way was rolled back.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An applied migration differs from the one in this program.
    #[error(
        "migration {number:04} {name} was edited after it had been applied; put the change into a new one"
    )]
    Edited {
        /// Its number.
        number: i32,
        /// Its name.
        name: &'static str,
    },
}

/// Applies what is missing; returns what was applied.
pub async fn run(client: &mut Client) -> Result<Vec<Migration>, MigrateError> {
    // The lock belongs to the session: whoever returns early gives it back by closing the connection.
    client
        .batch_execute("select pg_advisory_lock(727376826)")
        .await
        .map_err(could_not("take the migration lock"))?;
    let applied = apply_missing(client).await?;
    client
        .batch_execute("select pg_advisory_unlock(727376826)")
        .await
        .map_err(could_not("release the migration lock"))?;
    Ok(applied)
}

/// The number of the newest applied migration; 0 for an empty database.
pub async fn version(client: &Client) -> Result<i32, DbError> {
    let exists = client
        .query_one("select to_regclass('schema_migration') is not null", &[])
        .await
        .map_err(could_not("look for the schema"))?;
    if !exists.get::<_, bool>(0) {
        return Ok(0);
    }
    client
        .query_one("select coalesce(max(number), 0) from schema_migration", &[])
        .await
        .map(|row| row.get(0))
        .map_err(could_not("read the schema's version"))
}

async fn apply_missing(client: &mut Client) -> Result<Vec<Migration>, MigrateError> {
    client
        .batch_execute(
            "set client_min_messages = warning;
             create table if not exists schema_migration (
                 number integer primary key, name text not null, sha256 text not null,
                 applied_at timestamptz not null default now())",
        )
        .await
        .map_err(could_not("create the table of migrations"))?;
    let known = client
        .query("select number, sha256 from schema_migration", &[])
        .await
        .map_err(could_not("read the applied migrations"))?;
    let mut applied = Vec::new();
    for migration in ALL {
        let before = known
            .iter()
            .find(|row| row.get::<_, i32>(0) == migration.number);
        match before.map(|row| row.get::<_, String>(1)) {
            Some(sha256) if sha256 == fingerprint(migration.sql) => {}
            Some(_) => {
                return Err(MigrateError::Edited {
                    number: migration.number,
                    name: migration.name,
                });
            }
            None => {
                apply(client, migration).await?;
                applied.push(*migration);
            }
        }
    }
    Ok(applied)
}

async fn apply(client: &mut Client, migration: &Migration) -> Result<(), DbError> {
    let work = client
        .transaction()
        .await
        .map_err(could_not("begin a transaction"))?;
    work.batch_execute(migration.sql)
        .await
        .map_err(could_not("run a migration; it was rolled back"))?;
    work.execute(
        "insert into schema_migration (number, name, sha256) values ($1, $2, $3)",
        &[
            &migration.number,
            &migration.name,
            &fingerprint(migration.sql),
        ],
    )
    .await
    .map_err(could_not("record a migration"))?;
    work.commit().await.map_err(could_not("commit a migration"))
}

fn fingerprint(sql: &str) -> String {
    let hash = Sha256::digest(sql.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_without_gaps() {
        let numbers: Vec<i32> = ALL.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=NEEDED).collect::<Vec<_>>());
    }
}
