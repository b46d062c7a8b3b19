//! Decision: when a service that says nothing of its own has a limit, and which.
//!
//! What is slow is not overloaded: requests that wait for something else take long in any number. A service
//! is overloaded when it is given more at once and answers no more for it. So a limit comes from four signs
//! together, none of which is enough, and for a whole second, or for a quarter of one where also each time at least twice as
//! much has come as was answered, so that what is under way grows as fast as the service works, and more:
//!
//! - more is under way than any service gets without a limit (32 requests for each instance);
//! - also the faster fifth of the answers takes more than twice as long as it used to, and 5 ms: so it is not
//!   a few slow requests;
//! - about as many are answered as ever were in the last ten minutes: so it is not another kind of requests,
//!   each of which takes longer. Or most are given up before they are answered, which counts as slow: the
//!   service works for clients who have gone;
//! - enough is known of how it used to be.
//!
//! The limit then goes down step by step, while answers stay as slow, to 32 for each instance at the lowest.
//! Where most are given up it is a few at once, until what was begun for nobody has ended.
//! It is an experiment with a known outcome: an overloaded service answers as many as before. One that
//! answers fewer because of the limit was not overloaded: the limit is given up at once, for some minutes, and
//! what is usual is learned anew. So is one that worked for nobody, and after twenty seconds still does. A limit that nobody reaches any more is given up as well.
//!
//! A service of which nothing is known, because it always had more to do than that, keeps having no limit.
//!
//! All is computed a few times a second from what instances count anyway; a request costs nothing for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ward_types::histogram::{self, Histogram};
use ward_types::id::{EnvId, Name};

use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::instance::Instance;
use crate::routes::Pool;
use crate::throttle::UNLIMITED;
use crate::worker::Shared;

/// What each instance may have without any question.
const FLOOR: usize = 32;
/// How often a service is looked at that has much to do, and how many looks come between those at the others, and at those
/// of which too little is known: a crowd may come at any moment.
const LOOK: Duration = Duration::from_millis(125);
const SELDOM: u64 = 40;
const UNKNOWN: u64 = 8;
/// Over how many looks the signs must be there, and at how many of them at the least; and how many end a limit.
const SURE: u32 = 8;
const TWICE: u32 = 2;
/// Over how many, where more and more is under way, and from how many times the floor on: what waits at the service by
/// then is worked off before anything that comes later.
const GROWS: u32 = 2;
const CROWD: usize = 4;
/// So many answers say something.
const ENOUGH: f64 = 20.0;
/// So many are known of how it used to be.
const KNOWN: f64 = 100.0;
/// How long no limit is tried after one that did harm, in milliseconds.
const ONCE_BITTEN: u64 = 600_000;
/// How many looks a service has to get over what it has begun for clients who have gone.
const RECOVERS: u32 = 160;
/// After how many looks without a pause the pace is what the service does: nine tenths of it.
const SETTLED: u32 = 16;
/// The part of the floor that it gets meanwhile: enough to see when it is over.
const MEANWHILE: usize = 8;
/// How much of what was learned is left after a second: half after five minutes.
const KEPT: f64 = 0.9977;

const BUCKETS: usize = Histogram::BUCKETS;

/// What was seen since the last look.
pub(crate) struct Seen<'a> {
    /// Milliseconds.
    pub(crate) elapsed: u64,
    /// Answers by how long they took.
    pub(crate) answered: &'a [u64; BUCKETS],
    /// Requests that ended without an answer.
    pub(crate) given_up: u64,
    pub(crate) under_way: usize,
    pub(crate) waiting: usize,
    pub(crate) instances: usize,
}

/// What is known of one service.
pub(crate) struct Adapt {
    usual: [f64; BUCKETS],
    recent: [f64; BUCKETS],
    /// Of the recent ones, those without an answer.
    lost: f64,
    /// Answers a second: lately, and the most.
    pace: f64,
    best: f64,
    /// For how many looks nothing spoke against a limit, and at how many of them something spoke for one.
    signs: u32,
    seen: u32,
    /// How much was under way at the last look, and at how many it was more and more.
    before: usize,
    grown: u32,
    limit: Option<Tried>,
    /// No limit is tried before that.
    not_before: u64,
}

/// A limit, and how many must be answered under it, after so many looks.
struct Tried {
    limit: usize,
    least: f64,
    /// Whether it began because the service worked for nobody.
    for_nobody: bool,
    harms: u32,
    idle: u32,
    /// For how many looks it has been reached without a pause.
    busy: u32,
}

impl Default for Adapt {
    fn default() -> Self {
        Self {
            usual: [0.0; BUCKETS],
            recent: [0.0; BUCKETS],
            lost: 0.0,
            pace: 0.0,
            best: 0.0,
            signs: 0,
            seen: 0,
            before: 0,
            grown: 0,
            limit: None,
            not_before: 0,
        }
    }
}

impl Adapt {
    /// The limit from `now` (milliseconds) on.
    pub(crate) fn look(&mut self, seen: &Seen<'_>, now: u64) -> usize {
        let floor = FLOOR * seen.instances.max(1);
        self.keep_pace(seen);
        for (sum, count) in self.recent.iter_mut().zip(seen.answered) {
            *sum += *count as f64;
        }
        self.recent[BUCKETS - 1] += seen.given_up as f64;
        self.lost += seen.given_up as f64;
        let grows = self.grows(seen, floor);
        let for_nobody = self.is_for_nobody();
        if let Some(mut tried) = self.limit.take() {
            if self.goes_on(&mut tried, seen, floor, now) {
                let limit = tried.limit;
                self.limit = Some(tried);
                return limit;
            }
            return UNLIMITED;
        }
        let pressed = seen.under_way > floor;
        let slow = self.is_slow();
        // What is learned while it has too much to do would make that usual.
        if !pressed || slow == Some(false) || now < self.not_before {
            self.learn();
        } else if slow.is_some() || !self.is_known() {
            self.forget();
        }
        match slow {
            Some(true) if pressed && (for_nobody || self.pace >= self.best / 2.0) => {
                self.signs += 1;
                self.seen += 1;
                self.grown = if grows { self.grown + 1 } else { 0 };
            }
            // Too few answers to tell speak neither for nor against, but nothing is sure so soon then.
            None if pressed && self.signs > 0 => {
                self.signs += 1;
                self.grown = 0;
            }
            _ => (self.signs, self.seen, self.grown) = (0, 0, 0),
        }
        let soon = self.grown >= GROWS;
        let sure = soon || (self.signs >= SURE && self.seen >= TWICE);
        if !sure || now < self.not_before {
            return UNLIMITED;
        }
        let (limit, least) = match for_nobody {
            // Each more would be work for nobody, too.
            true => (floor / MEANWHILE, self.best / 2.0),
            false => {
                // What is found so soon has a pace that is that of before, too.
                let pace = match soon {
                    true => rate(seen).min(self.pace),
                    false => self.pace,
                };
                (lower(seen.under_way, floor), pace * 0.8)
            }
        };
        self.limit = Some(Tried {
            limit,
            least,
            for_nobody,
            harms: 0,
            idle: 0,
            busy: SETTLED,
        });
        limit
    }

    fn goes_on(&mut self, tried: &mut Tried, seen: &Seen<'_>, floor: usize, now: u64) -> bool {
        let for_nobody = self.is_for_nobody();
        let reached = seen.waiting > 0 || seen.under_way * 10 >= tried.limit * 9;
        tried.idle = if reached { 0 } else { tried.idle + 1 };
        tried.busy = if reached {
            tried.busy.saturating_add(1)
        } else {
            0
        };
        // After a pause the pace is that of the pause for a while.
        let harms = reached && tried.busy > SETTLED && self.pace < tried.least;
        tried.harms = if harms { tried.harms + 1 } else { 0 };
        // What was begun for clients who have gone has to end first.
        let patience = match tried.for_nobody || for_nobody {
            true => RECOVERS,
            false => SURE,
        };
        if tried.harms >= patience {
            // It answers fewer for the limit: so what it does is no queue.
            *self = Self {
                not_before: now + ONCE_BITTEN,
                ..Self::default()
            };
            return false;
        }
        if tried.idle >= 2 * SURE {
            (self.signs, self.seen, self.grown) = (0, 0, 0);
            self.forget();
            return false;
        }
        match self.is_slow() {
            Some(true) if for_nobody => tried.limit = floor / MEANWHILE,
            Some(true) if tried.limit > floor => tried.limit = lower(tried.limit, floor),
            Some(false) if tried.limit < floor => tried.limit = floor,
            Some(false) if reached => tried.limit += tried.limit / 40 + 1,
            Some(_) | None => {}
        }
        if total(&self.recent) >= ENOUGH {
            self.forget();
        }
        true
    }

    fn keep_pace(&mut self, seen: &Seen<'_>) {
        let seconds = seen.elapsed.max(1) as f64 / 1000.0;
        self.pace += (rate(seen) - self.pace) * seconds.min(1.0);
        self.best = (self.best * KEPT.powf(seconds)).max(self.pace);
        let kept = KEPT.powf(seconds);
        self.usual.iter_mut().for_each(|count| *count *= kept);
    }

    /// Whether there is a crowd already, and at least twice as much has come since the last look as was answered, while it
    /// answers as many as ever: what answers fewer is slow for another reason, or about to stop.
    fn grows(&mut self, seen: &Seen<'_>, floor: usize) -> bool {
        let answered: u64 = seen.answered.iter().sum();
        let more = seen
            .under_way
            .saturating_sub(std::mem::replace(&mut self.before, seen.under_way));
        let as_ever = answered > 0 && rate(seen) >= self.best * 0.7;
        seen.under_way > CROWD * floor && as_ever && more as u64 >= answered
    }

    /// Whether answers take longer than they used to; `None`: nobody knows.
    fn is_slow(&self) -> Option<bool> {
        if total(&self.recent) < ENOUGH || !self.is_known() {
            return None;
        }
        Some(faster_fifth(&self.recent) > 2 * faster_fifth(&self.usual) + 5_000)
    }

    /// Whether most of those who asked have gone before they were answered.
    fn is_for_nobody(&self) -> bool {
        self.lost * 2.0 > total(&self.recent)
    }

    fn is_known(&self) -> bool {
        total(&self.usual) >= KNOWN
    }

    fn learn(&mut self) {
        for (usual, recent) in self.usual.iter_mut().zip(&mut self.recent) {
            *usual += std::mem::take(recent);
        }
        self.lost = 0.0;
    }

    fn forget(&mut self) {
        self.recent = [0.0; BUCKETS];
        self.lost = 0.0;
    }
}

/// Answers a second since the last look.
fn rate(seen: &Seen<'_>) -> f64 {
    let answered: u64 = seen.answered.iter().sum();
    answered as f64 * 1000.0 / seen.elapsed.max(1) as f64
}

fn lower(from: usize, floor: usize) -> usize {
    (from * 42 / 50).max(floor)
}

fn total(counts: &[f64; BUCKETS]) -> f64 {
    counts.iter().sum()
}

/// What the faster fifth took at the most, in microseconds.
fn faster_fifth(counts: &[f64; BUCKETS]) -> u64 {
    let mut left = total(counts) / 5.0;
    for (bucket, count) in (0..).zip(counts) {
        left -= count;
        if left <= 0.0 {
            return histogram::upper_edge(bucket);
        }
    }
    u64::MAX
}

/// A service that is looked at.
struct Watched {
    adapt: Box<Adapt>,
    /// What its instances had counted by then (milliseconds), and which they were.
    counted: [u64; BUCKETS],
    at: u64,
    given_up: u64,
    serials: Vec<u64>,
    limit: usize,
}

/// Looks at all services until the process ends.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut known: HashMap<(EnvId, Name), Watched> = HashMap::new();
    let mut regular = tokio::time::interval(LOOK);
    regular.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u64.. {
        regular.tick().await;
        let routes = shared.routing.current();
        if look % SELDOM == 0 {
            known.retain(|service, _| routes.by_service(service).is_some_and(|p| is_watched(p)));
        }
        for (service, pool) in routes.services().filter(|(_, pool)| is_watched(pool)) {
            let pressed = pool.guard.throttle.load().0 > FLOOR;
            if pressed || is_due(look, known.get(service)) {
                let one = known
                    .entry(service.clone())
                    .or_insert_with(|| Watched::new(pool));
                one.look(service, pool);
            }
        }
    }
}

/// Whether a service is looked at that has not much to do.
fn is_due(look: u64, known: Option<&Watched>) -> bool {
    let each = match known {
        Some(one) if one.limit != UNLIMITED => 1,
        Some(one) if one.adapt.is_known() => SELDOM,
        Some(_) | None => UNKNOWN,
    };
    look.is_multiple_of(each)
}

fn is_watched(pool: &Pool) -> bool {
    let asked = |instance: &Arc<Instance>| instance.traffic().answered > 0;
    pool.guard.is_adaptive() && pool.endpoints.iter().any(asked)
}

impl Watched {
    fn new(pool: &Pool) -> Self {
        Self {
            adapt: Box::default(),
            // What went before is a part of what is usual.
            counted: [0; BUCKETS],
            at: 0,
            given_up: 0,
            serials: serials(pool),
            limit: UNLIMITED,
        }
    }

    fn look(&mut self, (env, service): &(EnvId, Name), pool: &Pool) {
        let (now, serials) = (clock::millis(), serials(pool));
        let before = std::mem::replace(&mut self.counted, counted(pool));
        let mut answered = [0; BUCKETS];
        // Where instances came or went the sums cannot be compared.
        if std::mem::replace(&mut self.serials, serials) == self.serials {
            let counts = self.counted.iter().zip(before);
            for (answered, (now, before)) in answered.iter_mut().zip(counts) {
                *answered = now.saturating_sub(before);
            }
        }
        let (under_way, waiting) = pool.guard.throttle.load();
        let given_up = pool.guard.throttle.given_up();
        let seen = Seen {
            given_up: given_up - std::mem::replace(&mut self.given_up, given_up),
            elapsed: now.saturating_sub(std::mem::replace(&mut self.at, now)),
            answered: &answered,
            under_way,
            waiting,
            instances: pool.endpoints.len(),
        };
        let limit = self.adapt.look(&seen, now);
        if (limit == UNLIMITED) != (self.limit == UNLIMITED) {
            let overloaded = limit != UNLIMITED;
            tracing::info!(%env, %service, overloaded, under_way, "requests under way");
        }
        self.limit = limit;
        pool.guard.throttle.set_limit(limit);
    }
}

fn serials(pool: &Pool) -> Vec<u64> {
    pool.endpoints.iter().map(|one| one.serial).collect()
}

fn counted(pool: &Pool) -> [u64; BUCKETS] {
    let mut counts = [0; BUCKETS];
    pool.endpoints
        .iter()
        .for_each(|one| one.add_latency(&mut counts));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service in a world of its own, looked at eight times a second.
    struct World {
        adapt: Adapt,
        now: u64,
        limit: usize,
    }

    impl World {
        fn new() -> Self {
            Self {
                adapt: Adapt::default(),
                now: 0,
                limit: UNLIMITED,
            }
        }

        /// For so many seconds so much is under way, of which so many a second are answered in so many
        /// microseconds. The limits that it came to.
        fn runs(&mut self, seconds: u64, serve: impl Fn(usize) -> (usize, u64, u64)) -> Vec<usize> {
            let look = |_| {
                let served = serve(self.limit);
                self.look(served)
            };
            (0..seconds * 8).map(look).collect()
        }

        /// One look at so much under way, of which so many a second are answered in so many microseconds.
        fn look(&mut self, (under_way, each_second, micros): (usize, u64, u64)) -> usize {
            let mut answered = [0; BUCKETS];
            // Clients go away after three seconds, and come again.
            let late = micros > 3_000_000 && micros < 30_000_000;
            let given_up = if late { under_way as u64 / 24 } else { 0 };
            answered[usize::from(histogram::bucket(micros))] = match late {
                true => 0,
                false => each_second / 8,
            };
            let seen = Seen {
                elapsed: 125,
                answered: &answered,
                given_up,
                under_way,
                waiting: usize::from(under_way >= self.limit),
                instances: 1,
            };
            self.now += 125;
            self.limit = self.adapt.look(&seen, self.now);
            self.limit
        }
    }

    /// One at a time, each in 5 ms, asked for by so many at once.
    fn queue(clients: usize) -> impl Fn(usize) -> (usize, u64, u64) {
        move |limit| {
            let under_way = clients.min(limit);
            let busy = 200.min(under_way as u64 * 200);
            (under_way, busy, 5_000 * under_way.max(1) as u64)
        }
    }

    /// Any number at once, each in so many milliseconds.
    fn patient(clients: usize, millis: u64) -> impl Fn(usize) -> (usize, u64, u64) {
        move |limit| {
            let under_way = clients.min(limit);
            (under_way, under_way as u64 * 1000 / millis, millis * 1000)
        }
    }

    fn is_free(limits: &[usize]) -> bool {
        limits.iter().all(|limit| *limit == UNLIMITED)
    }

    #[test]
    fn an_overloaded_service_gets_a_limit_and_loses_it_when_the_crowd_is_gone() {
        let mut world = World::new();
        assert!(is_free(&world.runs(60, queue(2))));
        let limits = world.runs(60, queue(2_000));
        assert!(is_free(&limits[..7]), "a second is too short to tell");
        assert_eq!(limits[40], FLOOR);
        assert!(
            limits[40..].iter().all(|limit| *limit < 2 * FLOOR),
            "{limits:?}"
        );
        let after = world.runs(10, queue(2));
        assert_eq!(after.last(), Some(&UNLIMITED));
    }

    /// In five seconds it has answered enough, and a crowd may come.
    #[test]
    fn what_is_new_is_looked_at_until_enough_is_known_of_it() {
        let watched = |adapt: Adapt, limit: usize| Watched {
            adapt: Box::new(adapt),
            counted: [0; BUCKETS],
            at: 0,
            given_up: 0,
            serials: Vec::new(),
            limit,
        };
        let looks = |known: Option<&Watched>| (0..40).filter(|look| is_due(*look, known)).count();
        let new = watched(Adapt::default(), UNLIMITED);
        assert_eq!((looks(None), looks(Some(&new))), (5, 5));
        let mut world = World::new();
        world.runs(1, queue(1));
        let known = watched(world.adapt, UNLIMITED);
        assert!(known.adapt.is_known());
        assert_eq!(looks(Some(&known)), 1);
        let limited = watched(*known.adapt, FLOOR);
        assert_eq!(looks(Some(&limited)), 40);
    }

    /// Ten times as much comes as is answered, each at its own moment.
    #[test]
    fn where_more_and_more_comes_a_limit_does_too_before_half_a_second_is_over() {
        let mut world = World::new();
        world.runs(60, queue(2));
        // In an eighth of a second 250 come, and 25 are answered.
        let under_way = |look: usize| (look + 1) * (250 - 25);
        let grown = |look| (under_way(look), 200, 5_000 * under_way(look) as u64 / 2);
        let limits: Vec<usize> = (0..4).map(|look| world.look(grown(look))).collect();
        assert!(limits[3] < under_way(3), "{limits:?}");
        assert!(is_free(&limits[..1]), "{limits:?}");
    }

    /// Something that it waits for answers a third as fast for half a second.
    #[test]
    fn a_service_that_falters_for_a_moment_is_not_overloaded() {
        let mut world = World::new();
        world.runs(60, |_| (20, 1_000, 20_000));
        for (look, under_way) in [150, 238, 326, 414].into_iter().enumerate() {
            let limit = world.look((under_way, 300, 20_000 + 100_000 * look as u64));
            assert_eq!(limit, UNLIMITED, "{look}");
        }
        assert!(is_free(&world.runs(5, |_| (20, 1_000, 20_000))));
    }

    #[test]
    fn a_limit_goes_down_in_even_steps() {
        assert_eq!(
            [lower(1_000, 32), lower(99, 32), lower(33, 32)],
            [840, 83, 32]
        );
    }

    #[test]
    fn a_pause_of_the_crowd_does_not_make_a_limit_look_harmful() {
        let mut world = World::new();
        world.runs(60, queue(2));
        world.runs(20, queue(300));
        for _ in 0..5 {
            world.runs(1, queue(0));
            let limits = world.runs(10, queue(300));
            assert!(limits.iter().all(|limit| *limit < 2 * FLOOR), "{limits:?}");
        }
    }

    #[test]
    fn many_slow_requests_of_an_idle_service_are_no_overload() {
        let mut world = World::new();
        assert!(is_free(&world.runs(60, patient(30, 20))));
        assert!(
            is_free(&world.runs(60, patient(5_000, 20))),
            "more of the same"
        );
        assert!(
            is_free(&world.runs(600, patient(1_000, 30_000))),
            "long polls"
        );
        assert!(is_free(&world.runs(60, patient(5_000, 20))));
    }

    #[test]
    fn a_limit_that_does_harm_is_given_up_within_seconds() {
        let mut world = World::new();
        // As many a second as ever, each slower than it was, and yet no queue.
        world.runs(60, patient(30, 20));
        let limits = world.runs(50, patient(1_000, 200));
        let limited = limits.iter().filter(|limit| **limit != UNLIMITED).count();
        assert!((1..=24).contains(&limited), "{limited}");
        assert!(is_free(&limits[48..]));
        // Then it is what is usual.
        assert!(is_free(&world.runs(120, patient(1_000, 200))));
    }

    #[test]
    fn who_is_not_known_is_not_judged_and_neither_is_a_burst() {
        let mut world = World::new();
        assert!(is_free(&world.runs(60, queue(2_000))));
        let mut world = World::new();
        world.runs(60, queue(1));
        for _ in 0..20 {
            let crowd = |_: usize| (300, 200, 500_000);
            let look = world.runs(1, crowd);
            assert!(is_free(&look[..7]));
            (world.adapt.signs, world.adapt.seen) = (0, 0);
            world.runs(2, queue(1));
        }
    }

    #[test]
    fn a_few_slow_ones_among_many_are_no_sign() {
        let mut world = World::new();
        world.runs(60, patient(30, 20));
        for _ in 0..200 {
            let mut answered = [0; BUCKETS];
            answered[usize::from(histogram::bucket(20_000))] = 500;
            answered[usize::from(histogram::bucket(9_000_000))] = 1_500;
            let seen = Seen {
                elapsed: 250,
                answered: &answered,
                given_up: 0,
                under_way: 9_000,
                waiting: 0,
                instances: 1,
            };
            world.now += 250;
            assert_eq!(world.adapt.look(&seen, world.now), UNLIMITED);
        }
    }
}
