//! What surrounds every request: refusal of foreign forms, security headers, the release's name, a log line.
//!
//! There is no sign-in and so no cookie to steal, but a page elsewhere must still not be able to press
//! buttons here through the browser of somebody who can reach this service. Browsers say where a request
//! comes from (`Sec-Fetch-Site`, or `Origin` where that is missing); programs such as curl send neither.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use returns_domain::log::{self, Level};

use crate::failure::{ApiFailure, Failure};
use crate::pages::PageFailure;
use crate::serve::App;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The layer around all routes.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = if is_unsafe(&method) && !is_own(request.headers()) {
        if path.starts_with("/api/") {
            ApiFailure(Failure::Foreign).into_response()
        } else {
            PageFailure(Failure::Foreign).into_response()
        }
    } else {
        next.run(request).await
    };
    dress(response.headers_mut(), &app.identity.release);
    // Health checks come several times a second; they are noise unless somebody looks for them.
    let level = if path == "/healthz" {
        Level::Debug
    } else {
        Level::Info
    };
    let spent = started.elapsed().as_micros() as f64 / 1000.0;
    log::line(
        level,
        "request",
        &[
            ("method", &method),
            ("path", &path),
            ("status", &response.status().as_u16()),
            ("ms", &format_args!("{spent:.1}")),
        ],
    );
    response
}

fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a request that changes something comes from our own pages, or from no page at all.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, own)| own.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

fn dress(headers: &mut HeaderMap, release: &str) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        // What a handler said more precisely stands.
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(release) {
        headers.insert(HeaderName::from_static("x-release"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        is_own(&headers)
    }

    #[test]
    fn only_our_own_pages_and_programs_may_change_something() {
        assert!(own(&[]));
        assert!(own(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://proxy.example")
        ]));
        assert!(own(&[
            ("origin", "http://returns.localhost:8080"),
            ("host", "returns.localhost:8080")
        ]));
        assert!(!own(&[("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("sec-fetch-site", "same-site")]));
        assert!(!own(&[("origin", "null"), ("host", "returns.localhost")]));
        assert!(!own(&[
            ("origin", "http://evil.example"),
            ("host", "returns.localhost")
        ]));
        assert!(!own(&[
            ("origin", "http://returns.localhost.evil"),
            ("host", "returns.localhost")
        ]));
    }
}
