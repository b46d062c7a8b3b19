//! What the planner remembers from one plan to the next.
//!
//! Only what cannot be seen: since when something is so. Losing it does no harm: budgets count from then
//! on again, and so do the requests by which a release is judged, and the time of a stage that asks for
//! them, and the time for which nobody used the environment; an instance that ends during a rollout counts as never having been healthy, one that ends later as
//! a failure to start unless it ran for long.

use std::collections::{BTreeMap, BTreeSet};

use ward_types::id::{DeploymentId, InstanceId};
use ward_types::keeper::InstanceState;
use ward_types::release::{Deployment, Phase};
use ward_types::time::Timestamp;

use crate::action::Action;
use crate::databases;
use crate::exchange;
use crate::hold;
use crate::limits::WELL;
use crate::pools;
use crate::scene::{Scene, Stand};
use crate::sleep::{self, Quiet};
use crate::stages::Rollout;
use crate::tables;
use crate::waiting::Bound;
use crate::watch::{self, Watch};

/// Opaque to the driver, which begins with `Memory::default()` and hands each plan's memory to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The instances that were seen healthy once.
    pub(crate) proven: BTreeSet<InstanceId>,
    /// The instances that were seen healthy for `WELL`.
    pub(crate) well: BTreeSet<InstanceId>,
    /// The instances that are or were to be stopped because they did not become healthy, or stayed ill.
    pub(crate) given_up: BTreeSet<InstanceId>,
    /// The running instances that are out of rotation.
    pub(crate) out: BTreeMap<InstanceId, Out>,
    /// Since when the active deployment is in its phase, by this planner's reading of the clock; beside it
    /// what the log says, which is another moment in each phase and stage.
    pub(crate) phase: Option<(DeploymentId, Timestamp, Timestamp)>,
    /// Since when all that the stage needs is healthy and waits for the gateway.
    pub(crate) ready: Option<Reached>,
    /// Since when the table of the stage is in force, whatever died since.
    pub(crate) held: Option<Reached>,
    /// Since when nothing holds the stage any more.
    pub(crate) over: Option<Reached>,
    /// What both releases answered while the active deployment rolls out.
    pub(crate) watch: Option<Watch>,
    /// The deployment whose release was seen in rotation, or to work, before it was taken back.
    pub(crate) switched: Option<DeploymentId>,
    /// Until when the deployment's phase could start nothing, because something else had to be gone first.
    pub(crate) barred: Option<Barred>,
    /// How it is used; `None` while it is not awake.
    pub(crate) quiet: Option<Quiet>,
}

/// That something had to be gone before anything could be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barred {
    /// In the phase or stage that began then, by the log.
    pub(crate) phase: Timestamp,
    /// When that was last so.
    pub(crate) until: Timestamp,
}

/// Since when a deployment has come so far at one of its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    deployment: DeploymentId,
    pub(crate) stage: u32,
    pub(crate) since: Timestamp,
}

/// Since when an instance is out of rotation, and when what it still did was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) since: Timestamp,
    pub(crate) cut: Option<Timestamp>,
}

impl Memory {
    /// The driver says that an action of the plan that this memory came with failed: so that it is not
    /// remembered as done. Only `Cut` is remembered at all.
    pub fn was_not_done(&mut self, action: &Action) {
        if let Action::Cut { id } = action
            && let Some(out) = self.out.get_mut(id)
        {
            out.cut = None;
        }
    }
}

/// What is remembered after this scene was seen.
pub(crate) fn note(scene: &Scene) -> Memory {
    let held = held(scene);
    let watch = watch::note(scene, held);
    Memory {
        proven: proven(scene),
        well: well(scene),
        given_up: given_up(scene),
        out: out(scene),
        phase: phase(scene),
        ready: ready(scene, held),
        held,
        over: over(scene, held, watch.as_ref()),
        watch,
        switched: switched(scene),
        barred: exchange::barred(scene),
        quiet: sleep::quiet(scene),
    }
}

/// Who is in rotation was healthy, whatever it is now.
fn proven(scene: &Scene) -> BTreeSet<InstanceId> {
    let well = scene.seen().filter(|i| {
        let state = &i.status.state;
        let well = matches!(state, InstanceState::Healthy | InstanceState::Unhealthy);
        let id = &i.facts.id;
        well || scene.in_force(id) || scene.memory.proven.contains(id)
    });
    well.map(|i| i.facts.id.clone()).collect()
}

fn well(scene: &Scene) -> BTreeSet<InstanceId> {
    let well = scene.seen().filter(|i| {
        let now = i.is_healthy() && scene.is_past(&Bound::fixed(i.since, WELL));
        now || scene.memory.well.contains(&i.facts.id)
    });
    well.map(|i| i.facts.id.clone()).collect()
}

/// One that becomes healthy after all is not given up any more.
fn given_up(scene: &Scene) -> BTreeSet<InstanceId> {
    let given_up = scene.seen().filter(|i| {
        let now = databases::is_overdue(scene, i) || pools::is_given_up(scene, i);
        let before = scene.memory.given_up.contains(&i.facts.id);
        now || (before && !i.is_healthy())
    });
    given_up.map(|i| i.facts.id.clone()).collect()
}

/// Without the gateway nothing is known to have left.
fn out(scene: &Scene) -> BTreeMap<InstanceId, Out> {
    let known = scene.gateway().is_some();
    let running = scene.seen().filter(|i| i.is_routable() && !i.is_over());
    let ids = running.map(|i| &i.facts.id);
    let out = ids.filter(|id| !scene.in_force(id)).filter_map(|id| {
        let before = scene.memory.out.get(id).copied();
        let fresh = known.then_some(Out {
            since: scene.now,
            cut: None,
        });
        let out = before.or(fresh)?;
        Some((id.clone(), out.no_later_than(scene.now)))
    });
    out.collect()
}

impl Out {
    /// A clock that was set back does not make a budget longer than it is.
    fn no_later_than(self, now: Timestamp) -> Self {
        Self {
            since: self.since.min(now),
            cut: self.cut.map(|at| at.min(now)),
        }
    }
}

fn phase(scene: &Scene) -> Option<(DeploymentId, Timestamp, Timestamp)> {
    let active = scene.active()?;
    Some((active.id, active.phase_since, scene.phase_since(active)))
}

fn ready(scene: &Scene, held: Option<Reached>) -> Option<Reached> {
    let (active, stage) = (scene.active()?, scene.stage()?);
    let waits = active.paused.is_none() && held.is_none();
    let ready = waits && pools::is_complete(scene, active.to);
    ready.then(|| reached(scene, scene.memory.ready, active, stage))
}

/// A table that came into force holds even if something dies: what to do then is decided by what died.
fn held(scene: &Scene) -> Option<Reached> {
    let (active, stage) = (scene.active()?, scene.stage()?);
    let rollout = scene.rollout.filter(|rollout| !rollout.is_plain())?;
    let before = scene.memory.held.filter(|held| held.is_at(active, stage));
    let before = before.or_else(|| recorded(scene, active, stage));
    let now = || {
        let there = Scene {
            stand: Stand::At(stage),
            ..*scene
        };
        let table = tables::at(&there, rollout, Some(stage));
        let gateway = scene.gateway();
        let in_force = gateway.is_some_and(|g| pools::are_in_force(&g.pools, &table));
        in_force && pools::is_complete(scene, active.to)
    };
    let holds = before.is_some() || now();
    holds.then(|| reached(scene, before, active, stage))
}

/// By the log, for a planner that has forgotten: unless requests are asked for, which it counts anew.
fn recorded(scene: &Scene, active: &Deployment, stage: u32) -> Option<Reached> {
    let served = active.served.filter(|served| served.stage == Some(stage))?;
    let mut services = scene.spec(active.to)?.services.values();
    let counts = services.any(|service| service.analysis.is_some());
    (!counts).then_some(Reached {
        deployment: active.id,
        stage,
        since: served.at,
    })
}

fn over(scene: &Scene, held: Option<Reached>, watch: Option<&Watch>) -> Option<Reached> {
    let (active, stage) = (scene.active()?, scene.stage()?);
    let over = hold::until(scene, active, held, watch).is_none();
    (held.is_some() && over).then(|| reached(scene, scene.memory.over, active, stage))
}

fn reached(scene: &Scene, before: Option<Reached>, active: &Deployment, stage: u32) -> Reached {
    let before = before.filter(|reached| reached.is_at(active, stage));
    Reached {
        deployment: active.id,
        stage,
        since: before.map_or(scene.now, |b| b.since.min(scene.now)),
    }
}

impl Reached {
    fn is_at(&self, deployment: &Deployment, stage: u32) -> bool {
        (self.deployment, self.stage) == (deployment.id, stage)
    }
}

fn switched(scene: &Scene) -> Option<DeploymentId> {
    let active = scene.active()?;
    let changes = scene.current() != Some(active.to);
    let under_way = matches!(
        active.phase,
        Phase::Rolling { .. } | Phase::Reverting { .. }
    );
    // A later stage is reached only by the tables of those before it.
    let moved = |rollout: &Rollout| {
        let stage = scene.stage();
        stage.is_some_and(|stage| rollout.has_moved_before(stage))
    };
    let served = scene.rollout.is_some_and(moved)
        || active.served.is_some()
        || scene.release_in_force(active.to);
    let seen = changes && under_way && (served || exchange::has_begun(scene, active));
    (seen || scene.memory.switched == Some(active.id)).then_some(active.id)
}
