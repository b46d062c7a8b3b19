//! One client connection: HTTP/1.1 or HTTP/2, found out from its first bytes, and its limits in time.
//!
//! A client that closes its half of an HTTP/1.1 connection before it has its answer is taken to have gone
//! away, and its request is cancelled: the two cannot be told apart, and an instance should not work for
//! nobody.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;

use crate::account::Account;
use crate::client::{Client, Shared, Socket};
use crate::clock;
use crate::head::Outside;
use crate::limits::Limits;
use crate::local::Local;
use crate::parting::Turn;
use crate::proxy::{self, Entry};
use crate::reply::{self, Reply};
use crate::tally::{Open, Speech};
use crate::worker::{Phase, Worker};

/// How long a client may take to end a connection that it was asked to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a plain connection from the outside.
pub(crate) async fn serve_plain(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let address = peer.ip();
    let scheme = "http";
    serve(
        worker,
        stream,
        Entry::Front(Outside { address, scheme }),
        permit,
    )
    .await;
}

/// Serves a connection from the outside whose handshake is done.
pub(crate) async fn serve_tls(
    worker: Rc<Worker>,
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let address = peer.ip();
    let scheme = "https";
    serve(
        worker,
        stream,
        Entry::Front(Outside { address, scheme }),
        permit,
    )
    .await;
}

/// Serves one connection to its end, or to the switch of its protocol.
pub(crate) async fn serve<I>(
    worker: Rc<Worker>,
    stream: I,
    entry: Entry,
    permit: OwnedSemaphorePermit,
) where
    I: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    let number = worker.shared.served.fetch_add(1, Ordering::Relaxed);
    let keeper = Arc::clone(&worker.journal.doorkeeper);
    let activity = Arc::new(Activity::new(Open::new(keeper, entry.door())));
    let stream = Shared::new(stream);
    let client = Rc::new(Client::new(entry, &stream));
    let watched = Watched {
        stream,
        activity: Arc::clone(&activity),
        _permit: permit,
    };
    let leave = client.leave.clone();
    let service = {
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
            let account = Account::open(&worker.journal, &client);
            let busy = Busy::new(&activity, request.version(), account);
            async move {
                let response = proxy::answer(&worker, &client, request, &busy.account).await;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    busy.activity.open.speaks(Speech::Upgraded);
                }
                Ok::<_, Infallible>(response.map(|reply| Answer { reply, busy }))
            }
        })
    };
    let builder = builder(&worker.limits);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(watched), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return note_end(&worker, &client, &activity, result),
        () = activity.overstayed(&worker.limits) => {
            if !activity.is_idle() {
                // The head of a request did not come in time: there is nothing to say goodbye to.
                if activity.owes_head() {
                    let account = Account::open(&worker.journal, &client);
                    account.malformed(None, "The head of the request did not come in time.");
                }
                return;
            }
        }
        () = time_to_go(&worker, &activity, number) => {}
        // A long answer has ended so that its client may go elsewhere; it must not ask here again.
        () = leave.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection.as_mut() => note_end(&worker, &client, &activity, result),
        () = activity.idle_for(GOODBYE) => {}
    }
}

/// HTTP/2 is told when its turn comes that the process ends (GOAWAY lets the client begin its next request
/// elsewhere).
/// An HTTP/1.1 connection is not closed under a client that may just be sending: it is closed by the
/// answer to its next request, or when nothing came for a while.
async fn time_to_go(worker: &Worker, activity: &Activity, number: u64) {
    worker.reached(Phase::Quitting).await;
    if !activity.is_http2() {
        worker.reached(Phase::Closing).await;
    }
    // Also one whose first request has come only now.
    if activity.is_http2() {
        Turn::new(&worker.shared.clients, number).comes().await;
    }
}

/// What hyper refused by itself has no request that could say so.
fn note_end(
    worker: &Worker,
    client: &Rc<Client>,
    activity: &Activity,
    result: Result<(), Box<dyn std::error::Error + Send + Sync>>,
) {
    let Err(error) = result else { return };
    tracing::debug!(%error, "a client connection ended badly");
    if let Some((status, why)) = malformed(error.as_ref(), activity) {
        Account::open(&worker.journal, client).malformed(status, why);
    }
}

/// What was wrong with a request that hyper could not read, and what it answered.
fn malformed(
    error: &(dyn std::error::Error + 'static),
    activity: &Activity,
) -> Option<(Option<StatusCode>, &'static str)> {
    let error = error.downcast_ref::<hyper::Error>()?;
    if error.is_parse_too_large() {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some((Some(status), "The head of the request is too large."));
    }
    if error.is_parse() {
        return Some((
            Some(StatusCode::BAD_REQUEST),
            "The head of the request is malformed.",
        ));
    }
    // Within a body it is the request's own affair.
    if error.is_incomplete_message() && activity.owes_head() {
        return Some((
            None,
            "The connection was closed within the head of a request.",
        ));
    }
    let broken = std::error::Error::source(error).is_some_and(|source| {
        let text = source.to_string();
        text.starts_with("connection error") && !text.contains("not a result of an error")
    });
    broken.then_some((None, "The connection broke the rules of HTTP/2."))
}

fn builder(limits: &Limits) -> auto::Builder<Local> {
    let mut builder = auto::Builder::new(Local);
    let mut http1 = builder.http1();
    // The timeouts of `Activity` tell a slow head from an unused connection; hyper's cannot.
    http1.timer(TokioTimer::new()).header_read_timeout(None);
    http1.max_buf_size(limits.header_bytes).max_headers(128);
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// What a connection is doing, for its limits in time. Shared with the stream itself, which hyper wants to
/// be able to send to another thread; it never is.
struct Activity {
    requests: AtomicUsize,
    /// When it became idle, or when the first byte of a head came (milliseconds).
    since: AtomicU64,
    head_begun: AtomicBool,
    /// Whether anything of a head has come.
    spoke: AtomicBool,
    http2: AtomicBool,
    open: Open,
}

impl Activity {
    /// A new connection owes a head.
    fn new(open: Open) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            since: AtomicU64::new(clock::millis()),
            head_begun: AtomicBool::new(true),
            spoke: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            open,
        }
    }

    fn saw_bytes(&self) {
        // HTTP/2 has frames that belong to no request, so bytes do not begin a head there.
        let idle = self.requests.load(Ordering::Relaxed) == 0 && !self.is_http2();
        if idle {
            self.spoke.store(true, Ordering::Relaxed);
            if !self.head_begun.swap(true, Ordering::Relaxed) {
                self.since.store(clock::millis(), Ordering::Relaxed);
            }
        }
    }

    /// Whether a part of a head has come, and not the rest.
    fn owes_head(&self) -> bool {
        let idle = self.requests.load(Ordering::Relaxed) == 0;
        let spoke = self.spoke.load(Ordering::Relaxed);
        idle && spoke && self.head_begun.load(Ordering::Relaxed)
    }

    fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.head_begun.load(Ordering::Relaxed)
    }

    /// Ends when the head of a request took too long, or the connection was idle too long.
    async fn overstayed(&self, limits: &Limits) {
        loop {
            let patience = match self.head_begun.load(Ordering::Relaxed) {
                true => limits.header_timeout,
                false => limits.idle_timeout,
            };
            match self.left(patience) {
                Some(left) => tokio::time::sleep(left.min(limits.header_timeout)).await,
                None => return,
            }
        }
    }

    /// Ends when no request has been under way for this long.
    async fn idle_for(&self, patience: Duration) {
        let from = clock::millis();
        self.since.fetch_max(from, Ordering::Relaxed);
        while let Some(left) = self.left(patience) {
            tokio::time::sleep(left).await;
        }
    }

    fn left(&self, patience: Duration) -> Option<Duration> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Some(patience);
        }
        let idle = clock::millis().saturating_sub(self.since.load(Ordering::Relaxed));
        let left = patience.saturating_sub(Duration::from_millis(idle));
        (!left.is_zero()).then_some(left)
    }
}

/// A request under way, from its head to the end of its answer.
struct Busy {
    activity: Arc<Activity>,
    account: Account,
}

impl Busy {
    fn new(activity: &Arc<Activity>, version: Version, account: Account) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.head_begun.store(false, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            activity.http2.store(true, Ordering::Relaxed);
        }
        activity.open.hears(version);
        Self {
            activity: Arc::clone(activity),
            account,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = Instant::now();
        self.account.close(now);
        let activity = &self.activity;
        activity
            .since
            .store(clock::millis_at(now), Ordering::Relaxed);
        activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer whose connection is busy until it has been sent.
struct Answer {
    reply: Reply,
    busy: Busy,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // hyper does not ask again once the body says that it is over, and of a page never where there is no
        // place for one.
        if matches!(self.reply, Reply::Page(_)) || self.reply.is_end_stream() {
            self.busy.account.complete();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = reply::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reply::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.reply).poll_frame(context);
        let account = &this.busy.account;
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                account.sent(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(Some(Err(error))) => account.broke(error),
            Poll::Ready(None) => account.complete(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}

/// A client's stream that tells when bytes come. It holds the connection's permit, because it goes on
/// living in the tunnel when the protocol is switched.
struct Watched<I> {
    stream: Shared<I>,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream.lock()).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.saw_bytes();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.lock().is_write_vectored()
    }
}
