//! The instance that makes a snapshot of a volume, or fills a new volume with what another one holds.
//!
//! It is an instance like any other, so that it outlives the server, has an output that is kept, can be stopped, and is
//! the user whom the files belong to. It sees the volume, read-only, and the folder that is filled, and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ward_types::keeper::{
    Access, InstanceFacts, InstanceSpec, Limits, LogSpec, MountSpec, RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::time::Millis;

use crate::{REMOVED, RESERVE};

/// What the instance runs.
const SCRIPT: &str = include_str!("snapshot.sh");

/// Who it is inside.
const USER: u32 = 70;

/// What the engine decides about the instance.
#[derive(Debug, Clone)]
pub struct SnapshotPlace {
    /// Who it is.
    pub facts: InstanceFacts,
    /// Its folder.
    pub dir: PathBuf,
    /// The user and group id on the host that the volume belongs to; not 0.
    pub host_id: u32,
    /// Where its output goes.
    pub log: LogSpec,
    /// The gateway's socket.
    pub gateway_links: PathBuf,
    /// The volume's folder.
    pub from: PathBuf,
    /// The snapshot's folder, or the new volume's; the engine makes it where it is not there.
    pub to: PathBuf,
}

/// What a keeper must know to make a snapshot, or a copy. What is in the folder that is filled is removed first: of one
/// that broke off.
#[must_use]
pub fn snapshot_instance(place: SnapshotPlace) -> InstanceSpec {
    let plain = |text: &str| Secret::new(text.to_owned());
    let mount = |source, target: &str, access| MountSpec {
        source,
        target: target.to_owned(),
        access,
    };
    InstanceSpec {
        facts: place.facts,
        dir: place.dir,
        root: RootSpec {
            layers: Vec::new(),
            host_usr: true,
            mounts: vec![
                mount(place.from, "/from", Access::ReadOnly),
                mount(place.to, "/to", Access::ReadWrite),
            ],
        },
        argv: ["/bin/sh", "-c", SCRIPT, "snapshot"]
            .map(str::to_owned)
            .into(),
        cwd: "/".to_owned(),
        env: BTreeMap::from([
            ("PATH".to_owned(), plain("/usr/bin:/bin")),
            ("WARD_RESERVE".to_owned(), Secret::new(RESERVE.to_string())),
            (
                "WARD_REMOVED".to_owned(),
                Secret::new(format!("{REMOVED:o}")),
            ),
        ]),
        secrets: Default::default(),
        user: UserSpec {
            uid: USER,
            gid: USER,
            host_id: place.host_id,
        },
        limits: Limits::default(),
        health: None,
        links: Vec::new(),
        log: place.log,
        stop_timeout: Millis::secs(1),
        stop_signal: 15,
        gateway_links: place.gateway_links,
    }
}
