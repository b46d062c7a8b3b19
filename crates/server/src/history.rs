//! How releases came to their environment, as the log says: who brought them, when, why, from where, past which gates.
//!
//! The state knows what is, the log who wanted it so. What belongs to one request is in the log under one request, so that
//! a release is known to be an earlier one with other values by what was recorded with it.

mod meant;

use std::collections::{BTreeMap, BTreeSet};

use ward_store::Log;
use ward_types::event::{Event, Record};
use ward_types::id::{DeploymentId, EnvId, PipelineRunId, ReleaseId};
use ward_types::person;
use ward_types::pipeline::Run;
use ward_types::policy::{Rule, Waivers};
use ward_types::release::{Deployment, Environment, Phase, Release};
use ward_types::time::Timestamp;
use ward_types::view::{ApprovalView, MoveView, ReleaseDetail, ReleaseView, WaiverView, WayView};

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;
use crate::control::{Control, unread};
use crate::views::cancellation;

/// Which events are asked for.
#[derive(Debug, Clone, Default)]
pub struct Sought {
    /// Of this environment alone.
    pub env: Option<EnvId>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to this moment.
    pub until: Option<Timestamp>,
    /// Of this person: `uid:1000`, `anna`, or both as the log has it.
    pub by: Option<String>,
    /// About this release: that it was recorded, and the deployments that lead to it.
    pub release: Option<ReleaseId>,
    /// About this deployment.
    pub deployment: Option<DeploymentId>,
}

impl Sought {
    /// Whether nothing but an environment is asked for.
    pub(crate) fn is_plain(&self) -> bool {
        let Self {
            env: _,
            since,
            until,
            by,
            release,
            deployment,
        } = self;
        since.is_none()
            && until.is_none()
            && by.is_none()
            && release.is_none()
            && deployment.is_none()
    }

    /// Behind which event to begin, where those behind `after` are asked for: what leads to a release may have begun before.
    pub(crate) fn begins(&self, after: Option<u64>) -> Option<u64> {
        after.filter(|_| self.release.is_none())
    }

    /// Whether a record is one of them. Records are shown in their order: `led` are the deployments that were seen to lead
    /// to the release.
    pub(crate) fn takes(&self, record: &Record, led: &mut BTreeSet<(EnvId, DeploymentId)>) -> bool {
        if let (Event::DeploymentQueued { env, deployment }, Some(release)) =
            (&record.event, self.release)
            && deployment.to == release
        {
            led.insert((env.clone(), deployment.id));
        }
        let of = record.event.env();
        let deployment = deployment_of(&record.event);
        let env = self.env.as_ref().is_none_or(|env| of == Some(env));
        let since = self.since.is_none_or(|since| record.at >= since);
        let until = self.until.is_none_or(|until| record.at <= until);
        let by = self
            .by
            .as_ref()
            .is_none_or(|by| person::is(&record.who, by));
        let led_there = || {
            let named = of.cloned().zip(deployment);
            named.is_some_and(|named| led.contains(&named))
        };
        let release = self
            .release
            .is_none_or(|release| release_of(&record.event) == Some(release) || led_there());
        let same = self.deployment.is_none_or(|id| deployment == Some(id));
        env && since && until && by && release && same
    }
}

/// The deployment that an event is about.
fn deployment_of(event: &Event) -> Option<DeploymentId> {
    match event {
        Event::DeploymentQueued { deployment, .. } => Some(deployment.id),
        Event::DeploymentMoved { deployment, .. }
        | Event::DeploymentServed { deployment, .. }
        | Event::DeploymentPaused { deployment, .. }
        | Event::DeploymentResumed { deployment, .. }
        | Event::DeploymentPromoted { deployment, .. }
        | Event::DeploymentCancelled { deployment, .. }
        | Event::ServiceExchanged { deployment, .. }
        | Event::SchemaChanging { deployment, .. }
        | Event::DataFilled { deployment, .. }
        | Event::VolumeSnapshotted { deployment, .. } => Some(*deployment),
        Event::PipelineReached { reached, .. } => reached.deployment,
        _ => None,
    }
}

/// The release that an event names.
fn release_of(event: &Event) -> Option<ReleaseId> {
    match event {
        Event::ReleaseRecorded { release, .. } => Some(release.id),
        Event::ReleaseRetired { release, .. } => Some(*release),
        Event::DeploymentQueued { deployment, .. } => Some(deployment.to),
        Event::PipelineReached { reached, .. } => Some(reached.release),
        _ => None,
    }
}

/// What the log says of the releases of one environment.
#[derive(Default)]
struct History {
    releases: BTreeMap<ReleaseId, Recorded>,
    deployments: BTreeMap<DeploymentId, String>,
    /// What was set in a request.
    values: BTreeMap<String, Vec<String>>,
    runs: BTreeMap<ReleaseId, PipelineRunId>,
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
                self.runs.insert(reached.release, *run);
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
        let records = self.all_records(env)?;
        let history = History::of(&records);
        let view = self.release_view(known, release, &history);
        let run = self.brought(release, &history);
        let deployments = known.deployments.values().filter(|d| d.to == id);
        let mut events = self.proved_by(env, id, &records);
        if let Some(run) = &run {
            events.extend(self.words_of(run)?);
        }
        let waivers = waived_for(id, &records);
        events.extend(waivers.iter().map(|(seq, _)| *seq));
        Ok(ReleaseDetail {
            env: env.clone(),
            release: view,
            secrets: release.secrets.clone(),
            pipeline: run.as_ref().map(crate::pipelines::view),
            waivers: waivers.into_iter().map(|(_, waiver)| waiver).collect(),
            deployments: deployments.map(|d| moved(d, &history)).collect(),
            events: events.into_iter().collect(),
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
        let run = self.brought(release, history);
        // The deployment that brought it, not those that go back to it.
        let mut brought = env.deployments.values().filter(|d| d.to == release.id);
        ReleaseView {
            id: release.id,
            version: release.build.version.clone(),
            recorded: release.recorded,
            by: release.by.clone(),
            current: env.current == Some(release.id),
            verdict,
            cancelled: cancelled.flatten(),
            barred: env.barred(release.id).cloned(),
            config: release.config.version,
            images: release.build.images.clone(),
            promoted: release.promoted.clone(),
            provenance: release.build.provenance.as_deref().cloned(),
            way: WayView {
                why: recorded.map_or_else(String::new, |recorded| recorded.why.clone()),
                values: history.values(env, release),
                plan: brought.next().and_then(|d| d.plan.clone()),
                run: history.runs.get(&release.id).copied(),
                approved: run.map_or_else(Vec::new, |run| approvals(&run, &env.id)),
            },
        }
    }

    /// The run of a pipeline that brought a release, as far as it is remembered.
    fn brought(&self, release: &Release, history: &History) -> Option<Run> {
        let id = history.runs.get(&release.id)?;
        self.store().state().pipelines.get(id).cloned()
    }

    fn all_records(&self, env: &EnvId) -> Result<Vec<Record>, Refusal> {
        let records = self.store().records(None, usize::MAX, Some(env));
        records.map_err(unread)
    }

    /// The events of the environment that are about a release, with what was set in the same request.
    fn proved_by(&self, env: &EnvId, id: ReleaseId, records: &[Record]) -> BTreeSet<u64> {
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
        let with = records.iter().filter(|record| {
            recorded == Some(record.request.as_str()) && !record.request.is_empty()
        });
        about.iter().copied().chain(with).map(|r| r.seq).collect()
    }

    /// The events of a run: how it began, came to its stages and passed their gates, and who let it through.
    fn words_of(&self, run: &Run) -> Result<Vec<u64>, Refusal> {
        let stages = (0..run.stages.len()).filter_map(|stage| run.env(stage));
        let mut events = Vec::new();
        for env in stages {
            let records = self.all_records(&env)?.into_iter();
            let of_run = records.filter(|record| record.event.pipeline() == Some(run.id));
            events.extend(of_run.map(|record| record.seq));
        }
        Ok(events)
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

    /// The events that are sought after number `after`; without it the newest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sought_events(
        &self,
        after: Option<u64>,
        sought: &Sought,
        limit: usize,
    ) -> Result<Vec<Record>, Refusal> {
        if sought.is_plain() {
            return self.events(after, sought.env.as_ref(), limit);
        }
        let (from, env) = (sought.begins(after), sought.env.as_ref());
        let records = self.store().records(from, usize::MAX, env);
        let records = records.map_err(unread)?;
        let mut led = BTreeSet::new();
        let mut found: Vec<Record> = records
            .into_iter()
            .filter(|record| sought.takes(record, &mut led))
            .chain(self.further_proof(sought)?)
            .filter(|record| after.is_none_or(|after| record.seq > after))
            .collect();
        found.sort_by_key(|record| record.seq);
        found.dedup_by_key(|record| record.seq);
        match after {
            Some(_) => found.truncate(limit),
            None => drop(found.drain(..found.len().saturating_sub(limit))),
        }
        Ok(found)
    }

    /// What proves how a release came to its environment and does not name it: what was set with it, and the words of its
    /// run in other environments.
    fn further_proof(&self, sought: &Sought) -> Result<Vec<Record>, Refusal> {
        let (Some(env), Some(id), None) = (&sought.env, sought.release, sought.deployment) else {
            return Ok(Vec::new());
        };
        let known = self.known(env);
        if !known.is_some_and(|known| known.releases.contains_key(&id)) {
            return Ok(Vec::new());
        }
        let otherwise = Sought {
            env: None,
            release: None,
            ..sought.clone()
        };
        let mut proof = Vec::new();
        for seq in self.release(env, id)?.events {
            let record = self.store().records(seq.checked_sub(1), 1, None);
            proof.extend(record.map_err(unread)?);
        }
        proof.retain(|record| otherwise.takes(record, &mut BTreeSet::new()));
        Ok(proof)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let deployment = serde_json::json!({
            "id": 2, "reason": "deploy", "from": 1, "to": 2, "requested": 5, "started": null, "phase_since": 5,
            "by": "anna", "phase": {"state": "queued"},
        });
        let queued = serde_json::json!(
            {"kind": "deployment_queued", "env": "shop/prod", "deployment": deployment}
        );
        let moved = serde_json::json!({
            "kind": "deployment_moved", "env": "shop/prod", "deployment": 2, "phase": {"state": "preparing"},
        });
        let other = serde_json::json!({
            "kind": "deployment_moved", "env": "shop/prod", "deployment": 3, "phase": {"state": "preparing"},
        });
        let record = |(seq, event): (u64, serde_json::Value)| Record {
            seq,
            at: Timestamp(seq * 1000),
            who: "uid:1000(anna)".to_owned(),
            why: "a fix".to_owned(),
            request: "q1".to_owned(),
            event: serde_json::from_value(event).expect("an event"),
        };
        (0..).zip([queued, moved, other]).map(record).collect()
    }

    fn found(sought: &Sought) -> Vec<u64> {
        let mut led = BTreeSet::new();
        let records = records();
        let found = records.iter().filter(|one| sought.takes(one, &mut led));
        found.map(|record| record.seq).collect()
    }

    #[test]
    fn events_are_found_by_time_person_release_and_deployment() {
        let all = Sought::default();
        assert_eq!(found(&all), [0, 1, 2]);
        let since = Some(Timestamp(1000));
        assert_eq!(
            found(&Sought {
                since,
                ..all.clone()
            }),
            [1, 2]
        );
        let until = Some(Timestamp(1000));
        assert_eq!(
            found(&Sought {
                until,
                ..all.clone()
            }),
            [0, 1]
        );
        let release = Some(ReleaseId(2));
        assert_eq!(
            found(&Sought {
                release,
                ..all.clone()
            }),
            [0, 1]
        );
        let deployment = Some(DeploymentId(3));
        assert_eq!(
            found(&Sought {
                deployment,
                ..all.clone()
            }),
            [2]
        );
        for (by, count) in [
            ("anna", 3),
            ("uid:1000", 3),
            ("uid:1000(anna)", 3),
            ("ann", 0),
        ] {
            let by = Some(by.to_owned());
            assert_eq!(found(&Sought { by, ..all.clone() }).len(), count);
        }
    }
}
