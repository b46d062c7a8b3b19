//! Decision: where the releases of a service do not overlap, what there was is gone before anything starts.
//!
//! The instances of the old release go on until everything else of the new one is healthy. Then they are
//! asked to stop, and have their `stop_timeout` to finish what they have begun. Only when each is seen to
//! have ended does the first new one start; before the requests are switched, or after that where they must
//! not wait for it, as in a rollback. What goes back goes the same way. It is so within a release too: one
//! that died, is ill or was given up is replaced when it is gone. No limit of a deployment runs meanwhile.
//!
//! That the exchange has begun is in the log, as the number of a stage: a planner that was killed does not
//! start the old ones again because something else of the new release is ill for a moment.

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Gap, Phase};
use ward_types::time::Timestamp;

use crate::action::Action;
use crate::apart;
use crate::draft::Draft;
use crate::memory::Barred;
use crate::observed::SeenInstance;
use crate::pools;
use crate::scene::{Scene, Stand};
use crate::stages::Rollout;

/// Whether instances of two releases of a service must not run at the same time.
fn excludes(scene: &Scene, service: &Name, releases: [ReleaseId; 2]) -> bool {
    apart::excludes(scene.env, service, releases)
}

/// The instances that must be gone before one of this release may start.
fn in_the_way<'a>(
    scene: &Scene<'a>,
    release: ReleaseId,
    service: &Name,
) -> impl Iterator<Item = &'a SeenInstance> {
    scene.seen().filter(move |i| {
        let facts = &i.facts;
        let runs = facts.role == Role::Service && facts.component == *service && !i.is_over();
        runs && excludes(scene, service, [release, facts.release])
    })
}

/// Whether nothing else has to be gone first.
pub(crate) fn may_start(scene: &Scene, release: ReleaseId, service: &Name) -> bool {
    in_the_way(scene, release, service).next().is_none()
}

/// How many more instances of a service may be started now, of this release.
pub(crate) fn room(scene: &Scene, draft: &Draft, release: ReleaseId, service: &Name) -> usize {
    if !may_start(scene, release, service) {
        return 0;
    }
    let Some(spec) = scene.service(release, service).filter(|s| !s.overlap) else {
        return usize::MAX;
    };
    let group = scene.group(Role::Service, release, service);
    let running = group.iter().filter(|i| !i.is_over()).count();
    let wanted = pools::wanted(scene, release, service, spec);
    wanted.saturating_sub(running + draft.started(service))
}

/// Whether an instance keeps one of the release that serves, or of the one that is deployed, from starting.
pub(crate) fn is_in_the_way(scene: &Scene, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    let to = scene.active().map(|d| d.to);
    let mut releases = scene.current().into_iter().chain(to);
    releases.any(|release| {
        let declared = scene.service(release, &facts.component).is_some();
        declared && excludes(scene, &facts.component, [release, facts.release])
    })
}

/// Whether the old instances of a service leave before those of the release that rolls out start, or the
/// other way round.
pub(crate) fn is_exchanged(scene: &Scene, service: &Name) -> bool {
    let rollout = scene.rollout.filter(|_| scene.active().is_some());
    rollout.is_some_and(|rollout| rollout.exchanges(service))
}

/// The release whose instances take the place of what is in rotation and must not run beside them.
pub(crate) fn successor(scene: &Scene) -> Option<ReleaseId> {
    let first = || scene.current().or(scene.rolling());
    match (scene.stand, scene.rollout) {
        (Stand::Back, _) => first(),
        (Stand::At(_), Some(rollout)) if !rollout.is_gradual() => Some(rollout.to),
        _ => exchanging(scene).map_or_else(first, |(_, _, starts)| Some(starts)),
    }
}

/// Whether instances of one release must be gone before another's can take their place.
pub(crate) fn bars(scene: &Scene, service: &Name, there: ReleaseId, next: ReleaseId) -> bool {
    scene.service(next, service).is_some() && excludes(scene, service, [next, there])
}

/// Whether what is in rotation of a service must leave before anything can take its place.
pub(crate) fn gives_way(scene: &Scene, service: &Name) -> bool {
    let next = successor(scene);
    next.is_some_and(|next| apart::gives_way(scene.env, scene.pools(), service, next))
}

/// Whether the exchange is under way, one way or the other.
fn exchanging<'a>(scene: &Scene<'a>) -> Option<(&'a Deployment, &'a Rollout, ReleaseId)> {
    let (deployment, rollout) = (scene.active()?, scene.rollout?);
    let starts = match deployment.phase {
        Phase::Rolling { .. } if scene.stage() == Some(rollout.last()) => deployment.to,
        Phase::Reverting { .. } => scene.current()?,
        _ => return None,
    };
    rollout
        .exchanges_any()
        .then_some((deployment, rollout, starts))
}

/// Until when nothing could be started, as far as one remembers; a planner that forgets counts anew.
pub(crate) fn barred(scene: &Scene) -> Option<Barred> {
    let deployment = scene.active()?;
    let phase = deployment.phase_since;
    let starts = match deployment.phase {
        Phase::Rolling { .. } => deployment.to,
        Phase::Reverting { .. } => scene.current()?,
        Phase::Preparing | Phase::Queued | Phase::Finished { .. } => return None,
    };
    let services = scene.spec(starts).into_iter().flat_map(|s| &s.services);
    let mut lacking = services.filter(|(name, service)| {
        let group = scene.group(Role::Service, starts, name);
        let live = group.iter().filter(|i| i.is_live()).count();
        live < pools::wanted(scene, starts, name, service)
    });
    let is_barred = lacking.any(|(name, service)| {
        let group = scene.group(Role::Service, starts, name);
        let own = group
            .iter()
            .any(|i| i.status.state == InstanceState::Stopping);
        in_the_way(scene, starts, name).next().is_some() || (own && !service.overlap)
    });
    let known = scene.memory.phase;
    let anew = known.is_none_or(|(id, recorded, _)| (id, recorded) != (deployment.id, phase));
    let now = is_barred || (anew && exchanging(scene).is_some());
    let before = scene.memory.barred.filter(|b| b.phase == phase);
    let since = if now {
        Some(scene.now)
    } else {
        before.map(|b| b.until.min(scene.now))
    };
    since.map(|until| Barred { phase, until })
}

/// From when a limit of a phase counts: not while something had to end first.
pub(crate) fn counted_from(scene: &Scene, deployment: &Deployment, since: Timestamp) -> Timestamp {
    let barred = scene.memory.barred;
    let barred = barred.filter(|barred| barred.phase == deployment.phase_since);
    barred.map_or(since, |barred| since.max(barred.until))
}

/// Whether an instance that has ended is kept to say since when nothing runs.
pub(crate) fn is_remembered(scene: &Scene, instance: &SeenInstance) -> bool {
    let name = &instance.facts.component;
    let Some((deployment, rollout, starts)) = exchanging(scene) else {
        return false;
    };
    let ended = has_left(instance, starts);
    ended && rollout.exchanges(name) && !is_told(deployment, name, starts)
}

/// Whether it ran and makes way: it was asked to, or is of another release than the one that starts.
fn has_left(instance: &SeenInstance, starts: ReleaseId) -> bool {
    let ran = matches!(
        instance.status.state,
        InstanceState::Exited { .. } | InstanceState::Lost
    );
    is_asked(instance) || (ran && instance.facts.release != starts)
}

fn is_asked(instance: &SeenInstance) -> bool {
    let state = &instance.status.state;
    matches!(state, InstanceState::Exited { asked: true, .. })
}

fn is_told(deployment: &Deployment, service: &Name, release: ReleaseId) -> bool {
    let mut gaps = deployment.gaps.iter();
    gaps.any(|gap| gap.service == *service && gap.release == release)
}

/// Tells how long nothing ran, once for each service and direction.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    let Some((deployment, rollout, starts)) = exchanging(scene) else {
        return;
    };
    let services = rollout.exchanged();
    for service in services.filter(|name| !is_told(deployment, name, starts)) {
        if let Some(gap) = gap(scene, service, starts) {
            draft.act(Action::Exchanged {
                deployment: deployment.id,
                gap,
            });
        }
    }
}

/// From the last end to the first start after it; `None` while either is out.
fn gap(scene: &Scene, service: &Name, starts: ReleaseId) -> Option<Gap> {
    let ours = |i: &&SeenInstance| i.facts.role == Role::Service && i.facts.component == *service;
    let left = scene.seen().filter(ours).filter(|i| has_left(i, starts));
    let ended = left.map(|i| i.since).max()?;
    let of_it = scene
        .seen()
        .filter(ours)
        .filter(|i| i.facts.release == starts);
    let ran = |i: &&SeenInstance| !matches!(i.status.state, InstanceState::Failed { .. });
    let started = of_it.filter(ran).map(|i| i.facts.started);
    let started = started.filter(|started| *started >= ended).min()?;
    let alone = in_the_way(scene, starts, service).next().is_none();
    alone.then(|| Gap {
        service: service.clone(),
        release: starts,
        lasted: started.since(ended),
    })
}

/// Whether an instance of the release that rolls out has run of a service that is exchanged: to go back from
/// there is to have rolled back.
pub(crate) fn has_begun(scene: &Scene, deployment: &Deployment) -> bool {
    scene.seen().any(|i| {
        let facts = &i.facts;
        let ours = facts.role == Role::Service && facts.release == deployment.to;
        let ran = !matches!(i.status.state, InstanceState::Failed { .. });
        ours && ran && is_exchanged(scene, &facts.component)
    })
}

/// Whether what is exchanged waits for this instance to be gone.
pub(crate) fn is_finishing(scene: &Scene, instance: &SeenInstance) -> bool {
    let facts = &instance.facts;
    exchanging(scene).is_some_and(|(_, rollout, _)| rollout.exchanges(&facts.component))
}
