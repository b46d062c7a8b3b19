//! Moving: no phase left out, none left too early, and no verdict that the gateway does not bear out.

use std::collections::BTreeSet;

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::{Exit, InstanceState, Role};
use ward_types::release::{DataState, Deployment, Phase, Reason, Verdict};
use ward_types::spec::EnvSpec;
use ward_types::time::Timestamp;

use super::Objection;
use super::course::Course;
use super::facts::{Case, is_healthy};
use super::filling;
use super::schema;
use super::snapshots;
use crate::action::Action;
use crate::observed::SeenInstance;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let mut moved = BTreeSet::new();
    for action in &case.plan.actions {
        let Action::Move { deployment, phase } = action else {
            continue;
        };
        let deployment = *deployment;
        let known = case.env.deployments.get(&deployment);
        let follows = known.is_some_and(|d| follows(case, d, phase));
        if !follows || !moved.insert(deployment) {
            objections.push(Objection::SkipsPhase { deployment });
        }
        if known.is_some_and(|d| !is_borne_out(case, d, phase)) {
            objections.push(Objection::FalseVerdict { deployment });
        }
    }
}

/// Written as the list of all that may follow.
fn follows(case: &Case, deployment: &Deployment, next: &Phase) -> bool {
    match (&deployment.phase, next) {
        (Phase::Queued, Phase::Preparing) => case.is_up() && is_its_turn(case, deployment),
        (Phase::Preparing, Phase::Rolling { stage: 0 }) => {
            case.is_up() && deployment.paused.is_none() && is_prepared(case, deployment)
        }
        (Phase::Rolling { stage }, Phase::Rolling { stage: next }) => {
            case.is_up()
                && deployment.paused.is_none()
                && may_follow(case, deployment, *stage, *next)
        }
        (Phase::Preparing | Phase::Rolling { .. }, Phase::Reverting { .. }) => true,
        (Phase::Rolling { .. }, Phase::Finished { verdict, .. })
            if *verdict == Verdict::Succeeded =>
        {
            let last = |course: Course| course.stage() == Some(course.length() - 1);
            Course::of(case).is_none_or(last)
        }
        (Phase::Reverting { .. }, Phase::Finished { verdict, .. })
            if *verdict == Verdict::Succeeded =>
        {
            true
        }
        (Phase::Reverting { .. }, Phase::Finished { .. }) => true,
        (
            Phase::Queued | Phase::Preparing | Phase::Rolling { .. },
            Phase::Finished { verdict, at, .. },
        ) => {
            let stopped = !case.is_up() || never_begins(case, deployment, *at);
            stopped && *verdict != Verdict::Succeeded
        }
        _ => false,
    }
}

/// The next stage, or one that somebody promoted it to; and only when the one before has begun in full:
/// what it needs is well, and takes requests where it should.
fn may_follow(case: &Case, deployment: &Deployment, stage: u32, next: u32) -> bool {
    let Some(course) = Course::of(case) else {
        return false;
    };
    let farthest = deployment
        .promoted
        .max(stage + 1)
        .min(course.farthest(stage));
    let well = |name: &Name| {
        let started = course.started(name, stage);
        case.healthy_of(deployment.to, name).len() >= started
    };
    let routed = |name: &Name| {
        let port = case
            .declared(deployment.to, name)
            .is_some_and(|s| s.port.is_some());
        let mut in_force = case.in_force_for(name).into_iter();
        let ours = in_force.any(|id| {
            case.seen(id)
                .is_some_and(|i| i.facts.release == deployment.to)
        });
        ours || !port || !course.takes_requests(name, stage)
    };
    let known = case.observed.gateway.is_some();
    let begun = course.services().all(|name| well(name) && routed(name));
    stage < next && next <= farthest && known && begun
}

/// It waits, and was cancelled, goes where the schema does not let it, or has waited for long enough.
fn never_begins(case: &Case, deployment: &Deployment, at: Timestamp) -> bool {
    let limit = case.spec(deployment.to).map(|s| s.deadlines.queue);
    let waited = at.since(deployment.requested) >= limit.unwrap_or_default();
    let barred = schema::is_barred(case, deployment.id);
    deployment.phase == Phase::Queued && (deployment.cancelled.is_some() || barred || waited)
}

fn is_its_turn(case: &Case, deployment: &Deployment) -> bool {
    let mut earlier = case.env.deployments.range(..deployment.id);
    let waits = |d: &Deployment| matches!(d.phase, Phase::Queued);
    case.active().is_none() && !earlier.any(|(_, d)| waits(d))
}

fn is_prepared(case: &Case, deployment: &Deployment) -> bool {
    let Some(spec) = case.spec(deployment.to) else {
        return false;
    };
    let healthy = |database: &Name| {
        let mut all = case.all();
        all.any(|i| {
            i.facts.role == Role::Database && i.facts.component == *database && is_healthy(i)
        })
    };
    let prepared = case.env.data == DataState::Kept && case.env.prepared >= Some(deployment.to);
    let done =
        (deployment.reason != Reason::Deploy && prepared) || have_run(case, deployment.to, spec);
    let filled = filling::is_done(case, spec) && snapshots::are_made(case, deployment);
    spec.databases.keys().all(healthy) && done && filled
}

/// Whether each release command of a release has ended well.
pub(super) fn have_run(case: &Case, release: ReleaseId, spec: &EnvSpec) -> bool {
    let mut commands = spec.services.iter().filter(|(_, s)| s.release.is_some());
    commands.all(|(name, _)| has_run(case, release, name, Role::ReleaseCommand))
}

pub(super) fn has_run(case: &Case, release: ReleaseId, service: &Name, role: Role) -> bool {
    case.all().any(|i| {
        let facts = &i.facts;
        let ours = facts.role == role && facts.release == release;
        let well = matches!(
            i.status.state,
            InstanceState::Exited {
                exit: Exit::Code(0),
                ..
            }
        );
        ours && well && facts.component == *service
    })
}

fn is_borne_out(case: &Case, deployment: &Deployment, next: &Phase) -> bool {
    let Phase::Finished {
        verdict, failure, ..
    } = next
    else {
        return true;
    };
    let told = (*verdict == Verdict::Succeeded) == failure.is_none();
    told && match verdict {
        Verdict::Succeeded => goes_on_serving(case, deployment.to),
        // Those who were answered by the new release are not told that it never served.
        Verdict::FailedOldServing if has_served(case, deployment) => false,
        Verdict::RolledBack | Verdict::FailedOldServing => {
            case.env
                .current
                .is_some_and(|current| match deployment.phase {
                    // It never began: what another one switches to at this moment is not its doing.
                    Phase::Queued => serves(case, current) || is_taken_over(case, current),
                    _ => goes_on_serving(case, current),
                })
        }
        Verdict::FailedDegraded => true,
        Verdict::Unknown => case.observed.gateway.is_none(),
    }
}

fn has_served(case: &Case, deployment: &Deployment) -> bool {
    deployment.served.is_some() && case.env.current != Some(deployment.to)
}

/// Another deployment is under way, and each service of this release has a healthy instance in rotation, of it
/// or of the one that takes over.
fn is_taken_over(case: &Case, release: ReleaseId) -> bool {
    let (Some(active), Some(spec)) = (case.active(), case.spec(release)) else {
        return false;
    };
    let mut reachable = spec.services.iter().filter(|(_, s)| s.port.is_some());
    reachable.all(|(name, service)| {
        let in_force = case.in_force_for(name);
        let seen = in_force.iter().filter_map(|id| case.seen(id));
        let ours = |i: &&SeenInstance| [release, active.to].contains(&i.facts.release);
        service.instances == 0 || seen.filter(ours).any(is_healthy)
    })
}

/// It serves, and this very plan does not route away from it.
fn goes_on_serving(case: &Case, release: ReleaseId) -> bool {
    let routed = case.plan.actions.iter().flat_map(|action| match action {
        Action::Route { pools } => pools.as_slice(),
        _ => &[],
    });
    let mut endpoints = routed.flat_map(|pool| &pool.endpoints);
    let ours = |id| {
        let seen = case.seen(id);
        seen.is_some_and(|seen| seen.facts.release == release)
    };
    serves(case, release) && endpoints.all(ours)
}

/// Every request goes to this release, and each of its services has a healthy instance in rotation.
fn serves(case: &Case, release: ReleaseId) -> bool {
    let (Some(gateway), Some(spec)) = (&case.observed.gateway, case.spec(release)) else {
        return false;
    };
    let mut endpoints = gateway.pools.iter().flat_map(|p| &p.endpoints);
    let mut reachable = spec.services.iter().filter(|(_, s)| s.port.is_some());
    endpoints.all(|e| e.release == release)
        && reachable.all(|(name, service)| {
            let in_force = case.in_force_for(name);
            let mut seen = in_force.iter().filter_map(|id| case.seen(id));
            service.instances == 0 || seen.any(is_healthy)
        })
}
