//! Twenty thousand scenes that nobody thought of: whatever the planner sees, its checker has no objection.
//!
//! The scenes are likely ones and unlikely ones alike: instances in every state, tables that name what
//! is gone, deployments in every phase, clocks that were set. A case is one number; one that fails is
//! printed, and replays exactly (`WARD_SEED`).

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use ward_plan::{Action, Memory, Observed, Plan, SeenGateway, SeenInstance, check, plan};
use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::id::{DeploymentId, EnvId, InstanceId, Name, ReleaseId, RunId};
use ward_types::keeper::{Exit, InstanceFacts, InstanceState, InstanceStatus, Role};
use ward_types::release::{
    DataState, Deployment, Environment, Failure, Goal, Pause, Phase, Reason, Served, Verdict,
};
use ward_types::run::{Overlap, Run};
use ward_types::sleep::{Alarm, Asleep, Drowsiness, Sleep, Woken};
use ward_types::spec::{Amount, EnvSpec, RouteSpec, ServiceSpec, Strategy};
use ward_types::table::{Endpoint, Pool, Split, Traffic};
use ward_types::time::{Millis, Timestamp};
use world::{
    Dice, alone, any_analysis, any_probe, any_strategy, cases, deployed, inner, linked, name,
    release_of, rolling, seeds, spec, web, with_command, worker,
};

const NOW: Timestamp = Timestamp(10_000_000);

struct Scene {
    env: Environment,
    observed: Observed,
    ordinal: u64,
}

fn scene(dice: &mut Dice) -> Scene {
    let env = environment(dice);
    let (instances, next) = instances(dice, &env);
    // Sometimes the counter was lost.
    let ordinal = if dice.chance(3) { 1 } else { next };
    let gateway = (!dice.chance(15)).then(|| gateway(dice, &env, &instances));
    let observed = Observed {
        instances,
        gateway,
        in_use: dice.chance(10),
    };
    Scene {
        env,
        observed,
        ordinal,
    }
}

fn any_spec(dice: &mut Dice) -> EnvSpec {
    let mut services = Vec::new();
    for component in ["web", "api", "worker"] {
        let instances = dice.below(4) as u32;
        let service = match component {
            _ if dice.chance(15) => continue,
            "web" => web(instances),
            "api" => inner(instances),
            _ => worker(instances),
        };
        let service = if dice.chance(50) {
            linked(service, &["db"])
        } else {
            service
        };
        let service = if dice.chance(30) {
            with_command(service)
        } else {
            service
        };
        let service = ServiceSpec {
            analysis: any_analysis(dice),
            probe: any_probe(dice),
            overlap: dice.chance(60),
            ..deployed(any_strategy(dice), service)
        };
        services.push((component, service));
    }
    let databases: &[&str] = if dice.chance(70) { &["db"] } else { &[] };
    let mut spec = spec(&services, databases);
    spec.keep_warm = Millis(dice.below(3) * 100_000);
    spec.keep_releases = u32::try_from(1 + dice.below(4)).unwrap();
    spec.sleep = dice.chance(40).then(|| Millis(dice.below(100_000)));
    spec
}

fn environment(dice: &mut Dice) -> Environment {
    let mut env = Environment::new(EnvId::parse("returns/dev").unwrap());
    env.goal = *dice.pick(&[Goal::Up, Goal::Up, Goal::Up, Goal::Down, Goal::Purged]);
    env.data = *dice.pick(&[DataState::Kept, DataState::Kept, DataState::New]);
    env.prepared = (env.data == DataState::Kept && dice.chance(80)).then(|| release(dice));
    for number in 1..=4 {
        let release = release_of(ReleaseId(number), any_spec(dice), Timestamp(1));
        env.releases.insert(release.id, release);
    }
    env.current = dice.chance(80).then(|| release(dice));
    env.previous = dice
        .chance(60)
        .then(|| release(dice))
        .filter(|p| env.current != Some(*p));
    let mut active = dice.chance(70);
    for number in 1..=dice.below(5) {
        let phase = match std::mem::take(&mut active) {
            true => under_way(dice),
            false => resting(dice),
        };
        let id = DeploymentId(number);
        env.deployments.insert(id, deployment(dice, id, phase));
    }
    for number in 1..=dice.below(3) {
        let run = run(dice, RunId(number));
        env.runs.last = run.id;
        env.runs.open.insert(run.id, run);
    }
    env.sleep = sleep(dice);
    env
}

/// Half as if it had never slept.
fn sleep(dice: &mut Dice) -> Sleep {
    let asleep = Asleep {
        since: moment(dice),
        cause: Drowsiness::Idle,
    };
    let woken = Woken {
        at: moment(dice),
        by: *dice.pick(&[Alarm::Request, Alarm::Asked, Alarm::Deployment, Alarm::Run]),
    };
    Sleep {
        asleep: dice.chance(20).then_some(asleep),
        woken: dice.chance(40).then_some(woken),
    }
}

fn run(dice: &mut Dice, id: RunId) -> Run {
    let service = *dice.pick(&["web", "api", "worker"]);
    Run {
        id,
        job: dice.chance(50).then(|| name("close-month")),
        due: None,
        service: name(service),
        release: release(dice),
        command: vec!["close-month".into()],
        deadline: Millis(dice.below(100_000)),
        retries: dice.below(3) as u32,
        overlap: *dice.pick(&[Overlap::Queue, Overlap::Allow]),
        requested: moment(dice),
        by: "anna".into(),
        attempts: Vec::new(),
        again: None,
        stopped: dice.chance(20).then(|| "anna".to_owned()),
    }
}

fn release(dice: &mut Dice) -> ReleaseId {
    ReleaseId(1 + dice.below(4))
}

fn failure() -> Failure {
    Failure {
        message: "It failed.".into(),
        output: Vec::new(),
        hint: None,
    }
}

fn under_way(dice: &mut Dice) -> Phase {
    let failure = failure();
    let stage = dice.below(5) as u32;
    dice.pick(&[
        Phase::Preparing,
        Phase::Rolling { stage: 0 },
        Phase::Rolling { stage },
        Phase::Reverting { failure },
    ])
    .clone()
}

fn resting(dice: &mut Dice) -> Phase {
    let finished = |verdict, failure| Phase::Finished {
        verdict,
        failure,
        at: Timestamp(NOW.0 - 50_000),
    };
    dice.pick(&[
        Phase::Queued,
        finished(Verdict::Succeeded, None),
        finished(Verdict::FailedOldServing, Some(failure())),
    ])
    .clone()
}

fn deployment(dice: &mut Dice, id: DeploymentId, phase: Phase) -> Deployment {
    let reasons = [
        Reason::Deploy,
        Reason::Deploy,
        Reason::Rollback,
        Reason::Rollforward,
        Reason::Up,
    ];
    let rolls = matches!(phase, Phase::Rolling { .. } | Phase::Reverting { .. });
    let served = (rolls && dice.chance(20)).then(|| Served {
        stage: dice.chance(70).then(|| dice.below(3) as u32),
        at: moment(dice),
    });
    Deployment {
        id,
        reason: *dice.pick(&reasons),
        from: None,
        to: release(dice),
        requested: match dice.chance(60) {
            true => moment(dice),
            false => Timestamp(1),
        },
        started: None,
        phase_since: moment(dice),
        by: "anna".into(),
        paused: dice.chance(10).then(|| Pause {
            by: "anna".into(),
            at: moment(dice),
        }),
        resumed: dice.chance(20).then(|| moment(dice)),
        promoted: match dice.chance(15) {
            true => dice.below(6) as u32,
            false => 0,
        },
        served,
        cancelled: dice.chance(10).then(|| "anna".into()),
        despite_schema: dice.chance(5).then(|| "anna".into()),
        plan: None,
        gaps: Vec::new(),
        phase,
    }
}

/// Mostly just now, sometimes long ago, sometimes in the future.
fn moment(dice: &mut Dice) -> Timestamp {
    let ago = *dice.pick(&[0, 10, 500, 1500, 10_000, 31_000, 61_000, 1_000_000]);
    match dice.chance(5) {
        true => Timestamp(NOW.0 + ago),
        false => Timestamp(NOW.0 - ago),
    }
}

fn instances(dice: &mut Dice, env: &Environment) -> (BTreeMap<InstanceId, SeenInstance>, u64) {
    let mut instances = BTreeMap::new();
    let count = dice.below(16);
    for ordinal in 1..=count {
        let component = *dice.pick(&["web", "web", "api", "worker", "db"]);
        let role = match component {
            "db" => Role::Database,
            _ if dice.chance(8) => Role::ReleaseCommand,
            _ if dice.chance(8) => Role::Run(RunId(1 + dice.below(3))),
            _ => Role::Service,
        };
        let release = match role {
            Role::Database => ReleaseId(0),
            _ => likely_release(dice, env),
        };
        if is_none_wanted(env, release, component) {
            continue;
        }
        let seen = instance(dice, env, &name(component), release, role, ordinal);
        instances.insert(seen.facts.id.clone(), seen);
    }
    (instances, count + 1)
}

/// Nothing ever starts an instance of a service that is declared with none.
fn is_none_wanted(env: &Environment, release: ReleaseId, component: &str) -> bool {
    let release = env.releases.get(&release);
    let service = release.and_then(|r| r.spec.services.get(&name(component)));
    service.is_some_and(|s| s.instances == 0)
}

fn likely_release(dice: &mut Dice, env: &Environment) -> ReleaseId {
    let to = env.active().map(|d| d.to);
    let known = [env.current, to, to, env.previous, env.current];
    let picked = *dice.pick(&known);
    picked.unwrap_or_else(|| release(dice))
}

fn instance(
    dice: &mut Dice,
    env: &Environment,
    component: &Name,
    release: ReleaseId,
    role: Role,
    ordinal: u64,
) -> SeenInstance {
    let service = env
        .releases
        .get(&release)
        .and_then(|r| r.spec.services.get(component));
    let since = moment(dice);
    let state = state(dice);
    let stopped = state == InstanceState::Unhealthy && dice.below(2) == 0;
    let altered = (dice.below(6) == 0).then(|| "app.py was edited".to_owned());
    SeenInstance {
        facts: InstanceFacts {
            id: InstanceId::new(component, release, ordinal),
            env: env.id.clone(),
            component: component.clone(),
            release,
            role,
            port: service.and_then(|s| s.port),
            started: Timestamp(since.0 - dice.below(100_000)),
            passwords: None,
        },
        status: InstanceStatus {
            state,
            pid: None,
            keeper_pid: 1,
            last_failure: None,
            missing: Vec::new(),
            stopped,
        },
        since,
        output: vec!["line".into(); 30],
        altered,
        checkup: checkup(dice, env),
    }
}

fn checkup(dice: &mut Dice, env: &Environment) -> Option<Checkup> {
    let other = Occasion {
        deployment: DeploymentId(1),
        resumed: None,
    };
    let active = env.active().map_or(other, Deployment::occasion);
    let of = *dice.pick(&[active, active, active, other]);
    let found = dice
        .pick(&[
            Found::Awaited,
            Found::Well,
            Found::Well,
            Found::Ill("it is stopped".into()),
        ])
        .clone();
    dice.chance(70).then_some(Checkup { of, found })
}

fn state(dice: &mut Dice) -> InstanceState {
    let exited = |exit, asked| InstanceState::Exited { exit, asked };
    dice.pick(&[
        InstanceState::Starting,
        InstanceState::Healthy,
        InstanceState::Healthy,
        InstanceState::Healthy,
        InstanceState::Healthy,
        InstanceState::Unhealthy,
        InstanceState::Stopping,
        exited(Exit::Code(0), false),
        exited(Exit::Signal(9), false),
        exited(Exit::Code(0), true),
        InstanceState::Failed {
            message: "no room".into(),
        },
        InstanceState::Lost,
    ])
    .clone()
}

/// A table of one release, or of the two that a deployment by stages is between, as any table that was ever
/// put into force; sometimes it names what is gone.
fn gateway(
    dice: &mut Dice,
    env: &Environment,
    instances: &BTreeMap<InstanceId, SeenInstance>,
) -> SeenGateway {
    let shown = likely_release(dice, env);
    let mixes = dice.chance(50);
    let other = env
        .active()
        .filter(|d| d.reason == Reason::Deploy && mixes && Some(shown) == env.current)
        .map(|d| d.to);
    let mut pools = Vec::new();
    let asleep = env.sleep.asleep.map(|asleep| asleep.since);
    let asleep = asleep.or(env.sleep.woken.map(|woken| woken.at));
    for (service, declared) in &env.releases[&shown].spec.services {
        if declared.port.is_none() || dice.chance(10) {
            continue;
        }
        let next = other.and_then(|to| env.releases[&to].spec.services.get(service));
        let next = next.map(|service| &service.strategy);
        let joins = matches!(
            next,
            Some(Strategy::Canary { .. } | Strategy::Rolling { .. })
        );
        let copies = instances.values().filter(|i| {
            let facts = &i.facts;
            let ours = facts.release == shown || (joins && Some(facts.release) == other);
            facts.role == Role::Service && ours && facts.component == *service
        });
        let mut ids: Vec<InstanceId> = copies.map(|i| i.facts.id.clone()).collect();
        ids.retain(|_| dice.chance(70));
        if dice.chance(10) {
            ids.push(InstanceId::new(service, shown, 99));
        }
        let endpoints = ids.into_iter().map(|instance| Endpoint {
            release: instances.get(&instance).map_or(shown, |i| i.facts.release),
            instance,
            dir: PathBuf::new(),
            port: 8080,
            long_drain: None,
        });
        let endpoints: Vec<_> = endpoints.collect();
        let split = endpoints.iter().any(|e| Some(e.release) == other);
        let split = match next {
            Some(Strategy::Canary { steps, sticky, .. }) if split => Some(Split {
                release: other.unwrap(),
                percent: dice.pick(steps).weight,
                sticky: sticky.clone(),
            }),
            _ => None,
        };
        pools.push(Pool {
            env: env.id.clone(),
            service: service.clone(),
            routes: declared
                .routes
                .iter()
                .filter_map(RouteSpec::route)
                .collect(),
            endpoints,
            split,
            probe: any_probe(dice),
            maintenance: None,
            asleep: asleep.filter(|_| dice.chance(80)),
            exports: declared.exports.clone(),
            guard: ward_types::guard::Guard::default(),
            balance: ward_types::balance::Balance::default(),
        });
    }
    let mut traffic = BTreeMap::new();
    for id in instances.keys() {
        if dice.chance(80) {
            continue;
        }
        let requests = dice.below(3);
        let upgraded = dice.below(2);
        traffic.insert(
            id.clone(),
            Traffic {
                requests,
                upgraded,
                answered: dice.below(50),
                failed: dice.below(60).saturating_sub(30),
                probes: 0,
            },
        );
    }
    SeenGateway {
        pools,
        traffic,
        latency: BTreeMap::new(),
        holds: true,
        held: dice.chance(10),
    }
}

fn plan_for(scene: &Scene, now: Timestamp, memory: &Memory) -> Plan {
    plan(&scene.env, &scene.observed, now, scene.ordinal, memory)
}

/// What the scenes below met once in some 200,000 scenes: instances of r2, which neither serves nor is deployed, are
/// in rotation while a deployment moves from r1 to r3.
fn left_by_r2(specs: [EnvSpec; 3], reason: Reason, phase: Phase, left: &[&str]) -> Scene {
    let dice = &mut Dice::new(1);
    let mut env = Environment::new(EnvId::parse("returns/dev").unwrap());
    env.goal = Goal::Up;
    env.current = Some(ReleaseId(1));
    for (number, spec) in (1..).zip(specs) {
        let release = release_of(ReleaseId(number), spec, Timestamp(1));
        env.releases.insert(release.id, release);
    }
    let id = DeploymentId(1);
    let deployment = Deployment {
        reason,
        to: ReleaseId(3),
        phase_since: NOW,
        paused: None,
        resumed: None,
        promoted: 0,
        served: None,
        cancelled: None,
        ..deployment(dice, id, phase)
    };
    env.deployments.insert(id, deployment);
    let mut instances = BTreeMap::new();
    let mut pools = Vec::new();
    for (ordinal, component) in (1..).zip(left) {
        let (service, r2) = (name(component), ReleaseId(2));
        let mut seen = instance(dice, &env, &service, r2, Role::Service, ordinal);
        seen.status.state = InstanceState::Healthy;
        let instance = seen.facts.id.clone();
        instances.insert(instance.clone(), seen);
        pools.push(Pool {
            env: env.id.clone(),
            service,
            routes: Vec::new(),
            endpoints: vec![Endpoint {
                release: r2,
                instance,
                dir: PathBuf::new(),
                port: 8080,
                long_drain: None,
            }],
            split: None,
            probe: None,
            maintenance: None,
            asleep: None,
            exports: Vec::new(),
            guard: ward_types::guard::Guard::default(),
            balance: ward_types::balance::Balance::default(),
        });
    }
    let gateway = Some(SeenGateway {
        pools,
        traffic: BTreeMap::new(),
        latency: BTreeMap::new(),
        holds: true,
        held: false,
    });
    Scene {
        env,
        observed: Observed {
            instances,
            gateway,
            in_use: false,
        },
        ordinal: 10,
    }
}

/// What is planned to be in rotation, by service; the checker has no objection.
fn routed(scene: &Scene) -> Vec<(String, usize)> {
    let plan = plan_for(scene, NOW, &Memory::default());
    let told = tell(scene, &plan);
    let objections = check(&scene.env, &scene.observed, &plan);
    assert!(objections.is_empty(), "{objections:?}\n{told}");
    let route = plan.actions.iter().find_map(|action| match action {
        Action::Route { pools } => Some(pools),
        _ => None,
    });
    let pools = route.unwrap_or_else(|| panic!("it routes nothing\n{told}"));
    let endpoints = pools
        .iter()
        .map(|p| (p.service.to_string(), p.endpoints.len()));
    endpoints.collect()
}

fn counts(pools: &[(&str, usize)]) -> Vec<(String, usize)> {
    let pools = pools.iter();
    pools
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn what_an_earlier_release_left_gives_way_to_the_release_that_starts_at_the_exchange() {
    let scene = left_by_r2(
        [
            spec(&[("api", alone(inner(1))), ("web", web(0))], &[]),
            spec(&[("web", web(1))], &[]),
            spec(&[("api", inner(1)), ("web", alone(web(1)))], &[]),
        ],
        Reason::Rollforward,
        Phase::Rolling { stage: 1 },
        &["web"],
    );
    assert_eq!(routed(&scene), counts(&[("api", 0), ("web", 0)]));
}

#[test]
fn what_an_earlier_release_left_gives_way_whatever_floor_the_deployment_has() {
    let pace = rolling(Amount::Count(1), Amount::Count(1));
    let scene = left_by_r2(
        [
            spec(&[("web", web(2))], &[]),
            spec(&[("web", alone(web(1)))], &[]),
            spec(&[("web", deployed(pace, web(2)))], &[]),
        ],
        Reason::Deploy,
        Phase::Reverting { failure: failure() },
        &["web"],
    );
    assert_eq!(routed(&scene), counts(&[("web", 0)]));
}

#[test]
fn what_an_earlier_release_left_keeps_what_it_calls() {
    let scene = left_by_r2(
        [
            spec(&[("web", web(1)), ("worker", alone(worker(1)))], &[]),
            spec(&[("api", inner(1)), ("web", web(1))], &[]),
            spec(&[("api", inner(1)), ("worker", worker(1))], &[]),
        ],
        Reason::Up,
        Phase::Reverting { failure: failure() },
        &["api", "web"],
    );
    let plan = plan_for(&scene, NOW, &Memory::default());
    let routes = |a: &Action| matches!(a, Action::Route { pools } if pools.iter().all(|p| p.service != name("api")));
    assert!(!plan.actions.iter().any(routes), "{}", tell(&scene, &plan));
    finds_nothing(&scene, &plan).unwrap();
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn the_checker_never_objects(seed in seeds()) {
        try_seed(seed)?;
    }
}

/// The same for a range of seeds, such as `WARD_SEEDS=0..100000`: what was tried can be said, and tried again.
#[test]
fn the_checker_never_objects_to_a_range() -> Result<(), TestCaseError> {
    let asked = std::env::var("WARD_SEEDS").unwrap_or_else(|_| "0..2000".into());
    let (from, to) = asked.split_once("..").expect("WARD_SEEDS is FROM..TO");
    let number = |text: &str| text.parse::<u64>().expect("WARD_SEEDS has numbers");
    (number(from)..number(to)).try_for_each(try_seed)
}

fn try_seed(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice::new(seed);
    let scene = scene(&mut dice);
    let plan = plan_for(&scene, NOW, &Memory::default());
    finds_nothing(&scene, &plan)?;
    prop_assert_eq!(&plan, &plan_for(&scene, NOW, &Memory::default()));
    // The same with a memory, a while later.
    let later = Timestamp(NOW.0 + dice.below(100_000));
    let second = plan_for(&scene, later, &plan.memory);
    finds_nothing(&scene, &second)?;
    for (plan, now) in [(&plan, NOW), (&second, later)] {
        holds(&scene, plan, now)?;
    }
    Ok(())
}

fn finds_nothing(scene: &Scene, plan: &Plan) -> Result<(), TestCaseError> {
    let objections = check(&scene.env, &scene.observed, plan);
    let told = tell(scene, plan);
    prop_assert!(objections.is_empty(), "{objections:?}\n{told}");
    Ok(())
}

/// A scene and its plan in few lines.
fn tell(scene: &Scene, plan: &Plan) -> String {
    let Scene { env, observed, .. } = scene;
    let mut lines = vec![format!(
        "{:?} current {:?}, {:?}",
        env.goal,
        env.current,
        env.active()
    )];
    let active = env.active().map(|d| d.to);
    for release in env.current.into_iter().chain(active) {
        for (name, service) in &env.releases[&release].spec.services {
            let (count, strategy) = (service.instances, &service.strategy);
            let (port, overlap) = (service.port, service.overlap);
            lines.push(format!(
                "{release} {name}: {count} {port:?} {strategy:?} overlap: {overlap}"
            ));
        }
    }
    for (id, seen) in &observed.instances {
        lines.push(format!(
            "{id} {:?} {:?}",
            seen.facts.role, seen.status.state
        ));
    }
    for pool in observed.gateway.iter().flat_map(|g| &g.pools) {
        let ids: Vec<_> = pool.endpoints.iter().map(|e| e.instance.as_str()).collect();
        lines.push(format!("{}: {ids:?} {:?}", pool.service, pool.split));
    }
    lines.extend(plan.actions.iter().map(|action| format!("{action:?}")));
    lines.extend(plan.waiting.iter().map(ToString::to_string));
    lines.join("\n")
}

fn holds(scene: &Scene, plan: &Plan, now: Timestamp) -> Result<(), TestCaseError> {
    let env = &scene.env;
    let starts = plan.actions.iter().filter_map(|a| match a {
        Action::Start { release, role, .. } => Some((*release, *role)),
        _ => None,
    });
    for (release, role) in starts {
        prop_assert_eq!(env.goal, Goal::Up, "a stopped environment starts something");
        if let Some(failed) = env
            .active()
            .filter(|d| matches!(d.phase, Phase::Reverting { .. }))
        {
            let of_failed = release == failed.to && env.current != Some(release);
            // A run is in the release in which it was asked for, whatever became of that since.
            let of_failed = of_failed && !matches!(role, Role::Run(_));
            prop_assert!(!of_failed, "a failed deployment starts something");
        }
        prop_assert!(role == Role::Database || release != ReleaseId(0));
    }
    prop_assert!(plan.wake.is_none_or(|wake| wake > now));
    prop_assert!(plan.next_ordinal >= plan.first_ordinal);
    let busy = env.active().is_some() || env.next_queued().is_some();
    let silent = plan.actions.is_empty() && plan.waiting.is_empty() && busy;
    prop_assert!(
        !silent,
        "it does not say what it waits for\n{}",
        tell(scene, plan)
    );
    let ahead = plan
        .waiting
        .iter()
        .filter_map(|w| w.bound())
        .any(|b| b.until > now);
    // Beside what is waited for there is only the moment at which it falls asleep, or counts as awake.
    let current = env.current.and_then(|current| env.releases.get(&current));
    let drowsy = current.is_some_and(|release| release.spec.sleep.is_some());
    let drowsy = drowsy || env.sleep.woken.is_some();
    prop_assert!(plan.wake.is_some() || !ahead);
    prop_assert!(plan.wake.is_none() || ahead || drowsy);
    Ok(())
}
