//! Sleep, and what is held meanwhile.

use ward_types::sleep::{Alarm, Asleep, Drowsiness};

use super::*;

/// r1 serves, and has been told when it sleeps.
fn drowsy() -> World {
    let mut spec = returns();
    spec.sleep = Some(Millis(60_000));
    let mut world = world();
    world.deploy(spec);
    world.settle();
    world
}

/// It sleeps, and the gateway does not know yet.
fn asleep() -> Case {
    let mut world = drowsy();
    world.sleep();
    Case::of(&world)
}

fn held(endpoints: &[&str], asleep: Option<u64>) -> Vec<Action> {
    let mut action = route("web", endpoints);
    if let Action::Route { pools } = &mut action {
        pools[0].asleep = asleep.map(Timestamp);
    }
    vec![action]
}

fn since(case: &Case) -> u64 {
    let asleep: Option<&Asleep> = case.env.asleep();
    asleep.map_or(0, |asleep| asleep.since.0)
}

pub(super) fn sleeping() -> Vec<Wrong> {
    let cause = Drowsiness::Idle;
    let sleep = || vec![Action::Sleep { cause }];
    let wake = |by| vec![Action::Wake { by }];
    let busy = || {
        let mut world = drowsy();
        world.gateway.busy(&id("web-r1-3"), 1, 0);
        Case::of(&world)
    };
    let at_work = || {
        let mut world = drowsy();
        world.run_asked(None, 60_000, 0);
        Case::of(&world)
    };
    let needed = || Case {
        observed: Observed {
            in_use: true,
            ..drowsy().observe()
        },
        ..Case::of(&drowsy())
    };
    let older = || {
        let mut case = Case::of(&drowsy());
        case.observed.gateway.as_mut().unwrap().holds = false;
        case
    };
    let called = || {
        let mut case = Case::of(&drowsy());
        case.observed.gateway.as_mut().unwrap().held = true;
        case
    };
    let since = since(&asleep());
    vec![
        (
            "sleep that nobody declares",
            Case::of(&serving()),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep in the middle of a request",
            busy(),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep while a request is held",
            called(),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep while a command runs",
            at_work(),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep while somebody needs it",
            needed(),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep that the gateway cannot see to",
            older(),
            sleep(),
            "sleeps at work",
        ),
        ("sleep of what sleeps", asleep(), sleep(), "sleeps at work"),
        (
            "sleep in the middle of a deployment",
            Case::of(&rolling()),
            sleep(),
            "sleeps at work",
        ),
        (
            "sleep and something else",
            Case::of(&drowsy()),
            [sleep(), vec![stop("worker-r1-5")]].concat(),
            "sleeps at work",
        ),
        (
            "stopping what has not been put to sleep",
            Case::of(&drowsy()),
            vec![stop("worker-r1-5")],
            "last healthy",
        ),
        (
            "stopping a database that a service uses",
            asleep(),
            vec![stop("db-r0-1")],
            "stops database",
        ),
        (
            "starting something that sleeps",
            asleep_with(6),
            vec![service("worker-r1-6")],
            "starts out of turn",
        ),
        (
            "waking what is awake",
            Case::of(&drowsy()),
            wake(Alarm::Run),
            "wakes uncalled",
        ),
        (
            "waking for nothing",
            asleep(),
            wake(Alarm::Deployment),
            "wakes uncalled",
        ),
        (
            "refusing what comes for what sleeps",
            asleep(),
            held(&[], None),
            "wrong sleep",
        ),
        (
            "holding it for another sleep",
            asleep(),
            held(&[], Some(since + 1)),
            "wrong sleep",
        ),
        (
            "leaving a service of what sleeps out",
            asleep(),
            vec![Action::Route { pools: Vec::new() }],
            "wrong sleep",
        ),
        (
            "requests for instances of what sleeps",
            asleep(),
            held(&["web-r1-3"], Some(since)),
            "routes down",
        ),
        (
            "holding what nobody put to sleep",
            Case::of(&drowsy()),
            held(&[], Some(7)),
            "wrong sleep",
        ),
    ]
}

fn asleep_with(ordinal: u64) -> Case {
    Case {
        ordinal,
        ..asleep()
    }
}

#[test]
fn where_a_gateway_holds_nothing_nothing_falls_asleep() {
    let mut world = drowsy();
    world.gateway.older = true;
    world.run(10 * 60_000);
    assert!(world.env().asleep().is_none());
    world.gateway.older = false;
    world.run(10 * 60_000);
    assert!(world.env().asleep().is_some());
}
