//! Phases and verdicts.

use super::*;

pub(super) fn moving() -> Vec<Wrong> {
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
