//! Secrets: each has one place in a service, and somebody gets it.

use std::collections::BTreeMap;

use crate::fit::Part;
use crate::fit::links::DATABASE_VARIABLES;
use crate::mistake::{Code, Mistake, Span};
use crate::secret;
use crate::shape::ours;
use crate::suggest;
use crate::tree::{Table, Value};
use crate::value::{self, quote};
use ward_types::secrets::SecretPlace;

/// Everything that is wrong with the secrets of an environment.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = env
        .tables("service")
        .flat_map(|s| service(env, s))
        .collect();
    mistakes.extend(of_nobody(env));
    mistakes
}

/// The secrets of a service: name, where that stands, and its place.
fn secrets(table: &Table) -> impl Iterator<Item = (&str, Span, &str, Span)> {
    let entries = table
        .table("secrets")
        .into_iter()
        .flat_map(|all| &all.entries);
    entries.filter_map(|(name, entry)| match &entry.node.value {
        Value::Text(place) => Some((name.as_str(), entry.key, place.as_str(), entry.node.span)),
        _ => None,
    })
}

fn service(env: &Table, (name, _, table): Part<'_>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut files: BTreeMap<&str, Span> = BTreeMap::new();
    for (secret, key, place, span) in secrets(table) {
        // A name that cannot be a secret's is reported already.
        match secret::read(place).filter(|_| secret::name(secret).is_ok()) {
            Some(SecretPlace::Variable) => {
                mistakes.extend(variable(env, table, name, (secret, key)));
            }
            Some(SecretPlace::File(_)) => {
                if let Some(other) = files.insert(place, span) {
                    let message = format!("two secrets of {} are {}", quote(name), quote(place));
                    let mistake =
                        Mistake::at(span, Code::SecretCollision, message).note("and this");
                    mistakes.push(mistake.label(other, "this").expected("a path of its own"));
                }
            }
            None => {}
        }
    }
    mistakes.extend(inside(name, &files));
    mistakes
}

/// A path cannot be a file and hold another one.
fn inside(service: &str, files: &BTreeMap<&str, Span>) -> Vec<Mistake> {
    let above = |path: &str| {
        let mut ends = path.match_indices('/').map(|(at, _)| &path[..at]);
        ends.find(|folder| files.contains_key(folder))
            .map(str::to_owned)
    };
    let found = files
        .iter()
        .filter_map(|(path, span)| Some((above(path)?, path, span)));
    let mistake = |(file, path, span): (String, &&str, &Span)| {
        let message = format!(
            "{} of {} lies in {}, which is a secret itself",
            quote(path),
            quote(service),
            quote(&file)
        );
        Mistake::at(*span, Code::SecretCollision, message).expected("another path")
    };
    found.map(mistake).collect()
}

fn variable(
    env: &Table,
    table: &Table,
    service: &str,
    (secret, key): (&str, Span),
) -> Option<Mistake> {
    if let Err(wrong) = value::variable(secret).and_then(|()| ours(secret)) {
        let mistake = Mistake::at(key, wrong.code, wrong.message);
        let expected = wrong.expected.unwrap_or_default();
        return Some(mistake.expected(format!(
            "{expected}; or a file, such as `/run/secrets/{secret}`"
        )));
    }
    let databases = env.table("database");
    let is_database = |link: &str| databases.is_some_and(|all| all.get(link).is_some());
    let linked = table.texts("links").any(|(link, _)| is_database(link));
    if linked && DATABASE_VARIABLES.contains(&secret) {
        let message = format!("Ward sets {} itself", quote(secret));
        let mistake = Mistake::at(key, Code::ReservedVariable, message);
        return Some(mistake.expected("another name, or no link to a database"));
    }
    let plain = table.table("env").and_then(|env| env.get(secret))?;
    let message = format!(
        "{} of {} is a secret and a plain value",
        quote(secret),
        quote(service)
    );
    let mistake = Mistake::at(key, Code::SecretCollision, message).note("a secret here");
    Some(
        mistake
            .label(plain.key, "and in the clear here")
            .expected("one of the two"),
    )
}

fn of_nobody(env: &Table) -> Vec<Mistake> {
    let all: Vec<&str> = env
        .tables("service")
        .flat_map(|(_, _, table)| secrets(table))
        .map(|(name, ..)| name)
        .collect();
    let unused = env
        .tables("secret")
        .filter(|(name, ..)| !all.contains(name));
    let mistake = |(name, place, _): Part<'_>| {
        let message = format!("no service gets the secret {}", quote(name));
        Mistake::at(place, Code::SecretOfNobody, message)
            .expected(format!("`secrets = {{ {name} = \"env\" }}` in a service"))
            .mean(suggest::closest(name, all.iter().copied()))
    };
    unused.map(mistake).collect()
}
