//! What the checker reads off a case: only what is written there.

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Environment, Goal, Phase};
use ward_types::spec::{EnvSpec, ServiceSpec};

use crate::action::{Action, Plan, PlannedPool};
use crate::observed::{Observed, SeenInstance};

/// A plan and what it was made from.
pub(super) struct Case<'a> {
    pub(super) env: &'a Environment,
    pub(super) observed: &'a Observed,
    pub(super) plan: &'a Plan,
}

impl<'a> Case<'a> {
    /// Whether anything of it should run.
    pub(super) fn is_up(&self) -> bool {
        self.env.goal == Goal::Up && self.env.sleep.asleep.is_none()
    }

    pub(super) fn seen(&self, id: &InstanceId) -> Option<&'a SeenInstance> {
        self.observed.instances.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a SeenInstance> + use<'a> {
        self.observed.instances.values()
    }

    pub(super) fn spec(&self, release: ReleaseId) -> Option<&'a EnvSpec> {
        self.env.releases.get(&release).map(|r| &r.spec)
    }

    pub(super) fn declared(&self, release: ReleaseId, service: &Name) -> Option<&'a ServiceSpec> {
        self.spec(release)?.services.get(service)
    }

    /// The deployment that has begun and not ended.
    pub(super) fn active(&self) -> Option<&'a Deployment> {
        let mut deployments = self.env.deployments.values();
        deployments.find(|d| match d.phase {
            Phase::Preparing | Phase::Rolling { .. } | Phase::Reverting { .. } => true,
            Phase::Queued | Phase::Finished { .. } => false,
        })
    }

    /// Whether the plan ends a rollout that was under way.
    pub(super) fn plan_goes_back(&self) -> bool {
        let mut actions = self.plan.actions.iter();
        actions.any(|action| {
            matches!(
                action,
                Action::Move {
                    phase: Phase::Reverting { .. },
                    ..
                }
            )
        })
    }

    /// The pools that the plan routes to.
    pub(super) fn routes(&self) -> Option<&'a [PlannedPool]> {
        self.plan.actions.iter().find_map(|action| match action {
            Action::Route { pools } => Some(pools.as_slice()),
            _ => None,
        })
    }

    /// Whether the table in force, or the one that the plan asks for, names an instance.
    pub(super) fn is_in_rotation(&self, id: &InstanceId) -> bool {
        let planned = self.routes().unwrap_or_default();
        self.is_in_force(id) || planned.iter().any(|p| p.endpoints.contains(id))
    }

    pub(super) fn is_in_force(&self, id: &InstanceId) -> bool {
        let pools = self.observed.gateway.iter().flat_map(|g| &g.pools);
        let mut endpoints = pools.flat_map(|p| &p.endpoints);
        endpoints.any(|e| e.instance == *id)
    }

    /// The instances in rotation for a service by the table in force.
    pub(super) fn in_force_for(&self, service: &Name) -> Vec<&'a InstanceId> {
        let pools = self.observed.gateway.iter().flat_map(|g| &g.pools);
        let pools = pools.filter(|p| p.service == *service);
        pools
            .flat_map(|p| &p.endpoints)
            .map(|e| &e.instance)
            .collect()
    }

    pub(super) fn is_stopped_by_plan(&self, id: &InstanceId) -> bool {
        let mut actions = self.plan.actions.iter();
        actions.any(|a| matches!(a, Action::Stop { id: stopped, .. } if stopped == id))
    }

    /// The instances of one service of one release that are healthy now.
    pub(super) fn healthy_of(&self, release: ReleaseId, service: &Name) -> Vec<&'a SeenInstance> {
        let all = self.all().filter(|i| is_healthy(i));
        all.filter(|i| is_copy_of(i, release, service)).collect()
    }

    /// Whether each service of a release has as many healthy instances as declared.
    pub(super) fn has_started_in_full(&self, release: ReleaseId) -> bool {
        let Some(spec) = self.spec(release) else {
            return false;
        };
        spec.services.iter().all(|(name, service)| {
            self.healthy_of(release, name).len() >= service.instances as usize
        })
    }
}

pub(super) fn is_copy_of(instance: &SeenInstance, release: ReleaseId, service: &Name) -> bool {
    let facts = &instance.facts;
    facts.role == Role::Service && facts.release == release && facts.component == *service
}

pub(super) fn is_healthy(instance: &SeenInstance) -> bool {
    instance.status.state == InstanceState::Healthy
}

/// Whether anything of it still runs.
pub(super) fn runs(instance: &SeenInstance) -> bool {
    !instance.status.state.is_over()
}

/// Whether an instance is to be replaced by another that may not run beside it, and there is none but it.
pub(super) fn goes_first(case: &Case, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let alone = case
        .declared(facts.release, &facts.component)
        .is_some_and(|s| !s.overlap && s.instances == 1);
    alone && instance.altered.is_some()
}
