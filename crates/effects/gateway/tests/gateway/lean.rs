//! Plain requests go another way through the gateway than others, and nobody can tell.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ward_types::route::Forwarded;

use crate::app::{App, Seen};
use crate::clients::{WAYS, body, fetch, get, get2, http1, http2, raw};
use crate::world::{World, eventually};

const PLAIN: &str = "GET /head HTTP/1.1\r\nHost: shop.localhost\r\n";
/// The same for every reader, and yet not plain: a host is written in lower case there.
const ODD: &str = "GET /head HTTP/1.1\r\nHost: shop.LOCALHOST\r\n";
const LAST: &str = "Connection: close\r\n\r\n";

/// Answers each request on a connection with the next of these, and then the first again.
async fn saying(answers: &'static [&'static str]) -> App {
    App::raw(move |mut stream: TcpStream, seen: Arc<Seen>| async move {
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {
            let number = seen.requests.fetch_add(1, Ordering::SeqCst);
            let answer = answers[number % answers.len()];
            let (answer, closes) = match answer.strip_suffix("<close>") {
                Some(answer) => (answer, true),
                None => (answer, false),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() || closes {
                return;
            }
        }
    })
    .await
}

/// Head and body of an answer, without what differs from one to the next.
fn comparable(answer: &str, sent: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer.lines().map(str::to_ascii_lowercase).collect();
    lines.retain(|line| !line.contains("x-request-id") && !line.starts_with("date: "));
    // Those that are made end so; others are the same on both ways.
    for line in &mut lines {
        if line.starts_with("traceparent: ") && line.ends_with("-03") {
            line.truncate("traceparent: ".len());
        }
    }
    lines.sort();
    assert!(
        lines.iter().any(|line| line.starts_with("http/1.1 2")),
        "{sent}: {answer}"
    );
    lines
}

#[tokio::test]
async fn instances_and_clients_see_the_same_on_both_ways() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let more = "Accept: */*\r\nX-Mine: a, b\r\nx-mine: c\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
                Ward-From: x\r\ntracestate: a=1\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                tracestate: b=2\r\nx_forwarded-for: 6.6.6.6\r\nWard_Client-Subject: 6.6.6.6\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nCookie: a=b\r\n";
    let [plain, odd] = [PLAIN, ODD].map(|start| format!("{start}{more}{LAST}"));
    let told = raw(world.http, plain.as_bytes()).await;
    let other = raw(world.http, odd.as_bytes())
        .await
        .replace("LOCALHOST", "localhost");
    assert_eq!(comparable(&told, &plain), comparable(&other, &odd));
    assert!(
        told.contains("x-mine") && !told.contains("6.6.6.6"),
        "{told}"
    );
    for line in [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=1",
        "tracestate: b=2",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[tokio::test]
async fn where_a_request_comes_from_and_what_trace_it_begins_is_said_the_same_on_both_ways() {
    let app = App::http("one").await;
    let mut world = World::around(&app).await;
    let mut table = world.table(&["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).routes[0]
        .settings
        .forwarded = Forwarded::Said;
    world.control.apply(table).await.unwrap();
    for more in [
        "",
        "Forwarded: for=6.6.6.6\r\n",
        "tracestate: a=6.6.6.6\r\n",
        "traceparent: 00-6.6.6.6\r\ntracestate: a=6.6.6.6\r\n",
        "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
    ] {
        let [plain, odd] = [PLAIN, ODD].map(|start| format!("{start}{more}{LAST}"));
        let told = raw(world.http, plain.as_bytes()).await;
        let other = raw(world.http, odd.as_bytes())
            .await
            .replace("LOCALHOST", "localhost");
        assert_eq!(comparable(&told, &plain), comparable(&other, &odd));
        assert!(!told.contains("6.6.6.6"), "{told}");
        let forwarded = "forwarded: for=127.0.0.1;host=\"shop.localhost\";proto=http";
        assert!(told.contains(forwarded), "{told}");
        for answer in [&told, &other] {
            let value = |name: &str| {
                let mut found = answer.lines().filter_map(|line| line.strip_prefix(name));
                let value = found.next().unwrap();
                assert!(found.all(|other| other == value), "{answer}");
                value.to_owned()
            };
            // It is found by either name.
            let id = value("x-request-id: ");
            let trace = value("traceparent: ");
            assert!(trace.starts_with(&format!("00-{id}-")), "{answer}");
        }
    }
}

#[tokio::test]
async fn requests_in_one_breath_are_answered_in_turn_whatever_way_they_go() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let chunked = "POST /echo HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n";
    let sized = "POST /echo HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nplain";
    let all =
        format!("{sized}{sized}{chunked}{sized}GET / HTTP/1.1\r\nHost: shop.localhost\r\n{LAST}");
    let answers = raw(world.http, all.as_bytes()).await;
    let order: Vec<&str> = answers.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
    assert_eq!(order.len(), 5, "{answers}");
    let ends = ["plain", "plain", "odd", "plain", "one"];
    for (answer, end) in order.iter().zip(ends) {
        assert!(answer.contains(end), "{answer} is not {end}");
    }
    assert_eq!(app.seen.requests(), 5);
}

#[tokio::test]
async fn a_request_may_come_in_pieces() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let whole =
        format!("POST /echo HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n{LAST}hello");
    for cut in (1..whole.len()).step_by(7) {
        let mut stream = TcpStream::connect(world.http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
        // The gateway may see both at once; most often it does not.
        tokio::task::yield_now().await;
        stream.write_all(&whole.as_bytes()[cut..]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        // The application answers with what it has, in as many chunks.
        let pieces = answer.lines().skip_while(|line| !line.is_empty());
        let echo: String = match answer.contains("transfer-encoding: chunked") {
            true => pieces.skip(2).step_by(2).collect(),
            false => pieces.skip(1).collect(),
        };
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && echo == "hello",
            "{cut}: {answer}"
        );
    }
}

#[tokio::test]
async fn answers_of_every_framing_arrive_whole() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello<close>", "hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello<close>", "hello"),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
        let app = saying(answers).await;
        let world = World::around(&app).await;
        let mut client = http1(world.http).await;
        let mut other = http2(world.http).await;
        for _ in 0..3 {
            let got = client.send_request(get("/")).await.unwrap();
            assert_eq!(body(got).await, expected, "{answer}");
            for path in WAYS {
                let got = other.send_request(get2(path)).await.unwrap();
                assert_eq!(body(got).await, expected, "{answer} over HTTP/2, {path}");
            }
        }
    }
}

#[tokio::test]
async fn what_an_instance_sends_behind_its_answer_is_nobodys() {
    let app = saying(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]).await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    let mut other = http2(world.http).await;
    for _ in 0..5 {
        let got = client.send_request(get("/")).await.unwrap();
        assert_eq!(body(got).await, "ok");
        for path in WAYS {
            let got = other.send_request(get2(path)).await.unwrap();
            assert_eq!(body(got).await, "ok", "{path}");
        }
    }
}

#[tokio::test]
async fn a_connection_whose_end_was_said_carries_nothing_more_though_it_stays_open() {
    let app = App::raw(|mut stream: TcpStream, _| async move {
        for answer in ["Connection: close\r\n\r\nok", "\r\nno"] {
            if !matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{answer}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    let mut other = http2(world.http).await;
    for _ in 0..3 {
        let got = client.send_request(get("/")).await.unwrap();
        assert_eq!(body(got).await, "ok");
        for path in WAYS {
            let got = other.send_request(get2(path)).await.unwrap();
            assert_eq!(body(got).await, "ok", "{path}");
        }
    }
}

#[tokio::test]
async fn answers_that_could_be_read_in_two_ways_are_not_passed_on() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([bad]));
        let app = saying(answers).await;
        let world = World::around(&app).await;
        let mut request = get("/");
        // It may not be sent again, so one answer decides.
        *request.method_mut() = Method::POST;
        let got = fetch(world.http, request).await;
        assert_eq!(got.status(), 502, "{bad}");
        for path in WAYS {
            let mut request = get2(path);
            *request.method_mut() = Method::POST;
            let got = http2(world.http).await.send_request(request).await;
            assert_eq!(got.unwrap().status(), 502, "{bad} over HTTP/2, {path}");
        }
    }
}

#[tokio::test]
async fn a_chunked_answer_that_breaks_off_does_not_look_complete() {
    for end in ["2\r\nhe\r\n<close>", "2\r\nhe\r\nzz\r\n", "9\r\nhe<close>"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{end}");
        let answers: &'static [&'static str] = Box::leak(Box::new([&*answer.leak()]));
        let app = saying(answers).await;
        let world = World::around(&app).await;
        let got = fetch(world.http, get("/")).await;
        assert_eq!(got.status(), 200);
        let whole = http_body_util::BodyExt::collect(got.into_body()).await;
        assert!(whole.is_err(), "{end}");
        for path in WAYS {
            let got = http2(world.http).await.send_request(get2(path)).await;
            let got = got.unwrap();
            assert_eq!(got.status(), 200);
            let whole = http_body_util::BodyExt::collect(got.into_body()).await;
            assert!(whole.is_err(), "{end} over HTTP/2, {path}");
        }
        eventually("it counts as failed", async || {
            let traffic = world.traffic("web-r1-1").await;
            (traffic.answered, traffic.failed, traffic.requests) == (3, 3, 0)
        })
        .await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_nobody_a_request() {
    // It says that it stays open, and closes.
    let app = saying(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok<close>"]).await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    let mut other = http2(world.http).await;
    for round in 0..20 {
        let got = client.send_request(get("/")).await.unwrap();
        assert_eq!(got.status(), 200, "round {round}");
        assert_eq!(body(got).await, "ok");
        for path in WAYS {
            let got = other.send_request(get2(path)).await.unwrap();
            assert_eq!(got.status(), 200, "round {round} over HTTP/2, {path}");
            assert_eq!(body(got).await, "ok");
        }
    }
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.answered, traffic.failed), (60, 0));
}

#[tokio::test]
async fn a_head_alone_has_no_body_and_the_connection_goes_on() {
    let app = saying(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"]).await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    for _ in 0..3 {
        let mut request = get("/");
        *request.method_mut() = Method::HEAD;
        let got = client.send_request(request).await.unwrap();
        assert_eq!(got.headers()["content-length"], "5");
        assert_eq!(body(got).await, "");
    }
    let mut other = http2(world.http).await;
    for path in [WAYS, WAYS].concat() {
        let mut request = get2(path);
        *request.method_mut() = Method::HEAD;
        let got = other.send_request(request).await.unwrap();
        assert_eq!(got.headers()["content-length"], "5", "{path}");
        assert_eq!(body(got).await, "");
    }
    assert_eq!(app.seen.requests(), 7);
}

#[tokio::test]
async fn large_answers_arrive_byte_for_byte() {
    const SIZE: usize = 3_000_000;
    let app = App::raw(|mut stream, _| async move {
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            let mut answer = head.into_bytes();
            answer.extend((0..SIZE).map(|at| (at / 7) as u8));
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    for _ in 0..2 {
        let got = client.send_request(get("/")).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(got.into_body())
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(bytes.len(), SIZE);
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == (at / 7) as u8)
        );
    }
}
