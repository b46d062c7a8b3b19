//! Server-sent events: streams that are held open for a while.
//!
//! A stream fails when it is not answered with 200, breaks off without its end, ends before its first event, or
//! is silent for longer than it may be. An instance that goes away may end it in order: the client connects
//! again (HTML standard, section 9.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use tokio::time::{Instant, timeout};

use super::answer::{whole, words};
use super::{Client, Target, connection};

/// How long a stream is held.
const HELD: Duration = Duration::from_secs(10);
/// The application sends a heartbeat each second; so long may nothing come before events count as missed.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) struct EventStream {
    address: SocketAddr,
    host: String,
    path: String,
    held: Duration,
}

impl EventStream {
    pub(super) fn new(target: &Target, path: &str) -> Self {
        Self::at(target.http, &target.host, path, HELD)
    }

    pub(super) fn at(address: SocketAddr, host: &str, path: &str, held: Duration) -> Self {
        Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            held,
        }
    }
}

impl Client for EventStream {
    const KIND: &'static str = "server-sent events";

    /// The moment of the first event.
    async fn ask(self: Arc<Self>) -> Result<Instant, String> {
        let begun = Instant::now();
        let mut sender = connection::open::<Empty<Bytes>>(self.address).await?;
        let request = Request::get(&self.path)
            .header(HOST, &self.host)
            .header(ACCEPT, "text/event-stream");
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| words(&error))?;
        if response.status() != StatusCode::OK {
            whole(response, StatusCode::OK).await?;
        } else {
            let mut body = response.into_body();
            let mut first = None;
            while begun.elapsed() < self.held {
                match timeout(SILENCE, body.frame()).await {
                    Ok(Some(Ok(_))) => first = first.or(Some(Instant::now())),
                    Ok(Some(Err(error))) => {
                        let after = begun.elapsed().as_secs_f64();
                        return Err(format!(
                            "it broke off after {after:.2} s: {}",
                            words(&error)
                        ));
                    }
                    Ok(None) => break,
                    Err(_) => return Err(format!("it was silent for {} s", SILENCE.as_secs())),
                }
            }
            return first.ok_or_else(|| "it ended before its first event".to_owned());
        }
        Err("it was not answered with events".to_owned())
    }
}
