//! Shows what the gateway counts, beside what serves.

use std::collections::BTreeMap;

use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::InstanceState;
use ward_types::table::Traffic;
use ward_types::tally::GatewayTally;
use ward_types::view::{InstanceView, ServiceTraffic, TrafficView};

use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;

impl Control {
    /// What was counted so far of one environment, or of all.
    ///
    /// # Errors
    /// When the environment does not exist, or the gateway does not say.
    pub async fn traffic(&self, env: Option<&EnvId>) -> Result<TrafficView, Refusal> {
        let env = env.map(|env| self.environment(Some(env))).transpose()?;
        let routing = &self.0.world.routing;
        let tallies = routing.tallies().await.map_err(|error| {
            let why = Refusal::failed("the gateway does not say what it has counted", &error);
            why.hint("one of an older version cannot; `ward upgrade` replaces it")
        })?;
        let gateways = tallies.into_iter().map(|tally| of_env(tally, env.as_ref()));
        Ok(TrafficView {
            gateways: gateways.collect(),
            services: self.services(env.as_ref())?,
        })
    }

    fn services(&self, env: Option<&EnvId>) -> Result<Vec<ServiceTraffic>, Refusal> {
        let observed = self.0.world.routing.last_seen().ok_or_else(|| {
            Refusal::new(RefusalKind::Failed, "the gateway does not answer just now")
                .hint("it is started again by itself; ask again in a moment")
        })?;
        let pools = observed.table.pools.iter();
        let pools = pools.filter(|pool| env.is_none_or(|env| pool.env == *env));
        let mut services: Vec<ServiceTraffic> = pools
            .map(|pool| {
                let mut releases: Vec<_> = pool.endpoints.iter().map(|one| one.release).collect();
                releases.sort_unstable();
                releases.dedup();
                let traffic = observed.traffic.get(&pool.env);
                let under_way =
                    |of: fn(&Traffic) -> u64| traffic.map_or(0, |all| sum(all, &pool.service, of));
                let (healthy, instances) = self.counted(&pool.env, &pool.service);
                let known = self.known(&pool.env);
                ServiceTraffic {
                    env: pool.env.clone(),
                    service: pool.service.clone(),
                    releases,
                    healthy,
                    instances,
                    asleep: known.is_some_and(|env| env.asleep().is_some()),
                    in_flight: under_way(|traffic| traffic.requests),
                    long: under_way(|traffic| traffic.upgraded),
                }
            })
            .collect();
        services.sort_by(|one, other| (&one.env, &one.service).cmp(&(&other.env, &other.service)));
        Ok(services)
    }

    /// Healthy instances of a service, and all, of what serves or is about to.
    fn counted(&self, env: &EnvId, service: &Name) -> (u32, u32) {
        let Some(view) = self.known(env).map(|env| self.environment_view(&env)) else {
            return (0, 0);
        };
        let Some(component) = view.components.iter().find(|one| one.name == *service) else {
            return (0, 0);
        };
        let wanted = [view.current, view.deployment.as_ref().map(|d| d.to)];
        let ours = |one: &&InstanceView| {
            let release = one.id.release();
            one.in_rotation || release.is_none() || wanted.contains(&release)
        };
        let states = component
            .instances
            .iter()
            .filter(ours)
            .map(|one| &one.state);
        let there = states.clone().filter(|state| !state.is_over()).count();
        let healthy = states
            .filter(|state| **state == InstanceState::Healthy)
            .count();
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        (count(healthy), count(there).max(component.wanted))
    }
}

fn sum(all: &BTreeMap<InstanceId, Traffic>, service: &Name, of: fn(&Traffic) -> u64) -> u64 {
    let own = all
        .iter()
        .filter(|(id, _)| id.service().as_ref() == Some(service));
    own.map(|(_, traffic)| of(traffic)).sum()
}

fn of_env(mut tally: GatewayTally, env: Option<&EnvId>) -> GatewayTally {
    tally
        .series
        .retain(|series| env.is_none_or(|env| series.key.env.as_ref() == Some(env)));
    tally
}
