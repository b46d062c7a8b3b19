//! Long connections are told to go away in their protocol's own way, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use ward_types::time::Millis;

use crate::app::App;
use crate::clients::{body, fetch, get, get2, http1, http2, piece};
use crate::world::{World, eventually, exit_status};

type Socket = WebSocketStream<TcpStream>;

async fn connect(world: &World) -> Socket {
    let stream = TcpStream::connect(world.http).await.unwrap();
    let client = tokio_tungstenite::client_async("ws://shop.localhost/ws", stream).await;
    client.unwrap().0
}

async fn many(world: &World, count: usize) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(connect(world).await);
    }
    sockets
}

/// The code of the close frame that ends a websocket, and when it came.
async fn closed(mut socket: Socket) -> (CloseCode, Instant) {
    while let Some(message) = socket.next().await {
        if let Message::Close(Some(close)) = message.unwrap() {
            let at = Instant::now();
            while socket.next().await.is_some() {}
            return (close.code, at);
        }
    }
    panic!("it ended without a close frame");
}

/// Two applications, as `web-r1-1`, which is in rotation, and `web-r2-2`.
async fn two(long_drain: Millis) -> (World, App, App) {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::new().await;
    world.long_drain = Some(long_drain);
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1"]).await;
    (world, old, new)
}

#[tokio::test]
async fn fifty_websockets_are_told_one_after_the_other_over_the_budget() {
    let budget = Duration::from_secs(5);
    let (mut world, _old, _new) = two(Millis(5000)).await;
    let sockets = many(&world, 50).await;
    assert_eq!(world.traffic("web-r1-1").await.upgraded, 50);
    let began = Instant::now();
    world.route(&["web-r2-2"]).await;
    let all = sockets
        .into_iter()
        .map(|socket| tokio::spawn(closed(socket)));
    let all: Vec<_> = all.collect();
    let mut ends = Vec::new();
    for one in all {
        ends.push(one.await.unwrap());
    }
    assert!(ends.iter().all(|(code, _)| *code == CloseCode::Restart));
    // The oldest first, as far as fifty tasks of a test can tell.
    let mut by_time: Vec<usize> = (0..50).collect();
    by_time.sort_by_key(|index| ends[*index].1);
    for (rank, index) in by_time.iter().enumerate() {
        assert!(rank.abs_diff(*index) <= 10, "{by_time:?}");
    }
    let mut times: Vec<Duration> = ends.iter().map(|(_, at)| *at - began).collect();
    times.sort();
    let within = |from: Duration| {
        let to = from + budget / 10;
        times.iter().filter(|at| (from..to).contains(*at)).count()
    };
    let most = times.iter().map(|at| within(*at)).max().unwrap();
    assert!(
        most <= 25,
        "{most} of 50 in a tenth of the budget: {times:?}"
    );
    assert!(times[49] >= budget * 9 / 10, "{times:?}");
    eventually("the instance is free", async || {
        world.traffic("web-r1-1").await.upgraded == 0
    })
    .await;
}

#[tokio::test]
async fn an_instance_brought_back_keeps_the_connections_that_are_left() {
    let (mut world, _old, _new) = two(Millis(3000)).await;
    let sockets = many(&world, 40).await;
    world.route(&["web-r1-1", "web-r2-2"]).await;
    let other = loop {
        let socket = connect(&world).await;
        if world.traffic("web-r2-2").await.upgraded == 1 {
            break socket;
        }
    };
    world.route(&["web-r2-2"]).await;
    eventually("some are told", async || {
        world.traffic("web-r1-1").await.upgraded < 40
    })
    .await;
    // The other one leaves as it comes back: by the end of that one's budget its own would be over, too.
    world.route(&["web-r1-1"]).await;
    let told = closed(other);
    assert_eq!(told.await.0, CloseCode::Restart);
    let mut open = 0;
    for mut socket in sockets {
        let said = socket.send(Message::text("still here?")).await.is_ok();
        let heard = socket.next().await;
        open += usize::from(said && matches!(heard, Some(Ok(Message::Text(_)))));
    }
    assert!((20..40).contains(&open), "{open} of 40 are left");
}

#[tokio::test]
async fn without_a_budget_nobody_is_told() {
    let (mut world, _old, _new) = two(Millis(0)).await;
    world.long_drain = None;
    world.route(&["web-r1-1"]).await;
    let mut kept = connect(&world).await;
    world.long_drain = Some(Millis(0));
    let mut table = world.table(&["web-r1-1", "web-r2-2"]);
    Arc::make_mut(&mut table.pools[0]).endpoints[0].long_drain = None;
    world.control.apply(table).await.unwrap();
    let told = loop {
        let socket = connect(&world).await;
        if world.traffic("web-r2-2").await.upgraded == 1 {
            break socket;
        }
    };
    world.route(&[]).await;
    assert_eq!(closed(told).await.0, CloseCode::Restart);
    kept.send(Message::text("here")).await.unwrap();
    assert_eq!(kept.next().await.unwrap().unwrap(), Message::text("here"));
}

/// Reads the head of a request or an answer.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// One frame: its first byte and its payload, unmasked. `None` at the end between two frames.
async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.unwrap();
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap(),
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await.unwrap();
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some((first, payload))
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![first, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const ASK: &str = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// Writes one message of endless fragments of different lengths, in pieces that end anywhere.
async fn fragments(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut first = 0x02;
    for length in (0..).map(|n: usize| n * 7919 % 200_000) {
        let mut frame = vec![first, 127];
        frame.extend((length as u64).to_be_bytes());
        frame.resize(frame.len() + length, 0x88);
        for piece in frame.chunks(30_011) {
            stream.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        first = 0;
    }
    Ok(())
}

/// A websocket server that sends fragments, and reports what it hears, frame by frame.
async fn talkative() -> (App, mpsc::UnboundedReceiver<(u8, Vec<u8>)>) {
    let (heard, hears) = mpsc::unbounded_channel();
    let app = App::raw(move |stream, _| {
        let heard = heard.clone();
        async move {
            let (mut reader, mut writer) = stream.into_split();
            head(&mut reader).await;
            writer.write_all(SWITCH.as_bytes()).await.unwrap();
            let hearing = async {
                while let Some(frame) = frame(&mut reader).await {
                    let _ = heard.send(frame);
                }
            };
            tokio::join!(hearing, fragments(&mut writer)).1.unwrap_err();
        }
    });
    (app.await, hears)
}

/// What a client reads of whole fragments until a close frame, after which nothing comes.
async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> (usize, Vec<u8>) {
    let mut fragments = 0;
    loop {
        let (first, payload) = frame(stream).await.expect("it ended without a close frame");
        if first == 0x88 {
            return (fragments, payload);
        }
        assert_eq!(first, if fragments == 0 { 0x02 } else { 0 });
        assert_eq!(payload.len(), fragments * 7919 % 200_000);
        assert!(payload.iter().all(|byte| *byte == 0x88));
        fragments += 1;
    }
}

#[tokio::test]
async fn frames_are_whole_on_both_sides_of_a_websocket_that_is_told_in_the_middle_of_one() {
    let (app, mut hears) = talkative().await;
    let mut world = World::new().await;
    world.long_drain = Some(Millis(0));
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    for answers in [true, false] {
        let mut client = TcpStream::connect(world.http).await.unwrap();
        client.write_all(ASK.as_bytes()).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
        let (mut reader, mut writer) = client.into_split();
        // The second half of this is sent when the close frame has come.
        let said = masked(0x82, b"half and half");
        writer.write_all(&said[..10]).await.unwrap();
        for fragment in 0..40 {
            let (_, payload) = frame(&mut reader).await.unwrap();
            assert_eq!(payload.len(), fragment * 7919 % 200_000);
        }
        world.route(&[]).await;
        let mut rest = Vec::new();
        let close = loop {
            let (first, payload) = frame(&mut reader).await.unwrap();
            match first {
                0x88 => break payload,
                _ => rest.push(payload.len()),
            }
        };
        for (index, length) in rest.into_iter().enumerate() {
            assert_eq!(length, (index + 40) * 7919 % 200_000);
        }
        assert_eq!(close, b"\x03\xf4service restart");
        writer.write_all(&said[10..]).await.unwrap();
        if answers {
            writer.write_all(&masked(0x88, &close)).await.unwrap();
        }
        let mut more = Vec::new();
        reader.read_to_end(&mut more).await.unwrap();
        assert_eq!(more, b"", "nothing follows a close frame");
        assert_eq!(
            hears.recv().await.unwrap(),
            (0x82, b"half and half".to_vec())
        );
        assert_eq!(hears.recv().await.unwrap(), (0x88, close));
        eventually("the instance is free", async || {
            world.traffic("web-r1-1").await.upgraded == 0
        })
        .await;
        world.route(&["web-r1-1"]).await;
    }
}

#[tokio::test]
async fn the_frame_that_is_under_way_comes_before_the_close_frame() {
    let old = App::raw(|mut stream, seen| async move {
        head(&mut stream).await;
        stream.write_all(SWITCH.as_bytes()).await.unwrap();
        stream.write_all(b"\x82\x08half").await.unwrap();
        seen.release.notified().await;
        stream.write_all(b"rest\x82\x05never").await.unwrap();
        std::future::pending().await
    })
    .await;
    let other = App::http("other").await;
    let mut world = World::new().await;
    world.long_drain = Some(Millis(0));
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", other.address);
    world.route(&["web-r1-1"]).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(ASK.as_bytes()).await.unwrap();
    head(&mut client).await;
    let mut half = [0; 6];
    client.read_exact(&mut half).await.unwrap();
    world.route(&["web-r2-2"]).await;
    let witness = connect(&world).await;
    world.route(&[]).await;
    // This one was told after the other.
    assert_eq!(closed(witness).await.0, CloseCode::Restart);
    old.seen.release.notify_one();
    let mut rest = [0; 4];
    client.read_exact(&mut rest).await.unwrap();
    assert_eq!((&half[2..], &rest), (&b"half"[..], b"rest"));
    let (first, close) = frame(&mut client).await.unwrap();
    assert_eq!((first, &close[..]), (0x88, &b"\x03\xf4service restart"[..]));
}

#[tokio::test]
async fn a_cut_leaves_frames_whole_too() {
    let (app, _hears) = talkative().await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(ASK.as_bytes()).await.unwrap();
    head(&mut client).await;
    world.route(&[]).await;
    let id = world.endpoint("web-r1-1").instance;
    world.control.cut(crate::world::env(), id).await.unwrap();
    let (_, close) = read_to_close(&mut client).await;
    assert_eq!(close, b"\x03\xf4service restart");
}

/// Answers with an event stream of one event and a half, and with the rest when it is released.
async fn half_an_event() -> App {
    App::raw(|mut stream, seen| async move {
        head(&mut stream).await;
        let start = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: ";
        stream.write_all(start.as_bytes()).await.unwrap();
        seen.release.notified().await;
        let _ = stream.write_all(b"2\n\ndata: 3\n\n").await;
        std::future::pending().await
    })
    .await
}

async fn read_until(body: &mut Incoming, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push_str(std::str::from_utf8(&piece(body).await.unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn events_end_between_two_and_the_next_connection_reaches_the_new_instance() {
    let (old, new) = (half_an_event().await, App::http("new").await);
    let mut world = World::new().await;
    world.long_drain = Some(Millis(0));
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1", "web-r2-2"]).await;
    let mut client = http1(world.http).await;
    let (mut events, mut younger) = (None, None);
    while events.is_none() || younger.is_none() {
        let mut sender = http1(world.http).await;
        let answer = sender.send_request(get("/events")).await.unwrap();
        match answer.headers()["ward-release"].to_str().unwrap() {
            "r1" if events.is_none() => {
                events = Some(answer.into_body());
                client = sender;
            }
            "r2" => younger = Some(answer.into_body()),
            _ => {}
        }
    }
    let (mut events, mut younger) = (events.unwrap(), younger.unwrap());
    assert_eq!(read_until(&mut events, "data: ").await, "data: 1\n\ndata: ");
    read_until(&mut younger, "\n\n").await;
    world.route(&[]).await;
    // This one, which is between two events, has been told; so has the other.
    assert!(younger.frame().await.is_none());
    eventually("the other is free", async || {
        world.traffic("web-r2-2").await.upgraded == 0
    })
    .await;
    world.route(&["web-r2-2"]).await;
    old.seen.release.notify_waiters();
    // As if it were complete, and without the third event.
    let rest = events.collect().await.unwrap().to_bytes();
    assert_eq!(rest, "2\n\n");
    // What a client does then, on the same connection.
    client.ready().await.unwrap();
    let again = client.send_request(get("/events")).await.unwrap();
    assert_eq!(again.headers()["ward-release"], "r2");
}

#[tokio::test]
async fn an_event_that_does_not_end_is_not_waited_for_for_ever() {
    let old = half_an_event().await;
    let mut world = World::new().await;
    world.long_drain = Some(Millis(0));
    world.instance("web-r1-1", old.address);
    world.route(&["web-r1-1"]).await;
    let mut events = fetch(world.http, get("/events")).await.into_body();
    read_until(&mut events, "data: ").await;
    world.route(&[]).await;
    assert!(events.frame().await.is_none());
}

#[tokio::test]
async fn a_call_ends_between_two_messages_with_a_status_that_lets_it_be_tried_again() {
    let (mut world, _old, _new) = two(Millis(0)).await;
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    let request = Request::post("http://shop.localhost/grpc")
        .header("content-type", "application/grpc")
        .body(BodyExt::boxed(StreamBody::new(Box::pin(frames))))
        .unwrap();
    let mut client = http2(world.http).await;
    let mut answer = client.send_request(request).await.unwrap().into_body();
    let start = Bytes::from_static(b"\0\0\0\0\x03one\0\0\0\0\x03t");
    sender.send(start.clone()).await.unwrap();
    assert_eq!(piece(&mut answer).await.unwrap(), start);
    assert_eq!(world.traffic("web-r1-1").await.upgraded, 1);
    // Who waits for the table and for another that was told knows that this one was told as well.
    let mut events = fetch(world.http, get("/events")).await.into_body();
    read_until(&mut events, "\n\n").await;
    world.route(&["web-r2-2"]).await;
    assert!(events.frame().await.is_none());
    sender.send(Bytes::from_static(b"wo\0\0")).await.unwrap();
    assert_eq!(piece(&mut answer).await.unwrap(), "wo");
    let end = answer.frame().await.unwrap().unwrap();
    let trailers = end.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "14");
    assert!(trailers.contains_key("grpc-message"));
    // The client's connection goes on.
    let next = client.send_request(get2("/")).await.unwrap();
    assert_eq!(body(next).await, "new");
}

#[tokio::test]
async fn a_gateway_that_is_replaced_tells_its_long_connections_and_their_clients_to_go() {
    let (mut world, _old, _new) = two(Millis(300)).await;
    let socket = connect(&world).await;
    let mut plain = http1(world.http).await;
    let mut events = plain
        .send_request(get("/events"))
        .await
        .unwrap()
        .into_body();
    read_until(&mut events, "\n\n").await;
    let mut streams = http2(world.http).await;
    let mut shared = streams
        .send_request(get2("/events"))
        .await
        .unwrap()
        .into_body();
    read_until(&mut shared, "\n\n").await;
    let mut elder = world.succeed().await;
    assert_eq!(closed(socket).await.0, CloseCode::Restart);
    assert!(events.frame().await.is_none());
    assert_eq!(shared.collect().await.unwrap().to_bytes(), "");
    // Neither connection leads to the gateway before any more.
    eventually("the connections are closed", async || {
        plain.is_closed() && streams.is_closed()
    })
    .await;
    assert_eq!(exit_status(&mut elder).await, 0);
    let next = fetch(world.http, get("/events")).await;
    assert_eq!(next.headers()["ward-release"], "r1");
}
