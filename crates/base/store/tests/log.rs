//! Appending, reading, folding, counting, locking.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scene;

use std::os::unix::fs::PermissionsExt;

use scene::{created, entry, env, executed, filled, queued, release};
use ward_store::{Error, Log, Store, lock};
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, EnvId, Name, ReleaseId};
use ward_types::release::{Deployment, Reason};
use ward_types::spec::Schema;

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (_dir, path) = filled(3);
    let store = Store::open(&path).unwrap();
    let records = store.records(None, 1000, None).unwrap();
    assert_eq!(records.len(), 19);
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(n, record)| record.seq == n as u64)
    );
    let mut fold = State::default();
    for record in &records {
        fold.apply(record.at, &record.event).unwrap();
    }
    assert_eq!(*store.state(), fold);
    assert_eq!(fold.environments[&env()].current, Some(ReleaseId(3)));
    let audit = store.verify(None).unwrap();
    assert_eq!((audit.events, audit.breaks), (19, vec![]));
}

#[test]
fn records_are_read_in_pages_and_by_environment() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let other = EnvId::parse("returns/prod").unwrap();
    let started = Event::ServerStarted {
        version: "0.1.0".into(),
        upgraded: false,
        term: ward_types::id::Term(1),
    };
    store
        .append(vec![entry(50, created(&other)), entry(51, started)])
        .unwrap();
    let seqs = |after, limit, env: Option<&EnvId>| -> Vec<u64> {
        let records = store.records(after, limit, env).unwrap();
        records.into_iter().map(|record| record.seq).collect()
    };
    assert_eq!(seqs(None, 3, None), [0, 1, 2]);
    assert_eq!(seqs(Some(2), 3, None), [3, 4, 5]);
    assert_eq!(seqs(Some(u64::MAX), usize::MAX, None), [0u64; 0]);
    assert_eq!(seqs(None, 100, Some(&other)), [7]);
    assert_eq!(seqs(Some(6), 100, None), [7, 8]);
}

/// r2's release command, which is irreversible, ran: the log itself takes no way back to r1 any more, after a
/// restart neither, unless somebody said that it shall be all the same.
#[test]
fn a_way_back_that_the_schema_cannot_take_is_refused() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let changing = Event::SchemaChanging {
        env: env(),
        deployment: DeploymentId(2),
        service: Name::parse("web").unwrap(),
        schema: Schema::Irreversible,
    };
    let mut second = release(&env(), 2);
    let early = store.append(vec![entry(20, changing.clone())]);
    assert!(matches!(early, Err(Error::Misfit { .. })), "{early:?}");
    second.insert(3, entry(20, changing));
    store.append(second).unwrap();
    let back = |id: u64, despite: Option<&str>| {
        let Event::DeploymentQueued { env, deployment } = queued(&env(), 1) else {
            unreachable!("it is what was asked for")
        };
        let deployment = Deployment {
            id: DeploymentId(id),
            reason: Reason::Rollback,
            despite_schema: despite.map(str::to_owned),
            ..*deployment
        };
        let deployment = Box::new(deployment);
        vec![entry(30, Event::DeploymentQueued { env, deployment })]
    };
    drop(store);
    let store = Store::open(&path).unwrap();
    let refused = store.append(back(3, None));
    let Err(Error::Misfit { source, .. }) = refused else {
        panic!("it was taken: {refused:?}");
    };
    let said = source.to_string();
    let cause =
        "which the schema cannot take since the release command of web of r2 (irreversible)";
    assert!(said.contains(cause), "{said}");
    store.append(back(3, Some("restored"))).unwrap();
    let env = store.state().environments[&env()].clone();
    let why = env.deployments[&DeploymentId(3)].despite_schema.clone();
    assert_eq!(why.as_deref(), Some("restored"));
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
}

#[test]
fn a_misfit_in_a_batch_undoes_the_whole_batch() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let before = (store.state(), store.checkpoint().unwrap());
    let error = store
        .append(vec![
            entry(60, executed("/bin/ls")),
            entry(61, created(&env())),
        ])
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Misfit {
                kind: "environment_created",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!((store.state(), store.checkpoint().unwrap()), before);
    let second = store
        .append(vec![entry(62, queued(&env(), 1))])
        .unwrap_err();
    let source = std::error::Error::source(&second).unwrap().to_string();
    assert_eq!(source, "it records d1 of returns/dev again");
    assert_eq!(
        store.append(vec![entry(63, executed("/bin/ls"))]).unwrap()[0].seq,
        7
    );
    assert!(store.append(vec![]).unwrap().is_empty());
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
}

#[test]
fn whoever_watches_learns_of_each_append_and_finds_the_state_there() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let mut changed = store.changed();
    assert_eq!(*changed.borrow_and_update(), 7);
    store.append(release(&env(), 2)).unwrap();
    assert!(changed.has_changed().unwrap());
    assert_eq!(*changed.borrow_and_update(), 13);
    assert_eq!(
        store.state().environments[&env()].current,
        Some(ReleaseId(2))
    );
}

#[test]
fn each_environment_is_told_from_what_changes_others() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let other = EnvId::parse("returns/prod").unwrap();
    assert_eq!([&env(), &other].map(|env| store.concerned(env)), [7, 7]);
    store.append(vec![entry(50, created(&other))]).unwrap();
    assert_eq!([&env(), &other].map(|env| store.concerned(env)), [7, 8]);
    store.append(vec![entry(51, executed("ls"))]).unwrap();
    assert_eq!(store.concerned(&env()), 7, "its state is the same");
    store.append(release(&env(), 2)).unwrap();
    assert_eq!([&env(), &other].map(|env| store.concerned(env)), [15, 8]);
}

#[test]
fn many_threads_append_and_every_event_gets_a_place_of_its_own() {
    let (_dir, path) = filled(0);
    let store = Store::open(&path).unwrap();
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                let append = |n| store.append(vec![entry(n, executed("/bin/ls"))]).unwrap()[0].seq;
                (0..10)
                    .map(|n| append(thread * 100 + n))
                    .collect::<Vec<u64>>()
            })
        })
        .collect();
    let mut seqs: Vec<u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=80).collect::<Vec<u64>>());
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
}

#[test]
fn no_number_of_a_series_is_given_twice_across_restarts() {
    let (_dir, path) = filled(0);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.next_number("ordinal/returns/dev", 0).unwrap(), 1);
    assert_eq!(store.next_number("ordinal/returns/dev", 3).unwrap(), 1);
    assert_eq!(store.next_number("ordinal/returns/dev", 0).unwrap(), 4);
    assert_eq!(store.next_number("table", 1).unwrap(), 1);
    assert_eq!(store.next_number("table", 0).unwrap(), 2);
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.next_number("ordinal/returns/dev", 0).unwrap(), 4);
    assert_eq!(store.next_number("ordinal/returns/dev", 1).unwrap(), 4);
    assert_eq!(store.next_number("ordinal/returns/dev", 1).unwrap(), 5);
}

#[test]
fn only_its_owner_reads_the_database_and_what_stands_beside_it() {
    let (dir, _path) = filled(1);
    for name in [
        "ward.db",
        "checkpoint.key",
        "checkpoints",
        "checkpoints/latest",
    ] {
        let mode = std::fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn a_database_of_a_newer_ward_is_refused_and_left_alone() {
    let (_dir, path) = filled(1);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("newer Ward"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ward.db");
    std::fs::write(
        &path,
        "this is a text, and a long one at that\n".repeat(200),
    )
    .unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Store::open("/nonexistent/ward/ward.db".as_ref())
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "cannot open /nonexistent/ward/ward.db");
}

#[test]
fn damaged_pages_are_an_error_or_a_break_and_never_a_panic() {
    let (_dir, path) = filled(20);
    // Those that are kept free say nothing.
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    for page in (1..whole.len() / 4096).step_by(3) {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, &damaged).unwrap();
        let broken = match Store::open(&path).and_then(|store| store.verify(None)) {
            Ok(audit) => !audit.breaks.is_empty(),
            Err(error) => matches!(error, Error::Corrupt { .. }),
        };
        found += usize::from(broken);
        assert!(broken, "page {page} was overwritten and nobody noticed");
    }
    assert!(found > 3, "only {found} pages were tried");
}

#[test]
fn a_store_that_is_closed_leaves_one_file_whoever_has_read() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    store.verify(None).unwrap();
    store.append(vec![entry(50, executed("/bin/ls"))]).unwrap();
    drop(store);
    assert!(!path.with_extension("db-wal").exists());
}

#[test]
fn projections_of_another_fold_are_made_anew() {
    let (_dir, path) = filled(2);
    let expected = Store::open(&path).unwrap().state();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "UPDATE head SET fold = 0; DELETE FROM releases; UPDATE environments SET body = x'7b7d'",
    )
    .unwrap();
    drop(db);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.state(), expected);
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
}

/// Opens a store whose database was changed by hand: what it mended, and the state from then on, which
/// must be the one before.
fn mended_after(sql: &str) -> Vec<String> {
    let (_dir, path) = filled(3);
    let expected = Store::open(&path).unwrap().state();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    drop(db);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.state(), expected);
    store.append(vec![entry(80, executed("/bin/ls"))]).unwrap();
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
    let mended = store.mended().to_vec();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().mended(), [""; 0]);
    mended
}

#[test]
fn p7_a_projection_that_was_changed_by_hand_is_made_anew_from_the_events_and_told() {
    assert_eq!(
        mended_after("DELETE FROM releases WHERE number = 3"),
        ["the projection of the release r3 of returns/dev is missing"]
    );
    assert_eq!(
        mended_after("UPDATE environments SET body = x'7b7d'"),
        ["the projection of the environment returns/dev is not what the events say"]
    );
    assert_eq!(
        mended_after("INSERT INTO releases SELECT env, 9, body FROM releases WHERE number = 1"),
        ["there is a projection of the release r9 of returns/dev, which no event made"]
    );
}

#[test]
fn p7_a_lost_head_is_computed_from_the_events_and_told() {
    assert_eq!(
        mended_after("DELETE FROM head"),
        ["the log's head was missing"]
    );
}

#[test]
fn p7_altered_events_do_not_become_the_state() {
    let (_dir, path) = filled(3);
    let expected = Store::open(&path).unwrap().state();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), 'anna', 'otto') AS BLOB)",
    )
    .unwrap();
    drop(db);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.state(), expected);
    assert_eq!(store.mended(), [""; 0]);
    assert!(!store.verify(None).unwrap().breaks.is_empty());
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("DELETE FROM head").unwrap();
    drop(db);
    let error = Store::open(&path).map(drop).unwrap_err();
    assert!(error.to_string().contains("restore ward.db"), "{error}");
}

#[test]
fn another_writer_is_noticed_before_it_does_harm() {
    let (_dir, path) = filled(1);
    let (first, second) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    first.append(vec![entry(70, executed("/bin/ls"))]).unwrap();
    let error = second
        .append(vec![entry(71, executed("/bin/ls"))])
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherWriter {
                found: 8,
                known: 7,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn projections_of_an_older_fold_serve_when_the_events_do_not_fold_any_more() {
    let (_dir, path) = filled(3);
    let before = Store::open(&path).unwrap().state();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "UPDATE head SET fold = fold - 1; UPDATE events SET record = x'7b7d' WHERE seq = 4",
    )
    .unwrap();
    drop(db);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.state(), before);
    assert_eq!(store.verify(None).unwrap().first, Some(4));
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("UPDATE head SET fold = fold + 2").unwrap();
    drop(db);
    assert!(
        Store::open(&path).is_err(),
        "a newer Ward's log is no altered one"
    );
}

#[test]
fn one_process_holds_a_state_folder_and_the_next_one_learns_which() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("a/home");
    let held = lock(&home).unwrap();
    assert_eq!(
        std::fs::metadata(&home).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let error = lock(&home).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, Error::Locked { pid: Some(found), .. } if found == pid),
        "{error}"
    );
    assert!(
        error.to_string().contains(&format!("(process {pid})")),
        "{error}"
    );
    drop(held);
    lock(&home).unwrap();
}
