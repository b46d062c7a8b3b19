//! The file as a tree of Ward's own: each value and key with its place, and nothing borrowed, so that
//! an environment's overrides can be laid over it and still be shown where they stand.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::mistake::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// `None` when it fits no `i64`.
    Integer(Option<i64>),
    Float,
    Boolean(bool),
    Moment,
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The type in words, with its article.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Moment => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A key's place and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) node: Node,
}

/// The entries of a table by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Table {
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The table under `name`; `None` also when something else stands there.
    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        match &self.get(name)?.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The tables in the table under `name`, with the places of their keys.
    pub(crate) fn tables(&self, name: &str) -> impl Iterator<Item = (&str, Span, &Table)> {
        let entries = self.table(name).into_iter().flat_map(|each| &each.entries);
        entries.filter_map(|(name, entry)| match &entry.node.value {
            Value::Table(table) => Some((name.as_str(), entry.key, table)),
            _ => None,
        })
    }

    /// The text under `name` and its place.
    pub(crate) fn text(&self, name: &str) -> Option<(&str, Span)> {
        match &self.get(name)?.node {
            Node {
                value: Value::Text(text),
                span,
            } => Some((text, *span)),
            _ => None,
        }
    }

    /// The texts in the list under `name` and their places.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = (&str, Span)> {
        let list = match self.get(name).map(|entry| &entry.node.value) {
            Some(Value::List(list)) => list.as_slice(),
            _ => &[],
        };
        list.iter().filter_map(|node| match &node.value {
            Value::Text(text) => Some((text.as_str(), node.span)),
            _ => None,
        })
    }
}

/// Takes over what the parser could make of the file.
///
/// The parser's own limit of 80 levels bounds the recursion.
pub(crate) fn from_toml(table: &DeTable<'_>) -> Table {
    let entries = table.iter().filter(|(_, value)| !is_made_up(value));
    let entries = entries.map(|(key, value)| {
        let entry = Entry {
            key: key.span().into(),
            node: node(value),
        };
        (key.get_ref().to_string(), entry)
    });
    Table {
        entries: entries.collect(),
    }
}

/// The parser puts a zero at no place where it found no value at all; no real value is there.
fn is_made_up(value: &Spanned<DeValue<'_>>) -> bool {
    value.span() == (0..0)
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let span = value.span().into();
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(integer(number)),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Moment,
        DeValue::Array(list) => Value::List(list.iter().map(node).collect()),
        DeValue::Table(table) => Value::Table(from_toml(table)),
    };
    Node { value, span }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
