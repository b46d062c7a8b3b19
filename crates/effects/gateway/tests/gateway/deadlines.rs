//! How much time is left for a request: instances are told, and nobody works for who has gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use ward_types::guard::{Concurrency, Guard};
use ward_types::route::{Route, RouteSettings};
use ward_types::time::Millis;

use crate::accounts::of_path;
use crate::app::{App, Payload};
use crate::clients::{body, fetch, get, get2, http1_over, http2};
use crate::links::{handed_over, service};
use crate::world::{Start, World, eventually};

const TOLD: &str = "x-envoy-expected-rq-timeout-ms";

/// A gateway whose service has one instance, and a route with so much time, if any.
async fn world(start: Start, timeout: Option<Millis>) -> (World, App) {
    let app = App::http("one").await;
    let mut world = World::start(start).await;
    world.instance("web-r1-1", app.address);
    route(&mut world, timeout).await;
    (world, app)
}

async fn route(world: &mut World, timeout: Option<Millis>) {
    let mut table = world.table(&["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).routes[0] = Route {
        settings: RouteSettings {
            timeout,
            ..RouteSettings::default()
        },
        ..Route::plain("shop.localhost")
    };
    world.control.apply(table).await.unwrap();
}

fn within(path: &str, millis: &str) -> Request<Payload> {
    let mut request = get(path);
    let millis = millis.parse().unwrap();
    request.headers_mut().insert(TOLD, millis);
    request
}

/// What an instance was told, of an answer that repeats its request's head.
async fn told(response: Response<Incoming>, name: &str) -> Option<String> {
    assert_eq!(response.status(), 200);
    let head = body(response).await;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(key, _)| *key == name)?.1.to_owned();
    assert!(lines.all(|(key, _)| key != name), "it is told twice");
    Some(found)
}

async fn millis(response: Response<Incoming>) -> u64 {
    told(response, TOLD).await.unwrap().parse().unwrap()
}

async fn link(world: &World) -> http1::SendRequest<Payload> {
    http1_over(handed_over(world, service("web")).await.0).await
}

async fn by_link(world: &World, request: Request<Payload>) -> Response<Incoming> {
    link(world).await.send_request(request).await.unwrap()
}

/// That it is too late, and whose fault that is.
fn late<B>(response: &Response<B>) -> String {
    assert_eq!(response.status(), 504);
    assert!(!response.headers().contains_key("connection"));
    response.headers()["ward-fault"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_instance_is_told_what_is_left_of_its_routes_time_and_strangers_have_no_say() {
    let (mut world, _app) = world(Start::Usual, None).await;
    let mut client = http2(world.http).await;
    let streamed = || {
        let mut request = get2("/head");
        request.headers_mut().insert(TOLD, "7".parse().unwrap());
        request
    };
    for response in [
        fetch(world.http, within("/head", "7")).await,
        client.send_request(streamed()).await.unwrap(),
    ] {
        assert_eq!(told(response, TOLD).await, None);
    }
    route(&mut world, Some(Millis::secs(60))).await;
    for response in [
        fetch(world.http, within("/head", "7")).await,
        client.send_request(streamed()).await.unwrap(),
    ] {
        let left = millis(response).await;
        assert!((40_000..=60_000).contains(&left), "{left}");
    }
    // The time of a route holds for who comes by it.
    assert_eq!(told(by_link(&world, get("/head")).await, TOLD).await, None);
}

#[tokio::test]
async fn what_a_caller_says_over_a_link_is_passed_on_and_shrinks() {
    let (world, app) = world(Start::Usual, Some(Millis(1))).await;
    let left = millis(by_link(&world, within("/head", "50000")).await).await;
    assert!((30_000..=50_000).contains(&left), "{left}");
    for nonsense in ["", "soon", "-1"] {
        let response = by_link(&world, within("/head", nonsense)).await;
        assert_eq!(told(response, TOLD).await, None, "{nonsense}");
    }
    // On one connection, before and after requests without it.
    let mut client = link(&world).await;
    for number in 0..6 {
        client.ready().await.unwrap();
        let request = match number % 2 {
            0 => get("/head"),
            _ => within("/head", "50000"),
        };
        let response = client.send_request(request).await.unwrap();
        assert_eq!(told(response, TOLD).await.is_some(), number % 2 == 1);
    }
    let seen = app.seen.requests();
    let late_at_once = by_link(&world, within("/none", "0")).await;
    assert_eq!(late(&late_at_once), "client");
    assert_eq!(app.seen.requests(), seen, "nobody was asked");
}

#[tokio::test]
async fn when_a_callers_time_is_over_its_instance_is_told_and_has_not_failed() {
    let (world, app) = world(Start::Usual, None).await;
    let response = by_link(&world, within("/wait", "300")).await;
    assert_eq!(late(&response), "client");
    eventually("it is told", async || app.seen.abandoned() == 1).await;
    eventually("its place is free", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.answered, traffic.failed), (0, 0));
    let line = of_path(&world, "/wait").await;
    assert_eq!(
        (line.status, line.fault.as_deref(), line.entry.as_str()),
        (Some(504), Some("client"), "link")
    );
    assert!(line.reason.unwrap().contains("caller"));
    assert_eq!(line.instance.unwrap().as_str(), "web-r1-1");
    // An answer that goes on for longer than its caller waits is broken off, an event stream is not.
    let endless = by_link(&world, within("/endless", "300")).await;
    assert!(endless.into_body().collect().await.is_err());
    eventually("it is told", async || app.seen.abandoned() == 2).await;
    let mut events = by_link(&world, within("/events", "300")).await.into_body();
    assert!(events.frame().await.is_some());
    tokio::time::sleep(Duration::from_millis(600)).await; // Longer than the caller's time.
    app.seen.release.notify_one();
    let next = events.frame().await.unwrap().unwrap();
    assert_eq!(next.into_data().unwrap(), "data: 1\n\n");
}

#[tokio::test]
async fn what_waits_until_its_time_is_over_reaches_nobody() {
    let (mut world, app) = world(Start::Patient, Some(Millis(200))).await;
    world.guard = Guard {
        limit: None,
        concurrency: Concurrency::PerInstance(1),
    };
    route(&mut world, Some(Millis(200))).await;
    let mut busy = link(&world).await;
    let held = tokio::spawn(async move { busy.send_request(get("/wait")).await });
    eventually("the instance is busy", async || app.seen.requests() == 1).await;
    let late_by_route = fetch(world.http, get("/by-route")).await;
    assert_eq!(late(&late_by_route), "upstream");
    // In a line that stands nobody waits for longer than a tenth of a second.
    let late_by_caller = by_link(&world, within("/by-caller", "50")).await;
    assert_eq!(late(&late_by_caller), "client");
    assert_eq!(app.seen.requests(), 1, "they never reached it");
    let line = of_path(&world, "/by-route").await;
    assert_eq!(
        (line.fault.as_deref(), line.instance),
        (Some("upstream"), None)
    );
    assert!(line.reason.unwrap().contains("before an instance"));
    assert!(line.wait_us >= 200_000, "{}", line.wait_us);
    app.seen.release.notify_one();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);

    // And in a gap without instances, which this gateway waits out for longer than any test.
    world.kill_keeper("web-r1-1");
    drop(app);
    eventually("its connections are of no use any more", async || {
        let response = by_link(&world, within("/gap", "200")).await;
        response.status() == 504
    })
    .await;
    route(&mut world, Some(Millis(200))).await;
    let table = world.table(&[]);
    world.control.apply(table).await.unwrap();
    assert_eq!(late(&by_link(&world, within("/", "200")).await), "client");
}

fn call(path: &str, timeout: Option<&'static str>) -> Request<Payload> {
    let message = Full::from(Bytes::from_static(b"\0\0\0\0\x02hi"));
    let mut request = Request::post(format!("http://shop.localhost{path}"))
        .header("content-type", "application/grpc")
        .body(message.map_err(|never| match never {}).boxed())
        .unwrap();
    if let Some(timeout) = timeout {
        let timeout = http::HeaderValue::from_static(timeout);
        request.headers_mut().insert("grpc-timeout", timeout);
    }
    request
}

fn status(headers: &HeaderMap) -> &str {
    headers["grpc-status"].to_str().unwrap()
}

#[tokio::test]
async fn the_deadline_of_a_call_is_its_clients_and_shrinks_on_the_way() {
    let (world, app) = world(Start::Usual, Some(Millis(100))).await;
    let mut client = http2(world.http).await;
    let response = client.send_request(call("/head", Some("50S"))).await;
    let left = told(response.unwrap(), "grpc-timeout").await.unwrap();
    let millis: u64 = left.strip_suffix('m').unwrap().parse().unwrap();
    assert!((30_000..=50_000).contains(&millis), "{left}");
    let response = client.send_request(call("/head", None)).await;
    assert_eq!(told(response.unwrap(), "grpc-timeout").await, None);
    let response = client.send_request(call("/head", Some("forever"))).await;
    let as_it_was = told(response.unwrap(), "grpc-timeout").await;
    assert_eq!(as_it_was.as_deref(), Some("forever"));

    let late = client.send_request(call("/wait", Some("300000u"))).await;
    let late = late.unwrap();
    assert_eq!((late.status().as_u16(), status(late.headers())), (200, "4"));
    eventually("it is told", async || app.seen.abandoned() == 1).await;
    assert_eq!(world.traffic("web-r1-1").await.failed, 0);
    let seen = app.seen.requests();
    let at_once = client.send_request(call("/head", Some("0n"))).await;
    assert_eq!(status(at_once.unwrap().headers()), "4");
    assert_eq!(app.seen.requests(), seen, "nobody was asked");
}
