//! What is declared, made up.

use std::collections::BTreeMap;

use ward_types::id::{Digest, EnvId, Name, ReleaseId};
use ward_types::release::{Build, Release};
use ward_types::spec::{
    DatabaseEngine, DatabaseSpec, EnvSpec, HealthSpec, ImageSource, ReleaseCommand, RouteSpec,
    ServiceSpec, Strategy,
};
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::ByteSize;

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
        egress: Vec::new(),
        env: BTreeMap::new(),
        memory: None,
        processes: 4096,
        scratch: ByteSize(1 << 30),
        release: None,
        route: None,
        start_timeout: Millis::secs(30),
        drain_timeout: Millis::secs(20),
        stop_timeout: Millis::secs(10),
        strategy: Strategy::default(),
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
        ..worker(instances)
    }
}

/// A service with a port, a health check and a host name.
fn web(instances: u32) -> ServiceSpec {
    ServiceSpec {
        route: Some(RouteSpec {
            host: "returns.localhost".into(),
        }),
        ..inner(instances)
    }
}

fn with_command(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        release: Some(ReleaseCommand {
            command: vec!["migrate".into()],
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
    };
    EnvSpec {
        id: env("returns/dev"),
        version: "1.0".into(),
        services: services.into_iter().map(linked).collect(),
        databases: databases
            .iter()
            .map(|name| (crate::specs::name(name), database.clone()))
            .collect(),
        keep_warm: Millis::secs(60),
        keep_releases: 3,
    }
}

/// The stack of the examples: a web service with migrations, a worker, a database.
pub(crate) fn returns(instances: u32) -> EnvSpec {
    let web = with_command(web(instances));
    spec(vec![("web", web), ("worker", worker(1))], &["db"])
}

/// Any stack.
pub(crate) fn any(dice: &mut Dice) -> EnvSpec {
    let mut services = vec![("web", web(1 + dice.small(3)))];
    if dice.chance(50) {
        services.push(("api", with_command(inner(1 + dice.small(2)))));
    }
    if dice.chance(60) {
        services.push(("worker", worker(1 + dice.small(2))));
    }
    let databases: &[&str] = if dice.chance(70) { &["db"] } else { &[] };
    let mut spec = spec(services, databases);
    spec.keep_warm = Millis(dice.below(3) * 20_000);
    spec.keep_releases = 1 + dice.small(4);
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
        },
        spec,
        recorded,
        by: "anna".into(),
    }
}

/// How long a phase may take by the rules in the planner's documents, in milliseconds.
pub(crate) fn phase_limit(spec: &EnvSpec, phase: &str) -> u64 {
    let services = spec.services.values();
    let commands = services.clone().filter_map(|s| s.release.as_ref());
    let commands: u64 = commands.map(|c| c.timeout.0 + 10_000).sum();
    let start = services.map(|s| s.start_timeout.0).max().unwrap_or(0);
    match phase {
        "preparing" => 70_000 + commands,
        "rolling" => 2 * start + 10_000,
        _ => 60_000,
    }
}
