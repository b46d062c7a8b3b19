//! The machine is switched off and on again: no process is left, and nothing was asked to end.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::load::get;
use support::{WORKER_AND_DATABASE, Ward, eventually, kill9, sql};

fn switched_off(ward: &Ward) {
    let pid = |line: &String| line.split(':').next().unwrap().parse::<i32>().unwrap();
    eventually("nothing runs any more", || {
        let left = ward.processes();
        left.iter().map(pid).for_each(kill9);
        left.is_empty()
    });
}

/// What serves, what works behind it, what sleeps and what was stopped are after it what they were before,
/// with their rows.
#[test]
fn p4_a_machine_that_was_switched_off_comes_back_as_it_was() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "kept""#, WORKER_AND_DATABASE);
    ward.up();
    sql(
        &ward,
        None,
        "create table kept (n int); insert into kept values (7)",
    );
    ward.ok(&["env", "create", "sleeping", "--from", "dev"]);
    ward.ok(&["env", "create", "stopped", "--from", "dev"]);
    ward.ok(&["env", "sleep", "sleeping"]);
    ward.ok(&["down", "--env", "stopped"]);

    switched_off(&ward);
    ward.ok(&["up", "--platform"]);

    let http = ward.http();
    eventually("it serves", || {
        get(&http, "shop.localhost", "/").is_ok_and(|answer| answer.body == "kept")
    });
    eventually("its worker runs", || {
        let worker = ward.instances("worker");
        worker.iter().any(|one| one["state"]["state"] == "healthy")
    });
    assert_eq!(sql(&ward, None, "select n from kept"), "7");
    let state = |env: &str| {
        let shown = ward.ok(&["env", "show", env, "--output", "json"]);
        let shown = serde_json::from_str::<serde_json::Value>(&shown).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (state("sleeping").as_str(), state("stopped").as_str()),
        ("asleep", "down")
    );
    let answer = |env: &str| get(&http, &format!("web.{env}.localhost"), "/").unwrap();
    assert_eq!(answer("stopped").status, 503);
    assert_eq!(answer("sleeping").body, "kept");
}
