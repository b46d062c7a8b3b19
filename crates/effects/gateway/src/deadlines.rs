//! Decision: deadlines that are nearly never met share one timer of their worker.
//!
//! Each request has two or three of them, and a timer of its own for each is set and taken back, which costs as much as
//! finding its route. Here one is a place in a list, which is looked at every [`LOOK`]: so much later than it should a
//! deadline may be noticed.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;

/// How often the list is looked at while there is something in it.
const LOOK: Duration = Duration::from_millis(10);

/// Places that are kept however few are needed.
const USUAL: usize = 1024;

/// The deadlines of a worker.
#[derive(Default)]
pub(crate) struct Deadlines {
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
    waiting: Cell<usize>,
    begun: Notify,
}

enum Place {
    Free,
    /// Until then (milliseconds).
    Waits(u64, Option<Waker>),
    Over,
}

impl Deadlines {
    /// Ends when so much time is over.
    pub(crate) fn after(&self, patience: Duration) -> Deadline<'_> {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        // One more, because both moments are cut off to whole milliseconds.
        let due = clock::millis().saturating_add(patience).saturating_add(1);
        let mut places = self.places.borrow_mut();
        let at = self.free.borrow_mut().pop().unwrap_or(places.len());
        match places.get_mut(at) {
            Some(place) => *place = Place::Waits(due, None),
            None => places.push(Place::Waits(due, None)),
        }
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.begun.notify_one();
        }
        Deadline {
            deadlines: self,
            at,
        }
    }

    /// Looks at them from time to time. Nothing is done where nothing waits.
    pub(crate) async fn look(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            while self.waiting.get() > 0 {
                tokio::time::sleep(LOOK).await;
                let over = self.over(clock::millis());
                self.give_up_room();
                over.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn over(&self, now: u64) -> Vec<Waker> {
        let mut places = self.places.borrow_mut();
        let over = places.iter_mut().filter_map(|place| match place {
            Place::Waits(due, waker) if *due <= now => {
                let waker = waker.take();
                *place = Place::Over;
                waker
            }
            _ => None,
        });
        over.collect()
    }

    /// After a crowd: those at the end that nobody has are given up, so that they need not be looked at for ever. Of the others
    /// the first ones are used first, so that the end comes to be free.
    fn give_up_room(&self) {
        let (mut places, mut free) = (self.places.borrow_mut(), self.free.borrow_mut());
        if places.len() <= USUAL || places.len() / 4 < self.waiting.get() {
            return;
        }
        let taken = |place: &Place| !matches!(place, Place::Free);
        let used = places.iter().rposition(taken).map_or(0, |last| last + 1);
        places.truncate(used);
        places.shrink_to(USUAL);
        free.retain(|at| *at < used);
        free.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
        free.shrink_to(USUAL);
    }
}

/// One of them.
pub(crate) struct Deadline<'a> {
    deadlines: &'a Deadlines,
    at: usize,
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut places = self.deadlines.places.borrow_mut();
        let Some(Place::Waits(_, waker)) = places.get_mut(self.at) else {
            return Poll::Ready(());
        };
        let before = note(waker, context);
        drop(places);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        let before = {
            let mut places = self.deadlines.places.borrow_mut();
            let place = places.get_mut(self.at);
            place.map(|place| std::mem::replace(place, Place::Free))
        };
        self.deadlines.free.borrow_mut().push(self.at);
        let waiting = &self.deadlines.waiting;
        waiting.set(waiting.get().saturating_sub(1));
        drop(before);
    }
}

/// Notes who is to be woken. Who was before comes back: what is dropped with it must not find a list in use.
pub(crate) fn note(noted: &mut Option<Waker>, context: &mut Context<'_>) -> Option<Waker> {
    let own = context.waker();
    match noted {
        Some(noted) if noted.will_wake(own) => None,
        noted => noted.replace(own.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_deadline_ends_soon_after_its_time_and_its_place_is_used_again() {
        let deadlines: Rc<Deadlines> = Rc::default();
        let local = tokio::task::LocalSet::new();
        let looks = local.run_until(async {
            tokio::task::spawn_local(Rc::clone(&deadlines).look());
            for _ in 0..2 {
                let began = Instant::now();
                let long = deadlines.after(Duration::from_secs(3600));
                let (soon, later) = (Duration::from_millis(3), Duration::from_millis(30));
                tokio::join!(deadlines.after(soon), deadlines.after(later));
                assert!(began.elapsed() >= later);
                assert_eq!(deadlines.waiting.get(), 1);
                drop(long);
            }
        });
        looks.await;
        assert_eq!(deadlines.waiting.get(), 0);
        assert_eq!(deadlines.places.borrow().len(), 3);
    }

    #[test]
    fn the_room_of_a_crowd_is_given_back_though_somebody_always_waits() {
        let deadlines = Deadlines::default();
        let after = || deadlines.after(Duration::from_secs(3600));
        let first = after();
        let mut crowd: Vec<_> = (0..100 * USUAL).map(|_| after()).collect();
        deadlines.give_up_room();
        assert_eq!(deadlines.places.borrow().len(), 100 * USUAL + 1);
        let last = crowd.pop();
        drop(crowd);
        deadlines.give_up_room();
        assert!(
            deadlines.places.borrow().len() > USUAL,
            "the last one has its place"
        );
        let next: Vec<_> = (0..9).map(|_| after()).collect();
        drop(last);
        deadlines.give_up_room();
        assert_eq!(deadlines.places.borrow().len(), 10);
        assert!(deadlines.places.borrow().capacity() <= USUAL);
        assert!(deadlines.free.borrow().is_empty());
        drop((first, next));
        assert_eq!(after().at, 9, "the last place that was freed");
        assert_eq!(deadlines.waiting.get(), 0);
    }
}
