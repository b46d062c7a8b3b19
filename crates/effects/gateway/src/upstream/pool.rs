//! One worker's connections to instances.
//!
//! An instance may close a connection that nobody uses at any moment, also just when a request is about to
//! go out on it. Three things keep that from becoming an error: a connection whose end has already arrived
//! is not used; a request that hyper did not begin to write goes out on another one; and a request that
//! must not be sent twice goes only on a connection that was used a moment ago, or on a new one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::RecvFlags;
use tokio::net::TcpStream;

use super::keeper::Keeper;
use super::wire::Wire;
use crate::clock;
use crate::instance::Instance;
use crate::journal::{Journal, Ledger};
use crate::limits::Limits;
use crate::local::Local;
use crate::upload::Attempt;

/// A connection used less than this long ago is taken to be open still.
pub(super) const RECENT: u64 = 500;
/// How long an answered connection may take to be ready for the next request.
const READY_WITHIN: Duration = Duration::from_secs(10);

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
    /// The request, or a part of it, may have been sent.
    Lost(hyper::Error),
}

/// All of a worker's connections to instances.
pub(crate) struct Upstreams {
    limits: Rc<Limits>,
    journal: Rc<Journal>,
    by_serial: RefCell<HashMap<u64, Rc<Upstream>>>,
}

impl Upstreams {
    /// None yet.
    pub(crate) fn new(limits: Rc<Limits>, journal: Rc<Journal>) -> Self {
        Self {
            limits,
            journal,
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
                keeper: Keeper::new(&endpoint.dir, endpoint.port),
                idle: RefCell::default(),
                wires: RefCell::default(),
                shared: RefCell::default(),
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
    keeper: Keeper,
    idle: RefCell<Vec<Connection>>,
    pub(super) wires: RefCell<Vec<Wire>>,
    shared: RefCell<Option<http2::SendRequest<Attempt>>>,
    /// Where its requests are counted.
    pub(crate) ledger: Ledger,
}

struct Connection {
    sender: http1::SendRequest<Attempt>,
    /// A duplicate, to see whether the end has arrived before hyper's task was woken for it.
    socket: OwnedFd,
    used: u64,
}

/// The connection that a response is being read from; it is kept for reuse when the response was read to
/// its end.
pub(crate) struct Lease {
    upstream: Rc<Upstream>,
    connection: Connection,
}

impl Lease {
    /// The response was read to its end.
    pub(crate) fn give_back(mut self) {
        tokio::task::spawn_local(async move {
            let ready = tokio::time::timeout(READY_WITHIN, self.connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                self.upstream.keep(self.connection);
            }
        });
    }
}

impl Upstream {
    /// Sends a request over HTTP/1.1.
    pub(crate) async fn http1(
        self: &Rc<Self>,
        mut request: Request<Attempt>,
        reuse: Reuse,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let kept = self.kept(reuse);
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    let began = Instant::now();
                    let made = self.new_connection(self.connect_http1()).await;
                    request.body().connected(began);
                    made.map_err(SendError::Connect)?
                }
            };
            let mut error = match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let upstream = Rc::clone(self);
                    let lease = Lease {
                        upstream,
                        connection,
                    };
                    return Ok((response, lease));
                }
                Err(error) => error,
            };
            match error.take_message() {
                None => return Err(SendError::Lost(error.into_error())),
                Some(_) if fresh => return Err(unsent(error.into_error())),
                Some(unsent) => request = unsent,
            }
        }
    }

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
                    made.map_err(SendError::Connect)?
                }
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.shared.take();
            match error.take_message() {
                None => return Err(SendError::Lost(error.into_error())),
                Some(_) if fresh => return Err(unsent(error.into_error())),
                Some(unsent) => request = unsent,
            }
        }
    }

    /// Whether a new connection for HTTP/1.1 can be made. It is kept for the next request.
    pub(crate) async fn reach_http1(&self) -> bool {
        let connecting = async {
            let mut connection = self.connect_http1().await?;
            let ready = connection.sender.ready().await;
            ready.map_err(io::Error::other)?;
            self.keep(connection);
            Ok(())
        };
        self.new_connection(connecting).await.is_ok()
    }

    /// The same for HTTP/2.
    pub(crate) async fn reach_http2(&self) -> bool {
        self.new_connection(self.connect_http2()).await.is_ok()
    }

    fn kept(&self, reuse: Reuse) -> Option<Connection> {
        let now = clock::millis();
        let mut idle = self.idle.borrow_mut();
        // The one used last is the likeliest to be open, and lets the others grow old and go.
        while let Some(connection) = idle.pop() {
            let recent = now.saturating_sub(connection.used) <= RECENT;
            if reuse == Reuse::Never || (reuse == Reuse::Recent && !recent) {
                idle.push(connection);
                return None;
            }
            if connection.sender.is_ready() && is_quiet(&connection.socket) {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if !self.instance.is_closed() && idle.len() < self.limits.upstream_kept {
            connection.used = clock::millis();
            idle.push(connection);
        }
    }

    fn sweep(&self, now: u64) {
        let oldest = now.saturating_sub(self.limits.upstream_idle.as_millis() as u64);
        self.sweep_wires(oldest);
        let mut idle = self.idle.borrow_mut();
        if self.instance.is_closed() {
            idle.clear();
            // Streams under way keep their connection.
            self.shared.take();
        }
        idle.retain(|connection| connection.used >= oldest && !connection.sender.is_closed());
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

    async fn connect_http1(&self) -> io::Result<Connection> {
        let (stream, socket) = self.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.limits.buffer)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(connection.with_upgrades());
        Ok(Connection {
            sender,
            socket,
            used: clock::millis(),
        })
    }

    async fn connect_http2(&self) -> io::Result<http2::SendRequest<Attempt>> {
        let (stream, _) = self.connect().await?;
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

    pub(super) async fn stream(&self) -> io::Result<TcpStream> {
        self.keeper.connect().await
    }

    async fn connect(&self) -> io::Result<(TcpStream, OwnedFd)> {
        let stream = self.stream().await?;
        let socket = rustix::io::fcntl_dupfd_cloexec(&stream, 0)?;
        Ok((stream, socket))
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
