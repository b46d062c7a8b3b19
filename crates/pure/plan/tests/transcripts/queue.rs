//! Deployments that wait for one another, and those that are cancelled.

use super::*;

#[test]
fn two_deploys_at_once() {
    let mut world = served();
    world.deploy(returns());
    world.deploy(returns());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn cancelled_while_it_rolls_out_and_while_it_waits() {
    let mut world = served();
    let rolling = world.deploy(returns());
    let waiting = world.deploy(returns());
    world.run(250);
    world.cancel(waiting);
    world.run(50);
    world.cancel(rolling);
    world.settle();
    world.run(5000);
    let left: Vec<_> = world
        .engine
        .keys()
        .filter(|id| id.as_str().contains("-r2-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    golden!(world.transcript);
}

#[test]
fn cancelled_while_it_is_switched_to() {
    let mut world = served();
    world.gateway.takes = 500;
    let second = world.deploy(returns());
    world.run(700);
    world.cancel(second);
    world.settle();
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn waits_too_long_for_its_turn() {
    let mut world = served();
    world.deploy(by(canary(&[(10, 7200)]), 2));
    world.run(60_000);
    world.deploy(returns());
    world.run(3_700_000);
    golden!(world.transcript);
}
