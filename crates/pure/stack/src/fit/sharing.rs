//! Links to other stacks, and what they may link to: neither is for the stack itself, and instances can tell them apart.

use std::collections::BTreeMap;

use ward_types::sharing::{Export, SharedLink};

use crate::mistake::{Code, Mistake, Span};
use crate::reading::MOST_MISTAKES;
use crate::tree::Table;
use crate::value::quote;

use super::{Part, SOME_PORT, intended};

/// Everything that is wrong with what the services share, and with their links to what others do.
pub(super) fn check(env: &Table) -> Vec<Mistake> {
    let own = env.table("stack").and_then(|stack| stack.text("name"));
    let own = own.map_or("", |(name, _)| name);
    let mut mistakes = Vec::new();
    for service in env.tables("service") {
        let links = shared(service.2);
        let to_own = links.iter().filter(|(link, _)| link.stack.as_str() == own);
        mistakes.extend(to_own.map(|(link, span)| to_own_stack(env, service, link, *span)));
        mistakes.extend(indistinct(service, &links));
        mistakes.extend(exports(service, own));
    }
    mistakes.truncate(MOST_MISTAKES);
    mistakes
}

/// The links of a service that leave its stack.
fn shared(service: &Table) -> Vec<(SharedLink, Span)> {
    let links = service.texts("links");
    let links = links.filter_map(|(link, span)| Some((SharedLink::parse(link)?, span)));
    links.collect()
}

fn to_own_stack(env: &Table, (name, ..): Part<'_>, link: &SharedLink, span: Span) -> Mistake {
    let message = format!(
        "{} links to {}, and {} is this stack",
        quote(name),
        quote(&link.to_string()),
        quote(link.stack.as_str())
    );
    let known = |kind: &str| {
        let each = env.table(kind);
        each.is_some_and(|each| each.get(link.service.as_str()).is_some())
    };
    let meant = link.env.is_none() && link.service.as_str() != name;
    let meant = meant && (known("service") || known("database"));
    Mistake::at(span, Code::LinkToOwnStack, message)
        .note("leads into the stack itself")
        .expected("a service of another stack, or a name of this one")
        .mean(meant.then(|| link.service.to_string()))
}

/// One name in an instance leads to one environment.
fn indistinct((name, ..): Part<'_>, links: &[(SharedLink, Span)]) -> Vec<Mistake> {
    let mut known: BTreeMap<String, (&SharedLink, Span)> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (link, span) in links {
        let host = link.host();
        match known.get(&host) {
            // The same twice is said of lists.
            Some((other, _)) if *other == link => {}
            Some((_, place)) => {
                let message = format!(
                    "in an instance of {}, {} would be two environments of {}",
                    quote(name),
                    quote(&host),
                    quote(link.stack.as_str())
                );
                let mistake = Mistake::at(*span, Code::LinkCollision, message).note("and this");
                let expected = "a link to one of them";
                mistakes.push(mistake.label(*place, "this").expected(expected));
            }
            None => {
                known.insert(host, (link, *span));
            }
        }
    }
    mistakes
}

fn exports((name, _, service): Part<'_>, own: &str) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (text, span) in service.texts("export") {
        let stack = Export::parse(text).and_then(|export| export.stack);
        if stack.is_some_and(|stack| stack.as_str() == own) {
            let message = format!("{} is exported to its own stack", quote(name));
            let mistake = Mistake::at(span, Code::ExportToItself, message);
            mistakes.push(mistake.expected("the name of another stack"));
        }
    }
    let Some(export) = service.get("export") else {
        return mistakes;
    };
    let some = service.texts("export").next().is_some();
    if some && !intended(service, "service.*", "port") {
        let message = format!("the service {} is exported, but has no port", quote(name));
        let mistake = Mistake::at(export.key, Code::ExportWithoutPort, message);
        mistakes.push(mistake.note("nothing listens there").expected(SOME_PORT));
    }
    mistakes
}
