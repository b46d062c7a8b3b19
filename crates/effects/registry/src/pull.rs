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
use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};
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

/// How another registry failed to give what was asked for, as the rest of a sentence that begins with its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// There is no such image, or no such part of it.
    #[error("has no such image")]
    Missing,
    /// It gives this only to those who sign in.
    #[error("gives it to nobody who has not signed in")]
    Unauthorized,
    /// It takes no more requests for now.
    #[error("takes no more requests for now (status 429)")]
    Busy,
    /// It did not answer.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answered that it cannot, or what no registry answers.
    #[error("answered: {0}")]
    Other(String),
}

impl Answer {
    fn of(error: &OciDistributionError) -> Self {
        use OciDistributionError as E;
        match error {
            E::ImageManifestNotFoundError(_) => Self::Missing,
            E::RegistryError { envelope, .. } => Self::of_envelope(envelope),
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => Self::Unauthorized,
            E::ServerError { code, message, .. } => Self::of_status(*code, message),
            E::RequestError(error) => match error.status() {
                Some(status) => Self::of_status(status.as_u16(), ""),
                None => Self::Unreachable(reason(error)),
            },
            other => Self::Other(format!("nothing that is understood ({})", reason(other))),
        }
    }

    fn of_status(code: u16, message: &str) -> Self {
        match (code, message.trim()) {
            (404, _) => Self::Missing,
            (401 | 403, _) => Self::Unauthorized,
            (429, _) => Self::Busy,
            (code, "") => Self::Other(format!("status {code}")),
            (code, message) => Self::Other(format!("status {code}, {}", cut(message))),
        }
    }

    fn of_envelope(envelope: &OciEnvelope) -> Self {
        let has = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
        let missing = [
            OciErrorCode::ManifestUnknown,
            OciErrorCode::NameUnknown,
            OciErrorCode::BlobUnknown,
            OciErrorCode::NotFound,
        ];
        if missing.iter().any(has) {
            return Self::Missing;
        }
        if has(&OciErrorCode::Unauthorized) || has(&OciErrorCode::Denied) {
            return Self::Unauthorized;
        }
        if has(&OciErrorCode::Toomanyrequests) {
            return Self::Busy;
        }
        let said = envelope
            .errors
            .iter()
            .map(|error| match error.message.as_str() {
                "" => format!("{:?}", error.code),
                message => message.to_owned(),
            });
        Self::Other(cut(&said.collect::<Vec<_>>().join("; ")))
    }
}

/// The innermost cause, without the calls that led to it.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    cut(&innermost.to_string())
}

/// One line, not too long: it comes from somebody else's machine.
fn cut(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.chars().take(200).collect()
}

/// A pull that did not succeed. Nothing was recorded then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text names no image.
    #[error("`{text}` names no image: {reason}")]
    Reference {
        /// The offending text.
        text: String,
        /// Why.
        reason: String,
    },
    /// The other registry did not give what was asked for.
    #[error("cannot pull {what} of {image}: {host} {answer}")]
    Remote {
        /// The image.
        image: String,
        /// The part of it.
        what: String,
        /// Who was asked, as `host` or `host:port`.
        host: String,
        /// What it answered, if it did.
        answer: Answer,
    },
    /// The other registry gave something else than was asked for.
    #[error("{image} is not what it should be: {reason}")]
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

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "name it as name:tag or host/name@sha256:…",
            Self::Remote { answer, .. } => match answer {
                Answer::Missing => {
                    "look at the image's name and tag; without a host it is one of Docker Hub"
                }
                Answer::Unauthorized => {
                    "look at its name; Ward pulls what is public: push anything else to Ward's own registry, \
                     and name it there"
                }
                Answer::Busy => {
                    "deploy again later, or push the image to Ward's own registry, and name it there"
                }
                Answer::Unreachable(_) => {
                    "see that the host is right and that this machine reaches it; a registry without TLS is \
                     taken on this machine only"
                }
                Answer::Other(_) => "see that the host is a registry, and deploy again",
            },
            Self::Wrong { .. } => "ask whoever runs that registry, or name the image by its digest",
            Self::Platform { .. } => "name an image that was made for this machine",
            Self::Store { .. } => "`ward doctor` and server.log in the state folder tell more",
        }
    }
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
        let image: oci_client::Reference = reference.parse().map_err(|error| Error::Reference {
            text: text(),
            reason: reason(&error),
        })?;
        let here = format!("{}/{}", image.registry(), image.repository());
        let repo =
            Repository::parse(&here.to_ascii_lowercase().replace(':', "-")).map_err(|source| {
                Error::Store {
                    image: text(),
                    source,
                }
            })?;
        let host = image.resolve_registry();
        let client = Client::try_from(configuration(host)).map_err(|error| Error::Remote {
            image: text(),
            what: "any part".to_owned(),
            host: host.to_owned(),
            answer: Answer::Unreachable(reason(&error)),
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
        let (bytes, _) = fetched.map_err(|error| self.remote("the manifest", &error))?;
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
        let pieces = fetched.map_err(|error| self.remote(digest.as_str(), &error))?;
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

    fn remote(&self, what: &str, error: &OciDistributionError) -> Error {
        Error::Remote {
            image: self.image.whole(),
            what: what.to_owned(),
            host: self.image.resolve_registry().to_owned(),
            answer: Answer::of(error),
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

    fn envelope(code: &str) -> OciDistributionError {
        let text = format!(r#"{{"errors":[{{"code":"{code}","message":"the moon is closed"}}]}}"#);
        OciDistributionError::RegistryError {
            envelope: serde_json::from_str(&text).unwrap(),
            url: "https://example.com/v2/a/manifests/1".to_owned(),
        }
    }

    #[test]
    fn what_a_registry_answers_is_one_sentence_and_has_a_remedy() {
        for (code, said) in [
            ("MANIFEST_UNKNOWN", "has no such image"),
            ("NAME_UNKNOWN", "has no such image"),
            ("UNAUTHORIZED", "gives it to nobody who has not signed in"),
            ("DENIED", "gives it to nobody who has not signed in"),
            (
                "TOOMANYREQUESTS",
                "takes no more requests for now (status 429)",
            ),
            ("MOON", "answered: the moon is closed"),
        ] {
            let error = Error::Remote {
                image: "example.com/a:1".to_owned(),
                what: "the manifest".to_owned(),
                host: "example.com".to_owned(),
                answer: Answer::of(&envelope(code)),
            };
            let sentence = error.to_string();
            let whole = format!("cannot pull the manifest of example.com/a:1: example.com {said}");
            assert_eq!(sentence, whole);
            assert!(std::error::Error::source(&error).is_none());
            assert!(!error.hint().is_empty());
        }
        let failed = OciDistributionError::ServerError {
            code: 502,
            url: String::new(),
            message: "bad\u{1b}[2J gateway\n".to_owned(),
        };
        let answer = Answer::of(&failed).to_string();
        assert_eq!(answer, "answered: status 502, bad [2J gateway");
    }

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
