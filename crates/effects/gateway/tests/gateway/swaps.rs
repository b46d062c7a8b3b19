//! Tables swapped under load lose no request (promise P1), and an acknowledged table is the truth.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::app::{App, slow_body};
use crate::clients::{get, get2, http1, http2, piece};
use crate::world::{World, eventually};

/// Clients that go on until they are told to stop. A failure of any of them is a panic.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            stop: Arc::default(),
            done: Arc::default(),
        };
        for _ in 0..4 {
            load.clients
                .spawn(kept(address, load.stop.clone(), load.done.clone()));
            load.clients
                .spawn(streams(address, load.stop.clone(), load.done.clone()));
        }
        for _ in 0..2 {
            load.clients
                .spawn(fresh(address, load.stop.clone(), load.done.clone()));
            load.clients
                .spawn(uploads(address, load.stop.clone(), load.done.clone()));
        }
        load
    }

    /// Ends the clients and gives the number of good answers.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        self.done.load(Ordering::SeqCst)
    }
}

async fn check(response: Response<Incoming>, done: &AtomicUsize) -> Bytes {
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    done.fetch_add(1, Ordering::SeqCst);
    body
}

async fn kept(address: SocketAddr, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut client = http1(address).await;
    while !stop.load(Ordering::SeqCst) {
        client.ready().await.unwrap();
        check(client.send_request(get("/")).await.unwrap(), &done).await;
    }
}

async fn streams(address: SocketAddr, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut client = http2(address).await;
    while !stop.load(Ordering::SeqCst) {
        client.ready().await.unwrap();
        check(client.send_request(get2("/")).await.unwrap(), &done).await;
    }
}

async fn fresh(address: SocketAddr, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        let mut client = http1(address).await;
        check(client.send_request(get("/")).await.unwrap(), &done).await;
    }
}

async fn uploads(address: SocketAddr, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut client = http1(address).await;
    while !stop.load(Ordering::SeqCst) {
        client.ready().await.unwrap();
        let chunk = Bytes::from_static(&[1; 10_000]);
        let body = slow_body(chunk, 10, Duration::from_millis(5)).boxed();
        let request = Request::post("/count").header("host", "shop.localhost");
        let response = client.send_request(request.body(body).unwrap()).await;
        assert_eq!(check(response.unwrap(), &done).await, "100000");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_two_hundred_swaps_lose_no_request() {
    let apps = [App::http("old").await, App::http("new").await];
    let names = ["web-r1-1", "web-r2-2"];
    let mut world = World::new().await;
    for (name, app) in names.iter().zip(&apps) {
        world.instance(name, app.address);
    }
    world.route(&names[..1]).await;
    let mut events = http1(world.http).await;
    let mut events = events
        .send_request(get("/events"))
        .await
        .unwrap()
        .into_body();
    assert_eq!(piece(&mut events).await.unwrap(), "data: 0\n\n");
    let load = Load::start(world.http);
    for round in 0..100 {
        let (leaving, staying) = (round % 2, 1 - round % 2);
        world.route(&names).await;
        let observed = world.route(&names[staying..=staying]).await;
        assert_eq!(observed.table.pools[0].endpoints.len(), 1);
        eventually("the old instance is drained", async || {
            world.traffic(names[leaving]).await.requests == 0
        })
        .await;
        let drained = apps[leaving].seen.requests();
        let served = apps[staying].seen.requests();
        eventually("the new one serves", async || {
            apps[staying].seen.requests() > served + 5
        })
        .await;
        let later = apps[leaving].seen.requests();
        assert_eq!(
            later, drained,
            "a request went to an instance that is not in the table"
        );
    }
    let total = load.end().await;
    assert!(total > 1000, "only {total} requests were made");
    apps[0].seen.release.notify_one();
    assert_eq!(piece(&mut events).await.unwrap(), "data: 1\n\n");
}

/// The strict order of a deployment: new instance, table, drain, stop; forty times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_instances_that_stop_after_their_drain_lose_no_request() {
    let mut world = World::new().await;
    let mut old = ("web-r1-0".to_owned(), App::http("app").await);
    world.instance(&old.0, old.1.address);
    world.route(&[&old.0]).await;
    let load = Load::start(world.http);
    for release in 2..42 {
        let new = (format!("web-r{release}-{release}"), App::http("app").await);
        world.instance(&new.0, new.1.address);
        world.route(&[&new.0]).await;
        eventually("the old instance is drained", async || {
            let traffic = world.traffic(&old.0).await;
            traffic.requests + traffic.upgraded == 0
        })
        .await;
        world.kill_keeper(&old.0);
        old = new;
        let served = old.1.seen.requests();
        eventually("the new one serves", async || {
            old.1.seen.requests() > served
        })
        .await;
    }
    assert!(load.end().await > 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_an_instance_that_dies_takes_only_its_own_requests_along() {
    let apps = [App::http("one").await, App::http("two").await];
    let mut world = World::new().await;
    world.instance("web-r1-1", apps[0].address);
    world.instance("web-r1-2", apps[1].address);
    world.route(&["web-r1-1", "web-r1-2"]).await;
    let load = Load::start(world.http);
    eventually("both serve", async || {
        apps.iter().all(|app| app.seen.requests() > 50)
    })
    .await;
    // No connection is made any more. Those that are there go on.
    world.keeper("web-r1-1").refuse();
    let before = apps[1].seen.requests();
    eventually("the other one serves", async || {
        apps[1].seen.requests() > before + 200
    })
    .await;
    world.kill_keeper("web-r1-1");
    let before = apps[1].seen.requests();
    eventually("the other one serves", async || {
        apps[1].seen.requests() > before + 200
    })
    .await;
    load.end().await;
}

/// Answers `GET`s and closes a connection that was unused for about a millisecond, without a word.
async fn impatient(mut stream: TcpStream) {
    let mut buffer = vec![0; 4096];
    let mut patience = Duration::from_secs(5);
    loop {
        let reading = tokio::time::timeout(patience, stream.read(&mut buffer)).await;
        let Ok(Ok(1..)) = reading else { return };
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if stream.write_all(answer).await.is_err() {
            return;
        }
        patience = Duration::from_micros(1200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_instances_may_close_unused_connections_at_any_time() {
    let app = App::raw(|stream, _| impatient(stream)).await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut clients = JoinSet::new();
    for client in 0..8_u64 {
        let address = world.http;
        clients.spawn(async move {
            let done = AtomicUsize::new(0);
            let mut connection = http1(address).await;
            for round in 0..300 {
                tokio::time::sleep(Duration::from_micros((client * 397 + round * 131) % 3000))
                    .await;
                connection.ready().await.unwrap();
                check(connection.send_request(get("/")).await.unwrap(), &done).await;
            }
        });
    }
    clients.join_all().await;
    assert!(
        world.keeper("web-r1-1").connected() > 10,
        "no connection was closed"
    );
}
