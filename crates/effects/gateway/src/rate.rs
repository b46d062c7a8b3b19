//! Decision: a client's requests are counted by one time stamp (GCRA, the generic cell rate algorithm of
//! ITU-T I.371).
//!
//! The stamp is when the client would have spent what it may, had it asked evenly. Each request moves it on
//! by the time that one request is worth; one that would move it further ahead of now than the burst allows
//! is refused, and moves nothing, so that whoever keeps asking is served at the rate and not never.
//!
//! A client is known by a keyed hash alone: neither addresses nor tokens are kept, and nobody can choose a
//! value that another one is counted with. Stamps that are past say nothing and are forgotten. Of more
//! clients than there is room for those that asked least are forgotten first.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use ward_types::guard::{LimitBy, RateLimit};

use crate::admission::Origin;

const SHARDS: usize = 16;
/// Clients of one shard that are remembered: in all a quarter of a million, in eight megabytes at the most.
const MOST: usize = 16 * 1024;
/// So many are not worth a look for what is past.
const FEW: usize = 256;

/// One limit: a service's, or a route's.
pub(crate) struct Meter {
    /// What one request is worth, and how far ahead the stamp may be, in nanoseconds.
    interval: u64,
    ahead: u64,
    header: Option<HeaderName>,
    keys: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    stamps: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// At how many it looks for what is past.
    full: usize,
}

/// The keys are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are numbers")
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Meter {
    /// Nobody has asked yet.
    pub(crate) fn new(limit: &RateLimit) -> Self {
        let interval = limit.rate.interval().max(1);
        let header = match &limit.by {
            LimitBy::Address => None,
            LimitBy::Header(name) => HeaderName::try_from(name.as_str()).ok(),
        };
        Self {
            interval,
            ahead: interval.saturating_mul(u64::from(limit.burst.max(1)) - 1),
            header,
            keys: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Whether nothing but a client's address decides.
    pub(crate) fn is_by_address(&self) -> bool {
        self.header.is_none()
    }

    /// Counts a request of `now` (nanoseconds), or says when to ask again. Where its header is there several times, it
    /// counts for each: who reads them may take any.
    pub(crate) fn take(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<(), Duration> {
        self.for_each(address, headers, |key| self.take_as(key, now))
    }

    /// What [`Meter::take`] would say.
    pub(crate) fn look(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<(), Duration> {
        self.for_each(address, headers, |key| self.look_as(key, now).map(|_| ()))
    }

    fn for_each(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        client: impl Fn(u64) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        let tokens = self
            .header
            .as_ref()
            .map(|name| headers.get_all(name).iter());
        let taken = tokens.into_iter().flatten();
        let taken = taken.map(|token| client(self.keys.hash_one(token.as_bytes())));
        let first = |one: Result<(), Duration>, other: Result<(), Duration>| one.and(other);
        taken
            .reduce(first)
            .unwrap_or_else(|| client(self.keys.hash_one(Origin::of(address))))
    }

    fn take_as(&self, key: u64, now: u64) -> Result<(), Duration> {
        let mut shard = self.shard(key);
        let stamp = self.stamp(&shard, key, now)?;
        shard.put(key, stamp + self.interval, now);
        Ok(())
    }

    fn look_as(&self, key: u64, now: u64) -> Result<u64, Duration> {
        self.stamp(&self.shard(key), key, now)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The map uses the lowest and the highest bits.
        let shard = &self.shards[(key >> 32) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client's stamp, where it may ask.
    fn stamp(&self, shard: &Shard, key: u64, now: u64) -> Result<u64, Duration> {
        let stamp = shard.stamps.get(&key).map_or(now, |stamp| now.max(*stamp));
        match (stamp - now).checked_sub(self.ahead) {
            Some(early) if early > 0 => Err(Duration::from_nanos(early)),
            _ => Ok(stamp),
        }
    }
}

impl Shard {
    fn put(&mut self, key: u64, stamp: u64, now: u64) {
        self.stamps.insert(key, stamp);
        if self.stamps.len() <= self.full.max(FEW) {
            return;
        }
        self.stamps.retain(|_, stamp| *stamp > now);
        if self.stamps.len() > MOST {
            let mut all: Vec<u64> = self.stamps.values().copied().collect();
            let (_, middle, _) = all.select_nth_unstable(MOST / 2);
            let middle = *middle;
            self.stamps.retain(|_, stamp| *stamp > middle);
        }
        self.full = (self.stamps.len() * 2).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::guard::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn meter(rate: &str, burst: u32, by: &str) -> Meter {
        Meter::new(&RateLimit {
            rate: Rate::parse(rate).unwrap(),
            burst,
            by: LimitBy::parse(by).unwrap(),
        })
    }

    fn taken(meter: &Meter, address: &str, asked: u32, now: u64) -> u32 {
        let address = address.parse().unwrap();
        let headers = HeaderMap::new();
        let takes = (0..asked).filter(|_| meter.take(address, &headers, now).is_ok());
        u32::try_from(takes.count()).unwrap()
    }

    #[test]
    fn a_burst_and_then_the_rate_whatever_else_is_asked() {
        let meter = meter("10/s", 5, "address");
        assert_eq!(taken(&meter, "192.0.2.1", 100, SECOND), 5);
        let address = "192.0.2.1".parse().unwrap();
        let wait = meter.take(address, &HeaderMap::new(), SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        for tenth in 1..=20 {
            assert_eq!(
                taken(&meter, "192.0.2.1", 50, SECOND + tenth * SECOND / 10),
                1
            );
        }
        assert_eq!(taken(&meter, "192.0.2.1", 50, 60 * SECOND), 5);
        assert_eq!(taken(&meter, "192.0.2.2", 50, 60 * SECOND), 5);
        assert_eq!(taken(&meter, "2001:db8::1", 3, 60 * SECOND), 3);
        assert_eq!(taken(&meter, "2001:db8::2", 50, 60 * SECOND), 2);
    }

    #[test]
    fn a_token_counts_for_itself_and_without_it_the_address() {
        let meter = meter("1/m", 1, "header:x-key");
        let take = |address: &str, key: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(key) = key {
                headers.insert("x-key", key.parse().unwrap());
            }
            meter
                .take(address.parse().unwrap(), &headers, SECOND)
                .is_ok()
        };
        assert!(take("192.0.2.1", Some("a")) && !take("192.0.2.2", Some("a")));
        assert!(take("192.0.2.1", Some("b")));
        assert!(take("192.0.2.1", None) && !take("192.0.2.1", None));
        assert!(take("192.0.2.2", None));
    }

    #[test]
    fn a_second_token_hides_no_first_one() {
        let meter = meter("1/m", 1, "header:x-key");
        let take = |keys: [&'static str; 2]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append("x-key", key.parse().unwrap());
            }
            let address = "192.0.2.1".parse().unwrap();
            meter.take(address, &headers, SECOND).is_ok()
        };
        assert!(take(["a", "b"]));
        assert!(!take(["c", "b"]) && !take(["b", "d"]));
    }

    #[test]
    fn memory_is_bounded_and_who_asks_most_is_remembered() {
        let meter = meter("1/m", 10, "address");
        assert_eq!(taken(&meter, "192.0.2.1", 50, SECOND), 10);
        for number in 0..1_000_000_u32 {
            let client = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number));
            assert!(meter.take(client, &HeaderMap::new(), SECOND).is_ok());
        }
        let kept = |meter: &Meter| {
            let shards = meter.shards.iter();
            shards
                .map(|shard| shard.lock().unwrap().stamps.len())
                .sum::<usize>()
        };
        assert!(kept(&meter) <= SHARDS * MOST);
        assert_eq!(
            taken(&meter, "192.0.2.1", 50, SECOND),
            0,
            "it was forgotten"
        );
        // What is past is forgotten as others come: a thousand are never past here.
        let meter = self::meter("1/s", 1, "address");
        for number in 0..200_000_u32 {
            let client = IpAddr::from(std::net::Ipv4Addr::from_bits(number));
            let now = SECOND + u64::from(number) * 1_000_000;
            assert!(meter.take(client, &HeaderMap::new(), now).is_ok());
        }
        assert!(kept(&meter) <= SHARDS * 2 * FEW, "{}", kept(&meter));
    }
}
