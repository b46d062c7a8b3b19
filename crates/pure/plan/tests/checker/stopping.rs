//! Stopping, cutting, removing.

use super::*;

fn cut(instance: &str) -> Action {
    Action::Cut { id: id(instance) }
}

pub(super) fn stopping() -> Vec<Wrong> {
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

#[test]
fn a_database_that_was_never_healthy_may_be_stopped() {
    let mut world = World::new();
    world.behave = Box::new(|_| Behaviour::hangs());
    world.deploy(returns());
    world.run(1000);
    assert_eq!(Case::of(&world).objections(&[stop("db-r0-1")]), []);
}
