//! Decision: a cancelled deployment ends as one that failed does, by the same strict order, and at once.
//!
//! One that waits its turn never begins. One whose release serves already has succeeded: taking that back
//! is a rollback, which leaves its own mark in the log.

use ward_types::release::{Deployment, Failure, Phase};

use crate::draft::Draft;
use crate::failure;
use crate::queue;
use crate::scene::Scene;

/// Why a deployment goes no further, if somebody cancelled it.
pub(crate) fn asked(deployment: &Deployment) -> Option<Failure> {
    let by = deployment.cancelled.as_deref()?;
    Some(failure::cancelled(deployment, by))
}

/// Ends those that were cancelled before it was their turn; whether there were any.
pub(crate) fn end_queued(scene: &Scene, draft: &mut Draft) -> bool {
    let all = scene.env.deployments.values();
    let queued = all.filter(|d| matches!(d.phase, Phase::Queued));
    let mut any = false;
    for deployment in queued {
        if let Some(failure) = asked(deployment) {
            queue::end(scene, draft, deployment, failure);
            any = true;
        }
    }
    any
}
