//! Long bodies of requests go through pipes too: whole, once, to whom they belong, and no further than they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpSocket, TcpStream};
use ward_types::guard::{Concurrency, Guard};
use ward_types::table::Refusal;
use ward_types::unit::ByteSize;

use crate::accounts::of_path;
use crate::app::{App, Seen};
use crate::clients::{body, fetch, get, raw, took_the_short_way};
use crate::links::{handed_over, service};
use crate::tls;
use crate::world::{Start, World, eventually};

const SIZE: usize = 3_000_000;

/// What tells a byte of a body from those around it.
fn pattern(seed: usize, size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (seed + at * 7 + at / 251) as u8)
        .collect()
}

fn head(path: &str, size: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {size}\r\n\r\n")
        .into_bytes()
}

/// Reads to the end of a head; nothing at the end of the connection.
async fn head_from(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(read).unwrap())
}

fn length(head: &str) -> usize {
    let mut lines = head.lines();
    let length = lines.find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    length.map_or(0, |length| length.parse().unwrap())
}

/// The body of an answer whose length is told.
async fn answer_from(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let head = head_from(stream).await.expect("an answer");
    let mut body = vec![0; length(&head)];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

async fn say(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

/// Gives each body back once it has all of it, and counts connections.
async fn mirror(connections: &Arc<AtomicUsize>) -> App {
    let connections = Arc::clone(connections);
    App::raw(move |mut stream: TcpStream, seen: Arc<Seen>| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(head) = head_from(&mut stream).await {
                let on_any_way = head.starts_with("POST /any ");
                assert!(on_any_way || took_the_short_way(&head), "{head}");
                let mut body = vec![0; length(&head)];
                if stream.read_exact(&mut body).await.is_err() {
                    seen.abandoned.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                seen.requests.fetch_add(1, Ordering::SeqCst);
                say(&mut stream, &body).await.unwrap();
            }
        }
    })
    .await
}

/// Several in a row, the next one right behind the last byte of the one before.
async fn converses<I: AsyncRead + AsyncWrite + Unpin>(stream: I, piece: usize) {
    let (mut read, mut write) = split(stream);
    let sends = async {
        let mut all = Vec::new();
        for seed in 0..3 {
            all.extend(head("/x", SIZE + seed));
            all.extend(pattern(seed, SIZE + seed));
            all.extend(head("/small", 9));
            all.extend_from_slice(b"unrelated");
        }
        for piece in all.chunks(piece) {
            write.write_all(piece).await.unwrap();
            write.flush().await.unwrap();
        }
    };
    let reads = async {
        for seed in 0..3 {
            let (_, body) = answer_from(&mut read).await;
            assert!(body == pattern(seed, SIZE + seed), "{seed}");
            assert_eq!(answer_from(&mut read).await.1, b"unrelated");
        }
    };
    tokio::join!(sends, reads);
}

#[tokio::test]
async fn whatever_is_uploaded_arrives_as_it_is_and_the_connections_go_on() {
    let connections = Arc::default();
    let app = mirror(&connections).await;
    let mut world = World::start(Start::Alone).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    for piece in [1 << 22, 100_003, 1_447] {
        converses(TcpStream::connect(world.http).await.unwrap(), piece).await;
    }
    let config = Arc::new(tls::trusting(&world, &[&rustls::version::TLS13]));
    let stream = tls::connect(&config, world.https, "shop.localhost").await;
    converses(stream.unwrap(), 100_003).await;
    let (link, _) = handed_over(&world, service("web")).await;
    converses(link, 100_003).await;
    assert_eq!(app.seen.requests(), 30);
    // What follows at once goes out on the same one; what must not be sent twice is not risked on one that rested for long.
    assert!(connections.load(Ordering::SeqCst) <= 15);
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!((traffic.requests, traffic.failed), (0, 0));
}

#[tokio::test]
async fn more_at_once_than_there_are_pipes() {
    let app = mirror(&Arc::default()).await;
    let world = World::around(&app).await;
    let all = (0..150_usize).map(|seed| {
        let address = world.http;
        tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            let body = pattern(seed, 200_000);
            client.write_all(&head("/x", body.len())).await.unwrap();
            client.write_all(&body[..100_000]).await.unwrap();
            (client, body)
        })
    });
    let mut waiting = Vec::new();
    for one in all.collect::<Vec<_>>() {
        waiting.push(one.await.unwrap());
    }
    eventually("all are under way", async || {
        world.traffic("web-r1-1").await.requests == 150
    })
    .await;
    for (mut client, body) in waiting {
        client.write_all(&body[100_000..]).await.unwrap();
        assert!(answer_from(&mut client).await.1 == body);
    }
}

/// An instance that answers while it is being sent to, as one does that changes what passes through it.
#[tokio::test]
async fn an_answer_may_come_beside_the_body() {
    let app = App::raw(|mut stream: TcpStream, _| async move {
        let head = head_from(&mut stream).await.unwrap();
        let begun = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            length(&head)
        );
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut room = vec![0; 10_000];
        while let Ok(count @ 1..) = stream.read(&mut room).await {
            stream.write_all(&room[..count]).await.unwrap();
        }
    })
    .await;
    let world = World::around(&app).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(world.http).await.unwrap();
    client.write_all(&head("/x", SIZE)).await.unwrap();
    let (mut read, mut write) = client.split();
    assert_eq!(length(&head_from(&mut read).await.unwrap()), SIZE);
    let sent = pattern(5, SIZE);
    let mut got = vec![0; SIZE];
    let (wrote, _) = tokio::join!(write.write_all(&sent), read.read_exact(&mut got));
    wrote.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn the_rest_of_a_body_goes_on_behind_a_whole_answer() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        while let Some(head) = head_from(&mut stream).await {
            say(&mut stream, b"early").await.unwrap();
            let mut body = vec![0; length(&head)];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body == pattern(1, SIZE));
            seen.requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let world = World::around(&app).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    for count in 1..=3 {
        client.write_all(&head("/x", SIZE)).await.unwrap();
        assert_eq!(answer_from(&mut client).await.1, b"early");
        let busy = world.traffic("web-r1-1").await.requests;
        assert_eq!(busy, 1, "it is still being sent to");
        client.write_all(&pattern(1, SIZE)).await.unwrap();
        eventually("it has all of it", async || app.seen.requests() == count).await;
    }
}

/// What it sends cannot be taken back, and the answer must not get lost over it.
#[tokio::test]
async fn an_instance_that_takes_no_more_has_its_answer_heard() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        let Some(_) = head_from(&mut stream).await else {
            return;
        };
        stream.read_exact(&mut [0; 100_000]).await.unwrap();
        seen.requests.fetch_add(1, Ordering::SeqCst);
        say(&mut stream, b"enough").await.unwrap();
    })
    .await;
    let world = World::around(&app).await;
    for round in 1..=5 {
        let mut client = TcpStream::connect(world.http).await.unwrap();
        client.write_all(&head("/x", SIZE * 2)).await.unwrap();
        client.write_all(&pattern(1, SIZE)).await.unwrap();
        eventually("it has answered", async || app.seen.requests() == round).await;
        // The end of the body, and what looks like another request.
        let mut more = pattern(1, SIZE);
        more.extend_from_slice(b"GET /other HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
        client.write_all(&more).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nenough"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(app.seen.requests(), 5);
}

/// Nobody can tell any more where in the client's bytes the next request begins.
#[tokio::test]
async fn an_instance_that_breaks_off_within_a_body_ends_the_connection() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        let Some(head) = head_from(&mut stream).await else {
            return;
        };
        seen.requests.fetch_add(1, Ordering::SeqCst);
        assert!(head.starts_with("POST /x"), "{head}");
        stream.read_exact(&mut [0; 100_000]).await.unwrap();
    })
    .await;
    let world = World::around(&app).await;
    for round in 1..=5 {
        let mut client = TcpStream::connect(world.http).await.unwrap();
        let begun = head(&format!("/x{round}"), SIZE);
        client.write_all(&begun).await.unwrap();
        client.write_all(&pattern(1, SIZE / 2)).await.unwrap();
        eventually("it is gone", async || {
            world.traffic("web-r1-1").await.failed == round
        })
        .await;
        let (head, _) = answer_from(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
        // Whatever it is taken for, it is no request.
        let other = b"GET /other HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".repeat(SIZE / 40);
        let _ = client.write_all(&other).await;
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        assert_eq!(app.seen.requests() as u64, round);
    }
    let line = of_path(&world, "/x5").await;
    assert_eq!(line.status, Some(502));
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_whole() {
    let app = mirror(&Arc::default()).await;
    let world = World::around(&app).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(&head("/gone", SIZE)).await.unwrap();
    client.write_all(&pattern(1, SIZE - 1)).await.unwrap();
    drop(client);
    eventually("it is told", async || app.seen.abandoned() == 1).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(&head("/half", SIZE)).await.unwrap();
    client.write_all(&pattern(1, SIZE - 1)).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    eventually("it is told", async || app.seen.abandoned() == 2).await;
    let traffic = world.traffic("web-r1-1").await;
    assert_eq!(
        (app.seen.requests(), traffic.requests, traffic.failed),
        (0, 0, 0)
    );
    let line = of_path(&world, "/half").await;
    assert_eq!(line.status, Some(400));
    assert_eq!(line.bytes_in, SIZE as u64 - 1);
}

/// An instance that reads nothing, and a client that goes behind what nobody reads.
#[tokio::test]
async fn a_client_that_goes_while_nobody_reads_is_seen_to_go() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        seen.release.notified().await;
        while let Ok(1..) = stream.read(&mut [0; 65_536]).await {}
        seen.abandoned.fetch_add(1, Ordering::SeqCst);
    })
    .await;
    let world = World::around(&app).await;
    let client = TcpStream::connect(world.http).await.unwrap();
    let fills = tokio::spawn(async move {
        let (mut client, much) = (client, pattern(1, 50_000_000));
        client.write_all(&head("/x", much.len())).await.unwrap();
        let sent = client.write_all(&much);
        let sent = tokio::time::timeout(Duration::from_secs(1), sent).await;
        assert!(sent.is_err(), "there is no room for all of it");
        // An end would come behind what there is no room for.
        client.set_zero_linger().unwrap();
    });
    eventually("it is there", async || app.seen.requests() == 1).await;
    fills.await.unwrap();
    eventually("nothing is under way", async || {
        world.traffic("web-r1-1").await.requests == 0
    })
    .await;
    app.seen.release.notify_one();
    eventually("it is told", async || app.seen.abandoned() == 1).await;
}

#[tokio::test]
async fn one_that_trickles_is_given_up_also_behind_an_early_answer() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        let Some(head) = head_from(&mut stream).await else {
            return;
        };
        if head.contains("/early") {
            say(&mut stream, b"early").await.unwrap();
        }
        while let Ok(1..) = stream.read(&mut [0; 65_536]).await {}
        seen.abandoned.fetch_add(1, Ordering::SeqCst);
    })
    .await;
    let mut world = World::start(Start::Tight).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let begun = [head("/late", SIZE), pattern(1, 100)].concat();
    let answer = raw(world.http, &begun).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    eventually("the instance is told", async || app.seen.abandoned() == 1).await;
    let begun = [head("/early", SIZE), pattern(1, 100)].concat();
    let answer = raw(world.http, &begun).await;
    assert!(answer.ends_with("early"), "{answer}");
    eventually("the instance is told", async || app.seen.abandoned() == 2).await;
}

#[tokio::test]
async fn a_body_that_is_larger_than_its_route_takes_reaches_nobody() {
    let app = mirror(&Arc::default()).await;
    let mut world = World::around(&app).await;
    let mut table = world.table(&["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).routes[0]
        .settings
        .body_limit = Some(ByteSize(SIZE as u64));
    world.control.apply(table).await.unwrap();
    let mut client = TcpStream::connect(world.http).await.unwrap();
    let all = [head("/x", SIZE), pattern(1, SIZE)].concat();
    client.write_all(&all).await.unwrap();
    assert!(answer_from(&mut client).await.1 == pattern(1, SIZE));
    let all = [head("/x", SIZE + 1), pattern(1, SIZE + 1)].concat();
    client.write_all(&all).await.unwrap();
    let (head, _) = answer_from(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(app.seen.requests(), 1);
}

/// An instance that cannot be reached has had nothing: another one gets all of it.
#[tokio::test]
async fn one_that_nobody_has_had_goes_to_another_instance() {
    let app = mirror(&Arc::default()).await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.instance("web-r1-2", app.address);
    world.kill_keeper("web-r1-2");
    world.route(&["web-r1-1", "web-r1-2"]).await;
    for seed in 0..6 {
        let mut client = TcpStream::connect(world.http).await.unwrap();
        let body = pattern(seed, SIZE);
        client.write_all(&head("/any", SIZE)).await.unwrap();
        client.write_all(&body).await.unwrap();
        assert!(answer_from(&mut client).await.1 == body, "{seed}");
    }
}

/// Its place among those that the service works on is for others meanwhile.
#[tokio::test]
async fn who_waits_for_its_client_keeps_nobody_waiting() {
    let connections = Arc::default();
    let app = mirror(&connections).await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.guard = Guard {
        concurrency: Concurrency::PerInstance(1),
        ..Guard::default()
    };
    world.route(&["web-r1-1"]).await;
    let mut slow = TcpStream::connect(world.http).await.unwrap();
    slow.write_all(&head("/x", SIZE)).await.unwrap();
    eventually("it is under way", async || {
        world.traffic("web-r1-1").await.requests == 1
    })
    .await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(&head("/any", 3)).await.unwrap();
    client.write_all(b"one").await.unwrap();
    assert_eq!(answer_from(&mut client).await.1, b"one");
    slow.write_all(&pattern(2, SIZE)).await.unwrap();
    assert!(answer_from(&mut slow).await.1 == pattern(2, SIZE));
}

/// Its client has sent all that there is.
#[tokio::test]
async fn an_instance_that_takes_nothing_is_late_by_itself() {
    let app = App::raw(|stream: TcpStream, seen: Arc<Seen>| async move {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        seen.release.notified().await;
        drop(stream);
    })
    .await;
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let (mut read, mut write) = TcpStream::connect(world.http).await.unwrap().into_split();
    let sends = tokio::spawn(async move {
        let _ = write.write_all(&head("/x", 50_000_000)).await;
        let _ = write.write_all(&pattern(1, 50_000_000)).await;
    });
    let answer = head_from(&mut read).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("ward-fault: upstream"), "{answer}");
    assert_eq!(world.traffic("web-r1-1").await.failed, 1);
    drop(read);
    sends.await.unwrap();
}

/// Whoever answers before it has the body may say something else while it comes, which nobody has asked for.
#[tokio::test]
async fn what_an_instance_says_while_the_rest_comes_is_no_answer() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        while let Some(head) = head_from(&mut stream).await {
            if head.starts_with("GET") {
                say(&mut stream, b"asked").await.unwrap();
                continue;
            }
            say(&mut stream, b"early").await.unwrap();
            stream.read_exact(&mut [0; 100_000]).await.unwrap();
            say(&mut stream, b"unasked").await.unwrap();
            seen.abandoned.fetch_add(1, Ordering::SeqCst);
            // A connection that nobody trusts any more may be reset.
            let mut rest = vec![0; length(&head) - 100_000];
            let _ = stream.read_exact(&mut rest).await;
            seen.requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut world = World::start(Start::Alone).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(&head("/x", SIZE)).await.unwrap();
    assert_eq!(answer_from(&mut client).await.1, b"early");
    let (first, last) = (pattern(1, SIZE / 2), pattern(1, SIZE / 2));
    client.write_all(&first).await.unwrap();
    eventually("it is said", async || app.seen.abandoned() == 1).await;
    client.write_all(&last).await.unwrap();
    eventually("it has all of it", async || app.seen.requests() == 1).await;
    for _ in 0..3 {
        let answer = fetch(world.http, get("/y")).await;
        assert_eq!(body(answer).await, "asked");
    }
}

/// Who is sent to slowly, and whose client has gone with its answer, gets the rest all the same.
#[tokio::test]
async fn a_client_that_has_sent_all_and_has_its_answer_may_go() {
    let app = App::raw(|mut stream: TcpStream, seen: Arc<Seen>| async move {
        let head = head_from(&mut stream).await.unwrap();
        say(&mut stream, b"early").await.unwrap();
        seen.release.notified().await;
        let mut body = vec![0; length(&head)];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body == pattern(1, SIZE));
        seen.requests.fetch_add(1, Ordering::SeqCst);
    })
    .await;
    let world = World::around(&app).await;
    let mut client = TcpStream::connect(world.http).await.unwrap();
    client.write_all(&head("/x", SIZE)).await.unwrap();
    assert_eq!(answer_from(&mut client).await.1, b"early");
    client.write_all(&pattern(1, SIZE)).await.unwrap();
    client.shutdown().await.unwrap();
    app.seen.release.notify_one();
    eventually("it has all of it", async || app.seen.requests() == 1).await;
}

#[tokio::test]
async fn what_comes_in_the_answer_does_not_hold_up_the_body() {
    let app = App::raw(|stream: TcpStream, seen: Arc<Seen>| async move {
        let (mut read, mut write) = stream.into_split();
        let head = head_from(&mut read).await.unwrap();
        write.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let endless = async { while write.write_all(&[b'x'; 65_536]).await.is_ok() {} };
        let takes = async {
            let mut body = vec![0; length(&head)];
            read.read_exact(&mut body).await.unwrap();
            seen.requests.fetch_add(1, Ordering::SeqCst);
        };
        tokio::join!(endless, takes);
    })
    .await;
    let world = World::around(&app).await;
    let (mut read, mut write) = TcpStream::connect(world.http).await.unwrap().into_split();
    let taking = tokio::spawn(async move {
        let mut room = vec![0; 1 << 20];
        while let Ok(1..) = read.read(&mut room).await {}
    });
    write.write_all(&head("/x", SIZE)).await.unwrap();
    write.write_all(&pattern(1, SIZE)).await.unwrap();
    eventually("it has all of it", async || app.seen.requests() == 1).await;
    taking.abort();
}

/// A request for something short of which one byte has come, and who reads its answer.
async fn slow(world: &World, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let request = [&head(path, 10)[..], b"o"].concat();
    stream.write_all(&request).await.unwrap();
    stream
}

#[tokio::test]
async fn while_bodies_are_waited_for_at_instances_short_ones_are_waited_for_in_the_gateway() {
    let connections = Arc::default();
    let app = mirror(&connections).await;
    let mut world = World::start(Start::Tight).await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let busy = || connections.load(Ordering::SeqCst);
    // One of each worker's keeps an instance waiting.
    let mut first = vec![slow(&world, "/any").await];
    eventually("the first is at the instance", async || busy() == 1).await;
    first.push(slow(&world, "/any").await);
    eventually("so is the second", async || busy() == 2).await;
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(slow(&world, "/short").await);
    }
    // One of those that wait for nobody comes to its end, the next one right behind it.
    let mut quick = others.pop().unwrap();
    let rest = [b"therwise,", &head("/short", 9)[..], b"unrelated"].concat();
    quick.write_all(&rest).await.unwrap();
    assert_eq!(answer_from(&mut quick).await.1, b"otherwise,");
    assert_eq!(answer_from(&mut quick).await.1, b"unrelated");
    assert_eq!(busy(), 3);
    // One goes away, and all others are too slow.
    drop(others.pop());
    for stream in first.iter_mut().chain(&mut others) {
        let (head, _) = answer_from(stream).await;
        assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    }
    assert_eq!((busy(), app.seen.requests()), (3, 2));
    let observed = world.control.observe().await.unwrap();
    assert_eq!(observed.refused[&Refusal::SlowBody], 6);
}
