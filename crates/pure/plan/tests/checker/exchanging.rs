//! Releases that must not overlap.

use super::*;

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

pub(super) fn exchanging() -> Vec<Wrong> {
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
