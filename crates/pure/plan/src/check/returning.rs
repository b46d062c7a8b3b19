//! Going back, and going on: only to what was well since that was asked for, and no longer than it is.

use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase, Reason};

use super::Objection;
use super::course::Course;
use super::facts::{Case, is_healthy};
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        if let Action::Check { id, .. } = action
            && case.seen(id).is_none()
        {
            let (verb, id) = ("check", id.clone());
            objections.push(Objection::NoSuchInstance { verb, id });
        }
    }
    let rolls = |d: &&Deployment| matches!(d.phase, Phase::Rolling { .. });
    let Some(deployment) = case.active().filter(rolls).filter(|_| case.is_up()) else {
        return;
    };
    let serving = case.env.current_release().map(|release| release.id);
    let Some(serving) = serving.filter(|serving| *serving != deployment.to) else {
        return;
    };
    objections.extend(unchecked(case, deployment));
    objections.extend(goes_on_ill(case, deployment, serving));
}

/// What was there before a rollback was asked for, or before the deployment was resumed, and is to be put into rotation.
fn unchecked(case: &Case, deployment: &Deployment) -> Vec<Objection> {
    let pools = case.routes().unwrap_or_default().iter();
    let routed = pools.flat_map(|pool| pool.endpoints.iter().map(|id| (&pool.service, id)));
    let new = routed.filter(|(_, id)| !case.is_in_force(id) && is_unchecked(case, deployment, id));
    let unchecked = new.map(|(service, id)| Objection::Unchecked {
        service: service.clone(),
        id: id.clone(),
        deployment: deployment.id,
    });
    unchecked.collect()
}

/// Whether a check was asked for by a deployment, and since that was resumed, if it was.
pub(super) fn is_asked_by(deployment: &Deployment, checkup: &Checkup) -> bool {
    let Occasion {
        deployment: id,
        resumed,
    } = checkup.of;
    id == deployment.id && resumed == deployment.resumed
}

fn is_unchecked(case: &Case, deployment: &Deployment, id: &InstanceId) -> bool {
    case.seen(id).is_some_and(|instance| {
        let facts = &instance.facts;
        let returns = deployment.reason != Reason::Deploy;
        let asked = Some(deployment.requested).filter(|_| returns);
        let last = asked.max(deployment.resumed);
        let before = last.is_some_and(|last| facts.started < last);
        let well = instance.checkup.as_ref().is_some_and(|checkup| {
            is_asked_by(deployment, checkup) && checkup.found == Found::Well
        });
        let ours = facts.role == Role::Service && facts.release == deployment.to;
        ours && before && !well
    })
}

/// A plan that does something more for a release while it answers nobody.
fn goes_on_ill(case: &Case, deployment: &Deployment, serving: ReleaseId) -> Option<Objection> {
    let goes_on = case.plan.actions.iter().any(|action| match action {
        Action::Move {
            deployment: id,
            phase,
        } => *id == deployment.id && matches!(phase, Phase::Rolling { .. }),
        Action::Start { release, role, .. } => *role == Role::Service && *release == deployment.to,
        _ => false,
    });
    let gateway = case.observed.gateway.as_ref()?;
    let course = Course::of(case);
    let exchanged = |name: &Name| course.as_ref().is_some_and(|course| course.exchanges(name));
    let lost = |service: &Name| {
        let ids = case.in_force_for(service);
        let well = |id: &&InstanceId| case.seen(id).is_some_and(is_healthy);
        let pools = gateway.pools.iter().filter(|p| p.service == *service);
        let mut endpoints = pools.flat_map(|pool| &pool.endpoints);
        let all = endpoints.all(|e| e.release == deployment.to);
        // Of what is exchanged the old ones leave first.
        !exchanged(service) && !ids.is_empty() && all && !ids.iter().any(well)
    };
    let mut services = case
        .spec(serving)?
        .services
        .iter()
        .filter(|(_, s)| s.port.is_some());
    let could = |name: &Name| !case.healthy_of(serving, name).is_empty();
    let serves = services
        .clone()
        .all(|(name, s)| s.instances == 0 || could(name));
    let lost = services.find(|(name, s)| s.instances > 0 && lost(name) && could(name));
    lost.filter(|_| goes_on && serves && !case.plan_goes_back())
        .map(|(service, _)| Objection::GoesOnIll {
            deployment: deployment.id,
            service: service.clone(),
        })
}
