//! Events that are looked for: by environment, time, person, release and deployment.

use std::collections::BTreeSet;

use ward_store::Log;
use ward_types::event::{Event, Record};
use ward_types::id::{DeploymentId, EnvId, ReleaseId};
use ward_types::person;
use ward_types::time::Timestamp;

use crate::actor::Refusal;
use crate::control::{Control, unread};

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

impl Control {
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
        let further = self.further_proof(sought, &records)?;
        let mut led = BTreeSet::new();
        let mut found: Vec<Record> = records
            .into_iter()
            .filter(|record| sought.takes(record, &mut led))
            .chain(further)
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
    /// run in other environments. `records` are all of the environment.
    fn further_proof(&self, sought: &Sought, records: &[Record]) -> Result<Vec<Record>, Refusal> {
        let (Some(env), Some(id), None) = (&sought.env, sought.release, sought.deployment) else {
            return Ok(Vec::new());
        };
        let Some(known) = self.known(env) else {
            return Ok(Vec::new());
        };
        let Some(release) = known.releases.get(&id) else {
            return Ok(Vec::new());
        };
        let otherwise = Sought {
            env: None,
            release: None,
            ..sought.clone()
        };
        let proof = self.proof(&known, release, records)?.events.into_values();
        let proof = proof.filter(|record| otherwise.takes(record, &mut BTreeSet::new()));
        Ok(proof.collect())
    }
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
