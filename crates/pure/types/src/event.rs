//! Events: the only way state changes, and the audit record of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::configuration::ConfigChange;
use crate::id::{DeploymentId, EnvId, InstanceId, Name, PipelineRunId, ReleaseId, RunId, Term};
use crate::life::{Cause, Ending, Expiry, Filling, Life, Origin, Said};
use crate::maintenance::{Begun, Maintained, Maintenance};
use crate::pipeline::{self, Position, Reached, Vote};
use crate::policy::{Rule, Waiver};
use crate::release::{
    DataState, Deployment, Environment, Gap, Goal, Pause, Phase, Release, Served, Verdict,
};
use crate::run::{Attempt, Run};
use crate::schema::{ChangeEnd, SchemaChange};
use crate::secrets::{self, SecretName, SecretVersion};
use crate::spec::Schema;
use crate::time::Timestamp;

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
        /// The database that was copied, or the service whose command ran.
        component: Name,
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
    /// What somebody wanted deployed was not built, and so nothing was changed.
    BuildEnded {
        /// For which environment, which need not be there.
        env: EnvId,
        /// Why, in a sentence.
        message: String,
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
        /// The program, without its arguments, which may hold what nobody should read.
        program: String,
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
            until: None,
            by: String::new(),
            why: String::new(),
        }
    }

    /// The environment that it concerns, if it concerns one.
    #[must_use]
    pub fn env(&self) -> Option<&EnvId> {
        match self {
            Event::EnvironmentCreated { env, .. }
            | Event::EnvironmentExtended { env, .. }
            | Event::ExpiryNear { env }
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
            | Event::DataPurged { env }
            | Event::RunQueued { env, .. }
            | Event::RunTried { env, .. }
            | Event::RunStopped { env, .. }
            | Event::RunLeftOut { env, .. }
            | Event::InstanceEnded { env, .. }
            | Event::BuildEnded { env, .. }
            | Event::PipelineBegan { env, .. }
            | Event::PipelineReached { env, .. }
            | Event::PipelineMoved { env, .. }
            | Event::PipelineVoted { env, .. }
            | Event::CommandExecuted { env, .. } => Some(env),
            Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::SecretsRekeyed { .. }
            | Event::LogFoundAltered { .. } => None,
        }
    }

    /// The word that stands for it in lists and filters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::EnvironmentCreated { .. } => "environment_created",
            Event::EnvironmentExtended { .. } => "environment_extended",
            Event::ExpiryNear { .. } => "expiry_near",
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
            Event::DataPurged { .. } => "data_purged",
            Event::RunQueued { .. } => "run_queued",
            Event::RunTried { .. } => "run_tried",
            Event::RunStopped { .. } => "run_stopped",
            Event::RunLeftOut { .. } => "run_left_out",
            Event::InstanceEnded { .. } => "instance_ended",
            Event::BuildEnded { .. } => "build_ended",
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

/// How many ends of instances an environment remembers: far more than there are instances that are over
/// and not removed yet.
const ENDS: usize = 1000;

/// Everything that the log says, folded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The environments.
    pub environments: BTreeMap<EnvId, Environment>,
    /// The runs of pipelines, all that there ever were.
    #[serde(default)]
    pub pipelines: BTreeMap<PipelineRunId, pipeline::Run>,
}

/// Why an event does not fit the state. A log that holds such an event was tampered with or written by
/// a newer Ward.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MisfitEvent {
    /// It names an environment that was never made.
    #[error("it names the environment {0}, which was never created")]
    NoEnvironment(EnvId),
    /// It names a deployment that was never queued.
    #[error("it names the deployment {1} of {0}, which was never queued")]
    NoDeployment(EnvId, DeploymentId),
    /// It queues a deployment to a release that is not retained.
    #[error("it leads {0} to {1}, which is not retained")]
    NoRelease(EnvId, ReleaseId),
    /// It moves or cancels a deployment that has ended.
    #[error("it moves or cancels the deployment {1} of {0}, which has ended")]
    Ended(EnvId, DeploymentId),
    /// It starts a deployment while another one is under way.
    #[error("it starts the deployment {1} of {0} while another one is under way")]
    TwoActive(EnvId, DeploymentId),
    /// It retires a release that is not there, that serves or did just before, that is the newest, or that
    /// a deployment leads to.
    #[error("it retires {1} of {0}, which is not retained or still needed")]
    Needed(EnvId, ReleaseId),
    /// It goes back to a release that the schema cannot take, and nobody said that it shall all the same.
    #[error("it leads {0} to {1}, which the schema cannot take since {2}")]
    Barred(EnvId, ReleaseId, Box<SchemaChange>),
    /// It records that a release command begins in a deployment that is not preparing.
    #[error("it begins a release command of the deployment {1} of {0}, which is not preparing")]
    NotPreparing(EnvId, DeploymentId),
    /// It names a run that was never asked for, or that has ended.
    #[error("it names {1} of {0}, which was never asked for or has ended")]
    NoRun(EnvId, RunId),
    /// It names a run of a pipeline that never began, or that is over.
    #[error("it names the pipeline's run {0}, which never began or is over")]
    NoPipelineRun(PipelineRunId),
    /// It deploys to, or changes, an environment that ends or has ended.
    #[error("it names the environment {0}, which ends or has ended")]
    Over(EnvId),
    /// It says that an environment has ended of which something is left.
    #[error("it says that {0} has ended, and it has not")]
    NotOver(EnvId),
    /// It says that an environment's time is over, or nearly, and it is not; or it says so again.
    #[error("it says that the time of {0} is over or nearly over, which is not so or was said")]
    TooEarly(EnvId),
    /// It records something under a number that is taken.
    #[error("it records {1} of {0} again")]
    Repeated(EnvId, String),
}

impl State {
    /// Folds one event in, and says which environment it changed.
    ///
    /// # Errors
    /// [`MisfitEvent`] when the event does not follow from the state; the state is then unchanged.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<Option<EnvId>, MisfitEvent> {
        let Some(id) = event.env() else {
            return Ok(None);
        };
        if let Event::EnvironmentCreated {
            origin,
            copies,
            until,
            by,
            why,
            ..
        } = event
        {
            let (by, why) = (by.clone(), why.clone());
            let life = Life {
                created: Some(Said { at, by, why }),
                origin: origin.as_deref().cloned(),
                copies: copies.clone(),
                expires: until.map(|until| Expiry {
                    at: until,
                    set: at,
                    warned: None,
                }),
                ..Life::default()
            };
            return self.create(id, life).map(Some);
        }
        if matches!(event, Event::BuildEnded { .. }) {
            return Ok(None);
        }
        if let Some(run) = event.pipeline() {
            self.apply_to_pipeline(at, run, event)?;
            return Ok(None);
        }
        let env = self
            .environments
            .get_mut(id)
            .ok_or_else(|| MisfitEvent::NoEnvironment(id.clone()))?;
        env.apply(at, event)?;
        Ok(Some(id.clone()))
    }

    fn create(&mut self, id: &EnvId, life: Life) -> Result<EnvId, MisfitEvent> {
        let known = self.environments.get(id).filter(|env| !env.is_deleted());
        // One that only has values can still become a copy, and nothing else.
        let becomes = |env: &Environment| env.is_bare() && life.origin.is_some();
        if known.is_some_and(|env| !becomes(env)) {
            return Err(MisfitEvent::Repeated(id.clone(), "its creation".into()));
        }
        let env = self.environments.entry(id.clone());
        let env = env.or_insert_with(|| Environment::new(id.clone()));
        env.created(life);
        Ok(id.clone())
    }
}

impl Event {
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
}

impl State {
    fn apply_to_pipeline(
        &mut self,
        at: Timestamp,
        id: PipelineRunId,
        event: &Event,
    ) -> Result<(), MisfitEvent> {
        if let Event::PipelineBegan { env, run } = event {
            if self.pipelines.contains_key(&id) {
                return Err(MisfitEvent::Repeated(env.clone(), id.to_string()));
            }
            self.pipelines.insert(id, (**run).clone());
            return Ok(());
        }
        let run = self.pipelines.get_mut(&id).filter(|run| !run.is_over());
        let run = run.ok_or(MisfitEvent::NoPipelineRun(id))?;
        match event {
            Event::PipelineReached { reached, .. } => run.reached.push(reached.clone()),
            Event::PipelineMoved { position, .. } => {
                run.position = position.clone();
                run.since = at;
            }
            Event::PipelineVoted { vote, .. } => run.votes.push(vote.clone()),
            _ => {}
        }
        Ok(())
    }
}

impl Environment {
    fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), MisfitEvent> {
        match event {
            Event::EnvironmentExtended { until, .. } => self.extend(at, *until)?,
            Event::ExpiryNear { .. } => self.warn(at)?,
            Event::EnvironmentEnding { cause, by, why, .. } => self.settle_end(Ending {
                cause: *cause,
                said: Said {
                    at,
                    by: by.clone(),
                    why: why.clone(),
                },
            })?,
            Event::EnvironmentDeleted { .. } => self.delete(at)?,
            Event::ReleaseRecorded { release, .. } => {
                self.must_live()?;
                if self.releases.contains_key(&release.id) {
                    return Err(MisfitEvent::Repeated(
                        self.id.clone(),
                        release.id.to_string(),
                    ));
                }
                self.builds = self.builds_with(release);
                self.releases.insert(release.id, (**release).clone());
            }
            Event::ReleaseRetired { release, .. } => {
                let known = self.releases.contains_key(release);
                if !known || self.needs(*release) {
                    return Err(MisfitEvent::Needed(self.id.clone(), *release));
                }
                self.releases.remove(release);
            }
            Event::DeploymentQueued { deployment, .. } => {
                self.must_live()?;
                if self.deployments.contains_key(&deployment.id) {
                    return Err(MisfitEvent::Repeated(
                        self.id.clone(),
                        deployment.id.to_string(),
                    ));
                }
                if !self.releases.contains_key(&deployment.to) {
                    return Err(MisfitEvent::NoRelease(self.id.clone(), deployment.to));
                }
                self.takes(deployment)?;
                self.deployments
                    .insert(deployment.id, (**deployment).clone());
            }
            Event::DeploymentMoved {
                deployment, phase, ..
            } => self.move_deployment(at, *deployment, phase)?,
            // Once for each stage: its time counts from the first.
            Event::DeploymentServed {
                deployment, stage, ..
            } => {
                let served = &mut self.unfinished(*deployment)?.served;
                if served.is_none_or(|served| served.stage != *stage) {
                    let stage = *stage;
                    *served = Some(Served { stage, at });
                }
            }
            Event::DeploymentPaused { deployment, by, .. } => {
                let by = by.clone();
                self.unfinished(*deployment)?.paused = Some(Pause { by, at });
            }
            Event::DeploymentResumed { deployment, .. } => {
                let deployment = self.unfinished(*deployment)?;
                deployment.paused = None;
                deployment.phase_since = at;
            }
            Event::DeploymentPromoted { deployment, to, .. } => {
                let deployment = self.unfinished(*deployment)?;
                deployment.promoted = deployment.promoted.max(*to);
            }
            // Once: who asked first has cancelled it.
            Event::DeploymentCancelled { deployment, by, .. } => {
                let cancelled = &mut self.unfinished(*deployment)?.cancelled;
                cancelled.get_or_insert_with(|| by.clone());
            }
            Event::ServiceExchanged {
                deployment, gap, ..
            } => {
                let gaps = &mut self.unfinished(*deployment)?.gaps;
                let same = |g: &Gap| (&g.service, g.release) == (&gap.service, gap.release);
                if gaps.iter().any(same) {
                    let what = format!("the exchange of {} for {}", gap.service, gap.release);
                    return Err(MisfitEvent::Repeated(self.id.clone(), what));
                }
                gaps.push(gap.clone());
            }
            Event::MaintenanceBegan {
                service,
                maintenance,
                by,
                ..
            } => {
                let begun = Begun {
                    maintenance: maintenance.clone(),
                    by: by.clone(),
                    at,
                };
                self.maintained.begin(service.as_ref(), begun);
            }
            Event::MaintenanceEnded { service, .. } => self.maintained.end(service.as_ref()),
            Event::PolicyWaived {
                rule,
                until,
                reason,
                by,
                ..
            } => {
                let waiver = Waiver {
                    until: *until,
                    why: reason.clone(),
                    by: by.clone(),
                    at,
                };
                self.waivers.0.insert(*rule, waiver);
            }
            Event::PolicyEnforced { rule, .. } => drop(self.waivers.0.remove(rule)),
            Event::ConfigChanged {
                version, changes, ..
            } => {
                self.must_live()?;
                if *version != self.configuration.version + 1 {
                    let what = format!("the version {version} of its configuration");
                    return Err(MisfitEvent::Repeated(self.id.clone(), what));
                }
                self.configuration.change(changes);
            }
            Event::SecretChanged {
                name,
                version,
                digest,
                origin,
                ..
            } => {
                let version = SecretVersion {
                    version: *version,
                    digest: digest.clone(),
                    origin: *origin,
                    at,
                };
                self.change_secret(name, version)?;
            }
            Event::SecretUnset { name, .. } => {
                if let Some(held) = self.secrets.get_mut(name) {
                    held.current = None;
                }
            }
            Event::PasswordWithdrawn { name, version, .. } => {
                if let Some(held) = self.secrets.get_mut(name) {
                    held.leaving.take_if(|leaving| leaving.version == *version);
                }
            }
            Event::GoalChanged { goal, .. } => {
                self.must_live()?;
                self.set_goal(*goal);
            }
            Event::RunQueued { run, .. } => self.queue_run(run)?,
            Event::RunTried {
                run,
                attempt,
                again,
                ..
            } => {
                let tried = self.runs.tried(*run, (**attempt).clone(), *again);
                tried.ok_or_else(|| MisfitEvent::NoRun(self.id.clone(), *run))?;
            }
            // Once: who asked first has stopped it.
            Event::RunStopped { run, by, .. } => {
                let open = self.runs.open.get_mut(run);
                let open = open.ok_or_else(|| MisfitEvent::NoRun(self.id.clone(), *run))?;
                open.stopped.get_or_insert_with(|| by.clone());
            }
            Event::RunLeftOut { job, due, .. } => {
                self.runs.due.insert(job.clone(), *due);
            }
            Event::DataFilled {
                deployment,
                filling,
                component,
                ..
            } => {
                let phase = &self.unfinished(*deployment)?.phase;
                if *phase != Phase::Preparing {
                    return Err(MisfitEvent::NotPreparing(self.id.clone(), *deployment));
                }
                self.fill(*filling, component)?;
            }
            Event::DataPurged { .. } => {
                self.data = DataState::New;
                self.schema.clear();
                self.prepared = None;
                self.data_gone = true;
                self.forget_secrets();
                self.empty();
            }
            Event::SchemaChanging {
                deployment,
                service,
                schema,
                ..
            } => self.change_schema(at, *deployment, service, *schema)?,
            Event::InstanceEnded { instance, .. } => self.end(instance)?,
            // Made before it is there to be changed.
            Event::EnvironmentCreated { .. }
            | Event::BuildEnded { .. }
            | Event::PipelineBegan { .. }
            | Event::PipelineReached { .. }
            | Event::PipelineMoved { .. }
            | Event::PipelineVoted { .. }
            | Event::CommandExecuted { .. }
            | Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::SecretsRekeyed { .. }
            | Event::LogFoundAltered { .. } => {}
        }
        Ok(())
    }

    /// What a database's password was stays valid for whoever has it, until that is recorded to be over.
    fn change_secret(
        &mut self,
        name: &SecretName,
        version: SecretVersion,
    ) -> Result<(), MisfitEvent> {
        self.must_live()?;
        if version.version != self.next_secret(name) {
            let what = format!("version {} of the secret {name}", version.version);
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        let held = self.secrets.entry(name.clone()).or_default();
        held.last = version.version;
        let at = version.at;
        let before = held.current.replace(version);
        if name.database().is_some() {
            // Before the first there was one that is no secret of the log.
            held.leaving = before.or(Some(SecretVersion {
                version: 0,
                digest: String::new(),
                origin: secrets::Origin::Generated,
                at,
            }));
        }
        Ok(())
    }

    pub(crate) fn set_goal(&mut self, goal: Goal) {
        self.goal = goal;
        if goal == Goal::Purged {
            // What served did so on data that goes: nothing serves from here on, and no release
            // leads back. The data is there until it is gone.
            self.current = None;
            self.previous = None;
            self.maintained = Maintained::default();
        }
    }

    /// The last build number given out, with a release: one of a build that is there already has a number that
    /// another environment gave out, and a later build here gets a greater one.
    fn builds_with(&self, release: &Release) -> u64 {
        let number = release.build.version.rsplit('.').next();
        let number = number.and_then(|number| number.parse().ok());
        self.builds.max(number.unwrap_or(self.builds + 1))
    }

    /// As a deployment that goes back needs it.
    fn takes(&self, deployment: &Deployment) -> Result<(), MisfitEvent> {
        match self.schema_refuses(deployment) {
            None => Ok(()),
            Some(change) => Err(MisfitEvent::Barred(
                self.id.clone(),
                deployment.to,
                Box::new(change.clone()),
            )),
        }
    }

    /// It counts from here, whatever becomes of it.
    fn change_schema(
        &mut self,
        at: Timestamp,
        id: DeploymentId,
        service: &Name,
        schema: Schema,
    ) -> Result<(), MisfitEvent> {
        let deployment = self.unfinished(id)?.clone();
        if deployment.phase != Phase::Preparing {
            return Err(MisfitEvent::NotPreparing(self.id.clone(), id));
        }
        if self.schema_change(id, service).is_some() {
            let what = format!("the release command of {service} in {id}");
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        self.schema.push(SchemaChange {
            release: deployment.to,
            deployment: id,
            service: service.clone(),
            schema,
            oldest: self.oldest_after(schema, deployment.to),
            at,
            by: deployment.by,
            end: ChangeEnd::Begun,
        });
        Ok(())
    }

    /// What is recorded of a service's release command in a deployment.
    #[must_use]
    pub fn schema_change(&self, id: DeploymentId, service: &Name) -> Option<&SchemaChange> {
        let mut changes = self.schema.iter();
        changes.find(|change| change.deployment == id && change.service == *service)
    }

    /// Those that were recorded first are forgotten: they have been removed long ago, whatever their numbers.
    fn end(&mut self, instance: &InstanceId) -> Result<(), MisfitEvent> {
        if self.ended.contains(&instance.ordinal()) {
            let what = format!("the end of {instance}");
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        self.ended.push_back(instance.ordinal());
        if self.ended.len() > ENDS {
            self.ended.pop_front();
        }
        Ok(())
    }

    fn unfinished(&mut self, id: DeploymentId) -> Result<&mut Deployment, MisfitEvent> {
        let deployment = self
            .deployments
            .get_mut(&id)
            .ok_or_else(|| MisfitEvent::NoDeployment(self.id.clone(), id))?;
        if matches!(deployment.phase, Phase::Finished { .. }) {
            return Err(MisfitEvent::Ended(self.id.clone(), id));
        }
        Ok(deployment)
    }

    fn move_deployment(
        &mut self,
        at: Timestamp,
        id: DeploymentId,
        phase: &Phase,
    ) -> Result<(), MisfitEvent> {
        let current = self.current;
        let other_active = self.active().is_some_and(|active| active.id != id);
        let deployment = self
            .deployments
            .get_mut(&id)
            .ok_or_else(|| MisfitEvent::NoDeployment(self.id.clone(), id))?;
        if matches!(deployment.phase, Phase::Finished { .. }) {
            return Err(MisfitEvent::Ended(self.id.clone(), id));
        }
        if other_active && !matches!(phase, Phase::Finished { .. }) {
            return Err(MisfitEvent::TwoActive(self.id.clone(), id));
        }
        if matches!(phase, Phase::Preparing) {
            let begins = deployment.clone();
            self.takes(&begins)?;
        }
        let deployment = self.unfinished(id)?;
        if deployment.started.is_none() {
            deployment.started = Some(at);
            deployment.from = current;
        }
        deployment.phase_since = at;
        deployment.phase = phase.clone();
        let to = deployment.to;
        if !matches!(phase, Phase::Finished { .. }) {
            self.data_gone = false; // Databases come up.
        }
        if matches!(phase, Phase::Rolling { .. }) {
            self.data = DataState::Kept; // Its release commands have run.
            self.prepared = self.prepared.max(Some(to));
        }
        let end = match phase {
            Phase::Rolling { .. } => ChangeEnd::Ended,
            _ => ChangeEnd::Failed,
        };
        let begun = self
            .schema
            .iter_mut()
            .filter(|change| change.deployment == id);
        for change in begun.filter(|change| change.end == ChangeEnd::Begun) {
            change.end = end;
        }
        let succeeded = matches!(
            phase,
            Phase::Finished {
                verdict: Verdict::Succeeded,
                ..
            }
        );
        if succeeded && self.current != Some(to) {
            self.previous = self.current;
            self.current = Some(to);
        }
        Ok(())
    }

    fn queue_run(&mut self, run: &Run) -> Result<(), MisfitEvent> {
        self.must_live()?;
        if run.id <= self.runs.last {
            return Err(MisfitEvent::Repeated(self.id.clone(), run.id.to_string()));
        }
        if !self.releases.contains_key(&run.release) {
            return Err(MisfitEvent::NoRelease(self.id.clone(), run.release));
        }
        self.runs.queue(run.clone());
        Ok(())
    }

    /// The release that `ward rollback` goes to: what served before, or, after a rollback, the newest
    /// one below the current that once succeeded.
    #[must_use]
    pub fn rollback_target(&self) -> Option<ReleaseId> {
        let current = self.current?;
        let before = self.previous.filter(|id| *id < current);
        before.or_else(|| self.once_served().filter(|id| *id < current).max())
    }

    /// The release that `ward rollforward` goes to: the oldest one above the current that once succeeded.
    #[must_use]
    pub fn rollforward_target(&self) -> Option<ReleaseId> {
        let current = self.current?;
        self.once_served().filter(|id| *id > current).min()
    }

    /// The retained releases that some deployment ended well with.
    pub fn once_served(&self) -> impl Iterator<Item = ReleaseId> + '_ {
        let served = self.deployments.values().filter_map(|d| match d.phase {
            Phase::Finished {
                verdict: Verdict::Succeeded,
                ..
            } => Some(d.to),
            _ => None,
        });
        served.filter(|id| self.releases.contains_key(id))
    }

    /// Whether a release can be needed at any moment: it serves, it did just before, `ward rollback` or
    /// `ward rollforward` leads to it, a deployment that has not ended does, a run that has not ended
    /// runs in it, or it is the newest, whose number the next one counts from.
    #[must_use]
    pub fn needs(&self, release: ReleaseId) -> bool {
        let unfinished = |d: &&Deployment| !matches!(d.phase, Phase::Finished { .. });
        let mut led_to = self.deployments.values().filter(unfinished);
        let newest = self.releases.keys().next_back().copied();
        let named = [
            self.current,
            self.previous,
            self.rollback_target(),
            self.rollforward_target(),
            newest,
        ];
        let mut runs = self.runs.open.values();
        named.contains(&Some(release))
            || led_to.any(|d| d.to == release || d.from == Some(release))
            || runs.any(|run| run.release == release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_old_instance_is_remembered_after_many_of_newer_ones() {
        let id = EnvId::parse("returns/dev").unwrap();
        let mut env = Environment::new(id);
        let instance = |ordinal: u64| InstanceId::parse(&format!("web-r1-{ordinal}")).unwrap();
        for ordinal in 2..5000 {
            env.end(&instance(ordinal)).unwrap();
        }
        env.end(&instance(1)).unwrap();
        assert!(
            env.ended.contains(&1),
            "it would be recorded again and again"
        );
        assert!(matches!(
            env.end(&instance(1)),
            Err(MisfitEvent::Repeated(..))
        ));
        assert_eq!(env.ended.len(), ENDS);
    }
}
