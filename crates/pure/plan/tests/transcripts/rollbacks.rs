//! Ways back to a release that served.

use super::*;

#[test]
fn rollback_while_warm() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(3000);
    golden!(world.transcript);
}

#[test]
fn a_deploy_that_fails_leaves_the_release_before_warm() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.behave = of_release(3, || Behaviour::exits(120, 101, &["no DATABASE_URL"]));
    world.deploy(returns());
    world.settle();
    world.run(2000);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn rollback_cold_after_down_and_up() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.goal(Goal::Down);
    world.run(60_000);
    world.transcript.clear();
    world.goal(Goal::Up);
    world.queue(ReleaseId(2), Reason::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn rollback_after_a_purge_prepares_the_new_data() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.goal(Goal::Purged);
    world.run(60_000);
    world.transcript.clear();
    world.goal(Goal::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn what_died_before_a_rollback_is_no_failure_of_it() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.transcript.clear();
    let (now, wall) = (world.now, world.wall());
    world.gateway.go_away(now, 3000);
    world.sim(&id("web-r1-3")).kill(wall);
    world.memory = ward_plan::Memory::default();
    world.say("! web-r1-3, which was warm, the gateway and the driver were killed");
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn a_rollback_from_a_canary_release_is_one_switch() {
    let mut world = served_web(2);
    let mut next = by(canary(&[(10, 30)]), 2);
    next.keep_warm = Millis::secs(600);
    world.deploy(next);
    world.settle();
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}
