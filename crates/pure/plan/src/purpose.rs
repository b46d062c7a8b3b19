//! Decision: what each instance of a service or release command is there for, and so whether it stays.

use ward_types::id::ReleaseId;
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Goal, Phase, Verdict};
use ward_types::spec::ServiceSpec;

use crate::backoff;
use crate::checkup;
use crate::drill;
use crate::exchange;
use crate::observed::SeenInstance;
use crate::pools;
use crate::roll;
use crate::runs;
use crate::scene::Scene;
use crate::waiting::Bound;

/// What an instance is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A release needs it.
    Needed,
    /// It makes a rollback a switch, until then.
    Warm(Bound),
    /// It is over, and its end still counts.
    History,
    /// Nothing: it is drained, stopped and removed.
    Done,
}

pub(crate) fn of(scene: &Scene, instance: &SeenInstance) -> Purpose {
    match (scene.env.goal, instance.facts.role) {
        (_, Role::Run(_)) => runs::purpose(scene, instance),
        (Goal::Down | Goal::Purged, _) => Purpose::Done,
        (Goal::Up, _) if scene.env.asleep().is_some() => Purpose::Done,
        (Goal::Up, Role::Drill(id)) => drill::purpose(scene, instance, id),
        (Goal::Up, Role::Database) => Purpose::Needed,
        (
            Goal::Up,
            Role::ReleaseCommand | Role::Seed | Role::Copy | Role::VolumeCopy | Role::Snapshot,
        ) => of_command(scene, instance),
        (Goal::Up, Role::Service) if exchange::is_remembered(scene, instance) => Purpose::History,
        (Goal::Up, Role::Service) => of_service(scene, instance),
    }
}

/// A release command's instance is kept while its deployment prepares: it tells that the command ran.
fn of_command(scene: &Scene, instance: &SeenInstance) -> Purpose {
    match scene.active() {
        Some(d) if d.phase == Phase::Preparing && d.to == instance.facts.release => Purpose::Needed,
        _ => Purpose::Done,
    }
}

fn of_service(scene: &Scene, instance: &SeenInstance) -> Purpose {
    let release = instance.facts.release;
    let Some(service) = scene.service(release, &instance.facts.component) else {
        return Purpose::Done;
    };
    match scene.active() {
        Some(d) if d.to == release && d.phase == Phase::Preparing => needed_if_live(instance),
        Some(d) if d.to == release && matches!(d.phase, Phase::Rolling { .. }) => {
            of_candidate(scene, instance, d)
        }
        _ if scene.current() == Some(release) => of_serving(scene, instance, service),
        Some(d) if d.to == release => Purpose::Done,
        _ => of_previous(scene, instance, service),
    }
}

fn needed_if_live(instance: &SeenInstance) -> Purpose {
    match instance.is_live() {
        true => Purpose::Needed,
        false => Purpose::Done,
    }
}

fn of_candidate(scene: &Scene, instance: &SeenInstance, deployment: &Deployment) -> Purpose {
    match roll::is_failure_of(instance, deployment) {
        true => Purpose::History,
        false if checkup::is_given_up(scene, instance) => Purpose::Done,
        false => needed_if_live(instance),
    }
}

fn of_serving(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> Purpose {
    let (facts, id) = (&instance.facts, &instance.facts.id);
    let kept = pools::kept(scene, facts.release, &facts.component, service);
    if kept.iter().any(|k| k.facts.id == *id) {
        return Purpose::Needed;
    }
    let group = scene.group(Role::Service, facts.release, &facts.component);
    match backoff::history(scene, &group, service.instances).contains(id) {
        true => Purpose::History,
        false => Purpose::Done,
    }
}

/// The release before stays warm where clients would notice its start. It does so while a third release
/// rolls out, too: should that one fail, it is still the one that a rollback leads to.
fn of_previous(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> Purpose {
    let release = instance.facts.release;
    let is_previous = scene.env.previous == Some(release) && scene.current().is_some();
    let warm = is_previous && service.port.is_some() && instance.is_live();
    let warm = warm && service.overlap && !exchange::is_in_the_way(scene, instance);
    let bound = warm.then(|| warm_bound(scene, release)).flatten();
    match bound {
        Some(bound) if !scene.is_past(&bound) => Purpose::Warm(bound),
        _ => Purpose::Done,
    }
}

/// `keep_warm` of the release itself, from the switch away from it.
fn warm_bound(scene: &Scene, release: ReleaseId) -> Option<Bound> {
    let keep_warm = scene.spec(release)?.keep_warm;
    let current = scene.current()?;
    let switched = scene
        .env
        .deployments
        .values()
        .filter_map(|d| match d.phase {
            Phase::Finished {
                verdict: Verdict::Succeeded,
                at,
                ..
            } if d.to == current => Some(at),
            _ => None,
        });
    let since = switched.max()?.min(scene.now);
    Some(Bound::setting(since, keep_warm, "keep_warm"))
}
