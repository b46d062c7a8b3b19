//! All instances of a service die at once: requests that come then wait for the next one (promise P1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use ward_types::id::Term;
use ward_types::route::Route;
use ward_types::table::Table;
use ward_types::time::Millis;

use crate::app::{App, Payload, slow_body};
use crate::clients::{body, fetch, get, get2, http1, http1_over, http2};
use crate::links::{handed_over, service};
use crate::world::{Start, World, eventually};

/// A gateway whose service had an instance, `web-r1-1`, which is gone.
async fn orphaned(start: Start, app: &App) -> World {
    let mut world = World::start(start).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    world.kill_keeper("web-r1-1");
    world
}

/// The replacement is there.
async fn replace(world: &mut World, app: &App) {
    world.instance("web-r1-2", app.address);
    world.route(&["web-r1-2"]).await;
}

fn post(path: &str, text: &'static str) -> Request<Payload> {
    let mut request = get(path);
    *request.method_mut() = Method::POST;
    *request.body_mut() = Full::from(text).map_err(|never| match never {}).boxed();
    request
}

fn call() -> Request<Payload> {
    let message = Full::from("\0\0\0\0\x02hi").map_err(|never| match never {});
    Request::post("http://shop.localhost/grpc")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(message.boxed())
        .unwrap()
}

/// Asks, and sees that no answer comes for a while.
pub(crate) async fn waits(
    asked: impl Future<Output = Response<Incoming>> + Send + 'static,
) -> JoinHandle<Response<Incoming>> {
    let mut asked = tokio::spawn(asked);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    asked
}

async fn stream(world: &World, request: Request<Payload>) -> Response<Incoming> {
    let mut client = http2(world.http).await;
    client.send_request(request).await.unwrap()
}

/// Requests of every kind, and what comes of them once there is an instance.
async fn every_kind_waits(world: &mut World, app: &App, meanwhile: &[&str]) {
    let address = world.http;
    let plain = waits(fetch(address, get("/"))).await;
    let posted = waits(fetch(address, post("/count", "hello"))).await;
    let upload = slow_body(Bytes::from_static(&[1; 1000]), 10, Duration::from_millis(5));
    let mut uploading = get2("/count");
    *uploading.method_mut() = Method::POST;
    *uploading.body_mut() = upload.boxed();
    let mut streams = http2(address).await;
    let mut more = streams.clone();
    let uploaded = async move { streams.send_request(uploading).await.unwrap() };
    let uploaded = waits(uploaded).await;
    let called = waits(async move { more.send_request(call()).await.unwrap() }).await;
    let (link, taken) = handed_over(world, service("web")).await;
    assert!(taken);
    let mut link = http1_over(link).await;
    let linked = waits(async move { link.send_request(get("/")).await.unwrap() }).await;
    let socket = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        tokio_tungstenite::client_async("ws://shop.localhost/ws", stream)
            .await
            .unwrap()
    });
    // Nobody is told of a table that helps nobody.
    world.route(meanwhile).await;
    let before = app.seen.requests();
    replace(world, app).await;

    let plain = plain.await.unwrap();
    assert_eq!(plain.headers()["ward-instance"], "web-r1-2");
    assert_eq!(body(plain).await, "one");
    assert_eq!(body(posted.await.unwrap()).await, "5");
    assert_eq!(body(uploaded.await.unwrap()).await, "10000");
    let called = called.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(called.trailers().unwrap()["grpc-status"], "0");
    let (_, switched) = socket.await.unwrap();
    assert_eq!(switched.headers()["ward-instance"], "web-r1-2");
    assert_eq!(body(linked.await.unwrap()).await, "one");
    assert_eq!(app.seen.requests(), before + 6, "each was sent once");
}

#[tokio::test]
async fn p1_requests_wait_while_the_table_names_only_the_dead() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    every_kind_waits(&mut world, &app, &["web-r1-1"]).await;
}

#[tokio::test]
async fn p1_requests_wait_while_the_table_names_nobody() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    world.route(&[]).await;
    every_kind_waits(&mut world, &app, &[]).await;
}

#[tokio::test]
async fn p1_requests_wait_for_an_instance_that_takes_connections_again() {
    let app = App::http("one").await;
    let mut world = World::start(Start::Patient).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    world.keeper("web-r1-1").refuse();
    let waiting = waits(fetch(world.http, post("/count", "hello"))).await;
    eventually("it is tried again", async || {
        world.keeper("web-r1-1").refused() > 3
    })
    .await;
    world.keeper("web-r1-1").allow();
    assert_eq!(body(waiting.await.unwrap()).await, "5");
    let connected = world.keeper("web-r1-1").connected();
    assert_eq!(connected, 1, "the connection that was tried is used");
}

/// Clients that go on, whatever dies. What is under way when it dies may fail, and nothing else may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_no_request_is_refused_while_all_instances_are_replaced() {
    let mut world = World::new().await;
    let mut app = App::http("one").await;
    world.instance("web-r1-0", app.address);
    world.route(&["web-r1-0"]).await;
    let address = world.http;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let stopped = stopped.clone();
        clients.spawn(async move {
            let (mut client, mut lost) = (http1(address).await, 0);
            while !*stopped.borrow() {
                client.ready().await.unwrap();
                let response = client.send_request(post("/count", "hello")).await.unwrap();
                match response.status() {
                    StatusCode::OK => assert_eq!(body(response).await, "5"),
                    StatusCode::BAD_GATEWAY => lost += 1,
                    other => panic!("{other}: {}", body(response).await),
                }
            }
            lost
        });
    }
    for round in 1..=20 {
        let (old, new) = (format!("web-r1-{}", round - 1), format!("web-r1-{round}"));
        eventually("it serves", async || app.seen.requests() > 20).await;
        // The application first, then its keeper, then the table: each for a while.
        drop(std::mem::replace(&mut app, App::http("one").await));
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.kill_keeper(&old);
        world.route(&[]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.instance(&new, app.address);
        world.route(&[&new]).await;
    }
    stop.send_replace(true);
    let lost: Vec<usize> = clients.join_all().await;
    assert!(
        lost.iter().all(|lost| *lost <= 20),
        "more than was under way: {lost:?}"
    );
}

#[tokio::test]
async fn a_service_that_is_gone_for_long_refuses_at_once() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::ShortLimits, &app).await;
    for _ in 0..2 {
        let began = Instant::now();
        let held = fetch(world.http, get("/")).await;
        assert!(
            began.elapsed() >= Duration::from_millis(250),
            "it was not held"
        );
        assert_eq!(held.status(), 503);
        assert_eq!(held.headers()["retry-after"], "1");
        assert_eq!(held.headers()["ward-fault"], "upstream");
        // The gap is as old as it is: who comes later does not begin it again.
        let quick = (0..20).map(|_| fetch(world.http, get("/")));
        let began = Instant::now();
        for refused in futures_util::future::join_all(quick).await {
            assert_eq!(refused.status(), 503);
        }
        world.route(&[]).await;
        for _ in 0..20 {
            assert_eq!(fetch(world.http, get("/")).await.status(), 503);
        }
        assert!(
            began.elapsed() < Duration::from_millis(20 * 250),
            "each was held"
        );
        // An instance ends it, and its death begins the next.
        replace(&mut world, &app).await;
        world.kill_keeper("web-r1-2");
    }
    let mut call = stream(&world, call()).await;
    let headers = std::mem::take(call.headers_mut());
    assert_eq!(
        (call.status(), &headers["grpc-status"]),
        (StatusCode::OK, &"14".parse().unwrap())
    );
}

#[tokio::test]
async fn only_so_many_wait_and_a_client_that_leaves_makes_room() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    let client = http2(world.http).await;
    let ask = || {
        let mut client = client.clone();
        async move { client.send_request(get2("/")).await.unwrap() }
    };
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(waits(ask()).await);
    }
    assert_eq!(ask().await.status(), 503);
    assert_eq!(fetch(world.http, get("/")).await.status(), 503);
    waiting.remove(2).abort();
    // Also over HTTP/1.1, and with more of a body than is read without anybody asking for it.
    let length = 50_000;
    let head =
        format!("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {length}\r\n\r\n");
    let posted = [head.as_bytes(), &vec![b'x'; length]].concat();
    let get = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    for request in [&get[..], &posted] {
        let mut leaving = TcpStream::connect(world.http).await.unwrap();
        let mut answer = [0; 12];
        eventually("there is room", async || {
            leaving = TcpStream::connect(world.http).await.unwrap();
            leaving.write_all(request).await.unwrap();
            let reading = leaving.read_exact(&mut answer);
            tokio::time::timeout(Duration::from_millis(100), reading)
                .await
                .is_err()
        })
        .await;
        drop(leaving);
    }
    let mut last = None;
    eventually("there is room", async || {
        let mut asked = tokio::spawn(ask());
        let early = tokio::time::timeout(Duration::from_millis(100), &mut asked).await;
        last = Some(asked);
        early.is_err()
    })
    .await;
    waiting.extend(last);
    let before = app.seen.requests();
    replace(&mut world, &app).await;
    for waiting in waiting {
        assert_eq!(body(waiting.await.unwrap()).await, "one");
    }
    assert_eq!(app.seen.requests(), before + 6, "who has left asks nothing");
}

#[tokio::test]
async fn those_who_wait_for_what_is_served_no_more_are_told_at_once() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    let waiting = waits(fetch(world.http, get("/"))).await;
    let mut table = world.table(&[]);
    Arc::make_mut(&mut table.pools[0]).routes = vec![Route::plain("elsewhere.localhost")];
    world.control.apply(table).await.unwrap();
    assert_eq!(waiting.await.unwrap().status(), 404);

    world.route(&[]).await;
    let waiting = waits(fetch(world.http, get("/"))).await;
    let generation = world.table(&[]).generation;
    let table = Table {
        term: Term(1),
        generation,
        pools: Vec::new(),
        down: Vec::new(),
    };
    world.control.apply(table).await.unwrap();
    assert_eq!(waiting.await.unwrap().status(), 404);
}

#[tokio::test]
async fn quitting_does_not_wait_for_those_who_wait() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    let waiting = waits(fetch(world.http, get("/"))).await;
    let (address, refused) = (world.http, Millis(300));
    let streaming = waits(async move {
        let mut client = http2(address).await;
        client.send_request(get2("/")).await.unwrap()
    })
    .await;
    assert_eq!(world.quit(refused).await, 0);
    assert_eq!(waiting.await.unwrap().status(), 503);
    assert_eq!(streaming.await.unwrap().status(), 503);
}

#[tokio::test]
async fn p1_those_who_wait_at_a_gateway_that_quits_follow_its_successors_table() {
    let app = App::http("one").await;
    let mut world = orphaned(Start::Patient, &app).await;
    let waiting = waits(fetch(world.http, get("/"))).await;
    world.control.clone().quit(Millis::secs(20)).await.unwrap();
    let mut before = world.succeed().await;
    replace(&mut world, &app).await;
    assert_eq!(body(waiting.await.unwrap()).await, "one");
    assert_eq!(crate::world::exit_status(&mut before).await, 0);
}

/// Each release's drain ends before the request does.
#[tokio::test]
async fn a_request_that_is_cut_is_sent_once_more_and_not_again() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    let names = ["web-r1-1", "web-r2-2", "web-r3-3"];
    names
        .iter()
        .for_each(|name| world.instance(name, app.address));
    world.route(&names[..1]).await;
    let cut = tokio::spawn(fetch(world.http, get("/wait")));
    for (round, pair) in names.windows(2).enumerate() {
        eventually("it is under way", async || app.seen.requests() == round + 1).await;
        world.route(&pair[1..]).await;
        let leaving = world.endpoint(pair[0]).instance;
        world
            .control
            .cut(crate::world::env(), leaving)
            .await
            .unwrap();
    }
    eventually("it is given up", async || cut.is_finished()).await;
    let cut = cut.await.unwrap();
    assert_eq!(
        (cut.status().as_u16(), &cut.headers()["ward-fault"]),
        (503, &"ward".parse().unwrap())
    );
    assert_eq!(app.seen.requests(), 2, "it went on to the third release");
}
