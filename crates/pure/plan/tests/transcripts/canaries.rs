//! Shares of the requests, held for a time or until told.

use super::*;

#[test]
fn canary_whose_gateway_is_away_when_its_time_is_over() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 30)]), 2));
    world.run(28_000);
    let now = world.now;
    world.gateway.go_away(now, 8000);
    world.say("! the gateway was killed");
    world.settle();
    golden!(world.transcript);
}

#[test]
fn canary_by_time() {
    let mut world = served_web(4);
    let strategy = match canary(&[(10, 30), (50, 60)]) {
        Strategy::Canary { steps, .. } => Strategy::Canary {
            steps,
            sticky: Some(Sticky::Cookie("side".into())),
            bake: Millis::secs(20),
        },
        other => other,
    };
    world.deploy(by(strategy, 4));
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn canary_until_told() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(5, 0), (25, 600), (50, 600)]), 2));
    world.looks = 60_000;
    world.run(7_200_000);
    world.promote(second, 3);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn canary_that_nobody_promotes_goes_back() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(5, 0)]), 2));
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn canary_paused_and_resumed() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(20_000);
    world.pause(second);
    world.run(600_000);
    world.resume(second);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

/// What became healthy while nothing moved is asked once more, and has not failed by that.
#[test]
fn canary_paused_while_it_starts() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(100);
    world.pause(second);
    world.run(20_000);
    world.resume(second);
    world.settle();
    assert_eq!(world.env().current, Some(second_release(&world, second)));
    golden!(world.transcript);
}

/// Nobody knows who has requests while the gateway is away: a canary that has some is not asked for anew.
#[test]
fn canary_resumed_whose_gateway_goes_away() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(20_000);
    world.pause(second);
    world.run(60_000);
    world.resume(second);
    world.run(2000);
    let now = world.now;
    world.gateway.go_away(now, 4000);
    world.say("! the gateway was killed");
    world.settle();
    assert_eq!(world.env().current, Some(second_release(&world, second)));
    golden!(world.transcript);
}

fn second_release(world: &World, deployment: ward_types::id::DeploymentId) -> ReleaseId {
    world.env().deployments[&deployment].to
}

#[test]
fn paused_before_anything_moved_and_forgotten() {
    let mut world = served_web(2);
    let second = world.deploy(by(Strategy::default(), 2));
    world.run(100);
    world.pause(second);
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn canary_whose_instance_dies() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(65_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).kill(wall);
    world.say("! web-r2-3 was killed");
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn canary_that_fails_its_health_check() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60)]), 2));
    world.run(20_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).turn(false, wall);
    world.say("! web-r2-3 is ill");
    world.settle();
    golden!(world.transcript);
}

#[test]
fn canary_cancelled_at_a_step() {
    let mut world = served_web(2);
    world.gateway.takes = 200;
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(20_000);
    world.gateway.busy(&id("web-r2-3"), 1, 0);
    world.cancel(second);
    world.run(2000);
    world.gateway.cut(&id("web-r2-3"));
    world.settle();
    let left: Vec<_> = world
        .engine
        .keys()
        .filter(|id| id.as_str().contains("-r2-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    golden!(world.transcript);
}

#[test]
fn canary_while_the_planner_is_restarted() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(80_000);
    world.memory = ward_plan::Memory::default();
    world.say("! the planner was restarted");
    world.run(40_000);
    world.memory = ward_plan::Memory::default();
    let now = world.now;
    world.gateway.go_away(now, 5000);
    world.say("! the planner and the gateway were restarted");
    world.settle();
    golden!(world.transcript);
}

#[test]
fn blue_green_that_bakes() {
    let mut world = served_web(2);
    world.deploy(by(blue_green(60), 2));
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn blue_green_that_dies_while_it_bakes() {
    let mut world = served_web(2);
    world.deploy(by(blue_green(60), 2));
    world.run(40_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).kill(wall);
    world.say("! web-r2-3 was killed");
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}
