//! Decision: before anything of a new release runs there is a snapshot of each volume that asks for one.
//!
//! Each is made by an instance that runs to its end, one after the other, and is recorded when it ended well. A
//! deployment makes none twice; one that fails leaves those that it made. Where one cannot be made the deployment fails
//! before it has changed anything.

use ward_types::id::{Name, SnapshotId};
use ward_types::keeper::Role;
use ward_types::release::Deployment;
use ward_types::time::Millis;

use crate::action::Action;
use crate::draft::Draft;
use crate::limits::{CLEARING, SNAPSHOT};
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Whether every snapshot that is to be made was.
pub(crate) fn are_made(scene: &Scene, draft: &mut Draft, deployment: &Deployment) -> bool {
    let mut wanted = scene.env.to_be_snapshotted(deployment);
    let next = wanted.find(|volume| !scene.env.is_snapshotted(deployment.id, volume));
    next.is_none_or(|volume| {
        make(scene, draft, deployment, volume);
        false
    })
}

fn make(scene: &Scene, draft: &mut Draft, deployment: &Deployment, volume: &Name) {
    let group = scene.group(Role::Snapshot, deployment.to, volume);
    let Some(instance) = group.last() else {
        return draft.start(volume, deployment.to, Role::Snapshot);
    };
    if !instance.is_over() {
        return draft.wait(Waiting::Snapshot {
            volume: volume.clone(),
            instance: instance.facts.id.clone(),
            bound: bound(instance),
        });
    }
    let spec = scene.spec(deployment.to);
    let declared = spec.and_then(|spec| spec.volumes.get(volume));
    draft.act(Action::Snapshotted {
        deployment: deployment.id,
        volume: volume.clone(),
        snapshot: SnapshotId(instance.facts.id.ordinal()),
        keep: declared.map_or(1, |volume| volume.keep_snapshots),
    });
}

/// How long one may take.
pub(crate) fn bound(instance: &SeenInstance) -> Bound {
    Bound::fixed(instance.facts.started, SNAPSHOT)
}

/// How long all of them may take, with the time to clear away.
pub(crate) fn whole(scene: &Scene, deployment: &Deployment) -> Millis {
    let wanted = scene.env.to_be_snapshotted(deployment).count() as u64;
    Millis(wanted * (SNAPSHOT.0 + CLEARING.0))
}
