//! Do the keys of a `deploy` belong to its strategy, and does the strategy suit its service?

use crate::keys;
use crate::mistake::{Code, Mistake, Span};
use crate::shape::intended;
use crate::tree::{Entry, Table, Value};
use crate::value::quote;

use super::{Part, SOME_PORT, absent};

const DEPLOY: &str = "service.*.deploy";

/// Everything that is wrong with how a service is deployed.
pub(super) fn check((name, _, service): Part<'_>) -> Vec<Mistake> {
    let Some(entry) = service.get("deploy") else {
        return Vec::new();
    };
    let Value::Table(deploy) = &entry.node.value else {
        return Vec::new();
    };
    let default = keys::STRATEGIES[0];
    let written = deploy.text("strategy");
    let strategy = match written {
        // Anything that the first look refused: nothing can be said about what belongs to it.
        Some((strategy, _)) if !keys::STRATEGIES.contains(&strategy) => return Vec::new(),
        Some((strategy, _)) => strategy,
        None if intended(deploy, DEPLOY, "strategy") => return Vec::new(),
        None => default,
    };
    let mut mistakes = misplaced(name, deploy, strategy, written.map(|(_, place)| place));
    if strategy != default && !intended(service, "service.*", "port") {
        mistakes.push(without_port(name, strategy, written, entry));
    }
    if strategy != default {
        mistakes.extend(without_overlap(name, strategy, written, service, entry));
    }
    if strategy == "canary" {
        if !intended(deploy, DEPLOY, "steps") {
            let shown = format!("service.{name}.deploy");
            mistakes.push(absent("service.*.deploy.steps", &shown, entry.key));
        }
        mistakes.extend(weights(name, deploy));
        mistakes.extend(sticky(name, deploy));
    }
    mistakes
}

/// Keys of another strategy.
fn misplaced(service: &str, deploy: &Table, strategy: &str, written: Option<Span>) -> Vec<Mistake> {
    let foreign = keys::children(DEPLOY)
        .filter(|key| !key.strategies.is_empty() && !key.strategies.contains(&strategy));
    let given = foreign.filter_map(|key| Some((key, deploy.get(key.name())?)));
    given
        .map(|(key, entry)| {
            let owners: Vec<String> = key.strategies.iter().map(|owner| quote(owner)).collect();
            let owners = owners.join(" and ");
            let key = key.name();
            let message = format!(
                "`{key}` belongs to {owners}, and {} is deployed by {}",
                quote(service),
                quote(strategy)
            );
            let mistake = Mistake::at(entry.key, Code::KeyOfAnotherStrategy, message)
                .note(format!("belongs to {owners}"))
                .expected(format!("no `{key}`, or the strategy that it belongs to"));
            match written {
                Some(place) => mistake.label(place, "the strategy"),
                None => mistake,
            }
        })
        .collect()
}

fn without_port(
    service: &str,
    strategy: &str,
    written: Option<(&str, Span)>,
    deploy: &Entry,
) -> Mistake {
    let message = format!(
        "the service {} is deployed by {}, but has no port",
        quote(service),
        quote(strategy)
    );
    let place = written.map_or(deploy.key, |(_, place)| place);
    Mistake::at(place, Code::StrategyWithoutPort, message)
        .note("divides requests, of which there are none")
        .expected(format!("`strategy = \"blue_green\"`, or {SOME_PORT}"))
}

/// Requests cannot be shared by what must not run at the same time.
fn without_overlap(
    name: &str,
    strategy: &str,
    written: Option<(&str, Span)>,
    service: &Table,
    deploy: &Entry,
) -> Option<Mistake> {
    let overlap = service.get("overlap")?;
    if !matches!(overlap.node.value, Value::Boolean(false)) {
        return None;
    }
    let message = format!(
        "the service {} is deployed by {}, but its releases do not overlap",
        quote(name),
        quote(strategy)
    );
    let place = written.map_or(deploy.key, |(_, place)| place);
    let mistake = Mistake::at(overlap.node.span, Code::StrategyWithoutOverlap, message)
        .note("the old release is gone before the new one starts")
        .label(place, "needs both at the same time");
    Some(mistake.expected("`overlap = true`, or `strategy = \"blue_green\"`"))
}

/// Each weight is greater than the one before.
fn weights(service: &str, deploy: &Table) -> Vec<Mistake> {
    let list = match deploy.get("steps").map(|steps| &steps.node.value) {
        Some(Value::List(list)) => list.as_slice(),
        _ => &[],
    };
    let weights = list.iter().filter_map(|step| match &step.value {
        Value::Table(step) => match step.get("weight")?.node.value {
            Value::Integer(Some(weight)) => Some((weight, step.get("weight")?.node.span)),
            _ => None,
        },
        _ => None,
    });
    let weights: Vec<(i64, Span)> = weights.collect();
    let pairs = weights.windows(2).filter(|pair| pair[0].0 >= pair[1].0);
    pairs
        .map(|pair| {
            let [(before, first), (weight, place)] = [pair[0], pair[1]];
            let message = format!(
                "the canary of {} does not grow: {weight} comes after {before}",
                quote(service)
            );
            Mistake::at(place, Code::WeightsDoNotGrow, message)
                .note(format!("not more than {before}"))
                .label(first, "before it")
                .expected("weights that grow from step to step")
        })
        .collect()
}

/// Exactly one of `cookie` and `header`.
fn sticky(service: &str, deploy: &Table) -> Option<Mistake> {
    let entry = deploy.get("sticky")?;
    let Value::Table(table) = &entry.node.value else {
        return None;
    };
    match (table.get("cookie"), table.get("header")) {
        (Some(cookie), Some(header)) => {
            let message = format!(
                "the canary of {} is sticky by both `cookie` and `header`",
                quote(service)
            );
            let mistake = Mistake::at(header.key, Code::Conflict, message).note("and this");
            Some(mistake.label(cookie.key, "this").expected("one of them"))
        }
        // An unknown key is reported already and is most likely the one that was meant.
        (None, None) if table.entries.is_empty() => {
            let message = format!(
                "the canary of {} does not say what it is sticky by",
                quote(service)
            );
            let mistake = Mistake::at(entry.node.span, Code::Conflict, message);
            Some(mistake.expected("`cookie` or `header`, such as `sticky = { cookie = \"side\" }`"))
        }
        _ => None,
    }
}
