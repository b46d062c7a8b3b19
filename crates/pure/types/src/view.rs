//! What the API shows to the CLI, the console and CI. JSON with stable names.

mod backups;
mod configuration;
mod deploying;
mod exec;
mod history;
mod mistakes;
mod output;
mod pipelines;
mod policy;
mod secrets;
mod sharing;
mod sources;
mod status;
mod volumes;

use serde::{Deserialize, Serialize};

use crate::changes::{Change, PlanView};
use crate::id::{EnvId, ReleaseId};
use crate::policy::Violation;
use crate::source::KeptBuild;
use crate::time::Millis;

pub use backups::{BackupRequest, BackupView, BackupsView};
pub use configuration::{
    ConfigRequest, ConfigStep, ConfigValue, ConfigVersion, ConfigView, Expect, OutdatedConfig,
};
pub use deploying::{
    CancelRequest, Cancellation, CancelledStage, Data, DeployRequest, DeploymentDetail,
    DeploymentQuery, DeploymentView, DownRequest, EachRequest, Held, LeaseView, Made,
    MaintenanceAnswer, MaintenanceRequest, Others, PromoteRequest, RollbackRequest, Steer,
    SteerRequest, Unchanged, Until, ending,
};
pub use exec::{ExecCommand, ExecProgram, ExecRequest, ExecTarget, ExecView};
pub use history::{ApprovalView, MoveView, ReleaseDetail, WayView};
pub use mistakes::{LabelView, MistakeView, Span};
pub use output::{AuditView, EventsView, LogLine, ServiceTraffic, TrafficView};
pub use pipelines::{PipelineRequest, PipelineRunView, VoteRequest};
pub use policy::{PolicyRequest, PolicyView, RuleView, RulesOf, WaiveRequest, WaiverView};
pub use secrets::{
    RekeyRequest, RekeyView, RotateRequest, SecretRequest, SecretSetting, SecretVersionView,
    SecretView, SecretsView,
};
pub use sharing::{ExportView, LinkState, SharedLinkView, SharingView};
pub use sources::{
    AddSource, AddedSource, BuildRequest, CommitView, KeptDeployRequest, Looked, Pushed,
    PushedRequest, RemoveSource, SetToken, SourceView, SyncRequest, Token,
};
pub use status::{
    ComponentView, EnvironmentView, HandedOver, InstanceView, KeysMissing, LogView,
    MaintenanceView, NoticesView, ReleaseView, ServerView, StatusView,
};
pub use volumes::{
    DeleteVolumeRequest, RestoreRequest, SnapshotView, VolumeUseView, VolumeView, VolumesView,
};

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
        /// Which environment's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        env: Option<EnvId>,
        /// The report for people, for a terminal without colour.
        rendered: String,
        /// Each violation.
        violations: Vec<Violation>,
        /// How it comes up as it was, of one that is down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way_up: Option<String>,
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
    /// What a release that is gone back to, or forward, does not have of what serves. The stream goes on.
    Drops {
        /// What serves.
        from: ReleaseId,
        /// Where it goes.
        to: ReleaseId,
        /// What is taken away, each before and after.
        changes: Vec<Change>,
        /// That rules hold all the same which it does not ask for, in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<String>,
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

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// What happened and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}
