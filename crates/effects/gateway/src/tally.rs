//! What is counted, and how it costs next to nothing.
//!
//! Each worker counts for itself: a count has one writer, which reads and writes it without a lock or an atomic
//! addition, and no two workers write to one cache line. Whoever asks adds the workers' counts together. What
//! can be a label is bounded: environments, services and their releases, never a path or a client. A release
//! that nothing is sent to any more is forgotten after a while, so that deploys do not add up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{StatusCode, Version};
use ward_types::histogram::{self, Histogram};
use ward_types::tally::{ConnectionTally, Durations, RequestTally, SeriesKey, SeriesTally};

use crate::failure::Fault;

/// How long what nobody counts in any more is remembered: several scrapes.
const REMEMBERED: Duration = Duration::from_secs(900);

/// A number that one thread counts up and others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// By its one writer alone.
    pub(crate) fn add(&self, more: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(more), Ordering::Relaxed);
    }

    fn take(&self, less: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.saturating_sub(less), Ordering::Relaxed);
    }

    /// By anybody.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations that one worker counts.
#[derive(Debug)]
struct Spans {
    buckets: [Count; Histogram::BUCKETS],
    sum: Count,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            buckets: [const { Count(AtomicU64::new(0)) }; Histogram::BUCKETS],
            sum: Count::default(),
        }
    }
}

impl Spans {
    fn record(&self, micros: u64) {
        // A bucket holds what is shorter than its edge; Prometheus asks for what is not longer.
        let bucket = histogram::bucket(micros.saturating_sub(1));
        self.buckets[usize::from(bucket)].add(1);
        self.sum.add(micros);
    }

    fn add_to(&self, durations: &mut Durations) {
        let counts = (0..).zip(&self.buckets).map(|(b, count)| (b, count.get()));
        let counts: Vec<(u8, u64)> = counts.filter(|(_, count)| *count > 0).collect();
        durations.buckets.merge(&counts.into());
        durations.sum += self.sum.get();
    }
}

/// How an answer began: its status' hundreds, or that there was none.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const FAULTS: [&str; 4] = ["none", "client", "upstream", "ward"];
const MAKERS: [&str; 2] = ["instance", "gateway"];
const ENDS: usize = CLASSES.len() * FAULTS.len() * MAKERS.len();

/// Who made an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The application.
    Instance,
    /// The gateway, in its place.
    Gateway,
}

/// What is counted of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// What the client saw.
    pub(crate) status: Option<StatusCode>,
    /// Whose fault it was.
    pub(crate) fault: Option<Fault>,
    /// Who answered.
    pub(crate) maker: Maker,
    /// Further attempts.
    pub(crate) retries: u32,
    /// Bytes of its body.
    pub(crate) bytes_in: u64,
    /// Bytes of the answer's body.
    pub(crate) bytes_out: u64,
    /// To the head of the answer, in microseconds; none without one.
    pub(crate) head: Option<u64>,
    /// To the end of the answer, in microseconds; none of what lasts by its nature.
    pub(crate) whole: Option<u64>,
}

/// One worker's counts of requests that led to one place.
#[derive(Debug)]
pub(crate) struct Series {
    ends: [Count; ENDS],
    retries: Count,
    bytes_in: Count,
    bytes_out: Count,
    head: Spans,
    whole: Spans,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            ends: [const { Count(AtomicU64::new(0)) }; ENDS],
            retries: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            head: Spans::default(),
            whole: Spans::default(),
        }
    }
}

impl Series {
    /// A request has ended.
    pub(crate) fn count(&self, end: End) {
        let class = end.status.map_or(0, |status| {
            usize::from(status.as_u16() / 100).min(CLASSES.len() - 1)
        });
        let fault = match end.fault {
            None => 0,
            Some(Fault::Client) => 1,
            Some(Fault::Upstream) => 2,
            Some(Fault::Ward) => 3,
        };
        let maker = usize::from(end.maker == Maker::Gateway);
        self.ends[(class * FAULTS.len() + fault) * MAKERS.len() + maker].add(1);
        if end.retries > 0 {
            self.retries.add(u64::from(end.retries));
        }
        self.bytes_in.add(end.bytes_in);
        self.bytes_out.add(end.bytes_out);
        if let Some(head) = end.head {
            self.head.record(head);
        }
        if let Some(whole) = end.whole {
            self.whole.record(whole);
        }
    }

    fn total(&self) -> u64 {
        self.ends.iter().map(Count::get).sum()
    }

    fn add_to(&self, tally: &mut SeriesTally, ends: &mut [u64; ENDS]) {
        for (sum, end) in ends.iter_mut().zip(&self.ends) {
            *sum += end.get();
        }
        tally.retries += self.retries.get();
        tally.bytes_in += self.bytes_in.get();
        tally.bytes_out += self.bytes_out.get();
        self.head.add_to(&mut tally.head);
        self.whole.add_to(&mut tally.whole);
    }
}

fn request_tallies(ends: &[u64; ENDS]) -> Vec<RequestTally> {
    let named = ends.iter().enumerate().filter(|(_, count)| **count > 0);
    let tallies = named.map(|(index, count)| RequestTally {
        class: CLASSES[index / (FAULTS.len() * MAKERS.len())].to_owned(),
        fault: FAULTS[index / MAKERS.len() % FAULTS.len()].to_owned(),
        by: MAKERS[index % MAKERS.len()].to_owned(),
        count: *count,
    });
    tallies.collect()
}

/// Where a client's connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
    /// An instance's link.
    Link,
    /// The gateway's own probes.
    Probe,
}

impl Door {
    const NAMES: [&'static str; 4] = ["http", "https", "link", "probe"];

    /// Its name in the log and in labels.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Nothing yet.
    Nothing,
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something else, after a switch.
    Upgraded,
}

const SPEECHES: [&str; 4] = ["none", "http/1", "http/2", "upgraded"];

/// How TLS handshakes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Well.
    Done,
    /// The two did not agree, or the client went away.
    Failed,
    /// It took too long.
    Late,
}

const HANDSHAKES: [&str; 3] = ["done", "failed", "late"];

/// What one worker counts beside requests.
#[derive(Debug, Default)]
pub(crate) struct Doorkeeper {
    handshakes: [Count; HANDSHAKES.len()],
    open: [[Count; SPEECHES.len()]; Door::NAMES.len()],
}

impl Doorkeeper {
    /// A handshake has ended.
    pub(crate) fn shook(&self, hands: Handshake) {
        self.handshakes[hands as usize].add(1);
    }
}

/// A connection that is open. It is counted until this is dropped, by the worker that serves it.
#[derive(Debug)]
pub(crate) struct Open {
    keeper: Arc<Doorkeeper>,
    door: Door,
    speech: AtomicU8,
}

impl Open {
    /// A connection that says nothing yet.
    pub(crate) fn new(keeper: Arc<Doorkeeper>, door: Door) -> Self {
        keeper.open[door as usize][Speech::Nothing as usize].add(1);
        Self {
            keeper,
            door,
            speech: AtomicU8::new(Speech::Nothing as u8),
        }
    }

    /// A request of this version has come.
    pub(crate) fn hears(&self, version: Version) {
        if self.speech.load(Ordering::Relaxed) == Speech::Nothing as u8 {
            self.speaks(match version == Version::HTTP_2 {
                true => Speech::Http2,
                false => Speech::Http1,
            });
        }
    }

    /// From now on it speaks this.
    pub(crate) fn speaks(&self, speech: Speech) {
        let before = self.speech.swap(speech as u8, Ordering::Relaxed);
        let open = &self.keeper.open[self.door as usize];
        open[usize::from(before)].take(1);
        open[speech as usize].add(1);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let speech = self.speech.load(Ordering::Relaxed);
        self.keeper.open[self.door as usize][usize::from(speech)].take(1);
    }
}

/// The counts of all workers.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    keepers: Mutex<Vec<Arc<Doorkeeper>>>,
    series: Mutex<BTreeMap<SeriesKey, Kept>>,
    /// Lines of the access log that were written.
    pub(crate) lines: AtomicU64,
    /// Lines of the access log that were lost.
    pub(crate) dropped: AtomicU64,
}

/// The counts that all workers have for one place.
#[derive(Debug, Default)]
struct Kept {
    by_worker: BTreeMap<usize, Arc<Series>>,
    /// How much there was when it was last seen to change, and when that was (milliseconds).
    quiet: (u64, u64),
}

impl Tallies {
    /// What a new worker counts in, and its number.
    pub(crate) fn enter(&self) -> (usize, Arc<Doorkeeper>) {
        let mut keepers = lock(&self.keepers);
        let keeper = Arc::new(Doorkeeper::default());
        keepers.push(Arc::clone(&keeper));
        (keepers.len() - 1, keeper)
    }

    /// What the worker counts in of requests that lead to one place. Not for each request: it takes a lock.
    pub(crate) fn series(&self, worker: usize, key: SeriesKey) -> Arc<Series> {
        let mut all = lock(&self.series);
        let kept = all.entry(key).or_default();
        Arc::clone(kept.by_worker.entry(worker).or_default())
    }

    /// Forgets what nobody has counted in for a while and nobody holds any more, at `now` (milliseconds).
    pub(crate) fn prune(&self, now: u64) {
        let remembered = REMEMBERED.as_millis() as u64;
        lock(&self.series).retain(|_, kept| {
            let total = kept.by_worker.values().map(|series| series.total()).sum();
            let held = kept
                .by_worker
                .values()
                .any(|one| Arc::strong_count(one) > 1);
            if held || kept.quiet.0 != total {
                kept.quiet = (total, now);
            }
            now.saturating_sub(kept.quiet.1) < remembered
        });
    }

    /// Requests, by where they led.
    pub(crate) fn requests(&self) -> Vec<SeriesTally> {
        let all = lock(&self.series);
        let tallies = all.iter().map(|(key, kept)| {
            let mut tally = SeriesTally {
                key: key.clone(),
                ..SeriesTally::default()
            };
            let mut ends = [0; ENDS];
            for series in kept.by_worker.values() {
                series.add_to(&mut tally, &mut ends);
            }
            tally.requests = request_tallies(&ends);
            tally
        });
        tallies.collect()
    }

    /// Handshakes, by how they ended.
    pub(crate) fn handshakes(&self) -> Vec<(String, u64)> {
        let keepers = lock(&self.keepers);
        let ends = HANDSHAKES.iter().enumerate().map(|(index, name)| {
            let counts = keepers.iter().map(|keeper| keeper.handshakes[index].get());
            ((*name).to_owned(), counts.sum())
        });
        ends.collect()
    }

    /// Connections, by where they came in and what they speak; each kind, also where none is open.
    pub(crate) fn connections(&self) -> Vec<ConnectionTally> {
        let keepers = lock(&self.keepers);
        let kinds = (0..Door::NAMES.len()).flat_map(|d| (0..SPEECHES.len()).map(move |s| (d, s)));
        let tallies = kinds.map(|(door, speech)| ConnectionTally {
            entry: Door::NAMES[door].to_owned(),
            protocol: SPEECHES[speech].to_owned(),
            open: keepers
                .iter()
                .map(|keeper| keeper.open[door][speech].get())
                .sum(),
        });
        tallies.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{EnvId, Name, ReleaseId};

    fn key(release: u64) -> SeriesKey {
        SeriesKey {
            env: EnvId::parse("shop/dev").ok(),
            service: Name::parse("web").ok(),
            release: Some(ReleaseId(release)),
        }
    }

    const GOOD: End = End {
        status: Some(StatusCode::OK),
        fault: None,
        maker: Maker::Instance,
        retries: 0,
        bytes_in: 1,
        bytes_out: 2,
        head: Some(128),
        whole: Some(200),
    };

    #[test]
    fn workers_count_apart_and_are_added_together() {
        let tallies = Tallies::default();
        let series = [0, 1].map(|worker| tallies.series(worker, key(1)));
        series[0].count(GOOD);
        series[1].count(GOOD);
        series[1].count(End {
            status: None,
            fault: Some(Fault::Client),
            maker: Maker::Gateway,
            retries: 2,
            head: None,
            whole: None,
            ..GOOD
        });
        let all = tallies.requests();
        assert_eq!(all.len(), 1);
        let named: Vec<_> = all[0]
            .requests
            .iter()
            .map(|one| {
                (
                    one.class.as_str(),
                    one.fault.as_str(),
                    one.by.as_str(),
                    one.count,
                )
            })
            .collect();
        assert_eq!(
            named,
            [
                ("none", "client", "gateway", 1),
                ("2xx", "none", "instance", 2)
            ]
        );
        assert_eq!(
            (all[0].retries, all[0].bytes_in, all[0].bytes_out),
            (2, 3, 6)
        );
        assert_eq!((all[0].head.buckets.total(), all[0].head.sum), (2, 256));
        // Just an edge is not above it.
        assert_eq!(all[0].head.buckets.quantile(100), Some(128));
    }

    #[test]
    fn what_nobody_counts_in_is_forgotten_after_a_while() {
        let tallies = Tallies::default();
        let held = tallies.series(0, key(1));
        tallies.series(0, key(2)).count(GOOD);
        let later = REMEMBERED.as_millis() as u64;
        tallies.prune(1);
        tallies.prune(later);
        assert_eq!(tallies.requests().len(), 2);
        tallies.prune(later + 1);
        assert_eq!(tallies.requests().len(), 1, "the one that is held stays");
        drop(held);
        tallies.prune(later * 2);
        assert_eq!(tallies.requests().len(), 1);
        tallies.prune(later * 2 + 1);
        assert!(tallies.requests().is_empty());
    }

    #[test]
    fn a_connection_is_counted_once_as_what_it_speaks() {
        let tallies = Tallies::default();
        let (_, keeper) = tallies.enter();
        let open = Open::new(keeper, Door::Https);
        let seen = || {
            let all = tallies.connections();
            let open: Vec<_> = all.into_iter().filter(|one| one.open > 0).collect();
            open.into_iter()
                .map(|one| (one.protocol, one.open))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(), [("none".to_owned(), 1)]);
        open.hears(Version::HTTP_11);
        open.hears(Version::HTTP_11);
        assert_eq!(seen(), [("http/1".to_owned(), 1)]);
        open.speaks(Speech::Upgraded);
        assert_eq!(seen(), [("upgraded".to_owned(), 1)]);
        drop(open);
        assert!(seen().is_empty());
    }
}
