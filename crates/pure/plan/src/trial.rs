//! Decision: a release on trial has no second chance.
//!
//! The requests of a canary, and while the deployment bakes those of every service, are compared with the old
//! release's: see `analysis` and `watch`. On trial are the instances of a canary, from their start to the
//! verdict, and those of every service while the deployment bakes. One that ends by itself then, or fails its
//! health check, sends all requests back to the old release, which is there in full: what a client notices is
//! at most what that instance was doing. Of a rolling service, and before the switch of `blue_green`, what
//! was healthy once is replaced.

use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Failure};
use ward_types::time::Timestamp;

use crate::action::PlannedPool;
use crate::checkup;
use crate::failure;
use crate::hold;
use crate::observed::SeenInstance;
use crate::roll;
use crate::scene::Scene;
use crate::stages::Rollout;

/// The pools of a stage, with probes where a service's new release is compared with the old one and asks for
/// them.
pub(crate) fn probed(
    scene: &Scene,
    rollout: &Rollout,
    stage: Option<u32>,
    mut pools: Vec<PlannedPool>,
) -> Vec<PlannedPool> {
    let bakes = stage == Some(rollout.last()) && hold::is_baking(rollout);
    // Also one that goes back may keep its requests, because nothing else can serve them.
    let on_trial = rollout.from.is_some() && scene.rolling() == Some(rollout.to);
    for pool in &mut pools {
        let service = scene.service(rollout.to, &pool.service);
        let probe = service.and_then(|service| service.probe.clone());
        pool.probe = probe.filter(|_| on_trial && (bakes || pool.split.is_some()));
    }
    pools
}

/// What went wrong on trial.
pub(crate) fn breached(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let mut instances = scene.seen().filter(|i| has_breached(scene, deployment, i));
    let takes = || hold::takes(scene, roll::reached(scene, deployment));
    let ended = instances
        .next()
        .map(|i| failure::on_trial(deployment.to, i, &takes()));
    ended
        .or_else(|| answers_worse(scene, deployment))
        .or_else(|| unproven(scene, deployment))
}

/// By what it answered, compared with what the old release did.
fn answers_worse(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let (watch, rollout) = (scene.memory.watch.as_ref()?, scene.rollout?);
    scene.stage()?;
    let judged = watch.judge(scene).into_iter();
    let of = (deployment.to, rollout.from?);
    judged
        .filter_map(|judged| failure::answers_worse(of, &judged, scene.now))
        .next()
}

/// Too few requests were seen in the time that they were given.
fn unproven(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let (service, requests, enough) = hold::is_unproven(scene, deployment)?;
    let reached = scene.memory.held?;
    let span = scene.now.since(reached.since);
    Some(failure::unproven(
        deployment.to,
        service,
        (requests, enough),
        span,
    ))
}

fn has_breached(scene: &Scene, deployment: &Deployment, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    if facts.role != Role::Service || facts.release != deployment.to {
        return false;
    }
    let Some(since) = on_trial_since(scene, instance) else {
        return false;
    };
    let ill = instance.status.state == InstanceState::Unhealthy && !checkup::is_awaited(instance);
    ill || (roll::is_failure_of(instance, deployment) && instance.since >= since)
}

fn on_trial_since(scene: &Scene, instance: &SeenInstance) -> Option<Timestamp> {
    let (rollout, stage) = (scene.rollout?, scene.stage()?);
    rollout.from?;
    if rollout.is_canary(&instance.facts.component) {
        return Some(Timestamp(0));
    }
    let bakes = stage == rollout.last() && hold::is_baking(rollout);
    let held = scene.memory.held.filter(|_| bakes)?;
    Some(held.since)
}
