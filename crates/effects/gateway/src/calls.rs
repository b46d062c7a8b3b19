//! Requests that are held for environments that sleep, and who is told of them.
//!
//! The server asks, and has its answer when the first request comes: it is told, and asks nothing again and again. What
//! is held is told anew to whoever asks, so that a server that was away meanwhile finds it, and a request that is
//! not waited for any more wakes nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use ward_types::table::Call;

/// How long a question may be out: less than whoever asks waits for an answer.
const OUT: Duration = Duration::from_secs(5);

/// The requests that are held, by the sleep that they are held for.
pub(crate) struct Calls(watch::Sender<BTreeMap<Call, Held>>);

/// Requests that are held for one sleep.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    requests: usize,
    /// Those of them that came since it was last said that nobody can wake it.
    hopeful: usize,
    /// How often that was said.
    refusals: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Calls {
    /// One more is held, until what comes back is dropped.
    pub(crate) fn call(&self, call: Call) -> Calling<'_> {
        let mut refusals = 0;
        self.0.send_if_modified(|calls| {
            let held = calls.entry(call.clone()).or_default();
            held.requests += 1;
            held.hopeful += 1;
            refusals = held.refusals;
            held.hopeful == 1
        });
        Calling {
            calls: self,
            call,
            refusals,
        }
    }

    /// What is held for these is not waited for any longer: they cannot be woken now. Whoever asks later is held again.
    pub(crate) fn refuse(&self, unable: &[Call]) {
        self.0.send_if_modified(|calls| {
            let held = calls.iter_mut().filter(|(call, _)| unable.contains(call));
            let hopeful = held.map(|(_, held)| held).filter(|held| held.hopeful > 0);
            let refused = hopeful.map(|held| {
                held.refusals += 1;
                held.hopeful = 0;
            });
            refused.count() > 0
        });
    }

    /// All for which requests are held: when there is one beside `known`, or a new request for one of `unable`; at the
    /// `end`, or after a while.
    pub(crate) async fn beside(
        &self,
        known: &[Call],
        unable: &[Call],
        end: impl Future<Output = ()>,
    ) -> Vec<Call> {
        let mut calls = self.0.subscribe();
        let new = |calls: &BTreeMap<Call, Held>| {
            let mut hopeful = calls.iter().filter(|(_, held)| held.hopeful > 0);
            hopeful.any(|(call, _)| !known.contains(call) || unable.contains(call))
        };
        tokio::select! {
            _ = calls.wait_for(new) => {}
            () = end => {}
            () = tokio::time::sleep(OUT) => {}
        }
        self.all()
    }

    /// All for which requests are held.
    pub(crate) fn all(&self) -> Vec<Call> {
        let calls = self.0.borrow();
        let hopeful = calls.iter().filter(|(_, held)| held.hopeful > 0);
        hopeful.map(|(call, _)| call.clone()).collect()
    }
}

/// A request that is held.
pub(crate) struct Calling<'a> {
    calls: &'a Calls,
    call: Call,
    /// How often it was refused before this one came.
    refusals: u64,
}

impl Calling<'_> {
    /// Returns when nobody can wake what it is held for.
    pub(crate) async fn refused(&self) {
        let mut calls = self.calls.0.subscribe();
        let refused = |calls: &BTreeMap<Call, Held>| {
            let held = calls.get(&self.call);
            held.is_some_and(|held| held.refusals > self.refusals)
        };
        // There is a sender for as long as there is a gateway.
        let _ = calls.wait_for(refused).await;
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.calls.0.send_if_modified(|calls| {
            let Some(held) = calls.get_mut(&self.call) else {
                return false;
            };
            held.requests = held.requests.saturating_sub(1);
            if held.refusals == self.refusals {
                held.hopeful = held.hopeful.saturating_sub(1);
            }
            if held.requests == 0 {
                calls.remove(&self.call);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use ward_types::id::EnvId;
    use ward_types::time::Timestamp;

    fn call(asleep: u64) -> Call {
        Call {
            env: EnvId::parse("shop/dev").unwrap(),
            asleep: Timestamp(asleep),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_told_at_once_and_what_is_known_later() {
        let calls = Calls::default();
        let began = tokio::time::Instant::now();
        assert_eq!(calls.beside(&[], &[], pending()).await, []);
        assert_eq!(began.elapsed(), OUT);
        let (told, _held) = tokio::join!(calls.beside(&[], &[], pending()), async {
            calls.call(call(7))
        });
        assert_eq!((told, began.elapsed()), (vec![call(7)], OUT));
        assert_eq!(calls.beside(&[call(7)], &[], pending()).await, [call(7)]);
        assert_eq!(began.elapsed(), OUT * 2);
        // Another sleep of the same is another call.
        let _again = calls.call(call(9));
        assert_eq!(
            calls.beside(&[call(7)], &[], pending()).await,
            [call(7), call(9)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_waited_for_any_more_calls_nobody() {
        let calls = Calls::default();
        let (first, second) = (calls.call(call(7)), calls.call(call(7)));
        drop(first);
        assert_eq!(calls.beside(&[], &[], pending()).await, [call(7)]);
        drop(second);
        assert_eq!(calls.beside(&[], &[], pending()).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_can_wake_is_told_to_all_who_wait_and_asked_again_for_the_next() {
        let calls = Calls::default();
        let (first, second) = (calls.call(call(7)), calls.call(call(9)));
        calls.refuse(&[call(7)]);
        first.refused().await;
        let waits = tokio::time::timeout(OUT, second.refused()).await;
        assert!(waits.is_err(), "another sleep is not meant");
        let known = [call(7), call(9)];
        let began = tokio::time::Instant::now();
        let again = [call(7)];
        let beside = calls.beside(&known, &again, pending());
        assert_eq!(beside.await, [call(9)], "who was refused calls nobody");
        assert_eq!(began.elapsed(), OUT);
        let third = calls.call(call(7));
        let waits = tokio::time::timeout(OUT, third.refused()).await;
        assert!(waits.is_err(), "it may be awake by now");
        let began = tokio::time::Instant::now();
        let told = calls.beside(&known, &[call(7)], pending()).await;
        assert_eq!((told, began.elapsed().as_secs()), (known.to_vec(), 0));
        drop(first);
        assert_eq!(calls.all(), known);
        drop(third);
        assert_eq!(calls.all(), [call(9)]);
    }
}
