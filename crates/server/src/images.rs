//! Images between the builder, the registry and the engine.
//!
//! From the moment a release is recorded, its images are named by digest only; they are unpacked from
//! Ward's own registry, so that a rollback needs nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ward_build::{ImageSink, SinkError};
use ward_engine::{Engine, Image};
use ward_registry::{Reference, Registry, Repository};
use ward_types::id::{Digest, Name};

/// Ward's registry, as a build sees it.
pub(crate) struct Sink(pub(crate) Registry);

impl ImageSink for Sink {
    async fn has_blob(&self, _repository: &str, digest: &Digest) -> Result<bool, SinkError> {
        Ok(self.0.has_blob(digest).await?)
    }

    async fn has_manifest(&self, repository: &str, digest: &Digest) -> Result<bool, SinkError> {
        let repository = Repository::parse(repository)?;
        Ok(self.0.has_image(&repository, digest).await?)
    }

    async fn put_blob(
        &self,
        _repository: &str,
        digest: &Digest,
        file: &Path,
    ) -> Result<(), SinkError> {
        let stored = self.0.put_blob_file(file).await?;
        if stored == *digest {
            Ok(())
        } else {
            Err(format!("the registry stored {stored} where {digest} was announced").into())
        }
    }

    async fn put_manifest(
        &self,
        repository: &str,
        _digest: &Digest,
        media_type: &str,
        manifest: Vec<u8>,
    ) -> Result<(), SinkError> {
        self.0
            .put_manifest(&Repository::parse(repository)?, None, media_type, manifest)
            .await?;
        Ok(())
    }
}

/// Why an image cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the image {digest} of {repository} cannot be read from the registry")]
    Registry {
        repository: String,
        digest: Digest,
        #[source]
        source: Box<ward_registry::Error>,
    },
    #[error("the manifest {digest} of {repository} does not name a configuration")]
    Manifest { repository: String, digest: Digest },
    #[error("the image {digest} of {repository} cannot be unpacked")]
    Unpack {
        repository: String,
        digest: Digest,
        #[source]
        source: Box<ward_engine::Error>,
    },
}

/// Unpacked images, by manifest digest. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Images {
    registry: Registry,
    engine: Engine,
    ready: Arc<Mutex<BTreeMap<Digest, Arc<Image>>>>,
}

impl Images {
    pub(crate) fn new(registry: Registry, engine: Engine) -> Self {
        Self {
            registry,
            engine,
            ready: Arc::default(),
        }
    }

    /// The repository that holds a service's images.
    pub(crate) fn repository(stack: &Name, service: &Name) -> String {
        format!("{stack}/{service}")
    }

    /// The image with this manifest digest, unpacked; at once when it was unpacked before, and nobody changed that.
    pub(crate) async fn ready(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Arc<Image>, ImageError> {
        if let Some(image) = self.remembered(digest)
            && self.is_whole(&image).await
        {
            return Ok(image);
        }
        let (manifest, config) = self.documents(repository, digest).await?;
        let (registry, engine) = (self.registry.clone(), self.engine.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            // A blob that is not there gives a path that cannot be opened, and so a clear error.
            let blob = |digest: &Digest| {
                registry
                    .blob_path(digest)
                    .unwrap_or_else(|| digest.hex().into())
            };
            engine.unpack(&manifest, &config, &blob)
        });
        let image = match unpacked.await {
            Ok(Ok(image)) => Arc::new(image),
            Ok(Err(source)) => return Err(self.unpack_error(repository, digest, source)),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        self.lock().insert(digest.clone(), image.clone());
        Ok(image)
    }

    async fn is_whole(&self, image: &Arc<Image>) -> bool {
        let (engine, image) = (self.engine.clone(), image.clone());
        let looking = tokio::task::spawn_blocking(move || engine.is_whole(&image));
        looking.await.unwrap_or(false)
    }

    /// The layers of these images, each in its repository, as their manifests list them.
    pub(crate) async fn layers(
        &self,
        images: &BTreeSet<(String, Digest)>,
    ) -> Result<BTreeSet<Digest>, ImageError> {
        let mut layers = BTreeSet::new();
        for (repository, digest) in images {
            let (manifest, _) = self.documents(repository, digest).await?;
            layers.extend(layer_digests(&manifest));
        }
        Ok(layers)
    }

    /// Forgets the images that were unpacked, but for these.
    pub(crate) fn forget_all_but(&self, images: &BTreeSet<Digest>) {
        self.lock().retain(|digest, _| images.contains(digest));
    }

    fn unpack_error(
        &self,
        repository: &str,
        digest: &Digest,
        source: ward_engine::Error,
    ) -> ImageError {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        ImageError::Unpack {
            repository,
            digest,
            source: Box::new(source),
        }
    }

    async fn documents(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<(Vec<u8>, Vec<u8>), ImageError> {
        let unreadable = |source| ImageError::Registry {
            repository: repository.to_owned(),
            digest: digest.clone(),
            source: Box::new(source),
        };
        let name = Repository::parse(repository).map_err(unreadable)?;
        let reference = Reference::parse(digest.as_str()).map_err(unreadable)?;
        let manifest = self
            .registry
            .manifest(&name, &reference)
            .await
            .map_err(unreadable)?;
        let config = config_digest(&manifest.bytes).ok_or_else(|| ImageError::Manifest {
            repository: repository.to_owned(),
            digest: digest.clone(),
        })?;
        let config = self
            .registry
            .blob_bytes(&config)
            .await
            .map_err(unreadable)?;
        Ok((manifest.bytes.to_vec(), config.to_vec()))
    }

    fn remembered(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.lock().get(digest).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Image>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn layer_digests(manifest: &[u8]) -> Vec<Digest> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = manifest.get("layers").and_then(|layers| layers.as_array());
    let digest = |layer: &serde_json::Value| Digest::parse(layer.get("digest")?.as_str()?).ok();
    layers.into_iter().flatten().filter_map(digest).collect()
}

fn config_digest(manifest: &[u8]) -> Option<Digest> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    Digest::parse(manifest.get("config")?.get("digest")?.as_str()?).ok()
}
