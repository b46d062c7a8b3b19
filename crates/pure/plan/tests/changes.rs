//! What differs between two releases.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};
use ward_plan::changes::{Between, changes, cost, cost_change, set_aside, steps};
use ward_types::backup::BackupSpec;
use ward_types::balance::{Affinity, Balance};
use ward_types::changes::{Change, ChangeKind, Summary};
use ward_types::configuration::Configured;
use ward_types::guard::{Concurrency, Guard, LimitBy, Rate, RateLimit};
use ward_types::id::{Digest, EnvId, Name, ReleaseId};
use ward_types::policy::{Freeze, Level, Policy};
use ward_types::release::{Build, Environment, Release};
use ward_types::route::{
    Audience, Forwarded, HeaderCondition, Https, Prefix, RouteSettings, RouteSpec, StandardHeaders,
};
use ward_types::run::{JobSpec, Missed, Overlap, Schedule};
use ward_types::secrets::{SecretName, SecretPlace, SecretSpec};
use ward_types::sharing::{Export, SharedLink};
use ward_types::spec::{
    Amount, Analysis, Base, CanaryStep, DatabaseEngine, DatabaseSpec, Deadlines, EgressSpec,
    EnvSpec, HealthSpec, ImageSource, Inconclusive, Probe, ReleaseCommand, Schema, ServiceSpec,
    Sticky, Strategy as Takeover,
};
use ward_types::time::{Millis, Timestamp};
use ward_types::tls::{CertificateFiles, HostTls};
use ward_types::unit::ByteSize;
use ward_types::volume::{Snapshots, VolumeSpec};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// An environment without data yet.
fn new() -> Environment {
    Environment::new(EnvId::parse("shop/dev").unwrap())
}

fn job() -> JobSpec {
    JobSpec {
        service: name("worker"),
        command: vec!["close-month".to_owned()],
        schedule: Some(Schedule {
            cron: "0 2 1 * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
        }),
        overlap: Overlap::Queue,
        retries: 2,
        deadline: Millis::secs(60),
        missed: Missed::Skip,
        copies: true,
    }
}

/// Every field of every type says something. No `..`: whoever adds a field is asked for it here, and it is compared
/// from then on.
fn rich() -> EnvSpec {
    EnvSpec {
        id: EnvId::parse("shop/prod").unwrap(),
        version: "1.4".to_owned(),
        services: BTreeMap::from([(name("web"), web()), (name("worker"), worker())]),
        databases: BTreeMap::from([
            (
                name("db"),
                DatabaseSpec {
                    engine: DatabaseEngine::Postgres,
                    memory: Some(ByteSize(1 << 30)),
                    backups: Some(BackupSpec {
                        every: Millis::secs(24 * 3600),
                        keep: 7,
                    }),
                },
            ),
            (
                name("old"),
                DatabaseSpec {
                    engine: DatabaseEngine::Postgres,
                    memory: None,
                    backups: None,
                },
            ),
        ]),
        volumes: BTreeMap::from([(
            name("uploads"),
            VolumeSpec {
                size: ByteSize(1 << 30),
                snapshot: Snapshots::BeforeRelease,
                keep_snapshots: 3,
            },
        )]),
        jobs: BTreeMap::from([(name("close-month"), job())]),
        secrets: BTreeMap::from([(
            secret("API_KEY"),
            SecretSpec {
                generate: Some(32),
                rotate: vec!["new-key".to_owned()],
            },
        )]),
        keep_warm: Millis::secs(600),
        seeded: true,
        copy_data: ward_types::spec::CopyData::Allowed,
        sleep: Some(Millis::secs(1800)),
        keep_releases: 10,
        deadlines: Deadlines {
            queue: Millis::secs(1),
            database_start: Millis::secs(2),
            database_stop: Millis::secs(3),
            acknowledge: Millis::secs(4),
            promote: Millis::secs(5),
            revert: Millis::secs(6),
        },
        region: Some(name("eu")),
        protected: true,
        policy: Policy {
            database_removed: Level::Deny,
            export_removed: Level::Warn,
            volume_removed: Level::Deny,
            min_instances: Level::Warn,
            instances: 3,
            tls: Level::Deny,
            host_base: Level::Warn,
            rate_limit: Level::Deny,
            images: Level::Warn,
            backups: Level::Deny,
            residency: Level::Warn,
            freeze: vec![
                Freeze::try_from("2026-12-20/2027-01-05 UTC".to_owned()).unwrap(),
                Freeze::try_from("2026-11-27/2026-11-27 Europe/Berlin".to_owned()).unwrap(),
            ],
            pipeline: Level::Deny,
            second_person: Level::Warn,
        },
    }
}

fn secret(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn web() -> ServiceSpec {
    ServiceSpec {
        volumes: BTreeMap::from([(name("uploads"), "/data".to_owned())]),
        secrets: BTreeMap::from([
            (secret("API_KEY"), SecretPlace::Variable),
            (
                secret("signing-key"),
                SecretPlace::File("/run/secrets/key".to_owned()),
            ),
        ]),
        source: ImageSource::Command {
            command: vec!["make".to_owned()],
            files: vec!["server.py".to_owned(), "static".to_owned()],
            run: vec!["python3".to_owned(), "server.py".to_owned()],
            base: Base::Host,
        },
        command: Some(vec!["python3".to_owned(), "-u".to_owned()]),
        port: Some(8080),
        health: Some(HealthSpec {
            path: "/healthz".to_owned(),
            interval: Millis(200),
            timeout: Millis::secs(1),
            healthy: 2,
            unhealthy: 3,
        }),
        seed: Some(ward_types::spec::SeedCommand {
            command: vec!["seed".to_owned()],
            timeout: Millis::secs(7),
        }),
        instances: 2,
        links: vec![name("db"), name("worker")],
        shared_links: vec![SharedLink::parse("claims/api").unwrap()],
        exports: vec![Export::parse("plans/*").unwrap()],
        egress: vec![
            EgressSpec {
                host: "api.example.com".to_owned(),
                port: 443,
            },
            EgressSpec {
                host: "api.example.com".to_owned(),
                port: 80,
            },
        ],
        env: BTreeMap::from([
            ("LEVEL".to_owned(), "info".to_owned()),
            ("MODE".to_owned(), String::new()),
        ]),
        memory: Some(ByteSize(256 << 20)),
        processes: 100,
        scratch: ByteSize(64 << 20),
        release: Some(ReleaseCommand {
            command: vec!["web".to_owned(), "migrate".to_owned()],
            timeout: Millis::secs(300),
            schema: Schema::Expand,
        }),
        routes: vec![
            route("shop.example.org", "/"),
            route("shop.example.org", "/api"),
            route("*.example.org", "/"),
        ],
        start_timeout: Millis::secs(60),
        drain_timeout: Millis::secs(30),
        long_drain_timeout: Some(Millis::secs(60)),
        stop_timeout: Millis::secs(10),
        overlap: true,
        strategy: Takeover::Canary {
            steps: vec![
                CanaryStep {
                    weight: 10,
                    hold: Some(Millis::secs(60)),
                },
                CanaryStep {
                    weight: 50,
                    hold: None,
                },
            ],
            sticky: Some(Sticky::Cookie("side".to_owned())),
            bake: Millis::secs(60),
        },
        analysis: Some(Analysis {
            requests: 50,
            inconclusive: Inconclusive::Hold,
        }),
        probe: Some(Probe {
            path: "/".to_owned(),
            every: Millis(100),
        }),
        guard: Guard {
            limit: Some(RateLimit {
                rate: Rate::parse("100/s").unwrap(),
                burst: 200,
                by: LimitBy::Header("x-key".to_owned()),
            }),
            concurrency: Concurrency::PerInstance(32),
        },
        balance: Balance {
            affinity: Some(Affinity {
                cookie: "instance".to_owned(),
            }),
            hedge: Some(Millis(100)),
            retries: Some(1),
        },
    }
}

fn route(host: &str, path: &str) -> RouteSpec {
    RouteSpec {
        host: Some(host.to_owned()),
        path: path.to_owned(),
        header: Some(HeaderCondition {
            name: "x-beta".to_owned(),
            value: Some("1".to_owned()),
        }),
        settings: RouteSettings {
            prefix: Prefix::Stripped,
            https: Https::Redirect,
            audience: Audience::Links,
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            response_timeout: Some(Millis::secs(1)),
            idle_timeout: Some(Millis::secs(2)),
            timeout: Some(Millis::secs(3)),
            body_limit: Some(ByteSize(1 << 20)),
            standard_headers: StandardHeaders::Left,
            forwarded: Forwarded::Said,
            headers: BTreeMap::from([("x-frame-options".to_owned(), "DENY".to_owned())]),
        },
        tls: Some(HostTls {
            certificate: Some(CertificateFiles {
                certificate: "/etc/shop.pem".into(),
                key: "/etc/shop.key".into(),
            }),
            client_ca: Some("/etc/ca.pem".into()),
            acme: true,
        }),
    }
}

fn worker() -> ServiceSpec {
    ServiceSpec {
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        source: ImageSource::Image {
            reference: "worker:1.0".to_owned(),
        },
        command: None,
        port: None,
        health: None,
        instances: 1,
        links: Vec::new(),
        shared_links: Vec::new(),
        exports: Vec::new(),
        egress: Vec::new(),
        env: BTreeMap::new(),
        memory: None,
        processes: 4096,
        scratch: ByteSize(1 << 30),
        release: None,
        seed: None,
        routes: Vec::new(),
        start_timeout: Millis::secs(60),
        drain_timeout: Millis::secs(30),
        long_drain_timeout: None,
        stop_timeout: Millis::secs(10),
        overlap: false,
        strategy: Takeover::BlueGreen { bake: Millis(0) },
        analysis: None,
        probe: None,
        guard: Guard::default(),
        balance: Balance::default(),
    }
}

fn release(number: u64, spec: EnvSpec) -> Release {
    let digest =
        |name: &Name| Digest::from_sha256(&[u8::try_from(name.as_str().len()).unwrap(); 32]);
    let images = spec
        .services
        .keys()
        .map(|name| (name.clone(), digest(name)));
    Release {
        id: ReleaseId(number),
        build: Build {
            version: format!("1.4.{number}"),
            images: images.collect(),
            stack_file: None,
            provenance: None,
        },
        spec,
        config: Configured {
            version: 3,
            replaced: BTreeMap::new(),
        },
        secrets: BTreeMap::from([(secret("API_KEY"), 2)]),
        recorded: Timestamp(number),
        by: format!("somebody {number}"),
        promoted: None,
    }
}

/// Every place of a value.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(table) => {
            for (name, below) in table {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(below, &format!("{at}/{name}"), into);
            }
        }
        Value::Array(list) => {
            for (index, below) in list.iter().enumerate() {
                places(below, &format!("{at}/{index}"), into);
            }
        }
        _ => {}
    }
}

/// What can stand in the place of a value: whether it can is the types' to say.
fn others(value: &Value) -> Vec<Value> {
    let words = [
        "off",
        "warn",
        "deny",
        "none",
        "contract",
        "irreversible",
        "kept",
        "optional",
        "public",
        "added",
        "unsaid",
        "empty",
        "unlimited",
        "adaptive",
        "rollback",
        "promote",
        "hold",
        "address",
        "other",
        "1.5",
        "",
        "/",
        "10.0.0.0/16",
        "2026-12-24/2026-12-25 UTC",
        "shop/other",
    ];
    let mut others = vec![Value::Null];
    match value {
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            others.extend([json!(number + 1), json!(number.saturating_sub(1)), json!(0)]);
        }
        Value::Bool(flag) => others.push(json!(!flag)),
        Value::String(_) => others.extend(words.map(|word| json!(word))),
        Value::Array(list) => {
            others.push(json!([]));
            others.push(Value::Array(list.iter().rev().cloned().collect()));
            others.push(Value::Array(list.iter().skip(1).cloned().collect()));
            others.push(Value::Array(
                list.iter().chain(list.first()).cloned().collect(),
            ));
        }
        Value::Object(table) => {
            others.push(json!({}));
            for name in table.keys() {
                let mut less = table.clone();
                less.remove(name);
                others.push(Value::Object(less));
            }
            others.extend([
                json!({"kind": "cargo", "package": "web"}),
                json!({"kind": "blue_green", "bake": 1000}),
                json!({"kind": "rolling", "batch": {"count": 1}, "surge": {"percent": 50}}),
                json!({"per_instance": 4}),
            ]);
        }
        Value::Null => {}
    }
    others
}

/// All specs that differ from this one in one place.
fn neighbours(spec: &EnvSpec) -> Vec<(String, EnvSpec)> {
    let json = serde_json::to_value(spec).unwrap();
    let mut all = Vec::new();
    places(&json, "", &mut all);
    let mut found = Vec::new();
    for place in all {
        for other in others(json.pointer(&place).unwrap()) {
            let mut changed = json.clone();
            *changed.pointer_mut(&place).unwrap() = other;
            if let Ok(other) = serde_json::from_value::<EnvSpec>(changed)
                && other != *spec
            {
                found.push((place.clone(), other));
            }
        }
    }
    found
}

/// One of the specs that differ in one place, where there is one at that place.
fn stepped(
    spec: &EnvSpec,
    place: &prop::sample::Index,
    other: &prop::sample::Index,
) -> Option<EnvSpec> {
    let mut json = serde_json::to_value(spec).unwrap();
    let mut all = Vec::new();
    places(&json, "", &mut all);
    let place = place.get(&all);
    let value = json.pointer_mut(place).unwrap();
    let choice = others(value);
    *value = other.get(&choice).clone();
    serde_json::from_value(json).ok()
}

fn between(from: &EnvSpec, to: &EnvSpec) -> Vec<Change> {
    changes(
        Between::Releases,
        Some(&release(1, from.clone())),
        Some(&release(2, to.clone())),
    )
}

#[test]
fn no_single_difference_is_lost() {
    let spec = rich();
    let all = neighbours(&spec);
    assert!(
        all.len() > 400,
        "only {}: are values of each kind tried?",
        all.len()
    );
    for (place, other) in all {
        assert!(
            !between(&spec, &other).is_empty(),
            "{place} is lost: {other:?}"
        );
        assert!(
            !between(&other, &spec).is_empty(),
            "{place} is lost on the way back"
        );
    }
}

/// Also a field of the release that this test knows nothing of.
#[test]
fn what_nobody_has_described_is_shown_under_its_own_name() {
    let mut from = serde_json::to_value(rich()).unwrap();
    from["services"]["web"]["tomorrow"] = json!({"a": 1});
    let found = ward_plan::changes::of_values(
        Between::Releases,
        &json!({"spec": from, "commit": "abc"}),
        &json!({"spec": rich(), "commit": "def"}),
    );
    let paths: Vec<&str> = found.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["commit", "service.web.tomorrow"]);
    assert_eq!(found[0].means, "part of the new release");
    assert_eq!(found[1].kind, ChangeKind::Remove);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Several differences at once, back and forth.
    #[test]
    fn two_specs_differ_exactly_where_changes_are_found(
        steps in proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..12)
    ) {
        let mut spec = rich();
        for (place, other) in &steps {
            spec = stepped(&spec, place, other).unwrap_or(spec);
        }
        let (there, back) = (between(&rich(), &spec), between(&spec, &rich()));
        prop_assert_eq!(there.is_empty(), spec == rich());
        prop_assert!(between(&spec, &spec).is_empty());
        prop_assert_eq!(there.len(), back.len());
        for (one, other) in there.iter().zip(&back) {
            prop_assert_eq!(&one.path, &other.path);
            prop_assert_eq!((&one.from, &one.to), (&other.to, &other.from));
            let turned = match one.kind {
                ChangeKind::Add => ChangeKind::Remove,
                ChangeKind::Remove => ChangeKind::Add,
                ChangeKind::Change => ChangeKind::Change,
            };
            prop_assert_eq!(turned, other.kind);
        }
        let mut paths: Vec<&str> = there.iter().map(|change| change.path.as_str()).collect();
        paths.dedup();
        prop_assert_eq!(paths.len(), there.len(), "a path is there twice: {:?}", paths);
    }
}

fn transcript(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let sign = match change.kind {
            ChangeKind::Add => '+',
            ChangeKind::Change => '~',
            ChangeKind::Remove => '-',
        };
        let mark = if change.destructive { " !" } else { "" };
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "∅".to_owned());
        let (from, to) = (side(&change.from_text), side(&change.to_text));
        writeln!(
            text,
            "{sign}{mark} {}: {from} → {to}\n    {}",
            change.path, change.means
        )
        .unwrap();
    }
    text
}

/// A path without the names of a list's items.
fn without_items(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |path, part| {
        format!("{path}[]{}", part.split_once(']').unwrap().1)
    })
}

/// One difference of each place that has a name, as people read it.
#[test]
fn each_place_has_its_words() {
    let spec = rich();
    let mut seen: BTreeMap<String, Change> = BTreeMap::new();
    for (_, other) in neighbours(&spec) {
        for change in between(&spec, &other) {
            seen.entry(without_items(&change.path)).or_insert(change);
        }
    }
    let all: Vec<Change> = seen.into_values().collect();
    insta::assert_snapshot!(transcript(&all));
}

#[test]
fn a_new_environment_is_added_whole_and_says_what_is_done() {
    let to = release(1, rich());
    let found = changes(Between::Releases, None, Some(&to));
    assert!(found.iter().all(|change| change.kind == ChangeKind::Add));
    let mut text = transcript(&found);
    writeln!(text, "---").unwrap();
    for step in steps(&new(), None, &to) {
        writeln!(text, "{}", step.text).unwrap();
    }
    insta::assert_snapshot!(text);
    assert_eq!(Summary::of(&found, &[]).add, found.len() as u64);
}

#[test]
fn what_is_destructive_is_marked_and_counted() {
    let from = release(4, rich());
    let mut spec = rich();
    spec.databases.remove(&name("old"));
    spec.services.remove(&name("worker"));
    let web = spec.services.get_mut(&name("web")).unwrap();
    web.routes.remove(1);
    web.links.pop();
    web.release.as_mut().unwrap().schema = Schema::Irreversible;
    web.strategy = Takeover::Rolling {
        batch: Amount::Count(1),
        surge: Amount::Percent(50),
    };
    web.instances = 4;
    let to = release(5, spec);
    let found = changes(Between::Releases, Some(&from), Some(&to));
    let steps = steps(&new(), Some(&from), &to);
    let mut text = transcript(&found);
    writeln!(text, "---").unwrap();
    for step in &steps {
        writeln!(
            text,
            "{}{}",
            if step.destructive { "! " } else { "" },
            step.text
        )
        .unwrap();
    }
    let cost = cost_change(Some(&from), Some(&to));
    writeln!(
        text,
        "---\n{}\n{}\n{:?}",
        cost.before,
        cost.after,
        Summary::of(&found, &steps)
    )
    .unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn two_environments_that_differ_in_their_hosts_alone_differ_aside() {
    let mut other = rich();
    other.id = EnvId::parse("shop/qa").unwrap();
    for route in &mut other.services.get_mut(&name("web")).unwrap().routes {
        let host = route.host.take().unwrap();
        route.host = Some(host.replace("example.org", "qa.example.org"));
    }
    let (from, to) = (release(3, rich()), release(9, other));
    let found = changes(Between::Environments, Some(&from), Some(&to));
    let (real, aside) = set_aside(found);
    assert_eq!(real, []);
    let paths: Vec<&str> = aside.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "environment",
            "service.web.route[/ x-beta: 1 #2].host",
            "service.web.route[/ x-beta: 1].host",
            "service.web.route[/api x-beta: 1].host",
        ]
    );
}

#[test]
fn the_cost_is_counted_in_units() {
    let cost = cost(&rich());
    assert_eq!((cost.instances, cost.databases), (3, 2));
    assert_eq!(cost.memory, ByteSize(2 * (256 << 20) + (1 << 30)));
    assert_eq!(cost.unlimited, 2, "the worker and the old database");
}
