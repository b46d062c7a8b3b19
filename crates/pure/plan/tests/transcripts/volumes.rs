//! Volumes: a snapshot of each that asks for one, before anything of a new release runs.

use ward_types::volume::{Snapshots, VolumeSpec};

use super::*;

/// The example with two volumes of its web service, of which one asks for snapshots.
fn with_volumes() -> EnvSpec {
    let mut spec = returns();
    for (volume, snapshot) in [
        ("uploads", Snapshots::BeforeRelease),
        ("cache", Snapshots::Never),
    ] {
        let declared = VolumeSpec {
            size: ward_types::unit::ByteSize(1 << 30),
            snapshot,
            keep_snapshots: 2,
        };
        spec.volumes.insert(name(volume), declared);
        let web = spec.services.get_mut(&name("web"));
        let web = web.expect("the example has it");
        web.volumes.insert(name(volume), format!("/{volume}"));
    }
    spec
}

fn copied(start: &world::Start) -> Behaviour {
    match start.role {
        Role::Snapshot => Behaviour::exits(700, 0, &[]),
        Role::Copy => Behaviour::exits(2000, 0, &[]),
        Role::VolumeCopy => Behaviour::exits(900, 0, &[]),
        _ => usual(start),
    }
}

fn served() -> World {
    let mut world = World::new();
    world.behave = Box::new(copied);
    world.deploy(with_volumes());
    world.settle();
    world
}

#[test]
fn what_a_release_before_had_is_snapshotted_before_commands_and_two_are_kept() {
    let mut world = served();
    for _ in 0..3 {
        world.deploy(with_volumes());
        world.settle();
    }
    let kept: Vec<String> = world
        .env()
        .snapshots
        .keys()
        .map(ToString::to_string)
        .collect();
    world.say(&format!("kept: {}", kept.join(" ")));
    world.queue(ReleaseId(3), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn snapshot_that_cannot_be_made_fails_the_deployment_before_anything_changed() {
    let mut world = served();
    world.transcript.clear();
    world.behave = Box::new(|start| match start.role {
        Role::Snapshot => Behaviour::exits(90, 4, &["the disk is nearly full"]),
        _ => usual(start),
    });
    world.deploy(with_volumes());
    world.settle();
    assert!(world.env().snapshots.is_empty());
    golden!(world.transcript);
}

#[test]
fn snapshot_that_hangs_is_given_up() {
    let mut world = served();
    world.transcript.clear();
    world.behave = Box::new(|start| match start.role {
        Role::Snapshot => Behaviour::hangs(),
        _ => usual(start),
    });
    world.deploy(with_volumes());
    world.run(3_700_000);
    golden!(world.transcript);
}

#[test]
fn a_driver_that_is_killed_meanwhile_makes_each_snapshot_once() {
    for (at, after) in (0..12).flat_map(|at| [(at, 0), (at, 1)]) {
        let mut world = served();
        world.deploy(with_volumes());
        world.mishaps = (0..at).map(|_| Mishap::Fail(99)).collect();
        world.mishaps.push(Mishap::Crash(after));
        world.settle();
        let text = &world.transcript;
        assert_eq!(text.matches("(Snapshot)").count(), 1, "{text}");
        assert_eq!(text.matches("is whole").count(), 1, "{text}");
        assert_eq!(world.env().current, Some(ReleaseId(2)), "{text}");
    }
}

#[test]
fn clone_gets_files_behind_all_rows_and_before_commands() {
    let mut world = World::new();
    world.behave = Box::new(copied);
    world.copies_from("returns/prod");
    world.deploy(with_volumes());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn clone_whose_files_cannot_be_copied_is_not_left_behind() {
    let mut world = World::new();
    world.behave = Box::new(|start| match (start.role, start.component.as_str()) {
        (Role::VolumeCopy, "uploads") => Behaviour::exits(90, 4, &["the disk is nearly full"]),
        _ => copied(start),
    });
    world.copies_from("returns/prod");
    world.deploy(with_volumes());
    world.run(20_000);
    golden!(world.transcript);
}
