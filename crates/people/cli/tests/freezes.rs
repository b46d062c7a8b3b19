//! A run of a pipeline before a stage to which nothing is deployed today.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::pipelines::{CHECKED, comes_to, ruled, run, shown};
use support::{Ward, answers, eventually, kill9};

const FROZEN: &str = "policy.freeze = [\"2000-01-01/2999-12-31\"]";
const WAITS: &str = "shop/prod waits for the end of a freeze: nothing is deployed from 2000-01-01 to 2999-12-31 (UTC)";

fn waits(ward: &Ward, id: &str) -> bool {
    let run = shown(ward, id);
    run["position"]["at"] == "deploying" && run["stands"].as_str().unwrap().contains(WAITS)
}

/// A run that waits before `prod`.
fn frozen() -> Ward {
    let ward = Ward::new();
    ruled(&ward, "good", FROZEN, CHECKED);
    let begun = run(&ward);
    begun.success();
    let said = begun.stderr();
    for text in [
        "shop/prod, a later stage, is frozen: nothing is deployed from 2000-01-01 to 2999-12-31 (UTC)",
        "p1 goes as far as that and waits there for the end of the freeze",
        "`ward policy waive freeze --env shop/prod --until DATE --why TEXT` lets it go on",
        WAITS,
        "`ward pipeline reject p1` ends it",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let warned = said.find("a later stage, is frozen").unwrap();
    assert!(
        warned < said.find("the check of shop/dev").unwrap(),
        "{said}"
    );
    let served = ["dev", "qa", "prod"].map(|env| answers(&ward, env));
    assert_eq!(served, [Some("good".into()), Some("good".into()), None]);
    assert!(waits(&ward, "p1"), "{:#}", shown(&ward, "p1"));
    ward
}

#[test]
fn a_run_says_at_its_beginning_that_a_later_stage_is_frozen_and_waits_before_it() {
    let ward = frozen();
    let shows = ward.ok(&["pipeline", "show"]);
    assert!(shows.contains("waits for the end of a freeze"), "{shows}");
    let one = ward.ok(&["pipeline", "show", "p1"]);
    assert!(one.contains("`ward pipeline reject p1` ends it\n"), "{one}");
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    eventually("it waits again", || waits(&ward, "p1"));
    let waive = ["policy", "waive", "freeze", "--env", "shop/prod"];
    ward.ok(&[&waive[..], &["--until", "1h", "--why", "a fix"]].concat());
    comes_to(&ward, "p1", "ended");
    let outcome = &shown(&ward, "p1")["position"]["outcome"]["outcome"];
    assert_eq!(outcome, "succeeded");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // Nothing changes: nobody waits for the end of anything.
    ward.ok(&["policy", "enforce", "freeze", "--env", "shop/prod"]);
    let again = run(&ward);
    again.success();
    assert!(!again.stderr().contains("freeze"), "{again:?}");
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_run_that_waits_for_the_end_of_a_freeze_is_ended_by_a_word_and_by_whatever_else_is_forbidden() {
    let ward = frozen();
    ward.ok(&["pipeline", "reject", "p1", "--why", "not this year"]);
    comes_to(&ward, "p1", "ended");
    assert_eq!(answers(&ward, "prod"), None);
    let more = format!("{FROZEN}\npolicy.host_base = \"deny\"");
    ruled(&ward, "good", &more, CHECKED);
    let failed = run(&ward);
    failed.fails(
        1,
        &[
            "shop/prod, a later stage, is frozen",
            "its policy forbids it",
            "(host_base)",
            "(freeze)",
        ],
    );
}
