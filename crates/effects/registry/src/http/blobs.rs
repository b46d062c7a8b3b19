//! Blobs: pull, existence, part of one, deletion.

use std::ops::Range;

use axum::body::Body;
use http::request::Parts;
use http::{Response, StatusCode, header};

use crate::blobs::Found;
use crate::digest::ContentDigest;
use crate::error::Error;
use crate::http::Answer;
use crate::http::answer::{CONTENT_DIGEST, Failure, built, empty, header_text};
use crate::name::Repository;
use crate::read;
use crate::registry::Registry;

const OCTETS: &str = "application/octet-stream";

fn unknown(digest: &ContentDigest) -> Error {
    Error::BlobUnknown {
        digest: digest.clone(),
    }
}

async fn is_held(
    registry: &Registry,
    name: Repository,
    digest: &ContentDigest,
) -> Result<bool, Error> {
    let digest = digest.clone();
    registry
        .blocking(move |inner| {
            // A manifest is content of its repository too, and may be pulled as a blob.
            Ok(inner.catalog.vouch_blob(&name, &digest)?
                || inner.catalog.recorded(&name, &digest)?.is_some())
        })
        .await
}

pub(super) async fn head(registry: &Registry, name: Repository, digest: ContentDigest) -> Answer {
    // The answer is a promise on which the client leaves out an upload: nothing is swept meanwhile.
    let _gate = registry.inner.gate.read().await;
    let size = match is_held(registry, name, &digest).await? {
        true => registry.present(&digest).await?,
        false => None,
    };
    let size = size.ok_or_else(|| unknown(&digest))?;
    let response = described(StatusCode::OK, &digest).header(header::CONTENT_LENGTH, size);
    built(response.body(Body::empty()))
}

pub(super) async fn get(
    registry: &Registry,
    name: Repository,
    digest: ContentDigest,
    request: &Parts,
) -> Answer {
    if !is_held(registry, name, &digest).await? {
        return Err(unknown(&digest).into());
    }
    if registry.is_damaged(&digest) {
        // An error says more than a body that breaks off.
        registry.verify(&digest).await?;
    }
    let found = registry.found(&digest).await?;
    match requested(request, &digest, found.size) {
        Requested::Whole => {
            let size = found.size;
            let pieces = registry.whole(found, &digest);
            let response = described(StatusCode::OK, &digest).header(header::CONTENT_LENGTH, size);
            built(response.body(Body::from_stream(pieces)))
        }
        Requested::Part(range) => part(registry, found, &digest, range).await,
        Requested::Beyond => {
            let message = format!("the blob has {} bytes", found.size);
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", message);
            Err(failure.with(header::CONTENT_RANGE, format!("bytes */{}", found.size)))
        }
    }
}

async fn part(
    registry: &Registry,
    found: Found,
    digest: &ContentDigest,
    range: Range<u64>,
) -> Answer {
    if !registry.is_verified(&found, digest) {
        registry.verify(digest).await?;
    }
    let size = found.size;
    let response = described(StatusCode::PARTIAL_CONTENT, digest)
        .header(header::CONTENT_LENGTH, range.end - range.start)
        .header(
            header::CONTENT_RANGE,
            format!("bytes {}-{}/{size}", range.start, range.end - 1),
        );
    built(response.body(Body::from_stream(read::part(found, digest, range))))
}

fn described(status: StatusCode, digest: &ContentDigest) -> http::response::Builder {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, OCTETS)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"{digest}\""))
        .header(CONTENT_DIGEST, digest.to_string())
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    Whole,
    Part(Range<u64>),
    Beyond,
}

/// What of the blob is wanted (RFC 9110, section 14). Several ranges at once, and what is no range,
/// are answered with all of it, as section 14.2 allows.
fn requested(request: &Parts, digest: &ContentDigest, size: u64) -> Requested {
    let headers = &request.headers;
    let current = format!("\"{digest}\"");
    let stale = header_text(headers, header::IF_RANGE).is_some_and(|tag| tag != current);
    match header_text(headers, header::RANGE) {
        Some(range) if !stale => requested_range(range, size),
        _ => Requested::Whole,
    }
}

fn requested_range(text: &str, size: u64) -> Requested {
    let bounds = text
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'));
    let range = match bounds {
        Some(("", last)) => last
            .parse::<u64>()
            .ok()
            .map(|n| size.saturating_sub(n)..size),
        Some((first, "")) => first.parse().ok().map(|first| first..size),
        Some((first, last)) => first
            .parse()
            .ok()
            .zip(last.parse::<u64>().ok())
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| first..last.saturating_add(1).min(size)),
        None => None,
    };
    match range {
        None => Requested::Whole,
        Some(range) if range.start >= range.end => Requested::Beyond,
        Some(range) => Requested::Part(range),
    }
}

pub(super) async fn delete(registry: &Registry, name: Repository, digest: ContentDigest) -> Answer {
    let _gate = registry.inner.gate.read().await;
    let wanted = digest.clone();
    let was = registry
        .blocking(move |inner| inner.catalog.unlink_blob(&name, &wanted))
        .await?;
    if was {
        return empty(StatusCode::ACCEPTED, &[]);
    }
    Err(Error::BlobUnknown { digest }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        use Requested::{Beyond, Part, Whole};
        for (text, wanted) in [
            ("bytes=0-4", Part(0..5)),
            ("bytes=5-", Part(5..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-30", Part(0..10)),
            ("bytes=9-99999999999999999999", Whole),
            ("bytes=9-18446744073709551615", Part(9..10)),
            ("bytes=10-", Beyond),
            ("bytes=-0", Beyond),
            ("bytes=4-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=0-1", Whole),
            ("bytes=", Whole),
        ] {
            assert_eq!(requested_range(text, 10), wanted, "{text}");
        }
        assert_eq!(requested_range("bytes=0-", 0), Beyond);
    }
}
