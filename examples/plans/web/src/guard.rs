//! What surrounds every request: refusal of foreign forms, and security headers.
//!
//! There is no sign-in and so no cookie to steal, but a page elsewhere must still not be able to press
//! buttons here through the browser of somebody who can reach this service. Browsers say where a request
//! comes from (`Sec-Fetch-Site`, or `Origin` where that is missing); programs such as curl send neither.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::failure::Failure;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The layer around all routes.
pub(crate) async fn around(request: Request, next: Next) -> Response {
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let mut response = match changes && !is_own(request.headers()) {
        true => Failure::Foreign.told(request.uri().path()),
        false => next.run(request).await,
    };
    dress(response.headers_mut());
    response
}

/// Whether a request that changes something comes from our own pages, or from no page at all.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let own = origin.split_once("://").map(|(_, own)| own);
            own.is_some_and(|own| own.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

fn dress(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
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
    ];
    for (name, value) in fixed {
        // What a handler said more precisely stands.
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
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
        let host = ("host", "plans.localhost:8080");
        assert!(own(&[]));
        assert!(own(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://proxy.example")
        ]));
        assert!(own(&[("origin", "http://plans.localhost:8080"), host]));
        assert!(!own(&[("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("sec-fetch-site", "same-site")]));
        assert!(!own(&[("origin", "null"), host]));
        assert!(!own(&[
            ("origin", "http://plans.localhost:8080.evil"),
            host
        ]));
    }
}
