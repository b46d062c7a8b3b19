//! Configuration: set, unset, listed, taken back, and refused where it makes no sense.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::Ward;
use support::load::get;

const HOST: &str = "shop.localhost";

fn serves(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

fn json(ward: &Ward, arguments: &[&str]) -> Value {
    let text = ward.ok(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn values_make_releases_of_the_same_build_and_are_taken_back() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "file""#, "");
    ward.up();
    serves(&ward, "file");
    let set = ward.run(&[
        "config",
        "set",
        "web.ANSWER=one",
        "OTHER=1",
        "--why",
        "a test",
    ]);
    assert_eq!(set.code(), 0, "{set:?}");
    assert!(
        set.stderr()
            .contains("configuration 1 of shop/dev is recorded"),
        "{set:?}"
    );
    serves(&ward, "one");
    let releases = json(&ward, &["releases"]);
    assert_eq!(
        releases.as_array().unwrap().len(),
        2,
        "one command is one release"
    );
    assert_eq!(
        releases[0]["version"], releases[1]["version"],
        "it is the same build"
    );
    assert_eq!(
        (&releases[0]["config"], &releases[1]["config"]),
        (&1.into(), &0.into())
    );
    // The same once more changes nothing.
    let again = ward.run(&["config", "set", "web.ANSWER=one"]);
    assert!(
        again.stderr().contains("nothing changed in shop/dev"),
        "{again:?}"
    );
    // A build of its own keeps what is set, and what is set for one comes before what is set for all.
    ward.stack(r#"ANSWER = "file", MORE = "yes""#, "");
    assert!(
        !ward
            .run(&["deploy"])
            .stderr()
            .contains("stays in its place")
    );
    serves(&ward, "one");
    ward.ok(&["config", "set", "ANSWER=all"]);
    serves(&ward, "one");
    ward.ok(&["config", "unset", "web.ANSWER"]);
    serves(&ward, "all");
    // Back: as recorded, and said.
    let back = ward.run(&["rollback"]);
    assert!(
        back.stderr()
            .contains("comes back with its own configuration"),
        "{back:?}"
    );
    serves(&ward, "one");
    let status = ward.ok(&["status"]);
    assert!(
        status.contains("is in force; the newest that was set is 3"),
        "{status}"
    );
    let listed = json(&ward, &["config", "list"]);
    assert_eq!(
        (&listed["version"], &listed["outdated"]),
        (&3.into(), &true.into())
    );
    assert_eq!(listed["values"][0]["key"], "ANSWER");
    assert_eq!(listed["values"][0]["version"], 2);
    // Forward again by a deploy, which has the newest.
    ward.ok(&["deploy"]);
    serves(&ward, "all");
    ward.ok(&["config", "unset", "ANSWER"]);
    serves(&ward, "file");
    let history = json(&ward, &["config", "history"]);
    let newest = &history[0];
    assert_eq!(
        (&newest["version"], &newest["changes"][0]["before"]),
        (&4.into(), &"all".into())
    );
    assert_eq!(history[3]["why"], "a test");
    let table = ward.ok(&["config", "history"]);
    assert!(table.contains("web.ANSWER unset (was one)"), "{table}");
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("configuration 1: web.ANSWER=one, OTHER=1"),
        "{events}"
    );
    // What is set is in the log for ever.
    for (value, warns) in [("MAIL_TOKEN=none", true), ("TOKENS=3", false)] {
        let set = ward.run(&["config", "set", value]);
        set.success();
        let said = set.stderr().contains("MAIL_TOKEN sounds like a secret");
        assert_eq!(said, warns, "{set:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "file""#, "");
    ward.up();
    let refused: [(&[&str], i32, &[&str]); 10] = [
        (
            &["set", "wep.A=1"],
            1,
            &["has no service wep", "did you mean `web`?"],
        ),
        (&["set", "LOG-LEVEL=1"], 1, &["did you mean `LOG_LEVEL`?"]),
        (&["set", "PORT=1"], 1, &["Ward sets `PORT` itself"]),
        (
            &["set", "web.WARD_ENV=1"],
            1,
            &["Ward sets `WARD_ENV` itself"],
        ),
        (&["set", "A=1", "A=2"], 1, &["A is named twice"]),
        (&["set", "A"], 2, &["it has no `=`"]),
        (&["unset", "A=1"], 2, &["a value has no place here"]),
        (
            &["unset", "A"],
            1,
            &["A is not set in shop/dev", "the stack file's own"],
        ),
        (
            &["set", "A=1", "--env", "nowhere"],
            1,
            &["there is no environment nowhere"],
        ),
        (
            &["set", "A=1", "--env", "shop/prod"],
            2,
            &["declares no environment `prod`"],
        ),
    ];
    for (arguments, code, says) in refused {
        let arguments = [&["config"], arguments].concat();
        ward.run(&arguments).fails(code, says);
    }
    let large = format!("A={}", "x".repeat(40_000));
    ward.run(&["config", "set", &large])
        .fails(1, &["32768 is the most"]);
    assert_eq!(json(&ward, &["config", "list"])["version"], 0);
    assert_eq!(json(&ward, &["releases"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_is_set_before_anything_is_deployed_is_in_the_first_release() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "file""#, "");
    ward.ok(&["up", "--platform"]);
    let set = ward.run(&["config", "set", "web.ANSWER=first"]);
    assert_eq!(set.code(), 0, "{set:?}");
    let says = "the next release of shop/dev has it";
    assert!(set.stderr().contains(says), "{set:?}");
    ward.run(&["config", "set", "wep.ANSWER=x", "--env", "dev"])
        .fails(1, &["did you mean `web`?"]);
    ward.up();
    serves(&ward, "first");
    assert_eq!(json(&ward, &["releases"])[0]["config"], 1);
    // While it is down a change waits.
    ward.ok(&["down", "--env", "dev"]);
    ward.ok(&["config", "set", "web.ANSWER=second"]);
    ward.up();
    serves(&ward, "second");
}

#[test]
fn an_environment_that_only_has_values_is_made_with_an_end() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "file""#, "");
    ward.ok(&["up", "--platform"]);
    let create = ["env", "create", "dev", "--ttl", "1h"];
    // Also when one of its name is gone.
    for answer in ["one", "two"] {
        let set = format!("web.ANSWER={answer}");
        ward.ok(&["config", "set", &set, "--env", "dev"]);
        ward.ok(&create);
        serves(&ward, answer);
        let shown = json(&ward, &["env", "show", "dev"]);
        assert!(shown["expires"]["at"].is_number(), "{shown}");
        ward.run(&create).fails(1, &["shop/dev exists already"]);
        ward.ok(&["env", "delete", "dev", "--yes"]);
    }
}

/// Who edits the file waits for its new value in vain, and is told; who has edited something else is not.
#[test]
fn a_value_of_the_file_that_another_one_stands_over_is_told() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "file""#, "");
    ward.up();
    ward.ok(&["config", "set", "web.ANSWER=set"]);
    ward.stack(r#"ANSWER = "edited""#, "");
    let told = "web.ANSWER: the stack file has a new value, and the one that was set with `ward config set` stays";
    let way = "`ward config unset web.ANSWER --env shop/dev` lets the file's hold";
    let deploy = ward.run(&["deploy"]);
    deploy.success();
    assert!(deploy.stderr().contains(told), "{deploy:?}");
    assert!(deploy.stderr().contains(way), "{deploy:?}");
    serves(&ward, "set");
    ward.ok(&["config", "unset", "web.ANSWER"]);
    serves(&ward, "edited");
}
