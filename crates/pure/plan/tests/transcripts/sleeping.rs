//! Environments that sleep while nobody uses them.

use super::*;
use ward_types::sleep::Alarm;

/// r1 serves, and sleeps when it was idle for so long.
fn idles(millis: u64) -> World {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::ReleaseCommand => Behaviour::exits(200, 0, &[]),
        Role::Run(_) => Behaviour::exits(2000, 0, &[]),
        _ => Behaviour::default(),
    });
    let mut spec = returns();
    spec.sleep = Some(Millis(millis));
    world.deploy(spec);
    world.settle();
    world
}

#[test]
fn environment_sleeps_when_it_was_idle_and_its_first_request_wakes_it() {
    let mut world = idles(10_000);
    world.run(5000);
    world.ask("web");
    world.run(30_000);
    world.ask("web");
    world.run(5000);
    world.ask("web");
    golden!(world.transcript);
}

#[test]
fn request_that_comes_while_it_falls_asleep_is_held_and_what_has_not_stopped_goes_on() {
    let mut world = idles(10_000);
    while world.env().asleep().is_none() {
        world.run(100);
        world.gateway.takes = 700;
    }
    // Before the gateway has the table in force it goes to an instance, which finishes it.
    let web = world.gateway.table[0].endpoints[0].instance.clone();
    world.ask("web");
    world.gateway.busy(&web, 1, 0);
    world.run(1000);
    world.ask("web");
    world.gateway.takes = 0;
    world.run(500);
    world.gateway.busy(&web, 0, 0);
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn websocket_keeps_it_awake_and_so_does_who_works_in_it() {
    let mut world = idles(5000);
    let web = world.gateway.table[0].endpoints[0].instance.clone();
    world.gateway.busy(&web, 0, 1);
    world.run(20_000);
    world.gateway.busy(&web, 0, 0);
    world.in_use = true;
    world.run(20_000);
    world.in_use = false;
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn for_a_run_alone_it_wakes_and_sleeps_again() {
    let mut world = idles(10_000);
    world.run(15_000);
    world.run_asked(Some("close-month"), 60_000, 0);
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn deployment_wakes_it() {
    let mut world = idles(10_000);
    world.run(15_000);
    world.deploy(returns());
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn driver_that_is_killed_on_the_way_to_sleep_goes_on() {
    let mut world = idles(10_000);
    world.mishaps = vec![Mishap::Crash(1), Mishap::Crash(1), Mishap::Crash(1)];
    world.run(30_000);
    golden!(world.transcript);
}

#[test]
fn what_does_not_come_up_is_held_for_as_long_as_a_request_waits() {
    let mut world = idles(10_000);
    world.run(15_000);
    world.behave = Box::new(|start| match start.role {
        Role::Service => Behaviour::hangs(),
        _ => Behaviour::default(),
    });
    world.ask("web");
    world.run(30_000);
    world.gateway.held = false;
    world.run(5000);
    let held = world.gateway.table.iter().any(|pool| pool.asleep.is_some());
    assert!(!held, "{}", world.transcript);
    golden!(world.transcript);
}

#[test]
fn it_goes_down_and_ends_while_it_sleeps() {
    let mut world = idles(10_000);
    world.lasts(30_000);
    world.run(40_000);
    golden!(world.transcript);
}

#[test]
fn somebody_puts_it_to_sleep_and_wakes_it() {
    let mut world = fresh();
    world.deploy(returns());
    world.settle();
    world.sleep();
    world.run(5000);
    world.wake(Alarm::Asked);
    world.run(5000);
    golden!(world.transcript);
}
