//! Decision: answers of an HTTP/2 connection wait for each other while more of them come.
//!
//! With a hundred requests under way on each of many connections, each turn of a worker brings each of them about one
//! answer. Written at once it costs a system call, a TLS record and a wake-up of the client, who asks again at once, for as
//! much. So what a connection with many requests under way has to write waits until a turn has brought it nothing
//! more, or for [`LONGEST`], whichever is seen first: its age is looked at in each turn, and whenever it has something more to
//! write. Who has little under way waits for nobody, and what a worker has to do for others holds nothing back.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::clock;

/// How long something waits, in nanoseconds, where turns are short.
const LONGEST: u64 = 300_000;

/// What is held back on one worker. One thread uses it; the lock is for hyper, which wants to be able to send a connection
/// to another.
#[derive(Default)]
pub(crate) struct Corks {
    held: Mutex<Vec<Arc<Cork>>>,
    begun: Notify,
}

impl Corks {
    /// Lets go what has waited for long enough, from turn to turn. Nothing is done where nothing waits.
    pub(crate) async fn draw(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            while self.look(clock::nanos()) {
                // Until the kernel was asked what has come.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether anything still waits.
    fn look(&self, now: u64) -> bool {
        let mut held = self.held();
        held.retain(|cork| cork.still_waits(now));
        !held.is_empty()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Arc<Cork>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection waits for before it writes.
pub(crate) struct Cork {
    corks: Arc<Corks>,
    /// Whether it waits, and since when.
    waits: AtomicBool,
    since: AtomicU64,
    /// How many bytes it holds, and how many it held when it was looked at last.
    holds: AtomicUsize,
    seen: AtomicUsize,
    /// Whether it is one of those that are looked at.
    listed: AtomicBool,
    drawn: AtomicBool,
    waker: AtomicWaker,
}

impl Cork {
    /// Of a connection of a worker.
    pub(crate) fn new(corks: &Arc<Corks>) -> Arc<Self> {
        Arc::new(Self {
            corks: Arc::clone(corks),
            waits: AtomicBool::new(false),
            since: AtomicU64::new(0),
            holds: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            listed: AtomicBool::new(false),
            drawn: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Ready when the bytes that there are may be written.
    pub(crate) fn poll_drawn(
        self: &Arc<Self>,
        holds: usize,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.poll_at(clock::nanos(), holds, context)
    }

    fn poll_at(self: &Arc<Self>, now: u64, holds: usize, context: &mut Context<'_>) -> Poll<()> {
        if self.drawn.swap(false, Ordering::Relaxed) {
            return Poll::Ready(());
        }
        if !self.waits.swap(true, Ordering::Relaxed) {
            self.since.store(now, Ordering::Relaxed);
            self.seen.store(0, Ordering::Relaxed);
        } else if self.is_old(now) {
            self.waits.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        self.holds.store(holds, Ordering::Relaxed);
        self.waker.register(context.waker());
        if !self.listed.swap(true, Ordering::Relaxed) {
            self.corks.held().push(Arc::clone(self));
            self.corks.begun.notify_one();
        }
        Poll::Pending
    }

    /// Nothing is held: what there was has been written, whoever asked for it.
    pub(crate) fn rests(&self) {
        self.waits.store(false, Ordering::Relaxed);
        self.drawn.store(false, Ordering::Relaxed);
    }

    fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.since.load(Ordering::Relaxed)) >= LONGEST
    }

    /// Whether it does, after a turn; if not, what is held may be written.
    fn still_waits(&self, now: u64) -> bool {
        let waits = self.waits.load(Ordering::Relaxed);
        let holds = self.holds.load(Ordering::Relaxed);
        let grows = self.seen.swap(holds, Ordering::Relaxed) != holds;
        let stays = waits && grows && !self.is_old(now);
        if !stays {
            self.listed.store(false, Ordering::Relaxed);
            if waits {
                self.waits.store(false, Ordering::Relaxed);
                self.drawn.store(true, Ordering::Relaxed);
                self.waker.wake();
            }
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::{Duration, Instant};

    fn poll(cork: &Arc<Cork>, now: u64, holds: usize) -> Poll<()> {
        cork.poll_at(now, holds, &mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn what_waits_goes_when_nothing_more_comes_and_soon_in_any_case() {
        let corks: Arc<Corks> = Arc::default();
        let drawing = tokio::spawn(Arc::clone(&corks).draw());
        let (one, other) = (Cork::new(&corks), Cork::new(&corks));
        for cork in [&one, &other, &one] {
            poll_fn(|context| cork.poll_drawn(1, context)).await;
        }
        assert!(corks.held().is_empty());
        // There is more in every turn.
        let (began, mut holds) = (Instant::now(), 0);
        let grows = poll_fn(|context| {
            holds += 1;
            context.waker().wake_by_ref();
            one.poll_drawn(holds, context)
        });
        grows.await;
        assert!(began.elapsed() >= Duration::from_nanos(LONGEST));
        drawing.abort();
    }

    #[test]
    fn what_one_connection_holds_does_not_wait_for_what_others_do() {
        let corks: Arc<Corks> = Arc::default();
        let (busy, quiet) = (Cork::new(&corks), Cork::new(&corks));
        assert!(poll(&busy, 0, 1).is_pending() && poll(&quiet, 0, 1).is_pending());
        assert!(corks.look(1), "a turn begins");
        assert!(poll(&busy, 1, 2).is_pending());
        assert!(corks.look(2) && corks.held().len() == 1);
        assert!(poll(&quiet, 3, 1).is_ready(), "the turn brought it nothing");
        assert!(poll(&busy, 3, 3).is_pending());
        assert!(!corks.look(LONGEST), "it is old");
    }

    #[test]
    fn who_has_waited_for_long_enough_waits_for_no_turn() {
        let corks: Arc<Corks> = Arc::default();
        let cork = Cork::new(&corks);
        assert!(poll(&cork, 0, 1).is_pending());
        assert!(poll(&cork, LONGEST - 1, 2).is_pending());
        assert!(poll(&cork, LONGEST, 3).is_ready());
        // The next ones wait anew, and are looked at once.
        assert!(poll(&cork, LONGEST, 1).is_pending());
        assert_eq!(corks.held().len(), 1);
        cork.rests();
        assert!(!corks.look(LONGEST + 1) && corks.held().is_empty());
        assert!(
            poll(&cork, 3 * LONGEST, 1).is_pending(),
            "and not because others went"
        );
    }
}
