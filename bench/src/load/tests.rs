//! The load's accounting, against a server that fails in known ways.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::events::EventStream;
use super::new_connection::NewConnection;
use super::{Client, KeepAlive, Load, Summary};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers each request with 200, but every tenth with 500.
async fn every_tenth_fails(requests: Arc<AtomicU64>) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let requests = Arc::clone(&requests);
            let service = service_fn(move |_| {
                let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
                let status = if number.is_multiple_of(10) {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::OK
                };
                let answer = Response::builder()
                    .status(status)
                    .body(Full::new(Bytes::from("answer")));
                async move { Ok::<_, Infallible>(answer.unwrap()) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// Reads a request's head, writes the answer of that connection's number, and closes.
async fn raw(answer: impl Fn(u64) -> Vec<&'static str> + Send + 'static) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        for number in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let pieces = answer(number);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// Runs one kind of client until so many requests were begun.
async fn run(client: impl Client, period: Duration, requests: u64) -> Summary {
    let mut load = Load::idle("tests");
    load.add(period, client);
    begun(&load, requests).await;
    load.end().await
}

async fn begun(load: &Load, requests: u64) {
    while load.tally.summary().asked() < requests {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tenth_request_that_fails_is_counted_and_nothing_else() {
    let requests = Arc::new(AtomicU64::new(0));
    let address = every_tenth_fails(Arc::clone(&requests)).await;
    let summary = run(
        KeepAlive::at(address, "h", "/"),
        Duration::from_millis(1),
        200,
    )
    .await;
    let asked = requests.load(Ordering::Relaxed);
    assert_eq!((summary.asked(), summary.failed()), (asked, asked / 10));
    let kept = &summary.kinds["HTTP/1.1 keep-alive"];
    assert_eq!(
        (kept.failed, kept.latency.len() as u64),
        (asked / 10, asked - asked / 10)
    );
    assert!(
        summary.failures()[0].contains("status 500 Internal Server Error: answer"),
        "{:?}",
        summary.failures()
    );

    let before = requests.load(Ordering::Relaxed);
    let summary = run(
        NewConnection::at(address, "h", "/"),
        Duration::from_millis(2),
        50,
    )
    .await;
    let after = requests.load(Ordering::Relaxed);
    assert_eq!(
        (summary.asked(), summary.failed()),
        (after - before, after / 10 - before / 10)
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_fails_and_so_does_a_refused_connection() {
    let broken = raw(|number| match number % 2 {
        0 => vec!["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"],
        _ => vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole"],
    });
    let summary = run(
        NewConnection::at(broken.await, "h", "/"),
        Duration::from_millis(2),
        40,
    )
    .await;
    assert_eq!(
        summary.failed(),
        summary.asked() / 2,
        "{:?}",
        summary.failures()
    );

    let (nobody, address) = listener().await;
    drop(nobody);
    let summary = run(
        NewConnection::at(address, "h", "/"),
        Duration::from_millis(2),
        10,
    )
    .await;
    assert_eq!(summary.failed(), summary.asked());
    assert!(
        summary.failures()[0].contains("connecting"),
        "{:?}",
        summary.failures()
    );
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_and_counts_once() {
    let address =
        raw(|_| vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwhole"])
            .await;
    let summary = run(
        KeepAlive::at(address, "h", "/"),
        Duration::from_millis(2),
        40,
    )
    .await;
    assert_eq!(summary.failed(), 0, "{:?}", summary.failures());
}

#[tokio::test]
async fn a_stream_may_end_in_order_and_may_not_break_off() {
    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    const EVENT: &str = "9\r\ndata: x\n\n\r\n";
    let held = Duration::from_secs(5);
    let address = raw(|number| match number % 3 {
        0 => vec![HEAD, EVENT, "0\r\n\r\n"],
        1 => vec![HEAD, EVENT],
        _ => vec![HEAD, "0\r\n\r\n"],
    });
    let summary = run(
        EventStream::at(address.await, "h", "/", held),
        Duration::from_millis(5),
        30,
    )
    .await;
    let (asked, ended) = (summary.asked(), summary.asked() / 3);
    assert_eq!(summary.failed(), asked - ended, "{:?}", summary.failures());
    let told = summary.failures().concat();
    assert!(
        told.contains("it broke off") && told.contains("it ended before its first event"),
        "{told}"
    );
}

/// Nobody is answered until twenty were asked, which takes 190 ms: the first then waited that long, the second
/// 180 ms, and so on. A client that waits for its answers would have one late request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_shows_in_the_latency_of_every_request_that_it_delayed() {
    let (listener, address) = listener().await;
    let mut load = Load::idle("tests");
    load.add(
        Duration::from_millis(10),
        NewConnection::at(address, "h", "/"),
    );
    begun(&load, 20).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    begun(&load, 40).await;
    let summary = load.end().await;
    assert_eq!(summary.failed(), 0, "{:?}", summary.failures());
    let latency = &summary.kinds["new connection"].latency;
    let late = latency.values().filter(|millis| *millis >= 50.0).count();
    assert!(
        late >= 15 && latency.max() >= Some(190.0),
        "{late} of {latency:?}"
    );
}
