//! How releases came to their environment, as the log says: who brought them, when, why, from where, past which gates.
//!
//! The state knows what is, the log who wanted it so. What belongs to one request is in the log under one request, so that
//! a release is known to be an earlier one with other values by what was recorded with it.

mod meant;

use std::collections::{BTreeMap, BTreeSet};

use ward_store::Log;
use ward_types::event::{Event, Record};
use ward_types::id::{DeploymentId, EnvId, PipelineRunId, ReleaseId};
use ward_types::pipeline::Run;
use ward_types::policy::{Rule, Waivers};
use ward_types::release::{Deployment, Environment, Goal, Phase, Release};
use ward_types::view::{ApprovalView, MoveView, ReleaseDetail, ReleaseView, WaiverView, WayView};

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;
use crate::control::{Control, unread};
use crate::sought::Sought;
use crate::views::cancellation;

/// What the log says of the releases of one environment.
#[derive(Default)]
struct History {
    releases: BTreeMap<ReleaseId, Recorded>,
    deployments: BTreeMap<DeploymentId, String>,
    /// What was set in a request.
    values: BTreeMap<String, Vec<String>>,
    /// The runs that recorded a release.
    runs: BTreeMap<ReleaseId, PipelineRunId>,
    /// The last run that came to a release, also where it was there already.
    came: BTreeMap<ReleaseId, PipelineRunId>,
}

/// That a release was recorded.
struct Recorded {
    why: String,
    request: String,
}

impl History {
    fn of(records: &[Record]) -> Self {
        let mut history = Self::default();
        for record in records {
            history.add(record);
        }
        history
    }

    fn add(&mut self, record: &Record) {
        let (why, request) = (record.why.clone(), record.request.clone());
        let mut value = |text: String| {
            let of = self.values.entry(record.request.clone());
            of.or_default().push(text);
        };
        match &record.event {
            Event::ConfigChanged { changes, .. } => {
                changes.iter().for_each(|change| value(change.to_string()));
            }
            Event::SecretChanged { name, version, .. } => {
                value(format!("secret {name}: version {version}"));
            }
            Event::SecretUnset { name, .. } => value(format!("secret {name} unset")),
            Event::ReleaseRecorded { release, .. } => {
                let recorded = Recorded { why, request };
                self.releases.insert(release.id, recorded);
            }
            Event::DeploymentQueued { deployment, .. } => {
                self.deployments.insert(deployment.id, why);
            }
            Event::PipelineReached { run, reached, .. } => {
                let release = reached.release;
                let recorded = self.releases.get(&release);
                let made = recorded.is_some_and(|recorded| recorded.request == request);
                if made && reached.deployment.is_some() {
                    self.runs.insert(release, *run);
                }
                self.came.insert(release, *run);
            }
            _ => {}
        }
    }

    /// What was set with a release: what makes it another one than the release before, of the same build.
    fn values(&self, env: &Environment, release: &Release) -> Vec<String> {
        let mut before = env.releases.range(..release.id).map(|(_, before)| before);
        let again = before.any(|before| before.build == release.build);
        let recorded = self.releases.get(&release.id).filter(|_| again);
        let values = recorded.and_then(|recorded| self.values.get(&recorded.request));
        values.cloned().unwrap_or_default()
    }
}

/// Why a deployment was asked for, and why it was paused the last time; each may be empty.
#[derive(Default)]
pub(crate) struct SaidOf {
    pub(crate) asked: String,
    pub(crate) paused: String,
}

impl Control {
    /// The releases of an environment, newest first and at most so many, and how each came there.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn releases(&self, env: &EnvId, limit: usize) -> Result<Vec<ReleaseView>, Refusal> {
        let Some(known) = self.known(env) else {
            return Ok(Vec::new());
        };
        let history = History::of(&self.all_records(env)?);
        let releases = known.releases.values().rev().take(limit);
        Ok(releases
            .map(|release| self.release_view(&known, release, &history))
            .collect())
    }

    /// All that is known of one release.
    ///
    /// # Errors
    /// When there is no such release any more, and when the log cannot be read.
    pub fn release(&self, env: &EnvId, id: ReleaseId) -> Result<ReleaseDetail, Refusal> {
        let known = self.known(env);
        let found = known
            .as_ref()
            .and_then(|known| Some((known, known.releases.get(&id)?)));
        let Some((known, release)) = found else {
            return Err(no_release(env, id));
        };
        let proof = self.proof(known, release, &self.all_records(env)?)?;
        let deployments = known.deployments.values().filter(|d| d.to == id);
        Ok(ReleaseDetail {
            env: env.clone(),
            release: self.release_view(known, release, &proof.history),
            secrets: release.secrets.clone(),
            pipeline: proof.run.as_ref().map(crate::pipelines::view),
            waivers: proof.waivers,
            deployments: deployments.map(|d| moved(d, &proof.history)).collect(),
            events: proof.events.into_keys().collect(),
        })
    }

    fn release_view(&self, env: &Environment, release: &Release, history: &History) -> ReleaseView {
        let mut deployments = env.deployments.values().rev();
        let ended = deployments.find_map(|d| match d.phase {
            Phase::Finished { verdict, .. } if d.to == release.id => {
                Some((verdict, cancellation(d)))
            }
            _ => None,
        });
        let (verdict, cancelled) = ended.unzip();
        let recorded = history.releases.get(&release.id);
        let run = history.runs.get(&release.id);
        let run = run.and_then(|id| self.remembered(*id));
        // What a run records says only which run it is.
        let why = match (&run, recorded) {
            (Some(run), _) => run.why.clone(),
            (None, recorded) => recorded.map_or_else(String::new, |recorded| recorded.why.clone()),
        };
        // The deployment that brought it, not those that go back to it.
        let mut brought = env.deployments.values().filter(|d| d.to == release.id);
        ReleaseView {
            id: release.id,
            version: release.build.version.clone(),
            recorded: release.recorded,
            by: release.by.clone(),
            current: env.current == Some(release.id),
            down: env.goal != Goal::Up,
            verdict,
            cancelled: cancelled.flatten(),
            barred: env.barred(release.id).cloned(),
            config: release.config.version,
            images: release.build.images.clone(),
            promoted: release.promoted.clone(),
            provenance: release.build.provenance.as_deref().cloned(),
            way: WayView {
                why,
                values: history.values(env, release),
                plan: brought.next().and_then(|d| d.plan.clone()),
                run: history.runs.get(&release.id).copied(),
                approved: run.map_or_else(Vec::new, |run| approvals(&run, &env.id)),
            },
        }
    }

    /// The run of a pipeline that brought a release, or else the last that found it there; as far as it is remembered.
    fn came(&self, release: &Release, history: &History) -> Option<Run> {
        let brought = history.runs.get(&release.id);
        self.remembered(*brought.or_else(|| history.came.get(&release.id))?)
    }

    fn remembered(&self, id: PipelineRunId) -> Option<Run> {
        self.store().state().pipelines.get(&id).cloned()
    }

    fn all_records(&self, env: &EnvId) -> Result<Vec<Record>, Refusal> {
        let records = self.store().records(None, usize::MAX, Some(env));
        records.map_err(unread)
    }

    /// What the log says of how a release came to its environment, whose records these are, all of them. Those of the other
    /// environments of its run are read for it.
    pub(crate) fn proof(
        &self,
        env: &Environment,
        release: &Release,
        records: &[Record],
    ) -> Result<Proof, Refusal> {
        let history = History::of(records);
        let run = self.came(release, &history);
        let (said, waivers): (BTreeSet<u64>, Vec<WaiverView>) =
            waived_for(release.id, records).into_iter().unzip();
        let about = about(&env.id, release.id, records);
        let of_run = |record: &&Record| {
            let run = run.as_ref().map(|run| run.id);
            run.is_some() && record.event.pipeline() == run
        };
        let proves = |record: &&Record| {
            about.contains(&record.seq) || said.contains(&record.seq) || of_run(record)
        };
        let numbered = |record: &Record| (record.seq, record.clone());
        let mut events: BTreeMap<u64, Record> =
            records.iter().filter(proves).map(numbered).collect();
        let stages = run
            .iter()
            .flat_map(|run| (0..run.stages.len()).filter_map(|stage| run.env(stage)));
        for stage in stages.filter(|stage| *stage != env.id) {
            let records = self.all_records(&stage)?;
            events.extend(records.iter().filter(of_run).map(numbered));
        }
        Ok(Proof {
            history,
            run,
            waivers,
            events,
        })
    }

    /// What was said of a deployment.
    pub(crate) fn said_of(&self, env: &EnvId, id: DeploymentId) -> Result<SaidOf, Refusal> {
        let mut said = SaidOf::default();
        for record in self.all_records(env)? {
            match record.event {
                Event::DeploymentQueued { deployment, .. } if deployment.id == id => {
                    said.asked = record.why;
                }
                Event::DeploymentPaused { deployment, .. } if deployment == id => {
                    said.paused = record.why;
                }
                _ => {}
            }
        }
        Ok(said)
    }
}

/// What the log says of how a release came to its environment.
pub(crate) struct Proof {
    history: History,
    /// The run of a pipeline that brought it or found it there, as far as it is remembered.
    run: Option<Run>,
    waivers: Vec<WaiverView>,
    /// By their numbers.
    pub(crate) events: BTreeMap<u64, Record>,
}

/// The events of an environment that are about a release, with what was set in the same request.
fn about(env: &EnvId, id: ReleaseId, records: &[Record]) -> BTreeSet<u64> {
    let sought = Sought {
        env: Some(env.clone()),
        release: Some(id),
        ..Sought::default()
    };
    let mut led = BTreeSet::new();
    let about = records
        .iter()
        .filter(|record| sought.takes(record, &mut led));
    let about: Vec<&Record> = about.collect();
    let recorded = about.iter().find_map(|record| {
        let recorded = matches!(record.event, Event::ReleaseRecorded { .. });
        recorded.then_some(record.request.as_str())
    });
    let with = records
        .iter()
        .filter(|record| recorded == Some(record.request.as_str()) && !record.request.is_empty());
    about.iter().copied().chain(with).map(|r| r.seq).collect()
}

/// Who answered for broken rules when a release was recorded, and when it was deployed; with the events that say so.
fn waived_for(id: ReleaseId, records: &[Record]) -> Vec<(u64, WaiverView)> {
    let mut held = Waivers::default();
    let mut said: BTreeMap<Rule, u64> = BTreeMap::new();
    let mut found: BTreeMap<u64, WaiverView> = BTreeMap::new();
    for record in records {
        held.take(&record.event, record.at);
        if let Event::PolicyWaived { rule, .. } = &record.event {
            said.insert(*rule, record.seq);
        }
        if !names(&record.event, id) {
            continue;
        }
        let now = now();
        for (rule, waiver) in held.0.iter().filter(|(_, one)| one.until > record.at) {
            let view = WaiverView {
                rule: *rule,
                holds: waiver.until > now,
                waiver: waiver.clone(),
            };
            found.extend(said.get(rule).map(|seq| (*seq, view)));
        }
    }
    found.into_iter().collect()
}

/// Whether a release is recorded by an event, or a deployment to it is.
fn names(event: &Event, id: ReleaseId) -> bool {
    match event {
        Event::ReleaseRecorded { release, .. } => release.id == id,
        Event::DeploymentQueued { deployment, .. } => deployment.to == id,
        _ => false,
    }
}

fn moved(deployment: &Deployment, history: &History) -> MoveView {
    let (ended, verdict) = match deployment.phase {
        Phase::Finished { verdict, at, .. } => (Some(at), Some(verdict)),
        _ => (None, None),
    };
    let why = history.deployments.get(&deployment.id);
    MoveView {
        id: deployment.id,
        reason: deployment.reason,
        by: deployment.by.clone(),
        why: why.cloned().unwrap_or_default(),
        plan: deployment.plan.clone(),
        requested: deployment.requested,
        ended,
        verdict,
        cancelled: cancellation(deployment),
    }
}

/// The words by which a run came to a stage.
fn approvals(run: &Run, to: &EnvId) -> Vec<ApprovalView> {
    let stages = (0..run.stages.len()).map_while(|stage| {
        let env = run.env(stage)?;
        (env != *to).then_some((stage, env))
    });
    let approved = stages.filter_map(|(stage, env)| {
        let vote = run.approval(stage)?;
        Some(ApprovalView {
            stage: env,
            by: vote.by.clone(),
            at: vote.at,
            why: vote.why.clone(),
        })
    });
    approved.collect()
}

fn no_release(env: &EnvId, id: ReleaseId) -> Refusal {
    let message = format!("{env} has no release {id}, or not any more");
    Refusal::new(RefusalKind::NotFound, message).hint(format!(
        "`ward releases` lists those that are retained; `ward events --env {env} --release {id}` shows what the log says of it"
    ))
}
