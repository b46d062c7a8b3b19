//! Answers: the specification's error codes as JSON, and a few headers that many answers share.

use axum::body::Body;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::needs::Stays;

/// A request that is not answered as asked.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    /// Of the specification's list ("Error Codes") where the fault is the client's.
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn no_endpoint() -> Self {
        let message = "no such endpoint in the OCI distribution specification";
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message)
    }

    pub(super) fn method(method: &Method, known: &'static str) -> Self {
        let message = format!("{method} means nothing here; this endpoint knows {known}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message).with(header::ALLOW, known)
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self, method: &Method) -> Response<Body> {
        if self.status.is_server_error() {
            tracing::error!(
                status = self.status.as_u16(),
                message = self.message,
                "registry"
            );
        }
        let error = json!({ "code": self.code, "message": self.message });
        let body = json!({ "errors": [error] }).to_string();
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, body.len());
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(body)
        };
        response
            .body(body)
            .unwrap_or_else(|_| Response::new(Body::empty()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, code) = status_and_code(&error);
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let failure = Self::new(status, code, message);
        match error {
            Error::UploadOrder { offset, location } => failure
                .with(header::RANGE, received(offset))
                .with(header::LOCATION, location),
            Error::TooManyUploads { .. } => failure.with(header::RETRY_AFTER, "60"),
            _ => failure,
        }
    }
}

impl From<Stays> for Failure {
    fn from(stays: Stays) -> Self {
        match stays {
            Stays::Needed(message) => Self::new(StatusCode::FORBIDDEN, "DENIED", message),
            Stays::Untold(message) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let failure = Self::new(status, "TOOMANYREQUESTS", message);
                failure.with(header::RETRY_AFTER, "5")
            }
        }
    }
}

fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        Error::Name { .. } => (S::BAD_REQUEST, "NAME_INVALID"),
        Error::Reference { .. } => (S::BAD_REQUEST, "MANIFEST_INVALID"),
        Error::DigestSyntax { .. } | Error::DigestMismatch { .. } => {
            (S::BAD_REQUEST, "DIGEST_INVALID")
        }
        Error::BlobUnknown { .. } => (S::NOT_FOUND, "BLOB_UNKNOWN"),
        Error::UploadUnknown { .. } => (S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        Error::UploadOrder { .. } => (S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
        Error::UploadBusy { .. } => (S::CONFLICT, "BLOB_UPLOAD_INVALID"),
        Error::TooManyUploads { .. } => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        Error::Size { .. } => (S::BAD_REQUEST, "SIZE_INVALID"),
        Error::BodyCut { .. } => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        Error::ManifestUnknown { .. } => (S::NOT_FOUND, "MANIFEST_UNKNOWN"),
        Error::RepositoryUnknown { .. } => (S::NOT_FOUND, "NAME_UNKNOWN"),
        Error::ManifestInvalid { .. } => (S::BAD_REQUEST, "MANIFEST_INVALID"),
        Error::ManifestBlobUnknown { .. } => (S::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        Error::ManifestTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
        // The list of codes binds answers of the client's fault only; these are the registry's own.
        Error::DiskFull { .. } => (S::INSUFFICIENT_STORAGE, "DISK_FULL"),
        Error::Damaged { .. } => (S::INTERNAL_SERVER_ERROR, "CONTENT_DAMAGED"),
        Error::ShuttingDown(_) => (S::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Error::File { .. } | Error::Store { .. } | Error::InUse { .. } => {
            (S::INTERNAL_SERVER_ERROR, "UNKNOWN")
        }
    }
}

/// What an upload has received, as its `Range` header says it: of nothing and of one byte alike `0-0`.
pub(super) fn received(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode, headers: &[(HeaderName, &str)]) -> super::Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, *value);
    }
    if status != StatusCode::NO_CONTENT {
        response = response.header(header::CONTENT_LENGTH, 0);
    }
    built(response.body(Body::empty()))
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &Value) -> super::Answer {
    text(status, "application/json", body)
}

pub(super) fn text(status: StatusCode, media_type: &str, body: &impl Serialize) -> super::Answer {
    let body = serde_json::to_vec(body)
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", e.to_string()))?;
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_LENGTH, body.len());
    built(response.body(Body::from(body)))
}

pub(super) fn built(response: http::Result<Response<Body>>) -> super::Answer {
    // Only a header value that HTTP does not allow gets here, and all of them are checked texts.
    response.map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", e.to_string()))
}

/// A header as text.
pub(super) fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `Docker-Content-Digest`: the digest of the content in the answer.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
