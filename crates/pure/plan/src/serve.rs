//! Decision: that a release took requests is recorded when it matters later, and before it can be undone.
//!
//! A stage that is held: its time counts from then on, for a planner that forgets too. And a release that
//! goes back: it was rolled back and did not merely fail, whoever speaks the verdict. A deployment that
//! stays at no stage and succeeds is told by its verdict, which comes in the same moment.

use ward_types::release::{Deployment, Phase};

use crate::action::Action;
use crate::draft::Draft;
use crate::scene::Scene;

/// Records what the log does not know yet.
pub(crate) fn record(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let stage = held(scene, draft, deployment);
    if stage.is_some() || goes_back(scene, draft, deployment) {
        draft.act(Action::Serve {
            deployment: deployment.id,
            stage,
        });
    }
}

/// The stage whose table is in force, if the deployment stays there.
fn held(scene: &Scene, draft: &Draft, deployment: &Deployment) -> Option<u32> {
    let stage = scene.stage()?;
    let held = scene.memory.held.filter(|held| held.stage == stage);
    let known = deployment
        .served
        .is_some_and(|served| served.stage == Some(stage));
    let stays = draft.entered(deployment).is_none();
    (held.is_some() && stays && !known).then_some(stage)
}

fn goes_back(scene: &Scene, draft: &Draft, deployment: &Deployment) -> bool {
    let back = |phase: &Phase| matches!(phase, Phase::Reverting { .. });
    let goes_back = back(&deployment.phase) || draft.entered(deployment).is_some_and(back);
    let switched = scene.memory.switched == Some(deployment.id);
    goes_back && switched && deployment.served.is_none()
}
