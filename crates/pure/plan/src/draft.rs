//! A plan in the making: collects actions and puts them into the one order that is safe.

use std::collections::BTreeSet;

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Phase};
use ward_types::time::Timestamp;

use crate::action::{Action, Plan, PlannedPool};
use crate::memory::Memory;
use crate::observed::Observed;
use crate::waiting::Waiting;

/// A plan in the making.
pub(crate) struct Draft {
    pub(crate) memory: Memory,
    actions: Vec<Action>,
    waiting: Vec<Waiting>,
    first_ordinal: u64,
    next_ordinal: u64,
    alarm: Option<Timestamp>,
}

impl Draft {
    /// Numbers that are seen are not given out again, even if the counter was lost.
    pub(crate) fn new(next_ordinal: u64, observed: &Observed, memory: Memory) -> Self {
        let seen = observed.instances.keys().map(InstanceId::ordinal).max();
        Self {
            memory,
            actions: Vec::new(),
            waiting: Vec::new(),
            first_ordinal: next_ordinal,
            next_ordinal: next_ordinal.max(seen.map_or(0, |ordinal| ordinal + 1)),
            alarm: None,
        }
    }

    pub(crate) fn start(&mut self, component: &Name, release: ReleaseId, role: Role) {
        let id = InstanceId::new(component, release, self.next_ordinal);
        self.next_ordinal += 1;
        self.actions.push(Action::Start {
            id,
            component: component.clone(),
            release,
            role,
        });
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        if !self.waiting.contains(&waiting) {
            self.waiting.push(waiting);
        }
    }

    /// Has to be planned again at this moment at the latest, although nothing is waited for.
    pub(crate) fn alarm(&mut self, at: Timestamp) {
        self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
    }

    pub(crate) fn enter(&mut self, deployment: &Deployment, phase: Phase) {
        self.actions.push(Action::Move {
            deployment: deployment.id,
            phase,
        });
    }

    pub(crate) fn revert(&mut self, deployment: &Deployment, failure: Failure) {
        self.enter(deployment, Phase::Reverting { failure });
    }

    /// The phase that this plan moves a deployment to, if it does.
    pub(crate) fn entered(&self, deployment: &Deployment) -> Option<&Phase> {
        self.actions.iter().find_map(|action| match action {
            Action::Move {
                deployment: id,
                phase,
            } if *id == deployment.id => Some(phase),
            _ => None,
        })
    }

    /// How many instances of a service this plan starts, so far.
    pub(crate) fn started(&self, service: &Name) -> usize {
        let ours = |action: &&Action| matches!(action, Action::Start { component, role: Role::Service, .. } if component == service);
        self.actions.iter().filter(ours).count()
    }

    /// The pools that this plan routes to, if it routes.
    pub(crate) fn routed(&self) -> &[PlannedPool] {
        let pools = self.actions.iter().find_map(|action| match action {
            Action::Route { pools } => Some(pools.as_slice()),
            _ => None,
        });
        pools.unwrap_or_default()
    }

    /// What is to be recorded first is removed by the next plan: a log that cannot be written forgets nothing.
    fn defer_removals(&mut self) {
        let reported: BTreeSet<InstanceId> = self
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Report { id, .. } => Some(id.clone()),
                Action::Tried { attempt, .. } => attempt.instance.clone(),
                _ => None,
            })
            .collect();
        let is_early =
            |action: &Action| matches!(action, Action::Remove { id } if reported.contains(id));
        self.actions.retain(|action| !is_early(action));
    }

    pub(crate) fn finish(mut self, now: Timestamp) -> Plan {
        self.defer_removals();
        self.actions.sort_by_key(rank);
        let bounds = self.waiting.iter().filter_map(Waiting::bound);
        let moments = bounds.map(|b| b.until).chain(self.alarm);
        let wake = moments.filter(|t| *t > now).min();
        Plan {
            actions: self.actions,
            waiting: self.waiting,
            wake,
            first_ordinal: self.first_ordinal,
            next_ordinal: self.next_ordinal,
            memory: self.memory,
        }
    }
}

/// Routes first, because clients wait for them; but what is seen to serve is recorded before a route can
/// change it, or a server that is killed in between would not know. Moves after what they do not depend on,
/// so that a log that cannot be written keeps nothing from being served; but what is given up is drafted, and so
/// recorded, before another one is started for it: once it stops nobody could tell why. Starts before stops, purging last.
fn rank(action: &Action) -> u8 {
    match action {
        Action::Serve { .. } => 0,
        Action::Route { .. } => 1,
        Action::GiveUp { .. } | Action::Check { .. } | Action::Start { .. } => 2,
        Action::Cut { .. } => 3,
        Action::Stop { .. } => 4,
        Action::Remove { .. } => 5,
        Action::PurgeData => 6,
        Action::Report { .. }
        | Action::ChangeSchema { .. }
        | Action::Exchanged { .. }
        | Action::Tried { .. }
        | Action::Fill { .. }
        | Action::Snapshotted { .. }
        | Action::WarnOfEnd => 7,
        Action::Move { .. } => 8,
        Action::Retire { .. } => 9,
        Action::End { .. } | Action::Delete | Action::Sleep { .. } | Action::Wake { .. } => 10,
    }
}
