//! Data and releases that must be kept.

use ward_types::volume::{Snapshots, VolumeSpec};

use super::*;

pub(super) fn data() -> Vec<Wrong> {
    let down = || {
        let mut world = serving();
        world.goal(Goal::Down);
        world.run(5000);
        Case::of(&world)
    };
    vec![
        (
            "data of what is up",
            Case::of(&serving()),
            vec![Action::PurgeData],
            "purges data",
        ),
        (
            "data that is kept",
            down(),
            vec![Action::PurgeData],
            "purges data",
        ),
        (
            "data in use",
            going(Goal::Purged),
            vec![Action::PurgeData],
            "purges data",
        ),
    ]
}

pub(super) fn lifetimes() -> Vec<Wrong> {
    let end = |cause| Action::End { cause };
    let warned = || {
        let mut world = serving();
        world.lasts(100_000);
        world.run(95_000);
        Case::of(&world)
    };
    let mut lasting = serving();
    lasting.lasts(100_000);
    let ending = Ending {
        cause: Cause::Asked,
        said: Said {
            at: Timestamp(0),
            by: "anna".into(),
            why: String::new(),
        },
    };
    let mut ends = going(Goal::Purged);
    ends.env.life.ending = Some(ending.clone());
    let mut with_data = going(Goal::Purged);
    with_data.observed.instances.clear();
    with_data.observed.gateway = None;
    with_data.env.life.ending = Some(ending);
    vec![
        (
            "one without an end ends",
            Case::of(&serving()),
            vec![end(Cause::Expired)],
            "ends unasked",
        ),
        (
            "one ends because Ward asks for it",
            Case::of(&lasting),
            vec![end(Cause::Asked)],
            "ends unasked",
        ),
        (
            "it ends, and more is done",
            Case::of(&lasting),
            vec![end(Cause::Expired), start("web-r1-7", Role::Service)],
            "ends unasked",
        ),
        (
            "an end that is not there is told",
            Case::of(&serving()),
            vec![Action::WarnOfEnd],
            "warns again",
        ),
        (
            "an end is told twice",
            warned(),
            vec![Action::WarnOfEnd],
            "warns again",
        ),
        (
            "one that lives is gone",
            Case::of(&serving()),
            vec![Action::Delete],
            "deletes what is there",
        ),
        (
            "one that runs is gone",
            ends,
            vec![Action::Delete],
            "deletes what is there",
        ),
        (
            "one that has data is gone",
            with_data,
            vec![Action::Delete],
            "deletes what is there",
        ),
    ]
}

/// r1 is prepared on new data: its release command has ended well, its seed command has not begun; next is 3.
fn to_be_seeded() -> Case {
    let mut spec = returns();
    spec.seeded = true;
    let web = spec.services.get_mut(&name("web")).unwrap();
    web.seed = Some(SeedCommand {
        command: vec!["seed".into()],
        timeout: Millis::secs(30),
    });
    let mut world = world();
    world.deploy(spec);
    world.run(550);
    let mut case = Case::of(&world);
    let before = case.observed.instances.len();
    let seeds = |i: &SeenInstance| i.facts.role == Role::Seed;
    case.observed.instances.retain(|_, i| !seeds(i));
    assert_eq!((before, case.observed.instances.len()), (3, 2));
    case.ordinal = 3;
    case
}

pub(super) fn filling() -> Vec<Wrong> {
    let fill = |filling, component: &str| Action::Fill {
        deployment: DeploymentId(1),
        filling,
        component: name(component),
    };
    let next = to_be_seeded().ordinal;
    let mut kept = to_be_seeded();
    kept.env.data = DataState::Kept;
    let mut unwanted = to_be_seeded();
    let release = unwanted.env.releases.values_mut().next().unwrap();
    release.spec.seeded = false;
    let mut early = to_be_seeded();
    early
        .observed
        .instances
        .retain(|_, i| i.facts.role == Role::Database);
    let mut done = to_be_seeded();
    done.env.life.seeded.insert(name("web"));
    let copy = start(&format!("db-r1-{next}"), Role::Copy);
    let files = |from: Case| {
        (
            from,
            vec![start(&format!("uploads-r1-{next}"), Role::VolumeCopy)],
        )
    };
    let (without_rows, its_files) = files(to_get_files());
    let mut behind = to_get_files();
    behind.env.life.copied.insert(name("db"));
    behind.env.life.copied_volumes.insert(name("uploads"));
    let (copied, again) = files(behind);
    let out = "starts out of turn";
    vec![
        (
            "kept data is seeded",
            kept,
            vec![start(&format!("web-r1-{next}"), Role::Seed)],
            out,
        ),
        (
            "what wants no seed is seeded",
            unwanted,
            vec![start(&format!("web-r1-{next}"), Role::Seed)],
            out,
        ),
        (
            "a seed goes before a release command",
            early,
            vec![start(&format!("web-r1-{next}"), Role::Seed)],
            out,
        ),
        (
            "data is seeded again",
            done,
            vec![start(&format!("web-r1-{next}"), Role::Seed)],
            out,
        ),
        (
            "what is no clone gets another's rows",
            to_be_seeded(),
            vec![copy],
            out,
        ),
        (
            "a clone gets files before the rows that lead to them",
            without_rows,
            its_files,
            out,
        ),
        ("a clone gets files again", copied, again, out),
        (
            "files are recorded that nobody copied",
            to_get_files(),
            vec![fill(Filling::Volume, "uploads")],
            "false filling",
        ),
        (
            "a seed is recorded that did not run",
            to_be_seeded(),
            vec![fill(Filling::Seed, "web")],
            "false filling",
        ),
        (
            "what is not seeded yet rolls out",
            to_be_seeded(),
            vec![enter(1, Phase::Rolling { stage: 0 })],
            "skips phase",
        ),
    ]
}

/// A clone whose database runs, and into which nothing was copied yet; next is 3.
fn to_get_files() -> Case {
    let mut case = to_be_seeded();
    let instances = &mut case.observed.instances;
    instances.retain(|_, i| i.facts.role == Role::Database);
    case.env.life.copies = Some(ward_types::id::EnvId::parse("returns/qa").unwrap());
    let release = case.env.releases.values_mut().next().unwrap();
    let declared = VolumeSpec {
        size: ward_types::unit::ByteSize(1 << 30),
        snapshot: Snapshots::Never,
        keep_snapshots: 1,
    };
    release.spec.volumes.insert(name("uploads"), declared);
    case
}

#[test]
fn files_behind_all_rows_meet_no_objection() {
    let mut case = to_get_files();
    case.env.life.copied.insert(name("db"));
    let copy = start(&format!("uploads-r1-{}", case.ordinal), Role::VolumeCopy);
    assert_eq!(case.objections(&[copy]), vec![]);
}

#[test]
fn a_seed_in_its_turn_meets_no_objection() {
    let case = to_be_seeded();
    let seed = start(&format!("web-r1-{}", case.ordinal), Role::Seed);
    assert_eq!(case.objections(&[seed]), vec![]);
}

/// r1 to r5 served in turn, the last two releases are retained beside what is needed.
fn five_releases(env: &str) -> World {
    let mut world = world_of(env);
    for _ in 0..5 {
        let mut spec = returns();
        spec.keep_releases = if env.ends_with("prod") { 2 } else { 10 };
        spec.keep_warm = Millis(0);
        world.deploy(spec);
        world.settle();
    }
    world
}

pub(super) fn retiring() -> Vec<Wrong> {
    let retire = |number| {
        vec![Action::Retire {
            release: ReleaseId(number),
        }]
    };
    let keeps_two = || {
        let mut case = Case::of(&five_releases("returns/dev"));
        case.env
            .releases
            .values_mut()
            .for_each(|r| r.spec.keep_releases = 2);
        case
    };
    let led_to = || {
        let mut case = keeps_two();
        let queued = case.env.deployments.values_mut().next_back().unwrap();
        (queued.to, queued.phase) = (ReleaseId(1), Phase::Queued);
        case
    };
    // Three are kept: r5, r4 and r3, of which r5 and r4 never served; so r2 and r1 as well.
    let failing = || {
        let mut case = keeps_two();
        for deployment in case.env.deployments.values_mut().skip(3) {
            deployment.phase = finished(Verdict::FailedOldServing);
        }
        for release in case.env.releases.values_mut() {
            release.spec.keep_releases = 3;
        }
        case.env.current = Some(ReleaseId(3));
        case.env.previous = Some(ReleaseId(2));
        case
    };
    let production = || Case::of(&five_releases("returns/prod"));
    vec![
        (
            "the release that serves",
            keeps_two(),
            retire(5),
            "retires needed",
        ),
        (
            "what a rollback leads to",
            keeps_two(),
            retire(4),
            "retires needed",
        ),
        (
            "one of the newest",
            Case::of(&five_releases("returns/dev")),
            retire(1),
            "retires needed",
        ),
        (
            "what a deployment leads to",
            led_to(),
            retire(1),
            "retires needed",
        ),
        (
            "what ever reached prod",
            production(),
            retire(1),
            "retires needed",
        ),
        (
            "one of the newest that served, behind a row of failures",
            failing(),
            retire(1),
            "retires needed",
        ),
    ]
}
