//! Decision: the instances of a stage, all healthy, its table, the gateway's word, its time; then the next.
//!
//! With one stage, which is what a stack file gets that asks for nothing else, the switch is one table for
//! all services, so that no request sees one service of the new release and another of the old. Instances of
//! the release that still run are used as they are, which makes a rollback a switch and not a start. An
//! instance that ends before it was ever healthy fails the deployment at once; one that ends later is
//! replaced, three times in all. The deployment succeeds by what the gateway shows: from the moment that it
//! shows the new release in every pool, whatever dies afterwards is the business of the environment at rest;
//! unless it bakes, which ends with its time.

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Phase, Verdict};
use ward_types::spec::{EnvSpec, ServiceSpec};
use ward_types::time::Millis;

use crate::cancel;
use crate::checkup;
use crate::databases;
use crate::draft::Draft;
use crate::exchange;
use crate::failure;
use crate::hold;
use crate::limits::{CUT_GRACE, LONG_GRACE, REPLACEMENTS};
use crate::observed::SeenInstance;
use crate::pools;
use crate::rest;
use crate::revert;
use crate::route;
use crate::scene::{Scene, Stand};
use crate::stages::Rollout;
use crate::tables;
use crate::trial;
use crate::waiting::{Bound, Waiting};

/// One step of the rollout.
pub(crate) fn step(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let Some(spec) = scene.spec(deployment.to) else {
        return draft.revert(deployment, failure::not_retained(deployment.to));
    };
    match outcome(scene, deployment, spec) {
        Outcome::Done => return succeed(scene, draft, deployment),
        Outcome::Failed(failure) => {
            let failure = failure::on_moved_data(scene, deployment, failure);
            return draft.revert(deployment, failure);
        }
        Outcome::Underway => {}
    }
    for (name, service) in &spec.services {
        let kept = pools::kept(scene, deployment.to, name, service);
        let wanted = pools::wanted(scene, deployment.to, name, service);
        let leaving = checkup::given_up(scene, deployment.to, name);
        let missing = wanted.saturating_sub(kept.len() + leaving).min(room(
            scene,
            draft,
            deployment.to,
            name,
        ));
        if databases::are_ready_for(scene, deployment.to, service) {
            (0..missing).for_each(|_| draft.start(name, deployment.to, Role::Service));
        }
        let waiting = rest::not_healthy(scene, deployment.to, name, service, &kept);
        let waiting = waiting.filter(|_| exchange::may_start(scene, deployment.to, name));
        if let Some(waiting) = waiting {
            draft.wait(bounded(scene, deployment, spec, waiting));
        }
    }
    if let Some(waiting) = hold::holding(scene, deployment) {
        draft.wait(waiting);
    } else if let Some(stage) = next_stage(scene, deployment) {
        draft.enter(deployment, Phase::Rolling { stage });
    }
}

/// How many more instances of a service may be started, of this release.
pub(crate) fn room(scene: &Scene, draft: &Draft, release: ReleaseId, service: &Name) -> usize {
    let free = exchange::room(scene, draft, release, service);
    let rollout = scene.rollout.filter(|_| scene.stand != Stand::Rest);
    let limited = rollout.and_then(|rollout| Some((rollout, rollout.pace(service)?)));
    limited.map_or(free, |(rollout, pace)| {
        let running = tables::running(scene, rollout, service) + draft.started(service);
        (pace.most as usize).saturating_sub(running).min(free)
    })
}

/// The stage to enter now: this one is complete, in force by the gateway's word, and held no longer.
fn next_stage(scene: &Scene, deployment: &Deployment) -> Option<u32> {
    let (rollout, stage) = (scene.rollout?, scene.stage()?);
    let in_force = || {
        let table = tables::at(scene, rollout, Some(stage));
        let pools = scene.gateway().map(|g| &g.pools);
        pools.is_some_and(|pools| pools::are_in_force(pools, &table))
    };
    let over = stage < rollout.last() && hold::is_over(scene, deployment);
    let next = over && pools::is_complete(scene, deployment.to) && in_force();
    next.then(|| hold::next(rollout, deployment, stage))
}

/// Where the table should stand. Once a rollout has failed, nothing more is routed to its release.
pub(crate) fn stand(scene: &Scene) -> Stand {
    let Some(deployment) = scene.active() else {
        return Stand::Rest;
    };
    match (&deployment.phase, scene.spec(deployment.to)) {
        (Phase::Rolling { .. }, Some(spec)) => match outcome(scene, deployment, spec) {
            Outcome::Done => scene.stage().map_or(Stand::Rest, Stand::At),
            Outcome::Underway => reached(scene, deployment),
            Outcome::Failed(_) => Stand::Back,
        },
        // It serves whatever it has lost since: the verdict of this very plan says so.
        (Phase::Reverting { .. }, _) if revert::serves_after_all(scene, deployment) => {
            Stand::At(scene.rollout.map_or(0, Rollout::last))
        }
        (Phase::Rolling { .. }, None) | (Phase::Reverting { .. }, _) => Stand::Back,
        _ => Stand::Rest,
    }
}

/// The stage that a rollout has reached, as long as it goes on.
pub(crate) fn reached(scene: &Scene, deployment: &Deployment) -> Stand {
    match scene.stage() {
        Some(stage) if has_reached(scene, deployment) => Stand::At(stage),
        Some(stage) => before(scene, stage),
        None => Stand::Rest,
    }
}

/// The stage before. A promotion leaves stages out: then it is the one whose shares are in force; and the
/// first, while the gateway has nothing of the release.
fn before(scene: &Scene, stage: u32) -> Stand {
    let (Some(rollout), Some(before)) = (scene.rollout, stage.checked_sub(1)) else {
        return Stand::Before;
    };
    let known = !rollout.shrinks() && tables::is_split(scene.pools());
    let mut stages = (0..stage).rev();
    let in_force = stages.find(|stage| known && tables::has_shares(scene, rollout, *stage));
    let fallback = match rollout.shrinks() || scene.release_in_force(rollout.to) {
        true => before,
        false => 0,
    };
    Stand::At(in_force.unwrap_or(fallback))
}

/// Whether requests may move as the stage says: no further while the deployment is paused.
fn has_reached(scene: &Scene, deployment: &Deployment) -> bool {
    let held = scene.memory.held.is_some() && scene.release_in_force(deployment.to);
    held || (deployment.paused.is_none() && pools::is_complete(scene, deployment.to))
}

/// How far a rollout is.
enum Outcome {
    Done,
    Failed(Failure),
    Underway,
}

fn outcome(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Outcome {
    match has_failed(scene, deployment, spec) {
        _ if is_done(scene, deployment) => Outcome::Done,
        Some(failure) => Outcome::Failed(failure),
        None => Outcome::Underway,
    }
}

/// Without a limit of its own, waiting ends with the phase.
fn bounded(scene: &Scene, deployment: &Deployment, spec: &EnvSpec, waiting: Waiting) -> Waiting {
    match waiting {
        Waiting::Healthy {
            service,
            release,
            healthy,
            wanted,
            ailment,
            bound: None,
        } => Waiting::Healthy {
            service,
            release,
            healthy,
            wanted,
            ailment,
            bound: Some(limit(scene, deployment, spec)),
        },
        bounded => bounded,
    }
}

/// Ends a deployment whose release serves.
pub(crate) fn succeed(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let phase = Phase::Finished {
        verdict: Verdict::Succeeded,
        failure: None,
        at: scene.now,
    };
    draft.enter(deployment, phase);
}

/// The table shows the release, and either all of it is healthy or only its own switch, which was made
/// when all of it was, can have put it there.
fn is_done(scene: &Scene, deployment: &Deployment) -> bool {
    let (Some(rollout), Some(stage)) = (scene.rollout, scene.stage()) else {
        return false;
    };
    match rollout.is_plain() {
        true => is_switched(scene, deployment.to),
        false => stage == rollout.last() && has_proven_itself(scene, deployment),
    }
}

/// The table of the last stage was in force when all of the release was healthy, and has been for long
/// enough.
fn has_proven_itself(scene: &Scene, deployment: &Deployment) -> bool {
    // A release that takes no requests is never shown.
    let exact = || {
        let pools = scene.gateway().map(|g| &g.pools);
        let table = pools::of(scene, deployment.to);
        let in_force = pools.is_some_and(|pools| pools::are_in_force(pools, &table));
        in_force && pools::is_complete(scene, deployment.to)
    };
    hold::is_over(scene, deployment)
        && (pools::shows(scene, deployment.to) || exact())
        && trial::breached(scene, deployment).is_none()
}

fn is_switched(scene: &Scene, to: ReleaseId) -> bool {
    let Some(gateway) = scene.gateway() else {
        return false;
    };
    let exact = pools::are_in_force(&gateway.pools, &pools::of(scene, to));
    let switched = scene.current() != Some(to) && pools::shows(scene, to);
    switched || (exact && pools::is_complete(scene, to))
}

fn has_failed(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    cancel::asked(deployment)
        .or_else(|| instance_ended(scene, deployment))
        .or_else(|| trial::breached(scene, deployment))
        .or_else(|| nobody_answers(scene, deployment))
        .or_else(|| checkup::failure(scene, deployment))
        .or_else(|| not_acknowledged(scene, deployment))
        .or_else(|| never_healthy(scene, deployment, spec))
        .or_else(|| took_too_long(scene, deployment, spec))
}

fn instance_ended(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let mut ended: Vec<_> = scene
        .seen()
        .filter(|i| is_failure_of(i, deployment))
        .collect();
    ended.sort_by_key(|i| i.facts.id.ordinal());
    let unproven = ended
        .iter()
        .find(|i| !scene.memory.proven.contains(&i.facts.id));
    match (unproven, ended.last()) {
        (Some(instance), _) => Some(failure::ended_early(instance)),
        (None, Some(newest)) if ended.len() > REPLACEMENTS => {
            Some(failure::keeps_ending(newest, ended.len()))
        }
        _ => None,
    }
}

/// What of the release ended by itself since the rollout began; the rest was cleared away before. What was there before
/// a rollback is replaced, and its end is nobody's failure.
pub(crate) fn is_failure_of(instance: &SeenInstance, deployment: &Deployment) -> bool {
    let ours = instance.facts.role == Role::Service && instance.facts.release == deployment.to;
    ours && instance.has_failed() && !checkup::was_there(deployment, instance)
}

/// All of a service's requests go to the release, to nothing that is well, and the one that serves could answer them.
fn nobody_answers(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let serves = scene.current().filter(|serves| *serves != deployment.to)?;
    let lost = scene.pools().iter().find(|pool| {
        let mut endpoints = pool.endpoints.iter();
        let ours = endpoints.all(|e| e.release == deployment.to);
        let mut ids = pool.endpoints.iter().map(|e| &e.instance);
        let well = ids.any(|id| pools::is_healthy(scene, id));
        let could = || pools::has_healthy(scene, serves, &pool.service);
        !pool.endpoints.is_empty() && ours && !well && could()
    })?;
    pools::can_serve(scene, serves).then(|| {
        let ids = lost.endpoints.iter().map(|e| &e.instance);
        let mut seen = ids.filter_map(|id| scene.observed.instances.get(id));
        failure::nobody_answers(deployment.to, serves, &lost.service, seen.next())
    })
}

fn not_acknowledged(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let bound = route::acknowledgement(scene)?;
    let late = scene.is_past(&bound);
    late.then(|| failure::not_acknowledged(deployment.to, scene.gateway(), &bound))
}

fn never_healthy(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    let begun = scene.phase_since(deployment);
    let mut live = scene.seen().filter(|i| {
        i.facts.role == Role::Service && i.facts.release == deployment.to && i.is_live()
    });
    live.find_map(|instance| {
        if checkup::is_given_up(scene, instance) {
            return None;
        }
        let service = spec.services.get(&instance.facts.component)?;
        let since = instance.since.max(begun);
        let bound = Bound::setting(since, service.start_timeout, "start_timeout");
        let late = !instance.is_healthy() && scene.is_past(&bound);
        late.then(|| failure::never_healthy(instance, service, &bound))
    })
}

fn took_too_long(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    if let Some(Waiting::Stage { until, bound, .. }) = hold::holding(scene, deployment) {
        let late = scene.is_past(&bound);
        return late.then(|| failure::forgotten(deployment, &until, &bound));
    }
    let bound = limit(scene, deployment, spec);
    let late = scene.is_past(&bound);
    late.then(|| failure::rolling(deployment.to, &lacking(scene, deployment), &bound))
}

/// What a rollout still lacked when its time was out.
pub(crate) enum Lacking<'a> {
    /// A database, so that what is linked to it was not started.
    Database(Name),
    /// An instance of the new release that is healthy.
    Healthy(&'a SeenInstance),
    /// The place of an old one, which has not left.
    Room(&'a SeenInstance),
    /// The gateway's word.
    Acknowledgement,
    /// Instances that were not even started.
    Instances,
}

fn lacking<'a>(scene: &Scene<'a>, deployment: &Deployment) -> Lacking<'a> {
    let services = || scene.seen().filter(|i| i.facts.role == Role::Service);
    let ours = |i: &&SeenInstance| i.facts.release == deployment.to;
    if let Some(ill) = services().filter(ours).find(|i| !i.is_healthy()) {
        return Lacking::Healthy(ill);
    }
    if pools::is_complete(scene, deployment.to) {
        return Lacking::Acknowledgement;
    }
    if let Some(database) = databases::missing(scene, deployment.to).pop() {
        return Lacking::Database(database);
    }
    let mut old = services().filter(|i| !ours(i) && !i.is_over());
    let leaves = |i: &&SeenInstance| !scene.in_force(&i.facts.id);
    old.find(leaves).map_or(Lacking::Instances, Lacking::Room)
}

/// Twice the longest start, for what is replaced, and the gateway's word.
const FORWARD: &str = "2 × start_timeout + stack.deadlines.acknowledge";
/// And what the old instances of a batch take to make room.
const FORWARD_IN_BATCHES: &str =
    "2 × start_timeout + stack.deadlines.acknowledge + drain_timeout + stop_timeout";
/// The same where long connections take longer than requests.
const FORWARD_IN_LONG_BATCHES: &str =
    "2 × start_timeout + stack.deadlines.acknowledge + long_drain_timeout + stop_timeout";

/// Of a stage that was held, from the moment that nothing held it any more.
fn limit(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Bound {
    let work = longest_start(spec).0.saturating_mul(2);
    let limit = work.saturating_add(spec.deadlines.acknowledge.0);
    match scene.memory.over {
        Some(over) => {
            let since = exchange::counted_from(scene, deployment, over.since);
            Bound::setting(since, Millis(limit), FORWARD)
        }
        None => {
            let leaving = scene.rollout.and_then(|rollout| leaving(scene, rollout));
            let setting = match leaving {
                None => FORWARD,
                Some(Leaving { long: false, .. }) => FORWARD_IN_BATCHES,
                Some(Leaving { long: true, .. }) => FORWARD_IN_LONG_BATCHES,
            };
            let leaving = leaving.map_or(0, |leaving| leaving.most.0);
            let limit = Millis(limit.saturating_add(leaving));
            let since = scene.phase_since(deployment);
            let since = exchange::counted_from(scene, deployment, since);
            Bound::setting(since, limit, setting)
        }
    }
}

/// How long the gateway is waited for at the end of a stage that was held.
pub(crate) fn bound(scene: &Scene, deployment: &Deployment) -> Option<Bound> {
    scene.memory.over?;
    Some(limit(scene, deployment, scene.spec(deployment.to)?))
}

/// What the last batch's old instances take to make room for the next batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leaving {
    pub(crate) most: Millis,
    /// Whether long connections have more time than requests.
    pub(crate) long: bool,
}

/// The longest of all services that leave in batches, if any does.
pub(crate) fn leaving(scene: &Scene, rollout: &Rollout) -> Option<Leaving> {
    let releases = rollout.from.into_iter().chain([rollout.to]);
    let services = releases
        .filter_map(|r| scene.spec(r))
        .flat_map(|s| &s.services);
    let rolling = services.filter(|(name, _)| rollout.pace(name).is_some());
    let budgets = rolling.map(|(_, s)| {
        let long = s.long_drain().0.saturating_add(LONG_GRACE.0);
        let drain = s.drain_timeout.0.max(long).saturating_add(CUT_GRACE.0);
        Leaving {
            most: Millis(drain.saturating_add(s.stop_timeout.0)),
            long: long > s.drain_timeout.0,
        }
    });
    budgets.max()
}

pub(crate) fn longest_start(spec: &EnvSpec) -> Millis {
    let services = spec.services.values();
    let longest = services.map(|s: &ServiceSpec| s.start_timeout).max();
    longest.unwrap_or_default()
}
