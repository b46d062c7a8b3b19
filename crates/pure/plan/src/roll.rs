//! Decision: all instances of the new release at once, all healthy, one switch, the gateway's word, done.
//!
//! The switch is one table for all services, so that no request sees one service of the new release and
//! another of the old. Instances of the release that still run are used as they are, which makes a
//! rollback a switch and not a start. An instance that ends before it was ever healthy fails the
//! deployment at once; one that ends later is replaced, three times in all. The deployment succeeds by
//! what the gateway shows: from the moment that it shows the new release in every pool, whatever dies
//! afterwards is the business of the environment at rest.

use ward_types::id::ReleaseId;
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Failure, Phase, Verdict};
use ward_types::spec::{EnvSpec, ServiceSpec};
use ward_types::time::Millis;

use crate::cancel;
use crate::databases;
use crate::draft::Draft;
use crate::failure;
use crate::limits::{ACKNOWLEDGEMENT, REPLACEMENTS};
use crate::observed::SeenInstance;
use crate::pools;
use crate::rest;
use crate::route;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// One step of the rollout.
pub(crate) fn step(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let Some(spec) = scene.spec(deployment.to) else {
        return draft.revert(deployment, failure::not_retained(deployment.to));
    };
    match outcome(scene, deployment, spec) {
        Outcome::Done => return succeed(scene, draft, deployment),
        Outcome::Failed(failure) => return draft.revert(deployment, failure),
        Outcome::Underway => {}
    }
    for (name, service) in &spec.services {
        let kept = pools::kept(scene, deployment.to, name, service);
        let missing = (service.instances as usize).saturating_sub(kept.len());
        if databases::are_ready_for(scene, deployment.to, service) {
            (0..missing).for_each(|_| draft.start(name, deployment.to, Role::Service));
        }
        let waiting = rest::not_healthy(scene, deployment.to, name, service, &kept);
        if let Some(waiting) = waiting {
            draft.wait(bounded(scene, deployment, spec, waiting));
        }
    }
}

/// How far a rollout is.
enum Outcome {
    Done,
    Failed(Failure),
    Underway,
}

fn outcome(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Outcome {
    match has_failed(scene, deployment, spec) {
        _ if is_done(scene, deployment.to) => Outcome::Done,
        Some(failure) => Outcome::Failed(failure),
        None => Outcome::Underway,
    }
}

/// Whether a rollout has not failed: once it has, nothing is routed to its release any more.
pub(crate) fn goes_on(scene: &Scene, deployment: &Deployment) -> bool {
    let spec = scene.spec(deployment.to);
    spec.is_some_and(|spec| !matches!(outcome(scene, deployment, spec), Outcome::Failed(_)))
}

/// Without a limit of its own, waiting ends with the phase.
fn bounded(scene: &Scene, deployment: &Deployment, spec: &EnvSpec, waiting: Waiting) -> Waiting {
    match waiting {
        Waiting::Healthy {
            service,
            release,
            healthy,
            wanted,
            last_failure,
            bound: None,
        } => Waiting::Healthy {
            service,
            release,
            healthy,
            wanted,
            last_failure,
            bound: Some(phase_bound(scene, deployment, spec)),
        },
        bounded => bounded,
    }
}

/// Ends a deployment whose release serves.
pub(crate) fn succeed(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let phase = Phase::Finished {
        verdict: Verdict::Succeeded,
        failure: None,
        at: scene.now,
    };
    draft.enter(deployment, phase);
}

/// The table shows the release, and either all of it is healthy or only its own switch, which was made
/// when all of it was, can have put it there.
pub(crate) fn is_done(scene: &Scene, to: ReleaseId) -> bool {
    let Some(gateway) = scene.gateway() else {
        return false;
    };
    let exact = pools::are_in_force(&gateway.pools, &pools::of(scene, to));
    let switched = scene.current() != Some(to) && pools::shows(scene, to);
    switched || (exact && pools::is_complete(scene, to))
}

fn has_failed(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    cancel::asked(deployment)
        .or_else(|| instance_ended(scene, deployment))
        .or_else(|| not_acknowledged(scene, deployment))
        .or_else(|| never_healthy(scene, deployment, spec))
        .or_else(|| took_too_long(scene, deployment, spec))
}

fn instance_ended(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let mut ended: Vec<_> = scene
        .seen()
        .filter(|i| is_failure_of(i, deployment))
        .collect();
    ended.sort_by_key(|i| i.facts.id.ordinal());
    let unproven = ended
        .iter()
        .find(|i| !scene.memory.proven.contains(&i.facts.id));
    match (unproven, ended.last()) {
        (Some(instance), _) => Some(failure::ended_early(instance)),
        (None, Some(newest)) if ended.len() > REPLACEMENTS => {
            Some(failure::keeps_ending(newest, ended.len()))
        }
        _ => None,
    }
}

/// What of the release ended by itself since the rollout began; the rest was cleared away before.
pub(crate) fn is_failure_of(instance: &SeenInstance, deployment: &Deployment) -> bool {
    let ours = instance.facts.role == Role::Service && instance.facts.release == deployment.to;
    ours && instance.has_failed()
}

fn not_acknowledged(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let bound = route::acknowledgement(scene)?;
    let late = scene.is_past(&bound);
    late.then(|| failure::not_acknowledged(deployment.to, scene.gateway(), &bound))
}

fn never_healthy(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    let begun = scene.phase_since(deployment);
    let mut live = scene.seen().filter(|i| {
        i.facts.role == Role::Service && i.facts.release == deployment.to && i.is_live()
    });
    live.find_map(|instance| {
        let service = spec.services.get(&instance.facts.component)?;
        let since = instance.since.max(begun);
        let bound = Bound::setting(since, service.start_timeout, "start_timeout");
        let late = !instance.is_healthy() && scene.is_past(&bound);
        late.then(|| failure::never_healthy(instance, service, &bound))
    })
}

fn took_too_long(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    let bound = phase_bound(scene, deployment, spec);
    scene.is_past(&bound).then(|| {
        let ill = scene.seen().find(|i| {
            let ours = i.facts.role == Role::Service && i.facts.release == deployment.to;
            ours && !matches!(i.status.state, InstanceState::Healthy)
        });
        failure::rolling(deployment.to, ill, &bound)
    })
}

/// Twice the longest start, for what is replaced, and the gateway's word.
fn phase_bound(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Bound {
    let longest = longest_start(spec);
    let limit = Millis(
        longest
            .0
            .saturating_mul(2)
            .saturating_add(ACKNOWLEDGEMENT.0),
    );
    Bound::setting(scene.phase_since(deployment), limit, "start_timeout")
}

fn longest_start(spec: &EnvSpec) -> Millis {
    let services = spec.services.values();
    let longest = services.map(|s: &ServiceSpec| s.start_timeout).max();
    longest.unwrap_or_default()
}
