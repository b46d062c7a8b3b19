//! What the gateway tells of the requests that it served: its access log and its metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Version};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use ward_types::access::AccessLine;
use ward_types::id::ReleaseId;
use ward_types::time::Millis;

use crate::app::{App, slow_body};
use crate::clients::{body, empty, fetch, get, get2, http1, http1_over, http2, piece, raw};
use crate::links::{handed_over, service};
use crate::tls;
use crate::world::{Start, World, eventually};

fn lines(world: &World) -> Vec<AccessLine> {
    let path = world.home.path().join("gateway/access.log");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last one may be there in part.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// The one line that fits, once it is there.
async fn line(world: &World, fits: impl Fn(&AccessLine) -> bool) -> AccessLine {
    let mut found = Vec::new();
    eventually("the request is in the access log", async || {
        found = lines(world);
        found.retain(&fits);
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

pub(crate) async fn of_path(world: &World, path: &str) -> AccessLine {
    line(world, |line| line.path == path).await
}

/// Every sample, by its name and labels.
async fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let response = fetch(address, get("/metrics")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = body(response).await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

fn address(world: &World) -> SocketAddr {
    world.metrics.local_addr().unwrap()
}

#[tokio::test]
async fn an_answer_is_a_line_that_says_who_answered_and_how_long_it_took() {
    let (world, _app) = World::serving(Start::Usual).await;
    let body_sent = slow_body("12345".into(), 3, Duration::from_millis(20));
    let request = Request::post("/count?patient=Mustermann&token=s3cret")
        .header("host", "shop.localhost:8080")
        .header("x-request-id", "abc-1")
        .header("cookie", "session=s3cret")
        .header("authorization", "Bearer s3cret")
        .body(body_sent.boxed())
        .unwrap();
    assert_eq!(body(fetch(world.http, request).await).await, "15");
    let line = of_path(&world, "/count").await;
    assert_eq!((line.id.as_str(), line.method.as_str()), ("abc-1", "POST"));
    assert_eq!(
        (line.host.as_str(), line.protocol.as_str()),
        ("shop.localhost:8080", "HTTP/1.1")
    );
    assert_eq!(
        (line.entry.as_str(), line.client.as_deref()),
        ("http", Some("127.0.0.1"))
    );
    assert_eq!((line.status, line.release), (Some(200), Some(ReleaseId(1))));
    assert_eq!(line.env.unwrap().as_str(), "shop/dev");
    assert_eq!(line.service.unwrap().as_str(), "web");
    assert_eq!(line.instance.unwrap().as_str(), "web-r1-1");
    assert_eq!((line.bytes_in, line.bytes_out, line.retries), (15, 2, 0));
    assert_eq!(
        (line.fault, line.reason, line.tls, line.from),
        (None, None, None, None)
    );
    // The client took its time with the body.
    let head = line.head_us.unwrap();
    assert!(head >= 30_000, "{head}");
    assert!(line.connect_us > 0, "the connection was a new one");
    assert!(line.total_us >= line.wait_us + line.connect_us + head);
    let time: jiff::Timestamp = line.time.parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 60);
    let path = world.home.path().join("gateway/access.log");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("s3cret") && !text.contains("Mustermann"),
        "{text}"
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_request_is_found_by_its_trace() {
    let (world, _app) = World::serving(Start::Usual).await;
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    for (name, parent) in [
        ("plain", own),
        ("broken", "00-0af7651916cd43dd8448eb211c80319c"),
    ] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let path = format!("/{name}/{version:?}");
            let add = |mut request: Request<_>| {
                let headers: &mut http::HeaderMap = request.headers_mut();
                headers.insert("traceparent", parent.parse().unwrap());
                request
            };
            match version {
                Version::HTTP_2 => {
                    let mut client = http2(world.http).await;
                    drop(client.send_request(add(get2(&path))).await.unwrap());
                }
                _ => drop(fetch(world.http, add(get(&path))).await),
            }
            let line = of_path(&world, &path).await;
            let expected = match name {
                "plain" => &own[3..35],
                _ => &line.id,
            };
            assert_eq!(line.trace, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn every_request_of_a_kept_connection_and_of_http2_has_its_line() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = http1(world.http).await;
    for number in 0..3 {
        client.ready().await.unwrap();
        body(
            client
                .send_request(get(&format!("/kept/{number}")))
                .await
                .unwrap(),
        )
        .await;
    }
    let mut client = http2(world.http).await;
    let many = (0..50).map(|number| client.send_request(get2(&format!("/stream/{number}"))));
    for response in futures_util::future::join_all(many).await {
        body(response.unwrap()).await;
    }
    for number in 0..3 {
        let line = of_path(&world, &format!("/kept/{number}")).await;
        assert_eq!((line.status, line.bytes_out), (Some(200), 3));
        assert_eq!(line.connect_us == 0, number > 0, "{line:?}");
    }
    for number in 0..50 {
        let line = of_path(&world, &format!("/stream/{number}")).await;
        assert_eq!(
            (line.protocol.as_str(), line.status),
            ("HTTP/2.0", Some(200))
        );
        assert_eq!((line.host.as_str(), line.fault), ("shop.localhost", None));
    }
    let all = metrics(address(&world)).await;
    let name = r#"ward_requests_total{env="shop/dev",service="web",release="r1",class="2xx",fault="none",by="instance"}"#;
    assert_eq!(all[name], 53.0);
    let count = r#"ward_request_duration_seconds_count{env="shop/dev",service="web",release="r1"}"#;
    assert_eq!(all[count], 53.0);
    assert_eq!(
        all[r#"ward_connections_open{entry="http",protocol="http/2"}"#],
        1.0
    );
    assert_eq!(all["ward_routing_table_generation"], 1.0);
    assert_eq!(all["ward_access_log_lines_dropped_total"], 0.0);
    assert!(all["process_resident_memory_bytes"] > 1e6);
}

#[tokio::test]
async fn what_is_refused_has_a_line_that_says_whose_fault_it_was() {
    let (mut world, _app) = World::serving(Start::ShortLimits).await;
    raw(
        world.http,
        b"GET /twice HTTP/1.1\r\nhost: shop.localhost\r\nhost: b\r\n\r\n",
    )
    .await;
    let twice = of_path(&world, "/twice").await;
    assert_eq!(
        (twice.status, twice.fault.as_deref()),
        (Some(400), Some("client"))
    );
    assert_eq!(twice.reason.as_deref(), Some("Host is given twice."));
    assert_eq!((twice.env, twice.head_us), (None, None));

    let request = Request::get("/lost")
        .header("host", "nobody.example")
        .body(empty());
    assert_eq!(fetch(world.http, request.unwrap()).await.status(), 404);
    let lost = of_path(&world, "/lost").await;
    assert_eq!(
        (lost.host.as_str(), lost.fault.as_deref()),
        ("nobody.example", Some("client"))
    );

    assert_eq!(fetch(world.http, get("/500")).await.status(), 500);
    let failed = of_path(&world, "/500").await;
    assert_eq!(
        (failed.status, failed.fault.as_deref()),
        (Some(500), Some("upstream"))
    );

    // Whatever is in a head that cannot be read, one line says so.
    raw(world.http, b"GET /\"\x1b[2J\n{}: x\r\n\r\n").await;
    raw(
        world.http,
        b"GET / HTTP/1.1\r\nhost : shop.localhost\r\n\r\n",
    )
    .await;
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000));
    let answer = raw(world.http, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    raw(world.http, b"GET /slow HTTP/1.1\r\nhost:").await;
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    stream
        .write_all(b"GET /closed HTTP/1.1\r\nho")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    eventually("five heads were found wanting", async || {
        lines(&world)
            .iter()
            .filter(|line| line.path.is_empty())
            .count()
            == 5
    })
    .await;
    let mut reasons: Vec<_> = lines(&world)
        .into_iter()
        .filter(|line| line.path.is_empty())
        .map(|line| {
            assert_eq!(line.fault.as_deref(), Some("client"));
            assert_eq!(line.client.as_deref(), Some("127.0.0.1"));
            (line.status, line.reason.unwrap())
        })
        .collect();
    reasons.sort();
    let of = |status, why: &str| (status, why.to_owned());
    assert_eq!(
        reasons,
        [
            of(
                None,
                "The connection was closed within the head of a request."
            ),
            of(None, "The head of the request did not come in time."),
            of(Some(400), "The head of the request is malformed."),
            of(Some(400), "The head of the request is malformed."),
            of(Some(431), "The head of the request is too large."),
        ]
    );

    world.route(&[]).await;
    assert_eq!(fetch(world.http, get("/none")).await.status(), 503);
    let none = of_path(&world, "/none").await;
    assert_eq!(
        (none.status, none.fault.as_deref()),
        (Some(503), Some("upstream"))
    );
    assert_eq!(none.service.unwrap().as_str(), "web");
    assert!(
        none.instance.is_none() && none.wait_us >= 250_000,
        "{}",
        none.wait_us
    );
    let all = metrics(address(&world)).await;
    for (name, value) in [
        (
            r#"{env="",service="",release="",class="4xx",fault="client",by="gateway"}"#,
            5.0,
        ),
        (
            r#"{env="",service="",release="",class="none",fault="client",by="gateway"}"#,
            2.0,
        ),
        (
            r#"{env="shop/dev",service="web",release="r1",class="5xx",fault="upstream",by="instance"}"#,
            1.0,
        ),
        (
            r#"{env="shop/dev",service="web",release="",class="5xx",fault="upstream",by="gateway"}"#,
            1.0,
        ),
    ] {
        assert_eq!(
            all.get(&format!("ward_requests_total{name}")),
            Some(&value),
            "{name} in {all:#?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_the_rules_of_http2_has_a_line_and_one_that_is_dropped_has_none() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = http2(world.http).await;
    body(client.send_request(get2("/good")).await.unwrap()).await;
    drop(client);
    drop(TcpStream::connect(world.http).await.unwrap());
    of_path(&world, "/good").await;
    // Settings, then data on the connection itself (RFC 9113 section 6.1).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frames = [
        &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
        &[0, 0, 1, 0, 0, 0, 0, 0, 0, b'x'],
    ]
    .concat();
    raw(world.http, &[&preface[..], &frames].concat()).await;
    let broken = line(&world, |line| line.path.is_empty()).await;
    assert_eq!(
        (broken.status, broken.fault.as_deref()),
        (None, Some("client"))
    );
    assert_eq!(
        broken.reason.as_deref(),
        Some("The connection broke the rules of HTTP/2.")
    );
}

#[tokio::test]
async fn clients_that_go_away_and_instances_that_break_off() {
    let (mut world, app) = World::serving(Start::Usual).await;
    let broken = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
            .await;
    })
    .await;
    world.instance("web-r2-2", broken.address);

    let mut client = http1(world.http).await;
    let waiting = client.send_request(get("/wait"));
    let _ = tokio::time::timeout(Duration::from_millis(100), waiting).await;
    drop(client);
    let gone = of_path(&world, "/wait").await;
    assert_eq!((gone.status, gone.fault.as_deref()), (None, Some("client")));
    assert_eq!(gone.instance.unwrap().as_str(), "web-r1-1");

    let mut answer = fetch(world.http, get("/endless")).await.into_body();
    piece(&mut answer).await.unwrap();
    drop(answer);
    let left = of_path(&world, "/endless").await;
    assert_eq!(
        (left.status, left.fault.as_deref()),
        (Some(200), Some("client"))
    );
    assert!(left.bytes_out >= 16_384, "{}", left.bytes_out);

    let mut client = http2(world.http).await;
    let mut answer = client
        .send_request(get2("/events"))
        .await
        .unwrap()
        .into_body();
    piece(&mut answer).await.unwrap();
    drop(answer);
    let events = of_path(&world, "/events").await;
    assert_eq!(
        (events.status, events.fault.as_deref()),
        (Some(200), Some("client"))
    );

    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let head = b"POST /count HTTP/1.1\r\nhost: shop.localhost\r\ncontent-length: 9\r\n\r\nhalf";
    stream.write_all(head).await.unwrap();
    eventually("the instance has the half", async || {
        app.seen.body_bytes() >= 4
    })
    .await;
    drop(stream);
    let short = of_path(&world, "/count").await;
    assert_eq!(
        (short.fault.as_deref(), short.bytes_in),
        (Some("client"), 4)
    );

    world.route(&["web-r2-2"]).await;
    let response = fetch(world.http, get("/half")).await;
    assert!(response.into_body().collect().await.is_err());
    let half = of_path(&world, "/half").await;
    assert_eq!(
        (half.status, half.fault.as_deref()),
        (Some(200), Some("upstream"))
    );
    assert_eq!((half.bytes_out, half.release), (4, Some(ReleaseId(2))));
    let lines = lines(&world);
    assert!(lines.iter().all(|line| !line.path.is_empty()), "{lines:#?}");
}

#[tokio::test]
async fn what_is_tried_again_says_so() {
    let (mut world, app) = World::serving(Start::Usual).await;
    let dead = App::raw(|stream, _| async move { drop(stream) }).await;
    world.instance("web-r1-2", dead.address);
    world.route(&["web-r1-2"]).await;
    assert_eq!(fetch(world.http, get("/dead")).await.status(), 502);
    let failed = of_path(&world, "/dead").await;
    assert_eq!(
        failed.reason.as_deref(),
        Some("The application broke off before it answered.")
    );
    assert_eq!(failed.instance.unwrap().as_str(), "web-r1-2");
    assert!(failed.retries > 0, "it was not tried again");
    world.route(&["web-r1-1"]).await;
    let before = app.seen.requests();
    assert_eq!(fetch(world.http, get("/alive")).await.status(), 200);
    assert_eq!(
        (app.seen.requests(), of_path(&world, "/alive").await.retries),
        (before + 1, 0)
    );
    let all = metrics(address(&world)).await;
    let name = r#"ward_request_retries_total{env="shop/dev",service="web",release="r1"}"#;
    assert_eq!(all[name], f64::from(failed.retries));
}

#[tokio::test]
async fn an_upgraded_connection_has_its_line_at_its_end() {
    let (world, _app) = World::serving(Start::Usual).await;
    let stream = TcpStream::connect(world.http).await.unwrap();
    let client = tokio_tungstenite::client_async("ws://shop.localhost/ws", stream).await;
    let (mut socket, _) = client.unwrap();
    for _ in 0..3 {
        socket.send(Message::text("hello")).await.unwrap();
        socket.next().await.unwrap().unwrap();
    }
    let name = r#"ward_connections_open{entry="http",protocol="upgraded"}"#;
    assert_eq!(metrics(address(&world)).await[name], 1.0);
    assert!(lines(&world).iter().all(|line| line.path != "/ws"));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let line = of_path(&world, "/ws").await;
    assert_eq!((line.status, line.fault.as_deref()), (Some(101), None));
    // A frame's head is two bytes, and four more for a client's mask.
    assert!(
        line.bytes_in >= 3 * 11 && line.bytes_out >= 3 * 7,
        "{line:?}"
    );
    assert_eq!(metrics(address(&world)).await[name], 0.0);
}

#[tokio::test]
async fn links_say_who_asked_and_tls_which_version() {
    let (world, _app) = World::serving(Start::Usual).await;
    let (stream, _) = handed_over(&world, service("web")).await;
    body(
        http1_over(stream)
            .await
            .send_request(get("/linked"))
            .await
            .unwrap(),
    )
    .await;
    let linked = of_path(&world, "/linked").await;
    assert_eq!((linked.entry.as_str(), linked.client), ("link", None));
    assert_eq!(linked.from.unwrap().as_str(), "api-r1-9");

    let config = Arc::new(tls::trusting(&world, &[&rustls::version::TLS13]));
    let stream = tls::connect(&config, world.https, "shop.localhost")
        .await
        .unwrap();
    body(
        http1_over(stream)
            .await
            .send_request(get("/secret"))
            .await
            .unwrap(),
    )
    .await;
    let secret = of_path(&world, "/secret").await;
    assert_eq!(
        (secret.entry.as_str(), secret.tls.as_deref()),
        ("https", Some("TLSv1.3"))
    );
    raw(world.https, b"GET / HTTP/1.1\r\n\r\n").await;
    // The client may see the end before it is counted.
    eventually("both handshakes are counted", async || {
        let all = metrics(address(&world)).await;
        let of = |result| all[&format!("ward_tls_handshakes_total{{result=\"{result}\"}}")];
        (of("done"), of("failed")) == (1.0, 1.0)
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_loses_lines_and_nothing_else() {
    let (world, _app) = World::serving(Start::Usual).await;
    body(fetch(world.http, get("/before")).await).await;
    of_path(&world, "/before").await;
    let path = world.home.path().join("gateway/access.log");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    for _ in 0..20 {
        assert_eq!(fetch(world.http, get("/during")).await.status(), 200);
    }
    eventually("the lines that are lost are counted", async || {
        metrics(address(&world)).await["ward_access_log_lines_dropped_total"] == 20.0
    })
    .await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(fetch(world.http, get("/after")).await.status(), 200);
    of_path(&world, "/after").await;
}

#[tokio::test]
async fn a_successor_answers_at_the_same_address_and_no_line_is_lost() {
    let (mut world, _app) = World::serving(Start::Usual).await;
    let asking = {
        let address = world.http;
        tokio::spawn(async move {
            let mut asked = 0;
            let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
            while tokio::time::Instant::now() < deadline {
                let path = format!("/asked/{asked}");
                assert_eq!(fetch(address, get(&path)).await.status(), 200);
                asked += 1;
            }
            asked
        })
    };
    assert!(
        metrics(address(&world))
            .await
            .contains_key("ward_routing_table_generation")
    );
    let mut elder = world.succeed().await;
    crate::world::exit_status(&mut elder).await;
    let asked = asking.await.unwrap();
    assert!(
        metrics(address(&world))
            .await
            .contains_key("ward_routing_table_generation")
    );
    // One with nothing under way may be gone before its answer is out.
    let _ = world.control.quit(Millis::secs(1)).await;
    crate::world::exit_status(&mut world.child).await;
    let lines = lines(&world);
    for number in 0..asked {
        let path = format!("/asked/{number}");
        assert_eq!(
            lines.iter().filter(|line| line.path == path).count(),
            1,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_operators_address_tells_and_does_nothing() {
    let (world, _app) = World::serving(Start::Usual).await;
    let answered = |method: Method, path: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "a");
        fetch(address(&world), request.body(empty()).unwrap())
    };
    assert_eq!(answered(Method::POST, "/metrics").await.status(), 405);
    assert_eq!(answered(Method::GET, "/else").await.status(), 404);
    assert_eq!(answered(Method::HEAD, "/metrics").await.status(), 200);
    // Nor is it to be had where clients ask.
    assert_eq!(answered(Method::GET, "/").await.status(), 200);
    let request = Request::get("/metrics")
        .header("host", "127.0.0.1")
        .body(empty());
    assert_eq!(fetch(world.http, request.unwrap()).await.status(), 404);
}
