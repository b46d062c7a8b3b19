//! What is declared, made up.

use std::collections::BTreeMap;

use ward_types::id::{Digest, EnvId, Name, ReleaseId};
use ward_types::release::{Build, Environment, Release};
use ward_types::route::RouteSettings;
use ward_types::sharing::Export;
use ward_types::spec::{
    Amount, CanaryStep, CopyData, DatabaseEngine, DatabaseSpec, Deadlines, EnvSpec, HealthSpec,
    ImageSource, ReleaseCommand, RouteSpec, Schema, SeedCommand, ServiceSpec, Strategy,
};
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::ByteSize;
use ward_types::volume::{Snapshots, VolumeSpec};

use crate::dice::Dice;

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name of the simulator's own")
}

pub(crate) fn env(text: &str) -> EnvId {
    EnvId::parse(text).expect("an environment of the simulator's own")
}

/// A service that nobody reaches.
fn worker(instances: u32) -> ServiceSpec {
    ServiceSpec {
        source: ImageSource::Cargo {
            package: "returns".into(),
        },
        command: None,
        port: None,
        health: None,
        instances,
        links: Vec::new(),
        shared_links: Vec::new(),
        exports: Vec::new(),
        egress: Vec::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        volumes: BTreeMap::new(),
        memory: None,
        processes: 4096,
        scratch: ByteSize(1 << 30),
        release: None,
        seed: None,
        routes: Vec::new(),
        start_timeout: Millis::secs(30),
        drain_timeout: Millis::secs(20),
        long_drain_timeout: Some(Millis::secs(40)),
        stop_timeout: Millis::secs(10),
        strategy: Strategy::default(),
        overlap: true,
        analysis: None,
        probe: None,
        guard: ward_types::guard::Guard::default(),
        balance: ward_types::balance::Balance::default(),
    }
}

/// A service that only links reach.
fn inner(instances: u32) -> ServiceSpec {
    ServiceSpec {
        port: Some(8080),
        health: Some(HealthSpec {
            path: "/healthz".into(),
            interval: Millis(200),
            timeout: Millis(1000),
            healthy: 2,
            unhealthy: 3,
        }),
        // So that releases differ in it.
        exports: match instances % 2 {
            0 => Vec::new(),
            _ => Export::parse("claims").into_iter().collect(),
        },
        ..worker(instances)
    }
}

/// A service with a port, a health check and a host name.
fn web(instances: u32) -> ServiceSpec {
    ServiceSpec {
        routes: vec![RouteSpec {
            host: Some("returns.localhost".into()),
            path: "/".into(),
            header: None,
            settings: RouteSettings::default(),
            tls: None,
        }],
        ..inner(instances)
    }
}

fn with_command(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        release: Some(ReleaseCommand {
            command: vec!["migrate".into()],
            timeout: Millis::secs(60),
            schema: Schema::Expand,
        }),
        ..service
    }
}

fn with_seed(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        seed: Some(SeedCommand {
            command: vec!["seed".into()],
            timeout: Millis::secs(60),
        }),
        ..service
    }
}

fn spec(services: Vec<(&str, ServiceSpec)>, databases: &[&str]) -> EnvSpec {
    let links: Vec<Name> = databases.iter().map(|database| name(database)).collect();
    let linked = |(service, spec): (&str, ServiceSpec)| {
        let links = links.clone();
        (name(service), ServiceSpec { links, ..spec })
    };
    let database = DatabaseSpec {
        engine: DatabaseEngine::Postgres,
        memory: None,
        backups: None,
    };
    EnvSpec {
        id: env("returns/dev"),
        version: "1.0".into(),
        services: services.into_iter().map(linked).collect(),
        volumes: BTreeMap::new(),
        jobs: BTreeMap::new(),
        databases: databases
            .iter()
            .map(|name| (crate::specs::name(name), database.clone()))
            .collect(),
        keep_warm: Millis::secs(60),
        keep_releases: 3,
        deadlines: Deadlines::default(),
        seeded: false,
        copy_data: CopyData::Denied,
        sleep: None,
        region: None,
        protected: false,
        policy: ward_types::policy::Policy::default(),
        secrets: BTreeMap::new(),
    }
}

/// The stack of the examples: a web service with migrations, a worker, a database.
pub(crate) fn returns(instances: u32) -> EnvSpec {
    let web = with_command(web(instances));
    let worker = ServiceSpec {
        overlap: false,
        ..worker(1)
    };
    spec(vec![("web", web), ("worker", worker)], &["db"])
}

/// The same, and it wants its new data to be seeded.
pub(crate) fn seeded() -> EnvSpec {
    let mut spec = returns(1);
    spec.seeded = true;
    let services = std::mem::take(&mut spec.services);
    let seeded = services
        .into_iter()
        .map(|(name, service)| (name, with_seed(service)));
    spec.services = seeded.collect();
    spec
}

/// The same, its release command of that kind.
pub(crate) fn with_schema(mut spec: EnvSpec, schema: Schema) -> EnvSpec {
    let commands = spec
        .services
        .values_mut()
        .filter_map(|s| s.release.as_mut());
    commands.for_each(|command| command.schema = schema);
    spec
}

/// The same, in which `web` takes over so.
pub(crate) fn returns_by(strategy: Strategy, instances: u32) -> EnvSpec {
    let mut spec = returns(instances);
    if let Some(web) = spec.services.get_mut(&name("web")) {
        web.strategy = strategy;
    }
    spec
}

pub(crate) fn one_by_one() -> Strategy {
    Strategy::Rolling {
        batch: Amount::Count(1),
        surge: Amount::Count(1),
    }
}

/// Steps of weight and seconds; 0: until told.
pub(crate) fn canary(steps: &[(u8, u64)], bake: u64) -> Strategy {
    let steps = steps.iter().map(|(weight, seconds)| CanaryStep {
        weight: *weight,
        hold: (*seconds > 0).then_some(Millis::secs(*seconds)),
    });
    Strategy::Canary {
        steps: steps.collect(),
        sticky: None,
        bake: Millis::secs(bake),
    }
}

fn amount(dice: &mut Dice) -> Amount {
    match dice.chance(50) {
        true => Amount::Count(1 + dice.small(3)),
        false => Amount::Percent(u8::try_from(1 + dice.below(100)).unwrap_or(100)),
    }
}

/// Half as most people leave it.
fn strategy(dice: &mut Dice) -> Strategy {
    match dice.below(6) {
        0 => Strategy::BlueGreen {
            bake: Millis::secs(dice.below(3) * 20),
        },
        1 => Strategy::Rolling {
            batch: amount(dice),
            surge: amount(dice),
        },
        2 => {
            let holds = [0, 1, 20, 40];
            let mut hold = || dice.pick(&holds).unwrap_or_default();
            let steps = [(5, hold()), (30, hold()), (60, hold())];
            let number = 1 + dice.below(3);
            let steps: Vec<_> = steps.into_iter().take(number as usize).collect();
            canary(&steps, dice.below(3) * 20)
        }
        _ => Strategy::default(),
    }
}

/// Five services: two that are reached, three that work.
pub(crate) fn five() -> EnvSpec {
    let workers = ["mail", "prices", "worker"].map(|name| (name, worker(1)));
    let mut services = vec![("web", web(2)), ("api", inner(2))];
    services.extend(workers);
    spec(services, &[])
}

/// Most must not run beside another release's, and some of those have long to finish what they have begun.
fn any_worker(dice: &mut Dice) -> ServiceSpec {
    let worker = worker(1 + dice.small(2));
    if dice.chance(25) {
        return worker;
    }
    let seconds = dice.pick(&[1, 10, 600]).unwrap_or(10);
    ServiceSpec {
        overlap: false,
        stop_timeout: Millis::secs(seconds),
        ..worker
    }
}

/// With a volume of its web service, of which there is a snapshot before each release.
fn with_volume(mut spec: EnvSpec, keep_snapshots: u32) -> EnvSpec {
    let (volume, web) = (name("uploads"), name("web"));
    let declared = VolumeSpec {
        size: ByteSize(1 << 30),
        snapshot: Snapshots::BeforeRelease,
        keep_snapshots,
    };
    if let Some(web) = spec.services.get_mut(&web) {
        web.volumes.insert(volume.clone(), "/data".to_owned());
        spec.volumes.insert(volume, declared);
    }
    spec
}

/// Any stack.
pub(crate) fn any(dice: &mut Dice) -> EnvSpec {
    let mut services = vec![("web", with_seed(web(1 + dice.small(3))))];
    if dice.chance(50) {
        services.push(("api", with_command(inner(1 + dice.small(2)))));
    }
    if dice.chance(60) {
        services.push(("worker", any_worker(dice)));
    }
    let databases: &[&str] = if dice.chance(70) { &["db"] } else { &[] };
    for (_, service) in services.iter_mut().filter(|(_, s)| s.port.is_some()) {
        service.strategy = strategy(dice);
        let suits = matches!(service.strategy, Strategy::BlueGreen { .. });
        service.overlap = !(suits && dice.chance(20));
    }
    let mut spec = spec(services, databases);
    let beside = spec
        .services
        .values()
        .any(|s| s.strategy.beside().is_some());
    spec = match dice.below(6) {
        0 => with_schema(spec, Schema::Contract),
        1 if !beside => with_schema(spec, Schema::Irreversible),
        _ => spec,
    };
    spec.seeded = dice.chance(50);
    if dice.chance(30) {
        spec = with_volume(spec, 1 + dice.small(2));
    }
    spec.keep_warm = Millis(dice.below(3) * 20_000);
    spec.keep_releases = 1 + dice.small(4);
    spec.sleep = match dice.chance(40) {
        true => dice.pick(&[5, 60, 300]).map(Millis::secs),
        false => None,
    };
    spec
}

/// The stack of the examples, which sleeps when it was idle for so many seconds.
pub(crate) fn drowsy(seconds: u64) -> EnvSpec {
    let mut spec = returns(2);
    spec.sleep = Some(Millis::secs(seconds));
    spec
}

pub(crate) fn release(id: ReleaseId, spec: EnvSpec, recorded: Timestamp) -> Release {
    let services = spec.services.keys();
    let digest = Digest::from_sha256(&[u8::try_from(id.0 % 256).unwrap_or_default(); 32]);
    Release {
        id,
        build: Build {
            version: format!("{}.{}", spec.version, id.0),
            images: services.map(|s| (s.clone(), digest.clone())).collect(),
            stack_file: None,
            provenance: None,
        },
        spec,
        config: Default::default(),
        secrets: Default::default(),
        recorded,
        by: "anna".into(),
        named: None,
        promoted: None,
    }
}

/// How long a phase may take by the rules in the planner's documents, in milliseconds. A stage that waits for
/// a word has a day.
pub(crate) fn phase_limit(env: &Environment, spec: &EnvSpec, phase: &str) -> u64 {
    let old = env.current_release().map(|release| &release.spec);
    let services = spec.services.values();
    let both = services
        .clone()
        .chain(old.iter().flat_map(|s| s.services.values()));
    let commands = services.clone().filter_map(|s| s.release.as_ref());
    let seeds = services.clone().filter_map(|s| s.seed.as_ref());
    let seeds = seeds.filter(|_| spec.seeded).map(|s| s.timeout.0 + 10_000);
    let commands: u64 = commands.map(|c| c.timeout.0 + 10_000).chain(seeds).sum();
    let snapshots = spec.volumes.len() as u64 * 3_610_000;
    let start = both.clone().map(|s| s.start_timeout.0).max().unwrap_or(0);
    let held = services.clone().map(longest_hold).max().unwrap_or(0);
    let leaving = both
        .clone()
        .map(|s| s.drain_timeout.0.max(s.long_drain().0 + 5000) + s.stop_timeout.0 + 1000);
    let rolls = |s: &ServiceSpec| matches!(s.strategy, Strategy::Rolling { .. });
    let leaving = match services.clone().any(rolls) {
        true => leaving.max().unwrap_or(0),
        false => 0,
    };
    // Of whichever release it is that still runs.
    let all = env.releases.values().flat_map(|r| r.spec.services.values());
    let apart = all.filter(|s| both.clone().any(|s| !s.overlap) || !s.overlap);
    let finishing = apart.map(|s| s.drain_timeout.0 + s.stop_timeout.0 + 1000);
    // What is exchanged has all the time that it was given to end, and then starts.
    let exchange = finishing
        .max()
        .map_or(0, |finishing| 2 * (finishing + start));
    let rounds = both.map(|s| u64::from(s.instances) + 3).max().unwrap_or(0);
    let limit = match phase {
        "preparing" => 70_000 + commands + snapshots,
        "rolling" if held > 0 => 4 * start + 20_000 + leaving + held,
        "rolling" => 2 * start + 10_000 + leaving,
        _ if leaving > 0 => 60_000 + rounds * (start + leaving),
        _ => 60_000,
    };
    limit + exchange
}

fn longest_hold(service: &ServiceSpec) -> u64 {
    const DAY: u64 = 24 * 3_600_000;
    match &service.strategy {
        Strategy::BlueGreen { bake } => bake.0,
        Strategy::Rolling { .. } => 0,
        Strategy::Canary { steps, bake, .. } => {
            let holds = steps.iter().map(|s| s.hold.map_or(DAY, |hold| hold.0));
            holds.max().unwrap_or(0).max(bake.0)
        }
    }
}
