//! Decision: which release the table should show.
//!
//! In a deployment by stages what the stage says; else the release that serves, until every instance of the
//! one that rolls out is healthy; then that one, all its services in one table. A table that serves is never
//! given up for one that does not: whatever healthy instances it sends requests to stay in it, even of a
//! release that failed, until the release that should serve can. An environment that should be down has no
//! pools.

use ward_types::id::{Name, ReleaseId};
use ward_types::release::{Goal, Phase};

use crate::action::{Action, PlannedPool};
use crate::draft::Draft;
use crate::exchange;
use crate::pools;
use crate::revert;
use crate::roll;
use crate::scene::{Scene, Stand};
use crate::sleep;
use crate::stages::{Requests, Rollout};
use crate::tables;
use crate::trial;
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
        None if wanted.is_empty() && !needs_gateway(scene) => {}
        None => draft.wait(Waiting::Gateway { bound }),
    }
}

/// The table as it should be now.
fn wanted(scene: &Scene) -> Vec<PlannedPool> {
    if scene.env.goal != Goal::Up {
        return Vec::new();
    }
    match scene.env.asleep() {
        Some(asleep) => sleep::held(scene, asleep.since),
        None => sleep::waking(scene, awake(scene)),
    }
}

/// The same of one that is awake.
fn awake(scene: &Scene) -> Vec<PlannedPool> {
    if let Some(rollout) = scene.rollout.filter(|rollout| rollout.is_gradual()) {
        match scene.stand {
            Stand::Before => return by_stage(scene, rollout, None),
            Stand::At(stage) => return by_stage(scene, rollout, Some(stage)),
            Stand::Back => return back(scene, rollout),
            Stand::Rest => {}
        }
    }
    let release = release(scene);
    let wanted = match release {
        Some(release) if is_cold_start(scene, release) => in_rotation(scene, release),
        Some(release) => pools::of(scene, release),
        None => Vec::new(),
    };
    let wanted = match (scene.rollout, scene.stand) {
        (Some(rollout), Stand::At(stage)) => trial::probed(scene, rollout, Some(stage), wanted),
        _ => wanted,
    };
    let gone = |name: &Name| {
        let gone = release.is_some_and(|r| !pools::is_reachable(scene, r, name));
        gone || exchange::gives_way(scene, name)
    };
    // What a deployment by stages left behind when its time was out.
    if tables::is_mixed(scene.pools()) {
        return tables::patched(scene, wanted, gone);
    }
    let Some(serving) = lost_by(scene, release, &wanted) else {
        return wanted;
    };
    let whole = without_what_gives_way(scene, serving);
    // Of two releases that both have lost something, each serves what it can.
    match scene.rollout.is_some_and(|rollout| !rollout.is_plain())
        && wanted.iter().any(|pool| is_lost(&whole, pool))
    {
        true => tables::patched(scene, wanted, gone),
        false => whole,
    }
}

/// Whether a pool that could serve has nothing in another table.
fn is_lost(table: &[PlannedPool], pool: &PlannedPool) -> bool {
    let mut others = table.iter().filter(|other| other.service == pool.service);
    !pool.endpoints.is_empty() && others.all(|other| other.endpoints.is_empty())
}

fn without_what_gives_way(scene: &Scene, serving: ReleaseId) -> Vec<PlannedPool> {
    let next = exchange::successor(scene);
    let mut pools = pools::of(scene, serving);
    for pool in &mut pools {
        if next.is_some_and(|next| exchange::bars(scene, &pool.service, serving, next)) {
            pool.endpoints.clear();
        }
    }
    pools
}

/// A service is gone when neither release has it; when its requests have moved, if the new one does not.
fn by_stage(scene: &Scene, rollout: &Rollout, stage: Option<u32>) -> Vec<PlannedPool> {
    let table = tables::at(scene, rollout, stage);
    let has = |release: ReleaseId, name: &Name| pools::is_reachable(scene, release, name);
    let moved = |name: &Name| {
        let share = stage.and_then(|stage| rollout.share(stage, name));
        stage == Some(rollout.last()) || share.is_some_and(|s| s.requests == Requests::New)
    };
    let old = |name: &Name| {
        rollout
            .from
            .is_some_and(|old| has(old, name) && !moved(name))
    };
    tables::patched(scene, table, |name| {
        let gone = !has(rollout.to, name) && !old(name);
        gone || exchange::gives_way(scene, name)
    })
}

fn back(scene: &Scene, rollout: &Rollout) -> Vec<PlannedPool> {
    let table = tables::back(scene, rollout);
    let old = |name: &Name| {
        rollout
            .from
            .is_some_and(|r| pools::is_reachable(scene, r, name))
    };
    let table = tables::patched(scene, table, |name| {
        !old(name) || exchange::gives_way(scene, name)
    });
    tables::with_what_is_called(scene, rollout, table)
}

/// The release that should have the requests now.
fn release(scene: &Scene) -> Option<ReleaseId> {
    let rolls = scene
        .active()
        .filter(|_| matches!(scene.stand, Stand::At(_)));
    rolls.map(|d| d.to).or(scene.current())
}

/// The release in force, if a service that it serves would lose its last healthy instance.
fn lost_by(scene: &Scene, release: Option<ReleaseId>, wanted: &[PlannedPool]) -> Option<ReleaseId> {
    let goes_on = |service: &Name| {
        let gone = release.is_some_and(|r| !pools::is_reachable(scene, r, service));
        let planned = wanted.iter().find(|p| p.service == *service);
        let planned = planned.is_some_and(|p| !p.endpoints.is_empty());
        gone || planned || exchange::gives_way(scene, service)
    };
    let lost = scene.pools().iter().filter(|p| !goes_on(&p.service));
    let mut endpoints = lost.flat_map(|p| &p.endpoints);
    let healthy = endpoints.find(|e| pools::is_healthy(scene, &e.instance));
    healthy.map(|e| e.release)
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

/// Also with nothing to route: a verdict is what the gateway shows.
fn needs_gateway(scene: &Scene) -> bool {
    let judged = scene
        .active()
        .is_some_and(|d| matches!(d.phase, Phase::Rolling { .. } | Phase::Reverting { .. }));
    judged || scene.seen().any(|i| i.is_routable())
}

/// How long a deployment waits for the gateway.
pub(crate) fn bound(scene: &Scene) -> Option<Bound> {
    let deployment = scene.active()?;
    match deployment.phase {
        Phase::Rolling { .. } => acknowledgement(scene).or_else(|| roll::bound(scene, deployment)),
        Phase::Reverting { .. } => Some(revert::bound(scene, deployment)),
        Phase::Queued | Phase::Preparing | Phase::Finished { .. } => None,
    }
}

/// How long a release that is healthy in full waits to be switched to.
pub(crate) fn acknowledgement(scene: &Scene) -> Option<Bound> {
    let since = scene.memory.ready?.since;
    let limit = scene.deadlines(scene.active()?.to).acknowledge;
    Some(Bound::setting(since, limit, "stack.deadlines.acknowledge"))
}
