//! Environments as values: copied, given an end, deleted, made again.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::load::get;
use support::{APP, Ward, eventually, kill9, piped, poll, sql};

const TWO: &str =
    "[environment.dev]\n[environment.prod]\nservice.web.route.host = \"prod.localhost\"";
const DATABASE: &str = "links = [\"db\"]\n[database.db]\nengine = \"postgres\"\n";

fn answer(text: &str) -> String {
    format!("ANSWER = \"{text}\"")
}

fn body(ward: &Ward, host: &str) -> String {
    get(&ward.http(), host, "/").unwrap().body
}

fn shown(ward: &Ward, env: &str) -> Value {
    serde_json::from_str(&ward.ok(&["env", "show", env, "--output", "json"])).unwrap()
}

fn count(ward: &Ward, env: &str) -> usize {
    let releases = ward.ok(&["releases", "--env", env, "--output", "json"]);
    let releases: Vec<Value> = serde_json::from_str(&releases).unwrap();
    releases.len()
}

fn is_deleted(ward: &Ward, env: &str) -> bool {
    shown(ward, env)["state"] == "deleted"
}

fn copy(ward: &Ward, arguments: &[&str]) {
    let mut all = vec!["env", "create", "demo", "--from", "prod"];
    all.extend(arguments);
    ward.ok(&all);
}

#[test]
fn a_copy_has_the_same_release_and_data_of_its_own() {
    let ward = Ward::new();
    ward.stack(&answer("one"), &format!("{DATABASE}{TWO}"));
    ward.ok(&["deploy", "--env", "prod"]);
    sql(&ward, Some("prod"), "create table patient (name text)");
    // Nothing is built: the source is not there any more.
    std::fs::remove_file(ward.dir().join("app.py")).unwrap();
    let made = ward.run(&[
        "env", "create", "demo", "--from", "prod", "--ttl", "7d", "--why", "for Acme",
    ]);
    assert!(
        made.success().contains("http://web.demo.localhost:"),
        "{made:?}"
    );
    assert!(
        made.stderr()
            .contains("shop/demo is a copy of shop/prod as it serves (1.0.1); nothing is built"),
        "{made:?}"
    );
    assert!(made.stderr().contains("it ends in 7 days, on "), "{made:?}");
    assert_eq!(body(&ward, "web.demo.localhost"), "one");
    assert_eq!(body(&ward, "prod.localhost"), "one");
    let there = "select count(*) from pg_class where relname = 'patient'";
    assert_eq!(
        (
            sql(&ward, Some("prod"), there),
            sql(&ward, Some("demo"), there)
        ),
        ("1".into(), "0".into())
    );
    let images = |env: &str| -> Value {
        let releases: Value =
            serde_json::from_str(&ward.ok(&["releases", "--env", env, "--output", "json"]))
                .unwrap();
        releases[0]["images"].clone()
    };
    assert_eq!(images("demo"), images("prod"));

    let detail = shown(&ward, "demo");
    assert_eq!(detail["origin"]["from"], "prod");
    assert_eq!(detail["created"]["why"], "for Acme");
    assert!(
        detail["databases"][0]["bytes"].as_u64().unwrap() > 1 << 20,
        "{detail}"
    );
    let listed = ward.ok(&["env", "list"]);
    assert!(
        listed.contains("shop/demo") && listed.contains("in 7 days"),
        "{listed}"
    );
    let status = ward.ok(&["status", "--env", "demo"]);
    assert!(
        status.contains("a copy of prod; ends ") && status.contains("in 7 days"),
        "{status}"
    );
    let events = ward.ok(&["events", "--env", "demo"]);
    assert!(
        events.contains("environment created as a copy of prod, until "),
        "{events}"
    );

    // A deploy of the stack file, which does not name it, brings it up to what the file says of its original.
    ward.write("app.py", APP);
    ward.stack(
        &answer("two"),
        &format!("{DATABASE}{TWO}\nservice.web.env.GREETING = \"hi\""),
    );
    ward.ok(&["deploy", "--env", "demo"]);
    assert_eq!(body(&ward, "web.demo.localhost"), "two");
    assert_eq!(body(&ward, "prod.localhost"), "one");
    let again = ward.run(&["up", "--env", "demo", ward.dir().to_str().unwrap()]);
    assert!(again.stderr().contains("nothing changed"), "{again:?}");
    ward.ok(&["rollback", "--env", "demo"]);
    assert_eq!(body(&ward, "web.demo.localhost"), "one");

    // What the file no longer declares cannot be what a copy becomes.
    ward.stack(&answer("two"), DATABASE);
    ward.run(&["deploy", "--env", "demo"])
        .fails(2, &["declares no environment `prod`"]);

    let yes = ward.run(&["env", "delete", "demo"]);
    yes.fails(1, &["no terminal to ask at", "--yes"]);
    let deleted = ward.run(&["env", "delete", "demo", "--yes", "--why", "they said no"]);
    assert!(
        deleted
            .stderr()
            .contains("shop/demo is deleted, its data removed"),
        "{deleted:?}"
    );
    assert_eq!(
        get(&ward.http(), "web.demo.localhost", "/").unwrap().status,
        404
    );
    assert!(!ward.home().join("data/shop/demo").exists());
    assert!(!ward.ok(&["env", "list"]).contains("demo"));
    let gone = ward.ok(&["env", "list", "--all"]);
    assert!(gone.contains("asked for it (“they said no”)"), "{gone}");
    assert!(
        ward.ok(&["events", "--env", "demo"])
            .contains("environment deleted")
    );
    for refused in [
        ["rollback", "--env", "demo"],
        ["deploy", "--env", "demo"],
        ["env", "delete", "demo"],
    ] {
        let refused = [
            refused.as_slice(),
            if refused[0] == "env" { &["--yes"] } else { &[] },
        ]
        .concat();
        ward.run(&refused).fails(
            1,
            &[
                "shop/demo was deleted on",
                "they said no",
                "ward env create demo --from prod",
            ],
        );
    }
    ward.ok(&["audit", "verify"]);
}

#[test]
fn an_environment_ends_when_its_time_is_over_and_can_be_made_again() {
    let ward = Ward::new();
    ward.stack(&answer("one"), &format!("stop_timeout = \"1s\"\n{TWO}"));
    ward.ok(&["deploy", "--env", "prod"]);
    copy(&ward, &["--ttl", "1h"]);
    // An image that nobody else has: it can be collected afterwards.
    ward.write("app.py", &format!("{APP}\n# other\n"));
    ward.ok(&["deploy", "--env", "demo"]);
    let layers = || {
        let layers = std::fs::read_dir(ward.home().join("layers")).unwrap();
        layers
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    };
    let with_its_own = layers();
    assert!(
        ward.ok(&["env", "extend", "demo", "--forever"])
            .contains("lasts until somebody deletes it")
    );
    assert!(
        ward.ok(&["env", "extend", "demo", "--ttl", "2s", "--yes"])
            .contains("ends ")
    );
    eventually("it is gone", || is_deleted(&ward, "demo"));
    assert_eq!(
        get(&ward.http(), "web.demo.localhost", "/").unwrap().status,
        404
    );
    assert_eq!(body(&ward, "prod.localhost"), "one");
    let events = ward.ok(&["events", "--env", "demo"]);
    for said in [
        "its end is near",
        "its time is over: it is deleted",
        "environment deleted",
    ] {
        assert!(events.contains(said), "{events}");
    }
    let all = ward.ok(&["env", "list", "--all"]);
    assert!(
        all.contains("shop/demo was deleted on") && all.contains("its time was over"),
        "{all}"
    );
    eventually("what only it had is collected", || layers() < with_its_own);

    copy(&ward, &[]);
    assert_eq!(shown(&ward, "demo")["release"], 3, "numbers go on");
    let deployments = ward.ok(&["deployment", "show", "--env", "demo"]);
    assert!(deployments.contains("d3"), "{deployments}");
    assert_eq!(body(&ward, "web.demo.localhost"), "one");
}

#[test]
fn p4_the_end_is_kept_whoever_dies_meanwhile() {
    let ward = Ward::new();
    ward.stack(&answer("one"), &format!("stop_timeout = \"1s\"\n{TWO}"));
    ward.ok(&["deploy", "--env", "prod"]);
    copy(&ward, &["--ttl", "1h"]);
    ward.ok(&["env", "extend", "demo", "--ttl", "3s", "--yes"]);
    let end = shown(&ward, "demo")["expires"]["at"].as_u64().unwrap();
    kill9(ward.server_pid());
    let now = || u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    assert!(
        poll(Duration::from_secs(20), || now() > end),
        "its time is over"
    );
    ward.ok(&["up", "--platform"]);
    eventually("it is gone", || is_deleted(&ward, "demo"));
    assert_eq!(body(&ward, "prod.localhost"), "one");
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_deployment_that_runs_when_the_time_is_over_ends_with_it() {
    let ward = Ward::new();
    let slow = "release = { command = [\"python3\", \"-c\", \"import os, time; time.sleep(60 if os.environ['WARD_ENV'] == 'demo' else 0)\"] }";
    ward.stack(
        &answer("one"),
        &format!("{slow}\nstop_timeout = \"1s\"\n{TWO}"),
    );
    ward.ok(&["deploy", "--env", "prod"]);
    let made = ward.run(&["env", "create", "demo", "--from", "prod", "--ttl", "2s"]);
    made.fails(
        1,
        &[
            "d1 to r1 ended because the time of its environment was over",
            "ward env create demo",
        ],
    );
    eventually("it is gone", || is_deleted(&ward, "demo"));
}

#[test]
fn one_that_the_stack_file_declares_is_made_too() {
    let ward = Ward::new();
    ward.stack(&answer("one"), &format!("stop_timeout = \"1s\"\n{TWO}"));
    ward.run(&["env", "create", "prod"])
        .fails(1, &["no Ward server runs"]);
    ward.ok(&["up", "--platform"]);
    ward.run(&["env", "create", "qa"])
        .fails(2, &["declares no environment `qa`"]);
    ward.run(&["env", "create", "prod", "--hosts", "{env}.localhost"])
        .fails(2, &["--from"]);
    ward.run(&["env", "create", "prod", "--ttl", "1ms"])
        .fails(1, &["lasts from 1s to 3650d"]);
    ward.ok(&["env", "create", "prod", "--ttl", "1h"]);
    assert_eq!(body(&ward, "prod.localhost"), "one");
    assert!(ward.ok(&["env", "list"]).contains("in 60 min"));
    let again = ward.run(&["env", "create", "prod", ward.dir().to_str().unwrap()]);
    again.fails(1, &["shop/prod exists already, declared by its stack file"]);
    ward.ok(&["env", "delete", "prod", "--yes"]);
    // By name as any other: the file declares it.
    ward.ok(&["deploy", "--env", "prod"]);
    assert_eq!(shown(&ward, "prod")["release"], 2);
    assert!(shown(&ward, "prod")["expires"].is_null());
}

#[test]
fn the_end_is_told_before() {
    let ward = Ward::new();
    ward.stack(&answer("one"), TWO);
    ward.ok(&["deploy", "--env", "prod"]);
    copy(&ward, &["--ttl", "1h"]);
    let soon = ward.run(&["deploy", "--env", "demo"]);
    assert!(!soon.stderr().contains("warning"), "{soon:?}");
    ward.run(&["env", "extend", "demo", "--ttl", "1m"]).fails(
        1,
        &[
            "shop/demo would end on ",
            "its data and its backups with it; now it ends on ",
            "no terminal to ask at",
            "--yes",
        ],
    );
    ward.ok(&["env", "extend", "demo", "--ttl", "1m", "--yes"]);
    let near = || {
        ward.ok(&["events", "--env", "demo"])
            .contains("its end is near")
    };
    assert!(poll(Duration::from_secs(100), near), "it is never told");
    let deployed = ward.run(&["deploy", "--env", "demo"]);
    let said = deployed.stderr();
    assert!(
        said.contains("warning: shop/demo ends in ")
            && said.contains("ward env extend demo --ttl 7d"),
        "{said}"
    );
    ward.ok(&["env", "extend", "demo", "--until", "2030-01-01"]);
    assert!(
        ward.ok(&["env", "show", "demo"])
            .contains("2030-01-01 00:00:00")
    );
}

#[test]
fn what_cannot_be_made_is_refused_and_changes_nothing() {
    let ward = Ward::new();
    ward.stack(&answer("one"), TWO);
    ward.ok(&["deploy", "--env", "prod"]);
    let create = |arguments: &[&str]| {
        let mut all = vec!["env", "create", "demo"];
        all.extend(arguments);
        ward.run(&all)
    };
    create(&["--from", "prd"]).fails(
        1,
        &[
            "there is no environment prd to copy",
            "did you mean prod?",
            "shop/prod",
        ],
    );
    create(&["--from", "elsewhere/prod"])
        .fails(1, &["there is no environment elsewhere/prod to copy"]);
    ward.run(&["logs", "--env", "prd"])
        .fails(1, &["there is no environment prd", "did you mean prod?"]);
    create(&["--from", "prod", "--hosts", "{servce}.localhost"])
        .fails(2, &["placeholder {servce}"]);
    create(&["--from", "prod", "--hosts", "Shop"]).fails(2, &["is not a host name with"]);
    create(&["--from", "prod", "--hosts", "prod.localhost"]).fails(
        1,
        &[
            "the host prod.localhost leads to shop/prod already",
            "--hosts \"{service}.{env}.{stack}.localhost\"",
        ],
    );
    create(&["--from", "prod", "--ttl", "999ms"])
        .fails(1, &["lasts from 1s to 3650d, and not 999ms"]);
    create(&["--from", "prod", "--ttl", "soon"]).fails(2, &["a duration such as"]);
    ward.run(&["env", "create", "prod", "--from", "prod"])
        .fails(1, &["cannot be a copy of itself"]);
    ward.run(&["env", "create", "Demo", "--from", "prod"])
        .fails(2, &["`Demo` is not a name"]);
    ward.run(&["env", "show", "demo"])
        .fails(1, &["there is no environment demo"]);
    ward.run(&["env", "extend", "prod"])
        .fails(2, &["--ttl <DURATION>|--until <TIME>|--forever"]);
    ward.run(&["env", "extend", "prod", "--until", "yesterday"])
        .fails(2, &["`yesterday` is not a moment"]);
    ward.run(&["env", "extend", "prod", "--until", "2020-01-01"])
        .fails(1, &["is over"]);
    assert!(!ward.ok(&["events", "-n", "100"]).contains("shop/demo"));

    create(&["--from", "prod"]).success();
    create(&["--from", "prod"]).fails(
        1,
        &[
            "shop/demo exists already, a copy of prod, created on",
            "ward deploy --env demo",
            "`ward env extend demo --ttl 7d`",
        ],
    );
    ward.run(&["env", "create", "prod", "--from", "demo"])
        .fails(1, &["shop/prod exists already, declared by its stack file"]);
    // What was purged is in nobody's way, and what serves nothing is nobody's original.
    ward.ok(&["down", "--env", "demo", "--purge", "--yes"]);
    ward.run(&["env", "create", "other", "--from", "demo"])
        .fails(1, &["there is no environment demo to copy"]);
    create(&["--from", "prod", "--hosts", "{env}-{stack}.localhost"]).success();
    assert_eq!(body(&ward, "demo-shop.localhost"), "one");
    // A copy of a copy.
    ward.ok(&[
        "env",
        "create",
        "other",
        "--from",
        "demo",
        "--hosts",
        "{env}.{host}",
    ]);
    assert_eq!(body(&ward, "other.demo-shop.localhost"), "one");
    ward.stack(&answer("two"), TWO);
    ward.ok(&["deploy", "--env", "other"]);
    assert_eq!(body(&ward, "other.demo-shop.localhost"), "two");
}

#[test]
fn what_must_keep_its_data_is_given_no_end() {
    let ward = Ward::new();
    let kept = "[environment.dev]\n[environment.prod]\npolicy.database_removed = \"deny\"";
    ward.stack(&answer("one"), &format!("{DATABASE}{kept}"));
    ward.ok(&["up", "--platform"]);
    ward.run(&["env", "create", "prod", "--ttl", "1h"]).fails(
        1,
        &[
            "forbids to remove its data (database_removed)",
            "without --ttl",
        ],
    );
    ward.ok(&["deploy", "--env", "prod"]);
    let refused = [
        "forbids to remove its data (database_removed)",
        "ward policy waive",
    ];
    ward.run(&["env", "extend", "prod", "--ttl", "1h"])
        .fails(1, &["it has no end now", "no terminal to ask at"]);
    ward.run(&["env", "extend", "prod", "--ttl", "1h", "--yes"])
        .fails(1, &refused);
    ward.run(&["env", "delete", "prod", "--yes"])
        .fails(1, &refused);
    ward.ok(&["env", "extend", "prod", "--forever"]);
    // A copy is not what is protected.
    ward.ok(&["env", "create", "demo", "--from", "prod", "--ttl", "1h"]);
    ward.ok(&["env", "delete", "demo", "--yes"]);
    answered_for(&ward, &["shop/prod"]);
}

/// The rule may come after what it is about: to what began as a copy, and to what has an end already.
#[test]
fn what_is_to_keep_its_data_from_now_on_keeps_it_whatever_was_before() {
    const RULE: &str = "policy.database_removed = \"deny\"\n";
    const FORBIDS: &str = "forbids to remove its data (database_removed)";
    let ward = Ward::new();
    let declare = |envs: &[(&str, &str)]| {
        let one = |(env, more): &(&str, &str)| {
            format!("[environment.{env}]\nservice.web.route.host = \"{env}.localhost\"\n{more}")
        };
        let envs: String = envs.iter().map(one).collect();
        ward.stack(&answer("one"), &format!("{DATABASE}{envs}"));
    };
    declare(&[("prod", ""), ("qa", "")]);
    ward.ok(&["deploy", "--env", "prod"]);
    copy(&ward, &[]);
    ward.ok(&["env", "create", "qa", "--ttl", "30d"]);
    declare(&[("prod", ""), ("qa", RULE), ("demo", RULE)]);
    ward.ok(&["deploy", "--env", "demo"]);
    ward.run(&["env", "extend", "demo", "--ttl", "1h", "--yes"])
        .fails(1, &[FORBIDS]);
    ward.run(&["env", "delete", "demo", "--yes"])
        .fails(1, &[FORBIDS]);
    let ends = [
        "shop/qa ends on 20",
        "and its data with it (database_removed",
        "`ward env extend shop/qa --forever`",
        "ward policy waive database_removed",
    ];
    ward.run(&["deploy", "--env", "qa"]).fails(1, &ends);
    ward.ok(&["env", "extend", "shop/qa", "--forever"]);
    ward.ok(&["deploy", "--env", "qa"]);
    // What the installation asks for is not about copies, which come and go.
    let all = "policy.database_removed = \"deny\"\n";
    ward.ok(&["env", "extend", "prod", "--ttl", "10d", "--yes"]);
    std::fs::write(ward.home().join("policy.toml"), all).unwrap();
    ward.ok(&["env", "create", "tmp", "--from", "prod", "--ttl", "1h"]);
    ward.ok(&["config", "set", "COLOUR=green", "--env", "shop/tmp"]);
    assert_eq!(count(&ward, "tmp"), 2);
    // It is a copy for a deploy of what it has as well, and of something else.
    ward.ok(&["deploy", "--env", "tmp"]);
    assert_eq!(count(&ward, "tmp"), 2);
    ward.ok(&["deploy", "--env", "tmp", "--force"]);
    assert_eq!(count(&ward, "tmp"), 3);
    let frozen = format!("{all}policy.freeze = [\"2000-01-01/2999-12-31\"]\n");
    std::fs::write(ward.home().join("policy.toml"), frozen).unwrap();
    ward.ok(&["deploy", "--env", "tmp"]);
    std::fs::write(ward.home().join("policy.toml"), all).unwrap();
    ward.ok(&["env", "extend", "tmp", "--ttl", "2h", "--yes"]);
    ward.ok(&["env", "delete", "tmp", "--yes"]);
    ward.run(&["env", "delete", "prod", "--yes"])
        .fails(1, &[FORBIDS]);
    // A later end takes nothing that would not have gone.
    ward.run(&["env", "extend", "prod", "--ttl", "9d", "--yes"])
        .fails(1, &[FORBIDS]);
    ward.ok(&["env", "extend", "prod", "--ttl", "20d", "--yes"]);
    ward.ok(&["env", "extend", "prod", "--forever"]);
    // The end of a life is not that of the next one of its name.
    eventually("the copy is gone", || is_deleted(&ward, "tmp"));
    declare(&[("prod", ""), ("qa", RULE), ("demo", RULE), ("tmp", "")]);
    ward.ok(&["deploy", "--env", "tmp"]);
    std::fs::remove_file(ward.home().join("policy.toml")).unwrap();
    answered_for(&ward, &["shop/demo", "shop/qa"]);
}

#[test]
fn what_began_as_a_copy_and_is_declared_keeps_its_data_as_the_installation_asks() {
    const FORBIDS: &str = "forbids to remove its data (database_removed)";
    let ward = Ward::new();
    let prod = "[environment.prod]\nservice.web.route.host = \"prod.localhost\"\n";
    ward.stack(&answer("one"), &format!("{DATABASE}{prod}"));
    ward.ok(&["deploy", "--env", "prod"]);
    ward.ok(&["env", "create", "stage", "--from", "prod", "--ttl", "1h"]);
    let policy = ward.home().join("policy.toml");
    let rule = "[environment.stage]\npolicy.database_removed = \"deny\"\n";
    std::fs::write(&policy, rule).unwrap();
    let detail = || {
        let view = ward.ok(&["policy", "show", "--env", "stage", "--output", "json"]);
        let view: Value = serde_json::from_str(&view).unwrap();
        let mut rules = view["rules"].as_array().unwrap().iter();
        let rule = rules.find(|rule| rule["rule"] == "database_removed");
        rule.unwrap()["detail"].clone()
    };
    assert_eq!(detail(), "not where it is deleted or ends: it is a copy");
    let stage = "[environment.stage]\nservice.web.route.host = \"web.stage.localhost\"\n";
    ward.stack(&answer("one"), &format!("{DATABASE}{prod}{stage}"));
    ward.run(&["deploy", "--env", "stage"])
        .fails(1, &["shop/stage ends on 20", "(database_removed"]);
    ward.ok(&["env", "extend", "stage", "--forever"]);
    ward.ok(&["deploy", "--env", "stage"]);
    assert_eq!(detail(), Value::Null);
    ward.run(&["env", "delete", "stage", "--yes"])
        .fails(1, &[FORBIDS]);
    ward.run(&["env", "extend", "stage", "--ttl", "1h", "--yes"])
        .fails(1, &[FORBIDS]);
    assert!(
        ward.ok(&["env", "show", "stage"])
            .contains("in its stack file")
    );
    std::fs::remove_file(policy).unwrap();
}

/// So that the test can end.
fn answered_for(ward: &Ward, envs: &[&str]) {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let soon = soon.strftime("%Y-%m-%d").to_string();
    for env in envs {
        let waive = ["policy", "waive", "database_removed", "--env", env];
        ward.ok(&[&waive[..], &["--until", &soon, "--why", "the test is over"]].concat());
    }
}

/// What a job does in the world it does once: in the original.
#[test]
fn a_copy_runs_no_job_by_itself_unless_the_job_says_so() {
    let ward = Ward::new();
    let job = |name: &str, more: &str| {
        format!(
            "[job.{name}]\nservice = \"web\"\ncommand = [\"/bin/true\"]\nschedule = \"0 2 1 * *\"\n{more}"
        )
    };
    let jobs = [job("mail", ""), job("tidy", "copies = true\n")].concat();
    ward.stack(&answer("one"), &format!("{jobs}{TWO}"));
    ward.ok(&["deploy", "--env", "prod"]);
    copy(&ward, &[]);
    let next = |env: &str| -> Vec<(String, bool)> {
        let list = ward.ok(&["job", "list", "--env", env, "--output", "json"]);
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let next = list.iter().map(|job| {
            let name = job["name"].as_str().unwrap().to_owned();
            (name, job["next"].is_u64())
        });
        next.collect()
    };
    let both = |mail| vec![("mail".to_owned(), mail), ("tidy".to_owned(), true)];
    assert_eq!((next("prod"), next("demo")), (both(true), both(false)));
    // A deploy of the copy changes nothing of that, and by hand it runs.
    ward.ok(&["deploy", "--env", "demo", "--force"]);
    assert_eq!(next("demo"), both(false));
    assert_eq!(ward.run(&["job", "run", "mail", "--env", "demo"]).code(), 0);
}

/// How often the log says that an environment was made.
fn creations(ward: &Ward, env: &str) -> usize {
    let events = ward.ok(&["events", "--env", env, "-n", "1000"]);
    events.matches("environment created").count()
}

/// Values, and who answers for a rule, are kept for what is made later: by a deploy, with the name of who deployed it.
#[test]
fn an_environment_is_made_when_it_is_deployed_and_not_when_something_is_set_for_it() {
    let ward = Ward::new();
    ward.stack(&answer("one"), TWO);
    ward.ok(&["up", "--platform"]);
    let secret = ["secret", "set", "KEY", "--env", "prod"];
    piped(&ward, &secret, "a-value-of-prod").success();
    ward.ok(&["config", "set", "A=1", "--env", "prod"]);
    assert_eq!(creations(&ward, "prod"), 0);
    let events = ward.ok(&["events", "--env", "prod"]);
    let awaited = "it is not made yet: what is set is kept for it";
    assert_eq!(events.matches(awaited).count(), 1, "{events}");
    let to_come = shown(&ward, "prod");
    assert_eq!(to_come["state"], "awaited", "{to_come}");
    assert!(to_come["created"].is_null(), "{to_come}");
    let list = ward.ok(&["env", "list"]);
    assert!(list.contains("to come"), "{list}");
    // It may be given an end before, which holds.
    ward.ok(&["env", "extend", "prod", "--ttl", "2d", "--yes"]);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    ward.ok(&["deploy", "--env", "prod", "--why", "CR-1"]);
    assert_eq!(creations(&ward, "prod"), 1);
    let made = shown(&ward, "prod");
    assert_eq!(made["state"], "up", "{made}");
    assert_eq!(made["created"]["why"], "CR-1", "{made}");
    assert!(made["expires"]["at"].is_u64(), "{made}");
    assert_eq!(
        ward.ok(&["exec", "web", "--env", "prod", "--", "printenv", "A"])
            .trim(),
        "1"
    );
    // After its end the name is free, and the same holds again.
    ward.ok(&["env", "delete", "prod", "--yes"]);
    ward.ok(&["config", "set", "A=2", "--env", "prod"]);
    assert_eq!(creations(&ward, "prod"), 1);
    ward.ok(&["deploy", "--env", "prod"]);
    assert_eq!(creations(&ward, "prod"), 2);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_new_environment_has_its_secrets_before_its_first_release() {
    let ward = Ward::new();
    let more = format!("secrets = {{ API_KEY = \"env\" }}\n{TWO}");
    ward.stack(&answer("one"), &more);
    ward.ok(&["up", "--platform"]);
    ward.write("prod.env", "# the customer's\nAPI_KEY='of-prod-of-prod'\n");
    ward.write("broken.env", "API_KEY=first-first\nhunter2-hunter2\n");
    let create = |more: &[&str]| ward.run(&[&["env", "create"], more].concat());
    create(&["prod", "--secrets", "broken.env"]).fails(
        1,
        &["line 2 of broken.env: it has no `=`", "nothing was changed"],
    );
    create(&["prod", "--secrets", "nowhere.env"]).fails(1, &["nowhere.env cannot be read"]);
    assert_eq!(ward.status()["environments"], Value::Array(Vec::new()));
    create(&["prod", "--secrets", "prod.env"]).success();
    assert_eq!(body(&ward, "prod.localhost"), "one");
    assert_eq!(creations(&ward, "prod"), 1);
    let instance = |env: &str| {
        let variables = [
            "exec",
            "web",
            "--env",
            env,
            "--secrets",
            "--",
            "/usr/bin/env",
        ];
        ward.ok(&variables)
    };
    assert!(instance("prod").contains("API_KEY=of-prod-of-prod"));

    // A copy gets none of its original's.
    create(&["demo", "--from", "prod"]).fails(1, &["a secret is not set in shop/demo"]);
    let stdin = ["env", "create", "demo", "--from", "prod", "--secrets", "-"];
    piped(&ward, &stdin, "API_KEY=of-demo-of-demo\n").success();
    assert!(instance("demo").contains("API_KEY=of-demo-of-demo"));
    assert_eq!(creations(&ward, "demo"), 1);
    // One that cannot be made leaves none behind.
    for (wrong, says) in [
        (["--hosts", "prod.localhost"], "leads to shop/prod already"),
        (["--ttl", "999ms"], "lasts from 1s"),
    ] {
        let later = ["later", "--from", "prod", "--secrets", "prod.env"];
        create(&[&later[..], &wrong].concat()).fails(1, &[says]);
    }
    ward.run(&["secret", "list", "--env", "later"])
        .fails(1, &["later"]);
    // What is there keeps what it has.
    for env in ["demo", "prod"] {
        let from = if env == "demo" { "prod" } else { "demo" };
        create(&[env, "--from", from, "--secrets", "prod.env"])
            .fails(1, &[&format!("shop/{env} exists already")]);
    }
    let history = ward.ok(&[
        "secret", "history", "API_KEY", "--env", "demo", "--output", "json",
    ]);
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(
        history["API_KEY"].as_array().unwrap().len(),
        1,
        "{history:#}"
    );
}
