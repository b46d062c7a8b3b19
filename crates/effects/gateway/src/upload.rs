//! The body of a request on its way to an instance.
//!
//! It belongs to the request, not to the attempt: as long as no byte of it was handed on, another attempt
//! can begin it. An attempt that was given up must not take bytes from its successor, so each attempt has
//! a number and only the newest may read.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::account::Entry;
use crate::clock;
use crate::instance::Place;
use crate::throttle::Throttle;

/// How long a client that waits for 100 Continue waits for an instance that does not say it
/// (RFC 9110 section 10.1.1: not indefinitely).
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// How long a body that is not wanted is still taken.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// A client's body, and how far it got.
pub(crate) struct Upload {
    body: RefCell<Incoming>,
    attempt: Cell<u32>,
    state: Cell<State>,
    intake: Intake,
    held_back: Cell<bool>,
    /// How many bytes may still come.
    room: Cell<u64>,
    reader: RefCell<Option<Waker>>,
    entry: Rc<Entry>,
}

/// How a client sends a body: what has come of it, and how long it was waited for.
pub(crate) struct Intake {
    /// When something last moved (milliseconds): it began, a piece came or went on, or the client was waited for anew.
    progress: Cell<u64>,
    received: Cell<u64>,
    /// How long it was waited for the client in all, and since when it is.
    waited: Cell<u64>,
    waits_since: Cell<Option<u64>>,
    /// Where its request counts while it does not wait for its client.
    counts: RefCell<Option<Arc<Throttle>>>,
    /// Where it counts while it does.
    awaited: Awaited,
}

/// How many bodies of a worker are waited for at instances.
pub(crate) type Awaited = Rc<Cell<usize>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Untouched,
    Begun,
    Ended,
    Broken,
    TooLarge,
}

impl Upload {
    /// A body of which nothing has been read.
    pub(crate) fn new(body: Incoming, entry: Rc<Entry>, awaited: &Awaited) -> Rc<Self> {
        let state = match body.is_end_stream() {
            true => State::Empty,
            false => State::Untouched,
        };
        Rc::new(Self {
            body: RefCell::new(body),
            attempt: Cell::new(0),
            state: Cell::new(state),
            intake: Intake::new(clock::millis_at(entry.began.get()), awaited),
            held_back: Cell::new(false),
            room: Cell::new(u64::MAX),
            reader: RefCell::default(),
            entry,
        })
    }

    /// It may have so many bytes.
    pub(crate) fn limit(&self, bytes: u64) {
        self.room.set(bytes);
    }

    /// Whether there is a body at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.get() == State::Empty
    }

    /// Whether a new attempt could send all of it.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.state.get(), State::Empty | State::Untouched)
    }

    /// Whether the client broke it off.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.get() == State::Broken
    }

    /// Whether it has more bytes than it may have.
    pub(crate) fn is_too_large(&self) -> bool {
        self.state.get() == State::TooLarge
    }

    /// Takes what still comes, and drops it, for a moment: a connection that is closed with bytes unread is
    /// reset, and the reset may overtake the answer. A client that waits to be told to go on is not.
    pub(crate) async fn linger(self: Rc<Self>) {
        self.give_up();
        let rest = std::future::poll_fn(|context| {
            let mut body = self.body.borrow_mut();
            while let Some(Ok(_)) = ready!(Pin::new(&mut *body).poll_frame(context)) {}
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(LINGER, rest).await;
    }

    /// Whether the client still has to send some of it.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self.state.get(), State::Untouched | State::Begun)
    }

    /// Whether the newest attempt still waits for the instance to ask for the body.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back.get()
    }

    /// How it comes.
    pub(crate) fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The body for one more attempt; those before get nothing any more.
    pub(crate) fn attempt(self: &Rc<Self>, place: Rc<Place>) -> Attempt {
        self.give_up();
        self.intake.begins(clock::millis());
        self.beside(place)
    }

    /// The same for an attempt beside the newest one: of a request without a body.
    pub(crate) fn beside(self: &Rc<Self>, place: Rc<Place>) -> Attempt {
        Attempt {
            upload: Rc::clone(self),
            number: self.attempt.get(),
            patience: None,
            place,
        }
    }

    /// Ends the newest attempt: its connection is closed when it still waits for more.
    pub(crate) fn give_up(&self) {
        // Nobody waits for it now.
        self.intake.waits_no_more();
        self.attempt.set(self.attempt.get() + 1);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// How much longer it comes fast enough: see [`Intake::keeps_up`].
    pub(crate) fn keeps_up(&self, rate: u64, grace: u64, now: u64) -> Option<u64> {
        match self.is_owed() {
            true => self.intake.keeps_up(rate, grace, now),
            false => Some(u64::MAX),
        }
    }

    fn poll_body(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut body = self.body.borrow_mut();
        let polled = Pin::new(&mut *body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            *self.reader.borrow_mut() = Some(context.waker().clone());
            self.intake.waits();
            return Poll::Pending;
        };
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = data.map_or(0, Bytes::len);
        self.intake.came(bytes);
        if matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            self.entry.ends_connection();
        }
        self.entry.received(bytes);
        if let Some(client) = &*self.entry.client.borrow() {
            client.held.passed_on(bytes);
        }
        let Some(room) = self.room.get().checked_sub(bytes as u64) else {
            self.state.set(State::TooLarge);
            return Poll::Ready(Some(Err(Error::TooLarge)));
        };
        self.room.set(room);
        self.state.set(match &frame {
            Some(Ok(_)) if body.is_end_stream() => State::Ended,
            Some(Ok(_)) => State::Begun,
            Some(Err(_)) => State::Broken,
            None => State::Ended,
        });
        Poll::Ready(frame.map(|frame| frame.map_err(Error::Client)))
    }
}

impl Intake {
    /// Nothing has come of it, and it was not waited for; it began at `now` (milliseconds).
    pub(crate) fn new(now: u64, awaited: &Awaited) -> Self {
        Self {
            awaited: Rc::clone(awaited),
            progress: Cell::new(now),
            received: Cell::new(0),
            waited: Cell::new(0),
            waits_since: Cell::new(None),
            counts: RefCell::default(),
        }
    }

    /// When something last moved (milliseconds).
    pub(crate) fn progress(&self) -> u64 {
        self.progress.get()
    }

    /// Whether it waits for the client.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits_since.get().is_some()
    }

    /// From `now` on (milliseconds) it is looked at again, which it was not for a while.
    pub(crate) fn is_looked_at(&self, now: u64) {
        self.progress.set(now);
        self.waited.set(0);
        if self.is_waiting() {
            self.waits_since.set(Some(now));
        }
    }

    /// Something of it went on at `now` (milliseconds), or can go on from then on.
    pub(crate) fn begins(&self, now: u64) {
        self.progress.set(now);
    }

    /// So many bytes of it came.
    pub(crate) fn came(&self, bytes: usize) {
        let now = clock::millis();
        self.progress.set(now);
        self.settle(now);
        self.received.set(self.received.get() + bytes as u64);
    }

    /// From now on it waits for the client.
    pub(crate) fn waits(&self) {
        if !self.is_waiting() {
            let now = clock::millis();
            self.progress.set(now);
            self.waits_since.set(Some(now));
            self.awaited.update(|count| count + 1);
            if let Some(throttle) = &*self.counts.borrow() {
                throttle.release();
            }
        }
    }

    /// It does not wait for the client any more.
    pub(crate) fn waits_no_more(&self) {
        self.settle(clock::millis());
    }

    /// How long at the least, in milliseconds, until the client has sent less than `rate` bytes a second of
    /// all the time in which it was waited for but the first `grace` milliseconds; `None` when it has.
    pub(crate) fn keeps_up(&self, rate: u64, grace: u64, now: u64) -> Option<u64> {
        let paid_for = grace + self.received.get().saturating_mul(1000) / rate.max(1);
        let waits = self
            .waits_since
            .get()
            .map_or(0, |since| now.saturating_sub(since));
        let left = paid_for.checked_sub(self.waited.get() + waits)?;
        (left > 0).then_some(left)
    }

    /// Its request counts from now on.
    pub(crate) fn counts(&self, throttle: &Arc<Throttle>) {
        *self.counts.borrow_mut() = Some(Arc::clone(throttle));
    }

    /// Its request is not counted any more, once it steps down.
    pub(crate) fn counts_no_more(&self) {
        if self.counts.borrow().is_some() {
            self.waits_no_more();
            self.counts.take();
        }
    }

    /// What it waits for the client from now on is another wait.
    fn settle(&self, now: u64) {
        if let Some(since) = self.waits_since.take() {
            self.awaited.update(|count| count.saturating_sub(1));
            self.waited
                .set(self.waited.get() + now.saturating_sub(since));
            if let Some(throttle) = &*self.counts.borrow() {
                throttle.resume();
            }
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if self.is_waiting() {
            self.awaited.update(|count| count.saturating_sub(1));
        }
    }
}

/// Why a body ends early on its way to an instance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The client broke it off.
    #[error("the client broke the body off")]
    Client(#[source] hyper::Error),
    /// It has more bytes than it may have.
    #[error("the body is larger than the route takes")]
    TooLarge,
    /// Another attempt took over, or none is wanted any more.
    #[error("the attempt was given up")]
    GivenUp,
}

/// One attempt's view of an upload. It holds the attempt's place on the instance, because an instance that
/// answered early is still busy as long as it is being sent to.
pub(crate) struct Attempt {
    upload: Rc<Upload>,
    number: u32,
    /// How much longer the body is held back.
    patience: Option<Pin<Box<Sleep>>>,
    place: Rc<Place>,
}

impl Attempt {
    /// A connection was made for it, from `began` on.
    pub(crate) fn connected(&self, began: Instant) {
        self.upload.entry.connected(began);
        self.place
            .connecting
            .set(self.upload.entry.connecting.get());
    }

    /// Holds the body back until it is asked for, or the patience of a client is over.
    pub(crate) fn hold_back(&mut self) {
        self.upload.held_back.set(true);
        self.patience = Some(Box::pin(sleep(CONTINUE_WITHIN)));
    }

    /// The instance asks for the body.
    pub(crate) fn is_asked_for(&mut self) {
        if self.patience.take().is_some() {
            self.upload.held_back.set(false);
        }
    }

    /// It is not what its head has announced.
    pub(crate) fn is_broken(&self) {
        self.upload.state.set(State::Broken);
    }

    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(patience) = &mut self.patience {
            ready!(patience.as_mut().poll(context));
            self.is_asked_for();
        }
        Poll::Ready(())
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.number != this.upload.attempt.get() {
            return Poll::Ready(Some(Err(Error::GivenUp)));
        }
        if this.poll_gate(context).is_pending() {
            *this.upload.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        this.upload.poll_body(context)
    }

    fn is_end_stream(&self) -> bool {
        self.upload.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.body.borrow().size_hint()
    }
}
