//! Going back to what was there, and staying with what answers nobody.

use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::keeper::InstanceState;

use super::*;

/// r2 serves, and d3 goes back to r1, whose instances web-r1-3 and web-r1-4 are warm; this is what came of a check of
/// the first one.
fn back(checkup: Option<Checkup>) -> Case {
    let mut world = switched();
    world.now += 1000;
    world.queue(ReleaseId(1), Reason::Rollback);
    let mut case = Case::of(&world);
    let deployment = case.env.deployments.get_mut(&DeploymentId(3)).unwrap();
    deployment.phase = Phase::Rolling { stage: 0 };
    let well = Some(of(3, Found::Well));
    for (instance, checkup) in [("web-r1-3", checkup), ("web-r1-4", well)] {
        let seen = case.observed.instances.get_mut(&id(instance));
        seen.unwrap().checkup = checkup;
    }
    case
}

fn of(deployment: u64, found: Found) -> Checkup {
    let of = occasion(deployment, None);
    Checkup { of, found }
}

fn occasion(deployment: u64, resumed: Option<Timestamp>) -> Occasion {
    let deployment = DeploymentId(deployment);
    Occasion {
        deployment,
        resumed,
    }
}

/// r2 rolls out, is complete, and was paused and resumed; this is what came of a check of its first instance, and
/// whether it was asked before that.
fn resumed(checkup: Option<(bool, Found)>) -> Case {
    let world = rolling();
    let mut case = Case::of(&world);
    let at = Some(world.wall() + Millis(1000));
    let deployment = case.env.deployments.get_mut(&DeploymentId(2)).unwrap();
    deployment.resumed = at;
    let checkup = checkup.map(|(before, found)| Checkup {
        of: occasion(2, at.filter(|_| !before)),
        found,
    });
    let well = Some(Checkup {
        of: occasion(2, at),
        found: Found::Well,
    });
    for (instance, checkup) in [("web-r2-7", checkup), ("web-r2-8", well)] {
        let seen = case.observed.instances.get_mut(&id(instance)).unwrap();
        seen.status.state = InstanceState::Healthy;
        seen.checkup = checkup;
    }
    case
}

/// r2 rolls out, takes all requests, and nothing of it is well; r1 is.
fn ill() -> Case {
    let mut case = Case::of(&rolling());
    let of_two = ["web-r2-7", "web-r2-8"];
    for instance in of_two {
        let seen = case.observed.instances.get_mut(&id(instance)).unwrap();
        seen.status.state = InstanceState::Unhealthy;
    }
    let pools = &mut case.observed.gateway.as_mut().unwrap().pools;
    let pool = pools.iter_mut().find(|p| p.service == name("web")).unwrap();
    for (endpoint, instance) in pool.endpoints.iter_mut().zip(of_two) {
        (endpoint.instance, endpoint.release) = (id(instance), ReleaseId(2));
    }
    case
}

pub(super) fn returning() -> Vec<Wrong> {
    let both = || vec![route("web", &["web-r1-3", "web-r1-4"])];
    let check = Action::Check {
        id: id("web-r1-77"),
        of: occasion(3, None),
        within: Millis(2000),
    };
    let two = || vec![route("web", &["web-r2-7", "web-r2-8"])];
    let ill_now = || of(3, Found::Ill("it is stopped".into()));
    vec![
        (
            "back to what was not checked",
            back(None),
            both(),
            "unchecked",
        ),
        (
            "back to what was checked for an earlier rollback",
            back(Some(of(2, Found::Well))),
            both(),
            "unchecked",
        ),
        (
            "back before an answer",
            back(Some(of(3, Found::Awaited))),
            both(),
            "unchecked",
        ),
        (
            "back to what was found ill",
            back(Some(ill_now())),
            both(),
            "unchecked",
        ),
        (
            "on to what was not checked since it was resumed",
            resumed(None),
            two(),
            "unchecked",
        ),
        (
            "on to what was well before it was resumed",
            resumed(Some((true, Found::Well))),
            two(),
            "unchecked",
        ),
        (
            "give up what a deploy has itself",
            resumed(Some((false, Found::Ill("it is stopped".into())))),
            vec![Action::GiveUp {
                id: id("web-r2-7"),
                because: "was not well".into(),
            }],
            "false giving up",
        ),
        ("check nobody", back(None), vec![check], "no such instance"),
        (
            "start more of what answers nobody",
            ill(),
            vec![service("web-r2-10")],
            "goes on ill",
        ),
        (
            "the next stage of what answers nobody",
            ill(),
            vec![enter(2, Phase::Rolling { stage: 1 })],
            "goes on ill",
        ),
        (
            "give up what was found well",
            back(Some(of(3, Found::Well))),
            vec![Action::GiveUp {
                id: id("web-r1-3"),
                because: "was not well".into(),
            }],
            "false giving up",
        ),
    ]
}

/// The other side of each: what was found well gets requests, what was found ill is given up, and what answers nobody is
/// left.
#[test]
fn what_is_right_meets_no_such_objection() {
    let words = |case: Case, actions: &[Action]| -> Vec<&str> {
        case.objections(actions).iter().map(word).collect()
    };
    let r1 = || route("web", &["web-r1-3", "web-r1-4"]);
    // Its worker is not there yet.
    assert_eq!(
        words(back(Some(of(3, Found::Well))), &[r1()]),
        ["routes early"]
    );
    let two = route("web", &["web-r2-7", "web-r2-8"]);
    let well = resumed(Some((false, Found::Well)));
    assert_eq!(words(well, &[two]), ["routes early"]);
    let give_up = Action::GiveUp {
        id: id("web-r1-3"),
        because: "was not well".into(),
    };
    let stopped = of(3, Found::Ill("it is stopped".into()));
    assert!(words(back(Some(stopped)), &[give_up]).is_empty());
    assert!(words(ill(), &[r1(), enter(2, reverting())]).is_empty());
}
