//! What may pass in a header section, and what is said beside it.
//!
//! Request smuggling lives on two parsers that read one request differently. The instance never sees the
//! client's bytes: it gets a request written anew from the parsed one, with framing computed anew. What is
//! ambiguous all the same is refused here (RFC 9112 sections 3.2 and 6.1, RFC 9113 section 8.2).

use std::cell::OnceCell;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::extended;
use crate::failure::Failure;
use crate::mutual::{Clients, Holder};

/// The header that names a request, in the instance's log and the client's answer alike.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that tell a client who answered.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("ward-instance");
pub(crate) const RELEASE: HeaderName = HeaderName::from_static("ward-release");

/// How much time is left for a request, in whole milliseconds: what an instance is told, and may pass on over its
/// links.
pub(crate) const EXPECTED_WITHIN: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Refuses what could be read in two ways, and gives the host that is asked for, canonical.
pub(crate) fn check(parts: &Parts) -> Result<String, Failure> {
    extended::check(parts)?;
    check_method(parts)?;
    check_target(&parts.uri)?;
    check_framing(&parts.headers, parts.version)?;
    check_fields(&parts.headers)?;
    check_host(parts)
}

fn check_fields(headers: &HeaderMap) -> Result<(), Failure> {
    let mut fields = headers.iter();
    match fields.all(|(name, value)| is_sound(name, value)) {
        true => Ok(()),
        false => Err(Failure::bad_request(
            "A header has white space around its value, or quotation marks in its name.",
        )),
    }
}

/// Whether a field means the same to whoever reads it: no name has quotes, and no value begins or ends with white space (RFC
/// 9113 section 8.2.1). Those who read HTTP/1.1 here refuse the one and take off the other; those who read HTTP/2 do neither.
pub(crate) fn is_sound(name: &HeaderName, value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let value = value.as_bytes();
    !name.as_str().contains('"') && !blank(value.first()) && !blank(value.last())
}

/// TRACE has an application send back what only it should see, cookies among it. `*` is no path but for OPTIONS (RFC 9110
/// section 9.3.7).
fn check_method(parts: &Parts) -> Result<(), Failure> {
    if parts.method == Method::TRACE {
        return Err(Failure::TRACE);
    }
    match parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        true => Err(Failure::bad_request("Only OPTIONS asks for `*`.")),
        false => Ok(()),
    }
}

/// `host:port` alone belongs to CONNECT (RFC 9112 section 3.2.3). Of `http://host#part` no path is left at all: it
/// would be read as `/` here, and written as a request line of two words.
pub(crate) fn check_target(uri: &Uri) -> Result<(), Failure> {
    let is_lost = |path: &PathAndQuery| path == "/" && *path != PathAndQuery::from_static("/");
    match uri.path_and_query() {
        Some(path) if !is_lost(path) => Ok(()),
        _ => Err(Failure::bad_request("The request's target has no path.")),
    }
}

fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Failure> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if length.is_some_and(|length| !is_number(length.as_bytes())) {
        return Err(Failure::bad_request("Content-Length is no number."));
    }
    if lengths.next().is_some() {
        return Err(Failure::bad_request("Content-Length is given twice."));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if version != Version::HTTP_11 {
        return Err(Failure::bad_request(
            "Transfer-Encoding belongs to HTTP/1.1 alone.",
        ));
    }
    if length.is_some() {
        return Err(Failure::bad_request(
            "Content-Length and Transfer-Encoding are both given.",
        ));
    }
    match codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        true => Ok(()),
        false => Err(Failure::CODING),
    }
}

fn check_host(parts: &Parts) -> Result<String, Failure> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::bad_request("Host is given twice."));
    }
    let header = header.map(read_authority).transpose()?;
    let authority = match (parts.uri.authority(), header) {
        (Some(target), Some(header)) if !same(target, &header) => {
            return Err(Failure::bad_request(
                "Host is not what the request's target names.",
            ));
        }
        // RFC 9112 section 3.2, whatever the target is.
        (Some(_), None) if parts.version == Version::HTTP_11 => {
            return Err(Failure::bad_request("Host is missing."));
        }
        (Some(target), _) => target.clone(),
        (None, Some(header)) => header,
        (None, None) => return Err(Failure::bad_request("Host is missing.")),
    };
    if authority.as_str().contains('@') {
        return Err(Failure::bad_request("A host has no user name."));
    }
    if !is_port(authority.as_str().strip_prefix(authority.host())) {
        return Err(Failure::bad_request("The host's port is none."));
    }
    Ok(crate::routes::canonical(authority.host()))
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// What may stand behind a host: nothing, or a colon and a port, which may be empty (RFC 3986 section 3.2.3).
fn is_port(rest: Option<&str>) -> bool {
    match rest.map(|rest| rest.strip_prefix(':').ok_or(rest)) {
        Some(Err("") | Ok("")) => true,
        Some(Ok(port)) => is_port_number(port.as_bytes()),
        _ => false,
    }
}

/// One to five digits, and no more than a port can be.
pub(crate) fn is_port_number(port: &[u8]) -> bool {
    digits(port, 5).is_some_and(|port| port <= 0xffff)
}

fn read_authority(value: &HeaderValue) -> Result<Authority, Failure> {
    Authority::try_from(value.as_bytes())
        .map_err(|_| Failure::bad_request("Host is not a host name."))
}

fn same(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

/// Whether a header, named in lower case, is always meant for one hop alone (RFC 9110 section 7.6.1), or for none: CGI would
/// take `Proxy` for the proxy that an application's own requests go through.
pub(crate) fn is_of_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy"
            | b"proxy-connection"
            | b"http2-settings"
            | b"proxy-authorization"
            | b"proxy-authenticate"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// Removes what is meant for this hop alone, and whatever `Connection` lists.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::try_from(token).ok())
        // Listing Host would leave the request without a target.
        .filter(|name| *name != HOST)
        .collect();
    listed.iter().for_each(|name| drop(headers.remove(name)));
    remove_named(headers, is_of_hop);
}

/// Removes the headers whose names, in lower case, are of a kind.
fn remove_named(headers: &mut HeaderMap, is_such: impl Fn(&[u8]) -> bool) {
    let such = headers
        .keys()
        .filter(|name| is_such(name.as_str().as_bytes()));
    let such: Vec<HeaderName> = such.cloned().collect();
    such.iter().for_each(|name| drop(headers.remove(name)));
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// The protocol that an HTTP/1.1 request asks to switch to. `h2c` is not one: HTTP/2 without TLS is spoken
/// from the first byte or not at all, because an upgrade slips past whoever checks requests.
pub(crate) fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    let asked = tokens(&parts.headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
    let bodiless = !parts.headers.contains_key(TRANSFER_ENCODING)
        && parts
            .headers
            .get(CONTENT_LENGTH)
            .is_none_or(|length| length.as_bytes() == b"0");
    let protocol = parts.headers.get(UPGRADE)?;
    let refused = tokens(&parts.headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case("h2c"));
    let wanted = parts.version == Version::HTTP_11 && asked && bodiless && !refused;
    wanted.then(|| protocol.clone())
}

/// On requests that the gateway makes itself, and on no others.
pub(crate) const PROBE: &str = "ward-probe";
/// Over links from other stacks: the environment that asks.
pub(crate) const GUEST: &str = "ward-from-env";

/// Whether a request is a gRPC call, which needs HTTP/2 all the way. gRPC-Web does not.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE);
    content.is_some_and(|content| is_grpc_content(content.as_bytes()))
}

/// Whether a `Content-Type` is that of gRPC calls.
pub(crate) fn is_grpc_content(content: &[u8]) -> bool {
    content
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Whether a response is a stream of server-sent events.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE);
    content.is_some_and(|content| is_event_content(content.as_bytes()))
}

/// Whether a `Content-Type` is that of server-sent events.
pub(crate) fn is_event_content(content: &[u8]) -> bool {
    content
        .get(.."text/event-stream".len())
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

/// A number of so many decimal digits at the most (19 are none too many), and nothing else.
pub(crate) fn digits(value: &[u8], most: usize) -> Option<u64> {
    let good = (1..=most).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let digit = |sum: u64, byte: &u8| sum * 10 + u64::from(byte - b'0');
    good.then(|| value.iter().fold(0, digit))
}

/// Whether a body is held back until the instance says 100 Continue.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(http::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A client's request id, if it is one that may stand in a log.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(&REQUEST_ID)?;
    is_plain_id(id.as_bytes()).then(|| id.clone())
}

/// The longest id that a client may give its request.
pub(crate) const LONGEST_ID: usize = 128;

/// Whether a request id may stand in a log: letters, digits, `-`, `_`, `.`.
pub(crate) fn is_plain_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(plain)
}

/// The values of a client's cookies of this name (RFC 6265 section 4.2).
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(move |(key, value)| (key == name).then_some(value))
}

/// Makes one line of the cookies of a request over HTTP/2, which may come in many (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// `Set-Cookie` (RFC 6265 section 4.1). The cookie lives as long as the client's session. `scheme` is `http` or
/// `https`.
pub(crate) fn set_cookie(name: &str, value: &str, scheme: &str) -> Option<HeaderValue> {
    let secure = match scheme {
        "https" => "; Secure",
        _ => "",
    };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(cookie).ok()
}

/// What the gateway knows about a client of the outside.
pub(crate) struct Outside {
    /// Its address.
    pub(crate) address: IpAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Whose certificate it has shown, on a connection to a host that asks for one.
    pub(crate) holder: Option<Box<Holder>>,
    /// The address in words, once a request has needed it.
    pub(crate) words: OnceCell<HeaderValue>,
}

impl Outside {
    /// What the application is told of a client that has shown a certificate.
    pub(crate) fn holder_lines(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        let holder = self.holder.iter();
        holder.flat_map(|holder| {
            [
                (SUBJECT, &holder.subject),
                (FINGERPRINT, &holder.fingerprint),
            ]
        })
    }

    /// Whether it may ask a host that takes such clients. Who has shown a certificate to one host does not ask
    /// another on that connection: what holds there was not looked at.
    pub(crate) fn suits(&self, clients: &Clients) -> bool {
        match (clients, &self.holder) {
            (None, None) => true,
            (Some(path), Some(holder)) => holder.satisfies(path),
            _ => false,
        }
    }
}

/// Lines that are added to a request, about.
const ADDED: usize = 8;
/// Who a client is that has shown a certificate.
const SUBJECT: &str = "ward-client-subject";
/// Of which certificate.
const FINGERPRINT: &str = "ward-client-fingerprint";

/// Whether a header, named in lower case, says where a client comes from, which no client is believed.
pub(crate) fn is_claim(name: &[u8]) -> bool {
    is_own(name) || name == b"forwarded"
}

/// Whether a header, named in lower case, is the gateway's to say.
pub(crate) fn is_own(name: &[u8]) -> bool {
    match name {
        [b'x', ..] => {
            let is = |own: &[u8]| begins(name, own) && name.len() == own.len();
            begins(name, b"x-forwarded-")
                || is(b"x-real-ip")
                || is(EXPECTED_WITHIN.as_str().as_bytes())
        }
        _ => is_of_ward(name),
    }
}

/// Whether a header is one by which the gateway tells who asks, and nobody else does: neither clients nor instances.
pub(crate) fn is_of_ward(name: &[u8]) -> bool {
    begins(name, b"ward-")
}

/// Many applications see no difference between `-` and `_`.
fn begins(name: &[u8], with: &[u8]) -> bool {
    let same = |(one, other): (&u8, &u8)| one == other || (*one == b'_' && *other == b'-');
    name.len() >= with.len() && name.iter().zip(with).all(same)
}

/// Removes what only the gateway says: an instance that asks over a link may pass on the rest of what it was told.
pub(crate) fn forget_own(headers: &mut HeaderMap) {
    remove_named(headers, is_of_ward);
}

/// Replaces whatever a client says about where it comes from by what the gateway knows. Nobody stands
/// before the gateway whose word could be taken.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, outside: &Outside, host: &HeaderValue) {
    remove_named(headers, is_claim);
    let address = outside.words.get_or_init(|| {
        HeaderValue::try_from(outside.address.to_canonical().to_string())
            .expect("an address is digits, letters, dots and colons")
    });
    let scheme = HeaderValue::from_static(outside.scheme);
    headers.reserve(ADDED);
    headers.insert(HeaderName::from_static("x-real-ip"), address.clone());
    headers.insert(HeaderName::from_static("x-forwarded-for"), address.clone());
    headers.insert(HeaderName::from_static("x-forwarded-proto"), scheme);
    headers.insert(HeaderName::from_static("x-forwarded-host"), host.clone());
    for (name, value) in outside.holder_lines() {
        headers.insert(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn one(headers: &[(&str, &str)]) -> Result<String, Failure> {
        check(&parts(Version::HTTP_11, "/", headers))
    }

    #[test]
    fn hosts_are_canonical() {
        for host in [
            "shop.localhost",
            "SHOP.localhost:8080",
            "shop.localhost.",
            "shop.localhost.:80",
        ] {
            assert_eq!(one(&[("host", host)]).unwrap(), "shop.localhost");
        }
        assert_eq!(one(&[("host", "[::1]:80")]).unwrap(), "[::1]");
        assert_eq!(one(&[("host", "a:")]).unwrap(), "a");
        let named = [("host", "shop.localhost")];
        let absolute = |headers: &[_]| parts(Version::HTTP_11, "http://shop.localhost/x", headers);
        assert_eq!(check(&absolute(&named)).unwrap(), "shop.localhost");
        assert!(check(&absolute(&[])).is_err());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let host = ("host", "a");
        for bad in [
            vec![],
            vec![host, host],
            vec![("host", "a b")],
            vec![("host", "a/b")],
            vec![("host", "user@a")],
            vec![("host", "a:evil.example")],
            vec![("host", "a:-1")],
            vec![("host", "a:65536")],
            vec![("host", "[::1]x")],
            vec![("host", "")],
            vec![host, ("content-length", "1"), ("content-length", "1")],
            vec![
                host,
                ("content-length", "1"),
                ("transfer-encoding", "chunked"),
            ],
            vec![host, ("transfer-encoding", "gzip, chunked")],
            vec![
                host,
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            vec![host, ("transfer-encoding", "xchunked")],
        ] {
            assert!(one(&bad).is_err(), "{bad:?} was taken");
        }
        for bad in [
            ("content-length", ""),
            ("content-length", "+1"),
            ("x-a", "1 "),
            ("x-a", "\t1"),
        ] {
            let of_2 = parts(Version::HTTP_2, "/", &[host, bad]);
            assert!(check(&of_2).is_err(), "{bad:?} was taken");
        }
        // Of `http`, too, the name is one in HTTP/2 alone.
        let quoted = HeaderName::from_lowercase(b"x\"").unwrap();
        let mut of_2 = parts(Version::HTTP_2, "/", &[host]);
        of_2.headers.insert(quoted, HeaderValue::from_static("1"));
        assert!(check(&of_2).is_err());
        let coded = [host, ("transfer-encoding", "chunked")];
        assert!(check(&parts(Version::HTTP_2, "/", &coded)).is_err());
        assert!(check(&parts(Version::HTTP_11, "http://b/", &[host])).is_err());
        assert!(one(&coded).is_ok());
    }

    #[test]
    fn what_belongs_to_one_hop_stays_there() {
        let mut headers = parts(
            Version::HTTP_11,
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-Secret"),
                ("connection", "host"),
                ("x-secret", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAoAAA"),
                ("cookie", "a=b"),
            ],
        )
        .headers;
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "host"]);
    }

    #[test]
    fn clients_cannot_say_where_they_come_from() {
        let mut headers = parts(
            Version::HTTP_11,
            "/",
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "7.7.7.7"),
                ("x-forwarded-user", "root"),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("ward-from", "api-r1-1"),
                ("ward_from", "api-r1-1"),
                ("x-envoy-expected-rq-timeout-ms", "1"),
                ("ward-client-subject", "CN=root"),
                ("ward_client_subject", "CN=root"),
                ("x_forwarded-for", "6.6.6.6"),
                ("x_real_ip", "6.6.6.6"),
                ("x-real-ipx", "kept"),
                ("wardrobe", "kept"),
            ],
        )
        .headers;
        let outside = Outside {
            address: "::ffff:127.0.0.1".parse().unwrap(),
            scheme: "https",
            holder: None,
            words: OnceCell::new(),
        };
        set_forwarded(&mut headers, &outside, &HeaderValue::from_static("a:8443"));
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["x-real-ip"], "127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "a:8443");
        for gone in [
            "x-forwarded-user",
            "forwarded",
            "ward-from",
            "ward_from",
            EXPECTED_WITHIN.as_str(),
            "ward-client-subject",
            "ward_client_subject",
            "x_forwarded-for",
            "x_real_ip",
        ] {
            assert!(!headers.contains_key(gone), "{gone} passed");
        }
        assert!(headers.contains_key("x-real-ipx") && headers.contains_key("wardrobe"));
    }

    /// Over a link an instance passes on what it was told of a client, and says nothing in the gateway's name, in neither
    /// of the two ways in which an application may read a name.
    #[test]
    fn instances_cannot_say_who_asks() {
        let mut headers = parts(
            Version::HTTP_11,
            "/",
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("ward-from", "api-r1-1"),
                ("ward_from", "api-r1-1"),
                ("ward-from_env", "shop/prod"),
                ("ward_client_subject", "CN=root"),
                ("ward-probe", "1"),
                ("wardrobe", "kept"),
            ],
        )
        .headers;
        forget_own(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["wardrobe", "x-forwarded-for"]);
    }

    #[test]
    fn upgrades_but_never_to_h2c() {
        let asking = |protocol, more: &[(&'static str, &'static str)]| {
            let mut headers = vec![("connection", "keep-alive, Upgrade"), ("upgrade", protocol)];
            headers.extend_from_slice(more);
            wanted_upgrade(&parts(Version::HTTP_11, "/", &headers))
        };
        assert_eq!(asking("websocket", &[]).unwrap(), "websocket");
        assert!(asking("h2c", &[]).is_none());
        assert!(asking("websocket, h2c", &[]).is_none());
        assert!(asking("websocket", &[("content-length", "5")]).is_none());
        let unlisted = parts(Version::HTTP_11, "/", &[("upgrade", "websocket")]);
        assert!(wanted_upgrade(&unlisted).is_none());
    }

    #[test]
    fn kinds_of_content() {
        let content = |value| parts(Version::HTTP_2, "/", &[("content-type", value)]).headers;
        assert!(is_grpc(&content("application/grpc")));
        assert!(is_grpc(&content("application/grpc+proto")));
        assert!(!is_grpc(&content("application/grpc-web")));
        assert!(is_event_stream(&content(
            "text/event-stream; charset=utf-8"
        )));
        assert!(!is_event_stream(&content("text/html")));
    }

    #[test]
    fn targets_have_a_path_that_can_be_written() {
        let host = [("host", "shop.localhost")];
        let at = |target| check(&parts(Version::HTTP_11, target, &host));
        for target in [
            "/",
            "/x?y",
            "http://shop.localhost",
            "http://shop.localhost?y",
        ] {
            assert!(at(target).is_ok(), "{target}");
        }
        let lost = Failure::bad_request("The request's target has no path.");
        for target in [
            "shop.localhost",
            "shop.localhost:80",
            "http://shop.localhost#x",
        ] {
            assert_eq!(at(target), Err(lost), "{target}");
        }
    }

    #[test]
    fn the_whole_server_is_asked_by_options_alone_and_nobody_asks_for_an_echo() {
        let asks = |method, target| {
            let mut parts = parts(Version::HTTP_11, target, &[("host", "shop.localhost")]);
            parts.method = method;
            check(&parts)
        };
        assert!(asks(Method::OPTIONS, "*").is_ok());
        assert!(asks(Method::GET, "*").is_err());
        assert_eq!(asks(Method::TRACE, "/"), Err(Failure::TRACE));
    }

    #[test]
    fn cookies_that_came_one_by_one_are_one_line() {
        let joined = |cookies: &[(&'static str, &'static str)]| {
            let mut headers = parts(Version::HTTP_2, "/", cookies).headers;
            join_cookies(&mut headers);
            let lines = headers.get_all(COOKIE).iter();
            lines.map(HeaderValue::clone).collect::<Vec<_>>()
        };
        let many = [("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f")];
        assert_eq!(joined(&many), ["a=b; c=d; e=f"]);
        assert_eq!(joined(&many[..1]), ["a=b"]);
        assert!(joined(&[]).is_empty());
    }

    #[test]
    fn request_ids_that_may_stand_in_a_log() {
        let id =
            |value| request_id(&parts(Version::HTTP_2, "/", &[("x-request-id", value)]).headers);
        assert_eq!(id("f00-1.A_").unwrap(), "f00-1.A_");
        assert!(id("a b").is_none());
        assert!(id("<script>").is_none());
        assert!(id(&"a".repeat(129)).is_none());
    }
}
