//! Many seeds, on all processors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::chaos::{Outcome, try_seed};

/// What many seeds came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// How much time went by in all worlds together, in milliseconds.
    pub simulated: u64,
    /// How many deployments ended.
    pub deployments: u64,
    /// Each seed that broke a promise, with how to replay it.
    pub broken: Vec<String>,
}

impl Run {
    /// Tries `seeds` seeds, the first of which is `from`.
    #[must_use]
    pub fn of(from: u64, seeds: u64) -> Self {
        let next = AtomicU64::new(from);
        let run = Mutex::new(Self::default());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= from + seeds {
                            return;
                        }
                        let outcome = try_seed(seed, None);
                        let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
                        run.count(seed, &outcome);
                    }
                });
            }
        });
        run.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&mut self, seed: u64, outcome: &Outcome) {
        self.simulated += outcome.simulated;
        self.deployments += outcome.deployments;
        if let Some(violation) = &outcome.violation {
            let replay = format!("seed {seed}: {violation} (replay with --seed {seed})");
            self.broken.push(replay);
        }
    }
}
