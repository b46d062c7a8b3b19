//! Requests that a second instance is asked as well, because the first one takes long.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use ward_types::balance::{Affinity, Balance};
use ward_types::time::Millis;

use crate::accounts::of_path;
use crate::app::{App, Payload, Seen};
use crate::clients::{body, fetch, get, get2, http2};
use crate::world::{World, eventually};

const FIRST: &str = "web-r1-1";
const SECOND: &str = "web-r1-2";
/// So many requests keep the second instance busy, so that each one more goes to the first one, however slow.
const BUSY: usize = 80;

const ANSWERS: u8 = 0;
const WAITS: u8 = 1;
const FAILS: u8 = 2;
const BREAKS: u8 = 3;

/// An application of moods.
struct Moody {
    app: App,
    mood: Arc<AtomicU8>,
}

impl Moody {
    async fn new(name: &'static str, mood: u8) -> Self {
        let mood = Arc::new(AtomicU8::new(mood));
        let own = Arc::clone(&mood);
        let app = App::raw(move |stream, seen| serve(name, stream, Arc::clone(&own), seen)).await;
        Self { app, mood }
    }

    fn is(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.app.seen.requests()
    }

    fn abandoned(&self) -> usize {
        self.app.seen.abandoned()
    }
}

async fn serve(name: &'static str, mut stream: TcpStream, mood: Arc<AtomicU8>, seen: Arc<Seen>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let bodiless = head.starts_with(b"HEAD");
        head.clear();
        let mut mood = mood.load(Ordering::SeqCst);
        seen.requests.fetch_add(1, Ordering::SeqCst);
        if mood == WAITS {
            tokio::select! {
                () = seen.release.notified() => mood = ANSWERS,
                _ = stream.read_u8() => {
                    seen.abandoned.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
        let status = match mood {
            ANSWERS => "200 OK",
            FAILS => "503 Service Unavailable",
            _ => return,
        };
        let body = if bodiless { "" } else { name };
        let length = name.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A gateway, whose service is hedged after a while, and an instance that is slow.
struct Scene {
    world: World,
    first: Moody,
    second: Moody,
    /// What keeps the second one busy.
    held: Mutex<JoinSet<()>>,
}

impl Scene {
    async fn new(after: u64) -> Self {
        let (first, second) = (
            Moody::new("first", WAITS).await,
            Moody::new("second", WAITS).await,
        );
        let mut world = World::new().await;
        world.instance(FIRST, first.app.address);
        world.instance(SECOND, second.app.address);
        world.balance = Balance {
            affinity: None,
            hedge: Some(Millis(after)),
            ..Balance::default()
        };
        world.route(&[SECOND]).await;
        let client = http2(world.http).await;
        let mut held = JoinSet::new();
        for _ in 0..BUSY {
            let (mut client, mut request) = (client.clone(), get2("/held"));
            *request.method_mut() = Method::POST;
            held.spawn(async move { drop(client.send_request(request).await) });
        }
        eventually("the second one is busy", async || second.requests() == BUSY).await;
        world.route(&[FIRST, SECOND]).await;
        second.is(ANSWERS);
        Self {
            world,
            first,
            second,
            held: Mutex::new(held),
        }
    }

    fn ask(&self, request: Request<Payload>) -> JoinHandle<Response<Incoming>> {
        tokio::spawn(fetch(self.world.http, request))
    }

    async fn asked(&self, first: usize, second: usize) {
        eventually("both were asked", async || {
            (self.first.requests(), self.second.requests()) == (first, BUSY + second)
        })
        .await;
    }

    /// Nothing is under way but what keeps the second one busy.
    async fn is_over(&self) {
        eventually("places are given back", async || {
            let first = self.world.traffic(FIRST).await;
            let second = self.world.traffic(SECOND).await;
            (first.requests, second.requests) == (0, BUSY as u64)
        })
        .await;
    }
}

#[tokio::test]
async fn who_answers_first_has_answered_and_the_other_is_told() {
    let scene = Scene::new(50).await;
    let response = fetch(scene.world.http, get("/one")).await;
    assert_eq!(response.headers()["ward-instance"], SECOND);
    assert_eq!(body(response).await, "second");
    eventually("the first one is told", async || {
        scene.first.abandoned() == 1
    })
    .await;
    scene.is_over().await;
    let traffic = scene.world.traffic(FIRST).await;
    assert_eq!((traffic.answered, traffic.failed), (0, 0));
    let line = of_path(&scene.world, "/one").await;
    assert_eq!((line.retries, line.hedge.as_deref()), (1, Some("won")));
    assert_eq!(line.instance.unwrap().as_str(), SECOND);
    assert!(line.wait_us >= 50_000 && line.fault.is_none());
    assert!(line.wait_us + line.connect_us + line.head_us.unwrap() <= line.total_us);

    // Over HTTP/2, and without a body in the answer.
    let mut request = get2("/two");
    *request.method_mut() = Method::HEAD;
    let mut client = http2(scene.world.http).await;
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["ward-instance"], SECOND);
    eventually("the first one is told", async || {
        scene.first.abandoned() == 2
    })
    .await;
    assert_eq!(scene.second.abandoned(), 0);
    scene.is_over().await;
}

#[tokio::test]
async fn the_first_one_may_still_win() {
    let scene = Scene::new(50).await;
    scene.second.is(WAITS);
    let asked = scene.ask(get("/one"));
    scene.asked(1, 1).await;
    scene.first.app.seen.release.notify_one();
    assert_eq!(body(asked.await.unwrap()).await, "first");
    eventually("the second one is told", async || {
        scene.second.abandoned() == 1
    })
    .await;
    scene.is_over().await;
    let line = of_path(&scene.world, "/one").await;
    assert_eq!((line.retries, line.hedge.as_deref()), (1, Some("lost")));
    assert_eq!(line.instance.unwrap().as_str(), FIRST);
    assert!(line.head_us.unwrap() >= 50_000);
    assert!(line.wait_us + line.connect_us + line.head_us.unwrap() <= line.total_us);
    let traffic = scene.world.traffic(FIRST).await;
    assert_eq!((traffic.answered, traffic.failed), (1, 0));
    assert_eq!(scene.world.traffic(SECOND).await.failed, 0);
}

#[tokio::test]
async fn a_second_one_that_fails_does_no_harm_while_the_first_may_answer() {
    let scene = Scene::new(50).await;
    for (number, mood) in [(1, FAILS), (2, BREAKS)] {
        scene.first.is(WAITS);
        scene.second.is(mood);
        let asked = scene.ask(get(&format!("/{number}")));
        scene.asked(number, number).await;
        eventually("it has failed", async || {
            scene.world.traffic(SECOND).await.answered == number as u64
        })
        .await;
        scene.first.app.seen.release.notify_one();
        let response = asked.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(body(response).await, "first");
        scene.is_over().await;
        assert_eq!(scene.world.traffic(SECOND).await.failed, number as u64);
        let line = of_path(&scene.world, &format!("/{number}")).await;
        assert_eq!((line.retries, line.hedge.as_deref()), (1, Some("lost")));
        assert_eq!(line.fault, None);
    }
}

#[tokio::test]
async fn where_one_of_them_breaks_off_the_other_answers() {
    let scene = Scene::new(50).await;
    let breaking = App::raw(|mut stream, seen| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        seen.release.notified().await;
    })
    .await;
    let mut world = scene.world;
    world.instance("web-r1-3", breaking.address);
    scene.second.is(WAITS);
    world.route(&["web-r1-3", SECOND]).await;
    let asked = tokio::spawn(fetch(world.http, get("/one")));
    eventually("both were asked", async || {
        (breaking.seen.requests(), scene.second.requests()) == (1, BUSY + 1)
    })
    .await;
    breaking.seen.release.notify_one();
    eventually("the first one has failed", async || {
        world.traffic("web-r1-3").await.failed == 1
    })
    .await;
    // Those that keep it busy go, so that the one that is left is the one that is told to answer.
    scene.held.lock().unwrap().abort_all();
    eventually("they are gone", async || scene.second.abandoned() == BUSY).await;
    scene.second.app.seen.release.notify_waiters();
    let response = asked.await.unwrap();
    assert_eq!(body(response).await, "second");
    let line = of_path(&world, "/one").await;
    assert_eq!((line.retries, line.hedge.as_deref()), (1, Some("won")));
}

/// Asks in a way that must not be hedged, and sees that for a while only the first one was asked.
async fn is_not_hedged(scene: &Scene, request: Request<Payload>) {
    let before = (scene.first.requests(), scene.second.requests());
    let mut asked = scene.ask(request);
    let early = tokio::time::timeout(Duration::from_millis(150), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    let now = (scene.first.requests(), scene.second.requests());
    assert_eq!(now, (before.0 + 1, before.1));
    scene.first.app.seen.release.notify_one();
    assert_eq!(body(asked.await.unwrap()).await, "first");
}

#[tokio::test]
async fn what_must_not_be_sent_twice_is_not_and_nobody_is_asked_where_there_is_no_other() {
    let mut scene = Scene::new(10).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = get("/");
        *request.method_mut() = method;
        is_not_hedged(&scene, request).await;
    }
    let mut uploading = get("/upload");
    let whole = Full::from(Bytes::from_static(b"\r\n\r\n"));
    *uploading.body_mut() = whole.map_err(|never| match never {}).boxed();
    // The application takes the body for the end of a head of its own, and that for a client that went on.
    let asked = scene.ask(uploading);
    eventually("it was asked", async || scene.first.requests() >= 5).await;
    let answered = tokio::time::timeout(Duration::from_millis(150), asked).await;
    assert_eq!(scene.second.requests(), BUSY, "{answered:?}");
    let mut switching = get("/ws");
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        let value = value.parse().unwrap();
        switching.headers_mut().insert(name, value);
    }
    is_not_hedged(&scene, switching).await;
    scene.world.balance.affinity = Some(Affinity {
        cookie: "at".to_owned(),
    });
    scene.world.route(&[FIRST, SECOND]).await;
    is_not_hedged(&scene, get("/kept")).await;
    scene.world.balance.affinity = None;
    scene.world.route(&[FIRST]).await;
    is_not_hedged(&scene, get("/alone")).await;
    let line = of_path(&scene.world, "/alone").await;
    assert_eq!((line.retries, line.hedge), (0, None));
}

#[tokio::test]
async fn hedges_are_paid_for_from_the_budget_of_retries() {
    const MANY: usize = 120;
    let began = Instant::now();
    let scene = Scene::new(20).await;
    scene.second.is(WAITS);
    let client = http2(scene.world.http).await;
    let mut asked = JoinSet::new();
    for _ in 0..MANY / 2 {
        let mut client = client.clone();
        asked.spawn(async move { client.send_request(get2("/")).await });
    }
    let second = http2(scene.world.http).await;
    for _ in 0..MANY / 2 {
        let mut client = second.clone();
        asked.spawn(async move { client.send_request(get2("/")).await });
    }
    let sent = || scene.first.requests() + scene.second.requests() - BUSY;
    eventually("all are there, and some twice", async || {
        sent() >= MANY + 10
    })
    .await;
    // By then each that is to be sent twice has been.
    let answered = tokio::time::timeout(Duration::from_millis(300), asked.join_next()).await;
    assert!(answered.is_err(), "{answered:?}");
    let hedges = sent() - MANY;
    // Ten at first and ten a second, and a fifth of all requests.
    let earned = 10.0 * (1.0 + began.elapsed().as_secs_f64()) + (BUSY + MANY) as f64 / 5.0;
    assert!(hedges as f64 <= earned + 1.0, "{hedges}, {earned}");
    asked.abort_all();
}
