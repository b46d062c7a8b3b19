//! A gateway process in a state folder of its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ward_gateway::control::Control;
use ward_gateway::{Limits, Options};
use ward_types::balance::Balance;
use ward_types::guard::Guard;
use ward_types::id::{EnvId, Generation, InstanceId, Name, ReleaseId, Term};
use ward_types::route::Route;
use ward_types::sharing::Export;
use ward_types::spec::Sticky;
use ward_types::table::{
    Endpoint, GatewayObserved, Pool, Split, Table, TableChange, Traffic, Version,
};
use ward_types::time::{Millis, Timestamp};

use crate::app::App;
use crate::keeper::Keeper;

const HOME: &str = "WARD_TEST_GATEWAY_HOME";
const BALANCED: &str = "WARD_TEST_BALANCED";
const ALONE: &str = "WARD_TEST_ALONE";
const LIMITS: &str = "WARD_TEST_GATEWAY_LIMITS";
const SHORT: &str = "short";
const PATIENT: &str = "patient";
const TIGHT: &str = "tight";
const POOR: &str = "poor";
/// The memory of a gateway that has little, in bytes.
pub(crate) const MEAGER: u64 = 64 << 20;

/// Becomes the gateway when this process was started to be one.
pub(crate) fn become_the_gateway() {
    let Some(home) = std::env::var_os(HOME) else {
        return;
    };
    let mut options = Options::new(PathBuf::from(home));
    options.limits = match std::env::var(LIMITS).as_deref() {
        Ok(SHORT) => Limits {
            header_timeout: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_millis(1500),
            connections: 40,
            inner_connections: 10,
            hold: Duration::from_millis(300),
            ..Limits::default()
        },
        Ok(TIGHT) => Limits {
            loopback_connections: 12,
            address_handshakes: 3,
            body_grace: Duration::from_secs(1),
            awaited_bodies: 1,
            header_timeout: Duration::from_secs(10),
            stalled: Duration::from_secs(2),
            requests: 50,
            ..Limits::default()
        },
        Ok(POOR) => Limits {
            memory: Some(MEAGER),
            ..Limits::default()
        },
        Ok(_) => Limits {
            hold: Duration::from_secs(300),
            waiting: 6,
            ..Limits::default()
        },
        Err(_) => Limits::default(),
    };
    if std::env::var_os(BALANCED).is_some() {
        let all = "127.0.0.0/8".parse().unwrap();
        options.balancers = ward_gateway::Balancers(vec![all]);
    }
    if std::env::var_os(ALONE).is_some() {
        options.workers = Some(NonZeroUsize::MIN);
    }
    let code = ward_gateway::run(options);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// How a gateway is started.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// As usual.
    Usual,
    /// With limits that a test can wait for.
    ShortLimits,
    /// With little for one client.
    Tight,
    /// With room for six requests that wait for an instance, for longer than any test lasts.
    Patient,
    /// With little memory.
    Meager,
    /// Behind a balancer that says whose each connection is.
    Balanced,
    /// With one worker.
    Alone,
}

/// A gateway, its state folder and its listening sockets. Nothing of it is left when it is dropped.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) control: Control,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) metrics: TcpListener,
    pub(crate) listeners: (TcpListener, TcpListener),
    pub(crate) child: Child,
    generation: u64,
    /// The last table that it applied.
    applied: Option<Version>,
    /// Of every instance in the next table.
    pub(crate) long_drain: Option<Millis>,
    /// Of the service in the next table.
    pub(crate) guard: Guard,
    /// The same.
    pub(crate) balance: Balance,
    /// Who of other stacks may link to it, in the next table.
    pub(crate) exports: Vec<Export>,
    keepers: BTreeMap<String, Keeper>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::start(Start::Usual).await
    }

    /// One whose service has one instance, which answers what [`App::http`] does.
    pub(crate) async fn serving(start: Start) -> (Self, App) {
        let app = App::http("one").await;
        let mut world = Self::start(start).await;
        world.serve(&app).await;
        (world, app)
    }

    /// One whose service has this instance.
    pub(crate) async fn around(app: &App) -> Self {
        let mut world = Self::new().await;
        world.serve(app).await;
        world
    }

    async fn serve(&mut self, app: &App) {
        self.instance("web-r1-1", app.address);
        self.route(&["web-r1-1"]).await;
    }

    pub(crate) async fn start(start: Start) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listeners = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap();
        let child = launch(home.path(), (&listeners, &metrics), start);
        let world = Self {
            control: Control::new(home.path()),
            http: listeners.0.local_addr().unwrap(),
            https: listeners.1.local_addr().unwrap(),
            metrics,
            listeners,
            child,
            home,
            generation: 0,
            applied: None,
            long_drain: None,
            guard: Guard::default(),
            balance: Balance::default(),
            exports: Vec::new(),
            keepers: BTreeMap::new(),
        };
        world.answers(world.child.id()).await;
        world
    }

    /// Starts another gateway on the same sockets and folder; the one before is the caller's.
    pub(crate) async fn succeed(&mut self) -> Child {
        let sockets = (&self.listeners, &self.metrics);
        let child = launch(self.home.path(), sockets, Start::Usual);
        self.answers(child.id()).await;
        std::mem::replace(&mut self.child, child)
    }

    async fn answers(&self, pid: u32) {
        eventually("the gateway answers", async || {
            let observed = self.control.observe().await;
            observed.is_ok_and(|observed| observed.pid == pid)
        })
        .await;
    }

    /// Lets a server on `app` be the instance `id`.
    pub(crate) fn instance(&mut self, id: &str, app: SocketAddr) {
        let dir = self.home.path().join("run/shop/dev").join(id);
        std::fs::create_dir_all(&dir).unwrap();
        self.keepers.insert(id.to_owned(), Keeper::start(&dir, app));
    }

    pub(crate) fn keeper(&self, id: &str) -> &Keeper {
        &self.keepers[id]
    }

    /// The instance's keeper dies.
    pub(crate) fn kill_keeper(&mut self, id: &str) {
        self.keepers.remove(id);
    }

    pub(crate) fn endpoint(&self, id: &str) -> Endpoint {
        let instance = InstanceId::parse(id).unwrap();
        let release: ReleaseId = id.rsplit('-').nth(1).unwrap().parse().unwrap();
        Endpoint {
            dir: self.home.path().join("run/shop/dev").join(id),
            instance,
            release,
            port: 8080,
            long_drain: self.long_drain,
        }
    }

    /// A table in which the service `web` of `shop/dev`, at `shop.localhost`, has these instances.
    pub(crate) fn table(&mut self, instances: &[&str]) -> Table {
        self.generation += 1;
        Table {
            term: Term(1),
            generation: Generation(self.generation),
            down: Vec::new(),
            pools: vec![Arc::new(Pool {
                env: env(),
                service: Name::parse("web").unwrap(),
                routes: vec![Route::plain("shop.localhost")],
                endpoints: instances.iter().map(|id| self.endpoint(id)).collect(),
                split: None,
                probe: None,
                maintenance: None,
                asleep: None,
                exports: self.exports.clone(),
                guard: self.guard.clone(),
                balance: self.balance.clone(),
            })],
        }
    }

    /// Puts such a table in force, in which so many of 100 requests go to the release `r2`.
    pub(crate) async fn split(
        &mut self,
        instances: &[&str],
        percent: u8,
        sticky: Option<Sticky>,
    ) -> GatewayObserved {
        let mut table = self.table(instances);
        Arc::make_mut(&mut table.pools[0]).split = Some(Split {
            release: ReleaseId(2),
            percent,
            sticky,
        });
        self.apply(table).await
    }

    /// Puts a table in force that it is sent whole.
    pub(crate) async fn apply_whole(&mut self, table: Table) {
        self.applied = Some(table.version());
        self.control.apply(table).await.unwrap();
    }

    /// As a server does: the gateway is told what changes.
    async fn apply(&mut self, table: Table) -> GatewayObserved {
        let before = self.applied.replace(table.version());
        let change = TableChange {
            from: before.unwrap_or_default(),
            to: table.version(),
            env: env(),
            pools: table.pools.clone(),
            down: None,
        };
        self.control.change(change, table).await.unwrap();
        self.control.observe().await.unwrap()
    }

    /// Puts such a table in force.
    pub(crate) async fn route(&mut self, instances: &[&str]) -> GatewayObserved {
        let table = self.table(instances);
        self.apply(table).await
    }

    /// Puts a table in force in which the service sleeps since then.
    pub(crate) async fn sleep(&mut self, since: u64) -> GatewayObserved {
        let mut table = self.table(&[]);
        Arc::make_mut(&mut table.pools[0]).asleep = Some(Timestamp(since));
        self.apply(table).await
    }

    pub(crate) async fn traffic(&self, id: &str) -> Traffic {
        let observed = self.control.observe().await.unwrap();
        let env = observed.traffic.get(&env());
        let traffic = env.and_then(|all| all.get(&InstanceId::parse(id).unwrap()));
        traffic.copied().unwrap_or_default()
    }

    /// Asks it to quit and gives its exit status.
    pub(crate) async fn quit(&mut self, grace: Millis) -> i32 {
        self.control.quit(grace).await.unwrap();
        exit_status(&mut self.child).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment of all tests.
pub(crate) fn env() -> EnvId {
    EnvId::parse("shop/dev").unwrap()
}

fn launch(
    home: &Path,
    (listeners, metrics): (&(TcpListener, TcpListener), &TcpListener),
    start: Start,
) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "gateway_process", "--nocapture", "--quiet"])
        .env(HOME, home)
        .stdout(Stdio::null());
    match start {
        Start::Usual => &mut command,
        Start::ShortLimits => command.env(LIMITS, SHORT),
        Start::Tight => command.env(LIMITS, TIGHT),
        Start::Meager => command.env(LIMITS, POOR),
        Start::Patient => command.env(LIMITS, PATIENT),
        Start::Balanced => command.env(BALANCED, "1"),
        Start::Alone => command.env(ALONE, "1"),
    };
    let sockets = ward_gateway::Sockets {
        http: &listeners.0,
        https: &listeners.1,
        metrics: Some(metrics),
    };
    ward_gateway::start(command, sockets).unwrap()
}

/// The exit status of a process that ends by itself soon.
pub(crate) async fn exit_status(child: &mut Child) -> i32 {
    let mut status = None;
    eventually("the gateway ends", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    status.unwrap().code().unwrap_or(-1)
}

/// Polls a condition until it holds; it is a failure when it does not within a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
