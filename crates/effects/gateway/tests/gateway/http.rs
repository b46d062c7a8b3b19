//! What HTTP clients see.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, slow_body};
use crate::clients::{body, fetch, get, get2, http1, http2, piece, raw};
use crate::world::{World, eventually};

#[tokio::test]
async fn a_host_leads_to_its_instance() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r7-1", app.address);
    world.route(&["web-r7-1"]).await;
    let mut client = http1(world.http).await;
    for _ in 0..3 {
        client.ready().await.unwrap();
        let mut request = get("/");
        let host = "SHOP.localhost.:8080".parse().unwrap();
        request.headers_mut().insert("host", host);
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["ward-instance"], "web-r7-1");
        assert_eq!(response.headers()["ward-release"], "r7");
        assert_eq!(response.headers()["x-request-id"].len(), 32);
        assert_eq!(body(response).await, "one");
    }
    assert_eq!(
        world.keeper("web-r7-1").connected(),
        1,
        "the connection is reused"
    );
    let traffic = world.traffic("web-r7-1").await;
    assert_eq!(
        (traffic.answered, traffic.failed, traffic.requests),
        (3, 0, 0)
    );
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let client = http2(world.http).await;
    let many = (0..50).map(|_| {
        let mut client = client.clone();
        async move {
            let response = client.send_request(get2("/")).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            body(response).await
        }
    });
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer == "one"));
}

#[tokio::test]
async fn unknown_host_no_instance_and_no_table() {
    let mut world = World::new().await;
    let untold = fetch(world.http, get("/")).await;
    assert_eq!(untold.status(), 503);
    assert_eq!(untold.headers()["ward-fault"], "ward");
    world.route(&[]).await;
    let empty = fetch(world.http, get("/")).await;
    assert_eq!(empty.status(), 503);
    assert_eq!(empty.headers()["retry-after"], "1");
    assert_eq!(empty.headers()["ward-fault"], "upstream");
    let mut request = get("/");
    let headers = request.headers_mut();
    headers.insert("host", "other.localhost:8080".parse().unwrap());
    let unknown = fetch(world.http, request).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.headers()["ward-fault"], "client");
    let id = unknown.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let text = body(unknown).await;
    assert!(text.contains(&id), "{text}");
    assert!(
        text.contains("the host other.localhost. It is not served here"),
        "{text}"
    );
    assert!(!text.contains("shop.localhost"), "{text}");
    let response = http2(world.http)
        .await
        .send_request(get2("/"))
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    let mut elsewhere = get2("/");
    *elsewhere.uri_mut() = "http://elsewhere.localhost/".parse().unwrap();
    let unknown = http2(world.http).await.send_request(elsewhere).await;
    let text = body(unknown.unwrap()).await;
    assert!(text.contains("the host elsewhere.localhost."), "{text}");
}

#[tokio::test]
async fn a_browser_gets_a_page_of_the_gateways_and_curl_gets_text() {
    let mut world = World::new().await;
    world.route(&[]).await;
    for (host, status) in [("shop.localhost", 503), ("other.localhost", 404)] {
        for (accept, kind) in [("text/html,*/*;q=0.8", "text/html"), ("*/*", "text/plain")] {
            let mut request = get("/");
            let headers = request.headers_mut();
            headers.insert("host", host.parse().unwrap());
            headers.insert("accept", accept.parse().unwrap());
            let answer = fetch(world.http, request).await;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers().contains_key("retry-after"), status == 503);
            let headers = answer.headers().clone();
            let told = headers["content-type"].to_str().unwrap();
            assert!(told.starts_with(kind), "{told}");
            let text = body(answer).await;
            assert_eq!(text.contains("<p>"), kind == "text/html", "{text}");
            for outside in ["src=", "href=", "url(", "<script", "@import"] {
                assert!(!text.contains(outside), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn the_instance_sees_a_head_that_the_gateway_vouches_for() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let request = Request::builder()
        .uri("/head?a=b%20c")
        .header("host", "shop.localhost:81")
        .header("x-request-id", "mine-1")
        .header("x-forwarded-for", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("x-secret-hop", "1")
        .header("connection", "keep-alive, x-secret-hop")
        .header("cookie", "a=b")
        .body(crate::clients::empty())
        .unwrap();
    let response = fetch(world.http, request).await;
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let seen = body(response).await;
    for line in [
        "GET /head?a=b%20c HTTP/1.1",
        "host: shop.localhost:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.localhost:81",
        "x-request-id: mine-1",
        "cookie: a=b",
    ] {
        assert!(seen.contains(line), "{line} is missing in\n{seen}");
    }
    for gone in ["6.6.6.6", "x-secret-hop", "forwarded: "] {
        assert!(!seen.contains(gone), "{gone} passed:\n{seen}");
    }
    let seen = http2(world.http)
        .await
        .send_request(get2("/head"))
        .await
        .unwrap();
    assert!(body(seen).await.contains("host: shop.localhost"));
}

#[tokio::test]
async fn server_sent_events_are_not_held_back() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut first = fetch(world.http, get("/events")).await.into_body();
    assert_eq!(piece(&mut first).await.unwrap(), "data: 0\n\n");
    app.seen.release.notify_one();
    assert_eq!(piece(&mut first).await.unwrap(), "data: 1\n\n");
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.requests, traffic.upgraded), (0, 1));
    drop(first);
    eventually("the instance is free again", async || {
        world.traffic("web-r1-1").await.upgraded == 0 && app.seen.abandoned() == 1
    })
    .await;
}

#[tokio::test]
async fn a_large_body_flows_both_ways() {
    const TOTAL: usize = 100 << 20;
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let before = peak_memory(world.child.id());
    let chunk = Bytes::from(vec![7; 1 << 20]);
    let upload = slow_body(chunk, TOTAL >> 20, Duration::ZERO);
    let request = Request::post("/echo").header("host", "shop.localhost");
    let request = request.body(upload.boxed()).unwrap();
    let mut answer = fetch(world.http, request).await.into_body();
    let mut total = 0;
    while let Some(piece) = piece(&mut answer).await {
        assert!(piece.iter().all(|byte| *byte == 7));
        total += piece.len();
    }
    assert_eq!(total, TOTAL);
    let grown = peak_memory(world.child.id()) - before;
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
}

/// The most memory that a process has used so far.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_instance() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    for version in [1, 2] {
        let response = match version {
            1 => fetch(world.http, get("/endless")).await,
            _ => http2(world.http)
                .await
                .send_request(get2("/endless"))
                .await
                .unwrap(),
        };
        let mut before = usize::MAX;
        eventually("the instance waits for its reader", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            std::mem::replace(&mut before, app.seen.body_bytes()) == before
        })
        .await;
        // What two sockets on each side may hold, and no more.
        assert!(
            app.seen.body_bytes() < version * (24 << 20),
            "{before} bytes were taken"
        );
        drop(response);
        eventually("the instance is told", async || {
            app.seen.abandoned() == version
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_the_instance_wants_it() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(world.http).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        (
            stream,
            String::from_utf8_lossy(&answer[..length]).into_owned(),
        )
    };
    let (mut stream, first) = ask("/count").await;
    assert!(first.starts_with("HTTP/1.1 100"), "{first}");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with('5'),
        "{answer}"
    );
    let (_, first) = ask("/early").await;
    assert!(first.starts_with("HTTP/1.1 413"), "{first}");
    eventually("nothing is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
    let after = fetch(world.http, get("/")).await;
    assert_eq!(body(after).await, "one");
}

#[tokio::test]
async fn an_answer_may_overtake_the_body() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let chunk = Bytes::from(vec![7; 1 << 16]);
    let upload = slow_body(chunk, 100, Duration::from_millis(20)).boxed();
    let request = Request::post("/early").header("host", "shop.localhost");
    let response = fetch(world.http, request.body(upload).unwrap()).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body(response).await, "413 Payload Too Large");
    eventually("nothing is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
}

#[tokio::test]
async fn grpc_goes_over_http2_and_keeps_its_trailers() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut client = http2(world.http).await;
    for _ in 0..3 {
        let request = Request::post("http://shop.localhost/grpc")
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(
                Full::from("\0\0\0\0\x02hi")
                    .map_err(|never| match never {})
                    .boxed(),
            )
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["seen-version"], "HTTP/2.0");
        assert_eq!(response.headers()["seen-te"], "trailers");
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "\0\0\0\0\x02hi");
    }
    assert_eq!(
        world.keeper("web-r1-1").connected(),
        2,
        "calls share a connection, after one that asked for the protocol"
    );
    assert_eq!(world.traffic("web-r1-1").await.requests, 0);
}

#[tokio::test]
async fn a_call_streams_in_both_directions_at_once() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok(hyper::body::Frame::data(bytes)), receiver))
    });
    let frames = http_body_util::StreamBody::new(Box::pin(frames)).boxed();
    let request = Request::post("http://shop.localhost/grpc")
        .header("content-type", "application/grpc")
        .body(frames)
        .unwrap();
    let response = http2(world.http).await.send_request(request).await.unwrap();
    let mut answer = response.into_body();
    for word in ["one", "two", "three"] {
        sender
            .send(Bytes::from_static(word.as_bytes()))
            .await
            .unwrap();
        assert_eq!(piece(&mut answer).await.unwrap(), word);
    }
    drop(sender);
    assert_eq!(
        answer
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
            .unwrap()["grpc-status"],
        "0"
    );
}

#[tokio::test]
async fn an_instance_of_http1_never_sees_the_bytes_of_a_call() {
    let app = App::raw(|mut stream, seen| async move {
        // It skips what it does not understand, as lenient parsers do.
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&all);
            seen.requests
                .fetch_add(text.matches("/smuggled").count(), Ordering::SeqCst);
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let call = "POST /grpc HTTP/1.1\r\nHost: shop.localhost\r\nContent-Type: application/grpc\r\n\
                Content-Length: 52\r\nConnection: close\r\n\r\n\
                \r\n\r\nGET /smuggled HTTP/1.1\r\nHost: evil.example.org\r\n\r\n";
    let answer = raw(world.http, call.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("does not speak HTTP/2"), "{answer}");
    assert_eq!(app.seen.requests(), 0);
}

/// Whoever asks chooses the protocol, so that it does not speak it says nothing about an instance.
#[tokio::test]
async fn calls_that_it_does_not_speak_take_no_instance_out_of_rotation() {
    let serve = || {
        App::raw(|mut stream, seen| async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let answer: &[u8] = match buffer[..count].starts_with(b"GET ") {
                    true => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                    false => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                };
                seen.requests
                    .fetch_add(usize::from(answer.ends_with(b"ok")), Ordering::SeqCst);
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        })
    };
    let apps = [serve().await, serve().await];
    let mut world = World::new().await;
    world.instance("web-r1-1", apps[0].address);
    world.instance("web-r1-2", apps[1].address);
    world.route(&["web-r1-1", "web-r1-2"]).await;
    let call = "POST /grpc HTTP/1.1\r\nHost: shop.localhost\r\nContent-Type: application/grpc\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n";
    for _ in 0..20 {
        let answer = raw(world.http, call.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
    for _ in 0..20 {
        assert_eq!(fetch(world.http, get("/")).await.status(), 200);
    }
    let served = apps.map(|app| app.seen.requests());
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}
