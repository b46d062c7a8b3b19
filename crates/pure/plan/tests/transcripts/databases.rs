//! Databases that die, hang or cannot be started.

use super::*;

#[test]
fn database_that_hangs_while_it_starts_fails_the_deployment_and_is_stopped() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour {
            output: vec!["database system was interrupted; last known up at 04:12".into()],
            ..Behaviour::hangs()
        },
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.run(5000);
    let left: Vec<_> = world.engine.keys().collect();
    assert!(left.is_empty(), "{left:?}");
    golden!(world.transcript);
}

#[test]
fn database_that_hangs_at_rest_is_given_more_time_at_each_start() {
    let mut world = served();
    world.behave = Box::new(|start| match start.role {
        // The replay of its log takes three minutes.
        Role::Database => Behaviour {
            healthy_after: Some(180_000),
            ..Behaviour::default()
        },
        _ => usual(start),
    });
    let wall = world.wall();
    world.sim(&id("db-r0-1")).lose(wall);
    world.say("! the database's keeper was killed");
    world.run(400_000);
    golden!(world.transcript);
}

#[test]
fn database_dies() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("db-r0-1")).lose(wall);
    world.sim(&id("worker-r1-5")).kill(wall);
    world.say("! the database's keeper and the worker were killed");
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn database_cannot_be_started() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => {
            Behaviour::refused("no PostgreSQL is installed: apt install postgresql-15")
        }
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.behave = Box::new(usual);
    world.say("> PostgreSQL was installed");
    world.queue(ReleaseId(1), Reason::Deploy);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn database_that_stays_stopped_is_started_again_on_its_data() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("db-r0-1")).pause(wall);
    world.say("! db-r0-1 is stopped by a signal");
    world.run(25_000);
    golden!(world.transcript);
}

#[test]
fn database_that_starts_and_is_stopped_for_a_moment_has_the_time_of_its_start() {
    let mut world = served();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour {
            healthy_after: Some(40_000),
            ..Behaviour::default()
        },
        _ => usual(start),
    });
    let wall = world.wall();
    world.sim(&id("db-r0-1")).lose(wall);
    world.run(25_000);
    let again = id("db-r0-6");
    let wall = world.wall();
    world.sim(&again).pause(wall);
    world.run(2000);
    let wall = world.wall();
    world.sim(&again).turn(true, wall);
    world.run(30_000);
    assert!(world.sim(&again).is_healthy(), "{}", world.transcript);
}

/// It may have more to do than it can answer.
#[test]
fn database_that_is_ill_is_left_alone() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("db-r0-1")).turn(false, wall);
    world.say("! db-r0-1 is ill");
    world.run(200_000);
    assert!(!world.sim(&id("db-r0-1")).is_over());
}
