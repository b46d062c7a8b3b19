//! Jobs and one-off commands.

use super::*;

/// Runs end well after two seconds.
fn serves() -> World {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::ReleaseCommand => Behaviour::exits(200, 0, &[]),
        Role::Run(_) => Behaviour::exits(2000, 0, &[]),
        _ => Behaviour::default(),
    });
    world.deploy(returns());
    world.settle();
    world
}

#[test]
fn run_ends_in_its_release_whatever_is_deployed_meanwhile() {
    let mut world = serves();
    world.run_asked(None, 60_000, 0);
    world.run(100);
    world.deploy(returns());
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn runs_of_a_job_wait_for_each_other() {
    let mut world = serves();
    world.run_asked(Some("close-month"), 60_000, 0);
    world.run_asked(Some("close-month"), 60_000, 0);
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn run_that_is_late_is_stopped_and_tried_again() {
    let mut world = serves();
    world.run_asked(Some("close-month"), 1000, 1);
    world.run(10_000);
    golden!(world.transcript);
}

#[test]
fn run_that_cannot_be_started_has_failed() {
    let mut world = serves();
    world.behave = Box::new(|start| match start.role {
        Role::Run(_) => Behaviour::refused("the program is not in the image"),
        _ => Behaviour::default(),
    });
    world.run_asked(None, 60_000, 0);
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn run_that_somebody_stops_is_not_tried_again() {
    let mut world = serves();
    let first = world.run_asked(Some("close-month"), 60_000, 3);
    let second = world.run_asked(Some("close-month"), 60_000, 3);
    world.run(100);
    world.stop_run(second);
    world.stop_run(first);
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn runs_end_where_the_environment_goes_down() {
    let mut world = serves();
    world.run_asked(Some("close-month"), 60_000, 3);
    world.run_asked(Some("close-month"), 60_000, 3);
    world.run(100);
    world.goal(Goal::Down);
    world.run(20_000);
    golden!(world.transcript);
}
