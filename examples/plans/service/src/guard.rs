//! What surrounds every request of a service: a line of output, and headers that hold for all answers.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::log::{self, Level};

/// Calls the service, says in a line how that went, and adds what each answer carries.
pub async fn around(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    dress(response.headers_mut());
    // Health checks come several times a second; they are noise unless somebody looks for them.
    let level = match path.as_str() {
        "/healthz" => Level::Debug,
        _ => Level::Info,
    };
    let spent = started.elapsed().as_micros() as f64 / 1000.0;
    let status = response.status().as_u16();
    log::line(
        level,
        "request",
        &[
            ("method", &method),
            ("path", &path),
            ("status", &status),
            ("ms", &format_args!("{spent:.1}")),
        ],
    );
    response
}

fn dress(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        // What a handler said more precisely stands.
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    let release = std::env::var("WARD_RELEASE").unwrap_or_else(|_| "none".to_owned());
    if let Ok(release) = HeaderValue::from_str(&release) {
        headers.insert(HeaderName::from_static("x-release"), release);
    }
}
