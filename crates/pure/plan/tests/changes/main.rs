//! What differs between two releases.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod losses;
mod rich;

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;
use rich::{name, new, release, rich};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ward_plan::changes::{Between, changes, cost, cost_change, set_aside, steps, with_digests};
use ward_types::changes::{Change, ChangeKind, Summary};
use ward_types::id::EnvId;
use ward_types::spec::{Amount, EnvSpec, Schema, Strategy as Takeover};
use ward_types::unit::ByteSize;

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
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
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

/// All specs, or releases, that differ from this one in one place.
fn neighbours<T: Serialize + DeserializeOwned + PartialEq>(of: &T) -> Vec<(String, T)> {
    let json = serde_json::to_value(of).unwrap();
    let mut all = Vec::new();
    places(&json, "", &mut all);
    let mut found = Vec::new();
    for place in all {
        for other in others(json.pointer(&place).unwrap()) {
            let mut changed = json.clone();
            *changed.pointer_mut(&place).unwrap() = other;
            if let Ok(other) = serde_json::from_value::<T>(changed)
                && other != *of
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
    let all = neighbours::<EnvSpec>(&spec);
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

/// What of a release is no difference: what each has of its own.
const OWN: [&str; 9] = [
    "/id",
    "/recorded",
    "/by",
    "/promoted",
    // Said in words of its own.
    "/named",
    "/build/version",
    "/build/provenance",
    "/build/stack_file",
    "/config/replaced",
];

/// Images, the version of the configuration, those of secrets, and whatever a release gets tomorrow.
#[test]
fn no_single_difference_of_a_whole_release_is_lost() {
    let from = release(1, rich());
    let of_release = neighbours(&from).into_iter().filter(|(place, _)| {
        let own = OWN.iter().any(|own| place.starts_with(own));
        !own && !place.starts_with("/spec/")
    });
    let mut found: BTreeMap<String, Change> = BTreeMap::new();
    for (place, to) in of_release {
        let there = changes(Between::Releases, Some(&from), Some(&to));
        assert!(!there.is_empty(), "{place} is lost: {to:?}");
        let back = changes(Between::Releases, Some(&to), Some(&from));
        assert_eq!(there.len(), back.len(), "{place}");
        for change in there {
            found.entry(place.clone()).or_insert(change);
        }
    }
    let found: Vec<Change> = found.into_values().collect();
    insta::assert_snapshot!(transcript(&found));
}

#[test]
fn that_a_copy_becomes_what_is_declared_is_a_change_where_nothing_else_is() {
    let mut copy = release(1, rich());
    copy.named = Some(false);
    let mut declared = release(2, rich());
    declared.named = Some(true);
    let found = changes(Between::Releases, Some(&copy), Some(&declared));
    let said: Vec<_> = found
        .iter()
        .map(|one| (one.path.as_str(), one.from_text.as_deref()))
        .collect();
    assert_eq!(said, [("environment", Some("a copy"))]);
    let others = changes(Between::Environments, Some(&copy), Some(&declared));
    assert_eq!(others, []);
}

#[test]
fn a_commit_that_holds_what_no_commit_held_is_a_change_where_nothing_else_is() {
    let of = |tree: &str, spec: EnvSpec| {
        let mut made = release(1, spec);
        let provenance = json!({
            "repository": "/srv/shop", "id": "3f2a9c01de3f2a9c01de3f2a9c01de3f2a9c01de",
            "author": "Anna Bauer <anna@example.com>", "committed": 0, "tree": tree,
        });
        made.build.provenance = Some(serde_json::from_value(provenance).unwrap());
        made
    };
    let (tried, committed) = (of("changed", rich()), of("as_committed", rich()));
    let found = changes(Between::Releases, Some(&tried), Some(&committed));
    let [change] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (change.path.as_str(), change.destructive),
        ("commit", false)
    );
    let before = "3f2a9c01de by Anna Bauer <anna@example.com>, with changes that no commit holds";
    assert_eq!(change.from_text.as_deref(), Some(before));
    // Not back, not between environments, and not where what is built is known to be another.
    let none = |between, from, to| changes(between, Some(from), Some(to)).is_empty();
    assert!(none(Between::Releases, &committed, &tried));
    assert!(none(Between::Releases, &committed, &committed));
    let unknown = release(1, rich());
    assert!(none(Between::Releases, &unknown, &committed));
    assert!(none(Between::Environments, &tried, &committed));
    let mut other = rich();
    other.keep_releases += 1;
    let found = changes(
        Between::Releases,
        Some(&tried),
        Some(&of("as_committed", other)),
    );
    assert!(
        found.iter().all(|change| change.path != "commit"),
        "{found:?}"
    );
}

#[test]
fn a_secret_is_told_by_version_and_digest() {
    let from = release(1, rich());
    let mut to = release(2, rich());
    to.secrets = to
        .secrets
        .into_iter()
        .map(|(name, version)| (name, version + 1))
        .collect();
    let mut found = changes(Between::Releases, Some(&from), Some(&to));
    with_digests(
        &mut found,
        |name, version| Some(format!("{name} {version} of one side")),
        |_, version| (version == 3).then(|| "0123456789abcdef".to_owned()),
    );
    let [change] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(change.path, "secret.API_KEY.version");
    assert_eq!(
        (&change.from, &change.to),
        (&Some(json!(2)), &Some(json!(3)))
    );
    assert_eq!(change.from_digest.as_deref(), Some("API_KEY 2 of one side"));
    assert_eq!(change.to_digest.as_deref(), Some("0123456789abcdef"));
    assert_eq!(change.from_text.as_deref(), Some("2 (API_KEY 2 of)"));
    assert_eq!(change.to_text.as_deref(), Some("3 (0123456789ab)"));
    assert_eq!(change.means, "new instances have it");
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
