//! Release commands that wait for each other.
//!
//! A release command runs before its service serves and may call what the service links to. So a service
//! with a release command waits for each linked service that has one too, and a circle of them never
//! begins. Services without a release command wait for nobody, and databases are there before all.

use std::collections::{BTreeMap, VecDeque};

use crate::mistake::{Code, Mistake, Span};
use crate::tree::Table;
use crate::value::quote;

type Graph<'a> = BTreeMap<&'a str, Vec<(&'a str, Span)>>;

/// One mistake for each circle; services that are in one already are not reported in another.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let graph = graph(env);
    let mut reported: Vec<&str> = Vec::new();
    let mut mistakes = Vec::new();
    for start in graph.keys() {
        if reported.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(&graph, start) {
            reported.extend(circle.iter().map(|(from, _)| *from));
            mistakes.extend(mistake(&circle));
        }
    }
    mistakes
}

fn graph(env: &Table) -> Graph<'_> {
    let services = env
        .tables("service")
        .map(|(name, _, service)| (name, service));
    let releasing: BTreeMap<&str, &Table> = services
        .filter(|(_, service)| service.get("release").is_some())
        .collect();
    releasing
        .iter()
        .map(|(name, service)| {
            let links = service.texts("links");
            let waits = links.filter(|(link, _)| link != name && releasing.contains_key(link));
            (*name, waits.collect())
        })
        .collect()
}

/// The shortest way from `start` back to it, as (service, the place of its link to the next).
fn shortest_circle<'a>(graph: &Graph<'a>, start: &'a str) -> Option<Vec<(&'a str, Span)>> {
    let mut came_from: BTreeMap<&str, (&str, Span)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for (next, span) in graph.get(at).into_iter().flatten() {
            if came_from.contains_key(next) {
                continue;
            }
            came_from.insert(next, (at, *span));
            if *next == start {
                return Some(way_back(&came_from, start));
            }
            queue.push_back(next);
        }
    }
    None
}

fn way_back<'a>(
    came_from: &BTreeMap<&'a str, (&'a str, Span)>,
    start: &str,
) -> Vec<(&'a str, Span)> {
    let mut circle = Vec::new();
    let mut at = start;
    while let Some((from, span)) = came_from.get(at) {
        circle.push((*from, *span));
        at = from;
        if at == start {
            break;
        }
    }
    circle.reverse();
    circle
}

fn mistake(circle: &[(&str, Span)]) -> Option<Mistake> {
    let (first, place) = circle.first()?;
    let names = circle.iter().map(|(name, _)| *name);
    let path: Vec<&str> = names.chain([*first]).collect();
    let message = format!("release commands wait for each other: {}", path.join(" → "));
    let waits = |at: usize| format!("{} waits for {}", quote(path[at]), quote(path[at + 1]));
    let mistake = Mistake::at(*place, Code::ReleaseCycle, message)
        .note(waits(0))
        .expected("links that do not lead back, or no release command in one of them");
    let others = circle.iter().enumerate().skip(1);
    Some(others.fold(mistake, |mistake, (at, (_, span))| {
        mistake.label(*span, waits(at))
    }))
}
