//! Backups: they count when they were restored, become new environments, and survive what goes wrong.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use support::backups::{becomes, psql, restored, stack, stand, view};
use support::{Ran, Ward, eventually, kill9, piped, poll};

const DAILY: &str = "backups = { every = \"1d\", keep = 2 }\n";

/// Holds a table for itself until it is killed.
fn locked(ward: &Ward) -> Child {
    let sql = "begin; lock table patient; select 'held'; select pg_sleep(300);";
    let arguments = ["db", "psql", "db", "--env", "shop/dev", "--", "-qAt"];
    let mut command = ward.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(sql.as_bytes()).unwrap();
    drop(stdin);
    eventually("the table is locked", || {
        let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'patient'::regclass";
        psql(ward, "shop/dev", held) == "1"
    });
    child
}

fn freed(ward: &Ward, mut lock: Child) {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(300)%' and pid <> pg_backend_pid()";
    psql(ward, "shop/dev", end);
    lock.wait().unwrap();
}

fn folder(ward: &Ward) -> PathBuf {
    ward.home().join("backups/shop/dev/database.db")
}

fn files(ward: &Ward) -> Vec<String> {
    let found = fs::read_dir(folder(ward)).into_iter().flatten().flatten();
    let mut names: Vec<String> = found
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The folders of instances that are there only for a drill.
fn drills(ward: &Ward) -> Vec<PathBuf> {
    let found = fs::read_dir(ward.home().join("run/shop/dev")).into_iter();
    let all = found.flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.join("data").exists()).collect()
}

#[test]
fn p8_a_backup_counts_when_it_was_restored_and_becomes_a_new_environment() {
    let ward = Ward::new();
    stack(&ward, DAILY);
    ward.up();
    // The first is due at once. What it is restored in is nobody's database, and is not shown as one.
    let drilled = "drill: b1 is restored in it";
    eventually("its drill is shown as one", || {
        ward.ok(&["status"]).contains(drilled)
    });
    becomes(&ward, 1, "restored");
    psql(
        &ward,
        "shop/dev",
        "create table patient (n int primary key, name text);
         create schema \"odd names\"; create table \"odd names\".\"a (b\" (t text);
         insert into \"odd names\".\"a (b\" values (E'two\\nlines'), ('\\.'), (null);
         insert into patient select n, 'planted' || n from generate_series(1, 5000) n;
         create view named as select name from patient;",
    );
    let said = ward.run(&[
        "db",
        "backup",
        "--env",
        "shop/dev",
        "--why",
        "before the trial",
    ]);
    let said = said.stderr() + &said.success();
    assert!(
        said.contains("b2 was restored and counts: 2 tables, 5003 rows"),
        "{said}"
    );
    // Nothing of it is readable on the disk, and nothing of the drill stays.
    for name in files(&ward) {
        let bytes = fs::read(folder(&ward).join(&name)).unwrap();
        let planted = b"planted1".as_slice();
        assert!(
            !bytes.windows(planted.len()).any(|part| part == planted),
            "{name}"
        );
    }
    eventually("nothing of a drill is left", || drills(&ward).is_empty());
    psql(&ward, "shop/dev", "delete from patient");
    let restore = |name: &str| {
        ward.run(&[
            "db", "restore", "--backup", "b2", "--into", name, "--env", "shop/dev", "--ttl", "1h",
        ])
    };
    restore("then").success();
    assert_eq!(
        psql(
            &ward,
            "shop/then",
            "select count(*), max(name) from patient"
        ),
        "5000|planted999"
    );
    assert_eq!(
        psql(
            &ward,
            "shop/then",
            "select count(*) from \"odd names\".\"a (b\""
        ),
        "3"
    );
    assert_eq!(
        psql(
            &ward,
            "shop/then",
            "select tableowner from pg_tables where tablename = 'patient'"
        ),
        "app"
    );
    assert_eq!(psql(&ward, "shop/dev", "select count(*) from patient"), "0");
    restore("then").fails(1, &["shop/then"]);
    restore("dev").fails(1, &["shop/dev cannot be a copy of itself"]);
    let events = ward.ok(&["events", "--env", "shop/then", "-n", "100"]);
    assert!(events.contains("with what b2 holds"), "{events}");
    ward.ok(&["env", "delete", "then", "--yes"]);
    // Two are kept, and what did not count takes no place.
    ward.ok(&["db", "backup", "db", "--env", "shop/dev"]);
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    assert_eq!(restored(&ward), [4, 3]);
    eventually("the others are gone", || {
        files(&ward) == ["3.backup", "3.json", "4.backup", "4.json"]
    });
    let listed = ward.ok(&["db", "backups", "--env", "shop/dev"]);
    assert!(
        listed.contains("b4") && listed.contains("2 tables, 3 rows"),
        "{listed}"
    );
    ward.run(&[
        "db", "restore", "--backup", "b1", "--into", "old", "--env", "shop/dev",
    ])
    .fails(
        1,
        &[
            "shop/dev has no backup b1",
            "shop/dev has b4 (of db, 2",
            "b3 (of db, 2",
            "`ward db restore --backup b4 --into NAME --env shop/dev`",
        ],
    );
    // They outlive the data, and not the environment.
    let down = ward.run(&["down", "--env", "shop/dev", "--purge", "--yes"]);
    let said = down.stderr() + &down.success();
    assert!(
        said.contains(
            "its backups stay: `ward db restore --backup b4 --into NAME --env shop/dev` makes",
        ) && said.contains("`ward env delete shop/dev` removes them"),
        "{said}"
    );
    assert_eq!(files(&ward).len(), 4);
    // The folder says which is meant, also of one that was purged.
    ward.run(&["db", "restore", "--backup", "b9", "--into", "after"])
        .fails(
            1,
            &[
                "shop/dev has no backup b9",
                "`ward db restore --backup b4 --into NAME --env shop/dev`",
            ],
        );
    assert!(ward.ok(&["db", "backups"]).contains("b4"));
    ward.ok(&["db", "restore", "--backup", "b4", "--into", "after"]);
    assert_eq!(
        psql(
            &ward,
            "shop/after",
            "select count(*) from \"odd names\".\"a (b\""
        ),
        "3"
    );
    ward.run(&["env", "create", "dev", "--from", "shop/after"])
        .fails(1, &["shop/dev was purged, and still has backups"]);
    ward.ok(&["env", "delete", "shop/dev", "--yes"]);
    assert!(files(&ward).is_empty(), "{:?}", files(&ward));
    ward.ok(&["audit", "verify"]);
}

/// A backup brings an environment back that is gone, but nothing past the gates before it, then or later.
#[test]
fn a_backup_becomes_what_is_declared_where_its_rules_let_the_build_through() {
    let ward = Ward::new();
    let declare = |rule: &str| {
        stack(&ward, "backups = { every = \"1d\" }");
        let path = ward.dir().join("ward.toml");
        let text = fs::read_to_string(path).unwrap();
        let prod = "[environment.prod]\nservice.web.route.host = \"prod.localhost\"\n";
        ward.write("ward.toml", &format!("{text}\n{prod}{rule}"));
    };
    let installation = |text: &str| fs::write(ward.home().join("policy.toml"), text).unwrap();
    declare("policy.pipeline = \"deny\"\n");
    ward.ok(&["up", "--platform", "--env", "dev"]);
    ward.ok(&["deploy", "--env", "dev"]);
    becomes(&ward, 1, "restored");
    let restore = || {
        ward.run(&[
            "db", "restore", "--backup", "b1", "--into", "prod", "--env", "shop/dev",
        ])
    };
    let around = "shop/prod would get a build that has not passed the gates before it (pipeline)";
    restore().fails(
        1,
        &[
            "the policy of shop/prod forbids it",
            around,
            "ward policy waive pipeline",
        ],
    );
    declare("");
    ward.ok(&["deploy", "--env", "dev", "--force"]);
    let rule = "[environment.prod]\npolicy.pipeline = \"deny\"\n";
    installation(rule);
    restore().fails(1, &["the installation's policy forbids shop/prod", around]);
    installation("");
    restore().success();
    installation(rule);
    ward.ok(&["config", "set", "A=1", "--env", "prod"]);
    ward.run(&["deploy", "--env", "prod"]).fails(
        1,
        &["shop/prod would get a build that has not passed the gates"],
    );
    installation("");
    ward.ok(&["deploy", "--env", "prod"]);
    installation(rule);
    ward.ok(&["deploy", "--env", "prod", "--force"]);
}

/// An instance's id is unique in its environment alone: the second of two that are filled at once had waited in vain.
#[test]
fn a_restored_environment_gets_its_secrets_before_it_is_made() {
    let ward = Ward::new();
    let backups = "backups = { every = \"1d\" }";
    stack(&ward, backups);
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let secret = "links = [\"db\"]\nsecrets = { API_KEY = \"env\" }";
    ward.write("ward.toml", &text.replace("links = [\"db\"]", secret));
    ward.ok(&["up", "--platform"]);
    let set = ["secret", "set", "API_KEY", "--env", "shop/dev"];
    piped(&ward, &set, "of-dev-of-dev").success();
    ward.up();
    becomes(&ward, 1, "restored");
    let restore = |more: &[&str]| {
        let asked = ["db", "restore", "--backup", "b1", "--into", "again"];
        ward.run(&[&asked[..], &["--env", "shop/dev"], more].concat())
    };
    restore(&[]).fails(1, &["a secret is not set in shop/again"]);
    ward.write("again.env", "API_KEY='of-again-of-again'\n");
    ward.write("broken.env", "API_KEY\n");
    restore(&["--secrets", "broken.env"])
        .fails(1, &["line 1 of broken.env", "nothing was changed"]);
    restore(&["--secrets", "again.env"]).success();
    let key = [
        "exec",
        "web",
        "--env",
        "again",
        "--secrets",
        "--",
        "printenv",
    ];
    let has = ward.ok(&[&key[..], &["API_KEY"]].concat());
    assert_eq!(has.trim(), "of-again-of-again");
    restore(&["--secrets", "again.env"]).fails(1, &["shop/again exists already"]);
    let events = ward.ok(&["events", "--env", "again"]);
    let made = "environment created as a copy of dev with what b1 holds";
    assert_eq!(events.matches("environment created").count(), 1, "{events}");
    assert!(events.contains(made), "{events}");
}

#[test]
fn two_restores_at_once_both_get_what_the_backup_holds() {
    let ward = Ward::new();
    stack(&ward, DAILY);
    ward.up();
    // The first is due at once.
    becomes(&ward, 1, "restored");
    psql(&ward, "shop/dev", "create table patient (n int)");
    psql(&ward, "shop/dev", "insert into patient values (7)");
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let begun = ["one", "two"].map(|name| {
        let arguments = [
            "db", "restore", "--backup", "b2", "--into", name, "--env", "shop/dev",
        ];
        let mut command = ward.command(&arguments);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (name, piped.spawn().unwrap())
    });
    for (name, child) in begun {
        Ran::of(&["db", "restore"], child.wait_with_output().unwrap()).success();
        let env = format!("shop/{name}");
        assert_eq!(psql(&ward, &env, "select n from patient"), "7");
    }
}

#[test]
fn a_backup_that_was_altered_or_whose_key_is_gone_is_not_restored() {
    let ward = Ward::new();
    stack(&ward, "");
    ward.up();
    psql(
        &ward,
        "shop/dev",
        "create table patient (n int); insert into patient values (1)",
    );
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let restore = |name: &str| {
        ward.run(&[
            "db", "restore", "--backup", "b1", "--into", name, "--env", "shop/dev",
        ])
    };
    // Another master key opens it as before.
    ward.ok(&["secret", "rekey"]);
    restore("one").success();
    assert_eq!(psql(&ward, "shop/one", "select count(*) from patient"), "1");
    let keys = ward.home().join("master-keys");
    let id = fs::read_to_string(keys.join("current")).unwrap();
    let (key, aside) = (keys.join(format!("{id}.key")), ward.home().join("aside"));
    fs::rename(&key, &aside).unwrap();
    restore("two").fails(
        1,
        &[
            &format!("the master key {id} is needed"),
            "nothing was changed",
        ],
    );
    ward.run(&["db", "backup", "--env", "shop/dev"])
        .fails(1, &[&id]);
    fs::rename(&aside, &key).unwrap();
    let path = folder(&ward).join("1.backup");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    restore("two").fails(1, &["was altered: it is not what was written"]);
    let status = ward.status();
    let all = status["environments"].as_array().unwrap();
    assert_eq!(
        all.len(),
        2,
        "nothing of a refused restore is there: {status}"
    );
    ward.run(&["secret", "rekey"]).success();
}

#[test]
fn p4_a_server_that_is_killed_half_way_takes_it_again() {
    let ward = Ward::new();
    stack(&ward, "");
    ward.up();
    psql(
        &ward,
        "shop/dev",
        "create table patient (n int); insert into patient select generate_series(1, 100)",
    );
    let lock = locked(&ward);
    let mut asked = ward.command(&["db", "backup", "--env", "shop/dev"]);
    let mut asked = asked
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is being taken", || {
        files(&ward).contains(&"1.new".to_owned())
    });
    assert_eq!(stand(&ward, 1), "asked");
    kill9(ward.server_pid());
    asked.wait().unwrap();
    assert!(files(&ward).contains(&"1.new".to_owned()));
    freed_after(&ward, lock);
    becomes(&ward, 1, "restored");
    assert_eq!(files(&ward), ["1.backup", "1.json"]);
    // Killed while it is restored: then that is begun anew.
    let mut asked = ward.command(&["db", "backup", "--env", "shop/dev"]);
    let mut asked = asked
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is taken", || stand(&ward, 2) == "taken");
    kill9(ward.server_pid());
    asked.wait().unwrap();
    ward.ok(&["up", "--platform"]);
    becomes(&ward, 2, "restored");
    eventually("nothing of a drill is left", || drills(&ward).is_empty());
    ward.ok(&["audit", "verify"]);
}

fn freed_after(ward: &Ward, lock: Child) {
    ward.ok(&["up", "--platform"]);
    freed(ward, lock);
}

#[test]
fn one_that_cannot_be_taken_is_told_and_made_up_for() {
    let ward = Ward::new();
    stack(&ward, "");
    ward.up();
    psql(&ward, "shop/dev", "create table patient (n int)");
    stack(&ward, DAILY);
    let lock = locked(&ward);
    ward.ok(&["deploy", "--env", "dev"]);
    becomes(&ward, 1, "failed");
    let status = ward.ok(&["status"]);
    assert!(status.contains("no backup was ever restored"), "{status}");
    assert!(
        status.contains("the last attempt failed: pg_dump ended with status 1"),
        "{status}"
    );
    ward.run(&["doctor"]).fails(1, &[]);
    let json = ward.status();
    assert_eq!(
        json["environments"][0]["overdue_backups"][0]["database"],
        "db"
    );
    freed(&ward, lock);
    let counts = poll(Duration::from_secs(60), || restored(&ward).len() == 1);
    assert!(counts, "{}", view(&ward));
    eventually("nobody is told any more", || {
        ward.status()["environments"][0]["overdue_backups"].is_null()
    });
    let events = ward.ok(&["events", "--env", "shop/dev", "-n", "1000"]);
    assert!(
        events.contains("b1 failed, and is none: pg_dump"),
        "{events}"
    );
}

#[test]
fn a_folder_that_is_away_is_not_made_and_one_of_ones_own_is_used() {
    let ward = Ward::new();
    let disk = tempfile::tempdir().unwrap();
    stack(&ward, "");
    let up = |dir: &str| {
        let mut command = ward.command(&["up", ward.dir().to_str().unwrap()]);
        command.env("WARD_BACKUP_DIR", dir);
        Ran::of(&["up"], command.output().unwrap())
    };
    let absent = disk.path().join("absent");
    up(absent.to_str().unwrap()).fails(1, &["WARD_BACKUP_DIR names, is not there"]);
    assert!(!absent.exists());
    let own = disk.path().join("own");
    fs::create_dir(&own).unwrap();
    up(own.to_str().unwrap()).success();
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    assert!(own.join("shop/dev/database.db/1.backup").exists());
    assert!(!ward.home().join("backups").exists());
    // Another Ward does not take it for its own, and sweeps nothing away.
    let other = Ward::new();
    let mut starting = other.command(&["up", "--platform"]);
    let started = Ran::of(
        &["up"],
        starting.env("WARD_BACKUP_DIR", &own).output().unwrap(),
    );
    started.fails(1, &["are another Ward's"]);
    assert!(own.join("shop/dev/database.db/1.backup").exists());
    // Its disk is away.
    let aside = disk.path().join("aside");
    fs::rename(&own, &aside).unwrap();
    ward.run(&["db", "backup", "--env", "shop/dev"])
        .fails(1, &["which WARD_BACKUP_DIR names, is not there"]);
    ward.run(&["secret", "rekey"]).fails(1, &["is not there"]);
    assert!(!own.exists());
    fs::rename(&aside, &own).unwrap();
    ward.ok(&["secret", "rekey"]);
    ward.ok(&[
        "db", "restore", "--backup", "b1", "--into", "then", "--env", "shop/dev",
    ]);
}
