//! The body of an answer on its way to a client.
//!
//! A long answer, an event stream or a gRPC call's, is told to go away when its instance leaves rotation. It
//! ends as its protocol ends: an event stream as if it were complete, because its client connects again by
//! itself (HTML Living Standard, section 9.2.3), a gRPC call with status 14, "unavailable", which clients may
//! try again. Neither is cut within an event or a message, where the next end of one is near.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::client::{Client, Pause};
use crate::coming::Coming;
use crate::instance::Place;
use crate::marks::Marks;
use crate::upload::Upload;

/// How long a long answer that is told to go away may take to the end of its event or message.
const NEAR: Duration = Duration::from_secs(5);

/// The body of an answer.
pub(crate) enum Reply {
    /// A page of the gateway's own.
    Page(Full<Bytes>),
    /// All that an instance has sent.
    Whole(Full<Bytes>),
    /// What an instance sends.
    Stream(Box<Stream>),
}

/// Why an answer ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The instance broke it off.
    #[error("the instance broke the answer off")]
    Upstream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took longer than its route, or its caller, allows.
    #[error("the answer took longer than its route, or its caller, allows")]
    Late,
    /// Its drain took too long.
    #[error("the answer was cut because its instance has to stop")]
    Cut,
}

/// An instance's answer. What is under way on the instance ends with it.
pub(crate) struct Stream {
    body: Coming,
    /// Of what shares a connection: the others know it themselves.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    long: Option<Box<Long>>,
    pace: Option<Box<Pace>>,
    /// Gone when the answer came to its end.
    held: Option<Held>,
    /// The client need not take it.
    _pause: Option<Pause>,
}

/// How an answer is drained, and what its early end looks like to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events may end at any time; the client connects again.
    Events,
    /// Events that are compressed.
    CompressedEvents,
    /// A gRPC call ends with a status.
    Call,
    /// Anything else must not look complete.
    Ordinary,
}

/// What a long answer needs for its end.
pub(crate) struct Long {
    kind: Kind,
    marks: Marks,
    told: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Once it is told.
    patience: Option<Pin<Box<Sleep>>>,
    /// Its end was sent.
    ended: bool,
}

impl Long {
    /// `None` of what is no long answer.
    pub(crate) fn new(kind: Kind, place: &Place) -> Option<Box<Self>> {
        let marks = match kind {
            Kind::Events => Marks::EVENTS,
            Kind::CompressedEvents => Marks::Anywhere,
            Kind::Call => Marks::MESSAGES,
            Kind::Ordinary => return None,
        };
        let told = place.lengthen().cancelled_owned();
        Some(Box::new(Self {
            kind,
            marks,
            told: Box::pin(told),
            patience: None,
            ended: false,
        }))
    }

    /// Ready when it should end here.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_none() {
            if self.told.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.patience = Some(Box::pin(sleep(NEAR)));
        }
        let late = self
            .patience
            .as_mut()
            .map(|late| late.as_mut().poll(context));
        match self.marks.may_end() || late.is_some_and(|late| late.is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// What of this goes on to the client: all, or when it was told, what comes before the next good end.
    pub(crate) fn pass(&mut self, mut bytes: Bytes) -> Bytes {
        if self.patience.is_none() {
            self.marks.pass(&bytes);
        } else if let Some(end) = self.marks.pass_to_end(&bytes) {
            bytes.truncate(end);
        }
        bytes
    }

    /// The end that the client sees.
    fn end(&mut self) -> Option<Frame<Bytes>> {
        let again = std::mem::replace(&mut self.ended, true);
        (self.kind == Kind::Call && !again).then(|| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("14"));
            let message = "the instance that answers has to stop; ask again";
            trailers.insert("grpc-message", HeaderValue::from_static(message));
            Frame::trailers(trailers)
        })
    }
}

/// The limits in time of an answer, as its route has them.
pub(crate) struct Pace {
    idle: Option<Duration>,
    /// Since nothing came last, if nothing does.
    stall: Pin<Box<Sleep>>,
    waits: bool,
    end: Option<Pin<Box<Sleep>>>,
}

/// Why an answer is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Its instance sends nothing.
    Instance,
    /// All of it takes too long, whoever is slow.
    Whole,
}

impl Pace {
    /// Nothing may come for so long, and its end must come within so long; `None` without either.
    pub(crate) fn new(idle: Option<Duration>, within: Option<Duration>) -> Option<Self> {
        (idle.is_some() || within.is_some()).then(|| Self {
            idle,
            stall: Box::pin(sleep(idle.unwrap_or_default())),
            waits: false,
            end: within.map(|within| Box::pin(sleep(within))),
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Late::Whole);
        }
        let Some(idle) = self.idle else {
            return Poll::Pending;
        };
        // It begins when something is waited for: while the client does not read, nothing is.
        if !std::mem::replace(&mut self.waits, true) {
            self.stall
                .as_mut()
                .reset(tokio::time::Instant::now() + idle);
        }
        self.stall.as_mut().poll(context).map(|()| Late::Instance)
    }
}

/// What an answer holds on to.
pub(crate) struct Held {
    /// The place on the instance.
    pub(crate) place: Rc<Place>,
    /// The request's body, which an early answer may have overtaken; `None` of a request without one.
    pub(crate) upload: Option<Rc<Upload>>,
    /// Cancelled to let the client's connection take no further request.
    pub(crate) leave: CancellationToken,
}

impl Held {
    /// The rest of the request is not wanted any more.
    fn give_up(&self) {
        if let Some(upload) = &self.upload {
            upload.give_up();
        }
    }
}

impl Stream {
    /// An answer whose head has been read.
    pub(crate) fn new(body: Coming, kind: Kind, held: Held) -> Self {
        let cut = match &body {
            Coming::Wire(_) => None,
            Coming::Call(_) => {
                let cut = held.place.instance().cut.clone().cancelled_owned();
                Some(Box::pin(cut))
            }
        };
        let mut stream = Self {
            body,
            cut,
            long: Long::new(kind, &held.place),
            pace: None,
            held: Some(held),
            _pause: None,
        };
        if stream.body.is_end_stream() {
            stream.complete();
        }
        stream
    }

    /// The same, with limits in time.
    pub(crate) fn paced(mut self, pace: Option<Pace>) -> Self {
        self.pace = pace.map(Box::new);
        self
    }

    /// The same, for a client that may stop reading where it is a long one and has a body.
    pub(crate) fn taken_by(mut self, client: &Client, kind: Kind) -> Self {
        match kind {
            Kind::Events | Kind::CompressedEvents | Kind::Call if !self.body.is_end_stream() => {
                self._pause = Some(client.may_pause());
            }
            _ => client.must_take(),
        }
        self
    }

    /// Nothing comes at the moment: ready when that lasts too long.
    fn poll_late(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let late = match &mut self.pace {
            Some(pace) => ready!(pace.poll(context)),
            None => return Poll::Pending,
        };
        if let Some(held) = self.held.take() {
            if late == Late::Instance {
                held.place.failed();
            }
            held.give_up();
        }
        Poll::Ready(Some(Err(Error::Late)))
    }

    fn complete(&mut self) {
        let Some(held) = self.held.take() else { return };
        if let Some(upload) = held.upload.filter(|upload| upload.is_held_back()) {
            // The instance answered without asking for the body: nobody will send it.
            upload.give_up();
        }
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let cut = match (&mut self.body, &mut self.cut) {
            (Coming::Wire(wired), _) => wired.poll_cut(context),
            (Coming::Call(_), Some(cut)) => cut.as_mut().poll(context),
            (Coming::Call(_), None) => Poll::Pending,
        };
        if cut.is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(match &self.long {
            // Between two messages a call may end as it should.
            Some(long) if long.kind != Kind::Call || long.marks.may_end() => self.end_early(),
            Some(_) | None => {
                self.held = None;
                Some(Err(Error::Cut))
            }
        })
    }

    fn poll_told(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.long.as_mut().map(|long| long.poll_end(context)) {
            Some(Poll::Ready(())) => Poll::Ready(self.end_early()),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    /// Ends as the protocol does, and lets the instance know.
    fn end_early(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        if let Some(held) = self.held.take() {
            held.give_up();
            if held.place.instance().parting.is_leaving() {
                held.leave.cancel();
            }
        }
        self.long.as_mut()?.end().map(Ok)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper does not ask again once the body says that it is over.
        if self.body.is_end_stream() {
            self.complete();
        } else if let Some(held) = self.held.take() {
            // The client went away: the instance should stop working for it.
            held.give_up();
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        // First, because a body that always has more would never let it be seen.
        if this.held.is_some()
            && let Poll::Ready(end) = this.poll_cut(context)
        {
            return Poll::Ready(end);
        }
        if this.held.is_some()
            && let Poll::Ready(end) = this.poll_told(context)
        {
            return Poll::Ready(end);
        }
        if this.long.as_ref().is_some_and(|long| long.ended) {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending if this.held.is_some() => this.poll_late(context),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(pace) = &mut this.pace {
                    pace.waits = false;
                }
                let Some(long) = &mut this.long else {
                    return Poll::Ready(Some(Ok(frame)));
                };
                Poll::Ready(Some(Ok(frame.map_data(|bytes| long.pass(bytes)))))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(held) = this.held.take() {
                    held.place.failed();
                }
                Poll::Ready(Some(Err(Error::Upstream(error.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Reply {
    /// Whether its client may take its time.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Reply::Stream(stream) if stream.long.is_some())
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Reply::Page(page) | Reply::Whole(page) => Pin::new(page)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Reply::Stream(stream) => Pin::new(stream.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Page(page) | Reply::Whole(page) => page.is_end_stream(),
            Reply::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Page(page) | Reply::Whole(page) => page.size_hint(),
            Reply::Stream(stream) => stream.size_hint(),
        }
    }
}
