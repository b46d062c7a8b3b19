//! HTTP/1.1 with a new connection for each request.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use tokio::time::Instant;

use super::answer::{whole, words};
use super::{Client, Target, connection};

pub(super) struct NewConnection {
    address: SocketAddr,
    host: String,
    path: String,
}

impl NewConnection {
    pub(super) fn new(target: &Target, path: &str) -> Self {
        Self::at(target.http, &target.host, path)
    }

    pub(super) fn at(address: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
        }
    }
}

impl Client for NewConnection {
    const KIND: &'static str = "new connection";

    async fn ask(self: Arc<Self>) -> Result<Instant, String> {
        let mut sender = connection::open::<Empty<Bytes>>(self.address).await?;
        let request = Request::get(&self.path)
            .header(HOST, &self.host)
            .header(CONNECTION, "close");
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| words(&error))?;
        whole(response, StatusCode::OK).await?;
        Ok(Instant::now())
    }
}
