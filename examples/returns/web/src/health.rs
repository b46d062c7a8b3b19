//! Whether this instance can serve, and which release it is.
//!
//! The question goes over the connection that listens for changes, beside the pool: a pool that is busy
//! with requests must not make a healthy instance look ill.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use returns_domain::migrate;

use crate::serve::{App, Identity};

/// Set once the schema was seen to be new enough; schemas do not go backwards.
static SCHEMA_FITS: AtomicBool = AtomicBool::new(false);

/// 200 only when the database answers and has the schema that this release needs.
pub(crate) async fn healthz(State(app): State<App>) -> Response {
    let Some(session) = app.listener.session() else {
        return ill("the database is not connected");
    };
    if !session.lives().await {
        return ill("the database does not answer");
    }
    if !SCHEMA_FITS.load(Ordering::Relaxed) {
        match migrate::version(&session).await {
            Ok(version) if version >= migrate::NEEDED => SCHEMA_FITS.store(true, Ordering::Relaxed),
            Ok(version) => {
                let needed = migrate::NEEDED;
                return ill(&format!(
                    "the schema is at {version}, this release needs {needed}: run returns-web migrate"
                ));
            }
            Err(error) => return ill(&error.to_string()),
        }
    }
    "ok\n".into_response()
}

/// Release, instance, version and process.
pub(crate) async fn version(State(app): State<App>) -> Json<Identity> {
    Json(app.identity)
}

fn ill(why: &str) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, "1")],
        format!("{why}\n"),
    )
        .into_response()
}
