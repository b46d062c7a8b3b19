//! Each way to tamper with a log, and what the audit says of it (promise P7).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scene;

use std::path::Path;

use rusqlite::Connection;
use scene::{entry, env, executed, filled, release};
use ward_store::merkle::{Frontier, leaf_hash};
use ward_store::{Log, Store, verify_file};

/// Makes a log of 19 events, tampers with it while nobody uses it, and audits it.
fn audit_after(tamper: impl FnOnce(&Connection, &Path)) -> Vec<String> {
    let (dir, path) = filled(3);
    assert_eq!(verify_file(&path, None).unwrap().breaks, [""; 0]);
    let db = Connection::open(&path).unwrap();
    tamper(&db, dir.path());
    drop(db);
    let offline = verify_file(&path, None).unwrap().breaks;
    if let Ok(store) = Store::open(&path) {
        let told = [store.mended(), &store.verify(None).unwrap().breaks].concat();
        assert_eq!(told.len(), offline.len(), "{told:?} {offline:?}");
    }
    offline
}

fn sql(text: &str) -> Vec<String> {
    audit_after(|db, _| db.execute_batch(text).unwrap())
}

const ALTER_4: &str = "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), 'anna', 'otto') AS BLOB) WHERE seq = 4;";

#[test]
fn p7_an_altered_record_is_found_at_its_event() {
    let breaks = sql(ALTER_4);
    assert_eq!(
        breaks[0],
        "event 4 was altered: its record does not have the hash of its leaf"
    );
}

#[test]
fn p7_a_record_altered_with_its_leaf_hash_is_found_at_its_event() {
    let breaks = audit_after(|db, _| {
        db.execute_batch(ALTER_4).unwrap();
        let record: Vec<u8> = db
            .query_row("SELECT record FROM events WHERE seq = 4", [], |row| {
                row.get(0)
            })
            .unwrap();
        db.execute(
            "UPDATE events SET leaf = ?1 WHERE seq = 4",
            [leaf_hash(&record)],
        )
        .unwrap();
    });
    assert_eq!(
        breaks[0],
        "event 4 breaks the tree: it, or what stands before it, is not what was appended"
    );
}

#[test]
fn a_record_of_an_older_ward_is_whole_although_fields_came_later() {
    let (_dir, path) = filled(1);
    let db = Connection::open(&path).unwrap();
    let older = "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), '\"keep_releases\":10,', '') AS BLOB)";
    assert_eq!(db.execute(older, []).unwrap(), 7);
    rehash(&db);
    drop(db);
    std::fs::remove_dir_all(path.with_file_name("checkpoints")).unwrap();
    let view = verify_file(&path, None).unwrap();
    assert_eq!(view.breaks, [""; 0]);
    assert_eq!(view.first, None);
}

#[test]
fn p7_the_first_event_that_was_altered_is_named_by_number() {
    let first = |tamper: &str| {
        let (_dir, path) = filled(3);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(tamper).unwrap();
        if tamper == CUT {
            rehash(&db);
        }
        drop(db);
        verify_file(&path, None).unwrap().first
    };
    assert_eq!(first("SELECT 1"), None);
    assert_eq!(first(ALTER_4), Some(4));
    assert_eq!(first("DELETE FROM events WHERE seq IN (7, 8)"), Some(7));
    assert_eq!(first(CUT), Some(13));
}

/// Computes every hash, root and the head anew, as one does who knows how Ward works.
fn rehash(db: &Connection) {
    let mut statement = db
        .prepare("SELECT seq, record FROM events ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let rows: Vec<(i64, Vec<u8>)> = rows.unwrap().map(Result::unwrap).collect();
    let mut tree = Frontier::default();
    for (seq, record) in rows {
        tree.push(leaf_hash(&record));
        let update = "UPDATE events SET leaf = ?1, root = ?2 WHERE seq = ?3";
        db.execute(update, (leaf_hash(&record), tree.root(), seq))
            .unwrap();
    }
    let size = tree.size().cast_signed();
    db.execute(
        "UPDATE head SET size = ?1, frontier = ?2",
        (size, tree.bytes()),
    )
    .unwrap();
}

#[test]
fn p7_a_log_that_was_rewritten_whole_is_found_by_its_checkpoint() {
    let breaks = audit_after(|db, _| {
        db.execute_batch(ALTER_4).unwrap();
        rehash(db);
    });
    assert!(
        breaks[0].contains("the log was other when it had 19 events"),
        "{breaks:?}"
    );
}

#[test]
fn p7_a_removed_event_is_named() {
    let breaks = sql("DELETE FROM events WHERE seq = 7");
    assert_eq!(breaks[0], "event 7 is missing");
    let breaks = sql("DELETE FROM events WHERE seq IN (7, 8, 9)");
    assert_eq!(breaks[0], "events 7 to 9 are missing");
}

#[test]
fn p7_events_that_changed_places_are_named() {
    let swap = "UPDATE events SET seq = -1 WHERE seq = 3; UPDATE events SET seq = 3 WHERE seq = 4; UPDATE events SET seq = 4 WHERE seq = -1;";
    let breaks = sql(swap);
    assert!(
        breaks.contains(&"event 3 holds the record of event 4: it was moved".to_owned()),
        "{breaks:?}"
    );
    assert!(
        breaks[0].starts_with("event 3 breaks the tree"),
        "{breaks:?}"
    );
}

#[test]
fn p7_a_forged_event_at_the_end_is_found() {
    let breaks = sql(
        "INSERT INTO events SELECT 19, env, kind, record, leaf, root FROM events WHERE seq = 18",
    );
    assert!(
        breaks[0].starts_with("event 19 breaks the tree"),
        "{breaks:?}"
    );
}

const CUT: &str = "DELETE FROM events WHERE seq > 12; DELETE FROM releases WHERE number = 3; DELETE FROM deployments WHERE number = 3;
    UPDATE environments SET body = CAST(replace(replace(replace(replace(replace(replace(replace(CAST(body AS TEXT), '\"current\":3', '\"current\":2'), '\"previous\":2', '\"previous\":1'), '\"builds\":3', '\"builds\":2'), '\"prepared\":3', '\"prepared\":2'),
        '\"build\":3', '\"build\":2'), '\"release\":3', '\"release\":2'), '\"version\":\"1.0.3\"', '\"version\":\"1.0.2\"') AS BLOB);";

#[test]
fn p7_a_cut_tail_is_found_by_the_checkpoint_beside_the_database() {
    let breaks = audit_after(|db, _| {
        db.execute_batch(CUT).unwrap();
        rehash(db);
    });
    let expected =
        "checkpoints/latest: the log had 19 events and has 13: its tail was cut from event 13 on";
    assert_eq!(breaks, [expected], "everything else was made to fit");
}

#[test]
fn p7_a_cut_tail_stays_known_when_the_log_goes_on() {
    let (_dir, path) = filled(3);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(CUT).unwrap();
    rehash(&db);
    drop(db);
    let store = Store::open(&path).unwrap();
    store
        .append(vec![entry(99, executed("/bin/true"))])
        .unwrap();
    for id in 3..6 {
        store.append(release(&env(), id)).unwrap();
    }
    let breaks = store.verify(None).unwrap().breaks;
    assert!(breaks[0].contains("checkpoints/disputed-0: the log was other when it had 19 events; the first that differs is one of events 0 to 18"), "{breaks:?}");
}

#[test]
fn p7_a_cut_tail_is_found_by_a_checkpoint_that_others_keep() {
    let (dir, path) = filled(3);
    let kept = Store::open(&path).unwrap().checkpoint().unwrap().text;
    let db = Connection::open(&path).unwrap();
    db.execute_batch(CUT).unwrap();
    rehash(&db);
    drop(db);
    std::fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    assert_eq!(verify_file(&path, None).unwrap().breaks, [""; 0]);
    let breaks = verify_file(&path, Some(&kept)).unwrap().breaks;
    assert_eq!(
        breaks,
        [
            "the checkpoint given: the log had 19 events and has 13: its tail was cut from event 13 on"
        ]
    );
}

#[test]
fn an_old_checkpoint_of_a_log_that_went_on_holds() {
    let (_dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let kept = store.checkpoint().unwrap();
    assert_eq!(kept.size, 7);
    store.append(release(&env(), 2)).unwrap();
    assert_eq!(store.verify(Some(&kept.text)).unwrap().breaks, [""; 0]);
    let forged = kept.text.replace("\n7\n", "\n8\n");
    let breaks = store.verify(Some(&forged)).unwrap().breaks;
    assert_eq!(
        breaks,
        ["the checkpoint given: its signature does not fit, so it was altered"]
    );
}

#[test]
fn p7_an_edited_projection_is_named() {
    let breaks = sql(
        "UPDATE releases SET body = CAST(replace(CAST(body AS TEXT), 'anna', 'otto') AS BLOB) WHERE number = 2",
    );
    assert_eq!(
        breaks,
        ["the projection of the release r2 of returns/dev is not what the events say"]
    );
    let breaks = sql("DELETE FROM deployments WHERE number = 1");
    assert_eq!(
        breaks,
        ["the projection of the deployment d1 of returns/dev is missing"]
    );
    let breaks = sql("INSERT INTO releases SELECT env, 9, body FROM releases WHERE number = 1");
    assert_eq!(
        breaks,
        ["there is a projection of the release r9 of returns/dev, which no event made"]
    );
}

#[test]
fn p7_an_event_that_is_filed_elsewhere_is_named() {
    let breaks = sql("UPDATE events SET env = 'returns/prod' WHERE seq = 5");
    assert_eq!(
        breaks,
        ["event 5 is filed under another environment or kind than its record says"]
    );
}

#[test]
fn p7_a_checkpoint_that_was_altered_is_named() {
    let breaks = audit_after(|_, dir| {
        let path = dir.join("checkpoints/latest");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("\n19\n", "\n18\n")).unwrap();
    });
    assert!(
        breaks[0].ends_with("its signature does not fit, so it was altered"),
        "{breaks:?}"
    );
}

#[test]
fn one_checkpoint_of_each_thousand_events_is_kept() {
    let (dir, path) = filled(1);
    let store = Store::open(&path).unwrap();
    let batch = |from: u64| {
        (from..from + 700)
            .map(|at| entry(at, executed("/bin/ls")))
            .collect()
    };
    for from in [1000, 2000, 3000] {
        store.append(batch(from)).unwrap();
    }
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
    let mut names: Vec<String> = std::fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["000000001407", "000000002107", "key", "latest"]);
}
