//! What a deployment's strategies allow, worked out anew from the two releases: nothing here is the planner's.

use ward_types::id::{Name, ReleaseId};
use ward_types::release::{Deployment, Phase, Reason};
use ward_types::spec::{EnvSpec, ServiceSpec, Strategy};
use ward_types::table::Split;

use super::facts::Case;
use crate::action::PlannedPool;

/// A new release that is deployed beside the one that serves.
pub(super) struct Course<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) old: ReleaseId,
    old_spec: &'a EnvSpec,
    new_spec: &'a EnvSpec,
}

impl<'a> Course<'a> {
    /// Of the deployment that is under way, if it rolls out or back beside another release.
    pub(super) fn of(case: &Case<'a>) -> Option<Self> {
        let deployment = case.active().filter(|_| case.is_up())?;
        let moves = matches!(
            deployment.phase,
            Phase::Rolling { .. } | Phase::Reverting { .. }
        );
        let old = case.env.current.filter(|old| *old != deployment.to)?;
        let course = Self {
            deployment,
            old,
            old_spec: case.spec(old)?,
            new_spec: case.spec(deployment.to)?,
        };
        let beside = course.follows_strategies() || course.exchanges_any();
        (moves && beside).then_some(course)
    }

    /// A rollback does not.
    pub(super) fn follows_strategies(&self) -> bool {
        self.deployment.reason == Reason::Deploy
    }

    /// Whether the old instances of a service must be gone before the new ones start.
    pub(super) fn exchanges(&self, service: &Name) -> bool {
        self.pair(service).is_some_and(|(old, new)| {
            let run = old.instances > 0 && new.instances > 0;
            run && (!old.overlap || !new.overlap)
        })
    }

    fn exchanges_any(&self) -> bool {
        self.services().any(|name| self.exchanges(name))
    }

    /// Whether the old instances of a service may be stopped: at the last stage, and not before.
    pub(super) fn is_exchanging(&self, service: &Name) -> bool {
        self.exchanges(service) && self.is_at_the_exchange()
    }

    /// Whether it is at the stage at which all that does not overlap is exchanged.
    pub(super) fn is_at_the_exchange(&self) -> bool {
        self.exchanges_any() && self.stage() == Some(self.length() - 1)
    }

    pub(super) fn new_release(&self) -> ReleaseId {
        self.deployment.to
    }

    /// The stage by the log; `None` on the way back.
    pub(super) fn stage(&self) -> Option<u32> {
        match self.deployment.phase {
            Phase::Rolling { stage } => Some(stage.min(self.length() - 1)),
            _ => None,
        }
    }

    /// Whether the deployment goes back, or would by this plan.
    pub(super) fn goes_back(&self, case: &Case) -> bool {
        self.stage().is_none() || case.plan_goes_back()
    }

    fn pair(&self, service: &Name) -> Option<(&'a ServiceSpec, &'a ServiceSpec)> {
        let old = self.old_spec.services.get(service)?;
        Some((old, self.new_spec.services.get(service)?))
    }

    /// Both releases, where clients reach both.
    fn shared(&self, service: &Name) -> Option<(&'a ServiceSpec, &'a ServiceSpec)> {
        let serves = |s: &ServiceSpec| s.port.is_some() && s.instances > 0;
        let pair = self.pair(service).filter(|_| !self.exchanges(service));
        pair.filter(|(old, new)| serves(old) && serves(new))
    }

    /// How many stages there are in all.
    pub(super) fn length(&self) -> u32 {
        self.stages() + u32::from(self.exchanges_any())
    }

    /// How many there are of the strategies alone: an exchange adds one.
    fn stages(&self) -> u32 {
        let services = self.new_spec.services.keys();
        let lengths = services.map(|name| self.length_of(name));
        lengths.max().unwrap_or(1).max(1)
    }

    /// How many stages must have been left at least before a stage may be entered. No promotion leaves out
    /// the one in which everything but the exchange gets ready.
    pub(super) fn farthest(&self, stage: u32) -> u32 {
        let last = self.length() - 1;
        match self.exchanges_any() && stage + 1 < last {
            true => last - 1,
            false => last,
        }
    }

    /// Whether a service's new instances must take requests before a stage is left.
    pub(super) fn takes_requests(&self, service: &Name, stage: u32) -> bool {
        if !self.exchanges_any() {
            return self.started(service, stage) > 0;
        }
        if self.exchanges(service) {
            return false;
        }
        // Of a deploy the stage before the exchange moves nothing.
        let moved = match self.follows_strategies() {
            true => stage
                .min(self.stages() - 1)
                .checked_sub(u32::from(stage + 1 == self.stages())),
            false => Some(stage),
        };
        moved.is_some_and(|moved| self.started(service, moved) > 0)
    }

    /// Whether both releases may serve at the same time.
    pub(super) fn is_gradual(&self) -> bool {
        self.length() > 1 || self.services().any(|name| self.is_rolling(name))
    }

    fn length_of(&self, service: &Name) -> u32 {
        let Some((_, new)) = self.shared(service).filter(|_| self.follows_strategies()) else {
            return 1;
        };
        match &new.strategy {
            Strategy::BlueGreen { .. } => 1,
            Strategy::Canary { steps, .. } => 1 + steps.len() as u32,
            Strategy::Rolling { batch, surge } => {
                let at_once = batch.of(new.instances).min(surge.of(new.instances));
                new.instances.div_ceil(at_once)
            }
        }
    }

    /// How many of a service's own stages have begun at a stage of all.
    fn own(&self, service: &Name, stage: u32) -> u32 {
        let stage = stage.min(self.stages() - 1);
        (stage + 1 + self.length_of(service)).saturating_sub(self.stages())
    }

    /// How many new instances a stage has of a service.
    pub(super) fn started(&self, service: &Name, stage: u32) -> usize {
        let Some(new) = self.new_spec.services.get(service) else {
            return 0;
        };
        let own = self.own(service, stage);
        let all = new.instances as usize;
        if self.exchanges(service) && stage + 1 < self.length() {
            return 0;
        }
        let share = match (&new.strategy, self.shared(service)) {
            _ if self.pair(service).is_none() || own >= self.length_of(service) => all,
            _ if own == 0 => 0,
            (Strategy::Canary { steps, .. }, Some(_)) => {
                let weight = steps.get(own as usize - 1).map_or(100, |s| s.weight);
                (all * usize::from(weight)).div_ceil(100)
            }
            (Strategy::Rolling { batch, surge }, Some(_)) => {
                let at_once = batch.of(new.instances).min(surge.of(new.instances));
                (own * at_once) as usize
            }
            _ => all,
        };
        share.min(all)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.new_spec.services.keys()
    }

    /// Whether a split is one that a canary names at the stage that it is at, or named before: less is no
    /// harm.
    pub(super) fn names(&self, service: &Name, split: &Split) -> bool {
        let Some((_, new)) = self.shared(service) else {
            return false;
        };
        let (Strategy::Canary { steps, sticky, .. }, Some(stage)) = (&new.strategy, self.stage())
        else {
            return false;
        };
        let own = self.own(service, stage);
        let mut steps = steps.iter().take(own as usize);
        split.release == self.new_release()
            && split.sticky == *sticky
            && steps.any(|step| step.weight == split.percent)
    }

    /// Whether the new release asks for a pool's probes, and is on trial: at a step, or while it bakes.
    pub(super) fn probes(&self, pool: &PlannedPool) -> bool {
        let new = self.new_spec.services.get(&pool.service);
        let asks = new.is_some_and(|service| service.probe == pool.probe);
        let bakes = |service: &ServiceSpec| match service.strategy {
            Strategy::BlueGreen { bake } | Strategy::Canary { bake, .. } => bake.0 > 0,
            Strategy::Rolling { .. } => false,
        };
        let last = self.stage() == Some(self.length() - 1);
        let on_trial = last && self.new_spec.services.values().any(bakes);
        asks && (on_trial || pool.split.is_some())
    }

    /// Whether a service's instances of both releases may share its requests without a split.
    pub(super) fn is_rolling(&self, service: &Name) -> bool {
        self.floor(service).is_some()
    }

    /// How many instances of a rolling service must be healthy in rotation.
    pub(super) fn floor(&self, service: &Name) -> Option<usize> {
        let (old, new) = self.shared(service)?;
        let rolling = matches!(new.strategy, Strategy::Rolling { .. });
        let rolling = rolling && self.follows_strategies();
        rolling.then(|| old.instances.min(new.instances) as usize)
    }

    /// How many instances of a rolling service may run, of both releases.
    pub(super) fn most(&self, service: &Name) -> Option<usize> {
        let (old, new) = self.shared(service)?;
        let Strategy::Rolling { surge, .. } = new.strategy else {
            return None;
        };
        if !self.follows_strategies() {
            return None;
        }
        let more = old.instances.max(new.instances);
        Some((more + surge.of(new.instances)) as usize)
    }

    /// How many old instances a service that does not roll keeps until the verdict.
    pub(super) fn kept(&self, service: &Name) -> Option<usize> {
        let old = self.old_spec.services.get(service)?;
        if self.is_exchanging(service) {
            return Some(0);
        }
        (!self.is_rolling(service)).then_some(old.instances as usize)
    }
}
