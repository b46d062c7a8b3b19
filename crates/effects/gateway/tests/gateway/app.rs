//! Applications behind the gateway.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) type Payload = BoxBody<Bytes, std::io::Error>;

/// A server of the test's own. It ends with this value.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _alive: DropGuard,
}

/// What an application saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: AtomicUsize,
    pub(crate) abandoned: AtomicUsize,
    pub(crate) body_bytes: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) release: Notify,
}

impl Seen {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }
    /// How many have come that the next release is for.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::SeqCst)
    }
}

impl App {
    /// A server that speaks HTTP/1.1 and HTTP/2 and does what the path says.
    pub(crate) async fn http(name: &'static str) -> Self {
        Self::raw(move |stream, seen| async move {
            let service = service_fn(move |request| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, Infallible>(respond(name, request, seen).await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        })
        .await
    }

    /// A server that does with each connection what `serve` says.
    pub(crate) async fn raw<F, S>(serve: S) -> Self
    where
        S: Fn(TcpStream, Arc<Seen>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (alive, seen) = (CancellationToken::new(), Arc::new(Seen::default()));
        let guard = alive.clone().drop_guard();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = alive.run_until_cancelled(listener.accept()).await {
                stream.set_nodelay(true).unwrap();
                let serving = serve(stream, Arc::clone(&all));
                tokio::spawn(alive.clone().run_until_cancelled_owned(serving));
            }
        });
        Self {
            address,
            seen,
            _alive: guard,
        }
    }
}

/// Counts a request whose client went away.
struct Abandoned(Option<Arc<Seen>>);

impl Abandoned {
    fn new(seen: &Arc<Seen>) -> Self {
        Self(Some(Arc::clone(seen)))
    }
    fn was_not(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(seen) = &self.0 {
            seen.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Answers before the body is there, and goes on taking it: a connection that is closed with bytes unread is
/// reset, and the reset may overtake the answer.
fn early(request: Request<Incoming>) -> Response<Payload> {
    tokio::spawn(request.into_body().collect());
    status(StatusCode::PAYLOAD_TOO_LARGE)
}

async fn respond(name: &str, request: Request<Incoming>, seen: Arc<Seen>) -> Response<Payload> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/echo" => echo(request, seen),
        "/count" => count(request, seen).await,
        "/wait" => wait(name, seen).await,
        "/events" => events(seen),
        "/event" => stream("text/event-stream", futures_util::stream::iter([EVENT])),
        "/endless" => endless(seen, "application/octet-stream"),
        "/endless-events" => endless(seen, "text/event-stream"),
        "/ws" => websocket(request),
        "/head" => text(head_of(&request)),
        "/page" => text("x".repeat(24 * 1024)),
        "/500" => status(StatusCode::INTERNAL_SERVER_ERROR),
        "/early" => early(request),
        "/grpc" => grpc(request).await,
        _ => text(name.to_owned()),
    }
}

pub(crate) fn text(text: String) -> Response<Payload> {
    Response::new(full(text.into()))
}

fn full(bytes: Bytes) -> Payload {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn status(status: StatusCode) -> Response<Payload> {
    let mut response = text(status.to_string());
    *response.status_mut() = status;
    response
}

/// The request's head as the application sees it, one header per line.
fn head_of(request: &Request<Incoming>) -> String {
    let mut lines = vec![format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.version()
    )];
    for (name, value) in request.headers() {
        lines.push(format!(
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    lines.join("\n")
}

fn echo(request: Request<Incoming>, seen: Arc<Seen>) -> Response<Payload> {
    let body = request.into_body().map_err(std::io::Error::other);
    let counted = body.map_frame(move |frame| {
        let length = frame.data_ref().map_or(0, Bytes::len);
        seen.body_bytes.fetch_add(length, Ordering::SeqCst);
        frame
    });
    Response::new(counted.boxed())
}

async fn count(request: Request<Incoming>, seen: Arc<Seen>) -> Response<Payload> {
    let abandoned = Abandoned::new(&seen);
    let mut body = request.into_body();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return status(StatusCode::BAD_REQUEST);
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        total += length;
        seen.body_bytes.fetch_add(length, Ordering::SeqCst);
    }
    abandoned.was_not();
    text(total.to_string())
}

async fn wait(name: &str, seen: Arc<Seen>) -> Response<Payload> {
    let abandoned = Abandoned::new(&seen);
    let mut released = pin!(seen.release.notified());
    released.as_mut().enable();
    seen.waiting.fetch_add(1, Ordering::SeqCst);
    released.await;
    abandoned.was_not();
    text(name.to_owned())
}

fn stream(
    content: &'static str,
    frames: impl futures_util::Stream<Item = Bytes> + Send + Sync + 'static,
) -> Response<Payload> {
    let frames = frames.map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let content = HeaderValue::from_static(content);
    response.headers_mut().insert("content-type", content);
    response
}

/// One event at once, then one each time the test says so.
fn events(seen: Arc<Seen>) -> Response<Payload> {
    let first = (0, Abandoned::new(&seen), Arc::clone(&seen));
    let frames = futures_util::stream::unfold(first, async |(number, abandoned, seen)| {
        if number > 0 {
            seen.release.notified().await;
        }
        let event = Bytes::from(format!("data: {number}\n\n"));
        Some((event, (number + 1, abandoned, seen)))
    });
    stream("text/event-stream", frames)
}

const EVENT: Bytes = Bytes::from_static(b"data: 0\n\n");

/// A body that never ends, as fast as it is read.
fn endless(seen: Arc<Seen>, content: &'static str) -> Response<Payload> {
    let abandoned = Abandoned::new(&seen);
    let frames = futures_util::stream::repeat(Bytes::from_static(&[b'x'; 16384]));
    let frames = frames.map(move |bytes| {
        let _ = &abandoned;
        seen.body_bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        bytes
    });
    stream(content, frames)
}

fn websocket(mut request: Request<Incoming>) -> Response<Payload> {
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
    let key = request.headers()["sec-websocket-key"].as_bytes();
    let accept = derive_accept_key(key);
    let switch = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = switch.await else { return };
        let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
        let stream = TokioIo::new(stream);
        let mut socket =
            tokio_tungstenite::WebSocketStream::from_raw_socket(stream, role, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    *response.body_mut() = full(Bytes::new());
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.parse().unwrap());
    response
}

/// Echoes a call, frame by frame, with the trailers that gRPC ends with.
async fn grpc(request: Request<Incoming>) -> Response<Payload> {
    let version = format!("{:?}", request.version());
    let te = request.headers().get("te").cloned();
    let body = request.into_body().map_err(std::io::Error::other);
    let body = body.with_trailers(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    });
    let mut response = Response::new(body.boxed());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("seen-version", version.parse().unwrap());
    if let Some(te) = te {
        headers.insert("seen-te", te);
    }
    response
}

/// A body that yields `chunk` every `pause`, `count` times.
pub(crate) fn slow_body(
    chunk: Bytes,
    count: usize,
    pause: Duration,
) -> impl Body<Data = Bytes, Error = std::io::Error> + Send + Sync + 'static {
    let frames = futures_util::stream::unfold(0, move |number| {
        let chunk = chunk.clone();
        async move {
            if number == count {
                return None;
            }
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(chunk)), number + 1))
        }
    });
    StreamBody::new(Box::pin(frames))
}
