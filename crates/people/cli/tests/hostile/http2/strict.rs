//! The reading that the gateway is held to: RFC 9113 section 8, strictly.
//!
//! The gateway may refuse more than this one does. What it accepts must be here, with this method, target, header and
//! body. Lenient on purpose, where no origin can be misled by it: what is behind `#` is no part of a path, before `?` there
//! may be none, the scheme is what the connection is, and pseudo-headers in trailers are passed over.

use super::corpus::Case;
use super::frames::Field;
use crate::strict::Request;

/// What a case is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// One request.
    Whole(Request),
    /// The head of one, whose body or trailers are bad: its end may not be told to anybody.
    Begun(Request, &'static str),
    /// None.
    Bad(&'static str),
}

/// Reads a case.
pub fn read(case: &Case) -> Reading {
    let mut request = match read_head(&case.fields) {
        Ok(request) => request,
        Err(why) => return Reading::Bad(why),
    };
    request.body = case.data.concat();
    let length = match length(&request) {
        Ok(length) => length,
        Err(why) => return Reading::Bad(why),
    };
    if length.is_some_and(|length| length != request.body.len() as u64) {
        // Without DATA all of it is known with the head.
        return match case.data.is_empty() && case.trailers.is_empty() {
            true => Reading::Bad("a length without a body"),
            false => Reading::Begun(request, "the length is another one"),
        };
    }
    match read_trailers(&case.trailers) {
        Ok(()) => Reading::Whole(request),
        // Where the length is told, an instance has all of it before they come, and hears nothing of them.
        Err(_) if length.is_some() => Reading::Whole(request),
        Err(why) => Reading::Begun(request, why),
    }
}

const PSEUDO: [&[u8]; 4] = [b":method", b":scheme", b":path", b":authority"];

fn read_head(fields: &[Field]) -> Result<Request, &'static str> {
    let mut pseudo: [Option<&[u8]>; 4] = [None; 4];
    let mut request = Request::default();
    for (name, value) in fields {
        if name.first() == Some(&b':') {
            let at = PSEUDO.iter().position(|known| known == name);
            let at = at.ok_or("a pseudo-header that is not of a request")?;
            if !request.headers.is_empty() {
                return Err("a pseudo-header behind a header");
            }
            if pseudo[at].replace(value).is_some() {
                return Err("a pseudo-header twice");
            }
            continue;
        }
        request.headers.push(field(name, value)?);
    }
    let [method, scheme, path, authority] = pseudo;
    let method = method.ok_or("no method")?;
    if !is_token(method) {
        return Err("a method is a token");
    }
    if method == b"CONNECT" {
        return Err("there are no tunnels here");
    }
    let scheme = scheme.ok_or("no scheme")?;
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.iter().all(letter) {
        return Err("a scheme is of letters");
    }
    let path = path.ok_or("no path")?;
    let starts =
        matches!(path.first(), Some(b'/' | b'?')) || (path == b"*" && method == b"OPTIONS");
    let good = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if !starts || !path.iter().all(good) {
        return Err("a path begins with a slash and has no control characters");
    }
    if authority.is_some_and(|authority| !is_authority(authority)) {
        return Err("an authority is a host and a port");
    }
    let hosts: Vec<&[u8]> = request.values("host").collect();
    if hosts.len() > 1 || (hosts.is_empty() && authority.is_none()) {
        return Err("one host");
    }
    if let (Some(authority), Some(host)) = (authority, hosts.first())
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err("two hosts");
    }
    request.method = method.to_vec();
    let end = path.iter().position(|byte| *byte == b'#');
    let path = &path[..end.unwrap_or(path.len())];
    let slash: &[u8] = if path[0] == b'?' { b"/" } else { b"" };
    request.target = [slash, path].concat();
    join_cookies(&mut request.headers);
    Ok(request)
}

/// What HTTP/1.1 has in one line (section 8.2.3).
fn join_cookies(headers: &mut Vec<Field>) {
    let is_cookie = |field: &&Field| field.0 == b"cookie";
    let all: Vec<&[u8]> = headers
        .iter()
        .filter(is_cookie)
        .map(|field| &field.1[..])
        .collect();
    let joined = all.join(&b"; "[..]);
    if let Some(first) = headers.iter().position(|field| field.0 == b"cookie") {
        headers[first].1 = joined;
        let mut at = 0;
        headers.retain(|field| {
            at += 1;
            field.0 != b"cookie" || at == first + 1
        });
    }
}

fn is_authority(bytes: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    !bytes.is_empty() && bytes.iter().all(letter)
}

fn is_token(bytes: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(letter)
}

/// One field (sections 8.2.1 and 8.2.2).
fn field(name: &[u8], value: &[u8]) -> Result<Field, &'static str> {
    if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
        return Err("a name is a token in lower case");
    }
    let good = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !value.iter().all(good) || value.trim_ascii() != value {
        return Err("a control character in a value, or white space around it");
    }
    let hop = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
    ];
    if hop.iter().any(|hop| hop.as_bytes() == name) {
        return Err("a header that is for one connection");
    }
    if name == b"te" && !value.eq_ignore_ascii_case(b"trailers") {
        return Err("of TE trailers alone");
    }
    Ok((name.to_vec(), value.to_vec()))
}

/// What is said of the body's length (section 8.1.1).
fn length(request: &Request) -> Result<Option<u64>, &'static str> {
    let mut found = None;
    for length in request.values("content-length") {
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(length).ok().filter(|_| digits);
        let length: Option<u64> = text.and_then(|text| text.parse().ok());
        let length = length.ok_or("a length that is no number")?;
        if found.is_some_and(|found| found != length) {
            return Err("two lengths");
        }
        found = Some(length);
    }
    Ok(found)
}

fn read_trailers(trailers: &[Field]) -> Result<(), &'static str> {
    for (name, value) in trailers {
        // One that begins with a colon is passed over.
        if !PSEUDO.iter().any(|known| known == name) && name != b":status" {
            field(name, value)?;
        }
    }
    Ok(())
}
