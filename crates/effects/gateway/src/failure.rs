//! Answers of the gateway's own making. Each knows whose fault it is.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// Who has to change something for the request to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Whoever sent the request.
    Client,
    /// The application.
    Upstream,
    /// Ward, or whoever runs it.
    Ward,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Upstream => "upstream",
            Fault::Ward => "ward",
        }
    }
}

/// A request that gets a page of the gateway's instead of an answer of the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// Whose fault it is.
    pub(crate) fault: Fault,
    /// What happened, in a sentence.
    pub(crate) sentence: &'static str,
    retry: Retry,
}

/// What the client is told about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Soon,
    Unsaid,
}

impl Failure {
    const fn new(status: StatusCode, fault: Fault, retry: Retry, sentence: &'static str) -> Self {
        Self {
            status,
            fault,
            sentence,
            retry,
        }
    }

    /// A request that must not be passed on. The connection is closed after the answer, because what
    /// follows on it may be the rest of an attack.
    pub(crate) const fn bad_request(sentence: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Fault::Client,
            Retry::Unsaid,
            sentence,
        )
    }

    /// A method that the gateway does not pass on.
    pub(crate) const METHOD: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Fault::Client,
        Retry::Unsaid,
        "CONNECT is not served here.",
    );
    /// A transfer coding other than chunked.
    pub(crate) const CODING: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        Fault::Client,
        Retry::Unsaid,
        "Of all transfer codings only chunked is understood.",
    );
    /// No pool has this host.
    pub(crate) const UNKNOWN_HOST: Self = Self::new(
        StatusCode::NOT_FOUND,
        Fault::Client,
        Retry::Unsaid,
        "Nothing is served under this name.",
    );
    /// A gateway that was started without a table and has not been given one yet.
    pub(crate) const NO_TABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "The gateway has not been told yet what to serve.",
    );
    /// The pool names no instance.
    pub(crate) const NO_INSTANCE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "No instance of the application is ready.",
    );
    /// No instance took a connection. Nothing was sent.
    pub(crate) const UNREACHABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "The application does not take connections.",
    );
    /// The instance went away, or answered what is not HTTP.
    pub(crate) const LOST: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        Fault::Upstream,
        Retry::Unsaid,
        "The application broke off before it answered.",
    );
    /// The instance switched protocols without having been asked to, or could not be switched.
    pub(crate) const SWITCHED: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        Fault::Upstream,
        Retry::Unsaid,
        "The application switched protocols in a way that was not asked for.",
    );
    /// The instance took too long.
    pub(crate) const LATE: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        Fault::Upstream,
        Retry::Unsaid,
        "The application did not answer in time.",
    );
    /// The client stopped sending in the middle of a body.
    pub(crate) const SLOW_CLIENT: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        Fault::Client,
        Retry::Unsaid,
        "The rest of the request did not come in time.",
    );
    /// The client's body broke off, or was not what its head announced.
    pub(crate) const BROKEN_BODY: Self = Self::bad_request("The request's body is broken.");
    /// The instance had to stop before it answered.
    pub(crate) const CUT: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "The instance was stopped before it answered.",
    );

    /// The page.
    pub(crate) fn page(self, request_id: &HeaderValue) -> Response<Bytes> {
        let status = self.status;
        let id = request_id.to_str().unwrap_or("");
        let body = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\n\
             <h1>{status}</h1>\n<p>{}</p>\n<p>Request {id}</p>\n</html>\n",
            self.sentence
        );
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("ward-fault", HeaderValue::from_static(self.fault.as_str()));
        if self.retry == Retry::Soon {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.fault == Fault::Client && status != StatusCode::NOT_FOUND {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whose_fault_it_is_and_when_to_come_back() {
        let page = Failure::NO_INSTANCE.page(&HeaderValue::from_static("abc"));
        assert_eq!(page.status(), 503);
        assert_eq!(page.headers()["retry-after"], "1");
        assert_eq!(page.headers()["ward-fault"], "upstream");
        let text = std::str::from_utf8(page.body()).unwrap();
        assert!(text.contains("Request abc"), "{text}");
        let page = Failure::UNKNOWN_HOST.page(&HeaderValue::from_static("abc"));
        assert!(page.headers().get("retry-after").is_none());
    }
}
