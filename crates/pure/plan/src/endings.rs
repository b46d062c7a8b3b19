//! Decision: what ends without being asked to is recorded, once, whatever becomes of it.
//!
//! It is observed and not decided, and all the same an event: Ward acts on it, and who looks for the
//! reason of a replacement, or of requests that were lost, finds it nowhere else once it is removed. A
//! release command and a run are meant to end, and what became of them is told with the deployment and in an event of
//! its own.

use crate::action::Action;
use crate::draft::Draft;
use crate::failure;
use crate::scene::Scene;

/// Reports what was not reported yet.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    let failed = scene
        .seen()
        .filter(|i| i.has_failed() && !i.facts.role.is_meant_to_end());
    let unreported = failed.filter(|i| !scene.env.ended.contains(&i.facts.id.ordinal()));
    for instance in unreported {
        draft.act(Action::Report {
            id: instance.facts.id.clone(),
            how: failure::end(&instance.status.state),
        });
    }
}
