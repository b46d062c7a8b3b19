//! The body of an answer on its way to a client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::instance::Place;
use crate::upload::Upload;
use crate::upstream::Lease;

/// The body of an answer.
pub(crate) enum Reply {
    /// A page of the gateway's own.
    Page(Full<Bytes>),
    /// What an instance sends.
    Stream(Box<Stream>),
}

/// Why an answer ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The instance broke it off.
    #[error("the instance broke the answer off")]
    Upstream(#[source] hyper::Error),
    /// Its drain took too long.
    #[error("the answer was cut because its instance has to stop")]
    Cut,
}

/// An instance's answer. What is under way on the instance ends with it.
pub(crate) struct Stream {
    body: Incoming,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    kind: Kind,
    /// Gone when the answer came to its end.
    held: Option<Held>,
}

/// What a cut looks like to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events may end at any time; the client connects again.
    Events,
    /// Anything else must not look complete.
    Ordinary,
}

/// What an answer holds on to.
pub(crate) struct Held {
    /// The place on the instance.
    pub(crate) place: Rc<Place>,
    /// The connection, if it carries nothing else.
    pub(crate) lease: Option<Lease>,
    /// The request's body, which an early answer may have overtaken.
    pub(crate) upload: Rc<Upload>,
}

impl Stream {
    /// An answer whose head has been read.
    pub(crate) fn new(body: Incoming, kind: Kind, held: Held) -> Self {
        let cut = held.place.instance().cut.clone().cancelled_owned();
        let mut stream = Self {
            body,
            cut: Box::pin(cut),
            kind,
            held: Some(held),
        };
        if stream.body.is_end_stream() {
            stream.complete();
        }
        stream
    }

    fn complete(&mut self) {
        let Some(held) = self.held.take() else { return };
        if held.upload.is_held_back() {
            // The instance answered without asking for the body: nobody will send it.
            held.upload.give_up();
        } else if let Some(lease) = held.lease {
            lease.give_back();
        }
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.cut.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.held = None;
        Poll::Ready(match self.kind {
            Kind::Events => None,
            Kind::Ordinary => Some(Err(Error::Cut)),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper does not ask again once the body says that it is over.
        if self.body.is_end_stream() {
            self.complete();
        } else if let Some(held) = self.held.take() {
            // The client went away: the instance should stop working for it.
            held.upload.give_up();
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
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                if let Some(held) = this.held.take() {
                    held.place.failed();
                }
                Poll::Ready(Some(Err(Error::Upstream(error))))
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

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Reply::Page(page) => Pin::new(page)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Reply::Stream(stream) => Pin::new(stream.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Page(page) => page.is_end_stream(),
            Reply::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Page(page) => page.size_hint(),
            Reply::Stream(stream) => stream.size_hint(),
        }
    }
}
