//! What differs between two releases: the changes that `ward plan` shows and that a policy judges.
//!
//! Decision: completeness rests on nobody's memory. Both releases are walked as they are serialised, so a field that
//! somebody adds tomorrow is compared tomorrow, under its own name. What is known of a path (its name in the stack
//! file, its unit, how it comes into force) is added from one table (`known`); what is not in the table is shown
//! all the same. This is no part of the driver's way ([`crate::plan`]): it says what will be different, not what is
//! done next.

mod cost;
mod known;
mod meaning;
mod said;
mod steps;
mod walk;

use std::collections::BTreeMap;

use serde_json::Value;
use ward_types::changes::{Change, ChangeKind, Component, ComponentKind, CostChange, Effect};
use ward_types::id::Name;
use ward_types::release::Release;
use ward_types::secrets::SecretName;
use ward_types::text::shown;

pub use cost::cost;
pub use steps::steps;

use walk::{Found, Segment};

/// Whose releases are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Two of one environment.
    Releases,
    /// Those of two environments: a route is the same at whatever host.
    Environments,
}

/// Every difference between two releases, or between nothing and one: those of the environment as a whole first, then
/// component by component. Empty exactly where nothing differs but number, time, author, build number and commit, and the
/// commit holds no more of it than was known.
#[must_use]
pub fn changes(between: Between, from: Option<&Release>, to: Option<&Release>) -> Vec<Change> {
    let mut changes = of_values(between, &written(from), &written(to));
    if between == Between::Environments {
        return changes;
    }
    changes.extend(covered(from, to));
    changes.extend(declared(from, to));
    if changes.is_empty() {
        return committed(from, to).into_iter().collect();
    }
    in_order(&mut changes);
    changes
}

/// What the stack file says otherwise where something else is set, now and then: it comes into force when that is unset,
/// so a release tells it.
fn covered(from: Option<&Release>, to: Option<&Release>) -> Vec<Change> {
    let (Some(from), Some(to)) = (from, to) else {
        return Vec::new();
    };
    let nothing = BTreeMap::new();
    let mut found = Vec::new();
    for (service, now) in &to.config.replaced {
        let before = from.config.replaced.get(service).unwrap_or(&nothing);
        for (key, now) in now {
            let Some(before) = before.get(key).filter(|before| *before != now) else {
                continue;
            };
            let said = |value: &Option<String>| value.as_ref().map(|value| shown(value));
            found.push(Change {
                path: format!("service.{service}.env.{key}"),
                component: Some(Component {
                    kind: ComponentKind::Service,
                    name: service.clone(),
                }),
                kind: match (before, now) {
                    (None, _) => ChangeKind::Add,
                    (_, None) => ChangeKind::Remove,
                    _ => ChangeKind::Change,
                },
                from: before.clone().map(Value::String),
                to: now.clone().map(Value::String),
                from_text: said(before),
                to_text: said(now),
                from_digest: None,
                to_digest: None,
                effect: Effect::Released,
                means: "the stack file's value, which comes into force when the one that is set there is unset"
                    .to_owned(),
                destructive: false,
            });
        }
    }
    found
}

/// That what began as a copy becomes what its stack file declares, or goes back to being none of it.
fn declared(from: Option<&Release>, to: Option<&Release>) -> Option<Change> {
    let (from, to) = (from?, to?);
    let word = |release: &Release| match release.is_named() {
        true => "as its stack file declares it",
        false => "a copy",
    };
    let is_said = from.named.is_some() || to.named.is_some();
    (is_said && from.is_named() != to.is_named()).then(|| Change {
        path: "environment".to_owned(),
        component: None,
        kind: ChangeKind::Change,
        from: None,
        to: None,
        from_text: Some(word(from).to_owned()),
        to_text: Some(word(to).to_owned()),
        from_digest: None,
        to_digest: None,
        effect: Effect::Released,
        means: "rules are asked of an environment that is declared as they are not of a copy"
            .to_owned(),
        destructive: false,
    })
}

fn in_order(changes: &mut [Change]) {
    changes.sort_by(|a, b| (&a.component, &a.path).cmp(&(&b.component, &b.path)));
}

/// That a release tells the commit of a build which so far was of changes that no commit held. Where more differs the build
/// is another one, and tells its own.
fn committed(from: Option<&Release>, to: Option<&Release>) -> Option<Change> {
    let from = from?.build.provenance.as_deref();
    let to = to?.build.provenance.as_deref()?;
    to.settles(from).then(|| Change {
        path: "commit".to_owned(),
        component: None,
        kind: ChangeKind::Change,
        from: None,
        to: None,
        from_text: from.map(ToString::to_string),
        to_text: Some(to.to_string()),
        from_digest: None,
        to_digest: None,
        effect: Effect::Released,
        means: "a release of the same images that a commit holds in full".to_owned(),
        destructive: false,
    })
}

/// The same of releases as they are serialised, whatever they hold.
#[must_use]
pub fn of_values(between: Between, from: &Value, to: &Value) -> Vec<Change> {
    let found = walk::walk(between, from, to);
    let mut changes: Vec<Change> = found.iter().map(change).collect();
    fold_images(&mut changes);
    in_order(&mut changes);
    changes
}

/// A release serialises in any case: its keys are texts, its numbers whole. Nothing is a release without anything.
fn written(release: Option<&Release>) -> Value {
    let written = release.and_then(|release| serde_json::to_value(release).ok());
    written.unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

/// What both take of their machine.
#[must_use]
pub fn cost_change(from: Option<&Release>, to: Option<&Release>) -> CostChange {
    let of = |release: Option<&Release>| release.map(|r| cost(&r.spec)).unwrap_or_default();
    CostChange {
        before: of(from),
        after: of(to),
    }
}

/// Those that differ because two environments are two: their names and hosts, whether they are seeded, and the versions
/// of their configuration and secrets, which each counts by itself.
#[must_use]
pub fn set_aside(changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
    let named = |change: &Change| {
        let path = change.path.as_str();
        let version = path.starts_with("secret.") && path.ends_with(".version");
        let own = ["environment", "environment.seed", "configuration"];
        own.contains(&path) || path.ends_with("].host") || version
    };
    changes.into_iter().partition(|change| !named(change))
}

/// Those that take something away that people rely on: what is not there any more, fewer instances, a way in that is less
/// protected. Rules are not among them: they hold on ([`ward_types::policy::Declared`]).
#[must_use]
pub fn dropped(changes: Vec<Change>) -> Vec<Change> {
    let is_rule = |change: &Change| {
        let path = change.path.as_str();
        path == "protected" || path == "policy" || path.starts_with("policy.")
    };
    let fewer = |change: &Change| {
        let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_u64);
        let counted = number(&change.from).zip(number(&change.to));
        change.path.ends_with(".instances") && counted.is_some_and(|(from, to)| to < from)
    };
    let opened = |change: &Change| {
        let redirect = Some(Value::String("redirect".to_owned()));
        change.path.ends_with(".https") && change.from == redirect
    };
    let drops = |change: &Change| {
        let gone = change.kind == ChangeKind::Remove || change.destructive;
        !is_rule(change) && (gone || fewer(change) || opened(change))
    };
    changes.into_iter().filter(drops).collect()
}

fn change(found: &Found) -> Change {
    let known = known::of(&found.at);
    let kind = match (&found.from, &found.to) {
        (None, Some(_)) => ChangeKind::Add,
        (Some(_), None) => ChangeKind::Remove,
        _ => ChangeKind::Change,
    };
    let text = |value: &Option<Value>| {
        let value = value.as_ref()?;
        Some(said::value(&found.at, value))
    };
    let effect = known::effect(known, &found.at, kind);
    let (means, destructive) = meaning::means(found, kind, effect);
    Change {
        path: known::path(&found.at),
        component: component(&found.at),
        kind,
        from: found.from.clone(),
        to: found.to.clone(),
        from_text: text(&found.from),
        to_text: text(&found.to),
        from_digest: None,
        to_digest: None,
        effect,
        means,
        destructive,
    }
}

/// Of a digest so much is for people.
const SHORT: usize = 12;

/// The secret whose version a change is of.
#[must_use]
pub fn secret_of(change: &Change) -> Option<SecretName> {
    let path = change.path.strip_prefix("secret.")?;
    SecretName::parse(path.strip_suffix(".version")?).ok()
}

/// Says the digests of secrets beside their versions: `from` and `to` know those of either side.
pub fn with_digests(
    changes: &mut [Change],
    from: impl Fn(&SecretName, u64) -> Option<String>,
    to: impl Fn(&SecretName, u64) -> Option<String>,
) {
    let version = |side: &Option<Value>| side.as_ref().and_then(Value::as_u64);
    for change in changes {
        let Some(name) = secret_of(change) else {
            continue;
        };
        change.from_digest = version(&change.from).and_then(|version| from(&name, version));
        change.to_digest = version(&change.to).and_then(|version| to(&name, version));
        for (text, digest) in [
            (&mut change.from_text, &change.from_digest),
            (&mut change.to_text, &change.to_digest),
        ] {
            if let (Some(text), Some(digest)) = (text, digest) {
                let short: String = digest.chars().take(SHORT).collect();
                text.push_str(&format!(" ({short})"));
            }
        }
    }
}

fn component(at: &[Segment]) -> Option<Component> {
    let name = |segment: &Segment| match segment {
        Segment::Name(name) | Segment::Item(name) => Name::parse(name).ok(),
    };
    let kind = match (at.first()?.text(), at.get(1)?.text()) {
        ("spec", "services") | ("build", "images") => ComponentKind::Service,
        ("spec", "databases") => ComponentKind::Database,
        ("spec", "volumes") => ComponentKind::Volume,
        _ => return None,
    };
    let name = name(at.get(2)?)?;
    Some(Component { kind, name })
}

/// The image of a service that comes or goes is a part of that.
fn fold_images(changes: &mut Vec<Change>) {
    let whole = |change: &Change| {
        let component = change.component.as_ref()?;
        let service = component.kind == ComponentKind::Service;
        let whole = change.path == format!("service.{}", component.name);
        (service && whole).then(|| component.clone())
    };
    let services: Vec<Component> = changes.iter().filter_map(whole).collect();
    let (images, mut rest): (Vec<Change>, Vec<Change>) = changes.drain(..).partition(|change| {
        let component = change.component.as_ref();
        let image = |c: &Component| change.path == format!("service.{}.image", c.name);
        component.is_some_and(|c| services.contains(c) && image(c))
    });
    for image in images {
        let own =
            |change: &&mut Change| change.component == image.component && whole(change).is_some();
        let Some(service) = rest.iter_mut().find(own) else {
            continue;
        };
        for (side, digest, text, image_text) in [
            (
                &mut service.from,
                &image.from,
                &mut service.from_text,
                &image.from_text,
            ),
            (
                &mut service.to,
                &image.to,
                &mut service.to_text,
                &image.to_text,
            ),
        ] {
            if let (Some(Value::Object(side)), Some(digest)) = (side, digest) {
                side.insert("image".to_owned(), digest.clone());
            }
            if let (Some(text), Some(image)) = (text, image_text) {
                text.push_str(&format!(", image {image}"));
            }
        }
    }
    *changes = rest;
}
