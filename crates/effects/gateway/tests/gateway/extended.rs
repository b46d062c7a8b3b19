//! Websockets over HTTP/2: a stream of a connection that carries others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use ward_types::balance::Affinity;
use ward_types::id::InstanceId;
use ward_types::time::Millis;

use crate::accounts::of_path;
use crate::app::{App, Payload, Seen};
use crate::clients::{body, empty, get2, http2, http2_over};
use crate::tls;
use crate::world::{Start, World, env, eventually};

type Client = SendRequest<Payload>;
type Socket = WebSocketStream<TokioIo<Upgraded>>;

fn asking(protocol: &'static str, path: &str) -> Request<Payload> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://shop.localhost{path}"))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "of no meaning here");
    request.body(empty()).unwrap()
}

/// A connection whose client knows already what the gateway announces.
async fn client(world: &World) -> Client {
    let mut client = http2(world.http).await;
    let first = client.send_request(get2("/")).await.unwrap();
    assert_eq!(first.status(), 200);
    client
}

async fn ask(client: &mut Client, path: &str) -> Response<Incoming> {
    let request = asking("websocket", path);
    client.send_request(request).await.unwrap()
}

async fn open(client: &mut Client) -> (Socket, HeaderMap) {
    let mut response = ask(client, "/ws").await;
    assert_eq!(response.status(), 200);
    let stream = hyper::upgrade::on(&mut response).await.unwrap();
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None);
    (socket.await, response.headers().clone())
}

async fn echo(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
}

async fn closed(socket: &mut Socket) -> CloseCode {
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("no close frame came");
    };
    assert!(socket.next().await.is_none());
    close.code
}

#[tokio::test]
async fn a_websocket_passes_beside_requests_and_is_cut_with_a_reason() {
    let (mut world, _app) = World::serving(Start::Usual).await;
    let mut client = client(&world).await;
    let (mut socket, told) = open(&mut client).await;
    assert_eq!(told["ward-instance"], "web-r1-1");
    for gone in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!told.contains_key(gone), "{told:?}");
    }
    echo(&mut socket, Message::text("hello")).await;
    echo(&mut socket, Message::binary(vec![9; 3_000_000])).await;
    let other = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(other).await, "one");
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.requests, traffic.upgraded), (0, 1));

    world.route(&[]).await;
    echo(&mut socket, Message::text("still here")).await;
    let id = InstanceId::parse("web-r1-1").unwrap();
    world.control.cut(env(), id).await.unwrap();
    assert_eq!(closed(&mut socket).await, CloseCode::Restart);
    let line = of_path(&world, "/ws").await;
    assert_eq!(
        (line.method.as_str(), line.protocol.as_str(), line.status),
        ("CONNECT", "HTTP/2.0", Some(200))
    );
    assert_eq!(line.instance.unwrap().as_str(), "web-r1-1");
    assert!(line.bytes_in > 3_000_000 && line.bytes_out > 3_000_000);
    assert_eq!(world.traffic("web-r1-1").await.upgraded, 0);
    // The connection is still good.
    world.route(&["web-r1-1"]).await;
    let other = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(other).await, "one");
}

#[tokio::test]
async fn instances_are_asked_as_over_http1_and_the_client_hears_what_they_say() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("get /chat?room=1 http/1.1\r\n"), "{head}");
        for line in [
            "host: shop.localhost",
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-protocol: chat, other",
            "origin: http://shop.localhost",
            "x-forwarded-for: 127.0.0.1",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
        }
        assert!(!head.contains("of no meaning") && !head.contains("content-length"));
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let said = "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(said.as_bytes()).await.unwrap();
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut client = http2(world.http).await;
    // Any answer will do to have heard the announcement.
    let other = Request::get("http://nobody.localhost/").body(empty());
    let other = client.send_request(other.unwrap()).await.unwrap();
    assert_eq!(other.status(), 404);
    let mut request = asking("websocket", "/chat?room=1");
    let headers = request.headers_mut();
    let protocols = "chat, other".parse().unwrap();
    headers.insert("sec-websocket-protocol", protocols);
    headers.insert("origin", "http://shop.localhost".parse().unwrap());
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["x-why"], "because");
    assert_eq!(body(response).await, "no");
    assert_eq!(app.seen.requests(), 1);
}

#[tokio::test]
async fn what_is_no_websocket_is_not_opened() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = client(&world).await;
    assert_eq!(ask(&mut client, "/").await.status(), 400);
    assert_eq!(world.traffic("web-r1-1").await.failed, 0);
    let other = asking("connect-udp", "/ws");
    let other = client.send_request(other).await.unwrap();
    assert_eq!(other.status(), 501);
    let plain = Request::connect("shop.localhost:80").body(empty()).unwrap();
    let plain = client.send_request(plain).await.unwrap();
    assert_eq!(plain.status(), 405);
    let (mut socket, _) = open(&mut client).await;
    echo(&mut socket, Message::text("and yet")).await;
}

#[tokio::test]
async fn a_switch_with_another_key_or_to_another_protocol_is_a_bad_answer() {
    for (upgrade, right) in [("websocket", false), ("other", true)] {
        let app = App::raw(move |mut stream: TcpStream, _| async move {
            let mut head = [0; 4096];
            let Ok(length) = stream.read(&mut head).await else {
                return;
            };
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let key = head
                .lines()
                .find_map(|line| line.strip_prefix("sec-websocket-key: "));
            let key = key.filter(|_| right).unwrap_or("dGhlIHNhbXBsZSBub25jZQ==");
            let accept = derive_accept_key(key.as_bytes());
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            let _ = stream.write_all(switch.as_bytes()).await;
            let _ = stream.read(&mut [0; 16]).await;
        })
        .await;
        let mut world = World::new().await;
        world.instance("web-r1-1", app.address);
        world.route(&["web-r1-1"]).await;
        let mut client = http2(world.http).await;
        let other = Request::get("http://nobody.localhost/").body(empty());
        client.send_request(other.unwrap()).await.unwrap();
        let response = ask(&mut client, "/").await;
        assert_eq!(response.status(), 502, "{upgrade}");
        assert_eq!(world.traffic("web-r1-1").await.failed, 1);
    }
}

#[tokio::test]
async fn it_ends_from_either_side() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = client(&world).await;
    let (mut socket, _) = open(&mut client).await;
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    // Without a word: the stream is reset.
    drop(open(&mut client).await);
    eventually("the instance is free", async || {
        world.traffic("web-r1-1").await.upgraded == 0
    })
    .await;
    let other = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(other).await, "one");
}

#[tokio::test]
async fn an_instance_that_leaves_and_a_gateway_that_quits_say_goodbye() {
    let (mut world, _app) = World::serving(Start::Usual).await;
    let other = App::http("two").await;
    world.instance("web-r2-2", other.address);
    world.long_drain = Some(Millis(0));
    world.route(&["web-r1-1"]).await;
    let mut client = client(&world).await;
    let (mut socket, _) = open(&mut client).await;
    world.route(&["web-r2-2"]).await;
    assert_eq!(closed(&mut socket).await, CloseCode::Restart);
    let (mut socket, told) = open(&mut client).await;
    assert_eq!(told["ward-instance"], "web-r2-2");
    let waiting = tokio::spawn(async move { closed(&mut socket).await });
    assert_eq!(world.quit(Millis(2000)).await, 0);
    assert_eq!(waiting.await.unwrap(), CloseCode::Restart);
}

#[tokio::test]
async fn a_connection_with_a_silent_websocket_is_not_idle() {
    let (world, _app) = World::serving(Start::ShortLimits).await;
    let mut client = client(&world).await;
    let (mut socket, _) = open(&mut client).await;
    // Its connections are closed after five seconds without use.
    tokio::time::sleep(Duration::from_secs(7)).await;
    echo(&mut socket, Message::text("still here")).await;
    // Nor was its client told to go elsewhere.
    let other = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(other).await, "one");
}

#[tokio::test]
async fn thousands_of_small_messages_are_no_flood() {
    let (world, _app) = World::serving(Start::Usual).await;
    let mut client = client(&world).await;
    let (mut socket, _) = open(&mut client).await;
    for number in 0..6_000 {
        echo(&mut socket, Message::text(number.to_string())).await;
    }
    echo(&mut socket, Message::binary(vec![7; 15_000_000])).await;
}

#[tokio::test]
async fn over_tls_and_back_to_the_same_instance() {
    let (mut world, _app) = World::serving(Start::Usual).await;
    let other = App::http("two").await;
    world.instance("web-r1-2", other.address);
    world.balance.affinity = Some(Affinity {
        cookie: "instance".to_owned(),
    });
    world.route(&["web-r1-1", "web-r1-2"]).await;
    let mut config = tls::trusting(&world, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tls::connect(&Arc::new(config), world.https, "shop.localhost").await;
    let mut client = http2_over(stream.unwrap()).await;
    let mut first = get2("/");
    *first.uri_mut() = "https://shop.localhost/".parse().unwrap();
    let first = client.send_request(first).await.unwrap();
    let instance = first.headers()["ward-instance"].clone();
    let cookie = first.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().parse().unwrap();
    for _ in 0..6 {
        let mut request = asking("websocket", "/ws");
        *request.uri_mut() = "https://shop.localhost/ws".parse().unwrap();
        request
            .headers_mut()
            .insert("cookie", Clone::clone(&cookie));
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["ward-instance"], instance);
    }
}
