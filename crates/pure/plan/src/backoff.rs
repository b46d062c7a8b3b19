//! Decision: what ends without being asked to is started again after 1 s, 2 s, 4 s … 60 s.
//!
//! The count is read off the instances that are over: those that ended without having been healthy for
//! ten seconds, counted back from the newest, and those that were stopped because they never became so.
//! One that was well ends the row, whatever ended it, and so does a newer one that is: whom an operator
//! kills is back at once. With several instances declared, as many failures make one round, so that four that fall
//! together with their database are one failure and not four. What is needed for the count is kept as
//! history, the rest removed.

use ward_types::id::{InstanceId, Name};
use ward_types::keeper::InstanceState;
use ward_types::time::Millis;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MOST, HISTORY_ROUNDS, STABLE, WELL};
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// The failures in a row of one component, the newest first.
fn row<'a>(scene: &Scene, group: &[&'a SeenInstance]) -> Vec<&'a SeenInstance> {
    let settled = group.iter().filter(|i| is_settled(scene, i));
    let settled = settled.map(|i| i.facts.id.ordinal()).max().unwrap_or(0);
    let newest_first = group.iter().rev().filter(|i| counts(scene, i));
    newest_first
        .take_while(|i| i.facts.id.ordinal() > settled && was_short(scene, i))
        .copied()
        .collect()
}

/// What ended by itself, or was asked to stop because it was given up.
fn counts(scene: &Scene, instance: &SeenInstance) -> bool {
    instance.has_failed() || (!instance.is_live() && was_given_up(scene, instance))
}

fn was_given_up(scene: &Scene, instance: &SeenInstance) -> bool {
    scene.memory.given_up.contains(&instance.facts.id)
}

fn is_settled(scene: &Scene, instance: &SeenInstance) -> bool {
    instance.is_healthy() && scene.now.since(instance.since) >= WELL
}

fn was_short(scene: &Scene, instance: &SeenInstance) -> bool {
    let failed_to_start = matches!(instance.status.state, InstanceState::Failed { .. });
    let ran = instance.since.since(instance.facts.started);
    let well = scene.memory.well.contains(&instance.facts.id);
    failed_to_start || (!well && (ran < STABLE || was_given_up(scene, instance)))
}

/// How many of a component's starts in a row were given up.
pub(crate) fn given_up(scene: &Scene, group: &[&SeenInstance]) -> usize {
    let row = row(scene, group);
    row.iter().filter(|i| was_given_up(scene, i)).count()
}

/// The instances of a component whose ends still count.
pub(crate) fn history(scene: &Scene, group: &[&SeenInstance], wanted: u32) -> Vec<InstanceId> {
    let row = row(scene, group);
    let most = HISTORY_ROUNDS * wanted.max(1) as usize;
    row.iter().take(most).map(|i| i.facts.id.clone()).collect()
}

/// Why a component is not started now; `None`: it may be.
///
/// A last end that lies in the future was written before the clock was set back: it is not waited for.
pub(crate) fn hold(
    scene: &Scene,
    component: &Name,
    group: &[&SeenInstance],
    wanted: u32,
) -> Option<Waiting> {
    let row = row(scene, group);
    let ended = row.iter().map(|i| i.since).max()?;
    let rounds = row.len().div_ceil(wanted.max(1) as usize);
    let bound = Bound::fixed(ended, delay(rounds));
    let over = scene.is_past(&bound) || ended > scene.now;
    (!over).then(|| Waiting::Backoff {
        component: component.clone(),
        failures: u32::try_from(row.len()).unwrap_or(u32::MAX),
        given_up: row.first().is_some_and(|i| was_given_up(scene, i)),
        bound,
    })
}

fn delay(rounds: usize) -> Millis {
    let doublings = u32::try_from(rounds.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2u64.checked_pow(doublings).unwrap_or(u64::MAX);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MOST.0))
}
