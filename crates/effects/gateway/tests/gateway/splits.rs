//! Two releases in rotation: shares that are exact, clients that stay, and what counts for whom.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use ward_types::id::InstanceId;
use ward_types::spec::Sticky;
use ward_types::table::Traffic;

use crate::app::{App, Payload};
use crate::clients::{body, fetch, get, get2, http1, http1_over, http2, http2_over, piece};
use crate::links::{handed_over, service};
use crate::tls;
use crate::world::{Start, World, env, eventually};

const OLD: &str = "web-r1-1";
const NEW: &str = "web-r2-2";
const BOTH: [&str; 2] = [OLD, NEW];

/// A gateway with an instance of each release; what it serves is still to be said.
async fn world() -> (World, [App; 2]) {
    let apps = [App::http("old").await, App::http("new").await];
    let mut world = World::new().await;
    for (id, app) in BOTH.iter().zip(&apps) {
        world.instance(id, app.address);
    }
    (world, apps)
}

/// Whether the new release answered, and well.
fn is_new<B>(response: &Response<B>) -> bool {
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    response.headers()["ward-release"] == "r2"
}

async fn answered(response: Response<Incoming>) -> bool {
    let new = is_new(&response);
    response.into_body().collect().await.unwrap();
    new
}

/// Kept connections of each kind, which take turns.
struct Clients {
    http1: http1::SendRequest<Payload>,
    http2: http2::SendRequest<Payload>,
    turn: usize,
}

impl Clients {
    async fn new(world: &World) -> Self {
        Self {
            http1: http1(world.http).await,
            http2: http2(world.http).await,
            turn: 0,
        }
    }

    /// Sends so many requests, one after the other, and says which of them the new release answered.
    async fn ask(&mut self, world: &World, count: usize) -> Vec<bool> {
        let mut seen = Vec::new();
        for _ in 0..count {
            self.turn += 1;
            seen.push(match self.turn % 7 {
                0 => answered(fetch(world.http, get("/")).await).await,
                1..4 => {
                    self.http1.ready().await.unwrap();
                    answered(self.http1.send_request(get("/")).await.unwrap()).await
                }
                _ => answered(self.http2.send_request(get2("/")).await.unwrap()).await,
            });
        }
        seen
    }
}

fn count(seen: &[bool]) -> usize {
    seen.iter().filter(|new| **new).count()
}

#[tokio::test]
async fn of_any_requests_in_a_row_the_share_is_exact() {
    let (mut world, apps) = world().await;
    world.instance("web-r1-3", apps[0].address);
    world.split(&BOTH, 13, None).await;
    let mut clients = Clients::new(&world).await;
    let mut seen = clients.ask(&world, 555).await;
    // An instance comes, another goes; the percentage stays.
    world.split(&[OLD, NEW, "web-r1-3"], 13, None).await;
    seen.extend(clients.ask(&world, 323).await);
    world.split(&["web-r1-3", NEW], 13, None).await;
    seen.extend(clients.ask(&world, 322).await);
    for window in seen.windows(100) {
        assert_eq!(count(window), 13);
    }
    for window in seen.windows(1000) {
        assert_eq!(count(window), 130);
    }
    for percent in [0, 1, 50, 99, 100] {
        world.split(&BOTH, percent, None).await;
        let seen = clients.ask(&world, 150).await;
        for window in seen.windows(100) {
            assert_eq!(count(window), usize::from(percent), "of {percent} %");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_are_divided_exactly() {
    let (mut world, _apps) = world().await;
    for (percent, sticky) in [(10, None), (37, cookie())] {
        world.split(&BOTH, percent, sticky).await;
        let mut all = JoinSet::new();
        for client in 0..20 {
            let address = world.http;
            all.spawn(async move {
                let mut streams = http2(address).await;
                let mut kept = http1(address).await;
                let mut new = 0;
                for _ in 0..50 {
                    let response = match client % 2 {
                        0 => streams.send_request(get2("/")).await.unwrap(),
                        _ => {
                            kept.ready().await.unwrap();
                            kept.send_request(get("/")).await.unwrap()
                        }
                    };
                    new += usize::from(answered(response).await);
                }
                new
            });
        }
        let new: usize = all.join_all().await.into_iter().sum();
        assert_eq!(new, usize::from(percent) * 10);
    }
}

fn cookie() -> Option<Sticky> {
    Some(Sticky::Cookie("side".to_owned()))
}

fn saying(cookies: &[&str]) -> Request<Payload> {
    let mut request = get("/");
    for cookie in cookies {
        let cookie = cookie.parse().unwrap();
        request.headers_mut().append("cookie", cookie);
    }
    request
}

/// The bucket that a client is told to keep.
fn told<B>(response: &Response<B>) -> Option<u8> {
    let line = response.headers().get("set-cookie")?.to_str().unwrap();
    let (bucket, rest) = line.strip_prefix("side=").unwrap().split_once(';').unwrap();
    assert_eq!(rest, " Path=/; HttpOnly; SameSite=Lax");
    Some(bucket.parse().unwrap())
}

#[tokio::test]
async fn a_cookie_keeps_a_client_and_growing_weights_never_move_it_back() {
    let (mut world, _apps) = world().await;
    world.split(&BOTH, 10, cookie()).await;
    let mut buckets = Vec::new();
    let mut client = http2(world.http).await;
    for number in 0..120 {
        let response = match number % 3 {
            0 => client.send_request(get2("/")).await.unwrap(),
            1 => fetch(world.http, saying(&["side=100"])).await,
            _ => fetch(world.http, saying(&["other=1", "side=0x"])).await,
        };
        let bucket = told(&response).expect("a new client is told its bucket");
        assert_eq!(is_new(&response), bucket < 10);
        buckets.push(bucket);
    }
    for window in buckets.windows(100) {
        let mut window = window.to_vec();
        window.sort_unstable();
        assert!(window.into_iter().eq(0..100), "new clients share exactly");
    }
    let mut moved: BTreeMap<u8, bool> = BTreeMap::new();
    for percent in [10, 25, 50, 99, 100] {
        world.split(&BOTH, percent, cookie()).await;
        for bucket in &buckets[..100] {
            let own = format!("side={bucket}");
            let request = saying(&["a=b; c=d", &own]);
            let response = fetch(world.http, request).await;
            assert_eq!(told(&response), None, "a client that has a bucket keeps it");
            let new = is_new(&response);
            assert_eq!(new, *bucket < percent);
            let before = moved.insert(*bucket, new).unwrap_or(false);
            assert!(new || !before, "{bucket} was moved back at {percent} %");
        }
    }
    // Those who have a bucket take no turn of those who have none.
    world.split(&BOTH, 20, cookie()).await;
    let mut new = 0;
    for _ in 0..100 {
        fetch(world.http, saying(&["side=99"])).await;
        new += usize::from(is_new(&fetch(world.http, get("/")).await));
    }
    assert_eq!(new, 20);
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_tls_alone() {
    let (mut world, _apps) = world().await;
    world.split(&BOTH, 10, cookie()).await;
    let mut config = tls::trusting(&world, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let stream = tls::connect(&config, world.https, "shop.localhost");
    let mut client = http2_over(stream.await.unwrap()).await;
    let mut request = get2("/");
    *request.uri_mut() = "https://shop.localhost/".parse().unwrap();
    let response = client.send_request(request).await.unwrap();
    let line = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        line.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{line}"
    );
}

#[tokio::test]
async fn a_header_keeps_a_client_and_without_it_each_request_is_its_own() {
    let (mut world, _apps) = world().await;
    let by_header = Some(Sticky::Header("X-Patient".to_owned()));
    let mut sides: BTreeMap<usize, bool> = BTreeMap::new();
    for percent in [20, 60] {
        world.split(&BOTH, percent, by_header.clone()).await;
        let mut new = 0;
        for patient in 0..100 {
            let mut all = Vec::new();
            for version in 0..3 {
                let value = format!("patient-{patient}").parse().unwrap();
                all.push(if version == 0 {
                    let mut request = get2("/");
                    request.headers_mut().insert("x-patient", value);
                    let mut client = http2(world.http).await;
                    is_new(&client.send_request(request).await.unwrap())
                } else {
                    let mut request = get("/");
                    request.headers_mut().insert("x-patient", value);
                    let response = fetch(world.http, request).await;
                    assert!(!response.headers().contains_key("set-cookie"));
                    is_new(&response)
                });
            }
            assert!(all.iter().all(|side| *side == all[0]), "{patient}: {all:?}");
            let before = sides.insert(patient, all[0]).unwrap_or(false);
            assert!(all[0] || !before, "{patient} was moved back");
            new += usize::from(all[0]);
        }
        assert!(
            new.abs_diff(usize::from(percent)) < 15,
            "{new} of {percent} %"
        );
        let seen = Clients::new(&world).await.ask(&world, 130).await;
        for window in seen.windows(100) {
            assert_eq!(count(window), usize::from(percent));
        }
    }
}

/// The release that took a websocket, and what the client was told to keep.
async fn websocket(world: &World, cookie: Option<&str>) -> (bool, Option<u8>) {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let stream = TcpStream::connect(world.http).await.unwrap();
    let mut request = "ws://shop.localhost/ws".into_client_request().unwrap();
    if let Some(cookie) = cookie {
        let cookie = cookie.parse().unwrap();
        request.headers_mut().insert("cookie", cookie);
    }
    let client = tokio_tungstenite::client_async(request, stream).await;
    let (_, response) = client.unwrap();
    (response.headers()["ward-release"] == "r2", told(&response))
}

#[tokio::test]
async fn websockets_and_links_are_divided_like_requests() {
    let (mut world, _apps) = world().await;
    world.split(&BOTH, 30, None).await;
    let (stream, _) = handed_over(&world, service("web")).await;
    let mut link = http1_over(stream).await;
    let mut clients = Clients::new(&world).await;
    let mut seen = Vec::new();
    for _ in 0..70 {
        link.ready().await.unwrap();
        seen.push(answered(link.send_request(get("/")).await.unwrap()).await);
        seen.push(websocket(&world, None).await.0);
        seen.extend(clients.ask(&world, 1).await);
    }
    for window in seen.windows(100) {
        assert_eq!(count(window), 30);
    }
    world.split(&BOTH, 31, cookie()).await;
    for _ in 0..20 {
        let (new, bucket) = websocket(&world, None).await;
        assert_eq!(new, bucket.unwrap() < 31);
        link.ready().await.unwrap();
        let response = link.send_request(get("/")).await.unwrap();
        assert_eq!(is_new(&response), told(&response).unwrap() < 31);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(websocket(&world, Some("side=30")).await, (true, None));
    assert_eq!(websocket(&world, Some("side=31")).await, (false, None));
    link.ready().await.unwrap();
    let response = link.send_request(saying(&["side=30"])).await.unwrap();
    assert!(is_new(&response) && told(&response).is_none());
}

#[tokio::test]
async fn where_one_side_is_empty_the_other_takes_all() {
    let (mut world, _apps) = world().await;
    let mut clients = Clients::new(&world).await;
    for (only, percent) in [(OLD, 100), (OLD, 40), (NEW, 0), (NEW, 40)] {
        world.split(&[only], percent, cookie()).await;
        let seen = clients.ask(&world, 50).await;
        assert!(seen.iter().all(|new| *new == (only == NEW)));
    }
    world.split(&[], 40, None).await;
    assert_eq!(fetch(world.http, get("/")).await.status(), 503);
    // With both sides back the share is exact at once.
    world.split(&BOTH, 40, None).await;
    assert_eq!(count(&clients.ask(&world, 100).await), 40);
}

#[tokio::test]
async fn how_long_answers_took_is_counted_for_each_release() {
    let old = App::http("old").await;
    let new = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        tokio::time::sleep(SLOW).await; // Slowness is what is tried here.
        let answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(answer).await;
    })
    .await;
    let mut world = World::new().await;
    world.instance(OLD, old.address);
    world.instance(NEW, new.address);
    let observed = world.split(&BOTH, 20, None).await;
    assert!(observed.latency.is_empty(), "nothing was answered yet");
    for _ in 0..20 {
        let response = fetch(world.http, get("/")).await;
        response.into_body().collect().await.unwrap();
    }
    let took = async |id: &str| {
        let observed = world.control.observe().await.unwrap();
        let id = InstanceId::parse(id).unwrap();
        observed.latency[&env()][&id].clone()
    };
    let (old, new) = (took(OLD).await, took(NEW).await);
    assert_eq!((old.total(), new.total()), (16, 4));
    let least = |percent| u128::from(new.quantile(percent).unwrap());
    assert!(least(1) >= SLOW.as_micros(), "{new:?}");
    assert!(old.quantile(50) < new.quantile(1), "{old:?} {new:?}");
    let traffic = world.traffic(NEW).await;
    assert_eq!((traffic.answered, traffic.failed), (4, 4));
}

const SLOW: Duration = Duration::from_millis(60);

#[tokio::test]
async fn p1_a_side_that_dies_is_taken_over_by_the_other() {
    for dying in [OLD, NEW] {
        let (mut world, apps) = world().await;
        world.split(&BOTH, 50, None).await;
        let mut clients = Clients::new(&world).await;
        assert_eq!(count(&clients.ask(&world, 100).await), 50);
        // First it takes no new connections, then its keeper is gone and its connections break.
        world.keeper(dying).refuse();
        clients.ask(&world, 100).await;
        world.kill_keeper(dying);
        let [old, new] = apps;
        let _other = match dying == OLD {
            true => (drop(old), new).1,
            false => (drop(new), old).1,
        };
        let seen = clients.ask(&world, 200).await;
        assert_eq!(count(&seen[100..]), if dying == OLD { 100 } else { 0 });
        let traffic = world.traffic(dying).await;
        assert!(traffic.failed > 0, "nothing of it counted: {traffic:?}");
        let other = if dying == OLD { NEW } else { OLD };
        assert_eq!(world.traffic(other).await.failed, 0);
    }
}

/// An application that breaks off without an answer.
async fn dumb() -> App {
    App::raw(|mut stream, seen| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        seen.requests
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    })
    .await
}

#[tokio::test]
async fn a_request_is_sent_again_on_its_own_side_first() {
    let (dumb, old, new) = (dumb().await, App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.instance(OLD, old.address);
    world.instance(NEW, dumb.address);
    world.instance("web-r2-3", new.address);
    world.split(&[OLD, NEW, "web-r2-3"], 100, None).await;
    // Not more often than the budget for repetitions allows within a second.
    while dumb.seen.requests() == 0 {
        assert!(is_new(&fetch(world.http, get("/")).await));
    }
    assert_eq!(old.seen.requests(), 0, "a request changed sides in vain");
    // Where the side has nobody else the other one helps out.
    world.split(&[OLD, NEW], 100, None).await;
    for _ in 0..5 {
        assert!(!is_new(&fetch(world.http, get("/")).await));
    }
}

async fn counts(world: &World, id: &str) -> (u64, u64) {
    let Traffic {
        answered, failed, ..
    } = world.traffic(id).await;
    (answered, failed)
}

async fn counted(world: &World, id: &str, wanted: (u64, u64)) {
    eventually(&format!("{id} has {wanted:?}"), async || {
        counts(world, id).await == wanted
    })
    .await;
    assert_eq!(counts(world, id).await, wanted);
}

#[tokio::test]
async fn what_counts_as_answered_and_as_failed() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance(OLD, app.address);
    world.route(&[OLD]).await;
    let mut streams = http2(world.http).await;
    fetch(world.http, get("/")).await;
    fetch(world.http, get("/500")).await;
    streams.send_request(get2("/")).await.unwrap();
    streams.send_request(get2("/500")).await.unwrap();
    counted(&world, OLD, (4, 2)).await;
    assert!(!websocket(&world, None).await.0);
    counted(&world, OLD, (5, 2)).await;
    // A client that goes away is nobody's failure, before the answer and in it.
    let waiting = tokio::spawn(fetch(world.http, get("/wait")));
    eventually("it waits", async || app.seen.requests() == 6).await;
    waiting.abort();
    let mut endless = fetch(world.http, get("/endless")).await.into_body();
    piece(&mut endless).await.unwrap();
    drop(endless);
    eventually("nothing is under way", async || {
        world.traffic(OLD).await.requests == 0
    })
    .await;
    counted(&world, OLD, (6, 2)).await;
    // Streams that Ward cuts are not the instance's failure either.
    let mut events = fetch(world.http, get("/events")).await.into_body();
    piece(&mut events).await.unwrap();
    let mut endless = fetch(world.http, get("/endless")).await.into_body();
    piece(&mut endless).await.unwrap();
    let waiting = tokio::spawn(fetch(world.http, get("/wait")));
    eventually("it waits", async || app.seen.requests() == 10).await;
    let other = App::http("other").await;
    world.instance("web-r1-2", other.address);
    world.route(&["web-r1-2"]).await;
    let id = InstanceId::parse(OLD).unwrap();
    world.control.cut(env(), id).await.unwrap();
    while let Some(Ok(_)) = endless.frame().await {}
    // Nothing of its answer had come, so it is sent again.
    other.seen.release.notify_one();
    assert_eq!(body(waiting.await.unwrap()).await, "other");
    // It has left, and its release has not: it is remembered.
    counted(&world, OLD, (8, 2)).await;
}

#[tokio::test]
async fn what_an_instance_breaks_off_refuses_or_delays_counts_once() {
    let half = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let half = b"HTTP/1.1 500 Bad\r\nContent-Length: 10\r\n\r\nhalf";
        let _ = stream.write_all(half).await;
    })
    .await;
    let (dumb, slow) = (dumb().await, App::http("slow").await);
    let mut world = World::start(Start::ShortLimits).await;
    world.instance(OLD, half.address);
    world.route(&[OLD]).await;
    let broken = fetch(world.http, get("/")).await;
    assert!(broken.into_body().collect().await.is_err());
    counted(&world, OLD, (1, 1)).await;
    world.keeper(OLD).refuse();
    assert_eq!(fetch(world.http, get("/")).await.status(), 503);
    counted(&world, OLD, (2, 2)).await;
    world.instance(NEW, dumb.address);
    world.route(&[NEW]).await;
    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    assert_eq!(fetch(world.http, post).await.status(), 502);
    counted(&world, NEW, (1, 1)).await;
    world.instance("web-r3-3", slow.address);
    world.route(&["web-r3-3"]).await;
    assert_eq!(fetch(world.http, get("/wait")).await.status(), 504);
    counted(&world, "web-r3-3", (1, 1)).await;
}
