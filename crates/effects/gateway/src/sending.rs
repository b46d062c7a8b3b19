//! A request on its way to an instance that speaks HTTP/1.1: its head, and its body behind it, as that comes.
//!
//! How the body's end is told is computed anew, from what hyper knows of the body and never from the client's words
//! (RFC 9112 section 6): by its length, where that is known, and by chunks where it is not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;

use crate::head;
use crate::lean::SMALL;
use crate::lean::answer::push_line;
use crate::lean::body::{LAST_CHUNK, push_chunk, push_size};
use crate::upload::Attempt;
use crate::upstream::Wire;

/// How the end of a request's body is told.
#[derive(Debug)]
pub(crate) enum Coding {
    /// There is none.
    None,
    /// So many bytes are left.
    Length(u64),
    /// In chunks, with these trailers behind them.
    Chunked(Vec<HeaderName>),
}

impl Coding {
    /// Of a body of this length, where it is known, of a request with these lines.
    pub(crate) fn of(length: Option<u64>, headers: &HeaderMap) -> Self {
        match length {
            Some(length) => Self::Length(length),
            None => Self::Chunked(announced(headers).collect()),
        }
    }

    /// The line that says so.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Length(length) => {
                push_line(out, b"content-length", length.to_string().as_bytes());
            }
            Self::Chunked(_) => push_line(out, b"transfer-encoding", b"chunked"),
        }
    }
}

/// The trailers that a head announces and that may be some (RFC 9110 section 6.5.1).
fn announced(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lines = headers.get_all(TRAILER).iter();
    let names = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(may_trail)
}

/// Whether a line may stand behind a body: none that says where it ends, what it is, or who asks for it.
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    ![
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ]
    .contains(name)
}

/// Why not all of a request was sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// The instance takes no more. It may have answered.
    Wire,
    /// There is no more of the body, though there should be, or it is not wanted any more.
    Body,
}

/// What of a request is still to be sent.
pub(crate) struct Sending {
    /// Lines of the head, sizes of chunks, and small pieces.
    lines: Vec<u8>,
    /// A larger piece behind them, and what stands behind that.
    piece: Bytes,
    behind: &'static [u8],
    /// How many bytes of the lines were written.
    written: usize,
    /// Whether all of it is still there, so that it can be sent again.
    whole: bool,
    coding: Coding,
    body: Option<Attempt>,
}

impl Sending {
    /// A request with this head and this body.
    pub(crate) fn new(head: Vec<u8>, coding: Coding, body: Option<Attempt>) -> Self {
        Self {
            lines: head,
            piece: Bytes::new(),
            behind: b"",
            written: 0,
            whole: true,
            coding,
            body,
        }
    }

    /// What it was written into.
    pub(crate) fn into_room(self) -> Vec<u8> {
        self.lines
    }

    /// Sends it from its beginning, where that can be done. `harmless`: a part of it may have been sent.
    pub(crate) fn begin_again(&mut self, harmless: Harmless) -> bool {
        let again = self.whole
            && match harmless {
                Harmless::Untouched => self.written == 0,
                Harmless::Any => self.body.is_none(),
            };
        if again {
            self.written = 0;
        }
        again
    }

    /// The instance asks for the body, which may have been held back.
    pub(crate) fn is_asked_for(&mut self) {
        if let Some(body) = &mut self.body {
            body.is_asked_for();
        }
    }

    /// Sends what there is; ready when that was all.
    pub(crate) fn poll(
        &mut self,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Unsent>> {
        loop {
            self.fill(context)?;
            if self.is_written() {
                return match self.body {
                    None => Poll::Ready(Ok(())),
                    Some(_) => Poll::Pending,
                };
            }
            ready!(self.poll_write(wire, context)).map_err(|_| Unsent::Wire)?;
        }
    }

    fn is_written(&self) -> bool {
        self.written == self.lines.len() && self.piece.is_empty() && self.behind.is_empty()
    }

    /// Takes what has come of the body, so that it goes out in one write with what stands before it.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), Unsent> {
        if self.body.is_some() && self.written > 0 && self.is_written() {
            self.lines.clear();
            self.written = 0;
            self.whole = false;
        }
        while self.piece.is_empty() && self.behind.is_empty() && self.lines.len() < 2 * SMALL {
            let Some(body) = &mut self.body else {
                return Ok(());
            };
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) else {
                return Ok(());
            };
            let ended = body.is_end_stream();
            let Some(frame) = frame else {
                self.end(None)?;
                return Ok(());
            };
            let frame = frame.map_err(|_| Unsent::Body)?;
            match frame.into_data() {
                Ok(piece) => {
                    self.put(piece)?;
                    if ended {
                        self.end(None)?;
                    }
                }
                Err(frame) => self.end(frame.into_trailers().ok())?,
            }
        }
        Ok(())
    }

    fn put(&mut self, piece: Bytes) -> Result<(), Unsent> {
        if piece.is_empty() {
            return Ok(());
        }
        let small = piece.len() <= SMALL;
        match &mut self.coding {
            Coding::None => return self.broken(),
            Coding::Length(left) => match left.checked_sub(piece.len() as u64) {
                None => return self.broken(),
                Some(rest) => *left = rest,
            },
            Coding::Chunked(_) if small => {
                push_chunk(&mut self.lines, &piece);
                return Ok(());
            }
            Coding::Chunked(_) => {
                push_size(&mut self.lines, piece.len());
                self.behind = b"\r\n";
            }
        }
        match small {
            true => self.lines.extend_from_slice(&piece),
            false => self.piece = piece,
        }
        Ok(())
    }

    /// The body has ended.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Unsent> {
        match &self.coding {
            Coding::None | Coding::Length(0) => {}
            Coding::Length(_) => return self.broken(),
            Coding::Chunked(announced) => {
                let trailers = trailers.unwrap_or_default();
                let mut lines = trailers.iter();
                if !lines.all(|(name, value)| head::is_sound(name, value)) {
                    return self.broken();
                }
                let lines = trailers.iter();
                let lines: Vec<_> = lines.filter(|line| announced.contains(line.0)).collect();
                match (lines.is_empty(), self.behind.is_empty()) {
                    (true, true) => self.lines.extend_from_slice(LAST_CHUNK),
                    (true, false) => self.behind = b"\r\n0\r\n\r\n",
                    // Trailers come as a frame of their own, behind a piece that was written.
                    (false, _) => push_trailers(&mut self.lines, &lines),
                }
            }
        }
        self.body = None;
        Ok(())
    }

    fn broken(&mut self) -> Result<(), Unsent> {
        if let Some(body) = &self.body {
            body.is_broken();
        }
        Err(Unsent::Body)
    }

    fn poll_write(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lines = &self.lines[self.written..];
        let written = match self.piece.is_empty() && self.behind.is_empty() {
            true => ready!(wire.poll_write(context, lines))?,
            false => {
                let parts = [lines, &self.piece, self.behind].map(IoSlice::new);
                ready!(wire.poll_write_parts(context, &parts))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_lines = written.min(lines.len());
        self.written += of_lines;
        let of_piece = (written - of_lines).min(self.piece.len());
        if of_piece > 0 {
            self.piece.advance(of_piece);
            self.whole = false;
        }
        self.behind = &self.behind[written - of_lines - of_piece..];
        Poll::Ready(Ok(()))
    }
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harmless {
    /// If nothing of it was written.
    Untouched,
    /// It has no body, and may come twice.
    Any,
}

fn push_trailers(out: &mut Vec<u8>, lines: &[(&HeaderName, &HeaderValue)]) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in lines {
        push_line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
