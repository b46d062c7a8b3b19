//! A blob on its way in: written, sealed, then put in its place.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use ward_types::id::Digest;

use super::{Registry, sha256};
use crate::catalog::now;
use crate::digest::{Algorithm, ContentDigest};
use crate::durable::Aside;
use crate::error::{Error, Result};
use crate::staging::{Progress, Sink, ingest};

/// A blob being written by this process. Dropped before [`BlobWriter::commit`], it leaves nothing.
///
/// Its [`Write`] waits for the disk: call it from a thread that may.
pub struct BlobWriter {
    sink: Sink<Box<Progress>>,
    aside: Aside,
    open: OpenWriter,
}

/// Tells collection that blobs pushed since may be about to be referred to.
struct OpenWriter {
    registry: Registry,
    number: u64,
}

impl OpenWriter {
    fn new(registry: Registry) -> Self {
        let number = registry.note(|notes| {
            let number = notes.next_writer;
            notes.next_writer += 1;
            notes.writers.insert(number, now());
            number
        });
        Self { registry, number }
    }
}

impl Drop for OpenWriter {
    fn drop(&mut self) {
        let began = self
            .registry
            .note(|notes| notes.writers.remove(&self.number));
        began
            .into_iter()
            .for_each(|began| self.registry.note_end(began));
    }
}

impl Registry {
    /// Begins to write a blob whose digest is not known yet.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::File`].
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let aside = Aside::new(&self.inner.staging)?;
        let sink = Sink::create(&aside.path, Box::new(Progress::nothing()))?;
        Ok(BlobWriter {
            sink,
            aside,
            open: OpenWriter::new(self.clone()),
        })
    }

    /// Stores what a reader gives until it ends.
    ///
    /// # Errors
    /// [`Error::BodyCut`] when the reader fails, [`Error::DiskFull`] and [`Error::File`]; nothing is
    /// recorded then.
    pub async fn put_blob(&self, reader: impl AsyncRead) -> Result<Digest> {
        let pieces = std::pin::pin!(ReaderStream::with_capacity(reader, 256 * 1024));
        self.blob_writer()?.fill(pieces).await?.commit().await
    }

    /// Stores a copy of a file.
    ///
    /// # Errors
    /// As [`Registry::put_blob`].
    pub async fn put_blob_file(&self, path: &Path) -> Result<Digest> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|e| Error::file("open", path, e))?;
        self.put_blob(file).await
    }

    /// Waits until content that is complete is on the disk and has the digest it should have.
    pub(crate) async fn seal<P>(
        &self,
        sink: Sink<P>,
        aside: Aside,
        expected: Option<&ContentDigest>,
    ) -> Result<Sealed>
    where
        P: std::ops::DerefMut<Target = Progress> + Send + 'static,
    {
        let expected = expected.cloned();
        let (aside, digest) = self
            .blocking(move |_| {
                let algorithm = expected
                    .as_ref()
                    .map_or(Algorithm::Sha256, ContentDigest::algorithm);
                let actual = sink.progress.digest(&aside.path, algorithm)?;
                if let Some(expected) = expected.filter(|expected| *expected != actual) {
                    return Err(Error::DigestMismatch { expected, actual });
                }
                sink.sync()?;
                Ok((aside, actual))
            })
            .await?;
        Ok(Sealed {
            registry: self.clone(),
            aside,
            digest,
        })
    }
}

impl BlobWriter {
    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.sink.progress.written
    }

    /// Stores the blob under its digest.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::File`], [`Error::Store`]; nothing is recorded then.
    pub async fn commit(self) -> Result<Digest> {
        let registry = self.open.registry.clone();
        let sealed = self.seal(None).await?;
        let _gate = registry.inner.gate.read().await;
        let digest = sealed.publish().await?;
        Ok(sha256(&digest))
    }

    pub(crate) async fn seal(self, expected: Option<&ContentDigest>) -> Result<Sealed> {
        let Self { sink, aside, open } = self;
        open.registry.seal(sink, aside, expected).await
    }

    /// Appends all of a stream.
    pub(crate) async fn fill<B, E>(self, body: B) -> Result<Self>
    where
        B: futures_util::Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { sink, aside, open } = self;
        let sink = ingest(sink, body).await?;
        Ok(Self { sink, aside, open })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.append(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Content that is complete, verified and on the disk, but in no place yet.
pub(crate) struct Sealed {
    registry: Registry,
    aside: Aside,
    pub(crate) digest: ContentDigest,
}

impl Sealed {
    /// Puts the content in its place. The caller holds the gate.
    pub(crate) async fn publish(self) -> Result<ContentDigest> {
        let Self {
            registry,
            aside,
            digest,
        } = self;
        let stamp = registry.inner.blobs.publish(aside, &digest).await?;
        registry.note(|notes| notes.damaged.remove(&digest));
        if let Some(stamp) = stamp {
            registry.note_verified(&digest, stamp);
        }
        registry.vouch(&digest);
        Ok(digest)
    }
}
