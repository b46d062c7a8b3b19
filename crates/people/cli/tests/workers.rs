//! Workers that must not run beside those of another release: real processes, and when each of them ran.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::{Ward, eventually, kill9};

/// Does one job of two seconds after the other, and finishes the one that it has begun when it is asked to
/// stop. The clock is the host's.
const WORKER: &str = r#"
import os, signal, sys, time

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
me = os.environ["ME"]

def tell(what):
    print("WORKER", me, what, time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)

if me == "bad":
    tell("begins")
    sys.exit("no queue")
tell("begins")
while not asked:
    tell("takes")
    time.sleep(2)
    tell("finished")
tell("ends")
"#;

/// The worker of the next release calls itself so.
fn declare(ward: &Ward, me: &str) {
    ward.write("worker.py", WORKER);
    let worker = format!(
        r#"
[service.worker]
build = {{ files = ["worker.py"], run = ["python3", "-u", "worker.py"], base = "host" }}
stop_timeout = "2h"
env = {{ ME = "{me}" }}
"#
    );
    ward.stack(r#"ANSWER = "one""#, &worker);
}

fn up() -> Ward {
    let ward = Ward::new();
    declare(&ward, "first");
    ward.up();
    ward
}

/// What the workers told of themselves: who, what and when.
fn told(ward: &Ward) -> Vec<(String, String, f64)> {
    let logs = ward.ok(&["logs", "worker"]);
    let told = logs.lines().filter_map(|line| line.split_once("WORKER "));
    let words = told.map(|(_, told)| told.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words.as_slice() {
            [who, what, at] => Some(((*who).into(), (*what).into(), at.parse().ok()?)),
            _ => None,
        })
        .collect()
}

fn when(told: &[(String, String, f64)], who: &str, what: &str) -> Option<f64> {
    let mut all = told.iter().filter(|(w, t, _)| w == who && t == what);
    all.next_back().map(|(_, _, at)| *at)
}

fn count(told: &[(String, String, f64)], who: &str, what: &str) -> usize {
    told.iter()
        .filter(|(w, t, _)| w == who && t == what)
        .count()
}

/// What runs has not said so yet when the verdict falls: a release that served before is not asked again.
fn has_begun(ward: &Ward, who: &str, times: usize) {
    eventually("it says that it runs", || {
        count(&told(ward), who, "begins") == times
    });
}

/// In the order in which they ran, each was over when the next one began, with all its jobs done.
fn ran_one_after_the_other(ward: &Ward, who: &[&str]) {
    if let Some(last) = who.last() {
        eventually("the last one says that it runs", || {
            when(&told(ward), last, "begins").is_some()
        });
    }
    let told = told(ward);
    for pair in who.windows(2) {
        let over = when(&told, pair[0], "ends").unwrap();
        let next = when(&told, pair[1], "begins").unwrap();
        assert!(over <= next, "{pair:?}: {told:?}");
        let (taken, done) = (
            count(&told, pair[0], "takes"),
            count(&told, pair[0], "finished"),
        );
        assert!(taken > 0 && taken == done, "a job was cut: {told:?}");
    }
}

fn shown(ward: &Ward, deployment: &str) -> Value {
    let detail = ward.ok(&["deployment", "show", deployment, "--output", "json"]);
    serde_json::from_str(&detail).unwrap()
}

#[test]
fn a_worker_finishes_its_job_and_is_gone_before_the_next_one_starts() {
    let ward = up();
    eventually("the first worker works", || {
        when(&told(&ward), "first", "takes").is_some()
    });
    declare(&ward, "second");
    let ran = ward.run(&["deploy"]);
    ran.success();
    assert!(
        ran.stderr().contains("worker: nothing ran for "),
        "{}",
        ran.stderr()
    );
    ran_one_after_the_other(&ward, &["first", "second"]);
    let gaps = shown(&ward, "d2")["deployment"]["gaps"].clone();
    assert_eq!(gaps[0]["service"], "worker", "{gaps}");
    assert!(
        gaps[0]["lasted"]
            .as_u64()
            .is_some_and(|millis| millis < 60_000),
        "{gaps}"
    );
    assert!(
        ward.ok(&["deployment", "show", "d2"])
            .contains("nothing ran for")
    );
    assert!(ward.ok(&["events"]).contains("nothing ran for"));

    eventually("the second worker works", || {
        when(&told(&ward), "second", "takes").is_some()
    });
    let begun = count(&told(&ward), "first", "begins");
    ward.ok(&["rollback"]);
    has_begun(&ward, "first", begun + 1);
    ran_one_after_the_other(&ward, &["second", "first"]);
}

#[test]
fn a_worker_that_cannot_start_gives_way_to_the_one_before() {
    let ward = up();
    declare(&ward, "bad");
    let ran = ward.run(&["deploy"]);
    ran.fails(1, &["worker", "exit code 1"]);
    let show = shown(&ward, "d2");
    assert_eq!(show["deployment"]["verdict"], "rolled_back", "{show}");
    has_begun(&ward, "first", 2);
    let told = told(&ward);
    let bad = when(&told, "bad", "begins").unwrap();
    let first = told.iter().filter(|(who, ..)| who == "first");
    let first: Vec<(&str, f64)> = first.map(|(_, what, at)| (what.as_str(), *at)).collect();
    let over = first.iter().find(|(what, _)| *what == "ends").unwrap().1;
    let again = first.iter().rfind(|(what, _)| *what == "begins").unwrap().1;
    assert!(over <= bad && bad <= again, "{told:?}");
}

#[test]
fn p4_a_server_that_is_killed_while_a_worker_finishes_goes_on_waiting_for_it() {
    let ward = up();
    eventually("the first worker works", || {
        when(&told(&ward), "first", "takes").is_some()
    });
    declare(&ward, "second");
    ward.ok(&["deploy", "--no-wait"]);
    eventually("it waits for the worker", || {
        let waiting = shown(&ward, "d2")["waiting"].to_string();
        waiting.contains("to finish what it has begun") && waiting.contains("stop_timeout")
    });
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    eventually("the verdict falls", || {
        let run = ward.run(&["deployment", "show", "d2", "--output", "json"]);
        run.stdout().contains("succeeded")
    });
    ran_one_after_the_other(&ward, &["first", "second"]);
}
