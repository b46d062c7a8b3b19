//! Decision: for each instance one task of each worker waits for its end, and tells the worker's connections to it.
//!
//! Whoever waits for a token is in a list behind a lock, which all workers share. Each request waits for its answer and
//! for the end of its instance, so that list would be changed twice for each. Here a connection has a slot of its worker's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::deadlines::note;

/// A worker's connections to an instance, and whether that has to stop.
#[derive(Default)]
struct Slots {
    is_cut: Cell<bool>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Slots {
    fn cut(&self) {
        self.is_cut.set(true);
        let waiting: Vec<Waker> = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.iter_mut().filter_map(Option::take).collect()
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Tells the connections of one worker to one instance that it has to stop.
pub(super) struct Cutting {
    slots: Rc<Slots>,
    task: AbortHandle,
}

impl Cutting {
    /// Once `cut` is cancelled.
    pub(super) fn new(cut: &CancellationToken) -> Self {
        let (slots, cut) = (Rc::new(Slots::default()), cut.clone());
        let told = Rc::clone(&slots);
        let task = tokio::task::spawn_local(async move {
            cut.cancelled().await;
            told.cut();
        });
        Self {
            slots,
            task: task.abort_handle(),
        }
    }

    /// For one more connection.
    pub(super) fn cut(&self) -> Cut {
        let slot = self.slots.free.borrow_mut().pop();
        let slot = slot.unwrap_or_else(|| {
            let mut waiting = self.slots.waiting.borrow_mut();
            waiting.push(None);
            waiting.len() - 1
        });
        Cut {
            slots: Rc::clone(&self.slots),
            slot,
        }
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        // Connections outlive it only together with their instance's requests, which hold it.
        self.task.abort();
    }
}

/// The end of one connection's instance.
pub(super) struct Cut {
    slots: Rc<Slots>,
    slot: usize,
}

impl Cut {
    /// Ready when the instance has to stop.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.slots.is_cut.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.slots.waiting.borrow_mut();
        let own = waiting.get_mut(self.slot);
        let before = own.and_then(|own| note(own, context));
        drop(waiting);
        drop(before);
        Poll::Pending
    }

    /// Nobody waits: what would be woken need not be kept.
    pub(super) fn rest(&self) {
        let mut waiting = self.slots.waiting.borrow_mut();
        let waker = waiting.get_mut(self.slot).and_then(Option::take);
        drop(waiting);
        drop(waker);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rest();
        self.slots.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn all_who_wait_are_told_and_those_who_come_later() {
        let cut = CancellationToken::new();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let cutting = Cutting::new(&cut);
                let (first, second, rests) = (cutting.cut(), cutting.cut(), cutting.cut());
                let mut nobody = Context::from_waker(Waker::noop());
                assert!(rests.poll(&mut nobody).is_pending());
                rests.rest();
                drop(cutting.cut());
                assert_eq!(cutting.cut().slot, 3, "a slot is used again");
                let both = async {
                    poll_fn(|context| first.poll(context)).await;
                    poll_fn(|context| second.poll(context)).await;
                };
                tokio::join!(both, async { cut.cancel() });
                assert!(rests.poll(&mut nobody).is_ready());
                assert!(cutting.cut().poll(&mut nobody).is_ready());
            })
            .await;
    }
}
