//! Routing: only to what is well, two releases only as a strategy says, and never a serving pool emptied.

use std::collections::BTreeSet;

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::Phase;
use ward_types::sharing::Export;

use super::Objection;
use super::course::Course;
use super::facts::{Case, goes_first, is_healthy};
use crate::action::{Action, PlannedPool};
use crate::apart;
use crate::observed::SeenInstance;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let Some(pools) = case.routes() else {
        return;
    };
    let actions = case.plan.actions.iter();
    if actions
        .filter(|a| matches!(a, Action::Route { .. }))
        .count()
        > 1
    {
        objections.push(Objection::RoutesTwice);
    }
    if case.observed.gateway.is_none() {
        objections.push(Objection::RoutesBlindly);
    }
    for pool in pools {
        if pool.maintenance.as_ref() != case.env.maintained.of(&pool.service) {
            let service = pool.service.clone();
            objections.push(Objection::WrongMaintenance { service });
        }
        objections.extend(lets_in(case, pools, pool));
        for id in &pool.endpoints {
            objections.extend(endpoint(case, pool, id));
        }
    }
    releases(case, pools, objections);
    splits(case, pools, objections);
    objections.extend(below_floor(case, pools));
    objections.extend(emptied(case, pools));
}

/// Whom no release lets in that is in the table, serves or rolls out. So nobody is let in any more once all of these
/// have taken that back.
fn lets_in(case: &Case, pools: &[PlannedPool], pool: &PlannedPool) -> Option<Objection> {
    let routed = routed_releases(case, pools);
    let rolling = case.active().map(|deployment| deployment.to);
    let releases: Vec<_> = routed
        .into_iter()
        .chain(case.env.current)
        .chain(rolling)
        .collect();
    let declared = |export: &Export| {
        let mut services = releases
            .iter()
            .filter_map(|release| case.declared(*release, &pool.service));
        services.any(|service| service.exports.contains(export))
    };
    let export = pool.exports.iter().find(|export| !declared(export))?;
    Some(Objection::LetsIn {
        service: pool.service.clone(),
        export: export.clone(),
    })
}

fn endpoint(case: &Case, pool: &PlannedPool, id: &InstanceId) -> Option<Objection> {
    let service = pool.service.clone();
    let Some(instance) = case.seen(id) else {
        let id = id.clone();
        return Some(Objection::NoSuchInstance {
            verb: "route to",
            id,
        });
    };
    let facts = &instance.facts;
    let fits = facts.role == Role::Service && facts.component == service && facts.port.is_some();
    if !fits {
        let id = id.clone();
        return Some(Objection::WrongInstance { service, id });
    }
    let well = is_healthy(instance) || is_last_resort(case, instance);
    (!well).then(|| Objection::NotHealthy {
        service,
        id: id.clone(),
    })
}

/// Ill, in rotation already, and none of its kind is well.
fn is_last_resort(case: &Case, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let ill = matches!(
        instance.status.state,
        InstanceState::Unhealthy | InstanceState::Starting
    );
    let in_force = case.in_force_for(&facts.component).contains(&&facts.id);
    let alone = case.healthy_of(facts.release, &facts.component).is_empty();
    ill && in_force && alone
}

fn releases(case: &Case, pools: &[PlannedPool], objections: &mut Vec<Objection>) {
    let routed = routed_releases(case, pools);
    if routed.is_empty() {
        return;
    }
    if !case.is_up() {
        objections.push(Objection::RoutesDown);
    }
    if routed.len() > 1 && !may_mix(case, pools) && !is_left_mixed(case, pools) {
        objections.push(Objection::MixesReleases);
    }
    if routed.iter().any(|r| !may_serve(case, *r)) {
        objections.push(Objection::RoutesEarly);
    }
}

/// Two releases beside each other, as stages are; in one pool only where its strategy shares requests.
fn may_mix(case: &Case, pools: &[PlannedPool]) -> bool {
    let Some(course) = Course::of(case).filter(Course::is_gradual) else {
        return false;
    };
    let both = [course.old, course.new_release()];
    // What neither is was left in rotation by an earlier one, because nothing else could serve.
    let known = pools.iter().flat_map(|p| &p.endpoints).all(|id| {
        let release = case.seen(id).map(|i| i.facts.release);
        case.is_in_force(id) || release.is_none_or(|r| both.contains(&r))
    });
    let mut mixed = pools.iter().filter(|p| is_mixed(case, p));
    known && mixed.all(|p| course.is_rolling(&p.service) || p.split.is_some())
}

/// What a deployment by stages left in rotation when its time was out: no pool of both, nothing added.
fn is_left_mixed(case: &Case, pools: &[PlannedPool]) -> bool {
    let other = |id: &&InstanceId| {
        let seen = case.seen(id);
        seen.is_some_and(|i| Some(i.facts.release) != case.env.current)
    };
    let mut others = pools.iter().flat_map(|p| &p.endpoints).filter(other);
    others.all(|id| case.is_in_force(id)) && !pools.iter().any(|p| is_mixed(case, p))
}

fn is_mixed(case: &Case, pool: &PlannedPool) -> bool {
    routed_releases(case, std::slice::from_ref(pool)).len() > 1
}

/// A split only as a canary names it, and probes only of a release on trial.
fn splits(case: &Case, pools: &[PlannedPool], objections: &mut Vec<Objection>) {
    let course = Course::of(case);
    for pool in pools {
        let named = pool.split.as_ref().is_none_or(|split| {
            let course = course.as_ref().filter(|c| !c.goes_back(case));
            course.is_some_and(|c| c.names(&pool.service, split))
        });
        if !named {
            let service = pool.service.clone();
            objections.push(Objection::WrongSplit { service });
        }
        let asked = pool.probe.is_none() || {
            let course = course.as_ref().filter(|c| !c.goes_back(case));
            course.is_some_and(|c| c.probes(pool))
        };
        if !asked {
            let service = pool.service.clone();
            objections.push(Objection::UnaskedProbe { service });
        }
    }
}

/// A rolling service keeps its floor, or what it has of it; unless that is of a third release and must leave first.
fn below_floor(case: &Case, pools: &[PlannedPool]) -> Vec<Objection> {
    let Some(course) = Course::of(case) else {
        return Vec::new();
    };
    let well = |ids: Vec<&InstanceId>| {
        let seen = ids.into_iter().filter_map(|id| case.seen(id));
        seen.filter(|i| is_healthy(i)).count()
    };
    let below = pools.iter().filter_map(|pool| {
        let floor = course.floor(&pool.service);
        let floor = floor.filter(|_| !gives_way(case, &pool.service))?;
        let has = well(case.in_force_for(&pool.service));
        let keeps = well(pool.endpoints.iter().collect());
        (keeps < floor.min(has)).then(|| Objection::BelowFloor {
            service: pool.service.clone(),
            floor,
        })
    });
    below.collect()
}

fn routed_releases(case: &Case, pools: &[PlannedPool]) -> BTreeSet<ReleaseId> {
    let ids = pools.iter().flat_map(|p| &p.endpoints);
    let seen = ids.filter_map(|id| case.seen(id));
    seen.map(|i| i.facts.release).collect()
}

/// The release that serves; one that is in rotation already; or the one that rolls out, if all of it is
/// well that its stage needs. It is at a later stage only because it was in rotation before.
fn may_serve(case: &Case, release: ReleaseId) -> bool {
    let started = || match Course::of(case) {
        Some(course) => has_started(case, &course),
        None => case.has_started_in_full(release),
    };
    let rolls = case
        .active()
        .is_some_and(|d| d.to == release && matches!(d.phase, Phase::Rolling { .. }));
    case.env.current == Some(release) || takes_requests(case, release) || (rolls && started())
}

fn has_started(case: &Case, course: &Course) -> bool {
    course.stage().is_some_and(|stage| {
        let mut services = course.services();
        let well = |name: &Name| case.healthy_of(course.new_release(), name).len();
        stage > 0 || services.all(|name| well(name) >= course.started(name, stage))
    })
}

/// A pool may lose its healthy instances only to others, or with the service itself.
fn emptied(case: &Case, pools: &[PlannedPool]) -> Vec<Objection> {
    if !case.is_up() {
        return Vec::new();
    }
    let in_force = case.observed.gateway.iter().flat_map(|g| &g.pools);
    let emptied = in_force.filter(|pool| {
        let mut endpoints = pool.endpoints.iter().filter_map(|e| case.seen(&e.instance));
        let planned = pools.iter().find(|p| p.service == pool.service);
        let stays = planned.is_some_and(|p| !p.endpoints.is_empty());
        let served = endpoints.any(|i| is_healthy(i) && !goes_first(case, i));
        served
            && !stays
            && !gives_way(case, &pool.service)
            && is_declared(case, pools, &pool.service)
    });
    let services = emptied.map(|pool| pool.service.clone());
    services
        .map(|service| Objection::EmptiesPool { service })
        .collect()
}

/// What is in a pool must leave before what takes its place may start.
fn gives_way(case: &Case, service: &Name) -> bool {
    let gateway = case.observed.gateway.as_ref();
    let pools = gateway.map_or(&[][..], |gateway| &gateway.pools);
    let mut next = successors(case).into_iter();
    next.any(|next| apart::gives_way(case.env, pools, service, next))
}

/// The release whose instances take the place of what is in rotation: at an exchange the new one. Else the one
/// that serves, and the new one while it takes requests after its only switch.
fn successors(case: &Case) -> Vec<ReleaseId> {
    let current = case.env.current_release().map(|release| release.id);
    let rolls = case
        .active()
        .filter(|d| matches!(d.phase, Phase::Rolling { .. }));
    let rolling = rolls.map(|d| d.to);
    let first = || current.or(rolling).into_iter();
    if case.plan_goes_back() {
        return first().collect();
    }
    match Course::of(case) {
        Some(course) if course.is_at_the_exchange() => vec![course.new_release()],
        Some(course) if course.is_gradual() => first().collect(),
        _ => first()
            .chain(rolling.filter(|to| takes_requests(case, *to)))
            .collect(),
    }
}

fn takes_requests(case: &Case, release: ReleaseId) -> bool {
    let pools = case.observed.gateway.iter().flat_map(|g| &g.pools);
    let mut endpoints = pools.flat_map(|p| &p.endpoints);
    endpoints.any(|e| e.release == release)
}

/// Whether the release that is routed to wants such a service. With no endpoint to tell which one that
/// is, it may be the one that serves or the one that rolls out and has started in full.
fn is_declared(case: &Case, pools: &[PlannedPool], service: &Name) -> bool {
    let wants = |release: ReleaseId| {
        let declared = case.declared(release, service);
        declared.is_some_and(|s| s.port.is_some() && s.instances > 0)
    };
    let routed = routed_releases(case, pools);
    if let Some(course) = Course::of(case).filter(|_| routed.len() > 1) {
        return match course.goes_back(case) {
            true => wants(course.old),
            false => wants(course.old) || wants(course.new_release()),
        };
    }
    // A rollback has moved everything else while a service that is exchanged is still the old one's.
    let switched = Course::of(case).filter(|course| !course.follows_strategies());
    let switched = switched.filter(|course| !course.goes_back(case) && has_started(case, course));
    if let Some(course) = switched {
        return wants(course.new_release());
    }
    if let Some(routed) = routed.into_iter().next() {
        return wants(routed);
    }
    let rolls = case
        .active()
        .filter(|d| matches!(d.phase, Phase::Rolling { .. }));
    let started = rolls.map(|d| d.to).filter(|to| match Course::of(case) {
        Some(course) => has_started(case, &course),
        None => case.has_started_in_full(*to),
    });
    started.into_iter().chain(case.env.current).all(wants)
}
