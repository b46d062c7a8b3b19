//! Drains, ways down, and releases that nothing needs any more.

use super::*;

#[test]
fn long_connections_are_cut_when_their_budget_is_out() {
    let mut world = served();
    world.gateway.busy(&id("worker-r1-5"), 0, 0);
    world.gateway.busy(&id("web-r1-4"), 0, 3);
    let mut next = returns();
    next.keep_warm = Millis(0);
    world.deploy(next.clone());
    world.settle();
    world.transcript.clear();
    world.gateway.busy(&id("web-r2-7"), 0, 2);
    world.deploy(next);
    world.run(60_000);
    golden!(world.transcript);
}

/// What is left decides: a request whose own budget is out is not cut under the long connections beside it.
#[test]
fn requests_and_long_connections_have_budgets_of_their_own() {
    let mut world = served();
    let mut next = returns();
    next.keep_warm = Millis(0);
    world.deploy(next.clone());
    world.settle();
    world.transcript.clear();
    world.gateway.busy(&id("web-r2-7"), 1, 0);
    world.gateway.busy(&id("web-r2-8"), 1, 3);
    world.deploy(next);
    world.run(35_000);
    world.gateway.busy(&id("web-r2-8"), 1, 0);
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn down() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-4"), 2, 0);
    world.deploy(returns());
    world.run(100);
    world.goal(Goal::Down);
    world.run(5000);
    world.gateway.cut(&id("web-r1-4"));
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn purge() {
    let mut world = served();
    world.goal(Goal::Purged);
    world.run(20_000);
    assert_eq!(world.purged, 1);
    assert!(world.gateway.table.is_empty());
    golden!(world.transcript);
}

#[test]
fn a_purge_that_fails_is_tried_again() {
    let mut world = served();
    world.goal(Goal::Purged);
    world.run(150);
    // The plan that removes the database goes well, the one after it does not.
    world.mishaps = vec![Mishap::Fail(0), Mishap::Fail(99)];
    world.run(10_000);
    assert_eq!(world.purged, 1, "{}", world.transcript);
}

#[test]
fn releases_that_nothing_needs_are_retired() {
    let mut world = four_deploys("returns/dev");
    let retained = |world: &World| world.env().releases.keys().copied().collect::<Vec<_>>();
    assert_eq!(retained(&world), [ReleaseId(3), ReleaseId(4)]);
    world.queue(ReleaseId(3), Reason::Rollback);
    world.settle();
    world.run(2000);
    assert_eq!(retained(&world), [ReleaseId(3), ReleaseId(4)]);
    golden!(world.transcript);
}
