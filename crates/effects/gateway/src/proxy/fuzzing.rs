//! How long a request may take, for the fuzz targets.

use std::time::Duration;

use http::HeaderMap;

use super::deadline;

/// What a caller's lines say.
#[must_use]
pub fn callers_time(mut headers: HeaderMap) -> Option<Duration> {
    deadline::of_caller(&mut headers)
}

/// What a gRPC call is told.
#[must_use]
pub fn told_time(left: Duration) -> String {
    deadline::to_grpc(left)
}
