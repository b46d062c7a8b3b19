//! Data and releases that must be kept.

use super::*;

pub(super) fn data() -> Vec<Wrong> {
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

pub(super) fn retiring() -> Vec<Wrong> {
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
