//! One timer for all that a connection waits for. Deadlines that are never met cost nothing: it is only set when
//! one is sooner than it, and looks again when it fires too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::clock;

/// A timer that is usually set too early.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// When it fires (milliseconds).
    set: u64,
}

impl Timer {
    /// Fires at `due` (milliseconds).
    pub(super) fn new(due: u64) -> Self {
        let left = Duration::from_millis(due.saturating_sub(clock::millis()));
        Self {
            sleep: Box::pin(tokio::time::sleep(left)),
            set: due,
        }
    }

    /// Ready at `due` (milliseconds) or later.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, due: u64) -> Poll<()> {
        if due < self.set {
            self.reset(due, clock::millis());
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            let now = clock::millis();
            if now >= due {
                return Poll::Ready(());
            }
            self.reset(due, now);
        }
        Poll::Pending
    }

    fn reset(&mut self, due: u64, now: u64) {
        // One more, because both clocks are cut off to whole milliseconds.
        let left = Duration::from_millis(due.saturating_sub(now) + 1);
        self.sleep.as_mut().reset(Instant::now() + left);
        self.set = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_may_move_both_ways() {
        let now = clock::millis();
        let mut timer = Timer::new(now + 20);
        let (late, soon) = (now + 60, now + 5);
        std::future::poll_fn(|context| timer.poll(context, late)).await;
        assert!(clock::millis() >= late);
        let mut timer = Timer::new(now + 60_000);
        std::future::poll_fn(|context| timer.poll(context, soon)).await;
        assert!(clock::millis() < now + 60_000);
    }
}
