//! The deadlines of the stack file, each kept and named.

use super::*;

/// Each of them shorter than usual.
fn in_a_hurry() -> EnvSpec {
    let deadlines = Deadlines {
        queue: Millis::secs(30),
        database_start: Millis::secs(3),
        database_stop: Millis::secs(4),
        acknowledge: Millis::secs(2),
        promote: Millis::secs(20),
        revert: Millis::secs(5),
    };
    EnvSpec {
        deadlines,
        ..returns()
    }
}

#[test]
fn deadlines_of_the_stack_file_are_kept_and_named() {
    let mut world = served();
    let now = world.now;
    world.gateway.refuses_until = now + 60_000;
    world.deploy(in_a_hurry());
    world.settle();
    world.run(60_000);
    let mut held = in_a_hurry();
    for (name, service) in &mut held.services {
        if name.as_str() == "web" {
            service.strategy = canary(&[(10, 0)]);
        }
    }
    world.deploy(held.clone());
    world.deploy(in_a_hurry());
    world.settle();
    world.run(1000);
    world.deploy(held);
    world.run(25_000);
    golden!(world.transcript);
}

#[test]
fn database_that_does_not_start_in_the_time_that_the_stack_file_gives_it() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour::hangs(),
        _ => usual(start),
    });
    world.deploy(in_a_hurry());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn database_that_does_not_stop_in_the_time_that_the_stack_file_gives_it() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour {
            stop_takes: 60_000,
            ..usual(start)
        },
        _ => usual(start),
    });
    world.deploy(in_a_hurry());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.goal(Goal::Purged);
    world.run(20_000);
    golden!(world.transcript);
}

#[test]
fn a_way_back_that_takes_too_long_says_so() {
    let mut world = served();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 2) => Behaviour {
            stop_takes: 60_000,
            ..Behaviour::hangs()
        },
        _ => usual(start),
    });
    let mut spec = in_a_hurry();
    for service in spec.services.values_mut() {
        service.stop_timeout = Millis::secs(120);
    }
    let deployment = world.deploy(spec);
    world.run(2000);
    world.cancel(deployment);
    world.settle();
    golden!(world.transcript);
}
