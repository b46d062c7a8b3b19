//! Sleep: only of what serves, is not at work and declares it; and nothing that comes meanwhile is refused.

use ward_types::backup::Stand;
use ward_types::keeper::Role;
use ward_types::release::Phase;
use ward_types::sleep::{Alarm, Drowsiness};
use ward_types::time::Timestamp;

use super::Objection;
use super::facts::{Case, runs};
use crate::action::{Action, PlannedPool};

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let alone = case.plan.actions.len() == 1;
    for action in &case.plan.actions {
        match action {
            Action::Sleep { cause } if !alone || !may_sleep(case, *cause) => {
                objections.push(Objection::SleepsAtWork);
            }
            Action::Wake { by } if !alone || !is_called(case, *by) => {
                objections.push(Objection::WakesUncalled);
            }
            _ => {}
        }
    }
    if let Some(pools) = case.routes() {
        held(case, pools, objections);
    }
}

fn may_sleep(case: &Case, cause: Drowsiness) -> bool {
    let env = case.env;
    let current = env.current.and_then(|release| case.spec(release));
    let for_work = env.sleep.woken.is_some_and(|woken| woken.by == Alarm::Run);
    let declares = for_work || current.is_some_and(|spec| spec.sleep.is_some());
    let command = |role: Role| !matches!(role, Role::Service | Role::Database);
    let at_work = case.all().any(|i| command(i.facts.role) && runs(i));
    let passwords = env.secrets.values().any(|held| held.leaving.is_some());
    let seen = case.observed.gateway.as_ref();
    let quiet = seen.is_some_and(|gateway| {
        let mut traffic = gateway.traffic.values();
        gateway.holds && !gateway.held && traffic.all(|t| t.requests + t.upgraded == 0)
    });
    let copied = env.backups.all.values().any(|backup| match backup.stand {
        Stand::Asked | Stand::Taken { .. } => true,
        Stand::Restored { .. } | Stand::Failed { .. } => false,
    });
    let idle = !at_work && !passwords && !copied;
    let free = !is_deployed(case) && env.runs.open.is_empty() && idle;
    let asks = cause == Drowsiness::Idle && declares && current.is_some();
    case.is_up() && asks && free && quiet && !case.observed.in_use
}

fn is_deployed(case: &Case) -> bool {
    let mut deployments = case.env.deployments.values();
    deployments.any(|d| !matches!(d.phase, Phase::Finished { .. }))
}

/// Requests and people say so themselves.
fn is_called(case: &Case, by: Alarm) -> bool {
    let called = match by {
        Alarm::Deployment => is_deployed(case),
        Alarm::Run => !case.env.runs.open.is_empty(),
        Alarm::Request | Alarm::Asked => false,
    };
    called && case.env.asleep().is_some()
}

/// What sleeps is held, all of it; what does not sleep is held on only while it has no instance.
fn held(case: &Case, pools: &[PlannedPool], objections: &mut Vec<Objection>) {
    let asleep = case.env.asleep().map(|asleep| asleep.since);
    for pool in pools {
        let right = match (asleep, pool.asleep) {
            (Some(since), held) => held == Some(since),
            (None, None) => true,
            (None, Some(since)) => pool.endpoints.is_empty() && was_held(case, pool, since),
        };
        if !right {
            let service = pool.service.clone();
            objections.push(Objection::WrongSleep { service });
        }
    }
    let current = case.env.current.filter(|_| asleep.is_some());
    let services = current.and_then(|release| case.spec(release)).into_iter();
    let reachable = services.flat_map(|spec| &spec.services);
    for (service, _) in reachable.filter(|(_, spec)| spec.port.is_some()) {
        if pools.iter().all(|pool| pool.service != *service) {
            let service = service.clone();
            objections.push(Objection::WrongSleep { service });
        }
    }
}

fn was_held(case: &Case, pool: &PlannedPool, since: Timestamp) -> bool {
    let mut before = case.observed.gateway.iter().flat_map(|g| &g.pools);
    before.any(|before| before.service == pool.service && before.asleep == Some(since))
}
