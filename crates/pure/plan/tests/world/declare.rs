//! What is declared: small specs, and their parts in few words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ward_plan::PlannedPool;
use ward_types::id::{Digest, EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceFacts, Role};
use ward_types::release::{Build, Release};
use ward_types::route::RouteSettings;
use ward_types::sharing::Export;
use ward_types::spec::{
    Amount, Analysis, CanaryStep, CopyData, DatabaseEngine, DatabaseSpec, Deadlines, EnvSpec,
    HealthSpec, ImageSource, Inconclusive, Probe, ReleaseCommand, RouteSpec, Schema, ServiceSpec,
    Sticky, Strategy,
};
use ward_types::table::{Endpoint, Pool};
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::ByteSize;

use super::{Dice, World};

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

/// A service that nobody reaches.
pub fn worker(instances: u32) -> ServiceSpec {
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
        processes: 4096,
        scratch: ByteSize(1 << 30),
    }
}

/// A service with a port, a health check and a host name.
pub fn web(instances: u32) -> ServiceSpec {
    ServiceSpec {
        port: Some(8080),
        health: Some(HealthSpec {
            path: "/healthz".into(),
            interval: Millis(200),
            timeout: Millis(1000),
            healthy: 2,
            unhealthy: 3,
        }),
        routes: vec![RouteSpec {
            host: Some("returns.localhost".into()),
            path: "/".into(),
            header: None,
            settings: RouteSettings::default(),
            tls: None,
        }],
        // So that releases differ in it.
        exports: match instances % 2 {
            0 => Vec::new(),
            _ => Export::parse("plans").into_iter().collect(),
        },
        ..worker(instances)
    }
}

/// A service that only links reach.
pub fn inner(instances: u32) -> ServiceSpec {
    ServiceSpec {
        routes: Vec::new(),
        ..web(instances)
    }
}

pub fn linked(service: ServiceSpec, links: &[&str]) -> ServiceSpec {
    ServiceSpec {
        links: links.iter().map(|l| name(l)).collect(),
        ..service
    }
}

pub fn with_command(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        release: Some(ReleaseCommand {
            command: vec!["migrate".into()],
            timeout: Millis::secs(60),
            schema: Schema::Expand,
        }),
        ..service
    }
}

/// The same, its release commands of that kind.
pub fn with_schema(mut spec: EnvSpec, schema: Schema) -> EnvSpec {
    let commands = spec
        .services
        .values_mut()
        .filter_map(|s| s.release.as_mut());
    commands.for_each(|command| command.schema = schema);
    spec
}

pub fn spec(services: &[(&str, ServiceSpec)], databases: &[&str]) -> EnvSpec {
    let services = services.iter().map(|(n, s)| (name(n), s.clone()));
    let database = DatabaseSpec {
        engine: DatabaseEngine::Postgres,
        memory: None,
        backups: None,
    };
    let databases = databases.iter().map(|n| (name(n), database.clone()));
    EnvSpec {
        id: EnvId::parse("returns/dev").unwrap(),
        version: "1.0".into(),
        services: services.collect(),
        databases: databases.collect(),
        volumes: BTreeMap::new(),
        jobs: BTreeMap::new(),
        keep_warm: Millis::secs(600),
        keep_releases: 10,
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
pub fn returns() -> EnvSpec {
    let web = with_command(linked(web(2), &["db"]));
    let worker = linked(worker(1), &["db"]);
    spec(&[("web", web), ("worker", worker)], &["db"])
}

pub fn release_of(id: ReleaseId, spec: EnvSpec, recorded: Timestamp) -> Release {
    let services = spec.services.keys();
    let digest = Digest::from_sha256(&[id.0 as u8; 32]);
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

/// One whose releases must not run at the same time.
pub fn alone(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        overlap: false,
        ..service
    }
}

fn longest_hold(service: &ServiceSpec) -> u64 {
    let analysis = service.analysis.map(|a| a.inconclusive);
    let patience = match analysis {
        Some(Inconclusive::Hold) => 24 * 3_600_000,
        _ => 0,
    };
    patience + longest_time(service)
}

fn longest_time(service: &ServiceSpec) -> u64 {
    match &service.strategy {
        Strategy::BlueGreen { bake } => bake.0,
        Strategy::Rolling { .. } => 0,
        Strategy::Canary { steps, bake, .. } => {
            let holds = steps.iter().map(|s| s.hold.map_or(24 * 3_600_000, |h| h.0));
            holds.max().unwrap_or(0).max(bake.0)
        }
    }
}

/// Whether anything in it takes over by other means than one switch at once.
pub fn is_staged(spec: &EnvSpec) -> bool {
    let mut services = spec.services.values();
    services.any(|s| s.strategy != Strategy::default() || !s.overlap)
}

pub fn deployed(strategy: Strategy, service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        strategy,
        ..service
    }
}

pub fn blue_green(bake: u64) -> Strategy {
    Strategy::BlueGreen {
        bake: Millis::secs(bake),
    }
}

pub fn rolling(batch: Amount, surge: Amount) -> Strategy {
    Strategy::Rolling { batch, surge }
}

/// Steps of weight and seconds; 0: until told.
pub fn canary(steps: &[(u8, u64)]) -> Strategy {
    let steps = steps.iter().map(|(weight, hold)| CanaryStep {
        weight: *weight,
        hold: (*hold > 0).then_some(Millis::secs(*hold)),
    });
    Strategy::Canary {
        steps: steps.collect(),
        sticky: None,
        bake: Millis(0),
    }
}

fn any_amount(dice: &mut Dice) -> Amount {
    match dice.chance(50) {
        true => Amount::Count(1 + dice.below(3) as u32),
        false => Amount::Percent(1 + dice.below(100) as u8),
    }
}

/// Half as most people leave it.
pub fn any_strategy(dice: &mut Dice) -> Strategy {
    let span = |dice: &mut Dice| Millis(dice.below(3) * 20_000);
    match dice.below(6) {
        0 => Strategy::BlueGreen { bake: span(dice) },
        1 => rolling(any_amount(dice), any_amount(dice)),
        2 => {
            let mut weight = 0;
            let steps = (0..1 + dice.below(3)).map(|_| {
                weight += 1 + dice.below(30) as u8;
                let hold = dice.chance(80).then(|| span(dice));
                CanaryStep { weight, hold }
            });
            Strategy::Canary {
                steps: steps.collect(),
                sticky: dice.chance(30).then(|| Sticky::Cookie("side".into())),
                bake: span(dice),
            }
        }
        _ => Strategy::default(),
    }
}

/// Half as most people leave it.
pub fn any_analysis(dice: &mut Dice) -> Option<Analysis> {
    let inconclusive = dice.pick(&[
        Inconclusive::Rollback,
        Inconclusive::Promote,
        Inconclusive::Hold,
    ]);
    let inconclusive = *inconclusive;
    let requests = 1 + dice.below(100) as u32;
    dice.chance(50).then_some(Analysis {
        requests,
        inconclusive,
    })
}

/// Ten requests per second of a path.
pub fn probe(path: &str) -> Probe {
    Probe {
        path: path.to_owned(),
        every: Millis(100),
    }
}

/// Most have none.
pub fn any_probe(dice: &mut Dice) -> Option<Probe> {
    dice.chance(30).then(|| probe("/healthz"))
}

/// How long a phase may take by the rules in the planner's documents.
pub fn phase_limit(spec: &EnvSpec, old: Option<&EnvSpec>, phase: &str, patient: bool) -> u64 {
    let services = spec.services.values();
    let both = services
        .clone()
        .chain(old.iter().flat_map(|s| s.services.values()));
    let rolls = |s: &&ServiceSpec| matches!(s.strategy, Strategy::Rolling { .. });
    let (leaving, rounds) = match services.clone().any(|s| rolls(&s)) {
        true => {
            let leaving = both
                .clone()
                .map(|s| s.drain_timeout.0.max(s.long_drain().0 + 5000) + s.stop_timeout.0 + 1000);
            (
                leaving.max().unwrap_or(0),
                both.clone().map(|s| s.instances + 1).max().unwrap_or(0),
            )
        }
        false => (0, 0),
    };
    let held = match patient {
        true => 24 * 3_600_000,
        false => services.clone().map(longest_hold).max().unwrap_or(0),
    };
    let commands = services.clone().filter_map(|s| s.release.as_ref());
    let commands: u64 = commands.map(|c| c.timeout.0 + 10_000).sum();
    let snapshots = spec.volumes.len() as u64 * 3_610_000;
    let again = both.clone().map(|s| s.start_timeout.0).max().unwrap_or(0);
    let start = services.map(|s| s.start_timeout.0).max().unwrap_or(0);
    let apart = both.clone().filter(|s| !s.overlap);
    let finishing = apart.map(|s| s.drain_timeout.0 + s.stop_timeout.0 + 1000);
    let finishing = finishing.max().unwrap_or(0);
    let phase_limit = match phase {
        "preparing" if patient => held,
        "preparing" => 70_000 + commands + snapshots,
        // Up to the table, held, and what died since.
        "rolling" if held > 0 => 4 * start + 20_000 + leaving + held,
        "rolling" => 2 * start + 10_000 + leaving,
        "reverting" => 60_000 + u64::from(rounds) * (start + leaving),
        other => panic!("{other} is not under way"),
    };
    // What is exchanged has all the time that it was given to end, and then starts.
    match finishing {
        0 => phase_limit,
        _ => phase_limit + 2 * (finishing + again),
    }
}

impl World {
    pub(super) fn facts(
        &self,
        id: &InstanceId,
        component: &Name,
        release: ReleaseId,
        role: Role,
    ) -> InstanceFacts {
        let spec = self.env().releases.get(&release).map(|r| &r.spec);
        let service = spec.and_then(|s| s.services.get(component));
        InstanceFacts {
            id: id.clone(),
            env: self.id.clone(),
            component: component.clone(),
            release,
            role,
            port: match role {
                Role::Database => Some(5432),
                Role::Run(_) | Role::Drill(_) => None,
                Role::Service
                | Role::ReleaseCommand
                | Role::Seed
                | Role::Copy
                | Role::VolumeCopy
                | Role::Snapshot => service.and_then(|s| s.port),
            },
            started: self.wall(),
            passwords: None,
        }
    }

    pub(super) fn table(&self, pools: &[PlannedPool]) -> Vec<Pool> {
        let pools = pools.iter().map(|pool| Pool {
            env: self.id.clone(),
            service: pool.service.clone(),
            routes: pool.routes.clone(),
            endpoints: pool
                .endpoints
                .iter()
                .map(|id| Endpoint {
                    instance: id.clone(),
                    release: self.engine[id].facts.release,
                    dir: PathBuf::from(id.as_str()),
                    port: 8080,
                    long_drain: None,
                })
                .collect(),
            split: pool.split.clone(),
            probe: pool.probe.clone(),
            maintenance: pool.maintenance.clone(),
            asleep: pool.asleep,
            exports: pool.exports.clone(),
            guard: ward_types::guard::Guard::default(),
            balance: ward_types::balance::Balance::default(),
        });
        pools.collect()
    }
}
