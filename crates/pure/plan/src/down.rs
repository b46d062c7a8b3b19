//! Decision: down is deployments, routes, services, databases, remains, data; each after the one before.
//!
//! 1. Every deployment that has not ended ends now, with a verdict from what serves at this moment.
//! 2. The table loses the environment's pools, and the gateway says so.
//! 3. Services, release commands and runs drain and stop.
//! 4. When the last of them is over, databases stop: they are stopped last, and cleanly.
//! 5. When nothing is left, and only if the data shall go too, it goes.

use ward_types::id::Name;
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Goal, Phase};

use crate::action::Action;
use crate::draft::Draft;
use crate::drain;
use crate::failure;
use crate::route;
use crate::runs;
use crate::scene::Scene;
use crate::verdict;
use crate::waiting::Waiting;

/// One step down.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    end_deployments(scene, draft);
    route::step(scene, draft);
    runs::end(scene, draft);
    drain::services(scene, draft);
    stop_databases(scene, draft);
    purge(scene, draft);
}

fn end_deployments(scene: &Scene, draft: &mut Draft) {
    for deployment in scene.env.deployments.values() {
        match &deployment.phase {
            Phase::Finished { .. } => {}
            Phase::Reverting { failure } => end(scene, draft, deployment, failure.clone()),
            Phase::Queued | Phase::Preparing | Phase::Rolling { .. } => {
                end(
                    scene,
                    draft,
                    deployment,
                    failure::went_down(scene.env, deployment.to),
                );
            }
        }
    }
}

fn end(scene: &Scene, draft: &mut Draft, deployment: &Deployment, failure: Failure) {
    let phase = Phase::Finished {
        verdict: verdict::of_failure(scene, deployment),
        failure: Some(failure),
        at: scene.now,
    };
    draft.enter(deployment, phase);
}

/// When nothing else runs any more.
pub(crate) fn stop_databases(scene: &Scene, draft: &mut Draft) {
    let services = scene.seen().filter(|i| i.facts.role != Role::Database);
    let running = services.filter(|i| !i.is_over()).count();
    if running == 0 {
        return drain::databases(scene, draft);
    }
    let databases: Vec<Name> = scene
        .seen()
        .filter(|i| i.facts.role == Role::Database && !i.is_over())
        .map(|i| i.facts.component.clone())
        .collect();
    if !databases.is_empty() {
        draft.wait(Waiting::ServicesToEnd {
            databases,
            running: u32::try_from(running).unwrap_or(u32::MAX),
        });
    }
}

/// Until the log says that it was done; doing it again does no harm.
fn purge(scene: &Scene, draft: &mut Draft) {
    let asked = scene.env.goal == Goal::Purged && !scene.env.data_gone;
    if asked && scene.observed.instances.is_empty() && scene.pools().is_empty() {
        draft.act(Action::PurgeData);
    }
}
