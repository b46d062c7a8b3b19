//! What all clients together may make the gateway hold.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use ward_types::table::Refusal;

use crate::app::App;
use crate::clients::{fetch, get};
use crate::overload::{PREFACE, frame, refused};
use crate::world::{MEAGER, Start, World, eventually};

/// Connections of an attack, each with many streams.
const HOARDERS: u32 = 20;
const STREAMS: u32 = 50;
/// Beside each of them, such that ask by HTTP/1.1 and take nothing.
const SIMPLE: u32 = 15;
/// Asks for what it does not take.
async fn ask(world: &World, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(world.http).await.unwrap();
    // It may be refused.
    let _ = stream.write_all(bytes).await;
    stream
}

/// A client that opens its windows as far as they go, asks for much, and takes nothing; and some simple ones.
async fn hoard(world: &World) -> Vec<TcpStream> {
    let window = frame(0x4, 0, b"\0\x04\x7f\xff\xff\xff");
    let whole = frame(0x8, 0, b"\x7f\0\0\0");
    let mut bytes = [PREFACE, &window, &whole].concat();
    for number in 0..STREAMS {
        let block = b"\x82\x86\x04\x08/endless\x01\x0eshop.localhost";
        let mut head = frame(0x1, 1 + 2 * number, block);
        head[4] = 0x5;
        bytes.extend(head);
    }
    let mut all = vec![ask(world, &bytes).await];
    for _ in 0..SIMPLE {
        let simple = b"GET /endless HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
        all.push(ask(world, simple).await);
    }
    all
}

/// Bytes of memory that a process has for itself.
pub(crate) fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes: u64 = line
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    kibibytes * 1024
}

/// Each stream is a connection to the instance.
fn allow_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn clients_that_hold_too_much_in_all_are_cut_and_the_others_served() {
    allow_connections();
    let app = App::http("one").await;
    let mut world = World::start(Start::Meager).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let (pid, mut most) = (world.child.id(), 0);
    let mut hoards = Vec::new();
    for _ in 0..HOARDERS {
        hoards.push(hoard(&world).await);
    }
    eventually("somebody is cut", async || {
        most = own_memory(pid).max(most);
        refused(&world, Refusal::Memory).await > 0
    })
    .await;
    // Those that are left hold on to what they have, and come again.
    for _ in 0..HOARDERS {
        hoards.push(hoard(&world).await);
        most = own_memory(pid).max(most);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("whoever asks is answered", async || {
        most = own_memory(pid).max(most);
        let answers = async {
            for _ in 0..20 {
                if fetch(world.http, get("/")).await.status() != 200 {
                    return false;
                }
            }
            true
        };
        // A connection that is closed at once has no answer.
        let answers = std::panic::AssertUnwindSafe(answers);
        let answered = futures_util::FutureExt::catch_unwind(answers).await;
        answered.unwrap_or(false) && own_memory(pid) <= MEAGER
    })
    .await;
    assert!(most < 2 * MEAGER, "{} MiB", most >> 20);
    let log = world.home.path().join("gateway/access.log");
    eventually("the log says why", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("too little memory, and the connection held much of it")
    })
    .await;
    drop(hoards);
}
