//! One request, from its head to the head of its answer.
//!
//! 1. Refuse what is ambiguous.
//! 2. Write the head anew.
//! 3. Take a place on an instance of the newest table, and send. When that fails and nothing can have
//!    happened twice, take another place. When there is none, wait for one (see [`crate::gap`]).
//! 4. Write the head of the answer anew and let the body flow.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;
use ward_types::id::{EnvId, Generation, InstanceId, Name, ReleaseId};
use ward_types::table::Refusal;

use crate::account::Account;
use crate::balance::{Pick, pick, pick_of};
use crate::client::Client;
use crate::clock;
use crate::course::{Broken, Course};
use crate::failure::{Asked, Failure};
use crate::gap::Gap;
use crate::gate::{self, Visit};
use crate::head;
use crate::instance::{Instance, Place};
use crate::probe;
use crate::reply::{Held, Kind, Pace, Reply, Stream};
use crate::routes::{Pool, Routes};
use crate::settings::Settings;
use crate::site::Route;
use crate::split::Ticket;
use crate::tally::Door;
use crate::throttle::Slot;
use crate::tunnel;
use crate::upload::{Attempt, Upload};
use crate::upstream::{Lease, Reuse, SendError};
use crate::worker::{Phase, Worker};

/// Where a connection comes from, which decides what its requests may reach.
pub(crate) enum Entry {
    /// The outside: the host name decides.
    Front(head::Outside),
    /// A link of an instance: it leads to one service, whatever the host name.
    Link {
        /// Whose link.
        from: InstanceId,
        /// Where it leads.
        service: (EnvId, Name),
    },
    /// The gateway itself, to see how a release answers.
    Probe {
        /// Which service.
        service: (EnvId, Name),
        /// Which release's instances.
        release: ReleaseId,
    },
}

impl Entry {
    /// Which way in it is.
    pub(crate) fn door(&self) -> Door {
        match self {
            Entry::Front(outside) if outside.scheme == "https" => Door::Https,
            Entry::Front(_) => Door::Http,
            Entry::Link { .. } => Door::Link,
            Entry::Probe { .. } => Door::Probe,
        }
    }
}

/// A request that was begun on the lean path ([`crate::lean`]).
pub(crate) struct Begun {
    /// Its name.
    pub(crate) id: HeaderValue,
    /// Its attempts so far. It was counted to its service's budget and its client's rate.
    pub(crate) course: Course,
    /// Why there is nothing left to try.
    pub(crate) verdict: Option<Failure>,
}

/// Answers one request, with a page when the application cannot.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    client: &Client,
    request: Request<Incoming>,
    account: &Account,
    begun: Option<Begun>,
) -> Response<Reply> {
    let version = request.version();
    let id = begun.as_ref().map(|begun| begun.id.clone());
    let id = id.or_else(|| head::request_id(request.headers()));
    let id = id.unwrap_or_else(|| worker.new_request_id());
    account.asked(&request, &id);
    let asked = Asked::of(&request);
    let answer = forward(worker, client, request, (&asked, begun), &id, account).await;
    let mut response = answer.unwrap_or_else(|failure| {
        tracing::debug!(request = ?id, status = %failure.status, "{}", failure.sentence);
        account.failed(&failure);
        failure
            .answer(&asked, &id)
            .map(|page| Reply::Page(Full::new(page)))
    });
    account.begins(response.status());
    let headers = response.headers_mut();
    headers.insert(head::REQUEST_ID, id);
    if version == Version::HTTP_2 {
        headers.remove(CONNECTION);
    } else if worker.is_quitting() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // The connection's next request belongs to the successor.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
    mut request: Request<Incoming>,
    (asked, begun): (&Asked, Option<Begun>),
    id: &HeaderValue,
    account: &Account,
) -> Result<Response<Reply>, Failure> {
    if let Some(verdict) = begun.as_ref().and_then(|begun| begun.verdict) {
        return Err(verdict);
    }
    let switch = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let host = head::check(&parts)?;
    worker
        .limits
        .head(&parts)
        .inspect_err(|_| worker.shared.refusals.count(Refusal::Head))?;
    let upload = Upload::new(body, Rc::clone(account.entry()));
    let exchange = Exchange::new(worker, (client, account), host, parts, upload, id);
    let turned_away = exchange.at_the_gate(asked, id);
    let heard = match &turned_away {
        Ok(page) => page.is_some(),
        Err(failure) => {
            [Failure::TOO_LARGE, Failure::FORBIDDEN, Failure::MISDIRECTED].contains(failure)
        }
    };
    if heard {
        exchange.linger();
    }
    if let Some(page) = turned_away.inspect_err(|_| exchange.note_service())? {
        exchange.note_page(&page);
        return Ok(page.map(|page| Reply::Page(Full::new(page))));
    }
    let switch = exchange.protocol.is_some().then_some(switch);
    let (response, held) = exchange.send(begun).await.inspect_err(|failure| {
        if *failure == Failure::TOO_LARGE {
            exchange.linger();
        }
        exchange.note_service();
    })?;
    exchange.deliver(response, held, switch)
}

enum Target<'a> {
    Host(String),
    Service(&'a (EnvId, Name)),
    Release(&'a (EnvId, Name), ReleaseId),
}

/// A request that passed the checks.
struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Client,
    account: &'a Account,
    version: Version,
    target: Target<'a>,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    scheme: &'static str,
    /// Of a request of the outside: the route that it takes in the newest table that it has seen.
    route: RefCell<Option<(Generation, Arc<Route>)>>,
    /// When it came (milliseconds); 0 where nobody asks.
    came: Cell<u64>,
    ticket: OnceCell<Ticket>,
    upload: Rc<Upload>,
    grpc: bool,
    protocol: Option<HeaderValue>,
}

impl<'a> Exchange<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        (client, account): (&'a Client, &'a Account),
        host: String,
        parts: Parts,
        upload: Rc<Upload>,
        id: &HeaderValue,
    ) -> Self {
        let protocol = head::wanted_upgrade(&parts);
        let authority = authority(&parts);
        let mut headers = parts.headers;
        let trailers = headers
            .get(TE)
            .is_some_and(|te| te.as_bytes() == b"trailers");
        head::strip_hop_by_hop(&mut headers);
        headers.insert(HOST, authority.clone());
        headers.insert(head::REQUEST_ID, id.clone());
        let (target, scheme) = match &client.entry {
            Entry::Front(outside) => {
                head::set_forwarded(&mut headers, outside, &authority);
                (Target::Host(host), outside.scheme)
            }
            Entry::Link { from, service } => {
                headers.remove(head::PROBE);
                head::forget_holder(&mut headers);
                headers.insert("ward-from", from_header(from));
                (Target::Service(service), "http")
            }
            Entry::Probe { service, release } => {
                headers.insert(head::PROBE, HeaderValue::from_static("1"));
                (Target::Release(service, *release), "http")
            }
        };
        let grpc = head::is_grpc(&headers);
        if grpc && trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = &protocol {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        Self {
            worker,
            client,
            account,
            version: parts.version,
            target,
            method: parts.method,
            path: origin_form(&parts.uri),
            headers,
            scheme,
            route: RefCell::default(),
            came: Cell::new(0),
            ticket: OnceCell::new(),
            upload,
            grpc,
            protocol,
        }
    }

    /// Finds the route of a request of the outside, and its answer if it does not go on to an instance.
    fn at_the_gate(
        &self,
        asked: &Asked,
        id: &HeaderValue,
    ) -> Result<Option<Response<Bytes>>, Failure> {
        let (Entry::Front(outside), Target::Host(host)) = (&self.client.entry, &self.target) else {
            return Ok(None);
        };
        let challenges = &self.worker.shared.tls.challenges;
        if challenges.is_asked()
            && outside.scheme == "http"
            && let Some(answer) = challenges.answer(host, self.path.path())
        {
            return Ok(Some(answer));
        }
        self.find_route(&self.worker.routing.current(), host)?;
        let found = self.route.borrow();
        let Some((_, route)) = found.as_ref() else {
            return Ok(None);
        };
        if let Some(limit) = route.settings.body_limit {
            self.upload.limit(limit);
        }
        if route.settings.timeout.is_some() {
            self.came.set(clock::millis());
        }
        let visit = Visit {
            route,
            client: outside,
            target: &self.path,
            headers: &self.headers,
            ports: self.worker.shared.ports,
        };
        visit.answer(asked, id)
    }

    /// Finds the newest table's route, once for each table.
    fn find_route(&self, routes: &Routes, host: &str) -> Result<(), Failure> {
        let generation = routes.table.generation;
        let found = self.route.borrow().as_ref().map(|(seen, _)| *seen);
        if found == Some(generation) {
            return Ok(());
        }
        let route = routes.sites.find(host, &self.path, &self.headers);
        let route = route.map_err(|failure| match generation.0 {
            0 => Failure::NO_TABLE,
            _ => failure,
        })?;
        if let Entry::Front(outside) = &self.client.entry {
            gate::admit(route, outside)?;
        }
        *self.route.borrow_mut() = Some((generation, Arc::clone(route)));
        Ok(())
    }

    fn by_route(&self, routes: &Routes, host: &str) -> Result<Arc<Pool>, Failure> {
        self.find_route(routes, host)?;
        let route = self.route.borrow();
        let pool = route.as_ref().map(|(_, route)| Arc::clone(&route.pool));
        pool.ok_or(Failure::UNKNOWN_HOST)
    }

    /// A limit that its route has.
    fn limit(&self, of: fn(&Settings) -> Option<Duration>) -> Option<Duration> {
        let route = self.route.borrow();
        route.as_ref().and_then(|(_, route)| of(&route.settings))
    }

    /// A client that sends more than it may is listened to for a moment, so that it hears why not.
    fn linger(&self) {
        let waits = head::expects_continue(&self.headers);
        if self.version < Version::HTTP_2 && !waits && !self.upload.is_empty() {
            tokio::task::spawn_local(Rc::clone(&self.upload).linger());
        }
    }

    /// How much of its route's whole time is left.
    fn time_left(&self) -> Option<Duration> {
        let whole = self.limit(|settings| settings.timeout)?;
        let gone = clock::millis().saturating_sub(self.came.get());
        Some(whole.saturating_sub(Duration::from_millis(gone)))
    }

    /// For whoever asks where a request led that was answered by no instance.
    fn note_service(&self) {
        if let Ok(pool) = self.pool() {
            self.account.leads_to(&pool.service);
        }
    }

    /// The gateway's own page, which stands in for the service's answers.
    fn note_page(&self, page: &Response<Bytes>) {
        if page.status().is_server_error() {
            self.account.failed(&Failure::MAINTENANCE);
        }
        self.note_service();
    }

    /// Sends until there is a response or nothing more may be tried.
    async fn send(&self, begun: Option<Begun>) -> Result<(Response<Incoming>, Held), Failure> {
        let counted = begun.is_some() || self.is_probe();
        let mut course = begun.map(|begun| begun.course).unwrap_or_default();
        let pool = self.pool()?;
        if !counted {
            pool.budget.earn();
            self.meter(&pool)?;
        }
        let mut slot = None;
        loop {
            if slot.is_none() {
                slot = self.slot(&pool).await?;
            }
            let Some(place) = self.place(&course.tried)? else {
                if self.is_probe() {
                    return Err(Failure::UNREACHABLE);
                }
                if !course.asks_again() {
                    // Who waits for an instance keeps none busy.
                    slot = None;
                    self.wait(&mut course).await?;
                }
                continue;
            };
            let serial = place.instance().serial;
            let reuse = match course.is_sent() {
                false => self.first_reuse(),
                true => Reuse::Never,
            };
            match self.attempt(Rc::new(place), reuse).await {
                Ok(answered) => {
                    if let Some(slot) = &slot {
                        slot.answered();
                    }
                    return Ok(answered);
                }
                Err(broken) => course.failed(serial, broken, || self.may_repeat())?,
            }
        }
    }

    /// Counts it to its client's rate. Links are the stack's own.
    fn meter(&self, pool: &Pool) -> Result<(), Failure> {
        let Entry::Front(outside) = &self.client.entry else {
            return Ok(());
        };
        let metered = pool.guard.meter(outside.address, &self.headers);
        metered.inspect_err(|_| self.worker.shared.refusals.count(Refusal::Rate))
    }

    /// A place among those that the service works on; `None` of what does not count.
    async fn slot<'b>(&'b self, pool: &'b Pool) -> Result<Option<Slot<'b>>, Failure> {
        if self.grpc || self.protocol.is_some() || self.is_probe() || pool.endpoints.is_empty() {
            return Ok(None);
        }
        let upload = (!self.upload.is_empty()).then_some(&*self.upload);
        let slot = tokio::select! {
            biased;
            slot = pool.guard.throttle.enter(upload) => slot,
            () = self.hung_up() => return Err(Failure::HUNG_UP),
        };
        match slot {
            Some(slot) => Ok(Some(slot)),
            None => {
                self.worker.shared.refusals.count(Refusal::Overload);
                Err(Failure::OVERLOADED)
            }
        }
    }

    /// Waits until it is worth trying again, if that may come soon.
    async fn wait(&self, course: &mut Course) -> Result<(), Failure> {
        let gap = Arc::clone(&self.pool()?.gap);
        let mut over = pin!(gap.over());
        over.as_mut().enable();
        // Looked at from here on: whatever changes later is told.
        let pool = self.pool()?;
        let tried = std::mem::take(&mut course.tried);
        let has_others = pool.endpoints.iter().any(|e| !tried.contains(&e.serial));
        if has_others || !Arc::ptr_eq(&pool.gap, &gap) {
            return Ok(());
        }
        let nobody = match pool.endpoints.is_empty() {
            true => Failure::NO_INSTANCE,
            false => Failure::UNREACHABLE,
        };
        let nobody = course.lost().unwrap_or(nobody);
        let patience = self.patience(&gap, course).ok_or(nobody)?;
        let _waiter = gap.enter(self.worker.limits.waiting).ok_or(nobody)?;
        tokio::select! {
            biased;
            () = self.hung_up() => Err(Failure::HUNG_UP),
            () = over => Ok(()),
            () = self.worker.reached(Phase::Cutting) => Err(nobody),
            () = tokio::time::sleep(patience) => Err(nobody),
            () = self.scout(&gap) => Ok(()),
        }
    }

    /// How much longer it may wait for the end of a gap, if at all.
    fn patience(&self, gap: &Gap, course: &mut Course) -> Option<Duration> {
        let (now, hold) = (clock::millis(), self.worker.limits.hold.as_millis() as u64);
        let gap_until = gap.begin(now)? + hold;
        let own_until = *course.waits_until.get_or_insert(now + hold);
        let left = gap_until.min(own_until).saturating_sub(now);
        let whole = self.time_left().map(|whole| whole.as_millis() as u64);
        let left = whole.map_or(left, |whole| left.min(whole));
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Ends when the client has gone away. hyper tells that by itself, by dropping the request, unless a
    /// body of HTTP/1 that is not read stands between the two.
    async fn hung_up(&self) {
        match self.version < Version::HTTP_2 && !self.upload.is_empty() {
            true => self.client.hung_up().await,
            false => std::future::pending().await,
        }
    }

    /// Ends when an instance takes connections again.
    async fn scout(&self, gap: &Gap) {
        let _turn = gap.scout().await;
        loop {
            tokio::time::sleep(gap.pause(clock::millis())).await;
            let Ok(pool) = self.pool() else { return };
            if pool.endpoints.is_empty() {
                // A table that brings one ends the gap.
                return std::future::pending().await;
            }
            let all = pool.endpoints.iter().map(|instance| self.reach(instance));
            if join_all(all).await.contains(&true) {
                return;
            }
        }
    }

    async fn reach(&self, instance: &Arc<Instance>) -> bool {
        let upstream = self.worker.upstreams.of(instance);
        match self.grpc {
            true => upstream.reach_http2().await,
            false => upstream.reach_http1().await,
        }
    }

    /// Whether a request that an instance may have seen may be sent again.
    fn may_repeat(&self) -> bool {
        let harmless = !self.is_probe() && self.method.is_idempotent() && self.upload.is_whole();
        harmless
            && self
                .pool()
                .is_ok_and(|pool| pool.budget.spend(clock::millis()))
    }

    fn is_probe(&self) -> bool {
        matches!(self.target, Target::Release(..))
    }

    fn probes(&self, instance: &Instance) -> bool {
        let release = instance.endpoint.release;
        matches!(self.target, Target::Release(_, probed) if probed == release)
    }

    fn first_reuse(&self) -> Reuse {
        match self.method.is_idempotent() && self.upload.is_empty() {
            true => Reuse::Any,
            false => Reuse::Recent,
        }
    }

    fn pool(&self) -> Result<Arc<Pool>, Failure> {
        let routes = self.worker.routing.current();
        let service = match &self.target {
            Target::Host(host) => return self.by_route(&routes, host),
            Target::Service(service) | Target::Release(service, _) => service,
        };
        match routes.by_service(service) {
            Some(pool) => Ok(Arc::clone(pool)),
            None if routes.table.generation.0 == 0 => Err(Failure::NO_TABLE),
            None => Err(Failure::NO_INSTANCE),
        }
    }

    /// A place on an instance of the newest table; `None` when there is none or all have been tried.
    fn place(&self, tried: &[u64]) -> Result<Option<Place>, Failure> {
        loop {
            let pool = self.pool()?;
            let now = clock::millis();
            let picked = match &pool.split {
                _ if self.is_probe() => {
                    let own = pool.endpoints.iter().filter(|one| self.probes(one));
                    let own: Vec<_> = own.map(Arc::clone).collect();
                    pick(&own, tried, &self.worker.lots, now)
                }
                None => pick(&pool.endpoints, tried, &self.worker.lots, now),
                Some(split) => {
                    let draw = || split.ticket(&self.headers, self.scheme);
                    let sides = split.sides(self.ticket.get_or_init(draw));
                    pick_of(sides, tried, &self.worker.lots, now)
                }
            };
            match picked {
                Pick::Placed(place) => return Ok(Some(place)),
                Pick::Exhausted => return Ok(None),
                // It was closed after the newer table was put in force, so the next look finds that.
                Pick::Stale => std::thread::yield_now(),
            }
        }
    }

    async fn attempt(
        &self,
        place: Rc<Place>,
        reuse: Reuse,
    ) -> Result<(Response<Incoming>, Held), Broken> {
        let instance = Arc::clone(place.instance());
        if self.is_probe() {
            place.counts_as_probe();
        }
        let result = tokio::select! {
            biased;
            result = self.send_to(&place, reuse) => result,
            () = instance.cut.cancelled() => return Err(Broken::Perhaps(Failure::CUT)),
            failure = self.overdue() => {
                if failure == Failure::LATE {
                    place.failed();
                }
                return Err(Broken::Final(failure));
            }
        };
        match result {
            Ok((response, lease)) => {
                place.answered();
                self.account.answered(&place);
                let upload = Rc::clone(&self.upload);
                let leave = self.client.leave.clone();
                Ok((
                    response,
                    Held {
                        place,
                        lease,
                        upload,
                        leave,
                    },
                ))
            }
            Err(SendError::Connect(error)) => Err(unreachable(&place, &error)),
            Err(SendError::Unspoken) => {
                place.failed();
                Err(Broken::Final(Failure::UNSPOKEN))
            }
            Err(SendError::Lost(_)) if self.upload.is_too_large() => {
                Err(Broken::Final(Failure::TOO_LARGE))
            }
            Err(SendError::Lost(_)) if self.upload.is_broken() => {
                Err(Broken::Final(Failure::BROKEN_BODY))
            }
            Err(SendError::Lost(error)) => {
                tracing::info!(env = %instance.env, instance = %instance.endpoint.instance, %error, "no answer");
                place.failed();
                Err(Broken::Perhaps(Failure::LOST))
            }
        }
    }

    async fn send_to(
        &self,
        place: &Rc<Place>,
        reuse: Reuse,
    ) -> Result<(Response<Incoming>, Option<Lease>), SendError> {
        let upstream = self.worker.upstreams.of(place.instance());
        self.account.tries(&upstream, place);
        let mut attempt = self.upload.attempt(Rc::clone(place));
        if self.grpc {
            let response = upstream.http2(self.request(attempt)).await?;
            return Ok((response, None));
        }
        if !self.upload.is_empty() && head::expects_continue(&self.headers) {
            let asked = CancellationToken::new();
            attempt.hold_until(asked.clone());
            let mut request = self.request(attempt);
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    asked.cancel();
                }
            });
            let (response, lease) = upstream.http1(request, reuse).await?;
            return Ok((response, Some(lease)));
        }
        let (response, lease) = upstream.http1(self.request(attempt), reuse).await?;
        Ok((response, Some(lease)))
    }

    fn request(&self, body: Attempt) -> Request<Attempt> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let route = self.route.borrow();
        let (path, prefix) = match route.as_ref() {
            Some((_, route)) => route.target(&self.path),
            None => (self.path.clone(), None),
        };
        if let Some(prefix) = prefix {
            request.headers_mut().insert("x-forwarded-prefix", prefix);
        }
        *request.uri_mut() = Uri::from(path);
        if self.grpc {
            make_http2(&mut request);
        }
        request
    }

    /// Ends when nothing has moved for too long before there was a response.
    async fn overdue(&self) -> Failure {
        let own = self.limit(|settings| settings.response_timeout);
        if self.grpc && own.is_none() {
            return std::future::pending().await;
        }
        let patience = own.unwrap_or(self.worker.limits.response_timeout);
        let patience = match self.is_probe() {
            true => patience.min(probe::WITHIN),
            false => patience,
        };
        let patience = patience.as_millis() as u64;
        loop {
            let (limits, now) = (&self.worker.limits, clock::millis());
            let grace = limits.body_grace.as_millis() as u64;
            let Some(in_rate) = self.upload.keeps_up(limits.body_rate, grace, now) else {
                self.worker.shared.refusals.count(Refusal::SlowBody);
                return Failure::SLOW_CLIENT;
            };
            let waited = now.saturating_sub(self.upload.progress());
            let left = self.time_left().filter(|_| !self.grpc);
            let waited = left.map_or(waited, |left| {
                waited.max(patience.saturating_sub(left.as_millis() as u64))
            });
            match patience.checked_sub(waited).filter(|left| *left > 0) {
                Some(left) => {
                    let left = Duration::from_millis(left.min(in_rate));
                    tokio::time::sleep(left).await;
                }
                None if self.upload.is_owed() => return Failure::SLOW_CLIENT,
                None => return Failure::LATE,
            }
        }
    }

    fn deliver(
        &self,
        mut response: Response<Incoming>,
        held: Held,
        switch: Option<OnUpgrade>,
    ) -> Result<Response<Reply>, Failure> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(switch) = switch else {
                held.place.failed();
                return Err(Failure::SWITCHED);
            };
            return self.deliver_switch(response, held, switch);
        }
        let instance = held.place.instance();
        match (response.status().is_server_error(), self.upload.is_empty()) {
            (true, _) => held.place.failed(),
            (false, true) => held.place.measured(),
            // A client's pace says nothing about the instance.
            (false, false) => held.place.succeeded(),
        }
        let [name, release] = instance.names.clone();
        let headers = response.headers_mut();
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        head::strip_hop_by_hop(headers);
        headers.insert("ward-instance", name);
        headers.insert("ward-release", release);
        self.set_cookie(headers);
        let kind = kind(headers);
        let pace = self.route.borrow().as_ref().and_then(|(_, route)| {
            route.settings.dress(headers, self.scheme);
            let within = self.time_left().filter(|_| kind == Kind::Ordinary);
            Pace::new(route.settings.idle_timeout, within)
        });
        if matches!(kind, Kind::Events | Kind::CompressedEvents) {
            self.account.lasts();
        }
        if kind != Kind::Ordinary {
            self.client.may_pause();
        }
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|body| {
            let stream = Stream::new(body, kind, held).paced(pace);
            Reply::Stream(Box::new(stream))
        }))
    }

    /// Tells a client that has no bucket yet in which one it is.
    fn set_cookie(&self, headers: &mut HeaderMap) {
        let cookie = self.ticket.get().and_then(|ticket| ticket.cookie.clone());
        if let Some(cookie) = cookie {
            headers.append(SET_COOKIE, cookie);
        }
    }

    fn deliver_switch(
        &self,
        mut response: Response<Incoming>,
        held: Held,
        client: OnUpgrade,
    ) -> Result<Response<Reply>, Failure> {
        let protocol = response.headers().get(UPGRADE).cloned();
        let Some(protocol) = protocol else {
            held.place.failed();
            return Err(Failure::SWITCHED);
        };
        let upstream = hyper::upgrade::on(&mut response);
        let [name, release] = held.place.instance().names.clone();
        let mut headers = std::mem::take(response.headers_mut());
        head::strip_hop_by_hop(&mut headers);
        headers.insert("ward-instance", name);
        headers.insert("ward-release", release);
        self.set_cookie(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
        held.place.lengthen();
        self.client.may_pause();
        let speech = tunnel::Speech::of(&protocol);
        let account = self.account.clone();
        account.lasts();
        let carrying = tunnel::switched(client, upstream, speech, held.place, account);
        tokio::task::spawn_local(carrying);
        let mut switched = Response::new(Reply::Page(Full::default()));
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switched.headers_mut() = headers;
        Ok(switched)
    }
}

/// HTTP/2 names scheme and authority beside the path (RFC 9113 section 8.3.1).
fn make_http2(request: &mut Request<Attempt>) {
    *request.version_mut() = Version::HTTP_2;
    let Some(host) = request.headers_mut().remove(HOST) else {
        return;
    };
    let absolute = Uri::builder()
        .scheme("http")
        .authority(host.as_bytes())
        .path_and_query(origin_form(request.uri()))
        .build();
    if let Ok(absolute) = absolute {
        *request.uri_mut() = absolute;
    }
}

/// How an answer is drained, by its head.
fn kind(headers: &HeaderMap) -> Kind {
    let compressed = headers.contains_key(CONTENT_ENCODING);
    match head::is_event_stream(headers) {
        true if compressed => Kind::CompressedEvents,
        true => Kind::Events,
        false if head::is_grpc(headers) => Kind::Call,
        false => Kind::Ordinary,
    }
}

/// An instance takes no connection.
pub(crate) fn unreachable(place: &Place, error: &std::io::Error) -> Broken {
    let instance = place.instance();
    // Once for all who find that out at the same time.
    if instance.avoid(clock::millis()) {
        tracing::info!(env = %instance.env, instance = %instance.endpoint.instance, %error, "cannot connect");
    }
    if !is_of_the_machine(error) {
        place.failed();
    }
    Broken::Unreachable
}

/// Whether a connection failed because the gateway's machine has run out of something.
fn is_of_the_machine(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|error| lacks.contains(&error))
}

/// The authority as the client wrote it, port and all; the checks have made sure that there is one.
fn authority(parts: &Parts) -> HeaderValue {
    let target = parts.uri.authority();
    let target = target.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    let header = || parts.headers.get(HOST).cloned();
    target
        .or_else(header)
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

fn origin_form(uri: &Uri) -> PathAndQuery {
    let path = uri.path_and_query().cloned();
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn from_header(from: &InstanceId) -> HeaderValue {
    HeaderValue::try_from(from.as_str()).expect("ids are letters, digits and hyphens")
}
