//! Decision: how long a stage is held, and what lets it go on.
//!
//! A stage is held from the moment that its table is in force. A pause keeps a deployment where it is,
//! wherever that is: what was begun may become healthy, but no request moves. Nobody is waited for longer
//! than `stack.deadlines.promote`: then it goes back. One whose time is over is held on while too few
//! requests say whether the new release is as good, where the stack file asks for that. A hold whose time
//! passes during a pause has passed.

use ward_types::id::Name;
use ward_types::release::Deployment;
use ward_types::spec::Inconclusive;
use ward_types::time::{Millis, Timestamp};

use crate::memory::Reached;
use crate::scene::{Scene, Stand};
use crate::stages::{Hold, Requests, Rollout, Share};
use crate::waiting::{Bound, Until, Waiting};
use crate::watch::Watch;

/// Why a deployment that prepares or rolls out stays where it is, if anything but its own work keeps it.
pub(crate) fn holding(scene: &Scene, deployment: &Deployment) -> Option<Waiting> {
    let (until, bound) = until(
        scene,
        deployment,
        scene.memory.held,
        scene.memory.watch.as_ref(),
    )?;
    Some(Waiting::Stage {
        deployment: deployment.id,
        release: deployment.to,
        takes: takes(scene, scene.stand),
        until,
        bound,
    })
}

/// What a stage waits for whose table came into force then, if it did.
pub(crate) fn until(
    scene: &Scene,
    deployment: &Deployment,
    reached: Option<Reached>,
    watch: Option<&Watch>,
) -> Option<(Until, Bound)> {
    paused(scene, deployment).or_else(|| {
        let since = reached?.since;
        held(scene, deployment, since).or_else(|| undecided(scene, deployment, watch?))
    })
}

/// Its time is over, and it waits for requests.
fn undecided(scene: &Scene, deployment: &Deployment, watch: &Watch) -> Option<(Until, Bound)> {
    let (stage, time) = timed(scene, deployment)?;
    let few = watch.inconclusive(scene, stage, Inconclusive::Hold)?;
    let (service, requests, enough) = few;
    let until = Until::Enough {
        service: service.clone(),
        requests,
        enough,
    };
    // By the log, as of one that is held until told.
    Some((
        until,
        patience(scene, deployment, scene.phase_since(deployment) + time),
    ))
}

/// The time of a stage that goes on by itself when it is over.
fn timed(scene: &Scene, deployment: &Deployment) -> Option<(u32, Millis)> {
    let (rollout, stage) = (scene.rollout?, scene.stage()?);
    if rollout.ready() == Some(stage) {
        return None;
    }
    match rollout.hold(stage) {
        Hold::For(time) if deployment.promoted <= stage => Some((stage, time)),
        Hold::For(_) | Hold::UntilTold => None,
    }
}

/// The service of which too few requests were seen when a stage's time was over, and how many, if the
/// deployment is to go back for that.
pub(crate) fn is_unproven<'a>(
    scene: &Scene<'a>,
    deployment: &Deployment,
) -> Option<(&'a Name, u64, u64)> {
    let reached = scene.memory.held?;
    let (stage, time) = timed(scene, deployment)?;
    let over = scene.is_past(&Bound::fixed(reached.since, time)) && deployment.paused.is_none();
    let watch = scene.memory.watch.as_ref().filter(|_| over)?;
    watch.inconclusive(scene, stage, Inconclusive::Rollback)
}

fn paused(scene: &Scene, deployment: &Deployment) -> Option<(Until, Bound)> {
    let pause = deployment.paused.as_ref()?;
    let by = pause.by.clone();
    let bound = patience(scene, deployment, pause.at.min(scene.now));
    Some((Until::Resumed { by }, bound))
}

/// How long somebody is waited for. Two releases beside each other are no state to forget.
fn patience(scene: &Scene, deployment: &Deployment, since: Timestamp) -> Bound {
    let limit = scene.deadlines(deployment.to).promote;
    Bound::setting(since, limit, "stack.deadlines.promote")
}

fn held(scene: &Scene, deployment: &Deployment, since: Timestamp) -> Option<(Until, Bound)> {
    let (rollout, stage) = (scene.rollout?, scene.stage()?);
    if deployment.promoted > stage {
        return None;
    }
    let (until, bound) = match (rollout.hold(stage), rollout.from) {
        // By the log, so that a planner that forgets does not wait for another day.
        (Hold::UntilTold, _) => {
            let begun = scene.phase_since(deployment);
            return Some((Until::Told, patience(scene, deployment, begun)));
        }
        (Hold::For(bake), Some(old)) if stage == rollout.last() => {
            (Until::Baked { old }, Bound::setting(since, bake, "bake"))
        }
        (Hold::For(time), _) => (Until::Time, Bound::setting(since, time, "hold")),
    };
    (!scene.is_past(&bound)).then_some((until, bound))
}

/// Whether a stage's table is in force and nothing holds it any more.
pub(crate) fn is_over(scene: &Scene, deployment: &Deployment) -> bool {
    scene.memory.held.is_some() && holding(scene, deployment).is_none()
}

/// What the new release takes there, in percent of the requests of each service that both releases have:
/// where balancing is by instances, about so many.
pub(crate) fn takes(scene: &Scene, stand: Stand) -> Vec<(Name, u8)> {
    let (Some(rollout), Stand::At(stage)) = (scene.rollout, stand) else {
        return Vec::new();
    };
    let old = rollout.from.and_then(|old| scene.spec(old));
    let is_new = |name: &Name| old.is_none_or(|old| !old.services.contains_key(name));
    let services = scene.spec(rollout.to).into_iter().flat_map(|s| &s.services);
    let shares = services.filter(|(name, service)| service.port.is_some() && !is_new(name));
    let shares = shares.filter_map(|(name, _)| Some((name, rollout.share(stage, name)?)));
    let takes = shares.map(|(name, share)| (name.clone(), percent(share)));
    takes.filter(|(_, percent)| *percent > 0).collect()
}

fn percent(share: Share) -> u8 {
    match share.requests {
        Requests::Old => 0,
        Requests::Percent(percent) => percent,
        Requests::New => 100,
        Requests::ByInstances => {
            let all = u64::from(share.new) + u64::from(share.old);
            let exact = u64::from(share.new) * 100 / all.max(1);
            u8::try_from(exact).unwrap_or(100)
        }
    }
}

/// The stage after this one. A promotion leaves out the stages before the one that it leads to, unless
/// that would start more than the surge allows; never the one that makes ready for an exchange.
pub(crate) fn next(rollout: &Rollout, deployment: &Deployment, stage: u32) -> u32 {
    match rollout.shrinks() {
        true => stage + 1,
        false => {
            let ready = rollout.ready().filter(|ready| stage < *ready);
            let farthest = ready.unwrap_or(rollout.last());
            deployment.promoted.clamp(stage + 1, farthest)
        }
    }
}

/// Whether the old release is kept for a while after the last table.
pub(crate) fn is_baking(rollout: &Rollout) -> bool {
    rollout.hold(rollout.last()) != Hold::For(Millis(0))
}
