//! Starts that fail, and what is left of them; the real keeper's life is in `instances.rs`.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ward_engine::{Engine, Error, Options};
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, InstanceState, Limits, LogSpec, Role, RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::time::{Millis, Timestamp};

const SECRET: &str = "planted-secret-3141592653";

async fn open(home: &Path, exe: &Path) -> Engine {
    let options = Options {
        home: home.to_owned(),
        exe: exe.to_owned(),
        clock: || Timestamp(77),
    };
    Engine::open(options).await.unwrap()
}

fn env() -> EnvId {
    EnvId::parse("returns/dev").unwrap()
}

fn spec(engine: &Engine, ordinal: u64) -> InstanceSpec {
    let component = Name::parse("web").unwrap();
    let id = InstanceId::new(&component, ReleaseId(1), ordinal);
    let facts = InstanceFacts {
        id: id.clone(),
        env: env(),
        component,
        release: ReleaseId(1),
        role: Role::Service,
        port: None,
        started: Timestamp(7),
        passwords: None,
    };
    InstanceSpec {
        dir: engine.instance_dir(&env(), &id),
        root: RootSpec {
            layers: Vec::new(),
            host_usr: true,
            mounts: Vec::new(),
        },
        argv: vec!["/bin/true".to_owned()],
        cwd: "/".to_owned(),
        env: BTreeMap::from([("TOKEN".to_owned(), Secret::new(SECRET.to_owned()))]),
        secrets: Default::default(),
        user: UserSpec {
            uid: 1000,
            gid: 1000,
            host_id: 1000,
        },
        limits: Limits::default(),
        health: None,
        links: Vec::new(),
        log: LogSpec {
            file: engine.log_file(&facts),
            max_bytes: 1 << 20,
        },
        stop_timeout: Millis(1000),
        stop_signal: 15,
        gateway_links: engine.gateway_links(),
        facts,
    }
}

/// A program that stands in for a keeper that fails in a way the real one must not.
fn program(folder: &TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// What became of a start: its error, and the state that is seen, now and by the engine's successor.
async fn failure(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let exe = program(&folder, script);
    let engine = open(&home, &exe).await;
    let spec = spec(&engine, 1);
    let id = spec.facts.id.clone();
    let mut changed = engine.changed();
    let error = engine.start(spec.clone()).await.unwrap_err();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    assert_failed(&engine, &id, &error);
    // Done twice is done once.
    let again = engine.start(spec).await.unwrap_err();
    assert!(matches!(again, Error::Refused { .. }), "{again}");
    assert!(!changed.has_changed().unwrap());
    drop(engine);

    let successor = open(&home, &exe).await;
    assert_failed(&successor, &id, &error);
    holds_no_secret(&home);
    successor.remove(&env(), &id).await.unwrap();
    assert!(successor.observe(&env()).is_empty());
    assert!(!successor.instance_dir(&env(), &id).exists());
    error.to_string()
}

fn assert_failed(engine: &Engine, id: &InstanceId, error: &Error) {
    let seen = &engine.observe(&env())[id];
    assert_eq!(seen.since, Timestamp(77));
    let InstanceState::Failed { message } = &seen.status.state else {
        panic!("{:?}", seen.status.state)
    };
    assert!(
        !message.is_empty()
            && error
                .to_string()
                .contains(message.split(':').next().unwrap())
    );
}

fn holds_no_secret(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            holds_no_secret(&entry.path());
        } else if let Ok(bytes) = fs::read(entry.path()) {
            let found = bytes
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(!found, "{} holds a secret", entry.path().display());
        }
    }
}

#[tokio::test]
async fn the_keepers_own_words_are_told() {
    let said = failure(
        r#"cat >/dev/null; echo '{"reply":"refused","message":"no user namespaces: sysctl says no"}'"#,
    )
    .await;
    assert!(
        said.contains("no user namespaces: sysctl says no"),
        "{said}"
    );
}

#[tokio::test]
async fn a_keeper_that_dies_is_told_with_what_it_last_said() {
    let said = failure("cat >/dev/null; echo 'out of luck' >&2; exit 3").await;
    assert!(said.contains("out of luck"), "{said}");
    let said = failure("echo 'died before listening' >&2; exit 3").await;
    assert!(said.contains("died before listening"), "{said}");
    let said = failure("cat >/dev/null; echo nonsense").await;
    assert!(said.contains("before it was ready"), "{said}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path(), Path::new("/nowhere/ward")).await;
    let error = engine.start(spec(&engine, 1)).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/ward"), "{error}");
}

#[tokio::test]
async fn a_specification_that_contradicts_itself_is_refused_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path(), Path::new("/bin/false")).await;
    let mut elsewhere = spec(&engine, 1);
    elsewhere.dir = home.path().join("elsewhere");
    let mut nothing = spec(&engine, 2);
    nothing.argv.clear();
    for wrong in [elsewhere, nothing] {
        let error = engine.start(wrong).await.unwrap_err();
        assert!(matches!(error, Error::Spec { .. }), "{error}");
    }
    assert!(engine.observe(&env()).is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_of_an_instance_is_found() {
    let home = tempfile::tempdir().unwrap();
    let exe = Path::new("/bin/false");
    let engine = open(home.path(), exe).await;
    let folder = |ordinal| {
        let spec = spec(&engine, ordinal);
        fs::create_dir_all(&spec.dir).unwrap();
        let facts = serde_json::to_vec(&spec.facts).unwrap();
        fs::write(spec.dir.join("facts.json"), facts).unwrap();
        (spec.facts.id, spec.dir)
    };
    let (lost, dir) = folder(1);
    fs::write(dir.join("k.sock"), "").unwrap();
    let (exited, dir) = folder(2);
    let note = r#"{"exit":{"how":"signal","value":9},"asked":true,"at":55}"#;
    fs::write(dir.join("exit.json"), note).unwrap();
    // Interrupted before the facts were written: there can be no keeper.
    let (half, dir) = folder(3);
    fs::remove_file(dir.join("facts.json")).unwrap();
    // Interrupted before the keeper knew what to run.
    let (unbegun, unbegun_dir) = folder(5);
    // Damaged: told in the log and left alone.
    let (_, damaged) = folder(4);
    fs::write(damaged.join("facts.json"), "{").unwrap();

    let successor = open(home.path(), exe).await;
    let seen = successor.observe(&env());
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[&lost].status.state, InstanceState::Lost);
    let InstanceState::Exited { asked: true, .. } = seen[&exited].status.state else {
        panic!("{seen:?}")
    };
    assert_eq!(seen[&exited].since, Timestamp(55));
    assert!(!seen.contains_key(&half) && !dir.exists() && damaged.exists());
    assert!(!seen.contains_key(&unbegun) && !unbegun_dir.exists());
    assert_eq!(successor.environments().len(), 1);
    // Stopping or removing what is over, or was never there, is no fault.
    successor.stop(&env(), &lost, Millis(1)).await.unwrap();
    successor.remove(&env(), &lost).await.unwrap();
    successor.remove(&env(), &lost).await.unwrap();
    let error = successor.stop(&env(), &lost, Millis(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn the_present_instance_of_a_database_is_swapped_at_once() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path(), Path::new("/bin/false")).await;
    let database = Name::parse("db").unwrap();
    let link = engine.current_link(&env(), &database);
    for ordinal in [1, 2, 2] {
        let id = InstanceId::new(&database, ReleaseId(0), ordinal);
        engine.point(&env(), &database, &id).unwrap();
        assert_eq!(
            fs::read_link(&link).unwrap(),
            engine.instance_dir(&env(), &id)
        );
    }
    assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_component_keeps_its_own_user() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path(), Path::new("/bin/false")).await;
    let id = |name: &str| engine.host_id(&env(), &Name::parse(name).unwrap());
    assert_eq!(id("web"), id("web"));
    if rustix::process::geteuid().is_root() {
        assert!((1_000_000_000..2_000_000_000).contains(&id("web")));
        assert_ne!(id("web"), id("db"));
    } else {
        assert_eq!(id("web"), rustix::process::geteuid().as_raw());
    }
}
