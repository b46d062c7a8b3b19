//! What the log says, folded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::id::{BackupId, DeploymentId, EnvId, Name, PipelineRunId, ReleaseId, RunId, SnapshotId};
use crate::life::{Expiry, Life, Said};
use crate::pipeline;
use crate::release::Environment;
use crate::schema::SchemaChange;
use crate::source::{KeptBuilds, Source};
use crate::time::Timestamp;

/// How many runs of a pipeline are remembered, beside those that something still depends on.
const PIPELINE_RUNS: usize = 50;

/// Everything that the log says, folded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The environments. Shared, because each append folds into a copy of the state, and concerns few of them.
    pub environments: BTreeMap<EnvId, Arc<Environment>>,
    /// The runs of pipelines, as far as they are remembered.
    #[serde(default)]
    pub pipelines: BTreeMap<PipelineRunId, pipeline::Run>,
    /// The builds of each stack that were made for themselves.
    #[serde(default)]
    pub builds: BTreeMap<Name, KeptBuilds>,
    /// The repositories that are watched.
    #[serde(default)]
    pub sources: BTreeMap<Name, Source>,
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
    /// It puts a snapshot in a volume's place that is not kept, or while the environment is up.
    #[error("it restores {1} of {0}, which is not kept, or while {0} is up")]
    NoSnapshot(EnvId, SnapshotId),
    /// It says something of a backup that was never asked for, has ended, or is not on the disk.
    #[error("it names {1} of {0}, which was never asked for, is not taken, or has ended")]
    NoBackup(EnvId, BackupId),
    /// It deploys to, or changes, an environment that ends or has ended.
    #[error("it names the environment {0}, which ends or has ended")]
    Over(EnvId),
    /// It sets a secret of an environment whose secrets are being removed with its data.
    #[error("it sets a secret of {0}, whose data and secrets are being removed")]
    Purging(EnvId),
    /// It says that an environment has ended of which something is left.
    #[error("it says that {0} has ended, and it has not")]
    NotOver(EnvId),
    /// It says that an environment's time is over, or nearly, and it is not; or it says so again.
    #[error("it says that the time of {0} is over or nearly over, which is not so or was said")]
    TooEarly(EnvId),
    /// It puts an environment to sleep of which something is under way, or that is not awake; or wakes one that is.
    #[error("it puts {0} to sleep, or wakes it, which cannot be now or is so already")]
    Sleepless(EnvId),
    /// It adds a source that is there.
    #[error("it adds the source {0}, which is there")]
    SourceThere(Name),
    /// It names a source that is not there.
    #[error("it names the source {0}, which is not there")]
    NoSource(Name),
    /// It names a commit that was never seen, or sees one again.
    #[error("it names the commit {1} of the source {0}, which was never seen; or sees it again")]
    NoCommit(Name, String),
    /// It drops a build that is not kept, or makes one again, or one without a number.
    #[error("it names the build {1} of {0}, which is not kept; or makes it again")]
    NoBuild(Name, String),
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
        if event.is_of_sources() {
            return self.apply_to_sources(event).map(|()| None);
        }
        let Some(id) = event.env() else {
            return Ok(None);
        };
        if let Event::EnvironmentCreated {
            origin,
            copies,
            restores,
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
                restores: restores.clone(),
                expires: until.map(|until| Expiry {
                    at: until,
                    set: at,
                    warned: None,
                }),
                ..Life::default()
            };
            return self.create(id, life).map(Some);
        }
        if matches!(event, Event::EnvironmentAwaited { .. }) {
            return self.create(id, Life::default()).map(Some);
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
        Arc::make_mut(env).apply(at, event)?;
        Ok(Some(id.clone()))
    }

    /// The environment of this id, also when it is gone.
    #[must_use]
    pub fn environment(&self, id: &EnvId) -> Option<&Environment> {
        self.environments.get(id).map(Arc::as_ref)
    }

    fn create(&mut self, id: &EnvId, life: Life) -> Result<EnvId, MisfitEvent> {
        let known = self.environments.get(id).filter(|env| !env.is_deleted());
        // One that is awaited is made once. An older Ward said that it made those that only had values, and they can
        // still become a copy.
        let made = life.created.is_some();
        let becomes = |env: &Environment| {
            made && env.is_bare() && (env.is_awaited() || life.origin.is_some())
        };
        if known.is_some_and(|env| !becomes(env)) {
            return Err(MisfitEvent::Repeated(id.clone(), "its creation".into()));
        }
        let env = self.environments.entry(id.clone());
        let env = env.or_insert_with(|| Arc::new(Environment::new(id.clone())));
        Arc::make_mut(env).created(life);
        Ok(id.clone())
    }

    /// Of the runs of a pipeline those are remembered that are under way, the newest, and of each build that a release
    /// in some environment has the last one, which says whether it may be promoted.
    fn forget_runs(&mut self, new: &pipeline::Run) {
        let environments = self.environments.values();
        let environments = environments.filter(|env| env.id.stack() == new.stack);
        let releases = environments.flat_map(|env| env.releases.values());
        let mut needed: BTreeSet<&str> = releases.map(|r| r.build.version.as_str()).collect();
        let of = |run: &&pipeline::Run| run.stack == new.stack && run.pipeline == new.pipeline;
        let mut newer = 0;
        let mut over = Vec::new();
        for run in self.pipelines.values().rev().filter(of) {
            newer += 1;
            let last_of_build = needed.remove(run.build.version.as_str());
            if newer > PIPELINE_RUNS && run.is_over() && !last_of_build {
                over.push(run.id);
            }
        }
        for id in over {
            self.pipelines.remove(&id);
        }
    }

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
            // Its build has a number before any release has it, and whether or not one ever does.
            let number = crate::source::number(&run.build.version).unwrap_or_default();
            let builds = self.builds.entry(run.stack.clone()).or_default();
            builds.last = builds.last.max(number);
            self.pipelines.insert(id, (**run).clone());
            self.forget_runs(run);
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
            Event::PipelineVoted { vote, .. } => run.votes.push(pipeline::Vote {
                at: Some(at),
                ..vote.clone()
            }),
            _ => {}
        }
        Ok(())
    }
}
