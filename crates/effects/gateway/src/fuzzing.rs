//! What parses bytes from outside, for the fuzz targets in `fuzz/`; there is nothing of it in a gateway that serves.
//!
//! It holds no rules: each function calls what a gateway calls, and gives what came of it in types that need no
//! knowledge of the gateway's own. What must be true of it is said in the targets.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::server::ProducesTickets as _;
use ward_types::table::{GatewayRequest, Refusal, TicketKey};

use crate::affinity;
use crate::flood;
use crate::head;
pub use crate::lean::fuzzing::{Answered, Asked, Chunks, Ends, Plain, Whole, answer, ask, chunk};
use crate::lines;
use crate::marks::Marks;
use crate::origin;
use crate::path;
pub use crate::proxy::fuzzing::{callers_time, told_time};
use crate::routes::Routing;
use crate::site::Route;
use crate::tickets::Tickets;
use crate::websocket::Borders;

/// Whose connection a balancer at `peer` passes on, and how many bytes behind its header are left; `None`: it is
/// closed.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn proxied(mut bytes: &[u8], peer: IpAddr) -> Option<(IpAddr, usize)> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime needs nothing but memory");
    }
    RUNTIME.with(|runtime| {
        let told = runtime.block_on(origin::read(&mut bytes, peer, Duration::from_secs(3600)));
        told.ok().map(|address| (address, bytes.len()))
    })
}

/// What a path's first segments are, see [`path::leading`].
#[must_use]
pub fn leading(path: &str, depth: usize) -> Option<Cow<'_, str>> {
    path::leading(path, depth)
}

/// A target without its first segments, see [`path::without`].
#[must_use]
pub fn without(target: &str, count: usize) -> Option<Cow<'_, str>> {
    path::without(target, count)
}

/// The frames of one direction of a websocket.
#[derive(Debug, Default)]
pub struct Websocket(Borders);

impl Websocket {
    /// Whether a frame may begin here.
    #[must_use]
    pub fn at_border(&self) -> bool {
        self.0.at_border()
    }

    /// Whether a close frame went by.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// These bytes went by.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.0.pass(bytes);
    }

    /// How many of these bytes belong to the frame that is under way.
    #[must_use]
    pub fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        self.0.rest_of_frame(bytes)
    }
}

/// What cuts an HTTP/2 connection whose client sends these parts, at one moment and without answers; how many parts
/// passed before that.
#[must_use]
pub fn flood<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Option<(Refusal, usize)> {
    let (mut guard, earned) = (flood::Guard::default(), flood::Earned::default());
    let mut parts = parts.enumerate();
    parts.find_map(|(at, part)| Some((guard.pass(part, &earned, || 0)?, at)))
}

/// Where an event stream, or the answer of a gRPC call, may end, in bytes from its beginning.
#[must_use]
pub fn may_end<'a>(call: bool, parts: impl Iterator<Item = &'a [u8]>) -> Vec<usize> {
    let mut marks = match call {
        true => Marks::MESSAGES,
        false => Marks::EVENTS,
    };
    let (mut ends, mut passed) = (Vec::new(), 0);
    for mut part in parts {
        while let Some(end) = marks.pass_to_end(part) {
            passed += end;
            ends.push(passed);
            part = &part[end..];
        }
        passed += part.len();
    }
    ends
}

/// The tickets of a gateway.
#[derive(Debug)]
pub struct Sealed(Tickets);

impl Sealed {
    /// With a key of its own, or with one that it was handed.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn new(handed: &[TicketKey]) -> Self {
        Self(Tickets::new(handed).expect("the kernel has randomness"))
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Vec<TicketKey> {
        self.0.handed()
    }

    /// A ticket.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    /// What is in a ticket.
    #[must_use]
    pub fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(ticket)
    }
}

/// The values of a cookie in these lines.
#[must_use]
pub fn cookies(lines: &[HeaderValue], name: &str) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(http::header::COOKIE, line.clone());
    }
    head::cookies(&headers, name).map(str::to_owned).collect()
}

/// What of a client's lines is left for an instance.
#[must_use]
pub fn left(lines: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut headers: HeaderMap = lines.iter().cloned().collect();
    head::strip_hop_by_hop(&mut headers);
    headers
}

/// The name of a request, if it is one that may stand in a log.
#[must_use]
pub fn request_id(value: HeaderValue) -> Option<HeaderValue> {
    let line = (HeaderName::from_static("x-request-id"), value);
    head::request_id(&HeaderMap::from_iter([line]))
}

/// A line on the control socket.
#[must_use]
pub fn control(line: &[u8]) -> Option<GatewayRequest> {
    lines::understand(line).ok()
}

/// A routing table that a gateway has taken.
pub struct InForce(Routing);

impl InForce {
    /// Offers a table to a gateway that has none; `None` when it is refused.
    #[must_use]
    pub fn offer(text: &[u8]) -> Option<Self> {
        let routing = Routing::new(affinity::Key::random());
        let offer = routing.read(text).ok()?;
        match routing.check(&offer) {
            Ok(true) => drop(routing.swap(offer)),
            _ => return None,
        }
        Some(Self(routing))
    }

    /// Offers it another one; whether that is in force now.
    pub fn swap(&self, text: &[u8]) -> bool {
        let Ok(offer) = self.0.read(text) else {
            return false;
        };
        matches!(self.0.check(&offer), Ok(true)) && self.0.swap(offer).is_some()
    }

    /// Tells it what changes; whether that is in force now.
    pub fn change(&self, text: &[u8]) -> bool {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let Ok(offer) = self.0.read_change(text) else {
            return false;
        };
        matches!(self.0.check(&offer), Ok(true)) && self.0.swap(offer).is_some()
    }

    /// Which service a request leads to: on the way of plain requests, and on the other one. `None` where it is not
    /// plain, or leads nowhere.
    #[must_use]
    pub fn find(&self, host: &str, target: &str) -> (Option<String>, Option<String>) {
        let routes = self.0.current();
        let service = |route: &Route| format!("{}/{}", route.pool.service.0, route.pool.service.1);
        let plain = routes.sites.find_plain(host, target);
        let asked = PathAndQuery::try_from(target).ok();
        let whole = asked.and_then(|asked| {
            let found = routes.sites.find(host, &asked, &HeaderMap::new());
            found.ok().map(|route| service(route))
        });
        (plain.map(|route| service(route)), whole)
    }
}
