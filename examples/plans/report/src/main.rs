//! `plans-report`: renders a comparison as one HTML file, to be kept, mailed or printed.
//!
//! ```text
//! POST /render     what was compared as JSON → HTML
//! GET  /healthz
//! ```

mod page;

use std::error::Error;
use std::process::ExitCode;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use plans_service::{Identity, serve, settings};

/// The largest request, in bytes: what each of 40 plans costs each of 5,000 employees.
const MOST_BODY: usize = 8 * 1024 * 1024;

fn main() -> ExitCode {
    serve::ended(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let port = settings::number("PORT", 8082, 0, 65_535)? as u16;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve::serve(router(), port))
}

fn router() -> Router {
    Router::new()
        .route("/render", post(render))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/version", get(|| async { Json(Identity::own()) }))
        .layer(DefaultBodyLimit::max(MOST_BODY))
}

async fn render(body: Bytes) -> Response {
    let subject = serde_json::from_slice::<page::Subject>(&body).map_err(|error| error.to_string());
    match subject.and_then(page::Subject::checked) {
        Ok(subject) => Html(page::page(&subject).into_string()).into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{reason}\n")).into_response(),
    }
}
