//! Decision: who waits for a connection to an instance waits in a line of its client's own, and the lines are served
//! in turn, those of clients who have waited for nothing before the others.
//!
//! In one line for all, a client that asks for a hundred things at once over HTTP/2 would have everybody wait for its
//! hundred connections, and so would forty of them for four thousand. In turns alone who asks for one thing would still
//! wait for forty. New flows go before old ones in FQ-CoDel, too (RFC 8290 section 4.2).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::client::Asker;
use crate::deadlines::note;

/// So many who wait for the first thing go before one who waits for more.
const FRESH_AHEAD: usize = 4;

/// Lines of those who wait for something, one for each client.
pub(super) struct Lines<T> {
    by_client: HashMap<usize, VecDeque<usize>, BuildHasherDefault<Spread>>,
    /// Whose turn it is next: who waits for the first thing, and who has had one and waits for more. Each client that waits is
    /// in one of them, once.
    fresh: VecDeque<usize>,
    again: VecDeque<usize>,
    /// How many of the fresh ones have gone before those who wait again.
    ahead: usize,
    /// Those who wait, by the numbers that stand in the lines.
    places: Vec<Place<T>>,
    free: Vec<usize>,
    /// An empty line, for the next client.
    spare: VecDeque<usize>,
}

/// Where somebody waits, in a line or called out of it.
enum Place<T> {
    Free,
    Waits(Option<Waker>),
    /// Called, and this is there to be taken.
    Has(T),
    /// Who waited has gone, and stands in the line still.
    Gone,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self {
            by_client: HashMap::default(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            ahead: 0,
            places: Vec::new(),
            free: Vec::new(),
            spare: VecDeque::new(),
        }
    }
}

impl<T> Lines<T> {
    /// Takes a place behind what else its client waits for.
    fn enter(&mut self, client: usize) -> usize {
        self.forget();
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Place::Waits(None),
            None => self.places.push(Place::Waits(None)),
        }
        let spare = &mut self.spare;
        let line = self.by_client.entry(client);
        let line = line.or_insert_with(|| std::mem::take(spare));
        if line.is_empty() {
            self.fresh.push_back(client);
        }
        line.push_back(place);
        place
    }

    /// Lets those go who would be next and have gone, so that who still waits is first.
    fn forget(&mut self) {
        self.forget_of(|lines| &mut lines.fresh);
        self.forget_of(|lines| &mut lines.again);
    }

    fn forget_of(&mut self, next: impl Fn(&mut Self) -> &mut VecDeque<usize>) {
        while let Some(&client) = next(self).front() {
            if let Some(line) = self.by_client.get_mut(&client) {
                while let Some(first) = line.front()
                    && let Some(place) = self.places.get_mut(*first)
                    && matches!(place, Place::Gone)
                {
                    *place = Place::Free;
                    self.free.extend(line.pop_front());
                }
                if !line.is_empty() {
                    return;
                }
                self.spare = self.by_client.remove(&client).unwrap_or_default();
            }
            next(self).pop_front();
        }
    }

    /// Whose turn it is.
    fn next_client(&mut self) -> Option<usize> {
        let waits_again = self.ahead >= FRESH_AHEAD || self.fresh.is_empty();
        match waits_again && !self.again.is_empty() {
            true => {
                self.ahead = 0;
                self.again.pop_front()
            }
            false => {
                self.ahead += 1;
                self.fresh.pop_front()
            }
        }
    }

    /// Who is next, and still waits.
    fn pop(&mut self) -> Option<usize> {
        self.forget();
        let client = self.next_client()?;
        let line = self.by_client.get_mut(&client)?;
        let first = line.pop_front();
        match line.is_empty() {
            true => self.spare = self.by_client.remove(&client).unwrap_or_default(),
            false => self.again.push_back(client),
        }
        first
    }

    /// Takes what there is at a place, which is free then.
    fn take(&mut self, at: usize) -> Option<T> {
        let place = self.places.get_mut(at)?;
        match std::mem::replace(place, Place::Free) {
            Place::Has(what) => {
                self.free.push(at);
                Some(what)
            }
            other => {
                *place = other;
                None
            }
        }
    }
}

/// Somebody who waits.
pub(super) struct Waits<'a, T, L: FnMut(T)> {
    lines: &'a RefCell<Lines<T>>,
    /// `None` once it was called.
    at: Option<usize>,
    leaves: L,
}

/// Waits behind what else its client waits for. Who is called and has gone meanwhile `leaves` to others what it was given.
pub(super) fn join<'a, T, L: FnMut(T)>(
    lines: &'a RefCell<Lines<T>>,
    asker: &Asker,
    leaves: L,
) -> Waits<'a, T, L> {
    let at = lines.borrow_mut().enter(asker.number());
    Waits {
        lines,
        at: Some(at),
        leaves,
    }
}

impl<T, L: FnMut(T) + Unpin> Future for Waits<'_, T, L> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let mut lines = self.lines.borrow_mut();
        if let Some(what) = lines.take(at) {
            drop(lines);
            self.at = None;
            return Poll::Ready(what);
        }
        let before = match lines.places.get_mut(at) {
            Some(Place::Waits(waker)) => note(waker, context),
            _ => None,
        };
        drop(lines);
        drop(before);
        Poll::Pending
    }
}

impl<T, L: FnMut(T)> Drop for Waits<'_, T, L> {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let mut lines = self.lines.borrow_mut();
        let what = lines.take(at);
        let mut waker = None;
        if let Some(place) = lines.places.get_mut(at)
            && let Place::Waits(waits) = place
        {
            waker = waits.take();
            *place = Place::Gone;
        }
        drop(lines);
        drop(waker);
        if let Some(what) = what {
            (self.leaves)(what);
        }
    }
}

/// Gives to who is next; what nobody waits for comes back.
pub(super) fn give<T>(lines: &RefCell<Lines<T>>, what: T) -> Option<T> {
    let waker = {
        let mut lines = lines.borrow_mut();
        let Some(place) = lines.pop().and_then(|at| lines.places.get_mut(at)) else {
            return Some(what);
        };
        match std::mem::replace(place, Place::Has(what)) {
            Place::Waits(waker) => waker,
            _ => None,
        }
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    None
}

/// Spreads numbers of clients, which no client chooses.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_usize((*byte).into()));
    }

    fn write_usize(&mut self, number: usize) {
        // The golden ratio's digits: what differs anywhere differs in the first bits (Knuth's multiplicative hashing).
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many may do something at once.
pub(super) struct Turns {
    free: Cell<usize>,
    waiting: RefCell<Lines<Turn>>,
}

/// Leave to do it, until it is dropped.
pub(super) struct Turn(Option<Rc<Turns>>);

impl Turns {
    pub(super) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self {
            free: Cell::new(count),
            waiting: RefCell::default(),
        })
    }

    /// Waits for a turn.
    pub(super) async fn next(self: &Rc<Self>, asker: &Asker) -> Turn {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Turn(Some(Rc::clone(self)));
        }
        // A turn that is dropped is the next one's.
        join(&self.waiting, asker, drop).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let again = Turn(Some(Rc::clone(&turns)));
        if let Some(mut left) = give(&turns.waiting, again) {
            left.0 = None;
            turns.free.set(turns.free.get() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_waits_for_much_lets_others_go_between() {
        let lines = RefCell::new(Lines::default());
        let next = |what| assert_eq!(give(&lines, what), None);
        let join = |client| join(&lines, &Asker::of(client), next);
        let crowd: Vec<_> = (0..3).map(|_| join(1)).collect();
        let (other, gone) = (join(2), join(1));
        drop(gone);
        let last = join(3);
        for what in 1..=5 {
            assert_eq!(give(&lines, what), None);
        }
        let mut got = Vec::new();
        for one in crowd.into_iter().chain([other, last]) {
            got.push(one.await);
        }
        assert_eq!(got, [1, 4, 5, 2, 3]);
        assert_eq!(give(&lines, 6), Some(6));
        let lines = lines.borrow();
        assert!(lines.by_client.is_empty() && lines.fresh.is_empty() && lines.again.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_one_thing_goes_before_those_who_had_some_and_not_for_ever() {
        let lines = RefCell::new(Lines::default());
        let next = |what| assert_eq!(give(&lines, what), None);
        let join = |client| join(&lines, &Asker::of(client), next);
        let crowd: Vec<_> = [1, 2, 1, 2, 1].map(join).into_iter().collect();
        (1..=2).for_each(next);
        // Both have had one.
        let others: Vec<_> = (3..9).map(join).collect();
        (3..=11).for_each(next);
        let mut got = Vec::new();
        for one in crowd.into_iter().chain(others) {
            got.push(one.await);
        }
        assert_eq!(got, [1, 2, 5, 10, 11, 3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn what_was_given_to_who_has_gone_is_left_to_others() {
        let (lines, left) = (RefCell::new(Lines::default()), Cell::new(0));
        let waits = join(&lines, &Asker::of(1), |what| left.set(what));
        assert_eq!(give(&lines, 7), None);
        drop(waits);
        assert_eq!((left.get(), give(&lines, 8)), (7, Some(8)));
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_any_more_is_the_next_ones() {
        let turns = Turns::new(1);
        let (one, two) = (Asker::of(1), Asker::of(2));
        let first = turns.next(&one).await;
        {
            let mut waits = std::pin::pin!(turns.next(&one));
            let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waits.as_mut().poll(&mut nobody).is_pending());
            // It is given to who waits, and who waits goes away.
            drop(first);
            assert_eq!(turns.free.get(), 0);
        }
        assert_eq!(turns.free.get(), 1);
        drop(turns.next(&two).await);
        assert_eq!(turns.free.get(), 1);
    }
}
