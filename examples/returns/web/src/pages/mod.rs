//! The pages: server-rendered HTML that works without a script.

mod desk;
mod detail;
mod layout;
mod list;
mod open;
mod prices;
mod problem;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use returns_domain::entry::search_words;
use returns_domain::returns::Search;
use returns_domain::state::State;
use serde::Deserialize;

use crate::failure::{ApiFailure, Failure};
use crate::serve::App;
use crate::{api, assets, events, export, guard, health, upload};

pub(crate) use problem::PageFailure;

/// The largest form or JSON body, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// Every address of the service.
pub(crate) fn router(app: App) -> Router {
    let uploads = Router::new()
        .route("/api/returns/{id}/attachments", post(upload::from_program))
        .route("/returns/{id}/attachments", post(upload::from_page))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/", get(list::page))
        .route("/returns", post(open::submit))
        .route("/returns/new", get(open::page))
        .route("/returns.csv", get(export::matching))
        .route("/returns/{id}", get(detail::page))
        .route("/returns/{id}/items", post(detail::add_item))
        .route("/returns/{id}/items.csv", get(export::one))
        .route(
            "/returns/{id}/items/{item}/remove",
            post(detail::remove_item),
        )
        .route("/returns/{id}/items/{item}/price", post(detail::price))
        .route(
            "/returns/{id}/attachments/{attachment}",
            get(upload::download),
        )
        .route("/returns/{id}/{step}", post(detail::step))
        .route("/receiving", get(desk::page))
        .route("/prices", get(prices::page))
        .route("/assets/{print}/{name}", get(assets::asset))
        .route("/events", get(events::events))
        .route("/healthz", get(health::healthz))
        .route("/version", get(health::version))
        .route("/api/returns", get(api::list).post(api::open))
        .route("/api/returns/{id}", get(api::show))
        .route("/api/returns/{id}/items", post(api::add_item))
        .route("/api/returns/{id}/items/{item}", delete(api::remove_item))
        .route("/api/returns/{id}/items/{item}/price", post(api::price))
        .route("/api/returns/{id}/{step}", post(api::step))
        .route("/api/tally", get(api::tally))
        .route("/api/prices", get(api::prices))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .merge(uploads)
        .fallback(|request: Request| async move { refuse(&request, Failure::Missing("page")) })
        .method_not_allowed_fallback(
            |request: Request| async move { refuse(&request, Failure::Method) },
        )
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            guard::around,
        ))
        .with_state(app)
}

fn refuse(request: &Request, failure: Failure) -> Response {
    if request.uri().path().starts_with("/api/") {
        ApiFailure(failure).into_response()
    } else {
        PageFailure(failure).into_response()
    }
}

/// What a list is narrowed to. Everything is text, so that no address is ever unreadable.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    pub(crate) q: String,
    pub(crate) state: String,
    pub(crate) before: String,
    pub(crate) limit: String,
}

impl Filter {
    /// The search that is meant; a state that does not exist narrows nothing.
    pub(crate) fn search(&self) -> Search {
        Search {
            words: search_words(&self.q),
            state: self.state.parse().ok(),
            before: self.before.trim().parse().ok(),
            limit: 25,
        }
    }

    /// The complaint about a state that does not exist.
    pub(crate) fn unknown_state(&self) -> Option<String> {
        if self.state.is_empty() {
            return None;
        }
        self.state
            .parse::<State>()
            .err()
            .map(|error| error.to_string())
    }
}
