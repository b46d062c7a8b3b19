//! Decision: how an instance's answers so far count when the next request is placed.
//!
//! - **Slow ones get less.** What counts is how often its average is in the least of those that could be chosen, up
//!   to eight times, and whole times only: below twice, and below a millisecond, differences are noise, and nobody
//!   is preferred for it. It counts squared: were it not, a burst that the fast ones could take would spill over to
//!   the slow one, and one request in a hundred is enough for the tail to be the slow one's. An average that nothing
//!   renews halves every two seconds, so that an instance that was slow gets a request now and then, which says
//!   whether it still is.
//! - **Outliers are passed over.** One that failed five times without a success between them gets nothing for a
//!   second, and for twice as long each time that it fails again, up to half a minute. Then a single request at a
//!   time is its probe, until one succeeds. When more than half of a pool would be passed over, nobody is: then it
//!   is not the instances that are ill, and half of a pool is too little to carry it all.
//! - What fails fast must not look fast: only successes are measured.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How many failures in a row make an outlier.
const FAILURES: u32 = 5;
/// How long one is passed over at first and at most, in milliseconds.
const FIRST: u64 = 1_000;
const LONGEST: u64 = 30_000;
/// Averages below this, in microseconds, are all the same.
const NOISE: u64 = 1_000;
/// How much of the difference to the average so far one answer makes.
const SHARE: u64 = 8;
/// After about so many milliseconds, as a power of two, an average that nothing renews is halved.
const HALVED: u32 = 11;
/// The most times that are told apart.
const MOST: u64 = 8;

/// How an instance did so far.
#[derive(Debug, Default)]
pub(crate) struct Fitness {
    /// In microseconds; 0 while nothing is known.
    average: AtomicU64,
    /// When it was renewed (milliseconds).
    at: AtomicU64,
    failures: AtomicU32,
    /// Until when it is passed over (milliseconds); 0 when it is no outlier.
    out_until: AtomicU64,
    ejections: AtomicU32,
}

impl Fitness {
    /// An answer that was no failure took so long, at `now` (milliseconds).
    pub(crate) fn took(&self, took: Duration, now: u64) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.average.load(Ordering::Relaxed);
        let average = match before {
            0 => took,
            // Whoever writes at the same time loses: an average has others.
            before => (before - before / SHARE)
                .saturating_add(took / SHARE)
                .max(1),
        };
        self.average.store(average, Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    /// An answer had not come after so long, and was not waited for any longer, at `now` (milliseconds).
    pub(crate) fn takes_longer_than(&self, waited: Duration, now: u64) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        if micros > self.average(now) {
            self.took(waited, now);
        }
    }

    /// It succeeded. Whether it was an outlier until now.
    pub(crate) fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.ejections.store(0, Ordering::Relaxed);
        self.out_until.swap(0, Ordering::Relaxed) > 0
    }

    /// It failed at `now` (milliseconds). For how long it is passed over, if it is from now on.
    pub(crate) fn failed(&self, now: u64) -> Option<Duration> {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let out_until = self.out_until.load(Ordering::Relaxed);
        // What was under way when it became one says nothing new.
        if failures < FAILURES || now < out_until {
            return None;
        }
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let millis = FIRST.saturating_mul(1 << before.min(16)).min(LONGEST);
        self.out_until.store(now + millis, Ordering::Relaxed);
        Some(Duration::from_millis(millis))
    }

    /// Whether it is passed over at `now` (milliseconds) when so much is under way on it.
    pub(crate) fn is_out(&self, now: u64, under_way: u64) -> bool {
        match self.out_until.load(Ordering::Relaxed) {
            0 => false,
            until => now < until || under_way > 0,
        }
    }

    /// What its average counts at `now` (milliseconds), in microseconds.
    pub(crate) fn average(&self, now: u64) -> u64 {
        let since = now.saturating_sub(self.at.load(Ordering::Relaxed)) >> HALVED;
        let average = self.average.load(Ordering::Relaxed);
        average
            .checked_shr(u32::try_from(since).unwrap_or(u32::MAX))
            .unwrap_or(0)
            .max(NOISE)
    }
}

/// What a request weighs on an instance with this average, where the fastest one's is `least`.
pub(crate) fn weight(average: u64, least: u64) -> u64 {
    (average / least.max(1)).clamp(1, MOST).pow(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn an_average_follows_and_is_forgotten() {
        let fitness = Fitness::default();
        assert_eq!(fitness.average(0), NOISE);
        fitness.took(10 * MILLI, 0);
        assert_eq!(fitness.average(0), 10_000);
        (0..50).for_each(|_| fitness.took(40 * MILLI, 100));
        let slow = fitness.average(100);
        assert!((39_000..=40_000).contains(&slow), "{slow}");
        assert_eq!(fitness.average(100 + 2 * 2048), slow / 4);
        assert_eq!(fitness.average(10_000_000), NOISE);
        fitness.takes_longer_than(20 * MILLI, 100);
        assert_eq!(fitness.average(100), slow, "nothing new");
        fitness.takes_longer_than(80 * MILLI, 100);
        assert!(fitness.average(100) > slow);
        assert_eq!(
            [1, 1, 4, 9, 64],
            [1_500, 999, 2_000, 3_999, 999_999].map(|own| weight(own, 1_000))
        );
    }

    #[test]
    fn an_outlier_is_passed_over_for_longer_each_time_and_a_success_ends_it() {
        let fitness = Fitness::default();
        let fails = |now| fitness.failed(now).map(|out| out.as_millis());
        for _ in 0..4 {
            assert_eq!(fails(0), None);
        }
        assert!(!fitness.is_out(0, 9));
        assert_eq!(fails(10), Some(1_000));
        assert_eq!(fails(20), None, "it was under way");
        assert!(fitness.is_out(1_009, 0) && !fitness.is_out(1_010, 0));
        assert!(fitness.is_out(1_010, 1), "one probe at a time");
        assert_eq!(fails(1_010), Some(2_000));
        assert_eq!(
            (0..9)
                .filter_map(|round| fails(100_000 * (round + 1)))
                .max(),
            Some(30_000)
        );
        assert!(fitness.succeeded() && !fitness.succeeded());
        assert!(!fitness.is_out(0, 9));
        assert_eq!(fails(2_000_000), None);
    }
}
