//! Requests of the gateway's own, where the table asks for them: a release on trial that no client asks
//! anything is judged by these.
//!
//! Each is a real request on a connection of its own, which is served as a client's is, so that it meets
//! everything that a client's would and is counted in the same place. What a probe does not do is wait or try
//! again: then one that fails would be none. Releases take turns, so that over any time both have the same
//! number, and a turn is left out for both when one of them has too many that are not answered.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use ward_types::id::{EnvId, Name, ReleaseId};
use ward_types::spec::Probe;

use crate::client::Shared;
use crate::connection;
use crate::proxy::Entry;
use crate::worker::{Phase, Worker};

/// How long an answer may take to its head; as long again to its end.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// How many probes of one release may be under way at once.
const AT_ONCE: u32 = 32;
/// As much of an answer is read.
const LONGEST: usize = 1 << 20;

type Service = (EnvId, Name);

/// Probes what the tables ask for, until the process quits: from then on it is its successor's to do.
pub(crate) async fn all(worker: Rc<Worker>) {
    let mut changes = worker.routing.changes();
    let mut running: HashMap<Service, (Probe, AbortHandle)> = HashMap::new();
    loop {
        let asked = asked(&worker);
        running.retain(|service, (probe, task)| {
            let goes_on = asked.get(service) == Some(probe);
            if !goes_on {
                task.abort();
            }
            goes_on
        });
        for (service, probe) in asked {
            running.entry(service.clone()).or_insert_with(|| {
                let one = one(Rc::clone(&worker), service, probe.clone());
                (probe, tokio::task::spawn_local(one).abort_handle())
            });
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = worker.reached(Phase::Quitting) => break,
        }
    }
    running.into_values().for_each(|(_, task)| task.abort());
}

fn asked(worker: &Worker) -> HashMap<Service, Probe> {
    let routes = worker.routing.current();
    let asked = routes.services().filter_map(|(service, pool)| {
        let probe = pool.entry.pool.probe.clone()?;
        Some((service.clone(), probe))
    });
    asked.collect()
}

/// Probes one service.
async fn one(worker: Rc<Worker>, service: Service, probe: Probe) {
    let mut ticks = tokio::time::interval(probe.every.duration().max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way: HashMap<ReleaseId, Rc<Cell<u32>>> = HashMap::new();
    let mut turn = 0;
    loop {
        ticks.tick().await;
        let releases = releases(&worker, &service);
        let counts = releases.iter().filter_map(|release| under_way.get(release));
        if releases.is_empty() || counts.into_iter().any(|count| count.get() >= AT_ONCE) {
            continue;
        }
        turn = (turn + 1) % releases.len();
        let release = releases[turn];
        let busy = Busy::new(under_way.entry(release).or_default());
        let (worker, service, path) = (Rc::clone(&worker), service.clone(), probe.path.clone());
        tokio::task::spawn_local(async move {
            let _busy = busy;
            let asked = tokio::time::timeout(WITHIN * 2, ask(worker, service, release, &path));
            match asked.await {
                Ok(Some(status)) => tracing::debug!(%release, %status, "probed"),
                Ok(None) | Err(_) => tracing::debug!(%release, "a probe was not answered"),
            }
        });
    }
}

/// Those in rotation, in order.
fn releases(worker: &Worker, service: &Service) -> Vec<ReleaseId> {
    let routes = worker.routing.current();
    let pool = routes.by_service(service);
    let endpoints = pool.into_iter().flat_map(|pool| &pool.endpoints);
    let mut releases: Vec<_> = endpoints.map(|one| one.endpoint.release).collect();
    releases.sort_unstable();
    releases.dedup();
    releases
}

/// Makes one request and reads its answer.
async fn ask(
    worker: Rc<Worker>,
    service: Service,
    release: ReleaseId,
    path: &str,
) -> Option<StatusCode> {
    let (near, far) = UnixStream::pair().ok()?;
    let seat = worker.shared.admission.inner_now();
    let host = host(&worker, &service);
    let entry = Entry::Probe { service, release };
    tokio::task::spawn_local(connection::serve(worker, Shared::new(far), entry, seat?));
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.ok()?;
    tokio::task::spawn_local(connection);
    let request = Request::get(path).header(HOST, host);
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let _ = Limited::new(response.into_body(), LONGEST).collect().await;
    Some(status)
}

/// A host name that leads to the service; its own name where only links do.
fn host(worker: &Worker, service: &Service) -> String {
    let routes = worker.routing.current();
    let pool = routes.by_service(service);
    let mut hosts = pool.into_iter().flat_map(|pool| &pool.entry.pool.routes);
    let named = hosts.find(|route| !route.host.starts_with('*'));
    named.map_or_else(|| service.1.to_string(), |route| route.host.clone())
}

/// A probe under way.
struct Busy(Rc<Cell<u32>>);

impl Busy {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
