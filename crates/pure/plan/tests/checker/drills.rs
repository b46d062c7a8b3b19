//! Databases that backups are tried in.

use ward_types::backup::{Backup, BackupFile, Stand};
use ward_types::id::{BackupId, Digest};

use super::*;

const FIRST: Role = Role::Drill(BackupId(1));

/// r1 serves, and b1 of its database stands so.
fn backed_up(stand: Stand) -> Case {
    let mut case = Case::of(&serving());
    let backup = Backup {
        database: name("db"),
        began: Timestamp(0),
        by: "ward".into(),
        keep: 1,
        release: None,
        stand,
    };
    case.env.backups.all.insert(BackupId(1), backup);
    case
}

fn taken() -> Case {
    let digest = format!("sha256:{}", "a".repeat(64));
    let file = BackupFile {
        bytes: 1,
        digest: Digest::parse(&digest).unwrap(),
    };
    let at = Timestamp(0);
    backed_up(Stand::Taken { at, file })
}

fn drill(case: &Case, component: &str, after: u64) -> Action {
    let id = format!("{component}-r0-{}", case.ordinal + after);
    start(&id, FIRST)
}

#[test]
fn one_for_a_backup_that_was_not_restored_meets_no_objection() {
    let case = taken();
    assert_eq!(case.objections(&[drill(&case, "db", 0)]), vec![]);
}

pub(super) fn drills() -> Vec<Wrong> {
    let out = "starts out of turn";
    let one = |case: Case| {
        let action = drill(&case, "db", 0);
        (case, vec![action])
    };
    let (asked, of_asked) = one(backed_up(Stand::Asked));
    let (none, of_none) = one(Case::of(&serving()));
    let (running, of_running) = {
        let mut case = taken();
        let mut all = case.observed.instances.values();
        let mut drill = all
            .find(|i| i.facts.role == Role::Database)
            .unwrap()
            .clone();
        drill.facts.role = FIRST;
        drill.facts.id = id("db-r0-90");
        case.observed.instances.insert(id("db-r0-90"), drill);
        one(case)
    };
    let (twice, of_twice) = {
        let case = taken();
        let both = vec![drill(&case, "db", 0), drill(&case, "db", 1)];
        (case, both)
    };
    let (other, of_other) = {
        let case = taken();
        let of_other = vec![drill(&case, "web", 0)];
        (case, of_other)
    };
    let (down, of_down) = {
        let mut case = taken();
        case.env.goal = Goal::Down;
        one(case)
    };
    vec![
        (
            "a backup is tried that is not on the disk",
            asked,
            of_asked,
            out,
        ),
        ("a backup is tried that is none", none, of_none, out),
        ("a backup is tried twice", running, of_running, out),
        ("a backup is tried twice in one plan", twice, of_twice, out),
        (
            "a backup is tried as another database's",
            other,
            of_other,
            out,
        ),
        (
            "a backup is tried while the environment is down",
            down,
            of_down,
            out,
        ),
    ]
}
