//! Which release a request goes to while two are in rotation.
//!
//! Shares are exact, not probable: a pool's requests have turns, and of any 100 turns in a row exactly as
//! many belong to the release as the table says. A turn also gives a bucket, 0 to 99, and 100 turns in a row
//! give each bucket once. A request is the release's when its bucket is below the percentage: then buckets
//! that clients keep (in a cookie, or as the hash of a header) stay on the release while the percentage
//! grows, and new clients are divided as exactly as requests are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use ward_types::spec::Sticky;
use ward_types::table::Split as SplitEntry;

use crate::head;
use crate::instance::Instance;

/// How many buckets there are.
const BUCKETS: u64 = 100;

/// The turns of one pool. Shared by all workers: their requests have one order.
#[derive(Default)]
struct Turns(AtomicU64);

impl Turns {
    /// The bucket of the next turn.
    fn draw(&self, percent: u8) -> u8 {
        bucket(self.0.fetch_add(1, Ordering::Relaxed), percent)
    }
}

/// The bucket of a turn. The turn is the release's iff `floor((turn + 1) * percent / 100)` is more than
/// `floor(turn * percent / 100)`, and iff its bucket is below `percent`.
fn bucket(turn: u64, percent: u8) -> u8 {
    let (turn, percent) = (turn % BUCKETS, u64::from(percent));
    let rank = turn * percent / BUCKETS;
    let bucket = match (turn + 1) * percent / BUCKETS > rank {
        true => scattered(rank, percent),
        false => percent + scattered(turn - rank, BUCKETS - percent),
    };
    u8::try_from(bucket).unwrap_or(0)
}

/// The place of `rank` in an order of the numbers below `count` in which neighbours lie far apart: when the
/// percentage grows, about the right part of the clients that are there already comes along.
fn scattered(rank: u64, count: u64) -> u64 {
    let coprime = |step: &u64| greatest_common_divisor(*step, count) == 1;
    let step = (count * 618 / 1000 + 1..).find(coprime).unwrap_or(1);
    rank * step % count
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    match other {
        0 => one,
        _ => greatest_common_divisor(other, one % other),
    }
}

/// What keeps a client on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Request,
    Cookie(String),
    Header(HeaderName),
}

impl By {
    fn of(sticky: Option<&Sticky>) -> Result<Self, &'static str> {
        match sticky {
            None => Ok(By::Request),
            Some(Sticky::Cookie(name)) => {
                // The characters of a token (RFC 9110 section 5.6.2) are those of a header's name.
                let token = HeaderName::try_from(name.as_str());
                token.map_err(|_| "the cookie's name is not one")?;
                Ok(By::Cookie(name.clone()))
            }
            Some(Sticky::Header(name)) => HeaderName::try_from(name.as_str())
                .map(By::Header)
                .map_err(|_| "the header's name is not one"),
        }
    }
}

/// Why a split of a table cannot be, if so.
pub(crate) fn check(split: &SplitEntry) -> Result<(), &'static str> {
    if u64::from(split.percent) > BUCKETS {
        return Err("its percentage is more than 100");
    }
    By::of(split.sticky.as_ref()).map(drop)
}

/// How a pool's requests are divided.
pub(crate) struct Split {
    percent: u8,
    by: By,
    turns: Arc<Turns>,
    release: Vec<Arc<Instance>>,
    rest: Vec<Arc<Instance>>,
}

/// Where a request belongs. It keeps it when it is sent again.
pub(crate) struct Ticket {
    bucket: u8,
    /// `Set-Cookie` for a client that had no bucket.
    pub(crate) cookie: Option<HeaderValue>,
}

impl Ticket {
    fn new(bucket: u8) -> Self {
        Self {
            bucket,
            cookie: None,
        }
    }
}

impl Split {
    /// A split that passed [`check`]. Where the one before has the same percentage, its turns go on.
    pub(crate) fn new(
        entry: &SplitEntry,
        endpoints: &[Arc<Instance>],
        before: Option<&Split>,
    ) -> Self {
        let before = before.filter(|before| before.percent == entry.percent);
        let turns = before.map(|before| Arc::clone(&before.turns));
        let (release, rest) = endpoints
            .iter()
            .cloned()
            .partition(|instance| instance.endpoint.release == entry.release);
        Self {
            percent: entry.percent.min(100),
            by: By::of(entry.sticky.as_ref()).unwrap_or(By::Request),
            turns: turns.unwrap_or_default(),
            release,
            rest,
        }
    }

    /// Takes a turn for a request, unless its client brings a bucket along. `scheme` is `http` or `https`.
    pub(crate) fn ticket(&self, headers: &HeaderMap, scheme: &str) -> Ticket {
        let draw = || Ticket::new(self.turns.draw(self.percent));
        match &self.by {
            By::Request => draw(),
            By::Header(name) => {
                let value = headers.get(name).filter(|value| !value.is_empty());
                value.map_or_else(draw, |value| Ticket::new(hashed(value.as_bytes())))
            }
            By::Cookie(name) => match kept(headers, name) {
                Some(bucket) => Ticket::new(bucket),
                None => {
                    let mut ticket = draw();
                    ticket.cookie = head::set_cookie(name, &ticket.bucket.to_string(), scheme);
                    ticket
                }
            },
        }
    }

    /// The instances that should take a request, and those that take it when they cannot.
    pub(crate) fn sides(&self, ticket: &Ticket) -> [&[Arc<Instance>]; 2] {
        match ticket.bucket < self.percent {
            true => [&self.release, &self.rest],
            false => [&self.rest, &self.release],
        }
    }
}

/// The bucket in a client's cookie: `0` to `99`, written as the gateway writes it.
fn kept(headers: &HeaderMap, name: &str) -> Option<u8> {
    head::cookies(headers, name).find_map(|value| {
        let bucket: u8 = value.parse().ok()?;
        (u64::from(bucket) < BUCKETS && value == bucket.to_string()).then_some(bucket)
    })
}

/// A bucket that a value has in every process and every version of Ward: FNV-1a, 64 bits, then the last
/// step of MurmurHash3, because FNV's low bits alone are poor.
fn hashed(value: &[u8]) -> u8 {
    let fnv = value.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut hash = fnv;
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^= hash >> 33;
    u8::try_from(hash % BUCKETS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ward_types::id::ReleaseId;

    fn split(percent: u8, sticky: Option<Sticky>, before: Option<&Split>) -> Split {
        let entry = SplitEntry {
            release: ReleaseId(2),
            percent,
            sticky,
        };
        check(&entry).unwrap();
        Split::new(&entry, &[], before)
    }

    fn draws(split: &Split, count: usize) -> Vec<u8> {
        let headers = HeaderMap::new();
        std::iter::repeat_with(|| split.ticket(&headers, "http").bucket)
            .take(count)
            .collect()
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        headers
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_hundred_turns_in_a_row_are_divided_exactly(percent in 0..=100u8, start in 0..u64::MAX / 2) {
            let buckets: Vec<u8> = (start..start + 100).map(|turn| bucket(turn, percent)).collect();
            let taken = buckets.iter().filter(|bucket| **bucket < percent).count();
            prop_assert_eq!(taken, usize::from(percent));
            for (turn, bucket) in (start..).zip(&buckets) {
                let floor = |turn: u64| u128::from(turn) * u128::from(percent) / 100;
                prop_assert_eq!(*bucket < percent, floor(turn + 1) > floor(turn));
            }
            let mut sorted = buckets;
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..100), "a bucket is given twice");
        }

        #[test]
        fn threads_that_draw_at_once_divide_exactly(percent in 0..=100u8, threads in 1..6usize, each in 1..12usize, pauses in any::<u64>()) {
            let split = split(percent, None, None);
            let mut all: Vec<u8> = std::thread::scope(|scope| {
                let draw = |thread: usize| {
                    let split = &split;
                    scope.spawn(move || {
                        let mut drawn = Vec::new();
                        for turn in 0..each * 100 {
                            // Not by giving the processor away: on a busy machine that takes for ever.
                            for _ in 0..pauses >> ((turn + thread) % 58) & 63 {
                                std::hint::spin_loop();
                            }
                            drawn.extend(draws(split, 1));
                        }
                        drawn
                    })
                };
                let drawing: Vec<_> = (0..threads).map(draw).collect();
                drawing.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let taken = all.iter().filter(|bucket| **bucket < percent).count();
            prop_assert_eq!(taken, usize::from(percent) * threads * each);
            all.sort_unstable();
            let wanted = (0..100_u8).flat_map(|bucket| std::iter::repeat_n(bucket, threads * each));
            prop_assert!(all.into_iter().eq(wanted), "a bucket was given too often");
        }

        #[test]
        fn a_new_table_with_the_same_percentage_goes_on_counting(percent in 0..=100u8, first in 0..100usize) {
            let one = split(percent, None, None);
            let mut all = draws(&one, first);
            let other = split(percent, None, Some(&one));
            all.extend(draws(&other, 100 - first));
            let taken = all.iter().filter(|bucket| **bucket < percent).count();
            prop_assert_eq!(taken, usize::from(percent));
            let changed = split(100 - percent, None, Some(&one));
            let taken = draws(&changed, 100).into_iter().filter(|bucket| *bucket < 100 - percent).count();
            prop_assert_eq!(taken, 100 - usize::from(percent));
        }

        #[test]
        fn growing_weights_never_move_a_client_back(mut weights in proptest::collection::vec(0..=100u8, 2..8), client in 0..300usize) {
            weights.sort_unstable();
            let drawn = *draws(&split(weights[0], None, None), client + 1).last().unwrap();
            let headers = with("cookie", &format!("side={drawn}"));
            let sticky = Some(Sticky::Cookie("side".to_owned()));
            let sides = weights.iter().map(|weight| {
                split(*weight, sticky.clone(), None).ticket(&headers, "http").bucket < *weight
            });
            prop_assert!(sides.is_sorted());
        }
    }

    #[test]
    fn of_the_clients_that_are_there_the_right_part_comes_along() {
        for percent in [1, 5, 10, 25, 50] {
            for clients in [30, 50, 77] {
                let drawn = draws(&split(percent, None, None), clients);
                for grown in [25, 50, 75] {
                    let came = drawn.iter().filter(|bucket| **bucket < grown).count();
                    let exact = clients * usize::from(grown) / 100;
                    assert!(
                        came.abs_diff(exact) <= 4,
                        "{percent} {clients} {grown}: {came}"
                    );
                }
            }
        }
    }

    #[test]
    fn cookies_that_count_and_those_that_do_not() {
        for (line, bucket) in [
            ("side=0", Some(0)),
            ("a=b; side=99;c=d", Some(99)),
            ("side=x; side=7", Some(7)),
            ("side=100", None),
            ("side=007", None),
            ("side=+7", None),
            ("side=\"7\"", None),
            ("side=", None),
            ("aside=7", None),
            ("Side=7", None),
            ("", None),
        ] {
            assert_eq!(kept(&with("cookie", line), "side"), bucket, "{line}");
        }
        let split = split(10, Some(Sticky::Cookie("side".to_owned())), None);
        let ticket = split.ticket(&HeaderMap::new(), "https");
        let written = ticket.cookie.unwrap();
        let wanted = format!(
            "side={}; Path=/; HttpOnly; SameSite=Lax; Secure",
            ticket.bucket
        );
        assert_eq!(written, wanted);
        let again = split.ticket(&with("cookie", &format!("side={}", ticket.bucket)), "https");
        assert_eq!((again.bucket, again.cookie), (ticket.bucket, None));
    }

    #[test]
    fn a_header_has_the_same_bucket_always_and_takes_no_turn() {
        // These must never change: clients would change sides at an upgrade of Ward.
        for (value, bucket) in [("", 42), ("a", 15), ("patient-1", 79), ("patient-2", 31)] {
            assert_eq!(hashed(value.as_bytes()), bucket, "{value}");
        }
        let mut counts = [0; 100];
        for number in 0..10_000 {
            counts[usize::from(hashed(format!("patient-{number}").as_bytes()))] += 1;
        }
        assert!(
            counts.iter().all(|count| (50..150).contains(count)),
            "{counts:?}"
        );
        let split = split(50, Some(Sticky::Header("X-Patient".to_owned())), None);
        for _ in 0..50 {
            split.ticket(&with("x-patient", "a"), "http");
        }
        assert_eq!(split.turns.0.load(Ordering::Relaxed), 0);
        draws(&split, 3);
        split.ticket(&with("x-patient", ""), "http");
        assert_eq!(split.turns.0.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_split_that_cannot_be_is_refused() {
        let entry = |percent, sticky| SplitEntry {
            release: ReleaseId(2),
            percent,
            sticky,
        };
        assert!(check(&entry(101, None)).is_err());
        assert!(check(&entry(1, Some(Sticky::Cookie("a b".to_owned())))).is_err());
        assert!(check(&entry(1, Some(Sticky::Header(String::new())))).is_err());
        assert!(check(&entry(100, None)).is_ok());
    }
}
