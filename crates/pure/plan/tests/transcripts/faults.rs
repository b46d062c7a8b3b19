//! Gateways that are away or late, drivers that die, clocks that are set.

use super::*;

#[test]
fn gateway_away_during_the_switch() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 4000);
    world.say("! the gateway was killed");
    world.settle();
    golden!(world.transcript);
}

#[test]
fn gateway_away_for_too_long() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 30_000);
    world.say("! the gateway was killed");
    world.settle();
    world.run(30_000);
    golden!(world.transcript);
}

#[test]
fn gateway_away_until_nobody_knows() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 90_000);
    world.say("! the gateway was killed");
    world.settle();
    world.run(30_000);
    golden!(world.transcript);
}

#[test]
fn gateway_acknowledges_late() {
    let mut world = served();
    world.gateway.takes = 900;
    world.deploy(returns());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn driver_killed_between_actions() {
    let mut world = served();
    // Taken from the end: one crash in each of the first plans.
    world.mishaps = vec![
        Mishap::Crash(1),
        Mishap::Crash(0),
        Mishap::Crash(2),
        Mishap::Crash(1),
    ];
    world.deploy(returns());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn machine_was_restarted() {
    let mut world = served();
    let wall = world.wall();
    for sim in world.engine.values_mut() {
        sim.lose(wall);
    }
    world.memory = ward_plan::Memory::default();
    world.say("! the machine was restarted");
    world.queue(ReleaseId(1), Reason::Up);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn clock_set_back_and_forth() {
    let mut world = served();
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.run(1000);
    world.set_clock(-3_600_000);
    world.settle();
    world.set_clock(0);
    world.run(5000);
    golden!(world.transcript);
}
