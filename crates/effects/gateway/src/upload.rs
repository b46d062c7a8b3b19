//! The body of a request on its way to an instance.
//!
//! It belongs to the request, not to the attempt: as long as no byte of it was handed on, another attempt
//! can begin it. An attempt that was given up must not take bytes from its successor, so each attempt has
//! a number and only the newest may read.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::account::Entry;
use crate::clock;
use crate::instance::Place;

/// How long a client that waits for 100 Continue waits for an instance that does not say it
/// (RFC 9110 section 10.1.1: not indefinitely).
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// How long a body that is not wanted is still taken.
const LINGER: Duration = Duration::from_secs(5);

/// A client's body, and how far it got.
pub(crate) struct Upload {
    body: RefCell<Incoming>,
    attempt: Cell<u32>,
    state: Cell<State>,
    progress: Cell<u64>,
    held_back: Cell<bool>,
    /// How many bytes may still come.
    room: Cell<u64>,
    reader: RefCell<Option<Waker>>,
    entry: Rc<Entry>,
}

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
    pub(crate) fn new(body: Incoming, entry: Rc<Entry>) -> Rc<Self> {
        let state = match body.is_end_stream() {
            true => State::Empty,
            false => State::Untouched,
        };
        Rc::new(Self {
            body: RefCell::new(body),
            attempt: Cell::new(0),
            state: Cell::new(state),
            progress: Cell::new(clock::millis_at(entry.began.get())),
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

    /// When something last came (milliseconds), or when it began.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.get()
    }

    /// The body for one more attempt; those before get nothing any more.
    pub(crate) fn attempt(self: &Rc<Self>, place: Rc<Place>) -> Attempt {
        self.give_up();
        self.progress.set(clock::millis());
        Attempt {
            upload: Rc::clone(self),
            number: self.attempt.get(),
            gate: None,
            _place: place,
        }
    }

    /// Ends the newest attempt: its connection is closed when it still waits for more.
    pub(crate) fn give_up(&self) {
        self.attempt.set(self.attempt.get() + 1);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_body(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut body = self.body.borrow_mut();
        let polled = Pin::new(&mut *body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            *self.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        };
        self.progress.set(clock::millis());
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.entry.received(data.len());
            let Some(room) = self.room.get().checked_sub(data.len() as u64) else {
                self.state.set(State::TooLarge);
                return Poll::Ready(Some(Err(Error::TooLarge)));
            };
            self.room.set(room);
        }
        self.state.set(match &frame {
            Some(Ok(_)) if body.is_end_stream() => State::Ended,
            Some(Ok(_)) => State::Begun,
            Some(Err(_)) => State::Broken,
            None => State::Ended,
        });
        Poll::Ready(frame.map(|frame| frame.map_err(Error::Client)))
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
    gate: Option<Pin<Box<Gate>>>,
    _place: Rc<Place>,
}

struct Gate {
    open: Pin<Box<WaitForCancellationFutureOwned>>,
    patience: Pin<Box<Sleep>>,
}

impl Attempt {
    /// A connection was made for it, from `began` on.
    pub(crate) fn connected(&self, began: Instant) {
        self.upload.entry.connected(began);
    }

    /// Holds the body back until `open` is cancelled or the patience of a client is over.
    pub(crate) fn hold_until(&mut self, open: CancellationToken) {
        self.upload.held_back.set(true);
        self.gate = Some(Box::pin(Gate {
            open: Box::pin(open.cancelled_owned()),
            patience: Box::pin(sleep(CONTINUE_WITHIN)),
        }));
    }

    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(gate) = &mut self.gate {
            if gate.open.as_mut().poll(context).is_pending() {
                ready!(gate.patience.as_mut().poll(context));
            }
            self.gate = None;
            self.upload.held_back.set(false);
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
