//! Notices: a program of the installation's is told what people should know who do not look.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::Value;
use support::{Ward, eventually, kill9, poll};

const COPIED: &str = "[environment.prod]";

/// What the program does, which finds its notice on its standard input.
fn notify(ward: &Ward, script: &str) {
    let beside = ward.home().join("notify.new");
    fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(beside, ward.home().join("notify")).unwrap();
}

/// What was written to a file of the state folder, by kind.
fn told_in(ward: &Ward, file: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(ward.home().join(file)).unwrap_or_default();
    let all = text.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let kind = record["event"]["kind"].as_str().unwrap().to_owned();
        (record["seq"].as_u64().unwrap(), kind)
    });
    all.collect()
}

fn kinds(ward: &Ward, file: &str) -> Vec<String> {
    told_in(ward, file)
        .into_iter()
        .map(|(_, kind)| kind)
        .collect()
}

fn waive(ward: &Ward) {
    let waive = ["policy", "waive", "tls", "--env", "prod", "--until", "1h"];
    ward.ok(&[&waive[..], &["--why", "a test"]].concat());
}

fn notices(ward: &Ward) -> Value {
    ward.status()["server"]["notices"].clone()
}

#[test]
fn what_people_care_for_is_told_as_the_events_show_it_and_the_end_of_an_environment_before() {
    let ward = Ward::new();
    notify(&ward, r#"cat >> "$WARD_HOME/told""#);
    ward.stack(r#"ANSWER = "one""#, COPIED);
    ward.ok(&["deploy", "--env", "prod"]);
    ward.ok(&["env", "create", "demo", "--from", "prod", "--ttl", "20s"]);
    let told = |kind: &str| kinds(&ward, "told").iter().any(|told| told == kind);
    let warned = poll(Duration::from_secs(100), || told("expiry_near"));
    assert!(warned, "{:?}", kinds(&ward, "told"));
    let events = ward.ok(&["events", "--output", "json", "-n", "1000"]);
    for line in fs::read_to_string(ward.home().join("told"))
        .unwrap()
        .lines()
    {
        assert!(events.lines().any(|event| event == line), "{line}");
    }
    assert!(notices(&ward)["trouble"].is_null());
    eventually("its end is told", || told("environment_deleted"));
    let of_both = [
        "environment_created",
        "deployment_moved",
        "environment_created",
        "deployment_moved",
        "expiry_near",
        "environment_ending",
        "environment_deleted",
    ];
    assert_eq!(kinds(&ward, "told"), of_both);
    // Without the program nothing is told, also not later.
    fs::rename(ward.home().join("notify"), ward.home().join("away")).unwrap();
    waive(&ward);
    assert!(notices(&ward).is_null());
    eventually("its place is forgotten", || {
        !ward.home().join("notices.json").exists()
    });
    fs::rename(ward.home().join("away"), ward.home().join("notify")).unwrap();
    ward.ok(&["policy", "enforce", "tls", "--env", "prod"]);
    eventually("it is told again", || told("policy_enforced"));
    assert_eq!(
        kinds(&ward, "told"),
        [&of_both[..], &["policy_enforced"]].concat()
    );
}

#[test]
fn a_program_that_hangs_or_fails_holds_nobody_up_and_is_told_of() {
    let ward = Ward::new();
    notify(&ward, "sleep 1000 & sleep 1000");
    ward.stack(r#"ANSWER = "one""#, COPIED);
    ward.ok(&["deploy", "--env", "prod"]);
    waive(&ward);
    let says = |what: &str| {
        notices(&ward)["trouble"]
            .as_str()
            .is_some_and(|said| said.contains(what))
    };
    eventually("it is said that it hangs", || {
        says("took longer than 10 s, and was ended")
    });
    notify(&ward, "echo no chat today >&2; exit 3");
    eventually("it is said that it fails", || says("no chat today"));
    let status = ward.run(&["status"]);
    assert!(status.stderr().contains("did not take event"), "{status:?}");
    let doctor = ward.run(&["doctor"]);
    assert!(
        doctor.code() == 1 && doctor.stdout().contains("no chat today"),
        "{doctor:?}"
    );
    // Once it works it gets what it did not take, and what came behind.
    notify(&ward, r#"cat >> "$WARD_HOME/told""#);
    let told = || kinds(&ward, "told");
    let taken = poll(Duration::from_secs(90), || told().len() >= 3);
    assert!(taken, "{:?}", notices(&ward));
    assert_eq!(
        told(),
        ["environment_created", "deployment_moved", "policy_waived"]
    );
    assert!(notices(&ward)["trouble"].is_null());
}

#[test]
fn p4_a_server_that_was_killed_goes_on_where_it_was() {
    let ward = Ward::new();
    notify(
        &ward,
        r#"read -r line; echo "$line" >> "$WARD_HOME/begun"
while [ -e "$WARD_HOME/hold" ]; do sleep 0.05; done
echo "$line" >> "$WARD_HOME/told""#,
    );
    ward.stack(r#"ANSWER = "one""#, COPIED);
    ward.ok(&["deploy", "--env", "prod"]);
    let is_told = |what: &[&str]| {
        eventually("it is told", || kinds(&ward, "told") == what);
    };
    is_told(&["environment_created", "deployment_moved"]);
    fs::write(ward.home().join("hold"), "").unwrap();
    waive(&ward);
    ward.ok(&["policy", "enforce", "tls", "--env", "prod"]);
    let begun = || kinds(&ward, "begun");
    eventually("it is begun", || begun().len() == 3);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    eventually("it is begun again", || begun().len() == 4);
    assert_eq!(begun()[2..], ["policy_waived", "policy_waived"]);
    fs::remove_file(ward.home().join("hold")).unwrap();
    is_told(&[
        "environment_created",
        "deployment_moved",
        "policy_waived",
        "policy_enforced",
    ]);
    ward.ok(&["down"]);
    ward.ok(&["up", "--platform"]);
    waive(&ward);
    eventually("it is told", || kinds(&ward, "told").len() == 5);
    let seqs: Vec<u64> = told_in(&ward, "told").iter().map(|(seq, _)| *seq).collect();
    assert!(seqs.windows(2).all(|two| two[0] < two[1]), "{seqs:?}");
    ward.ok(&["audit", "verify"]);
}
