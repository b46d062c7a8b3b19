//! Backups: where one is restored to see whether it can be.

use ward_plan::backup::{Next, due, next};
use ward_types::backup::{BackupFile, BackupSpec, Proof};
use ward_types::event::Event;
use ward_types::id::{BackupId, Digest, EnvId};
use ward_types::time::Timestamp;

use super::*;

const HOUR: u64 = 3_600_000;

/// The example, its database backed up each hour.
fn backed_up() -> EnvSpec {
    let mut spec = returns();
    for database in spec.databases.values_mut() {
        let every = Millis::secs(3600);
        database.backups = Some(BackupSpec { every, keep: 2 });
    }
    spec
}

fn served() -> World {
    let mut world = World::new();
    world.behave = Box::new(usual);
    world.deploy(backed_up());
    world.settle();
    world.transcript.clear();
    world
}

fn env() -> EnvId {
    EnvId::parse("returns/dev").expect("it is one")
}

fn begun(world: &mut World, id: u64) {
    world.backs_up(&Event::BackupBegan {
        env: env(),
        backup: BackupId(id),
        database: name("db"),
        keep: 2,
        by: "ward".into(),
    });
}

fn taken(world: &mut World, id: u64) {
    let digest = format!("sha256:{}", "a".repeat(64));
    let file = BackupFile {
        bytes: 1000,
        digest: Digest::parse(&digest).expect("it is one"),
    };
    world.backs_up(&Event::BackupTaken {
        env: env(),
        backup: BackupId(id),
        file,
    });
}

fn restored(world: &mut World, id: u64) {
    let proof = Proof { tables: 1, rows: 2 };
    world.backs_up(&Event::BackupRestored {
        env: env(),
        backup: BackupId(id),
        proof,
    });
}

fn failed(world: &mut World, id: u64) {
    world.backs_up(&Event::BackupFailed {
        env: env(),
        backup: BackupId(id),
        why: "it could not be restored".into(),
    });
}

#[test]
fn what_is_on_the_disk_gets_a_database_of_its_own_until_it_was_restored() {
    let mut world = served();
    begun(&mut world, 1);
    world.run(2000);
    taken(&mut world, 1);
    world.run(5000);
    restored(&mut world, 1);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn one_whose_drill_ends_is_not_tried_for_ever_and_down_comes_first() {
    let mut world = served();
    begun(&mut world, 1);
    taken(&mut world, 1);
    world.run(2000);
    let drill = world.observe().instances.into_values();
    let mut drill = drill.filter(|seen| matches!(seen.facts.role, Role::Drill(_)));
    let id = drill.next().expect("it runs").facts.id;
    let wall = world.wall();
    world.sim(&id).kill(wall);
    world.run(5000);
    failed(&mut world, 1);
    world.settle();
    begun(&mut world, 2);
    taken(&mut world, 2);
    world.run(2000);
    world.goal(Goal::Down);
    world.settle();
    world.goal(Goal::Up);
    world.run(20_000);
    golden!(world.transcript);
}

#[test]
fn what_is_next_follows_from_the_log_and_the_clock() {
    let mut world = served();
    let at = |world: &World, after: u64| Timestamp(world.wall().0 + after);
    let now = at(&world, 0);
    let begin = Some(Next::Begin(name("db"), 2));
    assert_eq!(next(world.env(), now), begin, "the first is due at once");
    begun(&mut world, 1);
    assert_eq!(next(world.env(), now), Some(Next::Take(BackupId(1))));
    taken(&mut world, 1);
    assert_eq!(next(world.env(), now), Some(Next::Prove(BackupId(1))));
    restored(&mut world, 1);
    assert_eq!(next(world.env(), at(&world, HOUR - 1)), None);
    assert_eq!(next(world.env(), at(&world, HOUR)), begin);
    // However long nobody looked, one makes up for all.
    assert_eq!(next(world.env(), at(&world, 30 * HOUR)), begin);
    assert!(world.env().overdue_backups(at(&world, 2 * HOUR)).is_empty());
    let overdue = world.env().overdue_backups(at(&world, 2 * HOUR + 1));
    assert_eq!(overdue[0].database, name("db"));
    // What sleeps is woken for it.
    world.sleep();
    assert_eq!(next(world.env(), at(&world, HOUR)), begin);
    begun(&mut world, 2);
    taken(&mut world, 2);
    restored(&mut world, 2);
    // One that goes down lets those go that are not on the disk.
    begun(&mut world, 3);
    world.goal(Goal::Down);
    let given_up = next(world.env(), at(&world, 0));
    assert!(matches!(given_up, Some(Next::GiveUp(BackupId(3), _))));
    failed(&mut world, 3);
    assert_eq!(next(world.env(), at(&world, 9 * HOUR)), None);
    assert_eq!(due(world.env()), None);
}
