//! Pushing blobs: in one request, in two, in chunks, or by mounting one that is here already.

use axum::body::Body;
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::sync::OwnedMutexGuard;

use crate::digest::ContentDigest;
use crate::durable::Aside;
use crate::error::{Error, Result};
use crate::http::Answer;
use crate::http::answer::{CONTENT_DIGEST, empty, header_text, received};
use crate::http::route::query;
use crate::name::Repository;
use crate::registry::{Registry, Sealed};
use crate::staging::{Progress, Sink, ingest};
use crate::uploads::Upload;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// POST: mounts, stores in one go, or begins an upload.
pub(super) async fn begin(
    registry: &Registry,
    name: Repository,
    request: &Parts,
    body: Body,
) -> Answer {
    if let Some(digest) = query(&request.uri, "mount") {
        let digest = ContentDigest::parse(&digest)?;
        let from = query(&request.uri, "from").map(|from| Repository::parse(&from));
        if mount(registry, &name, from.transpose()?, &digest).await? {
            return created(&name, &digest);
        }
    } else if let Some(digest) = query(&request.uri, "digest") {
        let digest = ContentDigest::parse(&digest)?;
        return at_once(registry, name, &digest, body).await;
    }
    let repository = name.clone();
    let upload = registry
        .blocking(move |inner| inner.uploads.begin(&repository))
        .await?;
    under_way(StatusCode::ACCEPTED, &name, &upload, 0)
}

/// Lets the repository hold a blob that `from` holds or, when the client names none, that any does.
async fn mount(
    registry: &Registry,
    name: &Repository,
    from: Option<Repository>,
    digest: &ContentDigest,
) -> Result<bool> {
    let _gate = registry.inner.gate.read().await;
    if registry.present(digest).await?.is_none() {
        return Ok(false);
    }
    let (name, digest) = (name.clone(), digest.clone());
    registry
        .blocking(move |inner| {
            let held = match &from {
                Some(from) => inner.catalog.vouch_blob(from, &digest)?,
                None => true,
            };
            if held {
                inner.catalog.link_blob(&name, &digest)?;
            }
            Ok(held)
        })
        .await
}

/// A single POST with the digest and all of the blob.
async fn at_once(
    registry: &Registry,
    name: Repository,
    digest: &ContentDigest,
    body: Body,
) -> Answer {
    let body = body.into_data_stream();
    let writer = registry.blob_writer()?.fill(body).await?;
    let sealed = writer.seal(Some(digest)).await?;
    publish(registry, &name, sealed).await?;
    created(&name, digest)
}

/// Puts content in its place and lets the repository hold it.
async fn publish(registry: &Registry, name: &Repository, sealed: Sealed) -> Result<()> {
    let _gate = registry.inner.gate.read().await;
    let digest = sealed.publish().await?;
    let name = name.clone();
    registry
        .blocking(move |inner| inner.catalog.link_blob(&name, &digest))
        .await
}

fn created(name: &Repository, digest: &ContentDigest) -> Answer {
    let digest = digest.to_string();
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers = [
        (header::LOCATION, location.as_str()),
        (CONTENT_DIGEST, &digest),
    ];
    empty(StatusCode::CREATED, &headers)
}

fn location(name: &Repository, upload: &Upload) -> String {
    format!("/v2/{name}/blobs/uploads/{}", upload.id)
}

fn under_way(status: StatusCode, name: &Repository, upload: &Upload, bytes: u64) -> Answer {
    let (location, range) = (location(name, upload), received(bytes));
    let headers = [
        (header::LOCATION, location.as_str()),
        (header::RANGE, range.as_str()),
        (UPLOAD_ID, &upload.id),
    ];
    empty(status, &headers)
}

/// An upload with its lock: one request at a time.
struct Held {
    upload: std::sync::Arc<Upload>,
    progress: OwnedMutexGuard<Progress>,
}

async fn hold(registry: &Registry, name: &Repository, id: String) -> Result<Held> {
    let repository = name.clone();
    let upload = registry
        .blocking(move |inner| inner.uploads.find(&repository, &id))
        .await?;
    let progress = upload.lock().await?;
    Ok(Held { upload, progress })
}

/// GET: how far the upload has come.
pub(super) async fn status(registry: &Registry, name: Repository, id: String) -> Answer {
    let held = hold(registry, &name, id).await?;
    under_way(
        StatusCode::NO_CONTENT,
        &name,
        &held.upload,
        held.progress.written,
    )
}

/// PATCH: the next chunk or, without a range, whatever comes.
pub(super) async fn append(
    registry: &Registry,
    name: Repository,
    id: String,
    request: &Parts,
    body: Body,
) -> Answer {
    let held = hold(registry, &name, id).await?;
    let upload = held.upload.clone();
    let sink = receive(registry, &name, held, request, body).await?;
    under_way(StatusCode::ACCEPTED, &name, &upload, sink.progress.written)
}

type Receiving = Sink<OwnedMutexGuard<Progress>>;

async fn receive(
    registry: &Registry,
    name: &Repository,
    held: Held,
    request: &Parts,
    body: Body,
) -> Result<Receiving> {
    let Held { upload, progress } = held;
    let announced = announced(&request.headers)?;
    if let Some((first, _)) = announced.filter(|(first, _)| *first != progress.written) {
        tracing::debug!(first, written = progress.written, "a chunk out of order");
        return Err(Error::UploadOrder {
            offset: progress.written,
            location: location(name, &upload),
        });
    }
    let data = upload.data();
    let sink = registry
        .blocking(move |_| Sink::reopen(&data, progress))
        .await?;
    let body = body.into_data_stream();
    let outcome = match announced {
        Some((_, length)) => ingest(sink, limited(body, length)).await,
        None => ingest(sink, body).await,
    };
    if let Err(Error::DiskFull { .. }) = &outcome {
        discard(registry, &upload).await?;
    }
    outcome
}

/// The body, and an error where it goes on after `length` bytes or ends before.
fn limited(
    body: axum::body::BodyDataStream,
    length: u64,
) -> impl futures_util::Stream<
    Item = std::result::Result<bytes::Bytes, Box<dyn std::error::Error + Send + Sync>>,
> + Unpin {
    let mut left = Some(length);
    let ended = futures_util::stream::once(std::future::ready(None));
    Box::pin(body.map(Some).chain(ended).filter_map(move |piece| {
        let checked = match piece {
            Some(Ok(bytes)) => {
                left = left.and_then(|left| left.checked_sub(bytes.len() as u64));
                match left {
                    Some(_) => Some(Ok(bytes)),
                    None => Some(Err("the chunk is longer than its Content-Range".into())),
                }
            }
            Some(Err(e)) => Some(Err(e.into())),
            None if left == Some(0) => None,
            None => Some(Err("the chunk is shorter than its Content-Range".into())),
        };
        std::future::ready(checked)
    }))
}

/// First byte and length by `Content-Range` (`^[0-9]+-[0-9]+$`), checked against `Content-Length`.
fn announced(headers: &HeaderMap) -> Result<Option<(u64, u64)>> {
    let Some(range) = header_text(headers, header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let parsed = range.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        Some((first, last.checked_sub(first)?.checked_add(1)?))
    });
    let Some((first, length)) = parsed else {
        let reason =
            format!("`{range:.80}` is no Content-Range; expected first-last, as in 0-1023");
        return Err(Error::Size { reason });
    };
    match header_text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()) {
        Some(body) if body != length => {
            let reason = format!("Content-Range announces {length} bytes, Content-Length {body}");
            Err(Error::Size { reason })
        }
        _ => Ok(Some((first, length))),
    }
}

/// PUT: the last chunk, if there is one more, and the digest of all of them.
pub(super) async fn finish(
    registry: &Registry,
    name: Repository,
    id: String,
    request: &Parts,
    body: Body,
) -> Answer {
    let digest = query(&request.uri, "digest").unwrap_or_default();
    let digest = ContentDigest::parse(&digest)?;
    let held = hold(registry, &name, id).await?;
    let upload = held.upload.clone();
    let sink = receive(registry, &name, held, request, body).await?;
    // Ended before the content is taken away: another request must not write to the file while it is
    // becoming a blob. Whatever comes of it, the upload is over.
    let aside = Aside::adopt(upload.data());
    let closing = upload.clone();
    registry
        .blocking(move |inner| inner.uploads.close(&closing))
        .await?;
    let sealed = registry.seal(sink, aside, Some(&digest)).await;
    let outcome = match sealed {
        Ok(sealed) => publish(registry, &name, sealed).await,
        Err(e) => Err(e),
    };
    registry.note_end(upload.began);
    registry
        .blocking(move |inner| inner.uploads.clear(&upload))
        .await?;
    outcome?;
    created(&name, &digest)
}

/// DELETE: the client gives up.
pub(super) async fn cancel(registry: &Registry, name: Repository, id: String) -> Answer {
    let held = hold(registry, &name, id).await?;
    discard(registry, &held.upload).await?;
    drop(held);
    empty(StatusCode::NO_CONTENT, &[])
}

async fn discard(registry: &Registry, upload: &std::sync::Arc<Upload>) -> Result<()> {
    let upload = upload.clone();
    registry
        .blocking(move |inner| {
            inner.uploads.close(&upload)?;
            inner.uploads.clear(&upload)
        })
        .await
}
