//! What is asked and told about configuration.

use serde::{Deserialize, Serialize};

use super::{Others, Until};
use crate::configuration::ConfigChange;
use crate::id::{EnvId, Name};
use crate::time::Timestamp;

/// The body of `POST /v1/config`. The answer is a stream of [`super::Progress`], one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRequest {
    /// The environment, which the stack file in `dir` may declare where it is not there yet.
    pub env: Option<EnvId>,
    /// Whether the environment has to be there.
    #[serde(default)]
    pub expect: Expect,
    /// The folder of the stack file that the caller is in, absolute, if there is one.
    #[serde(default)]
    pub dir: Option<String>,
    /// What to set and unset, in one go.
    pub changes: Vec<ConfigChange>,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// Whether an environment in which values are set has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It is there, or the stack file declares it.
    #[default]
    There,
    /// It need not: what is set waits for it (`--new`).
    ToCome,
    /// It must not: what is set is for one that is just to be made.
    Absent,
}

/// `GET /v1/config?env=…`: what is set in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// The environment.
    pub env: EnvId,
    /// The version of its configuration; 0: nothing was ever set.
    pub version: u64,
    /// The version that the release that serves was made with, if one serves.
    pub in_force: Option<u64>,
    /// Whether what serves runs with other values than those that are set.
    pub outdated: bool,
    /// What is set.
    pub values: Vec<ConfigValue>,
}

/// One value that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// For which service; `None`: for all.
    pub service: Option<Name>,
    /// The environment variable.
    pub key: String,
    /// Its value.
    pub value: String,
    /// By which version.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
}

/// One version, as `GET /v1/config/history?env=…` lists them, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigVersion {
    /// Which.
    pub version: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: String,
    /// What it changed.
    pub changes: Vec<ConfigStep>,
}

/// One value that a version changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStep {
    /// The change.
    #[serde(flatten)]
    pub change: ConfigChange,
    /// What was set before; `None`: nothing.
    pub before: Option<String>,
}

/// That the release that serves runs with other values than those that are set, as status shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutdatedConfig {
    /// The version that it was made with.
    pub in_force: u64,
    /// The newest.
    pub newest: u64,
}
