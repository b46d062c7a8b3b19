//! Style and icon, embedded in the program.
//!
//! Their addresses carry a fingerprint of their content, and the answer to the right address may be cached
//! for ever. While two releases serve side by side, a page of one may ask the other for a style it does not
//! have: it gets the style that is there, and nobody may keep it under the wrong name.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::pages::PageFailure;

const STYLE: &str = include_str!("../assets/style.css");
const ICON: &str = include_str!("../assets/icon.svg");

/// Changes with any of the files.
static PRINT: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::new()
        .chain_update(STYLE)
        .chain_update(ICON)
        .finalize();
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
});

/// The address of a file.
pub(crate) fn address(name: &str) -> String {
    format!("/assets/{}/{name}", *PRINT)
}

/// `GET /assets/{print}/{name}`.
pub(crate) async fn asset(
    Path((print, name)): Path<(String, String)>,
) -> Result<Response, PageFailure> {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Failure::Missing("file").into()),
    };
    let cache = match print == *PRINT {
        true => "public, max-age=31536000, immutable",
        false => "no-store",
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    Ok((headers, text).into_response())
}
