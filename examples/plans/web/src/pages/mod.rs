//! The pages: server-rendered HTML, without a script.

mod comparison;
mod employer;
mod examples;
mod index;
mod layout;
mod people;
mod problem;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::routing::{get, post, put};
use plans_model::import::MOST_BYTES;

use crate::failure::Failure;
use crate::serve::App;
use crate::{api, assets, guard, health, report};

pub(crate) use problem::PageFailure;

/// The largest form or JSON body, in bytes.
const MOST_FORM: usize = 16 * 1024;
/// The largest upload: a file, and what a browser puts around it.
const MOST_UPLOAD: usize = MOST_BYTES + 16 * 1024;

/// Every address of the service.
pub(crate) fn router(app: App) -> Router {
    let uploads = Router::new()
        .route("/employers/{id}/plans", post(employer::plans))
        .route(
            "/employers/{id}/employees",
            get(people::page).post(employer::employees),
        )
        .route("/api/employers/{id}/plans", put(api::plans))
        .route("/api/employers/{id}/employees", put(api::employees))
        .layer(DefaultBodyLimit::max(MOST_UPLOAD));
    Router::new()
        .route("/", get(index::page))
        .route("/employers", post(index::add))
        .route("/employers/{id}", get(employer::page))
        .route("/employers/{id}/comparisons", post(employer::compare))
        .route("/comparisons/{id}", get(comparison::page))
        .route("/comparisons/{id}/report", get(report::report))
        .route("/examples/plans.csv", get(examples::plans))
        .route("/examples/employees.csv", get(examples::employees))
        .route("/assets/{print}/{name}", get(assets::asset))
        .route("/healthz", get(health::healthz))
        .route("/version", get(health::version))
        .route("/api/employers", get(api::list).post(api::add))
        .route("/api/employers/{id}", get(api::show))
        .route("/api/employers/{id}/comparisons", post(api::ask))
        .route("/api/comparisons/{id}", get(api::comparison))
        .layer(DefaultBodyLimit::max(MOST_FORM))
        .merge(uploads)
        .fallback(
            |request: Request| async move { Failure::Missing("page").told(request.uri().path()) },
        )
        .method_not_allowed_fallback(|request: Request| async move {
            Failure::Method.told(request.uri().path())
        })
        .layer(axum::middleware::from_fn(guard::around))
        .with_state(app)
}
