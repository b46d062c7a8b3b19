//! Requests for an environment that sleeps are held, and the server is told of them (promise P1).

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use ward_gateway::control::Control;
use ward_types::table::Call;
use ward_types::time::{Millis, Timestamp};

use crate::app::App;
use crate::clients::{body, fetch, get, get2, http2};
use crate::gaps::waits;
use crate::world::{World, env, eventually};

fn call(since: u64) -> Call {
    Call {
        env: env(),
        asleep: Timestamp(since),
    }
}

#[tokio::test]
async fn p1_the_first_request_calls_and_all_are_answered_when_it_is_awake() {
    let app = App::http("web").await;
    let mut world = World::new().await;
    // It never had an instance, as far as this gateway knows.
    assert!(world.sleep(7).await.holds);
    let asked = Control::new(world.home.path());
    let told = tokio::spawn(async move { asked.calls(Vec::new(), Vec::new()).await.unwrap() });
    let plain = waits(fetch(world.http, get("/"))).await;
    assert_eq!(told.await.unwrap(), [call(7)]);
    let mut posting = get("/count");
    *posting.method_mut() = Method::POST;
    let text = Full::from("hello").map_err(|never| match never {});
    *posting.body_mut() = text.boxed();
    let posted = waits(fetch(world.http, posting)).await;
    let mut client = http2(world.http).await;
    let streamed = async move { client.send_request(get2("/")).await.unwrap() };
    let streamed = waits(streamed).await;
    let observed = world.control.observe().await.unwrap();
    assert_eq!(observed.calls, [call(7)]);
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    for answer in [plain, posted, streamed] {
        assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    }
    assert!(world.control.observe().await.unwrap().calls.is_empty());
}

/// It was woken for something else, and sleeps again: who waits calls anew.
#[tokio::test]
async fn who_waits_calls_by_the_sleep_that_it_waits_in() {
    let mut world = World::new().await;
    world.sleep(7).await;
    let _held = waits(fetch(world.http, get("/"))).await;
    world.sleep(9).await;
    let control = &world.control;
    eventually("it calls anew", async || {
        control.observe().await.unwrap().calls == [call(9)]
    })
    .await;
    assert_eq!(
        control.calls(vec![call(7)], Vec::new()).await.unwrap(),
        [call(9)]
    );
}

/// What does not come up is refused as anything without an instance, also who has waited.
#[tokio::test]
async fn what_does_not_wake_is_refused_at_once() {
    let mut world = World::new().await;
    world.sleep(7).await;
    let held = waits(fetch(world.http, get("/"))).await;
    world.route(&[]).await;
    let refused = held.await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(body(refused).await.contains("No instance"));
    assert_eq!(
        fetch(world.http, get("/")).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

/// Whoever waits for what nobody can wake is told at once, and whoever asks later calls again.
#[tokio::test]
async fn what_nobody_can_wake_is_refused_to_those_who_wait() {
    let mut world = World::new().await;
    world.sleep(7).await;
    let held = waits(fetch(world.http, get("/"))).await;
    let asked = Control::new(world.home.path());
    let unable = tokio::spawn(async move {
        let told = asked.calls(vec![call(7)], vec![call(7)]).await.unwrap();
        (asked, told)
    });
    let refused = held.await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "10");
    assert!(body(refused).await.contains("its secrets cannot be opened"));
    let again = waits(fetch(world.http, get("/"))).await;
    let (asked, told) = unable.await.unwrap();
    assert_eq!(told, [call(7)], "the next one calls, although it is known");
    // This time it is awake before anybody could say no.
    let app = App::http("web").await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    assert_eq!(again.await.unwrap().status(), StatusCode::OK);
    drop(asked);
}

/// Whoever asks a gateway that leaves is told at once what it still holds, so as to ask its successor.
#[tokio::test]
async fn a_gateway_that_leaves_says_what_it_holds() {
    let mut world = World::new().await;
    world.sleep(7).await;
    let _held = waits(fetch(world.http, get("/"))).await;
    let asked = Control::new(world.home.path());
    let mut told =
        tokio::spawn(async move { asked.calls(vec![call(7)], Vec::new()).await.unwrap() });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut told).await;
    assert!(early.is_err(), "{early:?}");
    let began = Instant::now();
    world.control.quit(Millis::secs(30)).await.unwrap();
    assert_eq!(told.await.unwrap(), [call(7)]);
    assert!(began.elapsed() < Duration::from_secs(3));
}
