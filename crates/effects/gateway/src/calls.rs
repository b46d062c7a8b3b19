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

/// How many requests are held for which sleep.
pub(crate) struct Calls(watch::Sender<BTreeMap<Call, usize>>);

impl Default for Calls {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Calls {
    /// One more is held, until what comes back is dropped.
    pub(crate) fn call(&self, call: Call) -> Calling<'_> {
        self.0.send_if_modified(|calls| {
            let held = calls.entry(call.clone()).or_default();
            *held += 1;
            *held == 1
        });
        Calling { calls: self, call }
    }

    /// All for which requests are held: when there is one beside `known`, at the `end`, or after a while.
    pub(crate) async fn beside(&self, known: &[Call], end: impl Future<Output = ()>) -> Vec<Call> {
        let mut calls = self.0.subscribe();
        let new = |calls: &BTreeMap<Call, usize>| calls.keys().any(|call| !known.contains(call));
        tokio::select! {
            _ = calls.wait_for(new) => {}
            () = end => {}
            () = tokio::time::sleep(OUT) => {}
        }
        self.all()
    }

    /// All for which requests are held.
    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.borrow().keys().cloned().collect()
    }
}

/// A request that is held.
pub(crate) struct Calling<'a> {
    calls: &'a Calls,
    call: Call,
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.calls.0.send_if_modified(|calls| {
            let held = calls.get_mut(&self.call);
            let last = held.is_none_or(|held| {
                *held = held.saturating_sub(1);
                *held == 0
            });
            if last {
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
        assert_eq!(calls.beside(&[], pending()).await, []);
        assert_eq!(began.elapsed(), OUT);
        let (told, _held) =
            tokio::join!(calls.beside(&[], pending()), async { calls.call(call(7)) });
        assert_eq!((told, began.elapsed()), (vec![call(7)], OUT));
        assert_eq!(calls.beside(&[call(7)], pending()).await, [call(7)]);
        assert_eq!(began.elapsed(), OUT * 2);
        // Another sleep of the same is another call.
        let _again = calls.call(call(9));
        assert_eq!(
            calls.beside(&[call(7)], pending()).await,
            [call(7), call(9)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_waited_for_any_more_calls_nobody() {
        let calls = Calls::default();
        let (first, second) = (calls.call(call(7)), calls.call(call(7)));
        drop(first);
        assert_eq!(calls.beside(&[], pending()).await, [call(7)]);
        drop(second);
        assert_eq!(calls.beside(&[], pending()).await, []);
    }
}
