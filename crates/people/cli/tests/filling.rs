//! What new data is filled with: seed commands, or another environment's rows where it allows that.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::{Ward, eventually, is_root, sql};

const MIGRATE: &str =
    "psql -qv ON_ERROR_STOP=1 -c 'create table if not exists patient (name text)'";

/// A stack with a migration and a seed, and what its environments say.
fn stack(ward: &Ward, seed: &str, environments: &str) {
    let more = format!(
        r#"
links = ["db"]
stop_timeout = "1s"
release = {{ command = ["sh", "-c", "{MIGRATE}"] }}
seed = {{ command = ["sh", "-c", "{seed}"], timeout = "20s" }}
[database.db]
engine = "postgres"
{environments}
"#
    );
    ward.stack("ANSWER = \"one\"", &more);
}

fn patients(ward: &Ward, env: &str) -> String {
    sql(
        ward,
        Some(env),
        "select string_agg(name, ' ' order by name) from patient",
    )
}

const INSERT: &str =
    "psql -qv ON_ERROR_STOP=1 -c \\\"insert into patient values ('Ada'), ('Bob')\\\"";
const TWO: &str = "[environment.dev]\nseed = true\nservice.web.route.host = \"dev.localhost\"\n[environment.prod]";

#[test]
fn copies_and_environments_that_say_so_are_seeded_once() {
    let ward = Ward::new();
    stack(&ward, INSERT, TWO);
    ward.ok(&["deploy", "--env", "prod"]);
    assert_eq!(patients(&ward, "prod"), "", "nobody asked for it");
    sql(
        &ward,
        Some("prod"),
        "insert into patient values ('Real One')",
    );
    ward.ok(&["env", "create", "demo", "--from", "prod"]);
    assert_eq!(patients(&ward, "demo"), "Ada Bob");
    ward.ok(&["deploy", "--env", "demo", "--force"]);
    ward.ok(&["down", "--env", "demo"]);
    ward.ok(&["up", "--env", "demo", ward.dir().to_str().unwrap()]);
    assert_eq!(
        patients(&ward, "demo"),
        "Ada Bob",
        "kept data is not seeded"
    );
    ward.ok(&["deploy", "--env", "dev"]);
    assert_eq!(patients(&ward, "dev"), "Ada Bob");
    ward.ok(&["down", "--env", "dev", "--purge", "--yes"]);
    ward.ok(&["up", ward.dir().to_str().unwrap()]);
    assert_eq!(
        patients(&ward, "dev"),
        "Ada Bob",
        "data that is new again is"
    );
    let events = ward.ok(&["events", "--env", "demo"]);
    let seeded = "the seed command of web has filled its data";
    assert_eq!(events.matches(seeded).count(), 1, "{events}");
}

#[test]
fn a_seed_that_fails_fails_the_deployment_with_its_output() {
    let ward = Ward::new();
    let broken = "echo no such patient; exit 3";
    stack(&ward, broken, TWO);
    ward.ok(&["deploy", "--env", "prod"]);
    let made = ward.run(&["env", "create", "demo", "--from", "prod"]);
    made.fails(
        1,
        &[
            "The seed command of service web",
            "ended with exit code 3",
            "| no such patient",
            "Mend `seed.command` of service.web",
        ],
    );
    let listed: Value =
        serde_json::from_str(&ward.ok(&["env", "show", "demo", "--output", "json"])).unwrap();
    assert_eq!(listed["state"], "unserved", "{listed}");
    stack(&ward, INSERT, TWO);
    ward.ok(&["deploy", "--env", "demo"]);
    assert_eq!(patients(&ward, "demo"), "Ada Bob");
}

#[test]
fn rows_are_copied_only_where_that_is_written_down() {
    let ward = Ward::new();
    stack(&ward, INSERT, TWO);
    ward.ok(&["deploy", "--env", "prod"]);
    sql(
        &ward,
        Some("prod"),
        "insert into patient values ('Real One')",
    );
    let clone = ["env", "clone", "prod", "demo"];
    let refused = [
        "the data of shop/prod must not be copied",
        "copy_data = \"allowed\"",
        "[environment.prod]",
    ];
    ward.run(&clone).fails(1, &refused);
    ward.run(&["env", "create", "demo", "--from", "prod", "--copy-data"])
        .fails(1, &refused);
    stack(
        &ward,
        INSERT,
        &TWO.replace(
            "[environment.prod]",
            "[environment.prod]\ncopy_data = \"allowed\"",
        ),
    );
    // The file alone allows nothing: it is the release that serves that does.
    ward.run(&clone).fails(1, &refused);
    ward.ok(&["deploy", "--env", "prod"]);
    let made = ward.run(&clone);
    assert!(
        made.success().contains("http://web.demo.localhost:"),
        "{made:?}"
    );
    assert!(
        made.stderr()
            .contains("its databases get the rows that shop/prod has now"),
        "{made:?}"
    );
    assert_eq!(patients(&ward, "demo"), "Real One");
    sql(&ward, Some("demo"), "insert into patient values ('Zoe')");
    assert_eq!(patients(&ward, "prod"), "Real One");
    let events = ward.ok(&["events", "--env", "demo"]);
    assert!(
        events.contains("created as a copy of prod with its data")
            && events.contains("the data was copied into db"),
        "{events}"
    );
    assert!(!events.contains("seed command"), "{events}");
    ward.ok(&["down", "--env", "prod"]);
    ward.run(&["env", "clone", "prod", "other"])
        .fails(1, &["the database db of shop/prod does not run"]);
    ward.ok(&["audit", "verify"]);
}

/// Rows are today's, whichever release serves.
#[test]
fn a_rollback_does_not_let_rows_be_copied_again() {
    let ward = Ward::new();
    let says = |data: &str| {
        let environments = format!("[environment.prod]\ncopy_data = \"{data}\"");
        stack(&ward, INSERT, &environments);
        ward.ok(&["deploy", "--env", "prod"]);
    };
    says("allowed");
    says("denied");
    ward.ok(&["db", "backup", "--env", "prod"]);
    ward.ok(&["rollback", "--env", "prod"]);
    let rules = "a release goes back, rules do not, and 1.0.2, the newest build that served there, does not allow";
    let refused = ["the data of shop/prod must not be copied", rules];
    let clone = ["env", "clone", "prod", "demo"];
    ward.run(&clone).fails(1, &refused);
    let restore = ["db", "restore", "--backup", "b1", "--env", "prod"];
    let restore = [&restore[..], &["--into", "again"]].concat();
    let refused = ["what the backups of shop/prod hold must not get", rules];
    ward.run(&restore).fails(1, &refused);
    // Only a newer build takes the rule away.
    says("allowed");
    ward.run(&clone)
        .fails(1, &[rules, "`ward deploy --force --env prod`"]);
    ward.ok(&["deploy", "--env", "prod", "--force"]);
    ward.ok(&clone);
}

#[test]
fn a_clone_whose_release_command_fails_is_not_left_behind() {
    let ward = Ward::new();
    let allowed = TWO.replace(
        "[environment.prod]",
        "[environment.prod]\ncopy_data = \"allowed\"",
    );
    stack(&ward, INSERT, &allowed);
    ward.ok(&["deploy", "--env", "prod"]);
    // The clone cannot have it again.
    sql(
        &ward,
        Some("prod"),
        "drop table patient; create view patient as select 'Ada' as name; create table once (i int)",
    );
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let once = "psql -qv ON_ERROR_STOP=1 -c 'create table twice (i int)'";
    ward.write("ward.toml", &text.replace(MIGRATE, once));
    ward.ok(&["deploy", "--env", "prod"]);
    ward.run(&["env", "clone", "prod", "demo"]).fails(
        1,
        &[
            "The release command of service web",
            "relation \"twice\" already exists",
        ],
    );
    let all = || ward.ok(&["env", "list", "--all"]);
    eventually("it is gone", || all().contains("it could not be made"));
    assert!(!ward.home().join("data/shop/demo").exists());
}

#[test]
fn an_ordinary_user_can_clone() {
    if !is_root() {
        return; // Then every other test is this one.
    }
    let ward = Ward::of_user(54_321);
    let allowed = TWO.replace(
        "[environment.prod]",
        "[environment.prod]\ncopy_data = \"allowed\"",
    );
    stack(&ward, INSERT, &allowed);
    ward.ok(&["deploy", "--env", "prod"]);
    sql(
        &ward,
        Some("prod"),
        "insert into patient values ('Real One')",
    );
    ward.ok(&["env", "clone", "prod", "demo"]);
    assert_eq!(patients(&ward, "demo"), "Real One");
}
