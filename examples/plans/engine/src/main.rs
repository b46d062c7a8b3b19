//! `plans-engine`: computes comparisons, and knows nothing but what it is asked.
//!
//! ```text
//! POST /compare    a request as JSON → a comparison as JSON; 422 where it cannot be computed
//! GET  /healthz
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use plans_model::compare::{Comparison, Request};
use plans_service::{Identity, log, serve, settings};
use tokio::sync::Semaphore;

/// The largest request, in bytes: 5,000 employees and 40 plans with room to spare.
const MOST_BODY: usize = 4 * 1024 * 1024;

fn main() -> ExitCode {
    serve::ended(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let port = settings::number("PORT", 8081, 0, 65_535)? as u16;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve::serve(router(), port))
}

fn router() -> Router {
    // More at a time than there are processors would only make each of them slower.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Router::new()
        .route("/compare", post(compare))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/version", get(|| async { Json(Identity::own()) }))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(Arc::new(Semaphore::new(processors)))
}

async fn compare(State(turns): State<Arc<Semaphore>>, body: Bytes) -> Response {
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(refusal) = request.check() {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, &refusal.to_string());
    }
    let Ok(_turn) = turns.acquire_owned().await else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the engine is ending");
    };
    // On a thread of its own, so that health checks are answered meanwhile.
    let computed = tokio::task::spawn_blocking(move || compute(&request)).await;
    match computed {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(reason)) => refused(StatusCode::UNPROCESSABLE_ENTITY, &reason),
        Err(_) => refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the computation broke off",
        ),
    }
}

fn compute(request: &Request) -> Result<String, String> {
    let started = Instant::now();
    let comparison: Comparison = request.compare().map_err(|refusal| refusal.to_string())?;
    let spent = started.elapsed().as_millis();
    log::info(
        "compared",
        &[
            ("plans", &comparison.plans.len()),
            ("employees", &comparison.employees.len()),
            ("recommended", &comparison.recommended().code),
            ("ms", &spent),
        ],
    );
    serde_json::to_string(&comparison).map_err(|error| error.to_string())
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, format!("{reason}\n")).into_response()
}
