//! What a repository records: manifests, tags, and the order in which they come to be.

use std::io::Write;

use bytes::Bytes;
use ward_types::id::Digest;

use super::{Registry, sha256};
use crate::digest::{Algorithm, ContentDigest};
use crate::error::{Error, Result};
use crate::manifest::{self, Contents};
use crate::name::{Reference, Repository, Tag};

/// A manifest and what it was pushed as.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The digest of `bytes`.
    pub digest: ContentDigest,
    /// Its media type, one of [`manifest::MEDIA_TYPES`].
    pub media_type: String,
    /// Exactly the bytes that were pushed, verified.
    pub bytes: Bytes,
}

/// Who answers for it that the blobs of a manifest are here.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// Each blob was pushed to, or mounted in, the manifest's repository: what HTTP asks for.
    Repository,
    /// Each blob is in the store: enough for callers in this process, who push blobs to no repository.
    Store,
}

impl Registry {
    /// Stores a manifest, whose blobs are here already, and lets a tag lead to it.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`], [`Error::ManifestBlobUnknown`], [`Error::DiskFull`]; the repository
    /// is as it was then.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        tag: Option<&Tag>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Digest> {
        let bytes = bytes.into();
        let contents = manifest::read(Some(media_type), &bytes)?;
        let digest = ContentDigest::of(Algorithm::Sha256, &bytes);
        let tag = tag.cloned();
        self.record(Scope::Store, repository, tag, &digest, contents, bytes)
            .await?;
        Ok(sha256(&digest))
    }

    /// Stores and records a manifest whose digest was checked.
    pub(crate) async fn record(
        &self,
        scope: Scope,
        repository: &Repository,
        tag: Option<Tag>,
        digest: &ContentDigest,
        contents: Contents,
        bytes: Bytes,
    ) -> Result<()> {
        let mut writer = self.blob_writer()?;
        let size = bytes.len() as u64;
        let writer = self
            .blocking(move |inner| {
                writer
                    .write_all(&bytes)
                    .map(|()| writer)
                    .map_err(|e| Error::file("write a manifest in", &inner.staging, e))
            })
            .await?;
        let sealed = writer.seal(Some(digest)).await?;
        // 1. From here nothing is collected. 2. What it refers to is looked at. 3. Its content comes
        // before its record, which promises that content. 4. The record.
        let _gate = self.inner.gate.read().await;
        self.check_references(scope, repository, &contents).await?;
        sealed.publish().await?;
        let (repository, digest) = (repository.clone(), digest.clone());
        self.blocking(move |inner| {
            let tag = tag.as_ref();
            inner
                .catalog
                .put_manifest(&repository, tag, &digest, &contents, size)
        })
        .await
    }

    async fn check_references(
        &self,
        scope: Scope,
        repository: &Repository,
        contents: &Contents,
    ) -> Result<()> {
        for digest in contents.blobs.iter().chain(&contents.children) {
            let linked = match scope {
                Scope::Repository => self.is_linked(repository, digest).await?,
                Scope::Store => true,
            };
            if !linked || self.present(digest).await?.is_none() {
                return Err(Error::ManifestBlobUnknown {
                    repository: repository.clone(),
                    digest: digest.clone(),
                });
            }
        }
        Ok(())
    }

    async fn is_linked(&self, repository: &Repository, digest: &ContentDigest) -> Result<bool> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.blocking(move |inner| {
            Ok(inner.catalog.vouch_blob(&repository, &digest)?
                || inner.catalog.recorded(&repository, &digest)?.is_some())
        })
        .await
    }

    /// The manifest that a tag or digest leads to, verified.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Damaged`].
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Manifest> {
        let (digest, media_type, _) = self.resolve(repository, reference).await?;
        let bytes = self.small(&digest).await?;
        Ok(Manifest {
            digest,
            media_type,
            bytes,
        })
    }

    /// Digest, media type and size in bytes of the manifest that a tag or digest leads to.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`].
    pub async fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(ContentDigest, String, u64)> {
        let (name, wanted) = (repository.clone(), reference.clone());
        let found = self
            .blocking(move |inner| inner.catalog.find(&name, &wanted))
            .await?;
        let (digest, recorded) = found.ok_or_else(|| Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        })?;
        Ok((digest, recorded.media_type, recorded.size))
    }

    /// The tags of a repository, in the order of a listing; none for one that does not exist.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let repository = repository.clone();
        self.blocking(move |inner| inner.catalog.tags(&repository))
            .await
    }

    /// Every repository that something was pushed to.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn repositories(&self) -> Result<Vec<Repository>> {
        self.blocking(|inner| inner.catalog.repositories()).await
    }

    /// Removes a tag, or a manifest with all tags that lead to it. Content stays until it is collected.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] when there is no such thing.
    pub async fn remove(&self, repository: &Repository, reference: &Reference) -> Result<()> {
        let unknown = || Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let _gate = self.inner.gate.read().await;
        let name = repository.clone();
        match reference.clone() {
            Reference::Tag(tag) => {
                let removed = self.blocking(move |inner| inner.catalog.remove_tag(&name, &tag));
                removed.await?.then_some(()).ok_or_else(unknown)
            }
            Reference::Digest(digest) => {
                self.resolve(repository, reference).await?;
                // Damaged content has a subject nobody can read; its referrer entry is dead without
                // the record, and is swept with it.
                let contents = self.small(&digest).await.ok();
                let subject = contents.and_then(|bytes| manifest::read(None, &bytes).ok()?.subject);
                self.blocking(move |inner| {
                    let subject = subject.as_ref();
                    inner.catalog.remove_manifest(&name, &digest, subject)
                })
                .await
            }
        }
    }
}
