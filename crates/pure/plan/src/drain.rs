//! Decision: out of the table, by the gateway's word; nothing under way; stop; remove. Strictly so.
//!
//! While the table in force, or the one that this plan asks for, names an instance, nothing happens to
//! it. Then requests may finish within `drain_timeout`; long connections are told to go away by the gateway
//! itself, spread over `long_drain_timeout`, and have a moment longer to do so. When the budget of whatever is
//! left is out, all of it is cut, and has a second for its close frames: one cut for both, so that where both
//! are left the longer budget counts. Without the gateway nobody knows what is in force, so an instance that
//! a table may name is left alone; one that was never healthy, or has no port, is in no table.

use ward_types::id::{InstanceId, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::table::Traffic;
use ward_types::time::{Millis, Timestamp};

use crate::action::Action;
use crate::draft::Draft;
use crate::exchange;
use crate::limits::{CUT_GRACE, DATABASE_STOP_UNSTARTED, LONG_GRACE};
use crate::memory::Out;
use crate::observed::SeenInstance;
use crate::purpose::{self, Purpose};
use crate::route;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting, WayBack};

/// Goes one step on with every instance of services and release commands that nothing needs.
pub(crate) fn services(scene: &Scene, draft: &mut Draft) {
    let services = scene.seen().filter(|i| i.facts.role != Role::Database);
    each(scene, draft, services);
}

/// The same for databases, which only an environment that goes down does not need.
pub(crate) fn databases(scene: &Scene, draft: &mut Draft) {
    let databases = scene.seen().filter(|i| i.facts.role == Role::Database);
    each(scene, draft, databases);
}

fn each<'a>(scene: &Scene, draft: &mut Draft, instances: impl Iterator<Item = &'a SeenInstance>) {
    for instance in instances {
        match purpose::of(scene, instance) {
            // One that was given up: its end will count, and may be what another one waits for.
            Purpose::History if instance.status.state == InstanceState::Stopping => {
                draft.wait(stopping(scene, instance));
            }
            Purpose::Needed | Purpose::History => {}
            Purpose::Warm(bound) => draft.wait(warm(scene, instance.facts.release, bound)),
            Purpose::Done => drain(scene, draft, instance),
        }
    }
}

fn warm(scene: &Scene, release: ReleaseId, bound: Bound) -> Waiting {
    let is_newer = scene.current().is_some_and(|serves| serves < release);
    let way_back = match (scene.env.is_barred(release), is_newer) {
        (true, _) => WayBack::Barred,
        (false, false) => WayBack::Open,
        (false, true) => WayBack::Forward,
    };
    Waiting::Warm {
        release,
        way_back,
        bound,
    }
}

fn drain(scene: &Scene, draft: &mut Draft, instance: &SeenInstance) {
    let id = &instance.facts.id;
    let named = draft.routed().iter().any(|p| p.endpoints.contains(id));
    if scene.in_force(id) || named {
        return;
    }
    match instance.status.state {
        _ if is_rotation_unknown(scene, instance) => draft.wait(Waiting::Gateway {
            bound: route::bound(scene),
        }),
        InstanceState::Exited { .. } | InstanceState::Failed { .. } | InstanceState::Lost => {
            draft.act(Action::Remove { id: id.clone() });
        }
        InstanceState::Stopping => draft.wait(stopping(scene, instance)),
        InstanceState::Starting | InstanceState::Healthy | InstanceState::Unhealthy => {
            finish(scene, draft, instance);
        }
    }
}

fn is_rotation_unknown(scene: &Scene, instance: &SeenInstance) -> bool {
    let never_healthy = instance.status.state == InstanceState::Starting;
    scene.gateway().is_none() && instance.is_routable() && !never_healthy
}

pub(crate) fn stopping(scene: &Scene, instance: &SeenInstance) -> Waiting {
    let grace = scene.stop_timeout(instance);
    let bound = match instance.facts.role {
        Role::Database if grace == DATABASE_STOP_UNSTARTED => Bound::fixed(instance.since, grace),
        Role::Database => Bound::setting(instance.since, grace, "stack.deadlines.database_stop"),
        Role::Service
        | Role::ReleaseCommand
        | Role::Seed
        | Role::Copy
        | Role::VolumeCopy
        | Role::Snapshot
        | Role::Drill(_)
        | Role::Run(_) => Bound::setting(instance.since, grace, "stop_timeout"),
    };
    let role = instance.facts.role;
    let finishes = role == Role::Service && exchange::is_finishing(scene, instance);
    let instance = instance.facts.id.clone();
    match finishes {
        true => Waiting::Finishing { instance, bound },
        false => Waiting::Stopping { instance, bound },
    }
}

fn stop(scene: &Scene, draft: &mut Draft, instance: &SeenInstance) {
    draft.act(Action::Stop {
        id: instance.facts.id.clone(),
        grace: scene.stop_timeout(instance),
    });
}

/// Stops an instance that is out of rotation, once what it still does is done or cut.
pub(crate) fn finish(scene: &Scene, draft: &mut Draft, instance: &SeenInstance) {
    let id = &instance.facts.id;
    let Traffic {
        requests, upgraded, ..
    } = scene.traffic(id);
    if requests == 0 && upgraded == 0 {
        return stop(scene, draft, instance);
    }
    let out = out_of(scene, draft, id);
    let budget = budget(scene, instance, out.since);
    let cut = out.cut.map(|at| Bound::fixed(at, CUT_GRACE));
    let draining = |bound| Waiting::Drain {
        instance: id.clone(),
        requests,
        upgraded,
        bound,
    };
    match cut {
        Some(grace) if !scene.is_past(&grace) => draft.wait(draining(grace)),
        Some(_) => {
            draft.act(Action::Cut { id: id.clone() });
            stop(scene, draft, instance);
        }
        None if scene.is_past(&budget) => {
            cut_off(scene, draft, id, out);
            draft.wait(draining(Bound::fixed(scene.now, CUT_GRACE)));
        }
        None => draft.wait(draining(budget)),
    }
}

/// How long what is left may take: the longer one's budget, where both are.
fn budget(scene: &Scene, instance: &SeenInstance, since: Timestamp) -> Bound {
    let left = scene.traffic(&instance.facts.id);
    let ordinary = Bound::setting(since, scene.drain_timeout(instance), "drain_timeout");
    let long = Millis(scene.long_drain(instance).0.saturating_add(LONG_GRACE.0));
    let long = Bound::setting(since, long, "long_drain_timeout");
    match (left.requests, left.upgraded) {
        (_, 0) => ordinary,
        (1.., _) if ordinary.until > long.until => ordinary,
        _ => long,
    }
}

fn out_of(scene: &Scene, draft: &Draft, id: &InstanceId) -> Out {
    let fresh = Out {
        since: scene.now,
        cut: None,
    };
    draft.memory.out.get(id).copied().unwrap_or(fresh)
}

fn cut_off(scene: &Scene, draft: &mut Draft, id: &InstanceId, out: Out) {
    draft.act(Action::Cut { id: id.clone() });
    let out = Out {
        cut: Some(scene.now),
        ..out
    };
    draft.memory.out.insert(id.clone(), out);
}
