//! The scene: environment, observation, moment and memory together, and what can be read off them
//! without deciding anything.

use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Environment, Phase};
use ward_types::spec::{Deadlines, EnvSpec, ServiceSpec};
use ward_types::table::{Pool, Traffic};
use ward_types::time::{Millis, Timestamp};

use crate::limits;
use crate::memory::Memory;
use crate::observed::{Observed, SeenGateway, SeenInstance};
use crate::stages::Rollout;
use crate::waiting::Bound;

/// What a plan is made from.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) memory: &'a Memory,
    /// The stages of the deployment that is under way.
    pub(crate) rollout: Option<&'a Rollout>,
    pub(crate) stand: Stand,
}

/// Where the table should stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// Nothing rolls out or back.
    Rest,
    /// The first stage is not ready.
    Before,
    /// At this stage: all that it needs is healthy, or was when it was reached.
    At(u32),
    /// On the way back.
    Back,
}

impl<'a> Scene<'a> {
    pub(crate) fn spec(&self, release: ReleaseId) -> Option<&'a EnvSpec> {
        self.env.releases.get(&release).map(|r| &r.spec)
    }

    pub(crate) fn service(&self, release: ReleaseId, name: &Name) -> Option<&'a ServiceSpec> {
        self.spec(release)?.services.get(name)
    }

    /// How long is waited for what belongs to no service.
    pub(crate) fn deadlines(&self, release: ReleaseId) -> Deadlines {
        self.spec(release).map(|s| s.deadlines).unwrap_or_default()
    }

    /// Those of the release that databases run with: the one that is deployed, or that serves, or the newest.
    pub(crate) fn in_charge(&self) -> Deadlines {
        let newest = || self.env.releases.keys().next_back().copied();
        let release = self.active().map(|d| d.to).or(self.current());
        let release = release.or_else(newest);
        let deadlines = release.map(|release| self.deadlines(release));
        deadlines.unwrap_or_default()
    }

    /// The release that serves, if it is retained.
    pub(crate) fn current(&self) -> Option<ReleaseId> {
        self.env.current_release().map(|r| r.id)
    }

    pub(crate) fn active(&self) -> Option<&'a Deployment> {
        self.env.active()
    }

    /// The release that rolls out now.
    pub(crate) fn rolling(&self) -> Option<ReleaseId> {
        let active = self.active()?;
        matches!(active.phase, Phase::Rolling { .. }).then_some(active.to)
    }

    /// The stage that the active deployment is at, if it rolls out.
    pub(crate) fn stage(&self) -> Option<u32> {
        self.rollout?.stage(self.active()?)
    }

    /// Since when the active deployment is in its phase. A clock that was set back cannot hide that it began.
    pub(crate) fn phase_since(&self, deployment: &Deployment) -> Timestamp {
        let seen = deployment.phase_since.min(self.now);
        match self.memory.phase {
            Some((id, recorded, noted))
                if id == deployment.id && recorded == deployment.phase_since =>
            {
                seen.min(noted)
            }
            _ => seen,
        }
    }

    pub(crate) fn seen(&self) -> impl Iterator<Item = &'a SeenInstance> + use<'a> {
        self.observed.instances.values()
    }

    /// The instances of one component of one release, the oldest first.
    pub(crate) fn group(
        &self,
        role: Role,
        release: ReleaseId,
        component: &Name,
    ) -> Vec<&'a SeenInstance> {
        let mut group: Vec<_> = self
            .seen()
            .filter(|i| i.facts.role == role && i.facts.release == release)
            .filter(|i| i.facts.component == *component)
            .collect();
        group.sort_by_cached_key(|i| i.facts.id.ordinal());
        group
    }

    pub(crate) fn gateway(&self) -> Option<&'a SeenGateway> {
        self.observed.gateway.as_ref()
    }

    pub(crate) fn pools(&self) -> &'a [Pool] {
        self.gateway().map_or(&[], |g| &g.pools)
    }

    /// Whether the table in force sends requests to an instance; no, as far as one knows, without a gateway.
    pub(crate) fn in_force(&self, id: &InstanceId) -> bool {
        let mut endpoints = self.pools().iter().flat_map(|p| &p.endpoints);
        endpoints.any(|e| e.instance == *id)
    }

    /// Whether the table in force sends any request to a release.
    pub(crate) fn release_in_force(&self, release: ReleaseId) -> bool {
        let mut endpoints = self.pools().iter().flat_map(|p| &p.endpoints);
        endpoints.any(|e| e.release == release)
    }

    pub(crate) fn traffic(&self, id: &InstanceId) -> Traffic {
        let seen = self.gateway().and_then(|g| g.traffic.get(id));
        seen.copied().unwrap_or_default()
    }

    pub(crate) fn drain_timeout(&self, instance: &SeenInstance) -> Millis {
        let service = self.service(instance.facts.release, &instance.facts.component);
        service.map_or(limits::DRAIN_DEFAULT, |s| s.drain_timeout)
    }

    pub(crate) fn long_drain(&self, instance: &SeenInstance) -> Millis {
        let service = self.service(instance.facts.release, &instance.facts.component);
        service.map_or(limits::LONG_DRAIN_DEFAULT, ServiceSpec::long_drain)
    }

    pub(crate) fn stop_timeout(&self, instance: &SeenInstance) -> Millis {
        if instance.facts.role == Role::Database {
            let given_up = self.memory.given_up.contains(&instance.facts.id);
            let starts = instance.status.state == InstanceState::Starting;
            return match given_up || starts {
                true => limits::DATABASE_STOP_UNSTARTED,
                false => self.in_charge().database_stop,
            };
        }
        let service = self.service(instance.facts.release, &instance.facts.component);
        service.map_or(limits::STOP_DEFAULT, |s| s.stop_timeout)
    }

    /// Whether the budget that began at `since` is out. One that begins in the future was written before
    /// the clock was set back, and is not out.
    pub(crate) fn is_past(&self, bound: &Bound) -> bool {
        self.now >= bound.until
    }
}

impl SeenInstance {
    pub(crate) fn is_over(&self) -> bool {
        self.status.state.is_over()
    }

    /// Runs, and nobody asked it to stop.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_over() && self.status.state != InstanceState::Stopping
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.status.state == InstanceState::Healthy
    }

    /// Ended without being asked to.
    pub(crate) fn has_failed(&self) -> bool {
        let asked = matches!(self.status.state, InstanceState::Exited { asked: true, .. });
        self.is_over() && !asked
    }

    /// Whether a routing table may name it.
    pub(crate) fn is_routable(&self) -> bool {
        self.facts.role == Role::Service && self.facts.port.is_some()
    }
}

impl Bound {
    /// A limit that a setting of the stack file changes.
    pub(crate) fn setting(since: Timestamp, limit: Millis, setting: &'static str) -> Self {
        Self {
            until: since + limit,
            limit,
            setting: Some(setting),
        }
    }

    /// A limit of Ward's own.
    pub(crate) fn fixed(since: Timestamp, limit: Millis) -> Self {
        Self {
            until: since + limit,
            limit,
            setting: None,
        }
    }
}
