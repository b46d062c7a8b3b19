//! The routing table in the form that requests are matched against, and its replacement.

mod change;
mod check;
mod memory;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use ward_types::balance::Balance;
use ward_types::id::{EnvId, Generation, InstanceId, Name};
use ward_types::maintenance::Maintenance;
use ward_types::route::{Route, RouteSettings};
use ward_types::table::{Call, Endpoint, GatewayObserved, Version};

use change::Change;
pub(crate) use check::TableError;
use memory::Known;

use crate::affinity::{self, Affinity};
use crate::budget::Budget;
use crate::clock;
use crate::gap::Gap;
use crate::guard::Guard;
use crate::instance::Instance;
use crate::offer::{self, ChangeError, Entry, Offer};
use crate::settings::{Locality, Settings};
use crate::site::Sites;
use crate::split::Split;
use crate::tls;

/// The instances of one service that take new requests.
pub(crate) struct Pool {
    /// Whose they are.
    pub(crate) service: (EnvId, Name),
    /// What the table says of it.
    pub(crate) entry: Arc<Entry>,
    /// The instances in rotation.
    pub(crate) endpoints: Vec<Arc<Instance>>,
    /// How requests are divided between two releases.
    pub(crate) split: Option<Split>,
    /// How many requests may be tried again; kept from table to table.
    pub(crate) budget: Arc<Budget>,
    /// Where requests wait while there is no instance; kept from table to table.
    pub(crate) gap: Arc<Gap>,
    /// What clients of the outside get instead of answers.
    pub(crate) maintenance: Option<Maintenance>,
    /// The sleep of its environment, while its requests are held for that.
    pub(crate) asleep: Option<Call>,
    /// What its clients may take.
    pub(crate) guard: Guard,
    /// What brings its clients back to their instances.
    pub(crate) affinity: Option<Affinity>,
    /// After how long a second instance is asked too. Not where clients come back to one of their own.
    pub(crate) hedge: Option<Duration>,
    /// How often a request that an instance may have seen is sent again.
    pub(crate) retries: u32,
}

impl Pool {
    /// Whether a request that does no harm twice, and that an instance may have seen so many times, is sent again. Each is
    /// paid for.
    pub(crate) fn may_repeat(&self, sent: u32) -> bool {
        sent <= self.retries && self.budget.spend(clock::millis())
    }

    /// Whether a request of its is placed by what each instance has to do, on one, and by nothing that it says itself.
    pub(crate) fn is_plain(&self) -> bool {
        let free = self.split.is_none() && self.affinity.is_none() && self.hedge.is_none();
        free && !self.endpoints.is_empty() && self.guard.is_by_address()
    }

    fn names(&self, serial: u64) -> bool {
        self.endpoints.iter().any(|other| other.serial == serial)
    }

    /// Whether it is what would be made of `entry`: one whose instances were cut is not.
    fn is_of(&self, entry: &Arc<Entry>) -> bool {
        let mut endpoints = self.endpoints.iter();
        Arc::ptr_eq(&self.entry, entry) && endpoints.all(|one| !one.cut.is_cancelled())
    }
}

/// One table, ready for look-ups. Immutable.
#[derive(Default)]
pub(crate) struct Routes {
    /// Which table it is.
    pub(crate) table: Version,
    /// What it says of its pools, in the order in which they came, and those themselves in the same order.
    entries: Vec<Arc<Entry>>,
    pools: Vec<Arc<Pool>>,
    /// Which of them is whose; in common with the table before where that has the same services.
    places: Arc<HashMap<(EnvId, Name), usize>>,
    /// What clients of the outside find.
    pub(crate) sites: Sites,
    /// The hosts of environments that are down, in order.
    down: Vec<String>,
}

impl Routes {
    /// All services.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&(EnvId, Name), &Arc<Pool>)> {
        self.pools.iter().map(|pool| (&pool.service, pool))
    }

    /// Whether a host, given as it is looked up, is one of an environment that is down.
    pub(crate) fn is_down(&self, host: &str) -> bool {
        let is_down = |host: &str| self.down.binary_search_by(|down| down.as_str().cmp(host));
        let wildcard = || {
            let (label, above) = host.split_once('.')?;
            (!label.is_empty() && is_down(&format!("*.{above}")).is_ok()).then_some(())
        };
        is_down(host).is_ok() || wildcard().is_some()
    }

    /// The pool of a service.
    pub(crate) fn by_service(&self, service: &(EnvId, Name)) -> Option<&Arc<Pool>> {
        let place = self.places.get(service)?;
        self.pools.get(*place)
    }
}

/// The table in force and every instance that still matters.
pub(crate) struct Routing {
    current: ArcSwap<Routes>,
    known: Mutex<Known>,
    serials: AtomicU64,
    affinity: affinity::Key,
    changed: watch::Sender<Generation>,
    /// Notified when long connections may have to be told to go away.
    teller: Arc<Notify>,
    /// When the process ends at the latest, once that is known.
    leaves: Mutex<Option<Instant>>,
}

impl Routing {
    /// Nothing is known yet; generation 0 is in force. Clients are brought back to their instances by `affinity`.
    pub(crate) fn new(affinity: affinity::Key) -> Self {
        Self {
            current: ArcSwap::default(),
            known: Mutex::default(),
            serials: AtomicU64::new(0),
            affinity,
            changed: watch::Sender::new(Generation(0)),
            teller: Arc::default(),
            leaves: Mutex::default(),
        }
    }

    /// Notified when long connections may have to be told to go away.
    pub(crate) fn teller(&self) -> &Arc<Notify> {
        &self.teller
    }

    /// Tells the long connections whose turn has come by `now`; when the next one's comes.
    pub(crate) fn tell(&self, now: Instant) -> Option<Instant> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let leaves = self.leaves().is_some();
        match leaves {
            true => known.values().filter_map(|one| one.parting.tell(now)).min(),
            false => known.closed().filter_map(|one| one.parting.tell(now)).min(),
        }
    }

    /// The process ends within `grace`: long connections are told to go away, in rotation or not.
    pub(crate) fn leave(&self, grace: Duration) {
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *self.leaves.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + grace);
        let instances = known.values();
        instances.for_each(|instance| instance.parting.leave(now, grace));
        self.teller.notify_one();
    }

    fn leaves(&self) -> Option<Instant> {
        *self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table in force.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.current.load()
    }

    /// Told after each change of table.
    pub(crate) fn changes(&self) -> watch::Receiver<Generation> {
        self.changed.subscribe()
    }

    /// What a text offers, read only as far as it differs from the table in force.
    pub(crate) fn read(&self, text: &[u8]) -> serde_json::Result<Offer> {
        Offer::read(text, &self.current().entries)
    }

    /// The table in force, as it could have come.
    pub(crate) fn text(&self) -> String {
        let current = self.current();
        offer::text(current.table, &current.entries, &current.down)
    }

    /// What a text makes of the table in force.
    pub(crate) fn read_change(&self, text: &str) -> Result<Offer, ChangeError> {
        let current = self.current();
        let mut offer = Offer::of(current.table, &current.entries, &current.down)?;
        offer.change(text)?;
        Ok(offer)
    }

    /// Whether a table may follow the one in force; `Ok(false)` when it is the one in force.
    pub(crate) fn check(&self, offer: &Offer) -> Result<bool, TableError> {
        let current = self.current();
        let (offered, in_force) = (offer.version, current.table);
        if offered.term < in_force.term {
            return Err(TableError::Fenced {
                offered: offered.term,
                current: in_force.term,
            });
        }
        if offered.generation < in_force.generation {
            return Err(TableError::Older {
                offered: offered.generation,
                current: in_force.generation,
            });
        }
        if offered.generation == in_force.generation {
            let same = offered == in_force
                && offer.down == current.down
                && is_same_list(&offer.entries, &current.entries);
            return match same {
                true => Ok(false),
                false => Err(TableError::SameGeneration(offered.generation)),
            };
        }
        check::check(offer, &current.entries).map(|()| true)
    }

    /// Whether a table has the services of the one in force, with the routes that they have.
    pub(crate) fn leads_as_before(&self, offer: &Offer) -> bool {
        change::is_in_place(&self.current().entries, &offer.entries)
    }

    /// Puts a table that passed [`Routing::check`] in force, unless a newer one came into force since: one that
    /// was stored here can be followed by a successor's before it is swapped in. What comes back is the table
    /// before: whoever drops it last frees it, which takes milliseconds of a large one, so that should not be a
    /// worker.
    pub(crate) fn swap(&self, offer: Offer) -> Option<Arc<Routes>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = offer.version.generation;
        if generation < self.current().table.generation {
            return None;
        }
        let (routes, change) = self.compile(offer, &mut known);
        // First the swap, then the closing: a worker that finds an instance closed must find the newer
        // table when it looks again.
        let routes = Arc::new(routes);
        let before = self.current.swap(Arc::clone(&routes));
        change.close(&mut known, &routes);
        known.forget();
        drop(known);
        // Also after the swap: who is told to look again must find the newer table.
        change.tell_who_waits(&before, &routes);
        self.changed.send_replace(generation);
        self.teller.notify_one();
        Some(before)
    }

    fn compile(&self, offer: Offer, known: &mut Known) -> (Routes, Change) {
        let before = self.current();
        let mut change = Change::new(&before.entries, &offer.entries);
        let mut routes = match change.is_in_place() {
            true => self.changed(&before, &offer, known, &mut change),
            false => self.anew(&before, &offer, known, &mut change),
        };
        routes.table = offer.version;
        routes.entries = offer.entries;
        routes.down = offer.down;
        (routes, change)
    }

    /// The routes of a table that has the same services with the same routes as the one before: only the pools of what it
    /// says something else of are others.
    fn changed(
        &self,
        before: &Routes,
        offer: &Offer,
        known: &mut Known,
        change: &mut Change,
    ) -> Routes {
        let mut routes = Routes {
            pools: before.pools.clone(),
            places: Arc::clone(&before.places),
            sites: before.sites.clone(),
            ..Routes::default()
        };
        let entries = offer.entries.iter().zip(&before.entries);
        let others = routes.pools.iter_mut().zip(entries);
        for (pool, (entry, _)) in others.filter(|(_, (one, other))| !Arc::ptr_eq(one, other)) {
            let made = Arc::new(self.pool(&pool.service, entry, Some(pool), known));
            for route in &entry.pool.routes {
                routes.sites.lead_on(&route.host, pool, &made);
            }
            change.made(Some(pool), &made);
            *pool = made;
        }
        routes
    }

    fn anew(
        &self,
        before: &Routes,
        offer: &Offer,
        known: &mut Known,
        change: &mut Change,
    ) -> Routes {
        let mut routes = Routes::default();
        let mut places = HashMap::with_capacity(offer.entries.len());
        let mut shared = Shared::default();
        let clients = tls::clients(offer.pools());
        for (place, entry) in offer.entries.iter().enumerate() {
            let service = (entry.pool.env.clone(), entry.pool.service.clone());
            let kept = before.by_service(&service);
            let pool = match kept.filter(|pool| pool.is_of(entry)) {
                Some(pool) => Arc::clone(pool),
                None => {
                    let pool = Arc::new(self.pool(&service, entry, kept, known));
                    change.made(kept, &pool);
                    pool
                }
            };
            for route in &entry.pool.routes {
                let Ok(settings) = shared.settings(route) else {
                    continue; // The check has refused it.
                };
                routes
                    .sites
                    .add(route, Arc::clone(&pool), settings, &clients);
            }
            places.insert(service, place);
            routes.pools.push(pool);
        }
        routes.sites.sort();
        routes.places = Arc::new(places);
        routes
    }

    fn pool(
        &self,
        service: &(EnvId, Name),
        entry: &Arc<Entry>,
        kept: Option<&Arc<Pool>>,
        known: &mut Known,
    ) -> Pool {
        let said = &entry.pool;
        let budget = kept.map(|pool| Arc::clone(&pool.budget));
        let gap = kept.map(|pool| Arc::clone(&pool.gap)).unwrap_or_default();
        let endpoints = said.endpoints.iter().map(|endpoint| {
            let instance = self.instance(&said.env, endpoint, known);
            instance.ends(&gap);
            instance
        });
        let endpoints: Vec<_> = endpoints.collect();
        let split_before = kept.and_then(|pool| pool.split.as_ref());
        let split = said.split.as_ref();
        let affinity = said.balance.affinity.as_ref();
        let hedge = said.balance.hedge.filter(|_| affinity.is_none());
        let guard = kept.map(|pool| &pool.guard);
        Pool {
            service: service.clone(),
            entry: Arc::clone(entry),
            guard: Guard::new(&said.guard, &said.routes, endpoints.len(), guard),
            hedge: hedge.map(|after| after.duration()),
            retries: said.balance.retries.unwrap_or(Balance::MOST_RETRIES),
            split: split.map(|split| Split::new(split, &endpoints, split_before)),
            affinity: affinity.map(|entry| Affinity::new(entry, &endpoints, &self.affinity)),
            endpoints,
            budget: budget.unwrap_or_else(|| Arc::new(Budget::new(clock::millis()))),
            gap,
            maintenance: said.maintenance.clone(),
            asleep: said.asleep.map(|asleep| Call {
                env: said.env.clone(),
                asleep,
            }),
        }
    }

    fn instance(&self, env: &EnvId, endpoint: &Endpoint, known: &mut Known) -> Arc<Instance> {
        let key = (env.clone(), endpoint.instance.clone());
        if let Some(instance) = known.get(&key).map(Arc::clone) {
            // One that was cut ends what is under way on it, so it cannot be the same object again.
            if is_same(&instance.endpoint, endpoint) && !instance.cut.is_cancelled() {
                let budget = endpoint.long_drain.map(|budget| budget.duration());
                instance.parting.set_budget(budget);
                known.open(&instance);
                return instance;
            }
            known.close(&instance);
        }
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let instance = Arc::new(Instance::new(env.clone(), endpoint.clone(), serial));
        instance.parting.told_by(&self.teller);
        if let Some(end) = self.leaves() {
            let now = Instant::now();
            instance
                .parting
                .leave(now, end.saturating_duration_since(now));
        }
        known.insert(&instance);
        instance
    }

    /// Ends what is under way on an instance; an error when the table in force names it.
    pub(crate) fn cut(&self, env: &EnvId, instance: &InstanceId) -> Result<(), String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&(env.clone(), instance.clone())) {
            Some(found) if !found.is_closed() => Err(format!(
                "{instance} of {env} is in rotation; take it out of the table first"
            )),
            Some(found) => {
                found.cut.cancel();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends everything, because the process does.
    pub(crate) fn cut_all(&self) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().for_each(|instance| instance.cut.cancel());
    }

    /// What the gateway sees.
    pub(crate) fn observe(&self) -> GatewayObserved {
        let current = self.current();
        let table = offer::table(current.table, &current.entries, &current.down);
        GatewayObserved {
            table,
            ..self.observe_without_pools()
        }
    }

    /// The same to whoever has this table at hand; `None` when it is not the one in force.
    pub(crate) fn observe_beside(&self, known: Version) -> Option<GatewayObserved> {
        let observed = self.observe_without_pools();
        (observed.table.version() == known).then_some(observed)
    }

    fn observe_without_pools(&self) -> GatewayObserved {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget();
        let mut observed = GatewayObserved {
            pid: std::process::id(),
            table: offer::table(self.current().table, &[], &[]),
            holds: true,
            ..GatewayObserved::default()
        };
        for ((env, id), instance) in known.iter() {
            let env = observed.traffic.entry(env.clone()).or_default();
            env.insert(id.clone(), instance.traffic());
            let latency = instance.latency();
            if latency.total() > 0 {
                let env = observed.latency.entry(instance.env.clone()).or_default();
                env.insert(id.clone(), latency);
            }
        }
        observed
    }
}

fn is_same_list(one: &[Arc<Entry>], other: &[Arc<Entry>]) -> bool {
    let same = |(one, other): (&Arc<Entry>, &Arc<Entry>)| {
        Arc::ptr_eq(one, other) || one.pool == other.pool
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// A budget may change with the table; everything else is another instance.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let long_drain = one.long_drain;
    let other = Endpoint {
        long_drain,
        ..other.clone()
    };
    *one == other
}

/// A host name as it is looked up: lower case, without the root's dot.
pub(crate) fn canonical(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

/// Settings that are equal are one value: most of ten thousand routes have the same.
#[derive(Default)]
struct Shared<'a>(HashMap<(&'a RouteSettings, Locality), Arc<Settings>>);

impl<'a> Shared<'a> {
    fn settings(&mut self, route: &'a Route) -> Result<Arc<Settings>, &'static str> {
        let locality = Locality::of(&route.host);
        if let Some(settings) = self.0.get(&(&route.settings, locality)) {
            return Ok(Arc::clone(settings));
        }
        let settings = Arc::new(Settings::new(&route.settings, locality)?);
        let kept = Arc::clone(&settings);
        self.0.insert((&route.settings, locality), kept);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests;
