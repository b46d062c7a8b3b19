//! Numbered migrations, embedded in the program.
//!
//! Each runs once, in a transaction of its own, together with the row that records it. An advisory lock
//! lets one migrator in at a time; a second one waits, and then finds nothing to do. A migration that was
//! applied and then edited is refused: what ran cannot be made to have run differently.

use sha2::{Digest, Sha256};
use tokio_postgres::Config;

use crate::pool::{self, DbError, Session, Statement};

/// One numbered file.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Counted from 1 without gaps.
    pub number: i32,
    /// The file's name without number and ending.
    pub name: &'static str,
    /// What it runs.
    pub sql: &'static str,
}

/// All migrations of this release, in order.
pub const ALL: &[Migration] = &[
    Migration {
        number: 1,
        name: "returns",
        sql: include_str!("../migrations/0001_returns.sql"),
    },
    Migration {
        number: 2,
        name: "prices",
        sql: include_str!("../migrations/0002_prices.sql"),
    },
    Migration {
        number: 3,
        name: "attachments",
        sql: include_str!("../migrations/0003_attachments.sql"),
    },
];

/// The schema that this release needs.
pub const NEEDED: i32 = ALL.len() as i32;

/// What stops a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A migration failed and was rolled back.
    #[error("migration {number:04} {name} failed and was rolled back; nothing of it remains")]
    Failed {
        /// Its number.
        number: i32,
        /// Its name.
        name: &'static str,
        /// The database's answer.
        #[source]
        source: DbError,
    },
    /// An applied migration differs from the one in this program.
    #[error(
        "migration {number:04} {name} was edited after it had been applied; put the change into a new migration"
    )]
    Edited {
        /// Its number.
        number: i32,
        /// Its name.
        name: &'static str,
    },
}

const LOCK: Statement = Statement {
    purpose: "take the migration lock",
    sql: "select pg_advisory_lock(727376825)",
};
const UNLOCK: Statement = Statement {
    purpose: "release the migration lock",
    sql: "select pg_advisory_unlock(727376825)",
};
const APPLIED: Statement = Statement {
    purpose: "read the applied migrations",
    sql: "select number, sha256 from schema_migration order by number",
};
const RECORD: Statement = Statement {
    purpose: "record a migration",
    sql: "insert into schema_migration (number, name, sha256) values ($1, $2, $3)",
};
const EXISTS: Statement = Statement {
    purpose: "look for the schema",
    sql: "select to_regclass('schema_migration') is not null",
};
const HIGHEST: Statement = Statement {
    purpose: "read the schema's version",
    sql: "select coalesce(max(number), 0) from schema_migration",
};

/// Applies what is missing; returns what was applied. `said` hears of each before it starts.
pub async fn run(
    config: &Config,
    said: impl FnMut(&Migration),
) -> Result<Vec<Migration>, MigrateError> {
    let session = pool::connect(config).await?;
    session.first(LOCK, &[]).await?;
    // The lock belongs to the session: an early return gives it back by closing the connection.
    let applied = apply_missing(&session, ALL, said).await?;
    session.first(UNLOCK, &[]).await?;
    Ok(applied)
}

/// The number of the newest applied migration; 0 for an empty database.
pub async fn version(session: &Session) -> Result<i32, DbError> {
    let exists = session
        .first(EXISTS, &[])
        .await?
        .is_some_and(|row| row.get(0));
    if !exists {
        return Ok(0);
    }
    Ok(session
        .first(HIGHEST, &[])
        .await?
        .map_or(0, |row| row.get(0)))
}

async fn apply_missing(
    session: &Session,
    migrations: &[Migration],
    mut said: impl FnMut(&Migration),
) -> Result<Vec<Migration>, MigrateError> {
    session
        .batch(
            "create the table of migrations",
            "set client_min_messages = warning; create table if not exists schema_migration (
                number integer primary key, name text not null, sha256 text not null,
                applied_at timestamptz not null default now())",
        )
        .await?;
    let known: Vec<(i32, String)> = session
        .all(APPLIED, &[])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let mut applied = Vec::new();
    for migration in migrations {
        match known.iter().find(|(number, _)| *number == migration.number) {
            Some((_, sha256)) if *sha256 == fingerprint(migration.sql) => {}
            Some(_) => {
                return Err(MigrateError::Edited {
                    number: migration.number,
                    name: migration.name,
                });
            }
            None => {
                said(migration);
                apply(session, migration).await?;
                applied.push(*migration);
            }
        }
    }
    Ok(applied)
}

async fn apply(session: &Session, migration: &Migration) -> Result<(), MigrateError> {
    let Migration { number, name, sql } = *migration;
    let result = async {
        session.batch("begin a transaction", "begin").await?;
        session.batch("run the migration", sql).await?;
        session
            .change(RECORD, &[&number, &name, &fingerprint(sql)])
            .await?;
        session.batch("commit", "commit").await
    }
    .await;
    if result.is_err() {
        let _ = session.batch("roll back", "rollback").await;
    }
    result.map_err(|source| MigrateError::Failed {
        number,
        name,
        source,
    })
}

fn fingerprint(sql: &str) -> String {
    hex(&Sha256::digest(sql.as_bytes()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_without_gaps() {
        let numbers: Vec<i32> = ALL.iter().map(|m| m.number).collect();
        assert_eq!(numbers, (1..=NEEDED).collect::<Vec<_>>());
    }
}
