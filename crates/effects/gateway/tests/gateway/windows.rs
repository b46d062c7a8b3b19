//! Clients of HTTP/2 that open no window for what they ask for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ward_types::table::Refusal;

use crate::memory::own_memory;
use crate::overload::{PREFACE, frame, refused};
use crate::world::{Start, World, eventually};

/// Connections that take none of their answers, and how many each has of those.
const CLOSED: u32 = 20;
const KEPT: u32 = 90;

/// A client that opens no window but where it says so.
struct Closed(TcpStream);

impl Closed {
    async fn new(world: &World) -> Self {
        let mut stream = TcpStream::connect(world.http).await.unwrap();
        let closed = frame(0x4, 0, b"\0\x04\0\0\0\0");
        let whole = frame(0x8, 0, b"\x7f\0\0\0");
        let hello = [PREFACE, &closed, &whole].concat();
        stream.write_all(&hello).await.unwrap();
        Self(stream)
    }

    /// Asks for `path`, of which it takes so much, and reads until there is a frame of this kind.
    async fn ask(&mut self, stream: u32, path: &str, window: u32, until: u8) {
        let length = u8::try_from(path.len()).unwrap();
        let block = [b"\x82\x86\x04", &[length][..], path.as_bytes()].concat();
        let mut head = frame(
            0x1,
            stream,
            &[&block, &b"\x01\x0eshop.localhost"[..]].concat(),
        );
        head[4] = 0x5;
        if window > 0 {
            head.extend(frame(0x8, stream, &window.to_be_bytes()));
        }
        self.0.write_all(&head).await.unwrap();
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; size as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            // Of data, the last.
            if of == stream && head[3] == until && (until != 0 || head[4] & 1 == 1) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn answers_that_are_not_taken_hold_no_more_than_their_bytes() {
    let (world, _app) = World::serving(Start::Usual).await;
    let pid = world.child.id();
    let mut all = Vec::new();
    let mut before = 0;
    for _ in 0..CLOSED {
        let mut client = Closed::new(&world).await;
        for number in 0..KEPT {
            let stream = 1 + 4 * number;
            client.ask(stream, "/", 0, 0x1).await;
            // What else comes meanwhile is taken.
            client.ask(stream + 2, "/page", 1 << 16, 0x0).await;
        }
        all.push(client);
        if before == 0 {
            before = own_memory(pid);
        }
    }
    let each = (own_memory(pid) - before) / u64::from((CLOSED - 1) * KEPT);
    assert!(each < 16 << 10, "{each} bytes for each answer of three");
}

#[tokio::test]
async fn a_client_that_opens_no_window_for_a_short_answer_is_cut() {
    let (world, _app) = World::serving(Start::Tight).await;
    let mut client = Closed::new(&world).await;
    client.ask(1, "/", 0, 0x1).await;
    client.ask(3, "/", 3, 0x0).await;
    assert_eq!(refused(&world, Refusal::SlowReader).await, 0);
    eventually("it is cut", async || {
        refused(&world, Refusal::SlowReader).await == 1
    })
    .await;
}
