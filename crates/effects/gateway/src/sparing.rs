//! What anybody can bring about is not logged each time that it happens.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// How often something is said at the most, in milliseconds.
const EVERY: u64 = 200;

/// Says a few times a second whether something may be said.
#[derive(Debug, Default)]
pub(crate) struct Sparing(AtomicU64);

impl Sparing {
    /// Whether it may be said now.
    pub(crate) fn may_say(&self) -> bool {
        self.may_say_at(clock::millis())
    }

    fn may_say_at(&self, now: u64) -> bool {
        let next = self.0.load(Ordering::Relaxed);
        let renewed = || {
            self.0
                .compare_exchange(next, now + EVERY, Ordering::Relaxed, Ordering::Relaxed)
        };
        now >= next && renewed().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_times_a_second() {
        let sparing = Sparing::default();
        let said = (0..10_000).filter(|now| sparing.may_say_at(1_000 + now));
        assert_eq!(said.count(), 50);
    }
}
