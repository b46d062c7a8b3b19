//! How many requests may be tried again: a fifth of what comes in, and ten each second, so that retries
//! cannot multiply the load on a service that is failing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const RETRY: i64 = 1000;
const PER_REQUEST: i64 = RETRY / 5;
const PER_SECOND: i64 = 10 * RETRY;
/// Ten seconds' worth may be saved up.
const MOST: i64 = 10 * PER_SECOND;

/// The retry budget of one pool, in thousandths of a retry. Shared by all workers; small errors between
/// them do not matter.
pub(crate) struct Budget {
    saved: AtomicI64,
    refilled: AtomicU64,
}

impl Budget {
    /// A budget with one second's worth in it, at `now` (milliseconds).
    pub(crate) fn new(now: u64) -> Self {
        Self {
            saved: AtomicI64::new(PER_SECOND),
            refilled: AtomicU64::new(now),
        }
    }

    /// A first try earns a part of a retry.
    pub(crate) fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < MOST {
            self.saved.fetch_add(PER_REQUEST, Ordering::Relaxed);
        }
    }

    /// Whether one more try may be made now; it is paid for when it may.
    pub(crate) fn spend(&self, now: u64) -> bool {
        self.refill(now);
        let paid = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved >= RETRY).then_some(saved - RETRY)
            });
        paid.is_ok()
    }

    fn refill(&self, now: u64) {
        let before = self.refilled.fetch_max(now, Ordering::Relaxed);
        let millis = i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
        let earned = millis.saturating_mul(PER_SECOND / 1000).min(MOST);
        let room = MOST - self.saved.load(Ordering::Relaxed);
        self.saved
            .fetch_add(earned.min(room.max(0)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &Budget, now: u64) -> usize {
        std::iter::repeat_with(|| budget.spend(now))
            .take_while(|paid| *paid)
            .count()
    }

    #[test]
    fn ten_a_second_and_a_fifth_of_the_requests() {
        let budget = Budget::new(0);
        assert_eq!(spend_all(&budget, 0), 10);
        assert_eq!(spend_all(&budget, 500), 5);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spend_all(&budget, 500), 20);
        assert_eq!(
            spend_all(&budget, 3_600_000),
            100,
            "an hour's saving is capped"
        );
        assert_eq!(
            spend_all(&budget, 0),
            0,
            "a clock that steps back earns nothing"
        );
    }
}
