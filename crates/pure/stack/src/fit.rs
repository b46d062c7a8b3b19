//! Second look, at one environment with its overrides applied: is anything missing, and do the parts
//! fit each other?

mod balance;
mod cycle;
mod deploy;
mod jobs;
pub(crate) mod links;
mod routes;
mod schema;
mod secrets;
mod sharing;
mod volumes;

use crate::keys::{self, Key, Need};
use crate::kind::Kind;
use crate::mistake::{Code, Mistake, Span};
use crate::shape::intended;
use crate::tree::{Entry, Table, Value};
use crate::value::quote;

/// Everything that is wrong with an environment as a whole.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let mut mistakes = missing(env, "", "", Span::START);
    mistakes.extend(nothing_to_run(env));
    for service in env.tables("service") {
        mistakes.extend(source(service));
        mistakes.extend(reachable(service));
        mistakes.extend(deploy::check(service));
        mistakes.extend(balance::check(service));
    }
    mistakes.extend(schema::check(env));
    mistakes.extend(secrets::check(env));
    mistakes.extend(volumes::check(env));
    mistakes.extend(same_names(env));
    mistakes.extend(routes::check(env));
    mistakes.extend(links::check(env));
    mistakes.extend(sharing::check(env));
    mistakes.extend(cycle::check(env));
    mistakes.extend(jobs::check(env));
    mistakes
}

type Part<'a> = (&'a str, Span, &'a Table);

fn missing(table: &Table, pattern: &str, shown: &str, place: Span) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for key in keys::children(pattern) {
        if key.need == Need::Required && !intended(table, pattern, key.name()) {
            mistakes.push(absent(key.path, shown, place));
        }
    }
    for (name, entry) in &table.entries {
        let Some(key) = keys::child(pattern, name) else {
            continue;
        };
        let shown = if shown.is_empty() {
            name.clone()
        } else {
            format!("{shown}.{name}")
        };
        for (below, place) in tables(entry, key) {
            mistakes.extend(missing(below, key.path, &shown, place));
        }
    }
    mistakes
}

/// The table that is the value of a key, or the tables that it lists, each with the place that stands for it.
fn tables<'a>(entry: &'a Entry, key: &Key) -> Vec<(&'a Table, Span)> {
    match (&entry.node.value, key.kind) {
        (Value::Table(table), _) => vec![(table, entry.key)],
        (Value::List(list), Kind::Tables { .. } | Kind::TableOrTables { .. }) => {
            let tables = list.iter().filter_map(|node| match &node.value {
                Value::Table(table) => Some((table, node.span)),
                _ => None,
            });
            tables.collect()
        }
        _ => Vec::new(),
    }
}

fn absent(path: &str, shown: &str, place: Span) -> Mistake {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let key = keys::known(parent, name);
    let message = match shown {
        "" => format!("the table `[{name}]` is missing"),
        shown => format!("{} has no `{name}`", quote(shown)),
    };
    Mistake::at(place, Code::MissingKey, message)
        .note(format!("needs `{name}`"))
        .expected(format!(
            "{}, such as `{name} = {}`",
            key.kind.describe(),
            key.example
        ))
}

fn nothing_to_run(env: &Table) -> Option<Mistake> {
    let empty = |kind| {
        env.get(kind).is_none_or(
            |entry| matches!(&entry.node.value, Value::Table(table) if table.entries.is_empty()),
        )
    };
    let meant = |kind| env.get(kind).is_none() && intended(env, "", kind);
    let none = empty("service") && empty("database") && !meant("service") && !meant("database");
    none.then(|| {
        Mistake::at(
            Span::START,
            Code::MissingKey,
            "the stack declares nothing to run",
        )
        .note("needs a service")
        .expected("at least one `[service.NAME]` or `[database.NAME]`")
    })
}

/// Exactly one of `build` and `image`, and one shape of build.
fn source((name, place, service): Part<'_>) -> Vec<Mistake> {
    let has = |key| intended(service, "service.*", key);
    match (service.get("build"), service.get("image")) {
        (None, None) if has("build") || has("image") => Vec::new(),
        (None, None) => {
            let message = format!(
                "the service {} has neither `build` nor `image`",
                quote(name)
            );
            let mistake = Mistake::at(place, Code::Conflict, message).note("needs one of them");
            vec![mistake.expected("one of them, such as `build = { cargo = \"returns-web\" }`")]
        }
        (Some(build), Some(image)) => {
            let message = format!("the service {} has both `build` and `image`", quote(name));
            let mistake = Mistake::at(image.key, Code::Conflict, message).note("and this");
            vec![mistake.label(build.key, "this").expected("one of them")]
        }
        (Some(build), None) => shape(name, build),
        (None, Some(_)) => Vec::new(),
    }
}

const SHAPES: [&[&str]; 3] = [
    &["cargo"],
    &["files", "run", "base", "command"],
    &["dockerfile"],
];

fn shape(service: &str, build: &Entry) -> Vec<Mistake> {
    let Value::Table(table) = &build.node.value else {
        return Vec::new();
    };
    let mut given = SHAPES
        .iter()
        .filter_map(|shape| shape.iter().find_map(|key| Some((*key, table.get(key)?))));
    match (given.next(), given.next()) {
        // An unknown key is reported already and is most likely the shape that was meant.
        (None, _) if !table.entries.is_empty() => Vec::new(),
        (None, _) => {
            let message = format!("the build of {} says nothing about how", quote(service));
            vec![
                Mistake::at(build.node.span, Code::Conflict, message)
                    .expected("`cargo`, `dockerfile`, or `files`, `run` and `base`"),
            ]
        }
        (Some((first, one)), Some((second, other))) => {
            let message = format!(
                "the build of {} has both `{first}` and `{second}`",
                quote(service)
            );
            let mistake = Mistake::at(other.key, Code::Conflict, message).note("and this");
            vec![
                mistake.label(one.key, "this").expected(
                    "one kind of build: `cargo`, `dockerfile`, or `files`, `run` and `base`",
                ),
            ]
        }
        (Some((first, _)), None) if SHAPES[1].contains(&first) => {
            incomplete(service, table, build.key)
        }
        (Some(_), None) => Vec::new(),
    }
}

fn incomplete(service: &str, build: &Table, place: Span) -> Vec<Mistake> {
    let parent = "service.*.build";
    let needed = keys::children(parent).filter(|key| matches!(key.need, Need::RequiredIn(_)));
    let absent_keys = needed.filter(|key| !intended(build, parent, key.name()));
    absent_keys
        .map(|key| absent(key.path, &format!("service.{service}.build"), place))
        .collect()
}

/// Route, port and health check belong together.
fn reachable((name, _, service): Part<'_>) -> Vec<Mistake> {
    let has = |key| intended(service, "service.*", key);
    let (port, route, health) = (
        service.get("port"),
        service.get("route"),
        service.get("health"),
    );
    let check = health.filter(|health| matches!(health.node.value, Value::Table(_)));
    let why = route.map(|route| ("route", route));
    let why = why.or(port.map(|port| ("port", port)));
    let mistakes = [
        route
            .filter(|_| !has("port"))
            .map(|route| route_without_port(name, route)),
        why.filter(|_| !has("health"))
            .map(|(what, entry)| no_health_check(name, what, entry)),
        check
            .filter(|_| !has("port"))
            .map(|check| health_without_port(name, check)),
    ];
    mistakes.into_iter().flatten().collect()
}

const SOME_PORT: &str = "`port = 8080`, or the port on which the application listens";

fn route_without_port(service: &str, route: &Entry) -> Mistake {
    let message = format!("the service {} has a route, but no port", quote(service));
    let mistake = Mistake::at(route.key, Code::RouteWithoutPort, message);
    mistake.note("leads to no port").expected(SOME_PORT)
}

fn no_health_check(service: &str, what: &str, entry: &Entry) -> Mistake {
    let message = format!(
        "the service {} has a {what}, but no health check",
        quote(service)
    );
    Mistake::at(entry.key, Code::NoHealthCheck, message)
        .note("needs a health check")
        .expected("`health = { path = \"/healthz\" }`, or `health = \"none\"` to go without")
}

fn health_without_port(service: &str, check: &Entry) -> Mistake {
    let message = format!(
        "the service {} has a health check, but no port",
        quote(service)
    );
    let mistake = Mistake::at(check.key, Code::HealthWithoutPort, message);
    mistake.note("asks no port").expected(SOME_PORT)
}

/// Links and logs name services, databases and volumes without their kind.
fn same_names(env: &Table) -> Vec<Mistake> {
    let kinds = [
        ("database", "service"),
        ("volume", "service"),
        ("volume", "database"),
    ];
    let both = kinds.into_iter().flat_map(|(kind, other)| {
        let named = env.tables(kind);
        let both = named
            .filter_map(move |(name, place, _)| Some((name, place, env.table(other)?.get(name)?)));
        both.map(move |(name, place, entry)| {
            let message = format!("{} is both a {other} and a {kind}", quote(name));
            let mistake = Mistake::at(place, Code::SameName, message).note(format!("this {kind}"));
            mistake
                .label(entry.key, format!("this {other}"))
                .expected("names that differ")
        })
    });
    both.collect()
}
