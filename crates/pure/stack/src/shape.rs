//! First look: does each key exist, and does each value have the form that the table of keys asks for?
//! Looks at what is written, the base and each environment's overrides apart, so that a mistake is
//! reported once and where it stands.

use std::collections::BTreeMap;

use crate::keys::{self, KEYS, Key, Scope};
use crate::kind::{Kind, Rule};
use crate::mistake::{Code, Mistake, Span};
use crate::reading::MOST_MISTAKES;
use crate::secret;
use crate::suggest;
use crate::tree::{Entry, Node, Table, Value};
use crate::value::{self, Wrong, quote};

/// Everything that is wrong with the form of the file.
pub(crate) fn check(file: &Table, text: &str) -> Vec<Mistake> {
    let mut look = Look {
        text,
        mistakes: Vec::new(),
        scope: Scope::Stack,
    };
    look.table(file, "", &Shown::default());
    look.mistakes
}

/// A path as the author wrote it, to show.
#[derive(Clone, Default)]
struct Shown(String);

impl Shown {
    fn child(&self, name: &str) -> Shown {
        let name = quote(name).trim_matches('`').to_owned();
        Shown(match self.0.as_str() {
            "" => name,
            parent => format!("{parent}.{name}"),
        })
    }
}

struct Look<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
    /// `Stack` outside and `Everywhere` inside of an environment.
    scope: Scope,
}

impl Look<'_> {
    fn table(&mut self, table: &Table, pattern: &str, shown: &Shown) {
        for (name, entry) in &table.entries {
            if self.mistakes.len() >= MOST_MISTAKES {
                return;
            }
            match keys::child(pattern, name) {
                Some(key) => self.entry(key, name, entry, &shown.child(name)),
                None => {
                    self.push(unknown(pattern, name, entry, shown));
                    // A misspelt key hides nothing that is wrong with its value.
                    if let Some(key) = slip(pattern, name) {
                        self.entry(key, key.name(), entry, &shown.child(name));
                    }
                }
            }
        }
    }

    fn entry(&mut self, key: &'static Key, name: &str, entry: &Entry, shown: &Shown) {
        if self.scope == Scope::Everywhere && key.scope == Scope::Stack {
            self.push(not_overridable(entry.key, shown));
            return;
        }
        if key.name() == "*" {
            self.chosen_name(key.parent(), name, entry.key);
        }
        match (key.kind, &entry.node.value) {
            (Kind::Overrides, Value::Table(table)) => {
                self.scope = Scope::Everywhere;
                self.table(table, key.path, shown);
                self.scope = Scope::Stack;
            }
            (Kind::Tables { most, .. } | Kind::TableOrTables { most, .. }, Value::List(list)) => {
                self.tables(key, most, list, entry.node.span, shown);
            }
            (Kind::Tables { .. }, _) => self.wrong_type(key.kind, &entry.node, shown),
            (kind, Value::Table(table)) if kind.is_table() => {
                self.how_many(kind, table, shown);
                self.table(table, key.path, shown);
            }
            (kind, _) => self.value(kind, &entry.node, shown),
        }
    }

    fn tables(&mut self, key: &'static Key, most: usize, list: &[Node], span: Span, shown: &Shown) {
        let (Kind::Tables { what, .. } | Kind::TableOrTables { what, .. }) = key.kind else {
            return;
        };
        if list.is_empty() {
            let message = format!("`{}` is empty", shown.0);
            let mistake = Mistake::at(span, Code::Empty, message);
            self.push(mistake.expected(format!("at least one {what}")));
        }
        if let Some(beyond) = list.get(most) {
            let message = format!("`{}` holds {} tables", shown.0, list.len());
            let mistake = Mistake::at(beyond.span, Code::OutOfRange, message);
            self.push(mistake.note("one too many").expected(key.kind.describe()));
        }
        for node in list {
            match &node.value {
                Value::Table(table) => self.table(table, key.path, shown),
                _ => self.wrong_type(Kind::Table, node, shown),
            }
        }
    }

    /// Every environment is resolved with every part, so both need a bound.
    fn how_many(&mut self, kind: Kind, table: &Table, shown: &Shown) {
        let Kind::Each(most) = kind else { return };
        let mut places: Vec<Span> = table.entries.values().map(|entry| entry.key).collect();
        places.sort();
        if let Some(place) = places.get(most) {
            let message = format!("`{}` holds {} tables", shown.0, places.len());
            let mistake = Mistake::at(*place, Code::OutOfRange, message);
            self.push(mistake.note("one too many").expected(kind.describe()));
        }
    }

    /// Checks a name that the author chose.
    fn chosen_name(&mut self, parent: &str, name: &str, span: Span) {
        let mut keys = keys::KEYS.iter();
        let checked = match keys.find(|key| key.path == parent).map(|key| key.kind) {
            Some(Kind::Variables) => value::variable(name).and_then(|()| ours(name)),
            Some(Kind::Headers) => value::response_header(name),
            Some(Kind::Secrets) => secret::name(name),
            _ if parent == "secret" => secret::name(name),
            _ => Rule::Name.check(name),
        };
        self.take(checked, span);
    }

    fn value(&mut self, kind: Kind, node: &Node, shown: &Shown) {
        match (kind, &node.value) {
            (Kind::Text(rule), Value::Text(text)) => self.take(rule.check(text), node.span),
            (Kind::List { of, at_least }, Value::List(list)) => {
                self.list(of, at_least, list, node.span, shown);
            }
            (Kind::Command, Value::List(list)) => self.command(list, node.span, shown),
            (Kind::Count { least, most, port }, Value::Integer(number)) => {
                if !number.is_some_and(|number| (least..=most).contains(&number)) {
                    let code = match port {
                        true => Code::BadPort,
                        false => Code::OutOfRange,
                    };
                    self.out_of_range(code, kind, node, shown);
                }
            }
            (Kind::Flag, Value::Boolean(_)) => {}
            (Kind::Amount { most }, Value::Integer(number)) => {
                if !number.is_some_and(|number| (1..=most).contains(&number)) {
                    self.out_of_range(Code::OutOfRange, kind, node, shown);
                }
            }
            (Kind::CountOr { least, most, .. }, Value::Integer(number)) => {
                if !number.is_some_and(|number| (least..=most).contains(&number)) {
                    self.out_of_range(Code::OutOfRange, kind, node, shown);
                }
            }
            (Kind::CountOr { words, .. }, Value::Text(text)) => {
                let checked = Rule::Choice(words).check(text);
                let checked = checked.map_err(|wrong| wrong.expected(kind.describe()));
                self.take(checked, node.span);
            }
            (Kind::Amount { .. }, Value::Text(text)) => {
                let checked = value::percentage(text).map(drop);
                let checked = checked.map_err(|wrong| wrong.or_expected(|| kind.describe()));
                self.take(checked, node.span);
            }
            (Kind::TableOr(word), Value::Text(text)) if text == word => {}
            (Kind::TableOr(word), Value::Text(text)) => {
                let message = format!("{} is not what `{}` can be", quote(text), shown.0);
                let mistake = Mistake::at(node.span, Code::BadChoice, message);
                let off = matches!(
                    text.as_str(),
                    "" | "off" | "no" | "false" | "skip" | "disabled"
                );
                let meant = suggest::closest(text, [word]);
                let meant = meant.or_else(|| off.then(|| word.to_owned()));
                self.push(mistake.expected(kind.describe()).mean(meant));
            }
            _ => self.wrong_type(kind, node, shown),
        }
    }

    fn out_of_range(&mut self, code: Code, kind: Kind, node: &Node, shown: &Shown) {
        let written = quote(self.written(node.span));
        let message = format!("{written} is out of range for `{}`", shown.0);
        self.push(Mistake::at(node.span, code, message).expected(kind.describe()));
    }

    fn list(&mut self, of: Rule, at_least: usize, list: &[Node], span: Span, shown: &Shown) {
        if list.len() < at_least {
            let mistake = empty(span, &format!("`{}`", shown.0));
            self.push(match of {
                Rule::Range => mistake.expected("at least one range, or no such key"),
                _ => mistake,
            });
        }
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for node in list {
            self.value(Kind::Text(of), node, shown);
            let Value::Text(text) = &node.value else {
                continue;
            };
            match seen.get(text.as_str()) {
                Some(first) => {
                    let message = format!("`{}` names {} twice", shown.0, quote(text));
                    let mistake = Mistake::at(node.span, Code::Repeated, message);
                    self.push(mistake.note("again").label(*first, "first"));
                }
                None => {
                    seen.insert(text, node.span);
                }
            }
        }
    }

    fn command(&mut self, list: &[Node], span: Span, shown: &Shown) {
        for node in list {
            self.value(Kind::Text(Rule::Value), node, shown);
        }
        match list.first() {
            None => self.push(empty(span, &format!("`{}`", shown.0))),
            Some(Node {
                value: Value::Text(program),
                span,
            }) if program.trim().is_empty() => {
                self.push(empty(*span, &format!("the program of `{}`", shown.0)));
            }
            Some(_) => {}
        }
    }

    fn wrong_type(&mut self, kind: Kind, node: &Node, shown: &Shown) {
        let message = format!("`{}` cannot be {}", shown.0, node.value.type_name());
        let mistake = Mistake::at(node.span, Code::WrongType, message);
        let mistake = mistake.expected(expected(kind, node));
        self.push(mistake.mean(retyped(kind, node, self.written(node.span))));
    }

    fn written(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    fn take(&mut self, checked: Result<(), Wrong>, span: Span) {
        if let Err(wrong) = checked {
            let mut mistake = Mistake::at(span, wrong.code, wrong.message);
            mistake.expected = wrong.expected;
            mistake.did_you_mean = wrong.did_you_mean;
            self.push(mistake);
        }
    }

    fn push(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(mistake);
        }
    }
}

/// Variables that Ward sets in every instance.
pub(crate) fn ours(name: &str) -> Result<(), Wrong> {
    if name != "PORT" && !name.starts_with("WARD_") {
        return Ok(());
    }
    let message = format!("Ward sets `{name}` itself");
    Err(Wrong::new(Code::ReservedVariable, message)
        .expected("a name other than `PORT` and `WARD_…`"))
}

fn empty(span: Span, what: &str) -> Mistake {
    let message = format!("{what} is empty");
    Mistake::at(span, Code::Empty, message).expected("at least one word")
}

fn not_overridable(span: Span, shown: &Shown) -> Mistake {
    let message = format!(
        "`{}` cannot be set: it is the same in all environments",
        shown.0
    );
    Mistake::at(span, Code::NotOverridable, message)
        .note("set inside of an environment")
        .expected("keys of `service`, `database`, `volume`, `job`, `stack.keep_warm`, `stack.keep_releases` or `stack.deadlines`")
}

fn unknown(pattern: &str, name: &str, entry: &Entry, shown: &Shown) -> Mistake {
    let place = match shown.0.as_str() {
        "" => "a stack file".to_owned(),
        place => format!("`{place}`"),
    };
    let message = format!("{place} has no key {}", quote(name));
    Mistake::at(entry.key, Code::UnknownKey, message)
        .note("unknown key")
        .expected(suggest::one_of(named(pattern).map(Key::name)))
        .mean(meant(pattern, name))
}

/// Whether the key is there, be it misspelt: then it is not missing.
pub(crate) fn intended(table: &Table, pattern: &str, name: &str) -> bool {
    let misspelt = |written: &String| {
        keys::child(pattern, written).is_none() && meant(pattern, written).as_deref() == Some(name)
    };
    // Who has more unknown keys than this is told so, and enough.
    table.get(name).is_some() || table.entries.keys().take(100).any(misspelt)
}

/// The key that was meant: by a slip of the finger, by another tool's word for it, or elsewhere.
fn meant(pattern: &str, name: &str) -> Option<String> {
    let alias = || named(pattern).find(|key| key.also.contains(&name));
    let key = slip(pattern, name).or_else(alias);
    key.map(|key| key.name().to_owned())
        .or_else(|| elsewhere(pattern, name))
}

fn slip(pattern: &str, name: &str) -> Option<&'static Key> {
    let near = suggest::closest(name, named(pattern).map(Key::name))?;
    named(pattern).find(|key| key.name() == near)
}

/// The keys of a table that have names of their own.
fn named(pattern: &str) -> impl Iterator<Item = &'static Key> + '_ {
    let again = match pattern {
        keys::ENVIRONMENT => Some(keys::children("")),
        _ => None,
    };
    let all = keys::children(pattern).chain(again.into_iter().flatten());
    all.filter(|key| key.name() != "*")
}

/// The key of this name in a table close by: `interval` in a service stands in its `health`.
fn elsewhere(pattern: &str, name: &str) -> Option<String> {
    let mut same = KEYS
        .iter()
        .filter(|key| key.name() == name && key.parent() != pattern);
    let near = |key: &&Key| !pattern.is_empty() && key.path.starts_with(&format!("{pattern}."));
    let found = same.clone().find(near).or_else(|| same.next())?;
    Some(found.path.replacen('*', "NAME", 1))
}

/// What would have been right: of a duration without quotes and unit, the units.
fn expected(kind: Kind, node: &Node) -> String {
    let number = match (kind, &node.value) {
        (
            Kind::Text(rule @ (Rule::Duration { .. } | Rule::DurationOr { .. })),
            Value::Integer(Some(number)),
        ) => rule.check(&number.to_string()).err(),
        _ => None,
    };
    let units = number.and_then(|wrong| wrong.expected);
    units.map_or_else(|| kind.describe(), |units| format!("{units}, in quotes"))
}

/// The value that was meant, in the type that it should have.
fn retyped(kind: Kind, node: &Node, written: &str) -> Option<String> {
    let meant = match (kind, &node.value) {
        (Kind::Count { .. }, Value::Text(text)) => text.trim().parse::<i64>().ok()?.to_string(),
        (Kind::Flag, Value::Text(text)) => match text.trim() {
            "true" | "yes" | "on" => "true".to_owned(),
            "false" | "no" | "off" => "false".to_owned(),
            _ => return None,
        },
        (Kind::Text(Rule::Size { .. }), Value::Integer(Some(number))) => {
            format!("\"{}\"", value::as_size(&number.to_string())?)
        }
        (Kind::Text(Rule::Version), Value::Integer(_) | Value::Float) => {
            format!("\"{}\"", value::as_version(written)?)
        }
        (
            Kind::Text(Rule::Value),
            Value::Integer(_) | Value::Float | Value::Boolean(_) | Value::Moment,
        ) => format!("\"{written}\""),
        (Kind::Command, Value::Text(text)) => {
            format!("{:?}", text.split_whitespace().collect::<Vec<_>>())
        }
        (Kind::List { .. }, Value::Text(_)) | (Kind::Tables { .. }, Value::Table(_)) => {
            format!("[{written}]")
        }
        (Kind::TableOr(word), Value::Boolean(false)) => format!("\"{word}\""),
        (Kind::TableOrTables { .. }, Value::Text(_)) => format!("{{ host = {written} }}"),
        (Kind::Text(_), Value::List(list)) if list.len() == 1 => {
            written.trim_matches(['[', ']', ' ']).to_owned()
        }
        _ => return None,
    };
    Some(meant).filter(|meant| meant.len() <= 200 && !meant.contains(char::is_control))
}
