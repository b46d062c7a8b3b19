//! Lays an environment's overrides over the stack.
//!
//! Tables are merged and everything else is replaced. Two exceptions keep an override from adding up
//! to nonsense: a `build` or a `deploy` is replaced whole, because its shapes exclude each other, and an
//! `image` takes a `build` away and the other way round.

use crate::keys;
use crate::kind::Kind;
use crate::mistake::{Code, Mistake, Span};
use crate::suggest;
use crate::tree::{Entry, Node, Table, Value};
use crate::value::quote;

/// What the stack declares, and an environment only overrides.
const DECLARED: [&str; 5] = ["service", "database", "volume", "job", "secret"];

/// The stack as the environment `env` sees it.
pub(crate) fn apply(base: &Table, env: &str) -> Table {
    let mut merged = base.clone();
    for of_all in ["environment", "pipeline", "role"] {
        merged.entries.remove(of_all);
    }
    if let Some(over) = base.table("environment").and_then(|all| all.table(env)) {
        merge(&mut merged, over, "");
        merged.entries.insert("environment".to_owned(), own(over));
    }
    merged
}

/// What an environment says of itself alone.
fn own(over: &Table) -> Entry {
    let named = |name: &&String| keys::children(keys::ENVIRONMENT).any(|key| key.name() == **name);
    let own = over.entries.iter().filter(|(name, _)| named(name));
    let entries = own.map(|(name, entry)| (name.clone(), entry.clone()));
    Entry {
        key: Span::START,
        node: Node {
            value: Value::Table(Table {
                entries: entries.collect(),
            }),
            span: Span::START,
        },
    }
}

fn merge(base: &mut Table, over: &Table, pattern: &str) {
    if pattern == "service.*" {
        for (given, replaced) in [("image", "build"), ("build", "image")] {
            if over.get(given).is_some() && over.get(replaced).is_none() {
                base.entries.remove(replaced);
            }
        }
    }
    for (name, entry) in &over.entries {
        // An override declares none of these; `undeclared` says so.
        let declares = DECLARED.contains(&pattern) && base.get(name).is_none();
        if !declares && let Some(key) = keys::child(pattern, name) {
            lay(base, name, entry, key.kind, key.path);
        }
    }
}

fn lay(base: &mut Table, name: &str, entry: &Entry, kind: Kind, path: &str) {
    let below = base
        .entries
        .get_mut(name)
        .map(|below| &mut below.node.value);
    match (kind, below, &entry.node.value) {
        (Kind::Variant, ..) => {
            base.entries.insert(name.to_owned(), entry.clone());
        }
        (_, Some(Value::Table(below)), Value::Table(over)) => merge(below, over, path),
        // A table for names that is not there in the base would hold only undeclared ones.
        (Kind::Each(_), None, _) => {}
        _ => {
            base.entries.insert(name.to_owned(), entry.clone());
        }
    }
}

/// Services, databases, volumes, jobs and secrets that only an environment names.
pub(crate) fn undeclared(base: &Table) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (env, _, over) in base.tables("environment") {
        for kind in DECLARED {
            let over = over.table(kind).into_iter().flat_map(|each| &each.entries);
            for (name, entry) in over {
                let declared = base
                    .table(kind)
                    .is_some_and(|each| each.get(name).is_some());
                if !declared {
                    mistakes.push(nothing(base, kind, env, name, entry.key));
                }
            }
        }
    }
    mistakes
}

fn nothing(base: &Table, kind: &str, env: &str, name: &str, span: Span) -> Mistake {
    let declared = || {
        base.table(kind)
            .into_iter()
            .flat_map(|each| each.entries.keys())
            .map(String::as_str)
    };
    let message = format!(
        "the environment {} overrides the {kind} {}, which the stack does not declare",
        quote(env),
        quote(name)
    );
    Mistake::at(span, Code::OverrideOfNothing, message)
        .note("not declared")
        .expected(suggest::one_of(declared()))
        .mean(suggest::closest(name, declared()))
}
