//! What is known of the places of a release: one table.

use serde_json::Value;
use ward_types::changes::{ChangeKind, Effect};

use super::Between;
use super::walk::Segment;

/// What a value is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it stands.
    Plain,
    /// Milliseconds.
    Duration,
    /// Bytes.
    Size,
    /// A digest, shortened.
    Digest,
    /// A number of requests in a time.
    Rate,
    /// A list of words.
    Command,
    /// A table that is one value: its shapes exclude each other.
    Whole,
}

/// What is known of a place.
#[derive(Debug)]
pub(super) struct Known {
    /// Where it is in a serialised release; `*` is any name or item.
    at: &'static str,
    /// Where it is in the stack file; each `*` is what stood for it.
    path: &'static str,
    pub(super) form: Form,
    effect: Effect,
    /// What it is where it is left out, as JSON.
    absent: &'static str,
}

const fn known(at: &'static str, path: &'static str, form: Form, effect: Effect) -> Known {
    Known {
        at,
        path,
        form,
        effect,
        absent: "",
    }
}

impl Known {
    const fn absent(mut self, json: &'static str) -> Self {
        self.absent = json;
        self
    }
}

use Effect::{
    Governs, NextStart, Recorded, Released, Replaces, RunsCommand, Starts, Steers, Switches,
};
use Form::{Command, Digest, Duration, Plain, Rate, Size, Whole};

/// The first that fits counts.
const TABLE: &[Known] = &[
    known("spec.id", "environment", Plain, Released),
    known("spec.version", "stack.version", Plain, Recorded),
    known("spec.keep_warm", "stack.keep_warm", Duration, Steers),
    known("spec.keep_releases", "stack.keep_releases", Plain, Released),
    known("spec.deadlines.*", "stack.deadlines.*", Duration, Steers),
    known("spec.deadlines", "stack.deadlines", Plain, Steers),
    known("spec.region", "stack.region", Plain, Governs),
    known("spec.protected", "protected", Plain, Governs).absent("false"),
    known("spec.policy", "policy", Plain, Governs),
    known(
        "spec.policy.instances",
        "policy.min_instances (how many)",
        Plain,
        Governs,
    ),
    known("spec.policy.**", "policy.*", Plain, Governs),
    known("build.images.*", "service.*.image", Digest, Replaces),
    known("spec.services.*", "service.*", Plain, Starts),
    known("spec.services.*.source", "service.*.build", Whole, Replaces),
    known(
        "spec.services.*.command",
        "service.*.command",
        Command,
        Replaces,
    ),
    known(
        "spec.services.*.health.interval",
        "service.*.health.interval",
        Duration,
        Replaces,
    ),
    known(
        "spec.services.*.health.timeout",
        "service.*.health.timeout",
        Duration,
        Replaces,
    ),
    known("spec.services.*.memory", "service.*.memory", Size, Replaces),
    known(
        "spec.services.*.scratch",
        "service.*.scratch",
        Size,
        Replaces,
    ),
    known(
        "spec.services.*.release",
        "service.*.release",
        Plain,
        RunsCommand,
    ),
    known(
        "spec.services.*.release.command",
        "service.*.release.command",
        Command,
        RunsCommand,
    ),
    known(
        "spec.services.*.release.timeout",
        "service.*.release.timeout",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.release.schema",
        "service.*.release.schema",
        Plain,
        RunsCommand,
    ),
    known("spec.services.*.seed", "service.*.seed", Plain, Recorded),
    known(
        "spec.services.*.seed.command",
        "service.*.seed.command",
        Command,
        Recorded,
    ),
    known(
        "spec.services.*.seed.timeout",
        "service.*.seed.timeout",
        Duration,
        Recorded,
    ),
    known(
        "spec.services.*.start_timeout",
        "service.*.start_timeout",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.drain_timeout",
        "service.*.drain_timeout",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.long_drain_timeout",
        "service.*.long_drain_timeout",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.stop_timeout",
        "service.*.stop_timeout",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.overlap",
        "service.*.overlap",
        Plain,
        Steers,
    ),
    known(
        "spec.services.*.strategy",
        "service.*.deploy",
        Whole,
        Steers,
    ),
    known(
        "spec.services.*.strategy.bake",
        "service.*.deploy.bake",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.strategy.steps.hold",
        "service.*.deploy.steps.hold",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.analysis",
        "service.*.deploy.analysis",
        Whole,
        Steers,
    ),
    known(
        "spec.services.*.probe",
        "service.*.deploy.analysis.probe",
        Whole,
        Steers,
    ),
    known(
        "spec.services.*.probe.every",
        "service.*.deploy.analysis.probe.every",
        Duration,
        Steers,
    ),
    known(
        "spec.services.*.shared_links.**",
        "service.*.links.*",
        Plain,
        Replaces,
    ),
    known(
        "spec.services.*.exports.**",
        "service.*.export.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.guard.limit",
        "service.*.limit",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.guard.limit.rate",
        "service.*.limit.rate",
        Rate,
        Switches,
    ),
    known(
        "spec.services.*.guard.limit.by",
        "service.*.limit.by",
        Whole,
        Switches,
    ),
    known(
        "spec.services.*.guard.limit.**",
        "service.*.limit.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.guard.concurrency",
        "service.*.concurrency",
        Whole,
        Switches,
    )
    .absent("\"unlimited\""),
    known(
        "spec.services.*.guard.**",
        "service.*.guard.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.balance.hedge",
        "service.*.hedge",
        Duration,
        Switches,
    ),
    known("spec.services.*.balance.**", "service.*.*", Plain, Switches),
    known(
        "spec.services.*.route.*.settings.prefix",
        "service.*.route.*.strip",
        Plain,
        Switches,
    )
    .absent("\"kept\""),
    known(
        "spec.services.*.route.*.settings.https",
        "service.*.route.*.https",
        Plain,
        Switches,
    )
    .absent("\"optional\""),
    known(
        "spec.services.*.route.*.settings.audience",
        "service.*.route.*.private",
        Plain,
        Switches,
    )
    .absent("\"public\""),
    known(
        "spec.services.*.route.*.settings.standard_headers",
        "service.*.route.*.standard_headers",
        Plain,
        Switches,
    )
    .absent("\"added\""),
    known(
        "spec.services.*.route.*.settings.forwarded",
        "service.*.route.*.forwarded",
        Plain,
        Switches,
    )
    .absent("\"unsaid\""),
    known(
        "spec.services.*.route.*.settings.response_timeout",
        "service.*.route.*.response_timeout",
        Duration,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.idle_timeout",
        "service.*.route.*.idle_timeout",
        Duration,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.timeout",
        "service.*.route.*.timeout",
        Duration,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.body_limit",
        "service.*.route.*.body_limit",
        Size,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.limit",
        "service.*.route.*.limit",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.limit.rate",
        "service.*.route.*.limit.rate",
        Rate,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.limit.by",
        "service.*.route.*.limit.by",
        Whole,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.limit.**",
        "service.*.route.*.limit.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.headers.*",
        "service.*.route.*.response_headers.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.route.*.settings.allow",
        "service.*.route.*.allow",
        Plain,
        Switches,
    )
    .absent("[]"),
    known(
        "spec.services.*.route.*.settings.**",
        "service.*.route.*.*",
        Plain,
        Switches,
    ),
    known(
        "spec.services.*.route.*.path",
        "service.*.route.*.path",
        Plain,
        Switches,
    )
    .absent("\"/\""),
    known(
        "spec.services.*.route.**",
        "service.*.route.*",
        Plain,
        Switches,
    ),
    known("spec.services.*.**", "service.*.*", Plain, Replaces),
    known("spec.databases.*", "database.*", Plain, Starts),
    known(
        "spec.databases.*.memory",
        "database.*.memory",
        Size,
        NextStart,
    ),
    known(
        "spec.databases.*.backups.every",
        "database.*.backups.every",
        Duration,
        Released,
    ),
    known(
        "spec.databases.*.backups",
        "database.*.backups",
        Plain,
        Released,
    ),
    known(
        "spec.databases.*.backups.**",
        "database.*.backups.*",
        Plain,
        Released,
    ),
    known("spec.databases.*.**", "database.*.*", Plain, NextStart),
    known("spec.volumes.*", "volume.*", Plain, Starts),
    known("spec.volumes.*.size", "volume.*.size", Size, Replaces),
    known(
        "spec.volumes.*.snapshot",
        "volume.*.snapshot",
        Plain,
        Steers,
    )
    .absent("\"never\""),
    known("spec.volumes.*.**", "volume.*.*", Plain, Steers),
    known("spec.jobs.*", "job.*", Plain, Released),
    known("spec.jobs.*.command", "job.*.command", Command, Released),
    known("spec.jobs.*.deadline", "job.*.deadline", Duration, Released),
    known(
        "spec.jobs.*.schedule.cron",
        "job.*.schedule",
        Plain,
        Released,
    ),
    known(
        "spec.jobs.*.schedule.time_zone",
        "job.*.time_zone",
        Plain,
        Released,
    ),
    known("spec.jobs.*.**", "job.*.*", Plain, Released),
    known(
        "spec.secrets.*.rotate",
        "secret.*.rotate",
        Command,
        Recorded,
    ),
    known("spec.secrets.*", "secret.*", Plain, Recorded),
    known("spec.secrets.*.**", "secret.*.*", Plain, Recorded),
    known("secrets.*", "secret.*.version", Plain, Replaces),
    known("config.version", "configuration", Plain, Recorded),
    known("spec.seeded", "environment.seed", Plain, Recorded).absent("false"),
    known("spec.copy_data", "environment.copy_data", Plain, Recorded),
    known("spec.sleep", "environment.sleep", Duration, Released),
    known("spec.**", "*", Plain, Released),
    known("**", "*", Plain, Released),
];

/// Tables that are looked into also where the other side has none: of names, or of settings that are left out where
/// all are standard.
const OPEN: &[&str] = &[
    "spec",
    "build",
    "build.images",
    "spec.services",
    "config",
    "secrets",
    "spec.databases",
    "spec.volumes",
    "spec.jobs",
    "spec.secrets",
    "spec.policy",
    "spec.services.*.env",
    "spec.services.*.volumes",
    "spec.services.*.guard",
    "spec.services.*.balance",
    "spec.services.*.route.*.settings",
    "spec.services.*.route.*.settings.headers",
];

/// What tells an item of a list from the others.
pub(super) type ItemKey = fn(&Value, Between) -> String;

/// Lists whose items have names of their own.
const LISTS: &[(&str, ItemKey)] = &[
    ("spec.services.*.links", text),
    ("spec.services.*.shared_links", text),
    ("spec.services.*.exports", text),
    ("spec.services.*.egress", address),
    ("spec.services.*.route", route),
    ("spec.policy.freeze", text),
];

/// Whether a place is one that a pattern describes, and what stood for its stars.
fn fit<'a>(pattern: &str, at: &'a [Segment]) -> Option<Vec<&'a Segment>> {
    let mut stars = Vec::new();
    let mut rest = at.iter();
    for part in pattern.split('.') {
        match part {
            "**" => {
                let all: Vec<&Segment> = rest.by_ref().collect();
                if all.is_empty() {
                    return None;
                }
                stars.extend(all);
            }
            "*" => stars.push(rest.next()?),
            name => {
                rest.next().filter(|segment| segment.text() == name)?;
            }
        }
    }
    rest.next().is_none().then_some(stars)
}

fn is_one_of(patterns: &[&str], at: &[Segment]) -> bool {
    patterns.iter().any(|pattern| fit(pattern, at).is_some())
}

/// What is known of a place; of each something is.
pub(super) fn of(at: &[Segment]) -> Option<&'static Known> {
    TABLE.iter().find(|known| fit(known.at, at).is_some())
}

pub(super) fn is_whole(at: &[Segment]) -> bool {
    of(at).is_some_and(|known| matches!(known.form, Whole | Rate))
}

pub(super) fn is_open(at: &[Segment]) -> bool {
    is_one_of(OPEN, at)
}

pub(super) fn key(at: &[Segment]) -> Option<ItemKey> {
    let list = LISTS.iter().find(|(pattern, _)| fit(pattern, at).is_some());
    list.map(|(_, key)| *key)
}

pub(super) fn absent(at: &[Segment]) -> Option<Value> {
    serde_json::from_str(of(at)?.absent).ok()
}

/// How a change of a place comes into force.
pub(super) fn effect(known: Option<&Known>, at: &[Segment], kind: ChangeKind) -> Effect {
    let effect = known.map_or(Released, |known| known.effect);
    match (effect, kind, at.get(1).map(Segment::text)) {
        (Starts, ChangeKind::Remove, Some("databases" | "volumes")) => Effect::Strands,
        (Starts, _, Some("volumes")) => Released,
        (Starts, ChangeKind::Remove, _) => Effect::Ends,
        (RunsCommand, ChangeKind::Remove, _) => Steers,
        (effect, ..) => effect,
    }
}

/// The place in the words of the stack file. An item stands in brackets behind the list's name.
pub(super) fn path(at: &[Segment]) -> String {
    let Some((known, stars)) = TABLE
        .iter()
        .find_map(|known| Some((known, fit(known.at, at)?)))
    else {
        return String::new();
    };
    let places = known.path.split('.').filter(|part| *part == "*").count();
    let mut stars = stars.into_iter();
    let (mut path, mut filled) = (String::new(), 0);
    for part in known.path.split('.') {
        if part != "*" {
            push(&mut path, &Segment::Name(part.to_owned()));
            continue;
        }
        filled += 1;
        // The last one takes all that is left.
        let take = if filled == places { usize::MAX } else { 1 };
        for star in stars.by_ref().take(take) {
            push(&mut path, star);
        }
    }
    path
}

fn push(path: &mut String, segment: &Segment) {
    match segment {
        Segment::Item(item) => {
            path.push('[');
            path.push_str(item);
            path.push(']');
        }
        Segment::Name(name) => {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
    }
}

fn text(item: &Value, _: Between) -> String {
    match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn address(item: &Value, _: Between) -> String {
    match (&item["host"], &item["port"]) {
        (Value::String(host), port) => format!("{host}:{port}"),
        _ => item.to_string(),
    }
}

/// Host, path and header: what a route asks for. Two environments have hosts of their own.
fn route(item: &Value, between: Between) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let host = match between {
        Between::Releases => text(&item["host"]).unwrap_or_default(),
        Between::Environments => String::new(),
    };
    let path = text(&item["path"]).unwrap_or_else(|| "/".to_owned());
    let path = match host.is_empty() {
        true => path.as_str(),
        false => path.trim_end_matches('/'),
    };
    let header = &item["header"];
    let header = match (text(&header["name"]), text(&header["value"])) {
        (Some(name), Some(value)) => format!(" {name}: {value}"),
        (Some(name), None) => format!(" {name}"),
        _ => String::new(),
    };
    format!("{host}{path}{header}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_gives_as_absent_is_json() {
        for known in TABLE.iter().filter(|known| !known.absent.is_empty()) {
            assert!(
                serde_json::from_str::<Value>(known.absent).is_ok(),
                "{}",
                known.at
            );
        }
    }
}
