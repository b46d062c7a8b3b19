//! What an event changes in its environment.

use super::{Event, MisfitEvent};
use crate::id::{DeploymentId, InstanceId, Name, ReleaseId};
use crate::life::{Ending, Said};
use crate::maintenance::{Begun, Maintained};
use crate::release::{
    DataState, Deployment, Environment, Gap, Goal, LastEnd, Pause, Phase, Release, Served, Verdict,
};
use crate::run::Run;
use crate::schema::{ChangeEnd, SchemaChange};
use crate::secrets::{self, SecretName, SecretVersion};
use crate::sleep::Sleep;
use crate::spec::Schema;
use crate::time::Timestamp;

/// How many ends of instances an environment remembers: far more than there are instances that are over
/// and not removed yet.
const ENDS: usize = 1000;
/// Of how many of them it remembers how they ended.
const LAST_ENDS: usize = 20;

impl Environment {
    pub(super) fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), MisfitEvent> {
        match event {
            Event::EnvironmentExtended { until, .. } => self.extend(at, *until)?,
            Event::ExpiryNear { .. } => self.warn(at)?,
            Event::EnvironmentSlept { cause, .. } => self.fall_asleep(at, *cause)?,
            Event::EnvironmentWoken { by, .. } => self.wake(at, *by)?,
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
                deployment.resumed = Some(at);
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
            Event::PolicyWaived { .. } | Event::PolicyEnforced { .. } => {
                self.waivers.take(event, at);
            }
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
                self.set_goal(at, *goal);
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
            Event::VolumeSnapshotted {
                deployment,
                volume,
                snapshot,
                keep,
                ..
            } => self.snapshot_before(at, *deployment, (volume, *snapshot, *keep))?,
            Event::VolumeRestored {
                volume,
                snapshot,
                kept,
                ..
            } => self.restore(at, volume, (*snapshot, *kept))?,
            Event::VolumeDeleted { volume, .. } => self.delete_volume(volume),
            Event::BackupBegan { .. }
            | Event::BackupTaken { .. }
            | Event::BackupRestored { .. }
            | Event::BackupFailed { .. } => self.apply_to_backups(at, event)?,
            Event::DataPurged { .. } => {
                self.snapshots.clear();
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
            Event::InstanceEnded { instance, how, .. } => self.end(at, instance, how)?,
            Event::InstanceGivenUp { instance, .. } => self.give_up(instance)?,
            // Made before it is there to be changed.
            Event::EnvironmentCreated { .. }
            | Event::EnvironmentAwaited { .. }
            | Event::BuildEnded { .. }
            | Event::PipelineBegan { .. }
            | Event::PipelineReached { .. }
            | Event::PipelineMoved { .. }
            | Event::PipelineVoted { .. }
            | Event::CommandExecuted { .. }
            | Event::ServerStarted { .. }
            | Event::GatewayStarted { .. }
            | Event::SecretsRekeyed { .. }
            | Event::BuildMade { .. }
            | Event::BuildDropped { .. }
            | Event::SourceAdded { .. }
            | Event::SourceTokenSet { .. }
            | Event::SourceRemoved { .. }
            | Event::CommitSeen { .. }
            | Event::CommitMoved { .. }
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
        if self.is_being_purged() {
            return Err(MisfitEvent::Purging(self.id.clone()));
        }
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

    pub(crate) fn set_goal(&mut self, at: Timestamp, goal: Goal) {
        self.goal = goal;
        if goal != Goal::Up {
            self.taken_down = Some(at);
        }
        // What is brought up is brought up awake.
        self.sleep = Sleep::default();
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
        let number = crate::source::number(&release.build.version);
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
    fn end(&mut self, at: Timestamp, instance: &InstanceId, how: &str) -> Result<(), MisfitEvent> {
        if self.ended.contains(&instance.ordinal()) {
            let what = format!("the end of {instance}");
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        self.ended.push_back(instance.ordinal());
        if self.ended.len() > ENDS {
            self.ended.pop_front();
        }
        self.last_ends.push_back(LastEnd {
            instance: instance.clone(),
            at,
            how: how.to_owned(),
        });
        if self.last_ends.len() > LAST_ENDS {
            self.last_ends.pop_front();
        }
        Ok(())
    }

    /// The first are forgotten, as in [`Self::end`].
    fn give_up(&mut self, instance: &InstanceId) -> Result<(), MisfitEvent> {
        if self.given_up.contains(&instance.ordinal()) {
            let what = format!("that {instance} is given up");
            return Err(MisfitEvent::Repeated(self.id.clone(), what));
        }
        self.given_up.push_back(instance.ordinal());
        if self.given_up.len() > ENDS {
            self.given_up.pop_front();
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
        if succeeded {
            self.declare(to);
        }
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
        let ended_well = self.deployments.values().filter(|d| d.succeeded());
        let served = ended_well.map(|d| d.to);
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
    use crate::id::EnvId;

    #[test]
    fn the_end_of_an_old_instance_is_remembered_after_many_of_newer_ones() {
        let id = EnvId::parse("returns/dev").unwrap();
        let mut env = Environment::new(id);
        let instance = |ordinal: u64| InstanceId::parse(&format!("web-r1-{ordinal}")).unwrap();
        for ordinal in 2..5000 {
            env.end(Timestamp(1), &instance(ordinal), "was ended")
                .unwrap();
        }
        env.end(Timestamp(1), &instance(1), "was ended").unwrap();
        assert!(
            env.ended.contains(&1),
            "it would be recorded again and again"
        );
        assert!(matches!(
            env.end(Timestamp(1), &instance(1), "was ended"),
            Err(MisfitEvent::Repeated(..))
        ));
        assert_eq!((env.ended.len(), env.last_ends.len()), (ENDS, LAST_ENDS));
    }
}
