//! What is asked and told about runs of pipelines.

use serde::{Deserialize, Serialize};

use super::Until;
use crate::id::{Name, PipelineRunId};
use crate::pipeline::{Position, Reached, Stage, Vote, Word};
use crate::source::{BuildName, Provenance};
use crate::time::Timestamp;

/// The body of `POST /v1/pipelines`, which begins a run; the answer is a stream of [`super::Progress`], to its end or to
/// where it waits for somebody's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRequest {
    /// The folder of the stack file, absolute.
    pub dir: String,
    /// The pipeline's name.
    pub pipeline: Name,
    /// A build that is kept; `None`: one is made of the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildName>,
    /// Why, for the audit log.
    pub why: String,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// One of the answer of `GET /v1/pipelines?run=3`; without a number of all runs, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRunView {
    /// Its number.
    pub id: PipelineRunId,
    /// The stack.
    pub stack: Name,
    /// The pipeline's name.
    pub pipeline: Name,
    /// The version of the build.
    pub version: String,
    /// The commit that it was made of, where git knew the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Who began it.
    pub author: String,
    /// When.
    pub began: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when it stands where it does.
    pub since: Timestamp,
    /// Its stages and their gates.
    pub stages: Vec<Stage>,
    /// The releases that it has made so far, in the stages' order.
    pub reached: Vec<Reached>,
    /// Where it stands.
    pub position: Position,
    /// The same as a sentence, with what it waits for.
    pub stands: String,
    /// Where it waits for the end of a freeze, or of what keeps Ward from going on: by what it goes on, or ends, as a
    /// sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_on: Option<String>,
    /// In the answer to a word that ended it while a deployment was under way: what becomes of that, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Every word that was given.
    pub votes: Vec<Vote>,
    /// In the answer to a word that was not needed any more, and not recorded: the one by which the gate was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub already: Option<Vote>,
}

/// The body of `POST /v1/pipelines/vote`, which is answered by a [`PipelineRunView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Which run; without it the only one that is under way.
    pub run: Option<PipelineRunId>,
    /// Of which stack that one is; `None`: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
    /// Yes or no.
    pub word: Word,
    /// Why, for the audit log.
    pub why: String,
}
