//! Decision: what ends without being asked to is started again after 1 s, 2 s, 4 s … 60 s.
//!
//! The count is read off the instances that are over: those that ended within a minute, counted back
//! from the newest. One that ran longer ends the row, and so does a newer one that has been healthy for
//! a minute. With several instances declared, as many failures make one round, so that four that fall
//! together with their database are one failure and not four. What is needed for the count is kept as
//! history, the rest removed.

use ward_types::id::{InstanceId, Name};
use ward_types::keeper::InstanceState;
use ward_types::time::Millis;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MOST, HISTORY_ROUNDS, STABLE};
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// The failures in a row of one component, the newest first.
fn row<'a>(scene: &Scene, group: &[&'a SeenInstance]) -> Vec<&'a SeenInstance> {
    let settled = group.iter().filter(|i| is_settled(scene, i));
    let settled = settled.map(|i| i.facts.id.ordinal()).max().unwrap_or(0);
    let newest_first = group.iter().rev().filter(|i| i.has_failed());
    newest_first
        .take_while(|i| i.facts.id.ordinal() > settled && was_short(i))
        .copied()
        .collect()
}

fn is_settled(scene: &Scene, instance: &SeenInstance) -> bool {
    instance.is_healthy() && scene.now.since(instance.since) >= STABLE
}

fn was_short(instance: &SeenInstance) -> bool {
    let failed_to_start = matches!(instance.status.state, InstanceState::Failed { .. });
    failed_to_start || instance.since.since(instance.facts.started) < STABLE
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
        bound,
    })
}

fn delay(rounds: usize) -> Millis {
    let doublings = u32::try_from(rounds.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2u64.checked_pow(doublings).unwrap_or(u64::MAX);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MOST.0))
}
