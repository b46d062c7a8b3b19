//! Whether a blob is here, and its bytes, verified.

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use ward_types::id::Digest;

use super::Registry;
use crate::blobs::Found;
use crate::digest::ContentDigest;
use crate::error::{Error, Result};
use crate::manifest;
use crate::name::{Reference, Repository};
use crate::read::{self, Verified};

impl Registry {
    /// Whether the blob is here. A blob that was asked for is spared by collection for the grace
    /// period, so that a caller who leaves out the upload because of the answer is not deceived.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let _gate = self.inner.gate.read().await;
        let size = self.present(&digest.into()).await?;
        Ok(size.is_some())
    }

    /// A blob's size in bytes, if it is here and not known to be damaged. The caller holds the gate.
    pub(crate) async fn present(&self, digest: &ContentDigest) -> Result<Option<u64>> {
        if self.is_damaged(digest) {
            return Ok(None);
        }
        let size = self.inner.blobs.size(digest).await?;
        if size.is_some() {
            self.vouch(digest);
        }
        Ok(size)
    }

    /// Whether a manifest and every blob that it names are here as they were pushed. Each is read once an
    /// hour at most for as long as the stored object does not change; what turns out damaged counts as
    /// absent from then on.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Store`].
    pub async fn has_image(&self, repository: &Repository, digest: &Digest) -> Result<bool> {
        let reference = Reference::Digest(digest.into());
        let manifest = match self.manifest(repository, &reference).await {
            Err(
                Error::ManifestUnknown { .. } | Error::BlobUnknown { .. } | Error::Damaged { .. },
            ) => {
                return Ok(false);
            }
            other => other?,
        };
        for blob in manifest::read(None, &manifest.bytes)?.blobs {
            if !self.is_intact(&blob).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_intact(&self, digest: &ContentDigest) -> Result<bool> {
        let checked = match self.found(digest).await {
            Ok(found) if self.is_verified(&found, digest) => Ok(()),
            Ok(_) => self.verify(digest).await,
            Err(error) => Err(error),
        };
        match checked {
            Err(Error::BlobUnknown { .. } | Error::Damaged { .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// The blob as a file that may be opened and must not be written to; `None` when it is not here,
    /// or the store is not local. The content is not verified: see [`Registry::verify_blob`].
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.inner.blobs.path(&digest.into())?;
        path.is_file().then_some(path)
    }

    /// Reads all of a blob and compares its digest.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], and [`Error::Damaged`] when the stored bytes are not what they should be.
    pub async fn verify_blob(&self, digest: &Digest) -> Result<()> {
        self.verify(&digest.into()).await
    }

    pub(crate) async fn verify(&self, digest: &ContentDigest) -> Result<()> {
        let found = self.found(digest).await?;
        let pieces = self.hashed(found, digest);
        pieces.try_for_each(async |_| Ok(())).await?;
        // A disk's moment of weakness is no damage.
        self.note(|notes| notes.damaged.remove(digest));
        Ok(())
    }

    /// A whole blob in memory, verified: for configurations and other small ones.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::Damaged`], and [`Error::Size`] for a blob of more than
    /// [`manifest::LARGEST`] bytes.
    pub async fn blob_bytes(&self, digest: &Digest) -> Result<Bytes> {
        self.small(&digest.into()).await
    }

    pub(crate) async fn small(&self, digest: &ContentDigest) -> Result<Bytes> {
        let found = self.found(digest).await?;
        let size = found.size;
        if size > manifest::LARGEST as u64 {
            let reason = format!("{digest} has {size} bytes, too many to read at once");
            return Err(Error::Size { reason });
        }
        let pieces: Vec<Bytes> = self.whole(found, digest).try_collect().await?;
        Ok(match <[Bytes; 1]>::try_from(pieces) {
            Ok([only]) => only,
            Err(pieces) => pieces.concat().into(),
        })
    }

    pub(crate) async fn found(&self, digest: &ContentDigest) -> Result<Found> {
        let found = self.inner.blobs.open(digest).await?;
        found.ok_or_else(|| Error::BlobUnknown {
            digest: digest.clone(),
        })
    }

    /// All of a blob. Every byte goes through the hash, unless it has done so a short while ago and the
    /// object has not been touched since: an image is pulled right after it was pushed, and by many.
    pub(crate) fn whole(&self, found: Found, digest: &ContentDigest) -> Verified {
        if self.is_verified(&found, digest) {
            let all = 0..found.size;
            return read::part(found, digest, all);
        }
        self.hashed(found, digest)
    }

    /// All of a blob, hashed on the way. How that ends is remembered.
    fn hashed(&self, found: Found, digest: &ContentDigest) -> Verified {
        let (mut left, mut stamp) = (found.size, found.stamp.clone());
        let (registry, of) = (self.clone(), digest.clone());
        let pieces = read::whole(found, digest.clone()).inspect(move |piece| match piece {
            Ok(piece) => {
                left = left.saturating_sub(piece.len() as u64);
                // The last piece comes only where the digest is right.
                let stamp = stamp.take_if(|_| left == 0);
                stamp
                    .into_iter()
                    .for_each(|stamp| registry.note_verified(&of, stamp));
            }
            Err(Error::Damaged { .. }) => {
                registry.note(|notes| notes.damaged.insert(of.clone()));
            }
            Err(_) => {}
        });
        pieces.boxed()
    }
}
