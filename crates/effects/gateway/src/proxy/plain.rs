//! Decision: a plain request over HTTP/2 takes a short way to its instance and back.
//!
//! What is plain is what it is over HTTP/1.1 ([`crate::lean`]), without a body. HTTP/2 itself stays with hyper and h2, but
//! what they have read is written for the instance in one pass, and an answer that has come whole goes back as one piece:
//! of everything that a request may need on the way ([`super::Exchange`]) most need nothing.
//!
//! **Whatever is not plain, or fails, goes the other way**, with what became of it so far: refusing, waiting and trying
//! again are written once.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;

use super::asking::{Answered, Asking};
use super::delivering::kind;
use super::{Begun, Broken, Entry, broken, meter};
use crate::account::Account;
use crate::balance::{Pick, pick};
use crate::client::Client;
use crate::clock;
use crate::course::Course;
use crate::failure::Failure;
use crate::head;
use crate::instance::Place;
use crate::lean::answer::push_line;
use crate::lean::ask::{Asker, Line, Seen, host_name, is_plain_target};
use crate::lean::{self, Own, Way};
use crate::reply::{Held, Kind, Reply, Stream};
use crate::sending::{Coding, Sending};
use crate::trace::Made;
use crate::upstream::{Reuse, Upstream};
use crate::worker::Worker;

/// Whose requests they are.
pub(crate) struct Asks {
    /// Who serves them.
    pub(crate) worker: Rc<Worker>,
    /// Who asks.
    pub(crate) client: Rc<Client>,
    /// The lines that say where each of them comes from.
    origin: Vec<u8>,
}

impl Asks {
    /// Those of a connection.
    pub(crate) fn new(worker: &Rc<Worker>, client: &Rc<Client>) -> Self {
        Self {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            origin: lean::origin(&client.entry),
        }
    }

    /// One of them, if it is plain.
    pub(crate) fn plain<'a>(&'a self, request: &'a Request<Incoming>) -> Option<Plain<'a>> {
        Plain::read(self, request)
    }

    /// Answers any of them, with a page when the application cannot. Put away at once: most requests do not come here, and
    /// should not pay for the room that this takes.
    pub(crate) fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        account: &'a Account,
        begun: Option<Box<Begun>>,
    ) -> Pin<Box<dyn Future<Output = Response<Reply>> + 'a>> {
        let begun = begun.map(|begun| *begun);
        let answer = super::answer(&self.worker, &self.client, request, account, begun);
        Box::pin(answer)
    }
}

/// A plain request.
pub(crate) struct Plain<'a> {
    asks: &'a Asks,
    method: &'a Method,
    authority: &'a str,
    target: &'a str,
    way: Way,
    /// Its head as it goes out.
    head: Cell<Vec<u8>>,
    id: RefCell<HeaderValue>,
    /// The trace that begins with it, or that it belongs to.
    trace: Result<Option<Made>, [u8; crate::trace::ID]>,
}

impl<'a> Plain<'a> {
    /// `None` of what is not plain.
    fn read(asks: &'a Asks, request: &'a Request<Incoming>) -> Option<Self> {
        let (uri, method, headers) = (request.uri(), request.method(), request.headers());
        let plain = request.version() == Version::HTTP_2
            && request.body().is_end_stream()
            && is_plain_method(method)
            && matches!(asks.client.entry, Entry::Front(_))
            && !asks.client.is_stuck();
        if !plain {
            return None;
        }
        head::check_target(uri).ok()?;
        let authority = uri.authority()?.as_str();
        let host = &authority[..host_name(authority.as_bytes())?];
        let target = uri.path_and_query()?.as_str();
        if !is_plain_target(target) {
            return None;
        }
        let way = Way::find(&asks.worker, &asks.client, (host, target), 0)?;
        let mut out = asks.worker.spare.head();
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_line(&mut out, b"host", authority.as_bytes());
        let seen = asks.write_lines(headers, target, &mut out)?;
        let own = head::request_id(headers);
        let made = own.is_none();
        let id = own.unwrap_or_else(|| asks.worker.new_request_id());
        let trace = match seen.trace {
            Some(trace) => Err(trace),
            None => Ok(asks.worker.new_trace(made.then_some(id.as_bytes()))),
        };
        let own = Own {
            client: &asks.client,
            origin: &asks.origin,
            authority,
            trace: trace.as_ref().ok().and_then(Option::as_ref),
            id: id.as_bytes(),
        };
        own.write(&way, &mut out);
        Some(Self {
            asks,
            method,
            authority,
            target,
            way,
            head: Cell::new(out),
            id: RefCell::new(id),
            trace,
        })
    }

    /// Carries it to the head of its answer, or as far as it comes. What waits here is written so that it takes little
    /// room: there are thousands of it.
    pub(crate) async fn run(&self, account: &Account) -> Result<Response<Reply>, Box<Begun>> {
        self.write_down(account);
        self.count(account)?;
        let pool = &self.way.pool;
        let Some(slot) = pool.guard.throttle.try_enter() else {
            return Err(self.begun(Course::default(), None));
        };
        let Some(place) = self.place() else {
            return Err(self.begun(Course::default(), None));
        };
        let upstream = self.asks.worker.upstreams.of(place.instance());
        account.tries(&upstream, &place);
        let mut sending = Sending::new(self.head.take(), Coding::None, None);
        match self.ask(&upstream, &place, &mut sending, account).await {
            Ok(answered) => {
                place.answered();
                account.answered(&place);
                slot.answered();
                drop(slot);
                let delivered = self.deliver(answered, (place, upstream), sending, account);
                delivered.map_err(|failure| self.begun(Course::default(), Some(failure)))
            }
            Err(Broken::Stuck) => Err(self.begun(Course::default(), None)),
            Err(broken) => {
                let mut course = Course::default();
                let may_repeat = |sent| self.method.is_idempotent() && pool.may_repeat(sent);
                let failed = course.failed(place.instance().serial, broken, may_repeat);
                Err(self.begun(course, failed.err()))
            }
        }
    }

    /// Counts it to its service's budget and its client's rate.
    fn count(&self, account: &Account) -> Result<(), Box<Begun>> {
        let (worker, entry) = (&self.asks.worker, &self.asks.client.entry);
        self.way.pool.budget.earn();
        // Who is counted by a header is not plain.
        let metered = meter(worker, entry, self.way.metered(), &HeaderMap::new());
        metered.map_err(|failure| {
            account.leads_to(&self.way.pool.service);
            self.begun(Course::default(), Some(failure))
        })
    }

    fn place(&self) -> Option<Place> {
        let lots = &self.asks.worker.lots;
        match pick(&self.way.pool.endpoints, &[], lots, clock::millis()) {
            Pick::Placed(place) => Some(place),
            Pick::Exhausted | Pick::Stale => None,
        }
    }

    fn begun(&self, course: Course, verdict: Option<Failure>) -> Box<Begun> {
        Box::new(Begun {
            id: self.id.borrow().clone(),
            trace: self.trace.ok().flatten(),
            course,
            verdict,
            torn: false,
        })
    }

    fn write_down(&self, account: &Account) {
        let trace = match &self.trace {
            Ok(made) => made.map(|made| made.id()),
            Err(given) => Some(*given),
        };
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        };
        account.asks(
            Version::HTTP_2,
            (
                self.id.borrow().as_bytes(),
                trace.as_ref().map_or(&[][..], |id| id),
            ),
            self.method.as_str().as_bytes(),
            self.authority.as_bytes(),
            (path.as_bytes(), query.map(str::as_bytes)),
        );
    }

    async fn ask(
        &self,
        upstream: &Rc<Upstream>,
        place: &Place,
        sending: &mut Sending,
        account: &Account,
    ) -> Result<Answered, Broken> {
        let Asks { worker, client, .. } = self.asks;
        let asking = Asking {
            worker,
            client,
            account,
            patient: false,
            bodiless: *self.method == Method::HEAD,
        };
        let reuse = match self.method.is_idempotent() && self.way.pool.retries > 0 {
            true => Reuse::Any,
            false => Reuse::Recent,
        };
        let own = self.way.settings.as_ref();
        let own = own.and_then(|settings| settings.response_timeout);
        let patience = own.unwrap_or(worker.limits.response_timeout);
        tokio::select! {
            biased;
            answered = asking.ask(upstream, place, reuse, sending) => {
                answered.map_err(|error| broken(error, place, account))
            }
            () = worker.deadlines.after(patience) => {
                place.failed();
                Err(Broken::Final(Failure::LATE))
            }
        }
    }

    fn deliver(
        &self,
        answered: Answered,
        (place, upstream): (Place, Rc<Upstream>),
        sending: Sending,
        account: &Account,
    ) -> Result<Response<Reply>, Failure> {
        let status = answered.head.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            place.failed();
            return Err(Failure::SWITCHED);
        }
        match status.is_server_error() {
            true => place.failed(),
            false => place.measured(),
        }
        let [name, release] = upstream.names.clone();
        let kind = kind(&answered.lines);
        let (mut headers, reply) = match kind == Kind::Ordinary && answered.is_whole() {
            true => {
                self.asks.client.must_take();
                let (headers, body) = answered.into_whole(&upstream);
                self.asks.worker.spare.put(&mut sending.into_room());
                (headers, Reply::Whole(Full::new(body)))
            }
            false => {
                let (parts, coming) = answered.into_response(sending, &upstream).into_parts();
                let held = Held {
                    place: Rc::new(place),
                    upload: None,
                    leave: self.asks.client.leave.clone(),
                };
                let stream = Stream::new(coming, kind, held).taken_by(&self.asks.client, kind);
                (parts.headers, Reply::Stream(Box::new(stream)))
            }
        };
        headers.insert(head::INSTANCE, name);
        headers.insert(head::RELEASE, release);
        self.asks.dress(&self.way, &mut headers);
        if matches!(kind, Kind::Events | Kind::CompressedEvents) {
            account.lasts();
        }
        let mut response = Response::new(reply);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let id = self.id.replace(HeaderValue::from_static(""));
        super::sign(response.headers_mut(), id, Version::HTTP_2);
        account.begins(status);
        Ok(response)
    }
}

impl Asks {
    /// Writes the lines of a head that go on. `None` when the head is odd.
    fn write_lines(&self, headers: &HeaderMap, target: &str, out: &mut Vec<u8>) -> Option<Seen> {
        let limits = &self.worker.limits;
        let (mut seen, mut length) = (Seen::default(), target.len());
        let mut cookie = false;
        for (name, value) in headers {
            if !head::is_sound(name, value) {
                return None;
            }
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            length += name.len() + value.len() + 4;
            match seen.line(name, value, Asker::Front)? {
                // They may come in many lines, which are one for the instance (RFC 9113 section 8.2.3).
                Line::Passed if name == COOKIE.as_str().as_bytes() => {
                    if std::mem::replace(&mut cookie, true) {
                        out.truncate(out.len() - LINE_END.len());
                        out.extend_from_slice(b"; ");
                    } else {
                        out.extend_from_slice(b"cookie: ");
                    }
                    out.extend_from_slice(value);
                    out.extend_from_slice(LINE_END);
                }
                Line::Passed => push_line(out, name, value),
                Line::Named | Line::Dropped => {}
            }
        }
        let fits = headers.len() <= limits.headers && length <= limits.header_bytes;
        (fits && seen.is_whole()).then_some(seen)
    }

    fn dress(&self, way: &Way, headers: &mut HeaderMap) {
        if let (Some(settings), Entry::Front(outside)) = (&way.settings, &self.client.entry) {
            settings.dress(headers, outside.scheme);
        }
    }
}

const LINE_END: &[u8] = b"\r\n";

fn is_plain_method(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ]
    .contains(method)
}
