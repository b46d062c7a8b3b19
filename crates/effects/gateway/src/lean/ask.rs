//! The head of a plain request: read from the client's bytes, and written anew for the instance in one pass.
//!
//! What is plain is said by what is let through, never by what is known to be bad: whatever is not on the list is
//! odd, and hyper reads it instead. The list is narrower than the grammar, so that no second parser can read a plain
//! request in another way.

use std::mem::MaybeUninit;
use std::ops::Range;

use http::Method;

use crate::head;
use crate::trace;

/// Lines that a head may have here; more is for hyper to refuse.
const LINES: usize = 100;
/// The length of the longest DNS name, and a port.
const LONGEST_HOST: usize = 260;

/// What of a request is known once its head has been read. Ranges are of the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path and query.
    target: Range<usize>,
    host: Range<usize>,
    port: usize,
    /// How long its head is.
    head: usize,
    /// How long its body is.
    pub(super) body: usize,
    /// Whether the client wants no further answer on the connection.
    pub(super) closes: bool,
    /// How the client calls it, if that is a name that may be passed on.
    id: Option<Range<usize>>,
    /// The trace that it belongs to, if it says so.
    pub(super) trace: Option<[u8; trace::ID]>,
}

/// What came of reading a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// There is more to come.
    Partial,
    /// It is not for this path.
    Odd,
    /// It is plain.
    Plain(Ask),
}

/// Whose word on where a request comes from is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client of the outside: nothing that it claims about itself is passed on.
    Front,
    /// An instance: it may pass on what it was told.
    Link,
}

impl Ask {
    /// Reads a head, and writes it to `out` without its end, so that more lines can follow.
    pub(super) fn read(input: &[u8], asker: Asker, out: &mut Vec<u8>) -> Read {
        let mut lines = [const { MaybeUninit::uninit() }; LINES];
        let mut request = httparse::Request::new(&mut []);
        let head = match request.parse_with_uninit_headers(input, &mut lines) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Read::Partial,
            Err(_) => return Read::Odd,
        };
        let reader = Reader {
            input,
            asker,
            out,
            head,
        };
        reader.read(&request).map_or(Read::Odd, Read::Plain)
    }

    /// Path and query.
    pub(super) fn target<'a>(&self, input: &'a [u8]) -> &'a str {
        text(input, &self.target)
    }

    /// The host without its port.
    pub(super) fn host<'a>(&self, input: &'a [u8]) -> &'a str {
        text(input, &self.host)
    }

    /// The host as it was written.
    pub(super) fn authority<'a>(&self, input: &'a [u8]) -> &'a str {
        text(input, &(self.host.start..self.port))
    }

    /// The name that the client gave it.
    pub(super) fn id<'a>(&self, input: &'a [u8]) -> Option<&'a str> {
        self.id.as_ref().map(|id| text(input, id))
    }

    /// What has come of its body.
    pub(super) fn body_of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.head..self.length().min(input.len())]
    }

    /// Head and body together.
    pub(super) fn length(&self) -> usize {
        self.head.saturating_add(self.body)
    }
}

/// Only what was found to be ASCII is ever asked for.
fn text<'a>(input: &'a [u8], range: &Range<usize>) -> &'a str {
    std::str::from_utf8(&input[range.clone()]).unwrap_or_default()
}

struct Reader<'a> {
    input: &'a [u8],
    asker: Asker,
    out: &'a mut Vec<u8>,
    head: usize,
}

/// What becomes of a line.
pub(crate) enum Line {
    /// It goes on as it is.
    Passed,
    /// It names the request, which the gateway says in its place.
    Named,
    /// It goes no further.
    Dropped,
}

/// What lines that mean the same in each version of HTTP have said so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The trace that the request belongs to.
    pub(crate) trace: Option<[u8; trace::ID]>,
    id: bool,
    stateful: bool,
}

impl Seen {
    /// What becomes of a line, named in lower case; `None` when its request is odd.
    pub(crate) fn line(&mut self, name: &[u8], value: &[u8], asker: Asker) -> Option<Line> {
        match name {
            b"content-type" if head::is_grpc_content(value) => return None,
            b"host" | b"content-length" | b"transfer-encoding" | b"upgrade" | b"expect"
            | b"trailer" | b"connection" => return None,
            name if head::is_of_hop(name) => return Some(Line::Dropped),
            b"x-request-id" => {
                let first = !std::mem::replace(&mut self.id, true);
                return Some(match first && head::is_plain_id(value) {
                    true => Line::Named,
                    false => Line::Dropped,
                });
            }
            // What of these may not pass is for the other path to take out.
            b"traceparent" if self.trace.is_none() => self.trace = Some(*trace::id(value)?),
            b"traceparent" => return None,
            b"tracestate" => self.stateful = true,
            // What is left of a caller's time is for the other path.
            b"x-envoy-expected-rq-timeout-ms" if asker == Asker::Link => return None,
            claim if is_claim(claim, asker) => return Some(Line::Dropped),
            _ => {}
        }
        Some(Line::Passed)
    }

    /// Whether a trace's state comes with the trace.
    pub(crate) fn is_whole(&self) -> bool {
        self.trace.is_some() || !self.stateful
    }
}

impl Reader<'_> {
    fn read(self, request: &httparse::Request<'_, '_>) -> Option<Ask> {
        let method = plain_method(request.method?)?;
        let target = request.path.filter(|target| is_plain_target(target))?;
        if request.version != Some(1) {
            return None;
        }
        self.out.extend_from_slice(method.as_str().as_bytes());
        self.out.push(b' ');
        self.out.extend_from_slice(target.as_bytes());
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        let mut ask = Ask {
            method,
            target: self.range(target.as_bytes()),
            host: 0..0,
            port: 0,
            head: self.head,
            body: 0,
            closes: false,
            id: None,
            trace: None,
        };
        let (mut seen_length, mut seen) = (false, Seen::default());
        for line in &*request.headers {
            let start = self.out.len();
            push_lower(self.out, line.name.as_bytes());
            let end = self.out.len();
            let fate = self.line(
                start..end,
                line.value,
                &mut ask,
                (&mut seen_length, &mut seen),
            )?;
            match fate {
                Line::Passed => {
                    self.out.extend_from_slice(b": ");
                    self.out.extend_from_slice(line.value);
                    self.out.extend_from_slice(b"\r\n");
                }
                Line::Named => {
                    ask.id = Some(self.range(line.value));
                    self.out.truncate(start);
                }
                Line::Dropped => self.out.truncate(start),
            }
        }
        ask.trace = seen.trace;
        (!ask.host.is_empty() && seen.is_whole()).then_some(ask)
    }

    fn line(
        &self,
        name: Range<usize>,
        value: &[u8],
        ask: &mut Ask,
        (seen_length, seen): (&mut bool, &mut Seen),
    ) -> Option<Line> {
        match &self.out[name] {
            b"host" if ask.host.is_empty() => {
                let name = host_name(value)?;
                let whole = self.range(value);
                ask.host = whole.start..whole.start + name;
                ask.port = whole.end;
                Some(Line::Passed)
            }
            b"content-length" if !*seen_length => {
                *seen_length = true;
                ask.body = length(value)?;
                Some(Line::Passed)
            }
            b"connection" => {
                ask.closes |= closes(value)?;
                Some(Line::Dropped)
            }
            b"te" => None,
            name => seen.line(name, value, self.asker),
        }
    }

    /// Where a part of the input is in it.
    fn range(&self, part: &[u8]) -> Range<usize> {
        let start = part.as_ptr().addr() - self.input.as_ptr().addr();
        start..start + part.len()
    }
}

fn plain_method(method: &str) -> Option<Method> {
    Some(match method {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "OPTIONS" => Method::OPTIONS,
        _ => return None,
    })
}

/// A path and perhaps a query, of the characters that RFC 3986 (sections 3.3 and 3.4) lets stand there.
pub(crate) fn is_plain_target(target: &str) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut at = 0;
        let others = b"-._~!$&'()*+,;=:@/?%";
        while at < others.len() {
            plain[others[at] as usize] = true;
            at += 1;
        }
        let mut byte = 0;
        while byte < 256 {
            plain[byte] |= (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        plain
    };
    target.starts_with('/') && target.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// How long the name in `Host` is, in lower case, with a port or without.
pub(crate) fn host_name(value: &[u8]) -> Option<usize> {
    let plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(byte);
    let end = value
        .iter()
        .position(|byte| !plain(byte))
        .unwrap_or(value.len());
    let good_port = match &value[end..] {
        [] => true,
        [b':', port @ ..] => head::is_port_number(port),
        _ => false,
    };
    let good_name = end > 0 && value[end - 1] != b'.';
    (good_port && good_name && value.len() <= LONGEST_HOST).then_some(end)
}

/// `Content-Length` in its shortest form.
pub(super) fn length(value: &[u8]) -> Option<usize> {
    let shortest = value.len() == 1 || value.first() != Some(&b'0');
    let length = head::digits(value, 15).filter(|_| shortest)?;
    usize::try_from(length).ok()
}

/// Whether `Connection` says that it ends; `None` when it says more.
fn closes(value: &[u8]) -> Option<bool> {
    match value {
        value if value.eq_ignore_ascii_case(b"keep-alive") => Some(false),
        value if value.eq_ignore_ascii_case(b"close") => Some(true),
        _ => None,
    }
}

/// What a client says about where it comes from, or an instance about who asks.
fn is_claim(name: &[u8], asker: Asker) -> bool {
    match asker {
        Asker::Front => head::is_claim(name),
        Asker::Link => head::is_of_ward(name),
    }
}

/// Names are written in lower case, as hyper writes them.
pub(super) fn push_lower(out: &mut Vec<u8>, name: &[u8]) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str, asker: Asker) -> (Read, String) {
        let mut out = Vec::new();
        let read = Ask::read(input.as_bytes(), asker, &mut out);
        (read, String::from_utf8(out).unwrap())
    }

    fn plain(input: &str) -> (Ask, String) {
        match read(input, Asker::Front) {
            (Read::Plain(ask), out) => (ask, out),
            (other, _) => panic!("{input:?} is {other:?}"),
        }
    }

    #[test]
    fn a_host_may_have_a_port_that_there_is() {
        for (host, length) in [
            ("a.b", Some(3)),
            ("a.b:65535", Some(3)),
            ("a.b:65536", None),
            ("a.b:99999", None),
            ("a.b:123456", None),
            ("a.b:", None),
            ("a.b:x", None),
        ] {
            assert_eq!(host_name(host.as_bytes()), length, "{host}");
        }
    }

    #[test]
    fn a_plain_head_is_written_anew() {
        let input = "POST /a%20b?c=d HTTP/1.1\r\nHost: shop.localhost:8080\r\nUser-Agent: x\r\n\
                     Content-Length: 5\r\nConnection: Keep-Alive\r\nX-Forwarded-For: 6.6.6.6\r\n\
                     X-Request-ID: mine\r\nWard-From: api\r\nWard_Client-Subject: CN=root\r\nProxy-Connection: close\r\n\r\nhelloGET /";
        let (ask, out) = plain(input);
        assert_eq!(
            out,
            "POST /a%20b?c=d HTTP/1.1\r\nhost: shop.localhost:8080\r\nuser-agent: x\r\ncontent-length: 5\r\n"
        );
        let input = input.as_bytes();
        assert_eq!(ask.method, Method::POST);
        assert_eq!(ask.target(input), "/a%20b?c=d");
        assert_eq!(
            (ask.host(input), ask.authority(input)),
            ("shop.localhost", "shop.localhost:8080")
        );
        assert_eq!((ask.id(input), ask.closes), (Some("mine"), false));
        assert_eq!(ask.body_of(input), b"hello");
        assert_eq!(&input[ask.length()..], b"GET /");
    }

    #[test]
    fn an_instance_may_pass_on_what_it_was_told() {
        let input = "GET / HTTP/1.1\r\nHost: api\r\nX-Forwarded-For: 192.0.2.1\r\nWard-From: x\r\n\
             Ward_From: x\r\nward_from_env: x\r\nWard-Probe: 1\r\nWard-Client-Subject: CN=root\r\nward_client_subject: CN=root\r\n\r\n";
        let (_, out) = read(input, Asker::Link);
        assert_eq!(
            out,
            "GET / HTTP/1.1\r\nhost: api\r\nx-forwarded-for: 192.0.2.1\r\n"
        );
    }

    #[test]
    fn a_part_of_a_head_is_no_head() {
        let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], Asker::Front).0, Read::Partial, "{end}");
        }
        assert!(plain(whole).1.starts_with("GET / "));
    }

    #[test]
    fn whatever_is_not_plain_is_odd() {
        let line = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        let start = |start: &str| format!("{start}\r\nHost: a\r\n\r\n");
        let host = |host: &str| format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n");
        let odd = [
            "Transfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: +5",
            "Content-Length: 05",
            "Content-Length: 5, 5",
            "Content-Length: ",
            "Content-Length: 9999999999999999",
            "Connection: Upgrade",
            "Connection: close, x-secret",
            "Upgrade: websocket",
            "Expect: 100-continue",
            "TE: trailers",
            "Trailer: x",
            "Host: a",
            "Content-Type: application/grpc",
            " folded: x",
            "x: a\u{0}b",
            "x: a\rb",
        ]
        .map(line);
        let starts = [
            "GET / HTTP/1.0",
            "GET / HTTP/2.0",
            "CONNECT a:80 HTTP/1.1",
            "TRACE / HTTP/1.1",
            "get / HTTP/1.1",
            "GET http://a/ HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /a\\b HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /{a} HTTP/1.1",
            "GET  / HTTP/1.1",
            "PRI * HTTP/2.0",
        ]
        .map(start);
        let hosts = [
            "",
            " ",
            " a b",
            " A",
            " a.",
            " a:",
            " a:123456",
            " a:b",
            " u@a",
            " [::1]",
            " a/b",
            " a,b",
            " \u{e9}",
        ]
        .map(host);
        for input in odd.iter().chain(&starts).chain(&hosts) {
            assert_eq!(read(input, Asker::Front).0, Read::Odd, "{input:?}");
        }
        assert_eq!(
            read("GET / HTTP/1.1\r\n\r\n", Asker::Front).0,
            Read::Odd,
            "no host"
        );
        let many = line(&"x: y\r\n".repeat(LINES));
        assert_eq!(read(&many, Asker::Front).0, Read::Odd);
    }

    #[test]
    fn names_that_may_not_stand_in_a_log_are_not_passed_on() {
        for bad in ["a b", "", "<x>", &"a".repeat(129)] {
            let input = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {bad}\r\n\r\n");
            let (ask, out) = plain(&input);
            assert_eq!(
                (ask.id(input.as_bytes()), out.contains("request-id")),
                (None, false)
            );
        }
    }
}
