//! What is kept of one request, from its head to the end of its answer, and of an upgraded connection to its
//! end. When it is closed it is counted, and a line of the access log says what became of it.
//!
//! An account travels with the request and is closed by whoever holds it last: with the answer's body, with the
//! tunnel of an upgraded connection, or, where the client went away before, with the request itself. Its entry
//! is used again for the next request, and the time is asked for only at both ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::{HeaderValue, Request, StatusCode, Version};
use ward_types::id::{EnvId, Name};

use crate::access::Query;
use crate::client::Client;
use crate::failure::{Failure, Fault};
use crate::instance::Place;
use crate::journal::{self, Journal};
use crate::reply;
use crate::tally::{Maker, Series};
use crate::upstream::Upstream;

/// As much of a path, and of a query, is logged, in bytes.
const LONGEST_PATH: usize = 8192;
/// The length of the longest DNS name and a port.
const LONGEST_HOST: usize = 260;
const LONGEST_METHOD: usize = 32;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no answer.
    Asked,
    /// The answer has begun.
    Begun,
    /// All of it was handed over to be sent.
    Complete,
}

/// How a second instance did that was asked beside a first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hedge {
    /// Its answer is the one that the client got.
    Won,
    /// The first one's is.
    Lost,
}

/// What is noted of a request. Every field is written where the thing itself happens.
pub(crate) struct Entry {
    /// The request's own words, as fields of a line, each with a comma behind it.
    pub(crate) words: RefCell<Vec<u8>>,
    pub(crate) client: RefCell<Option<Rc<Client>>>,
    pub(crate) version: Cell<Option<Version>>,
    pub(crate) began: Cell<Instant>,
    /// When the place was taken that it was answered from, or that was tried last.
    pub(crate) placed: Cell<Option<Instant>>,
    /// In microseconds.
    pub(crate) connecting: Cell<u64>,
    /// When the head of the answer came.
    pub(crate) head: Cell<Option<Instant>>,
    pub(crate) status: Cell<Option<StatusCode>>,
    pub(crate) stage: Cell<Stage>,
    pub(crate) fault: Cell<Option<(Fault, &'static str)>>,
    pub(crate) maker: Cell<Maker>,
    pub(crate) lasting: Cell<bool>,
    pub(crate) attempts: Cell<u32>,
    pub(crate) hedge: Cell<Option<Hedge>>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(crate) upstream: RefCell<Option<Rc<Upstream>>>,
    /// Where it led, when it led to no instance.
    pub(crate) service: RefCell<Option<(EnvId, Name, Arc<Series>)>>,
    holders: Cell<u32>,
}

impl Entry {
    /// One that was never used.
    pub(crate) fn new() -> Self {
        Self {
            words: RefCell::default(),
            client: RefCell::default(),
            version: Cell::new(None),
            began: Cell::new(Instant::now()),
            placed: Cell::new(None),
            connecting: Cell::new(0),
            head: Cell::new(None),
            status: Cell::new(None),
            stage: Cell::new(Stage::Asked),
            fault: Cell::new(None),
            maker: Cell::new(Maker::Gateway),
            lasting: Cell::new(false),
            attempts: Cell::new(0),
            hedge: Cell::new(None),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            upstream: RefCell::default(),
            service: RefCell::default(),
            holders: Cell::new(0),
        }
    }

    /// As if it had never been used.
    pub(crate) fn clear(&self) {
        let mut words = self.words.borrow_mut();
        words.clear();
        words.shrink_to(1024);
        self.client.take();
        self.version.set(None);
        self.placed.set(None);
        self.connecting.set(0);
        self.head.set(None);
        self.status.set(None);
        self.stage.set(Stage::Asked);
        self.fault.set(None);
        self.maker.set(Maker::Gateway);
        self.lasting.set(false);
        self.attempts.set(0);
        self.hedge.set(None);
        self.bytes_in.set(0);
        self.bytes_out.set(0);
        self.upstream.take();
        self.service.take();
    }

    /// Bytes of the request's body came.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    /// Its body had trailers. Over HTTP/1.1 hyper also takes for trailers what follows a line feed without its carriage
    /// return, the client's next request among it: nothing more is believed on that connection.
    pub(crate) fn ends_connection(&self) {
        if self.version.get() != Some(Version::HTTP_2)
            && let Some(client) = &*self.client.borrow()
        {
            client.leave.cancel();
        }
    }

    /// A connection was made for it.
    pub(crate) fn connected(&self, began: Instant) {
        self.connecting.set(micros(began, Instant::now()));
    }
}

/// From one moment to a later one.
pub(crate) fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

/// A holder of an entry. A clone keeps it open too.
pub(crate) struct Account {
    entry: Rc<Entry>,
    journal: Rc<Journal>,
    closed: Cell<bool>,
}

impl Account {
    /// Opens an account now.
    pub(crate) fn open(journal: &Rc<Journal>, client: &Rc<Client>) -> Self {
        let entry = journal.entry();
        entry.began.set(Instant::now());
        entry.holders.set(1);
        entry.client.replace(Some(Rc::clone(client)));
        Self {
            entry,
            journal: Rc::clone(journal),
            closed: Cell::new(false),
        }
    }

    /// The entry, for whoever writes in it and does not keep it open.
    pub(crate) fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    /// The request has this head, and goes by this name and in this trace, if in any.
    pub(crate) fn asked<B>(&self, request: &Request<B>, id: &HeaderValue, trace: &[u8]) {
        let uri = request.uri();
        let host = match uri.authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => request
                .headers()
                .get(HOST)
                .map_or(&[][..], HeaderValue::as_bytes),
        };
        let target = (uri.path().as_bytes(), uri.query().map(str::as_bytes));
        let method = request.method().as_str().as_bytes();
        let names = (id.as_bytes(), trace);
        self.asks(request.version(), names, method, host, target);
    }

    /// The same in words. What was said first counts.
    pub(crate) fn asks(
        &self,
        version: Version,
        (id, trace): (&[u8], &[u8]),
        method: &[u8],
        host: &[u8],
        (path, query): (&[u8], Option<&[u8]>),
    ) {
        self.entry.version.set(Some(version));
        let words = &mut *self.entry.words.borrow_mut();
        let Some(queries) = self.journal.query().filter(|_| words.is_empty()) else {
            return;
        };
        journal::text(words, "id", id, usize::MAX);
        if !trace.is_empty() {
            journal::text(words, "trace", trace, usize::MAX);
        }
        journal::text(words, "method", method, LONGEST_METHOD);
        journal::text(words, "host", host, LONGEST_HOST);
        journal::text(words, "path", path, LONGEST_PATH);
        if let Some(query) = query.filter(|_| queries == Query::Logged) {
            journal::text(words, "query", query, LONGEST_PATH);
        }
    }

    /// It is sent to an instance, from this place on it.
    pub(crate) fn tries(&self, upstream: &Rc<Upstream>, place: &Place) {
        let entry = &self.entry;
        entry.attempts.set(entry.attempts.get() + 1);
        entry.placed.set(Some(place.began()));
        entry.connecting.set(0);
        entry.upstream.replace(Some(Rc::clone(upstream)));
    }

    /// It was not sent to the instance that it was about to be sent to.
    pub(crate) fn tries_not(&self) {
        let attempts = &self.entry.attempts;
        attempts.set(attempts.get().saturating_sub(1));
    }

    /// Two instances were asked at once, and the answer is the one of this place.
    pub(crate) fn hedged(&self, upstream: &Rc<Upstream>, place: &Place, hedge: Hedge) {
        let entry = &self.entry;
        entry.placed.set(Some(place.began()));
        entry.connecting.set(place.connecting.get());
        entry.upstream.replace(Some(Rc::clone(upstream)));
        entry.hedge.set(Some(hedge));
        self.answered(place);
    }

    /// It led to a service, and perhaps to none of its instances.
    pub(crate) fn leads_to(&self, (env, service): &(EnvId, Name)) {
        if self.entry.upstream.borrow().is_none() {
            let series = self.journal.service(env, service);
            let service = (env.clone(), service.clone(), series);
            self.entry.service.replace(Some(service));
        }
    }

    /// The head of an answer of the instance's came, in this place.
    pub(crate) fn answered(&self, place: &Place) {
        self.entry.maker.set(Maker::Instance);
        self.entry.head.set(Some(place.began() + place.took()));
    }

    /// The gateway answers in the application's place.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.entry.maker.set(Maker::Gateway);
        self.entry.head.set(None);
        self.blame(failure.fault, failure.sentence);
    }

    /// Something is wrong, and whose fault it is. What was wrong first counts.
    pub(crate) fn blame(&self, fault: Fault, why: &'static str) {
        if self.entry.fault.get().is_none() {
            self.entry.fault.set(Some((fault, why)));
        }
    }

    /// The client is sent this.
    pub(crate) fn begins(&self, status: StatusCode) {
        self.entry.status.set(Some(status));
        self.entry.stage.set(Stage::Begun);
        if status.is_server_error() && self.entry.maker.get() == Maker::Instance {
            self.blame(Fault::Upstream, "The application answered so.");
        }
    }

    /// Nothing of it can be read, and this is what the client is sent, if anything.
    pub(crate) fn malformed(&self, status: Option<StatusCode>, why: &'static str) {
        self.entry.status.set(status);
        self.blame(Fault::Client, why);
    }

    /// It is an event stream or an upgraded connection: how long it lasts says nothing.
    pub(crate) fn lasts(&self) {
        self.entry.lasting.set(true);
    }

    /// Bytes of the answer's body go out.
    pub(crate) fn sent(&self, bytes: usize) {
        self.entry
            .bytes_out
            .set(self.entry.bytes_out.get() + bytes as u64);
    }

    /// So much was carried to and from the instance after a switch of protocols.
    pub(crate) fn carried(&self, (to, from): (u64, u64)) {
        self.entry.bytes_in.set(to);
        self.entry.bytes_out.set(from);
    }

    /// All of the answer was handed over.
    pub(crate) fn complete(&self) {
        self.entry.stage.set(Stage::Complete);
    }

    /// The answer ends early.
    pub(crate) fn broke(&self, error: &reply::Error) {
        match error {
            reply::Error::Upstream(_) => {
                self.blame(Fault::Upstream, "The application broke its answer off.");
            }
            reply::Error::Late => {
                self.blame(
                    Fault::Upstream,
                    "The answer took longer than its route, or its caller, allows.",
                );
            }
            reply::Error::Cut => {
                self.blame(
                    Fault::Ward,
                    "The answer was cut because its instance had to stop.",
                );
            }
        }
    }

    /// Whoever holds this does so no longer. The last one closes the account.
    pub(crate) fn close(&self, now: Instant) {
        if self.closed.replace(true) {
            return;
        }
        let left = self.entry.holders.get() - 1;
        self.entry.holders.set(left);
        if left == 0 {
            self.journal.close(&self.entry, now);
        }
    }
}

impl Clone for Account {
    fn clone(&self) -> Self {
        self.entry.holders.set(self.entry.holders.get() + 1);
        Self {
            entry: Rc::clone(&self.entry),
            journal: Rc::clone(&self.journal),
            closed: Cell::new(false),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.closed.get() {
            self.close(Instant::now());
        }
    }
}
