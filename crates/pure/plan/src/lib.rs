//! Decides what to do next, and checks what was decided. Pure: names no I/O crate, no clock and no
//! randomness. One loop carries it: observe, [`plan`], [`check`], act, and again.

mod action;
mod analysis;
mod apart;
mod backoff;
pub mod backup;
mod cancel;
pub mod changes;
mod check;
mod checkup;
mod databases;
mod down;
mod draft;
mod drain;
mod drift;
mod drill;
mod endings;
mod exchange;
mod failure;
mod fill;
mod hold;
mod lifetime;
mod limits;
mod memory;
mod observed;
pub mod pipeline;
pub mod policy;
mod pools;
mod prepare;
mod purpose;
mod queue;
mod rest;
mod retention;
mod revert;
mod roll;
mod route;
mod runs;
mod scene;
mod serve;
mod sleep;
mod snapshot;
pub mod source;
mod stages;
mod tables;
mod trial;
mod verdict;
mod waiting;
mod watch;

pub use action::{Action, Plan, PlannedPool};
pub use check::{Objection, check};
pub use memory::Memory;
pub use observed::{Observed, SeenGateway, SeenInstance};
pub use waiting::{Bound, Until, Waiting, WayBack};

use draft::Draft;
use scene::{Scene, Stand};
use stages::Rollout;
use ward_types::release::{Environment, Goal, Phase};
use ward_types::time::Timestamp;

/// What to do now about one environment. The same arguments give the same plan.
///
/// `next_ordinal` is the first number that was never given out in this environment; the plan says which
/// one it is afterwards. `memory` is the last plan's, or empty.
#[must_use]
pub fn plan(
    env: &Environment,
    observed: &Observed,
    now: Timestamp,
    next_ordinal: u64,
    memory: &Memory,
) -> Plan {
    let rollout = Rollout::of(env);
    let shown = checkup::shown(env, observed);
    let (seen, observed) = (observed, shown.as_ref());
    let before = Scene {
        env,
        observed,
        now,
        memory,
        rollout: rollout.as_ref(),
        stand: Stand::Rest,
    };
    let noted = memory::note(&before);
    let scene = Scene {
        memory: &noted,
        ..before
    };
    let scene = Scene {
        stand: roll::stand(&scene),
        ..scene
    };
    let mut draft = Draft::new(next_ordinal, observed, noted.clone());
    if lifetime::is_over(&scene) {
        lifetime::end(&mut draft);
        return draft.finish(now);
    }
    if fill::is_unmade(&scene) {
        fill::unmake(&mut draft);
        return draft.finish(now);
    }
    if let Some(turn) = sleep::turn(&scene) {
        draft.act(turn);
        return draft.finish(now);
    }
    endings::step(&scene, &mut draft);
    match env.goal {
        Goal::Up if env.asleep().is_some() => sleep::fall(&scene, &mut draft),
        Goal::Up => up(&scene, seen, &mut draft),
        Goal::Down | Goal::Purged => down::step(&scene, &mut draft),
    }
    lifetime::step(&scene, &mut draft);
    draft.finish(now)
}

/// What serves is looked after first, in every phase of every deployment.
fn up(scene: &Scene, seen: &Observed, draft: &mut Draft) {
    drift::step(scene, draft);
    databases::keep(scene, draft);
    rest::keep(scene, draft);
    if let Some(deployment) = scene.active() {
        match &deployment.phase {
            Phase::Preparing => prepare::step(scene, draft, deployment),
            Phase::Rolling { .. } => roll::step(scene, draft, deployment),
            Phase::Reverting { failure } => revert::step(scene, draft, deployment, failure),
            // One that waits or has ended is not active.
            Phase::Queued | Phase::Finished { .. } => {}
        }
        checkup::step(scene, seen, draft, deployment);
        serve::record(scene, draft, deployment);
    }
    exchange::step(scene, draft);
    runs::step(scene, draft);
    drill::step(scene, draft);
    queue::step(scene, draft);
    route::step(scene, draft);
    drain::services(scene, draft);
    retention::step(scene, draft);
    sleep::step(scene, draft);
}
