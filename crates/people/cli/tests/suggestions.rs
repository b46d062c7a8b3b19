//! What Ward suggests can be typed as it stands, and means the environment that was meant.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::{Ward, eventually, piped};

const THREE: &str = "[environment.dev]\n\
    [environment.test]\nservice.web.route.host = \"test.localhost\"\n\
    [environment.prod]\nservice.web.route.host = \"prod.localhost\"\npolicy.min_instances = 5\n";

#[test]
fn what_is_suggested_acts_on_the_environment_that_was_meant() {
    let ward = Ward::new();
    ward.stack("", THREE);
    // Nothing is deployed yet.
    ward.ok(&["up", "--platform"]);
    let mistyped = ["secret", "set", "TOKEN", "--env", "tset"];
    let meant = "did you mean test? The stack file here declares: dev, test, prod";
    piped(&ward, &mistyped, "x").fails(1, &[meant]);
    ward.ok(&["deploy"]);
    ward.stack("MODE = \"exit\"", THREE);
    let logs = "`ward logs web --env shop/test` shows everything";
    let failed = ward.run(&["deploy", "--env", "test"]);
    failed.fails(1, &["cannot open the moon", logs]);
    let show = ward.ok(&["deployment", "show", "--env", "test"]);
    assert!(show.contains(logs), "{show}");
    let json = ward.run(&["deploy", "--env", "test", "--output", "json"]);
    assert!(json.stdout().contains(logs), "{json:?}");
    // Of a stack file that is read here, the stack is known.
    let whole = ward.run(&["plan", "--env", "shop/test"]);
    whole.fails(1, &["name the environment alone, `test`"]);
    // It does what it says.
    let said = ward.ok(&["logs", "web", "--env", "shop/test"]);
    assert!(said.contains("cannot open the moon"), "{said}");
    // What never served is not brought up, and is no failure.
    ward.ok(&["down"]);
    let up = ward.run(&["up", "--all"]);
    up.success();
    for says in [
        "shop/dev:",
        "no release has served in shop/test yet; `ward deploy --env test`",
    ] {
        assert!(up.stderr().contains(says), "{up:?}");
    }
}

#[test]
fn before_its_first_release_an_environment_has_the_rules_of_its_file() {
    let ward = Ward::new();
    ward.stack("", THREE);
    ward.ok(&["deploy"]);
    ward.run(&["deploy", "--env", "prod"])
        .fails(1, &["min_instances", "the policy forbids it"]);
    let rules = |ran: &str| {
        let line = ran.lines().find(|line| line.contains("min_instances"));
        line.unwrap_or_default().to_owned()
    };
    let shown = ward.run(&["policy", "show", "--env", "prod"]);
    let rule = rules(&shown.success());
    assert!(rule.contains("deny") && rule.contains('5'), "{shown:?}");
    assert!(
        shown.stderr().contains("no release has these yet"),
        "{shown:?}"
    );
    let value = ["secret", "set", "KEY", "--env", "prod", "--new"];
    piped(&ward, &value, "a value of some length").success();
    let waive = [
        "policy",
        "waive",
        "min_instances",
        "--env",
        "prod",
        "--until",
        "1d",
        "--why",
        "a trial",
    ];
    let waived = ward.ok(&waive);
    assert!(waived.contains("min_instances waived until"), "{waived}");
    let rule = rules(&ward.ok(&["policy", "show", "--env", "prod"]));
    assert!(rule.contains("deny"), "{rule}");
    // Without the file nobody knows what it says.
    std::fs::remove_file(ward.dir().join("ward.toml")).unwrap();
    let shown = ward.run(&["policy", "show", "--env", "shop/prod"]);
    assert!(
        shown.stderr().contains("there is no release yet"),
        "{shown:?}"
    );
}

#[test]
fn a_value_that_is_not_masked_is_said_to_be_shown() {
    let ward = Ward::new();
    ward.stack("", &format!("secrets = {{ PIN = \"env\" }}\n{THREE}"));
    ward.ok(&["up", "--platform"]);
    let set = ["secret", "set", "PIN", "--env", "dev", "--new"];
    let short = piped(&ward, &set, "0000");
    assert!(short.stderr().contains("it is not masked"), "{short:?}");
    let long = piped(&ward, &set[..5], "0000-0000-0000");
    long.success();
    assert!(!long.stderr().contains("masked"), "{long:?}");
}

#[test]
fn what_was_never_deployed_does_not_run_on() {
    let ward = Ward::new();
    ward.stack("", THREE);
    for env in ["dev", "test"] {
        ward.ok(&["deploy", "--env", env]);
    }
    piped(
        &ward,
        &["secret", "set", "KEY", "--env", "prod", "--new"],
        "a value of some length",
    )
    .success();
    let down = ward.run(&["down", "--env", "dev"]);
    down.success();
    assert!(
        down.stderr().contains("shop/test runs on") && !down.stderr().contains("shop/prod"),
        "{down:?}"
    );
    eventually("it is counted as one instance", || {
        ward.ok(&["top", "--once"]).contains("2/2")
    });
    ward.ok(&["env", "sleep", "test"]);
    let top = ward.ok(&["top", "--once"]);
    assert!(top.contains("asleep"), "{top}");
    ward.run(&["env", "create", "extra"])
        .fails(2, &["declares no environment `extra`", "--from ENV"]);
}

#[test]
fn a_word_that_is_no_text_is_refused_like_any_other() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let ward = Ward::new();
    let mut command = ward.command(&["rollback"]);
    let output = command.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("unexpected argument") && !said.contains("panicked"),
        "{said}"
    );
}
