//! Taking a database's dump, and restoring one where it harms nobody.
//!
//! Decision: `pg_dump` runs beside the database, in its own sandbox, at the lowest priority, and writes nothing to the
//! disk. It is restored in an instance that has a new PostgreSQL with passwords of its own, which nothing is linked to
//! and which listens on a Unix socket inside alone; its data lies in its own folder, and is gone with it.

use std::collections::BTreeMap;

use ward_types::keeper::{InstanceSpec, Role};
use ward_types::secret::Secret;
use ward_types::spec::DatabaseSpec;
use ward_types::view::ExecCommand;

use crate::copy::RESERVE;
use crate::database::{Database, Place};
use crate::error::Error;
use crate::password;

/// What restores a dump, and counts what is in it.
const PROVING: &str = include_str!("prove.sh");

/// What a new database that nobody needs may lose. The last of two settings of one name counts.
const SETTINGS: [&str; 5] = [
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
];

impl Database {
    /// What writes the application's database to standard output, inside the database's instance (`Request::Exec`). It
    /// gives up after ten seconds where a statement holds a table for itself: whoever comes behind would wait, too.
    #[must_use]
    pub fn dump(&self) -> ExecCommand {
        let mut argv = at_rest("pg_dump", &self.installation().bin);
        argv.extend(
            [
                "--format=custom",
                "--lock-wait-timeout=10000",
                "--no-password",
            ]
            .map(str::to_owned),
        );
        let credential = self.credential();
        ExecCommand {
            argv,
            env: BTreeMap::from([
                ("PGUSER".to_owned(), Secret::new(credential.role)),
                ("PGPASSWORD".to_owned(), credential.password),
            ]),
        }
    }

    /// What a keeper must know to run a new PostgreSQL of the same version, for [`proving`].
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn drill(
        &self,
        spec: &DatabaseSpec,
        role: Role,
        place: Place,
    ) -> Result<InstanceSpec, Error> {
        let own = self.elsewhere(
            place.dir.join("data"),
            (password::draw()?, password::draw()?),
        );
        let mut instance = own.instance(spec, place);
        instance.facts.role = role;
        instance.facts.port = None;
        instance.health = None;
        for setting in SETTINGS {
            instance.argv.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let nice = ["/usr/bin/nice", "-n", "10"].map(str::to_owned);
        instance.argv.splice(0..0, nice);
        Ok(instance)
    }
}

/// What restores the dump on standard input, inside an instance of [`Database::drill`], and writes how many tables with
/// data there are and how many rows they have together, where each has as many as the dump. Doing it again begins anew.
#[must_use]
pub fn proving() -> ExecCommand {
    let argv = ["/usr/bin/nice", "-n", "10", "/bin/sh", "-c", PROVING];
    ExecCommand {
        argv: argv.map(str::to_owned).into(),
        env: BTreeMap::from([("WARD_RESERVE".to_owned(), Secret::new(RESERVE.to_string()))]),
    }
}

fn at_rest(program: &str, bin: &std::path::Path) -> Vec<String> {
    let program = bin.join(program).display().to_string();
    let mut argv: Vec<String> = ["/usr/bin/nice", "-n", "19"].map(str::to_owned).into();
    argv.push(program);
    argv
}
