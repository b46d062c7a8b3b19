//! Changes in words.

use serde_json::{Map, Value};
use ward_types::changes::{ChangeKind, Effect};
use ward_types::guard::Rate;
use ward_types::time::Millis;
use ward_types::unit::{ByteSize, format_duration};

use super::known::{self, Form};
use super::walk::{Found, Segment};

/// A value for people.
pub(super) fn value(at: &[Segment], value: &Value) -> String {
    let form = known::of(at).map_or(Form::Plain, |known| known.form);
    match (form, value) {
        (Form::Duration, Value::Number(number)) => {
            format_duration(Millis(number.as_u64().unwrap_or_default()))
        }
        (Form::Size, Value::Number(number)) => {
            ByteSize(number.as_u64().unwrap_or_default()).to_string()
        }
        (Form::Digest, Value::String(text)) => {
            let hex = text.trim_start_matches("sha256:");
            hex.get(..12).unwrap_or(hex).to_owned()
        }
        (Form::Rate, Value::Object(_)) => match serde_json::from_value::<Rate>(value.clone()) {
            Ok(rate) => rate.to_string(),
            Err(_) => value.to_string(),
        },
        (_, Value::Object(table)) => match at.len() {
            3 if at[1].text() == "services" => service(at, table),
            _ => entries(at, table),
        },
        (_, Value::Array(list)) if list.is_empty() => "nothing".to_owned(),
        (_, Value::Array(list)) => {
            let words: Vec<String> = list.iter().map(|item| self::value(at, item)).collect();
            words.join(if form == Form::Command { " " } else { ", " })
        }
        (_, Value::String(text)) => word(text),
        (_, other) => other.to_string(),
    }
}

/// As it is, where nobody can misread it.
fn word(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"';
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("{text:?}"),
    }
}

fn entries(at: &[Segment], table: &Map<String, Value>) -> String {
    // What a route asks for is its name already.
    let is_route = matches!(at.last(), Some(Segment::Item(_)));
    let said = |name: &str| match name {
        "kind" => false,
        "host" | "path" | "header" if is_route && table.contains_key("settings") => false,
        "bake" => table.get(name) != Some(&0.into()),
        _ => true,
    };
    let entry = |(name, value): (&String, &Value)| {
        let below: Vec<Segment> = at
            .iter()
            .cloned()
            .chain([Segment::Name(name.clone())])
            .collect();
        let text = self::value(&below, value);
        match name.as_str() {
            "settings" if text == "as usual" => None,
            "settings" => Some(text),
            _ if value.is_null() || !said(name) => None,
            _ => Some(format!("{name} {text}")),
        }
    };
    let kind = table.get("kind").and_then(Value::as_str).map(str::to_owned);
    let entries: Vec<String> = kind
        .into_iter()
        .chain(table.iter().filter_map(entry))
        .collect();
    match entries.is_empty() {
        true => "as usual".to_owned(),
        false => entries.join(", "),
    }
}

/// What whoever reads a plan asks first of a service.
fn service(at: &[Segment], table: &Map<String, Value>) -> String {
    let instances = table
        .get("instances")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let mut said = match instances {
        1 => "1 instance".to_owned(),
        many => format!("{many} instances"),
    };
    let below = |name: &str| -> Vec<Segment> {
        at.iter()
            .cloned()
            .chain([Segment::Name(name.to_owned())])
            .collect()
    };
    match table.get("memory").filter(|memory| !memory.is_null()) {
        Some(memory) => said.push_str(&format!(", {} each", value(&below("memory"), memory))),
        None => said.push_str(", no memory limit"),
    }
    for (name, what) in [
        ("links", "links to"),
        ("shared_links", "links across stacks to"),
        ("exports", "exported to"),
        ("egress", "may reach"),
        ("route", "at"),
    ] {
        let Some(Value::Array(list)) = table.get(name) else {
            continue;
        };
        let Some(key) = known::key(&below(name)).filter(|_| !list.is_empty()) else {
            continue;
        };
        let items: Vec<String> = list
            .iter()
            .map(|item| key(item, super::Between::Releases))
            .collect();
        said.push_str(&format!(", {what} {}", items.join(" and ")));
    }
    said
}

/// What a change means, and whether somebody loses something by it.
pub(super) fn means(found: &Found, kind: ChangeKind, effect: Effect) -> (String, bool) {
    let names: Vec<&str> = found.at.iter().map(Segment::text).collect();
    let becomes = |text: &str| found.to == Some(Value::String(text.to_owned()));
    let special = match (names.as_slice(), kind) {
        (["spec", "services", _], ChangeKind::Remove) => {
            Some(("its instances end, and nothing takes their place", true))
        }
        (["spec", "databases", _], ChangeKind::Remove) => Some((
            "nothing reaches it any more; it runs on with its data until the environment is purged",
            true,
        )),
        (["spec", "volumes", _], ChangeKind::Remove) => Some((
            "no instance sees it any more; what is in it stays until `ward volume delete` or until the environment is purged",
            true,
        )),
        (["spec", "volumes", _], ChangeKind::Add) => Some((
            "it is new and empty, or holds what one of its name held before",
            false,
        )),
        (["spec", "volumes", _, "keep_snapshots"], _) => {
            Some(("it holds from the next snapshot on", false))
        }
        (["spec", "services", _, "volumes", _], ChangeKind::Remove) => {
            Some(("new instances do not see it any more", false))
        }
        (["spec", "databases", _, "engine"], _) => {
            Some(("another program does not read the data that is there", true))
        }
        (["spec", "services", _, "route", _], ChangeKind::Remove) => Some((
            "clients get no answer there any more, from the switch on",
            true,
        )),
        (["spec", "services", _, "route", _, "settings", "audience"], _) if becomes("links") => {
            Some((
                "clients of the outside get 404 there, from the switch on",
                true,
            ))
        }
        (["spec", "services", _, "instances"], _) if found.to == Some(0.into()) => {
            Some(("nothing of it runs any more", true))
        }
        (["spec", "services", _, "port"], ChangeKind::Remove) => {
            Some(("nothing can reach it any more", true))
        }
        (
            [
                "spec",
                "services",
                _,
                "links" | "shared_links" | "egress",
                _,
            ],
            ChangeKind::Remove,
        ) => Some(("new instances do not reach it any more", false)),
        (["spec", "services", _, "exports", _], ChangeKind::Remove) => Some((
            "whoever links to it by that alone gets 503, from the switch on",
            true,
        )),
        (["spec", "services", _, "exports", _], ChangeKind::Add) => {
            Some(("these may link to it, from the switch on", false))
        }
        (["spec", "services", _, "release", "schema"], _) if becomes("contract") => Some((
            "releases before the one that serves do not run on what its command leaves",
            true,
        )),
        (["spec", "services", _, "release", "schema"], _) if becomes("irreversible") => {
            Some(("no release before runs on what its command leaves", true))
        }
        (["spec", "services", _, "guard", "limit"], ChangeKind::Remove) => Some((
            "any number of requests of one client is let through, from the switch on",
            false,
        )),
        (["spec", "policy", ..] | ["spec", "protected"], ChangeKind::Remove) => {
            Some(("later plans are asked for less", false))
        }
        (["spec", "services", _, "release"], ChangeKind::Remove) => {
            Some(("no command runs before the switch any more", false))
        }
        _ => None,
    };
    match special {
        Some((text, destructive)) => (text.to_owned(), destructive),
        None => (usual(effect).to_owned(), false),
    }
}

fn usual(effect: Effect) -> &'static str {
    match effect {
        Effect::Starts => "is started",
        Effect::Ends => "ends, and nothing takes its place",
        Effect::Replaces => "new instances have it",
        Effect::Switches => "the gateway has it from the switch on",
        Effect::RunsCommand => "runs before the switch, in each deployment",
        Effect::Steers => "deployments go by it, from this one on",
        Effect::NextStart => "the database has it from its next start on",
        Effect::Strands => "runs on, and nothing reaches it",
        Effect::Recorded => "nothing that runs changes by it",
        Effect::Governs => "later plans are held against it",
        Effect::Released => "part of the new release",
    }
}
