//! What is asked and told about volumes.

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, Name, ReleaseId, SnapshotId};
use crate::time::Timestamp;
use crate::unit::ByteSize;
use crate::volume::Occasion;

/// `GET /v1/volumes?env=…`: the volumes that an environment's release declares, and those that are on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesView {
    /// The environment.
    pub env: EnvId,
    /// By name.
    pub volumes: Vec<VolumeView>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name.
    pub name: Name,
    /// The service that has it in the release that serves; `None`: nothing has it, and what is in it is kept.
    pub service: Option<Name>,
    /// Where that service sees it.
    pub path: Option<String>,
    /// How much it is to hold.
    pub size: Option<ByteSize>,
    /// What it takes of the disk, in bytes; `None`: that could not be found out.
    pub bytes: Option<u64>,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<SnapshotView>,
}

impl VolumeView {
    /// Whether it holds more than it is to.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let limit = self.size.map(|size| size.0);
        limit
            .zip(self.bytes)
            .is_some_and(|(limit, held)| held > limit)
    }
}

/// What a volume holds, as it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUseView {
    /// Its name.
    pub name: Name,
    /// What it takes of the disk, in bytes; `None`: nobody has looked yet.
    pub bytes: Option<u64>,
    /// How much it is to hold.
    pub size: ByteSize,
}

/// One snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Its number.
    pub id: SnapshotId,
    /// When it was whole.
    pub at: Timestamp,
    /// What it was made for.
    pub occasion: Occasion,
    /// The release that served.
    pub release: Option<ReleaseId>,
    /// What it takes of the disk, in bytes, where that could be found out. Where the file system lets files share what
    /// they have in common it takes less.
    pub bytes: Option<u64>,
}

/// The body of `POST /v1/volumes/restore`, which is answered by a [`VolumesView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The environment, which must be down.
    pub env: Option<EnvId>,
    /// What its volume is to hold.
    pub snapshot: SnapshotId,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/volumes/delete`, which is answered by a [`VolumesView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVolumeRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// The volume, which nothing has any more.
    pub volume: Name,
    /// Why, for the audit log.
    pub why: String,
}
