//! What ended, and that it is recorded.

use ward_types::id::RunId;
use ward_types::run::{Attempt, Outcome};

use super::*;

/// web-r1-3 of what serves was killed, and nobody has looked yet.
fn killed() -> World {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world
}

/// run1 goes on in worker-r1-6.
fn running() -> World {
    let mut world = serving();
    world.run_asked(None, 60_000, 0);
    world.run(100);
    world
}

pub(super) fn runs() -> Vec<Wrong> {
    let tried = |instance: Option<&str>, outcome: Outcome| {
        vec![Action::Tried {
            run: RunId(1),
            attempt: Box::new(Attempt {
                instance: instance.map(id),
                started: None,
                ended: Timestamp(0),
                outcome,
            }),
            again: None,
        }]
    };
    let ended = || {
        let mut world = running();
        let wall = world.wall();
        world.sim(&id("worker-r1-6")).kill(wall);
        Case::of(&world)
    };
    let unasked = || {
        let mut case = Case::of(&serving());
        case.ordinal = 6;
        case
    };
    let twice = || {
        let mut case = Case::of(&running());
        case.ordinal = 7;
        case
    };
    let run = |instance: &str| vec![start(instance, Role::Run(RunId(1)))];
    let by = "anna".to_owned();
    vec![
        (
            "an attempt that goes on",
            Case::of(&running()),
            tried(Some("worker-r1-6"), Outcome::Late),
            "false try",
        ),
        (
            "success of one that was killed",
            ended(),
            tried(Some("worker-r1-6"), Outcome::Succeeded),
            "false try",
        ),
        (
            "the end of one that began",
            Case::of(&running()),
            tried(None, Outcome::Stopped { by }),
            "false try",
        ),
        (
            "an attempt whose end nobody was told of",
            ended(),
            vec![remove("worker-r1-6")],
            "removes unrecorded",
        ),
        (
            "a run that nobody asked for",
            unasked(),
            run("worker-r1-6"),
            "starts out of turn",
        ),
        (
            "a second attempt beside the first",
            twice(),
            run("worker-r1-7"),
            "starts out of turn",
        ),
    ]
}

pub(super) fn ending() -> Vec<Wrong> {
    let report = |instance: &str| Action::Report {
        id: id(instance),
        how: "was ended by SIGKILL".into(),
    };
    let recorded = || {
        let mut case = Case::of(&killed());
        case.env.ended.push_back(3);
        case
    };
    let give_up = |instance: &str| Action::GiveUp {
        id: id(instance),
        because: "was stopped by a signal".into(),
    };
    let changed = || {
        let mut world = serving();
        world.sim(&id("web-r1-3")).alter("app.py was edited");
        Case::of(&world)
    };
    let told = || {
        let mut case = changed();
        case.env.given_up.push_back(3);
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
            "one given up that nobody changed",
            Case::of(&serving()),
            vec![give_up("web-r1-3")],
            "false giving up",
        ),
        (
            "the same one given up again",
            told(),
            vec![give_up("web-r1-3")],
            "false giving up",
        ),
        (
            "gone before anybody was told",
            Case::of(&killed()),
            vec![remove("web-r1-3")],
            "removes unrecorded",
        ),
    ]
}
