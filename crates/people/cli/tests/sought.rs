//! What is looked for in the log and in lists: whose number is meant, how many are shown, and that nothing was found.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::{Ran, Ward};

const TWO: &str =
    "[environment.dev]\n[environment.prod]\nservice.web.route.host = \"prod.localhost\"";

/// Nothing but this sentence is said, and that is no error.
fn says_only(ran: &Ran, sentence: &str) {
    assert_eq!(ran.success(), "", "{ran:?}");
    assert_eq!(ran.stderr().trim(), sentence, "{ran:?}");
}

fn deployed(ward: &Ward, answer: &str, env: &str) {
    ward.stack(&format!("ANSWER = \"{answer}\""), TWO);
    ward.ok(&["deploy", "--env", env]);
}

#[test]
fn a_number_that_several_environments_have_is_none_without_its_environment() {
    let ward = Ward::new();
    deployed(&ward, "one", "dev");
    deployed(&ward, "two", "dev");
    let of = |arguments: &[&str]| {
        let events = ward.ok(&[&["events", "--output", "json"], arguments].concat());
        let envs = events.lines().map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["event"]["env"].as_str().unwrap().to_owned()
        });
        let mut envs: Vec<String> = envs.collect();
        envs.dedup();
        envs
    };
    let dev = ["shop/dev"];
    assert_eq!(of(&["--release", "r1"]), dev, "there is no other");
    deployed(&ward, "one", "prod");
    let several = [
        "several environments have had a release r1: shop/dev, shop/prod",
        "--env",
    ];
    ward.run(&["events", "--release", "r1"]).fails(1, &several);
    ward.run(&["events", "--release", "r1", "--follow"])
        .fails(1, &several);
    ward.run(&["events", "--deployment", "d1"])
        .fails(1, &["several environments have had a deployment d1"]);
    assert_eq!(of(&["--release", "r1", "--env", "prod"]), ["shop/prod"]);
    assert_eq!(of(&["--release", "r2"]), dev, "only dev has it");
    // What is gone is no longer meant, and still found by its name.
    ward.ok(&["env", "delete", "prod", "--yes"]);
    assert_eq!(of(&["--release", "r1"]), dev);
    assert_eq!(of(&["--release", "r1", "--env", "prod"]), ["shop/prod"]);
}

#[test]
fn a_filter_that_nothing_fits_says_so() {
    let ward = Ward::new();
    deployed(&ward, "one", "dev");
    let nobody: &[&[&str]] = &[
        &["--by", "nobody"],
        &["--release", "r9"],
        &["--release", "r9", "--env", "dev"],
        &["--deployment", "d9"],
        &["--until", "2001-01-01"],
    ];
    for filter in nobody {
        let events = [&["events"], *filter].concat();
        says_only(&ward.run(&events), "no events match");
        let json = ward.ok(&[&events[..], &["--output", "json"]].concat());
        assert_eq!(json, "");
    }
    says_only(
        &ward.run(&["logs", "--access", "--since", "1ms"]),
        "no requests match",
    );
    says_only(
        &ward.run(&["logs", "web", "--since", "1ms"]),
        "no lines match: nothing that was asked for was written in the last 1ms",
    );
}

#[test]
fn releases_are_shown_as_many_as_are_asked_for() {
    let ward = Ward::new();
    for answer in ["one", "two", "three"] {
        deployed(&ward, answer, "dev");
    }
    let ids = |arguments: &[&str]| {
        let shown = ward.ok(&[&["releases", "--output", "json"], arguments].concat());
        let shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
        let ids = shown.iter().map(|one| one["id"].as_u64().unwrap());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), [3, 2, 1]);
    assert_eq!(ids(&["-n", "2"]), [3, 2]);
    assert_eq!(ids(&["--limit", "9"]), [3, 2, 1]);
    let one = ward.ok(&["releases", "-n", "1"]);
    assert!(one.contains("r3") && !one.contains("r2"), "{one}");
}
