//! What Ward says of sources, and of what they lead to.

use serde_json::Value;

use super::work::Work;
use super::{Ran, Ward};

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Adds a source `app` that follows the main branch of a repository.
pub fn add(ward: &Ward, work: &Work, more: &[&str]) -> Ran {
    let add = ["source", "add", "app", work.text(), "--branch", "main"];
    ward.run(&[&add[..], more].concat())
}

pub fn shown(ward: &Ward, source: &str) -> Value {
    json(&ward.ok(&["source", "show", source, "--output", "json"]))
}

/// What became of each commit, the oldest first.
pub fn standings(ward: &Ward, source: &str) -> Vec<(String, String)> {
    let shown = shown(ward, source);
    let commits = shown["source"]["commits"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |seen: &Value| (text(&seen["commit"]["id"]), text(&seen["standing"]["is"]));
    commits.iter().map(of).collect()
}

/// How often each commit was built, by the log.
pub fn builds_of(ward: &Ward, commit: &str) -> usize {
    let events = ward.ok(&["events", "--output", "json", "-n", "1000"]);
    let made = events.lines().map(json).filter(|record| {
        let event = &record["event"];
        event["kind"] == "build_made" && event["build"]["build"]["provenance"]["id"] == commit
    });
    made.count()
}

pub fn runs(ward: &Ward) -> Vec<Value> {
    let runs = ward.ok(&["pipeline", "show", "--output", "json"]);
    serde_json::from_str(&runs).unwrap()
}
