//! Whether this instance can serve, and which release it is.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use plans_service::{Identity, log};
use plans_store::migrate;

use crate::serve::App;

/// Set once the schema was seen to be new enough; schemas do not go backwards.
static SCHEMA_FITS: AtomicBool = AtomicBool::new(false);

/// 200 only when the database answers and has the schema that this release needs.
pub(crate) async fn healthz(State(app): State<App>) -> Response {
    let client = match app.health.get().await {
        Ok(client) => client,
        Err(error) => return ill(&log::chain(&error)),
    };
    if !SCHEMA_FITS.load(Ordering::Relaxed) {
        let needed = migrate::NEEDED;
        match migrate::version(&client).await {
            Ok(version) if version >= needed => SCHEMA_FITS.store(true, Ordering::Relaxed),
            Ok(version) => {
                return ill(&format!(
                    "the schema is at {version}, this release needs {needed}: run plans-web migrate"
                ));
            }
            Err(error) => return ill(&log::chain(&error)),
        }
    }
    "ok\n".into_response()
}

/// Release, instance, version and process.
pub(crate) async fn version() -> Json<Identity> {
    Json(Identity::own())
}

fn ill(why: &str) -> Response {
    let retry = [(header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{why}\n")).into_response()
}
