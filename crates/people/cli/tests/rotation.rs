//! Passwords of databases: rotated under load, while rows are copied, and where they do not open; and who sees them.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use support::load::Load;
use support::secrets::{HOST, asked};
use support::{ANSWERING, Ran, Ward, eventually, head, kill9, piped, poll, python};

/// Each request is a session of its own in the database, so that each needs a password that is valid.
const COUNTS: &str = include_str!("support/counts.py");

/// At least so many requests see one rotation.
const ROUND: u64 = 700;

/// Two instances of a service, and its database.
fn stack(ward: &Ward) {
    ward.write("counts.py", COUNTS);
    ward.write("answering.py", ANSWERING);
    let head = head("1s", &python(&["counts.py", "answering.py"]));
    let more = r#"instances = 2
route = { host = "shop.localhost" }
links = ["db"]

[database.db]
engine = "postgres"

[environment.dev]
copy_data = "allowed"
"#;
    ward.write("ward.toml", &format!("{head}{more}"));
}

fn shell(ward: &Ward, arguments: &[&str]) -> Child {
    let mut command = ward.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn withdrawn(ward: &Ward, times: usize) -> bool {
    let events = ward.ok(&["events", "-n", "1000"]);
    events.matches("is withdrawn, nothing uses it").count() == times
}

fn is_withdrawn(ward: &Ward, times: usize) {
    let gone = poll(Duration::from_secs(60), || withdrawn(ward, times));
    assert!(gone, "{}", ward.ok(&["status"]));
}

#[test]
fn a_databases_password_is_rotated_under_load_and_no_request_fails() {
    let ward = Ward::new();
    stack(&ward);
    ward.up();
    assert!(asked(&ward, "/").ends_with("|app|app\n"));
    let load = Load::start(&ward.http(), HOST);
    for (times, user) in [(1, "app_1"), (2, "app_2"), (3, "app_1")] {
        let before = load.asked();
        let rotated = ward.run(&["secret", "rotate", "database/db"]);
        assert_eq!(rotated.code(), 0, "{rotated:?}");
        let lasts = "the old password of database/db";
        assert!(rotated.stderr().contains(lasts), "{rotated:?}");
        let answer = asked(&ward, "/");
        assert!(answer.ends_with(&format!("|app|{user}\n")), "{answer}");
        is_withdrawn(&ward, times);
        let many = poll(Duration::from_secs(120), || load.asked() > before + ROUND);
        assert!(many, "only {} requests since", load.asked() - before);
    }
    let (asked_for, failures) = load.end();
    // `cargo xtask bench environments` reads it.
    println!(
        "measured: {} of {asked_for} requests failed",
        failures.len()
    );
    assert_eq!(failures, Vec::<String>::new(), "of {asked_for}");
    // The passwords before are not valid, the newest is, and tables belong to one role.
    let roles = "select rolname, rolcanlogin from pg_roles where rolname like 'app%' order by 1";
    let shown = piped(
        &ward,
        &["db", "psql", "db", "--", "-At"],
        &format!("{roles};\nselect tableowner from pg_tables where tablename = 'hit';"),
    );
    assert_eq!(shown.success(), "app|f\napp_1|t\napp_2|f\napp\n");
    // Back: instances of the release before get the password that is valid.
    ward.ok(&["rollback", "--to", "r1"]);
    assert!(asked(&ward, "/").ends_with("|app|app_1\n"));
}

#[test]
fn a_rotation_says_until_when_the_old_password_works() {
    let ward = Ward::new();
    stack(&ward);
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write("ward.toml", &text.replace("\"1s\"", "\"15s\""));
    ward.up();
    let rotated = ward.run(&["secret", "rotate", "database/db"]);
    rotated.success();
    let said = rotated.stderr();
    let line = said.lines().find(|line| line.contains("works until"));
    let line = line.unwrap_or_else(|| panic!("it does not say so: {said}"));
    for part in ["until 20", "web-r1-", "`stack.keep_warm`", "`ward events "] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    is_withdrawn(&ward, 1);
    // Who does not wait is told what it depends on.
    let rotated = ward.run(&["secret", "rotate", "database/db", "--no-wait"]);
    rotated.success();
    let lasts = "may use it: until another release serves, and 15s longer (`stack.keep_warm`)";
    assert!(rotated.stderr().contains(lasts), "{rotated:?}");
}

#[test]
fn a_database_that_hangs_while_its_password_is_rotated_keeps_nobody_else_waiting() {
    let ward = Ward::new();
    stack(&ward);
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    // A lock of the superuser's that a new role waits for, until the session ends.
    let psql = "PGUSER=ward PGPASSWORD=$WARD_SUPERUSER_PASSWORD exec psql -qAtX";
    let mut holder = shell(&ward, &["exec", "--secrets", "db", "--", "sh", "-c", psql]);
    let mut stdin = holder.stdin.take().unwrap();
    let lock = b"begin; lock table pg_authid in share row exclusive mode;\n";
    stdin.write_all(lock).unwrap();
    let counted = |from: &str| {
        let sql = format!("select count(*) from {from}");
        ward.ok(&["db", "psql", "db", "--", "-qAt", "-c", &sql])
    };
    let waiting = |mode: &str, granted: bool| {
        let of = format!("relation = 'pg_authid'::regclass and mode = '{mode}'");
        counted(&format!("pg_locks where {of} and granted = {granted}")) == "1\n"
    };
    eventually("roles are locked", || {
        waiting("ShareRowExclusiveLock", true)
    });
    let rotate = ["secret", "rotate", "database/db"];
    let first = shell(&ward, &rotate);
    eventually("the rotation waits", || waiting("RowExclusiveLock", false));
    ward.run(&rotate)
        .fails(1, &["is being changed just now by uid:", "ask again"]);
    ward.ok(&["config", "set", "FEATURE=on"]);
    assert!(
        waiting("RowExclusiveLock", false),
        "it was decided meanwhile"
    );
    drop(stdin);
    holder.wait().unwrap();
    Ran::of(&rotate, first.wait_with_output().unwrap()).success();
    let answer = asked(&ward, "/");
    assert!(answer.ends_with("|app|app_1\n"), "{answer}");
    is_withdrawn(&ward, 1);
    let (asked_for, failures) = load.end();
    assert_eq!(failures, Vec::<String>::new(), "of {asked_for}");
}

#[test]
fn a_password_is_not_withdrawn_from_a_copy_that_is_under_way() {
    let ward = Ward::new();
    stack(&ward);
    ward.up();
    // A lock that a copy waits for, until the session ends.
    let mut holder = shell(&ward, &["db", "psql", "db", "--env", "dev", "--", "-qAt"]);
    let mut stdin = holder.stdin.take().unwrap();
    let lock = b"begin; lock table hit in access exclusive mode;\n";
    stdin.write_all(lock).unwrap();
    let counted = |from: &str| {
        let sql = format!("select count(*) from {from}");
        ward.ok(&["db", "psql", "db", "--env", "dev", "--", "-qAt", "-c", &sql])
    };
    eventually("the table is locked", || {
        counted("pg_locks where mode = 'AccessExclusiveLock' and relation = 'hit'::regclass")
            == "1\n"
    });
    let clone = shell(&ward, &["env", "clone", "dev", "demo"]);
    eventually("the copy has begun", || {
        let waits = "application_name = 'pg_dump' and wait_event_type = 'Lock'";
        counted(&format!("pg_stat_activity where {waits}")) == "1\n"
    });
    let given = ward.ok(&["exec", "--secrets", "--env", "dev", "web", "--", "env"]);
    let mut given = given.lines();
    let first = given
        .find_map(|line| line.strip_prefix("PGPASSWORD="))
        .unwrap()
        .to_owned();
    let rotate = ["secret", "rotate", "database/db", "--env", "dev"];
    ward.ok(&rotate);
    let listed = ward.run(&["secret", "list", "--env", "dev"]).stderr();
    assert!(
        listed.contains("the old password of database/db works"),
        "{listed}"
    );
    // The first one was never sealed, and is kept from readers as long as it is valid, like any other.
    let message = format!("we are back soon, {first}");
    ward.run(&["maintenance", "on", "--env", "dev", "--message", &message])
        .fails(
            1,
            &["the value of the secret database/db is in the message"],
        );
    // Of all that had the password before, only the copy is left.
    let mut said = String::new();
    let only = poll(Duration::from_secs(60), || {
        let again = ward.run(&rotate);
        assert_eq!(again.code(), 1, "it was withdrawn: {again:?}");
        said = again.stderr();
        let waits = said.contains("cannot be changed yet");
        waits && said.contains("db-r1-") && !said.contains("web-r1-")
    });
    assert!(only, "{said}");
    drop(stdin);
    holder.wait().unwrap();
    Ran::of(&["env", "clone"], clone.wait_with_output().unwrap()).success();
    is_withdrawn(&ward, 1);
}

#[test]
fn a_password_that_does_not_open_is_rotated_all_the_same() {
    let ward = Ward::new();
    stack(&ward);
    ward.up();
    // What the database's own instance holds is for nobody who does not ask for it.
    let passwords = |arguments: &[&str]| {
        let said = ward.ok(&[&["exec", "--env", "dev"], arguments, &["db", "--", "env"]].concat());
        ["WARD_SUPERUSER_PASSWORD=", "PGPASSWORD="].map(|name| said.contains(name))
    };
    assert_eq!(passwords(&[]), [false, false]);
    assert_eq!(passwords(&["--secrets"]), [true, true]);
    let events = ward.ok(&["events"]);
    assert_eq!(events.matches(", with its secrets").count(), 1, "{events}");
    ward.ok(&["secret", "rotate", "database/db"]);
    is_withdrawn(&ward, 1);
    let sealed = ward.home().join("sealed/shop/dev/database.db/1.json");
    fs::write(&sealed, "{}").unwrap();
    let before = ward.instances("db")[0]["id"].clone();
    for component in ["web", "db"] {
        for instance in ward.instances(component) {
            kill9(i32::try_from(instance["pid"].as_i64().unwrap()).unwrap());
        }
    }
    // The database needs none of its clients' passwords.
    let back = poll(Duration::from_secs(60), || {
        let mut all = ward.instances("db").into_iter();
        all.any(|instance| instance["id"] != before && instance["state"]["state"] == "healthy")
    });
    assert!(back, "{}", ward.ok(&["status"]));
    let status = ward.ok(&["status"]);
    assert!(ward.healthy("web").is_empty(), "{status}");
    ward.ok(&["secret", "rotate", "database/db"]);
    let answer = asked(&ward, "/");
    assert!(answer.ends_with("|app|app_2\n"), "{answer}");
}
