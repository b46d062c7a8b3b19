//! Volumes: each is there, has one service, and a place of its own in it.

use std::collections::BTreeMap;

use crate::fit::Part;
use crate::mistake::{Code, Mistake, Span};
use crate::suggest;
use crate::tree::{Table, Value};
use crate::value::quote;
use crate::volume;

/// Where an image on the host's own files has them, and no volume.
const HOST: [&str; 5] = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];

/// Everything that is wrong with the volumes of an environment.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let services = || env.tables("service");
    let mut mistakes: Vec<Mistake> = services().flat_map(|s| places(env, s)).collect();
    let mut owners: BTreeMap<&str, (&str, Span)> = BTreeMap::new();
    for (service, _, table) in services() {
        for (name, key, ..) in volumes(table) {
            match owners.get(name) {
                Some(owner) => mistakes.push(taken(name, *owner, (service, key))),
                None => drop(owners.insert(name, (service, key))),
            }
        }
    }
    mistakes
}

/// The volumes of a service: name, where that stands, path, and where that does.
fn volumes(table: &Table) -> impl Iterator<Item = (&str, Span, &str, Span)> {
    let all = table.table("volumes").into_iter();
    let entries = all.flat_map(|all| &all.entries);
    entries.filter_map(|(name, entry)| match &entry.node.value {
        Value::Text(path) => Some((name.as_str(), entry.key, path.as_str(), entry.node.span)),
        _ => None,
    })
}

fn taken(name: &str, (first, place): (&str, Span), (second, key): (&str, Span)) -> Mistake {
    let message = format!(
        "the volume {} belongs to {} and to {}",
        quote(name),
        quote(first),
        quote(second)
    );
    let mistake = Mistake::at(key, Code::VolumeTaken, message).note("and here");
    mistake
        .label(place, "here")
        .expected("one service, which the other one asks over a link")
}

fn places(env: &Table, (service, _, table): Part<'_>) -> Vec<Mistake> {
    let declared = || {
        let all = env.table("volume").into_iter();
        all.flat_map(|all| all.entries.keys()).map(String::as_str)
    };
    let mut mistakes = Vec::new();
    let mut paths: BTreeMap<&str, Span> = BTreeMap::new();
    for (name, key, path, span) in volumes(table) {
        if !declared().any(|known| known == name) {
            let message = format!(
                "{} has the volume {}, which the stack does not declare",
                quote(service),
                quote(name)
            );
            mistakes.push(
                Mistake::at(key, Code::VolumeOfNothing, message)
                    .note("not declared")
                    .expected(suggest::one_of(declared()))
                    .mean(suggest::closest(name, declared())),
            );
        }
        // A path that cannot be one is reported already.
        if volume::path(path).is_err() {
            continue;
        }
        let other = paths.iter().find(|(other, _)| overlap(other, path));
        match other {
            Some((other, place)) => {
                mistakes.push(collision(service, (other, *place), (path, span)))
            }
            None => drop(paths.insert(path, span)),
        }
        mistakes.extend(on_the_host(table, service, path, span));
    }
    mistakes
}

/// Whether one is the other, or lies in it.
fn overlap(one: &str, other: &str) -> bool {
    let below = |path: &str, folder: &str| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

fn collision(service: &str, (one, place): (&str, Span), (other, span): (&str, Span)) -> Mistake {
    let message = match one == other {
        true => format!("two volumes of {} are at {}", quote(service), quote(one)),
        false => format!(
            "of two volumes of {}, at {} and {}, one lies in the other",
            quote(service),
            quote(one),
            quote(other)
        ),
    };
    let mistake = Mistake::at(span, Code::VolumeCollision, message).note("and this");
    mistake.label(place, "this").expected("a path of its own")
}

/// The host's files are shown as they are: nothing can be laid between them.
fn on_the_host(table: &Table, service: &str, path: &str, span: Span) -> Option<Mistake> {
    let build = table.table("build")?;
    let (base, _) = build.text("base")?;
    let hidden = HOST.iter().find(|folder| overlap(path, folder))?;
    (base == "host").then(|| {
        let message = format!(
            "{} of {} lies in {}, which is the host's own",
            quote(path),
            quote(service),
            quote(hidden)
        );
        Mistake::at(span, Code::VolumeCollision, message).expected("a path such as `/data`")
    })
}
