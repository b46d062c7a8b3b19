//! What release commands do to the schema: what can be gone back to afterwards, what is refused, and what is done all
//! the same.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use support::load::get;
use support::{Ward, eventually, kill9};

const HOST: &str = "shop.localhost";

fn serves(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

/// The next release: what it answers, and what its command says and does to the schema.
fn release(ward: &Ward, answer: &str, schema: &str, command: &str) {
    let release =
        format!(r#"release = {{ command = ["python3", "-c", "{command}"], schema = "{schema}" }}"#);
    ward.stack(&format!(r#"ANSWER = "{answer}""#), &release);
}

fn deploy(ward: &Ward, answer: &str, schema: &str) {
    release(
        ward,
        answer,
        schema,
        &format!("print('{answer} has migrated')"),
    );
    ward.up();
    serves(ward, answer);
}

fn releases(ward: &Ward) -> Vec<Value> {
    serde_json::from_str(&ward.ok(&["releases", "--output", "json"])).unwrap()
}

fn shown(ward: &Ward, deployment: &str) -> Value {
    let detail = ward.ok(&["deployment", "show", deployment, "--output", "json"]);
    serde_json::from_str(&detail).unwrap()
}

/// r1 to r3 expand, r3 is what a contraction leaves.
#[test]
fn a_contraction_lets_one_release_back_and_no_more() {
    let ward = Ward::new();
    for answer in ["one", "two", "three"] {
        deploy(&ward, answer, "expand");
    }
    ward.ok(&["rollback", "--to", "r1"]);
    serves(&ward, "one");
    ward.ok(&["rollforward"]);
    ward.ok(&["rollforward"]);
    deploy(&ward, "four", "contract");
    let kept = ward.ok(&["logs", "web", "--release", "r4"]);
    assert!(kept.contains("four has migrated"), "{kept}");
    let show = ward.ok(&["deployment", "show"]);
    assert!(
        show.contains(
            "`ward logs web --release r4 --env shop/dev` shows what its release command wrote"
        ),
        "{show}"
    );
    let listed = ward.run(&["releases"]);
    let (table, beside) = (listed.stdout(), listed.stderr());
    assert!(
        table.contains("r2 (barred)") && table.contains("r1 (barred)"),
        "{table}"
    );
    assert!(!table.contains("r3 (barred)"), "{table}");
    let cause = "r2, r1 do not run on the schema since the release command of web of r4 (contract), which ran in d";
    assert!(beside.contains(cause), "{beside}");
    let barred = &releases(&ward)[2]["barred"];
    assert_eq!(
        (&barred["schema"], &barred["oldest"]),
        (&"contract".into(), &3.into())
    );
    ward.ok(&["rollback"]);
    serves(&ward, "three");
    // Two back: it is not skipped, it is refused.
    let refusal = [
        "cannot go to r2: it does not run on the schema since the release command of web of r4 (contract)",
        "no release before the one that serves does",
        "`ward deploy --env dev` brings a fix forward",
        "--despite-schema",
    ];
    ward.run(&["rollback"]).fails(1, &refusal);
    ward.run(&["rollback", "--to", "r2"])
        .fails(1, &refusal[..1]);
    serves(&ward, "three");
    ward.ok(&["rollforward"]);
    serves(&ward, "four");
    let between = "`ward rollback --to r3 --env shop/dev` goes to the newest release that does";
    ward.run(&["rollback", "--to", "r1"]).fails(1, &[between]);
    let json = ward.run(&["rollback", "--to", "r1", "--output", "json"]);
    assert_eq!(json.code(), 1, "{json:?}");
    let last: Value = serde_json::from_str(json.stdout().lines().last().unwrap()).unwrap();
    assert_eq!(last["progress"], "failed");
    assert!(last["hint"].as_str().unwrap().contains(between), "{last}");
}

#[test]
fn after_what_is_irreversible_nothing_comes_back_unless_somebody_answers_for_it() {
    let ward = Ward::new();
    deploy(&ward, "one", "expand");
    release(&ward, "two", "irreversible", "print('the column is gone')");
    let canary = ["deploy", "--strategy", "canary:10=1s"];
    ward.run(&canary).fails(1, &["irreversible", "split it"]);
    deploy(&ward, "two", "irreversible");
    ward.run(&["rollback"])
        .fails(1, &["r2 (irreversible), which ran in d2 by uid:"]);
    ward.run(&["rollback", "--despite-schema", " "])
        .fails(1, &["needs a reason"]);
    serves(&ward, "two");
    ward.ok(&[
        "rollback",
        "--despite-schema",
        "the column was restored by hand",
    ]);
    serves(&ward, "one");
    let events = ward.ok(&["events"]);
    for said in [
        "the release command of web in d2 begins (irreversible)",
        "d3 to r1 queued despite the schema (“the column was restored by hand”)",
    ] {
        assert!(events.contains(said), "{said}: {events}");
    }
    let show = ward.ok(&["deployment", "show", "d3"]);
    assert!(
        show.contains("despite the schema: the column was restored by hand"),
        "{show}"
    );
    ward.ok(&["audit", "verify"]);
    // What serves comes up again, whatever the schema; and a fix goes forward.
    ward.ok(&["down"]);
    ward.ok(&["up"]);
    serves(&ward, "one");
    deploy_forced(&ward, "three");
    ward.run(&["rollback"]).fails(1, &["(irreversible)"]);
}

fn deploy_forced(ward: &Ward, answer: &str) {
    release(ward, answer, "expand", "print('mended')");
    ward.ok(&["deploy"]);
    serves(ward, answer);
}

#[test]
fn what_fails_half_way_counts_and_the_release_before_serves_on() {
    let ward = Ward::new();
    deploy(&ward, "one", "expand");
    deploy(&ward, "two", "expand");
    release(
        &ward,
        "three",
        "irreversible",
        "print('half is gone'); raise SystemExit(3)",
    );
    ward.run(&["deploy"]).fails(
        1,
        &[
            "exit code 3",
            "half is gone",
            "The irreversible release command of web has begun and may have changed the data: r2 serves on what is meant for r3",
            "deploy a fix forward",
        ],
    );
    serves(&ward, "two");
    ward.run(&["rollback"])
        .fails(1, &["may have done a part of its work before that failed"]);
    ward.run(&["rollforward"]).fails(1, &[]);
    deploy_forced(&ward, "four");
}

/// Whether any process has this in its arguments.
fn runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.map(|entry| std::fs::read(entry.path().join("cmdline")));
    lines.any(|line| line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark)))
}

/// With a real database, and a server that is killed in the middle of the command, and once more before it has seen
/// what became of it.
#[test]
fn p4_a_release_command_runs_once_although_the_server_is_killed() {
    let ward = Ward::new();
    let mark = ward
        .home()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let migrate = format!(
        "create table if not exists runs (n int); insert into runs values (1); select pg_sleep(2), '{mark}'; insert into runs values (10)"
    );
    let database = "[database.db]\nengine = \"postgres\"\n";
    let command = format!(
        "links = [\"db\"]\nrelease = {{ command = [\"psql\", \"-v\", \"ON_ERROR_STOP=1\", \"-c\", \"{migrate}\"], schema = \"contract\" }}\n{database}"
    );
    ward.stack(
        r#"ANSWER = "one""#,
        &format!("links = [\"db\"]\n{database}"),
    );
    ward.up();
    ward.stack(r#"ANSWER = "two""#, &command);
    ward.ok(&["deploy", "--no-wait"]);
    let waits = |ward: &Ward| shown(ward, "d2")["waiting"].to_string();
    eventually("the command runs", || {
        waits(&ward).contains("release command of web")
    });
    assert!(runs(&format!("'{mark}'")), "it is over already");
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    // The command ends while no server looks.
    kill9(ward.server_pid());
    eventually("the command has ended", || !runs(&format!("'{mark}'")));
    ward.ok(&["up", "--platform"]);
    ward.run(&["deployment", "watch", "d2"]).success();
    serves(&ward, "two");
    let mut psql = ward.command(&["db", "psql", "db", "--", "-At"]);
    let mut psql = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    stdin
        .write_all(b"select sum(n), count(*) from runs")
        .unwrap();
    drop(stdin);
    let output = psql.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "11|2");
    let events = ward.ok(&["events", "-n", "100"]);
    let begins = events
        .matches("the release command of web in d2 begins")
        .count();
    assert_eq!(begins, 1, "{events}");
}
