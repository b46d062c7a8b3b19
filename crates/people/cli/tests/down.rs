//! Environments that are down, and how they come up again.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::pipelines::{CHECKED, ruled, run};
use support::{Ward, answers};

const RULE: &str = "policy.pipeline = \"deny\"";

/// The reason of the newest deployment of prod.
fn reason(ward: &Ward) -> String {
    let show = ["deployment", "show", "--env", "prod", "--output", "json"];
    let shown: Value = serde_json::from_str(&ward.ok(&show)).unwrap();
    shown["deployment"]["reason"].as_str().unwrap().to_owned()
}

fn releases(ward: &Ward) -> String {
    let ran = ward.run(&["releases", "--env", "prod"]);
    ran.stderr() + &ran.success()
}

/// The folder has moved on, and its policy lets nothing in that went through no pipeline.
#[test]
fn what_is_down_comes_up_as_it_was_whatever_the_folder_holds() {
    let ward = Ward::new();
    ruled(&ward, "good", RULE, CHECKED);
    run(&ward).success();
    ward.ok(&["down", "--env", "prod"]);
    ruled(&ward, "edited", RULE, CHECKED);
    let way = "`ward rollback --to r1 --env shop/prod` brings up r1 as it was";
    let gates = "has not passed the gates before it";
    ward.run(&["deploy", "--env", "prod"])
        .fails(1, &[gates, way, "ward policy waive pipeline"]);
    let down = "shop/prod is down";
    for (asked, says) in [
        (&["env", "wake", "prod"][..], down),
        (&["rollback", "--env", "prod"], "r1 served last"),
        (&["rollforward", "--env", "prod"], "r1 served last"),
        (
            &["promote", "--from", "prod", "--to", "qa"],
            "nothing serves",
        ),
    ] {
        ward.run(asked).fails(1, &[says, way]);
    }
    let listed = releases(&ward);
    assert!(listed.contains("r1 (served last)"), "{listed}");
    assert!(listed.contains(down) && listed.contains(way), "{listed}");
    let one = ward.ok(&["releases", "show", "r1", "--env", "prod"]);
    assert!(one.contains("served last; it is down"), "{one}");
    assert_eq!(answers(&ward, "prod"), None);

    ward.ok(&["rollback", "--to", "r1", "--env", "prod"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    assert_eq!(reason(&ward), "up");
    let listed = releases(&ward);
    assert!(listed.contains("r1 (serves)"), "{listed}");
    assert!(!listed.contains("is down"), "{listed}");
    ward.run(&["rollback", "--to", "r1", "--env", "prod"])
        .fails(1, &["r1 serves already"]);

    // Another one that served before is gone back to; and what was purged comes up, too.
    ward.ok(&["config", "set", "A=1", "--env", "prod"]);
    ward.ok(&["down", "--env", "prod"]);
    ward.ok(&["rollback", "--to", "r1", "--env", "prod"]);
    assert_eq!(reason(&ward), "rollback");
    assert!(releases(&ward).contains("r1 (serves)"));
    ward.ok(&["down", "--env", "prod", "--purge", "--yes"]);
    ward.ok(&["rollback", "--to", "r1", "--env", "prod"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    ward.ok(&["audit", "verify"]);
}

/// `ward down` stops everything; one command brings it back, what was purged or deleted not.
#[test]
fn everything_that_is_down_comes_up_by_one_command() {
    let ward = Ward::new();
    ruled(&ward, "good", "", CHECKED);
    ward.ok(&["deploy", "--envs", "qa,prod"]);
    ward.ok(&["env", "create", "purged", "--from", "qa"]);
    ward.ok(&["down", "--env", "purged", "--purge", "--yes"]);
    ward.ok(&["down"]);
    ruled(&ward, "edited", "", CHECKED);
    let said = ward.run(&["up", "--all", "--why", "the disk is changed"]);
    said.success();
    for env in ["qa", "prod"] {
        assert_eq!(answers(&ward, env).as_deref(), Some("good"), "{said:?}");
    }
    let shown = ward.ok(&["env", "show", "purged", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["state"], "purged");
    let said = ward.run(&["up", "--all"]);
    assert!(said.stderr().contains("nothing is down"), "{said:?}");
}

/// One that cannot come up keeps the others from nothing, and is tried again by the same command.
#[test]
fn who_does_not_come_up_is_named_and_the_others_do() {
    let ward = Ward::new();
    ruled(&ward, "good", "policy.reason = \"deny\"", CHECKED);
    ward.ok(&["deploy", "--envs", "qa,prod", "--why", "the first"]);
    ward.ok(&["down", "--why", "the disk is changed"]);
    ward.run(&["up", "--all"])
        .fails(1, &["--why", "shop/prod did not come up"]);
    assert_eq!(answers(&ward, "prod"), None);
    assert_eq!(answers(&ward, "qa").as_deref(), Some("good"));
    ward.ok(&["up", "--all", "--why", "the disk is changed"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
}
