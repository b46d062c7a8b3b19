//! What the registry needs to know of a manifest: what it refers to, and how it is described.
//!
//! OCI image manifests and indexes, and Docker's schema 2 manifests and lists. Docker's schema 1
//! is refused, as the specification's own list of media types leaves it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;
use crate::error::{Error, Result};

/// The largest manifest taken, in bytes (distribution specification, "Pushing Manifests": at least 4 MB).
pub const LARGEST: usize = 4 * 1024 * 1024;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every media type that is taken as a manifest.
pub const MEDIA_TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A manifest, as far as the registry reads it.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub(crate) media_type: String,
    /// Configuration and layers that have to be here.
    pub(crate) blobs: Vec<ContentDigest>,
    /// The entries of an index.
    pub(crate) children: Vec<ContentDigest>,
    pub(crate) subject: Option<ContentDigest>,
    /// As the referrers API reports it.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<i64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A reference to content (OCI image specification, "Descriptors").
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    urls: Vec<String>,
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

impl Descriptor {
    /// Whether the content may be kept elsewhere (OCI image specification, "Non-Distributable Layers").
    pub(crate) fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
            || self.media_type.contains("nondistributable")
            || self.media_type.contains(".foreign.")
    }

    fn digest(&self) -> Result<ContentDigest> {
        ContentDigest::parse(&self.digest).map_err(|e| invalid(e.to_string()))
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::ManifestInvalid {
        reason: reason.into(),
    }
}

fn raw(bytes: &[u8]) -> Result<Raw> {
    serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))
}

/// Reads a manifest that is pushed as `media_type`, if the client named one.
///
/// # Errors
/// [`Error::ManifestInvalid`] for what is not JSON, not a manifest, of another type than it says, or
/// of a type that is not taken; [`Error::ManifestTooLarge`].
pub(crate) fn read(media_type: Option<&str>, bytes: &[u8]) -> Result<Contents> {
    if bytes.len() > LARGEST {
        return Err(Error::ManifestTooLarge { limit: LARGEST });
    }
    let raw = raw(bytes)?;
    let media_type = agreed_type(media_type, &raw)?;
    if raw.schema_version != Some(2) {
        return Err(invalid("schemaVersion is not 2"));
    }
    let is_index = media_type == OCI_INDEX || media_type == DOCKER_LIST;
    if is_index && (raw.manifests.is_none() || raw.layers.is_some()) {
        return Err(invalid("an index has `manifests` and no `layers`"));
    }
    if !is_index && (raw.config.is_none() || raw.layers.is_none() || raw.manifests.is_some()) {
        return Err(invalid(
            "an image has `config` and `layers`, and no `manifests`",
        ));
    }
    contents(media_type, raw)
}

fn agreed_type(named: Option<&str>, raw: &Raw) -> Result<String> {
    let within = raw.media_type.as_deref();
    let media_type = match (named, within) {
        (Some(named), Some(within)) if named != within => {
            let reason = format!("its mediaType is {within}, but it is pushed as {named}");
            return Err(invalid(reason));
        }
        (Some(named), _) => named,
        (None, Some(within)) => within,
        (None, None) => {
            return Err(invalid(
                "neither Content-Type nor mediaType says what it is",
            ));
        }
    };
    if !MEDIA_TYPES.contains(&media_type) {
        let known = MEDIA_TYPES.join(", ");
        return Err(invalid(format!("{media_type} is none of {known}")));
    }
    Ok(media_type.to_owned())
}

fn contents(media_type: String, raw: Raw) -> Result<Contents> {
    let config_type = raw.config.as_ref().map(|config| config.media_type.clone());
    let is_given = |text: &String| !text.is_empty();
    let artifact_type = raw.artifact_type.filter(is_given).or(config_type);
    Ok(Contents {
        media_type,
        blobs: raw
            .config
            .iter()
            .chain(raw.layers.iter().flatten())
            .filter(|descriptor| !descriptor.is_foreign())
            .map(Descriptor::digest)
            .collect::<Result<_>>()?,
        children: raw
            .manifests
            .iter()
            .flatten()
            .map(Descriptor::digest)
            .collect::<Result<_>>()?,
        subject: raw.subject.as_ref().map(Descriptor::digest).transpose()?,
        artifact_type: artifact_type.filter(is_given),
        annotations: raw.annotations.unwrap_or_default(),
    })
}

/// What collection has to keep for a manifest's sake: all that it names, foreign layers too (they may
/// have been pushed all the same).
pub(crate) fn references(bytes: &[u8]) -> Result<Vec<ContentDigest>> {
    let raw = raw(bytes)?;
    raw.config
        .iter()
        .chain(raw.layers.iter().flatten())
        .chain(raw.manifests.iter().flatten())
        .map(Descriptor::digest)
        .collect()
}

/// The descriptors that a pull has to follow.
pub(crate) struct Parts {
    pub(crate) children: Option<Vec<Descriptor>>,
    pub(crate) blobs: Vec<Descriptor>,
}

pub(crate) fn parts(bytes: &[u8]) -> Result<Parts> {
    let raw = raw(bytes)?;
    Ok(Parts {
        children: raw.manifests,
        blobs: raw
            .config
            .into_iter()
            .chain(raw.layers.into_iter().flatten())
            .filter(|descriptor| !descriptor.is_foreign())
            .collect(),
    })
}

/// What is recorded of a manifest beside its content: its descriptor in the referrers API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recorded {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Recorded {
    pub(crate) fn new(contents: &Contents, digest: &ContentDigest, size: u64) -> Self {
        Self {
            media_type: contents.media_type.clone(),
            digest: digest.to_string(),
            size,
            artifact_type: contents.artifact_type.clone(),
            annotations: contents.annotations.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    #[test]
    fn an_image_and_what_it_refers_to() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{}","size":1}},
            "layers":[{{"digest":"{}","size":2}},
            {{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{}","size":3}}],
            "subject":{{"digest":"{}","size":4}},"annotations":{{"k":"v"}}}}"#,
            digest('a'),
            digest('b'),
            digest('c'),
            digest('d')
        );
        let read = read(Some(OCI_MANIFEST), text.as_bytes()).unwrap();
        let names: Vec<_> = read.blobs.iter().map(ToString::to_string).collect();
        assert_eq!(names, [digest('a'), digest('b')]);
        assert_eq!(read.subject.unwrap().to_string(), digest('d'));
        assert_eq!(read.artifact_type.as_deref(), Some("c"));
        assert_eq!(read.annotations["k"], "v");
        assert_eq!(references(text.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let image = r#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#;
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (media_type, text) in [
            (Some(OCI_MANIFEST), "not json"),
            (Some(OCI_MANIFEST), "{}"),
            (Some(OCI_MANIFEST), image),
            (Some(OCI_INDEX), image),
            (Some(OCI_MANIFEST), r#"{"schemaVersion":2,"manifests":[]}"#),
            (Some(OCI_INDEX), r#"{"schemaVersion":1,"manifests":[]}"#),
            (Some("text/plain"), r#"{"schemaVersion":2,"manifests":[]}"#),
            (None, r#"{"schemaVersion":2,"manifests":[]}"#),
            (Some(OCI_INDEX), &deep),
        ] {
            assert!(
                read(media_type, text.as_bytes()).is_err(),
                "{text:.60} was taken"
            );
        }
        let disagrees =
            format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
        assert!(read(Some(OCI_INDEX), disagrees.as_bytes()).is_err());
        assert!(read(None, disagrees.as_bytes()).is_ok());
        assert!(read(Some(OCI_INDEX), &vec![b' '; LARGEST + 1]).is_err());
    }
}
