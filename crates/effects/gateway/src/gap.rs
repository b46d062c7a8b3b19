//! Decision: a request that finds no instance waits for one, if its service had one a moment ago.
//!
//! Between the death of a service's last instance and the table that names its successor lie the time in
//! which Ward notices and the successor's start. A request that comes in that gap was not under way in
//! what died, so it must not fail with it (promise P1).
//!
//! - A gap begins when a table leaves a service without instances, or when a request could not connect to
//!   any of those that the table names. It ends when a table names one that was not in the table before,
//!   or when a connection is made.
//! - Those who wait are told of its end in the order in which they came. Nothing of theirs was sent, so
//!   the method does not matter, and no more of a body is read than fits a buffer, so that its sender is
//!   held back. Only one of them at a time, the scout, tries whether an instance takes connections again:
//!   an instance that does not listen yet tells nobody when it does.
//! - A request that was under way in what died, and may be sent again ([`crate::course`]), waits as well.
//! - A service that is without instances for longer than [`crate::Limits::hold`] refuses at once, and so
//!   does one that never had any: who is ill for long must not also hold its clients. The same time bounds
//!   each request, however many gaps it meets, and [`crate::Limits::waiting`] how many may wait.
//! - A client that goes away takes its request along, a service that leaves the table refuses its requests
//!   at once, and so does a process whose time is over.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Mutex, MutexGuard, Notify};

/// There is no gap.
const CLOSED: u64 = u64::MAX;
/// There never was an instance.
const FOREVER: u64 = u64::MAX - 1;

/// The scout's first pause and its longest, in milliseconds; it grows with the age of the gap.
const PAUSES: (u64, u64) = (10, 250);

/// What a service's requests wait in. Shared by all workers, kept from table to table.
pub(crate) struct Gap {
    /// When it began, in milliseconds, or one of the constants.
    began: AtomicU64,
    waiting: AtomicUsize,
    over: Notify,
    scout: Mutex<()>,
}

impl Default for Gap {
    /// The gap of a service that never had an instance.
    fn default() -> Self {
        Self {
            began: AtomicU64::new(FOREVER),
            waiting: AtomicUsize::new(0),
            over: Notify::new(),
            scout: Mutex::default(),
        }
    }
}

impl Gap {
    /// There is no instance at `now` (milliseconds). When the gap that this belongs to began; `None` when
    /// there never was an instance.
    pub(crate) fn begin(&self, now: u64) -> Option<u64> {
        let began = self
            .began
            .compare_exchange(CLOSED, now, Ordering::AcqRel, Ordering::Acquire);
        match began {
            Ok(_) => Some(now),
            Err(FOREVER) => None,
            Err(earlier) => Some(earlier),
        }
    }

    /// There is an instance.
    pub(crate) fn end(&self) {
        // Read first: this is called for each new connection.
        if self.began.load(Ordering::Acquire) != CLOSED {
            self.began.store(CLOSED, Ordering::Release);
            self.wake();
        }
    }

    /// Lets all who wait look at the newest table.
    pub(crate) fn wake(&self) {
        self.over.notify_waiters();
    }

    /// Ends with the gap. Who enables it sees each end from then on.
    pub(crate) fn over(&self) -> Notified<'_> {
        self.over.notified()
    }

    /// One more who waits, if it is not one more than `most`.
    pub(crate) fn enter(&self, most: usize) -> Option<Waiter<'_>> {
        let entered = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < most).then_some(waiting + 1)
            });
        entered.ok().map(|_| Waiter(self))
    }

    /// The scout's turn goes to who has waited longest.
    pub(crate) async fn scout(&self) -> MutexGuard<'_, ()> {
        self.scout.lock().await
    }

    /// How long the scout waits before it tries again at `now`.
    pub(crate) fn pause(&self, now: u64) -> Duration {
        let age = now.saturating_sub(self.began.load(Ordering::Relaxed));
        Duration::from_millis((age / 4).clamp(PAUSES.0, PAUSES.1))
    }
}

/// A request that waits, until it is dropped.
pub(crate) struct Waiter<'a>(&'a Gap);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_as_old_as_its_first_sign_and_one_without_a_beginning_has_no_age() {
        let gap = Gap::default();
        assert_eq!(gap.begin(5), None);
        gap.end();
        assert_eq!(gap.begin(7), Some(7));
        assert_eq!(gap.begin(9), Some(7));
        assert_eq!(gap.pause(7), Duration::from_millis(10));
        assert_eq!(gap.pause(407), Duration::from_millis(100));
        assert_eq!(gap.pause(90_007), Duration::from_millis(250));
        gap.end();
        assert_eq!(gap.begin(11), Some(11));
    }

    #[test]
    fn only_so_many_wait() {
        let gap = Gap::default();
        let first = gap.enter(2).unwrap();
        let _second = gap.enter(2).unwrap();
        assert!(gap.enter(2).is_none());
        drop(first);
        assert!(gap.enter(2).is_some());
    }

    #[tokio::test]
    async fn those_who_wait_are_told_in_the_order_in_which_they_came() {
        let gap = Gap::default();
        let order = std::cell::RefCell::new(Vec::new());
        gap.end();
        gap.begin(1);
        let waiters = (0..100).map(async |number| {
            gap.over().await;
            order.borrow_mut().push(number);
        });
        let end = async { gap.end() };
        tokio::join!(futures_util::future::join_all(waiters), end);
        assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
    }
}
