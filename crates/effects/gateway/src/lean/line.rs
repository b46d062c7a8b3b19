//! A client's connection on the lean path: its requests, one after the other.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use tokio_util::io::poll_read_buf;
use ward_types::table::Refusal;

use super::answer::push_line;
use super::ask::{Ask, Asker, Read};
use super::exchange::Exchange;
use super::timer::Timer;
use super::{Handed, LONG, Parted, Resume};
use crate::client::{Client, Shared, Socket};
use crate::clock;
use crate::failure::Failure;
use crate::head;
use crate::proxy::Entry;
use crate::sends::{Outlet, Taken};
use crate::tally::Open;
use crate::upload::{Awaited, Intake, LINGER};
use crate::worker::{Phase, Worker};

/// A client's connection.
pub(crate) struct Line<I> {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    pub(super) stream: Shared<I>,
    /// What the client sent and nobody has used yet. Has room only while there is something.
    pub(super) input: Vec<u8>,
    /// What is about to be sent, to either side.
    pub(super) output: Vec<u8>,
    pub(super) outlet: Outlet,
    pub(super) timer: Timer,
    /// The lines that say where each request comes from.
    pub(super) origin: Vec<u8>,
    pub(super) requests: usize,
    open: Arc<Open>,
    /// Since when there is no request (milliseconds).
    pub(super) idle_since: u64,
    /// Since when it owes the rest of a head that it has no more time for.
    owes_since: Option<u64>,
    closing: Closing,
    /// Its end, where there is no room for what comes before that; and whether that was seen.
    hangs_up: Option<Pin<Box<dyn Future<Output = ()>>>>,
    hung_up: bool,
}

/// How one request ended.
pub(super) enum Next {
    /// The next one may come.
    Request,
    /// The connection is over.
    Close,
    /// The same, and the client may still be sending what nobody reads.
    CloseUnread,
    /// Its client has ended it. There is nobody to tell, and who drops it closes it: thousands may go at once.
    Gone,
    /// It goes on with hyper.
    Hand(Option<Box<Resume>>),
}

/// What came from a client that was waited for.
enum Came {
    Bytes,
    End,
    /// Nothing for too long.
    Late,
    /// The process leaves.
    Leave,
}

impl<I: Socket> Line<I> {
    /// A connection of which nothing was read. `None` for those that never have plain requests.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        stream: &Shared<I>,
        open: &Arc<Open>,
    ) -> Option<Self> {
        if client.is_probe() || stream.lock().is_http2() {
            return None;
        }
        let now = clock::millis();
        let due = now + worker.limits.header_timeout.as_millis() as u64;
        Some(Self {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            stream: stream.clone(),
            input: Vec::new(),
            output: Vec::new(),
            outlet: Outlet::new(&worker.sends),
            timer: Timer::new(due),
            origin: origin(&client.entry),
            requests: 0,
            open: Arc::clone(open),
            idle_since: now,
            owes_since: None,
            closing: Closing::new(worker),
            hangs_up: None,
            hung_up: false,
        })
    }

    /// Answers plain requests until there is one that is not, or no further one.
    pub(crate) async fn converse(mut self) -> Parted {
        loop {
            let next = match self.next().await {
                Ok(ask) => self.answer(ask).await,
                Err(next) => next,
            };
            match next {
                Next::Request => {}
                Next::Gone => return Parted::Gone,
                Next::Close => {
                    self.shut_down().await;
                    return Parted::Ended;
                }
                Next::CloseUnread => {
                    self.shut_down().await;
                    self.linger().await;
                    return Parted::Ended;
                }
                Next::Hand(resume) => {
                    let ahead = std::mem::take(&mut self.input);
                    return Parted::Handed(Box::new(Handed {
                        ahead: Bytes::from(ahead),
                        since: self.owes_since.unwrap_or_else(clock::millis),
                        requests: self.requests,
                        resume: resume.map(|resume| *resume),
                    }));
                }
            }
        }
    }

    /// The next request, when all of it is there.
    async fn next(&mut self) -> Result<Ask, Next> {
        loop {
            if !self.input.is_empty() {
                match self.read_ask() {
                    Read::Odd => return Err(Next::Hand(None)),
                    Read::Plain(ask) if ask.body > LONG => return Ok(ask),
                    Read::Plain(ask) if ask.length() > self.input.capacity() => {
                        return Err(Next::Hand(None));
                    }
                    Read::Plain(ask) if ask.length() <= self.input.len() => return Ok(ask),
                    Read::Plain(ask) => {
                        self.body_of(&ask).await?;
                        continue;
                    }
                    Read::Partial => {}
                }
                if self.input.len() == self.input.capacity() {
                    return Err(Next::Hand(None));
                }
            }
            match self.more().await {
                Came::Bytes => {}
                // What has begun is for hyper to end: it knows what to say.
                Came::End | Came::Late if !self.input.is_empty() => {
                    self.owes_since = Some(self.idle_since);
                    return Err(Next::Hand(None));
                }
                Came::End if self.stream.lock().tls_version().is_none() => return Err(Next::Gone),
                Came::End | Came::Late | Came::Leave => return Err(Next::Close),
            }
        }
    }

    fn read_ask(&mut self) -> Read {
        self.output.clear();
        if self.output.capacity() == 0 {
            self.output = self.worker.spare.take();
        }
        let from = match self.client.entry {
            Entry::Front(_) => Asker::Front,
            Entry::Link { .. } | Entry::Probe { .. } => Asker::Link,
        };
        Ask::read(&self.input, from, &mut self.output)
    }

    /// Puts the output in with what others send at the end of this turn, where that can be done.
    pub(super) fn puts_together(&mut self) -> bool {
        let Some(stream) = I::shared_plain(&self.stream) else {
            return false;
        };
        self.outlet.take(stream, &self.output) == Taken::All
    }

    /// Waits for bytes of a head. A connection that waits has no buffers.
    async fn more(&mut self) -> Came {
        let limits = &self.worker.limits;
        let patience = match self.input.is_empty() && self.requests > 0 {
            true => limits.idle_timeout,
            false => limits.header_timeout,
        };
        let due = self.idle_since + patience.as_millis() as u64;
        if self.input.is_empty() {
            self.worker.spare.put(&mut self.output);
        }
        let began = self.input.is_empty();
        let came = poll_fn(|context| {
            if let Poll::Ready(read) = self.poll_client(context) {
                return Poll::Ready(match read {
                    0 => Came::End,
                    _ => Came::Bytes,
                });
            }
            if began && self.closing.poll(&self.worker, context).is_ready() {
                return Poll::Ready(Came::Leave);
            }
            self.timer.poll(context, due).map(|()| Came::Late)
        })
        .await;
        if began && matches!(came, Came::Bytes) {
            // From now on it owes the rest of a head.
            self.idle_since = clock::millis();
        }
        came
    }

    /// Reads more of a short body. As a rule its instance is to have what has come of it, and to count it as under way; but
    /// while many are waited for at instances the others are waited for here: who sends slowly keeps no instance busy.
    async fn body_of(&mut self, ask: &Ask) -> Result<(), Next> {
        if self.more_at_once().await {
            return Ok(());
        }
        let is_crowd = self.worker.awaited.get() >= self.worker.limits.awaited_bodies;
        if !is_crowd || !Exchange::new(self, ask).is_plain() {
            return Err(Next::Hand(None));
        }
        // Its head is read again.
        self.worker.spare.put(&mut self.output);
        let gathered = self.gather(ask).await;
        gathered.map_err(|failure| Exchange::new(self, ask).refuse(failure))
    }

    async fn gather(&mut self, ask: &Ask) -> Result<(), Failure> {
        // It keeps no instance waiting.
        let intake = Intake::new(clock::millis(), &Awaited::default());
        intake.came(ask.body_of(&self.input).len());
        let worker = Rc::clone(&self.worker);
        let (rate, grace) = (worker.limits.body_rate, worker.limits.body_grace);
        poll_fn(|context| {
            while self.input.len() < ask.length() {
                match self.poll_client(context) {
                    Poll::Ready(0) => return Poll::Ready(Err(Failure::BROKEN_BODY)),
                    Poll::Ready(count) => intake.came(count),
                    Poll::Pending => {
                        intake.waits();
                        let now = clock::millis();
                        let in_rate = intake.keeps_up(rate, grace.as_millis() as u64, now);
                        let Some(left) = in_rate else {
                            worker.shared.refusals.count(Refusal::SlowBody);
                            return Poll::Ready(Err(Failure::SLOW_CLIENT));
                        };
                        ready!(self.timer.poll(context, now + left));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether more has come that can be read without waiting.
    async fn more_at_once(&mut self) -> bool {
        let polled = poll_fn(|context| Poll::Ready(self.poll_client(context))).await;
        matches!(polled, Poll::Ready(1..))
    }

    /// Reads what the client sends into what room there is; 0 at its end.
    pub(super) fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        if self.input.capacity() == 0 {
            self.input = self.worker.spare.take();
        } else if self.input.len() == self.input.capacity() {
            return self.poll_hung_up(context).map(|()| 0);
        }
        let mut stream = self.stream.lock();
        let polled = poll_read_buf(Pin::new(&mut *stream), context, &mut self.input);
        drop(stream);
        if self.input.is_empty() {
            self.worker.spare.put(&mut self.input);
        }
        // However a connection broke, nothing more comes.
        polled.map(|read| read.unwrap_or(0))
    }

    /// The client's end, behind bytes that there is no room for.
    pub(super) fn poll_hung_up(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let client = &self.client;
        let hangs_up = self.hangs_up.get_or_insert_with(|| {
            let client = Rc::clone(client);
            Box::pin(async move { client.hung_up().await })
        });
        if !self.hung_up {
            ready!(hangs_up.as_mut().poll(context));
            self.hung_up = true;
        }
        Poll::Ready(())
    }

    async fn answer(&mut self, ask: Ask) -> Next {
        self.open.hears(Version::HTTP_11);
        let come = ask.length().min(self.input.len());
        match Exchange::new(self, &ask).run().await {
            Next::Request => {
                self.requests += 1;
                self.used(come);
                Next::Request
            }
            next => next,
        }
    }

    /// So many bytes of the input have served.
    fn used(&mut self, bytes: usize) {
        self.hangs_up = None;
        self.hung_up = false;
        match bytes >= self.input.len() {
            true => self.worker.spare.put(&mut self.input),
            false => drop(self.input.drain(..bytes)),
        }
    }

    /// Takes what still comes, and drops it, for a moment: a connection that is closed with bytes unread is reset, and the
    /// reset may overtake the answer.
    async fn linger(&mut self) {
        let mut room = self.worker.spare.take();
        let rest = poll_fn(|context| {
            let mut stream = self.stream.lock();
            loop {
                room.clear();
                match ready!(poll_read_buf(Pin::new(&mut *stream), context, &mut room)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Poll::Ready(()),
                }
            }
        });
        let _ = tokio::time::timeout(LINGER, rest).await;
        self.worker.spare.put(&mut room);
    }

    async fn shut_down(&mut self) {
        let shut = poll_fn(|context| {
            let mut stream = self.stream.lock();
            Pin::new(&mut *stream).poll_shutdown(context)
        });
        // A client that takes nothing any more is the kernel's.
        let _ = tokio::time::timeout(self.worker.limits.header_timeout, shut).await;
    }
}

impl<I> Drop for Line<I> {
    fn drop(&mut self) {
        self.worker.spare.put(&mut self.input);
        self.worker.spare.put(&mut self.output);
    }
}

/// The lines that say where each request of a connection comes from.
pub(crate) fn origin(entry: &Entry) -> Vec<u8> {
    match entry {
        Entry::Front(outside) => {
            let (address, scheme) = (outside.address.to_canonical(), outside.scheme);
            let text = format!(
                "x-real-ip: {address}\r\nx-forwarded-for: {address}\r\nx-forwarded-proto: {scheme}\r\n"
            );
            let mut lines = text.into_bytes();
            for (name, value) in outside.holder_lines() {
                push_line(&mut lines, name.as_bytes(), value.as_bytes());
            }
            lines
        }
        Entry::Link { from, guest, .. } => {
            let mut lines = format!("ward-from: {from}\r\n").into_bytes();
            if let Some(guest) = guest {
                push_line(
                    &mut lines,
                    head::GUEST.as_bytes(),
                    guest.as_str().as_bytes(),
                );
            }
            lines
        }
        Entry::Probe { .. } => Vec::new(),
    }
}

/// The moment when the process closes what is unused. It is waited for once per connection, not per request: the
/// wake-up stays good because all is polled by one task.
struct Closing {
    comes: Pin<Box<dyn Future<Output = ()>>>,
    seen: Option<Phase>,
}

impl Closing {
    fn new(worker: &Rc<Worker>) -> Self {
        let worker = Rc::clone(worker);
        Self {
            comes: Box::pin(async move { worker.reached(Phase::Closing).await }),
            seen: None,
        }
    }

    fn poll(&mut self, worker: &Worker, context: &mut Context<'_>) -> Poll<()> {
        let now = Some(worker.phase());
        if self.seen == now {
            return Poll::Pending;
        }
        self.seen = now;
        self.comes.as_mut().poll(context)
    }
}
