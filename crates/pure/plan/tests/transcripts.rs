//! What happens, told line by line: a script against a simulated world, and its transcript beside it.
//!
//! `>` somebody asks, `=` a deployment moves, `+` `*` `-` Ward acts, `~` the world changes, `!` the
//! driver dies, `…` what is waited for. The time is seconds since the world began.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]

/// The transcript as it is kept under the test's own name, whatever module that is in.
macro_rules! golden {
    ($transcript:expr) => {{
        fn here() {}
        crate::as_kept(std::any::type_name_of_val(&here), &$transcript)
    }};
}

#[path = "transcripts/analysis.rs"]
mod analysis;
#[path = "transcripts/at_rest.rs"]
mod at_rest;
#[path = "transcripts/backups.rs"]
mod backups;
#[path = "transcripts/canaries.rs"]
mod canaries;
#[path = "transcripts/databases.rs"]
mod databases;
#[path = "transcripts/deadlines.rs"]
mod deadlines;
#[path = "transcripts/endings.rs"]
mod endings;
#[path = "transcripts/faults.rs"]
mod faults;
#[path = "transcripts/filling.rs"]
mod filling;
#[path = "transcripts/lifetimes.rs"]
mod lifetimes;
#[path = "transcripts/queue.rs"]
mod queue;
#[path = "transcripts/rollbacks.rs"]
mod rollbacks;
#[path = "transcripts/rollouts.rs"]
mod rollouts;
#[path = "transcripts/runs.rs"]
mod runs;
#[path = "transcripts/schemas.rs"]
mod schemas;
#[path = "transcripts/sleeping.rs"]
mod sleeping;
#[path = "transcripts/strategies.rs"]
mod strategies;
#[path = "transcripts/volumes.rs"]
mod volumes;
#[path = "transcripts/workers.rs"]
mod workers;
mod world;

use ward_types::id::ReleaseId;
use ward_types::keeper::{Exit, Role};
use ward_types::release::{Goal, Reason};
use ward_types::spec::{
    Amount, Analysis, Deadlines, EnvSpec, Inconclusive, Schema, SeedCommand, ServiceSpec, Sticky,
    Strategy,
};
use ward_types::table::Endpoint;
use ward_types::time::Millis;
use world::{
    Behaviour, Mishap, World, alone, blue_green, canary, deployed, id, inner, linked, name,
    returns, rolling, spec, web, with_command, with_schema, worker,
};

/// `here` is an item of the test.
fn as_kept(here: &str, transcript: &str) {
    let test = here.rsplit("::").nth(1).expect("it is in a test");
    insta::assert_snapshot!(test, transcript);
}

/// Release commands end well after 200 ms, databases take half a second, the rest is healthy after 300 ms.
fn usual(start: &world::Start) -> Behaviour {
    match start.role {
        Role::ReleaseCommand => Behaviour::exits(200, 0, &["migrated"]),
        Role::Run(_) => Behaviour::exits(200, 0, &[]),
        Role::Database => Behaviour {
            healthy_after: Some(500),
            ..Behaviour::default()
        },
        Role::Service
        | Role::Seed
        | Role::Copy
        | Role::VolumeCopy
        | Role::Snapshot
        | Role::Drill(_) => Behaviour::default(),
    }
}

fn fresh() -> World {
    let mut world = World::new();
    world.behave = Box::new(usual);
    world
}

/// A world in which r1 of the example serves; its transcript begins here.
fn served() -> World {
    let mut world = fresh();
    world.deploy(returns());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world
}

fn of_release(release: u64, other: fn() -> Behaviour) -> Box<dyn Fn(&world::Start) -> Behaviour> {
    Box::new(move |start| {
        let affected = start.release == release && start.role == Role::Service;
        if affected && start.component == "web" {
            other()
        } else {
            usual(start)
        }
    })
}

/// Four releases, each of which served; two are retained beside what is needed.
fn four_deploys(env: &str) -> World {
    let mut world = World::of(env);
    world.behave = Box::new(usual);
    for _ in 0..4 {
        let mut spec = spec(&[("web", web(1))], &[]);
        spec.keep_releases = 2;
        spec.keep_warm = Millis(0);
        world.deploy(spec);
        world.settle();
        world.run(2000);
    }
    world
}

#[test]
fn p2_what_ever_reached_prod_is_never_retired() {
    let world = four_deploys("returns/prod");
    assert_eq!(world.env().releases.len(), 4);
}

/// A world in which r1 of one web service serves; what comes next is deployed by a strategy.
fn served_web(instances: u32) -> World {
    let mut world = fresh();
    world.deploy(spec(&[("web", web(instances))], &[]));
    world.settle();
    world.run(15_000);
    world.transcript.clear();
    world
}

/// Nothing of the old release is kept afterwards: its end is part of the transcript.
fn by(strategy: Strategy, instances: u32) -> EnvSpec {
    let mut spec = spec(&[("web", deployed(strategy, web(instances)))], &[]);
    spec.keep_warm = Millis(0);
    spec
}

/// The release answers so: how many of 20 requests it fails, and how many microseconds each takes.
type Answers = fn(ReleaseId) -> (u64, u64);

/// So many requests per second for a while, by the table in force, looked at five times a second.
fn asked(world: &mut World, rate: u64, millis: u64, answers: Answers) {
    for _ in 0..millis / 200 {
        let pool = world.gateway.table.first().cloned();
        let pool = pool.expect("a service is routed");
        let all = rate / 5;
        for endpoint in &pool.endpoints {
            let ours = |e: &&Endpoint| e.release == endpoint.release;
            let siblings = pool.endpoints.iter().filter(ours).count() as u64;
            let requests = match &pool.split {
                Some(split) if split.release == endpoint.release => {
                    all * u64::from(split.percent) / 100
                }
                Some(split) => all * u64::from(100 - split.percent) / 100,
                None => all,
            };
            let (failed, micros) = answers(endpoint.release);
            let requests = requests / siblings;
            let failed = requests * failed / 20;
            world
                .gateway
                .answer(&endpoint.instance, requests, failed, micros);
        }
        world.run(200);
    }
}

fn well(_: ReleaseId) -> (u64, u64) {
    (0, 5000)
}

fn three(api: Strategy, web_strategy: Strategy, others: &[(&str, ServiceSpec)]) -> EnvSpec {
    let mut services = vec![
        ("api", deployed(api, inner(2))),
        ("web", deployed(web_strategy, linked(web(2), &["api"]))),
        ("worker", worker(1)),
    ];
    services.extend(others.iter().cloned());
    let mut spec = spec(&services, &[]);
    spec.keep_warm = Millis(0);
    spec
}

/// What the log says of a release that is asked for, if it refuses that.
fn refused(world: &mut World, to: u64) -> String {
    let to = ReleaseId(to);
    let change = world.env().barred(to).expect("it is barred").to_string();
    let says = format!("! a rollback to {to} is refused: {change}");
    world.say(&says);
    says
}
