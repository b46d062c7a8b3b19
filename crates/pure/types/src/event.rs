//! Events: the only way state changes, and the audit record of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, EnvId, InstanceId, Name, ReleaseId, Term};
use crate::maintenance::{Begun, Maintained, Maintenance};
use crate::release::{
    DataState, Deployment, Environment, Gap, Goal, Pause, Phase, Release, Served, Verdict,
};
use crate::schema::{ChangeEnd, SchemaChange};
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
    /// An environment was made.
    EnvironmentCreated {
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
    /// Somebody asked for an environment to be up, down or purged.
    GoalChanged {
        /// Which environment.
        env: EnvId,
        /// What it should be.
        goal: Goal,
    },
    /// The data of an environment was removed, as `GoalChanged` asked for.
    DataPurged {
        /// Which environment.
        env: EnvId,
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
    /// The environment that it concerns, if it concerns one.
    #[must_use]
    pub fn env(&self) -> Option<&EnvId> {
        match self {
            Event::EnvironmentCreated { env }
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
            | Event::GoalChanged { env, .. }
            | Event::DataPurged { env }
            | Event::InstanceEnded { env, .. }
            | Event::BuildEnded { env, .. }
            | Event::CommandExecuted { env, .. } => Some(env),
            Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::LogFoundAltered { .. } => None,
        }
    }

    /// The word that stands for it in lists and filters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::EnvironmentCreated { .. } => "environment_created",
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
            Event::GoalChanged { .. } => "goal_changed",
            Event::DataPurged { .. } => "data_purged",
            Event::InstanceEnded { .. } => "instance_ended",
            Event::BuildEnded { .. } => "build_ended",
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
        if matches!(event, Event::EnvironmentCreated { .. }) {
            if self.environments.contains_key(id) {
                return Err(MisfitEvent::Repeated(id.clone(), "its creation".into()));
            }
            self.environments
                .insert(id.clone(), Environment::new(id.clone()));
            return Ok(Some(id.clone()));
        }
        if matches!(event, Event::BuildEnded { .. }) {
            return Ok(None);
        }
        let env = self
            .environments
            .get_mut(id)
            .ok_or_else(|| MisfitEvent::NoEnvironment(id.clone()))?;
        env.apply(at, event)?;
        Ok(Some(id.clone()))
    }
}

impl Environment {
    fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), MisfitEvent> {
        match event {
            Event::ReleaseRecorded { release, .. } => {
                if self.releases.contains_key(&release.id) {
                    return Err(MisfitEvent::Repeated(
                        self.id.clone(),
                        release.id.to_string(),
                    ));
                }
                self.builds += 1;
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
            Event::GoalChanged { goal, .. } => {
                self.goal = *goal;
                if *goal == Goal::Purged {
                    // What served did so on data that goes: nothing serves from here on, and no release
                    // leads back. The data is there until it is gone.
                    self.current = None;
                    self.previous = None;
                    self.maintained = Maintained::default();
                }
            }
            Event::DataPurged { .. } => {
                self.data = DataState::New;
                self.schema.clear();
                self.prepared = None;
                self.data_gone = true;
            }
            Event::SchemaChanging {
                deployment,
                service,
                schema,
                ..
            } => self.change_schema(at, *deployment, service, *schema)?,
            Event::InstanceEnded { instance, .. } => self.end(instance)?,
            Event::EnvironmentCreated { .. }
            | Event::BuildEnded { .. }
            | Event::CommandExecuted { .. }
            | Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::LogFoundAltered { .. } => {}
        }
        Ok(())
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
    /// `ward rollforward` leads to it, a deployment that has not ended does, or it is the newest, whose
    /// number the next one counts from.
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
        named.contains(&Some(release)) || led_to.any(|d| d.to == release || d.from == Some(release))
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
