//! The stored report, and the policy under which a browser shows it.
//!
//! A report is a file of its own with its style inside. It may use that style, by its fingerprint, and
//! nothing else: whatever else were in it, no browser would run or load it.

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use plans_store::comparisons;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::form::Id;
use crate::pages::PageFailure;
use crate::serve::App;

#[derive(Deserialize)]
pub(crate) struct How {
    download: Option<String>,
}

/// `GET /comparisons/{id}/report`, to be saved with `?download`.
pub(crate) async fn report(
    State(app): State<App>,
    Id(id): Id,
    Query(how): Query<How>,
) -> Result<Response, PageFailure> {
    let report = comparisons::report(&*app.pool.get().await?, id).await?;
    let report = report.ok_or(Failure::Missing("report"))?;
    let place = match how.download {
        Some(_) => format!("attachment; filename=\"plan-report-{id}.html\""),
        None => "inline".to_owned(),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, place),
        (header::CONTENT_SECURITY_POLICY, policy(&report)),
    ];
    Ok((headers, report).into_response())
}

fn policy(report: &str) -> String {
    let style = report
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
        .map_or("", |(style, _)| style);
    let print = base64(&Sha256::digest(style.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{print}'; base-uri 'none'; frame-ancestors 'none'; sandbox"
    )
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let octet = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
