//! Manifests, tags and referrers.

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderName, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::digest::{Algorithm, ContentDigest};
use crate::error::{Error, Result};
use crate::http::Answer;
use crate::http::answer::{CONTENT_DIGEST, Failure, built, empty, header_text, json, text};
use crate::http::route::{encode, query};
use crate::manifest::{self, OCI_INDEX, Recorded};
use crate::name::{Reference, Repository, Tag};
use crate::needs::Needs;
use crate::registry::{Registry, Scope};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn get(
    registry: &Registry,
    name: Repository,
    reference: Reference,
    request: &Parts,
) -> Answer {
    let manifest = registry.manifest(&name, &reference).await?;
    let response = described(
        &manifest.digest,
        &manifest.media_type,
        manifest.bytes.len() as u64,
    );
    let known = header_text(&request.headers, header::IF_NONE_MATCH);
    if known.is_some_and(|tags| tags.contains(&format!("\"{}\"", manifest.digest))) {
        return built(
            response
                .status(StatusCode::NOT_MODIFIED)
                .body(Body::empty()),
        );
    }
    built(response.body(Body::from(manifest.bytes)))
}

pub(super) async fn head(registry: &Registry, name: Repository, reference: Reference) -> Answer {
    let _gate = registry.inner.gate.read().await;
    let (digest, media_type, size) = registry.resolve(&name, &reference).await?;
    if registry.present(&digest).await?.is_none() {
        let repository = name;
        return Err(Error::ManifestUnknown {
            repository,
            reference,
        }
        .into());
    }
    built(described(&digest, &media_type, size).body(Body::empty()))
}

fn described(digest: &ContentDigest, media_type: &str, size: u64) -> http::response::Builder {
    Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_LENGTH, size)
        .header(header::ETAG, format!("\"{digest}\""))
        .header(CONTENT_DIGEST, digest.to_string())
}

pub(super) async fn put(
    registry: &Registry,
    name: Repository,
    reference: Reference,
    request: &Parts,
    body: Body,
) -> Answer {
    let media_type = header_text(&request.headers, header::CONTENT_TYPE)
        .map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes = Limited::new(body, manifest::LARGEST)
        .collect()
        .await
        .map_err(cut_or_too_large)?
        .to_bytes();
    let contents = manifest::read(media_type.as_deref(), &bytes)?;
    let (digest, tag) = match reference {
        Reference::Tag(tag) => (ContentDigest::of(Algorithm::Sha256, &bytes), Some(tag)),
        Reference::Digest(digest) => (digest, None),
    };
    let subject = contents.subject.as_ref().map(ToString::to_string);
    registry
        .record(Scope::Repository, &name, tag, &digest, contents, bytes)
        .await?;
    let digest = digest.to_string();
    let location = format!("/v2/{name}/manifests/{digest}");
    let mut headers = vec![
        (header::LOCATION, location.as_str()),
        (CONTENT_DIGEST, &digest),
    ];
    headers.extend(subject.as_deref().map(|subject| (SUBJECT, subject)));
    empty(StatusCode::CREATED, &headers)
}

fn cut_or_too_large(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    if source.is::<LengthLimitError>() {
        return Error::ManifestTooLarge {
            limit: manifest::LARGEST,
        };
    }
    Error::BodyCut {
        received: 0,
        source,
    }
}

pub(super) async fn delete(
    registry: &Registry,
    needs: &Arc<dyn Needs>,
    name: Repository,
    reference: Reference,
) -> Answer {
    // To its end, also where whoever asked leaves meanwhile.
    let removal = removed(registry.clone(), needs.clone(), name, reference);
    tokio::spawn(removal).await.map_err(Error::ShuttingDown)??;
    empty(StatusCode::ACCEPTED, &[])
}

async fn removed(
    registry: Registry,
    needs: Arc<dyn Needs>,
    name: Repository,
    reference: Reference,
) -> std::result::Result<(), Failure> {
    let digest = match &reference {
        Reference::Digest(digest) => digest.sha256(),
        Reference::Tag(_) => None,
    };
    // Held until it is gone: a release that is on its way meanwhile finds it, or does not count on it.
    let _pass = match digest {
        Some(digest) => {
            registry.resolve(&name, &reference).await?;
            Some(needs.lets_go(&name, &digest)?)
        }
        None => None,
    };
    Ok(registry.remove(&name, &reference).await?)
}

pub(super) async fn tags(registry: &Registry, name: Repository, request: &Parts) -> Answer {
    let most = match query(&request.uri, "n") {
        None => usize::MAX,
        Some(text) => text.parse().map_err(|_| {
            let message = format!("n is a number of tags, not `{text:.40}`");
            Failure::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
        })?,
    };
    // `last` need not be a tag that is still there, only something that a tag could be.
    let last = query(&request.uri, "last")
        .map(|text| Tag::parse(&text))
        .transpose()?;
    let (mut tags, exists) = known_tags(registry, &name).await?;
    if !exists {
        return Err(Error::RepositoryUnknown { repository: name }.into());
    }
    if let Some(last) = &last {
        tags.retain(|tag| tag.order() > last.order());
    }
    let more = tags.len() > most && most > 0;
    tags.truncate(most);
    let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let mut response = json(
        StatusCode::OK,
        &serde_json::json!({ "name": name.as_str(), "tags": names }),
    )?;
    if let Some(end) = tags.last().filter(|_| more) {
        let last = encode(end.as_str());
        let link = format!("</v2/{name}/tags/list?n={most}&last={last}>; rel=\"next\"");
        insert(&mut response, header::LINK, &link);
    }
    Ok(response)
}

async fn known_tags(registry: &Registry, name: &Repository) -> Result<(Vec<Tag>, bool)> {
    let name = name.clone();
    registry
        .blocking(move |inner| Ok((inner.catalog.tags(&name)?, inner.catalog.exists(&name))))
        .await
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

pub(super) async fn referrers(
    registry: &Registry,
    name: Repository,
    subject: ContentDigest,
    request: &Parts,
) -> Answer {
    let wanted = query(&request.uri, "artifactType").filter(|text| !text.is_empty());
    let mut found = recorded_referrers(registry, name, subject).await?;
    if let Some(wanted) = &wanted {
        found.retain(|recorded| recorded.artifact_type.as_ref() == Some(wanted));
    }
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": found,
    });
    let mut response = text(StatusCode::OK, OCI_INDEX, &index)?;
    if wanted.is_some() {
        insert(&mut response, FILTERS, "artifactType");
    }
    Ok(response)
}

async fn recorded_referrers(
    registry: &Registry,
    name: Repository,
    subject: ContentDigest,
) -> Result<Vec<Recorded>> {
    registry
        .blocking(move |inner| {
            let mut found = Vec::new();
            for digest in inner.catalog.referrers(&name, &subject)? {
                found.extend(inner.catalog.recorded(&name, &digest)?);
            }
            Ok(found)
        })
        .await
}
