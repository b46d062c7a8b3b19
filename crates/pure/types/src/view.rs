//! What the API shows to the CLI, the console and CI. JSON with stable names.

mod configuration;
mod secrets;
mod sources;
mod volumes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::changes::{Change, PlanView};
use crate::event::Record;
use crate::id::{DeploymentId, Digest, EnvId, InstanceId, Name, PipelineRunId, ReleaseId, Term};
use crate::keeper::{Disclosure, Exit, InstanceState};
use crate::life::Life;
use crate::maintenance::Maintenance;
use crate::pipeline::{Position, Reached, Stage, Vote, Word};
use crate::policy::{Level, Origin, Rule, Violation, Waiver};
use crate::release::{Failure, Gap, Goal, Promoted, Reason, Verdict};
use crate::schema::SchemaChange;
use crate::sleep::Sleep;
use crate::source::{BuildName, KeptBuild, Provenance};
use crate::spec::Strategy;
use crate::tally::GatewayTally;
use crate::time::{Millis, Timestamp};
use crate::tls::CertificateObserved;

pub use configuration::{
    ConfigRequest, ConfigStep, ConfigValue, ConfigVersion, ConfigView, Expect, OutdatedConfig,
};
pub use secrets::{
    RekeyRequest, RekeyView, RotateRequest, SecretRequest, SecretSetting, SecretVersionView,
    SecretView, SecretsView,
};
pub use sources::{
    AddSource, AddedSource, BuildRequest, CommitView, KeptDeployRequest, Looked, Pushed,
    PushedRequest, RemoveSource, SourceView, SyncRequest,
};
pub use volumes::{
    DeleteVolumeRequest, RestoreRequest, SnapshotView, VolumeUseView, VolumeView, VolumesView,
};

/// `GET /v1/status?env=returns/dev`: the platform, and each environment (or the one asked for), also one that is
/// being built for the first time. Those that were purged are left out, except with `purged=true`: their data is
/// gone; their releases, images and output stay until they are collected, their events for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The server.
    pub server: ServerView,
    /// The environments.
    pub environments: Vec<EnvironmentView>,
}

/// The processes and addresses of this Ward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The binary's version.
    pub version: String,
    /// The server's process id.
    pub pid: u32,
    /// Its fencing number.
    #[serde(default)]
    pub term: Term,
    /// The gateway's process id, when it answers.
    pub gateway_pid: Option<u32>,
    /// The state folder.
    pub home: String,
    /// `127.0.0.1:8080`.
    pub http: String,
    /// `127.0.0.1:8443`.
    pub https: String,
    /// `127.0.0.1:5050`.
    pub registry: String,
    /// Where the gateway's metrics are had, `127.0.0.1:8090`; empty where nowhere.
    #[serde(default)]
    pub metrics: String,
    /// What a server that takes over is started with, beside its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What the last audit of the log found.
    pub log: LogView,
}

/// What is known of the log's wholeness. The server audits it at its start and once a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LogView {
    /// The first audit is not over yet.
    Unaudited,
    /// Nothing was altered.
    Whole {
        /// When that was found.
        at: Timestamp,
    },
    /// It is not what was appended to it, or cannot be audited at all.
    Altered {
        /// When that was found.
        at: Timestamp,
        /// The first event that is not what was appended, as far as that can be told.
        first: Option<u64>,
        /// What is wrong, in one line.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentView {
    /// Which.
    pub id: EnvId,
    /// What it should be.
    pub goal: Goal,
    /// The release that serves.
    pub current: Option<ReleaseId>,
    /// The version of that release.
    pub version: Option<String>,
    /// The commit that its build was made of, where git knew the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The URLs by which it is reached.
    pub addresses: Vec<String>,
    /// What of it is in maintenance.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceView>,
    /// The files with certificates of its hosts, as the gateway sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateObserved>,
    /// Where what serves runs with other values than those that are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated_config: Option<OutdatedConfig>,
    /// Its services and databases.
    pub components: Vec<ComponentView>,
    /// The volumes of the release that serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeUseView>,
    /// The deployment under way, if one is.
    pub deployment: Option<DeploymentView>,
    /// Where it comes from, and how it ends.
    #[serde(default)]
    pub life: Life,
    /// Whether it sleeps.
    #[serde(default)]
    pub sleep: Sleep,
    /// What Ward is waiting for, in sentences (promise P12); empty when nothing moves.
    pub waiting: Vec<String>,
}

/// What clients get instead of answers, and who wants it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// Of which service; `None`: of all of the environment.
    pub service: Option<Name>,
    /// What clients are told.
    pub maintenance: Maintenance,
    /// Who began it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

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

/// One service or database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: Name,
    /// `service` or `database`.
    pub kind: String,
    /// How many instances are declared.
    pub wanted: u32,
    /// Its instances.
    pub instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseId,
    /// Its state.
    pub state: InstanceState,
    /// Whether the gateway sends it new requests.
    pub in_rotation: bool,
    /// Since when it exists.
    pub started: Timestamp,
    /// Its process id on the host.
    pub pid: Option<u32>,
    /// Its keeper's process id; 0 when it never had one.
    pub keeper_pid: u32,
    /// Why the last health check failed.
    pub last_failure: Option<String>,
    /// Protections that the kernel denied.
    pub missing: Vec<String>,
}

/// `GET /v1/releases?env=…`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Its number.
    pub id: ReleaseId,
    /// `1.0.7`.
    pub version: String,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Whether it serves.
    pub current: bool,
    /// How its last deployment ended, if it ended.
    pub verdict: Option<Verdict>,
    /// Who cancelled that deployment, if somebody did.
    #[serde(default)]
    pub cancelled: Option<Cancellation>,
    /// The release command after which it does not run any more, if there was one: `ward rollback` refuses it.
    #[serde(default)]
    pub barred: Option<SchemaChange>,
    /// The version of the configuration that it was made with; 0: nothing was set.
    #[serde(default)]
    pub config: u64,
    /// The images.
    pub images: BTreeMap<Name, Digest>,
    /// Where its build was taken from, of one that was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// The commit that its build was made of, where git knew the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
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
/// `cancelled by uid:0(root) (failed_old_serving)`. One that succeeded was cancelled too late.
#[must_use]
pub fn ending(verdict: Verdict, cancelled: Option<&Cancellation>) -> String {
    let word = verdict.as_str();
    match cancelled.filter(|_| verdict != Verdict::Succeeded) {
        None => word.to_owned(),
        Some(Cancellation { by, stage }) => match stage {
            CancelledStage::BeforeItBegan => format!("cancelled by {by} before it began"),
            CancelledStage::UnderWay => format!("cancelled by {by} ({word})"),
        },
    }
}

/// The body of `POST /v1/deploy`. The answer is a stream of [`Progress`], one JSON object a line.
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
/// is a stream of [`Progress`], with a [`Progress::Environment`] behind each environment.
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

/// The body of `POST /v1/pipelines`, which begins a run; the answer is a stream of [`Progress`], to its end or to
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
    /// Since when it stands where it does.
    pub since: Timestamp,
    /// Its stages and their gates.
    pub stages: Vec<Stage>,
    /// The releases that it has made so far, in the stages' order.
    pub reached: Vec<Reached>,
    /// Where it stands.
    pub position: Position,
    /// The same as a sentence.
    pub stands: String,
    /// Every word that was given.
    pub votes: Vec<Vote>,
}

/// The body of `POST /v1/pipelines/vote`, which is answered by a [`PipelineRunView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Which run; without it the only one that is under way.
    pub run: Option<PipelineRunId>,
    /// Yes or no.
    pub word: Word,
    /// Why, for the audit log.
    pub why: String,
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

/// `GET /v1/policy?env=…`: what a plan for an environment must pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The environment.
    pub env: EnvId,
    /// Every rule.
    pub rules: Vec<RuleView>,
    /// The waivers, also those that are over.
    pub waivers: Vec<WaiverView>,
}

/// A rule, and what becomes of a plan that breaks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Which.
    pub rule: Rule,
    /// By the release that serves and by the installation, whichever is stricter.
    pub level: Level,
    /// Who says so.
    pub origin: Origin,
    /// How many, or when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it asks for.
    pub about: String,
}

/// Who answers for it that a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverView {
    /// Which rule.
    pub rule: Rule,
    /// Whether it holds now.
    pub holds: bool,
    /// Who, why and until when.
    pub waiver: Waiver,
}

/// The body of `POST /v1/policy/waive`, which is answered by a [`PolicyView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiveRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which rule.
    pub rule: Rule,
    /// Until when; `None`: it holds again from now on.
    pub until: Option<Timestamp>,
    /// Why.
    pub why: String,
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

/// The body of `POST /v1/deployments/cancel`; the answer is a stream of [`Progress`].
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
    /// When it left the queue.
    pub started: Option<Timestamp>,
    /// Since when it is in its phase.
    pub phase_since: Timestamp,
    /// Who cancelled it.
    pub cancelled: Option<String>,
    /// Who paused it, while it is paused.
    #[serde(default)]
    pub paused: Option<String>,
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

/// The body of `POST /v1/rollback` and `POST /v1/rollforward`; the answer is a stream of [`Progress`].
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
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// The body of `POST /v1/promote`; the answer is a stream of [`Progress`].
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

/// The body of `POST /v1/down`; the answer is a stream of [`Progress`].
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

/// One line of what happens while an operation runs. A stream always ends with `Ended` or `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// A step began or ended; one short sentence. `took` is set when it ended.
    Step {
        /// The sentence.
        message: String,
        /// How long it took.
        took: Option<Millis>,
    },
    /// A line of a build's or a release command's output.
    Output {
        /// Which service it belongs to.
        source: String,
        /// The line.
        line: String,
    },
    /// What Ward waits for changed; all of it, in sentences.
    Waiting {
        /// The sentences.
        on: Vec<String>,
    },
    /// The stack file has mistakes. Nothing was changed.
    Mistakes {
        /// The report for people, for a terminal without colour.
        rendered: String,
        /// How many.
        count: usize,
        /// Each of them, in the order of the file.
        mistakes: Vec<MistakeView>,
    },
    /// What a deploy would change (`ward plan`).
    Planned {
        /// The plan.
        plan: Box<PlanView>,
        /// What breaks the policy, for people, with the places in the stack file; may be empty.
        rendered: String,
        /// What is written for `ward deploy --plan`, where the plan is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// The policy forbids it. Nothing was changed.
    Forbidden {
        /// The report for people, for a terminal without colour.
        rendered: String,
        /// Each violation.
        violations: Vec<Violation>,
    },
    /// A plan was not carried out, because it starts from something that is there no more. Nothing was changed.
    Moved {
        /// What moved, in a sentence.
        message: String,
        /// What to do next.
        hint: String,
        /// What serves now in place of what the plan starts from, as changes.
        changes: Vec<Change>,
    },
    /// Something is wrong beside the operation: an auditor has to know of it.
    Warning {
        /// What.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The deployment ended.
    Ended {
        /// How.
        deployment: DeploymentView,
        /// Where the environment is reached.
        addresses: Vec<String>,
    },
    /// Nothing had to be done, or an operation other than a deployment succeeded.
    Done {
        /// The sentence.
        message: String,
        /// Where the environment is reached, if that is of interest.
        addresses: Vec<String>,
    },
    /// A build was made, and is kept.
    Built {
        /// The build.
        build: Box<KeptBuild>,
    },
    /// What came of one environment of several. The stream goes on.
    Environment {
        /// Which.
        env: EnvId,
        /// Its place among them, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// How it ended: `ended`, `done`, `mistakes` or `failed`.
        outcome: Box<Progress>,
    },
    /// The operation failed before there was a deployment. Nothing was changed unless the message says so.
    Failed {
        /// What happened and where.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// A stretch of a file, in bytes from its start; `end` is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The very beginning, for what concerns the whole file.
    pub const START: Span = Span { start: 0, end: 0 };

    /// How many bytes it covers.
    #[must_use]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it covers nothing and only marks a place.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// A mistake in a stack file, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MistakeView {
    /// `W0201`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// The offending text.
    pub text: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What was probably meant.
    pub did_you_mean: Option<String>,
    /// Other places that have to do with it.
    pub labels: Vec<LabelView>,
}

/// Another place that has to do with a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelView {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// What is there.
    pub text: String,
}

/// `GET /v1/events?after=N&env=…&limit=…`; with `follow=true` a stream, one record a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsView {
    /// The records, oldest first.
    pub records: Vec<Record>,
}

/// One line of `GET /v1/logs?env=…&component=…&release=…&since=MILLIS&tail=N&follow=true`, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which instance.
    pub instance: InstanceId,
    /// `o` or `e`.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// `GET /v1/traffic?env=…`: what the gateways have counted so far, and what serves now. Whoever wants to know how
/// much that is in a second asks twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// The gateway, and those that were replaced and finish what they have begun. Of the environment that was
    /// asked for, or of all and of what led nowhere.
    pub gateways: Vec<GatewayTally>,
    /// The services that take requests.
    pub services: Vec<ServiceTraffic>,
}

/// One service that takes requests, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTraffic {
    /// Its environment.
    pub env: EnvId,
    /// Its name.
    pub service: Name,
    /// The releases in rotation.
    pub releases: Vec<ReleaseId>,
    /// Instances that are healthy.
    pub healthy: u32,
    /// Instances that there are, or should be where that is more.
    pub instances: u32,
    /// Requests under way.
    pub in_flight: u64,
    /// Upgraded connections, event streams and gRPC calls under way.
    pub long: u64,
}

/// The body of `POST /v1/exec`: the CLI wants to run a program in an instance. It is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The environment; the only one when it is not named.
    pub env: Option<EnvId>,
    /// The service or database, or an instance's id.
    pub component: Name,
    /// What to run.
    pub program: ExecProgram,
    /// Whether it gets the instance's secrets. An older Ward does not say, and may give them.
    #[serde(default)]
    pub secrets: Disclosure,
    /// Why, for the audit log.
    pub why: String,
}

/// What `ward exec` and `ward db psql` run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "snake_case")]
pub enum ExecProgram {
    /// A program of the caller's choice; only its name is recorded, arguments may hold what nobody
    /// should read.
    Named {
        /// The program's name.
        program: String,
    },
    /// A database's own shell.
    DatabaseShell,
}

/// The answer to [`ExecRequest`]: where to reach the instance. The CLI then talks to the keeper itself,
/// with its own terminal's descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecTarget {
    /// Which instance.
    pub instance: InstanceId,
    /// Its folder.
    pub dir: String,
    /// The command and its variables, when Ward chose the program.
    pub command: Option<ExecCommand>,
}

/// A program that Ward chose, with its variables. Travels over the API's Unix socket only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCommand {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, crate::secret::Secret>,
}

/// `GET /v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// How many events the log holds.
    pub events: u64,
    /// The root of the Merkle tree (RFC 6962), hexadecimal.
    pub root: String,
    /// The first event that is not what was appended, as far as that can be told; `None` when nothing is
    /// wrong, or only beside the events.
    pub first: Option<u64>,
    /// What is wrong, the first first; empty when nothing is.
    pub breaks: Vec<String>,
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// What happened and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// How a program run by `ward exec` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecView {
    /// How.
    pub exit: Exit,
}
