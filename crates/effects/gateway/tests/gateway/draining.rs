//! What becomes of what is under way on an instance that leaves the table.

use crate::app::App;
use crate::clients::{body, fetch, get, http1, piece};
use crate::tls::{connect, trusting};
use crate::world::{World, env, eventually};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use ward_gateway::control::ControlError;
use ward_types::id::InstanceId;

#[tokio::test]
async fn a_kept_connection_goes_on_to_the_new_instance() {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1"]).await;
    let mut client = http1(world.http).await;
    let first = client.send_request(get("/")).await.unwrap();
    assert_eq!(first.headers()["ward-release"], "r1");
    assert_eq!(body(first).await, "old");
    world.route(&["web-r2-2"]).await;
    client.ready().await.unwrap();
    let second = client.send_request(get("/")).await.unwrap();
    assert_eq!(second.headers()["ward-release"], "r2");
    assert_eq!(body(second).await, "new");
}

#[tokio::test]
async fn requests_under_way_are_counted_until_they_end() {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1"]).await;
    let waiting = tokio::spawn(fetch(world.http, get("/wait")));
    eventually("it is under way", async || old.seen.requests() == 1).await;
    let observed = world.route(&["web-r2-2"]).await;
    let id = InstanceId::parse("web-r1-1").unwrap();
    assert_eq!(observed.traffic[&env()][&id].requests, 1);
    assert_eq!(body(fetch(world.http, get("/")).await).await, "new");
    old.seen.release.notify_one();
    assert_eq!(body(waiting.await.unwrap()).await, "old");
    eventually("the instance is forgotten", async || {
        let observed = world.control.observe().await.unwrap();
        !observed.traffic[&env()].contains_key(&id)
    })
    .await;
}

#[tokio::test]
async fn unused_connections_are_closed_when_the_instance_leaves() {
    use tokio::io::AsyncReadExt;
    let old = App::raw(|mut stream, seen| async move {
        let mut buffer = vec![0; 4096];
        while let Ok(1..) = stream.read(&mut buffer).await {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
        seen.abandoned
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.route(&["web-r1-1"]).await;
    assert_eq!(body(fetch(world.http, get("/")).await).await, "ok");
    assert_eq!(old.seen.abandoned(), 0);
    world.route(&[]).await;
    eventually("the connection is closed", async || {
        old.seen.abandoned() == 1
    })
    .await;
}

#[tokio::test]
async fn cutting_ends_what_is_left_in_the_protocols_own_way() {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1"]).await;
    let mut events = fetch(world.http, get("/events")).await.into_body();
    assert_eq!(piece(&mut events).await.unwrap(), "data: 0\n\n");
    let mut endless = fetch(world.http, get("/endless")).await.into_body();
    let retried = tokio::spawn(fetch(world.http, get("/wait")));
    let mut posted = get("/wait");
    *posted.method_mut() = http::Method::POST;
    let posted = tokio::spawn(fetch(world.http, posted));
    eventually("all are under way", async || old.seen.requests() == 4).await;

    let id = InstanceId::parse("web-r1-1").unwrap();
    let early = world.control.cut(env(), id.clone()).await;
    assert!(matches!(early, Err(ControlError::Refused(_))), "{early:?}");
    world.route(&["web-r2-2"]).await;
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.requests, traffic.upgraded), (3, 1));
    world.control.cut(env(), id.clone()).await.unwrap();

    // An event stream ends as if it were complete; its client connects again.
    assert!(events.frame().await.is_none());
    // Any other answer must not look complete.
    let end = async {
        loop {
            match endless.frame().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    assert!(end.await.unwrap().is_err());
    // What may be sent twice is asked of another instance.
    eventually("the new instance is asked", async || {
        new.seen.requests() == 1
    })
    .await;
    new.seen.release.notify_one();
    assert_eq!(body(retried.await.unwrap()).await, "new");
    let refused = posted.await.unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers()["ward-fault"].to_str().unwrap()
        ),
        (503, "ward")
    );
    eventually("nothing is left", async || {
        let traffic = world.traffic("web-r1-1").await;
        traffic.requests + traffic.upgraded == 0 && old.seen.abandoned() == 4
    })
    .await;
    // Once more changes nothing, and an instance that was cut can come back.
    world.control.cut(env(), id).await.unwrap();
    world.route(&["web-r1-1"]).await;
    assert_eq!(body(fetch(world.http, get("/")).await).await, "old");
}

/// TLS takes more than the socket does: that its client reads nothing must not hide that the instance has to stop.
#[tokio::test]
async fn cutting_ends_an_event_stream_that_nobody_reads_over_tls() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let config = std::sync::Arc::new(trusting(&world, &[&rustls::version::TLS13]));
    let client = connect(&config, world.https, "shop.localhost").await;
    let mut client = client.unwrap();
    let ask = b"GET /endless-events HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    client.write_all(ask).await.unwrap();
    let mut before = 0;
    eventually("its client takes nothing more", async || {
        let seen = app.seen.body_bytes();
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::mem::replace(&mut before, seen) == seen && seen > 0
    })
    .await;
    world.route(&[]).await;
    let id = InstanceId::parse("web-r1-1").unwrap();
    world.control.cut(env(), id).await.unwrap();
    eventually("it is given up", async || app.seen.abandoned() == 1).await;
    drop(client);
}
