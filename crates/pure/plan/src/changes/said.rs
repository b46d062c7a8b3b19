//! Values of changes in words.

use serde_json::{Map, Value};
use ward_types::guard::Rate;
use ward_types::time::Millis;
use ward_types::unit::{ByteSize, format_duration};

use super::known::{self, Form};
use super::walk::Segment;

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
