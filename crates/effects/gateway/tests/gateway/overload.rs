//! Limits on what one client may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use ward_types::guard::{Concurrency, Guard, LimitBy, Rate, RateLimit};
use ward_types::route::Route;
use ward_types::table::Refusal;

use crate::app::{App, Payload, slow_body};
use crate::clients::{WAYS, body, fetch, get, get2, http1, http1_over, http2, piece, raw};
use crate::links::{handed_over, service};
use crate::tls::{connect, trusting};
use crate::world::{Start, World, eventually};

pub(crate) async fn refused(world: &World, refusal: Refusal) -> u64 {
    let observed = world.control.observe().await.unwrap();
    observed.refused.get(&refusal).copied().unwrap_or_default()
}

/// A connection from another address of this machine.
async fn from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((host, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether a connection was closed without a byte.
async fn is_closed(mut stream: TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 16])).await;
    !matches!(read, Ok(Ok(1..)) | Err(_))
}

#[tokio::test]
async fn one_address_cannot_take_all_places_and_what_is_over_is_closed_before_tls() {
    let (world, _app) = World::serving(Start::Tight).await;
    let mut own = Vec::new();
    for _ in 0..12 {
        let mut client = http1(world.http).await;
        assert_eq!(client.send_request(get("/")).await.unwrap().status(), 200);
        own.push(client);
    }
    for address in [world.http, world.https] {
        assert!(is_closed(TcpStream::connect(address).await.unwrap()).await);
    }
    assert_eq!(refused(&world, Refusal::Address).await, 2);
    let other = from([127, 0, 0, 2], world.http).await;
    let answer = http1_over(other).await.send_request(get("/")).await;
    assert_eq!(answer.unwrap().status(), 200);
    drop(own);
    eventually("a place is free again", async || {
        let stream = TcpStream::connect(world.http).await.unwrap();
        let mut client = http1_over(stream).await;
        client.send_request(get("/")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn clients_that_take_every_place_stop_neither_links_nor_operators() {
    let (world, _app) = World::serving(Start::ShortLimits).await;
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(world.http).await.unwrap());
    }
    let mut kept = http1(world.http).await;
    let waits = kept.send_request(get("/wait"));
    let (stream, taken) = handed_over(&world, service("web")).await;
    assert!(taken, "a link was refused");
    let mut link = http1_over(stream).await;
    assert_eq!(link.send_request(get("/")).await.unwrap().status(), 200);
    assert!(world.control.observe().await.is_ok());
    drop((waits, crowd));
}

#[tokio::test]
async fn handshakes_that_stand_still_do_not_keep_others_out() {
    let (world, _app) = World::serving(Start::Tight).await;
    // As many as one address may have under way, none of which says anything.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(world.https).await.unwrap());
    }
    let config = Arc::new(trusting(&world, &[&rustls::version::TLS13]));
    let began = Instant::now();
    let stream = connect(&config, world.https, "shop.localhost").await;
    let answer = http1_over(stream.unwrap())
        .await
        .send_request(get("/"))
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    // Its turn came before theirs, or one of them had to go for it; in the end they all go.
    eventually("those that say nothing are refused", async || {
        refused(&world, Refusal::Handshake).await == 3
    })
    .await;
}

#[tokio::test]
async fn a_head_may_be_so_large_in_either_version() {
    let (world, app) = World::serving(Start::Usual).await;
    let long = "x".repeat(17_000);
    let request = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: {long}\r\n\r\n");
    let answer = raw(world.http, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(answer.contains("ward-fault: client"), "{answer}");
    assert_eq!(refused(&world, Refusal::Head).await, 1);
    let mut client = http2(world.http).await;
    let mut request = get2("/");
    let many = (0..101).map(|n| format!("x-{n}"));
    for name in many {
        let name = http::HeaderName::try_from(name).unwrap();
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 431);
    let mut request = get2("/");
    request
        .headers_mut()
        .insert("x", long[..15_000].parse().unwrap());
    client.ready().await.unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(app.seen.requests(), 1);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_and_one_that_is_only_slow_is_not() {
    let (world, app) = World::serving(Start::Tight).await;
    // 100 bytes a second, and then 2000; at least 500 are asked for.
    let upload = |bytes: &'static [u8], count| {
        let body = slow_body(Bytes::from_static(bytes), count, Duration::from_millis(100));
        let request = Request::post("/count").header("host", "shop.localhost");
        request.body(body.boxed()).unwrap()
    };
    let answer = fetch(world.http, upload(&[b'x'; 10], 300)).await;
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.headers()["ward-fault"], "client");
    assert_eq!(refused(&world, Refusal::SlowBody).await, 1);
    eventually("the instance is told", async || app.seen.abandoned() == 1).await;
    let answer = fetch(world.http, upload(&[b'x'; 200], 30)).await;
    assert_eq!(body(answer).await, "6000");
}

/// A body that nobody reads for longer than a client may take nothing.
async fn reads_nothing(world: &World, app: &App, body: hyper::body::Incoming) {
    eventually("its request is given up", async || {
        app.seen.abandoned() == 1
    })
    .await;
    drop(body);
    assert!(world.control.observe().await.is_ok());
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let (world, app) = World::serving(Start::Tight).await;
    let mut client = http1(world.http).await;
    let answer = client.send_request(get("/endless")).await.unwrap();
    reads_nothing(&world, &app, answer.into_body()).await;
}

/// It may pause while an event stream lasts, and no longer.
#[tokio::test]
async fn who_had_an_event_stream_must_take_its_next_answer() {
    let (world, app) = World::serving(Start::Tight).await;
    let mut client = http1(world.http).await;
    let mut head = get("/event");
    *head.method_mut() = Method::HEAD;
    assert_eq!(client.send_request(head).await.unwrap().status(), 200);
    client.ready().await.unwrap();
    let events = client.send_request(get("/event")).await.unwrap();
    assert_eq!(body(events).await, "data: 0\n\n");
    client.ready().await.unwrap();
    let answer = client.send_request(get("/endless")).await.unwrap();
    reads_nothing(&world, &app, answer.into_body()).await;
}

/// An event stream whose client vanishes behind more bytes than are read ahead.
#[tokio::test]
async fn a_client_that_goes_behind_what_nobody_reads_is_seen_to_go() {
    let (world, app) = World::serving(Start::Usual).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    let ask = b"GET /events HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    client.write_all(ask).await.unwrap();
    client.read_u8().await.unwrap();
    // They are taken into buffers of the kernel, wherever nobody reads them.
    client.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    drop(client);
    eventually("its request is given up", async || {
        app.seen.abandoned() == 1
    })
    .await;
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_cut_and_one_that_is_slow_is_not() {
    let (world, app) = World::serving(Start::Tight).await;
    let mut slow = http2(world.http).await;
    let answer = slow.send_request(get2("/endless")).await.unwrap();
    let mut slow_body = answer.into_body();
    let began = Instant::now();
    // Longer than a client may take nothing.
    while began.elapsed() < Duration::from_secs(5) {
        assert!(piece(&mut slow_body).await.is_some());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(app.seen.abandoned(), 0);
    drop((slow, slow_body));
    eventually("it is given up", async || app.seen.abandoned() == 1).await;
    let mut client = http2(world.http).await;
    let answer = client.send_request(get2("/endless")).await.unwrap();
    eventually("it is cut", async || app.seen.abandoned() == 2).await;
    assert_eq!(refused(&world, Refusal::SlowReader).await, 1);
    drop(answer);
}

#[tokio::test]
async fn an_event_stream_may_be_silent_and_its_client_may_pause() {
    let (world, app) = World::serving(Start::Tight).await;
    let mut client = http2(world.http).await;
    let answer = client.send_request(get2("/events")).await.unwrap();
    let mut events = answer.into_body();
    assert!(piece(&mut events).await.is_some());
    tokio::time::sleep(Duration::from_secs(5)).await;
    app.seen.release.notify_one();
    assert!(piece(&mut events).await.is_some());
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![size[1], size[2], size[3], kind, 0];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends again and again until the connection is closed.
async fn flood(world: &World, mut next: impl FnMut(u32) -> Vec<u8>) {
    let stream = TcpStream::connect(world.http).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let gone = tokio::spawn(async move {
        let mut answers = [0; 16 * 1024];
        while matches!(reading.read(&mut answers).await, Ok(1..)) {}
    });
    writing.write_all(PREFACE).await.unwrap();
    let mut sent = 0;
    while !gone.is_finished() && writing.write_all(&next(sent)).await.is_ok() {
        sent += 1;
        assert!(sent < 100_000, "nothing ends it");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn floods_of_frames_that_serve_nothing_end_the_connection_and_no_other() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut beside = http2(world.http).await;
    let mut cut = 0;
    for (kind, stream, payload) in [
        (0x6, 0, &b"12345678"[..]),
        (0x4, 0, b""),
        (0x2, 1, b"\0\0\0\0\x10"),
        (0x8, 0, b"\0\0\0\x01"),
        (0xbb, 0, b"?"),
    ] {
        flood(&world, |_| frame(kind, stream, payload)).await;
        cut += 1;
        assert_eq!(refused(&world, Refusal::Flood).await, cut, "{kind}");
        beside.ready().await.unwrap();
        assert_eq!(beside.send_request(get2("/")).await.unwrap().status(), 200);
    }
}

/// A request for `/wait` at `shop.localhost`, without indexing.
fn request(stream: u32) -> Vec<u8> {
    let block = b"\x82\x86\x04\x05/wait\x01\x0eshop.localhost";
    let mut head = frame(0x1, stream, block);
    head[4] = 0x5;
    head
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (world, app) = World::serving(Start::Usual).await;
    let taken_back = |number| {
        let stream = 1 + 2 * number;
        [request(stream), frame(0x3, stream, b"\0\0\0\x08")].concat()
    };
    // h2 itself counts those that nobody has looked at.
    flood(&world, taken_back).await;
    assert!(app.seen.requests() <= 500, "{}", app.seen.requests());
}

#[tokio::test]
async fn requests_that_are_taken_back_under_way_end_the_connection() {
    let (world, app) = World::serving(Start::Usual).await;
    let stream = TcpStream::connect(world.http).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let gone = tokio::spawn(async move {
        let mut answers = [0; 16 * 1024];
        while matches!(reading.read(&mut answers).await, Ok(1..)) {}
    });
    writing.write_all(PREFACE).await.unwrap();
    for number in 0..1_000 {
        let stream = 1 + 2 * number;
        if writing.write_all(&request(stream)).await.is_err() {
            break;
        }
        eventually("the instance has it", async || {
            app.seen.requests() > number as usize || gone.is_finished()
        })
        .await;
        let back = frame(0x3, stream, b"\0\0\0\x08");
        let _ = writing.write_all(&back).await;
    }
    assert_eq!(refused(&world, Refusal::Churn).await, 1);
    let begun = app.seen.requests();
    assert!((400..800).contains(&begun), "{begun}");
    eventually("none is left", async || app.seen.abandoned() == begun).await;
}

#[tokio::test]
async fn a_connection_has_so_many_requests() {
    let (world, _app) = World::serving(Start::Tight).await;
    let mut client = http1(world.http).await;
    for number in 1..=50 {
        client.ready().await.unwrap();
        let answer = client.send_request(get("/")).await.unwrap();
        let close = answer
            .headers()
            .get("connection")
            .is_some_and(|v| v == "close");
        assert_eq!((answer.status().as_u16(), close), (200, number == 50));
        body(answer).await;
    }
    eventually("it is closed", async || client.is_closed()).await;
    // HTTP/2 is told to go, and loses nothing that it has begun.
    let client = http2(world.http).await;
    let all = (0..50).map(|_| {
        let mut client = client.clone();
        async move { client.send_request(get2("/")).await.unwrap().status() }
    });
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|status| *status == 200));
    eventually("it is told to go", async || client.is_closed()).await;
}

fn limited(rate: &str, burst: u32, by: &str) -> Guard {
    Guard {
        limit: Some(RateLimit {
            rate: Rate::parse(rate).unwrap(),
            burst,
            by: LimitBy::parse(by).unwrap(),
        }),
        ..Guard::default()
    }
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let app = App::http("one").await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.guard = limited("2/m", 3, "address");
    world.route(&["web-r1-1"]).await;
    let mut client = http1(world.http).await;
    for number in 0..5 {
        client.ready().await.unwrap();
        let answer = client.send_request(get("/")).await.unwrap();
        let status = if number < 3 { 200 } else { 429 };
        assert_eq!(answer.status(), status, "the connection is kept as well");
        if status == 429 {
            assert_eq!(answer.headers()["ward-fault"], "client");
            let after: u32 = answer.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((20..=30).contains(&after), "{after}");
        }
        body(answer).await;
    }
    for path in WAYS {
        let answer = http2(world.http).await.send_request(get2(path)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 429, "{path}");
        assert_eq!(answer.headers()["ward-fault"], "client", "{path}");
    }
    // The next table counts on, another address has its own, and links are not limited.
    world.route(&["web-r1-1"]).await;
    assert_eq!(fetch(world.http, get("/")).await.status(), 429);
    let other = from([127, 0, 0, 2], world.http).await;
    let answer = http1_over(other).await.send_request(get("/")).await;
    assert_eq!(answer.unwrap().status(), 200);
    let (stream, _) = handed_over(&world, service("web")).await;
    let mut link = http1_over(stream).await;
    for _ in 0..5 {
        link.ready().await.unwrap();
        let answer = link.send_request(get("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        body(answer).await;
    }
    assert_eq!(app.seen.requests(), 9);
    assert_eq!(refused(&world, Refusal::Rate).await, 5);
    // Without the limit nothing is counted.
    world.guard = Guard::default();
    world.route(&["web-r1-1"]).await;
    assert_eq!(fetch(world.http, get("/")).await.status(), 200);
}

/// Both ways; one of them only where nothing but the address decides.
#[tokio::test]
async fn a_route_has_a_rate_of_its_own_beside_its_services() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    for by in ["address", "header:x-key"] {
        world.guard = limited("1/h", 5, by);
        let mut table = world.table(&["web-r1-1"]);
        let limit = limited("1/h", 2, by).limit;
        let mut login = Route::plain("shop.localhost");
        login.path = "/login".to_owned();
        login.settings.limit = limit;
        let all = Route::plain("shop.localhost");
        Arc::make_mut(&mut table.pools[0]).routes = vec![login, all];
        world.control.apply(table).await.unwrap();
        let ask = async |path: &str| fetch(world.http, get(path)).await.status().as_u16();
        assert_eq!(ask("/login").await, 200, "{by}");
        assert_eq!(ask("/login/|").await, 200, "{by}");
        for path in ["/login", "/login/|"] {
            assert_eq!(ask(path).await, 429, "{by} {path}");
            let answer = http2(world.http).await.send_request(get2(path)).await;
            assert_eq!(answer.unwrap().status(), 429, "{by} {path}");
        }
        // What a route refused was not counted to the service.
        for path in ["/", "/|", "/other"] {
            assert_eq!(ask(path).await, 200, "{by} {path}");
        }
        assert_eq!(ask("/").await, 429, "{by}");
    }
    assert_eq!(app.seen.requests(), 10);
}

/// The service's own limit asks for nothing that the short ways do not look at.
#[tokio::test]
async fn a_token_has_a_rate_of_its_own_at_one_route() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    let mut table = world.table(&["web-r1-1"]);
    let mut login = Route::plain("shop.localhost");
    login.path = "/login".to_owned();
    login.settings.limit = limited("1/h", 1, "header:x-key").limit;
    Arc::make_mut(&mut table.pools[0]).routes = vec![login, Route::plain("shop.localhost")];
    world.control.apply(table).await.unwrap();
    let keyed = |mut request: Request<_>, key: &'static str| {
        request.headers_mut().insert("x-key", key.parse().unwrap());
        request
    };
    for (path, keys) in [("/login", ["a", "b"]), ("/login/|", ["c", "d"])] {
        for key in keys {
            for status in [200, 429] {
                let answer = fetch(world.http, keyed(get(path), key)).await;
                assert_eq!(answer.status(), status, "{path} {key}");
            }
        }
    }
    for key in ["e", "f"] {
        for status in [200, 429] {
            let mut request = get2("/login");
            request.headers_mut().insert("x-key", key.parse().unwrap());
            let answer = http2(world.http).await.send_request(request).await;
            assert_eq!(answer.unwrap().status(), status, "{key}");
        }
    }
}

#[tokio::test]
async fn a_token_has_a_rate_of_its_own() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = limited("1/h", 1, "header:authorization");
    world.route(&["web-r1-1"]).await;
    let ask = async |token: &'static str| {
        let mut request = get("/");
        let headers = request.headers_mut();
        headers.insert("authorization", token.parse().unwrap());
        fetch(world.http, request).await.status().as_u16()
    };
    assert_eq!((ask("Bearer a").await, ask("Bearer b").await), (200, 200));
    assert_eq!((ask("Bearer a").await, ask("Bearer b").await), (429, 429));
}

/// A body of which the test sends what it likes.
fn channel() -> (tokio::sync::mpsc::Sender<Bytes>, Payload) {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let frames = futures_util::stream::unfold(receive, async |mut receive| {
        let bytes: Bytes = receive.recv().await?;
        Some((Ok(Frame::data(bytes)), receive))
    });
    (send, BodyExt::boxed(StreamBody::new(frames)))
}

fn concurrent(concurrency: Concurrency) -> Guard {
    Guard {
        concurrency,
        ..Guard::default()
    }
}

/// A server that does one request at a time, each in so many milliseconds, in the order in which they come,
/// whether anybody waits for the answer or not.
async fn one_at_a_time(millis: u64) -> App {
    let worker = Arc::new(tokio::sync::Mutex::new(()));
    App::raw(move |mut stream, seen| {
        let worker = Arc::clone(&worker);
        async move {
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                head.clear();
                seen.requests.fetch_add(1, Ordering::SeqCst);
                let work = Arc::clone(&worker);
                let work = tokio::spawn(async move {
                    let _turn = work.lock().await;
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                });
                work.await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn of_a_fixed_number_the_others_wait_and_who_waited_too_long_is_shed() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = concurrent(Concurrency::PerInstance(2));
    world.route(&["web-r1-1"]).await;
    let ask = |path| tokio::spawn(fetch(world.http, get(path)));
    let busy = [ask("/wait"), ask("/wait")];
    eventually("both are there", async || app.seen.waiting() == 2).await;
    // One waits until there is room.
    let third = ask("/");
    let held = http1(world.http).await.send_request(get("/wait")).await;
    assert_eq!(held.unwrap().status(), 503, "it waited for a second");
    for path in WAYS {
        let answer = http2(world.http).await.send_request(get2(path)).await;
        assert_eq!(answer.unwrap().status(), 503, "{path}");
    }
    let third = third.await.unwrap();
    assert_eq!(third.status(), 503);
    assert_eq!(third.headers()["ward-fault"], "upstream");
    assert_eq!(third.headers()["retry-after"], "1");
    let waits = ask("/");
    tokio::task::yield_now().await;
    app.seen.release.notify_waiters();
    for answer in busy.into_iter().chain([waits]) {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    assert_eq!(refused(&world, Refusal::Overload).await, 4);
}

/// A header that any client may send is no way past the limit; what is switched is long, and takes no place.
#[tokio::test]
async fn who_asks_for_another_protocol_takes_a_place_until_it_is_answered() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = concurrent(Concurrency::PerInstance(1));
    world.route(&["web-r1-1"]).await;
    let switching = |path: &str| {
        let request = Request::get(path).header("host", "shop.localhost");
        let request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.body(crate::clients::empty()).unwrap()
    };
    let address = world.http;
    let busy = tokio::spawn(fetch(address, switching("/wait")));
    eventually("it is there", async || app.seen.waiting() == 1).await;
    assert_eq!(fetch(address, switching("/wait")).await.status(), 503);
    assert_eq!(fetch(address, get("/")).await.status(), 503);
    app.seen.release.notify_waiters();
    assert_eq!(busy.await.unwrap().status(), 200);
    let switched = fetch(address, switching("/ws")).await;
    assert_eq!(switched.status(), 101);
    for _ in 0..3 {
        assert_eq!(fetch(address, get("/")).await.status(), 200);
    }
    drop(switched);
    assert_eq!(refused(&world, Refusal::Overload).await, 2);
}

#[tokio::test]
async fn what_waits_for_its_client_and_what_is_long_takes_no_place() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = concurrent(Concurrency::PerInstance(1));
    world.route(&["web-r1-1"]).await;
    // An upload whose client pauses, and an event stream.
    let (upload, sent) = channel();
    let request = Request::post("/count").header("host", "shop.localhost");
    let uploading = tokio::spawn(fetch(world.http, request.body(sent).unwrap()));
    upload.send(Bytes::from_static(b"abc")).await.unwrap();
    eventually("it has begun", async || app.seen.body_bytes() == 3).await;
    let mut client = http1(world.http).await;
    let events = client.send_request(get("/events")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(fetch(world.http, get("/")).await.status(), 200);
    }
    upload.send(Bytes::from_static(b"def")).await.unwrap();
    drop(upload);
    assert_eq!(body(uploading.await.unwrap()).await, "6");
    drop(events);
    // While nobody is there, requests wait for an instance and not for a place.
    world.route(&[]).await;
    let address = world.http;
    let waiting = (0..5).map(|_| fetch(address, get("/")));
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        world.instance("web-r1-2", app.address);
        let table = world.table(&["web-r1-2"]);
        world.control.apply(table).await.unwrap();
    };
    let waiting = futures_util::future::join_all(waiting);
    let (answers, ()) = tokio::join!(waiting, arrives);
    assert!(answers.iter().all(|answer| answer.status() == 200));
}

/// Clients that ask again as soon as they have an answer, or after a moment when they are sent away, for so
/// many seconds; how many good answers came in time in the last eight of them.
async fn asked(address: SocketAddr, clients: usize, seconds: u64) -> usize {
    let until = Instant::now() + Duration::from_secs(seconds);
    let counted = until - Duration::from_secs(seconds.min(8));
    let each = (0..clients).map(|_| async move {
        let (mut good, mut client) = (0, http1(address).await);
        while Instant::now() < until {
            if client.ready().await.is_err() {
                client = http1(address).await;
                continue;
            }
            let within = Duration::from_secs(1);
            match tokio::time::timeout(within, client.send_request(get("/"))).await {
                Ok(Ok(answer)) if answer.status() == 200 => {
                    body(answer).await;
                    good += usize::from(Instant::now() > counted);
                }
                Ok(Ok(answer)) => {
                    assert_eq!(answer.status(), 503);
                    body(answer).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // Nobody waits for longer; the instance does not know that.
                Ok(Err(_)) | Err(_) => client = http1(address).await,
            }
        }
        good
    });
    futures_util::future::join_all(each).await.into_iter().sum()
}

#[tokio::test]
async fn a_crowd_ten_times_too_large_is_served_as_well_as_one_that_is_not() {
    let app = one_at_a_time(8).await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = concurrent(Concurrency::Adaptive);
    world.route(&["web-r1-1"]).await;
    // Twenty at once wait for a sixth of a second, two hundred for longer than any of them has patience.
    let usual = asked(world.http, 20, 8).await;
    assert_eq!(refused(&world, Refusal::Overload).await, 0, "ordinary load");
    // In the first seconds it is found out, and what was begun for those who have gone comes to its end.
    let crowded = asked(world.http, 200, 24).await;
    assert!(refused(&world, Refusal::Overload).await > 0);
    // Without a limit it is next to none. How near it comes to all depends on the machine that the tests share.
    assert!(crowded * 10 >= usual, "{crowded} of {usual}");
    // When the crowd is gone nobody is sent away any more.
    asked(world.http, 20, 4).await;
    let before = refused(&world, Refusal::Overload).await;
    asked(world.http, 20, 2).await;
    assert_eq!(refused(&world, Refusal::Overload).await, before);
}

#[tokio::test]
async fn a_service_at_rest_with_slow_requests_and_a_sudden_start_sheds_nobody() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Usual).await;
    world.instance("web-r1-1", app.address);
    world.guard = concurrent(Concurrency::Adaptive);
    world.route(&["web-r1-1"]).await;
    asked(world.http, 20, 2).await;
    // Three hundred requests that take seconds, while others are quick.
    let slow = (0..300).map(|_| tokio::spawn(fetch(world.http, get("/wait"))));
    let slow: Vec<_> = slow.collect();
    eventually("all are there", async || app.seen.waiting() == 300).await;
    asked(world.http, 20, 4).await;
    assert_eq!(refused(&world, Refusal::Overload).await, 0);
    app.seen.release.notify_waiters();
    for answer in slow {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}
