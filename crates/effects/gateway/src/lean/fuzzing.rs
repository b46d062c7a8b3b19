//! What the lean path reads and writes, for the fuzz targets.

use std::ops::Range;

use http::HeaderValue;

use super::answer::{self, Extra};
use super::ask::{Ask, Asker, Read};
use super::body::{Framing, push_chunk};

/// What was made of the head of a request.
#[derive(Debug)]
pub enum Asked {
    /// There is more to come.
    Partial,
    /// It is for the other path.
    Odd,
    /// It is plain.
    Plain(Plain),
}

/// A plain request.
#[derive(Debug)]
pub struct Plain {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The host without its port.
    pub host: String,
    /// The host as it was written.
    pub authority: String,
    /// The name that the client gave it.
    pub id: Option<String>,
    /// Whether the client wants no further answer.
    pub closes: bool,
    /// Where in the input its body is, which may not all be there.
    pub body: Range<usize>,
    /// What the instance is sent, without what the gateway adds and without the empty line.
    pub written: Vec<u8>,
}

/// Reads the head of a request, of the outside or of a link.
#[must_use]
pub fn ask(input: &[u8], link: bool) -> Asked {
    let asker = match link {
        true => Asker::Link,
        false => Asker::Front,
    };
    let mut written = Vec::new();
    let ask = match Ask::read(input, asker, &mut written) {
        Read::Partial => return Asked::Partial,
        Read::Odd => return Asked::Odd,
        Read::Plain(ask) => ask,
    };
    if ask.length() <= input.len() {
        assert_eq!(ask.body_of(input).len(), ask.body);
    }
    Asked::Plain(Plain {
        method: ask.method.to_string(),
        target: ask.target(input).to_owned(),
        host: ask.host(input).to_owned(),
        authority: ask.authority(input).to_owned(),
        id: ask.id(input).map(str::to_owned),
        closes: ask.closes,
        body: ask.length() - ask.body..ask.length(),
        written,
    })
}

/// What was made of the head of an answer.
#[derive(Debug)]
pub enum Answered {
    /// There is more to come.
    Partial,
    /// Another answer follows this one, which is so long.
    Interim(usize),
    /// It is not one.
    Malformed,
    /// It is one.
    Whole(Whole),
}

/// The head of an answer.
#[derive(Debug)]
pub struct Whole {
    /// Its status.
    pub status: u16,
    /// How its body ends.
    pub body: Ends,
    /// Whether the connection carries another one.
    pub keeps: bool,
    /// How long the head is.
    pub length: usize,
    /// What the client is sent.
    pub written: Vec<u8>,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// There is none.
    AtOnce,
    /// After so many bytes.
    After(u64),
    /// As its chunks say.
    Chunked,
    /// With the connection.
    WithTheConnection,
}

/// Reads the head of an answer to a request, of which no body is sent when it is `HEAD`.
#[must_use]
pub fn answer(input: &[u8], head: bool) -> Answered {
    let names = [
        HeaderValue::from_static("web-r1-1"),
        HeaderValue::from_static("r1"),
    ];
    let extra = Extra {
        bodiless: head,
        names: &names,
        id: b"abc",
        settings: None,
        scheme: "http",
        date: *b"Sun, 06 Nov 1994 08:49:37 GMT",
        closes: false,
    };
    let mut written = Vec::new();
    let head = match answer::read(input, &extra, &mut written) {
        Err(_) => return Answered::Malformed,
        Ok(answer::Read::Partial) => return Answered::Partial,
        Ok(answer::Read::Interim(length)) => return Answered::Interim(length),
        Ok(answer::Read::Whole(head)) => head,
    };
    Answered::Whole(Whole {
        status: head.status.as_u16(),
        body: match head.framing {
            Framing::Empty => Ends::AtOnce,
            Framing::Length(length) => Ends::After(length),
            Framing::Chunked(_) => Ends::Chunked,
            Framing::ToTheEnd => Ends::WithTheConnection,
        },
        keeps: head.keeps,
        length: head.length,
        written,
    })
}

/// A chunked body as it comes in parts.
#[derive(Debug)]
pub struct Chunks(Framing);

impl Default for Chunks {
    fn default() -> Self {
        Self(Framing::chunked())
    }
}

impl Chunks {
    /// Takes a part: what of the body is in it, and how many of its bytes were used; `None` when it is malformed.
    pub fn take(&mut self, part: &[u8]) -> Option<(Vec<u8>, usize)> {
        let mut body = Vec::new();
        let used = self.0.take(part, |piece| body.extend_from_slice(piece));
        Some((body, used.ok()?))
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

/// A piece of a body as the client is sent it.
#[must_use]
pub fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_chunk(&mut out, piece);
    out
}
