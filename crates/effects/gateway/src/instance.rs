//! One instance as the gateway sees it: what is under way on it, and whether it takes more.
//!
//! The promise behind an acknowledged table is that no new request reaches an instance that the table
//! does not name. A worker that has just read the old table may still pick such an instance, so the count
//! of what is under way and the closed bit share one word: taking a place fails once the bit is set, and
//! the worker picks again from the newest table. Whoever got a place before is in the count, and is drained.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use ward_types::histogram::{self, Histogram};
use ward_types::id::EnvId;
use ward_types::table::{Endpoint, Traffic};

use crate::clock;
use crate::fitness::Fitness;
use crate::gap::Gap;
use crate::parting::Parting;

const REQUEST: u64 = 1;
const LONG: u64 = 1 << 32;
const CLOSED: u64 = 1 << 63;

/// How long an instance that refused a connection is passed over while others are there.
const AVOIDED_MILLIS: u64 = 1000;

/// One instance, in rotation or draining.
pub(crate) struct Instance {
    /// Its environment.
    pub(crate) env: EnvId,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Tells objects apart; an instance that was cut and comes back is another object.
    pub(crate) serial: u64,
    /// The values of `ward-instance` and `ward-release`.
    pub(crate) names: [HeaderValue; 2],
    /// Cancelled to end what is under way.
    pub(crate) cut: CancellationToken,
    /// Its long connections, which are told to go away when it leaves rotation.
    pub(crate) parting: Parting,
    word: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    probes: AtomicU64,
    /// How many answers took how long, by bucket.
    latency: [AtomicU64; Histogram::BUCKETS],
    avoided_until: AtomicU64,
    /// How its clients' requests fared.
    pub(crate) fitness: Fitness,
    gap: ArcSwap<Gap>,
}

impl Instance {
    /// An instance that takes requests.
    pub(crate) fn new(env: EnvId, endpoint: Endpoint, serial: u64) -> Self {
        let names = [
            endpoint.instance.as_str().to_owned(),
            endpoint.release.to_string(),
        ];
        let parting = Parting::default();
        parting.set_budget(endpoint.long_drain.map(|budget| budget.duration()));
        Self {
            env,
            endpoint,
            parting,
            serial,
            names: names.map(|text| {
                HeaderValue::try_from(text).expect("ids are letters, digits and hyphens")
            }),
            cut: CancellationToken::new(),
            word: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; Histogram::BUCKETS],
            avoided_until: AtomicU64::new(0),
            fitness: Fitness::default(),
            gap: ArcSwap::default(),
        }
    }

    /// A place on the instance, unless it is closed.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & CLOSED == 0).then_some(word + REQUEST)
            });
        taken.ok().map(|_| Place {
            instance: Arc::clone(self),
            weight: Cell::new(REQUEST),
            outcome: Cell::new(Outcome::Open),
            origin: Cell::new(Origin::Client),
            turn: OnceCell::new(),
            began: Instant::now(),
            took: Cell::new(Duration::ZERO),
            connecting: Cell::new(0),
        })
    }

    /// From now on [`Instance::take`] fails, and its long connections are told to go away.
    pub(crate) fn close(&self) {
        if self.word.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0 {
            self.parting.begin(Instant::now());
        }
    }

    /// It is in rotation again.
    pub(crate) fn open(&self) {
        if self.word.fetch_and(!CLOSED, Ordering::AcqRel) & CLOSED != 0 {
            self.parting.stop();
        }
    }

    /// Whether it is out of rotation.
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Requests and long connections under way together.
    pub(crate) fn under_way(&self) -> u64 {
        let word = self.word.load(Ordering::Acquire) & !CLOSED;
        (word % LONG) + (word / LONG)
    }

    /// What is under way and what went before.
    pub(crate) fn traffic(&self) -> Traffic {
        let word = self.word.load(Ordering::Acquire) & !CLOSED;
        Traffic {
            requests: word % LONG,
            upgraded: word / LONG,
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            probes: self.probes.load(Ordering::Relaxed),
        }
    }

    /// How long its answers took, from taking a place to the head.
    pub(crate) fn latency(&self) -> Histogram {
        let counts = self.latency.iter().map(|c| c.load(Ordering::Relaxed));
        let counts = (0..).zip(counts).filter(|(_, count)| *count > 0);
        counts.collect::<Vec<(u8, u64)>>().into()
    }

    /// Adds the same to `counts`.
    pub(crate) fn add_latency(&self, counts: &mut [u64; Histogram::BUCKETS]) {
        for (sum, count) in counts.iter_mut().zip(&self.latency) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    /// Passes it over for a while, because it refused a connection at `now` (milliseconds). Whether it was
    /// not passed over already.
    pub(crate) fn avoid(&self, now: u64) -> bool {
        let until = now + AVOIDED_MILLIS;
        self.avoided_until.swap(until, Ordering::Relaxed) <= now
    }

    /// A connection to it was made.
    pub(crate) fn connected(&self) {
        // One that drains is none that others could have.
        if !self.is_closed() {
            self.gap.load().end();
        }
    }

    /// Its service's requests wait in `gap` while there is no instance.
    pub(crate) fn ends(&self, gap: &Arc<Gap>) {
        self.gap.store(Arc::clone(gap));
    }

    /// Whether it is passed over.
    pub(crate) fn is_avoided(&self, now: u64) -> bool {
        self.avoided_until.load(Ordering::Relaxed) > now
    }
}

/// A request or long connection under way on an instance; it ends when this is dropped.
pub(crate) struct Place {
    instance: Arc<Instance>,
    weight: Cell<u64>,
    outcome: Cell<Outcome>,
    origin: Cell<Origin>,
    /// A long connection's turn to go.
    turn: OnceCell<(u64, CancellationToken)>,
    began: Instant,
    /// To the head of the answer.
    took: Cell<Duration>,
    /// How long a connection took that was made for it, in microseconds.
    pub(crate) connecting: Cell<u64>,
}

/// How what is under way came out so far, so that it is counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Open,
    Answered,
    Failed,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Client,
    Probe,
}

impl Place {
    /// Whose place it is.
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// When it was taken.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// How long it took to the head of the answer, once that has come.
    pub(crate) fn took(&self) -> Duration {
        self.took.get()
    }

    /// Counts as a long connection (upgraded, an event stream, or a gRPC call) from now on, whose drain has
    /// a budget of its own. Cancelled when it is told to go away.
    pub(crate) fn lengthen(&self) -> CancellationToken {
        if self.weight.replace(LONG) == REQUEST {
            self.instance
                .word
                .fetch_add(LONG - REQUEST, Ordering::AcqRel);
        }
        let (_, token) = self.turn.get_or_init(|| self.instance.parting.enter());
        token.clone()
    }

    /// The request is one of the gateway's own.
    pub(crate) fn counts_as_probe(&self) {
        self.origin.set(Origin::Probe);
    }

    /// The head of an answer came.
    pub(crate) fn answered(&self) {
        self.came_to(Outcome::Answered);
    }

    /// A 5xx of the instance's own making came, or the instance broke off, took too long, or took no
    /// connection. It counts as answered as well, whether a head came or not: what failed is a part of that.
    pub(crate) fn failed(&self) {
        self.came_to(Outcome::Failed);
    }

    /// The answer is no failure.
    pub(crate) fn succeeded(&self) {
        if self.origin.get() == Origin::Client && self.instance.fitness.succeeded() {
            let instance = &self.instance.endpoint.instance;
            tracing::info!(env = %self.instance.env, %instance, "it answers again");
        }
    }

    /// The same, and how long it took says something about the instance.
    pub(crate) fn measured(&self) {
        if self.origin.get() == Origin::Client {
            let now = clock::millis_at(self.began + self.took.get());
            self.instance.fitness.took(self.took.get(), now);
        }
        self.succeeded();
    }

    /// Nobody waits for its answer any more, without its having failed: it takes so long at the least.
    pub(crate) fn outrun(&self) {
        if self.origin.get() == Origin::Client {
            let fitness = &self.instance.fitness;
            fitness.takes_longer_than(self.began.elapsed(), clock::millis());
        }
    }

    fn counts_against(&self) {
        let out = match self.origin.get() {
            Origin::Client => self.instance.fitness.failed(clock::millis()),
            Origin::Probe => None,
        };
        if let Some(out) = out {
            let instance = &self.instance.endpoint.instance;
            tracing::info!(env = %self.instance.env, %instance, ?out, "it fails again and again: passed over while most others do not");
        }
    }

    fn came_to(&self, outcome: Outcome) {
        let before = self.outcome.get();
        if before >= outcome {
            return;
        }
        self.outcome.set(outcome);
        if outcome == Outcome::Answered {
            let took = self.began.elapsed();
            self.took.set(took);
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let bucket = usize::from(histogram::bucket(micros));
            self.instance.latency[bucket].fetch_add(1, Ordering::Relaxed);
        }
        if before == Outcome::Open {
            self.instance.answered.fetch_add(1, Ordering::Relaxed);
            let probes = u64::from(self.origin.get() == Origin::Probe);
            self.instance.probes.fetch_add(probes, Ordering::Relaxed);
        }
        if outcome == Outcome::Failed {
            self.counts_against();
            self.instance.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((number, _)) = self.turn.get() {
            self.instance.parting.exit(*number);
        }
        self.instance
            .word
            .fetch_sub(self.weight.get(), Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ward_types::id::{InstanceId, ReleaseId};

    pub(crate) fn instance(name: &str) -> Arc<Instance> {
        let endpoint = Endpoint {
            instance: InstanceId::parse(name).unwrap(),
            release: ReleaseId(1),
            dir: "/nowhere".into(),
            port: 1,
            long_drain: None,
        };
        Arc::new(Instance::new(
            EnvId::parse("shop/dev").unwrap(),
            endpoint,
            1,
        ))
    }

    #[test]
    fn a_closed_instance_gives_no_place_and_keeps_its_count() {
        let instance = instance("web-r1-1");
        let first = instance.take().unwrap();
        let second = instance.take().unwrap();
        first.lengthen();
        first.lengthen();
        instance.close();
        assert!(instance.take().is_none());
        let seen = instance.traffic();
        assert_eq!((seen.requests, seen.upgraded), (1, 1));
        drop((first, second));
        assert_eq!(instance.under_way(), 0);
        instance.open();
        assert!(instance.take().is_some());
    }

    #[test]
    fn each_request_counts_once_and_what_failed_is_a_part_of_what_was_answered() {
        let instance = instance("web-r1-1");
        let good = instance.take().unwrap();
        good.answered();
        good.answered();
        let bad = instance.take().unwrap();
        bad.answered();
        bad.failed();
        bad.failed();
        let lost = instance.take().unwrap();
        lost.failed();
        lost.answered();
        drop(instance.take().unwrap());
        let seen = instance.traffic();
        assert_eq!((seen.answered, seen.failed), (3, 2));
        assert_eq!(instance.latency().total(), 2, "what had a head");
    }

    #[test]
    fn places_taken_while_closing_are_all_counted() {
        let instance = instance("web-r1-1");
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        std::iter::from_fn(|| instance.take())
                            .take(200_000)
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            std::thread::yield_now();
            instance.close();
            let counted = instance.under_way();
            let places: Vec<_> = takers
                .into_iter()
                .flat_map(|taker| taker.join().unwrap())
                .collect();
            assert_eq!(
                counted,
                places.len() as u64,
                "a place was given out after closing"
            );
            places
        });
        drop(taken);
        assert_eq!(instance.under_way(), 0);
    }
}
