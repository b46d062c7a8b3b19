//! Whether an answer is whole and right.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};

/// An error with its causes.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Reads the whole body of an answer, which must have this status.
pub(super) async fn whole(
    response: Response<Incoming>,
    wanted: StatusCode,
) -> Result<Bytes, String> {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| format!("status {status}, then {}", words(&error)))?;
    let body = body.to_bytes();
    if status == wanted {
        return Ok(body);
    }
    let start: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(format!("status {status}: {start}"))
}
