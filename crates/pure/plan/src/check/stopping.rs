//! Stopping, cutting, removing: never what takes requests, never work that was not cut, never a database
//! in use, never the last that serves.

use std::collections::BTreeSet;

use ward_types::id::{InstanceId, Name};
use ward_types::keeper::{InstanceState, Role};

use super::Objection;
use super::course::Course;
use super::facts::{Case, goes_first, is_healthy, runs};
use crate::action::Action;
use crate::observed::SeenInstance;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        let (verb, id) = match action {
            Action::Stop { id, .. } => ("stop", id),
            Action::Cut { id } => ("cut", id),
            Action::Remove { id } => ("remove", id),
            _ => continue,
        };
        let Some(instance) = case.seen(id) else {
            objections.push(Objection::NoSuchInstance {
                verb,
                id: id.clone(),
            });
            continue;
        };
        objections.extend(rotation(case, verb, instance));
        match action {
            Action::Stop { .. } => stop(case, instance, objections),
            Action::Remove { .. } if runs(instance) => {
                objections.push(Objection::RemovesRunning { id: id.clone() });
            }
            _ => {}
        }
    }
    objections.extend(below_floor(case));
    objections.extend(conflicts(case));
}

/// While a release rolls out the one that serves stays ready to take everything back; of a rolling service,
/// both together stay enough.
fn below_floor(case: &Case) -> Vec<Objection> {
    let Some(course) = Course::of(case).filter(|course| course.stage().is_some()) else {
        return Vec::new();
    };
    let stops = |i: &&SeenInstance| is_healthy(i) && case.is_stopped_by_plan(&i.facts.id);
    let stopped = case
        .all()
        .filter(stops)
        .filter(|i| i.facts.role == Role::Service);
    let services: BTreeSet<&Name> = stopped.map(|i| &i.facts.component).collect();
    let below = services.into_iter().filter_map(|service| {
        let mut well = case.healthy_of(course.old, service);
        let floor = course.kept(service).or_else(|| course.floor(service))?;
        if course.is_rolling(service) {
            well.extend(case.healthy_of(course.new_release(), service));
        }
        let left = well
            .iter()
            .filter(|i| !case.is_stopped_by_plan(&i.facts.id))
            .count();
        let service = service.clone();
        (left < floor.min(well.len())).then_some(Objection::BelowFloor { service, floor })
    });
    below.collect()
}

fn rotation(case: &Case, verb: &'static str, instance: &SeenInstance) -> Option<Objection> {
    let facts = &instance.facts;
    let id = facts.id.clone();
    if case.is_in_rotation(&id) {
        return Some(Objection::InRotation { verb, id });
    }
    let may_be_named = facts.role == Role::Service
        && facts.port.is_some()
        && instance.status.state != InstanceState::Starting;
    let unknown = case.observed.gateway.is_none() && may_be_named;
    unknown.then_some(Objection::RotationUnknown { verb, id })
}

fn stop(case: &Case, instance: &SeenInstance, objections: &mut Vec<Objection>) {
    let id = &instance.facts.id;
    // One that was never healthy serves nobody yet, and one that is stopped nobody any more.
    let idle = instance.status.state == InstanceState::Starting || instance.status.stopped;
    if instance.facts.role == Role::Database && !idle && is_database_in_use(case) {
        objections.push(Objection::StopsDatabase { id: id.clone() });
    }
    let requests = under_way(case, id);
    let cut = case
        .plan
        .actions
        .iter()
        .any(|a| matches!(a, Action::Cut { id: cut } if cut == id));
    if requests > 0 && !cut {
        let id = id.clone();
        objections.push(Objection::StopsWork { id, requests });
    }
    objections.extend(last_healthy(case, instance));
}

fn is_database_in_use(case: &Case) -> bool {
    let in_use = |i: &SeenInstance| i.facts.role != Role::Database && runs(i);
    case.is_up() || case.all().any(in_use)
}

fn under_way(case: &Case, id: &InstanceId) -> u64 {
    let traffic = case.observed.gateway.as_ref().map(|g| &g.traffic);
    let traffic = traffic.and_then(|t| t.get(id));
    traffic.map_or(0, |t| t.requests + t.upgraded)
}

/// Also of services that no client reaches: a worker of the release that serves works.
fn last_healthy(case: &Case, instance: &SeenInstance) -> Option<Objection> {
    let facts = &instance.facts;
    let serves = case.is_up()
        && case.env.current == Some(facts.release)
        && case
            .declared(facts.release, &facts.component)
            .is_some_and(|s| s.instances > 0);
    if !serves || facts.role != Role::Service || !is_healthy(instance) {
        return None;
    }
    let course = Course::of(case);
    let exchanged = course.is_some_and(|course| course.is_exchanging(&facts.component));
    if exchanged || goes_first(case, instance) {
        return None;
    }
    let healthy = case.healthy_of(facts.release, &facts.component);
    let remains = healthy
        .iter()
        .any(|i| !case.is_stopped_by_plan(&i.facts.id));
    (!remains).then(|| Objection::LastHealthy {
        id: facts.id.clone(),
        service: facts.component.clone(),
    })
}

/// One instance, one action; only a cut may come before a stop.
fn conflicts(case: &Case) -> Vec<Objection> {
    let mut seen: Vec<(&InstanceId, &Action)> = Vec::new();
    let mut conflicts = Vec::new();
    for action in &case.plan.actions {
        let id = match action {
            Action::Start { id, .. }
            | Action::Stop { id, .. }
            | Action::Cut { id }
            | Action::Report { id, .. }
            | Action::Remove { id } => id,
            Action::Move { .. }
            | Action::Serve { .. }
            | Action::GiveUp { .. }
            | Action::Check { .. }
            | Action::Route { .. }
            | Action::ChangeSchema { .. }
            | Action::Exchanged { .. }
            | Action::Tried { .. }
            | Action::PurgeData
            | Action::End { .. }
            | Action::Sleep { .. }
            | Action::Wake { .. }
            | Action::WarnOfEnd
            | Action::Fill { .. }
            | Action::Snapshotted { .. }
            | Action::Delete
            | Action::Retire { .. } => continue,
        };
        let mut earlier = seen.iter().filter(|(other, _)| *other == id);
        let stops = matches!(action, Action::Stop { .. });
        if !earlier.all(|(_, before)| stops && matches!(before, Action::Cut { .. })) {
            conflicts.push(Objection::Conflict { id: id.clone() });
        }
        seen.push((id, action));
    }
    conflicts
}
