//! Uploads, read as they come: memory stays constant whatever the size.
//!
//! Hash and size are taken of every byte; the bytes themselves are held only while they fit
//! [`MOST_KEPT`]. A body that breaks off or grows beyond [`MOST_BYTES`] leaves nothing behind.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Multipart, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt;
use returns_domain::attachment::{self, Attachment, MOST_KEPT, Received};
use returns_domain::migrate::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::failure::{ApiFailure, Failure};
use crate::form::{ReturnId, Within};
use crate::pages::PageFailure;
use crate::serve::App;

/// The largest upload, in bytes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What is known of the bytes so far.
#[derive(Default)]
struct Intake {
    hash: Sha256,
    size: u64,
    kept: Vec<u8>,
}

impl Intake {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.size += chunk.len() as u64;
        if self.size > MOST_BYTES {
            return Err(Failure::TooLarge("A file can have at most 64 MiB.".into()));
        }
        self.hash.update(chunk);
        if self.size <= MOST_KEPT as u64 {
            self.kept.extend_from_slice(chunk);
        } else {
            self.kept = Vec::new();
        }
        Ok(())
    }

    fn end(self, file_name: &str, content_type: &str) -> Received {
        Received {
            file_name: clean(file_name, 200, "attachment"),
            content_type: clean(content_type, 100, "application/octet-stream"),
            size: self.size as i64,
            sha256: hex(&self.hash.finalize()),
            bytes: (self.size <= MOST_KEPT as u64).then_some(self.kept),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Name {
    #[serde(default)]
    name: String,
}

/// `POST /api/returns/{id}/attachments`: the body is the file; its name in `?name=` or `x-file-name`.
pub(crate) async fn from_program(
    State(app): State<App>,
    ReturnId(id): ReturnId,
    name: Result<Query<Name>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Attachment>), ApiFailure> {
    find(&app, id).await?;
    let mut intake = Intake::default();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        intake.take(&chunk.map_err(|_| broken())?)?;
    }
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let asked = name.ok().map(|Query(n)| n.name).filter(|n| !n.is_empty());
    let name = asked.unwrap_or_else(|| text(HeaderName::from_static("x-file-name")).to_owned());
    let received = intake.end(&name, text(header::CONTENT_TYPE));
    let stored = attachment::store(&mut app.pool.get().await?, id, &received).await?;
    Ok((StatusCode::CREATED, Json(stored)))
}

/// `POST /returns/{id}/attachments`: the form on the page, one file or several.
pub(crate) async fn from_page(
    State(app): State<App>,
    ReturnId(id): ReturnId,
    mut form: Multipart,
) -> Result<Response, PageFailure> {
    find(&app, id).await?;
    while let Some(mut field) = form.next_field().await.map_err(|_| broken())? {
        let name = field.file_name().unwrap_or("").to_owned();
        let kind = field.content_type().unwrap_or("").to_owned();
        let mut intake = Intake::default();
        while let Some(chunk) = field.chunk().await.map_err(|_| broken())? {
            intake.take(&chunk)?;
        }
        // A browser sends an empty, nameless part when no file was chosen.
        if !name.is_empty() {
            attachment::store(&mut app.pool.get().await?, id, &intake.end(&name, &kind)).await?;
        }
    }
    Ok(Redirect::to(&format!("/returns/{id}#attachments")).into_response())
}

/// The kept bytes, only ever as a download: what was uploaded is never shown as part of this site.
pub(crate) async fn download(
    State(app): State<App>,
    Within(id, attachment): Within,
) -> Result<Response, PageFailure> {
    let found = attachment::bytes(&*app.pool.get().await?, id, attachment).await?;
    let (name, kind, bytes) = found.ok_or(Failure::Missing("attachment"))?;
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._- ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let text = |value: &str, other: &'static str| {
        HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(other))
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            text(&kind, "application/octet-stream"),
        ),
        (
            header::CONTENT_DISPOSITION,
            text(&format!("attachment; filename=\"{safe}\""), "attachment"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
    ];
    Ok((headers, bytes).into_response())
}

async fn find(app: &App, id: i64) -> Result<(), Failure> {
    // The connection goes back before the body is read: a slow upload must not hold one.
    match attachment::return_exists(&*app.pool.get().await?, id).await? {
        true => Ok(()),
        false => Err(Failure::Missing("return")),
    }
}

fn broken() -> Failure {
    Failure::Unreadable(
        "The upload broke off, or is not what its headers say. Nothing was stored.".into(),
    )
}

/// The last part of a path, without control characters, cut to `longest` characters.
fn clean(text: &str, longest: usize, other: &str) -> String {
    let last = if longest == 200 {
        text.rsplit(['/', '\\']).next().unwrap_or("")
    } else {
        text
    };
    let kept: String = last
        .chars()
        .filter(|c| !c.is_control())
        .take(longest)
        .collect();
    let kept = kept.trim();
    if kept.is_empty() {
        other.to_owned()
    } else {
        kept.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_kept_whole_and_large_ones_by_their_fingerprint() {
        let mut small = Intake::default();
        small.take(b"abc").unwrap();
        let small = small.end("C:\\photos\\a.jpg", "image/jpeg");
        assert_eq!(small.bytes.as_deref(), Some(&b"abc"[..]));
        assert_eq!(
            small.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(small.file_name, "a.jpg");

        let mut large = Intake::default();
        for _ in 0..5 {
            large.take(&[0; 8192]).unwrap();
        }
        assert_eq!(large.kept.capacity(), 0, "memory is given back");
        let large = large.end("", "");
        assert_eq!((large.size, large.bytes), (40_960, None));
        assert_eq!(
            (large.file_name.as_str(), large.content_type.as_str()),
            ("attachment", "application/octet-stream")
        );
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let mut intake = Intake {
            size: MOST_BYTES,
            ..Intake::default()
        };
        assert!(intake.take(b"x").is_err());
    }
}
