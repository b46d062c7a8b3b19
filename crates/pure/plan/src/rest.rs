//! Decision: the release that serves has as many instances as declared, whatever else goes on.
//!
//! It is kept so at rest, and while another release prepares, rolls out or is taken back: a new release
//! never needs the old one to be healthy, and the old one never suffers from the new. Only while the
//! release that serves is itself what rolls out (it comes up again) its instances are the rollout's. On data
//! that is new it is not started before a deployment has prepared that.

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{DataState, Deployment, Phase};
use ward_types::spec::ServiceSpec;

use crate::backoff;
use crate::databases;
use crate::draft::Draft;
use crate::drift;
use crate::failure;
use crate::observed::SeenInstance;
use crate::pools;
use crate::roll;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Starts what the serving release lacks.
pub(crate) fn keep(scene: &Scene, draft: &mut Draft) {
    let Some(current) = scene.current() else {
        return;
    };
    if scene.active().is_some_and(|d| comes_up(d, current)) || is_unprepared(scene, current) {
        return;
    }
    let services = scene.spec(current).into_iter().flat_map(|s| &s.services);
    for (name, service) in services {
        keep_one(scene, draft, current, name, service);
    }
}

/// Whether a release would run on data that its release commands have not seen.
pub(crate) fn is_unprepared(scene: &Scene, release: ReleaseId) -> bool {
    let services = scene.spec(release).into_iter();
    let mut services = services.flat_map(|s| s.services.values());
    let seeded = scene
        .spec(release)
        .is_some_and(|s| scene.env.is_seeded_by(s));
    let prepares = |s: &ServiceSpec| s.release.is_some() || (seeded && s.seed.is_some());
    scene.env.data == DataState::New && services.any(prepares)
}

fn comes_up(deployment: &Deployment, current: ReleaseId) -> bool {
    let forward = matches!(deployment.phase, Phase::Preparing | Phase::Rolling { .. });
    forward && deployment.to == current
}

fn keep_one(
    scene: &Scene,
    draft: &mut Draft,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
) {
    let kept = pools::kept(scene, release, name, service);
    if let Some(waiting) = not_healthy(scene, release, name, service, &kept) {
        draft.wait(waiting);
    }
    let starting = kept.iter().filter(|i| !i.is_healthy());
    let bound = starting.filter_map(|i| bound_of(scene, i, service));
    let bound: Option<Bound> = bound.min_by_key(|b| b.until);
    for altered in kept.iter().filter(|i| pools::is_altered(scene, i)) {
        draft.wait(drift::replacing(altered, bound.clone()));
    }
    // One that is given up makes room only when it was asked to stop; one that stays ill at once, but there
    // are never more than twice as many as declared.
    let group = scene.group(Role::Service, release, name);
    let live: Vec<_> = group.iter().filter(|i| i.is_live()).collect();
    let well = live.iter().filter(|i| !pools::leaves_of(scene, i, service));
    let wanted = pools::wanted(scene, release, name, service);
    let room = (2 * wanted).saturating_sub(live.len());
    let room = room.min(roll::room(scene, draft, release, name));
    let missing = wanted.saturating_sub(well.count()).min(room);
    if missing == 0 || !databases::are_ready_for(scene, release, service) {
        return;
    }
    match backoff::hold(scene, name, &group, service.instances) {
        Some(waiting) => draft.wait(waiting),
        None => (0..missing).for_each(|_| draft.start(name, release, Role::Service)),
    }
}

/// What is waited for until a service has its instances; the limit is that of the first one to be given up.
pub(crate) fn not_healthy(
    scene: &Scene,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
    kept: &[&SeenInstance],
) -> Option<Waiting> {
    let ill: Vec<_> = kept.iter().filter(|i| !i.is_healthy()).collect();
    let healthy = u32::try_from(kept.len() - ill.len()).unwrap_or(u32::MAX);
    let wanted = pools::wanted(scene, release, name, service);
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    let bounds = ill.iter().filter_map(|i| bound_of(scene, i, service));
    let bound: Option<Bound> = bounds.min_by_key(|b| b.until);
    (healthy < wanted).then(|| Waiting::Healthy {
        service: name.clone(),
        release,
        healthy,
        wanted,
        ailment: ill.iter().find_map(|i| failure::ailment(i)),
        bound,
    })
}

/// When an instance that is not healthy is given up, if it is.
fn bound_of(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> Option<Bound> {
    match instance.status.state {
        InstanceState::Starting => Some(pools::start_bound(instance, service)),
        _ => pools::replaced_at(scene, instance, service),
    }
}
