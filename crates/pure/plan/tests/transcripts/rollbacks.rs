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

/// r2 serves, r1's web-r1-3 and web-r1-4 are warm, and nothing of that is told any more.
fn warm() -> World {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world
}

#[test]
fn a_rollback_to_what_hangs_since_a_second_starts_others() {
    let mut world = warm();
    for warm in ["web-r1-3", "web-r1-4"] {
        world.sim(&id(warm)).hang();
        world.say(&format!("! {warm} hangs, and nobody has noticed"));
    }
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn a_rollback_to_two_of_which_one_hangs_keeps_the_other() {
    let mut world = warm();
    world.sim(&id("web-r1-4")).hang();
    world.say("! web-r1-4 hangs, and nobody has noticed");
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn a_rollback_to_what_is_ill_does_not_wait_for_its_recovery() {
    let mut world = warm();
    for warm in ["web-r1-3", "web-r1-4"] {
        let wall = world.wall();
        world.sim(&id(warm)).turn(false, wall);
        world.say(&format!("! {warm} is ill"));
    }
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

/// More than would fail a rollout whose own they are.
#[test]
fn what_is_warm_and_dies_in_a_rollback_is_no_failure_of_it() {
    let mut world = served_web(5);
    let mut next = spec(&[("web", web(5))], &[]);
    next.keep_warm = Millis::secs(600);
    world.deploy(next);
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.drive();
    world.memory = ward_plan::Memory::default();
    for number in 1..=5 {
        let (wall, warm) = (world.wall(), format!("web-r1-{number}"));
        world.sim(&id(&warm)).kill(wall);
        world.say(&format!("! {warm} was killed"));
    }
    world.settle();
    golden!(world.transcript);
}

/// The switch was made, and the worker is exchanged.
#[test]
fn what_nobody_answers_for_goes_back_at_once() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.component.as_str() {
        "worker" => Behaviour {
            stop_takes: 9000,
            ..usual(start)
        },
        _ => usual(start),
    });
    let two = || spec(&[("web", web(2)), ("worker", alone(worker(1)))], &[]);
    for _ in 0..2 {
        world.deploy(two());
        world.settle();
    }
    world.run(20_000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.run(2000);
    for warm in ["web-r1-1", "web-r1-2"] {
        let wall = world.wall();
        world.sim(&id(warm)).pause(wall);
        world.say(&format!("! {warm} was stopped, in rotation"));
    }
    world.settle();
    golden!(world.transcript);
}

/// Healthy before the pause ends, and hung since.
fn hang(world: &mut World, instances: &[&str]) {
    for hung in instances {
        world.sim(&id(hung)).hang();
        world.say(&format!("! {hung} hangs, and nobody has noticed"));
    }
}

#[test]
fn a_deploy_that_is_resumed_does_not_go_on_to_what_hangs() {
    let mut world = served_web(2);
    world.transcript.clear();
    let deploy = world.deploy(by(Strategy::default(), 2));
    world.run(100);
    world.pause(deploy);
    world.run(20_000);
    hang(&mut world, &["web-r2-3", "web-r2-4"]);
    world.resume(deploy);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn a_rollback_that_is_resumed_replaces_what_hangs_of_its_own() {
    let mut world = served_web(2);
    let mut cold = by(Strategy::default(), 2);
    cold.keep_warm = Millis(0);
    world.deploy(cold);
    world.settle();
    world.run(60_000);
    let of_one = |world: &World| {
        let ids = world.engine.keys().map(ToString::to_string);
        ids.filter(|id| id.starts_with("web-r1-"))
            .collect::<Vec<_>>()
    };
    for warm in of_one(&world) {
        let wall = world.wall();
        world.sim(&id(&warm)).kill(wall);
    }
    world.run(1000);
    world.transcript.clear();
    let back = world.queue(ReleaseId(1), Reason::Rollback);
    world.run(100);
    world.pause(back);
    world.run(20_000);
    let own = of_one(&world);
    hang(&mut world, &[&own[0]]);
    world.resume(back);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn what_was_asked_before_a_pause_is_asked_once_more_after_it() {
    let mut world = warm();
    // The worker is not there yet, so that nothing is switched when both have answered.
    let back = world.queue(ReleaseId(1), Reason::Rollback);
    world.run(50);
    world.pause(back);
    world.run(20_000);
    hang(&mut world, &["web-r1-4"]);
    world.resume(back);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}
