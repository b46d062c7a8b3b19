//! Decision: answers of an HTTP/2 connection wait for each other while their worker has something to do.
//!
//! With a hundred requests under way on each of many connections, each turn of a worker brings each of them about one
//! answer. Written at once it costs a system call, a TLS record and a wake-up of the client, who asks again at once, for as
//! much. So what a connection with many requests under way has to write waits until a turn has brought its worker
//! nothing, or for [`LONGEST`], whichever comes first. Who has little under way waits for nobody, and a worker with nothing to do
//! holds nothing back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::clock;

/// How long something waits at the most, in nanoseconds.
const LONGEST: u64 = 1_000_000;

/// What is held back on one worker. One thread uses it; the lock is for hyper, which wants to be able to send a connection
/// to another.
#[derive(Default)]
pub(crate) struct Corks {
    held: Mutex<Vec<Arc<Cork>>>,
    begun: Notify,
    /// How much the worker has done.
    done: AtomicU64,
}

impl Corks {
    /// The worker has got on with a request.
    pub(crate) fn note_progress(&self) {
        let done = self.done.load(Ordering::Relaxed);
        self.done.store(done.wrapping_add(1), Ordering::Relaxed);
    }

    /// Lets go what has waited for long enough, from turn to turn. Nothing is done where nothing waits.
    pub(crate) async fn draw(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            let mut seen = self.done.load(Ordering::Relaxed);
            while !self.held().is_empty() {
                // Until the kernel was asked what has come.
                tokio::task::yield_now().await;
                let done = self.done.load(Ordering::Relaxed);
                let busy = std::mem::replace(&mut seen, done) != done;
                let now = clock::nanos();
                self.held().retain(|cork| {
                    let waits = busy && now.saturating_sub(cork.since()) < LONGEST;
                    if !waits {
                        cork.draw();
                    }
                    waits
                });
            }
        }
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
            drawn: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Ready when what there is may be written.
    pub(crate) fn poll_drawn(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.drawn.swap(false, Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        if !self.waits.swap(true, Ordering::Relaxed) {
            self.since.store(clock::nanos(), Ordering::Relaxed);
            self.corks.held().push(Arc::clone(self));
            self.corks.begun.notify_one();
        }
        Poll::Pending
    }

    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    fn draw(&self) {
        self.waits.store(false, Ordering::Relaxed);
        self.drawn.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn what_waits_goes_when_there_is_nothing_to_do_and_soon_in_any_case() {
        let corks: Arc<Corks> = Arc::default();
        let drawing = tokio::spawn(Arc::clone(&corks).draw());
        let (one, other) = (Cork::new(&corks), Cork::new(&corks));
        for cork in [&one, &other, &one] {
            poll_fn(|context| cork.poll_drawn(context)).await;
        }
        assert!(corks.held().is_empty());
        // Somebody has something to do in every turn.
        let began = Instant::now();
        let busy = poll_fn(|context| {
            corks.note_progress();
            context.waker().wake_by_ref();
            one.poll_drawn(context)
        });
        busy.await;
        assert!(began.elapsed() >= Duration::from_nanos(LONGEST));
        drawing.abort();
    }
}
