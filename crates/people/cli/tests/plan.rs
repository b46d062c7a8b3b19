//! What a deploy would change, and that a plan is carried out exactly, or refused.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::load::get;
use support::schema::Schema;
use support::{Ran, Ward, alive, eventually, kill9};

const HOST: &str = "shop.localhost";

fn answers(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

/// A plan as JSON, held against the published schema; its exit status must be this.
fn plan(ward: &Ward, code: i32, more: &[&str]) -> Value {
    let arguments = [&["plan", "--output", "json"], more].concat();
    checked(&ward.run(&arguments), code, "plan")
}

fn checked(ran: &Ran, code: i32, form: &str) -> Value {
    assert_eq!(ran.code(), code, "{ran:?}");
    let value: Value = serde_json::from_str(&ran.stdout()).unwrap();
    Schema::published("plan.schema.json").check(form, &value);
    value
}

fn paths(plan: &Value) -> Vec<&str> {
    let changes = plan["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["path"].as_str().unwrap())
        .collect()
}

/// All that was recorded, but that servers started.
fn events(ward: &Ward) -> Vec<String> {
    let all = ward.ok(&["events", "-n", "1000", "--output", "json"]);
    let all = all.lines().filter(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["event"]["kind"] != "server_started"
    });
    all.map(str::to_owned).collect()
}

#[test]
fn a_plan_says_what_a_deploy_would_change_and_changes_nothing() {
    let ward = Ward::new();
    ward.ok(&["up", "--platform"]);
    ward.stack(r#"ANSWER = "one""#, "");
    let first = plan(&ward, 2, &[]);
    assert_eq!(first["outcome"], "changes");
    assert!(first["from"].is_null(), "{first}");
    assert!(paths(&first).contains(&"service.web"), "{first}");
    assert_eq!(first["cost"]["after"]["instances"], 2);
    let status = ward.status();
    assert_eq!(
        status["environments"],
        Value::Array(Vec::new()),
        "a plan makes none"
    );
    ward.ok(&["deploy"]);
    let nothing = plan(&ward, 0, &[]);
    assert_eq!(
        (nothing["outcome"].as_str(), paths(&nothing).len()),
        (Some("nothing"), 0)
    );
    ward.run(&["plan"]).success();

    let before = events(&ward);
    let more = r#"
memory = "64MiB"
release = { command = ["true"], schema = "irreversible" }
[service.side]
build = { files = ["app.py"], run = ["python3", "-u", "app.py"], base = "host" }
"#;
    ward.stack(r#"ANSWER = "two""#, more);
    let second = plan(&ward, 2, &[]);
    assert_eq!(
        paths(&second),
        [
            "service.side",
            "service.web.env.ANSWER",
            "service.web.memory",
            "service.web.release"
        ]
    );
    assert_eq!(second["from"]["release"], 1);
    assert_eq!(second["steps"][0]["destructive"], true, "{second}");
    assert_eq!(second["summary"]["destructive"], 1);
    assert_eq!(second["cost"]["after"]["memory"], 128 << 20);
    let text = ward.run(&["plan"]);
    assert_eq!(text.code(), 2, "{text:?}");
    for line in [
        "shop/dev   r1 (1.0.1) → 1.0.2",
        "~ env.ANSWER  one → two",
        "+ service side",
        "! 1. web runs `true`",
        "it is irreversible",
        "3 to add, 1 to change, 0 to remove; 1 is destructive (!)",
    ] {
        assert!(text.stdout().contains(line), "{line}: {text:?}");
    }
    assert_eq!(events(&ward), before, "a plan is no event");
    answers(&ward, "one");

    ward.run(&["plan", "--env", "pord"])
        .fails(1, &["W0207", "dev"]);
    ward.run(&["plan", "--bogus"]).fails(1, &["--bogus"]);
    ward.run(&["plan", "/nowhere"]).fails(1, &["/nowhere"]);
    ward.write("ward.toml", "[stack]\nname = \"shop\"\n");
    ward.run(&["plan"]).fails(1, &["W0203"]);
}

#[test]
fn where_no_platform_runs_a_plan_starts_none() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    let first = plan(&ward, 2, &[]);
    assert!(first["from"].is_null(), "{first}");
    assert!(paths(&first).contains(&"service.web"), "{first}");
    let text = ward.run(&["plan", "--out", "first.json"]);
    assert!(text.stdout().contains("nothing → 1.0.1"), "{text:?}");
    assert!(text.stderr().contains("no platform runs"), "{text:?}");
    assert_eq!(ward.processes(), [""; 0]);
    ward.run(&["status"]).fails(1, &["ward up --platform"]);
    ward.ok(&["up", "--platform"]);
    assert_eq!(events(&ward), [""; 0], "a plan is no event");
    ward.ok(&["down"]);
    // What was built for it is not built again, and the plan can be carried out.
    let deployed = ward.run(&["deploy", "--plan", "first.json"]);
    deployed.success();
    answers(&ward, "one");
    ward.ok(&["down"]);
    ward.stack(r#"ANSWER = "two""#, "");
    let down = plan(&ward, 2, &[]);
    assert_eq!(paths(&down), ["service.web.env.ANSWER"]);
    assert!(down["notes"].to_string().contains("is down"), "{down}");
    assert_eq!(ward.processes(), [""; 0]);
    ward.run(&["plan", "--env", "pord"]).fails(1, &["W0207"]);

    // What runs without its server is neither touched nor given another one.
    ward.up();
    answers(&ward, "two");
    let (server, before) = (ward.server_pid(), ward.instances("web"));
    let (http, recorded) = (ward.http(), events(&ward));
    kill9(server);
    eventually("it is gone", || !alive(server));
    let nothing = plan(&ward, 0, &[]);
    assert_eq!(nothing["outcome"], "nothing");
    assert_eq!(nothing["drift"], Value::Array(Vec::new()));
    assert_eq!(get(&http, HOST, "/").unwrap().body, "two");
    ward.run(&["status"]).fails(1, &["ward up --platform"]);
    ward.ok(&["up", "--platform"]);
    assert_eq!(events(&ward), recorded, "nor is it one here");
    let pids = |all: &[Value]| -> Vec<Value> { all.iter().map(|i| i["pid"].clone()).collect() };
    eventually("they are found again", || {
        pids(&ward.instances("web")) == pids(&before)
    });
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_plan_is_carried_out_exactly_or_refused() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    let out = ward.run(&["plan", "--out", "first.json"]);
    assert_eq!(out.code(), 2, "{out:?}");
    // What the folder says by now is not what was planned.
    ward.stack(r#"ANSWER = "another""#, "");
    ward.ok(&["deploy", "--plan", "first.json", "--why", "it was reviewed"]);
    answers(&ward, "one");
    assert!(
        ward.ok(&["events", "-n", "100"])
            .contains("it was reviewed")
    );
    let again = ward.run(&["deploy", "--plan", "first.json"]);
    assert!(
        again.success().contains("http") && again.stderr().contains("nothing changed"),
        "{again:?}"
    );

    ward.stack(r#"ANSWER = "two""#, "");
    assert_eq!(ward.run(&["plan", "--out", "two.json"]).code(), 2);
    ward.stack(r#"ANSWER = "three""#, "");
    assert_eq!(ward.run(&["plan", "--out", "three.json"]).code(), 2);
    ward.ok(&["deploy", "--plan", "three.json"]);
    let moved = ward.run(&["deploy", "--plan", "two.json"]);
    moved.fails(
        1,
        &[
            "it starts from r1 (1.0.1) in shop/dev, and r2 (1.0.2) serves now",
            "~ env.ANSWER  one → three",
        ],
    );
    let json = ward.run(&["deploy", "--plan", "two.json", "--output", "json"]);
    let last: Value = serde_json::from_str(json.stdout().lines().last().unwrap()).unwrap();
    assert_eq!((last["progress"].as_str(), json.code()), (Some("moved"), 1));
    assert_eq!(last["changes"][0]["path"], "service.web.env.ANSWER");
    // What it starts from serves again, and the world has moved all the same: whoever went back would get it a second time.
    ward.ok(&["rollback"]);
    for replayed in ["two.json", "three.json"] {
        ward.run(&["deploy", "--plan", replayed]).fails(
            1,
            &[
                "r1 (1.0.1) serves in shop/dev again since d3",
                "before that",
            ],
        );
    }
    answers(&ward, "one");
    // What moves nothing that serves leaves a plan as it is: a restart, a deployment that failed, a word of somebody.
    ward.stack(r#"ANSWER = "two""#, "");
    assert_eq!(ward.run(&["plan", "--out", "two.json"]).code(), 2);
    ward.stack(r#"ANSWER = "four", MODE = "exit""#, "");
    ward.run(&["deploy"]).fails(1, &["r1 serves as before"]);
    ward.stack(r#"ANSWER = "one""#, "");
    ward.ok(&["down", "--env", "dev"]);
    ward.ok(&["up", ward.dir().to_str().unwrap()]);
    ward.ok(&["deploy", "--plan", "two.json"]);
    answers(&ward, "two");
    assert_eq!(
        ward.run(&["plan", "--show", "two.json"]).code(),
        2,
        "also one that is over can be read"
    );
}

#[test]
fn a_plan_that_is_not_what_was_written_is_refused() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "\n[environment.dev]\n[environment.qa]");
    assert_eq!(ward.run(&["plan", "--out", "good.json"]).code(), 2);
    let good = fs::read_to_string(ward.dir().join("good.json")).unwrap();
    let refused = |name: &str, text: &str, says: &str| {
        ward.write(name, text);
        ward.run(&["deploy", "--plan", name]).fails(1, &[says]);
        // Whoever only reads it is not told of what nobody's Ward wrote.
        let shown = ward.run(&["plan", "--show", name]);
        assert!(shown.code() == 1 && shown.stdout().is_empty(), "{shown:?}");
    };
    let refused_again = "was changed after it was written";
    refused(
        "edited.json",
        &good.replace("\"one\"", "\"evil\""),
        refused_again,
    );
    refused(
        "added.json",
        &good.replacen("\"plan\": {", "\"plan\": { \"more\": 1,", 1),
        refused_again,
    );
    refused(
        "doubled.json",
        &good.replacen("\"plan\": {", "\"plan\": {\n\"by\": \"somebody\",", 1),
        "the key \"by\" stands there twice at line",
    );
    ward.run(&["plan", "--show", "edited.json"])
        .fails(1, &[refused_again]);
    ward.run(&["plan", "--show", "doubled.json"])
        .fails(1, &["the key \"by\" stands there twice"]);
    refused(
        "cut.json",
        &good[..good.len() / 2],
        "is no plan, or was cut or changed",
    );
    refused("none.json", "{}", "`ward plan --out` did not write it");
    refused(
        "newer.json",
        &good.replace("\"ward_plan\": 1", "\"ward_plan\": 2"),
        "has the form 2",
    );
    refused(
        "bare.json",
        r#"{"ward_plan": 1, "plan": {}}"#,
        "has no digest",
    );
    ward.run(&["deploy", "--plan", "nowhere.json"])
        .fails(1, &["nowhere.json cannot be read"]);
    ward.run(&["deploy", "--plan", "good.json", "--env", "qa"])
        .fails(1, &["is for shop/dev, and not for qa"]);
    ward.run(&["deploy", "--plan", "good.json", "--force"])
        .fails(2, &["cannot be used with"]);

    let other = Ward::new();
    other.write("good.json", &good);
    other
        .run(&["deploy", "--plan", "good.json"])
        .fails(1, &["was made by another Ward, for shop/dev"]);

    let plans = ward.home().join("plans");
    let kept = fs::read_dir(&plans)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let kept: Vec<_> = kept
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    fs::write(&kept[0], good.replace("\"by\"", "\"yb\"")).unwrap();
    ward.run(&["deploy", "--plan", "good.json"])
        .fails(1, &["as it was written"]);
    fs::remove_file(&kept[0]).unwrap();
    ward.run(&["deploy", "--plan", "good.json"])
        .fails(1, &["this Ward has no plan"]);
    assert_eq!(
        ward.status()["environments"],
        Value::Array(Vec::new()),
        "nothing was changed"
    );
}

/// A plan says what is under way, and does not get in its way.
#[test]
fn while_a_deployment_is_under_way_a_plan_waits_for_it() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    ward.ok(&["deploy"]);
    ward.stack(r#"ANSWER = "two""#, "");
    let held = ["deploy", "--no-wait", "--strategy", "canary:10=until_told"];
    ward.ok(&held);
    ward.stack(r#"ANSWER = "three""#, "");
    let planned = plan(&ward, 2, &["--out", "three.json"]);
    let note = planned["notes"][0].as_str().unwrap();
    assert!(
        note.contains("d2 to r2 has not ended; this is held against r1"),
        "{note}"
    );
    assert_eq!(planned["changes"][0]["from"], "one");
    let waits = ["d2 leads shop/dev to r2, and has not ended", "--supersede"];
    ward.run(&["deploy", "--plan", "three.json"])
        .fails(1, &waits);
    ward.ok(&["deploy", "--plan", "three.json", "--supersede"]);
    answers(&ward, "three");

    // What cannot be built is no change.
    ward.stack(
        r#"ANSWER = "four""#,
        "[service.side]\nbuild = { dockerfile = \"nowhere\" }\n",
    );
    let broken = ward.run(&["plan"]);
    broken.fails(1, &["side"]);
    answers(&ward, "three");
}

#[test]
fn two_environments_are_compared() {
    let ward = Ward::new();
    let envs = r#"
[environment.dev]
[environment.qa]
service.web.route = { host = "shop.qa.localhost" }
service.web.instances = 1
service.web.env = { LEVEL = "debug" }
[environment.twin]
service.web.route = { host = "shop.twin.localhost" }
"#;
    ward.stack(r#"ANSWER = "one""#, envs);
    for env in ["dev", "qa", "twin"] {
        ward.ok(&["deploy", "--env", env]);
    }
    let diff = |code, one, other| {
        let ran = ward.run(&["env", "diff", one, other, "--output", "json"]);
        checked(&ran, code, "env_diff")
    };
    let differs = diff(2, "dev", "qa");
    assert_eq!(
        paths(&differs),
        ["service.web.env.LEVEL", "service.web.instances"]
    );
    assert_eq!(differs["aside"].as_array().unwrap().len(), 2, "{differs}");
    assert_eq!(paths(&diff(0, "dev", "shop/twin")), [""; 0]);
    let text = ward.run(&["env", "diff", "dev", "qa"]);
    assert_eq!(text.code(), 2, "{text:?}");
    for line in [
        "shop/dev r1 (1.0.1) → shop/qa r1 (1.0.2)",
        "~ instances  2 → 1",
        "1 are only in qa",
    ] {
        assert!(text.stdout().contains(line), "{line}: {text:?}");
    }
    // A copy that the file does not name is planned as it is deployed.
    ward.ok(&["env", "create", "demo", "--from", "dev"]);
    assert_eq!(paths(&diff(0, "dev", "demo")), [""; 0]);
    plan(&ward, 0, &["--env", "demo"]);
    ward.stack(r#"ANSWER = "two""#, envs);
    let copy = plan(&ward, 2, &["--env", "demo", "--out", "demo.json"]);
    assert_eq!(paths(&copy), ["service.web.env.ANSWER"]);
    ward.ok(&["deploy", "--plan", "demo.json"]);
    assert_eq!(
        get(&ward.http(), "web.demo.localhost", "/").unwrap().body,
        "two"
    );
    ward.ok(&["env", "delete", "demo", "--yes"]);
    ward.run(&["deploy", "--plan", "demo.json"])
        .fails(1, &["it starts from r1", "and nothing serves now"]);
    ward.run(&["env", "diff", "dev", "nowhere"])
        .fails(1, &["nowhere"]);
    ward.run(&["env", "diff", "dev"]).fails(1, &["OTHER"]);
}
