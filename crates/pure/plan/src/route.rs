//! Decision: which release the table should show.
//!
//! The release that serves, until every instance of the one that rolls out is healthy; then that one,
//! all its services in one table. While a release rolls out, or is taken back, the table stays with it
//! only if it is there already and the release before cannot serve. An environment that should be down
//! has no pools.

use ward_types::id::ReleaseId;
use ward_types::release::{Goal, Phase};

use crate::action::{Action, PlannedPool};
use crate::draft::Draft;
use crate::limits::ACKNOWLEDGEMENT;
use crate::pools;
use crate::revert;
use crate::roll;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Routes, if the table in force is not what it should be.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    let wanted = wanted(scene);
    let bound = bound(scene);
    match scene.gateway() {
        Some(gateway) if pools::are_in_force(&gateway.pools, &wanted) => {}
        Some(_) => {
            draft.act(Action::Route { pools: wanted });
            draft.wait(Waiting::Acknowledgement { bound });
        }
        None if wanted.is_empty() && !scene.seen().any(|i| i.is_routable()) => {}
        None => draft.wait(Waiting::Gateway { bound }),
    }
}

/// The table as it should be now.
pub(crate) fn wanted(scene: &Scene) -> Vec<PlannedPool> {
    match (scene.env.goal, release(scene)) {
        (Goal::Up, Some(release)) if is_cold_start(scene, release) => in_rotation(scene, release),
        (Goal::Up, Some(release)) => pools::of(scene, release),
        (Goal::Up, None) | (Goal::Down | Goal::Purged, _) => Vec::new(),
    }
}

/// The release that should have the requests now.
fn release(scene: &Scene) -> Option<ReleaseId> {
    let current = scene.current();
    let Some(deployment) = scene.active() else {
        return current;
    };
    let to = deployment.to;
    let stays = || {
        let stuck = !current.is_some_and(|c| pools::can_serve(scene, c));
        scene.release_in_force(to) && stuck
    };
    let rolls = deployment.phase == Phase::Rolling && roll::goes_on(scene, deployment);
    match rolls && (pools::is_complete(scene, to) || stays()) {
        true => Some(to),
        false => current,
    }
}

/// The release that serves starts again: nothing is added before all of it is healthy.
fn is_cold_start(scene: &Scene, release: ReleaseId) -> bool {
    scene.rolling() == Some(release) && !pools::is_complete(scene, release)
}

/// What of a release's pools is in rotation already.
fn in_rotation(scene: &Scene, release: ReleaseId) -> Vec<PlannedPool> {
    let mut pools = pools::of(scene, release);
    for pool in &mut pools {
        pool.endpoints.retain(|id| scene.in_force(id));
    }
    pools
}

/// How long a deployment waits for the gateway.
fn bound(scene: &Scene) -> Option<Bound> {
    let deployment = scene.active()?;
    match deployment.phase {
        Phase::Rolling => acknowledgement(scene),
        Phase::Reverting { .. } => Some(revert::bound(scene, deployment)),
        Phase::Queued | Phase::Preparing | Phase::Finished { .. } => None,
    }
}

/// How long a release that is healthy in full waits to be switched to.
pub(crate) fn acknowledgement(scene: &Scene) -> Option<Bound> {
    let since = scene.memory.ready?;
    Some(Bound::fixed(since, ACKNOWLEDGEMENT))
}
