//! Where the releases of a service do not overlap, what is in rotation gives way to what takes its place.
//!
//! Planner and checker both ask this, because it is no decision of theirs but what the releases declare. Which
//! release takes the place each of them works out anew.

use ward_types::id::{Name, ReleaseId};
use ward_types::release::Environment;
use ward_types::spec::ServiceSpec;
use ward_types::table::Pool;

fn declared<'a>(
    env: &'a Environment,
    release: ReleaseId,
    service: &Name,
) -> Option<&'a ServiceSpec> {
    env.releases.get(&release)?.spec.services.get(service)
}

/// What a release that is not retained any more declared nobody knows: it counts as the other one says.
fn overlaps(env: &Environment, release: ReleaseId, service: &Name) -> bool {
    declared(env, release, service).is_none_or(|service| service.overlap)
}

/// Whether instances of two releases of a service must not run at the same time.
pub(crate) fn excludes(env: &Environment, service: &Name, releases: [ReleaseId; 2]) -> bool {
    let [one, other] = releases;
    one != other && !releases.iter().all(|r| overlaps(env, *r, service))
}

/// Whether what these pools, which are in force, send a service's requests to must leave before an instance of
/// the release that takes its place can start.
pub(crate) fn gives_way(
    env: &Environment,
    in_force: &[Pool],
    service: &Name,
    next: ReleaseId,
) -> bool {
    let pools = in_force.iter().filter(|pool| pool.service == *service);
    let mut others = pools.flat_map(|pool| &pool.endpoints).map(|e| e.release);
    declared(env, next, service).is_some()
        && others.any(|other| excludes(env, service, [next, other]))
}
