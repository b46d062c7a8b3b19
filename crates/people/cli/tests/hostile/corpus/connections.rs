//! What belongs to the connection: what `Connection` lists, switches of protocols, expectations, requests behind
//! one another, and requests that come in pieces.

use super::{Book, Good, fill};

pub fn write(book: &mut Book) {
    listed(book);
    switches(book);
    expectations(book);
    pipelines(book);
    large(book);
    splits(book);
    names(book);
    calls(book);
}

fn listed(book: &mut Book) {
    for list in [
        "close",
        "CLOSE",
        "keep-alive",
        "close, keep-alive",
        "keep-alive, close",
        "close\r\nConnection: keep-alive",
        "keep-alive\r\nConnection: close",
        "closed",
        "xclose",
        "close;x",
        "\"close\"",
        "close\0",
        "\u{b}close",
        ",close,",
        "",
        ",",
        "Host",
        "host, close",
        "Content-Length",
        "content-length, transfer-encoding",
        "Transfer-Encoding",
        "X-One",
        "x-one, X-Two",
        "X-Forwarded-For, X-Forwarded-Proto, X-Real-Ip, X-Request-Id",
        "Cookie, Authorization",
        "Connection",
        "Upgrade",
        "upgrade, http2-settings",
        "te, trailer",
        "Expect",
        "a b c",
        "@H",
        "\u{e9}",
    ] {
        let post = "POST /c/@N HTTP/1.1\r\n@LX-One: 1\r\nX-Two: 2\r\nCookie: a=b\r\n";
        let connection = format!("Connection: {list}\r\n");
        book.bad(
            "connection",
            &format!("{post}{connection}Content-Length: 5\r\n\r\nhello@S"),
        );
        let coding = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n@S";
        book.bad("connection", &format!("{post}{connection}{coding}"));
        let get = "GET /c/@N HTTP/1.0\r\n@LX-One: 1\r\n";
        book.bad("connection", &format!("{get}{connection}\r\n@S"));
    }
}

fn switches(book: &mut Book) {
    let settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    for (connection, more) in [
        (
            "Upgrade, HTTP2-Settings",
            format!("Upgrade: h2c\r\n{settings}"),
        ),
        ("Upgrade", "Upgrade: h2c\r\n".to_owned()),
        ("Upgrade", "Upgrade: H2C, websocket\r\n".to_owned()),
        ("Upgrade", "Upgrade: websocket, h2c\r\n".to_owned()),
        (
            "Upgrade",
            "Upgrade: websocket\r\nUpgrade: h2c\r\n".to_owned(),
        ),
        ("keep-alive", format!("Upgrade: h2c\r\n{settings}")),
        (
            "Upgrade",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 777\r\n".to_owned(),
        ),
        (
            "upgrade",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".to_owned(),
        ),
        ("Upgrade", "Upgrade: TLS/1.0\r\n".to_owned()),
        ("Upgrade", "Upgrade: \r\n".to_owned()),
        ("Upgrade", String::new()),
        ("Upgrade, close", "Upgrade: foo\r\n".to_owned()),
        ("Upgrade", "Upgrade: a\0b\r\n".to_owned()),
    ] {
        for (start, body) in [
            ("GET /c/@N HTTP/1.1\r\n@L", "\r\n@S"),
            ("GET /c/@N HTTP/1.0\r\n@L", "\r\n@S"),
            (
                "POST /c/@N HTTP/1.1\r\n@L",
                "Content-Length: 5\r\n\r\nhello@S",
            ),
            (
                "POST /c/@N HTTP/1.1\r\n@L",
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n@S",
            ),
        ] {
            book.bad(
                "upgrade",
                &format!("{start}Connection: {connection}\r\n{more}{body}"),
            );
        }
    }
}

fn expectations(book: &mut Book) {
    book.good(
        "expect",
        "POST /c/@N HTTP/1.1\r\n@LExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    );
    for expect in [
        "100-continue",
        "100-Continue",
        "100-continue, 100-continue",
        "100-continue\r\nExpect: 100-continue",
        "100",
        "200-ok",
        "y 100-continue",
        "100-continue;x",
        " \u{b}100-continue",
        "100-continue\0",
        "\"100-continue\"",
        "",
    ] {
        let line = format!("Expect: {expect}\r\n");
        let post = "POST /c/@N HTTP/1.1\r\n@L";
        book.bad(
            "expect",
            &format!("{post}{line}Content-Length: 5\r\n\r\nhello@S"),
        );
        book.bad(
            "expect",
            &format!("{post}{line}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n@S"),
        );
        book.bad("expect", &format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n@S"));
        book.bad(
            "expect",
            &format!("{post}{line}Content-Length: 0\r\n\r\n@S"),
        );
        book.bad(
            "expect",
            &format!("POST /c/@N HTTP/1.0\r\n@L{line}Content-Length: 5\r\n\r\nhello@S"),
        );
    }
}

fn pipelines(book: &mut Book) {
    let get = "GET /c/@N/get HTTP/1.1\r\n@L\r\n";
    let post = "POST /c/@N/post HTTP/1.1\r\n@LContent-Length: 5\r\n\r\nhello";
    let chunked =
        "PUT /c/@N/put HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let head = "HEAD /c/@N/head HTTP/1.1\r\n@L\r\n";
    let all = [get, post, chunked, head];
    for one in all {
        book.good("pipeline", &one.repeat(5));
        for other in all {
            book.good("pipeline", &format!("{one}{other}{one}"));
        }
    }
    book.good("pipeline", &all.concat().repeat(4));
    let last = "GET /c/@N/last HTTP/1.1\r\n@LConnection: close\r\n\r\n";
    for one in all {
        book.bad("pipeline", &format!("{one}{last}@S"));
        book.bad("pipeline", &format!("{last}{one}"));
        book.bad("pipeline", &format!("{one}garbage{one}"));
        book.bad("pipeline", &format!("{one}\r\n\r\n{one}"));
        book.bad("pipeline", &format!("{one}\0{one}"));
        book.bad("pipeline", &format!("{one} {one}"));
        book.bad(
            "pipeline",
            &format!("{one}GET /c/@N/other HTTP/1.1\r\nHost: other.localhost\r\n\r\n{one}"),
        );
        book.bad(
            "pipeline",
            &format!("{one}GET /c/@N/none HTTP/1.1\r\n\r\n{one}"),
        );
        book.bad(
            "pipeline",
            &format!("{one}CONNECT @H:80 HTTP/1.1\r\n@L\r\n{one}"),
        );
        book.bad(
            "pipeline",
            &format!("GET /c/@N/two HTTP/1.1\r\n@L@L\r\n{one}"),
        );
        book.bad(
            "pipeline",
            &format!("POST /c/@N/other HTTP/1.1\r\nHost: other.localhost\r\nContent-Length: 5\r\n\r\nhello{one}"),
        );
        book.bad(
            "pipeline",
            &format!("POST /c/@N/both HTTP/1.1\r\n@LContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{one}"),
        );
    }
}

/// Bodies and pipelines around the sizes that buffers have. What is in a body would be a request, were it read as
/// one.
fn large(book: &mut Book) {
    let get = "GET /c/@N/get HTTP/1.1\r\n@L\r\n";
    let chunked =
        "PUT /c/@N/put HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let unit = book.length("@S");
    for size in [4096, 8192, 16_384, 32_768, 65_536] {
        for near in [size - unit * 2, size - 150, size, size + 1] {
            let body = "@S".repeat(near / unit) + &"x".repeat(near % unit);
            let post = format!("POST /c/@N HTTP/1.1\r\n@LContent-Length: {near}\r\n\r\n{body}");
            book.good("large body", &format!("{post}{get}"));
            book.good("large body", &format!("{get}{post}{get}{chunked}"));
        }
    }
    for size in [4096, 8192, 16_384] {
        let number = size / book.length(get);
        book.good("long pipeline", &get.repeat(number));
        let three = format!("{get}{get}{chunked}");
        book.good("long pipeline", &three.repeat(number / 4));
    }
}

/// What a client calls its request.
fn names(book: &mut Book) {
    for name in ["mine-@N", "mine-@N\r\nX-Request-Id: other-@N", "Mine_1.@N"] {
        let line = format!("X-Request-Id: {name}\r\n");
        book.good("name", &format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n"));
    }
    let long = "n".repeat(200);
    for name in [
        "",
        "a b",
        "a\u{e9}",
        "<@N>",
        "a,b",
        "\"@N\"",
        "a\tb",
        long.as_str(),
    ] {
        let line = format!("X-Request-Id: {name}\r\n");
        book.good("name", &format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n"));
        let more = "X-Request-Id: second-@N\r\n";
        book.bad(
            "name",
            &format!("GET /c/@N HTTP/1.1\r\n@L{line}{more}\r\n@S"),
        );
    }
}

/// What looks like a gRPC call goes on as HTTP/2, to an origin that does not speak it.
fn calls(book: &mut Book) {
    for kind in ["application/grpc", "application/grpc+proto\r\nTe: trailers"] {
        let post = format!("POST /c/@N HTTP/1.1\r\n@LContent-Type: {kind}\r\n");
        let body = "\r\n\r\n@S";
        let length = book.length(body);
        book.bad(
            "call",
            &format!("{post}Content-Length: {length}\r\n\r\n{body}"),
        );
        let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
        book.bad(
            "call",
            &format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        );
        book.bad(
            "call",
            &format!("GET /c/@N HTTP/1.1\r\n@LContent-Type: {kind}\r\n\r\n@S"),
        );
    }
}

/// Requests in two pieces, cut at every byte where something ends or begins; some in single bytes.
fn splits(book: &mut Book) {
    for text in [
        "POST /c/@N HTTP/1.1\r\n@LContent-Length: 5\r\n\r\nhello@S",
        "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nX: y\r\n\r\n@S",
        "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n@S",
        "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n@S",
        "GET /c/@N HTTP/1.1\r\n@LX: a\r\n Y: b\r\n\r\n@S",
        "GET /c/@N HTTP/1.1\r\n@LX: a\r\r\nContent-Length: 5\r\n\r\n@S",
        "\r\n\r\nGET /c/@N HTTP/1.1\n@L\n@S",
    ] {
        let whole = fill(text, &book.host, 0);
        let edge = |at: usize| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !(plain(whole[at - 1]) && plain(whole[at]))
        };
        for at in (1..whole.len()).filter(|at| edge(*at)) {
            let bytes = fill(text, &book.host, book.cases.len());
            let (first, second) = bytes.split_at(at);
            book.push("pieces", vec![first.to_vec(), second.to_vec()], Good::No);
        }
    }
    for text in [
        "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /c/@N HTTP/1.1\r\n@LContent-Length: 5\r\n\r\nhelloGET /c/@N/second HTTP/1.1\r\n@L\r\n",
    ] {
        let bytes = fill(text, &book.host, book.cases.len());
        let parts = bytes.iter().map(|byte| vec![*byte]).collect();
        book.push("single bytes", parts, Good::Yes);
    }
}
