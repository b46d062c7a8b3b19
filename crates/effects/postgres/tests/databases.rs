//! Real PostgreSQL in real sandboxes.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../../engine/tests/real/mod.rs"]
mod real;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use real::until;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use ward_engine::Engine;
use ward_engine::client::KeeperClient;
use ward_postgres::{Database, LinkVariables, PORT, Place, Postgres};
use ward_types::id::{BackupId, EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    Exit, InstanceFacts, InstanceSpec, InstanceState, Limits, LinkSpec, LinkTarget, LogSpec, Role,
    RootSpec, UserSpec,
};
use ward_types::spec::{DatabaseEngine, DatabaseSpec};
use ward_types::time::Millis;

struct World {
    engine: Engine,
    postgres: Postgres,
    env: EnvId,
    home: TempDir,
    next: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            engine: real::open(home.path()).await,
            postgres: Postgres::new(home.path().to_owned()),
            env: EnvId::parse("returns/dev").unwrap(),
            home,
            next: AtomicU64::new(1),
        }
    }

    fn database(&self) -> Database {
        self.postgres.prepare(&self.env, &name("db")).unwrap()
    }

    fn facts(&self, component: &str, role: Role) -> InstanceFacts {
        let component = name(component);
        let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
        InstanceFacts {
            id: InstanceId::new(&component, ReleaseId(0), ordinal),
            env: self.env.clone(),
            component,
            release: ReleaseId(0),
            role,
            port: None,
            started: real::now(),
            passwords: None,
        }
    }

    fn log(&self, facts: &InstanceFacts) -> LogSpec {
        LogSpec {
            file: self.engine.log_file(facts),
            max_bytes: 1 << 20,
        }
    }

    /// Starts an instance of the database, and does not wait for it.
    async fn begin(&self) -> InstanceFacts {
        let facts = self.facts("db", Role::Database);
        let place = Place {
            id: facts.id.clone(),
            started: facts.started,
            dir: self.engine.instance_dir(&self.env, &facts.id),
            host_id: self.engine.host_id(&self.env, &facts.component),
            log: self.log(&facts),
            gateway_links: self.engine.gateway_links(),
        };
        let spec = DatabaseSpec {
            engine: DatabaseEngine::Postgres,
            memory: None,
            backups: None,
        };
        let spec = self.database().instance(&spec, place);
        self.engine.start(spec).await.unwrap();
        self.engine
            .point(&self.env, &facts.component, &facts.id)
            .unwrap();
        facts
    }

    async fn until_healthy(&self, facts: &InstanceFacts) {
        until("it is healthy", || {
            let state = self.state(&facts.id);
            assert!(
                !state.is_over(),
                "{state:?}: {:#?}",
                self.engine.output_tail(facts, 30)
            );
            state == InstanceState::Healthy
        })
        .await;
    }

    async fn start(&self) -> InstanceFacts {
        let facts = self.begin().await;
        self.until_healthy(&facts).await;
        facts
    }

    fn state(&self, id: &InstanceId) -> InstanceState {
        self.engine.observe(&self.env)[id].status.state.clone()
    }

    async fn until_over(&self, id: &InstanceId) -> InstanceState {
        until("it is over", || self.state(id).is_over()).await;
        self.state(id)
    }

    async fn stop(&self, facts: &InstanceFacts) {
        self.engine
            .stop(&self.env, &facts.id, Millis::secs(30))
            .await
            .unwrap();
        let (exit, asked) = (Exit::Code(0), true);
        let state = self.until_over(&facts.id).await;
        assert_eq!(state, InstanceState::Exited { exit, asked });
    }

    fn kill_keeper(&self, id: &InstanceId) {
        real::kill(self.engine.observe(&self.env)[id].status.keeper_pid);
    }

    async fn try_client(
        &self,
        id: &InstanceId,
        password: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let stream = self.engine.connect(&self.env, id, PORT).await.unwrap();
        let mut config = tokio_postgres::Config::new();
        config.user("app").password(password).dbname("returns");
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn client(&self, id: &InstanceId) -> Client {
        let given = self.database().link_env(LinkVariables::Plain);
        self.try_client(id, given["PGPASSWORD"].expose())
            .await
            .unwrap()
    }

    fn data(&self) -> PathBuf {
        self.database().folder().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        real::end(&self.engine, &self.env);
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn it_comes_up_and_serves_the_application_alone() {
    let world = World::new().await;
    let facts = world.start().await;
    let client = world.client(&facts.id).await;
    client
        .batch_execute("create table item (lot text); create extension citext")
        .await
        .unwrap();
    for (query, expected) in [
        ("select current_user::text", "app"),
        (
            "select rolsuper::text from pg_roles where rolname = 'app'",
            "false",
        ),
        (
            "select pg_get_userbyid(datdba)::text from pg_database where datname = 'returns'",
            "app",
        ),
        ("show fsync", "on"),
        ("show synchronous_commit", "on"),
        ("show full_page_writes", "on"),
        ("show max_connections", "200"),
        ("show password_encryption", "scram-sha-256"),
        ("show listen_addresses", "127.0.0.1"),
        ("show server_encoding", "UTF8"),
        ("show timezone", "UTC"),
    ] {
        assert_eq!(text(&client, query).await, expected, "{query}");
    }
    let wrong = world.try_client(&facts.id, "wrong").await.err().unwrap();
    assert_eq!(wrong.code().unwrap().code(), "28P01", "{wrong}");
}

#[tokio::test]
async fn data_is_kept_across_stop_and_start() {
    let world = World::new().await;
    let first = world.start().await;
    let client = world.client(&first.id).await;
    client
        .batch_execute("create table item (lot text); insert into item values ('A1')")
        .await
        .unwrap();
    // A client that stays connected does not hold the shutdown up.
    world.stop(&first).await;
    let second = world.start().await;
    let client = world.client(&second.id).await;
    assert_eq!(text(&client, "select lot from item").await, "A1");
    let output = world.engine.output_tail(&second, 50).join("\n");
    assert!(!output.contains("was not properly shut down"), "{output}");
}

#[tokio::test]
async fn p4_what_was_committed_survives_kill_9_of_everything() {
    let world = World::new().await;
    let first = world.start().await;
    let client = world.client(&first.id).await;
    client
        .batch_execute("create table item (number int)")
        .await
        .unwrap();
    let mut committed = 0;
    for number in 1..=50 {
        client
            .execute("insert into item values ($1)", &[&number])
            .await
            .unwrap();
        committed = number;
    }
    let application = world.engine.observe(&world.env)[&first.id]
        .status
        .pid
        .expect("it runs");
    world.kill_keeper(&first.id);
    assert_eq!(world.until_over(&first.id).await, InstanceState::Lost);
    assert!(
        world.data().join("data/postmaster.pid").exists(),
        "it was shut down, not killed"
    );
    let second = world.start().await;
    assert!(!Path::new(&format!("/proc/{application}")).exists());
    let client = world.client(&second.id).await;
    let row = client
        .query_one("select max(number), count(*) from item", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i32>(0), row.get::<_, i64>(1)),
        (committed, i64::from(committed))
    );
}

#[tokio::test]
async fn killed_while_it_is_made_it_is_made_anew() {
    let world = World::new().await;
    let first = world.begin().await;
    let fresh = world.data().join("data.new");
    until("it is half made", || fresh.join("base").exists()).await;
    world.kill_keeper(&first.id);
    world.until_over(&first.id).await;
    assert!(
        fresh.exists() && !world.data().join("data").exists(),
        "it was made before it was killed"
    );
    let second = world.start().await;
    assert!(!fresh.exists());
    let client = world.client(&second.id).await;
    assert_eq!(
        text(&client, "select current_database()::text").await,
        "returns"
    );
}

#[tokio::test]
async fn two_at_once_never_use_the_same_data() {
    let world = World::new().await;
    let first = world.start().await;
    let second = world.begin().await;
    let client = world.client(&first.id).await;
    client
        .batch_execute("create table item (lot text); insert into item values ('A1')")
        .await
        .unwrap();
    // The second waits, and takes over when the first is gone.
    assert_eq!(world.state(&second.id), InstanceState::Starting);
    world.stop(&first).await;
    world.until_healthy(&second).await;
    let client = world.client(&second.id).await;
    assert_eq!(text(&client, "select lot from item").await, "A1");
}

#[tokio::test]
async fn p6_its_passwords_are_in_no_argument_and_no_file_but_their_own() {
    let world = World::new().await;
    let facts = world.begin().await;
    let secrets = world.home.path().join("secrets/returns/dev");
    let passwords =
        ["db", "db.superuser"].map(|name| fs::read_to_string(secrets.join(name)).unwrap());
    // From the first moment on: making the data folder is when passwords are handled most.
    while world.state(&facts.id) == InstanceState::Starting {
        for password in &passwords {
            assert_eq!(real::arguments_holding(password), Vec::<String>::new());
        }
        tokio::task::yield_now().await;
    }
    world.until_healthy(&facts).await;
    world.try_client(&facts.id, "wrong").await.err().unwrap();
    world.client(&facts.id).await;
    for (name, password) in ["db", "db.superuser"].iter().zip(&passwords) {
        assert_eq!(real::arguments_holding(password), Vec::<String>::new());
        let holding = real::files_holding(world.home.path(), password);
        assert_eq!(holding, [secrets.join(name).display().to_string()]);
    }
}

#[tokio::test]
async fn psql_runs_inside() {
    use std::os::fd::AsFd as _;
    let world = World::new().await;
    let facts = world.start().await;
    let command = world
        .database()
        .psql(&["-tAc", "select current_user || '@' || current_database()"].map(str::to_owned));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let keeper = KeeperClient::connect(&world.engine.instance_dir(&world.env, &facts.id)).unwrap();
    let env = command
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let stdio = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    let exit = keeper
        .exec(command.argv, env.collect(), stdio)
        .await
        .unwrap();
    drop(writer);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    assert_eq!((exit, said.trim()), (Exit::Code(0), "app@returns"));
}

impl World {
    /// Runs a program beside an instance, with files for its input and output: how it ended, and what it said.
    async fn beside(
        &self,
        facts: &InstanceFacts,
        command: ward_types::view::ExecCommand,
        (from, to): (&Path, &Path),
    ) -> (Exit, String) {
        use std::os::fd::AsFd as _;
        let (input, output) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
        let (mut reader, writer) = std::io::pipe().unwrap();
        let dir = self.engine.instance_dir(&self.env, &facts.id);
        let keeper = KeeperClient::connect(&dir).unwrap();
        let env = command.env.into_iter();
        let env = env.map(|(name, value)| (name, value.expose().to_owned()));
        let stdio = [input.as_fd(), output.as_fd(), writer.as_fd()];
        let exit = keeper
            .exec(command.argv, env.collect(), stdio)
            .await
            .unwrap();
        drop(writer);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
        (exit, said)
    }

    /// Starts a database that is nobody's.
    async fn drill(&self) -> InstanceFacts {
        let role = Role::Drill(BackupId(1));
        let facts = self.facts("db", role);
        let place = Place {
            id: facts.id.clone(),
            started: facts.started,
            dir: self.engine.instance_dir(&self.env, &facts.id),
            host_id: self.engine.host_id(&self.env, &facts.component),
            log: self.log(&facts),
            gateway_links: self.engine.gateway_links(),
        };
        let spec = DatabaseSpec {
            engine: DatabaseEngine::Postgres,
            memory: None,
            backups: None,
        };
        let spec = self.database().drill(&spec, role, place).unwrap();
        self.engine.start(spec).await.unwrap();
        facts
    }
}

#[tokio::test]
async fn p8_what_is_restored_is_counted_and_what_is_not_whole_is_refused() {
    let world = World::new().await;
    let facts = world.start().await;
    let client = world.client(&facts.id).await;
    client
        .batch_execute(
            "create extension citext; create table item (lot text, note citext);
             insert into item select n, E'a\nb' from generate_series(1, 300) n; create index on item (lot);
             create table none (n int); create table above (n int); create table below () inherits (above);
             insert into above values (1); insert into below values (2), (3);
             create table parts (n int) partition by range (n);
             create table part partition of parts for values from (0) to (10); insert into parts values (4);
             create view shown as select lot from item",
        )
        .await
        .unwrap();
    let at = |name: &str| world.home.path().join(name);
    let nothing = Path::new("/dev/null");
    let dump = at("dump");
    let dumping = world.beside(&facts, world.database().dump(), (nothing, &dump));
    assert_eq!(dumping.await, (Exit::Code(0), String::new()));
    let drill = world.drill().await;
    let data = world
        .engine
        .instance_dir(&world.env, &drill.id)
        .join("data");
    let prove = async |from: &str| {
        let (from, counted) = (at(from), at("counted"));
        let proving = world.beside(&drill, ward_postgres::proving(), (&from, &counted));
        let (exit, said) = proving.await;
        (exit, said, fs::read_to_string(&counted).unwrap())
    };
    // item, none, above, below and part have data of their own.
    let (exit, said, counted) = prove("dump").await;
    assert_eq!((exit, counted.trim()), (Exit::Code(0), "5 304"), "{said}");
    // Once more, in the same place.
    assert_eq!(prove("dump").await.2.trim(), "5 304");
    let whole = fs::read(at("dump")).unwrap();
    for length in [0, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(at("cut"), &whole[..length]).unwrap();
        let (exit, said, counted) = prove("cut").await;
        assert!(
            exit != Exit::Code(0) && counted.is_empty(),
            "{length}: {said}"
        );
        assert!(said.contains("pg_restore"), "{length}: {said}");
    }
    assert!(data.join("15").exists() || data.join("data").exists());
    world.stop(&drill).await;
    world.engine.remove(&world.env, &drill.id).await.unwrap();
    assert!(!data.exists(), "its data goes with it");
}

#[tokio::test]
async fn a_link_leads_to_the_present_instance() {
    let world = World::new().await;
    let database = world.start().await;
    let facts = world.facts("web", Role::Service);
    let psql = world.database().psql(&[]).argv.remove(0);
    let mut env: BTreeMap<_, _> = world.database().link_env(LinkVariables::Plain);
    env.remove("DATABASE_URL");
    let host_id = world.engine.host_id(&world.env, &facts.component);
    let spec = InstanceSpec {
        dir: world.engine.instance_dir(&world.env, &facts.id),
        root: RootSpec {
            layers: Vec::new(),
            host_usr: true,
            mounts: Vec::new(),
        },
        argv: vec![psql, "-tAc".to_owned(), "select 'linked'".to_owned()],
        cwd: "/".to_owned(),
        env,
        secrets: Default::default(),
        user: UserSpec {
            uid: 1000,
            gid: 1000,
            host_id,
        },
        limits: Limits::default(),
        health: None,
        links: vec![LinkSpec {
            host: "db".to_owned(),
            address: Ipv4Addr::new(127, 77, 0, 2),
            port: PORT,
            target: LinkTarget::Keeper {
                dir: world.engine.current_link(&world.env, &database.component),
                port: PORT,
            },
        }],
        log: world.log(&facts),
        stop_timeout: Millis::secs(5),
        stop_signal: 15,
        gateway_links: world.engine.gateway_links(),
        facts: facts.clone(),
    };
    world.engine.start(spec).await.unwrap();
    let state = world.until_over(&facts.id).await;
    let output = world.engine.output_tail(&facts, 10);
    let (exit, asked) = (Exit::Code(0), false);
    assert_eq!(state, InstanceState::Exited { exit, asked }, "{output:?}");
    assert_eq!(output, ["linked"]);
}

/// All of the above once more as an ordinary user, when the tests run as root.
#[test]
fn all_of_it_works_for_an_ordinary_user() {
    real::repeat_as_an_ordinary_user("all_of_it_works_for_an_ordinary_user");
}
