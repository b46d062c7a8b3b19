//! Snapshots of volumes.

use ward_types::unit::ByteSize;
use ward_types::volume::{Occasion, Snapshot, Snapshots, VolumeSpec};

use super::*;

/// r2 prepares behind r1, which has the volume too; its snapshot has ended well and is not recorded.
fn snapshotted() -> Case {
    let mut spec = returns();
    spec.volumes.insert(
        name("uploads"),
        VolumeSpec {
            size: ByteSize(1 << 30),
            snapshot: Snapshots::BeforeRelease,
            keep_snapshots: 3,
        },
    );
    let mut world = world();
    world.behave = Box::new(|start| match start.role {
        Role::Snapshot => Behaviour::exits(500, 0, &[]),
        Role::ReleaseCommand => Behaviour::exits(200, 0, &[]),
        _ => Behaviour::default(),
    });
    world.deploy(spec.clone());
    world.settle();
    world.deploy(spec);
    world.run(300);
    let mut case = Case::of(&world);
    let mut made = case.observed.instances.values_mut();
    let made = made.find(|i| i.facts.role == Role::Snapshot).unwrap();
    made.status.state = ward_types::keeper::InstanceState::Exited {
        exit: ward_types::keeper::Exit::Code(0),
        asked: false,
    };
    case
}

fn number(case: &Case) -> u64 {
    let mut all = case.observed.instances.values();
    let made = all.find(|i| i.facts.role == Role::Snapshot).unwrap();
    made.facts.id.ordinal()
}

fn record(snapshot: u64) -> Action {
    Action::Snapshotted {
        deployment: DeploymentId(2),
        volume: name("uploads"),
        snapshot: ward_types::id::SnapshotId(snapshot),
        keep: 3,
    }
}

#[test]
fn a_snapshot_that_is_whole_meets_no_objection() {
    let case = snapshotted();
    assert_eq!(case.objections(&[record(number(&case))]), vec![]);
}

pub(super) fn snapshots() -> Vec<Wrong> {
    let running = || {
        let mut case = snapshotted();
        let mut all = case.observed.instances.values_mut();
        let made = all.find(|i| i.facts.role == Role::Snapshot).unwrap();
        made.status.state = ward_types::keeper::InstanceState::Healthy;
        case
    };
    let without = || {
        let mut case = snapshotted();
        let snapshot = |i: &SeenInstance| i.facts.role == Role::Snapshot;
        case.observed.instances.retain(|_, i| !snapshot(i));
        case
    };
    let made = number(&snapshotted());
    let recorded = || {
        let mut case = snapshotted();
        let snapshot = Snapshot {
            volume: name("uploads"),
            at: Timestamp(0),
            occasion: Occasion::Deployment(DeploymentId(2)),
            release: None,
        };
        let number = ward_types::id::SnapshotId(made);
        case.env.snapshots.insert(number, snapshot);
        case
    };
    let migrated = || {
        let mut case = snapshotted();
        let snapshot = |i: &&SeenInstance| i.facts.role == Role::Snapshot;
        let mut command = case
            .observed
            .instances
            .values()
            .find(snapshot)
            .unwrap()
            .clone();
        case.observed.instances.remove(&command.facts.id);
        command.facts.role = Role::ReleaseCommand;
        command.facts.component = name("web");
        command.facts.id = id(&format!("web-r2-{made}"));
        let commanded = command.facts.id.clone();
        case.observed.instances.insert(commanded, command);
        case
    };
    let next = snapshotted().ordinal;
    let start = |id: String| super::start(&id, Role::Snapshot);
    let out = "starts out of turn";
    let of_old = |change: fn(&mut Case)| {
        let mut case = without();
        change(&mut case);
        case
    };
    vec![
        (
            "a snapshot is recorded that is not whole",
            running(),
            vec![record(made)],
            "false snapshot",
        ),
        (
            "a snapshot is recorded under another number",
            snapshotted(),
            vec![record(made + 1)],
            "false snapshot",
        ),
        (
            "what has no snapshot yet rolls out",
            snapshotted(),
            vec![enter(2, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
        (
            "a second snapshot is made",
            snapshotted(),
            vec![start(format!("uploads-r2-{next}"))],
            out,
        ),
        (
            "a snapshot is recorded a second time",
            recorded(),
            vec![record(made)],
            "false snapshot",
        ),
        (
            "a snapshot is made behind a release command",
            migrated(),
            vec![start(format!("uploads-r2-{next}"))],
            out,
        ),
        (
            "a snapshot of what asks for none is made",
            of_old(|case| {
                let volumes = case
                    .env
                    .releases
                    .values_mut()
                    .flat_map(|r| &mut r.spec.volumes);
                volumes.for_each(|(_, volume)| volume.snapshot = Snapshots::Never);
            }),
            vec![start(format!("uploads-r2-{next}"))],
            out,
        ),
        (
            "a snapshot of what is new is made",
            of_old(|case| {
                let first = case.env.releases.values_mut().next().unwrap();
                first.spec.volumes.clear();
            }),
            vec![start(format!("uploads-r2-{next}"))],
            out,
        ),
    ]
}
