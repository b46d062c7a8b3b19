//! Clients that come back to their instance, and what becomes of them when it cannot be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use ward_types::balance::{Affinity, Balance};
use ward_types::spec::Sticky;
use ward_types::table::Split;

use crate::app::App;
use crate::clients::{fetch, get, get2, http1_over, http2, http2_over};
use crate::links::{handed_over, service};
use crate::tls;
use crate::world::{World, eventually, exit_status};

const ALL: [&str; 4] = ["web-r1-1", "web-r1-2", "web-r1-3", "web-r1-4"];

fn by_cookie() -> Balance {
    Balance {
        affinity: Some(Affinity {
            cookie: "at".to_owned(),
        }),
        ..Balance::default()
    }
}

/// A gateway with four instances, to which clients come back.
async fn world() -> (World, App) {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.balance = by_cookie();
    for id in ALL {
        world.instance(id, app.address);
    }
    world.route(&ALL).await;
    (world, app)
}

/// A browser: it keeps what it is told to.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
    told: Vec<String>,
}

impl Browser {
    fn line(&self) -> Option<String> {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn take<B>(&mut self, response: &Response<B>) -> String {
        assert!(
            response.status().is_success() || response.status() == 101,
            "{response_head:?}",
            response_head = response.headers()
        );
        self.told.clear();
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (pair, rest) = line.split_once(';').unwrap();
            assert_eq!(rest, " Path=/; HttpOnly; SameSite=Lax", "{line}");
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
            self.told.push(name.to_owned());
        }
        instance(response)
    }

    /// Asks, and says which instance answered.
    async fn ask(&mut self, world: &World) -> String {
        let mut request = get("/");
        if let Some(line) = self.line() {
            let line = line.parse().unwrap();
            request.headers_mut().insert("cookie", line);
        }
        let response = fetch(world.http, request).await;
        let instance = self.take(&response);
        response.into_body().collect().await.unwrap();
        instance
    }
}

fn instance<B>(response: &Response<B>) -> String {
    let name = response.headers()["ward-instance"].to_str().unwrap();
    name.to_owned()
}

async fn browsers(world: &World, count: usize) -> Vec<(Browser, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut browser = Browser::default();
        let first = browser.ask(world).await;
        assert_eq!(browser.told, ["at"], "a new client is told");
        all.push((browser, first));
    }
    all
}

#[tokio::test]
async fn a_client_comes_back_to_its_instance_over_every_protocol() {
    let (world, _app) = world().await;
    let mut all = browsers(&world, 40).await;
    for (browser, first) in &mut all {
        for _ in 0..5 {
            assert_eq!(browser.ask(&world).await, *first);
            assert!(browser.told.is_empty(), "it knows already");
        }
        let value = &browser.cookies["at"];
        assert!(value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let mut values: Vec<_> = all.iter().map(|(one, _)| &one.cookies["at"]).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 4, "new clients are spread by load");

    let (browser, first) = &mut all[0];
    let mut client = http2(world.http).await;
    for _ in 0..5 {
        let mut request = get2("/");
        // Clients of HTTP/2 may split the header (RFC 9113 section 8.2.3).
        for line in ["a=b".to_owned(), browser.line().unwrap()] {
            let line = line.parse().unwrap();
            request.headers_mut().append("cookie", line);
        }
        let response = client.send_request(request).await.unwrap();
        assert_eq!(instance(&response), *first);
        assert!(!response.headers().contains_key("set-cookie"));
    }
    for cookie in [browser.line(), None] {
        let mut request = "ws://shop.localhost/ws".into_client_request().unwrap();
        if let Some(line) = &cookie {
            let line = line.parse().unwrap();
            request.headers_mut().insert("cookie", line);
        }
        let stream = TcpStream::connect(world.http).await.unwrap();
        let connected = tokio_tungstenite::client_async(request, stream).await;
        let (mut socket, response) = connected.unwrap();
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::text("hello")
        );
        match cookie {
            Some(_) => assert_eq!(instance(&response), *first),
            None => assert_eq!(Browser::default().take(&response), instance(&response)),
        }
        assert_eq!(
            response.headers().contains_key("set-cookie"),
            cookie.is_none()
        );
    }
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_over_a_link_it_works_as_well() {
    let (world, _app) = world().await;
    let mut config = tls::trusting(&world, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let stream = tls::connect(&config, world.https, "shop.localhost");
    let mut client = http2_over(stream.await.unwrap()).await;
    let response = client.send_request(get2("/")).await.unwrap();
    let line = response.headers()["set-cookie"].to_str().unwrap();
    assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"));
    let pair = line.split_once(';').unwrap().0;

    let (stream, _) = handed_over(&world, service("web")).await;
    let mut linked = http1_over(stream).await;
    for _ in 0..8 {
        let mut request = get("/");
        request
            .headers_mut()
            .insert("cookie", pair.parse().unwrap());
        linked.ready().await.unwrap();
        let answered = linked.send_request(request).await.unwrap();
        assert_eq!(instance(&answered), instance(&response));
        answered.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn cookies_that_were_made_up_lead_nowhere() {
    let (world, _app) = world().await;
    let mut own = browsers(&world, 1).await.remove(0).0;
    let good = own.cookies["at"].clone();
    for made_up in [
        "web-r1-2",
        "0",
        "",
        &"0".repeat(32),
        &good.to_uppercase(),
        &good[..31],
    ] {
        let made_up = made_up.to_owned();
        if made_up == good {
            continue;
        }
        own.cookies.insert("at".to_owned(), made_up.clone());
        own.ask(&world).await;
        assert_eq!(own.told, ["at"], "{made_up:?} was taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_releases_are_exchanged_everybody_moves_and_nobody_sees_an_error() {
    let (mut world, app) = world().await;
    let next = ["web-r2-5", "web-r2-6", "web-r2-7", "web-r2-8"];
    for id in next {
        world.instance(id, app.address);
    }
    let mut all = browsers(&world, 24).await;
    let mut rotation: Vec<&str> = ALL.to_vec();
    for id in next {
        rotation.remove(0);
        rotation.push(id);
        let observed = world.route(&rotation).await;
        assert_eq!(observed.table.pools[0].endpoints.len(), 4);
        for (browser, at) in &mut all {
            let there = rotation.contains(&at.as_str());
            let now = browser.ask(&world).await;
            match there {
                true => assert_eq!((&now, browser.told.len()), (&*at, 0)),
                false => assert!(rotation.contains(&now.as_str()) && browser.told == ["at"]),
            }
            *at = now;
        }
    }
    assert!(all.iter().all(|(_, at)| at.starts_with("web-r2-")));
    for (browser, at) in &mut all {
        assert_eq!(browser.ask(&world).await, *at, "and there they stay");
    }
}

#[tokio::test]
async fn an_instance_that_takes_no_connection_loses_its_clients() {
    let (mut world, _app) = world().await;
    let mut all = browsers(&world, 8).await;
    let ill = all[0].1.clone();
    // Another object under the same name has no kept connections.
    let others: Vec<&str> = ALL.into_iter().filter(|id| *id != ill).collect();
    world.route(&others).await;
    world.keeper(&ill).refuse();
    eventually("its connections are closed", async || {
        world.traffic(&ill).await.requests == 0
    })
    .await;
    world.route(&ALL).await;
    let mut refused = 0;
    for (browser, first) in &mut all {
        let now = browser.ask(&world).await;
        // One whose connections were kept may have answered.
        if *first != ill || now == ill {
            assert_eq!((&now, browser.told.len()), (&*first, 0));
            continue;
        }
        refused += 1;
        assert_eq!(browser.told, ["at"]);
        world.keeper(&ill).allow();
        assert_eq!(browser.ask(&world).await, now, "it stays with the other");
        world.keeper(&ill).refuse();
    }
    assert!(refused > 0, "nobody was refused");
}

#[tokio::test]
async fn what_breaks_off_is_sent_to_another_instance_whose_client_it_is_from_then_on() {
    let (mut world, _app) = world().await;
    let breaks = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&breaks);
    let app = App::raw(move |mut stream, _| {
        let broken = Arc::clone(&broken);
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut head = [0; 4096];
            while stream.read(&mut head).await.is_ok_and(|count| count > 0) {
                if broken.load(Ordering::SeqCst) {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    world.instance("web-r1-9", app.address);
    world.route(&["web-r1-9"]).await;
    let (mut browser, first) = browsers(&world, 1).await.remove(0);
    assert_eq!(first, "web-r1-9");
    world
        .route(&["web-r1-9", "web-r1-1", "web-r1-2", "web-r1-3"])
        .await;
    assert_eq!(browser.ask(&world).await, "web-r1-9");
    breaks.store(true, Ordering::SeqCst);
    let second = browser.ask(&world).await;
    assert_ne!(second, "web-r1-9");
    assert_eq!(browser.told, ["at"]);
    breaks.store(false, Ordering::SeqCst);
    assert_eq!(browser.ask(&world).await, second);
}

#[tokio::test]
async fn a_split_decides_first_and_then_a_client_comes_back_to_its_instance() {
    let (mut world, app) = world().await;
    world.instance("web-r2-5", app.address);
    world.instance("web-r2-6", app.address);
    let both = ["web-r1-1", "web-r1-2", "web-r2-5", "web-r2-6"];
    let weigh = async |world: &mut World, percent| {
        let mut table = world.table(&both);
        Arc::make_mut(&mut table.pools[0]).split = Some(Split {
            release: "r2".parse().unwrap(),
            percent,
            sticky: Some(Sticky::Cookie("side".to_owned())),
        });
        world.control.apply(table).await.unwrap();
    };
    weigh(&mut world, 30).await;
    let mut all = Vec::new();
    for _ in 0..100 {
        let mut browser = Browser::default();
        let first = browser.ask(&world).await;
        assert_eq!(browser.told, ["side", "at"]);
        all.push((browser, first));
    }
    let new = |all: &[(Browser, String)]| {
        all.iter()
            .filter(|(_, at)| at.starts_with("web-r2"))
            .count()
    };
    assert_eq!(new(&all), 30);
    for (percent, moving) in [(30, 0), (80, 50), (100, 20)] {
        weigh(&mut world, percent).await;
        let mut moved = 0;
        for (browser, at) in &mut all {
            let now = browser.ask(&world).await;
            match now == *at {
                true => assert!(browser.told.is_empty()),
                false => assert!(browser.told == ["at"] && at.starts_with("web-r1")),
            }
            moved += usize::from(now != *at);
            *at = now;
        }
        assert_eq!((new(&all), moved), (usize::from(percent), moving));
    }
}

#[tokio::test]
async fn a_gateway_that_takes_over_brings_clients_back_to_the_same_instances() {
    let (mut world, _app) = world().await;
    let mut all = browsers(&world, 12).await;
    let mut before = world.succeed().await;
    assert_eq!(exit_status(&mut before).await, 0);
    for (browser, first) in &mut all {
        assert_eq!(browser.ask(&world).await, *first);
        assert!(browser.told.is_empty());
    }
}

#[tokio::test]
async fn a_cookie_whose_name_is_none_is_refused_with_its_service() {
    let (mut world, _app) = world().await;
    world.balance.affinity = Some(Affinity {
        cookie: "a; Domain=b".to_owned(),
    });
    let table = world.table(&ALL);
    let refused = world.control.apply(table).await.unwrap_err().to_string();
    assert!(
        refused.contains("web of shop/dev") && refused.contains("cookie"),
        "{refused}"
    );
}
