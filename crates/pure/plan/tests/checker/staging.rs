//! Stages: splits, floors, probes.

use super::*;

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

pub(super) fn staging() -> Vec<Wrong> {
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
