//! What goes wrong between clients, the gateway and instances.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, slow_body};
use crate::clients::{body, fetch, get, get2, http1, http1_over, http2, raw};
use crate::tls::{connect_over, trusting};
use crate::world::{Start, World, eventually};

#[tokio::test]
async fn a_client_that_disappears_cancels_its_request() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    let mut streams = http2(world.http).await;
    let waiting = tokio::spawn(client.send_request(get("/wait")));
    let streaming = tokio::spawn(streams.send_request(get2("/wait")));
    eventually("both wait", async || app.seen.requests() == 2).await;
    waiting.abort();
    streaming.abort();
    drop((client, streams));
    eventually("the instance is told", async || app.seen.abandoned() == 2).await;
    eventually("nothing is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_disappears_in_the_middle_of_a_body_cancels_it() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let head = "POST /count HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 5000]).await.unwrap();
    eventually("some of it arrived", async || app.seen.body_bytes() == 5000).await;
    drop(stream);
    eventually("nothing is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
    assert_eq!(body(fetch(world.http, get("/")).await).await, "one");
}

#[tokio::test]
async fn an_instance_that_dies_in_the_middle_of_its_answer() {
    let app = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        let _ = stream.write_all(half).await;
    })
    .await;
    let world = World::around(&app).await;
    let response = fetch(world.http, get("/")).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
    let response = http2(world.http)
        .await
        .send_request(get2("/"))
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    eventually("both count as failed", async || {
        let traffic = world.traffic("web-r1-1").await;
        (traffic.answered, traffic.failed, traffic.requests) == (2, 2, 0)
    })
    .await;
}

/// Hangs up on the first requests, then answers.
async fn unreliable(failures: usize) -> App {
    App::raw(move |mut stream, seen| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        if seen.requests.fetch_add(1, Ordering::SeqCst) >= failures {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = stream.write_all(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is() {
    let app = unreliable(2).await;
    let world = World::around(&app).await;
    assert_eq!(body(fetch(world.http, get("/")).await).await, "ok");
    assert_eq!(app.seen.requests(), 3, "it was sent three times at most");
    let app = unreliable(3).await;
    let world = World::around(&app).await;
    let lost = fetch(world.http, get("/")).await;
    assert_eq!(
        (lost.status().as_u16(), &lost.headers()["ward-fault"]),
        (502, &"upstream".parse().unwrap())
    );

    for (method, length) in [(Method::POST, None), (Method::PUT, Some(5))] {
        let app = unreliable(1).await;
        let world = World::around(&app).await;
        let mut request = get("/");
        *request.method_mut() = method;
        if length.is_some() {
            let bytes = http_body_util::Full::from("hello").map_err(|never| match never {});
            *request.body_mut() = bytes.boxed();
        }
        let response = fetch(world.http, request).await;
        assert_eq!(response.status(), 502);
        assert_eq!(app.seen.requests(), 1, "it was sent twice");
    }
}

#[tokio::test]
async fn a_service_may_have_no_retries_also_on_kept_connections() {
    let app = unreliable(usize::MAX).await;
    let mut world = World::around(&app).await;
    for (retries, sent) in [(0, 1), (1, 2)] {
        world.balance.retries = Some(retries);
        world.route(&["web-r1-1"]).await;
        let before = app.seen.requests();
        // Over both ways.
        assert_eq!(fetch(world.http, get("/")).await.status(), 502);
        let mut client = http2(world.http).await;
        let answer = client.send_request(get2("/")).await.unwrap();
        assert_eq!(answer.status(), 502);
        assert_eq!(app.seen.requests() - before, 2 * sent);
    }
    let app = App::raw(|mut stream, seen| async move {
        let mut head = [0; 4096];
        // The first request of a connection is answered, the second not.
        let _ = stream.read(&mut head).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        if stream.read(&mut head).await.is_ok_and(|count| count > 0) {
            seen.requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    world.instance("web-r1-2", app.address);
    world.balance.retries = Some(0);
    world.route(&["web-r1-2"]).await;
    // One client's, so that the kept connection is of its worker.
    let mut client = http1(world.http).await;
    for status in [200, 502] {
        let answer = client.send_request(get("/")).await.unwrap();
        assert_eq!(answer.status(), status);
        body(answer).await;
    }
    assert_eq!(app.seen.requests(), 1);
}

#[tokio::test]
async fn retries_have_a_budget() {
    let app = unreliable(usize::MAX).await;
    let world = World::around(&app).await;
    let began = Instant::now();
    for _ in 0..60 {
        assert_eq!(fetch(world.http, get("/")).await.status(), 502);
    }
    let retries = app.seen.requests() - 60;
    // A second's worth to begin with, a fifth of sixty, and ten for each second that passed.
    let allowed = 10.0 + 12.0 + 10.0 * began.elapsed().as_secs_f64() + 2.0;
    assert!(
        (10.0..=allowed).contains(&(retries as f64)),
        "{retries} retries"
    );
}

#[tokio::test]
async fn an_instance_that_takes_no_connections() {
    let app = App::http("one").await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    world.keeper("web-r1-1").refuse();
    for gone in 0..2 {
        let mut request = get("/");
        *request.method_mut() = Method::POST;
        let response = fetch(world.http, request).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["ward-fault"], "upstream");
        if gone == 0 {
            world.kill_keeper("web-r1-1");
        }
    }
    // Nothing was sent, so even what may not be sent twice goes to another instance.
    world.instance("web-r1-2", app.address);
    world.route(&["web-r1-1", "web-r1-2"]).await;
    for _ in 0..10 {
        let mut request = get("/");
        *request.method_mut() = Method::POST;
        assert_eq!(fetch(world.http, request).await.status(), 200);
    }
}

#[tokio::test]
async fn an_answer_before_the_body_reaches_the_client_though_the_instance_hangs_up() {
    let app = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(answer).await;
    })
    .await;
    let world = World::around(&app).await;
    let upload = slow_body(Bytes::from(vec![1; 10_000]), 50, Duration::from_millis(5));
    let request = Request::post("/").header("host", "shop.localhost");
    let response = fetch(world.http, request.body(upload.boxed()).unwrap()).await;
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn slow_clients_and_slow_instances_are_told_apart() {
    let app = App::http("one").await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let late = fetch(world.http, get("/wait")).await;
    assert_eq!(
        (late.status().as_u16(), &late.headers()["ward-fault"]),
        (504, &"upstream".parse().unwrap())
    );
    for path in ["/wait", "/wait?|"] {
        let mut client = http2(world.http).await;
        let late = client.send_request(get2(path));
        let late = tokio::time::timeout(Duration::from_secs(15), late).await;
        let late = late.expect("an answer").unwrap();
        assert_eq!(late.status(), 504, "{path}");
        assert_eq!(late.headers()["ward-fault"], "upstream", "{path}");
    }
    // Nobody asks it again, and it is what failed.
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((app.seen.waiting(), traffic.failed), (3, 3));
    let unfinished =
        b"POST /count HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 10\r\n\r\nhal";
    let answer = raw(world.http, unfinished).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("ward-fault: client"),
        "{answer}"
    );
    // A slow body that keeps coming is no reason to give up.
    let upload = slow_body(Bytes::from_static(b"x"), 10, Duration::from_millis(200)).boxed();
    let request = Request::post("/count").header("host", "shop.localhost");
    let response = fetch(world.http, request.body(upload).unwrap()).await;
    assert_eq!(body(response).await, "10");
}

#[tokio::test]
async fn connections_have_limits_in_time() {
    let app = App::http("one").await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let lasted = async |bytes: &[u8]| {
        let began = Instant::now();
        let answer = raw(world.http, bytes).await;
        (began.elapsed(), answer)
    };
    // Nothing at all, half a head, half a preface of HTTP/2: the time for a head.
    for head in ["", "GET / HTTP/1.1\r\nHost: sh", "PRI * HTTP/2.0\r\n"] {
        let (time, answer) = lasted(head.as_bytes()).await;
        let right = (Duration::from_millis(450)..Duration::from_millis(4500)).contains(&time);
        assert!(right && answer.is_empty(), "{head:?}: {time:?} {answer:?}");
    }
    // A whole request, then nothing: the time for an unused connection.
    let (time, answer) = lasted(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && time >= Duration::from_millis(4900),
        "{time:?}"
    );
    // A whole request and its answer, then half a head: the time for a head again.
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let whole = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    stream.write_all(whole).await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    stream.write_all(b"GET / HT").await.unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        began.elapsed() < Duration::from_millis(4500),
        "{:?}",
        began.elapsed()
    );
    // HTTP/2 is told to go.
    let client = http2(world.http).await;
    let mut first = client.clone();
    assert_eq!(first.send_request(get2("/")).await.unwrap().status(), 200);
    eventually("the connection is closed", async || client.is_closed()).await;
}

#[tokio::test]
async fn above_the_limit_connections_wait_their_turn() {
    let app = App::http("one").await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let many = (0..120).map(|_| fetch(world.http, get("/")));
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn what_the_application_answers_is_passed_on() {
    let app = App::http("one").await;
    let world = World::around(&app).await;
    let response = fetch(world.http, get("/500")).await;
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["ward-instance"], "web-r1-1");
    assert!(response.headers().get("ward-fault").is_none());
    assert_eq!(world.traffic("web-r1-1").await.failed, 1);
    let mut request = get("/");
    *request.method_mut() = Method::HEAD;
    let response = fetch(world.http, request).await;
    assert_eq!(response.headers()["content-length"], "3");
    assert_eq!(body(response).await, "");
    let old = raw(
        world.http,
        b"GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n",
    )
    .await;
    assert!(old.ends_with("\r\n\r\none"), "{old}");
    let star = b"OPTIONS * HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    assert!(raw(world.http, star).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_instance_that_answers_nonsense() {
    let app = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    })
    .await;
    let world = World::around(&app).await;
    let mut request = get("/");
    *request.method_mut() = Method::POST;
    assert_eq!(fetch(world.http, request).await.status(), 502);
}

/// What a process has of the machine's memory for itself, in KiB.
fn own_memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn memory_is_given_back_after_a_burst_of_connections() {
    let mut world = World::new().await;
    world.route(&[]).await;
    let pid = world.child.id();
    let before = own_memory(pid);
    let mut clients = Vec::new();
    for _ in 0..800 {
        let mut client = http1(world.http).await;
        assert_eq!(client.send_request(get("/")).await.unwrap().status(), 503);
        clients.push(client);
    }
    assert!(
        own_memory(pid) > before + 10 * 1024,
        "there is nothing to give back"
    );
    drop(clients);
    eventually("memory is given back", async || {
        own_memory(pid) < before + 5 * 1024
    })
    .await;
}

#[tokio::test]
async fn a_balancer_says_whose_each_connection_is_and_must() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Balanced).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    // Version 2, PROXY, TCP over IPv4, 12 bytes of addresses.
    let told = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x1f\x90\0\x50";
    let ask = b"GET /head HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(world.http, &[&told[..], ask].concat()).await;
    assert!(answer.contains("x-forwarded-for: 192.0.2.7"), "{answer}");
    assert_eq!(raw(world.http, ask).await, "", "it said nothing");
    assert_eq!(app.seen.requests(), 1);

    // The same before TLS.
    let mut stream = TcpStream::connect(world.https).await.unwrap();
    stream.write_all(told).await.unwrap();
    let config = Arc::new(trusting(&world, &[&rustls::version::TLS13]));
    let stream = connect_over(&config, stream, "shop.localhost").await;
    let mut client = http1_over(stream.unwrap()).await;
    let response = client.send_request(get("/head")).await.unwrap();
    assert!(body(response).await.contains("x-forwarded-for: 192.0.2.7"));
}
