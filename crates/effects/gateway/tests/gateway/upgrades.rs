//! Connections whose protocol is switched.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use ward_types::id::InstanceId;

use crate::app::App;
use crate::clients::{fetch, get, raw};
use crate::world::{World, env, eventually};

async fn connect(world: &World) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(world.http).await.unwrap();
    let client = tokio_tungstenite::client_async("ws://shop.localhost/ws", stream).await;
    let (socket, response) = client.unwrap();
    assert_eq!(response.headers()["ward-instance"], "web-r1-1");
    socket
}

async fn echo(socket: &mut WebSocketStream<TcpStream>, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
}

#[tokio::test]
async fn websockets_pass_and_are_cut_with_a_reason() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut socket = connect(&world).await;
    echo(&mut socket, Message::text("hello")).await;
    echo(&mut socket, Message::binary(vec![9; 300_000])).await;
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.requests, traffic.upgraded), (0, 1));

    world.route(&[]).await;
    echo(&mut socket, Message::text("still here")).await;
    let id = InstanceId::parse("web-r1-1").unwrap();
    world.control.cut(env(), id).await.unwrap();
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("no close frame came");
    };
    assert_eq!(
        (close.code, close.reason.as_str()),
        (CloseCode::Restart, "service restart")
    );
    assert!(socket.next().await.is_none());
    eventually("the instance is free", async || {
        world.traffic("web-r1-1").await.upgraded == 0
    })
    .await;
}

#[tokio::test]
async fn a_websocket_ends_from_either_side() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut socket = connect(&world).await;
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(connect(&world).await);
    eventually("the instance is free", async || {
        world.traffic("web-r1-1").await.upgraded == 0
    })
    .await;
}

#[tokio::test]
async fn quitting_says_goodbye_to_websockets() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut socket = connect(&world).await;
    let waiting = tokio::spawn(async move { socket.next().await });
    assert_eq!(world.quit(ward_types::time::Millis(100)).await, 0);
    let message = waiting.await.unwrap().unwrap().unwrap();
    assert!(matches!(message, Message::Close(Some(frame)) if frame.code == CloseCode::Restart));
}

/// Switches to a protocol of its own: each side may close its half.
async fn peculiar(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.contains("upgrade: peculiar/1"), "{head}");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: peculiar/1\r\n\r\nearly ";
    stream.write_all(switch.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    stream.write_all(b"you said ").await.unwrap();
    stream.write_all(&said).await.unwrap();
}

#[tokio::test]
async fn any_protocol_passes_and_half_closed_connections_work() {
    let app = App::raw(|stream, _| peculiar(stream)).await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\nUpgrade: peculiar/1\r\n\r\n";
    // What follows the head at once belongs to the new protocol.
    stream
        .write_all(format!("{head}GET / HTTP/1.1").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(
        answer.ends_with("early you said GET / HTTP/1.1"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_an_ordinary_request() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let head = "GET /head HTTP/1.1\r\nHost: shop.localhost\r\n\
        Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let answer = raw(world.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        !answer.contains("h2c") && !answer.contains("http2-settings"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_answer() {
    let app = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let _ = stream.write_all(switch).await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let response = fetch(world.http, get("/")).await;
    assert_eq!(response.status(), 502);
}
