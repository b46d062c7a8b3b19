//! Deployments that are left alone, watched, overtaken and cancelled.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;
use support::load::get;
use support::{Ward, alive, eventually};

const HOST: &str = "shop.localhost";

fn serves(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

fn up() -> Ward {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    ward.up();
    ward
}

/// The stack file of a release whose build waits for the file `go`, and says its processes' ids in `pids`.
fn slow_build(ward: &Ward, answer: &str) {
    ward.stack(&format!(r#"ANSWER = "{answer}""#), "");
    let file = ward.dir().join("ward.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let waits = "sleep 1000 & echo $$ $! > pids.new; mv pids.new pids; \
        until test -e go; do sleep 0.02; done; kill $!";
    let slow = format!(r#"build = {{ command = ["sh", "-c", "{waits}"], "#);
    std::fs::write(&file, text.replace("build = { ", &slow)).unwrap();
    let _ = std::fs::remove_file(ward.dir().join("pids"));
}

/// The processes of a build that has begun.
fn building(ward: &Ward) -> Vec<i32> {
    let file = ward.dir().join("pids");
    eventually("the build begins", || file.exists());
    let text = std::fs::read_to_string(file).unwrap();
    let pids: Vec<i32> = text
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");
    pids
}

fn are_gone(pids: &[i32]) {
    eventually("the build's processes are gone", || {
        !pids.iter().any(|pid| alive(*pid))
    });
}

fn begun(ward: &Ward, arguments: &[&str]) -> Child {
    let mut command = ward.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// How a command that was begun ended, and what it said.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[track_caller]
fn fails_with(child: Child, sentence: &str) -> String {
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(sentence),
        "it does not say {sentence:?}: {said}"
    );
    said
}

fn releases(ward: &Ward) -> Vec<Value> {
    serde_json::from_str(&ward.ok(&["releases", "--output", "json"])).unwrap()
}

/// A release that never becomes healthy, on its way: `d2` to `r2`.
fn stuck() -> Ward {
    let ward = up();
    ward.stack(r#"ANSWER = "two", MODE = "hang""#, "");
    let said = ward.ok(&["deploy", "--no-wait", "--output", "json"]);
    assert!(said.contains("d2 is recorded"), "{said}");
    eventually("r2 is starting", || {
        shown(&ward, "d2")["deployment"]["phase"] == "rolling"
    });
    ward
}

fn shown(ward: &Ward, deployment: &str) -> Value {
    let detail = ward.ok(&["deployment", "show", deployment, "--output", "json"]);
    serde_json::from_str(&detail).unwrap()
}

#[test]
fn a_deployment_is_cancelled_with_proof_that_nothing_of_it_runs() {
    let ward = stuck();
    let shown_to_people = ward.ok(&["deployment", "show"]);
    assert!(
        shown_to_people.contains("carried on by the server t1 (process"),
        "{shown_to_people}"
    );
    eventually("it says what it waits for, and until when", || {
        let waiting = shown(&ward, "d2")["waiting"].to_string();
        waiting.contains("web of r2") && waiting.contains("start_timeout")
    });
    let cancelled = ward.run(&["deployment", "cancel", "--why", "a mistake"]);
    let said = cancelled.stderr();
    assert!(
        said.contains("nothing of r2 runs, and no request goes to it"),
        "{said}"
    );
    assert!(
        said.contains("d2 to r2 is cancelled by uid:") && said.contains("(failed, old serving)"),
        "{said}"
    );
    cancelled.success();
    serves(&ward, "one");
    let of_two = ward.instances("web");
    assert!(
        of_two.iter().all(|instance| instance["release"] == 1),
        "{of_two:?}"
    );
    let detail = shown(&ward, "d2");
    assert_eq!(detail["deployment"]["verdict"], "failed_old_serving");
    assert!(detail["cancelled"].is_string(), "{detail}");
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("deployment d2 cancelled") && events.contains("a mistake"),
        "{events}"
    );
    ward.run(&["deployment", "cancel", "d2"])
        .fails(1, &["d2", "has ended already"]);
    ward.run(&["deployment", "cancel"])
        .fails(1, &["no deployment", "is under way"]);
    ward.run(&["deployment", "show", "d9"])
        .fails(1, &["has no deployment d9"]);
}

#[test]
fn a_deploy_that_supersedes_does_not_wait_for_one_that_hangs() {
    let ward = stuck();
    let mut watching = ward
        .command(&["deployment", "watch", "d2"])
        .spawn()
        .unwrap();
    ward.stack(r#"ANSWER = "three""#, "");
    ward.ok(&["deploy", "--supersede"]);
    serves(&ward, "three");
    assert_eq!(
        shown(&ward, "d2")["deployment"]["verdict"],
        "failed_old_serving"
    );
    assert_eq!(
        watching.wait().unwrap().code(),
        Some(1),
        "who watched is told of the failure"
    );
    ward.run(&["deployment", "watch"]).success();
}

#[test]
fn taking_everything_down_ends_the_very_first_build_and_the_platform() {
    let ward = Ward::new();
    slow_build(&ward, "one");
    let first = begun(&ward, &["up"]);
    let pids = building(&ward);
    let status = ward.ok(&["status"]);
    assert!(
        status.contains("Building web of shop/dev since") && status.contains("asked for by uid:"),
        "{status}"
    );
    let down = ward.run(&["down"]);
    assert!(
        down.stderr().contains("the platform is stopped"),
        "{down:?}"
    );
    down.success();
    fails_with(
        first,
        "the build was ended because shop/dev was taken down by uid:",
    );
    are_gone(&pids);
    assert_eq!(ward.processes(), Vec::<String>::new());
}

#[test]
fn an_environment_that_is_taken_down_is_not_brought_up_by_what_was_being_built() {
    let ward = up();
    slow_build(&ward, "two");
    let deploy = begun(&ward, &["deploy"]);
    let pids = building(&ward);
    let waits = begun(&ward, &["deploy"]);
    eventually("it waits in the lane", || {
        ward.ok(&["status"]).contains("waits to be built")
    });
    ward.ok(&["down", "--env", "dev"]);
    are_gone(&pids);
    let said = fails_with(
        deploy,
        "the build was ended because shop/dev was taken down by uid:",
    );
    assert!(said.contains("nothing was changed"), "{said}");
    fails_with(waits, "the deploy was ended before it was built because");
    assert_eq!(ward.status()["environments"][0]["goal"], "down");
    assert_eq!(releases(&ward).len(), 1);
}

#[test]
fn a_build_is_cancelled_and_what_serves_goes_on() {
    let ward = up();
    slow_build(&ward, "two");
    let deploy = begun(&ward, &["deploy"]);
    let pids = building(&ward);
    let shown = ward.ok(&["deployment", "show"]);
    assert!(shown.contains("Building web of shop/dev since"), "{shown}");
    let cancelled = ward.run(&["deployment", "cancel"]);
    assert!(
        cancelled
            .stderr()
            .contains("the build of shop/dev that uid:"),
        "{cancelled:?}"
    );
    cancelled.success();
    are_gone(&pids);
    let said = fails_with(deploy, "the build was ended because uid:");
    assert!(said.contains("r1 serves as before"), "{said}");
    serves(&ward, "one");
    ward.run(&["deployment", "cancel"])
        .fails(1, &["no deployment of shop/dev is under way"]);
}

#[test]
fn a_deploy_that_supersedes_ends_the_builds_before_it() {
    let ward = up();
    slow_build(&ward, "two");
    let deploy = begun(&ward, &["deploy"]);
    let pids = building(&ward);
    let waits = begun(&ward, &["deploy"]);
    eventually("it waits in the lane", || {
        ward.ok(&["status"]).contains("waits to be built")
    });
    ward.stack(r#"ANSWER = "three""#, "");
    let third = ward.run(&["deploy", "--supersede"]);
    assert!(third.stderr().contains("is superseded"), "{third:?}");
    third.success();
    serves(&ward, "three");
    are_gone(&pids);
    for child in [deploy, waits] {
        fails_with(child, "superseded it");
    }
    assert_eq!(releases(&ward).len(), 2);
}

#[test]
fn a_rollback_does_not_wait_for_a_build() {
    let ward = up();
    ward.stack(r#"ANSWER = "two""#, "");
    ward.ok(&["deploy"]);
    slow_build(&ward, "three");
    let deploy = begun(&ward, &["deploy"]);
    let pids = building(&ward);
    ward.ok(&["rollback"]);
    serves(&ward, "one");
    assert!(
        pids.iter().all(|pid| alive(*pid)),
        "it is built all the while"
    );
    ward.write("go", "");
    assert_eq!(ended(deploy).0, Some(0));
    serves(&ward, "three");
}

#[test]
fn a_cancelled_deployment_says_by_whom_and_whether_it_had_begun() {
    let ward = stuck();
    ward.stack(r#"ANSWER = "three""#, "");
    ward.ok(&["deploy", "--no-wait"]);
    let cancelled = ward.run(&["deployment", "cancel", "d3"]);
    assert!(
        cancelled.stderr().contains("before it began"),
        "{cancelled:?}"
    );
    cancelled.success();
    ward.ok(&["deployment", "cancel", "d2"]);
    let shown_to_people = ward.ok(&["deployment", "show", "d3"]);
    let releases = ward.ok(&["releases"]);
    let said = |text: &str, end: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.contains("cancelled by uid:") && line.contains(end))
    };
    assert!(
        said(&shown_to_people, "before it began"),
        "{shown_to_people}"
    );
    assert!(said(&releases, "before it began"), "{releases}");
    assert!(said(&releases, "(failed, old serving)"), "{releases}");
    let stage = |id| shown(&ward, id)["deployment"]["cancelled"]["stage"].clone();
    assert_eq!(
        (stage("d2"), stage("d3")),
        ("under_way".into(), "before_it_began".into())
    );
}

#[test]
fn many_that_supersede_at_once_cancel_a_deployment_once() {
    let ward = stuck();
    ward.stack(r#"ANSWER = "three""#, "");
    let arguments = ["deploy", "--supersede", "--force"];
    let all: Vec<Child> = (0..3).map(|_| begun(&ward, &arguments)).collect();
    let said: String = all.into_iter().map(|child| ended(child).1).collect();
    assert!(said.contains("d2 to r2, asked for by uid:"), "{said}");
    serves(&ward, "three");
    let events = ward.ok(&["events"]);
    for deployment in 2..6 {
        let sentence = format!("deployment d{deployment} cancelled");
        assert!(events.matches(&sentence).count() <= 1, "{events}");
    }
    assert_eq!(
        events.matches("deployment d2 cancelled").count(),
        1,
        "{events}"
    );
}

#[test]
fn a_deploy_of_what_serves_changes_nothing_whatever_failed_since() {
    let ward = stuck();
    ward.ok(&["deployment", "cancel"]);
    ward.stack(r#"ANSWER = "one""#, "");
    let again = ward.run(&["deploy"]);
    assert!(again.stderr().contains("nothing changed: r1"), "{again:?}");
    again.success();
    assert_eq!(releases(&ward).len(), 2);
}

#[test]
fn a_deploy_of_what_serves_takes_back_what_leads_elsewhere_without_a_copy() {
    let ward = stuck();
    ward.stack(r#"ANSWER = "one""#, "");
    let back = ward.run(&["deploy", "--supersede"]);
    assert!(back.stderr().contains("d3 to r1: succeeded"), "{back:?}");
    back.success();
    serves(&ward, "one");
    assert_eq!(shown(&ward, "d3")["deployment"]["reason"], "rollback");
    assert_eq!(releases(&ward).len(), 2);
}

#[test]
fn what_was_purged_comes_up_again_from_the_release_that_is_there() {
    let ward = up();
    ward.ok(&["down", "--env", "dev", "--purge", "--yes"]);
    ward.up();
    serves(&ward, "one");
    assert_eq!(releases(&ward).len(), 1);
    assert_eq!(shown(&ward, "d2")["deployment"]["reason"], "deploy");
}

#[test]
fn a_first_deploy_that_is_asked_for_twice_is_one_deployment() {
    let ward = Ward::new();
    ward.stack(r#"MODE = "hang""#, "");
    ward.ok(&["deploy", "--no-wait"]);
    let again = ward.run(&["deploy", "--no-wait"]);
    let said = again.stderr();
    assert!(
        said.contains("d1 leads to this very release already"),
        "{said}"
    );
    again.success();
    assert_eq!(releases(&ward).len(), 1);
    ward.run(&["deployment", "show", "d2"])
        .fails(1, &["has no deployment d2"]);
}

#[test]
fn what_is_under_way_already_is_not_queued_again() {
    let ward = up();
    let canary =
        r#"deploy = { strategy = "canary", steps = [{ weight = 10, hold = "until_told" }] }"#;
    ward.stack(r#"ANSWER = "two""#, canary);
    ward.ok(&["deploy", "--no-wait"]);
    let rolls = || shown(&ward, "d2")["waiting"].to_string().contains("10 %");
    eventually("r2 takes a share", rolls);
    let again = ward.run(&["deploy", "--no-wait"]);
    again.success();
    let said = again.stderr();
    for text in [
        "d2 leads to this very release already: r2, asked for by uid:",
        "is rolled out, at stage 1",
        "d2 is under way; `ward deployment watch d2 --env shop/dev` shows how it goes",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    // Whoever waits is told how it goes on, to its end.
    let joined = |arguments: &[&str]| {
        let said = ward.home().join(arguments[0]);
        let mut command = ward.command(arguments);
        let child = command
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap());
        let child = child.spawn().unwrap();
        let says = |what: &str| fs::read_to_string(&said).unwrap().contains(what);
        eventually("it joins", || says("d2 leads to this very release already"));
        (child, said)
    };
    let each = joined(&["deploy", "--envs", "dev"]);
    let up = joined(&["up", ward.dir().to_str().unwrap()]);
    // A different one is queued as ever.
    ward.stack(r#"ANSWER = "three""#, canary);
    ward.ok(&["deploy", "--no-wait"]);
    assert_eq!(releases(&ward).len(), 3);
    ward.ok(&["deployment", "cancel", "d3"]);
    ward.ok(&["deployment", "promote", "d2"]);
    for (mut child, said) in [each, up] {
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{}", fs::read_to_string(said).unwrap());
    }
    serves(&ward, "two");
    ward.stack(r#"ANSWER = "two""#, canary);
    let nothing = ward.run(&["deploy"]);
    assert!(nothing.stderr().contains("nothing changed"), "{nothing:?}");
    assert_eq!(releases(&ward).len(), 3);
}

#[test]
fn a_rollback_holds_when_the_platform_is_started_again() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "first""#, "");
    ward.up();
    ward.stack(r#"ANSWER = "second""#, "");
    ward.ok(&["deploy"]);
    ward.ok(&["rollback"]);
    support::kill9(ward.server_pid());
    let words = ward.run(&["status"]).stderr();
    assert!(words.contains("ward up --platform"), "{words}");
    ward.ok(&["up", "--platform"]);
    let answer = || support::load::get(&ward.http(), "shop.localhost", "/").unwrap();
    assert_eq!(answer().body, "first");
    // Nor does `up` with the source that was rolled back.
    let up = ward.run(&["up"]);
    assert!(up.stderr().contains("rolled back to r1"), "{up:?}");
    assert_eq!(answer().body, "first");
    ward.ok(&["down"]);
    ward.up();
    assert_eq!(answer().body, "first");
    ward.ok(&["deploy"]);
    assert_eq!(answer().body, "second");
}

#[test]
fn a_build_that_came_to_nothing_is_in_the_log_with_who_asked_and_why() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "first""#, "");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let failing = text.replace(
        "build = { files",
        r#"build = { command = ["sh", "-c", "exit 4"], files"#,
    );
    ward.write("ward.toml", &failing);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["up", &dir, "--why", "a bad day"])
        .fails(1, &["exit status 4"]);
    let events = ward.ok(&["events"]);
    assert!(events.contains("the build of web failed"), "{events}");
    assert!(events.contains("a bad day"), "{events}");
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
}
