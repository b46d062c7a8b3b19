//! New data that is filled: by seed commands, or with another environment's rows.

use super::*;

/// A web service with migrations and a seed, linked to a worker with a seed of its own.
fn seeded() -> EnvSpec {
    let seed = |service: ServiceSpec| ServiceSpec {
        seed: Some(SeedCommand {
            command: vec!["seed".into()],
            timeout: Millis::secs(30),
        }),
        ..service
    };
    let web = linked(seed(with_command(web(1))), &["db", "worker"]);
    let worker = linked(seed(worker(1)), &["db"]);
    let mut spec = spec(&[("web", web), ("worker", worker)], &["db"]);
    spec.seeded = true;
    spec
}

fn filled(start: &world::Start) -> Behaviour {
    match start.role {
        Role::Seed => Behaviour::exits(300, 0, &["three patients"]),
        Role::Copy => Behaviour::exits(2000, 0, &[]),
        _ => usual(start),
    }
}

fn world() -> World {
    let mut world = World::new();
    world.behave = Box::new(filled);
    world
}

#[test]
fn new_data_is_seeded_once_and_kept_data_never() {
    let mut world = world();
    world.deploy(seeded());
    world.settle();
    world.deploy(seeded());
    world.settle();
    world.goal(Goal::Purged);
    world.run(5000);
    world.goal(Goal::Up);
    world.queue(ReleaseId(2), Reason::Up);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn seed_that_fails_fails_the_deployment_and_what_ran_does_not_run_again() {
    let mut world = world();
    world.behave = Box::new(|start| match (start.role, start.component.as_str()) {
        (Role::Seed, "web") => Behaviour::exits(90, 3, &["no such table: patient"]),
        _ => filled(start),
    });
    world.deploy(seeded());
    world.settle();
    world.behave = Box::new(filled);
    world.deploy(seeded());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn seed_that_hangs_is_given_up() {
    let mut world = world();
    world.behave = Box::new(|start| match start.role {
        Role::Seed => Behaviour::hangs(),
        _ => filled(start),
    });
    world.deploy(seeded());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn clone_gets_its_rows_before_release_commands_and_no_seed() {
    let mut world = world();
    world.copies_from("returns/prod");
    world.deploy(seeded());
    world.settle();
    world.deploy(seeded());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn clone_that_cannot_be_copied_is_not_left_behind() {
    let mut world = world();
    world.behave = Box::new(|start| match start.role {
        Role::Copy => Behaviour::exits(900, 1, &["the disk is nearly full"]),
        _ => filled(start),
    });
    world.copies_from("returns/prod");
    world.deploy(seeded());
    world.run(20_000);
    golden!(world.transcript);
}

#[test]
fn a_driver_that_is_killed_meanwhile_fills_nothing_twice() {
    for (at, after) in (0..12).flat_map(|at| [(at, 0), (at, 1)]) {
        let mut world = world();
        world.deploy(seeded());
        world.mishaps = (0..at).map(|_| Mishap::Fail(99)).collect();
        world.mishaps.push(Mishap::Crash(after));
        world.settle();
        let text = &world.transcript;
        let runs = |what: &str| text.matches(what).count();
        let seeds = (runs("= web is filled"), runs("= worker is filled"));
        assert_eq!(seeds, (1, 1), "{text}");
        assert_eq!(runs("(Seed)"), 2, "{text}");
    }
}
