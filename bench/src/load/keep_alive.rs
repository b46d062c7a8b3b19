//! HTTP/1.1 on connections that are kept: each request takes one that is free, or makes one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use tokio::time::Instant;

use super::answer::{whole, words};
use super::{Client, Target, connection};

type Sender = SendRequest<Empty<Bytes>>;

pub(crate) struct KeepAlive {
    address: SocketAddr,
    host: String,
    path: String,
    free: Mutex<Vec<Sender>>,
}

impl KeepAlive {
    pub(crate) fn new(target: &Target, path: &str) -> Self {
        Self::at(target.http, &target.host, path)
    }

    pub(super) fn at(address: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            free: Mutex::default(),
        }
    }

    /// Asks once; the headers of the answer, which had status 200 and came whole.
    pub(crate) async fn get(&self) -> Result<HeaderMap, String> {
        self.answer().await.map(|(headers, _)| headers)
    }

    /// The same, and what the answer holds.
    pub(crate) async fn page(&self) -> Result<Bytes, String> {
        self.answer().await.map(|(_, page)| page)
    }

    async fn answer(&self) -> Result<(HeaderMap, Bytes), String> {
        loop {
            let kept = self
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let was_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) if sender.is_closed() => continue,
                Some(sender) => sender,
                None => connection::open(self.address).await?,
            };
            let response = match sender.try_send_request(self.request()?).await {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // It was closed before anything was written.
                    Some(_) if was_kept => continue,
                    _ => return Err(words(&error.into_error())),
                },
            };
            let headers = response.headers().clone();
            let page = whole(response, StatusCode::OK).await?;
            if sender.ready().await.is_ok() {
                self.free
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sender);
            }
            return Ok((headers, page));
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let request = Request::get(&self.path).header(HOST, &self.host);
        request
            .body(Empty::new())
            .map_err(|error| error.to_string())
    }
}

impl Client for KeepAlive {
    const KIND: &'static str = "HTTP/1.1 keep-alive";

    async fn ask(self: Arc<Self>) -> Result<Instant, String> {
        self.get().await?;
        Ok(Instant::now())
    }
}
