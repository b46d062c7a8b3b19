//! Decision: an instance that other hands changed something of is given up, and that is recorded once, before another
//! one takes its place.
//!
//! Two things are seen of one that runs: that a signal stopped it, and that the files that it runs from are not what
//! its image holds. One that is stopped is given up when it stayed so for [`STOPPED`]: a service's instance is replaced
//! as one that stays ill (`pools`), a database is stopped and started again on its data, an attempt of a run has failed.
//! One whose files were changed answers as it did, or not; what it answers nobody has tried. So it is replaced although it
//! is healthy, at rest, in the same order: another is started first, and it goes when that one is in rotation; where
//! instances do not overlap they go one after the other. Databases, and what is meant to end, run on in such files to
//! their end.

use ward_types::keeper::{InstanceState, Role};

use crate::action::Action;
use crate::draft::Draft;
use crate::limits::STOPPED;
use crate::observed::SeenInstance;
use crate::pools;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Records what was not recorded yet, and says what is under way.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    for instance in scene.seen().filter(|i| i.is_live()) {
        let Some(because) = given_up(scene, instance) else {
            continue;
        };
        let id = instance.facts.id.clone();
        if !scene.env.given_up.contains(&id.ordinal()) {
            draft.act(Action::GiveUp { id, because });
        }
    }
}

/// Why an instance is given up now, as a predicate.
fn given_up(scene: &Scene, instance: &SeenInstance) -> Option<String> {
    let facts = &instance.facts;
    let leaves = match facts.role {
        Role::Service => pools::leaves(scene, instance),
        Role::Database | Role::Run(_) => is_stuck(scene, instance),
        // These have deadlines of their own.
        Role::ReleaseCommand
        | Role::Seed
        | Role::Copy
        | Role::VolumeCopy
        | Role::Snapshot
        | Role::Drill(_) => false,
    };
    match &instance.altered {
        _ if !leaves => None,
        Some(what) if facts.role == Role::Service => Some(format!(
            "runs from files that are not its image's any more ({what})"
        )),
        _ => instance.status.stopped.then(stopped),
    }
}

/// What is said of an instance that stayed stopped.
pub(crate) fn stopped() -> String {
    format!("was stopped by a signal for {} s", STOPPED.0 / 1000)
}

/// Whether an instance has been stopped for so long that it is given up.
pub(crate) fn is_stuck(scene: &Scene, instance: &SeenInstance) -> bool {
    stopped_bound(instance).is_some_and(|bound| instance.is_live() && scene.is_past(&bound))
}

/// Until when an instance that is stopped is waited for. One that was never healthy has the time of its start.
pub(crate) fn stopped_bound(instance: &SeenInstance) -> Option<Bound> {
    let starts = instance.status.state == InstanceState::Starting;
    let stopped = instance.status.stopped && instance.is_live() && !starts;
    stopped.then(|| Bound::fixed(instance.since, STOPPED))
}

/// What is waited for while an instance that answers is replaced.
pub(crate) fn replacing(instance: &SeenInstance, bound: Option<Bound>) -> Waiting {
    Waiting::Replacement {
        instance: instance.facts.id.clone(),
        what: instance.altered.clone().unwrap_or_default(),
        bound,
    }
}
