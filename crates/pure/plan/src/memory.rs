//! What the planner remembers from one plan to the next.
//!
//! Only what cannot be seen: since when something is so. Losing it does no harm: budgets and deadlines
//! count from then on again, an instance that ends during a rollout counts as never having been
//! healthy, and data that is to be purged is purged once more.

use std::collections::{BTreeMap, BTreeSet};

use ward_types::id::{DeploymentId, InstanceId};
use ward_types::time::Timestamp;

/// Opaque to the driver, which begins with `Memory::default()` and hands each plan's memory to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The instances that were seen healthy once.
    pub(crate) proven: BTreeSet<InstanceId>,
    /// The running instances that are out of rotation.
    pub(crate) out: BTreeMap<InstanceId, Out>,
    /// Since when the active deployment is in its phase, by this planner's reading of the clock.
    pub(crate) phase: Option<(DeploymentId, &'static str, Timestamp)>,
    /// Since when all instances of the release that rolls out are healthy.
    pub(crate) ready: Option<Timestamp>,
    /// The deployment whose release was seen in rotation while it was taken back.
    pub(crate) switched: Option<DeploymentId>,
    /// Whether the data of an environment that is to be purged was.
    pub(crate) data: DataMemory,
}

/// Since when an instance is out of rotation, and when what it still did was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) since: Timestamp,
    pub(crate) cut: Option<Timestamp>,
}

/// Whether data was purged since the goal became `Purged`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DataMemory {
    #[default]
    Kept,
    Purged,
}
