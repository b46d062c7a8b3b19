//! Clients of the gateway.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::Payload;

/// Paths of requests over HTTP/2 that take the short way to the instance and the long one.
pub(crate) const WAYS: [&str; 2] = ["/a_b?c", "/a|b?c"];

/// Whether a request took the short way, by its head as its instance sees it: on that its name is its last line.
pub(crate) fn took_the_short_way(head: &str) -> bool {
    let last = head.trim_end().lines().last();
    last.is_some_and(|line| line.starts_with("x-request-id: "))
}

/// No body.
pub(crate) fn empty() -> Payload {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A GET for the application at `shop.localhost`.
pub(crate) fn get(path: &str) -> Request<Payload> {
    let request = Request::builder()
        .uri(path)
        .header("host", "shop.localhost");
    request.body(empty()).unwrap()
}

/// The same for HTTP/2.
pub(crate) fn get2(path: &str) -> Request<Payload> {
    let uri = format!("http://shop.localhost{path}");
    Request::builder().uri(uri).body(empty()).unwrap()
}

/// An HTTP/1.1 connection over any stream.
pub(crate) async fn http1_over<I>(stream: I) -> http1::SendRequest<Payload>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// An HTTP/2 connection over any stream.
pub(crate) async fn http2_over<I>(stream: I) -> http2::SendRequest<Payload>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An HTTP/1.1 connection.
pub(crate) async fn http1(address: SocketAddr) -> http1::SendRequest<Payload> {
    http1_over(TcpStream::connect(address).await.unwrap()).await
}

/// An HTTP/2 connection with prior knowledge.
pub(crate) async fn http2(address: SocketAddr) -> http2::SendRequest<Payload> {
    http2_over(TcpStream::connect(address).await.unwrap()).await
}

/// One request on a connection of its own.
pub(crate) async fn fetch(address: SocketAddr, request: Request<Payload>) -> Response<Incoming> {
    http1(address).await.send_request(request).await.unwrap()
}

/// The whole body as text.
pub(crate) async fn body(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The next piece of a body.
pub(crate) async fn piece(body: &mut Incoming) -> Option<Bytes> {
    let frame = body.frame().await?.unwrap();
    Some(frame.into_data().unwrap_or_default())
}

/// Sends bytes as they are and reads until the connection is closed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let limit = std::time::Duration::from_secs(15);
    let _ = tokio::time::timeout(limit, reading)
        .await
        .unwrap_or_else(|_| {
            let sent = String::from_utf8_lossy(bytes);
            panic!("the connection is kept open after {sent:?}")
        });
    String::from_utf8_lossy(&answer).into_owned()
}
