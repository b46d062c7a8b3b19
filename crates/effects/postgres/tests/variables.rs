//! What an instance and the links to it are given.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;

use tempfile::TempDir;
use ward_postgres::{Database, LinkVariables, Place, Postgres};
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{InstanceSpec, LogSpec, Role};
use ward_types::spec::{DatabaseEngine, DatabaseSpec};
use ward_types::time::Timestamp;
use ward_types::unit::ByteSize;

/// A folder below which a PostgreSQL seems to be installed.
fn installed() -> TempDir {
    let machine = tempfile::tempdir().unwrap();
    let bin = machine.path().join("15/bin");
    std::fs::create_dir_all(&bin).unwrap();
    for program in ["postgres", "initdb", "psql"] {
        std::fs::write(bin.join(program), "").unwrap();
    }
    machine
}

struct World {
    home: TempDir,
    _machine: TempDir,
    postgres: Postgres,
}

impl World {
    fn new() -> Self {
        let (home, machine) = (tempfile::tempdir().unwrap(), installed());
        let installations = machine.path().to_owned();
        let postgres = Postgres::with_installations(home.path().to_owned(), installations);
        Self {
            home,
            _machine: machine,
            postgres,
        }
    }

    fn database(&self, env: &str, name: &str) -> Database {
        let env = EnvId::parse(env).unwrap();
        self.postgres
            .prepare(&env, &Name::parse(name).unwrap())
            .unwrap()
    }
}

fn instance(database: &Database, memory: Option<ByteSize>) -> InstanceSpec {
    let place = Place {
        id: InstanceId::parse("db-r0-1").unwrap(),
        started: Timestamp(1),
        dir: PathBuf::from("/run/db-r0-1"),
        host_id: 1_000_000_007,
        log: LogSpec {
            file: PathBuf::from("/logs/db.log"),
            max_bytes: 1000,
        },
        gateway_links: PathBuf::from("/gateway/links.sock"),
    };
    let spec = DatabaseSpec {
        engine: DatabaseEngine::Postgres,
        memory,
        backups: None,
    };
    database.instance(&spec, place)
}

#[test]
fn a_link_gives_what_every_postgresql_client_reads() {
    let world = World::new();
    let database = world.database("pharmacy-returns/dev", "db");
    let given = database.link_env(LinkVariables::Plain);
    let value = |name: &str| given[name].expose().to_owned();
    let password = value("PGPASSWORD");
    assert!(password.len() >= 32);
    assert_eq!(
        value("DATABASE_URL"),
        format!("postgres://app:{password}@db:5432/pharmacy_returns")
    );
    let rest = ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE"].map(value);
    assert_eq!(rest, ["db", "5432", "app", "pharmacy_returns"]);
    assert_eq!(given.len(), 6);

    let audit = world.database("pharmacy-returns/dev", "audit-log");
    let prefixed = audit.link_env(LinkVariables::Prefixed);
    assert!(
        prefixed["AUDIT_LOG_DATABASE_URL"]
            .expose()
            .contains("@audit-log:5432/")
    );
    assert!(prefixed.keys().all(|name| name.starts_with("AUDIT_LOG_")));
    assert_eq!(prefixed.len(), 6);
}

#[test]
fn passwords_are_kept_and_differ_between_environments_and_databases() {
    let world = World::new();
    let password = |env: &str, name: &str| {
        let given = world.database(env, name).link_env(LinkVariables::Plain);
        given["PGPASSWORD"].expose().to_owned()
    };
    let first = password("returns/dev", "db");
    assert_eq!(password("returns/dev", "db"), first);
    assert_ne!(password("returns/prod", "db"), first);
    assert_ne!(password("returns/dev", "audit"), first);
    assert!(world.home.path().join("secrets/returns/dev/db").is_file());
    let (env, name) = (
        EnvId::parse("returns/dev").unwrap(),
        Name::parse("db").unwrap(),
    );
    world.postgres.purge(&env, &name).unwrap();
    world.postgres.purge(&env, &name).unwrap();
    assert_ne!(password("returns/dev", "db"), first);
}

#[test]
fn p6_no_password_is_in_an_argument_or_in_what_is_printed() {
    let world = World::new();
    let database = world.database("returns/dev", "db");
    let spec = instance(&database, None);
    let secrets: Vec<String> = ["PGPASSWORD", "WARD_SUPERUSER_PASSWORD"]
        .map(|name| spec.env[name].expose().to_owned())
        .to_vec();
    assert_ne!(secrets[0], secrets[1]);
    let psql = database.psql(&["-c".to_owned(), "select 1".to_owned()]);
    let shown = format!(
        "{database:?} {spec:?} {psql:?} {:?} {:?}",
        spec.argv, psql.argv
    );
    assert!(secrets.iter().all(|secret| !shown.contains(secret)));
}

#[test]
fn the_instance_is_what_the_keeper_and_postgresql_need() {
    let world = World::new();
    let database = world.database("returns/dev", "db");
    let spec = instance(&database, Some(ByteSize(1 << 30)));
    assert_eq!(
        (spec.facts.role, spec.facts.port),
        (Role::Database, Some(5432))
    );
    assert_eq!(spec.facts.release.to_string(), "r0");
    assert!(spec.user.uid != 0, "PostgreSQL refuses to be uid 0");
    assert_eq!(spec.stop_signal, 2);
    assert_eq!(spec.limits.memory, Some(1 << 30));
    assert!(
        spec.argv.contains(&"shared_buffers=256MB".to_owned()),
        "{:?}",
        spec.argv
    );
    assert!(!spec.argv.iter().any(|argument| argument.contains("fsync")));
    assert_eq!(
        spec.root.mounts[0].source,
        world.home.path().join("data/returns/dev/db/15")
    );
}

#[test]
fn a_stack_that_is_called_like_a_database_of_postgresqls_own_gets_another_name() {
    let world = World::new();
    assert_eq!(
        world.database("postgres/dev", "db").database_name(),
        "postgres_app"
    );
    assert_eq!(
        world.database("template1/dev", "db").database_name(),
        "template1_app"
    );
    assert_eq!(
        world.database("returns/dev", "db").database_name(),
        "returns"
    );
}
