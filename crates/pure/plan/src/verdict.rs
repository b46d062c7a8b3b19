//! Decision: the verdict over a deployment that failed, from what serves (promise P3).

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase, Verdict};

use crate::exchange;
use crate::observed::SeenInstance;
use crate::pools;
use crate::scene::Scene;

/// What became of a deployment that failed.
///
/// The old release serves if it is complete and the table sends requests to it alone. Where nothing
/// served before, nothing can serve on. Without the gateway nobody knows.
pub(crate) fn of_failure(scene: &Scene, deployment: &Deployment) -> Verdict {
    let Some(current) = scene.current() else {
        return Verdict::FailedDegraded;
    };
    match scene.gateway() {
        None => Verdict::Unknown,
        // It never began: what another one shifts meanwhile is not its doing.
        Some(_) if is_queued(deployment) && is_served(scene, current) => Verdict::FailedOldServing,
        Some(_) if !serves_in_full(scene, current) => Verdict::FailedDegraded,
        Some(_) if scene.memory.switched == Some(deployment.id) => Verdict::RolledBack,
        Some(_) => Verdict::FailedOldServing,
    }
}

fn is_queued(deployment: &Deployment) -> bool {
    deployment.phase == Phase::Queued
}

/// Whether another deployment is under way, and each service has a healthy instance in rotation, of the release
/// that serves or of the one that takes over.
fn is_served(scene: &Scene, current: ReleaseId) -> bool {
    let Some(active) = scene.active() else {
        return false;
    };
    let services = scene.spec(current).into_iter().flat_map(|s| &s.services);
    let mut reachable = services.filter(|(_, s)| s.port.is_some() && s.instances > 0);
    let releases = [current, active.to];
    let is_healthy = |name: &Name| {
        let pools = scene.pools().iter().filter(|p| p.service == *name);
        let mut endpoints = pools.flat_map(|p| &p.endpoints);
        endpoints.any(|e| releases.contains(&e.release) && pools::is_healthy(scene, &e.instance))
    };
    reachable.all(|(name, _)| is_healthy(name))
}

pub(crate) fn serves_in_full(scene: &Scene, release: ReleaseId) -> bool {
    let services = scene.spec(release).into_iter().flat_map(|s| &s.services);
    let mut exchanged = services.filter(|(name, _)| exchange::is_exchanged(scene, name));
    // Whatever is wanted of them at this stage.
    let there = exchanged.all(|(name, service)| {
        let group = scene.group(Role::Service, release, name);
        let routed = |i: &SeenInstance| !i.is_routable() || scene.in_force(&i.facts.id);
        let serve = group.iter().filter(|i| i.is_healthy() && routed(i)).count();
        serve >= service.instances as usize
    });
    there
        && pools::is_complete(scene, release)
        && pools::are_in_force(scene.pools(), &pools::of(scene, release))
}
