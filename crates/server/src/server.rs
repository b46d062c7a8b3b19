//! Starts everything, in an order that means something.

mod reading;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as BlockingListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use ward_acme::Acme;
use ward_engine::Engine;
use ward_postgres::Postgres;
use ward_registry::Registry;
use ward_seal::{KeySource, Vault};
use ward_store::{Entry, Lease, Lock, Log, Store};
use ward_types::event::Event;
use ward_types::id::Name;
use ward_types::text::shown;
use ward_volume::Volumes;

pub use self::reading::{Reading, ReadingOptions};
use crate::actor::Actor;
use crate::addresses::{self, Addresses};
use crate::admission::Admission;
use crate::audit::Auditor;
use crate::backups::is_own;
use crate::builds::Builds;
use crate::clock::now;
use crate::compose::Composer;
use crate::control::{Control, Duty, Shared};
use crate::driver::World;
use crate::images::Images;
use crate::issuing::Issuing;
use crate::measuring::Measured;
use crate::notices::Notices;
use crate::opening::{Opener, Starting};
use crate::passwords::Rotations;
use crate::pipelines::Hindered;
use crate::restoring::Restoring;
use crate::routing::{Found, GatewayPlace, Routing, RoutingError};
use crate::sleep::Needed;
use crate::sources::Sources;

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder, absolute.
    pub home: PathBuf,
    /// The binary that keepers and gateways are started from.
    pub exe: PathBuf,
    /// Where the gateway takes plain HTTP.
    pub http: SocketAddr,
    /// Where the gateway takes HTTPS.
    pub https: SocketAddr,
    /// Where the registry listens.
    pub registry: SocketAddr,
    /// Where the gateway's metrics are had; `None`: at [`METRICS`], or elsewhere where that is taken.
    pub metrics: Option<SocketAddr>,
    /// Where webhooks are taken; `None`: nowhere.
    pub hooks: Option<SocketAddr>,
    /// Where backups lie, absolute; `None`: in the state folder.
    pub backup_dir: Option<PathBuf>,
    /// The region that this Ward is in, if somebody says so.
    pub region: Option<Name>,
    /// Whether every user of the machine can give a word, at a socket that is for everybody.
    pub people: Heard,
    /// What `exe gateway` is told beside the state folder.
    pub gateway: Vec<String>,
    /// What a server that takes over is told beside its addresses.
    pub again: Vec<String>,
    /// Where certificates come from that are had by ACME; `None`: from nowhere.
    pub acme: Option<ward_acme::Settings>,
    /// Whether it takes over from another version of the binary.
    pub upgrade: Option<Upgrade>,
}

/// Who can give a word about a run of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The user that Ward runs as, and root.
    Owner,
    /// Every user of the machine.
    Everybody,
}

/// Where the gateway's metrics are had unless somebody says otherwise.
pub const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

/// A server takes over from another version of the binary: it replaces the gateway too.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Who asked for it.
    pub by: Actor,
    /// Why, in the words of the one who asked; may be empty.
    pub why: String,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be used.
    #[error("cannot use the state folder {home}; choose another with --home or WARD_HOME")]
    Home {
        /// The folder.
        home: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no folder for backups.
    #[error(
        "the folder {dir}, which WARD_BACKUP_DIR names, is not there, or no absolute path; make it, or name another"
    )]
    BackupDir {
        /// What was named.
        dir: PathBuf,
    },
    /// The folder for backups cannot be used.
    #[error("cannot use the folder {dir}, which WARD_BACKUP_DIR names")]
    UnusableBackupDir {
        /// What was named.
        dir: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The folder for backups is another Ward's.
    #[error(
        "the backups in {dir}, which WARD_BACKUP_DIR names, are another Ward's, or of a state folder that was replaced; \
         name another folder, and they stay as they are"
    )]
    ForeignBackupDir {
        /// What was named.
        dir: PathBuf,
    },
    /// The log cannot be opened, or another server has it.
    #[error("cannot open the log")]
    Store(#[from] ward_store::Error),
    /// The registry's folder cannot be used.
    #[error("cannot open the registry")]
    Registry(#[from] ward_registry::Error),
    /// The engine's folders cannot be used.
    #[error("cannot open the engine")]
    Engine(#[from] ward_engine::Error),
    /// The gateway is not to be had.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A server that takes over does not get the master keys that the one before had.
    #[error("the master keys cannot be had")]
    Keys(#[from] ward_seal::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// Whether another server has the state folder.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Store(ward_store::Error::Locked { .. }))
    }
}

/// A running control plane.
pub struct Server {
    /// The handle for the API.
    pub control: Control,
    /// Where webhooks come in, if they are taken.
    pub hooks: Option<TcpListener>,
    registry: JoinHandle<()>,
    _lock: Lock,
}

impl Server {
    /// Starts a server on a state folder: what runs there already is found again and carried on with.
    ///
    /// # Errors
    /// [`StartError`], as it says.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        // 1. One server per state folder: everything below relies on being alone.
        make_home(&options.home)?;
        if let Some(dir) = options.backup_dir.clone()
            && !(dir.is_absolute() && dir.is_dir())
        {
            return Err(StartError::BackupDir { dir });
        }
        let lock = ward_store::lock(&options.home)?;
        if let Some(dir) = options.backup_dir.clone() {
            match is_own(&options.home, &dir) {
                Ok(true) => {}
                Ok(false) => return Err(StartError::ForeignBackupDir { dir }),
                Err(source) => return Err(StartError::UnusableBackupDir { dir, source }),
            }
        }
        // 2. The log, because it says what should be.
        let store = Store::open(&options.home.join("ward.db"))?;
        let lease = Lease::take(&options.home, &store)?;
        let auditor = Auditor::start(options.home.clone(), store.clone());
        // 3. The registry, because releases are run from it.
        let registry = Registry::open(options.home.join("registry"))?;
        let asked = [options.http, options.https, options.registry].into_iter();
        let asked: Vec<SocketAddr> = asked.chain(options.metrics).collect();
        let kept = Addresses::read(&options.home).without(&asked);
        let listener = listen(options.registry, kept.registry)?;
        let registry_address = listener.local_addr().unwrap_or(options.registry);
        let hooks = options.hooks.map(listen_for_hooks).transpose()?;
        let hooks_address = hooks.as_ref().and_then(|hooks| hooks.local_addr().ok());
        // 4. The engine, which finds the instances that run.
        let engine = Engine::open(ward_engine::Options {
            home: options.home.clone(),
            exe: options.exe.clone(),
            clock: now,
        })
        .await?;
        let source = KeySource::from_environment();
        let by_command = matches!(source, KeySource::Command(_));
        let vault = Vault::new(&options.home, source).with_backups(options.backup_dir.clone());
        if options.upgrade.is_some() && by_command {
            // The server before can still go on.
            let own = vault.clone();
            let asking = tokio::task::spawn_blocking(move || own.has_its_keys());
            asking.await.unwrap_or(Ok(()))?;
        }
        // 5. The gateway, which has been serving all the while, or is started with its last table.
        let place = GatewayPlace {
            home: options.home.clone(),
            exe: options.exe.clone(),
            http: options.http,
            https: options.https,
            metrics: options.metrics,
            arguments: options.gateway,
            again: options.again,
            kept,
            found: match options.upgrade {
                Some(_) => Found::Replaced,
                None => Found::Kept,
            },
        };
        let routing = Routing::start(place, store.clone(), lease.clone()).await?;
        let (http, https) = routing.addresses();
        let bound = Addresses {
            http: Some(http),
            https: Some(https),
            registry: Some(registry_address),
            metrics: routing.metrics_address(),
        };
        bound.keep(&options.home);
        store.append(starting(&store, &lease, options.upgrade))?;
        let orphans = tokio::task::spawn_blocking(ward_build::end_orphans);
        if let Ok(ended @ 1..) = orphans.await {
            tracing::warn!(
                processes = ended,
                "what an earlier server was building was ended"
            );
        }
        // 6. The drivers, last, when all that they act on is there.
        let acme = options.acme;
        let acme = acme.map(|settings| Acme::new(options.home.clone(), settings));
        let site = Site {
            backup_dir: options.backup_dir,
            region: options.region,
            people: options.people,
            duty: Duty::Acts,
        };
        let control = control(
            (options.home, options.exe),
            (store, lease),
            registry.clone(),
            (registry_address.to_string(), hooks_address),
            engine,
            (routing, vault),
            (auditor, acme.map(Issuing::new), site),
        );
        let state = control.store().state();
        let known = state.environments.values();
        for env in known.filter(|env| !env.is_deleted()) {
            // Before anything could see its volumes.
            control.settle_volumes(&env.id);
            control.live(&env.id);
        }
        control.tidy_volumes();
        control.resume_pipelines();
        crate::kept::clear(&control.0.home);
        control.keep_collecting();
        control.keep_files_whole();
        control.keep_measuring();
        control.keep_withdrawing();
        control.keep_backing_up();
        control.keep_issuing();
        control.keep_answering_calls();
        control.keep_notifying();
        let mut ending = control.ending();
        let end = async move { drop(ending.wait_for(|end| *end).await) };
        let needs = Arc::new(control.clone());
        let registry = tokio::spawn(ward_registry::serve(listener, registry, needs, end));
        end_on_signals(&control)?;
        tokio::spawn(give_signs_of_life(control.clone()));
        control.keep_schedules();
        control.tend_sources();
        // Whoever started the platform shall learn at once that its log was altered.
        control.0.auditor.first().await;
        Ok(Self {
            control,
            hooks,
            registry,
            _lock: lock,
        })
    }

    /// Waits for what still has to end after the API was closed.
    pub async fn finish(self) {
        let _ = self.registry.await;
    }
}

/// Where this Ward is, where its backups lie, and whether it acts on anything.
struct Site {
    backup_dir: Option<PathBuf>,
    region: Option<Name>,
    people: Heard,
    duty: Duty,
}

fn control(
    (home, exe): (PathBuf, PathBuf),
    (store, lease): (Store, Lease),
    registry: Registry,
    (registry_address, hooks): (String, Option<SocketAddr>),
    engine: Engine,
    (routing, vault): (Routing, Vault),
    (auditor, issuing, site): (Auditor, Option<Issuing>, Site),
) -> Control {
    let images = Images::new(registry.clone(), engine.clone());
    let postgres = Postgres::new(home.clone());
    let composer = Composer {
        home: home.clone(),
        engine: engine.clone(),
        images: images.clone(),
        opener: Opener {
            postgres: postgres.clone(),
            vault,
            store: store.clone(),
            starting: Starting::default(),
        },
        volumes: Volumes::new(&home),
    };
    let world = World {
        store,
        lease,
        engine,
        routing,
        composer: Arc::new(composer),
        needed: Needed::default(),
    };
    Control(Arc::new(Shared {
        home,
        world,
        registry,
        registry_address,
        images,
        postgres,
        drivers: Mutex::new(BTreeMap::new()),
        builds: Builds::default(),
        sources: Sources::default(),
        exe,
        hooks,
        region: site.region,
        people: site.people,
        backup_dir: site.backup_dir,
        duty: site.duty,
        looking: Arc::default(),
        hindered: Hindered::default(),
        desk: tokio::sync::Mutex::new(()),
        auditor,
        issuing,
        measured: Measured::default(),
        notices: Notices::default(),
        rotations: Rotations::default(),
        restoring: Restoring::default(),
        admission: Admission::default(),
        unrecorded: tokio::sync::RwLock::new(()),
        ending: watch::Sender::new(false),
    }))
}

/// What the log is told of a start, and of what somebody had done to it meanwhile.
fn starting(store: &Store, lease: &Lease, upgrade: Option<Upgrade>) -> Vec<Entry> {
    let upgraded = upgrade.is_some();
    let (by, why) = match upgrade {
        Some(Upgrade { by, why }) => (by, why),
        None => (Actor::ward(), String::new()),
    };
    let started = Event::ServerStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        upgraded,
        term: lease.term(),
    };
    let started = entry(by, shown(&why), started);
    std::iter::once(started).chain(altered(store)).collect()
}

/// What the log is told of what somebody had done to it while it was closed.
fn altered(store: &Store) -> Option<Entry> {
    let mended: Vec<String> = store
        .mended()
        .iter()
        .map(|what| format!("{what}; it was made anew from the events"))
        .collect();
    for what in &mended {
        tracing::warn!(what, "somebody wrote to the log's database beside Ward");
    }
    let found = Event::LogFoundAltered {
        first: None,
        breaks: mended.clone(),
    };
    (!mended.is_empty()).then(|| entry(Actor::ward(), String::new(), found))
}

fn entry(by: Actor, why: String, event: Event) -> Entry {
    Entry {
        at: now(),
        who: by.who,
        why,
        request: String::new(),
        event,
    }
}

/// One that was succeeded ends; what it started goes on, and is its successor's.
async fn give_signs_of_life(control: Control) {
    let mut tick = tokio::time::interval(ward_store::HEARTBEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match control.0.world.lease.beat() {
            Err(error @ ward_store::Error::Fenced { .. }) => {
                let error = crate::actor::causes(&error);
                tracing::error!(error, "this server ends");
                control.0.ending.send_replace(true);
                return;
            }
            Err(error) => {
                let error = crate::actor::causes(&error);
                tracing::warn!(error, "no sign of life could be given");
            }
            Ok(()) => {}
        }
    }
}

fn make_home(home: &Path) -> Result<(), StartError> {
    let unusable = |source| StartError::Home {
        home: home.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(unusable)?;
    fs::set_permissions(home, fs::Permissions::from_mode(0o700)).map_err(unusable)
}

fn listen(address: SocketAddr, kept: Option<SocketAddr>) -> Result<TcpListener, RoutingError> {
    let unblocked = |listener: BlockingListener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let listener = addresses::bind(address, kept).and_then(unblocked);
    listener.map_err(|source| RoutingError::Listen {
        address,
        what: "the registry",
        flag: "--registry-addr",
        variable: "WARD_REGISTRY_ADDR",
        source,
    })
}

fn listen_for_hooks(address: SocketAddr) -> Result<TcpListener, RoutingError> {
    let bound = BlockingListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|source| RoutingError::Listen {
        address,
        what: "webhooks",
        flag: "--hooks-addr",
        variable: "WARD_HOOKS_ADDR",
        source,
    })
}

/// SIGTERM and SIGINT end the server alone: the gateway and the instances go on serving (promise P10).
fn end_on_signals(control: &Control) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    // The terminal that `ward up` was typed in may close: that is no reason to end.
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
    tokio::spawn(async move { while hangup.recv().await.is_some() {} });
    let ending = control.0.ending.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ending.send_replace(true);
    });
    Ok(())
}
