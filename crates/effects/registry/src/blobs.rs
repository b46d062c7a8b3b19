//! Content by digest.
//!
//! Decision: everything is read, listed and deleted through `object_store`, so that a bucket can
//! take the folder's place. Only the way in differs by store. `object_store`'s local file system
//! takes a whole payload, or parts that it holds in memory, and knows neither our digest nor our
//! upload sessions; so for a local store an upload is written straight to a file in the same file
//! system and renamed into `object_store`'s folder layout when it is complete, verified and on the
//! disk. For any other store the same file is sent up in parts and removed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;

use crate::digest::ContentDigest;
use crate::durable::{self, Aside};
use crate::error::{Error, Result};

/// Size of a part sent to a store that is not local, in bytes, and how many are in flight.
const PART: usize = 8 * 1024 * 1024;
const PARTS_IN_FLIGHT: usize = 4;

/// The content-addressed store.
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    local: Option<PathBuf>,
}

/// A blob that was found.
pub(crate) struct Found {
    pub(crate) size: u64,
    pub(crate) bytes: Bytestream,
    /// Changes whenever the stored object does: what was verified under one stamp need not be again
    /// right away. `None` when the store cannot tell.
    pub(crate) stamp: Option<String>,
}

pub(crate) enum Bytestream {
    File(File),
    Remote(BoxStream<'static, object_store::Result<Bytes>>),
}

/// A blob in a listing.
pub(crate) struct Listed {
    pub(crate) digest: ContentDigest,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Blobs {
    /// A store in the folder `root`, which exists.
    pub(crate) fn local(root: &Path) -> Result<Self> {
        let store = LocalFileSystem::new_with_prefix(root).map_err(|source| Error::Store {
            digest: "its folder".to_owned(),
            source,
        })?;
        Ok(Self {
            store: Arc::new(store),
            local: Some(root.to_owned()),
        })
    }

    pub(crate) fn remote(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, local: None }
    }

    /// Where a blob is, or would be, as a file.
    pub(crate) fn path(&self, digest: &ContentDigest) -> Option<PathBuf> {
        Some(self.local.as_ref()?.join(key_text(digest)))
    }

    pub(crate) async fn size(&self, digest: &ContentDigest) -> Result<Option<u64>> {
        match self.store.head(&key(digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Error::store(digest, e)),
        }
    }

    pub(crate) async fn open(&self, digest: &ContentDigest) -> Result<Option<Found>> {
        let got = match self.store.get(&key(digest)).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(Error::store(digest, e)),
        };
        let (size, tag) = (got.meta.size, got.meta.e_tag);
        let (bytes, stamp) = match got.payload {
            GetResultPayload::File(file, path) => {
                let stamp = file_stamp(&file).map_err(|e| Error::file("read", &path, e))?;
                (Bytestream::File(file), Some(stamp))
            }
            GetResultPayload::Stream(stream) => (Bytestream::Remote(stream), tag),
        };
        Ok(Some(Found { size, bytes, stamp }))
    }

    /// Puts a complete, verified file, which is on the disk already, in its place. It goes over what
    /// was there: either the same bytes, or damaged ones that this mends. Returns the stamp under which
    /// it is stored, where this store can tell without reading it again.
    pub(crate) async fn publish(
        &self,
        staged: Aside,
        digest: &ContentDigest,
    ) -> Result<Option<String>> {
        let Some(place) = self.path(digest) else {
            self.send(&staged.path, digest).await?;
            return Ok(None);
        };
        spawn_blocking(move || {
            durable::make_folder(place.parent().unwrap_or(Path::new("/")))?;
            staged.publish(&place)?;
            let file = File::open(&place).and_then(|file| file_stamp(&file));
            file.map(Some).map_err(|e| Error::file("read", &place, e))
        })
        .await
        .map_err(Error::ShuttingDown)?
    }

    /// The object appears when all its parts have arrived, not before.
    async fn send(&self, staged: &Path, digest: &ContentDigest) -> Result<()> {
        let failed = |e| Error::store(digest, e);
        let cannot_read = |e| Error::file("read", staged, e);
        let mut file = tokio::fs::File::open(staged).await.map_err(cannot_read)?;
        let parts = self.store.put_multipart(&key(digest)).await;
        let mut parts = WriteMultipart::new_with_chunk_size(parts.map_err(failed)?, PART);
        let mut buffer = vec![0; PART];
        loop {
            let read = file.read(&mut buffer).await.map_err(cannot_read)?;
            if read == 0 {
                break;
            }
            parts
                .wait_for_capacity(PARTS_IN_FLIGHT)
                .await
                .map_err(failed)?;
            parts.write(&buffer[..read]);
        }
        parts.finish().await.map_err(failed)?;
        Ok(())
    }

    pub(crate) async fn delete(&self, digest: &ContentDigest) -> Result<()> {
        match self.store.delete(&key(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::store(digest, e)),
        }
    }

    /// Every blob. Objects whose place is not that of a blob were not written by Ward, and are left out.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>> {
        self.store
            .list(Some(&Key::from("blobs")))
            .map_err(|source| Error::Store {
                digest: "its listing".to_owned(),
                source,
            })
            .try_filter_map(async |meta| {
                Ok(digest_at(meta.location.as_ref()).map(|digest| Listed {
                    digest,
                    size: meta.size,
                    modified: meta.last_modified.into(),
                }))
            })
            .boxed()
            .try_collect()
            .await
    }
}

/// `blobs/sha256/ab/ab…`: a folder per first byte keeps folders small.
fn key_text(digest: &ContentDigest) -> String {
    let hex = digest.hex();
    format!("blobs/{}/{}/{hex}", digest.algorithm().name(), &hex[..2])
}

fn key(digest: &ContentDigest) -> Key {
    Key::from(key_text(digest))
}

fn digest_at(location: &str) -> Option<ContentDigest> {
    let mut parts = location.strip_prefix("blobs/")?.split('/');
    let (algorithm, shard, hex) = (parts.next()?, parts.next()?, parts.next()?);
    let digest = ContentDigest::from_parts(algorithm, hex)?;
    (parts.next().is_none() && shard == &hex[..2]).then_some(digest)
}

fn file_stamp(file: &File) -> std::io::Result<String> {
    let m = file.metadata()?;
    Ok(format!(
        "{}-{}-{}-{}.{}-{}.{}",
        m.dev(),
        m.ino(),
        m.size(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn only_the_place_of_a_blob_is_one() {
        let digest = ContentDigest::of(Algorithm::Sha256, b"x");
        let place = key_text(&digest);
        assert_eq!(digest_at(&place), Some(digest.clone()));
        assert_eq!(key(&digest).as_ref(), place);
        for other in [
            "blobs/notes.txt".to_owned(),
            format!("blobs/sha256/00/{}", digest.hex()),
            format!("{place}/more"),
            format!("x{place}"),
        ] {
            assert_eq!(digest_at(&other), None, "{other} was taken");
        }
    }
}
