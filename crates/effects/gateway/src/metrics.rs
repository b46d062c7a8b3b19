//! The operators' address: `GET /metrics`, for Prometheus and whoever speaks its format.
//!
//! It has a thread of its own, because a long answer would hold up the requests of a worker. Its socket is the
//! server's, as those of clients are: it outlives servers and gateways, and the gateway that takes over answers
//! on it, having counted nothing yet.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use ward_types::tally::GatewayTally;
use ward_types::time::Millis;

use crate::clock;
use crate::exposition::{self, Process};
use crate::socket;
use crate::worker::{Phase, Shared};

/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long a connection may be silent, or take for a head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection is served in all.
const CONNECTION_WITHIN: Duration = Duration::from_secs(600);

const ELSEWHERE: &str = "Metrics are at /metrics.\n";

/// What is counted, as the server is told it.
pub(crate) fn tally(shared: &Shared) -> GatewayTally {
    use std::sync::atomic::Ordering::Relaxed;
    let tallies = &shared.tallies;
    GatewayTally {
        pid: std::process::id(),
        uptime: Millis(clock::millis()),
        generation: shared.routing.current().table.generation,
        series: tallies.requests(),
        handshakes: tallies.handshakes(),
        connections: tallies.connections(),
        log_lines: tallies.lines.load(Relaxed),
        log_lines_dropped: tallies.dropped.load(Relaxed),
    }
}

/// Answers on `listener` until the process quits.
pub(crate) fn start(
    shared: &Arc<Shared>,
    listener: StdListener,
    runtime: tokio::runtime::Runtime,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("ward-metrics".to_owned())
        .spawn(move || {
            let started = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
            let running = async {
                tokio::select! {
                    // The successor answers from now on.
                    () = socket::reached(&shared.phase, Phase::Quitting) => {}
                    result = accept_all(&shared, listener, started) => {
                        if let Err(error) = result {
                            tracing::error!(%error, "metrics are not served");
                        }
                    }
                }
            };
            LocalSet::new().block_on(&runtime, running);
        })
}

async fn accept_all(shared: &Arc<Shared>, listener: StdListener, started: f64) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                tokio::task::spawn_local(async move {
                    let served =
                        tokio::time::timeout(CONNECTION_WITHIN, serve(&shared, stream, started));
                    let _ = served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(shared: &Arc<Shared>, stream: TcpStream, started: f64) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(shared, request.method(), request.uri().path(), started);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN);
    builder.max_buf_size(16 * 1024);
    if let Err(error) = builder
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "a connection for metrics ended badly");
    }
}

fn answer(shared: &Shared, method: &Method, path: &str, started: f64) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: String, kind: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    let text = "text/plain; charset=utf-8";
    if !matches!(*method, Method::GET | Method::HEAD) {
        let sentence = "Only GET is answered here.\n".to_owned();
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, sentence, text);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match path {
        "/metrics" => {
            let observed = shared.observe();
            let text = exposition::text(&tally(shared), &observed, &process(started));
            plain(StatusCode::OK, text, exposition::CONTENT_TYPE)
        }
        "/" => plain(StatusCode::OK, ELSEWHERE.to_owned(), text),
        _ => plain(StatusCode::NOT_FOUND, ELSEWHERE.to_owned(), text),
    }
}

/// Of this process, as far as the kernel tells.
fn process(started: f64) -> Process {
    let processor = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Process {
        started,
        processor: processor.tv_sec as f64 + processor.tv_nsec as f64 / 1e9,
        resident: resident.unwrap_or(0) * 1024,
        descriptors: descriptors as u64,
    }
}
