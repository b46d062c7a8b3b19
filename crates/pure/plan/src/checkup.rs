//! Decision: what ran before a rollback, or before a deployment was resumed, is checked once more before requests go to
//! it.
//!
//! An instance that was kept warm was well when that was last seen, which may be seconds ago; and so was one that
//! became healthy during a pause. So a deployment that goes to a release which served before, and one that was paused
//! and is resumed, asks the instances that it finds there: a health check out of turn, which takes milliseconds. Until
//! it was answered well an instance counts as ill, and the release that serves goes on doing so. What was answered
//! before a pause does not count after it. One that does not answer well within [`CHECKUP`] fails a deploy, because it
//! is the new release that is not well; in a rollback it is given up: that is recorded, it is stopped, and when it was
//! asked to another is started in its place. What is in rotation is judged by its own checks, and so is what the
//! deployment started itself since it goes on.

use std::borrow::Cow;

use ward_types::checkup::Found;
use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Environment, Failure, Phase, Reason};

use crate::action::Action;
use crate::draft::Draft;
use crate::failure;
use crate::limits::CHECKUP;
use crate::observed::{Observed, SeenInstance};
use crate::scene::Scene;

/// What is said of an instance that has not answered yet.
const AWAITED: &str = "it is asked once more";

/// The deployment under way, if it takes over from another release by what may be there already.
fn returning(env: &Environment) -> Option<&Deployment> {
    let serves = env.current_release()?.id;
    env.active().filter(|d| {
        let forward = matches!(d.phase, Phase::Preparing | Phase::Rolling { .. });
        let found = d.reason != Reason::Deploy || d.resumed.is_some();
        forward && found && d.to != serves
    })
}

/// Whether an instance was started before the deployment to its release was asked for.
pub(crate) fn was_there(deployment: &Deployment, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let ours = facts.role == Role::Service && facts.release == deployment.to;
    ours && deployment.reason != Reason::Deploy && facts.started < deployment.requested
}

/// Whether an instance was started before the deployment to its release was resumed.
fn was_paused(deployment: &Deployment, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let ours = facts.role == Role::Service && facts.release == deployment.to;
    let resumed = deployment.resumed;
    ours && resumed.is_some_and(|resumed| facts.started < resumed)
}

/// Whether an instance has to be checked before it gets requests: it could have them, and has none. Without the gateway
/// nobody knows who has some, and nobody is given any.
fn is_due(deployment: &Deployment, observed: &Observed, instance: &SeenInstance) -> bool {
    let Some(gateway) = &observed.gateway else {
        return false;
    };
    let mut endpoints = gateway.pools.iter().flat_map(|pool| &pool.endpoints);
    let state = &instance.status.state;
    let runs = matches!(state, InstanceState::Healthy | InstanceState::Unhealthy);
    runs && instance.is_routable()
        && (was_there(deployment, instance) || was_paused(deployment, instance))
        && !endpoints.any(|e| e.instance == instance.facts.id)
}

fn found<'a>(deployment: &Deployment, instance: &'a SeenInstance) -> Option<&'a Found> {
    let checkup = instance.checkup.as_ref();
    let checkup = checkup.filter(|checkup| checkup.of == deployment.occasion());
    checkup.map(|checkup| &checkup.found)
}

/// What is seen, with what has to be checked as ill until it was found well.
pub(crate) fn shown<'a>(env: &Environment, observed: &'a Observed) -> Cow<'a, Observed> {
    let Some(deployment) = returning(env) else {
        return Cow::Borrowed(observed);
    };
    let due = observed.instances.values();
    let due = due.filter(|i| i.is_healthy() && is_due(deployment, observed, i));
    let ill: Vec<(&InstanceId, &str)> = due
        .filter_map(|i| {
            let why = match found(deployment, i) {
                Some(Found::Well) => return None,
                Some(Found::Ill(why)) => why.as_str(),
                Some(Found::Awaited) | None => AWAITED,
            };
            Some((&i.facts.id, why))
        })
        .collect();
    if ill.is_empty() {
        return Cow::Borrowed(observed);
    }
    let mut shown = observed.clone();
    for (id, why) in ill {
        if let Some(seen) = shown.instances.get_mut(id) {
            seen.status.state = InstanceState::Unhealthy;
            seen.status.last_failure = Some(why.to_owned());
        }
    }
    Cow::Owned(shown)
}

/// Whether an instance is shown as ill only because it has not answered yet.
pub(crate) fn is_awaited(shown: &SeenInstance) -> bool {
    shown.status.last_failure.as_deref() == Some(AWAITED)
}

/// Has everything checked that has to be, when the rollout begins and when it goes on, and records what is given up. A
/// deploy waits for what is ill by its own checks, and does not ask it.
pub(crate) fn step(scene: &Scene, seen: &Observed, draft: &mut Draft, deployment: &Deployment) {
    let phase = draft.entered(deployment).unwrap_or(&deployment.phase);
    let rolls = matches!(phase, Phase::Rolling { .. });
    if !rolls || returning(scene.env).is_none() {
        return;
    }
    // As it is, and not as it is shown.
    let due = seen.instances.values();
    let due = due.filter(|i| is_due(deployment, seen, i));
    let deploys = deployment.reason == Reason::Deploy;
    for instance in due {
        let id = instance.facts.id.clone();
        match found(deployment, instance) {
            None if deploys && !instance.is_healthy() => {}
            None => draft.act(Action::Check {
                id,
                of: deployment.occasion(),
                within: CHECKUP,
            }),
            Some(Found::Ill(why)) if !deploys && !scene.env.given_up.contains(&id.ordinal()) => {
                let to = deployment.to;
                let because = format!("was not well when {to} was to take over ({why})");
                draft.act(Action::GiveUp { id, because });
            }
            Some(Found::Ill(_) | Found::Well | Found::Awaited) => {}
        }
    }
}

/// Why an instance is not well that was to take requests, if it is not.
fn ailment<'a>(scene: &Scene, instance: &'a SeenInstance) -> Option<&'a str> {
    let deployment = returning(scene.env).filter(|_| scene.rolling().is_some())?;
    match found(deployment, instance)? {
        Found::Ill(why) if is_due(deployment, scene.observed, instance) => Some(why),
        Found::Ill(_) | Found::Well | Found::Awaited => None,
    }
}

/// Whether an instance was there and is not well, and another one takes its place.
pub(crate) fn is_given_up(scene: &Scene, instance: &SeenInstance) -> bool {
    let replaces = scene.active().is_some_and(|d| d.reason != Reason::Deploy);
    replaces && ailment(scene, instance).is_some()
}

/// What a deploy fails for that was resumed: an instance of its own is not well any more.
pub(crate) fn failure(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let deploys = deployment.reason == Reason::Deploy;
    let mut seen = scene.seen().filter(|_| deploys);
    seen.find_map(|instance| {
        let why = ailment(scene, instance)?;
        Some(failure::not_well_again(instance, deployment.id, why))
    })
}

/// How many instances of a service are given up, and were not asked to stop yet: there is no room for a third set.
pub(crate) fn given_up(scene: &Scene, release: ReleaseId, service: &Name) -> usize {
    let group = scene.group(Role::Service, release, service);
    group.iter().filter(|i| is_given_up(scene, i)).count()
}
