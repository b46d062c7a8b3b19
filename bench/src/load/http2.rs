//! HTTP/2 over TLS: a few connections, with many requests on each at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::answer::{whole, words};
use super::{Client, Target};

type Sender = SendRequest<Empty<Bytes>>;

/// How many connections share the requests.
const CONNECTIONS: usize = 2;

pub(super) struct Http2 {
    address: SocketAddr,
    name: ServerName<'static>,
    uri: String,
    tls: TlsConnector,
    turn: AtomicUsize,
    connections: [Mutex<Option<Sender>>; CONNECTIONS],
}

impl Http2 {
    /// # Errors
    /// When the target's host is no name for TLS.
    pub(super) fn new(target: &Target, path: &str) -> io::Result<Self> {
        Ok(Self {
            address: target.https,
            name: ServerName::try_from(target.host.clone()).map_err(io::Error::other)?,
            uri: format!("https://{}{path}", target.host),
            tls: TlsConnector::from(Arc::clone(&target.tls)),
            turn: AtomicUsize::new(0),
            connections: Default::default(),
        })
    }

    /// What is under way on the connections ends there; the next request has a new one.
    async fn begin_anew(&self) {
        for kept in &self.connections {
            kept.lock().await.take();
        }
    }

    /// The next connection, made anew when the other side has ended it.
    async fn sender(&self) -> Result<Sender, String> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let mut kept = self.connections[turn].lock().await;
        if let Some(sender) = kept.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self
            .connect()
            .await
            .map_err(|error| format!("connecting: {error}"))?;
        *kept = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.name.clone(), stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the gateway does not speak HTTP/2"));
        }
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Whether the gateway was going away and has not processed the request (RFC 9113 section 6.8): every client
/// asks again then, on another connection.
fn was_refused(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

impl Client for Http2 {
    const KIND: &'static str = "HTTP/2";

    async fn ask(self: Arc<Self>) -> Result<Instant, String> {
        loop {
            let mut sender = self.sender().await?;
            let request = Request::get(&self.uri)
                .body(Empty::new())
                .map_err(|error| error.to_string())?;
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    // The connection was closed before anything was written, or the gateway said that it did
                    // nothing with the request.
                    let unwritten = error.take_message().is_some();
                    let error = error.into_error();
                    if unwritten || was_refused(&error) {
                        self.begin_anew().await;
                        continue;
                    }
                    return Err(words(&error));
                }
            };
            whole(response, StatusCode::OK).await?;
            return Ok(Instant::now());
        }
    }
}
