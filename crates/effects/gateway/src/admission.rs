//! Decision: who gets a place for a connection, and whose TLS handshake goes on.
//!
//! - **All clients together** have so many places. Above that the gateway stops accepting, and connections
//!   wait in the kernel's queue: that costs the gateway nothing, and a crowd that has come for good reason is
//!   served late instead of being refused.
//! - **One address** (IPv4; of IPv6 the /64 that one subscriber has) may have a share of them. One more is
//!   closed at once, before TLS, so that a single client cannot take all. The share is large, because whole
//!   offices and mobile networks stand behind one address. Who is on this machine (`127.0.0.0/8`, `::1`) may
//!   have all places: load generators and an operator's own proxy come from there, and whoever can run
//!   programs here has other means.
//! - **Handshakes** that are under way cost memory before anybody has said who they are. There are so many
//!   for all and fewer for one address; who comes later waits a moment. A handshake that is slow is not
//!   cut for that alone, unless others wait: then it has a second, which is several round trips around the
//!   world, so that half-open connections do not keep the others out.
//! - **Links, egress and probes** have places of their own, and the control sockets need none: how many
//!   clients there are neither stops a service from reaching another one nor an operator from acting.
//! - **Descriptors** bound all of it: clients get no more places than half of what the process may open
//!   allows, the rest is for connections to instances and for Ward itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use ward_types::table::Refusal;

use crate::crew::Place;
use crate::limits::Limits;
use crate::refusals::Refusals;

/// How long a handshake may take while others wait for its turn.
const WHILE_OTHERS_WAIT: Duration = Duration::from_secs(1);
/// Descriptors that are never a client's: sockets of Ward's own, files, runtimes.
const RESERVED: u64 = 512;

/// The places for connections.
pub(crate) struct Admission {
    front: Arc<Semaphore>,
    clients: usize,
    inner: Arc<Semaphore>,
    inside: usize,
    handshakes: Semaphore,
    per_address: usize,
    per_loopback: usize,
    handshakes_per_address: usize,
    /// Of the addresses that have a connection.
    origins: Mutex<HashMap<Origin, Entry>>,
    /// How many client connections there were so far.
    served: AtomicU64,
}

/// Whom a connection comes from, as far as limits know: an IPv4 address, or the upper half of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(u128);

impl Origin {
    /// Of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) if address.is_loopback() => Self(address.to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

struct Entry {
    open: usize,
    handshakes: Arc<Semaphore>,
}

/// One connection's place, until it is dropped.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    shared: Option<(Arc<Admission>, Origin, Arc<Semaphore>)>,
    _place: Option<Place>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((admission, origin, _)) = &self.shared {
            admission.leave(*origin);
        }
    }
}

impl Admission {
    /// With as many places as there are limits and `descriptors` for.
    pub(crate) fn new(limits: &Limits, descriptors: Option<u64>) -> Arc<Self> {
        let clients = limits.connections.min(affordable(descriptors));
        if clients < limits.connections {
            tracing::warn!(
                clients,
                wanted = limits.connections,
                "the limit on open files allows fewer connections; raise it (ulimit -Hn) for more"
            );
        }
        Arc::new(Self {
            front: Arc::new(Semaphore::new(clients)),
            clients,
            inner: Arc::new(Semaphore::new(limits.inner_connections)),
            inside: limits.inner_connections,
            handshakes: Semaphore::new(limits.handshakes),
            per_address: limits.address_connections.min(clients),
            per_loopback: limits.loopback_connections.min(clients),
            handshakes_per_address: limits.address_handshakes,
            origins: Mutex::default(),
            served: AtomicU64::new(0),
        })
    }

    /// A place for whoever comes next; waits until there is one.
    pub(crate) async fn next(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.front).acquire_owned().await
    }

    /// Gives the place to `address`, unless that has too many.
    pub(crate) fn seat(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        address: IpAddr,
        tally: &Refusals,
    ) -> Option<Seat> {
        let most = match address.to_canonical().is_loopback() {
            true => self.per_loopback,
            false => self.per_address,
        };
        let origin = Origin::of(address);
        let mut origins = self.origins();
        let entry = origins.entry(origin).or_insert_with(|| Entry {
            open: 0,
            handshakes: Arc::new(Semaphore::new(self.handshakes_per_address)),
        });
        if entry.open >= most {
            tally.count(Refusal::Address);
            return None;
        }
        entry.open += 1;
        let handshakes = Arc::clone(&entry.handshakes);
        Some(Seat {
            _permit: permit,
            shared: Some((Arc::clone(self), origin, handshakes)),
            _place: None,
        })
    }

    /// A place of those that clients do not have; waits for one.
    pub(crate) async fn inner(&self) -> Option<Seat> {
        let permit = Arc::clone(&self.inner).acquire_owned().await;
        permit.ok().map(Seat::unshared)
    }

    /// The same, now or not at all.
    pub(crate) fn inner_now(&self) -> Option<Seat> {
        let permit = Arc::clone(&self.inner).try_acquire_owned();
        permit.ok().map(Seat::unshared)
    }

    /// The number of one more connection that is served.
    pub(crate) fn number(&self) -> u64 {
        self.served.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections that are open, and those that the accept loops have a place for.
    pub(crate) fn open(&self) -> usize {
        let free = self.front.available_permits() + self.inner.available_permits();
        (self.clients + self.inside).saturating_sub(free)
    }

    /// Ends when no connection is left.
    pub(crate) async fn all_gone(&self) {
        let all = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let front = self.front.acquire_many(all(self.clients));
        let inner = self.inner.acquire_many(all(self.inside));
        let _ = tokio::join!(front, inner);
    }

    /// Goes through a handshake when its turn has come; `None` when it takes too long.
    pub(crate) async fn handshake<T>(
        &self,
        seat: &Seat,
        within: Duration,
        tally: &Refusals,
        shake: impl Future<Output = T>,
    ) -> Option<T> {
        let end = Instant::now() + within;
        let done = tokio::time::timeout_at(end, self.take_turn(seat, shake)).await;
        let done = done.ok().flatten();
        if done.is_none() {
            tally.count(Refusal::Handshake);
        }
        done
    }

    async fn take_turn<T>(&self, seat: &Seat, shake: impl Future<Output = T>) -> Option<T> {
        // An address waits for its own first: a crowd of one must not stand in the way of all.
        let (_, _, own) = seat.shared.as_ref()?;
        let _own = own.acquire().await.ok()?;
        let _turn = self.handshakes.acquire().await.ok()?;
        let mut shake = std::pin::pin!(shake);
        loop {
            tokio::select! {
                biased;
                done = shake.as_mut() => return Some(done),
                () = tokio::time::sleep(WHILE_OTHERS_WAIT) => {
                    if self.handshakes.available_permits() == 0 || own.available_permits() == 0 {
                        return None;
                    }
                }
            }
        }
    }

    fn leave(&self, origin: Origin) {
        let mut origins = self.origins();
        let Some(entry) = origins.get_mut(&origin) else {
            return;
        };
        entry.open -= 1;
        if entry.open == 0 {
            origins.remove(&origin);
        }
        // After a crowd.
        if origins.is_empty() && origins.capacity() > 1024 {
            origins.shrink_to_fit();
        }
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Origin, Entry>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The same, of a connection that a worker has.
    pub(crate) fn with(mut self, place: Place) -> Self {
        self._place = Some(place);
        self
    }

    fn unshared(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: permit,
            shared: None,
            _place: None,
        }
    }
}

/// How many clients the descriptors are enough for: one each, and one for each at an instance.
fn affordable(descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else {
        return usize::MAX;
    };
    let clients = descriptors.saturating_sub(RESERVED) / 2;
    usize::try_from(clients).unwrap_or(usize::MAX).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: Limits) -> (Arc<Admission>, Refusals) {
        (Admission::new(&limits, None), Refusals::default())
    }

    fn small() -> Limits {
        Limits {
            connections: 8,
            address_connections: 2,
            loopback_connections: 4,
            handshakes: 3,
            address_handshakes: 2,
            inner_connections: 2,
            ..Limits::default()
        }
    }

    async fn sit(admission: &Arc<Admission>, tally: &Refusals, address: &str) -> Option<Seat> {
        let permit = admission.next().await.unwrap();
        admission.seat(permit, address.parse().unwrap(), tally)
    }

    #[tokio::test]
    async fn an_address_has_a_share_and_gets_back_what_it_leaves() {
        let (admission, tally) = admission(small());
        let first = sit(&admission, &tally, "192.0.2.1").await.unwrap();
        let _second = sit(&admission, &tally, "::ffff:192.0.2.1").await.unwrap();
        assert!(sit(&admission, &tally, "192.0.2.1").await.is_none());
        let _other = sit(&admission, &tally, "192.0.2.2").await.unwrap();
        assert_eq!(tally.all()[&Refusal::Address], 1);
        assert_eq!(admission.open(), 3, "a refused one has its place back");
        drop(first);
        let _third = sit(&admission, &tally, "192.0.2.1").await.unwrap();
    }

    #[tokio::test]
    async fn a_subscriber_of_ipv6_is_one_and_this_machine_has_more() {
        let (admission, tally) = admission(small());
        let _one = sit(&admission, &tally, "2001:db8::1").await.unwrap();
        let _two = sit(&admission, &tally, "2001:db8::2:1").await.unwrap();
        assert!(sit(&admission, &tally, "2001:db8::3").await.is_none());
        let _neighbour = sit(&admission, &tally, "2001:db8:0:1::1").await.unwrap();
        let mut own = Vec::new();
        for _ in 0..4 {
            own.push(sit(&admission, &tally, "127.0.0.1").await.unwrap());
        }
        assert!(sit(&admission, &tally, "127.0.0.1").await.is_none());
        assert_ne!(
            Origin::of("::1".parse().unwrap()),
            Origin::of("::2".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_is_gone_and_the_inside_has_places_of_its_own() {
        let (admission, tally) = admission(small());
        let mut seats = Vec::new();
        for host in 0..8 {
            let address = format!("198.51.100.{host}");
            seats.push(sit(&admission, &tally, &address).await.unwrap());
        }
        let inner = [admission.inner_now(), admission.inner_now()];
        assert!(inner.iter().all(Option::is_some) && admission.inner_now().is_none());
        drop(seats);
        assert!(admission.origins().is_empty());
        let gone = tokio::time::timeout(Duration::from_millis(20), admission.all_gone()).await;
        assert!(gone.is_err(), "two are left");
        drop(inner);
        admission.all_gone().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_handshake_has_its_time_unless_others_wait() {
        let (admission, tally) = admission(small());
        let seat = sit(&admission, &tally, "192.0.2.1").await.unwrap();
        let within = Duration::from_secs(10);
        let slow = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let alone = admission.handshake(&seat, within, &tally, slow(8)).await;
        assert!(alone.is_some());
        // Two that never end fill the address's share: each is cut, and whoever waits has its turn.
        let never = || admission.handshake(&seat, within, &tally, std::future::pending::<()>());
        let began = Instant::now();
        let waits = admission.handshake(&seat, within, &tally, async { began.elapsed() });
        let (one, two, waited) = tokio::join!(never(), never(), waits);
        assert!(one.is_none() && two.is_none());
        assert!(waited.unwrap() < Duration::from_secs(3));
        let late = admission.handshake(&seat, within, &tally, slow(11)).await;
        assert!(late.is_none());
        assert_eq!(tally.all()[&Refusal::Handshake], 3);
    }

    #[test]
    fn half_of_the_descriptors_are_for_clients() {
        assert_eq!(affordable(Some(20_512)), 10_000);
        assert_eq!(affordable(Some(100)), 16);
        assert_eq!(affordable(None), usize::MAX);
        assert_eq!(Admission::new(&Limits::default(), Some(4608)).clients, 2048);
    }
}
