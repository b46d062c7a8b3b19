//! Counts what was asked and what became of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sample::Sample;

/// What was under way in something that was killed fails so soon.
const FAILS_WITHIN: Duration = Duration::from_secs(2);

/// So many failures of a kind are kept in words.
const TOLD: usize = 5;

#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    /// When something was killed that answers.
    kills: Mutex<Vec<tokio::time::Instant>>,
    kinds: Mutex<BTreeMap<&'static str, Kind>>,
}

/// What became of the requests of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kind {
    /// How many were begun.
    pub(crate) asked: u64,
    /// How many of them failed.
    pub(crate) failed: u64,
    /// How many were under way when what answered them was killed, and failed for that.
    pub(crate) lost: u64,
    /// How long the good ones took, in milliseconds from when they were due.
    pub(crate) latency: Sample,
    /// The first failures.
    pub(crate) failures: Vec<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            kills: Mutex::default(),
            kinds: Mutex::default(),
        }
    }
}

impl Tally {
    pub(super) fn asked(&self, kind: &'static str) {
        self.lock().entry(kind).or_default().asked += 1;
    }

    pub(super) fn good(&self, kind: &'static str, latency: Duration) {
        self.lock()
            .entry(kind)
            .or_default()
            .latency
            .add_millis(latency);
    }

    pub(super) fn bad(&self, kind: &'static str, due: tokio::time::Instant, why: String) {
        let at = self.begun.elapsed().as_secs_f64();
        let is_lost = self.is_lost(due);
        let mut kinds = self.lock();
        let kind = kinds.entry(kind).or_default();
        if is_lost {
            kind.lost += 1;
            return;
        }
        kind.failed += 1;
        if kind.failures.len() < TOLD {
            crate::report::say(&format!(
                "  failed after {at:.2} s: {}",
                why.lines().next().unwrap_or_default()
            ));
            kind.failures.push(format!("after {at:.2} s: {why}"));
        }
    }

    /// Begun before something was killed, and failed right after.
    fn is_lost(&self, due: tokio::time::Instant) -> bool {
        let kills = self.kills.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kills = kills.iter().rev();
        kills.any(|kill| due <= *kill && kill.elapsed() < FAILS_WITHIN)
    }

    pub(super) fn something_was_killed(&self) {
        let mut kills = self.kills.lock().unwrap_or_else(PoisonError::into_inner);
        kills.push(tokio::time::Instant::now());
    }

    pub(super) fn failed(&self) -> u64 {
        self.lock().values().map(|kind| kind.failed).sum()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().values().map(|kind| kind.lost).sum()
    }

    pub(super) fn age(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn asked_in_all(&self) -> u64 {
        self.lock().values().map(|kind| kind.asked).sum()
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            kinds: self.lock().clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a whole load.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) kinds: BTreeMap<&'static str, Kind>,
}

impl Summary {
    pub(crate) fn asked(&self) -> u64 {
        self.kinds.values().map(|kind| kind.asked).sum()
    }

    /// What was begun and did not get a good answer, whatever became of it, unless it was killed with what
    /// answered it.
    pub(crate) fn failed(&self) -> u64 {
        self.kinds
            .values()
            .map(|kind| kind.asked - kind.latency.len() as u64 - kind.lost)
            .sum()
    }

    /// What was under way when what answered it was killed.
    pub(crate) fn lost(&self) -> u64 {
        self.kinds.values().map(|kind| kind.lost).sum()
    }

    /// The first failures of each kind, with its name.
    pub(crate) fn failures(&self) -> Vec<String> {
        let told = |(name, kind): (&&str, &Kind)| {
            kind.failures
                .iter()
                .map(|why| format!("{name}, {why}"))
                .collect::<Vec<_>>()
        };
        self.kinds.iter().flat_map(told).collect()
    }
}
