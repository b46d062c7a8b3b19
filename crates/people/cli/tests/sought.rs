//! What is looked for in the log and in lists: whose number is meant, how many are shown, who brought what is
//! found, and that nothing was found.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::pipelines::{CHECKED, comes_to, declare};
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
    // What never was has no events that could be missing.
    ward.run(&["events", "--env", "shop/dve"]).fails(
        1,
        &["there is no environment shop/dve", "did you mean shop/dev?"],
    );
    ward.run(&["job", "history", "tick"])
        .fails(1, &["there is no job tick in shop/dev"]);
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
    ward.run(&["releases", "-n", "0"])
        .fails(2, &["a whole number is needed, 1 at least"]);
}

#[test]
fn a_run_that_finds_its_build_serving_has_not_brought_it() {
    let ward = Ward::new();
    declare(&ward, "good", CHECKED);
    ward.ok(&["deploy", "--env", "dev", "--why", "by hand"]);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["pipeline", "run", "delivery", &dir, "--why", "CR-5"]);
    comes_to(&ward, "p1", "ended");
    let releases = |env: &str| ward.ok(&["releases", "--env", env]);
    let (dev, qa) = (releases("dev"), releases("qa"));
    assert!(dev.contains("“by hand”") && !dev.contains("p1"), "{dev}");
    assert!(qa.contains("p1: “CR-5”"), "{qa}");
    let one = ward.ok(&["releases", "show", "r1", "--env", "dev"]);
    let found = "none brought it; it was found here by p1 of delivery, begun by";
    assert!(one.contains(found) && one.contains("“by hand”"), "{one}");
    let events = ward.ok(&["events", "-n", "1000"]);
    for said in [
        "shop/dev p1 found r1 serving",
        "shop/qa p1 goes by d1 to r1",
    ] {
        assert!(events.contains(said), "{said}: {events}");
    }
    // Whoever brings up what was recorded before has not recorded it.
    ward.ok(&["down", "--env", "dev"]);
    let again = ["pipeline", "run", "delivery", &dir, "--why", "CR-6"];
    ward.ok(&again);
    comes_to(&ward, "p2", "ended");
    let dev = releases("dev");
    assert!(dev.contains("“by hand”") && !dev.contains("p2"), "{dev}");
}
