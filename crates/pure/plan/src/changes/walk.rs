//! Walks two releases as they are serialised, and finds where they differ.
//!
//! What is `null` is not there. A list whose items have names of their own (links, addresses, routes) is compared item
//! by item, and then by its order; any other is one value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Between, known};

/// One part of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// A key.
    Name(String),
    /// What an item of a list is told from others by.
    Item(String),
}

impl Segment {
    pub(super) fn text(&self) -> &str {
        match self {
            Segment::Name(text) | Segment::Item(text) => text,
        }
    }
}

/// A place where two releases differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) at: Vec<Segment>,
    pub(super) from: Option<Value>,
    pub(super) to: Option<Value>,
}

/// What is no difference between releases: what each has of its own.
const OWN: &[&[&str]] = &[
    &["id"],
    &["recorded"],
    &["by"],
    &["promoted"],
    // Said in words of its own.
    &["named"],
    &["build", "version"],
    &["build", "provenance"],
    // What it says of the environment is in the specification.
    &["build", "stack_file"],
    // What the file says where something else is set.
    &["config", "replaced"],
];

pub(super) fn walk(between: Between, from: &Value, to: &Value) -> Vec<Found> {
    let mut walk = Walk {
        between,
        at: Vec::new(),
        found: Vec::new(),
    };
    walk.values(Some(from), Some(to));
    walk.found
}

struct Walk {
    between: Between,
    at: Vec<Segment>,
    found: Vec<Found>,
}

impl Walk {
    fn values(&mut self, from: Option<&Value>, to: Option<&Value>) {
        let [from, to] = [from, to].map(|side| side.filter(|value| !value.is_null()));
        let own = OWN.iter().any(|own| {
            let texts = self.at.iter().map(Segment::text);
            own.len() == self.at.len() && texts.eq(own.iter().copied())
        });
        if own || from == to {
            return;
        }
        if let Some(key) = known::key(&self.at) {
            return self.items(key, list(from), list(to));
        }
        let nothing = Map::new();
        match (from, to) {
            (Some(Value::Object(from)), Some(Value::Object(to))) if !known::is_whole(&self.at) => {
                self.keys(from, to);
            }
            (Some(Value::Object(from)), None) if known::is_open(&self.at) => {
                self.keys(from, &nothing);
            }
            (None, Some(Value::Object(to))) if known::is_open(&self.at) => self.keys(&nothing, to),
            _ => self.differ(from, to),
        }
    }

    fn differ(&mut self, from: Option<&Value>, to: Option<&Value>) {
        // What is left out where it is standard has that value.
        let absent = known::absent(&self.at);
        if from.or(absent.as_ref()) == to.or(absent.as_ref()) {
            return;
        }
        self.found.push(Found {
            at: self.at.clone(),
            from: from.cloned(),
            to: to.cloned(),
        });
    }

    fn keys(&mut self, from: &Map<String, Value>, to: &Map<String, Value>) {
        let mut names: Vec<&String> = from.keys().chain(to.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            self.at.push(Segment::Name(name.clone()));
            self.values(from.get(name), to.get(name));
            self.at.pop();
        }
    }

    fn items(&mut self, key: known::ItemKey, from: &[Value], to: &[Value]) {
        let (from, to) = (named(key, self.between, from), named(key, self.between, to));
        let found = self.found.len();
        let mut names: Vec<&String> = from.iter().chain(&to).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        let find = |list: &[(String, Value)], name: &str| {
            let item = list.iter().find(|(own, _)| own == name);
            item.map(|(_, value)| value.clone())
        };
        for name in names {
            self.at.push(Segment::Item(name.clone()));
            self.values(find(&from, name).as_ref(), find(&to, name).as_ref());
            self.at.pop();
        }
        let order = |list: Vec<(String, Value)>| {
            let names = list.into_iter().map(|(name, _)| Value::String(name));
            Value::Array(names.collect())
        };
        let (from, to) = (order(from), order(to));
        if self.found.len() == found && from != to {
            self.at.push(Segment::Name("order".to_owned()));
            self.differ(Some(&from), Some(&to));
            self.at.pop();
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}

/// The items with their names. Where two have one, the second is told apart by its number, so that none is lost.
fn named(key: known::ItemKey, between: Between, list: &[Value]) -> Vec<(String, Value)> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let name = |item: &Value| {
        let name = key(item, between);
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        let name = match *count {
            1 => name,
            count => format!("{name} #{count}"),
        };
        (name, item.clone())
    };
    list.iter().map(name).collect()
}
