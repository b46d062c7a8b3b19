//! One request, from its head to the head of its answer.
//!
//! 1. Refuse what is ambiguous.
//! 2. Write the head anew.
//! 3. Take a place on an instance of the newest table, and send, to a second one too where that is asked for
//!    ([`racing`]), and only while there is time ([`deadline`]). When that fails and nothing can have
//!    happened twice, take another place. When there is none, wait for one (see [`crate::gap`]).
//! 4. Write the head of the answer anew and let the body flow.

mod asking;
mod deadline;
mod delivering;
mod finding;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod plain;
mod racing;
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use ward_types::id::{EnvId, Generation, InstanceId, Name, ReleaseId};
use ward_types::route::Forwarded;
use ward_types::table::Refusal;

use self::racing::Answered;
use crate::account::Account;
use crate::balance::{Pick, pick, pick_kept, side_of};
use crate::client::Client;
use crate::clock;
use crate::coming::Coming;
use crate::course::{Broken, Course};
use crate::extended::{self, Knock};
use crate::failure::{Asked, Failure};
use crate::forwarded;
use crate::head;
use crate::instance::{Instance, Place};
use crate::rate::Meter;
use crate::reply::{Held, Reply};
use crate::routes::Pool;
use crate::sharing;
use crate::site::Route;
use crate::split::Ticket;
use crate::tally::Door;
use crate::trace::{self, Made};
use crate::upload::{Attempt, Upload};
use crate::upstream::{Reuse, SendError};
use crate::worker::Worker;

/// Where a connection comes from, which decides what its requests may reach.
pub(crate) enum Entry {
    /// The outside: the host name decides.
    Front(head::Outside),
    /// A link of an instance: it leads to one service, whatever the host name.
    Link {
        /// Whose link.
        from: InstanceId,
        /// Its environment, where that is another one: it is let in only where the service is exported to it.
        guest: Option<EnvId>,
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

/// A request that was begun on a short way, of HTTP/1.1 ([`crate::lean`]) or of HTTP/2 ([`plain`]).
pub(crate) struct Begun {
    /// Its name.
    pub(crate) id: HeaderValue,
    /// The trace that was made for it, if it has none of its own.
    pub(crate) trace: Option<Made>,
    /// Its attempts so far. It was counted to its service's budget and its client's rate.
    pub(crate) course: Course,
    /// Why there is nothing left to try.
    pub(crate) verdict: Option<Failure>,
    /// Whether a part of its body has been passed on that is not to be had again. What follows on its connection cannot be
    /// told from the rest of the body: it is the last one there.
    pub(crate) torn: bool,
}

/// Answers one request, with a page when the application cannot.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    client: &Client,
    mut request: Request<Incoming>,
    account: &Account,
    begun: Option<Begun>,
) -> Response<Reply> {
    let version = request.version();
    let own = begun.as_ref().map(|begun| begun.id.clone());
    let own = own.or_else(|| head::request_id(request.headers()));
    let (id, made_id) = match own {
        Some(id) => (id, None),
        None => {
            let id = worker.new_request_id();
            (id.clone(), Some(id))
        }
    };
    let trace = trace::settle(request.headers_mut(), || match &begun {
        Some(begun) => begun.trace,
        None if client.is_probe() => None,
        None => worker.new_trace(made_id.as_ref().map(HeaderValue::as_bytes)),
    });
    let trace = trace.as_ref().map_or(&[][..], |id| id);
    account.asked(&request, &id, trace);
    let asked = Asked::of(&request);
    let answer = forward(worker, client, request, (&asked, begun), &id, account).await;
    let mut response = answer.unwrap_or_else(|failure| {
        tracing::debug!(request = ?id, status = %failure.status, "{}", failure.sentence);
        account.failed(&failure);
        let page = match sharing::words(&client.entry, &failure) {
            Some(words) => failure.answer_saying(&words, &asked, &id),
            None => failure.answer(&asked, &id),
        };
        page.map(|page| Reply::Page(Full::new(page)))
    });
    account.begins(response.status());
    let headers = response.headers_mut();
    sign(headers, id, version);
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

/// Tells the client how its request is called.
fn sign(headers: &mut HeaderMap, mut id: HeaderValue, version: Version) {
    // Each is another one: HPACK would put them all in its table, and others out of it (RFC 7541 section 6.2.3).
    id.set_sensitive(version == Version::HTTP_2);
    headers.insert(head::REQUEST_ID, id);
}

async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
    mut request: Request<Incoming>,
    (asked, begun): (&Asked, Option<Begun>),
    id: &HeaderValue,
    account: &Account,
) -> Result<Response<Reply>, Failure> {
    if let Some(begun) = &begun
        && let Some(verdict) = begun.verdict
    {
        if begun.torn {
            let rest = Upload::new(
                request.into_body(),
                Rc::clone(account.entry()),
                &worker.awaited,
            );
            tokio::task::spawn_local(rest.linger());
        }
        return Err(verdict);
    }
    if worker.shared.memory.is_tight() && matches!(client.entry, Entry::Front(_)) {
        worker.shared.refusals.count(Refusal::Memory);
        return Err(Failure::MEMORY);
    }
    let switch = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let host = head::check(&parts)?;
    worker
        .limits
        .head(&parts)
        .inspect_err(|_| worker.shared.refusals.count(Refusal::Head))?;
    let upload = Upload::new(body, Rc::clone(account.entry()), &worker.awaited);
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

/// Counts a request to its client's rates: its route's, where that has one, and its service's. Links are the stack's own.
pub(crate) fn meter(
    worker: &Worker,
    entry: &Entry,
    (pool, route): (&Pool, Option<&Meter>),
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let Entry::Front(outside) = entry else {
        return Ok(());
    };
    let metered = pool.guard.meter(route, outside.address, headers);
    metered.inspect_err(|_| worker.shared.refusals.count(Refusal::Rate))
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
    /// Until when its caller waits for it (milliseconds), if it says so.
    caller_until: Option<u64>,
    ticket: OnceCell<Ticket>,
    /// `Set-Cookie` for a client that comes back to another instance from now on.
    comes_back: RefCell<Option<HeaderValue>>,
    upload: Rc<Upload>,
    /// Whether it has waited for its client to take something, and goes on now.
    patient: Cell<bool>,
    grpc: bool,
    protocol: Option<HeaderValue>,
    /// Of a websocket over HTTP/2.
    knock: Option<Knock>,
}

/// When a request came (milliseconds).
fn came(account: &Account) -> u64 {
    clock::millis_at(account.entry().began.get())
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
        let knock = extended::is_asked(&parts).then(|| Knock::new(&worker.lots));
        let protocol = match &knock {
            Some(_) => Some(Knock::protocol()),
            None => head::wanted_upgrade(&parts),
        };
        let authority = authority(&parts);
        let mut headers = parts.headers;
        let trailers = headers
            .get(TE)
            .is_some_and(|te| te.as_bytes() == b"trailers");
        head::strip_hop_by_hop(&mut headers);
        if parts.version == Version::HTTP_2 {
            head::join_cookies(&mut headers);
        }
        headers.insert(HOST, authority.clone());
        headers.insert(head::REQUEST_ID, id.clone());
        let (target, scheme) = match &client.entry {
            Entry::Front(outside) => {
                head::set_forwarded(&mut headers, outside, &authority);
                (Target::Host(host), outside.scheme)
            }
            Entry::Link {
                from,
                guest,
                service,
            } => {
                head::forget_own(&mut headers);
                headers.insert("ward-from", from_header(from.as_str()));
                if let Some(guest) = guest {
                    headers.insert(head::GUEST, from_header(guest.as_str()));
                }
                (Target::Service(service), "http")
            }
            Entry::Probe { service, release } => {
                headers.insert(head::PROBE, HeaderValue::from_static("1"));
                (Target::Release(service, *release), "http")
            }
        };
        let caller = match &client.entry {
            Entry::Front(_) | Entry::Link { .. } => deadline::of_caller(&mut headers),
            Entry::Probe { .. } => None,
        };
        let caller = caller.filter(|_| protocol.is_none());
        let grpc = head::is_grpc(&headers);
        if grpc && trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = &protocol {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        if let Some(knock) = &knock {
            knock.say(&mut headers);
        }
        Self {
            worker,
            client,
            account,
            version: parts.version,
            target,
            method: match knock {
                Some(_) => Method::GET,
                None => parts.method,
            },
            path: origin_form(&parts.uri),
            headers,
            scheme,
            route: RefCell::default(),
            caller_until: caller.map(|limit| came(account) + limit.as_millis() as u64),
            ticket: OnceCell::new(),
            comes_back: RefCell::default(),
            upload,
            patient: Cell::new(false),
            grpc,
            protocol,
            knock,
        }
    }

    /// Sends until there is a response or nothing more may be tried.
    async fn send(&self, begun: Option<Begun>) -> Result<Answered, Failure> {
        let counted = begun.is_some() || self.is_probe();
        let mut course = begun.map(|begun| begun.course).unwrap_or_default();
        let pool = self.pool()?;
        if !counted {
            pool.budget.earn();
            let route = self
                .route
                .borrow()
                .as_ref()
                .and_then(|(_, route)| route.meter.clone());
            let metered = (&*pool, route.as_deref());
            meter(self.worker, &self.client.entry, metered, &self.headers)?;
        }
        let mut slot = None;
        loop {
            self.in_time()?;
            if !self.patient.get() && self.client.is_stuck() {
                // Who waits for its client keeps no instance busy.
                slot = None;
                Box::pin(self.unstuck()).await?;
            }
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
                    Box::pin(self.wait(&mut course)).await?;
                }
                continue;
            };
            match self.ask(&pool, Rc::new(place), &mut course).await {
                Ok(answered) => {
                    if let Some(slot) = &slot {
                        slot.answered();
                    }
                    return Ok(answered);
                }
                Err((_, Broken::Stuck)) => {}
                Err((serial, broken)) => {
                    course.failed(serial, broken, |sent| self.may_repeat(sent))?
                }
            }
        }
    }

    /// Whether a request that an instance may have seen so many times may be sent again.
    fn may_repeat(&self, sent: u32) -> bool {
        let harmless = !self.is_probe() && self.method.is_idempotent() && self.upload.is_whole();
        harmless && self.pool().is_ok_and(|pool| pool.may_repeat(sent))
    }

    fn is_probe(&self) -> bool {
        matches!(self.target, Target::Release(..))
    }

    fn probes(&self, instance: &Instance) -> bool {
        let release = instance.endpoint.release;
        matches!(self.target, Target::Release(_, probed) if probed == release)
    }

    fn first_reuse(&self, pool: &Pool) -> Reuse {
        let harmless = self.method.is_idempotent() && self.upload.is_empty();
        match harmless && pool.retries > 0 {
            true => Reuse::Any,
            false => Reuse::Recent,
        }
    }

    /// A place on an instance of the newest table; `None` when there is none or all have been tried.
    fn place(&self, tried: &[u64]) -> Result<Option<Place>, Failure> {
        loop {
            match self.pick(&*self.pool()?, tried) {
                Pick::Placed(place) => return Ok(Some(place)),
                Pick::Exhausted => return Ok(None),
                // It was closed after the newer table was put in force, so the next look finds that.
                Pick::Stale => std::thread::yield_now(),
            }
        }
    }

    /// First the side of a split, then, on that side, the instance that the client comes back to.
    fn pick(&self, pool: &Pool, tried: &[u64]) -> Pick {
        let (lots, now) = (&self.worker.lots, clock::millis());
        let side = match &pool.split {
            _ if self.is_probe() => {
                let own = pool.endpoints.iter().filter(|one| self.probes(one));
                let own: Vec<_> = own.map(Arc::clone).collect();
                return pick(&own, tried, lots, now);
            }
            None => &pool.endpoints[..],
            Some(split) => {
                let draw = || split.ticket(&self.headers, self.scheme);
                side_of(split.sides(self.ticket.get_or_init(draw)), tried, now)
            }
        };
        let Some(affinity) = &pool.affinity else {
            return pick(side, tried, lots, now);
        };
        let kept = affinity.kept(&self.headers);
        let picked = pick_kept(side, kept, tried, lots, now);
        if let Pick::Placed(place) = &picked {
            let cookie = affinity.cookie(place.instance(), kept, self.scheme);
            self.comes_back.replace(cookie);
        }
        picked
    }

    async fn attempt(
        &self,
        place: Rc<Place>,
        reuse: Reuse,
        body: Attempt,
    ) -> Result<Answered, Broken> {
        if self.is_probe() {
            place.counts_as_probe();
        }
        let result = tokio::select! {
            biased;
            result = self.send_to(&place, reuse, body) => result,
            failure = self.overdue() => {
                match failure {
                    Failure::LATE => place.failed(),
                    Failure::GIVEN_UP => place.outrun(),
                    _ => {}
                }
                return Err(Broken::Final(failure));
            }
        };
        match result {
            Ok(response) => {
                place.answered();
                self.account.answered(&place);
                let upload = Some(Rc::clone(&self.upload));
                let leave = self.client.leave.clone();
                Ok((
                    response,
                    Held {
                        place,
                        upload,
                        leave,
                    },
                ))
            }
            Err(SendError::Lost(_)) if self.upload.is_too_large() => {
                Err(Broken::Final(Failure::TOO_LARGE))
            }
            Err(SendError::Lost(_)) if self.upload.is_broken() => {
                Err(Broken::Final(Failure::BROKEN_BODY))
            }
            Err(error) => Err(broken(error, &place, self.account)),
        }
    }

    async fn send_to(
        &self,
        place: &Place,
        reuse: Reuse,
        body: Attempt,
    ) -> Result<Response<Coming>, SendError> {
        let upstream = self.worker.upstreams.of(place.instance());
        self.account.tries(&upstream, place);
        if !self.grpc {
            return self.ask_on_wire(&upstream, place, reuse, body).await;
        }
        let call = async {
            tokio::select! {
                biased;
                answered = upstream.http2(self.call(body)) => answered.map(|call| call.map(Coming::Call)),
                () = upstream.is_cut() => Err(SendError::Cut),
            }
        };
        Box::pin(call).await
    }

    /// The request as HTTP/2 has it.
    fn call(&self, body: Attempt) -> Request<Attempt> {
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
        if let Some(value) = self.forwarded_to_say() {
            request.headers_mut().insert(forwarded::NAME, value);
        }
        if let Some((name, left)) = self.time_to_tell() {
            request.headers_mut().insert(name, left);
        }
        *request.uri_mut() = Uri::from(path);
        make_http2(&mut request);
        request
    }
}

impl Exchange<'_> {
    /// `Forwarded`, where the route asks for it.
    fn forwarded_to_say(&self) -> Option<HeaderValue> {
        let route = self.route.borrow();
        let (_, route) = route.as_ref()?;
        let asked = route.settings.forwarded == Forwarded::Said;
        let (true, Entry::Front(outside), Some(host)) =
            (asked, &self.client.entry, self.headers.get(HOST))
        else {
            return None;
        };
        let mut value = Vec::new();
        forwarded::write(&mut value, outside, host.as_bytes());
        HeaderValue::try_from(value).ok()
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

/// What it means that there is no answer, where that is not the client's doing.
fn broken(error: SendError, place: &Place, account: &Account) -> Broken {
    match error {
        SendError::Cut => Broken::Perhaps(Failure::CUT),
        SendError::Connect(error) => unreachable(place, &error),
        SendError::Stuck => {
            account.tries_not();
            Broken::Stuck
        }
        // Whoever asks has chosen the protocol: it says nothing about the instance.
        SendError::Unspoken => Broken::Final(Failure::UNSPOKEN),
        SendError::Lost(error) => {
            let instance = place.instance();
            tracing::info!(env = %instance.env, instance = %instance.endpoint.instance, %error, "no answer");
            place.failed();
            Broken::Perhaps(Failure::LOST)
        }
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

fn from_header(id: &str) -> HeaderValue {
    HeaderValue::try_from(id).expect("ids are letters, digits, hyphens and slashes")
}
