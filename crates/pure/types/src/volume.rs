//! Volumes: folders of an environment that outlive its releases, and the snapshots that are kept of them.
//!
//! Decision: a volume belongs to its environment, as a database's data does, and no release takes it away: one that
//! no release names any more stays on the disk until somebody deletes it or the environment is purged. A snapshot is
//! in the log when it is whole; what lies on the disk and is not in the log was never finished, and is removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::MisfitEvent;
use crate::id::{DeploymentId, Name, ReleaseId, SnapshotId};
use crate::release::{Deployment, Environment, Goal, Phase, Reason};
use crate::time::Timestamp;
use crate::unit::ByteSize;

/// One volume, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// How much it is to hold.
    pub size: ByteSize,
    /// When snapshots of it are made.
    #[serde(default)]
    pub snapshot: Snapshots,
    /// How many of its newest snapshots are kept, 1 to 100.
    #[serde(default = "VolumeSpec::keep_snapshots")]
    pub keep_snapshots: u32,
}

impl VolumeSpec {
    fn keep_snapshots() -> u32 {
        3
    }
}

/// When snapshots of a volume are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshots {
    /// Never.
    #[default]
    Never,
    /// Before the release commands of each new release.
    BeforeRelease,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of which volume.
    pub volume: Name,
    /// When it was whole.
    pub at: Timestamp,
    /// What it was made for.
    pub occasion: Occasion,
    /// The release that served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
}

/// What a snapshot was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A deployment.
    Deployment(DeploymentId),
    /// What the volume held when another snapshot was put in its place.
    Restore(SnapshotId),
}

/// The snapshots of an environment's volumes, by number.
pub type Kept = BTreeMap<SnapshotId, Snapshot>;

impl Environment {
    /// The volumes of which a deployment makes snapshots before anything of its release runs: those that the release
    /// before had, too. What is new is empty.
    pub fn to_be_snapshotted(&self, deployment: &Deployment) -> impl Iterator<Item = &Name> {
        let before = self
            .current_release()
            .filter(|_| deployment.reason == Reason::Deploy);
        let to = self.releases.get(&deployment.to);
        let wanted = to.into_iter().flat_map(|to| &to.spec.volumes);
        let wanted = wanted.filter(|(_, volume)| volume.snapshot == Snapshots::BeforeRelease);
        wanted
            .map(|(name, _)| name)
            .filter(move |name| before.is_some_and(|r| r.spec.volumes.contains_key(*name)))
    }

    /// Whether a deployment has its snapshot of a volume.
    #[must_use]
    pub fn is_snapshotted(&self, deployment: DeploymentId, volume: &Name) -> bool {
        let occasion = Occasion::Deployment(deployment);
        let mut kept = self.snapshots.values();
        kept.any(|s| s.volume == *volume && s.occasion == occasion)
    }

    /// The older ones of the volume, beyond the newest `keep`, are kept no longer.
    pub(crate) fn keep_snapshot(
        &mut self,
        id: SnapshotId,
        snapshot: Snapshot,
        keep: u32,
    ) -> Result<(), MisfitEvent> {
        if self.snapshots.contains_key(&id) {
            let what = format!("the snapshot {id}");
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        let volume = snapshot.volume.clone();
        self.snapshots.insert(id, snapshot);
        let all = self.snapshots.iter().filter(|(_, s)| s.volume == volume);
        let all: Vec<SnapshotId> = all.map(|(id, _)| *id).collect();
        let most = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
        for old in all.iter().take(all.len().saturating_sub(most)) {
            self.snapshots.remove(old);
        }
        Ok(())
    }

    /// In a deployment that prepares.
    pub(crate) fn snapshot_before(
        &mut self,
        at: Timestamp,
        deployment: DeploymentId,
        (volume, id, keep): (&Name, SnapshotId, u32),
    ) -> Result<(), MisfitEvent> {
        let known = self.deployments.get(&deployment);
        if known.is_none_or(|d| d.phase != Phase::Preparing) {
            return Err(MisfitEvent::NotPreparing(self.id.clone(), deployment));
        }
        let snapshot = Snapshot {
            volume: volume.clone(),
            at,
            occasion: Occasion::Deployment(deployment),
            release: self.current,
        };
        self.keep_snapshot(id, snapshot, keep)
    }

    /// The one that was restored stays, whatever the number of those that are kept.
    pub(crate) fn restore(
        &mut self,
        at: Timestamp,
        volume: &Name,
        (restored, kept): (SnapshotId, SnapshotId),
    ) -> Result<(), MisfitEvent> {
        let known = self.snapshots.get(&restored);
        if self.goal == Goal::Up || known.is_none_or(|s| s.volume != *volume) {
            return Err(MisfitEvent::NoSnapshot(self.id.clone(), restored));
        }
        let snapshot = Snapshot {
            volume: volume.clone(),
            at,
            occasion: Occasion::Restore(restored),
            release: self.current,
        };
        self.keep_snapshot(kept, snapshot, u32::MAX)
    }

    pub(crate) fn delete_volume(&mut self, volume: &Name) {
        self.snapshots.retain(|_, s| s.volume != *volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EnvId;

    #[test]
    fn the_newest_snapshots_of_each_volume_are_kept() {
        let mut env = Environment::new(EnvId::parse("returns/dev").unwrap());
        let of = |volume: &str| Snapshot {
            volume: Name::parse(volume).unwrap(),
            at: Timestamp(0),
            occasion: Occasion::Deployment(DeploymentId(1)),
            release: None,
        };
        for (number, volume) in [(3, "a"), (5, "b"), (9, "a"), (12, "a")] {
            env.keep_snapshot(SnapshotId(number), of(volume), 2)
                .unwrap();
        }
        let kept: Vec<u64> = env.snapshots.keys().map(|id| id.0).collect();
        assert_eq!(kept, [5, 9, 12]);
        assert!(env.keep_snapshot(SnapshotId(5), of("a"), 2).is_err());
        env.delete_volume(&Name::parse("a").unwrap());
        assert_eq!(env.snapshots.len(), 1);
    }
}
