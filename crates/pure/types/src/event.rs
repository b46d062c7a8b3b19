//! Events: the only way state changes, and the audit record of it.

mod environment;
mod notice;
mod source;
mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backup::{BackupFile, Proof};
use crate::configuration::ConfigChange;
use crate::id::{
    BackupId, DeploymentId, EnvId, InstanceId, Name, PipelineRunId, ReleaseId, RunId, SnapshotId,
    Term,
};
use crate::keeper::Disclosure;
use crate::life::{Cause, Filling, Origin};
use crate::maintenance::Maintenance;
use crate::pipeline::{self, Position, Reached, Vote};
use crate::policy::Rule;
use crate::release::{Deployment, Gap, Goal, Phase, Release};
use crate::run::{Attempt, Run};
use crate::secrets::{self, SecretName};
use crate::sleep::{Alarm, Drowsiness};
use crate::source::{CommitId, KeptBuild, Login, Seen, Source, Standing};
use crate::spec::Schema;
use crate::time::Timestamp;

pub use self::state::{MisfitEvent, State};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who: `uid:1000(anna)`, or `ward` for what Ward decided by itself.
    pub who: String,
    /// Why, in the words of the one who asked; may be empty.
    pub why: String,
    /// The request that caused it; may be empty.
    pub request: String,
    /// What happened.
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// An environment was made, for the first time or again.
    EnvironmentCreated {
        /// Which.
        env: EnvId,
        /// What it is a copy of, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Box<Origin>>,
        /// Whose rows it is filled with, if that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copies: Option<EnvId>,
        /// The backups of that environment which its databases begin with, where it is not with the rows of now.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        restores: BTreeMap<Name, BackupId>,
        /// When it ends, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Who made it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Values, or who answers for a rule, are kept for an environment that is not made yet.
    EnvironmentAwaited {
        /// Which.
        env: EnvId,
    },
    /// Somebody gave an environment another end, or none.
    EnvironmentExtended {
        /// Which.
        env: EnvId,
        /// When it ends; `None`: not by itself.
        until: Option<Timestamp>,
    },
    /// The end of an environment is near, and people are told so from here on. Recorded once for each end.
    ExpiryNear {
        /// Which environment.
        env: EnvId,
    },
    /// An environment goes to sleep: from here on the gateway holds what comes for it, and its instances stop.
    EnvironmentSlept {
        /// Which.
        env: EnvId,
        /// Why.
        cause: Drowsiness,
    },
    /// An environment is woken: its instances start again.
    EnvironmentWoken {
        /// Which.
        env: EnvId,
        /// What wakes it.
        by: Alarm,
    },
    /// An environment ends: from here on nothing brings it up again, and its data goes.
    EnvironmentEnding {
        /// Which.
        env: EnvId,
        /// By what.
        cause: Cause,
        /// Who wants it so; `ward` where its time was over.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Nothing is left of an environment but its history.
    EnvironmentDeleted {
        /// Which.
        env: EnvId,
    },
    /// A release was recorded. From here on everything is by digest.
    ReleaseRecorded {
        /// Which environment.
        env: EnvId,
        /// The whole release.
        release: Box<Release>,
    },
    /// A release is not retained any more: newer ones took its place, and nothing can need it.
    ReleaseRetired {
        /// Which environment.
        env: EnvId,
        /// Which release.
        release: ReleaseId,
    },
    /// A deployment was asked for and waits its turn.
    DeploymentQueued {
        /// Which environment.
        env: EnvId,
        /// The deployment, its phase `Queued`.
        deployment: Box<Deployment>,
    },
    /// A deployment entered another phase; `Finished` carries the verdict.
    DeploymentMoved {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
        /// Where it stands now.
        phase: Phase,
    },
    /// A deployment's release was seen at work: the gateway sends it requests, or a worker of it ran.
    DeploymentServed {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
        /// By the table of which stage, which stays in force; `None`: by what is left of one, or by a worker, on
        /// the way back.
        stage: Option<u32>,
    },
    /// Somebody asked that a deployment stay where it is.
    DeploymentPaused {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
        /// Who.
        by: String,
    },
    /// Somebody asked that a paused deployment go on. Its deadlines count from here.
    DeploymentResumed {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
    },
    /// Somebody asked that stages of a deployment be held no longer.
    DeploymentPromoted {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
        /// The first stage that is still held.
        to: u32,
    },
    /// Somebody asked that a deployment go no further.
    DeploymentCancelled {
        /// Which environment.
        env: EnvId,
        /// Which deployment.
        deployment: DeploymentId,
        /// Who.
        by: String,
    },
    /// A release command begins after which earlier releases do not run any more. Recorded before it is started.
    SchemaChanging {
        /// Which environment.
        env: EnvId,
        /// In which deployment.
        deployment: DeploymentId,
        /// The service that the command belongs to.
        service: Name,
        /// What it does to the schema.
        schema: Schema,
    },
    /// The instances of a service were exchanged for those of another release, and nothing of it ran meanwhile.
    /// Recorded once for each direction.
    ServiceExchanged {
        /// Which environment.
        env: EnvId,
        /// By which deployment.
        deployment: DeploymentId,
        /// Which service, and how long.
        gap: Gap,
    },
    /// Clients of an environment, or of one service, get a page from here on, in place of what they were told
    /// before.
    MaintenanceBegan {
        /// Which environment.
        env: EnvId,
        /// Which service; `None`: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// What they are told.
        maintenance: Maintenance,
        /// Who began it.
        by: String,
    },
    /// They get answers again.
    MaintenanceEnded {
        /// Which environment.
        env: EnvId,
        /// Which service; `None`: all of them, also those that were named alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
    },
    /// Somebody answers for it that a rule of the policy is broken, until a date.
    PolicyWaived {
        /// Which environment.
        env: EnvId,
        /// Which rule.
        rule: Rule,
        /// Until when, exclusive.
        until: Timestamp,
        /// The reason.
        reason: String,
        /// Who.
        by: String,
    },
    /// A rule holds again before its waiver ended.
    PolicyEnforced {
        /// Which environment.
        env: EnvId,
        /// Which rule.
        rule: Rule,
        /// Who asked for it.
        by: String,
    },
    /// Somebody set or unset values. They take part in every release that is recorded from here on.
    ConfigChanged {
        /// Which environment.
        env: EnvId,
        /// The version of its configuration from here on: one more than before.
        version: u64,
        /// What, in one go.
        changes: Vec<ConfigChange>,
    },
    /// A secret has another value. The log never holds it: it is sealed elsewhere, on the disk before this.
    SecretChanged {
        /// Which environment.
        env: EnvId,
        /// Which secret.
        name: SecretName,
        /// The version: one more than before.
        version: u64,
        /// A keyed digest of the value.
        digest: String,
        /// Where it comes from.
        origin: secrets::Origin,
    },
    /// A secret has no value any more. Releases that have one keep it.
    SecretUnset {
        /// Which environment.
        env: EnvId,
        /// Which secret.
        name: SecretName,
    },
    /// The password that a database had before is not valid any more: nothing uses it.
    PasswordWithdrawn {
        /// Which environment.
        env: EnvId,
        /// The password, as the secret that it is.
        name: SecretName,
        /// Which version of it.
        version: u64,
    },
    /// All sealed values were sealed anew under another master key.
    SecretsRekeyed {
        /// The ids of the keys before.
        from: Vec<String>,
        /// The id of the key from here on.
        to: String,
    },
    /// Somebody asked for an environment to be up, down or purged.
    GoalChanged {
        /// Which environment.
        env: EnvId,
        /// What it should be.
        goal: Goal,
    },
    /// New data was filled, and is not filled by that again.
    DataFilled {
        /// Which environment.
        env: EnvId,
        /// In which deployment.
        deployment: DeploymentId,
        /// By what.
        filling: Filling,
        /// The database or volume that was copied, or the service whose command ran.
        component: Name,
    },
    /// A snapshot of a volume is whole. Of the older ones only the newest are kept.
    VolumeSnapshotted {
        /// Which environment.
        env: EnvId,
        /// In which deployment.
        deployment: DeploymentId,
        /// Of which volume.
        volume: Name,
        /// Its number.
        snapshot: SnapshotId,
        /// How many of the volume are kept.
        keep: u32,
    },
    /// A snapshot was put in the place of what a volume held, which is a snapshot itself from here on.
    VolumeRestored {
        /// Which environment.
        env: EnvId,
        /// Which volume.
        volume: Name,
        /// What it holds now.
        snapshot: SnapshotId,
        /// What it held before.
        kept: SnapshotId,
    },
    /// A volume is removed, with its snapshots.
    VolumeDeleted {
        /// Which environment.
        env: EnvId,
        /// Which volume.
        volume: Name,
    },
    /// A backup of a database is to be taken.
    BackupBegan {
        /// Which environment.
        env: EnvId,
        /// Its number: greater than any before.
        backup: BackupId,
        /// Of which database.
        database: Name,
        /// How many of the database are kept that were restored.
        keep: u32,
        /// Who asked for it; `ward` where it was due.
        by: String,
    },
    /// A backup is whole on the disk. It counts when it was restored.
    BackupTaken {
        /// Which environment.
        env: EnvId,
        /// Which backup.
        backup: BackupId,
        /// What lies on the disk.
        file: BackupFile,
    },
    /// A backup was restored into a new place, and holds what it should. Of the older ones only the newest are kept.
    BackupRestored {
        /// Which environment.
        env: EnvId,
        /// Which backup.
        backup: BackupId,
        /// What was counted in it.
        proof: Proof,
    },
    /// A backup could not be taken, or not be restored, and is none.
    BackupFailed {
        /// Which environment.
        env: EnvId,
        /// Which backup.
        backup: BackupId,
        /// Why, in a clause.
        why: String,
    },
    /// The data of an environment was removed, as `GoalChanged` asked for.
    DataPurged {
        /// Which environment.
        env: EnvId,
    },
    /// A command is to run once, in an instance of its own: a job that is due, or what somebody asked for.
    RunQueued {
        /// Which environment.
        env: EnvId,
        /// The run.
        run: Box<Run>,
    },
    /// An attempt of a run has ended; without `again`, so has the run.
    RunTried {
        /// Which environment.
        env: EnvId,
        /// Which run.
        run: RunId,
        /// What became of the attempt.
        attempt: Box<Attempt>,
        /// When it is tried again, at the earliest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// Somebody asked that a run stop.
    RunStopped {
        /// Which environment.
        env: EnvId,
        /// Which run.
        run: RunId,
        /// Who.
        by: String,
    },
    /// A job was due and is not run.
    RunLeftOut {
        /// Which environment.
        env: EnvId,
        /// Which job.
        job: Name,
        /// The moment of its schedule.
        due: Timestamp,
        /// Why, in a clause: `run4 still goes on`.
        because: String,
    },
    /// An instance ended without being asked to. Recorded once, before what is left of it is removed.
    InstanceEnded {
        /// Which environment.
        env: EnvId,
        /// Which instance.
        instance: InstanceId,
        /// How, as a predicate: `was ended by SIGKILL`.
        how: String,
    },
    /// An instance that runs is given up, because other hands changed something of it, or because it was not well when
    /// requests were to go back to it. Recorded once, before another one takes its place.
    InstanceGivenUp {
        /// Which environment.
        env: EnvId,
        /// Which instance.
        instance: InstanceId,
        /// What of it, as a predicate: `was stopped by a signal`.
        because: String,
    },
    /// What somebody wanted deployed was not built, and so nothing was changed.
    BuildEnded {
        /// For which environment, which need not be there.
        env: EnvId,
        /// Why, in a sentence.
        message: String,
    },
    /// A build was made for itself. It is kept, and can be released.
    BuildMade {
        /// The whole build.
        build: Box<KeptBuild>,
    },
    /// A build that was made for itself is kept no more: newer ones took its place.
    BuildDropped {
        /// Of which stack.
        stack: Name,
        /// Its version.
        version: String,
    },
    /// A repository is watched from here on.
    SourceAdded {
        /// The source, without commits.
        source: Box<Source>,
    },
    /// A source proves itself with another token from here on.
    SourceTokenSet {
        /// Which source.
        source: Name,
        /// What it proves itself with.
        login: Login,
    },
    /// A repository is watched no more.
    SourceRemoved {
        /// Which.
        source: Name,
    },
    /// A commit was seen in a source, for the first time.
    CommitSeen {
        /// The source.
        source: Name,
        /// The commit.
        seen: Box<Seen>,
    },
    /// Something became of a commit of a source, or somebody asked that it be tried again.
    CommitMoved {
        /// The source.
        source: Name,
        /// The commit.
        commit: CommitId,
        /// What.
        standing: Standing,
    },
    /// A build begins its way through a pipeline.
    PipelineBegan {
        /// The environment of the first stage, which need not be there yet.
        env: EnvId,
        /// The whole run.
        run: Box<pipeline::Run>,
    },
    /// A stage of a pipeline has got its release, which need not serve yet.
    PipelineReached {
        /// The environment of the stage.
        env: EnvId,
        /// Which run.
        run: PipelineRunId,
        /// What it came to there.
        reached: Reached,
    },
    /// A run of a pipeline stands elsewhere.
    PipelineMoved {
        /// The environment of the stage at which it was.
        env: EnvId,
        /// Which run.
        run: PipelineRunId,
        /// Where it stands now.
        position: Position,
    },
    /// Somebody approved or rejected a run of a pipeline, or tried to.
    PipelineVoted {
        /// The environment of the stage at which it is.
        env: EnvId,
        /// Which run.
        run: PipelineRunId,
        /// The word.
        vote: Vote,
    },
    /// Somebody ran a command inside an instance.
    CommandExecuted {
        /// Which environment.
        env: EnvId,
        /// Where.
        instance: String,
        /// The program.
        program: String,
        /// The whole command as a shell would take it, secrets named in it and not shown, cut where it is long; `None`: an
        /// older Ward did not write that down, a secret is in it in parts, or those could not be opened that might be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        /// Whether it got the instance's secrets; `None`: an older Ward did not write that down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secrets: Option<Disclosure>,
    },
    /// The server started; what it found is in `message`.
    ServerStarted {
        /// The binary's version.
        version: String,
        /// Whether it took over from another version (`ward upgrade`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        upgraded: bool,
        /// Its fencing number; 0 of servers that had none yet.
        #[serde(default, skip_serializing_if = "is_none_yet")]
        term: Term,
    },
    /// A gateway was started, because the one before had ended by itself or did not answer.
    GatewayStarted {
        /// Its process id.
        pid: u32,
    },
    /// The log was found to be other than what was appended to it. Recorded once per finding, because
    /// what was altered stays altered.
    LogFoundAltered {
        /// The first event that is not what was appended, as far as that can be told.
        first: Option<u64>,
        /// What is wrong, as the audit says it.
        breaks: Vec<String>,
    },
}

impl Event {
    /// That an environment was made which the stack file declares, for good, and nobody says by whom.
    #[must_use]
    pub fn created(env: EnvId) -> Self {
        Self::EnvironmentCreated {
            env,
            origin: None,
            copies: None,
            restores: BTreeMap::new(),
            until: None,
            by: String::new(),
            why: String::new(),
        }
    }

    /// What somebody gave as a reason, where the event has it itself, beside its record.
    pub fn reason_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::EnvironmentCreated { why, .. } | Self::EnvironmentEnding { why, .. } => Some(why),
            Self::PolicyWaived { reason, .. } => Some(reason),
            Self::DeploymentQueued { deployment, .. } => deployment.despite_schema.as_mut(),
            Self::PipelineBegan { run, .. } => Some(&mut run.why),
            Self::PipelineVoted { vote, .. } => Some(&mut vote.why),
            _ => None,
        }
    }

    /// The environment that it concerns, if it concerns one.
    #[must_use]
    pub fn env(&self) -> Option<&EnvId> {
        match self {
            Event::EnvironmentCreated { env, .. }
            | Event::EnvironmentAwaited { env }
            | Event::EnvironmentExtended { env, .. }
            | Event::ExpiryNear { env }
            | Event::EnvironmentSlept { env, .. }
            | Event::EnvironmentWoken { env, .. }
            | Event::EnvironmentEnding { env, .. }
            | Event::EnvironmentDeleted { env }
            | Event::ReleaseRecorded { env, .. }
            | Event::ReleaseRetired { env, .. }
            | Event::DeploymentQueued { env, .. }
            | Event::DeploymentMoved { env, .. }
            | Event::DeploymentServed { env, .. }
            | Event::DeploymentPaused { env, .. }
            | Event::DeploymentResumed { env, .. }
            | Event::DeploymentPromoted { env, .. }
            | Event::DeploymentCancelled { env, .. }
            | Event::SchemaChanging { env, .. }
            | Event::ServiceExchanged { env, .. }
            | Event::MaintenanceBegan { env, .. }
            | Event::MaintenanceEnded { env, .. }
            | Event::PolicyWaived { env, .. }
            | Event::PolicyEnforced { env, .. }
            | Event::ConfigChanged { env, .. }
            | Event::SecretChanged { env, .. }
            | Event::SecretUnset { env, .. }
            | Event::PasswordWithdrawn { env, .. }
            | Event::GoalChanged { env, .. }
            | Event::DataFilled { env, .. }
            | Event::VolumeSnapshotted { env, .. }
            | Event::VolumeRestored { env, .. }
            | Event::VolumeDeleted { env, .. }
            | Event::BackupBegan { env, .. }
            | Event::BackupTaken { env, .. }
            | Event::BackupRestored { env, .. }
            | Event::BackupFailed { env, .. }
            | Event::DataPurged { env }
            | Event::RunQueued { env, .. }
            | Event::RunTried { env, .. }
            | Event::RunStopped { env, .. }
            | Event::RunLeftOut { env, .. }
            | Event::InstanceEnded { env, .. }
            | Event::InstanceGivenUp { env, .. }
            | Event::BuildEnded { env, .. }
            | Event::PipelineBegan { env, .. }
            | Event::PipelineReached { env, .. }
            | Event::PipelineMoved { env, .. }
            | Event::PipelineVoted { env, .. }
            | Event::CommandExecuted { env, .. } => Some(env),
            Event::BuildMade { .. }
            | Event::BuildDropped { .. }
            | Event::SourceAdded { .. }
            | Event::SourceTokenSet { .. }
            | Event::SourceRemoved { .. }
            | Event::CommitSeen { .. }
            | Event::CommitMoved { .. }
            | Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::SecretsRekeyed { .. }
            | Event::LogFoundAltered { .. } => None,
        }
    }

    /// The run of a pipeline that it is about, if it is about one.
    #[must_use]
    pub fn pipeline(&self) -> Option<PipelineRunId> {
        match self {
            Event::PipelineBegan { run, .. } => Some(run.id),
            Event::PipelineReached { run, .. }
            | Event::PipelineMoved { run, .. }
            | Event::PipelineVoted { run, .. } => Some(*run),
            _ => None,
        }
    }

    /// The word that stands for it in lists and filters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::EnvironmentCreated { .. } => "environment_created",
            Event::EnvironmentAwaited { .. } => "environment_awaited",
            Event::EnvironmentExtended { .. } => "environment_extended",
            Event::ExpiryNear { .. } => "expiry_near",
            Event::EnvironmentSlept { .. } => "environment_slept",
            Event::EnvironmentWoken { .. } => "environment_woken",
            Event::EnvironmentEnding { .. } => "environment_ending",
            Event::EnvironmentDeleted { .. } => "environment_deleted",
            Event::ReleaseRecorded { .. } => "release_recorded",
            Event::ReleaseRetired { .. } => "release_retired",
            Event::DeploymentQueued { .. } => "deployment_queued",
            Event::DeploymentMoved { .. } => "deployment_moved",
            Event::DeploymentServed { .. } => "deployment_served",
            Event::DeploymentPaused { .. } => "deployment_paused",
            Event::DeploymentResumed { .. } => "deployment_resumed",
            Event::DeploymentPromoted { .. } => "deployment_promoted",
            Event::DeploymentCancelled { .. } => "deployment_cancelled",
            Event::SchemaChanging { .. } => "schema_changing",
            Event::ServiceExchanged { .. } => "service_exchanged",
            Event::MaintenanceBegan { .. } => "maintenance_began",
            Event::MaintenanceEnded { .. } => "maintenance_ended",
            Event::PolicyWaived { .. } => "policy_waived",
            Event::PolicyEnforced { .. } => "policy_enforced",
            Event::ConfigChanged { .. } => "config_changed",
            Event::SecretChanged { .. } => "secret_changed",
            Event::SecretUnset { .. } => "secret_unset",
            Event::PasswordWithdrawn { .. } => "password_withdrawn",
            Event::SecretsRekeyed { .. } => "secrets_rekeyed",
            Event::GoalChanged { .. } => "goal_changed",
            Event::DataFilled { .. } => "data_filled",
            Event::VolumeSnapshotted { .. } => "volume_snapshotted",
            Event::VolumeRestored { .. } => "volume_restored",
            Event::VolumeDeleted { .. } => "volume_deleted",
            Event::BackupBegan { .. } => "backup_began",
            Event::BackupTaken { .. } => "backup_taken",
            Event::BackupRestored { .. } => "backup_restored",
            Event::BackupFailed { .. } => "backup_failed",
            Event::DataPurged { .. } => "data_purged",
            Event::RunQueued { .. } => "run_queued",
            Event::RunTried { .. } => "run_tried",
            Event::RunStopped { .. } => "run_stopped",
            Event::RunLeftOut { .. } => "run_left_out",
            Event::InstanceEnded { .. } => "instance_ended",
            Event::InstanceGivenUp { .. } => "instance_given_up",
            Event::BuildEnded { .. } => "build_ended",
            Event::BuildMade { .. } => "build_made",
            Event::BuildDropped { .. } => "build_dropped",
            Event::SourceAdded { .. } => "source_added",
            Event::SourceTokenSet { .. } => "source_token_set",
            Event::SourceRemoved { .. } => "source_removed",
            Event::CommitSeen { .. } => "commit_seen",
            Event::CommitMoved { .. } => "commit_moved",
            Event::PipelineBegan { .. } => "pipeline_began",
            Event::PipelineReached { .. } => "pipeline_reached",
            Event::PipelineMoved { .. } => "pipeline_moved",
            Event::PipelineVoted { .. } => "pipeline_voted",
            Event::CommandExecuted { .. } => "command_executed",
            Event::ServerStarted { .. } => "server_started",
            Event::GatewayStarted { .. } => "gateway_started",
            Event::LogFoundAltered { .. } => "log_found_altered",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none_yet(term: &Term) -> bool {
    *term == Term(0)
}
