//! Decision: who waits for a connection to an instance waits in a line of its client's own, and the lines are served
//! in turn.
//!
//! In one line for all, a client that asks for a hundred things at once over HTTP/2 would have everybody wait for its
//! hundred connections, and so would forty of them for four thousand.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::client::Asker;

/// Lines of those who wait for something, one for each client.
pub(super) struct Lines<T> {
    by_client: HashMap<usize, VecDeque<oneshot::Sender<T>>>,
    /// Whose turn it is next; each client that waits is in it once.
    next: VecDeque<usize>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self {
            by_client: HashMap::new(),
            next: VecDeque::new(),
        }
    }
}

impl<T> Lines<T> {
    /// Waits behind what else its client waits for.
    pub(super) fn join(&mut self, asker: &Asker) -> oneshot::Receiver<T> {
        self.forget();
        let (give, given) = oneshot::channel();
        let client = asker.number();
        let line = self.by_client.entry(client).or_default();
        if line.is_empty() {
            self.next.push_back(client);
        }
        line.push_back(give);
        given
    }

    /// Lets those go who would be next and have gone, so that who still waits is first.
    fn forget(&mut self) {
        while let Some(client) = self.next.front() {
            if let Some(line) = self.by_client.get_mut(client) {
                while line.front().is_some_and(oneshot::Sender::is_closed) {
                    line.pop_front();
                }
                if !line.is_empty() {
                    return;
                }
                self.by_client.remove(client);
            }
            self.next.pop_front();
        }
    }

    /// Who is next, and still waits.
    fn pop(&mut self) -> Option<oneshot::Sender<T>> {
        self.forget();
        let client = self.next.pop_front()?;
        let line = self.by_client.get_mut(&client)?;
        let first = line.pop_front();
        match line.is_empty() {
            true => drop(self.by_client.remove(&client)),
            false => self.next.push_back(client),
        }
        first
    }
}

/// Gives to who is next; what nobody waits for comes back.
pub(super) fn give<T>(lines: &RefCell<Lines<T>>, mut what: T) -> Option<T> {
    loop {
        // Not borrowed while it is sent: what is not taken may come back here.
        let Some(next) = lines.borrow_mut().pop() else {
            return Some(what);
        };
        match next.send(what) {
            Ok(()) => return None,
            Err(back) => what = back,
        }
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
        let turn = self.waiting.borrow_mut().join(asker);
        match turn.await {
            Ok(turn) => turn,
            // Whoever gives turns is held by who waits.
            Err(_) => Turn(None),
        }
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
        let join = |client| lines.borrow_mut().join(&Asker::of(client));
        let crowd: Vec<_> = (0..3).map(|_| join(1)).collect();
        let (other, gone) = (join(2), join(1));
        drop(gone);
        let last = join(3);
        for what in 1..=5 {
            assert_eq!(give(&lines, what), None);
        }
        let mut got = Vec::new();
        for one in crowd.into_iter().chain([other, last]) {
            got.push(one.await.unwrap());
        }
        assert_eq!(got, [1, 4, 5, 2, 3]);
        assert_eq!(give(&lines, 6), Some(6));
        assert!(lines.borrow().by_client.is_empty() && lines.borrow().next.is_empty());
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
