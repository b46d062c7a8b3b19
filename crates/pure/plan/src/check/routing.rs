//! Routing: only to what is well, one release at a time, and never a serving pool emptied.

use std::collections::BTreeSet;

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::Phase;

use super::Objection;
use super::facts::{Case, is_healthy};
use crate::action::{Action, PlannedPool};
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
        for id in &pool.endpoints {
            objections.extend(endpoint(case, pool, id));
        }
    }
    releases(case, pools, objections);
    objections.extend(emptied(case, pools));
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
    if routed.len() > 1 {
        objections.push(Objection::MixesReleases);
    }
    if routed.iter().any(|r| !may_serve(case, *r)) {
        objections.push(Objection::RoutesEarly);
    }
}

fn routed_releases(case: &Case, pools: &[PlannedPool]) -> BTreeSet<ReleaseId> {
    let ids = pools.iter().flat_map(|p| &p.endpoints);
    let seen = ids.filter_map(|id| case.seen(id));
    seen.map(|i| i.facts.release).collect()
}

/// The release that serves; one that is in rotation already; or the one that rolls out, if all of it is
/// well.
fn may_serve(case: &Case, release: ReleaseId) -> bool {
    let rolls = case
        .active()
        .is_some_and(|d| d.to == release && matches!(d.phase, Phase::Rolling { .. }));
    let pools = case.observed.gateway.iter().flat_map(|g| &g.pools);
    let mut endpoints = pools.flat_map(|p| &p.endpoints);
    case.env.current == Some(release)
        || endpoints.any(|e| e.release == release)
        || (rolls && case.has_started_in_full(release))
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
        let served = endpoints.any(is_healthy);
        served && !stays && is_declared(case, pools, &pool.service)
    });
    let services = emptied.map(|pool| pool.service.clone());
    services
        .map(|service| Objection::EmptiesPool { service })
        .collect()
}

/// Whether the release that is routed to wants such a service. With no endpoint to tell which one that
/// is, it may be the one that serves or the one that rolls out and has started in full.
fn is_declared(case: &Case, pools: &[PlannedPool], service: &Name) -> bool {
    let wants = |release: ReleaseId| {
        let declared = case.declared(release, service);
        declared.is_some_and(|s| s.port.is_some() && s.instances > 0)
    };
    if let Some(routed) = routed_releases(case, pools).into_iter().next() {
        return wants(routed);
    }
    let rolls = case
        .active()
        .filter(|d| matches!(d.phase, Phase::Rolling { .. }));
    let started = rolls
        .map(|d| d.to)
        .filter(|to| case.has_started_in_full(*to));
    started.into_iter().chain(case.env.current).all(wants)
}
