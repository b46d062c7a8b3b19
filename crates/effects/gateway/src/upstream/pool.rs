//! One worker's connections to instances.
//!
//! An instance may close a connection that nobody uses at any moment, also just when a request is about to
//! go out on it. Three things keep that from becoming an error: a connection whose end has already arrived
//! is not used; a request of which nothing was written goes out on another one; and a request that
//! must not be sent twice goes only on a connection that was used a moment ago, or on a new one.
//!
//! Decision: hyper's client speaks HTTP/2 to instances, and nobody but Ward speaks HTTP/1.1 to them
//! ([`super::wire`]). Over HTTP/2 many requests share a connection, so that a task of its own has to carry their
//! frames; over HTTP/1.1 such a task costs more than the request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::RecvFlags;
use tokio::net::TcpStream;

use super::cutting::Cutting;
use super::keeper::Keeper;
use super::preface;
use super::turns::Lines;
use super::wire::Wire;
use crate::client::Asker;
use crate::clock;
use crate::deadlines::Deadlines;
use crate::instance::Instance;
use crate::journal::{Journal, Ledger};
use crate::limits::Limits;
use crate::local::Local;
use crate::sends::Sends;
use crate::upload::Attempt;

/// A connection used less than this long ago is taken to be open still.
pub(super) const RECENT: u64 = 500;

/// Which kept connections a request may go out on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any.
    Any,
    /// Those used a moment ago.
    Recent,
    /// None.
    Never,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum SendError {
    /// There is no connection. Nothing was sent.
    Connect(io::Error),
    /// The client takes so little that nothing more was asked for it. Nothing was sent.
    Stuck,
    /// It does not speak the protocol that is needed. Nothing was sent.
    Unspoken,
    /// The request, or a part of it, may have been sent.
    Lost(String),
    /// The same, and its instance had to stop.
    Cut,
}

/// All of a worker's connections to instances.
pub(crate) struct Upstreams {
    limits: Rc<Limits>,
    deadlines: Rc<Deadlines>,
    journal: Rc<Journal>,
    sends: Rc<Sends>,
    by_serial: RefCell<HashMap<u64, Rc<Upstream>>>,
}

impl Upstreams {
    /// None yet.
    pub(crate) fn new(
        (limits, deadlines): (Rc<Limits>, Rc<Deadlines>),
        journal: Rc<Journal>,
        sends: Rc<Sends>,
    ) -> Self {
        Self {
            limits,
            deadlines,
            journal,
            sends,
            by_serial: RefCell::default(),
        }
    }

    /// The connections to one instance.
    pub(crate) fn of(&self, instance: &Arc<Instance>) -> Rc<Upstream> {
        let mut all = self.by_serial.borrow_mut();
        let upstream = all.entry(instance.serial).or_insert_with(|| {
            let endpoint = &instance.endpoint;
            Rc::new(Upstream {
                instance: Arc::clone(instance),
                limits: Rc::clone(&self.limits),
                deadlines: Rc::clone(&self.deadlines),
                sends: Rc::clone(&self.sends),
                keeper: Keeper::new(&endpoint.dir, endpoint.port),
                cutting: Cutting::new(&instance.cut),
                names: instance
                    .names
                    .each_ref()
                    .map(|name| own_copy(name).unwrap_or_else(|| name.clone())),
                wires: RefCell::default(),
                waiting: RefCell::default(),
                shared: RefCell::default(),
                speaks_http2: Cell::new(false),
                ledger: self.journal.ledger(instance),
            })
        });
        Rc::clone(upstream)
    }

    /// Closes what nobody will use: everything unused of instances out of rotation, and what has been
    /// unused too long.
    pub(crate) fn sweep(&self) {
        let now = clock::millis();
        let mut all = self.by_serial.borrow_mut();
        all.values().for_each(|upstream| upstream.sweep(now));
        all.retain(|_, upstream| {
            !upstream.instance.is_closed() || upstream.instance.under_way() > 0
        });
    }
}

/// A worker's connections to one instance.
pub(crate) struct Upstream {
    pub(super) instance: Arc<Instance>,
    pub(super) limits: Rc<Limits>,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) sends: Rc<Sends>,
    pub(super) keeper: Keeper,
    pub(super) cutting: Cutting,
    /// The values of `ward-instance` and `ward-release`. Its own: what all workers count references to goes from one
    /// processor to the other with each answer.
    pub(crate) names: [HeaderValue; 2],
    pub(super) wires: RefCell<Vec<Wire>>,
    /// Who waits for a new connection, and takes one that is given back as well.
    pub(super) waiting: RefCell<Lines<Wire>>,
    shared: RefCell<Option<http2::SendRequest<Attempt>>>,
    /// Whether it was seen to.
    speaks_http2: Cell<bool>,
    /// Where its requests are counted.
    pub(crate) ledger: Ledger,
}

impl Upstream {
    /// Sends a request over HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    pub(crate) async fn http2(
        self: &Rc<Self>,
        mut request: Request<Attempt>,
    ) -> Result<Response<Incoming>, SendError> {
        loop {
            let kept = self.shared.borrow().clone();
            let kept = kept.filter(|sender| !sender.is_closed());
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => {
                    let began = Instant::now();
                    let made = self.new_connection(self.connect_http2()).await;
                    request.body().connected(began);
                    made.map_err(unspoken)?
                }
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.shared.take();
            match error.take_message() {
                None => return Err(SendError::Lost(error.into_error().to_string())),
                Some(_) if fresh => return Err(unsent(error.into_error())),
                Some(unsent) => request = unsent,
            }
        }
    }

    /// Whether a new connection for HTTP/1.1 can be made. It is kept for the next request.
    pub(crate) async fn reach_http1(&self) -> bool {
        let made = self.new_wire(&Asker::NOBODY).await;
        let reached = made.is_ok();
        made.into_iter()
            .for_each(|wire| self.keep_wire(wire, clock::millis()));
        reached
    }

    /// The same for HTTP/2.
    pub(crate) async fn reach_http2(&self) -> bool {
        self.new_connection(self.connect_http2()).await.is_ok()
    }

    fn sweep(&self, now: u64) {
        let oldest = now.saturating_sub(self.limits.upstream_idle.as_millis() as u64);
        self.sweep_wires(oldest);
        if self.instance.is_closed() {
            // Streams under way keep their connection.
            self.shared.take();
        }
    }

    pub(super) async fn new_connection<T>(
        &self,
        connecting: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let limit = self.limits.connect_timeout;
        let connected = tokio::time::timeout(limit, connecting).await;
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        let connection = connected.unwrap_or_else(late)?;
        self.instance.connected();
        Ok(connection)
    }

    async fn connect_http2(&self) -> io::Result<http2::SendRequest<Attempt>> {
        if !self.speaks_http2.get() {
            preface::ask(self.stream().await?).await?;
            self.speaks_http2.set(true);
        }
        let stream = self.stream().await?;
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .max_header_list_size(self.limits.buffer as u32)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        if !self.instance.is_closed() {
            self.shared.replace(Some(sender.clone()));
        }
        Ok(sender)
    }

    async fn stream(&self) -> io::Result<TcpStream> {
        let turn = self.keeper.turn(&Asker::NOBODY).await;
        self.keeper.connect(turn).await
    }
}

fn own_copy(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Of what is answered to the preface only one thing is known: that it is not what was asked for.
fn unspoken(error: io::Error) -> SendError {
    match error.kind() {
        io::ErrorKind::InvalidData => SendError::Unspoken,
        _ => SendError::Connect(error),
    }
}

/// A connection that failed before hyper began to write is as good as none.
fn unsent(error: hyper::Error) -> SendError {
    SendError::Connect(io::Error::other(error))
}

/// Whether neither an end nor an unasked answer has arrived on a socket.
pub(super) fn is_quiet(socket: impl AsFd) -> bool {
    let mut byte = [0; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let peeked = rustix::net::recv(socket, &mut byte, flags);
    peeked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
}
