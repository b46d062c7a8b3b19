//! Links: they lead to something, and an instance can tell them apart.

use std::collections::BTreeMap;

use ward_types::sharing::SharedLink;

use crate::fit::Part;
use crate::mistake::{Code, Mistake, Span};
use crate::reading::MOST_MISTAKES;
use crate::shape::intended;
use crate::suggest;
use crate::tree::Table;
use crate::value::{self, quote};

/// The variables that a link to a database sets.
pub(crate) const DATABASE_VARIABLES: [&str; 6] = [
    "DATABASE_URL",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
];

/// Everything that is wrong with the links of all services.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for service in env.tables("service") {
        if mistakes.len() > MOST_MISTAKES {
            break;
        }
        let links = service.2.texts("links");
        let wrong = links.filter_map(|(link, span)| one(env, service.0, link, span));
        mistakes.extend(wrong.take(MOST_MISTAKES));
        mistakes.extend(databases(env, service));
        mistakes.extend(outside_names(service));
    }
    mistakes
}

fn has(env: &Table, kind: &str, name: &str) -> bool {
    env.table(kind).is_some_and(|each| each.get(name).is_some())
}

fn one(env: &Table, service: &str, link: &str, span: Span) -> Option<Mistake> {
    if link.contains('/') {
        return None; // It leaves the stack.
    }
    if link == service {
        let message = format!("the service {} links to itself", quote(service));
        return Some(
            Mistake::at(span, Code::LinkToItself, message)
                .expected("another service or a database"),
        );
    }
    if has(env, "database", link) {
        return None;
    }
    if !has(env, "service", link) {
        return Some(to_nothing(env, service, link, span));
    }
    // A service that is no table is reported as that.
    let target = env.table("service")?.table(link)?;
    (!intended(target, "service.*", "port")).then(|| {
        let message = format!(
            "{} links to {}, which has no port",
            quote(service),
            quote(link)
        );
        let mistake =
            Mistake::at(span, Code::LinkWithoutPort, message).note("nothing listens there");
        let place = env
            .table("service")
            .and_then(|each| each.get(link))
            .map(|entry| entry.key);
        place.into_iter().fold(mistake, |mistake, place| {
            mistake.label(place, "needs a `port`")
        })
    })
}

fn to_nothing(env: &Table, service: &str, link: &str, span: Span) -> Mistake {
    let parts = ["database", "service"]
        .into_iter()
        .filter_map(|kind| env.table(kind));
    let names = parts
        .flat_map(|each| each.entries.keys())
        .map(String::as_str);
    let names: Vec<&str> = names.filter(|name| *name != service).collect();
    let message = format!(
        "{} links to {}, which is no service or database of this stack",
        quote(service),
        quote(link)
    );
    Mistake::at(span, Code::LinkToNothing, message)
        .note("not declared")
        .expected(suggest::one_of(names.iter().copied()))
        .mean(suggest::closest(link, names))
}

/// `DATABASE_URL` and its kin can name one database.
fn databases(env: &Table, (name, _, service): Part<'_>) -> Vec<Mistake> {
    let linked = service
        .texts("links")
        .filter(|(link, _)| has(env, "database", link));
    let linked: Vec<(&str, Span)> = linked.collect();
    let Some((first, place)) = linked.first() else {
        return Vec::new();
    };
    let others = linked
        .iter()
        .filter(|(link, _)| link != first)
        .map(|(link, span)| {
            let message = format!(
                "{} links to two databases, {} and {}, and `DATABASE_URL` can name only one",
                quote(name),
                quote(first),
                quote(link)
            );
            let mistake = Mistake::at(*span, Code::LinkCollision, message).note("and this");
            mistake
                .label(*place, "this")
                .expected("a link to one database")
        });
    let variables = service
        .table("env")
        .into_iter()
        .flat_map(|env| &env.entries);
    let variables =
        variables.filter(|(variable, _)| DATABASE_VARIABLES.contains(&variable.as_str()));
    let set = variables.map(|(variable, entry)| {
        let message = format!("Ward sets {} itself", quote(variable));
        let mistake = Mistake::at(entry.key, Code::ReservedVariable, message);
        mistake
            .label(*place, "because of this link")
            .expected("another name, or no link")
    });
    others.chain(set).collect()
}

/// In an instance both a link and an outside host are names in `/etc/hosts`.
fn outside_names((name, _, service): Part<'_>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let host = |link: &str| SharedLink::parse(link).map_or(link.to_owned(), |link| link.host());
    let links = service.texts("links");
    let links: BTreeMap<String, Span> = links.map(|(link, span)| (host(link), span)).collect();
    for (address, span) in service.texts("egress") {
        let Ok(egress) = value::egress(address) else {
            continue;
        };
        if let Some(link) = links.get(&egress.host) {
            let host = quote(&egress.host);
            let message = format!(
                "in an instance of {}, {host} would be both a link and an outside address",
                quote(name)
            );
            let mistake = Mistake::at(span, Code::LinkCollision, message).note("and this");
            mistakes.push(mistake.label(*link, "this").expected("names that differ"));
        }
    }
    mistakes
}
