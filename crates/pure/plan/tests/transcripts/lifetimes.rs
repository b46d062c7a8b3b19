//! Environments whose time is over.

use super::*;

fn served_for(millis: u64) -> World {
    let mut world = fresh();
    world.lasts(millis);
    world.deploy(returns());
    world.settle();
    world
}

#[test]
fn environment_ends_when_its_time_is_over_and_is_told_before() {
    let mut world = served_for(100_000);
    world.run(120_000);
    golden!(world.transcript);
}

#[test]
fn environment_ends_in_the_middle_of_a_deployment() {
    let mut world = served_for(20_000);
    world.run(12_000);
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.run(60_000);
    golden!(world.transcript);
}

#[test]
fn environment_that_is_given_more_time_lives_on() {
    let mut world = served_for(20_000);
    world.run(18_500);
    world.lasts(100_000);
    world.run(5000);
    golden!(world.transcript);
}

/// Nobody was there at the moment: it is found due.
#[test]
fn environment_that_is_down_ends_too() {
    let mut world = served_for(20_000);
    world.goal(Goal::Down);
    world.run(30_000);
    golden!(world.transcript);
}

#[test]
fn name_can_be_used_again_and_numbers_go_on() {
    let mut world = served_for(10_000);
    world.run(60_000);
    world.created_again();
    world.deploy(returns());
    world.settle();
    golden!(world.transcript);
}
