//! How a release came to its environment: who brought it, when, why, and by which events that is proved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cancellation, PipelineRunView, ReleaseView, WaiverView};
use crate::id::{DeploymentId, Digest, EnvId, PipelineRunId};
use crate::release::{Reason, Verdict};
use crate::secrets::SecretName;
use crate::time::Timestamp;

/// How a release came there, as the log says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WayView {
    /// Why, in the words of the one who asked for it; may be empty.
    pub why: String,
    /// What was set or taken away, of one that is an earlier one with other values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The plan that was carried out, by its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// The run of a pipeline that brought it; none of one that was there before a run came to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<PipelineRunId>,
    /// The words by which that run passed the gates before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<ApprovalView>,
}

/// A word that let a build pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// At the gate of which stage.
    pub stage: EnvId,
    /// Who gave it.
    pub by: String,
    /// When, where the log says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why, in their words; may be empty.
    pub why: String,
}

/// `GET /v1/releases/show?env=…&release=4`: all that an auditor asks about one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDetail {
    /// The environment.
    pub env: EnvId,
    /// The release, and how it came there.
    pub release: ReleaseView,
    /// The versions of the secrets that it runs with.
    pub secrets: BTreeMap<SecretName, u64>,
    /// The run of a pipeline that brought it, or else the last that found it there, with its gates and words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineRunView>,
    /// Who answered for rules of the policy that were broken, when it was recorded or deployed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<WaiverView>,
    /// The deployments that led to it, the oldest first.
    pub deployments: Vec<MoveView>,
    /// The numbers of the events that say all this.
    pub events: Vec<u64>,
}

/// A deployment to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveView {
    /// Its number.
    pub id: DeploymentId,
    /// What it was for.
    pub reason: Reason,
    /// Who asked for it.
    pub by: String,
    /// Why, in their words; may be empty.
    pub why: String,
    /// The plan that it carried out, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Who cancelled it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Cancellation>,
}
