//! Links of other stacks: let in where the service is exported to them, and told apart (promise P5).

use http::{HeaderValue, Request, StatusCode};
use ward_types::id::EnvId;
use ward_types::sharing::Export;

use crate::app::{App, Payload};
use crate::clients::{body, get, http1_over};
use crate::links::{handed_over, handed_over_by, service};
use crate::world::{Start, World};

fn guest() -> EnvId {
    EnvId::parse("returns/dev").unwrap()
}

fn exports(texts: &[&str]) -> Vec<Export> {
    let all = texts.iter().map(|text| Export::parse(text).unwrap());
    all.collect()
}

/// A request that the lean path takes, or one that it hands over.
fn asking(path: &str, lean: bool) -> Request<Payload> {
    let mut request = get(path);
    let headers = request.headers_mut();
    headers.insert("ward-from-env", HeaderValue::from_static("shop/prod"));
    if !lean {
        let limit = HeaderValue::from_static("5000");
        headers.insert("x-envoy-expected-rq-timeout-ms", limit);
    }
    request
}

#[tokio::test]
async fn p5_a_link_of_another_stack_is_let_in_while_the_service_is_exported_to_it() {
    for lean in [true, false] {
        let (mut world, _app) = World::serving(Start::Usual).await;
        let (stream, taken) = handed_over_by(&world, guest(), service("web")).await;
        assert!(taken);
        let mut client = http1_over(stream).await;
        for (to, status) in [
            (&[][..], StatusCode::SERVICE_UNAVAILABLE),
            (&["returns"][..], StatusCode::OK),
            (
                &["plans", "returns/prod"][..],
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            (&["*/*"][..], StatusCode::OK),
            (&["shop", "plans"][..], StatusCode::SERVICE_UNAVAILABLE),
        ] {
            world.exports = exports(to);
            world.route(&["web-r1-1"]).await;
            client.ready().await.unwrap();
            let answer = client.send_request(asking("/", lean)).await.unwrap();
            assert_eq!(answer.status(), status, "{to:?} {lean}");
            let said = body(answer).await;
            if status != StatusCode::OK {
                for words in [
                    "The link of returns/dev leads to the service web of shop/dev.",
                    "It is not exported to returns/dev",
                ] {
                    assert!(said.contains(words), "{said}");
                }
            }
        }
    }
}

#[tokio::test]
async fn p5_an_exporter_hears_which_environment_asks_and_nobody_says_so_himself() {
    let mut world = World::start(Start::Usual).await;
    let app = App::http("one").await;
    world.instance("web-r1-1", app.address);
    world.exports = exports(&["returns"]);
    world.route(&["web-r1-1"]).await;
    for lean in [true, false] {
        let (stream, _) = handed_over_by(&world, guest(), service("web")).await;
        let mut client = http1_over(stream).await;
        let seen = client.send_request(asking("/head", lean)).await.unwrap();
        let seen = body(seen).await;
        assert!(seen.contains("ward-from-env: returns/dev"), "{seen}");
        assert!(!seen.contains("shop/prod"), "{seen}");
        let (stream, _) = handed_over(&world, service("web")).await;
        let mut client = http1_over(stream).await;
        let seen = client.send_request(asking("/head", lean)).await.unwrap();
        let seen = body(seen).await;
        assert!(!seen.contains("ward-from-env"), "{seen}");
    }
}

#[tokio::test]
async fn p12_a_link_to_what_does_not_run_says_which_environment_that_is() {
    let (world, _app) = World::serving(Start::Usual).await;
    let (stream, _) = handed_over_by(&world, guest(), service("nobody")).await;
    let mut client = http1_over(stream).await;
    let answer = client.send_request(get("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    let said = body(answer).await;
    for words in ["the service nobody of shop/dev", "not there or down"] {
        assert!(said.contains(words), "{said}");
    }
}
