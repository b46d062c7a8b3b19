//! An upload that takes seconds: a file that is attached to a return, sent piece by piece.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use tokio::time::{Instant, Sleep};

use super::answer::{whole, words};
use super::{Client, Target, connection};

/// Bytes of one upload: 10 MB.
const SIZE: u64 = 10_000_000;
/// Bytes of one piece, and from one piece to the next: about five seconds in all.
const PIECE: u64 = 100_000;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct SlowUpload {
    address: SocketAddr,
    host: String,
    path: String,
}

/// Opens a return; the path that files are attached to it at.
pub(super) async fn place(target: &Target) -> Result<String, String> {
    let mut sender = connection::open::<Full<Bytes>>(target.http).await?;
    let request = Request::post("/api/returns")
        .header(HOST, &target.host)
        .header(CONTENT_TYPE, "application/json");
    let request = request
        .body(Full::from(r#"{"pharmacy":"Harbor Street"}"#))
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| words(&error))?;
    let opened = json(&whole(response, StatusCode::CREATED).await?)?;
    Ok(format!("/api/returns/{}/attachments", opened["id"]))
}

fn json(body: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is not understood: {error}"))
}

impl SlowUpload {
    pub(super) fn new(target: &Target, path: &str) -> Self {
        Self {
            address: target.http,
            host: target.host.clone(),
            path: path.to_owned(),
        }
    }
}

impl Client for SlowUpload {
    const KIND: &'static str = "slow upload of 10 MB";
    const LIMIT: Duration = Duration::from_secs(60);

    async fn ask(self: Arc<Self>) -> Result<Instant, String> {
        let mut sender = connection::open::<SlowBody>(self.address).await?;
        let request = Request::post(&self.path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "image/jpeg");
        let request = request
            .body(SlowBody::new())
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| words(&error))?;
        let stored = json(&whole(response, StatusCode::CREATED).await?)?;
        if stored["size"] == SIZE {
            return Ok(Instant::now());
        }
        Err(format!("{SIZE} bytes were sent, and stored were {stored}"))
    }
}

/// A body that comes piece by piece.
struct SlowBody {
    left: u64,
    pause: Pin<Box<Sleep>>,
}

impl SlowBody {
    fn new() -> Self {
        Self {
            left: SIZE,
            pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

impl Body for SlowBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.pause.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let next = self.pause.deadline() + PAUSE;
        self.pause.as_mut().reset(next);
        let piece = self.left.min(PIECE);
        self.left -= piece;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &ZEROS[..piece as usize],
        )))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
