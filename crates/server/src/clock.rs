//! The one clock of the control plane.

use std::sync::atomic::{AtomicU64, Ordering};

use ward_types::time::Timestamp;

/// The number that was given last.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// Now, by the machine's clock.
#[must_use]
pub(crate) fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// A number that this process gives once: the milliseconds of now, or the next one that is free.
pub(crate) fn number(now: Timestamp) -> u64 {
    let next = |given: u64| now.0.max(given + 1);
    let before = GIVEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| {
        Some(next(given))
    });
    next(before.unwrap_or_else(|given| given))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn what_is_asked_for_in_one_millisecond_has_numbers_of_its_own() {
        let many = || (0..1000).map(|_| number(Timestamp(7))).collect::<Vec<_>>();
        let all: BTreeSet<u64> = thread::scope(|scope| {
            let threads = [scope.spawn(many), scope.spawn(many)];
            threads
                .into_iter()
                .flat_map(|one| one.join().unwrap())
                .collect()
        });
        assert_eq!(all.len(), 2000);
        let later = all.last().unwrap() + 1000;
        assert_eq!(number(Timestamp(later)), later);
    }
}
