//! Starting: only what is asked for now, under a number of its own, and never too many.

use std::collections::{BTreeMap, BTreeSet};

use ward_types::id::{InstanceId, Name, ReleaseId, RunId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{DataState, Phase, Reason};

use super::Objection;
use super::course::Course;
use super::drills;
use super::facts::{Case, is_copy_of, runs};
use super::filling;
use super::snapshots;
use crate::action::Action;
use crate::observed::SeenInstance;

/// The release of database instances.
const DATABASES: ReleaseId = ReleaseId(0);

struct Start<'a> {
    id: &'a InstanceId,
    component: &'a Name,
    release: ReleaseId,
    role: Role,
}

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let starts = starts(case);
    for start in &starts {
        objections.extend(number(case, start));
        if !is_asked_for(case, start) {
            let id = start.id.clone();
            objections.push(Objection::StartsOutOfTurn { id });
        }
    }
    objections.extend(databases(case, &starts));
    objections.extend(too_many(case, &starts));
    objections.extend(above_surge(case, &starts));
    objections.extend(beside_others(case, &starts));
}

fn starts<'a>(case: &Case<'a>) -> Vec<Start<'a>> {
    let actions = case.plan.actions.iter();
    let starts = actions.filter_map(|action| match action {
        Action::Start {
            id,
            component,
            release,
            role,
        } => Some(Start {
            id,
            component,
            release: *release,
            role: *role,
        }),
        _ => None,
    });
    starts.collect()
}

fn number(case: &Case, start: &Start) -> Option<Objection> {
    let id = start.id.clone();
    let ordinal = id.ordinal();
    let given_out = case.plan.first_ordinal..case.plan.next_ordinal;
    if !given_out.contains(&ordinal) || case.seen(&id).is_some() {
        return Some(Objection::OrdinalTaken { id });
    }
    let named = InstanceId::new(start.component, start.release, ordinal);
    (named != id).then_some(Objection::Misnamed { id })
}

fn is_asked_for(case: &Case, start: &Start) -> bool {
    let phase = case.active().map(|d| (&d.phase, d.to, d.reason));
    let declared = case.declared(start.release, start.component);
    let serves = case.env.current == Some(start.release);
    let asked = match (start.role, phase) {
        (Role::Database, _) => is_declared_database(case, start),
        (Role::ReleaseCommand, Some((Phase::Preparing, to, reason))) => {
            let prepared = case.env.data == DataState::Kept && case.env.prepared >= Some(to);
            let wanted = reason == Reason::Deploy || !prepared;
            wanted && to == start.release && declared.is_some_and(|s| s.release.is_some())
        }
        (Role::ReleaseCommand, _) => false,
        (Role::Seed | Role::Copy | Role::VolumeCopy, Some((Phase::Preparing, to, _))) => {
            to == start.release && filling::may_start(case, to, start.role, start.component)
        }
        (Role::Seed | Role::Copy | Role::VolumeCopy, _) => false,
        (Role::Snapshot, Some((Phase::Preparing, to, _))) => {
            let active = case.active().filter(|_| to == start.release);
            active.is_some_and(|d| snapshots::may_start(case, d, start.component))
        }
        (Role::Snapshot, _) => false,
        (Role::Drill(backup), _) => {
            start.release == DATABASES && drills::may_start(case, backup, start.component)
        }
        (Role::Run(run), _) => declared.is_some() && is_due(case, start, run),
        (Role::Service, Some((Phase::Rolling { .. }, to, _))) => {
            declared.is_some() && (serves || to == start.release)
        }
        (Role::Service, _) => declared.is_some() && serves,
    };
    asked && case.is_up()
}

/// Whether a run that has not ended has no attempt under way, and no other start in this plan.
fn is_due(case: &Case, start: &Start, id: RunId) -> bool {
    let Some(run) = case.env.runs.open.get(&id) else {
        return false;
    };
    let its_own = (run.release, &run.service) == (start.release, start.component);
    let mut attempts = case.all().filter(|i| i.facts.role == Role::Run(id));
    let under_way = attempts.any(|i| !run.has_tried(&i.facts.id));
    let mut starts = starts(case).into_iter();
    let twice = starts.any(|other| other.role == start.role && other.id != start.id);
    its_own && run.stopped.is_none() && !under_way && !twice
}

fn is_declared_database(case: &Case, start: &Start) -> bool {
    let to = case.active().map(|d| d.to);
    let releases = case.env.current.into_iter().chain(to);
    let mut specs = releases.filter_map(|r| case.spec(r));
    let declared = specs.any(|s| s.databases.contains_key(start.component));
    declared && start.release == DATABASES
}

fn databases(case: &Case, starts: &[Start]) -> Vec<Objection> {
    let has_data = |i: &SeenInstance, name: &Name| {
        i.facts.role == Role::Database && i.facts.component == *name && runs(i)
    };
    let mut begun: Vec<&Name> = Vec::new();
    let mut objections = Vec::new();
    for start in starts.iter().filter(|s| s.role == Role::Database) {
        let taken = case.all().any(|i| has_data(i, start.component));
        if taken || begun.contains(&start.component) {
            objections.push(Objection::SecondDatabase {
                id: start.id.clone(),
                database: start.component.clone(),
            });
        }
        begun.push(start.component);
    }
    objections
}

/// No more of a release than it declares. What was asked to stop makes room already, and so does what is
/// ill, for its replacement; but with the ill there are never more than twice as many as declared.
fn too_many(case: &Case, starts: &[Start]) -> Vec<Objection> {
    let mut per_service: BTreeMap<&Name, BTreeMap<ReleaseId, usize>> = BTreeMap::new();
    for start in starts.iter().filter(|s| s.role == Role::Service) {
        let of_service = per_service.entry(start.component).or_default();
        *of_service.entry(start.release).or_default() += 1;
    }
    let crowded = per_service.into_iter().filter(|(name, started)| {
        let over_own = |(release, started): (&ReleaseId, &usize)| {
            let (well, ill) = running(case, *release, name);
            let wanted = wanted(case, *release, name);
            well + started > wanted || well + ill + started > 2 * wanted
        };
        started.iter().any(over_own)
    });
    let names = crowded.map(|(name, _)| name.clone());
    names
        .map(|component| Objection::TooMany { component })
        .collect()
}

/// Of a rolling service, of both releases, what drains and stops included.
fn above_surge(case: &Case, starts: &[Start]) -> Vec<Objection> {
    let Some(course) = Course::of(case) else {
        return Vec::new();
    };
    let names: BTreeSet<&Name> = starts
        .iter()
        .filter(|s| s.role == Role::Service)
        .map(|s| s.component)
        .collect();
    let crowded = names.into_iter().filter(|name| {
        let both = [course.old, course.new_release()];
        let copy = |i: &&SeenInstance| both.iter().any(|r| is_copy_of(i, *r, name)) && runs(i);
        let ours = |s: &&Start| s.role == Role::Service && s.component == *name;
        let started = starts.iter().filter(ours).count();
        let running = case.all().filter(copy).count();
        course
            .most(name)
            .is_some_and(|most| running + started > most)
    });
    let names = crowded.cloned();
    names
        .map(|component| Objection::TooMany { component })
        .collect()
}

/// Where releases do not overlap, nothing starts before what another one runs is over; and no more run than
/// declared, what is ill or stops included.
fn beside_others(case: &Case, starts: &[Start]) -> Vec<Objection> {
    let apart = |release: ReleaseId, name: &Name| {
        let declared = case.declared(release, name);
        declared.is_some_and(|service| !service.overlap)
    };
    let mut objections = Vec::new();
    for start in starts.iter().filter(|s| s.role == Role::Service) {
        let (name, release) = (start.component, start.release);
        let all = case.all().filter(|i| runs(i) && is_service(i, name));
        let (same, others): (Vec<_>, Vec<_>) = all.partition(|i| i.facts.release == release);
        let mut others = others.into_iter();
        let other = others.find(|i| apart(i.facts.release, name) || apart(release, name));
        let begun = starts
            .iter()
            .filter(|s| s.role == Role::Service && s.component == name);
        let mixed = begun.clone().any(|s| s.release != release);
        let running = same.len() + begun.count();
        let crowded = apart(release, name) && (mixed || running > wanted(case, release, name));
        match other {
            Some(other) => objections.push(Objection::Overlaps {
                id: start.id.clone(),
                other: other.facts.id.clone(),
            }),
            None if crowded => objections.push(Objection::TooMany {
                component: name.clone(),
            }),
            None => {}
        }
    }
    objections
}

fn is_service(instance: &SeenInstance, name: &Name) -> bool {
    instance.facts.role == Role::Service && instance.facts.component == *name
}

fn wanted(case: &Case, release: ReleaseId, name: &Name) -> usize {
    let declared = case.declared(release, name);
    declared.map_or(0, |s| s.instances as usize)
}

/// Of what stays, how many are well and run from their image's files, and how many are or do not.
fn running(case: &Case, release: ReleaseId, name: &Name) -> (usize, usize) {
    let copies = case.all().filter(|i| is_copy_of(i, release, name));
    let staying = copies.filter(|i| {
        let stops = i.status.state == InstanceState::Stopping;
        runs(i) && !stops && !case.is_stopped_by_plan(&i.facts.id)
    });
    let (ill, well): (Vec<_>, Vec<_>) =
        staying.partition(|i| i.status.state == InstanceState::Unhealthy || i.altered.is_some());
    (well.len(), ill.len())
}
