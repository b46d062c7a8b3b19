//! A run of a pipeline before a stage to which nothing is deployed today.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use support::pipelines::{CHECKED, comes_to, ruled, run, shown};
use support::sources::{runs, standings};
use support::work::{PIPELINE, Work, stack};
use support::{APP, Ward, answers, eventually, kill9};

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
    // Whatever it stands in the way of says what it waits for, too, and what lets it go on.
    let waive = "`ward policy waive freeze --env shop/prod --until DATE --why TEXT` lets it go on";
    let promote = ["promote", "--from", "qa", "--to", "prod"];
    let way = "1.0.1 is on its way to shop/prod in the pipeline delivery (p1)";
    ward.run(&promote).fails(1, &[way, WAITS, waive]);
    let asked = "is not asked for a word yet; p1 stays where it is";
    let approve = ["pipeline", "approve", "p1"];
    ward.run(&approve).fails(1, &[asked, WAITS, waive]);
    ruled(&ward, "better", FROZEN, CHECKED);
    run(&ward).fails(1, &["is under way", WAITS, waive]);
    ruled(&ward, "good", FROZEN, CHECKED);
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

/// The installation lets nothing be deployed to an environment today.
fn freeze(ward: &Ward, env: &str) {
    let rule = format!("[environment.{env}]\n{FROZEN}\n");
    fs::write(ward.home().join("policy.toml"), rule).unwrap();
}

#[test]
fn a_run_whose_first_stage_is_frozen_does_not_begin_whatever_its_build_turns_out_to_be() {
    let ward = Ward::new();
    ruled(&ward, "good", "", CHECKED);
    ward.ok(&["deploy", "--env", "dev"]);
    freeze(&ward, "dev");
    ward.write("app.py", &format!("{APP}\n# another\n"));
    run(&ward).fails(1, &["nothing is deployed from 2000-01-01 to 2999-12-31"]);
    ward.run(&["pipeline", "show", "p1"])
        .fails(1, &["there is no run p1"]);
}

#[test]
fn whoever_pushes_is_told_which_later_stage_is_frozen_and_begins_no_run_whose_first_stage_is() {
    let ward = Ward::new();
    let work = Work::new();
    ward.ok(&["up", "--platform"]);
    let add = ["source", "add", "app", "--hosted", "--branch", "main"];
    ward.ok(&[&add[..], &["--pipeline", "delivery"]].concat());
    let remote = ward.ok(&["source", "show", "app", "--remote"]);
    work.git(&["remote", "add", "ward", remote.trim()]);
    // What serves was made of changes that no commit held: only the commit is another one.
    work.commit("before", PIPELINE);
    work.write("ward.toml", &stack("good", PIPELINE));
    ward.ok(&["deploy", work.text(), "--env", "dev"]);
    work.commit("good", PIPELINE);
    freeze(&ward, "dev");
    let pushed = format!("{:?}", work.tried(&["push", "ward", "main"]));
    assert!(pushed.contains("nothing is deployed from"), "{pushed}");
    assert!(runs(&ward).is_empty(), "{:#?}", runs(&ward));
    let failed = |(_, is): &(String, String)| is == "failed";
    assert!(standings(&ward, "app").iter().any(failed));

    freeze(&ward, "prod");
    work.git(&["commit", "-q", "--allow-empty", "-m", "Again"]);
    let pushed = format!("{:?}", work.tried(&["push", "ward", "main"]));
    let told = "shop/prod, a later stage, is frozen: nothing is deployed from";
    let waits = "p1: shop/prod waits for the end of a freeze";
    let at = |text: &str| {
        pushed
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {pushed}"))
    };
    assert!(at(told) < at(waits), "{pushed}");
}
