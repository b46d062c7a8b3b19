//! What the driver shows the planner: the instances and the gateway as they are seen now.
//!
//! Two rules bind the driver, because the planner's promises rest on them:
//! an instance is shown from the moment its `Start` was carried out until its `Remove` was, and one
//! that could not be started is shown as `Failed`; and a gateway whose answer to the last `Route` is
//! still out is shown as `None`, because its table may change after it was looked at.

use std::collections::BTreeMap;

use ward_types::checkup::Checkup;
use ward_types::histogram::Histogram;
use ward_types::id::InstanceId;
use ward_types::keeper::{InstanceFacts, InstanceStatus};
use ward_types::table::{Pool, Traffic};
use ward_types::time::Timestamp;

/// Everything that is seen of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Its instances, running and over.
    pub instances: BTreeMap<InstanceId, SeenInstance>,
    /// The gateway; `None` while it does not answer.
    pub gateway: Option<SeenGateway>,
    /// Whether something uses it of which neither the log nor the gateway knows: somebody who looks into a database,
    /// or another environment that is filled with its rows. It does not fall asleep meanwhile.
    pub in_use: bool,
}

/// One instance as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenInstance {
    /// Who it is.
    pub facts: InstanceFacts,
    /// How it is.
    pub status: InstanceStatus,
    /// Since when its state is what it is.
    pub since: Timestamp,
    /// The last lines that it wrote, oldest first. Needed only of instances that are over or starting.
    pub output: Vec<String>,
    /// What other hands changed in the files that it runs from, in a clause, if they did.
    pub altered: Option<String>,
    /// The last check of its health that a deployment asked for. A driver that is new has none.
    pub checkup: Option<Checkup>,
}

/// The gateway as far as one environment is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenGateway {
    /// This environment's pools of the table in force.
    pub pools: Vec<Pool>,
    /// What is under way per instance; an instance that is not named has nothing under way.
    pub traffic: BTreeMap<InstanceId, Traffic>,
    /// How long the answers of each instance took; one that is not named has answered nothing.
    pub latency: BTreeMap<InstanceId, Histogram>,
    /// Whether it holds requests for an environment that sleeps.
    pub holds: bool,
    /// Whether it holds some just now.
    pub held: bool,
}
