//! Long bodies go through pipes: whole, to whom they belong, and no further than they go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::{App, Seen};
use crate::clients::{fetch, get, http1};
use crate::world::{World, eventually};

const SIZE: usize = 2_000_000;

/// What comes after a body's bytes.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Nothing,
    /// The connection closes where there should be as much again.
    HalfWay,
    /// An answer that nobody asked for.
    More,
}

/// Answers each request with a body of its own: so many bytes, all with the number of the request.
async fn numbered(end: End) -> App {
    App::raw(move |mut stream: TcpStream, seen: Arc<Seen>| async move {
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {
            let number = seen.requests.fetch_add(1, Ordering::SeqCst);
            let length = match end {
                End::HalfWay => SIZE * 2,
                End::Nothing | End::More => SIZE,
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let mut answer = head.into_bytes();
            answer.extend(vec![number as u8; SIZE]);
            if end == End::More {
                answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
            }
            if stream.write_all(&answer).await.is_err() || end == End::HalfWay {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn nobody_gets_what_another_client_left() {
    let app = numbered(End::Nothing).await;
    let world = World::around(&app).await;
    for round in 0..20_u8 {
        // It goes away while its body is on the way.
        let mut gone = TcpStream::connect(world.http).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
        gone.write_all(request).await.unwrap();
        let mut some = vec![0; 200_000];
        gone.read_exact(&mut some).await.unwrap();
        assert!(some.ends_with(&[round * 2; 1000]));
        drop(gone);
        let got = fetch(world.http, get("/")).await;
        let whole = got.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), SIZE);
        assert!(whole.iter().all(|byte| *byte == round * 2 + 1), "{round}");
    }
    eventually("none is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
}

#[tokio::test]
async fn what_stands_behind_a_long_body_is_no_answer() {
    let app = numbered(End::More).await;
    let world = World::around(&app).await;
    let mut client = http1(world.http).await;
    for number in 0..5 {
        let got = client.send_request(get("/")).await.unwrap();
        let whole = got.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), SIZE);
        assert!(whole.iter().all(|byte| *byte == number), "{number}");
    }
}

#[tokio::test]
async fn a_long_body_that_breaks_off_does_not_look_complete() {
    let app = numbered(End::HalfWay).await;
    let world = World::around(&app).await;
    for failed in 1..=3 {
        let got = fetch(world.http, get("/")).await;
        assert_eq!(got.status(), 200);
        assert!(got.into_body().collect().await.is_err());
        eventually("it counts as failed", async || {
            let traffic = world.traffic("web-r1-1").await;
            (traffic.failed, traffic.requests) == (failed, 0)
        })
        .await;
    }
}

#[tokio::test]
async fn who_takes_little_at_a_time_gets_all() {
    let app = numbered(End::Nothing).await;
    let world = World::around(&app).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(world.http).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let (mut got, mut some) = (Vec::new(), [0; 1500]);
    loop {
        match client.read(&mut some).await.unwrap() {
            0 => break,
            count => got.extend_from_slice(&some[..count]),
        }
    }
    assert_eq!(got.iter().filter(|byte| **byte == 0).count(), SIZE);
    assert!(got.ends_with(&[0; SIZE]));
}
