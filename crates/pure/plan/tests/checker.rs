//! The checker catches each broken guard: plans made by hand, each wrong in one way, in worlds that the
//! real planner brought about. Every objection that exists has at least one.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use std::collections::BTreeSet;

use ward_plan::{Action, Memory, Objection, Observed, Plan, PlannedPool, check};
use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Environment, Failure, Gap, Goal, Phase, Reason, Served, Verdict};
use ward_types::spec::{Amount, Schema, Sticky, Strategy};
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

fn cut(instance: &str) -> Action {
    Action::Cut { id: id(instance) }
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
        Objection::WrongInstance { .. } => "wrong instance",
        Objection::EmptiesPool { .. } => "empties pool",
        Objection::MixesReleases => "mixes releases",
        Objection::WrongSplit { .. } => "wrong split",
        Objection::UnaskedProbe { .. } => "unasked probe",
        Objection::BelowFloor { .. } => "below floor",
        Objection::RoutesBlindly => "routes blindly",
        Objection::RoutesEarly => "routes early",
        Objection::WrongMaintenance { .. } => "wrong maintenance",
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
        Objection::RetiresNeeded { .. } => "retires needed",
        Objection::FalseEnd { .. } => "false end",
        Objection::RemovesUnrecorded { .. } => "removes unrecorded",
        Objection::UnrecordedSchema { .. } => "unrecorded schema",
        Objection::FalseSchema { .. } => "false schema",
        Objection::SchemaCannotTake { .. } => "schema cannot take",
        Objection::Overlaps { .. } => "overlaps",
        Objection::FalseGap { .. } => "false gap",
    }
}

const WORDS: usize = 36;

/// One wrong plan: what is wrong with it, the world, the plan, and the objection that it must meet.
type Wrong = (&'static str, Case, Vec<Action>, &'static str);

fn all() -> Vec<Wrong> {
    let mut all = stopping();
    all.extend(routing());
    all.extend(staging());
    all.extend(starting());
    all.extend(moving());
    all.extend(data());
    all.extend(retiring());
    all.extend(ending());
    all.extend(schema());
    all.extend(exchanging());
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

/// r2 serves, after which r1 does not run, and a rollback to r1 waits its turn: it was asked for before.
fn barred() -> Case {
    let mut world = serving();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.queue(ReleaseId(1), Reason::Rollback);
    for _ in 0..100 {
        world.run(100);
        if world.env().active().is_none() && world.env().current == Some(ReleaseId(2)) {
            break;
        }
    }
    let mut case = Case::of(&world);
    let rollback = case.env.deployments.get_mut(&DeploymentId(3)).unwrap();
    rollback.phase = Phase::Queued;
    case
}

fn schema() -> Vec<Wrong> {
    let change = |service: &str, schema: Schema| Action::ChangeSchema {
        deployment: DeploymentId(2),
        service: name(service),
        schema,
    };
    let command = || vec![start("web-r2-6", Role::ReleaseCommand)];
    let contract = Schema::Contract;
    vec![
        (
            "a command that takes away, unrecorded",
            unrecorded(contract),
            command(),
            "unrecorded schema",
        ),
        (
            "one for which nothing can come back, unrecorded",
            unrecorded(Schema::Irreversible),
            command(),
            "unrecorded schema",
        ),
        (
            "the same command again",
            Case::of(&preparing(contract)),
            vec![change("web", contract)],
            "false schema",
        ),
        (
            "a service without a command",
            unrecorded(contract),
            vec![change("worker", contract)],
            "false schema",
        ),
        (
            "another kind than is declared",
            unrecorded(contract),
            vec![change("web", Schema::Irreversible)],
            "false schema",
        ),
        (
            "back to what does not run any more",
            barred(),
            vec![enter(3, Phase::Preparing)],
            "schema cannot take",
        ),
    ]
}

#[test]
fn what_the_schema_takes_is_taken() {
    let contract = Action::ChangeSchema {
        deployment: DeploymentId(2),
        service: name("web"),
        schema: Schema::Contract,
    };
    assert_eq!(unrecorded(Schema::Contract).objections(&[contract]), []);
    let begins = [enter(3, Phase::Preparing)];
    let mut asked_for = barred();
    let rollback = asked_for.env.deployments.get_mut(&DeploymentId(3)).unwrap();
    rollback.despite_schema = Some("the data was restored".into());
    assert_eq!(asked_for.objections(&begins), []);
    let mut ends = barred();
    assert_eq!(
        ends.objections(&[enter(3, finished(Verdict::FailedOldServing))]),
        []
    );
    ends.env.schema.clear();
    assert_eq!(ends.objections(&begins), []);
}

fn stopping() -> Vec<Wrong> {
    let rest = || Case::of(&serving());
    let warm_and_busy = || {
        let mut world = switched();
        world.gateway.busy(&id("web-r1-3"), 2, 0);
        Case::of(&world)
    };
    vec![
        (
            "stop what serves",
            rest(),
            vec![stop("web-r1-3")],
            "in rotation",
        ),
        (
            "cut what serves",
            rest(),
            vec![cut("web-r1-3")],
            "in rotation",
        ),
        (
            "stop what this plan routes away from",
            rest(),
            vec![route("web", &["web-r1-4"]), stop("web-r1-3")],
            "in rotation",
        ),
        (
            "stop what this plan routes to",
            Case::of(&switched()),
            vec![route("web", &["web-r1-3", "web-r1-4"]), stop("web-r1-3")],
            "in rotation",
        ),
        (
            "remove what died in rotation",
            died(),
            vec![remove("web-r1-3")],
            "in rotation",
        ),
        (
            "stop what is warm while the gateway is away",
            Case::of(&away(switched())),
            vec![stop("web-r1-3")],
            "rotation unknown",
        ),
        (
            "stop the only worker",
            rest(),
            vec![stop("worker-r1-5")],
            "last healthy",
        ),
        (
            "stop what works",
            warm_and_busy(),
            vec![stop("web-r1-3")],
            "stops work",
        ),
        (
            "cut after the stop",
            warm_and_busy(),
            vec![stop("web-r1-3"), cut("web-r1-3")],
            "conflict",
        ),
        (
            "stop nobody",
            rest(),
            vec![stop("web-r1-77")],
            "no such instance",
        ),
        (
            "remove what runs",
            rest(),
            vec![remove("worker-r1-5")],
            "removes running",
        ),
        (
            "stop and remove at once",
            Case::of(&switched()),
            vec![stop("web-r1-3"), remove("web-r1-3")],
            "conflict",
        ),
        (
            "stop the database under its users",
            rest(),
            vec![stop("db-r0-1")],
            "stops database",
        ),
        (
            "stop the database before its users ended",
            going(Goal::Down),
            vec![stop("db-r0-1")],
            "stops database",
        ),
    ]
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

/// web-r2-7 is healthy, the rest of r2 hangs.
fn half_started() -> Case {
    let mut world = serving();
    world.behave = Box::new(|start| match (start.role, start.ordinal) {
        (Role::ReleaseCommand, _) => Behaviour::exits(200, 0, &[]),
        (_, 7) => Behaviour::default(),
        _ => Behaviour::hangs(),
    });
    world.deploy(returns());
    world.run(2000);
    Case::of(&world)
}

fn maintained() -> World {
    let mut world = serving();
    world.maintain(Some("back at noon"));
    world
}

fn routing() -> Vec<Wrong> {
    let rest = || Case::of(&serving());
    let both = ["web-r1-3", "web-r1-4"];
    vec![
        (
            "route twice",
            rest(),
            vec![route("web", &both), route("web", &both)],
            "routes twice",
        ),
        (
            "end a maintenance that nobody ended",
            Case::of(&maintained()),
            vec![route("web", &both)],
            "wrong maintenance",
        ),
        (
            "route to what starts",
            Case::of(&rolling()),
            vec![route("web", &["web-r2-7"])],
            "not healthy",
        ),
        (
            "route to what died",
            died(),
            vec![route("web", &both)],
            "not healthy",
        ),
        (
            "route to a worker",
            rest(),
            vec![route("web", &["worker-r1-5"])],
            "wrong instance",
        ),
        (
            "route to nobody",
            rest(),
            vec![route("web", &["web-r1-77"])],
            "no such instance",
        ),
        (
            "route to none of two",
            rest(),
            vec![route("web", &[])],
            "empties pool",
        ),
        (
            "forget the pool",
            rest(),
            vec![Action::Route { pools: Vec::new() }],
            "empties pool",
        ),
        (
            "route to two releases",
            Case::of(&switched()),
            vec![route("web", &["web-r1-3", "web-r2-7"])],
            "mixes releases",
        ),
        (
            "route while the gateway is away",
            Case::of(&away(serving())),
            vec![route("web", &both)],
            "routes blindly",
        ),
        (
            "route to half a release",
            half_started(),
            vec![route("web", &["web-r2-7"])],
            "routes early",
        ),
        (
            "route back without a rollback",
            Case::of(&switched()),
            vec![route("web", &both)],
            "routes early",
        ),
        (
            "route while down",
            going(Goal::Down),
            vec![route("web", &both)],
            "routes down",
        ),
    ]
}

/// r2 of one web service is deployed beside r1; so many milliseconds have passed.
fn staged(strategy: Strategy, instances: u32, millis: u64) -> World {
    let mut world = world();
    world.deploy(spec(&[("web", web(instances))], &[]));
    world.settle();
    world.deploy(spec(&[("web", deployed(strategy, web(instances)))], &[]));
    world.run(millis);
    world
}

/// web-r2-3 takes 10 % beside web-r1-1 and web-r1-2; the next step is 50 %.
fn at_ten() -> World {
    staged(canary(&[(10, 60), (50, 60)]), 2, 5000)
}

/// Two of three are of r2 and in rotation: web-r1-1, web-r2-4, web-r2-5; web-r2-6 starts.
fn at_two_of_three() -> World {
    staged(one_by_one(), 3, 950)
}

fn one_by_one() -> Strategy {
    world::rolling(Amount::Count(1), Amount::Count(1))
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
        }],
    }
}

/// The same table with a probe of this path.
fn probing(mut action: Action, path: &str) -> Action {
    if let Action::Route { pools } = &mut action {
        pools[0].probe = Some(world::probe(path));
    }
    action
}

/// As `at_ten`, and it asks for probes of `/healthz`.
fn probed_at_ten() -> World {
    let mut service = deployed(canary(&[(10, 60), (50, 60)]), web(2));
    service.probe = Some(world::probe("/healthz"));
    let mut world = world();
    world.deploy(spec(&[("web", web(2))], &[]));
    world.settle();
    world.deploy(spec(&[("web", service)], &[]));
    world.run(5000);
    world
}

fn paused(mut world: World) -> Case {
    world.pause(DeploymentId(2));
    Case::of(&world)
}

/// The canary's step ended and its instance fell out of rotation, though the log says nothing of it.
fn without_canary() -> Case {
    let mut case = Case::of(&at_ten());
    let gateway = case.observed.gateway.as_mut().unwrap();
    gateway.pools[0]
        .endpoints
        .retain(|e| e.release == ReleaseId(1));
    case
}

/// The canary's instance fell ill just now.
fn with_ill_canary() -> Case {
    let mut world = at_ten();
    let wall = world.wall();
    world.sim(&id("web-r2-3")).turn(false, wall);
    Case::of(&world)
}

fn staging() -> Vec<Wrong> {
    let canary_case = || Case::of(&at_ten());
    let all = ["web-r1-1", "web-r1-2", "web-r2-3"];
    let to = |stage| vec![enter(2, Phase::Rolling { stage })];
    let baking = || Case::of(&staged(blue_green(60), 2, 5000));
    let cookie = Some(Sticky::Cookie("side".into()));
    vec![
        (
            "more than the step's share",
            canary_case(),
            vec![split(&all, 50, None)],
            "wrong split",
        ),
        (
            "a share that no step names",
            canary_case(),
            vec![split(&all, 11, None)],
            "wrong split",
        ),
        (
            "a cookie that nobody declared",
            canary_case(),
            vec![split(&all, 10, cookie)],
            "wrong split",
        ),
        (
            "a split of a rolling service",
            Case::of(&at_two_of_three()),
            vec![split(&["web-r1-1", "web-r2-4", "web-r2-5"], 50, None)],
            "wrong split",
        ),
        (
            "a split on the way back",
            canary_case(),
            vec![split(&all, 10, None), enter(2, reverting())],
            "wrong split",
        ),
        (
            "a probe that nobody asked for",
            canary_case(),
            vec![probing(split(&all, 10, None), "/healthz")],
            "unasked probe",
        ),
        (
            "a probe of another path",
            Case::of(&probed_at_ten()),
            vec![probing(split(&all, 10, None), "/other")],
            "unasked probe",
        ),
        (
            "a probe of what is not on trial any more",
            Case::of(&probed_at_ten()),
            vec![probing(route("web", &all[..2]), "/healthz")],
            "unasked probe",
        ),
        (
            "a probe on the way back",
            Case::of(&probed_at_ten()),
            vec![
                probing(route("web", &all[..2]), "/healthz"),
                enter(2, reverting()),
            ],
            "unasked probe",
        ),
        (
            "a canary without its split",
            canary_case(),
            vec![route("web", &all)],
            "mixes releases",
        ),
        (
            "both at once, though one switch was declared",
            baking(),
            vec![route("web", &["web-r1-1", "web-r2-3"])],
            "mixes releases",
        ),
        (
            "everything to a canary that has one instance of two",
            without_canary(),
            vec![enter(2, Phase::Rolling { stage: 1 })],
            "skips phase",
        ),
        (
            "on with an ill one",
            with_ill_canary(),
            to(1),
            "skips phase",
        ),
        ("a stage left out", canary_case(), to(2), "skips phase"),
        (
            "a stage that is not there",
            canary_case(),
            to(3),
            "skips phase",
        ),
        (
            "a stage back",
            Case::of(&staged(canary(&[(10, 1), (50, 60)]), 2, 9000)),
            to(0),
            "skips phase",
        ),
        (
            "on, though it is paused",
            paused(at_ten()),
            to(1),
            "skips phase",
        ),
        (
            "into the rollout, though it is paused",
            paused({
                let mut world = world();
                world.deploy(returns());
                world.settle();
                world.deploy(returns());
                world.plan();
                world
            }),
            to(0),
            "skips phase",
        ),
        (
            "on before the batch is healthy",
            Case::of(&staged(one_by_one(), 3, 100)),
            to(1),
            "skips phase",
        ),
        (
            "success at a step",
            canary_case(),
            vec![enter(2, finished(Verdict::Succeeded))],
            "skips phase",
        ),
        (
            "back to the one that is left, in one table",
            Case::of(&at_two_of_three()),
            vec![route("web", &["web-r1-1"])],
            "below floor",
        ),
        (
            "on without what the last batch lacks",
            Case::of(&at_two_of_three()),
            vec![route("web", &["web-r2-4", "web-r2-5"])],
            "below floor",
        ),
        (
            "stop an old one while the new one bakes",
            baking(),
            vec![stop("web-r1-1")],
            "below floor",
        ),
        (
            "stop an old one that the table names",
            canary_case(),
            vec![stop("web-r1-1")],
            "in rotation",
        ),
        (
            "a batch before the last one's old instance is gone",
            {
                let mut world = staged(one_by_one(), 3, 320);
                world.plan();
                Case::of(&world)
            },
            vec![service("web-r2-5")],
            "too many",
        ),
    ]
}

/// r1 serves with one of its web instances ill.
fn ill() -> Case {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).turn(false, wall);
    world.run(1000);
    Case::of(&world)
}

fn starting() -> Vec<Wrong> {
    let rest = || Case::of(&serving());
    let preparing = || {
        let mut world = serving();
        world.deploy(returns());
        world.run(100);
        Case::of(&world)
    };
    let failing = || {
        let mut world = rolling();
        let wall = world.wall();
        world.sim(&id("web-r2-7")).kill(wall);
        world.plan();
        world.run(1);
        Case::of(&world)
    };
    let misnamed = Action::Start {
        id: id("web-r1-6"),
        component: name("worker"),
        release: ReleaseId(1),
        role: Role::Service,
    };
    vec![
        (
            "two replacements for one that is ill",
            ill(),
            vec![service("web-r1-6"), service("web-r1-7")],
            "too many",
        ),
        (
            "a second copy of the data's owner",
            rest(),
            vec![start("db-r0-6", Role::Database)],
            "second database",
        ),
        (
            "a number of the past",
            died(),
            vec![service("web-r1-2")],
            "ordinal taken",
        ),
        (
            "a number of the future",
            died(),
            vec![service("web-r1-99")],
            "ordinal taken",
        ),
        (
            "an id that is taken",
            rest(),
            vec![service("web-r1-3")],
            "ordinal taken",
        ),
        (
            "the same number twice",
            died(),
            vec![service("web-r1-6"), service("web-r1-6")],
            "conflict",
        ),
        (
            "another name than its id",
            died(),
            vec![misnamed],
            "misnamed",
        ),
        (
            "a service while down",
            going(Goal::Down),
            vec![service("web-r1-6")],
            "starts out of turn",
        ),
        (
            "a database while down",
            going(Goal::Purged),
            vec![start("db-r0-6", Role::Database)],
            "starts out of turn",
        ),
        (
            "a release that was not asked for",
            Case::of(&switched()),
            vec![service("web-r1-10")],
            "starts out of turn",
        ),
        (
            "a service before its release command",
            preparing(),
            vec![service("web-r2-7")],
            "starts out of turn",
        ),
        (
            "a service of a failed release",
            failing(),
            vec![service("web-r2-10")],
            "starts out of turn",
        ),
        (
            "a release command at rest",
            rest(),
            vec![start("web-r1-6", Role::ReleaseCommand)],
            "starts out of turn",
        ),
        (
            "one more than declared",
            rest(),
            vec![service("web-r1-6")],
            "too many",
        ),
        (
            "one more of a new release",
            Case::of(&rolling()),
            vec![service("web-r2-10")],
            "too many",
        ),
    ]
}

fn moving() -> Vec<Wrong> {
    let queued = || {
        let mut world = serving();
        world.deploy(returns());
        world.deploy(returns());
        Case::of(&world)
    };
    let preparing = || {
        let mut world = serving();
        world.deploy(returns());
        world.run(100);
        Case::of(&world)
    };
    let healthy = || {
        let mut world = rolling();
        world.now += 1000;
        world.plan();
        Case::of(&world)
    };
    let degraded = || {
        let mut world = rolling();
        let wall = world.wall();
        world.sim(&id("web-r2-7")).kill(wall);
        world.plan();
        world.run(1);
        for instance in ["web-r1-3", "web-r1-4"] {
            let wall = world.wall();
            world.sim(&id(instance)).kill(wall);
        }
        Case::of(&world)
    };
    let up_without_database = || {
        let mut world = serving();
        world.queue(ReleaseId(1), Reason::Up);
        world.plan();
        let mut case = Case::of(&world);
        case.env
            .deployments
            .get_mut(&DeploymentId(2))
            .unwrap()
            .phase = Phase::Preparing;
        case.observed.instances.remove(&id("db-r0-1"));
        case
    };
    let denied = || {
        let mut case = Case::of(&rolling());
        let deployment = case.env.deployments.get_mut(&DeploymentId(2)).unwrap();
        deployment.phase = reverting();
        deployment.served = Some(Served {
            stage: None,
            at: Timestamp(0),
        });
        case
    };
    let told_twice = Phase::Finished {
        verdict: Verdict::FailedDegraded,
        failure: None,
        at: Timestamp(0),
    };
    vec![
        (
            "from the queue to the rollout",
            queued(),
            vec![enter(2, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
        (
            "out of turn",
            queued(),
            vec![enter(3, Phase::Preparing)],
            "skips phase",
        ),
        (
            "two at once",
            queued(),
            vec![enter(2, Phase::Preparing), enter(2, Phase::Preparing)],
            "skips phase",
        ),
        (
            "before the command ended",
            preparing(),
            vec![enter(2, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
        (
            "before the database is healthy",
            up_without_database(),
            vec![enter(2, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
        (
            "one that ended",
            queued(),
            vec![enter(1, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
        (
            "one that is not there",
            queued(),
            vec![enter(9, Phase::Preparing)],
            "skips phase",
        ),
        (
            "failed without going back",
            Case::of(&rolling()),
            vec![enter(2, finished(Verdict::FailedOldServing))],
            "skips phase",
        ),
        (
            "back from the queue",
            queued(),
            vec![enter(2, reverting())],
            "skips phase",
        ),
        (
            "success before the switch",
            healthy(),
            vec![enter(2, finished(Verdict::Succeeded))],
            "false verdict",
        ),
        (
            "the old serves, and the same plan leaves it",
            healthy(),
            vec![
                route("web", &["web-r2-7", "web-r2-8"]),
                enter(2, finished(Verdict::FailedOldServing)),
            ],
            "false verdict",
        ),
        (
            "the old alone served, though the log says otherwise",
            denied(),
            vec![enter(2, finished(Verdict::FailedOldServing))],
            "false verdict",
        ),
        (
            "success while the gateway is away",
            Case::of(&away(rolling())),
            vec![enter(2, finished(Verdict::Succeeded))],
            "false verdict",
        ),
        (
            "the old serves, though it is dead",
            degraded(),
            vec![enter(2, finished(Verdict::FailedOldServing))],
            "false verdict",
        ),
        (
            "nobody knows, though the gateway does",
            degraded(),
            vec![enter(2, finished(Verdict::Unknown))],
            "false verdict",
        ),
        (
            "a failure without a word",
            degraded(),
            vec![enter(2, told_twice)],
            "false verdict",
        ),
    ]
}

fn data() -> Vec<Wrong> {
    let down = || {
        let mut world = serving();
        world.goal(Goal::Down);
        world.run(5000);
        Case::of(&world)
    };
    vec![
        (
            "data of what is up",
            Case::of(&serving()),
            vec![Action::PurgeData],
            "purges data",
        ),
        (
            "data that is kept",
            down(),
            vec![Action::PurgeData],
            "purges data",
        ),
        (
            "data in use",
            going(Goal::Purged),
            vec![Action::PurgeData],
            "purges data",
        ),
    ]
}

/// r1 to r5 served in turn, the last two releases are retained beside what is needed.
fn five_releases(env: &str) -> World {
    let mut world = world_of(env);
    for _ in 0..5 {
        let mut spec = returns();
        spec.keep_releases = if env.ends_with("prod") { 2 } else { 10 };
        spec.keep_warm = Millis(0);
        world.deploy(spec);
        world.settle();
    }
    world
}

fn retiring() -> Vec<Wrong> {
    let retire = |number| {
        vec![Action::Retire {
            release: ReleaseId(number),
        }]
    };
    let keeps_two = || {
        let mut case = Case::of(&five_releases("returns/dev"));
        case.env
            .releases
            .values_mut()
            .for_each(|r| r.spec.keep_releases = 2);
        case
    };
    let led_to = || {
        let mut case = keeps_two();
        let queued = case.env.deployments.values_mut().next_back().unwrap();
        (queued.to, queued.phase) = (ReleaseId(1), Phase::Queued);
        case
    };
    // Three are kept: r5, r4 and r3, of which r5 and r4 never served; so r2 and r1 as well.
    let failing = || {
        let mut case = keeps_two();
        for deployment in case.env.deployments.values_mut().skip(3) {
            deployment.phase = finished(Verdict::FailedOldServing);
        }
        for release in case.env.releases.values_mut() {
            release.spec.keep_releases = 3;
        }
        case.env.current = Some(ReleaseId(3));
        case.env.previous = Some(ReleaseId(2));
        case
    };
    let production = || Case::of(&five_releases("returns/prod"));
    vec![
        (
            "the release that serves",
            keeps_two(),
            retire(5),
            "retires needed",
        ),
        (
            "what a rollback leads to",
            keeps_two(),
            retire(4),
            "retires needed",
        ),
        (
            "one of the newest",
            Case::of(&five_releases("returns/dev")),
            retire(1),
            "retires needed",
        ),
        (
            "what a deployment leads to",
            led_to(),
            retire(1),
            "retires needed",
        ),
        (
            "what ever reached prod",
            production(),
            retire(1),
            "retires needed",
        ),
        (
            "one of the newest that served, behind a row of failures",
            failing(),
            retire(1),
            "retires needed",
        ),
    ]
}

/// web-r1-3 of what serves was killed, and nobody has looked yet.
fn killed() -> World {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world
}

fn ending() -> Vec<Wrong> {
    let report = |instance: &str| Action::Report {
        id: id(instance),
        how: "was ended by SIGKILL".into(),
    };
    let recorded = || {
        let mut case = Case::of(&killed());
        case.env.ended.push_back(3);
        case
    };
    vec![
        (
            "the end of what runs",
            Case::of(&serving()),
            vec![report("web-r1-3")],
            "false end",
        ),
        (
            "the end of what nobody sees",
            Case::of(&serving()),
            vec![report("web-r1-77")],
            "false end",
        ),
        (
            "the same end again",
            recorded(),
            vec![report("web-r1-3")],
            "false end",
        ),
        (
            "gone before anybody was told",
            Case::of(&killed()),
            vec![remove("web-r1-3")],
            "removes unrecorded",
        ),
    ]
}

/// web-r1-1 and worker-r1-2 serve, a worker that must not run beside another release's.
fn working() -> World {
    let mut world = world();
    world.behave = Box::new(|_| Behaviour {
        stop_takes: 5000,
        ..Behaviour::default()
    });
    let stack = || spec(&[("web", web(1)), ("worker", alone(worker(1)))], &[]);
    world.deploy(stack());
    world.settle();
    world.deploy(stack());
    world
}

/// web-r2-3 is not healthy yet.
fn before_the_exchange() -> World {
    let mut world = working();
    world.run(250);
    world
}

/// web-r2-3 is healthy, and worker-r1-2 finishes what it has begun.
fn in_the_exchange() -> World {
    let mut world = working();
    world.run(2000);
    world
}

/// worker-r1-2 is gone, and the next one starts.
fn after_the_exchange() -> World {
    let mut world = working();
    world.run(5350);
    world
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

fn exchanging() -> Vec<Wrong> {
    vec![
        (
            "stop the worker before the rest is healthy",
            Case::of(&before_the_exchange()),
            vec![stop("worker-r1-2")],
            "last healthy",
        ),
        (
            "a worker beside one that works",
            Case::of(&before_the_exchange()),
            vec![service("worker-r2-4")],
            "overlaps",
        ),
        (
            "a worker beside one that finishes",
            Case::of(&in_the_exchange()),
            vec![service("worker-r2-4")],
            "overlaps",
        ),
        (
            "the old worker again beside the new one",
            Case::of(&after_the_exchange()),
            vec![service("worker-r1-5")],
            "overlaps",
        ),
        (
            "the same worker again before it is gone",
            Case::of(&in_the_exchange()),
            vec![service("worker-r1-4")],
            "too many",
        ),
        (
            "the exchange before the rest is healthy",
            Case::of(&before_the_exchange()),
            vec![enter(2, Phase::Rolling { stage: 1 })],
            "skips phase",
        ),
        (
            "an exchange that was told already",
            Case::of(&after_the_exchange()),
            vec![told()],
            "false gap",
        ),
        (
            "an exchange by nobody",
            Case::of(&serving()),
            vec![told()],
            "false gap",
        ),
    ]
}

#[test]
fn what_is_gone_may_be_followed() {
    let mut world = in_the_exchange();
    let wall = world.wall();
    world.sim(&id("worker-r1-2")).kill(wall);
    let case = Case::of(&world);
    assert_eq!(case.objections(&[service("worker-r2-4")]), []);
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

/// What is wrong above is right a moment later, or a little less of it.
#[test]
fn what_the_strategy_names_is_taken() {
    let all = ["web-r1-1", "web-r1-2", "web-r2-3"];
    let case = Case::of(&at_ten());
    let probed = Case::of(&probed_at_ten());
    let asked = probing(split(&all, 10, None), "/healthz");
    assert_eq!(probed.objections(&[asked]), []);
    assert_eq!(case.objections(&[split(&all, 10, None)]), []);
    assert_eq!(
        case.objections(&[enter(2, Phase::Rolling { stage: 1 })]),
        []
    );
    let mut promoted = at_ten();
    promoted.promote(DeploymentId(2), 2);
    let case = Case::of(&promoted);
    assert_eq!(
        case.objections(&[enter(2, Phase::Rolling { stage: 2 })]),
        []
    );
    assert_eq!(
        case.objections(&[route("web", &["web-r1-1", "web-r1-2"])]),
        []
    );
    let rolling = ["web-r1-1", "web-r2-4", "web-r2-5"];
    let case = Case::of(&at_two_of_three());
    assert_eq!(case.objections(&[route("web", &rolling)]), []);
}

#[test]
fn a_replacement_may_be_started_for_one_that_is_ill() {
    assert_eq!(ill().objections(&[service("web-r1-6")]), []);
}

#[test]
fn a_database_that_was_never_healthy_may_be_stopped() {
    let mut world = World::new();
    world.behave = Box::new(|_| Behaviour::hangs());
    world.deploy(returns());
    world.run(1000);
    assert_eq!(Case::of(&world).objections(&[stop("db-r0-1")]), []);
}

#[test]
fn an_objection_is_a_sentence_that_names_the_instance() {
    let objections = Case::of(&serving()).objections(&[stop("web-r1-3")]);
    let sentences: Vec<String> = objections.iter().map(ToString::to_string).collect();
    assert_eq!(sentences, ["it would stop web-r1-3, which is in rotation"]);
}
