//! The checker catches each broken guard: plans made by hand, each wrong in one way, in worlds that the
//! real planner brought about. Every objection that exists has at least one.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "checker/drills.rs"]
mod drills;
#[path = "checker/ending.rs"]
mod ending;
#[path = "checker/exchanging.rs"]
mod exchanging;
#[path = "checker/keeping.rs"]
mod keeping;
#[path = "checker/moving.rs"]
mod moving;
#[path = "checker/returning.rs"]
mod returning;
#[path = "checker/routing.rs"]
mod routing;
#[path = "checker/schema.rs"]
mod schema;
#[path = "checker/sleeping.rs"]
mod sleeping;
#[path = "checker/snapshots.rs"]
mod snapshots;
#[path = "checker/staging.rs"]
mod staging;
#[path = "checker/starting.rs"]
mod starting;
#[path = "checker/stopping.rs"]
mod stopping;
mod world;

use std::collections::BTreeSet;

use drills::drills;
use ending::{ending, runs};
use exchanging::exchanging;
use keeping::data;
use keeping::filling;
use keeping::lifetimes;
use keeping::retiring;
use moving::moving;
use returning::returning;
use routing::routing;
use schema::schema;
use sleeping::sleeping;
use snapshots::snapshots;
use staging::staging;
use starting::starting;
use stopping::stopping;
use ward_plan::{Action, Memory, Objection, Observed, Plan, PlannedPool, SeenInstance, check};
use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::life::{Cause, Ending, Filling, Said};
use ward_types::release::{
    DataState, Environment, Failure, Gap, Goal, Phase, Reason, Served, Verdict,
};
use ward_types::spec::{Amount, Schema, SeedCommand, Sticky, Strategy};
use ward_types::table::Split;
use ward_types::time::{Millis, Timestamp};
use world::{
    Behaviour, World, alone, blue_green, canary, deployed, id, name, returns, spec, web,
    with_schema, worker,
};

/// What a bad plan is made for.
struct Case {
    env: Environment,
    observed: Observed,
    ordinal: u64,
}

impl Case {
    fn of(world: &World) -> Self {
        Self {
            env: world.env().clone(),
            observed: world.observe(),
            ordinal: world.ordinal,
        }
    }

    fn objections(&self, actions: &[Action]) -> Vec<Objection> {
        let starts = actions.iter().filter(|a| matches!(a, Action::Start { .. }));
        let plan = Plan {
            actions: actions.to_vec(),
            waiting: Vec::new(),
            wake: None,
            first_ordinal: self.ordinal,
            next_ordinal: self.ordinal + starts.count() as u64,
            memory: Memory::default(),
        };
        check(&self.env, &self.observed, &plan)
    }
}

/// Release commands end well, everything else is healthy soon.
fn world() -> World {
    world_of("returns/dev")
}

fn world_of(env: &str) -> World {
    let mut world = World::of(env);
    world.behave = Box::new(|start| match start.role {
        Role::ReleaseCommand => Behaviour::exits(200, 0, &[]),
        _ => Behaviour::default(),
    });
    world
}

/// r1 serves: db-r0-1, web-r1-3, web-r1-4, worker-r1-5.
fn serving() -> World {
    let mut world = world();
    world.deploy(returns());
    world.settle();
    world
}

/// r2 rolls out and starts: web-r2-7, web-r2-8, worker-r2-9.
fn rolling() -> World {
    let mut world = serving();
    world.deploy(returns());
    world.run(250);
    world
}

/// r2 serves, r1's web instances are warm.
fn switched() -> World {
    let mut world = serving();
    world.deploy(returns());
    world.settle();
    world
}

fn stop(instance: &str) -> Action {
    Action::Stop {
        id: id(instance),
        grace: Millis(1),
    }
}

fn remove(instance: &str) -> Action {
    Action::Remove { id: id(instance) }
}

fn route(service: &str, endpoints: &[&str]) -> Action {
    Action::Route {
        pools: vec![PlannedPool {
            service: name(service),
            routes: Vec::new(),
            endpoints: endpoints.iter().map(|e| id(e)).collect(),
            split: None,
            probe: None,
            maintenance: None,
            asleep: None,
            exports: Vec::new(),
        }],
    }
}

/// `web-r1-6` as a service instance, unless it says otherwise.
fn start(instance: &str, role: Role) -> Action {
    let mut parts = instance.rsplitn(3, '-');
    let _ordinal = parts.next();
    let release: ReleaseId = parts.next().unwrap().parse().unwrap();
    let component: Name = name(parts.next().unwrap());
    Action::Start {
        id: id(instance),
        component,
        release,
        role,
    }
}

fn service(instance: &str) -> Action {
    start(instance, Role::Service)
}

fn enter(deployment: u64, phase: Phase) -> Action {
    Action::Move {
        deployment: DeploymentId(deployment),
        phase,
    }
}

fn finished(verdict: Verdict) -> Phase {
    let failure = Failure {
        message: "It failed.".into(),
        output: Vec::new(),
        hint: None,
    };
    Phase::Finished {
        verdict,
        failure: (verdict != Verdict::Succeeded).then_some(failure),
        at: Timestamp(0),
    }
}

fn reverting() -> Phase {
    Phase::Reverting {
        failure: Failure {
            message: "It failed.".into(),
            output: Vec::new(),
            hint: None,
        },
    }
}

/// The objections' names; a new objection does not compile until it has one, and a case below.
fn word(objection: &Objection) -> &'static str {
    match objection {
        Objection::InRotation { .. } => "in rotation",
        Objection::RotationUnknown { .. } => "rotation unknown",
        Objection::LastHealthy { .. } => "last healthy",
        Objection::StopsWork { .. } => "stops work",
        Objection::NoSuchInstance { .. } => "no such instance",
        Objection::RemovesRunning { .. } => "removes running",
        Objection::Conflict { .. } => "conflict",
        Objection::RoutesTwice => "routes twice",
        Objection::NotHealthy { .. } => "not healthy",
        Objection::Unchecked { .. } => "unchecked",
        Objection::GoesOnIll { .. } => "goes on ill",
        Objection::WrongInstance { .. } => "wrong instance",
        Objection::EmptiesPool { .. } => "empties pool",
        Objection::MixesReleases => "mixes releases",
        Objection::WrongSplit { .. } => "wrong split",
        Objection::UnaskedProbe { .. } => "unasked probe",
        Objection::BelowFloor { .. } => "below floor",
        Objection::RoutesBlindly => "routes blindly",
        Objection::RoutesEarly => "routes early",
        Objection::WrongMaintenance { .. } => "wrong maintenance",
        Objection::LetsIn { .. } => "lets in",
        Objection::RoutesDown => "routes down",
        Objection::StopsDatabase { .. } => "stops database",
        Objection::SecondDatabase { .. } => "second database",
        Objection::OrdinalTaken { .. } => "ordinal taken",
        Objection::Misnamed { .. } => "misnamed",
        Objection::StartsOutOfTurn { .. } => "starts out of turn",
        Objection::TooMany { .. } => "too many",
        Objection::SkipsPhase { .. } => "skips phase",
        Objection::FalseVerdict { .. } => "false verdict",
        Objection::PurgesData => "purges data",
        Objection::FalseFilling { .. } => "false filling",
        Objection::FalseSnapshot { .. } => "false snapshot",
        Objection::EndsUnasked => "ends unasked",
        Objection::WarnsAgain => "warns again",
        Objection::DeletesWhatIsThere => "deletes what is there",
        Objection::RetiresNeeded { .. } => "retires needed",
        Objection::FalseEnd { .. } => "false end",
        Objection::FalseGivingUp { .. } => "false giving up",
        Objection::RemovesUnrecorded { .. } => "removes unrecorded",
        Objection::UnrecordedSchema { .. } => "unrecorded schema",
        Objection::FalseSchema { .. } => "false schema",
        Objection::SchemaCannotTake { .. } => "schema cannot take",
        Objection::Overlaps { .. } => "overlaps",
        Objection::FalseGap { .. } => "false gap",
        Objection::FalseTry { .. } => "false try",
        Objection::SleepsAtWork => "sleeps at work",
        Objection::WakesUncalled => "wakes uncalled",
        Objection::WrongSleep { .. } => "wrong sleep",
    }
}

const WORDS: usize = 49;

/// One wrong plan: what is wrong with it, the world, the plan, and the objection that it must meet.
type Wrong = (&'static str, Case, Vec<Action>, &'static str);

fn all() -> Vec<Wrong> {
    let mut all = stopping();
    all.extend(routing());
    all.extend(staging());
    all.extend(starting());
    all.extend(moving());
    all.extend(data());
    all.extend(lifetimes());
    all.extend(filling());
    all.extend(snapshots());
    all.extend(drills());
    all.extend(retiring());
    all.extend(returning());
    all.extend(ending());
    all.extend(runs());
    all.extend(schema());
    all.extend(exchanging());
    all.extend(sleeping());
    all
}

/// r2 prepares, and its release command takes something away: next is web-r2-6.
fn preparing(schema: Schema) -> World {
    let mut world = serving();
    world.deploy(with_schema(returns(), schema));
    world.run(0);
    assert!(world.env().schema.len() <= 1, "{}", world.transcript);
    world
}

/// The same, before anything was recorded or started.
fn unrecorded(schema: Schema) -> Case {
    let mut case = Case::of(&preparing(schema));
    case.env.schema.clear();
    case.observed.instances.remove(&id("web-r2-6"));
    case.ordinal = 6;
    case
}

fn died() -> Case {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    Case::of(&world)
}

fn away(mut world: World) -> World {
    let now = world.now;
    world.gateway.go_away(now, 10_000);
    world
}

fn going(goal: Goal) -> Case {
    let mut world = serving();
    world.goal(goal);
    Case::of(&world)
}

fn split(endpoints: &[&str], percent: u8, sticky: Option<Sticky>) -> Action {
    Action::Route {
        pools: vec![PlannedPool {
            service: name("web"),
            routes: Vec::new(),
            endpoints: endpoints.iter().map(|e| id(e)).collect(),
            split: Some(Split {
                release: ReleaseId(2),
                percent,
                sticky,
            }),
            probe: None,
            maintenance: None,
            asleep: None,
            exports: Vec::new(),
        }],
    }
}

/// r1 serves with one of its web instances ill.
fn ill() -> Case {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).turn(false, wall);
    world.run(1000);
    Case::of(&world)
}

fn told() -> Action {
    Action::Exchanged {
        deployment: DeploymentId(2),
        gap: Gap {
            service: name("worker"),
            release: ReleaseId(2),
            lasted: Millis(7),
        },
    }
}

#[test]
fn each_broken_guard_is_caught() {
    let mut met = BTreeSet::new();
    for (what, case, actions, expected) in all() {
        let objections = case.objections(&actions);
        let words: Vec<&str> = objections.iter().map(word).collect();
        assert!(
            words.contains(&expected),
            "{what}: {words:?}, not {expected}"
        );
        met.insert(expected);
    }
    assert_eq!(met.len(), WORDS, "an objection without a case: {met:?}");
}

/// So that none is caught by accident: what the planner itself would do here meets no objection, and
/// the same worlds are not refused as such.
#[test]
fn the_same_worlds_take_an_empty_plan() {
    for (what, case, _, _) in all() {
        assert_eq!(case.objections(&[]), vec![], "{what}");
    }
}

#[test]
fn an_objection_is_a_sentence_that_names_the_instance() {
    let objections = Case::of(&serving()).objections(&[stop("web-r1-3")]);
    let sentences: Vec<String> = objections.iter().map(ToString::to_string).collect();
    assert_eq!(sentences, ["it would stop web-r1-3, which is in rotation"]);
}
