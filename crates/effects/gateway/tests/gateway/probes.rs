//! Requests of the gateway's own, while a release is on trial.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use ward_types::id::{Name, ReleaseId};
use ward_types::spec::Probe;
use ward_types::table::{Pool, Split, Table};
use ward_types::time::Millis;

use crate::app::App;
use crate::clients::{body, fetch, get};
use crate::world::{Start, World, eventually, exit_status};

fn probe(path: &str) -> Option<Probe> {
    Some(Probe {
        path: path.to_owned(),
        every: Millis(10),
    })
}

/// Both in rotation, `r2` with a tenth of the requests, and probes of `path`.
fn on_trial(world: &mut World, path: &str) -> Table {
    let mut table = world.table(&["web-r1-1", "web-r2-2"]);
    Arc::make_mut(&mut table.pools[0]).probe = probe(path);
    Arc::make_mut(&mut table.pools[0]).split = Some(Split {
        release: ReleaseId(2),
        percent: 10,
        sticky: None,
    });
    table
}

/// Answers every request with 200, and tells its head.
async fn attentive() -> (App, mpsc::UnboundedReceiver<String>) {
    let (tell, heads) = mpsc::unbounded_channel();
    let app = App::raw(move |mut stream, seen| {
        let tell = tell.clone();
        async move {
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                    let _ = tell.send(text.to_lowercase());
                    seen.requests.fetch_add(1, Ordering::SeqCst);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    (app.await, heads)
}

#[tokio::test]
async fn both_releases_get_as_many_and_only_where_the_table_asks_for_it() {
    let (old, mut old_heads) = attentive().await;
    let (new, mut new_heads) = attentive().await;
    let clock = App::http("clock").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.instance("api-r1-3", clock.address);
    // Another service tells the time, before and after.
    let api = |table: &mut Table, world: &World| {
        let mut api = Pool::clone(&table.pools[0]);
        api.service = Name::parse("api").unwrap();
        api.routes = Vec::new();
        api.endpoints = vec![world.endpoint("api-r1-3")];
        (api.split, api.probe) = (None, probe("/"));
        table.pools.push(Arc::new(api));
    };
    let passes = async |turns: usize| {
        let from = clock.seen.requests();
        eventually("time passes", async || {
            clock.seen.requests() >= from + turns
        })
        .await;
    };
    let mut table = world.table(&["web-r1-1", "web-r2-2"]);
    api(&mut table, &world);
    world.control.apply(table).await.unwrap();
    passes(20).await;
    assert_eq!((old.seen.requests(), new.seen.requests()), (0, 0));

    let mut table = on_trial(&mut world, "/asked?how=well");
    api(&mut table, &world);
    world.control.apply(table).await.unwrap();
    eventually("both are probed", async || new.seen.requests() >= 50).await;
    let mut table = world.table(&["web-r1-1", "web-r2-2"]);
    api(&mut table, &world);
    world.control.apply(table).await.unwrap();
    passes(5).await;
    let both = (old.seen.requests(), new.seen.requests());
    assert!(both.0.abs_diff(both.1) <= 1, "{both:?}");
    passes(50).await;
    assert_eq!((old.seen.requests(), new.seen.requests()), both);
    for (id, count, heads) in [
        ("web-r1-1", both.0, &mut old_heads),
        ("web-r2-2", both.1, &mut new_heads),
    ] {
        let traffic = world.traffic(id).await;
        let counted = [traffic.answered, traffic.probes].map(|n| usize::try_from(n).unwrap());
        assert_eq!((counted, traffic.failed), ([count; 2], 0));
        let head = heads.recv().await.unwrap();
        assert!(
            head.starts_with("get /asked?how=well http/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nward-probe: 1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: shop.localhost\r\n"), "{head}");
    }
}

#[tokio::test]
async fn what_fails_or_does_not_answer_has_failed() {
    let (well, hangs) = (App::http("well").await, App::http("hangs").await);
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", well.address);
    world.instance("web-r2-2", hangs.address);
    let table = on_trial(&mut world, "/500");
    world.control.apply(table).await.unwrap();
    eventually("both have failed", async || {
        world.traffic("web-r1-1").await.failed >= 5 && world.traffic("web-r2-2").await.failed >= 5
    })
    .await;
    let table = on_trial(&mut world, "/wait");
    world.control.apply(table).await.unwrap();
    let before = world.traffic("web-r2-2").await.failed;
    eventually("what waits has failed", async || {
        world.traffic("web-r2-2").await.failed >= before + 5
    })
    .await;
    // Clients have their places all the same.
    assert_eq!(fetch(world.http, get("/")).await.status(), 200);
}

#[tokio::test]
async fn an_instance_that_takes_no_connection_fails_its_probes_and_the_other_release_does_not() {
    let (old, gone) = (App::http("old").await, App::http("gone").await);
    let address = gone.address;
    drop(gone);
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", address);
    let table = on_trial(&mut world, "/");
    world.control.apply(table).await.unwrap();
    eventually("it fails", async || {
        world.traffic("web-r2-2").await.failed >= 10
    })
    .await;
    let (old, new) = (
        world.traffic("web-r1-1").await,
        world.traffic("web-r2-2").await,
    );
    assert_eq!((old.failed, new.answered), (0, new.failed));
}

#[tokio::test]
async fn nobody_else_can_say_that_a_request_is_a_probe() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut request = get("/head");
    let headers = request.headers_mut();
    headers.insert("ward-probe", "1".parse().unwrap());
    let head = body(fetch(world.http, request).await).await;
    assert!(!head.contains("ward-probe"), "{head}");
    assert_eq!(world.traffic("web-r1-1").await.probes, 0);
}

#[tokio::test]
async fn a_gateway_that_is_replaced_leaves_the_probes_to_its_successor() {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    let table = on_trial(&mut world, "/");
    world.control.apply(table).await.unwrap();
    eventually("it is probed", async || new.seen.requests() > 0).await;
    let mut elder = world.succeed().await;
    assert_eq!(exit_status(&mut elder).await, 0);
    let from = new.seen.requests();
    eventually("the successor probes", async || {
        new.seen.requests() > from + 5
    })
    .await;
}
