//! What ended, and that it is recorded.

use super::*;

/// web-r1-3 of what serves was killed, and nobody has looked yet.
fn killed() -> World {
    let mut world = serving();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world
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
