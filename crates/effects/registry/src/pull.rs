//! Pulling an image from another registry into this one.
//!
//! A tag is resolved once, to the digest of the bytes that it leads to; everything after goes by
//! digest, and nothing is recorded before all of it is here and verified. Of an index only the image for
//! this machine is brought in. The image gets no tag here: a tag decides nothing, and would keep the
//! image from ever being collected. Until a release keeps its digest, the grace period does.
//!
//! `oci-client` with rustls on aws-lc-rs does the talking; neither ring nor OpenSSL is linked for it.
//! Plain HTTP is spoken with loopback hosts only, since elsewhere anybody on the way could choose what a
//! tag leads to. Pulls are anonymous.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use ward_types::id::Digest;

use crate::digest::ContentDigest;
use crate::error::Error as Local;
use crate::manifest::{self, Descriptor};
use crate::name::Repository;
use crate::registry::Registry;

/// Layers fetched at a time.
const AT_ONCE: usize = 3;
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// How long the other side may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest number of entries of an index that an error message lists.
const LISTED: usize = 12;

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The digest of the image's manifest: of the entry for this machine, if an index was named.
    pub digest: Digest,
    /// The repository that it is in here, `host/name` as it was there.
    pub repo: Repository,
}

/// A pull that did not succeed. Nothing was recorded then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text names no image.
    #[error("`{text}` names no image; expected name:tag or host/name@sha256:…")]
    Reference {
        /// The offending text.
        text: String,
        /// Why.
        #[source]
        source: oci_client::ParseError,
    },
    /// The other registry did not give what was asked for.
    #[error("cannot pull {what} of {image}")]
    Remote {
        /// The image.
        image: String,
        /// The part of it.
        what: String,
        /// What went wrong.
        #[source]
        source: OciDistributionError,
    },
    /// The other registry gave something else than was asked for.
    #[error("{image} is not what it should be: {reason}; nothing was recorded")]
    Wrong {
        /// The image.
        image: String,
        /// What differs.
        reason: String,
    },
    /// The index has no image for this machine.
    #[error("{image} has no image for linux/{architecture}; it has {available}")]
    Platform {
        /// The image.
        image: String,
        /// This machine's architecture, as images name it.
        architecture: &'static str,
        /// What there is.
        available: String,
    },
    /// This registry could not take it.
    #[error("cannot store {image}")]
    Store {
        /// The image.
        image: String,
        /// What went wrong.
        #[source]
        source: Local,
    },
}

/// Pulls `name:tag`, `host/name:tag` or `host/name@sha256:…` into `registry`. A name without a host is
/// one of Docker Hub. What is here already is not fetched again.
///
/// # Errors
/// [`Error`], one variant for each thing that can go wrong.
pub async fn pull(registry: &Registry, reference: &str) -> Result<Pulled, Error> {
    Pull::new(registry, reference)?.run().await
}

struct Pull<'a> {
    registry: &'a Registry,
    client: Client,
    image: oci_client::Reference,
    repo: Repository,
}

impl<'a> Pull<'a> {
    fn new(registry: &'a Registry, reference: &str) -> Result<Self, Error> {
        let text = || reference.chars().take(200).collect::<String>();
        let image: oci_client::Reference =
            reference.parse().map_err(|source| Error::Reference {
                text: text(),
                source,
            })?;
        let here = format!("{}/{}", image.registry(), image.repository());
        let repo =
            Repository::parse(&here.to_ascii_lowercase().replace(':', "-")).map_err(|source| {
                Error::Store {
                    image: text(),
                    source,
                }
            })?;
        let client =
            Client::try_from(configuration(image.resolve_registry())).map_err(|source| {
                Error::Remote {
                    image: text(),
                    what: "any part".to_owned(),
                    source,
                }
            })?;
        Ok(Self {
            registry,
            client,
            image,
            repo,
        })
    }

    async fn run(self) -> Result<Pulled, Error> {
        let asked = self.image.digest().map(ToOwned::to_owned);
        let mut bytes = self.manifest(&self.image, asked.as_deref()).await?;
        let mut parts = manifest::parts(&bytes).map_err(|e| self.wrong(e.to_string()))?;
        if let Some(children) = &parts.children {
            let chosen = self.choose(children)?.to_owned();
            let exact = self.image.clone_with_digest(chosen.clone());
            bytes = self.manifest(&exact, Some(&chosen)).await?;
            parts = manifest::parts(&bytes).map_err(|e| self.wrong(e.to_string()))?;
        }
        // Futures made in a plain loop: a closure that makes them would cost the whole future its `Send`.
        let mut blobs = Vec::with_capacity(parts.blobs.len());
        for descriptor in &parts.blobs {
            blobs.push(self.blob(descriptor));
        }
        stream::iter(blobs)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let media_type = media_type(&bytes);
        let stored = self
            .registry
            .put_manifest(&self.repo, None, media_type, bytes)
            .await;
        Ok(Pulled {
            digest: stored.map_err(|e| self.not_stored(e))?,
            repo: self.repo,
        })
    }

    async fn manifest(
        &self,
        image: &oci_client::Reference,
        asked: Option<&str>,
    ) -> Result<Bytes, Error> {
        let fetched = self
            .client
            .pull_manifest_raw(image, &RegistryAuth::Anonymous, &manifest::MEDIA_TYPES)
            .await;
        let (bytes, _) = fetched.map_err(|source| self.remote("the manifest", source))?;
        if bytes.len() > manifest::LARGEST {
            return Err(self.wrong(format!("its manifest has {} bytes", bytes.len())));
        }
        if let Some(asked) = asked {
            let asked = ContentDigest::parse(asked).map_err(|e| self.wrong(e.to_string()))?;
            let actual = ContentDigest::of(asked.algorithm(), &bytes);
            if actual != asked {
                return Err(self.wrong(format!("{asked} was asked for, {actual} came")));
            }
        }
        Ok(bytes)
    }

    /// The entry for this machine. A `platform` of `unknown` marks what is no image (attestations).
    fn choose<'d>(&self, entries: &'d [Descriptor]) -> Result<&'d str, Error> {
        let architecture = architecture();
        let fits = |entry: &&Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|p| p.os == "linux" && p.architecture == architecture)
        };
        let chosen = entries.iter().find(fits);
        chosen.map(|entry| entry.digest.as_str()).ok_or_else(|| {
            let all = entries.iter().filter_map(|entry| entry.platform.as_ref());
            let available: Vec<String> = all
                .take(LISTED)
                .map(|p| format!("{}/{}", p.os, p.architecture))
                .collect();
            Error::Platform {
                image: self.image.whole(),
                architecture,
                available: match available.is_empty() {
                    true => "no entry that names a platform".to_owned(),
                    false => available.join(", "),
                },
            }
        })
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<(), Error> {
        let digest = Digest::parse(&descriptor.digest).map_err(|e| self.wrong(e.to_string()))?;
        let here = self.registry.has_blob(&digest).await;
        if here.map_err(|e| self.not_stored(e))? {
            return Ok(());
        }
        // The descriptor's own URLs are not followed: they may name any host.
        let fetched = self
            .client
            .pull_blob_stream(&self.image, digest.as_str())
            .await;
        let pieces = fetched.map_err(|source| self.remote(digest.as_str(), source))?;
        let mut received = 0_u64;
        let size = descriptor.size;
        let pieces = pieces.stream.map(move |piece| {
            let piece = piece?;
            received += piece.len() as u64;
            match received > size {
                true => Err(std::io::Error::other(format!(
                    "more than its {size} bytes came"
                ))),
                false => Ok(piece),
            }
        });
        self.store(&digest, pieces).await
    }

    async fn store(
        &self,
        digest: &Digest,
        pieces: impl futures_util::Stream<Item = std::io::Result<Bytes>> + Unpin,
    ) -> Result<(), Error> {
        let writer = self
            .registry
            .blob_writer()
            .map_err(|e| self.not_stored(e))?;
        let filled = writer.fill(pieces).await.map_err(|e| self.not_stored(e))?;
        let sealed = filled.seal(Some(&ContentDigest::from(digest))).await;
        let sealed = sealed.map_err(|e| self.not_stored(e))?;
        let _gate = self.registry.inner.gate.read().await;
        sealed.publish().await.map_err(|e| self.not_stored(e))?;
        Ok(())
    }

    fn remote(&self, what: &str, source: OciDistributionError) -> Error {
        Error::Remote {
            image: self.image.whole(),
            what: what.to_owned(),
            source,
        }
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Wrong {
            image: self.image.whole(),
            reason,
        }
    }

    fn not_stored(&self, source: Local) -> Error {
        Error::Store {
            image: self.image.whole(),
            source,
        }
    }
}

/// The manifest's type by its own word or, for one that says nothing, by its shape: an image by now.
fn media_type(bytes: &[u8]) -> &'static str {
    let said = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let said = said.as_ref().and_then(|json| json["mediaType"].as_str());
    let known = manifest::MEDIA_TYPES
        .into_iter()
        .find(|known| said == Some(known));
    known.unwrap_or(manifest::OCI_MANIFEST)
}

fn configuration(host: &str) -> ClientConfig {
    let mut configuration = ClientConfig {
        connect_timeout: Some(CONNECT_TIME),
        read_timeout: Some(SILENCE),
        user_agent: concat!("ward/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    if is_loopback(host) {
        configuration.protocol = ClientProtocol::HttpsExcept(vec![host.to_owned()]);
        // A proxy named in the environment must not be asked for this machine's own addresses, and
        // only naming one here keeps the environment's from being taken.
        configuration.http_proxy = Some("http://127.0.0.1:9".to_owned());
        configuration.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
    }
    configuration
}

/// Whether a `host[:port]` cannot be anybody else's machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// This machine's architecture by the names that images use (OCI image specification, "Platform").
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5050",
            "127.8.0.1",
            "[::1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "docker.io",
            "localhost.example.com",
            "10.0.0.1:5000",
            "127.0.0.1.nip.io",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
