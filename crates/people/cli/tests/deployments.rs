//! Deployments that are left alone, watched, overtaken and cancelled.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::load::get;
use support::{Ward, eventually};

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
        said.contains("d2 to r2 is cancelled: failed_old_serving"),
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
