//! One client connection: HTTP/1.1 or HTTP/2, found out from its first bytes, and its limits in time.
//!
//! A client that closes its half of an HTTP/1.1 connection before it has its answer is taken to have gone
//! away, and its request is cancelled: the two cannot be told apart, and an instance should not work for
//! nobody.

use std::cell::{OnceCell, RefCell};
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
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use ward_types::table::Refusal;

use crate::account::Account;
use crate::admission::Seat;
use crate::client::{Client, Shared, Socket};
use crate::clock;
use crate::deadlines::Deadlines;
use crate::flood::{Earned, Guard};
use crate::head::Outside;
use crate::lean::{Handed, Line, Parted, Resume};
use crate::limits::Limits;
use crate::local::Local;
use crate::memory::Held;
use crate::mutual::Holder;
use crate::parting::Turn;
use crate::proxy::Entry;
use crate::proxy::plain::Asks;
use crate::reply::{self, Reply};
use crate::tally::{Open, Speech};
use crate::watched::{Outgoing, Watched};
use crate::worker::{Phase, Worker};

/// What is held of an answer at the most, in bytes: see `max_send_buf_size` below.
const MOST_UNSENT: usize = 64 * 1024;
/// A connection of HTTP/2 that has so much to be sent, in bytes, and whose TCP is full, is stuck: more is asked for it
/// only as it takes some, a request for each answer's share. As much as sixteen answers at the most: who loads a few large
/// files from far away is not stuck, and gets small ones beside them.
const STUCK: usize = 16 * MOST_UNSENT;
/// What TCP takes of it and cannot send yet, in bytes (TCP_NOTSENT_LOWAT, tcp(7)): without a bound that is megabytes, and it
/// is seen late that a client takes nothing.
const UNSENT_BY_TCP: u32 = 64 * 1024;
/// So many requests of a new connection of HTTP/2 begin at once. Each answer lets [`EACH_ANSWER`] more begin, and each
/// millisecond one: who asks for a hundred things at once has them a little later, and has not everybody else wait for them.
const AT_ONCE: usize = 16;
const EACH_ANSWER: usize = 2;
/// An HTTP/2 connection with so many requests that have no answer yet is about to have more to write than it has now.
pub(crate) const MANY: usize = 8;
/// How long a client may take to end a connection that it was asked to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a plain connection from the outside.
pub(crate) async fn serve_plain(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
) {
    let address = peer.ip();
    let outside = Outside {
        address,
        scheme: "http",
        holder: None,
        words: OnceCell::new(),
    };
    let stream = Shared::new(stream);
    serve(worker, stream, Entry::Front(outside), seat).await;
}

/// Serves a connection from the outside whose handshake is done, of whoever showed what certificate in it.
pub(crate) async fn serve_tls(
    worker: Rc<Worker>,
    stream: Shared<TlsStream<TcpStream>>,
    (peer, holder): (SocketAddr, Option<Box<Holder>>),
    seat: Seat,
) {
    let outside = Outside {
        address: peer.ip(),
        scheme: "https",
        holder,
        words: OnceCell::new(),
    };
    serve(worker, stream, Entry::Front(outside), seat).await;
}

/// Serves one connection to its end, or to the switch of its protocol.
pub(crate) async fn serve<I>(worker: Rc<Worker>, stream: Shared<I>, entry: Entry, seat: Seat)
where
    I: Socket + Send + 'static,
{
    let keeper = Arc::clone(&worker.journal.doorkeeper);
    let open = Arc::new(Open::new(keeper, entry.door()));
    let client = Rc::new(Client::new(entry, &stream, &worker.shared.memory));
    let handed = match Line::new(&worker, &client, &stream, &open) {
        Some(line) => match line.converse().await {
            Parted::Ended => return,
            Parted::Gone => {
                if let Some(stream) = I::shared_plain(&stream) {
                    worker.gone.add(stream.clone(), seat);
                }
                return;
            }
            Parted::Handed(handed) => *handed,
        },
        None => Handed::nothing(),
    };
    // Most connections never come here, and should not pay for the room that this takes.
    Box::pin(serve_whole(worker, client, stream, (open, seat), handed)).await;
}

/// What every connection of HTTP/2 begins with, as far as no request does (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Serves whatever comes on a connection.
async fn serve_whole<I>(
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: Shared<I>,
    (open, seat): (Arc<Open>, Seat),
    handed: Handed,
) where
    I: Socket + Send + 'static,
{
    if stream.lock().is_http2() || handed.ahead.starts_with(PREFACE) {
        // One that fails is of a socket that is not there any more, or not TCP's.
        let _ = SockRef::from(&stream.lock().socket()).set_tcp_notsent_lowat(UNSENT_BY_TCP);
    }
    let number = worker.shared.admission.number();
    let activity = Arc::new(Activity::new(open, &handed, &client.held));
    client.does(&activity);
    let watched = Watched {
        out: Outgoing::new(stream, &handed.ahead, &worker.corks, &activity),
        ahead: handed.ahead,
        guard: Guard::default(),
        shared: Arc::clone(&worker.shared),
        _seat: seat,
    };
    let leave = client.leave.clone();
    let resume = RefCell::new(handed.resume);
    let service = {
        let asks = Rc::new(Asks::new(&worker, &client));
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let asks = Rc::clone(&asks);
            let (account, begun) = match resume.take() {
                Some(Resume { account, begun }) => (account, Some(Box::new(begun))),
                None => (Account::open(&worker.journal, &client), None),
            };
            let busy = Busy::new(&activity, request.version(), account);
            let torn = begun.as_ref().is_some_and(|begun| begun.torn);
            let last = torn || busy.number >= worker.limits.requests;
            // Put away at once: over HTTP/2 it is moved from hand to hand before it begins.
            Box::pin(async move {
                if busy.is_early() {
                    let may_begin = busy
                        .activity
                        .lets_begin(busy.number, &asks.worker.deadlines);
                    Box::pin(may_begin).await;
                }
                let plain = match begun {
                    None => asks.plain(&request),
                    Some(_) => None,
                };
                let answered = match plain {
                    Some(plain) => plain.run(&busy.account).await.map_err(Some),
                    None => Err(begun),
                };
                let mut response = match answered {
                    Ok(response) => response,
                    Err(begun) => asks.answer(request, &busy.account, begun).await,
                };
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    busy.activity.open.speaks(Speech::Upgraded);
                }
                if last {
                    tell_to_go(&asks.client, &mut response, &busy);
                }
                Ok::<_, Infallible>(response.map(|reply| Answer::new(reply, busy)))
            })
        })
    };
    let builder = builder(&worker.limits);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(watched), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // First, so that a request that was handed over has begun before the process may say that it leaves.
        biased;
        result = connection.as_mut() => return note_end(&worker, &client, &activity, result),
        overstayed = activity.overstayed(&worker.limits) => {
            if overstayed == Overstayed::TakesNothing {
                return worker.shared.refusals.count(Refusal::SlowReader);
            }
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

/// This connection has had as many requests as one may have.
fn tell_to_go(client: &Client, response: &mut Response<Reply>, busy: &Busy) {
    if busy.activity.is_http2() {
        // GOAWAY; what is under way comes to its end.
        client.leave.cancel();
    } else if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
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
    http1
        .max_buf_size(limits.buffer)
        .max_headers(limits.headers);
    // What HTTP/2 counts for each line beside its bytes (RFC 9113 section 6.5.2).
    let header_bytes = limits.header_bytes + 32 * limits.headers;
    let header_bytes = u32::try_from(header_bytes).unwrap_or(u32::MAX);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(MOST_UNSENT)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .enable_connect_protocol();
    builder
}

/// What a connection is doing, for its limits in time. Shared with the stream itself, which hyper wants to
/// be able to send to another thread; it never is.
pub(crate) struct Activity {
    requests: AtomicUsize,
    /// Those of them that have no answer yet.
    unanswered: AtomicUsize,
    /// When it became idle, or when the first byte of a head came (milliseconds).
    since: AtomicU64,
    head_begun: AtomicBool,
    /// Whether anything of a head has come.
    spoke: AtomicBool,
    http2: AtomicBool,
    open: Arc<Open>,
    /// Requests so far.
    total: AtomicUsize,
    /// When it was begun (milliseconds); how many of its requests were answered, or never will be; who waits until more were.
    begun: u64,
    answered: AtomicUsize,
    early: AtomicUsize,
    more_answered: Notify,
    /// Answers of which the client has yet to take a piece that is there for it, and how many pieces it took.
    owing: AtomicUsize,
    taken: AtomicU64,
    /// Whether it is TCP that takes no more, and who waits until it does.
    full: AtomicBool,
    held_up: AtomicUsize,
    took: Notify,
    /// Bytes that it took since one who waits was let go on.
    since_then: AtomicUsize,
    pub(crate) earned: Earned,
    pub(crate) held: Arc<Held>,
}

impl Activity {
    /// A new connection owes a head.
    pub(crate) fn new(open: Arc<Open>, handed: &Handed, held: &Arc<Held>) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            since: AtomicU64::new(handed.since),
            head_begun: AtomicBool::new(true),
            spoke: AtomicBool::new(!handed.ahead.is_empty()),
            http2: AtomicBool::new(false),
            open,
            total: AtomicUsize::new(handed.requests),
            begun: clock::millis(),
            answered: AtomicUsize::new(0),
            early: AtomicUsize::new(0),
            more_answered: Notify::new(),
            owing: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            full: AtomicBool::new(false),
            held_up: AtomicUsize::new(0),
            took: Notify::new(),
            since_then: AtomicUsize::new(0),
            earned: Earned::default(),
            held: Arc::clone(held),
        }
    }

    /// Whether the client has taken nothing for this long of answers that are there for it, though TCP would
    /// carry more: it does not open its HTTP/2 windows. Of what TCP does not carry the kernel keeps the time.
    fn takes_nothing(&self, seen: &mut (u64, u64), patience: Duration) -> bool {
        let (taken, now) = (self.taken.load(Ordering::Relaxed), clock::millis());
        let owing = self.owing.load(Ordering::Relaxed) > 0;
        if !owing || self.is_full() || seen.0 != taken {
            *seen = (taken, now);
        }
        now.saturating_sub(seen.1) >= patience.as_millis() as u64
    }

    /// A piece is there for the client.
    fn owes_piece(&self) {
        one_more(&self.owing);
    }

    /// It took one, or will never.
    fn takes_piece(&self) {
        one_less(&self.owing);
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(taken + 1, Ordering::Relaxed);
    }

    /// There is one more request without an answer.
    pub(crate) fn asks(&self) {
        one_more(&self.unanswered);
    }

    /// One of them has an answer, or never will.
    pub(crate) fn answers(&self) {
        one_less(&self.unanswered);
        one_more(&self.answered);
        if self.early.load(Ordering::Relaxed) > 0 {
            (0..EACH_ANSWER).for_each(|_| self.more_answered.notify_one());
        }
    }

    /// How many milliseconds early the request of this number is, on a connection of HTTP/2.
    fn early(&self, number: usize) -> Option<u64> {
        let too_many = too_many(number, self.answered.load(Ordering::Relaxed))?;
        let left = too_many.saturating_sub(clock::millis().saturating_sub(self.begun));
        (left > 0 && self.is_http2()).then_some(left)
    }

    /// Ends when the request of this number may begin.
    async fn lets_begin(&self, number: usize, deadlines: &Deadlines) {
        let _early = HeldUp::new(&self.early);
        while let Some(left) = self.early(number) {
            tokio::select! {
                () = self.more_answered.notified() => {}
                () = deadlines.after(Duration::from_millis(left)) => {}
            }
        }
    }

    /// Whether more is about to be written than there is now: so many requests have no answer yet. What lasts has one, and is
    /// not about to say anything.
    pub(crate) fn expects_more(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= MANY
    }

    pub(crate) fn note_written(&self, polled: &Poll<io::Result<usize>>) {
        self.full.store(polled.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.held.written(*bytes);
            if self.held_up.load(Ordering::Relaxed) > 0 {
                let since_then = self.since_then.load(Ordering::Relaxed) + bytes;
                self.since_then
                    .store(since_then % MOST_UNSENT, Ordering::Relaxed);
                (0..since_then / MOST_UNSENT).for_each(|_| self.took.notify_one());
            }
        }
    }

    /// All that there was to be written was.
    pub(crate) fn note_flushed(&self) {
        self.full.store(false, Ordering::Relaxed);
        self.let_go_on();
    }

    /// Whoever waits goes on if it is not stuck any more.
    fn let_go_on(&self) {
        if self.held_up.load(Ordering::Relaxed) > 0 && !self.is_stuck() {
            self.took.notify_waiters();
        }
    }

    /// Whether TCP took nothing the last time.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether more of it waits to be sent than its requests should add to. TCP says that it takes nothing, so that no
    /// answer would reach it, and who keeps the windows of some of its streams closed may go on with the others.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_full() && self.is_http2() && self.held.unsent() >= STUCK
    }

    /// Ends when it is not stuck any more, or has taken so much that one more may be asked for.
    pub(crate) async fn takes_again(&self) {
        if self.is_stuck() {
            let _waits = HeldUp::new(&self.held_up);
            self.took.notified().await;
        }
    }

    pub(crate) fn saw_bytes(&self) {
        // HTTP/2 has frames that belong to no request, so bytes do not begin a head there.
        let idle = self.requests.load(Ordering::Relaxed) == 0 && !self.is_http2();
        if idle {
            self.spoke.store(true, Ordering::Relaxed);
            if !self.head_begun.swap(true, Ordering::Relaxed) {
                self.since.store(clock::millis(), Ordering::Relaxed);
            }
        }
    }

    /// A request, or what became of one, is over.
    fn ends(&self, now: Instant) {
        self.since.store(clock::millis_at(now), Ordering::Relaxed);
        if self.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.held.nothing();
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

    /// Ends when the head of a request took too long, the connection was idle too long, or its client takes
    /// no answer.
    async fn overstayed(&self, limits: &Limits) -> Overstayed {
        let mut seen = (u64::MAX, 0);
        loop {
            let patience = match self.head_begun.load(Ordering::Relaxed) {
                true => limits.header_timeout,
                false => limits.idle_timeout,
            };
            match self.left(patience) {
                Some(left) => {
                    let look = limits.header_timeout.min(limits.stalled / 4);
                    tokio::time::sleep(left.min(look)).await;
                }
                None => return Overstayed::AsksNothing,
            }
            if self.takes_nothing(&mut seen, limits.stalled) {
                return Overstayed::TakesNothing;
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

/// How many requests too many this is for a connection of which so many were answered.
fn too_many(number: usize, answered: usize) -> Option<u64> {
    let too_many = number.checked_sub(AT_ONCE + EACH_ANSWER * answered)?;
    (too_many > 0).then_some(too_many as u64)
}

/// Counts what only a connection's own worker counts: for others it would take an operation that costs more.
fn one_more(count: &AtomicUsize) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn one_less(count: &AtomicUsize) {
    let left = count.load(Ordering::Relaxed).saturating_sub(1);
    count.store(left, Ordering::Relaxed);
}

/// A request that waits for what the client does with others of it.
struct HeldUp<'a>(&'a AtomicUsize);

impl<'a> HeldUp<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection has done for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overstayed {
    /// The head of a request did not come.
    AsksNothing,
    /// An answer is not taken.
    TakesNothing,
}

/// A request under way, from its head to the end of its answer.
struct Busy {
    activity: Arc<Activity>,
    account: Account,
    /// The how manieth of its connection.
    number: usize,
    answered: bool,
}

impl Busy {
    fn new(activity: &Arc<Activity>, version: Version, account: Account) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.asks();
        activity.head_begun.store(false, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            activity.http2.store(true, Ordering::Relaxed);
        }
        activity.open.hears(version);
        Self {
            activity: Arc::clone(activity),
            account,
            number: activity.total.fetch_add(1, Ordering::Relaxed) + 1,
            answered: false,
        }
    }

    /// Whether it has to wait until it may begin.
    fn is_early(&self) -> bool {
        self.activity.early(self.number).is_some()
    }

    /// There is an answer to it, or never will be.
    fn answers(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.activity.answers();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.answers();
        let now = Instant::now();
        self.account.close(now);
        self.activity.ends(now);
    }
}

/// A stream of HTTP/2 that has become a websocket: it keeps its connection busy, and what it carries to the client
/// earns what answers earn.
pub(crate) struct Switched(Arc<Activity>);

impl Switched {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }

    /// A piece is handed out to be sent to the client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.earned.piece(bytes);
        self.0.held.hands_out(bytes);
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        self.0.ends(Instant::now());
    }
}

/// An answer whose connection is busy until it has been sent.
struct Answer {
    reply: Reply,
    busy: Busy,
    /// Whether a piece of it was handed out, and neither the next one asked for nor this dropped yet.
    owed: bool,
    ended: bool,
}

impl Answer {
    fn new(reply: Reply, mut busy: Busy) -> Self {
        busy.answers();
        Self {
            reply,
            busy,
            owed: false,
            ended: false,
        }
    }

    /// The piece before was taken.
    fn taken(&mut self) {
        if std::mem::take(&mut self.owed) {
            self.busy.activity.takes_piece();
        }
    }

    /// A piece is handed out.
    fn hands_out(&mut self, bytes: usize) {
        let activity = &self.busy.activity;
        activity.earned.piece(bytes);
        // Also the last one: it waits until its client opens a window for it.
        self.owed = bytes > 0 && !self.reply.is_long();
        if self.owed {
            activity.owes_piece();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.taken();
        let ended = self.ended || self.reply.is_end_stream();
        match ended {
            true => self.busy.activity.earned.answer(),
            // What of it was not written yet is dropped with it.
            false => {
                self.busy.activity.held.written(MOST_UNSENT);
                self.busy.activity.let_go_on();
            }
        }
        // hyper does not ask again once the body says that it is over, and of a page never where there is no
        // place for one.
        if ended || matches!(self.reply, Reply::Page(_)) {
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
        this.taken();
        let polled = Pin::new(&mut this.reply).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.busy.account.sent(bytes);
                this.busy.activity.held.hands_out(bytes);
                if this.busy.activity.is_http2() {
                    this.hands_out(bytes);
                }
            }
            Poll::Ready(Some(Err(error))) => this.busy.account.broke(error),
            Poll::Ready(None) => {
                this.ended = true;
                this.busy.account.complete();
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_lets_more_requests_begin_than_it_took() {
        assert_eq!((too_many(1, 0), too_many(AT_ONCE, 0)), (None, None));
        assert_eq!(too_many(AT_ONCE + 1, 0), Some(1));
        assert_eq!(too_many(AT_ONCE + 5, 2), Some(1));
        // Who takes its answers comes to have as much at once as it likes.
        let at_once = |answered| (1..).find(|number| too_many(*number, answered).is_some());
        assert!(at_once(100) > Some(100 + 100));
    }
}
