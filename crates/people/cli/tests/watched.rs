//! A run of a pipeline that a script follows to its end.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use support::pipelines::{CHECKED, approved, declare, run};
use support::{Ward, is_root};

/// `ward pipeline run` is over where somebody's word is waited for; `watch` ends with the run, and as it ended.
#[test]
fn a_run_is_watched_to_its_end_whoever_it_waits_for() {
    if !is_root() {
        println!("skipped: the role is root's");
        return;
    }
    let ward = Ward::new();
    let gate = approved(r#""uid:0""#, "anybody");
    declare(&ward, "good", &gate);
    for (word, number, code) in [("approve", "p1", 0), ("reject", "p2", 1)] {
        declare(&ward, "good", &format!("{gate}# {number}\n"));
        run(&ward).success();
        let mut watch = ward
            .command(&["pipeline", "watch", number])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(watch.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("waits"), "{first}");
        ward.ok(&["pipeline", word, number]);
        let rest: Vec<String> = said.map_while(Result::ok).collect();
        assert_eq!(watch.wait().unwrap().code(), Some(code), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains(number)), "{rest:?}");
    }
}

#[test]
fn a_check_that_fails_is_the_end_of_the_watch_too_and_no_run_is_told() {
    let ward = Ward::new();
    declare(&ward, "bad", CHECKED);
    run(&ward).fails(1, &["check"]);
    ward.run(&["pipeline", "watch", "p1"]).fails(1, &["check"]);
    ward.run(&["pipeline", "watch", "p7"]).fails(1, &["p7"]);
}
