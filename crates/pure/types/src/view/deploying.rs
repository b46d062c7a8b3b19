//! What is asked and told about deployments.

use serde::{Deserialize, Serialize};

use super::MaintenanceView;
use crate::id::{DeploymentId, Digest, EnvId, Name, ReleaseId, Term};
use crate::maintenance::Maintenance;
use crate::release::{Failure, Gap, Reason, Verdict};
use crate::spec::Strategy;
use crate::time::{Millis, Timestamp};

/// The body of `POST /v1/maintenance`, which is answered by a [`MaintenanceAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceRequest {
    /// The environment; may be left out where there is one.
    pub env: Option<EnvId>,
    /// Which service; `None`: all of them.
    pub service: Option<Name>,
    /// What clients are told from now on; `None`: they get answers again.
    pub begin: Option<Maintenance>,
    /// Why, for the audit log.
    pub why: String,
}

/// What of an environment is in maintenance now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceAnswer {
    /// The environment.
    pub env: EnvId,
    /// What is in maintenance.
    pub maintenance: Vec<MaintenanceView>,
    /// Whether the gateway was seen to do so. It is in the log in any case, and comes into force with the
    /// gateway's next table.
    pub in_force: bool,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its number.
    pub id: DeploymentId,
    /// Why.
    pub reason: Reason,
    /// From which release.
    pub from: Option<ReleaseId>,
    /// To which release.
    pub to: ReleaseId,
    /// The phase's word: `queued`, `preparing`, `rolling`, `reverting`, `finished`.
    pub phase: String,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Who cancelled it, if somebody did.
    #[serde(default)]
    pub cancelled: Option<Cancellation>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// How long nothing ran of services whose releases do not overlap.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// Since it was asked for.
    pub took: Millis,
}

/// Beside a verdict, which says only what serves: that somebody cancelled the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Who.
    pub by: String,
    /// How far the deployment came.
    pub stage: CancelledStage,
}

/// How far a deployment came that was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelledStage {
    /// It waited its turn: nothing of it was ever started.
    BeforeItBegan,
    /// It was under way, and is taken back.
    UnderWay,
}

/// How a deployment ended, for people: the word of its verdict; `cancelled by uid:0(root) before it began`; or
/// `cancelled by uid:0(root) (failed, old serving)`. One that succeeded was cancelled too late.
#[must_use]
pub fn ending(verdict: Verdict, cancelled: Option<&Cancellation>) -> String {
    let word = verdict.in_words();
    match cancelled.filter(|_| verdict != Verdict::Succeeded) {
        None => word.to_owned(),
        Some(Cancellation { by, stage }) => match stage {
            CancelledStage::BeforeItBegan => format!("cancelled by {by} before it began"),
            CancelledStage::UnderWay => format!("cancelled by {by} ({word})"),
        },
    }
}

/// The body of `POST /v1/deploy`. The answer is a stream of [`super::Progress`], one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRequest {
    /// The folder of the stack file, absolute.
    pub dir: String,
    /// The environment's name within the stack.
    pub env: Name,
    /// Why, for the audit log.
    pub why: String,
    /// What to do with an environment that runs this very release already.
    pub unchanged: Unchanged,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
    /// What becomes of a rollback that holds.
    #[serde(default)]
    pub rollback: Held,
    /// How services with a port take over, in place of what the stack file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Where the environment is to be made by this very deploy: one that is there already is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// How an environment is made that its stack file declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Made {
    /// How long it lasts; `None`: until somebody deletes it.
    pub ttl: Option<Millis>,
}

/// The body of `POST /v1/deploy/each`: one build, brought to several environments one after the other. The answer
/// is a stream of [`super::Progress`], with a [`super::Progress::Environment`] behind each environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EachRequest {
    /// The folder of the stack file, absolute.
    pub dir: String,
    /// The environments' names within the stack, in the order in which they are deployed.
    pub envs: Vec<Name>,
    /// Why, for the audit log.
    pub why: String,
    /// What to do with an environment that runs this very release already.
    pub unchanged: Unchanged,
    /// What happens to deployments of the environments that have not ended.
    #[serde(default)]
    pub others: Others,
    /// How services with a port take over, in place of what the stack file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
}

/// What a deploy does where somebody rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It supersedes that (`ward deploy`).
    #[default]
    Superseded,
    /// The release that was rolled back to serves on (`ward up`).
    Kept,
}

/// What a new deployment does with those before it that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// It waits for them.
    #[default]
    Wait,
    /// It cancels them, and ends the builds of deploys that were asked for before it (`--supersede`).
    Cancel,
}

/// How far an operation is followed. It goes on in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// To its verdict.
    #[default]
    Verdict,
    /// Until it is in the log and waits its turn (`--no-wait`).
    Queued,
}

/// The query of `GET /v1/deployments` and `GET /v1/deployments/watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentQuery {
    /// The environment; may be left out where there is one.
    pub env: Option<EnvId>,
    /// Which deployment; without it the one that is under way, else the newest.
    pub deployment: Option<DeploymentId>,
}

/// The body of `POST /v1/deployments/cancel`; the answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which deployment; without it the one that is under way, else the one whose turn is next, else what is being
    /// built.
    pub deployment: Option<DeploymentId>,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/deployments/steer`, which is answered by a [`DeploymentDetail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which deployment; without it the one that is under way, else the one whose turn is next.
    pub deployment: Option<DeploymentId>,
    /// What it shall do.
    pub steer: Steer,
    /// Why, for the audit log.
    pub why: String,
}

/// What a deployment that is under way can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steer {
    /// Stay as it is.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Hold this stage no longer.
    PromoteStage,
    /// Hold no stage any longer, and do not bake.
    Promote,
}

/// The answer of `GET /v1/deployments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentDetail {
    /// The environment.
    pub env: EnvId,
    /// The deployment.
    pub deployment: DeploymentView,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub requested: Timestamp,
    /// Why, in their words; may be empty.
    #[serde(default)]
    pub why: String,
    /// The plan that it carries out, by its digest.
    #[serde(default)]
    pub plan: Option<Digest>,
    /// When it left the queue.
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Since when it is in its phase.
    pub phase_since: Timestamp,
    /// Who cancelled it.
    pub cancelled: Option<String>,
    /// Who paused it, while it is paused.
    #[serde(default)]
    pub paused: Option<String>,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Why it is paused, in the words of the one who paused it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub paused_why: String,
    /// Why it goes to a release that the schema cannot take, if somebody said so.
    #[serde(default)]
    pub despite_schema: Option<String>,
    /// The services whose release commands it runs; what they wrote is kept with the service's output.
    #[serde(default)]
    pub release_commands: Vec<Name>,
    /// Who carries it on, while it is under way.
    #[serde(default)]
    pub lease: Option<LeaseView>,
    /// What it waits for, in sentences with their deadlines, none when it has ended; then what is being built for
    /// the environment.
    pub waiting: Vec<String>,
}

/// The server that acts, as its lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its fencing number.
    pub term: Term,
    /// Its process id.
    pub pid: u32,
    /// Since its last sign of life, which it gives once a second.
    pub silent: Millis,
}

/// What a deploy does when nothing differs from the current release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unchanged {
    /// Nothing: it says so and succeeds (`ward up`, `ward deploy`).
    Keep,
    /// A new release all the same (`ward deploy --force`).
    Redeploy,
}

/// The body of `POST /v1/rollback` and `POST /v1/rollforward`; the answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// To which release; else the one before (after).
    pub to: Option<ReleaseId>,
    /// Why it goes there even if the schema cannot take that release any more; without it that is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub despite_schema: Option<String>,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of the environment that have not ended. Going back cancels those that lead elsewhere in
    /// any case.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// The body of `POST /v1/promote`; the answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteRequest {
    /// Where the build is taken from.
    pub from: EnvId,
    /// Where it shall serve: another environment of the same stack, which need not be there yet.
    pub to: EnvId,
    /// Which release of `from`; without it the one that serves there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of `to` that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// The body of `POST /v1/down`; the answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownRequest {
    /// One environment, or all.
    pub env: Option<EnvId>,
    /// Whether the data goes too.
    pub data: Data,
    /// Why, for the audit log.
    pub why: String,
}

/// What `down` does with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Kept.
    Keep,
    /// Removed.
    Purge,
}
