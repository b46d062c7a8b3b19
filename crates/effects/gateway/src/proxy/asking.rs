//! Asking an instance that speaks HTTP/1.1, from the first byte of the request to the end of the answer's head. All of it
//! happens in the task that serves the request: who drops it drops the connection with it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

use super::Exchange;
use crate::account::Account;
use crate::client::Client;
use crate::clock;
use crate::coming::{Begun, Coming, Wired};
use crate::forwarded;
use crate::head;
use crate::instance::Place;
use crate::lean::answer::{self, Head, ReadLines, push_line};
use crate::lean::body::Framing;
use crate::lean::{LONGEST_HEAD, Spare};
use crate::sending::{Coding, Harmless, Sending, Unsent};
use crate::upload::Attempt;
use crate::upstream::{NoWire, Reuse, SendError, Upstream, Wire};
use crate::worker::Worker;

/// Room for the head of most requests.
const USUAL_HEAD: usize = 768;

/// Why there is no answer on a connection.
enum Lost {
    /// Nothing came on it.
    Silent,
    Broken(&'static str),
    /// The request's own body broke off.
    Body,
    /// Its instance had to stop.
    Cut,
}

impl From<Lost> for SendError {
    fn from(lost: Lost) -> Self {
        let why = match lost {
            Lost::Cut => return SendError::Cut,
            Lost::Silent => "the connection was closed",
            Lost::Broken(why) => why,
            Lost::Body => "the request's body broke off",
        };
        SendError::Lost(why.to_owned())
    }
}

/// Who asks, and for what.
pub(super) struct Asking<'a> {
    pub(super) worker: &'a Worker,
    pub(super) client: &'a Client,
    pub(super) account: &'a Account,
    /// Whether it has waited for its client to take something, and goes on now.
    pub(super) patient: bool,
    /// Whether for the head of an answer alone.
    pub(super) bodiless: bool,
}

impl Asking<'_> {
    /// Sends the request and waits for the head of its answer, on a kept connection if there is one, and on a new one if
    /// that was closed for want of use.
    pub(super) async fn ask(
        &self,
        upstream: &Rc<Upstream>,
        place: &Place,
        reuse: Reuse,
        sending: &mut Sending,
    ) -> Result<Answered, SendError> {
        let harmless = match reuse {
            Reuse::Any => Harmless::Any,
            Reuse::Recent | Reuse::Never => Harmless::Untouched,
        };
        let mut wire = match upstream.kept_wire(reuse) {
            Some(wire) => wire,
            None => self.connect(upstream, place, reuse).await?,
        };
        loop {
            let used = wire.is_used();
            match self.talk(wire, sending).await {
                // A new one has never been used.
                Err(Lost::Silent) if used && sending.begin_again(harmless) => {
                    wire = Box::pin(self.connect(upstream, place, Reuse::Never)).await?;
                }
                answered => return Ok(answered?),
            }
        }
    }

    async fn connect(
        &self,
        upstream: &Rc<Upstream>,
        place: &Place,
        reuse: Reuse,
    ) -> Result<Wire, SendError> {
        let began = Instant::now();
        let asker = match self.patient {
            true => self.client.patient_asker(),
            false => self.client.asker(),
        };
        let made = tokio::select! {
            biased;
            () = upstream.is_cut() => return Err(SendError::Cut),
            made = upstream.next_wire(reuse, asker) => made,
        };
        let entry = self.account.entry();
        entry.connected(began);
        place.connecting.set(entry.connecting.get());
        made.map_err(|none| match none {
            NoWire::Unreachable(error) => SendError::Connect(error),
            NoWire::Stuck => SendError::Stuck,
        })
    }

    async fn talk(&self, wire: Wire, sending: &mut Sending) -> Result<Answered, Lost> {
        let mut talk = Talk {
            wire: Some(wire),
            sending,
            sends: Sends::Going,
            read: Bytes::new(),
            heard: false,
            own: false,
            asking: self,
        };
        poll_fn(|context| talk.poll(context)).await
    }
}

impl Exchange<'_> {
    /// The same for a request that may have a body, with whatever comes of the answer.
    pub(super) async fn ask_on_wire(
        &self,
        upstream: &Rc<Upstream>,
        place: &Place,
        reuse: Reuse,
        body: Attempt,
    ) -> Result<Response<Coming>, SendError> {
        let mut sending = self.sending(body);
        let asking = Asking {
            worker: self.worker,
            client: self.client,
            account: self.account,
            patient: self.patient.get(),
            bodiless: self.method == Method::HEAD,
        };
        let answered = asking.ask(upstream, place, reuse, &mut sending).await?;
        Ok(answered.into_response(sending, upstream))
    }

    /// The request as it goes out.
    fn sending(&self, mut body: Attempt) -> Sending {
        let coding = match self.upload.is_empty() {
            true => Coding::None,
            false => Coding::of(body.size_hint().exact(), &self.headers),
        };
        let body = match coding {
            Coding::None => None,
            Coding::Length(_) | Coding::Chunked(_) => {
                if head::expects_continue(&self.headers) {
                    body.hold_back();
                }
                Some(body)
            }
        };
        Sending::new(self.write_head(&coding), coding, body)
    }

    fn write_head(&self, coding: &Coding) -> Vec<u8> {
        let mut out = Vec::with_capacity(USUAL_HEAD);
        let route = self.route.borrow();
        let stripped = route.as_ref().map(|(_, route)| route.target(&self.path));
        let (path, prefix) = match &stripped {
            Some((path, prefix)) => (path, prefix.as_ref()),
            None => (&self.path, None),
        };
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        let path = path.as_str();
        // Of `http://host?query` the path is empty (RFC 9112 section 3.2.1).
        if !path.starts_with(['/', '*']) {
            out.push(b'/');
        }
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_lines(&self.headers, coding, &mut out);
        if let Some(prefix) = prefix {
            push_line(&mut out, b"x-forwarded-prefix", prefix.as_bytes());
        }
        if let Some(forwarded) = self.forwarded_to_say() {
            push_line(&mut out, forwarded::NAME.as_bytes(), forwarded.as_bytes());
        }
        if let Some((name, left)) = self.time_to_tell() {
            push_line(&mut out, name.as_str().as_bytes(), left.as_bytes());
        }
        coding.write(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// A request without a body may say so. What else it says of its body's length is computed anew.
fn write_lines(headers: &HeaderMap, coding: &Coding, out: &mut Vec<u8>) {
    for (name, value) in headers {
        match *name {
            CONTENT_LENGTH if !matches!(coding, Coding::None) || value != "0" => {}
            _ => push_line(out, name.as_str().as_bytes(), value.as_bytes()),
        }
    }
}

/// How far the request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    Going,
    Whole,
    /// The instance takes no more of it.
    Stuck,
}

/// The head of an answer.
pub(super) struct Answered {
    wire: Wire,
    pub(super) head: Head,
    pub(super) lines: HeaderMap,
    /// What was read behind it.
    ahead: Bytes,
    sends: Sends,
}

impl Answered {
    /// Whether all of its body has come with the head, and nothing behind it.
    pub(super) fn is_whole(&self) -> bool {
        let length = match self.head.framing {
            Framing::Empty => 0,
            Framing::Length(length) => length,
            Framing::Chunked(_) | Framing::ToTheEnd => return false,
        };
        self.head.keeps && self.sends == Sends::Whole && self.ahead.len() as u64 == length
    }

    /// Of such an answer, both. The connection is given back.
    pub(super) fn into_whole(self, upstream: &Rc<Upstream>) -> (HeaderMap, Bytes) {
        upstream.keep_wire(self.wire, clock::millis());
        (self.lines, self.ahead)
    }

    /// With a body that is read as it comes; `sending` is what may be left of the request.
    pub(super) fn into_response(
        self,
        sending: Sending,
        upstream: &Rc<Upstream>,
    ) -> Response<Coming> {
        let Self {
            wire,
            head,
            lines,
            ahead,
            sends,
        } = self;
        let wired = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => Wired::switched(wire, ahead, upstream),
            _ => {
                let begun = Begun {
                    wire,
                    framing: head.framing,
                    keeps: head.keeps && sends != Sends::Stuck,
                    ahead,
                    rest: (sends == Sends::Going).then_some(sending),
                };
                Wired::new(begun, upstream)
            }
        };
        let mut response = Response::new(Coming::Wire(wired));
        *response.status_mut() = head.status;
        *response.headers_mut() = lines;
        response
    }
}

/// A request under way on a connection.
struct Talk<'a> {
    /// Until there is an answer.
    wire: Option<Wire>,
    sending: &'a mut Sending,
    sends: Sends,
    /// What has come of the answer.
    read: Bytes,
    /// Whether anything has come.
    heard: bool,
    /// Whether what has come shares no room with other answers any more.
    own: bool,
    asking: &'a Asking<'a>,
}

impl Talk<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answered, Lost>> {
        loop {
            let Some(wire) = &mut self.wire else {
                return Poll::Pending;
            };
            if self.sends == Sends::Going {
                match self.sending.poll(wire, context) {
                    Poll::Ready(Ok(())) => self.sends = Sends::Whole,
                    // There may be an early answer.
                    Poll::Ready(Err(Unsent::Wire)) => self.sends = Sends::Stuck,
                    Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Lost::Body)),
                    Poll::Pending => {}
                }
            }
            let read = self.poll_read(context);
            if read.is_pending() && self.is_cut(context) {
                return Poll::Ready(Err(Lost::Cut));
            }
            ready!(read)?;
            if let Some(answered) = self.understand()? {
                return Poll::Ready(Ok(answered));
            }
        }
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let wire = self.wire.as_mut();
        wire.is_some_and(|wire| wire.poll_cut(context).is_ready())
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let Some(wire) = &mut self.wire else {
            return Poll::Pending;
        };
        let spare = &self.asking.worker.spare;
        let failed = match ready!(wire.poll_readable(context)) {
            Err(_) => true,
            Ok(()) if self.read.len() >= LONGEST_HEAD => {
                return Poll::Ready(Err(Lost::Broken("the head of its answer is too long")));
            }
            Ok(()) => match ready!(spare.read(|room| wire.poll_read(context, room))) {
                Ok(more) if !more.is_empty() => {
                    self.takes(more);
                    false
                }
                Ok(_) | Err(_) => true,
            },
        };
        Poll::Ready(match (failed, self.heard) {
            (false, _) => {
                self.heard = true;
                Ok(())
            }
            (true, false) => Err(Lost::Silent),
            (true, true) => Err(Lost::Broken("it broke off within the head of its answer")),
        })
    }

    /// More of the answer.
    fn takes(&mut self, more: Bytes) {
        if self.read.is_empty() {
            (self.read, self.own) = (more, false);
            // Its head will wait, too.
            if self.asking.client.is_full() {
                self.sets_apart();
            }
            return;
        }
        let read = std::mem::take(&mut self.read).try_into_mut();
        let mut read = read.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        read.extend_from_slice(&more);
        self.read = read.freeze();
    }

    /// What was read is kept for longer than this turn.
    fn sets_apart(&mut self) {
        if !std::mem::replace(&mut self.own, true) {
            self.read = Bytes::copy_from_slice(&self.read);
        }
    }

    /// The head, if all of it has come.
    fn understand(&mut self) -> Result<Option<Answered>, Lost> {
        loop {
            match answer::read_lines(&self.read, self.asking.bodiless) {
                Err(malformed) => return Err(Lost::Broken(malformed.0)),
                Ok(ReadLines::Partial) => {
                    self.sets_apart();
                    return Ok(None);
                }
                Ok(ReadLines::Interim(status, length)) => {
                    if status == StatusCode::CONTINUE {
                        self.sending.is_asked_for();
                    }
                    drop(self.read.split_to(length));
                }
                Ok(ReadLines::Whole(head, lines)) => {
                    let ahead = Spare::keep(&self.read, head.length);
                    let (Some(wire), sends) = (self.wire.take(), self.sends) else {
                        return Ok(None);
                    };
                    return Ok(Some(Answered {
                        wire,
                        head,
                        lines,
                        ahead,
                        sends,
                    }));
                }
            }
        }
    }
}
