//! Requests that are not plain go to instances on the same connections as those that are, written anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, Payload, slow_body};
use crate::clients::{WAYS, body, empty, get, get2, http1, http2, piece, raw, took_the_short_way};
use crate::world::{Start, World, eventually};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads to these bytes; what came, or nothing at the end of the connection.
async fn read_to(stream: &mut TcpStream, end: &[u8]) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(read).unwrap())
}

/// Answers each request, which ends in this way, with what came.
async fn repeating(end: &'static str) -> App {
    App::raw(move |mut stream, _| async move {
        while let Some(read) = read_to(&mut stream, end.as_bytes()).await {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", read.len());
            let _ = stream.write_all((head + &read).as_bytes()).await;
        }
    })
    .await
}

fn post(path: &str, payload: Payload) -> Request<Payload> {
    let mut request = get2(path).map(|_| payload);
    *request.method_mut() = Method::POST;
    request
}

#[tokio::test]
async fn a_body_of_known_length_is_sent_by_its_length() {
    let app = repeating("five!").await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    for _ in 0..3 {
        let payload = Full::new(Bytes::from_static(b"five!"));
        let request = post("/x", payload.map_err(|never| match never {}).boxed());
        let told = body(client.send_request(request).await.unwrap()).await;
        assert!(told.starts_with("POST /x HTTP/1.1\r\n"), "{told}");
        assert!(told.ends_with("\r\n\r\nfive!"), "{told}");
        assert_eq!(told.matches("content-length: 5\r\n").count(), 1, "{told}");
        assert!(!told.contains("transfer-encoding"), "{told}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_sent_in_chunks_with_the_trailers_that_were_announced() {
    let app = repeating("0\r\nx-sum: 7\r\n\r\n").await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    for size in [3, 40_000] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        trailers.insert("x-other", HeaderValue::from_static("8"));
        trailers.insert("content-length", HeaderValue::from_static("9"));
        let pieces = slow_body(vec![b'x'; size].into(), 2, Duration::from_millis(1));
        let payload = pieces.with_trailers(async { Some(Ok(trailers)) });
        let mut request = post("/x", payload.boxed());
        let announced = HeaderValue::from_static("X-Sum, Content-Length");
        request.headers_mut().insert("trailer", announced);
        let told = body(client.send_request(request).await.unwrap()).await;
        assert!(told.contains("transfer-encoding: chunked\r\n"), "{told}");
        assert!(!told.contains("content-length"), "{told}");
        assert!(!told.contains("x-other"), "{told}");
        assert!(told.matches('x').count() > 2 * size, "{told}");
    }
}

#[tokio::test]
async fn cookies_that_http2_brings_in_pieces_are_one_line() {
    let app = repeating("\r\n\r\n").await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    for path in WAYS {
        let mut request = get2(path);
        for pair in ["a=b", "c=d", "e=f"] {
            let pair = HeaderValue::from_static(pair);
            request.headers_mut().append("cookie", pair);
        }
        let told = client.send_request(request).await;
        let told = body(told.unwrap()).await;
        assert!(told.contains("cookie: a=b; c=d; e=f\r\n"), "{told}");
    }
}

#[tokio::test]
async fn over_http2_both_ways_say_the_same_to_the_instance_and_to_the_client() {
    let app = repeating("\r\n\r\n").await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    let mut both = Vec::new();
    for path in WAYS {
        let mut request = get2(path);
        for (name, value) in [
            ("x-request-id", "mine"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("tracestate", "a=1"),
            ("te", "trailers"),
            ("x-own", "1"),
            ("x-own", "2"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x_real_ip", "6.6.6.6"),
            ("ward-probe", "1"),
            ("proxy", "http://6.6.6.6"),
            ("x-envoy-expected-rq-timeout-ms", "1"),
        ] {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(name, value);
        }
        let response = client.send_request(request).await.unwrap();
        let status = response.status();
        let mut heard: Vec<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        heard.sort();
        let told = body(response).await.replace('|', "_");
        assert!(!told.contains("6.6.6.6"), "{told}");
        assert_eq!(took_the_short_way(&told), path == WAYS[0], "{told}");
        let mut told: Vec<String> = told.split("\r\n").map(str::to_owned).collect();
        told[1..].sort();
        both.push((status, heard, told));
    }
    assert!(both[0].2.contains(&"x-request-id: mine".to_owned()));
    assert_eq!(both[0], both[1]);
}

#[tokio::test]
async fn a_target_without_a_path_has_one() {
    let app = repeating("\r\n\r\n").await;
    let world = World::around(&app).await;
    for (target, path) in [("?x", "/?x"), ("", "/"), ("/?x", "/?x"), ("/a", "/a")] {
        let ask = format!(
            "GET http://shop.localhost{target} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n"
        );
        let told = raw(world.http, ask.as_bytes()).await;
        assert!(told.contains(&format!("GET {path} HTTP/1.1\r\n")), "{told}");
    }
}

#[tokio::test]
async fn trailers_of_an_answer_reach_the_client_but_for_those_that_say_where_it_ends() {
    let app = App::raw(|mut stream, _| async move {
        while read_to(&mut stream, b"\r\n\r\n").await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
                           X-Sum: 7\r\nContent-Length: 9\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    })
    .await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    for _ in 0..3 {
        let answer = client.send_request(get2("/")).await.unwrap();
        let whole = answer.into_body().collect().await.unwrap();
        let trailers = whole.trailers().unwrap();
        assert_eq!(trailers.len(), 1, "{trailers:?}");
        assert_eq!(trailers["x-sum"], "7");
        assert_eq!(whole.to_bytes(), "ok");
    }
}

/// Counts its connections.
async fn counting(connections: &Arc<AtomicUsize>) -> App {
    let connections = Arc::clone(connections);
    App::raw(move |mut stream, _| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_to(&mut stream, b"\r\n\r\n").await.is_some() {
                let _ = stream.write_all(OK).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_may_not_come_twice_is_not_sent_again_on_a_new_connection() {
    // It answers the first request of a connection, takes the second, and closes.
    let app = App::raw(|mut stream, seen| async move {
        for answer in [OK, b""] {
            if read_to(&mut stream, b"\r\n\r\n").await.is_some() {
                seen.requests.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(answer).await;
            }
        }
    })
    .await;
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    let answer = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(answer).await, "ok");
    let answer = client.send_request(post("/", empty())).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(app.seen.requests(), 2);
    // What may, is.
    let answer = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(answer).await, "ok");
    let answer = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(answer).await, "ok");
    assert_eq!(app.seen.requests(), 5);
}

#[tokio::test]
async fn there_is_one_pool_of_connections() {
    let connections = Arc::new(AtomicUsize::new(0));
    let app = counting(&connections).await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    for round in 0..4 {
        let mut request = get("/");
        if round > 0 {
            // From here on the connection is hyper's.
            let odd = HeaderValue::from_static("shop.LOCALHOST");
            request.headers_mut().insert("host", odd);
        }
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(body(answer).await, "ok", "{round}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_rest_of_a_body_goes_on_behind_an_early_answer_and_the_connection_carries_nothing_else()
{
    let (connections, rest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let app = {
        let (connections, rest) = (Arc::clone(&connections), Arc::clone(&rest));
        App::raw(move |mut stream, _| {
            connections.fetch_add(1, Ordering::SeqCst);
            let rest = Arc::clone(&rest);
            async move {
                while let Some(head) = read_to(&mut stream, b"\r\n\r\n").await {
                    let _ = stream.write_all(OK).await;
                    if head.starts_with("POST") {
                        read_to(&mut stream, b"0\r\n\r\n").await.unwrap();
                        rest.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        })
        .await
    };
    let world = World::around(&app).await;
    let mut client = http2(world.http).await;
    let pieces = slow_body(Bytes::from_static(b"piece"), 20, Duration::from_millis(10));
    let mut early = client
        .send_request(post("/", pieces.boxed()))
        .await
        .unwrap();
    assert_eq!(piece(early.body_mut()).await.unwrap(), "ok");
    eventually("the instance has all of it", async || {
        rest.load(Ordering::SeqCst) == 1
    })
    .await;
    // What it says while it is sent to is nobody's answer.
    let answer = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(answer).await, "ok");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_client_that_leaves_an_early_answer_ends_its_upload_too() {
    let ended = Arc::new(AtomicUsize::new(0));
    let app = {
        let ended = Arc::clone(&ended);
        App::raw(move |mut stream, _| {
            let ended = Arc::clone(&ended);
            async move {
                read_to(&mut stream, b"\r\n\r\n").await.unwrap();
                let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
                let _ = stream.write_all(begun).await;
                while let Ok(1..) = stream.read(&mut [0; 4096]).await {}
                ended.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await
    };
    let world = World::around(&app).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    let begun =
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    client.write_all(begun.as_bytes()).await.unwrap();
    read_to(&mut client, b"\r\n\r\nok").await.unwrap();
    drop(client);
    eventually("the instance's connection ends", async || {
        ended.load(Ordering::SeqCst) == 1
    })
    .await;
}

/// Where connections take longer to make than answers do, who waits for one is not overtaken by everybody.
#[tokio::test]
async fn who_waits_for_a_connection_takes_the_next_that_is_given_back() {
    let app = App::raw(|mut stream, seen| async move {
        let mut head = [0; 4096];
        while stream.read(&mut head).await.is_ok_and(|count| count > 0) {
            seen.requests.fetch_add(1, Ordering::SeqCst);
            seen.release.notified().await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let client = http2(world.http).await;
    let ask = || {
        let mut client = client.clone();
        tokio::spawn(async move { client.send_request(get2("/")).await.unwrap().status() })
    };
    let first = ask();
    eventually("the first one is there", async || app.seen.requests() == 1).await;
    world.keeper("web-r1-1").hang();
    let others = [ask(), ask(), ask()];
    eventually("they have their places", async || {
        world.traffic("web-r1-1").await.requests == 4
    })
    .await;
    for count in 2..=4 {
        app.seen.release.notify_one();
        eventually("the next one is there", async || {
            app.seen.requests() == count
        })
        .await;
    }
    app.seen.release.notify_one();
    assert_eq!(first.await.unwrap(), 200);
    for other in others {
        assert_eq!(other.await.unwrap(), 200);
    }
    let keeper = world.keeper("web-r1-1");
    assert_eq!(keeper.connected(), 1);
    // Those that were begun meanwhile are for others.
    keeper.go_on();
    eventually("they are made", async || keeper.connected() == 4).await;
    let one = ask();
    eventually("it is there", async || app.seen.requests() == 5).await;
    app.seen.release.notify_one();
    assert_eq!(one.await.unwrap(), 200);
    // The gateway had that one's answer after the connections.
    let four = [ask(), ask(), ask(), ask()];
    eventually("all four are there", async || app.seen.requests() == 9).await;
    app.seen.release.notify_waiters();
    for each in four {
        assert_eq!(each.await.unwrap(), 200);
    }
    assert_eq!(keeper.connected(), 4);
}

#[tokio::test]
async fn who_may_not_have_what_is_kept_keeps_it_from_nobody() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = http2(world.http).await;
    let ask = |client: &mut SendRequest<Payload>, method| {
        let mut request = get2("/");
        *request.method_mut() = method;
        client.send_request(request)
    };
    assert_eq!(ask(&mut client, Method::GET).await.unwrap().status(), 200);
    // By then what must not be sent twice does not go out on what that one has left.
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.keeper("web-r1-1").hang();
    let waits = tokio::spawn(ask(&mut client, Method::POST));
    eventually("it has its place", async || {
        world.traffic("web-r1-1").await.requests == 1
    })
    .await;
    assert_eq!(ask(&mut client, Method::GET).await.unwrap().status(), 200);
    assert!(!waits.is_finished());
    waits.abort();
}
