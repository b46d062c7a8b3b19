//! The body of an answer as it comes from an instance.
//!
//! Over HTTP/1.1 it is read from the connection itself, in the task that serves the request, and whoever reads its last
//! byte gives the connection back. When the answer begins before all of the request was sent, the rest is sent by a
//! task of its own: a client that does not read its answer may still send, and one that is slow to send may read.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::clock;
use crate::lean::body::Framing;
use crate::sending::{Sending, Unsent, may_trail};
use crate::upstream::{Upstream, Wire};

/// What is read at once, at the least and at the most.
const SMALL: usize = 16 * 1024;
const LARGE: usize = 64 * 1024;
/// Trailers that there may be.
const TRAILERS: usize = 100;

/// The body of an answer.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are large, and are put away together with what else an answer holds"
)]
pub(crate) enum Coming {
    /// Over HTTP/1.1.
    Wire(Wired),
    /// Over HTTP/2.
    Call(Incoming),
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its connection broke.
    #[error("the connection broke")]
    Wire(#[source] io::Error),
    /// Its connection was closed too early.
    #[error("the connection was closed within the answer")]
    Closed,
    /// Where it ends cannot be told.
    #[error("its chunks cannot be read")]
    Malformed,
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    Request,
    /// It came over HTTP/2.
    #[error(transparent)]
    Call(hyper::Error),
}

/// A body on a connection of its own.
pub(crate) struct Wired {
    /// Gone when it carries nothing more of this.
    hold: Option<Hold>,
    upstream: Rc<Upstream>,
    framing: Framing,
    keeps: bool,
    /// What was read and not taken apart.
    ready: Bytes,
    room: BytesMut,
    /// The trailer section as it comes, and what of it goes on.
    section: Vec<u8>,
    trailers: Option<HeaderMap>,
    broken: bool,
    /// Why it ended early, and was not said yet.
    ended: Option<Error>,
}

/// Who has the connection.
enum Hold {
    /// Whoever reads.
    Alone(Wire),
    /// Also who still sends.
    Both(Rc<Both>, AbortHandle),
}

/// A connection that is read while the rest of a request is sent.
struct Both {
    wire: RefCell<Option<Wire>>,
    sent: Cell<Sent>,
}

/// How far the rest of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Going,
    Whole,
    /// The instance takes no more.
    Stuck,
    /// It broke off.
    Broken,
}

/// An answer whose head was read from a connection.
pub(crate) struct Begun {
    /// The connection.
    pub(crate) wire: Wire,
    /// How the end of its body is told.
    pub(crate) framing: Framing,
    /// Whether the connection can carry another request after it.
    pub(crate) keeps: bool,
    /// What was read behind its head.
    pub(crate) ahead: Bytes,
    /// What is still to be sent of the request.
    pub(crate) rest: Option<Sending>,
}

impl Wired {
    /// The body of an answer.
    pub(crate) fn new(begun: Begun, upstream: &Rc<Upstream>) -> Self {
        let hold = match begun.rest {
            None => Hold::Alone(begun.wire),
            Some(rest) => {
                let both = Rc::new(Both {
                    wire: RefCell::new(Some(begun.wire)),
                    sent: Cell::new(Sent::Going),
                });
                let task = tokio::task::spawn_local(send_rest(Rc::clone(&both), rest));
                Hold::Both(both, task.abort_handle())
            }
        };
        let mut wired = Self::on(hold, begun.framing, begun.ahead, upstream);
        wired.keeps = begun.keeps;
        if wired.framing.is_over() {
            wired.finish();
        }
        wired
    }

    /// After a switch of protocols: the connection, and what has come on it.
    pub(crate) fn switched(wire: Wire, ahead: Bytes, upstream: &Rc<Upstream>) -> Self {
        Self::on(Hold::Alone(wire), Framing::Empty, ahead, upstream)
    }

    fn on(hold: Hold, framing: Framing, ahead: Bytes, upstream: &Rc<Upstream>) -> Self {
        Self {
            hold: Some(hold),
            upstream: Rc::clone(upstream),
            framing,
            keeps: false,
            ready: ahead,
            room: BytesMut::new(),
            section: Vec::new(),
            trailers: None,
            broken: false,
            ended: None,
        }
    }

    /// Of such an answer, both.
    pub(crate) fn into_switched(mut self) -> Option<(TcpStream, Bytes)> {
        match self.hold.take()? {
            Hold::Alone(wire) => Some((wire.into_stream()?, std::mem::take(&mut self.ready))),
            Hold::Both(..) => None,
        }
    }

    /// Ready when its instance has to stop.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.hold {
            Some(Hold::Alone(wire)) => wire.poll_cut(context),
            Some(Hold::Both(both, _)) => match &mut *both.wire.borrow_mut() {
                Some(wire) => wire.poll_cut(context),
                None => Poll::Pending,
            },
            None => Poll::Pending,
        }
    }

    fn is_over(&self) -> bool {
        self.framing.is_over() && self.trailers.is_none() && !self.broken
    }

    /// The answer is over.
    fn finish(&mut self) {
        self.trailers = read_trailers(&std::mem::take(&mut self.section));
        let keeps = self.keeps && self.ready.is_empty();
        match self.hold.take() {
            Some(Hold::Alone(wire)) if keeps => self.upstream.keep_wire(wire, clock::millis()),
            // Who has answered before it was asked may say anything while the rest comes.
            Some(Hold::Both(both, _)) if keeps && both.sent.get() == Sent::Whole => {
                let wire = both.wire.take();
                wire.into_iter()
                    .for_each(|wire| self.upstream.keep_wire(wire, clock::millis()));
            }
            Some(Hold::Alone(_) | Hold::Both(..)) | None => {}
        }
    }

    /// The next piece of what was read; `None` when there is none in it.
    fn take(&mut self) -> Result<Option<Bytes>, Error> {
        let bytes = std::mem::take(&mut self.ready);
        let (mut first, mut joined) = (&bytes[..0], Vec::new());
        let section = &mut self.section;
        let taken = self.framing.take_all(
            &bytes,
            |piece| match (first.is_empty(), joined.is_empty()) {
                (true, _) => first = piece,
                (_, true) => joined = [first, piece].concat(),
                (_, false) => joined.extend_from_slice(piece),
            },
            |byte| section.push(byte),
        );
        let piece = match joined.is_empty() {
            true => bytes.slice_ref(first),
            false => Bytes::from(joined),
        };
        match taken {
            Ok(used) => self.ready = bytes.slice(used..),
            // What came before is the client's.
            Err(_) => self.broken = true,
        }
        if self.broken && piece.is_empty() {
            return Err(Error::Malformed);
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Reads more; 0 at the end of the connection.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let Self {
            hold,
            room,
            framing,
            ..
        } = self;
        match hold {
            Some(Hold::Alone(wire)) => poll_read(wire, framing, room, context).map_err(Error::Wire),
            Some(Hold::Both(both, _)) => {
                let polled = match &mut *both.wire.borrow_mut() {
                    Some(wire) => poll_read(wire, framing, room, context).map_err(Error::Wire),
                    None => Poll::Ready(Err(Error::Request)),
                };
                match both.sent.get() {
                    Sent::Broken => Poll::Ready(Err(Error::Request)),
                    _ => polled,
                }
            }
            None => Poll::Ready(Err(Error::Closed)),
        }
    }

    /// Says only in the next turn that it has ended early: a stream of HTTP/2 that is reset takes what its client was
    /// not sent yet along, the head among it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(error) = self.ended.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = self.poll_next(context);
        let Poll::Ready(Some(Err(error))) = polled else {
            return polled;
        };
        self.ended = Some(error);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if self.broken {
                return Poll::Ready(Some(Err(Error::Malformed)));
            }
            if self.framing.is_over() {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|lines| Ok(Frame::trailers(lines))));
            }
            if !self.ready.is_empty() {
                let piece = self.take()?;
                if self.framing.is_over() {
                    self.finish();
                }
                match piece {
                    Some(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    None => continue,
                }
            }
            if ready!(self.poll_more(context))? == 0 {
                match self.framing {
                    Framing::ToTheEnd => self.framing = Framing::Empty,
                    _ => return Poll::Ready(Some(Err(Error::Closed))),
                }
                self.finish();
                continue;
            }
            self.ready = self.room.split().freeze();
        }
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        // Nobody reads on: the rest of the request serves nobody.
        if let Some(Hold::Both(_, rest)) = &self.hold {
            rest.abort();
        }
    }
}

/// Nothing has room while nothing comes. There is always more than is expected, so that a read that ends the
/// body has emptied the socket, as far as is known.
fn poll_read(
    wire: &mut Wire,
    framing: &Framing,
    room: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    ready!(wire.poll_readable(context))?;
    let left = framing.left().and_then(|left| usize::try_from(left).ok());
    let expected = left.unwrap_or(SMALL).saturating_add(1).clamp(1024, LARGE);
    room.reserve(expected);
    wire.poll_read(context, room)
}

/// What may be passed on of a trailer section; `None` when that is nothing.
fn read_trailers(section: &[u8]) -> Option<HeaderMap> {
    if section.len() <= 2 {
        return None;
    }
    let mut lines = [httparse::EMPTY_HEADER; TRAILERS];
    let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(section, &mut lines)
    else {
        return None;
    };
    let mut trailers = HeaderMap::new();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_bytes(line.value);
        if let (Ok(name), Ok(value)) = (name, value)
            && may_trail(&name)
        {
            trailers.append(name, value);
        }
    }
    crate::head::strip_hop_by_hop(&mut trailers);
    (!trailers.is_empty()).then_some(trailers)
}

/// Sends the rest of a request whose answer has begun.
async fn send_rest(both: Rc<Both>, mut rest: Sending) {
    let sent = std::future::poll_fn(|context| match &mut *both.wire.borrow_mut() {
        Some(wire) => rest.poll(wire, context),
        None => Poll::Ready(Err(Unsent::Wire)),
    });
    let sent = match sent.await {
        Ok(()) => Sent::Whole,
        Err(Unsent::Wire) => Sent::Stuck,
        Err(Unsent::Body) => Sent::Broken,
    };
    both.sent.set(sent);
    if sent == Sent::Broken
        && let Some(wire) = &*both.wire.borrow()
    {
        wire.shut_down();
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Wire(wired) => wired.poll(context),
            Self::Call(call) => {
                let polled = Pin::new(call).poll_frame(context);
                polled.map(|frame| frame.map(|frame| frame.map_err(Error::Call)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Wire(wired) => wired.is_over(),
            Self::Call(call) => call.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Wire(wired) => match &wired.framing {
                Framing::Empty => SizeHint::with_exact(0),
                Framing::Length(left) => SizeHint::with_exact(*left),
                Framing::Chunked(_) | Framing::ToTheEnd => SizeHint::default(),
            },
            Self::Call(call) => call.size_hint(),
        }
    }
}
