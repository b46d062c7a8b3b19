//! What release commands take away from earlier releases.

use super::*;

#[test]
fn schema_that_contracts_lets_one_release_back() {
    let mut world = served();
    for _ in 0..2 {
        world.deploy(returns());
        world.settle();
    }
    world.run(1_000_000);
    world.transcript.clear();
    world.deploy(with_schema(returns(), Schema::Contract));
    world.settle();
    refused(&mut world, 2);
    refused(&mut world, 1);
    world.queue(ReleaseId(3), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn schema_that_is_irreversible_lets_nothing_back_but_what_is_asked_for_all_the_same() {
    let mut world = served();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    world.run(1_000_000);
    refused(&mut world, 1);
    let why = Some("the data was restored");
    world.queue_despite(ReleaseId(1), Reason::Rollback, why);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn schema_command_that_fails_half_way_counts_and_what_serves_goes_on() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(1_000_000);
    world.transcript.clear();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 3) => Behaviour::exits(90, 3, &["half of the rows are gone"]),
        _ => usual(start),
    });
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    refused(&mut world, 1);
    let wall = world.wall();
    let serves: Vec<_> = world.engine.keys().cloned().collect();
    let web = serves.iter().find(|id| id.as_str().starts_with("web-r2"));
    world.sim(web.expect("r2 serves")).kill(wall);
    world.say("! an instance of what serves is killed, and comes back");
    world.run(5000);
    world.deploy(returns());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn schema_that_changes_while_a_rollback_waits_its_turn() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(1_000_000);
    world.transcript.clear();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn schema_that_was_never_prepared_for_a_release_is_before_it_serves() {
    let mut world = served();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 2) => Behaviour::exits(90, 3, &["a lock was held"]),
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.behave = Box::new(usual);
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn schema_is_forgotten_with_the_data() {
    let mut world = served();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    assert!(world.env().barred(ReleaseId(1)).is_some());
    world.goal(Goal::Purged);
    world.run(60_000);
    assert!(world.env().barred(ReleaseId(1)).is_none());
    world.goal(Goal::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    assert_eq!(world.env().current, Some(ReleaseId(1)));
}
