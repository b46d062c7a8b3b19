//! One build for several environments: promoted by hand, and brought through them by one command.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Ran, Ward, answers, eventually};

const ENVIRONMENTS: &str = r#"
[environment.dev]
service.web.route.host = "dev.localhost"
[environment.qa]
service.web.route.host = "qa.localhost"
[environment.prod]
service.web.route.host = "prod.localhost"
service.web.instances = 1
"#;

fn declare(ward: &Ward, answer: &str, more: &str) {
    let more = format!("{ENVIRONMENTS}{more}");
    ward.stack(&format!(r#"ANSWER = "{answer}""#), &more);
}

fn releases(ward: &Ward, env: &str) -> Vec<Value> {
    let releases = ward.ok(&["releases", "--env", env, "--output", "json"]);
    serde_json::from_str(&releases).unwrap()
}

fn deploy(ward: &Ward, env: &str) {
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--env", env]);
}

#[test]
fn what_was_tried_in_one_environment_serves_in_another_and_nothing_is_built() {
    let ward = Ward::new();
    declare(&ward, "one", "");
    deploy(&ward, "qa");
    let misspelt = ward.run(&["promote", "--from", "qa", "--to", "prdo"]);
    misspelt.fails(2, &["declares no environment `prdo`"]);
    // Whatever becomes of the source: what is promoted is the build.
    ward.write("app.py", "raise SystemExit('never built')");
    ward.write("ward.toml", "broken = ");

    let said = ward.run(&[
        "promote",
        "--from",
        "qa",
        "--to",
        "prod",
        "--why",
        "signed off",
    ]);
    said.success();
    assert!(!said.stderr().contains("building"), "{said:?}");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("one"));
    let (qa, prod) = (releases(&ward, "qa"), releases(&ward, "prod"));
    assert_eq!(prod[0]["images"], qa[0]["images"]);
    assert_eq!(prod[0]["version"], qa[0]["version"]);
    assert_eq!(prod[0]["promoted"]["env"], "shop/qa");
    assert_eq!(prod[0]["promoted"]["release"], 1);
    assert!(qa[0].get("promoted").is_none());
    let table = ward.ok(&["releases", "--env", "prod"]);
    assert!(table.contains("1.0.1 from shop/qa r1"), "{table}");

    let again = ward.run(&["promote", "--from", "qa", "--to", "prod"]);
    again.success();
    assert!(
        again
            .stderr()
            .contains("nothing changed: r1 (1.0.1) serves"),
        "{again:?}"
    );
    assert_eq!(releases(&ward, "prod").len(), 1);
    let events = ward.ok(&["events", "--env", "prod"]);
    assert!(events.contains("signed off"), "{events}");
}

#[test]
fn what_cannot_be_promoted_is_refused_and_changes_nothing() {
    let ward = Ward::new();
    declare(&ward, "one", "");
    deploy(&ward, "qa");
    ward.stack(r#"MODE = "exit""#, ENVIRONMENTS);
    ward.run(&["deploy", "--env", "qa"])
        .fails(1, &["cannot open the moon"]);
    let promote = |more: &[&str]| ward.run(&[&["promote", "--from", "qa", "--to"], more].concat());

    promote(&["nowhere"]).fails(
        2,
        &[
            "declares no environment `nowhere`",
            "ward.toml of shop/qa r1",
        ],
    );
    promote(&["qa"]).fails(1, &["shop/qa cannot be promoted to itself"]);
    promote(&["other/prod"]).fails(1, &["environments of different stacks"]);
    promote(&["prod", "--release", "r2"]).fails(1, &["r2 never succeeded in shop/qa"]);
    promote(&["prod", "--release", "r7"]).fails(1, &["shop/qa has no release r7"]);
    let unknown = ward.run(&["promote", "--from", "test", "--to", "prod"]);
    unknown.fails(1, &["there is no environment test", "shop/qa"]);

    ward.ok(&["down", "--env", "qa"]);
    promote(&["prod"]).fails(1, &["nothing serves in shop/qa", "--release"]);
    promote(&["prod", "--release", "r1"]).success();
    assert_eq!(answers(&ward, "prod").as_deref(), Some("one"));
}

fn each(ward: &Ward, envs: &str, more: &[&str]) -> Ran {
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&[&["deploy", &dir, "--envs", envs], more].concat())
}

#[test]
fn one_command_brings_one_build_to_each_environment_in_order() {
    let ward = Ward::new();
    declare(&ward, "one", "");
    let said = each(&ward, "dev,qa,prod", &["--output", "json"]);
    let lines = said.success();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = lines
        .iter()
        .filter(|line| line["progress"] == "environment");
    let ended: Vec<&str> = ended.map(|line| line["env"].as_str().unwrap()).collect();
    assert_eq!(ended, ["shop/dev", "shop/qa", "shop/prod"]);
    let builds = lines.iter().filter_map(|line| line["message"].as_str());
    assert_eq!(
        builds
            .filter(|message| message.contains("web: built"))
            .count(),
        1,
        "{lines:#?}"
    );
    let last = lines.last().unwrap();
    assert_eq!(last["message"], "1.0.1 serves in dev, qa and prod");
    for env in ["dev", "qa", "prod"] {
        assert_eq!(answers(&ward, env).as_deref(), Some("one"));
        assert_eq!(releases(&ward, env)[0]["version"], "1.0.1");
    }
    let again = each(&ward, "dev,qa,prod", &[]);
    again.success();
    assert!(
        again.stderr().contains("1.0.1 serves in dev, qa and prod"),
        "{again:?}"
    );
    assert_eq!(releases(&ward, "prod").len(), 1, "nothing changed");
    // Where one has been made anew meanwhile it keeps that.
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--env", "qa", "--force"]);
    let again = each(&ward, "dev,qa,prod", &[]);
    again.success();
    let says = "the same images serve in dev (1.0.1), qa (1.0.2) and prod (1.0.1)";
    assert!(again.stderr().contains(says), "{again:?}");
}

#[test]
fn the_first_environment_that_fails_is_the_last_that_is_begun() {
    let ward = Ward::new();
    declare(&ward, "one", "");
    each(&ward, "dev,qa,prod", &[]).success();
    let bad = ENVIRONMENTS.replace(
        "[environment.prod]",
        "service.web.env.MODE = \"exit\"\n[environment.prod]",
    );
    ward.stack(r#"ANSWER = "two""#, &bad);
    each(&ward, "dev,nowhere", &[]).fails(2, &["declares no environment `nowhere`"]);
    assert_eq!(
        answers(&ward, "dev").as_deref(),
        Some("one"),
        "nothing was begun"
    );
    each(&ward, "dev,dev", &[]).fails(1, &["dev is named twice"]);

    let failed = each(&ward, "dev,qa,prod", &[]);
    failed.fails(
        1,
        &[
            "cannot open the moon",
            "shop/qa did not succeed; prod was not begun",
        ],
    );
    let served: Vec<_> = ["dev", "qa", "prod"]
        .iter()
        .map(|env| answers(&ward, env))
        .collect();
    assert_eq!(
        served,
        ["two", "one", "one"].map(|answer| Some(answer.to_owned()))
    );
    assert_eq!(releases(&ward, "prod").len(), 1);

    let same = ENVIRONMENTS.replace("prod.localhost", "qa.localhost");
    ward.stack(r#"ANSWER = "three""#, &same);
    each(&ward, "dev,qa,prod", &[]).fails(
        1,
        &["the host qa.localhost of shop/prod leads to shop/qa, too"],
    );
    assert_eq!(
        answers(&ward, "dev").as_deref(),
        Some("two"),
        "nothing was begun"
    );
}

/// In dev a new release takes a part of the requests until somebody says more.
const HELD: &str = r#"service.web.deploy = { strategy = "canary", steps = [{ weight = 10, hold = "until_told" }] }
[environment.qa]"#;

/// All three serve `one`, and a command brings `two` to them; it waits in dev.
fn on_its_way(ward: &Ward) -> Child {
    let environments = ENVIRONMENTS.replace("[environment.qa]", HELD);
    ward.stack(r#"ANSWER = "one""#, &environments);
    each(ward, "dev,qa,prod", &[]).success();
    ward.stack(r#"ANSWER = "two""#, &environments);
    let dir = ward.dir().to_str().unwrap().to_owned();
    let mut command = ward.command(&["deploy", &dir, "--envs", "dev,qa,prod"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    eventually("dev waits to be told", || {
        let status = ward.ok(&["status", "--env", "dev"]);
        status.contains("takes 10 %")
    });
    ward.stack(r#"ANSWER = "fix""#, &environments);
    child
}

fn ended(child: Child) -> Ran {
    Ran::of(
        &["deploy", "--envs", "dev,qa,prod"],
        child.wait_with_output().unwrap(),
    )
}

#[test]
fn nobody_waits_for_environments_whose_turn_is_to_come_and_nobody_is_overruled_there() {
    let ward = Ward::new();
    let child = on_its_way(&ward);
    let status = ward.ok(&["status", "--env", "prod"]);
    assert!(
        status.contains("comes when the environments before it are done"),
        "{status}"
    );
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--env", "prod", "--why", "a hotfix"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("fix"));
    ward.ok(&["env", "sleep", "qa"]);
    ward.ok(&["deployment", "promote", "--env", "dev"]);
    ended(child).fails(
        1,
        &[
            "shop/prod was moved to r2 (d2) by uid:",
            "(\"a hotfix\") since this was asked for; nothing was changed; r2 serves as before",
            "the same command again",
            "shop/prod did not succeed",
        ],
    );
    let served = ["dev", "qa", "prod"].map(|env| answers(&ward, env).unwrap());
    assert_eq!(served, ["two", "two", "fix"], "that it slept is no move");
    let events = ward.ok(&["events", "--env", "prod"]);
    assert!(events.contains("since this was asked for"), "{events}");
    let again = ENVIRONMENTS.replace("[environment.qa]", HELD);
    ward.stack(r#"ANSWER = "two""#, &again);
    each(&ward, "dev,qa,prod", &[]).success();
    assert_eq!(answers(&ward, "prod").as_deref(), Some("two"));
}

#[test]
fn who_takes_down_or_cancels_a_turn_that_is_to_come_does_not_wait_for_it() {
    let ward = Ward::new();
    let child = on_its_way(&ward);
    let since = std::time::Instant::now();
    let cancelled = ward.run(&["deployment", "cancel", "--env", "prod"]);
    cancelled.success();
    assert!(
        cancelled.stderr().contains("the build of shop/prod that"),
        "{cancelled:?}"
    );
    ward.ok(&["down", "--env", "qa"]);
    assert!(since.elapsed().as_secs() < 9, "{:?}", since.elapsed());
    ward.ok(&["deployment", "promote", "--env", "dev"]);
    ended(child).fails(
        1,
        &[
            "the deploy was ended before its turn came because shop/qa was taken down by uid:",
            "shop/qa did not succeed; prod was not begun",
        ],
    );
    assert_eq!(answers(&ward, "prod").as_deref(), Some("one"));
    assert_eq!(answers(&ward, "qa"), None);
}
