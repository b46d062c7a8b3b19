//! Decision: one deployment of an environment at a time, the oldest first.
//!
//! It begins when nothing is left that could be taken for its own work: over instances of databases
//! and earlier release commands are cleared away first, so that whatever is seen later is its doing. One that
//! goes back to a release that the schema cannot take since it was asked for never begins, and neither does
//! one that waited for longer than `stack.deadlines.queue`.

use ward_types::id::DeploymentId;
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Phase};

use crate::cancel;
use crate::draft::Draft;
use crate::failure;
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::verdict;
use crate::waiting::{Bound, Waiting};

/// Lets the oldest begin when none is under way, and shows the queue to the others.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    // Whose turn it is then is seen at the next plan.
    if cancel::end_queued(scene, draft) {
        return;
    }
    let mut before = scene.active();
    for waiting in queued(scene) {
        match before {
            Some(ahead) => wait(scene, draft, waiting, ahead.id),
            None => begin(scene, draft, waiting),
        }
        before = Some(waiting);
    }
}

/// For its turn, but not for ever.
fn wait(scene: &Scene, draft: &mut Draft, waiting: &Deployment, behind: DeploymentId) {
    let bound = bound(scene, waiting);
    if scene.is_past(&bound) {
        let failure = failure::not_its_turn(waiting, Some(behind), &bound);
        return end(scene, draft, waiting, failure);
    }
    draft.wait(Waiting::Queue {
        deployment: waiting.id,
        behind,
        bound,
    });
}

fn bound(scene: &Scene, waiting: &Deployment) -> Bound {
    let limit = scene.deadlines(waiting.to).queue;
    Bound::setting(waiting.requested, limit, "stack.deadlines.queue")
}

/// Ends one that never began.
pub(crate) fn end(scene: &Scene, draft: &mut Draft, waiting: &Deployment, failure: Failure) {
    let phase = Phase::Finished {
        verdict: verdict::of_failure(scene, waiting),
        failure: Some(failure),
        at: scene.now,
    };
    draft.enter(waiting, phase);
}

fn queued<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Deployment> + use<'a> {
    let all = scene.env.deployments.values();
    all.filter(|d| matches!(d.phase, Phase::Queued))
}

fn begin(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    if let Some(change) = scene.env.schema_refuses(deployment) {
        let failure = failure::barred(scene, deployment, change);
        return end(scene, draft, deployment, failure);
    }
    let mut leftovers = scene.seen().filter(|i| is_leftover(i)).peekable();
    if leftovers.peek().is_none() {
        return draft.enter(deployment, Phase::Preparing);
    }
    let bound = bound(scene, deployment);
    if scene.is_past(&bound) {
        let failure = failure::not_its_turn(deployment, None, &bound);
        return end(scene, draft, deployment, failure);
    }
    for instance in leftovers {
        let instance = instance.facts.id.clone();
        draft.wait(Waiting::Removal { instance });
    }
}

fn is_leftover(instance: &SeenInstance) -> bool {
    match instance.facts.role {
        Role::ReleaseCommand | Role::Seed | Role::Copy | Role::VolumeCopy | Role::Snapshot => true,
        Role::Database => instance.is_over(),
        Role::Service | Role::Drill(_) | Role::Run(_) => false,
    }
}
