//! Decision: a release on trial has no second chance.
//!
//! On trial are the instances of a canary, from their start to the verdict, and those of every service
//! while the deployment bakes. One that ends by itself then, or fails its health check, sends all requests
//! back to the old release, which is there in full: what a client notices is at most what that instance
//! was doing. Of a rolling service, and before the switch of `blue_green`, what was healthy once is replaced.

use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Failure};
use ward_types::time::Timestamp;

use crate::failure;
use crate::hold;
use crate::observed::SeenInstance;
use crate::roll;
use crate::scene::Scene;

/// What went wrong on trial.
pub(crate) fn breached(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let mut instances = scene.seen().filter(|i| has_breached(scene, deployment, i));
    let takes = || hold::takes(scene, roll::reached(scene, deployment));
    instances
        .next()
        .map(|i| failure::on_trial(deployment.to, i, &takes()))
}

fn has_breached(scene: &Scene, deployment: &Deployment, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    if facts.role != Role::Service || facts.release != deployment.to {
        return false;
    }
    let Some(since) = on_trial_since(scene, instance) else {
        return false;
    };
    let ill = instance.status.state == InstanceState::Unhealthy;
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
