//! The reading that the gateway is held to: RFC 9112, strictly, of all that is sent on one connection.
//!
//! The gateway may refuse more than this one does. What it accepts must be here, in this order, with this method,
//! target, header and body. Lenient on purpose, where RFC 9112 allows it and no origin hears of it, because the
//! gateway writes heads anew: LF alone ends a line of a head (section 2.2), empty lines come before a request line
//! (2.2), equal lengths are one (6.3), a length beside `chunked` does not count and ends the connection (6.1),
//! and what an extension of a chunk says does not matter.

/// A fault that the judge knows.
pub const LF_IN_TRAILER: &str = "a bare LF behind the last chunk";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub method: Vec<u8>,
    /// In origin form, or `*`; of CONNECT as it is.
    pub target: Vec<u8>,
    /// What is wrong with it though it is clear where it ends: no instance may get it, and another one may follow.
    pub flaw: Option<&'static str>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The values of a header, by its name in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of = move |field: &&(Vec<u8>, Vec<u8>)| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.headers.iter().filter(of).map(|field| &field.1[..])
    }

    /// Whether one of the words of a list in a header is this one.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// How the bytes of a connection end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// After a request; another one may follow.
    Clean,
    /// After a request that ends the connection: what follows is never read.
    Closed,
    /// Within a request, of which more would have to come.
    Partial,
    /// Here is no request.
    Bad(&'static str),
}

/// All of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub requests: Vec<Request>,
    /// The request whose head is good, and whose body is not all there or is bad.
    pub begun: Option<Request>,
    pub end: End,
}

/// Reads all that was sent.
pub fn read(bytes: &[u8]) -> Reading {
    let mut input = Input { bytes, at: 0 };
    let mut reading = Reading {
        requests: Vec::new(),
        begun: None,
        end: End::Clean,
    };
    loop {
        input.skip_empty_lines();
        if input.at == bytes.len() {
            return reading;
        }
        let framed = match read_head(&mut input) {
            Ok(framed) => framed,
            Err(end) => {
                reading.end = end;
                return reading;
            }
        };
        let (mut request, framing, closes) = framed;
        if let Err(end) = read_body(&mut input, &framing, &mut request.body) {
            reading.begun = Some(request);
            reading.end = end;
            return reading;
        }
        reading.requests.push(request);
        if closes {
            reading.end = End::Closed;
            return reading;
        }
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// What there is of an empty line counts as one: a lone CR at the end.
    fn skip_empty_lines(&mut self) {
        loop {
            match self.rest() {
                [b'\r', b'\n', ..] => self.at += 2,
                [b'\n', ..] | [b'\r'] => self.at += 1,
                _ => return,
            }
        }
    }

    /// A line of a head, without its end.
    fn line(&mut self) -> Result<&'a [u8], End> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Said before the rest has come: nothing that follows makes it good.
        if line.iter().any(|byte| *byte == b'\r' || *byte == 0) {
            return Err(End::Bad("CR or NUL within a line"));
        }
        let end = end.ok_or(End::Partial)?;
        self.at += end + 1;
        Ok(line)
    }

    fn crlf_line(&mut self, otherwise: &'static str) -> Result<&'a [u8], End> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            return Err(End::Partial);
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(End::Bad(otherwise))?;
        if line.contains(&b'\r') {
            return Err(End::Bad("a bare CR within a chunked body"));
        }
        self.at += end + 1;
        Ok(line)
    }

    fn take(&mut self, size: u64, body: &mut Vec<u8>) -> Result<(), End> {
        let rest = self.rest();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        self.at += size.min(rest.len());
        if size <= rest.len() {
            Ok(())
        } else {
            Err(End::Partial)
        }
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

fn read_head(input: &mut Input<'_>) -> Result<(Request, Framing, bool), End> {
    let line = input.line()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Err(End::Bad("a request line has three words"));
    };
    if !is_token(method) {
        return Err(End::Bad("a method is a token"));
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return Err(End::Bad("the version is 1.0 or 1.1")),
    };
    let (target, flaw) = read_target(method, target)?;
    let mut request = Request {
        method: method.to_vec(),
        target,
        flaw,
        ..Request::default()
    };
    loop {
        let line = input.line()?;
        if line.is_empty() {
            break;
        }
        request.headers.push(read_field(line)?);
    }
    let (framing, ambiguous) = framing(&request, minor)?;
    let kept = match minor {
        1 => !request.lists("connection", "close"),
        _ => request.lists("connection", "keep-alive") && !request.lists("connection", "close"),
    };
    Ok((request, framing, !kept || ambiguous))
}

fn is_token(bytes: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(letter)
}

/// The target in origin form, and what is wrong with it.
fn read_target(method: &[u8], target: &[u8]) -> Result<(Vec<u8>, Option<&'static str>), End> {
    if !target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) || target.is_empty() {
        return Err(End::Bad("no target, or a control character in it"));
    }
    let whole = target;
    let end = target.iter().position(|byte| *byte == b'#');
    let target = &target[..end.unwrap_or(target.len())];
    if method == b"CONNECT" {
        return Ok((whole.to_vec(), Some("there are no tunnels here")));
    }
    if target.first() == Some(&b'/') || target == b"*" {
        return Ok((target.to_vec(), None));
    }
    let scheme = target.windows(3).position(|three| three == b"://");
    let Some(scheme) = scheme.filter(|at| *at > 0) else {
        return Ok((whole.to_vec(), Some("the target has no form that is known")));
    };
    let rest = &target[scheme + 3..];
    let path = rest.iter().position(|byte| b"/?".contains(byte));
    let path = &rest[path.unwrap_or(rest.len())..];
    let slash: &[u8] = match path.first() {
        Some(b'/') => b"",
        _ => b"/",
    };
    Ok(([slash, path].concat(), None))
}

fn read_field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), End> {
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(End::Bad("a header without a colon"))?;
    if !is_token(&line[..colon]) {
        return Err(End::Bad("a header's name is a token"));
    }
    let blank = |byte: &u8| b" \t".contains(byte);
    let value = &line[colon + 1..];
    let start = value.iter().position(|byte| !blank(byte));
    let end = value.iter().rposition(|byte| !blank(byte));
    let value = match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    };
    let good = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !value.iter().all(good) {
        return Err(End::Bad("a control character in a header"));
    }
    Ok((line[..colon].to_vec(), value.to_vec()))
}

/// How the body's end is found, and whether a length had to be passed over.
fn framing(request: &Request, minor: u8) -> Result<(Framing, bool), End> {
    let mut codings = request.values("transfer-encoding");
    let lengths: Vec<&[u8]> = request.values("content-length").collect();
    if let Some(coding) = codings.next() {
        if minor == 0 {
            return Err(End::Bad("a coding in HTTP/1.0"));
        }
        if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(End::Bad("a coding that is not just chunked"));
        }
        return Ok((Framing::Chunked, !lengths.is_empty()));
    }
    let mut found = None;
    for length in lengths {
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(length).ok().filter(|_| digits);
        let length: Option<u64> = text.and_then(|text| text.parse().ok());
        let length = length.ok_or(End::Bad("a length that is no number"))?;
        if found.is_some_and(|found| found != length) {
            return Err(End::Bad("two lengths"));
        }
        found = Some(length);
    }
    Ok((Framing::Length(found.unwrap_or(0)), false))
}

fn read_body(input: &mut Input<'_>, framing: &Framing, body: &mut Vec<u8>) -> Result<(), End> {
    match framing {
        Framing::Length(length) => input.take(*length, body),
        Framing::Chunked => read_chunks(input, body),
    }
}

fn read_chunks(input: &mut Input<'_>, body: &mut Vec<u8>) -> Result<(), End> {
    loop {
        let size = read_size(input.crlf_line("a bare LF after a chunk's size")?)?;
        if size == 0 {
            break;
        }
        input.take(size, body)?;
        match input.rest() {
            [b'\r', b'\n', ..] => input.at += 2,
            [] | [b'\r'] => return Err(End::Partial),
            _ => return Err(End::Bad("a chunk does not end where it should")),
        }
    }
    loop {
        let line = input.crlf_line(LF_IN_TRAILER)?;
        if line.is_empty() {
            return Ok(());
        }
        read_field(line)?;
    }
}

fn read_size(line: &[u8]) -> Result<u64, End> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits: String = digits.map(|byte| char::from(*byte)).collect();
    let mut rest = &line[digits.len()..];
    while let [b' ' | b'\t', more @ ..] = rest {
        rest = more;
    }
    if !matches!(rest, [] | [b';', ..]) {
        return Err(End::Bad("a chunk's size is followed by something else"));
    }
    u64::from_str_radix(&digits, 16).map_err(|_| End::Bad("a chunk's size is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "Host: a\r\n";

    fn targets(text: &str) -> (Vec<String>, End) {
        let reading = read(text.as_bytes());
        let text = |request: &Request| {
            let [target, body] =
                [&request.target, &request.body].map(|part| part.escape_ascii().to_string());
            format!("{target} {body}")
        };
        (reading.requests.iter().map(text).collect(), reading.end)
    }

    fn post(lines: &str, body: &str) -> (Vec<String>, End) {
        targets(&format!(
            "POST /x HTTP/1.1\r\n{HOST}{lines}\r\n{body}GET /y HTTP/1.1\r\n{HOST}\r\n"
        ))
    }

    #[test]
    fn bodies_end_where_they_should() {
        for (lines, body, read) in [
            ("", "", "/x "),
            ("Content-Length: 5\r\n", "hello", "/x hello"),
            (
                "Content-Length: 5\r\nContent-Length: 05\r\n",
                "hello",
                "/x hello",
            ),
            (
                "Transfer-Encoding: CHUNKED\r\n",
                "5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nx: y\r\n\r\n",
                "/x hello!",
            ),
        ] {
            let both = vec![read.to_owned(), "/y ".to_owned()];
            assert_eq!(post(lines, body), (both, End::Clean), "{lines}{body}");
        }
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(
            post(both, "0\r\n\r\n"),
            (vec!["/x ".to_owned()], End::Closed)
        );
        assert_eq!(post("Connection: a, close\r\n", "").1, End::Closed);
        assert_eq!(post("Content-Length: 500\r\n", "").1, End::Partial);
    }

    #[test]
    fn what_is_ambiguous_is_no_request() {
        for (lines, body) in [
            ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
            ("Content-Length: 5, 5\r\n", "hello"),
            ("Content-Length: +5\r\n", "hello"),
            ("Content-Length: 18446744073709551616\r\n", ""),
            ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\u{b}\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", ""),
            ("X: a\rb\r\n", ""),
            ("X: a\0\r\n", ""),
            ("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello0\r\n\r\n"),
            (
                "Transfer-Encoding: chunked\r\n",
                "0x5\r\nhello\r\n0\r\n\r\n",
            ),
            ("Transfer-Encoding: chunked\r\n", "0\r\n\n"),
        ] {
            let (read, end) = post(lines, body);
            let refused = read.is_empty() && matches!(end, End::Bad(_));
            assert!(refused, "{lines}{body}: {read:?}, {end:?}");
        }
        for line in [
            "GET /a b HTTP/1.1",
            "GET  /a HTTP/1.1",
            "GET /a HTTP/1.2",
            "GET /a",
            "G(T /a HTTP/1.1",
        ] {
            let (read, end) = targets(&format!("{line}\r\n{HOST}\r\n"));
            assert!(
                read.is_empty() && matches!(end, End::Bad(_)),
                "{line}: {read:?}, {end:?}"
            );
        }
    }
}
