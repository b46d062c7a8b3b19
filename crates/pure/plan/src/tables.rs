//! Decision: the table of a stage, where the old release and the new one serve beside each other.
//!
//! A service's pool is of the old release, of the new one, or of both. Where it is of both and a share is
//! declared, it has a split, exact per request; else each instance takes what it can. On the way back a
//! canary's instances leave in the very next table, because the old release is still there in full. Those
//! of a rolling service, whose old instances have become fewer, leave one by one as the old ones come
//! back, and never so that fewer than the floor are healthy in rotation. What only the new release has
//! stays for as long as an instance that may call it.

use std::collections::BTreeSet;

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::sharing::Export;
use ward_types::spec::{Sticky, Strategy};
use ward_types::table::{Pool, Split};

use crate::action::PlannedPool;
use crate::exchange;
use crate::observed::SeenInstance;
use crate::pools;
use crate::scene::Scene;
use crate::stages::{Requests, Rollout, Share};
use crate::trial;

/// All pools at a stage, or before the first one.
pub(crate) fn at(scene: &Scene, rollout: &Rollout, stage: Option<u32>) -> Vec<PlannedPool> {
    let names = names(scene, rollout);
    let pools = names.into_iter().filter_map(|name| {
        let share = stage.and_then(|stage| rollout.share(stage, name));
        match share {
            Some(share) if share.requests == Requests::New => taken_over(scene, rollout, name),
            Some(share) => shared(scene, rollout, name, share),
            None => shared(scene, rollout, name, NOTHING),
        }
    });
    trial::probed(scene, rollout, stage, pools.collect())
}

/// The old release's pools on the way back.
pub(crate) fn back(scene: &Scene, rollout: &Rollout) -> Vec<PlannedPool> {
    let names = names(scene, rollout).into_iter();
    names
        .filter_map(|name| shared(scene, rollout, name, NOTHING))
        .collect()
}

/// Beside them what the release that serves does not have, while any instance that may call it is in rotation: of
/// the new release, or of an earlier one that was left there because nothing else could serve.
pub(crate) fn with_what_is_called(
    scene: &Scene,
    rollout: &Rollout,
    mut pools: Vec<PlannedPool>,
) -> Vec<PlannedPool> {
    let callers = callers(scene, rollout, &pools);
    for called in scene.pools() {
        let place = pools.iter().position(|p| p.service == called.service);
        let serves = place.is_some_and(|place| !pools[place].endpoints.is_empty());
        let mut left = callers.iter().map(|r| healthy_of(scene, called, Some(*r)));
        let left = left.find(|left| !left.is_empty());
        let left = left.filter(|_| !exchange::gives_way(scene, &called.service));
        match (left, place) {
            (Some(left), Some(place)) if !serves => pools[place].endpoints = left,
            (Some(left), None) => pools.push(staying(scene, called, left)),
            _ => {}
        }
    }
    pools.sort_by(|a, b| a.service.cmp(&b.service));
    pools
}

/// The releases in a table that is planned, but for the one that serves; the new one first.
fn callers(scene: &Scene, rollout: &Rollout, pools: &[PlannedPool]) -> Vec<ReleaseId> {
    let ids = pools.iter().flat_map(|p| &p.endpoints);
    let seen = ids.filter_map(|id| scene.observed.instances.get(id));
    let releases: BTreeSet<_> = seen.map(|i| i.facts.release).collect();
    let serves = |release: &ReleaseId| rollout.from == Some(*release);
    let mut callers: Vec<_> = releases.into_iter().filter(|r| !serves(r)).collect();
    callers.sort_by_key(|release| *release != rollout.to);
    callers
}

/// Nothing of the new release.
const NOTHING: Share = Share {
    new: 0,
    old: 0,
    requests: Requests::Old,
};

fn names<'a>(scene: &Scene<'a>, rollout: &Rollout) -> BTreeSet<&'a Name> {
    let releases = rollout.from.into_iter().chain([rollout.to]);
    let specs = releases.filter_map(|release| scene.spec(release));
    specs.flat_map(|spec| spec.services.keys()).collect()
}

/// A pool of one release, if that has such a service and it can be reached.
fn whole(scene: &Scene, release: ReleaseId, name: &Name) -> Option<PlannedPool> {
    let service = scene.service(release, name).filter(|s| s.port.is_some())?;
    Some(pools::pool(scene, release, name, service))
}

/// The new release's pool. Where that has lost instances since, those of the old one that are in rotation make up the
/// floor of a rolling service.
fn taken_over(scene: &Scene, rollout: &Rollout, name: &Name) -> Option<PlannedPool> {
    let mut pool = whole(scene, rollout.to, name)?;
    let healthy = |id: &InstanceId| pools::is_healthy(scene, id);
    let has = pool.endpoints.iter().filter(|id| healthy(id)).count();
    let floor = rollout.pace(name).map_or(0, |pace| pace.floor as usize);
    let old = rollout.from.filter(|_| has < floor);
    let old = old.and_then(|old| Some((old, scene.service(old, name)?)));
    let old = old.map_or_else(Vec::new, |(old, service)| {
        pools::kept(scene, old, name, service)
    });
    let stay = old
        .into_iter()
        .filter(|i| i.is_healthy() && scene.in_force(&i.facts.id));
    let stay: Vec<_> = stay.take(floor.saturating_sub(has)).collect();
    if !stay.is_empty() {
        pool.endpoints.retain(healthy);
        pool.endpoints
            .extend(stay.into_iter().map(|i| i.facts.id.clone()));
        pool.endpoints.sort_by_key(InstanceId::ordinal);
    }
    Some(pool)
}

/// The old release's pool, with what the share adds to it, or the floor. Its host names change only with
/// the last table.
fn shared(scene: &Scene, rollout: &Rollout, name: &Name, share: Share) -> Option<PlannedPool> {
    let mut pool = whole(scene, rollout.from?, name)?;
    let healthy = |id: &InstanceId| pools::is_healthy(scene, id);
    let of_old: Vec<_> = pool.endpoints.iter().filter(|id| healthy(id)).collect();
    let floor = rollout.pace(name).map_or(0, |pace| pace.floor as usize);
    let news = joining(
        scene,
        rollout,
        name,
        share,
        floor.saturating_sub(of_old.len()),
    );
    if !news.is_empty() {
        pool.endpoints.retain(healthy);
    }
    pool.split = match share.requests {
        Requests::Percent(percent) if !news.is_empty() && !pool.endpoints.is_empty() => {
            let sticky = sticky(scene, rollout, name);
            let release = rollout.to;
            Some(Split {
                release,
                percent,
                sticky,
            })
        }
        _ => None,
    };
    pool.endpoints.extend(news);
    pool.endpoints.sort_by_key(InstanceId::ordinal);
    Some(pool)
}

/// The healthy instances of the new release that join a pool: as many as the stage has; and of those that
/// are in rotation already all that a canary has, or as many as the floor still needs.
fn joining(
    scene: &Scene,
    rollout: &Rollout,
    name: &Name,
    share: Share,
    needed: usize,
) -> Vec<InstanceId> {
    let service = scene.service(rollout.to, name);
    if service.is_none_or(|s| s.port.is_none()) {
        return Vec::new();
    }
    let mut healthy = scene.group(Role::Service, rollout.to, name);
    healthy.retain(|i| i.is_healthy());
    healthy.sort_by_cached_key(|i| !scene.in_force(&i.facts.id));
    let joins = match share.requests {
        Requests::Old => 0,
        Requests::ByInstances | Requests::Percent(_) | Requests::New => share.new as usize,
    };
    let chosen = healthy.into_iter().enumerate().filter(|(index, i)| {
        let staged = *index < joins;
        let stays = *index < needed || matches!(share.requests, Requests::Percent(_));
        staged || (stays && scene.in_force(&i.facts.id))
    });
    chosen.map(|(_, i)| i.facts.id.clone()).collect()
}

fn sticky(scene: &Scene, rollout: &Rollout, name: &Name) -> Option<Sticky> {
    match &scene.service(rollout.to, name)?.strategy {
        Strategy::Canary { sticky, .. } => sticky.clone(),
        Strategy::BlueGreen { .. } | Strategy::Rolling { .. } => None,
    }
}

/// Whether a table divides requests between releases.
pub(crate) fn is_split(pools: &[Pool]) -> bool {
    pools.iter().any(|pool| pool.split.is_some())
}

/// Whether the table in force divides requests as a stage says.
pub(crate) fn has_shares(scene: &Scene, rollout: &Rollout, stage: u32) -> bool {
    let canaries = names(scene, rollout).into_iter();
    let mut canaries = canaries.filter(|name| rollout.is_canary(name));
    canaries.all(|name| {
        let pool = scene.pools().iter().find(|p| p.service == *name);
        let split = pool.and_then(|p| p.split.as_ref());
        let percent = split.map(|s| Requests::Percent(s.percent));
        let share = rollout.share(stage, name).map(|s| s.requests);
        share == Some(percent.unwrap_or(Requests::Old))
    })
}

/// Whether a table sends requests to more than one release.
pub(crate) fn is_mixed(pools: &[Pool]) -> bool {
    let mut endpoints = pools.iter().flat_map(|p| &p.endpoints);
    let first = endpoints.next().map(|e| e.release);
    endpoints.any(|e| Some(e.release) != first)
}

/// A table in which no service loses its last healthy instance, unless the service itself is gone: those
/// that the table in force names stay, of one release.
pub(crate) fn patched(
    scene: &Scene,
    mut planned: Vec<PlannedPool>,
    is_gone: impl Fn(&Name) -> bool,
) -> Vec<PlannedPool> {
    for pool in scene.pools().iter().filter(|p| !is_gone(&p.service)) {
        let place = planned.iter().position(|p| p.service == pool.service);
        let serves =
            |plan: &PlannedPool| plan.endpoints.iter().any(|id| pools::is_healthy(scene, id));
        let left = of_one_release(scene, pool);
        if left.is_empty() || place.is_some_and(|place| serves(&planned[place])) {
            continue;
        }
        match place {
            Some(place) => planned[place] = staying(scene, pool, left),
            None => planned.push(staying(scene, pool, left)),
        }
    }
    planned
}

fn staying(scene: &Scene, pool: &Pool, left: Vec<InstanceId>) -> PlannedPool {
    PlannedPool {
        service: pool.service.clone(),
        routes: pool.routes.clone(),
        split: None,
        probe: None,
        maintenance: scene.env.maintained.of(&pool.service).cloned(),
        asleep: None,
        exports: exports(scene, pool, left.first()),
        endpoints: left,
    }
}

/// Whom the release of an instance in a pool lets in.
fn exports(scene: &Scene, pool: &Pool, of: Option<&InstanceId>) -> Vec<Export> {
    let mut endpoints = pool.endpoints.iter();
    let endpoint = of.and_then(|id| endpoints.find(|e| e.instance == *id));
    let service = endpoint.and_then(|e| scene.service(e.release, &pool.service));
    service.map_or(Vec::new(), |service| service.exports.clone())
}

/// The healthy instances in a pool, of the release that serves if there are any.
fn of_one_release(scene: &Scene, pool: &Pool) -> Vec<InstanceId> {
    let serving = healthy_of(scene, pool, scene.current());
    if !serving.is_empty() {
        return serving;
    }
    let mut others = pool.endpoints.iter();
    let other = others.find(|e| pools::is_healthy(scene, &e.instance));
    healthy_of(scene, pool, other.map(|e| e.release))
}

fn healthy_of(scene: &Scene, pool: &Pool, release: Option<ReleaseId>) -> Vec<InstanceId> {
    let endpoints = pool.endpoints.iter().filter(|e| Some(e.release) == release);
    let ids = endpoints.map(|e| e.instance.clone());
    ids.filter(|id| pools::is_healthy(scene, id)).collect()
}

/// The instances of a service of both releases that have not ended, drained and stopping ones too.
pub(crate) fn running(scene: &Scene, rollout: &Rollout, name: &Name) -> usize {
    let of_both = |i: &&SeenInstance| {
        let release = i.facts.release;
        let ours = release == rollout.to || rollout.from == Some(release);
        ours && i.facts.role == Role::Service && i.facts.component == *name
    };
    let all = scene.seen().filter(of_both);
    all.filter(|i| !i.is_over()).count()
}
