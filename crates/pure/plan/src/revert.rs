//! Decision: a failed release leaves the table, then its instances are stopped, then the verdict falls.
//!
//! Nothing new is started for it. If the gateway was away when it failed and turns out to serve the new
//! release in full while the old one cannot serve, the new release has succeeded after all: the verdict is
//! what serves. While the old one cannot take over, the table keeps what is healthy of the new one. Instances
//! of a rolling service leave as the old ones come back. After `stack.deadlines.revert`, and more for
//! batches, the verdict falls in any case, and what still drains goes on draining.

use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Phase};
use ward_types::time::Millis;

use crate::draft::Draft;
use crate::observed::SeenInstance;
use crate::pools;
use crate::rest;
use crate::roll::{self, Leaving};
use crate::scene::Scene;
use crate::stages::Rollout;
use crate::verdict;
use crate::waiting::{Bound, Waiting};
use crate::{exchange, failure};

/// One step back.
pub(crate) fn step(scene: &Scene, draft: &mut Draft, deployment: &Deployment, failure: &Failure) {
    if serves_after_all(scene, deployment) {
        return roll::succeed(scene, draft, deployment);
    }
    let bound = bound(scene, deployment);
    let known = scene.gateway().is_some() || scene.current().is_none();
    let gone = known && !is_left(scene, deployment) && is_back(scene, deployment);
    if gone || scene.is_past(&bound) {
        let phase = Phase::Finished {
            verdict: verdict::of_failure(scene, deployment),
            failure: Some(match gone {
                true => failure.clone(),
                false => failure::not_cleared(failure, deployment.to, &bound),
            }),
            at: scene.now,
        };
        draft.enter(deployment, phase);
    } else if is_without_successor(scene, deployment) {
        draft.wait(Waiting::Successor {
            release: deployment.to,
            bound,
        });
    }
}

/// Whether the failed release has requests, and no release can take them over.
fn is_without_successor(scene: &Scene, deployment: &Deployment) -> bool {
    let can_serve = |current| pools::can_serve(scene, current);
    scene.release_in_force(deployment.to) && !scene.current().is_some_and(can_serve)
}

/// The verdict is not spoken a moment too early: what is healthy of the old release is in force. Where its
/// instances had become fewer they must all be back, if they can be started at all.
fn is_back(scene: &Scene, deployment: &Deployment) -> bool {
    let Some(old) = scene.current().filter(|old| *old != deployment.to) else {
        return true;
    };
    if pools::is_complete(scene, old) {
        return verdict::serves_in_full(scene, old);
    }
    let shrank = |rollout: &Rollout| rollout.shrinks() || rollout.exchanges_any();
    !scene.rollout.is_some_and(shrank) || rest::is_unprepared(scene, old)
}

const BACK: &str = "stack.deadlines.revert";
/// And the start of what was exchanged.
const BACK_BY_EXCHANGE: &str = "stack.deadlines.revert + start_timeout";
/// And for each batch that comes back its start, and what the other one's instances take to make room.
const BACK_IN_BATCHES: &str =
    "stack.deadlines.revert + start_timeout, drain_timeout and stop_timeout of each batch";
/// The same where long connections take longer than requests.
const BACK_IN_LONG_BATCHES: &str =
    "stack.deadlines.revert + start_timeout, long_drain_timeout and stop_timeout of each batch";

/// How long a failed deployment may take to its verdict: with batches, so much more for each way back.
pub(crate) fn bound(scene: &Scene, deployment: &Deployment) -> Bound {
    let start = |rollout: &Rollout| {
        let old = rollout.from.and_then(|old| scene.spec(old));
        old.map_or(0, |old| roll::longest_start(old).0)
    };
    let leaving = scene
        .rollout
        .and_then(|rollout| roll::leaving(scene, rollout));
    let batches = scene.rollout.map_or(0, |rollout| {
        let batch = start(rollout).saturating_add(leaving.map_or(0, |leaving| leaving.most.0));
        batch.saturating_mul(u64::from(rollout.rounds_back()))
    });
    let exchange = scene.rollout.filter(|rollout| rollout.exchanges_any());
    let setting = match (leaving, exchange) {
        (Some(Leaving { long: true, .. }), _) => BACK_IN_LONG_BATCHES,
        (Some(Leaving { long: false, .. }), _) => BACK_IN_BATCHES,
        (None, Some(_)) => BACK_BY_EXCHANGE,
        (None, None) => BACK,
    };
    let first = scene.deadlines(deployment.to).revert;
    let more = batches.saturating_add(exchange.map_or(0, start));
    let since = exchange::counted_from(scene, deployment, scene.phase_since(deployment));
    Bound::setting(since, Millis(first.0.saturating_add(more)), setting)
}

/// Whether the table in force serves the failed release in full and the one before cannot serve.
pub(crate) fn serves_after_all(scene: &Scene, deployment: &Deployment) -> bool {
    let current = scene.current();
    let stuck = !current.is_some_and(|c| pools::can_serve(scene, c));
    current != Some(deployment.to) && stuck && pools::shows(scene, deployment.to)
}

/// Whether anything of the failed release runs or takes requests.
fn is_left(scene: &Scene, deployment: &Deployment) -> bool {
    let serves_anyway = scene.current() == Some(deployment.to);
    let routed = scene.release_in_force(deployment.to) && !serves_anyway;
    let ours = |i: &SeenInstance| match i.facts.role {
        Role::ReleaseCommand | Role::Seed | Role::Copy | Role::VolumeCopy | Role::Snapshot => {
            i.facts.release == deployment.to
        }
        Role::Service => i.facts.release == deployment.to && !serves_anyway,
        Role::Database | Role::Drill(_) | Role::Run(_) => false,
    };
    routed || scene.seen().any(|i| ours(i) && !i.is_over())
}
