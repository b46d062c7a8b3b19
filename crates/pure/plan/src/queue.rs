//! Decision: one deployment of an environment at a time, the oldest first.
//!
//! It begins when nothing is left that could be taken for its own work: over instances of databases
//! and earlier release commands are cleared away first, so that whatever is seen later is its doing.

use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase};

use crate::cancel;
use crate::draft::Draft;
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::waiting::Waiting;

/// Lets the oldest begin when none is under way, and shows the queue to the others.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    // Whose turn it is then is seen at the next plan.
    if cancel::end_queued(scene, draft) {
        return;
    }
    let mut before = scene.active();
    for waiting in queued(scene) {
        match before {
            Some(ahead) => draft.wait(Waiting::Queue {
                deployment: waiting.id,
                behind: ahead.id,
            }),
            None => begin(scene, draft, waiting),
        }
        before = Some(waiting);
    }
}

fn queued<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Deployment> + use<'a> {
    let all = scene.env.deployments.values();
    all.filter(|d| matches!(d.phase, Phase::Queued))
}

fn begin(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let mut leftovers = scene.seen().filter(|i| is_leftover(i)).peekable();
    if leftovers.peek().is_none() {
        draft.enter(deployment, Phase::Preparing);
    }
    for instance in leftovers {
        let instance = instance.facts.id.clone();
        draft.wait(Waiting::Removal { instance });
    }
}

fn is_leftover(instance: &SeenInstance) -> bool {
    match instance.facts.role {
        Role::ReleaseCommand => true,
        Role::Database => instance.is_over(),
        Role::Service => false,
    }
}
