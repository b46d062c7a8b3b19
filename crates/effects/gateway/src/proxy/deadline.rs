//! Decision: an instance is told how much time is left for a request, so that it can stop when nobody waits any more.
//!
//! - Time is bounded by the route's `timeout` and by the caller: a client's `grpc-timeout` (gRPC over HTTP/2,
//!   "Requests"), and, over a link, the header below. The least of them counts.
//! - gRPC calls are told in `grpc-timeout`, which their libraries act on. Others are told in
//!   `x-envoy-expected-rq-timeout-ms`, in whole milliseconds: there is no standard, and of the headers in use this
//!   is the one that a proxy both tells applications and takes from the one before it. It is a span and not
//!   a moment, so no two clocks have to agree.
//! - From the outside that header is dropped: strangers do not say how long work may take, and gRPC's clients only
//!   because their protocol has them do. An application that passes the header on over its links has the rest of
//!   the chain stop too. What is left shrinks with each hop by the time that was spent in the gateway.
//! - When the time is over the answer is 504. A route's timeout is the application's fault, as it was before; a
//!   caller's is the caller's, who may have given too little, and an instance is not held to have failed by it.
//!   That it takes so long at the least does count in its average.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Exchange;
use crate::clock;
use crate::failure::Failure;
use crate::head;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Takes the caller's limit out of a request's headers: how long it may take.
pub(super) fn of_caller(headers: &mut HeaderMap) -> Option<Duration> {
    let told = headers.remove(head::EXPECTED_WITHIN);
    let told = told.as_ref().and_then(|value| millis(value.as_bytes()));
    let call = match head::is_grpc(headers) {
        true => headers.get(GRPC_TIMEOUT),
        false => None,
    };
    let call = call.and_then(|value| grpc(value.as_bytes()));
    told.into_iter().chain(call).min()
}

fn millis(value: &[u8]) -> Option<Duration> {
    head::digits(value, 15).map(Duration::from_millis)
}

fn grpc(value: &[u8]) -> Option<Duration> {
    let (unit, count) = value.split_last()?;
    let count = head::digits(count, 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        // The gateway's clock knows no less than a millisecond: what is not nothing must not become nothing.
        b'u' => Duration::from_millis(count.div_ceil(1_000)),
        b'n' => Duration::from_millis(count.div_ceil(1_000_000)),
        _ => return None,
    })
}

/// In the finest unit that has room in eight digits, rounded down.
pub(super) fn to_grpc(left: Duration) -> String {
    match left.as_millis() {
        millis if millis < 100_000_000 => format!("{millis}m"),
        millis => format!("{}S", (millis / 1_000).min(99_999_999)),
    }
}

impl Exchange<'_> {
    /// How much of its time is left, if it is bounded.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let route = match self.grpc {
            true => None,
            false => self.limit(|settings| settings.timeout),
        };
        if route.is_none() && self.caller_until.is_none() {
            return None;
        }
        let now = Instant::now();
        let gone = now.saturating_duration_since(self.account.entry().began.get());
        let route = route.map(|whole| whole.saturating_sub(gone));
        let (until, now) = (self.caller_until, clock::millis_at(now));
        let caller = until.map(|until| Duration::from_millis(until.saturating_sub(now)));
        route.into_iter().chain(caller).min()
    }

    /// Nothing more is done for it once its time is over.
    pub(super) fn in_time(&self) -> Result<(), Failure> {
        match self.time_left() {
            Some(Duration::ZERO) => Err(self.too_late(Failure::EXPIRED)),
            _ => Ok(()),
        }
    }

    /// Ends when its time is over.
    pub(super) async fn time_over(&self) {
        while let Some(left) = self.time_left() {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
        std::future::pending().await
    }

    /// What it is when its time is over: the caller's affair, or else `own`.
    pub(super) fn too_late(&self, own: Failure) -> Failure {
        match self.caller_until {
            Some(until) if until <= clock::millis() => Failure::GIVEN_UP,
            _ => own,
        }
    }

    /// The line that tells an instance how much time is left. One that switches protocols has as much as it likes.
    pub(super) fn time_to_tell(&self) -> Option<(HeaderName, HeaderValue)> {
        let left = self.time_left().filter(|_| self.protocol.is_none())?;
        if self.grpc {
            let left = HeaderValue::try_from(to_grpc(left)).ok()?;
            return Some((GRPC_TIMEOUT, left));
        }
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some((head::EXPECTED_WITHIN, millis.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(pairs: &[(&'static str, &'static str)]) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let limit = of_caller(&mut headers);
        assert!(!headers.contains_key(head::EXPECTED_WITHIN));
        limit.map(|limit| limit.as_millis())
    }

    #[test]
    fn what_callers_say_is_read_and_what_cannot_be_read_says_nothing() {
        const OWN: &str = "x-envoy-expected-rq-timeout-ms";
        const CALL: (&str, &str) = ("content-type", "application/grpc");
        for (value, limit) in [
            ("0", Some(0)),
            ("250", Some(250)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("1s", None),
            ("9999999999999999", None),
        ] {
            assert_eq!(caller(&[(OWN, value)]), limit, "{value}");
        }
        for (value, limit) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("99999999m", Some(99_999_999)),
            ("1u", Some(1)),
            ("1000001n", Some(2)),
            ("0n", Some(0)),
            ("100000000m", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            (" 5S", None),
            ("", None),
        ] {
            assert_eq!(caller(&[CALL, ("grpc-timeout", value)]), limit, "{value}");
        }
        assert_eq!(caller(&[("grpc-timeout", "1S")]), None, "it is no call");
        let both = [CALL, ("grpc-timeout", "1S"), (OWN, "300")];
        assert_eq!(caller(&both), Some(300));
    }

    #[test]
    fn what_calls_are_told_has_room() {
        for (millis, told) in [
            (0, "0m"),
            (1_234, "1234m"),
            (99_999_999, "99999999m"),
            (100_000_999, "100000S"),
            (u64::MAX, "99999999S"),
        ] {
            assert_eq!(to_grpc(Duration::from_millis(millis)), told);
        }
    }
}
