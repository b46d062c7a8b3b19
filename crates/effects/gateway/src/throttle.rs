//! Decision: how many requests a service works on at once, and what becomes of the others.
//!
//! A service that is given more than it can do does not do more, it answers later, until nobody waits for
//! its answers any more. So above a limit requests wait here, where that costs little, and those that have
//! waited too long are refused at once (503, `Retry-After`), so that the service's time goes to requests that
//! somebody waits for.
//!
//! - What counts is a request that an instance has and has not begun to answer. A request that waits for its
//!   own client to send on does not count, nor does one that waits for an instance ([`crate::gap`]). A
//!   switch of protocols counts until it is answered: who asks for one need not get one. gRPC
//!   calls and the gateway's probes neither count nor wait: calls bring deadlines of
//!   their own, and many are streams.
//! - The line is served in the order of coming. A request may wait for half a second in a line that was empty a
//!   moment ago, because a burst is no overload; in one that stands only for a fifth of that, because then
//!   waiting helps nobody, and who has waited long is about to go (after CoDel, RFC 8289: what tells is how long a line stands, not how
//!   long it is).
//! - The limit is what the stack file says, or is found by [`crate::adapt`], and is none until something
//!   speaks for one. Without one a request costs a step up and a step down of one number.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock;
use crate::upload::Intake;

/// How long a request waits in a line that has only begun, in milliseconds.
const BURST: u64 = 500;
/// After how long a line stands, and how long a request waits in one that does.
const STANDING: u64 = 100;
/// How many may wait. At any rate that is worth speaking of they have waited too long before.
const LONGEST: usize = 2_000;

/// There is no limit.
pub(crate) const UNLIMITED: usize = usize::MAX;

/// What a service's requests pass. Shared by all workers, kept from table to table.
pub(crate) struct Throttle {
    under_way: AtomicUsize,
    limit: AtomicUsize,
    /// As many as are in the line.
    waiting: AtomicUsize,
    /// How many ended without an answer.
    given_up: AtomicU64,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    turns: VecDeque<oneshot::Sender<Handed>>,
    /// When there was last nobody in it (milliseconds).
    empty: u64,
}

/// A place on its way to who has waited for it.
struct Handed(Option<Arc<Throttle>>);

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(throttle) = self.0.take() {
            throttle.release();
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            limit: AtomicUsize::new(UNLIMITED),
            waiting: AtomicUsize::new(0),
            given_up: AtomicU64::new(0),
            line: Mutex::default(),
        }
    }
}

impl Throttle {
    /// From now on so many may be under way.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: usize) {
        if self.limit.swap(limit, Ordering::SeqCst) != limit {
            self.admit();
        }
    }

    /// How many are under way, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let under_way = self.under_way.load(Ordering::Relaxed);
        (under_way, self.waiting.load(Ordering::Relaxed))
    }

    /// How many had a place and no answer, so far.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// A place for a request with this body, if it has one; `None` when it has waited too long for one.
    pub(crate) async fn enter<'a>(
        self: &'a Arc<Self>,
        intake: Option<&'a Intake>,
    ) -> Option<Slot<'a>> {
        if !self.enter_now() {
            let (turn, patience) = self.line_up()?;
            let patience = Duration::from_millis(patience);
            let mut handed = tokio::time::timeout(patience, turn).await.ok()?.ok()?;
            handed.0 = None;
        }
        if let Some(intake) = intake {
            intake.counts(self);
        }
        Some(Slot {
            throttle: self,
            answered: Cell::new(false),
            intake,
        })
    }

    /// The same for a request without a body, or with all of it, now or not at all.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Slot<'_>> {
        self.enter_now().then(|| Slot {
            throttle: self,
            answered: Cell::new(false),
            intake: None,
        })
    }

    fn enter_now(self: &Arc<Self>) -> bool {
        // Nobody passes the line.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return false;
        }
        let before = self.under_way.fetch_add(1, Ordering::SeqCst);
        let entered = before < self.limit.load(Ordering::Relaxed);
        if !entered {
            self.release();
        }
        entered
    }

    fn line_up(self: &Arc<Self>) -> Option<(oneshot::Receiver<Handed>, u64)> {
        let (turn, comes) = oneshot::channel();
        let now = clock::millis();
        let mut line = self.line();
        if line.turns.is_empty() {
            line.empty = now;
        }
        if line.turns.len() >= LONGEST {
            // Those who have gone away make room.
            line.turns.retain(|turn| !turn.is_closed());
        }
        if line.turns.len() >= LONGEST {
            return None;
        }
        let stood = now.saturating_sub(line.empty);
        line.turns.push_back(turn);
        self.waiting.store(line.turns.len(), Ordering::SeqCst);
        drop(line);
        // Whoever left before that did not see it wait.
        self.admit();
        Some((comes, if stood > STANDING { STANDING } else { BURST }))
    }

    /// It waits for its client: another one may go on.
    pub(crate) fn release(self: &Arc<Self>) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.admit();
        }
    }

    /// It goes on, whether there is a place or not: it has begun.
    pub(crate) fn resume(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    fn admit(self: &Arc<Self>) {
        let mut line = self.line();
        let mut lost = Vec::new();
        while let Some(turn) = line.turns.front() {
            if !turn.is_closed() {
                let limit = self.limit.load(Ordering::Relaxed);
                let room = |under_way| (under_way < limit).then_some(under_way + 1);
                let entered = self
                    .under_way
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, room);
                if entered.is_err() {
                    break;
                }
                let turn = line.turns.pop_front().expect("there is a first one");
                // Who went away meanwhile gives its place back, which must not happen under this lock.
                if let Err(back) = turn.send(Handed(Some(Arc::clone(self)))) {
                    lost.push(back);
                }
                continue;
            }
            line.turns.pop_front();
        }
        if line.turns.is_empty() {
            line.empty = clock::millis();
        }
        self.waiting.store(line.turns.len(), Ordering::SeqCst);
        drop(line);
        drop(lost);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that counts, until it is dropped.
pub(crate) struct Slot<'a> {
    throttle: &'a Arc<Throttle>,
    answered: Cell<bool>,
    intake: Option<&'a Intake>,
}

impl<'a> Slot<'a> {
    /// Its request has this body, which has yet to come: it does not count while it waits for that.
    pub(crate) fn with(mut self, intake: &'a Intake) -> Self {
        intake.counts(self.throttle);
        self.intake = Some(intake);
        self
    }

    /// The head of its answer came.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.answered.get() {
            self.throttle.given_up.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(intake) = self.intake {
            intake.counts_no_more();
        }
        self.throttle.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(limit: usize) -> Arc<Throttle> {
        let throttle = Arc::new(Throttle::default());
        throttle.set_limit(limit);
        throttle
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_the_next_when_one_is_done() {
        let throttle = throttle(2);
        let first = throttle.enter(None).await.unwrap();
        let _second = throttle.enter(None).await.unwrap();
        let waits = throttle.enter(None);
        let leaves = async {
            tokio::task::yield_now().await;
            assert_eq!(throttle.load(), (2, 1));
            drop(first);
        };
        let (third, ()) = tokio::join!(waits, leaves);
        assert!(third.is_some());
        assert_eq!(throttle.load(), (2, 0));
        assert!(throttle.enter(None).await.is_none(), "nobody left");
        assert_eq!(throttle.load().0, 2);
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_leaves_nothing_behind() {
        let throttle = throttle(1);
        let first = throttle.enter(None).await.unwrap();
        let all: Vec<_> = (0..LONGEST).map(|_| throttle.line_up().unwrap()).collect();
        assert!(throttle.line_up().is_none(), "the line has an end");
        drop(all);
        let (turn, _) = throttle.line_up().unwrap();
        drop(first);
        assert_eq!(
            throttle.load(),
            (1, 0),
            "those who were gone were passed over"
        );
        drop(turn);
        assert_eq!(
            throttle.load(),
            (0, 0),
            "a place that nobody took came back"
        );
        throttle.set_limit(0);
        let (comes, _) = throttle.line_up().unwrap();
        assert_eq!(throttle.load(), (0, 1));
        throttle.set_limit(UNLIMITED);
        let mut handed = comes.await.unwrap();
        assert_eq!(throttle.load(), (1, 0));
        handed.0 = None;
    }

    #[test]
    fn a_line_that_stands_is_served_with_less_patience() {
        let throttle = throttle(0);
        let (_first, patience) = throttle.line_up().unwrap();
        assert_eq!(patience, BURST);
        throttle.line().empty = clock::millis().saturating_sub(STANDING + 1);
        let stood = clock::millis() > STANDING;
        let (_second, patience) = throttle.line_up().unwrap();
        assert_eq!(patience, if stood { STANDING } else { BURST });
    }

    #[test]
    fn many_at_once_lose_no_place() {
        let throttle = throttle(3);
        let most = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        for _ in 0..2_000 {
                            let slots = (0..3).map(|_| async {
                                let Some(_slot) = throttle.enter(None).await else {
                                    return;
                                };
                                most.fetch_max(throttle.load().0, Ordering::Relaxed);
                                tokio::task::yield_now().await;
                            });
                            futures_util::future::join_all(slots).await;
                        }
                    });
                });
            }
        });
        assert_eq!(throttle.load(), (0, 0));
        // Those that step up and find no place step down again, and are seen for a moment.
        let most = most.load(Ordering::Relaxed);
        assert!((3..=6).contains(&most), "{most}");
    }
}
