//! Decision: long connections are told to go away one after the other, evenly over a budget.
//!
//! Whoever is told connects again at once, so that all at once would be a storm on those that stay. Of `n`
//! connections the first is told after an nth of the budget and the last at its end, the oldest first. What
//! ends by itself meanwhile leaves more time to the others. It stops when there is no more reason to leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::worker::Shared;

/// The long connections of one instance, or the HTTP/2 connections of a gateway's clients.
#[derive(Default)]
pub(crate) struct Parting {
    queue: Mutex<Queue>,
    /// Who tells them, and looks again when this is notified.
    teller: OnceLock<Arc<Notify>>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// Not told yet, by age.
    waiting: BTreeMap<u64, CancellationToken>,
    /// How long they have once their instance leaves rotation; `None`: nobody tells them then.
    budget: Option<Duration>,
    /// Their instance is out of rotation: until when.
    out: Option<Instant>,
    /// The process leaves: until when.
    leaving: Option<Instant>,
    /// When the last one was told, or the telling began.
    last: Option<Instant>,
}

impl Parting {
    /// Who is to look again when something changes.
    pub(crate) fn told_by(&self, teller: &Arc<Notify>) {
        let _ = self.teller.set(Arc::clone(teller));
    }

    /// How long they have from leaving rotation on.
    pub(crate) fn set_budget(&self, budget: Option<Duration>) {
        self.lock().budget = budget;
    }

    /// Their instance is out of rotation. Once more changes nothing.
    pub(crate) fn begin(&self, now: Instant) {
        let mut queue = self.lock();
        if queue.out.is_none() {
            queue.out = queue.budget.map(|budget| now + budget);
            queue.last.get_or_insert(now);
        }
    }

    /// Their instance is in rotation again: those that are left stay.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.out = None;
        if queue.leaving.is_none() {
            queue.last = None;
        }
    }

    /// The process ends: all have their own budget, at the most `grace`.
    pub(crate) fn leave(&self, now: Instant, grace: Duration) {
        let mut queue = self.lock();
        let budget = queue.budget.map_or(grace, |own| own.min(grace));
        queue.leaving = Some(now + budget);
        queue.last.get_or_insert(now);
    }

    /// Whether the whole process ends, so that a client should go elsewhere with its connection.
    pub(crate) fn is_leaving(&self) -> bool {
        self.lock().leaving.is_some()
    }

    /// One more, younger than all before. The token is cancelled when it is its turn to go.
    pub(crate) fn enter(&self) -> (u64, CancellationToken) {
        let number = {
            let mut queue = self.lock();
            queue.next += 1;
            queue.next
        };
        (number, self.enter_as(number))
    }

    /// The same, of the age `number`.
    pub(crate) fn enter_as(&self, number: u64) -> CancellationToken {
        let token = CancellationToken::new();
        let mut queue = self.lock();
        if queue.end().is_none() {
            queue.waiting.insert(number, token.clone());
            return token;
        }
        if queue.waiting.is_empty() {
            queue.last = Some(Instant::now());
        }
        queue.waiting.insert(number, token.clone());
        drop(queue);
        if let Some(teller) = self.teller.get() {
            teller.notify_one();
        }
        token
    }

    /// It is over.
    pub(crate) fn exit(&self, number: u64) {
        self.lock().waiting.remove(&number);
    }

    /// Tells those whose turn has come by `now`. When the next one's turn comes, if there is one.
    pub(crate) fn tell(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.lock();
        let end = queue.end()?;
        loop {
            let left = u32::try_from(queue.waiting.len()).unwrap_or(u32::MAX);
            let last = queue.last?;
            let due = last + end.saturating_duration_since(last).checked_div(left)?;
            if due > now {
                return Some(due);
            }
            let (_, token) = queue.waiting.pop_first()?;
            token.cancel();
            queue.last = Some(due);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn end(&self) -> Option<Instant> {
        [self.out, self.leaving].into_iter().flatten().min()
    }
}

/// A place in the queue, given up when it is dropped.
pub(crate) struct Turn<'a> {
    parting: &'a Parting,
    number: u64,
    token: CancellationToken,
}

impl<'a> Turn<'a> {
    /// Of the age `number`.
    pub(crate) fn new(parting: &'a Parting, number: u64) -> Self {
        Self {
            parting,
            number,
            token: parting.enter_as(number),
        }
    }

    /// Ends when it is told to go.
    pub(crate) async fn comes(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.parting.exit(self.number);
    }
}

/// Tells long connections to go, until the process ends.
pub(crate) async fn tell_all(shared: Arc<Shared>) {
    let teller = Arc::clone(shared.routing.teller());
    shared.clients.told_by(&teller);
    loop {
        let now = Instant::now();
        let next = [shared.routing.tell(now), shared.clients.tell(now)];
        let pause = async {
            match next.into_iter().flatten().min() {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = teller.notified() => {}
            () = pause => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parting(count: usize, budget: Duration) -> (Parting, Vec<CancellationToken>, Instant) {
        let parting = Parting::default();
        parting.set_budget(Some(budget));
        let tokens = (0..count).map(|_| parting.enter().1).collect();
        (parting, tokens, Instant::now())
    }

    fn told(tokens: &[CancellationToken]) -> Vec<usize> {
        let told = tokens.iter().enumerate().filter(|(_, t)| t.is_cancelled());
        told.map(|(index, _)| index).collect()
    }

    #[test]
    fn the_oldest_first_evenly_and_the_last_at_the_end() {
        let (parting, tokens, began) = parting(50, 60 * SECOND);
        assert_eq!(
            parting.tell(began + 999 * SECOND),
            None,
            "it is in rotation"
        );
        parting.begin(began);
        for tenth in 0..=10 {
            let next = parting.tell(began + tenth * 6 * SECOND);
            assert_eq!(told(&tokens), (0..5 * tenth as usize).collect::<Vec<_>>());
            assert_eq!(next.is_some(), tenth < 10);
        }
    }

    #[test]
    fn a_budget_of_nothing_is_at_once_and_none_is_never() {
        let (parting, tokens, began) = parting(3, Duration::ZERO);
        parting.begin(began);
        assert_eq!(parting.tell(began), None);
        assert_eq!(told(&tokens), [0, 1, 2]);
        parting.set_budget(None);
        parting.stop();
        let (_, late) = parting.enter();
        parting.begin(began);
        assert_eq!(parting.tell(began + 999 * SECOND), None);
        assert!(!late.is_cancelled());
    }

    #[test]
    fn what_ends_by_itself_leaves_more_time_to_the_others() {
        let (parting, tokens, began) = parting(4, 4 * SECOND);
        parting.begin(began);
        parting.exit(1);
        parting.exit(2);
        assert_eq!(parting.tell(began), Some(began + 2 * SECOND));
        parting.tell(began + 2 * SECOND);
        assert_eq!(told(&tokens), [2]);
    }

    #[test]
    fn a_return_into_rotation_keeps_those_that_are_left_and_the_next_leave_begins_anew() {
        let (parting, tokens, began) = parting(2, 2 * SECOND);
        parting.begin(began);
        parting.begin(began + SECOND);
        parting.tell(began + SECOND);
        parting.stop();
        assert_eq!(parting.tell(began + 9 * SECOND), None);
        assert_eq!(told(&tokens), [0]);
        parting.begin(began + 10 * SECOND);
        assert_eq!(parting.tell(began + 11 * SECOND), Some(began + 12 * SECOND));
    }

    #[test]
    fn a_process_that_leaves_tells_those_in_rotation_too_and_no_table_stops_that() {
        let (parting, tokens, began) = parting(2, 60 * SECOND);
        parting.leave(began, 2 * SECOND);
        parting.begin(began);
        parting.stop();
        parting.tell(began + SECOND);
        assert_eq!(told(&tokens), [0]);
        parting.tell(began + 2 * SECOND);
        assert_eq!(told(&tokens), [0, 1]);
    }
}
