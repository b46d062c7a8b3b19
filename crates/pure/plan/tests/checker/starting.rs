//! Starting.

use super::*;

pub(super) fn starting() -> Vec<Wrong> {
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

#[test]
fn a_replacement_may_be_started_for_one_that_is_ill() {
    assert_eq!(ill().objections(&[service("web-r1-6")]), []);
}
