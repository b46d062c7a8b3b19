//! The made-up world as the driver sees it. Every effect is a boundary before and one after; a driver that
//! is killed at one of them waits there for ever, until it is thrown away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use ward_drive::{Log, Look, World};
use ward_plan::{SeenGateway, SeenInstance};
use ward_types::checkup::Occasion;
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId};
use ward_types::keeper::InstanceFacts;
use ward_types::release::{Goal, Release};
use ward_types::table::Pool;
use ward_types::time::{Millis, Timestamp};

use crate::engine::Copy;
use crate::inner::Inner;

/// Shared by the drivers and whoever makes things happen; each driver has a fencing number of its own.
#[derive(Clone)]
pub(crate) struct Shared {
    inner: Arc<Mutex<Inner>>,
    term: u64,
    /// Whether its driver has asked if it still holds the lease, and done nothing since.
    asked: Arc<AtomicBool>,
    /// What its driver saw of the gateway when it looked last.
    seen: Arc<Mutex<Option<SeenGateway>>>,
}

/// Whether the driver has to ask again before its next effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It has: it may sleep in between.
    Asks,
    /// What follows is done in the same breath: the starts of a plan, the record of a purge.
    GoesOn,
}

impl Shared {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(Mutex::new(inner)),
            term: 0,
            asked: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// For the driver that takes over.
    pub(crate) fn succeeded(&self) -> Self {
        let mut world = self.lock();
        world.term += 1;
        let copies = world.engine.values_mut();
        copies.for_each(Copy::forget_its_checkup);
        Self {
            inner: Arc::clone(&self.inner),
            term: world.term,
            asked: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn effect(
        &self,
        then: Then,
        act: impl FnOnce(&mut Inner) -> Result<(), String> + Send,
    ) -> Result<(), String> {
        self.boundary().await;
        let done = {
            let mut world = self.lock();
            let current = world.term == self.term;
            world.must(current, || "a driver that was succeeded acts".into());
            let asked = match then {
                Then::Asks => self.asked.swap(false, Ordering::Relaxed),
                Then::GoesOn => self.asked.load(Ordering::Relaxed),
            };
            world.must(asked, || {
                "a driver acts and has not asked whether it may".into()
            });
            act(&mut world)
        };
        self.boundary().await;
        match self.lock().loses_answer() {
            true => Err("the answer was lost".into()),
            false => done,
        }
    }

    async fn boundary(&self) {
        let killed = self.lock().cross();
        if killed {
            std::future::pending().await
        }
    }
}

/// Not now, but when it is looked at the next time.
async fn once_later() {
    let mut is_later = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut is_later, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl World for Shared {
    fn now(&self) -> Timestamp {
        self.lock().wall()
    }

    fn log(&self) -> Log {
        let world = self.lock();
        Log {
            events: world.events,
            state: Arc::clone(&world.state),
        }
    }

    fn next_number(&self, series: &str, count: u32) -> Result<u64, String> {
        let mut world = self.lock();
        if count > 0 && world.cross() {
            return Err("killed".into());
        }
        let next = world.numbers.entry(series.to_owned()).or_insert(1);
        let first = *next;
        *next += u64::from(count);
        let full = world.log_full_until > world.now;
        if count > 0 && (full || world.cross() || world.loses_answer()) {
            return Err("the number is not durable".into());
        }
        Ok(first)
    }

    async fn holds(&self) -> Result<(), String> {
        if self.lock().stalls() {
            once_later().await;
        }
        self.asked.store(true, Ordering::Relaxed);
        match self.lock().term == self.term {
            true => Ok(()),
            false => Err("another driver has taken over".into()),
        }
    }

    fn instances(&self, _env: &EnvId) -> BTreeMap<InstanceId, SeenInstance> {
        let world = self.lock();
        let (now, lag) = (world.now, world.lag);
        let copies = world.engine.iter();
        copies
            .map(|(id, copy)| (id.clone(), copy.seen(now, lag)))
            .collect()
    }

    /// What was seen lately is as old as it can be: of the last look.
    async fn gateway(&self, _env: &EnvId, _goal: Goal, look: Look) -> Option<SeenGateway> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if look == Look::Now {
            let world = self.lock();
            *seen = world.gateway.seen(world.now);
        }
        seen.clone()
    }

    fn is_in_use(&self, _env: &EnvId) -> bool {
        false
    }

    async fn start(&self, facts: InstanceFacts, _release: &Release) -> Result<(), String> {
        self.effect(Then::GoesOn, |world| world.start(facts)).await
    }

    async fn stop(&self, _env: &EnvId, id: &InstanceId, grace: Millis) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.stop(id, grace.0))
            .await
    }

    async fn check(
        &self,
        _env: &EnvId,
        id: &InstanceId,
        of: Occasion,
        within: Millis,
    ) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.check(id, of, within.0))
            .await
    }

    async fn remove(&self, _env: &EnvId, id: &InstanceId) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.remove(id)).await
    }

    async fn route(&self, _env: &EnvId, pools: Vec<Pool>) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.route(pools)).await
    }

    async fn cut(&self, _env: &EnvId, id: &InstanceId) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.cut(id)).await
    }

    fn instance_dir(&self, _env: &EnvId, id: &InstanceId) -> PathBuf {
        PathBuf::from(id.as_str())
    }

    async fn record(&self, event: Event) -> Result<(), String> {
        self.effect(Then::Asks, |world| world.record(&event)).await
    }

    async fn purge(&self, _env: &EnvId) -> Result<(), String> {
        self.effect(Then::GoesOn, Inner::purge).await
    }
}
