//! Requests that two parsers could read differently, sent byte for byte.
//!
//! The invariant: the application sees exactly one request for each that the gateway accepted, and none
//! for those that it refused.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, Seen};
use crate::clients::raw;
use crate::world::World;

/// Counts what arrives, with a parser of its own that trusts what is written.
async fn counting(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
        while let Some(end) = request_end(&all) {
            all.drain(..end);
            seen.requests
                .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

fn request_end(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].split_once("content-length: ");
    let coded = text[..head].contains("transfer-encoding: chunked");
    assert!(
        !(coded && length.is_some()),
        "the gateway sent both:\n{text}"
    );
    assert_eq!(
        text[..head].matches("content-length:").count(),
        usize::from(length.is_some())
    );
    let end = match (coded, length) {
        (true, _) => head + text[head..].find("0\r\n\r\n")? + 5,
        (_, Some((_, rest))) => head + rest.split("\r\n").next()?.parse::<usize>().unwrap(),
        _ => head,
    };
    (end <= bytes.len()).then_some(end)
}

async fn world() -> (World, App) {
    let app = App::raw(counting).await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    (world, app)
}

/// The answers' statuses to what was sent, and how many requests the application saw.
async fn outcome(world: &World, app: &App, bytes: &[u8]) -> (Vec<u16>, usize) {
    let before = app.seen.requests();
    let answer = raw(world.http, bytes).await;
    let statuses = answer.split("HTTP/1.1 ").skip(1);
    let statuses = statuses.map(|rest| rest[..3].parse().unwrap()).collect();
    (statuses, app.seen.requests() - before)
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_of_them_passes() {
    let (world, app) = world().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    let host = "Host: shop.localhost\r\n";
    let cases = [
        (
            "two different lengths",
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
            ),
        ),
        (
            "a list of lengths",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5, 5\r\n\r\nhello"),
        ),
        (
            "a signed length",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"),
        ),
        (
            "a hexadecimal length",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 0x5\r\n\r\nhello"),
        ),
        (
            "a negative length",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\nhello"),
        ),
        (
            "a coding that does not end in chunked",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ),
        (
            "an unknown coding",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a coding before chunked",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunked twice",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "a space before the colon",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a folded line",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a tab before chunked's end",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\u{b}\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a coding in HTTP/1.0",
            format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\n{host}Host: other.localhost\r\n\r\n"),
        ),
        (
            "the same host twice",
            format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "an empty host",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
        ),
        (
            "a target that is not the host",
            format!("GET http://other.localhost/ HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a host with a user",
            "GET / HTTP/1.1\r\nHost: shop.localhost@other\r\n\r\n".to_owned(),
        ),
        (
            "a host with a path",
            "GET / HTTP/1.1\r\nHost: shop.localhost/x\r\n\r\n".to_owned(),
        ),
        (
            "NUL in a value",
            format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"),
        ),
        (
            "CR in a value",
            format!("GET / HTTP/1.1\r\n{host}X: a\rb\r\n\r\n"),
        ),
        (
            "NUL in a name",
            format!("GET / HTTP/1.1\r\n{host}X\0Y: a\r\n\r\n"),
        ),
        (
            "a space in the target",
            format!("GET /a b HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "CONNECT",
            "CONNECT shop.localhost:80 HTTP/1.1\r\nHost: shop.localhost:80\r\n\r\n".to_owned(),
        ),
        (
            "a chunk size that is none",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n"
            ),
        ),
        (
            "a bare LF after a chunk's size",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n"),
        ),
        (
            "a bare LF in a chunk's extension",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n"
            ),
        ),
        (
            "a bare LF after a chunk",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n"),
        ),
        (
            "a chunk that is longer than its size",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"
            ),
        ),
        (
            "an endless chunk size",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n"
            ),
        ),
    ];
    for (case, request) in cases {
        // What follows a refused request on its connection is never read.
        let bytes = format!("{request}{smuggled}");
        let (statuses, seen) = outcome(&world, &app, bytes.as_bytes()).await;
        assert_eq!(
            seen, 0,
            "{case}: the application saw something, the client {statuses:?}"
        );
        let refused =
            statuses.len() <= 1 && statuses.iter().all(|status| (400..502).contains(status));
        assert!(refused, "{case}: {statuses:?}");
    }
}

/// RFC 9112 section 6.1: chunked wins, the length goes, and the connection ends after the answer.
#[tokio::test]
async fn a_length_beside_chunked_never_reaches_the_application() {
    let (world, app) = world().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: shop.localhost\r\n{framing}\r\n1\r\na\r\n0\r\n\r\n{smuggled}"
        );
        let (statuses, seen) = outcome(&world, &app, request.as_bytes()).await;
        assert!(
            seen <= 1 && statuses.len() <= 1,
            "{statuses:?}, {seen} seen"
        );
    }
}

/// RFC 9110 section 8.6 allows to make one of them.
#[tokio::test]
async fn the_same_length_twice_becomes_one() {
    let (world, app) = world().await;
    let request = "POST / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\
        Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(
        outcome(&world, &app, request.as_bytes()).await,
        (vec![200], 1)
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_by_one() {
    let (world, app) = world().await;
    let request = "GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    let bytes = format!("{request}{request}{last}");
    let (statuses, seen) = outcome(&world, &app, bytes.as_bytes()).await;
    assert_eq!((statuses, seen), (vec![200, 200, 200], 3));
}

#[tokio::test]
async fn large_heads_are_refused() {
    let (world, app) = world().await;
    let long = "x".repeat(70_000);
    let request = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: {long}\r\n\r\n");
    assert_eq!(
        outcome(&world, &app, request.as_bytes()).await,
        (vec![431], 0)
    );
    let many = (0..200)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<String>();
    let request = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\n{many}\r\n");
    assert_eq!(
        outcome(&world, &app, request.as_bytes()).await,
        (vec![431], 0)
    );
}

/// An HTTP/2 header block written by hand: literals without indexing (RFC 7541 section 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Sends one request as raw HTTP/2 and gives the kind of the first frame that answers it, with its payload.
async fn http2_outcome(world: &World, headers: &[(&str, &str)]) -> (u8, Bytes) {
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(headers)));
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        if matches!(head[3], HEADERS | RST_STREAM | GOAWAY) {
            return (head[3], payload.into());
        }
    }
}

#[tokio::test]
async fn http2_cannot_carry_what_would_break_http1() {
    let (world, app) = world().await;
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "shop.localhost"),
    ];
    let (kind, payload) = http2_outcome(&world, &good).await;
    assert_eq!(
        (kind, payload[0]),
        (HEADERS, 0x88),
        "status 200 is one byte"
    );
    assert_eq!(app.seen.requests(), 1);
    let cases: [(&str, &[(&str, &str)]); 10] = [
        ("a coding", &[("transfer-encoding", "chunked")]),
        ("Connection", &[("connection", "close")]),
        ("an upgrade", &[("upgrade", "h2c")]),
        (
            "CRLF in a value",
            &[("x", "a\r\nTransfer-Encoding: chunked")],
        ),
        ("NUL in a value", &[("x", "a\0b")]),
        ("CRLF in a name", &[("x: 1\r\ny", "a")]),
        ("an upper-case name", &[("Content-Length", "0")]),
        (
            "a host that is not the authority",
            &[("host", "other.localhost")],
        ),
        (
            "two hosts",
            &[("host", "shop.localhost"), ("host", "shop.localhost")],
        ),
        (
            "two lengths",
            &[("content-length", "0"), ("content-length", "0")],
        ),
    ];
    for (case, more) in cases {
        let headers = [&good, more].concat();
        let (kind, payload) = http2_outcome(&world, &headers).await;
        let answered = kind == HEADERS && payload[0] == 0x88;
        assert!(!answered && app.seen.requests() == 1, "{case} passed");
    }
    let crooked = [
        ("a path with a space", "/ HTTP/1.1\r\nx: y"),
        ("no slash", "shop"),
    ];
    for (case, path) in crooked {
        let mut headers = good;
        headers[2].1 = path;
        http2_outcome(&world, &headers).await;
        assert_eq!(app.seen.requests(), 1, "{case} passed");
    }
}

#[tokio::test]
async fn an_answer_of_two_lengths_is_not_passed_on() {
    let app = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokHTTP";
        let _ = stream.write_all(answer).await;
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(world.http, request).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}
