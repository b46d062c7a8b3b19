//! Routes: each has a host or is private, and no two take the same requests.

use std::collections::BTreeMap;

use super::{Part, absent, tables};
use crate::keys;
use crate::mistake::{Code, Mistake, Span};
use crate::shape::intended;
use crate::tree::{Entry, Table, Value};
use crate::value::quote;

const KEY: &str = "service.*.route";

pub(super) fn check(env: &Table) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut asked = Vec::new();
    let mut spoken = BTreeMap::new();
    for service in env.tables("service") {
        for (route, place) in of(service) {
            mistakes.extend(without_host(service.0, route, place));
            mistakes.extend(strips_nothing(service.0, route));
            if let Some(entry) = route.get("tls") {
                mistakes.extend(half_a_certificate(service.0, route, entry));
                mistakes.extend(not_by_acme(service.0, route));
                mistakes.extend(speaks_otherwise(service.0, route, entry, &mut spoken));
            }
            asked.extend(Asked::by(service.0, route));
        }
    }
    mistakes.extend(taken(asked));
    mistakes
}

/// The routes of a service, each with the place that stands for it.
fn of((_, _, service): Part<'_>) -> Vec<(&Table, Span)> {
    let entry = service.get("route");
    entry.map_or_else(Vec::new, |entry| {
        tables(entry, keys::known("service.*", "route"))
    })
}

fn is_true(route: &Table, key: &str) -> bool {
    let entry = route.get(key);
    entry.is_some_and(|entry| matches!(entry.node.value, Value::Boolean(true)))
}

fn without_host(service: &str, route: &Table, place: Span) -> Option<Mistake> {
    let private = is_true(route, "private");
    let missing = !private && !intended(route, KEY, "host");
    missing.then(|| {
        absent(
            "service.*.route.host",
            &format!("service.{service}.route"),
            place,
        )
    })
}

fn strips_nothing(service: &str, route: &Table) -> Option<Mistake> {
    let entry = route.get("strip").filter(|_| is_true(route, "strip"))?;
    let path = route.text("path").map(|(path, _)| path);
    let nothing = path == Some("/") || !intended(route, KEY, "path");
    nothing.then(|| {
        let message = format!(
            "a route to {} strips its path, but has none",
            quote(service)
        );
        let mistake = Mistake::at(entry.key, Code::NothingToStrip, message);
        mistake
            .note("strips nothing")
            .expected("a `path` such as `/api` beside it")
    })
}

fn half_a_certificate(service: &str, route: &Table, entry: &Entry) -> Option<Mistake> {
    const TLS: &str = "service.*.route.tls";
    let tls = route.table("tls")?;
    let (there, missing) = match (tls.get("certificate"), tls.get("key")) {
        (Some(_), None) if !intended(tls, TLS, "key") => ("certificate", "key"),
        (None, Some(_)) if !intended(tls, TLS, "certificate") => ("key", "certificate"),
        _ => return None,
    };
    let named = tls.get(there).map_or(entry.key, |entry| entry.key);
    let message = format!(
        "a route to {} has a {there}, but no {missing}",
        quote(service)
    );
    let mistake = Mistake::at(named, Code::HalfACertificate, message);
    let expected = format!("a `{missing} = \"/…\"` beside it");
    Some(
        mistake
            .note(format!("without a {missing}"))
            .expected(expected),
    )
}

fn not_by_acme(service: &str, route: &Table) -> Option<Mistake> {
    let tls = route.table("tls")?;
    let entry = tls.get("acme").filter(|_| is_true(tls, "acme"))?;
    let mistake = |code, message: String| Some(Mistake::at(entry.key, code, message));
    if let Some(files) = tls.get("certificate") {
        let message = format!(
            "a route to {} has a certificate by ACME and one from a file",
            quote(service)
        );
        let mistake = mistake(Code::Conflict, message)?.note("by ACME");
        return Some(
            mistake
                .label(files.key, "from a file")
                .expected("one of the two"),
        );
    }
    let (host, _) = route.text("host")?;
    let local = host == "localhost" || host.ends_with(".localhost");
    match local || host.starts_with('*') {
        true => mistake(
            Code::NotByAcme,
            format!(
                "no authority gives a certificate for {} by ACME",
                quote(host)
            ),
        )
        .map(|mistake| mistake.expected("a host in full that the authority can reach")),
        false => None,
    }
}

/// What is said of TLS at each host so far, and where.
type Spoken<'a> = BTreeMap<&'a str, (([Option<&'a str>; 3], bool), Span)>;

/// Of one host all routes say the same, or only one says something: a handshake knows no path.
fn speaks_otherwise<'a>(
    service: &str,
    route: &'a Table,
    entry: &Entry,
    spoken: &mut Spoken<'a>,
) -> Option<Mistake> {
    let tls = route.table("tls")?;
    let Some((host, _)) = route.text("host") else {
        let hostless = is_true(route, "private") && !intended(route, KEY, "host");
        let message = format!("a route to {} has `tls`, but no host", quote(service));
        let mistake = Mistake::at(entry.key, Code::TlsWithoutHost, message);
        return hostless.then(|| {
            mistake
                .note("of which host?")
                .expected("a `host` beside it")
        });
    };
    let said = ["certificate", "key", "client_ca"];
    let said = said.map(|key| tls.text(key).map(|(path, _)| path));
    let said = (said, is_true(tls, "acme"));
    let (other, place) = *spoken.entry(host).or_insert((said, entry.key));
    (other != said).then(|| {
        let host = quote(host);
        let message = format!("two routes say different things of the TLS of {host}");
        let mistake = Mistake::at(entry.key, Code::TlsTwice, message).note("and here");
        mistake
            .label(place, "here")
            .expected("one `tls` for a host, in any of its routes")
    })
}

/// What a route takes.
struct Asked<'a> {
    service: &'a str,
    host: &'a str,
    path: &'a str,
    header: Option<(String, Option<&'a str>)>,
    place: Span,
}

impl<'a> Asked<'a> {
    fn by(service: &'a str, route: &'a Table) -> Option<Self> {
        let (host, place) = route.text("host")?;
        let header = route.table("header").and_then(|header| {
            let (name, _) = header.text("name")?;
            Some((
                name.to_ascii_lowercase(),
                header.text("value").map(|(value, _)| value),
            ))
        });
        let path = route.text("path");
        Some(Self {
            service,
            host,
            path: path.map_or("/", |(path, _)| path),
            header,
            // Of two routes with one host it is the path that says the rest.
            place: path.map_or(place, |(_, place)| place),
        })
    }

    fn words(&self) -> String {
        let path = match self.path {
            "/" => "",
            path => path,
        };
        let asked = quote(&format!("{}{path}", self.host));
        match &self.header {
            None => asked,
            Some((name, None)) => format!("{asked} with a header {}", quote(name)),
            Some((name, Some(value))) => {
                format!(
                    "{asked} with the header {}",
                    quote(&format!("{name}: {value}"))
                )
            }
        }
    }
}

/// Paths that differ in case alone are one: no request could be told which of them it takes.
fn taken(mut asked: Vec<Asked<'_>>) -> Vec<Mistake> {
    asked.sort_by_key(|asked| asked.place);
    let mut mistakes = Vec::new();
    let mut first: BTreeMap<_, &Asked<'_>> = BTreeMap::new();
    for asked in &asked {
        let key = (asked.host, asked.path.to_ascii_lowercase(), &asked.header);
        let Some(other) = first.get(&key) else {
            first.insert(key, asked);
            continue;
        };
        let (one, two) = (quote(other.service), quote(asked.service));
        let (message, again) = match one == two {
            true => (
                format!("{} leads to {one} twice", asked.words()),
                "again".to_owned(),
            ),
            false => (
                format!("{} leads both to {one} and to {two}", asked.words()),
                format!("and to {two}"),
            ),
        };
        let mistake = Mistake::at(asked.place, Code::HostTaken, message).note(again);
        let mistake = mistake.label(other.place, format!("to {one}"));
        mistakes.push(mistake.expected("a host, a `path` or a `header` of its own for each"));
    }
    mistakes
}
