//! What Ward says of sources, and of what they lead to.

use serde_json::Value;

use super::Ward;
use super::load::get;

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub fn answers(ward: &Ward, env: &str) -> Option<String> {
    let answer = get(&ward.http(), &format!("{env}.localhost"), "/").ok()?;
    (answer.status == 200).then_some(answer.body)
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
