//! What a request to move comes to, and what of it is written into the log.
//!
//! Decision: a deploy of what serves changes nothing, whatever failed or was cancelled since. Where it would
//! make a copy of a release that is there, it moves to that one: to what serves, behind a deployment that
//! still leads elsewhere; after a purge, or where nothing has ever served, to the newest. A rollback holds
//! until somebody asks for something else: `ward up`, by which a server is started again too, is not that.

use std::collections::BTreeMap;

use ward_types::event::Event;
use ward_types::id::{DeploymentId, Digest, Name, ReleaseId};
use ward_types::release::{Build, Deployment, Environment, Goal, Phase, Reason, Release, Verdict};
use ward_types::spec::EnvSpec;
use ward_types::view::{DeployRequest, Held, Others, Unchanged};

use crate::actor::{Actor, Refusal};
use crate::clock::now;
use crate::control::{Control, Desk};

/// A move that is asked for.
pub(crate) struct Wish {
    pub(crate) to: ReleaseId,
    pub(crate) reason: Reason,
    pub(crate) others: Others,
    /// Why it goes there even if the schema cannot take that.
    pub(crate) despite_schema: Option<String>,
}

/// A deployment that is in the log, and those that were cancelled for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) id: DeploymentId,
    pub(crate) superseded: Vec<Deployment>,
}

/// What a deploy came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// To a new deployment.
    Queued(Queued),
    /// To one that somebody asked for before, and that has not ended.
    UnderWay(DeploymentId),
    /// To nothing: this release serves, and nothing leads elsewhere.
    Nothing(ReleaseId),
    /// To nothing: somebody rolled back to this release, and that holds.
    Held(ReleaseId),
}

/// The same, before it is written down.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    New,
    To(ReleaseId, Reason),
    UnderWay(DeploymentId),
    Nothing(ReleaseId),
    Held(ReleaseId),
}

impl Control {
    /// Writes what a deploy of `spec` with `images` comes to.
    pub(crate) async fn recorded(
        &self,
        desk: &Desk<'_>,
        actor: &Actor,
        request: &DeployRequest,
        (spec, images): (&EnvSpec, &BTreeMap<Name, Digest>),
    ) -> Result<Settled, Refusal> {
        let deciding = self.decided(desk, actor, &request.why, |state| {
            // Checked again: another environment may have been deployed while this one was built.
            self.possible(spec)?;
            let mut events = Vec::new();
            let known = state.environments.get(&spec.id).cloned();
            let env = known.unwrap_or_else(|| {
                let env = spec.id.clone();
                events.push(Event::EnvironmentCreated { env });
                Environment::new(spec.id.clone())
            });
            let (to, reason) = match course(&env, request, spec, images) {
                Course::Nothing(release) => return Ok((Settled::Nothing(release), Vec::new())),
                Course::Held(release) => return Ok((Settled::Held(release), Vec::new())),
                Course::UnderWay(id) => return Ok((Settled::UnderWay(id), Vec::new())),
                Course::To(release, reason) => (release, reason),
                Course::New => {
                    let release = release(&env, actor, spec.clone(), images.clone());
                    let to = release.id;
                    events.push(Event::ReleaseRecorded {
                        env: spec.id.clone(),
                        release: Box::new(release),
                    });
                    (to, Reason::Deploy)
                }
            };
            let others = request.others;
            let wish = Wish {
                to,
                reason,
                others,
                despite_schema: None,
            };
            let (queued, events) = wish.events(&env, actor, events);
            Ok((Settled::Queued(queued), events))
        });
        deciding.await
    }
}

impl Wish {
    /// The events by which an environment shall move, behind those that make it possible.
    pub(crate) fn events(
        &self,
        env: &Environment,
        actor: &Actor,
        mut events: Vec<Event>,
    ) -> (Queued, Vec<Event>) {
        if env.goal != Goal::Up {
            events.push(Event::GoalChanged {
                env: env.id.clone(),
                goal: Goal::Up,
            });
        }
        let superseded = match self.others {
            Others::Cancel => uncancelled(env),
            Others::Wait => Vec::new(),
        };
        let cancelled = superseded.iter().map(|other| Event::DeploymentCancelled {
            env: env.id.clone(),
            deployment: other.id,
            by: actor.who.clone(),
        });
        events.extend(cancelled);
        let deployment = self.deployment(env, actor);
        let id = deployment.id;
        events.push(Event::DeploymentQueued {
            env: env.id.clone(),
            deployment: Box::new(deployment),
        });
        (Queued { id, superseded }, events)
    }

    fn deployment(&self, env: &Environment, actor: &Actor) -> Deployment {
        Deployment {
            id: env.next_deployment(),
            reason: self.reason,
            from: env.current,
            to: self.to,
            requested: now(),
            started: None,
            phase_since: now(),
            by: actor.who.clone(),
            paused: None,
            promoted: 0,
            served: None,
            cancelled: None,
            gaps: Vec::new(),
            despite_schema: self.despite_schema.clone(),
            phase: Phase::Queued,
        }
    }
}

fn course(
    env: &Environment,
    request: &DeployRequest,
    spec: &EnvSpec,
    images: &BTreeMap<Name, Digest>,
) -> Course {
    if let (Some(held), Held::Kept) = (rolled_back_to(env), request.rollback) {
        return match env.goal {
            Goal::Up => Course::Held(held),
            Goal::Down | Goal::Purged => Course::To(held, Reason::Up),
        };
    }
    let newest = || env.releases.values().next_back();
    let known = env.current_release().or_else(newest);
    let same = known.filter(|release| release.spec == *spec && release.build.images == *images);
    let (Some(same), Unchanged::Keep) = (same, request.unchanged) else {
        return Course::New;
    };
    let (id, serves) = (same.id, env.current == Some(same.id));
    let mut unfinished = env.deployments.values().rev().filter(|d| !is_over(d));
    match (env.goal, serves, unfinished.next()) {
        (Goal::Down | Goal::Purged, true, _) => Course::To(id, Reason::Up),
        (Goal::Up, true, None) => Course::Nothing(id),
        (Goal::Up, _, Some(last)) if joins(request, last, id) => Course::UnderWay(last.id),
        // What leads elsewhere is taken back: the release commands of what serves have run.
        (Goal::Up, true, Some(last)) if last.to < id => Course::To(id, Reason::Rollforward),
        (Goal::Up, true, Some(_)) => Course::To(id, Reason::Rollback),
        (_, false, _) => Course::To(id, Reason::Deploy),
    }
}

/// The release that serves because somebody rolled back to it, and nothing was asked for since.
fn rolled_back_to(env: &Environment) -> Option<ReleaseId> {
    let moved = |d: &&Deployment| d.reason != Reason::Up;
    let last = env.deployments.values().rev().find(moved)?;
    let succeeded = Verdict::Succeeded;
    let ended = matches!(last.phase, Phase::Finished { verdict, .. } if verdict == succeeded);
    let holds = ended && last.reason == Reason::Rollback && env.current == Some(last.to);
    holds.then_some(last.to)
}

fn joins(request: &DeployRequest, last: &Deployment, to: ReleaseId) -> bool {
    last.to == to && last.cancelled.is_none() && request.others == Others::Wait
}

pub(crate) fn is_over(deployment: &Deployment) -> bool {
    matches!(deployment.phase, Phase::Finished { .. })
}

/// The deployments that have not ended, and that nobody has cancelled yet.
fn uncancelled(env: &Environment) -> Vec<Deployment> {
    let others = env.deployments.values();
    let others = others.filter(|d| !is_over(d) && d.cancelled.is_none());
    others.cloned().collect()
}

fn release(
    env: &Environment,
    actor: &Actor,
    spec: EnvSpec,
    images: BTreeMap<Name, Digest>,
) -> Release {
    Release {
        id: env.next_release(),
        build: Build {
            version: format!("{}.{}", spec.version, env.builds + 1),
            images,
        },
        spec,
        recorded: now(),
        by: actor.who.clone(),
    }
}
