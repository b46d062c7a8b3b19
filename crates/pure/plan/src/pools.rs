//! Decision: which instances of a release take requests.
//!
//! The healthy ones. One that turns unhealthy leaves, unless that would leave none: a slow answer is better
//! than none. One that stays ill is replaced, and so is one that other hands changed (`drift`): another is started
//! first, and it goes when that one is in rotation; where instances do not overlap it goes first. One that is over, or was asked to stop, leaves at
//! once, and one that was there before a rollback, or before its deployment was resumed, comes in when it was checked anew
//! (`checkup`). Never more than declared, and never two releases in one pool: where a deployment goes by stages,
//! `tables` joins them.

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::spec::{RouteSpec, ServiceSpec};
use ward_types::table::Pool;
use ward_types::time::Millis;

use crate::action::PlannedPool;
use crate::checkup;
use crate::drift;
use crate::exchange;
use crate::limits::{ILL, ILL_CHECKS};
use crate::observed::SeenInstance;
use crate::scene::{Scene, Stand};
use crate::waiting::Bound;

/// How many instances of a service there should be now: as many as declared, or as the stage says.
pub(crate) fn wanted(
    scene: &Scene,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
) -> usize {
    staged(scene, release, name).unwrap_or(service.instances) as usize
}

/// The old ones become fewer only with the table that needs fewer of them.
fn staged(scene: &Scene, release: ReleaseId, name: &Name) -> Option<u32> {
    let rollout = scene.rollout?;
    let stage = scene.stage()?;
    if release == rollout.to {
        return Some(rollout.share(stage, name)?.new);
    }
    match scene.stand {
        // Where the old ones leave first, no table is waited for.
        _ if rollout.from == Some(release) && rollout.exchanges(name) => {
            Some(rollout.share(stage, name)?.old)
        }
        Stand::At(stage) if rollout.from == Some(release) => Some(rollout.share(stage, name)?.old),
        _ => None,
    }
}

/// How many are kept of those that there are: while instances of the new release are missing, so many more
/// of the old one.
fn kept_at_most(scene: &Scene, release: ReleaseId, name: &Name, service: &ServiceSpec) -> usize {
    let wanted = wanted(scene, release, name, service);
    let beside = scene.rollout.filter(|r| r.from == Some(release));
    let pace = beside.and_then(|rollout| Some((rollout.to, rollout.pace(name)?)));
    let Some((to, pace)) = pace else {
        return wanted;
    };
    let new = scene.service(to, name);
    let new = new.map_or(0, |service| healthy(scene, to, name, service));
    let needed = (pace.floor as usize).saturating_sub(new);
    needed.clamp(wanted, wanted.max(service.instances as usize))
}

/// The instances of a service that are kept: as many as wanted, the best first; and those that are to be
/// replaced, until their replacements are in rotation.
pub(crate) fn kept<'a>(
    scene: &Scene<'a>,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
) -> Vec<&'a SeenInstance> {
    let mut live = scene.group(Role::Service, release, name);
    live.retain(|i| {
        i.is_live() && !is_overdue(scene, i, service) && !checkup::is_given_up(scene, i)
    });
    live.sort_by_cached_key(|i| (!i.is_healthy(), !scene.in_force(&i.facts.id)));
    let (leaving, mut kept): (Vec<_>, Vec<_>) =
        live.into_iter().partition(|i| leaves_of(scene, i, service));
    let wanted = kept_at_most(scene, release, name, service);
    kept.truncate(wanted);
    let takes_over =
        |i: &&&SeenInstance| i.is_healthy() && (!i.is_routable() || scene.in_force(&i.facts.id));
    if !service.overlap {
        let others = one_by_one(scene, service, &kept, leaving, wanted);
        kept.extend(others);
    } else if kept.iter().filter(takes_over).count() < wanted {
        // Never so many that those that are missing find no room.
        kept.extend(leaving.into_iter().take(wanted));
    }
    kept
}

/// Of those that leave and do not overlap with others: which stay for now. What is ill goes at once; of what is well
/// and runs from other files one, and only when nothing else is missing.
fn one_by_one<'a>(
    scene: &Scene,
    service: &ServiceSpec,
    kept: &[&SeenInstance],
    leaving: Vec<&'a SeenInstance>,
    wanted: usize,
) -> Vec<&'a SeenInstance> {
    let well = leaving.into_iter().filter(|i| !is_ill(scene, i, service));
    let mut well: Vec<_> = well.collect();
    let all_there = kept.iter().all(|i| i.is_healthy()) && kept.len() + well.len() >= wanted;
    if all_there {
        // The best come first.
        well.pop();
    }
    well
}

/// Whether a service's instance is replaced although it runs: it stays ill, or other hands changed its files.
pub(crate) fn leaves(scene: &Scene, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let service = scene.service(facts.release, &facts.component);
    service.is_some_and(|service| leaves_of(scene, instance, service))
}

pub(crate) fn leaves_of(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> bool {
    is_ill(scene, instance, service) || is_altered(scene, instance)
}

/// Whether an instance is replaced because of the files that it runs from.
pub(crate) fn is_altered(scene: &Scene, instance: &SeenInstance) -> bool {
    instance.altered.is_some() && instance.is_live() && replaces(scene, instance)
}

/// Whether an instance has been ill for so long that it is replaced. Only at rest: while a deployment is
/// under way there is no room for a third set of instances.
pub(crate) fn is_ill(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> bool {
    let ill = instance.status.state == InstanceState::Unhealthy;
    ill && replaces(scene, instance) && scene.is_past(&ill_bound(instance, service))
}

fn replaces(scene: &Scene, instance: &SeenInstance) -> bool {
    scene.active().is_none() && scene.current() == Some(instance.facts.release)
}

/// Until when an instance that is ill is waited for, if it is replaced then.
pub(crate) fn replaced_at(
    scene: &Scene,
    instance: &SeenInstance,
    service: &ServiceSpec,
) -> Option<Bound> {
    let bound = ill_bound(instance, service);
    (replaces(scene, instance) && !scene.is_past(&bound)).then_some(bound)
}

fn ill_bound(instance: &SeenInstance, service: &ServiceSpec) -> Bound {
    if let Some(bound) = drift::stopped_bound(instance) {
        return bound;
    }
    let check = service.health.as_ref();
    let check = check.map_or(0, |h| h.interval.0.saturating_add(h.timeout.0));
    let limit = Millis(check.saturating_mul(ILL_CHECKS)).max(ILL);
    Bound::fixed(instance.since, limit)
}

/// Whether a service's instance is given up: it did not become healthy in its time, or stays ill.
pub(crate) fn is_given_up(scene: &Scene, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let service = scene.service(facts.release, &facts.component);
    facts.role == Role::Service
        && service.is_some_and(|s| is_overdue(scene, instance, s) || is_ill(scene, instance, s))
}

/// An instance that still starts after its time is given up.
fn is_overdue(scene: &Scene, instance: &SeenInstance, service: &ServiceSpec) -> bool {
    let starting =
        instance.status.state == InstanceState::Starting && !scene.in_force(&instance.facts.id);
    let rolls_out = scene.rolling() == Some(instance.facts.release);
    starting && !rolls_out && scene.is_past(&start_bound(instance, service))
}

pub(crate) fn start_bound(instance: &SeenInstance, service: &ServiceSpec) -> Bound {
    Bound::setting(instance.since, service.start_timeout, "start_timeout")
}

/// All pools of a release as they should be now.
pub(crate) fn of(scene: &Scene, release: ReleaseId) -> Vec<PlannedPool> {
    let spec = scene.spec(release);
    let services = spec.into_iter().flat_map(|s| &s.services);
    services
        .filter(|(_, service)| service.port.is_some())
        .map(|(name, service)| pool(scene, release, name, service))
        .collect()
}

pub(crate) fn pool(
    scene: &Scene,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
) -> PlannedPool {
    let kept = kept(scene, release, name, service);
    let (healthy, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|i| i.is_healthy());
    let chosen = match healthy.is_empty() {
        true => others
            .into_iter()
            .filter(|i| scene.in_force(&i.facts.id))
            .collect(),
        false => healthy,
    };
    let mut endpoints: Vec<_> = chosen.iter().map(|i| i.facts.id.clone()).collect();
    endpoints.sort_by_key(InstanceId::ordinal);
    PlannedPool {
        service: name.clone(),
        routes: service.routes.iter().filter_map(RouteSpec::route).collect(),
        endpoints,
        split: None,
        probe: None,
        maintenance: scene.env.maintained.of(name).cloned(),
        asleep: None,
        exports: service.exports.clone(),
    }
}

/// Whether the table in force is exactly this.
pub(crate) fn are_in_force(pools: &[Pool], planned: &[PlannedPool]) -> bool {
    let same = |plan: &PlannedPool| pools.iter().any(|pool| is_same(pool, plan));
    pools.len() == planned.len() && planned.iter().all(same)
}

fn is_same(pool: &Pool, plan: &PlannedPool) -> bool {
    pool.service == plan.service
        && pool.split == plan.split
        && pool.probe == plan.probe
        && pool.maintenance == plan.maintenance
        && pool.asleep == plan.asleep
        && same_set(pool.exports.iter(), plan.exports.iter())
        && same_set(pool.routes.iter(), plan.routes.iter())
        && same_set(
            pool.endpoints.iter().map(|e| &e.instance),
            plan.endpoints.iter(),
        )
}

fn same_set<'a, T: Ord + 'a>(
    a: impl Iterator<Item = &'a T>,
    b: impl Iterator<Item = &'a T>,
) -> bool {
    let (mut a, mut b): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
    a.sort();
    b.sort();
    a == b
}

/// Whether every reachable service of a release has a healthy instance.
pub(crate) fn can_serve(scene: &Scene, release: ReleaseId) -> bool {
    let Some(spec) = scene.spec(release) else {
        return false;
    };
    let mut reachable = spec.services.iter().filter(|(_, s)| s.port.is_some());
    // One that is exchanged can be there only when what is there is gone: that is no reason to keep it.
    reachable.all(|(name, service)| {
        service.instances == 0
            || exchange::is_exchanged(scene, name)
            || healthy(scene, release, name, service) > 0
    })
}

/// Whether a release has a healthy instance of a service that it declares, and clients reach.
pub(crate) fn has_healthy(scene: &Scene, release: ReleaseId, name: &Name) -> bool {
    let service = scene.service(release, name).filter(|s| s.port.is_some());
    service.is_some_and(|service| healthy(scene, release, name, service) > 0)
}

/// How many of a service's instances are healthy, of those that count.
pub(crate) fn healthy(
    scene: &Scene,
    release: ReleaseId,
    name: &Name,
    service: &ServiceSpec,
) -> usize {
    let kept = kept(scene, release, name, service);
    kept.iter().filter(|i| i.is_healthy()).count()
}

/// Whether every service of a release has as many healthy instances as it should have now.
pub(crate) fn is_complete(scene: &Scene, release: ReleaseId) -> bool {
    let spec = scene.spec(release);
    let mut services = spec.into_iter().flat_map(|s| &s.services);
    services.all(|(name, service)| {
        healthy(scene, release, name, service) >= wanted(scene, release, name, service)
    })
}

/// Whether the table in force sends every request to a release, and each of its pools to at least one
/// healthy instance.
pub(crate) fn shows(scene: &Scene, release: ReleaseId) -> bool {
    let pools = scene.pools();
    let planned = of(scene, release);
    let mut endpoints = pools.iter().flat_map(|p| &p.endpoints);
    let has_healthy = |plan: &PlannedPool| {
        let service = scene.service(release, &plan.service);
        let none_declared = service.is_some_and(|s| s.instances == 0);
        let pool = pools.iter().find(|pool| pool.service == plan.service);
        let mut endpoints = pool.into_iter().flat_map(|p| &p.endpoints);
        none_declared || endpoints.any(|e| is_healthy(scene, &e.instance))
    };
    scene.release_in_force(release)
        && endpoints.all(|e| e.release == release)
        && planned.iter().all(has_healthy)
}

/// Whether a release has such a service, it can be reached, and it is to run at all.
pub(crate) fn is_reachable(scene: &Scene, release: ReleaseId, name: &Name) -> bool {
    let service = scene.service(release, name);
    service.is_some_and(|s| s.port.is_some() && s.instances > 0)
}

pub(crate) fn is_healthy(scene: &Scene, id: &InstanceId) -> bool {
    let seen = scene.observed.instances.get(id);
    seen.is_some_and(SeenInstance::is_healthy)
}
