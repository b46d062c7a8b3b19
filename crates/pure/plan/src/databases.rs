//! Decision: each declared database has exactly one instance, of release `r0`, whichever release serves.
//!
//! It is started first and again whenever it is over, after a pause that grows. A second one is never started
//! while the first one's process could still write. One that does not become healthy is given up after a
//! while, whoever needs it: it is stopped, and started again with more time. So is one that stays stopped by a signal
//! (`drift`), at once. One that is ill otherwise is left alone: it may have more to do than it can answer, and a restart
//! helps nobody then. A database that no release in force declares any more runs on, and its data is never touched. A change of its memory limit waits for the
//! next start.

use std::collections::BTreeSet;

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::Phase;
use ward_types::spec::ServiceSpec;
use ward_types::time::Millis;

use crate::action::Action;
use crate::backoff;
use crate::draft::Draft;
use crate::drain;
use crate::drift;
use crate::failure;
use crate::limits::DATABASE_START_MOST;
use crate::observed::SeenInstance;
use crate::prepare;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// The release that database instances belong to.
pub(crate) const RELEASE: ReleaseId = ReleaseId(0);

/// What says how long a database may start.
pub(crate) const START: &str = "stack.deadlines.database_start";

/// Starts what is missing, clears away what no longer counts.
pub(crate) fn keep(scene: &Scene, draft: &mut Draft) {
    let needed = needed(scene);
    for database in &needed {
        keep_one(scene, draft, database);
    }
    for instance in scene.seen().filter(|i| i.facts.role == Role::Database) {
        if is_overdue(scene, instance) || drift::is_stuck(scene, instance) {
            drain::finish(scene, draft, instance);
        }
        if instance.status.state == InstanceState::Stopping {
            draft.wait(drain::stopping(scene, instance));
        }
        if instance.is_over() && !needed.contains(&instance.facts.component) {
            remove(draft, instance);
        }
    }
}

/// The databases of the release that serves and of the one that is to serve.
fn needed(scene: &Scene) -> BTreeSet<Name> {
    let deployed = scene
        .active()
        .filter(|d| matches!(d.phase, Phase::Preparing | Phase::Rolling { .. }))
        .map(|d| d.to);
    let releases = scene.current().into_iter().chain(deployed);
    let specs = releases.filter_map(|release| scene.spec(release));
    specs.flat_map(|s| s.databases.keys().cloned()).collect()
}

/// Whether a database has been starting for longer than it may.
pub(crate) fn is_overdue(scene: &Scene, instance: &SeenInstance) -> bool {
    let starts =
        instance.facts.role == Role::Database && instance.status.state == InstanceState::Starting;
    starts && scene.is_past(&start_bound(scene, instance))
}

fn start_bound(scene: &Scene, instance: &SeenInstance) -> Bound {
    let group = scene.group(Role::Database, RELEASE, &instance.facts.component);
    let doublings = u32::try_from(backoff::given_up(scene, &group)).unwrap_or(u32::MAX);
    let factor = 2u64.checked_pow(doublings).unwrap_or(u64::MAX);
    let first = scene.in_charge().database_start;
    let limit = first.0.saturating_mul(factor).min(DATABASE_START_MOST.0);
    Bound::setting(instance.since, Millis(limit.max(first.0)), START)
}

fn keep_one(scene: &Scene, draft: &mut Draft, database: &Name) {
    let group = scene.group(Role::Database, RELEASE, database);
    clear(scene, draft, &group);
    match group.iter().find(|i| !i.is_over()) {
        Some(instance) if instance.is_healthy() => {}
        Some(instance) => draft.wait(not_healthy(scene, database, Some(instance))),
        None => match backoff::hold(scene, database, &counted(scene, group), 1) {
            Some(waiting) => draft.wait(waiting),
            None => {
                draft.start(database, RELEASE, Role::Database);
                draft.wait(not_healthy(scene, database, None));
            }
        },
    }
}

/// Failures from before a deployment say nothing about it: while one is about to begin, none count.
fn counted<'a>(scene: &Scene, group: Vec<&'a SeenInstance>) -> Vec<&'a SeenInstance> {
    if is_fresh_start(scene) {
        return Vec::new();
    }
    group
}

fn is_fresh_start(scene: &Scene) -> bool {
    scene.active().is_none() && scene.env.next_queued().is_some()
}

fn clear(scene: &Scene, draft: &mut Draft, group: &[&SeenInstance]) {
    let history = match is_fresh_start(scene) {
        true => Vec::new(),
        false => backoff::history(scene, group, 1),
    };
    let over = group.iter().filter(|i| i.is_over());
    for instance in over.filter(|i| !history.contains(&i.facts.id)) {
        remove(draft, instance);
    }
}

fn remove(draft: &mut Draft, instance: &SeenInstance) {
    let id = instance.facts.id.clone();
    draft.act(Action::Remove { id });
}

fn not_healthy(scene: &Scene, database: &Name, instance: Option<&SeenInstance>) -> Waiting {
    let preparing = scene
        .active()
        .filter(|d| matches!(d.phase, Phase::Preparing));
    Waiting::Database {
        database: database.clone(),
        instance: instance.map(|i| i.facts.id.clone()),
        ailment: instance.and_then(failure::ailment),
        bound: match (preparing, instance) {
            (Some(deployment), _) => Some(prepare::databases_bound(scene, deployment)),
            (None, Some(instance)) if instance.status.state == InstanceState::Starting => {
                Some(start_bound(scene, instance))
            }
            (None, instance) => instance.and_then(drift::stopped_bound),
        },
    }
}

pub(crate) fn is_healthy(scene: &Scene, database: &Name) -> bool {
    let group = scene.group(Role::Database, RELEASE, database);
    group.iter().any(|i| i.is_healthy())
}

/// The databases of a release that are not healthy.
pub(crate) fn missing(scene: &Scene, release: ReleaseId) -> Vec<Name> {
    let databases = scene.spec(release).map(|s| s.databases.keys());
    let databases = databases.into_iter().flatten();
    databases
        .filter(|d| !is_healthy(scene, d))
        .cloned()
        .collect()
}

/// Whether the databases that a service links to are healthy: it is not started before.
pub(crate) fn are_ready_for(scene: &Scene, release: ReleaseId, service: &ServiceSpec) -> bool {
    let missing = missing(scene, release);
    !service.links.iter().any(|link| missing.contains(link))
}
