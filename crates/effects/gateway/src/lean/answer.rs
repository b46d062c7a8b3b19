//! The head of an instance's answer: read from its bytes, and written anew for the client in one pass.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::ask::{length, push_lower};
use super::body::Framing;
use crate::head;
use crate::reply::Kind;
use crate::settings::{Settings, says_who_may_frame, suits};

const LINES: usize = 100;

/// What of an answer is known once its head has been read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    /// Whether it is of those that never have a body.
    bodiless: bool,
    /// Whether the connection can carry another request after it.
    pub(crate) keeps: bool,
    pub(crate) kind: Kind,
    /// How long the head is.
    pub(crate) length: usize,
}

/// What came of reading a head.
#[derive(Debug)]
pub(super) enum Read {
    /// There is more to come.
    Partial,
    /// It said that another answer follows, in so many bytes.
    Interim(usize),
    /// It is one.
    Whole(Head),
}

/// It is not an answer that could be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What the client is told beside what the instance says.
pub(super) struct Extra<'a> {
    /// Whether the request was one for the head alone.
    pub(super) bodiless: bool,
    /// `ward-instance` and `ward-release`.
    pub(super) names: &'a [HeaderValue; 2],
    pub(super) id: &'a [u8],
    /// The route's.
    pub(super) settings: Option<&'a Settings>,
    pub(super) scheme: &'static str,
    /// The time, for instances that do not tell it.
    pub(super) date: [u8; 29],
    /// Whether this is the connection's last answer.
    pub(super) closes: bool,
}

/// Reads a head, and writes it to `out`.
pub(super) fn read(input: &[u8], extra: &Extra<'_>, out: &mut Vec<u8>) -> Result<Read, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut response = httparse::Response::new(&mut []);
    let (head, seen) = match understand(&mut response, input, &mut lines, extra.bodiless)? {
        Understood::Partial => return Ok(Read::Partial),
        Understood::Interim(_, length) => return Ok(Read::Interim(length)),
        Understood::Whole(head, seen) => (head, seen),
    };
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed("it switches protocols, which nobody asked for"));
    }
    write_status(head.status, out);
    let dressed = write_lines(&response, &seen, head.status, extra, out);
    if !head.bodiless && !matches!(head.framing, Framing::Length(_)) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    write_extra(extra, dressed, out);
    Ok(Read::Whole(head))
}

/// The same for whoever writes it in other words: its lines without those that are for the gateway alone, which
/// are all there when it switches protocols. Their values are parts of `input`.
pub(crate) fn read_lines(input: &Bytes, bodiless: bool) -> Result<ReadLines, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut response = httparse::Response::new(&mut []);
    let (head, seen) = match understand(&mut response, input, &mut lines, bodiless)? {
        Understood::Partial => return Ok(ReadLines::Partial),
        Understood::Interim(status, length) => return Ok(ReadLines::Interim(status, length)),
        Understood::Whole(head, seen) => (head, seen),
    };
    let mut map = HeaderMap::with_capacity(response.headers.len() + ADDED);
    let mut counted = false;
    for line in &*response.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let name = name.map_err(|_| Malformed("a header's name is none"))?;
        if head.status != StatusCode::SWITCHING_PROTOCOLS
            && is_dropped(name.as_str().as_bytes(), &seen, head.status, &mut counted)
        {
            continue;
        }
        let value = match line.value {
            [] => HeaderValue::from_static(""),
            value => HeaderValue::from_maybe_shared(input.slice_ref(value))
                .map_err(|_| Malformed("a header's value is none"))?,
        };
        map.append(name, value);
    }
    Ok(ReadLines::Whole(head, map))
}

/// Lines that the gateway adds to an answer, about. There is room for twelve or for twice as many, and most answers need
/// no more than twelve.
const ADDED: usize = 8;

/// What came of reading a head for whoever writes it in other words.
#[derive(Debug)]
pub(crate) enum ReadLines {
    /// There is more to come.
    Partial,
    /// With this status, which says that another answer follows, in so many bytes.
    Interim(StatusCode, usize),
    /// It is one, or switches protocols.
    Whole(Head, HeaderMap),
}

/// What a head says, before anything is made of it.
enum Understood<'a> {
    Partial,
    Interim(StatusCode, usize),
    Whole(Head, Seen<'a>),
}

fn understand<'h, 'a>(
    response: &mut httparse::Response<'h, 'a>,
    input: &'a [u8],
    lines: &'h mut [MaybeUninit<httparse::Header<'a>>],
    bodiless: bool,
) -> Result<Understood<'a>, Malformed> {
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(response, input, lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Understood::Partial),
        Err(_) => return Err(Malformed("its head is malformed")),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed("its status is none"))?;
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() && !switches {
        return Ok(Understood::Interim(status, length));
    }
    let seen = Seen::of(response)?;
    let bodiless = bodiless
        || switches
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let framing = match (bodiless, seen.chunked, seen.length) {
        (true, ..) => Framing::Empty,
        (_, true, _) => Framing::chunked(),
        (_, _, Some(length)) => Framing::Length(length as u64),
        (_, _, None) => Framing::ToTheEnd,
    };
    let keeps = seen.keeps
        && response.version == Some(1)
        && !switches
        && !matches!(framing, Framing::ToTheEnd)
        // Whoever sends both may mean either.
        && !(seen.chunked && seen.length.is_some());
    let head = Head {
        status,
        framing,
        bodiless,
        keeps,
        kind: seen.kind(),
        length,
    };
    Ok(Understood::Whole(head, seen))
}

/// What decides how an answer is read.
#[derive(Default)]
struct Seen<'a> {
    chunked: bool,
    length: Option<usize>,
    keeps: bool,
    events: bool,
    compressed: bool,
    /// `Connection`, where it names lines that are for the gateway alone.
    listed: Vec<&'a [u8]>,
}

impl<'a> Seen<'a> {
    fn of(response: &httparse::Response<'_, 'a>) -> Result<Self, Malformed> {
        let mut seen = Self {
            keeps: true,
            ..Self::default()
        };
        for line in &*response.headers {
            let (name, value) = (line.name, line.value);
            match name.len() {
                10 if name.eq_ignore_ascii_case("connection") => seen.connection(value),
                12 if name.eq_ignore_ascii_case("content-type") => {
                    seen.events = head::is_event_content(value);
                }
                14 if name.eq_ignore_ascii_case("content-length") => seen.length(value)?,
                16 if name.eq_ignore_ascii_case("content-encoding") => seen.compressed = true,
                17 if name.eq_ignore_ascii_case("transfer-encoding") => seen.coding(value)?,
                _ => {}
            }
        }
        Ok(seen)
    }

    fn connection(&mut self, value: &'a [u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match token {
                token if token.eq_ignore_ascii_case(b"close") => self.keeps = false,
                token if token.eq_ignore_ascii_case(b"keep-alive") => {}
                token => self.listed.push(token),
            }
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let length = length(value).ok_or(Malformed("its Content-Length is no length"))?;
        match self
            .length
            .replace(length)
            .is_none_or(|before| before == length)
        {
            true => Ok(()),
            false => Err(Malformed("it has two lengths")),
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        match value.eq_ignore_ascii_case(b"chunked") && !std::mem::replace(&mut self.chunked, true)
        {
            true => Ok(()),
            false => Err(Malformed("it has a transfer coding that nobody asked for")),
        }
    }

    fn kind(&self) -> Kind {
        match (self.events, self.compressed) {
            (true, true) => Kind::CompressedEvents,
            (true, false) => Kind::Events,
            (false, _) => Kind::Ordinary,
        }
    }
}

fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let reason = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Which lines the instance has sent that the gateway would add.
#[derive(Default)]
struct Dressed {
    date: bool,
    framed: bool,
    /// Of the route's, by position: of those that are plain there are less than 64.
    own: u64,
}

fn write_lines(
    response: &httparse::Response<'_, '_>,
    seen: &Seen<'_>,
    status: StatusCode,
    extra: &Extra<'_>,
    out: &mut Vec<u8>,
) -> Dressed {
    let mut dressed = Dressed::default();
    let own = extra.settings.map_or(&[][..], Settings::headers);
    let mut counted = false;
    for line in &*response.headers {
        let start = out.len();
        push_lower(out, line.name.as_bytes());
        let name = &out[start..];
        if is_dropped(name, seen, status, &mut counted) {
            out.truncate(start);
            continue;
        }
        match name {
            b"date" => dressed.date = true,
            b"content-security-policy" => dressed.framed |= says_who_may_frame(line.value),
            _ => {}
        }
        if let Some(at) = own
            .iter()
            .position(|(own, _)| own.as_str().as_bytes() == name)
        {
            dressed.own |= 1 << at;
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(line.value);
        out.extend_from_slice(b"\r\n");
    }
    dressed
}

/// Whether a line, named in lower case, is for the gateway alone, or would say again what others say.
fn is_dropped(name: &[u8], seen: &Seen<'_>, status: StatusCode, counted: &mut bool) -> bool {
    match name {
        b"ward-instance" | b"ward-release" | b"ward-fault" | b"x-request-id" => true,
        name if head::is_of_hop(name) => true,
        b"content-length" => {
            seen.chunked || status == StatusCode::NO_CONTENT || std::mem::replace(counted, true)
        }
        name => seen
            .listed
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name)),
    }
}

fn write_extra(extra: &Extra<'_>, dressed: Dressed, out: &mut Vec<u8>) {
    let own = extra.settings.map_or(&[][..], Settings::headers);
    for (at, (name, value)) in own.iter().enumerate() {
        let said = dressed.own & (1 << at) != 0;
        if !said && suits(name, extra.scheme, || dressed.framed) {
            push_line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let [instance, release] = extra.names;
    push_line(out, b"ward-instance", instance.as_bytes());
    push_line(out, b"ward-release", release.as_bytes());
    push_line(out, b"x-request-id", extra.id);
    if !dressed.date {
        push_line(out, b"date", &extra.date);
    }
    if extra.closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// One line of a head.
pub(crate) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: [u8; 29] = *b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn told(input: &str, bodiless: bool) -> Result<(Head, String), Malformed> {
        let names = [
            HeaderValue::from_static("web-r1-1"),
            HeaderValue::from_static("r1"),
        ];
        let extra = Extra {
            bodiless,
            names: &names,
            id: b"abc",
            settings: None,
            scheme: "http",
            date: DATE,
            closes: false,
        };
        let mut out = Vec::new();
        match read(input.as_bytes(), &extra, &mut out)? {
            Read::Whole(head) => Ok((head, String::from_utf8(out).unwrap())),
            other => panic!("{input:?} is {other:?}"),
        }
    }

    #[test]
    fn a_head_is_written_anew() {
        let input = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                     Ward-Release: r9\r\nWard-Fault: ward\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
        let (head, out) = told(input, false).unwrap();
        assert_eq!(
            out,
            "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 3\r\nward-instance: web-r1-1\r\nward-release: r1\r\n\
             x-request-id: abc\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
        assert!(head.keeps && matches!(head.framing, Framing::Length(3)));
        assert_eq!(&input[head.length..], "abc");
    }

    #[test]
    fn the_end_of_a_body_is_told_by_one_thing() {
        let framing = |lines: &str, bodiless| -> Result<_, Malformed> {
            let (head, out) = told(&format!("HTTP/1.1 {lines}\r\n\r\n"), bodiless)?;
            let chunked = out.contains("transfer-encoding: chunked");
            let sized = out.contains("content-length");
            Ok((
                format!("{:?}", head.framing).replace("Chunks(Size { size: 0, digits: 0 })", ""),
                head.keeps,
                chunked,
                sized,
            ))
        };
        let good =
            |framing: &str, keeps, chunked, sized| Ok((framing.to_owned(), keeps, chunked, sized));
        assert_eq!(
            framing("200 OK\r\nContent-Length: 7", false),
            good("Length(7)", true, false, true)
        );
        assert_eq!(
            framing("200 OK\r\nTransfer-Encoding: Chunked", false),
            good("Chunked()", true, true, false)
        );
        assert_eq!(
            framing(
                "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7",
                false
            ),
            good("Chunked()", false, true, false),
            "whoever says both may mean either"
        );
        assert_eq!(
            framing("200 OK", false),
            good("ToTheEnd", false, true, false)
        );
        assert_eq!(
            framing("200 OK\r\nConnection: close\r\nContent-Length: 7", false),
            good("Length(7)", false, false, true)
        );
        assert_eq!(
            framing("200 OK\r\nContent-Length: 7", true),
            good("Empty", true, false, true)
        );
        assert_eq!(
            framing("304 Not Modified\r\nContent-Length: 7", false),
            good("Empty", true, false, true)
        );
        assert_eq!(
            framing("204 No Content\r\nContent-Length: 7", false),
            good("Empty", true, false, false)
        );
        for bad in [
            "200 OK\r\nContent-Length: 7\r\nContent-Length: 8",
            "200 OK\r\nContent-Length: 7, 7",
            "200 OK\r\nTransfer-Encoding: gzip, chunked",
            "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "101 Switching Protocols\r\nUpgrade: x",
        ] {
            assert!(framing(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interim_answer_is_none() {
        let names = [HeaderValue::from_static("i"), HeaderValue::from_static("r")];
        let extra = Extra {
            bodiless: false,
            names: &names,
            id: b"abc",
            settings: None,
            scheme: "http",
            date: DATE,
            closes: true,
        };
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let mut out = Vec::new();
        assert!(
            matches!(read(early, &extra, &mut out), Ok(Read::Interim(length)) if length == early.len())
        );
        assert!(matches!(
            read(b"HTTP/1.1 200", &extra, &mut out),
            Ok(Read::Partial)
        ));
        assert!(out.is_empty());
        read(
            b"HTTP/1.0 404 Nope\r\nContent-Length: 0\r\n\r\n",
            &extra,
            &mut out,
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 404 Not Found\r\n")
                && text.ends_with("connection: close\r\n\r\n")
        );
    }

    /// Both paths say the same.
    #[test]
    fn a_route_adds_what_the_application_did_not_say() {
        use crate::settings::Locality;
        use ward_types::route::RouteSettings;
        let settings = Settings::new(&RouteSettings::default(), Locality::Elsewhere).unwrap();
        let names = [HeaderValue::from_static("i"), HeaderValue::from_static("r")];
        for lines in [
            &[][..],
            &[("referrer-policy", "no-referrer"), ("date", "x")],
            &[("content-security-policy", "frame-ancestors 'none'")],
            &[
                ("x-frame-options", "DENY"),
                ("strict-transport-security", "max-age=1"),
            ],
        ] {
            for scheme in ["http", "https"] {
                let mut input = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
                let mut expected = http::HeaderMap::new();
                for (name, value) in lines {
                    input += &format!("{name}: {value}\r\n");
                    expected.append(*name, HeaderValue::from_static(value));
                }
                settings.dress(&mut expected, scheme);
                let extra = Extra {
                    bodiless: false,
                    names: &names,
                    id: b"abc",
                    settings: Some(&settings),
                    scheme,
                    date: DATE,
                    closes: false,
                };
                let mut out = Vec::new();
                read((input + "\r\n").as_bytes(), &extra, &mut out).unwrap();
                let out = String::from_utf8(out).unwrap();
                let ours = [
                    "content-length",
                    "ward-instance",
                    "ward-release",
                    "x-request-id",
                ];
                let mut written: Vec<&str> = out
                    .lines()
                    .skip(1)
                    .filter(|line| !line.is_empty())
                    .collect();
                written.retain(|line| !ours.iter().any(|own| line.starts_with(own)));
                if !lines.contains(&("date", "x")) {
                    written.retain(|line| !line.starts_with("date: Sun"));
                }
                written.sort_unstable();
                let line = |(name, value): (&HeaderName, &HeaderValue)| {
                    format!("{name}: {}", value.to_str().unwrap())
                };
                let mut wanted: Vec<String> = expected.iter().map(line).collect();
                wanted.sort();
                assert_eq!(written, wanted, "{lines:?} over {scheme}");
            }
        }
    }
}
