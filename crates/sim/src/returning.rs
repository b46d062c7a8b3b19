//! What must hold when a release is gone back to, and when a deployment goes on.

use ward_types::id::Name;
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase, Reason};
use ward_types::spec::ServiceSpec;
use ward_types::table::Pool;

use crate::engine::Copy;
use crate::inner::Inner;

impl Inner {
    /// What ran before a rollback, or before a deployment was resumed, gets requests only if it was well at some moment
    /// since that was asked for, whatever is shown of it.
    pub(crate) fn must_be_well_again(&mut self, table: &[Pool]) {
        let env = self.env();
        let rolls = |d: &&Deployment| matches!(d.phase, Phase::Rolling { .. });
        let moves = |d: &&Deployment| env.current != Some(d.to);
        let Some(active) = env.active().filter(rolls).filter(moves) else {
            return;
        };
        let asked = self.asked.get(&active.id).copied();
        let asked = asked.filter(|_| active.reason != Reason::Deploy);
        let resumed = self.resumed.get(&active.id).copied();
        let Some(asked) = asked.max(resumed) else {
            return;
        };
        let mut ids = table.iter().flat_map(|p| &p.endpoints).map(|e| &e.instance);
        let ill = ids.find(|id| {
            let copy = self.engine.get(*id).filter(|_| !self.gateway.may_name(id));
            let warm =
                copy.filter(|copy| copy.facts.release == active.to && copy.ran_before(asked));
            warm.is_some_and(|copy| !copy.was_healthy_since(asked))
        });
        if let Some(id) = ill
            .filter(|_| !self.clock_was_set && env.current.is_some())
            .cloned()
        {
            self.violate(format!(
                "{id} gets requests, and was not well since that was asked for"
            ));
        }
    }

    /// Requests do not stay with what is ill of a release that rolls out, if the one that serves could answer them all.
    /// With a lag nobody can know better.
    pub(crate) fn nothing_ill_keeps_requests(&mut self) {
        let env = self.env();
        let quiet = self.gateway.is_well(self.now) && !self.disturbed && self.lag == 0;
        let rolls = |d: &&Deployment| matches!(d.phase, Phase::Rolling { .. });
        let active = env
            .active()
            .filter(rolls)
            .filter(|_| quiet && env.is_awake());
        let (Some(active), Some(serves)) = (active, env.current_release()) else {
            return;
        };
        let healthy = |name: &Name| {
            self.engine.values().any(|copy| {
                let facts = &copy.facts;
                let ours = facts.role == Role::Service && facts.release == serves.id;
                ours && facts.component == *name && copy.is_healthy()
            })
        };
        let reachable = |s: &&ServiceSpec| s.port.is_some() && s.instances > 0;
        let mut services = serves.spec.services.iter().filter(|(_, s)| reachable(s));
        let serving = serves.id != active.to && services.all(|(name, _)| healthy(name));
        let stuck = self.gateway.table.iter().find(|pool| {
            let declared = serves.spec.services.get(&pool.service).filter(reachable);
            let ours = pool.endpoints.iter().all(|e| e.release == active.to);
            let mut ids = pool.endpoints.iter().map(|e| &e.instance);
            let well = ids.any(|id| self.engine.get(id).is_some_and(Copy::is_healthy));
            declared.is_some() && !pool.endpoints.is_empty() && ours && !well
        });
        let stuck = stuck.filter(|_| serving).map(|pool| pool.service.clone());
        if let Some(service) = stuck {
            self.violate(format!("requests of {service} stay with what is ill"));
        }
    }
}
