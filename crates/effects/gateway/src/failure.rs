//! Answers of the gateway's own making. Each knows whose fault it is.
//!
//! Browsers get a page that needs nothing from elsewhere, programs a few lines of text, and gRPC calls a
//! status where their libraries look for one ("Trailers-Only" in gRPC's PROTOCOL-HTTP2.md). An answer names
//! the host that was asked for and no other: which hosts are served is nobody's business who has to guess.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

use crate::head;

/// The most of a host that is repeated: the length of the longest DNS name.
const LONGEST_HOST: usize = 253;

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
    /// Its word in the log and in headers.
    pub(crate) fn as_str(self) -> &'static str {
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
    /// In so many seconds.
    After(u32),
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
    /// The answer would be the request itself.
    pub(crate) const TRACE: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Fault::Client,
        Retry::Unsaid,
        "TRACE is not served here.",
    );
    /// A CONNECT for something else than a websocket (RFC 9220 section 3 names the status).
    pub(crate) const PROTOCOL: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        Fault::Client,
        Retry::Unsaid,
        "Of the protocols that a CONNECT can name only websocket is served.",
    );
    /// A websocket was asked for over HTTP/2, where the instance's page would be taken for one.
    pub(crate) const NO_WEBSOCKET: Self =
        Self::bad_request("There is no websocket at this address.");
    /// The client asks more often than it may; its next request may come after `wait`.
    pub(crate) fn too_many(wait: Duration) -> Self {
        // Rounded up: a second that is not over yet is refused again.
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            Fault::Client,
            Retry::After(seconds.max(1)),
            "You ask more often than this application allows. Try again later.",
        )
    }

    /// The service has more to do than it can.
    pub(crate) const OVERLOADED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "The application has more to do than it can. Try again in a moment.",
    );
    /// A header section that is too large.
    pub(crate) const HEAD: Self = Self::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Fault::Client,
        Retry::Unsaid,
        "The request's header section is too large, or has too many lines.",
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
        "It is not served here. Check the name in the address.",
    );
    /// The host's environment was taken down.
    pub(crate) const DOWN: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::After(60),
        "The application is down: whoever runs it has stopped it. Try again later.",
    );
    /// No route of the host takes such requests.
    pub(crate) const UNKNOWN_PATH: Self = Self::new(
        StatusCode::NOT_FOUND,
        Fault::Client,
        Retry::Unsaid,
        "Nothing is served at this address.",
    );
    /// The instance could take the path for another one than the gateway does.
    pub(crate) const AMBIGUOUS_PATH: Self =
        Self::bad_request("The path can be read in more than one way.");
    /// The client's address is not among those that may ask.
    pub(crate) const FORBIDDEN: Self = Self::new(
        StatusCode::FORBIDDEN,
        Fault::Client,
        Retry::Unsaid,
        "This is not open to the address that you ask from.",
    );
    /// The connection is one to a host that takes other clients, or to none that asks who they are.
    pub(crate) const MISDIRECTED: Self = Self::new(
        StatusCode::MISDIRECTED_REQUEST,
        Fault::Client,
        Retry::Unsaid,
        "This host and that of the connection take different clients. Ask on a TLS connection to this host, with the \
         certificate that it asks for.",
    );
    /// The body is larger than the route takes.
    pub(crate) const TOO_LARGE: Self = Self::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Fault::Client,
        Retry::Unsaid,
        "The request's body is larger than is taken here.",
    );
    /// Somebody wants it so, and says why.
    pub(crate) const MAINTENANCE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "This is being worked on.",
    );
    /// The clients of the gateway hold more than it may use.
    pub(crate) const MEMORY: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "This server has no memory left for more requests. Try again in a moment.",
    );
    /// A gateway that was started without a table and has not been given one yet.
    pub(crate) const NO_TABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "This server has not been told yet what to serve. Try again in a moment.",
    );
    /// The pool names no instance.
    pub(crate) const NO_INSTANCE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "No instance of the application is ready. Try again in a moment.",
    );
    /// There is no such pool: its environment is down, or not there, or has no such service.
    pub(crate) const NOT_THERE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "What the link leads to does not run.",
    );
    /// Nobody lets the environment in whose link it is.
    pub(crate) const NOT_EXPORTED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "What the link leads to is not exported to the environment that asks.",
    );
    /// Its environment sleeps, and did not wake in time.
    pub(crate) const ASLEEP: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::After(10),
        "The application sleeps while nobody uses it, and did not wake within 30 seconds. Try again in a moment.",
    );
    /// Its environment sleeps, and cannot be woken.
    pub(crate) const SEALED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::After(10),
        "The application sleeps while nobody uses it, and cannot be woken: its secrets cannot be opened. `ward status` \
         says what is missing.",
    );
    /// No instance took a connection. Nothing was sent.
    pub(crate) const UNREACHABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Upstream,
        Retry::Soon,
        "The application does not take connections. Try again in a moment.",
    );
    /// The instance went away, or answered what is not HTTP.
    pub(crate) const LOST: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        Fault::Upstream,
        Retry::Unsaid,
        "The application broke off before it answered.",
    );
    /// A gRPC call for what does not speak HTTP/2.
    pub(crate) const UNSPOKEN: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        Fault::Upstream,
        Retry::Unsaid,
        "The application does not speak HTTP/2, which a gRPC call needs.",
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
    /// Its time was over before an instance could begin with it.
    pub(crate) const EXPIRED: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        Fault::Upstream,
        Retry::Unsaid,
        "The time for this was over before an instance of the application was free for it.",
    );
    /// The time that the caller itself gave it is over.
    pub(crate) const GIVEN_UP: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        Fault::Client,
        Retry::Unsaid,
        "The time that its caller gave it was over before there was an answer.",
    );
    /// The client stopped sending in the middle of a body.
    pub(crate) const SLOW_CLIENT: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        Fault::Client,
        Retry::Unsaid,
        "The rest of the request did not come in time.",
    );
    /// The client closed its end while its request waited for an instance.
    pub(crate) const HUNG_UP: Self =
        Self::bad_request("The connection was closed before there was an answer.");
    /// The client's body broke off, or was not what its head announced.
    pub(crate) const BROKEN_BODY: Self = Self::bad_request("The request's body is broken.");
    /// The instance had to stop before it answered.
    pub(crate) const CUT: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Fault::Ward,
        Retry::Soon,
        "The instance was stopped before it answered. Try again.",
    );

    /// The answer to whoever asked.
    pub(crate) fn answer(self, asked: &Asked, request_id: &HeaderValue) -> Response<Bytes> {
        self.answer_saying(&self.words(asked), asked, request_id)
    }

    /// The same in other words.
    pub(crate) fn answer_saying(
        self,
        words: &str,
        asked: &Asked,
        request_id: &HeaderValue,
    ) -> Response<Bytes> {
        let id = request_id.to_str().unwrap_or("");
        let (body, content_type, status) = match asked.form() {
            Form::Page => (
                self.page(words, id),
                "text/html; charset=utf-8",
                self.status,
            ),
            Form::Text => (
                self.text(words, id),
                "text/plain; charset=utf-8",
                self.status,
            ),
            Form::Call => (String::new(), "application/grpc", StatusCode::OK),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if asked.form() == Form::Call {
            self.grpc_status(words, headers);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("ward-fault", HeaderValue::from_static(self.fault.as_str()));
        match self.retry {
            Retry::Soon => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Retry::After(seconds) => drop(headers.insert(RETRY_AFTER, seconds.into())),
            Retry::Unsaid => {}
        }
        // A new connection would cost more than the next refusal.
        let harmless = [
            StatusCode::NOT_FOUND,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        let ends = self.fault == Fault::Client && !harmless.contains(&self.status);
        if ends || self == Self::MEMORY {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn page(self, words: &str, id: &str) -> String {
        let (status, id) = (self.status, escaped(id));
        let sentence = escaped(words);
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\n\
             <h1>{status}</h1>\n<p>{sentence}</p>\n<p>Request {id}</p>\n</html>\n"
        )
    }

    fn text(self, words: &str, id: &str) -> String {
        format!("{}\n{words}\nRequest {id}\n", self.status)
    }

    /// The codes that gRPC's http-grpc-status-mapping.md gives these statuses.
    fn grpc_status(self, words: &str, headers: &mut HeaderMap) {
        let code = match self.status {
            StatusCode::BAD_REQUEST => "13",
            StatusCode::NOT_FOUND => "12",
            StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => "7",
            StatusCode::PAYLOAD_TOO_LARGE => "8",
            StatusCode::TOO_MANY_REQUESTS => "14",
            // A call's own deadline, which its client knows by this name.
            StatusCode::GATEWAY_TIMEOUT if self == Self::GIVEN_UP => "4",
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => "14",
            _ => "2",
        };
        headers.insert("grpc-status", HeaderValue::from_static(code));
        let words = percent_encoded(words);
        if let Ok(words) = HeaderValue::try_from(words) {
            headers.insert("grpc-message", words);
        }
    }

    fn words(self, asked: &Asked) -> String {
        match asked.host().filter(|_| self == Self::UNKNOWN_HOST) {
            Some(host) => format!("You asked for the host {host}. {}", self.sentence),
            None => self.sentence.to_owned(),
        }
    }
}

/// What an answer has to know of its request.
pub(crate) struct Asked {
    target: Option<Authority>,
    host: Option<HeaderValue>,
    accept: Option<HeaderValue>,
    is_call: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Text,
    Call,
}

impl Asked {
    /// Taken before the request is passed on. Copies no text.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            target: request.uri().authority().cloned(),
            host: request.headers().get(HOST).cloned(),
            accept: request.headers().get(ACCEPT).cloned(),
            is_call: request.version() == Version::HTTP_2 && head::is_grpc(request.headers()),
        }
    }

    /// Browsers ask for HTML by name; everything else takes text as well.
    fn form(&self) -> Form {
        if self.is_call {
            return Form::Call;
        }
        let accept = self.accept.as_ref().and_then(|value| value.to_str().ok());
        let mut ranges = accept.unwrap_or("").split(',');
        let html = ranges.any(|range| {
            let kind = range.split(';').next().unwrap_or("").trim();
            kind.eq_ignore_ascii_case("text/html")
        });
        if html { Form::Page } else { Form::Text }
    }

    fn host(&self) -> Option<String> {
        let header = || Authority::try_from(self.host.as_ref()?.as_bytes()).ok();
        let authority = self.target.clone().or_else(header)?;
        Some(authority.host().chars().take(LONGEST_HOST).collect())
    }
}

/// As gRPC wants its messages: everything but printable ASCII, and the percent sign, by its bytes.
fn percent_encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => safe.push_str("%25"),
            b' '..=b'~' => safe.push(char::from(byte)),
            _ => {
                let _ = write!(safe, "%{byte:02X}");
            }
        }
    }
    safe
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => {
                let _ = write!(safe, "&#{};", u32::from(letter));
            }
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(failure: Failure, host: &str, accept: &str) -> (Response<Bytes>, String) {
        let request = Request::builder().header(HOST, host).header(ACCEPT, accept);
        let asked = Asked::of(&request.body(()).unwrap());
        let answer = failure.answer(&asked, &HeaderValue::from_static("abc"));
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        (answer, text)
    }

    #[test]
    fn an_answer_says_whose_fault_it_is_and_when_to_come_back() {
        let (answer, text) = answered(Failure::NO_INSTANCE, "a.example", "text/html");
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.headers()["ward-fault"], "upstream");
        assert!(text.contains("Request abc"), "{text}");
        assert!(!text.contains("a.example"), "{text}");
        let (answer, _) = answered(Failure::UNKNOWN_HOST, "a.example", "text/html");
        assert!(answer.headers().get("retry-after").is_none());
    }

    #[test]
    fn browsers_get_a_page_and_programs_text() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, page) in [
            (firefox, true),
            ("application/json, TEXT/HTML;q=0.1", true),
            ("*/*", false),
            ("application/json", false),
            ("text/htmlish", false),
            ("", false),
        ] {
            let (answer, text) = answered(Failure::UNKNOWN_HOST, "a.example:81", accept);
            assert_eq!(
                text.starts_with("<!doctype html>"),
                page,
                "{accept}: {text}"
            );
            let kind = ["text/plain; charset=utf-8", "text/html; charset=utf-8"];
            assert_eq!(answer.headers()[CONTENT_TYPE], kind[usize::from(page)]);
            assert!(
                text.contains("the host a.example. It is not served here"),
                "{text}"
            );
        }
    }

    #[test]
    fn calls_get_a_status_where_they_look_for_one() {
        let call = |failure: Failure, version| {
            let request = Request::post("http://a.example/service/Method").version(version);
            let request = request.header(CONTENT_TYPE, "application/grpc+proto");
            let asked = Asked::of(&request.body(()).unwrap());
            failure.answer(&asked, &HeaderValue::from_static("abc"))
        };
        for (failure, code) in [
            (Failure::NO_INSTANCE, "14"),
            (Failure::LOST, "14"),
            (Failure::UNKNOWN_HOST, "12"),
            (Failure::BROKEN_BODY, "13"),
            (Failure::CODING, "2"),
        ] {
            let answer = call(failure, Version::HTTP_2);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], code);
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
            let message = answer.headers()["grpc-message"].to_str().unwrap();
            assert!(message.contains(failure.sentence), "{message}");
            assert!(answer.body().is_empty());
        }
        assert_eq!(call(Failure::LOST, Version::HTTP_11).status(), 502);
        assert_eq!(percent_encoded("50% of\n\u{e9}"), "50%25 of%0A%C3%A9");
    }

    #[test]
    fn what_a_client_sent_is_never_markup() {
        let (_, text) = answered(Failure::UNKNOWN_HOST, "a'&b;", "text/html");
        assert!(text.contains("a&#39;&#38;b;"), "{text}");
        assert_eq!(escaped("<script>\""), "&#60;script&#62;&#34;");
        let long = "a".repeat(4000);
        let (_, text) = answered(Failure::UNKNOWN_HOST, &long, "*/*");
        assert!(text.len() < 500, "{}", text.len());
    }
}
