//! Decision: an environment sleeps when nobody has asked for anything for as long as it declares, and nothing of it is
//! under way; it wakes when somebody asks, and for whatever has to be done.
//!
//! That it sleeps is an event before anything is stopped, and nothing else is planned together with it. Then, strictly:
//!
//! 1. A table in which its pools have no instances and say that it sleeps; the gateway says that it holds what comes.
//! 2. Services drain and stop, workers too.
//! 3. When the last of them is over, databases stop, cleanly.
//!
//! A request that comes on the way is held, and wakes it: what has not stopped goes on. From then on the environment is
//! one that has lost its instances, and is brought up like any other. Its pools are held until they have some, or the
//! first request has waited for as long as it may.
//!
//! Only the gateway knows of requests, and only by its counts: what is counted between two looks has come at the second.
//! A planner that forgets begins anew, and so nothing sleeps too early.

use std::collections::BTreeMap;

use ward_types::id::InstanceId;
use ward_types::keeper::Role;
use ward_types::sleep::{Alarm, Drowsiness, HELD_FOR};
use ward_types::table::Traffic;
use ward_types::time::{Millis, Timestamp};

use crate::action::{Action, PlannedPool};
use crate::down;
use crate::draft::Draft;
use crate::drain;
use crate::pools;
use crate::route;
use crate::scene::Scene;

/// What is remembered of an environment's use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Quiet {
    /// How many requests each instance had answered.
    seen: BTreeMap<InstanceId, u64>,
    /// Since when nobody uses it.
    pub(crate) since: Timestamp,
    /// When a request was last seen, if one was.
    asked: Option<Timestamp>,
}

/// What is remembered after this scene was seen; nothing of one that is not awake.
pub(crate) fn quiet(scene: &Scene) -> Option<Quiet> {
    if !scene.env.is_awake() {
        return None;
    }
    let fresh = || Quiet {
        since: scene.now,
        ..Quiet::default()
    };
    let mut quiet = scene.memory.quiet.clone().unwrap_or_else(fresh);
    quiet.since = quiet.since.min(scene.now);
    // What is under way is no rest: its time begins behind that.
    if scene.observed.in_use || !scene.env.may_sleep() {
        quiet.since = scene.now;
    }
    let Some(gateway) = scene.gateway() else {
        return Some(quiet);
    };
    let before = |id: &InstanceId| quiet.seen.get(id).copied().unwrap_or_default();
    let asks = |(id, traffic): (&InstanceId, &Traffic)| {
        is_under_way(traffic) || answered(traffic) > before(id)
    };
    if gateway.held || gateway.traffic.iter().any(asks) {
        quiet.since = scene.now;
        quiet.asked = Some(scene.now);
    }
    // Who wakes it by hand waits as well.
    let wakes = gateway.pools.iter().any(|pool| pool.asleep.is_some());
    if wakes && waking_until(scene).is_some() {
        quiet.since = scene.now;
    }
    let seen = gateway.traffic.iter();
    quiet.seen = seen.map(|(id, t)| (id.clone(), answered(t))).collect();
    Some(quiet)
}

fn is_under_way(traffic: &Traffic) -> bool {
    traffic.requests + traffic.upgraded > 0
}

/// Without the gateway's own.
fn answered(traffic: &Traffic) -> u64 {
    traffic.answered.saturating_sub(traffic.probes)
}

/// What is to be recorded of its sleep, before anything else is done.
pub(crate) fn turn(scene: &Scene) -> Option<Action> {
    if scene.env.asleep().is_some() {
        let by = scene.env.work()?;
        return Some(Action::Wake { by });
    }
    let due = due(scene).is_some_and(|due| due <= scene.now);
    let cause = Drowsiness::Idle;
    (due && holds(scene)).then_some(Action::Sleep { cause })
}

/// Whether the gateway is seen, and holds what comes for an environment that sleeps.
fn holds(scene: &Scene) -> bool {
    scene.gateway().is_some_and(|gateway| gateway.holds)
}

/// When it falls asleep, if nobody asks for anything until then.
fn due(scene: &Scene) -> Option<Timestamp> {
    let command = |role: Role| !matches!(role, Role::Service | Role::Database);
    // One of a run that has ended may still do so.
    let at_work = scene.seen().any(|i| command(i.facts.role) && !i.is_over());
    let gateway = scene.gateway()?;
    if !scene.env.may_sleep() || scene.observed.in_use || at_work || gateway.held {
        return None;
    }
    if gateway.traffic.values().any(is_under_way) {
        return None;
    }
    let quiet = scene.memory.quiet.as_ref()?;
    let woken = scene.env.sleep.woken;
    // Who was woken for work alone, and is not asked for anything else, goes back to sleep.
    if let Some(woken) = woken.filter(|woken| woken.by == Alarm::Run)
        && quiet.asked.is_none_or(|asked| asked < woken.at)
    {
        return Some(woken.at);
    }
    let limit = scene.spec(scene.current()?)?.sleep?;
    let woken = woken.map_or(Timestamp(0), |woken| woken.at.min(scene.now));
    Some(quiet.since.max(woken) + limit)
}

/// Looks again when it may fall asleep.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    if let Some(due) = due(scene) {
        draft.alarm(due);
    }
    if let Some(until) = waking_until(scene) {
        draft.alarm(until);
    }
}

/// One step of falling asleep.
pub(crate) fn fall(scene: &Scene, draft: &mut Draft) {
    route::step(scene, draft);
    drain::services(scene, draft);
    down::stop_databases(scene, draft);
}

/// The table of an environment that sleeps: all that its release serves, held.
pub(crate) fn held(scene: &Scene, since: Timestamp) -> Vec<PlannedPool> {
    let release = scene.current();
    let mut held = release.map_or_else(Vec::new, |release| pools::of(scene, release));
    for pool in &mut held {
        pool.endpoints.clear();
        pool.asleep = Some(since);
    }
    held
}

/// Pools that were held and have no instance yet are held on, while it wakes; of those that are to have some.
pub(crate) fn waking(scene: &Scene, mut planned: Vec<PlannedPool>) -> Vec<PlannedPool> {
    if waking_until(scene).is_none() {
        return planned;
    }
    let comes = |pool: &PlannedPool| {
        let mut releases = scene.current().into_iter().chain(scene.rolling());
        releases.any(|release| pools::is_reachable(scene, release, &pool.service))
    };
    let empty = |pool: &&mut PlannedPool| pool.endpoints.is_empty() && comes(pool);
    for pool in planned.iter_mut().filter(empty) {
        let mut before = scene.pools().iter();
        let before = before.find(|before| before.service == pool.service);
        pool.asleep = before.and_then(|before| before.asleep);
    }
    planned
}

/// Until when an environment counts as waking. What has not come up by then is as ill as anything else.
fn waking_until(scene: &Scene) -> Option<Timestamp> {
    let woken = scene.env.sleep.woken?;
    let until = woken.at + Millis(HELD_FOR.0);
    (scene.env.is_awake() && scene.now < until).then_some(until)
}
