//! The registry inside the process: what the HTTP service, the builder and the engine all call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use tokio::io::AsyncRead;
use tokio::sync::RwLock;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;
use ward_types::id::Digest;

use crate::blobs::{Blobs, Found};
use crate::catalog::{Catalog, now};
use crate::digest::{Algorithm, ContentDigest};
use crate::durable::{self, Aside};
use crate::error::{Error, Result};
use crate::manifest::{self, Contents};
use crate::name::{Reference, Repository, Tag};
use crate::read::{self, Verified};
use crate::staging::{Progress, Sink, ingest};
use crate::uploads::Uploads;

/// How long a start waits for a predecessor that is on its way out.
const TAKEOVER: Duration = Duration::from_secs(3);
/// Remembered verifications and promises; beyond that the old ones are forgotten.
const MEMORY: usize = 16 * 1024;

/// How a registry is kept.
#[derive(Clone)]
pub struct Options {
    /// How long a blob or manifest that nothing refers to is spared by collection after it was pushed
    /// or asked for. An hour by default.
    pub grace: Duration,
    /// How long an upload may receive nothing before collection ends it. A day by default.
    pub upload_expiry: Duration,
    /// Where blobs are kept; in the registry's own folder when there is none.
    pub store: Option<Arc<dyn ObjectStore>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(3600),
            upload_expiry: Duration::from_secs(24 * 3600),
            store: None,
        }
    }
}

/// A registry. Cheap to clone; every clone is the same registry.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) blobs: Blobs,
    pub(crate) catalog: Catalog,
    pub(crate) uploads: Uploads,
    pub(crate) options: Options,
    /// Held shared from the moment content is looked at until what refers to it is recorded, and
    /// alone by a collection: nothing can be swept between a check and the record that relies on it.
    pub(crate) gate: RwLock<()>,
    staging: PathBuf,
    notes: Mutex<Notes>,
    /// Holds the lock on the folder for as long as the registry lives.
    _lock: File,
}

/// What is known in this process only, and may be forgotten.
#[derive(Default)]
struct Notes {
    /// Blobs that somebody was told are here.
    vouched: HashMap<ContentDigest, SystemTime>,
    /// The stamp under which a blob was verified.
    verified: HashMap<ContentDigest, String>,
    /// Blobs that were found damaged: they count as absent until they are pushed again.
    damaged: HashSet<ContentDigest>,
    /// When each writer that is open was opened.
    writers: BTreeMap<u64, SystemTime>,
    next_writer: u64,
    /// When writers and uploads ended, and when each of these had begun: the manifest that refers to
    /// what was pushed meanwhile comes after the last of them.
    ended: Vec<(SystemTime, SystemTime)>,
}

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
    /// Opens the registry in a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::File`] when the folder cannot be used.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, Options::default())
    }

    /// As [`Registry::open`], with other than the default options.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn open_with(folder: impl AsRef<Path>, options: Options) -> Result<Self> {
        let folder = std::path::absolute(folder.as_ref())
            .map_err(|e| Error::file("find", folder.as_ref(), e))?;
        durable::make_folder(&folder)?;
        // The lock comes before the sweep of leftovers: a live process's are not left over.
        let lock = lock(&folder)?;
        let staging = folder.join("staging");
        durable::make_folder(&staging)?;
        sweep_staging(&staging)?;
        let blobs = match &options.store {
            Some(store) => Blobs::remote(store.clone()),
            None => Blobs::local(&folder)?,
        };
        let inner = Inner {
            blobs,
            catalog: Catalog::new(folder.join("repositories"), staging.clone()),
            uploads: Uploads::open(folder.join("uploads"))?,
            options,
            gate: RwLock::new(()),
            staging,
            notes: Mutex::default(),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

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
        let (_, stamp, pieces) = self.open_content(digest).await?;
        pieces.try_for_each(async |_| Ok(())).await?;
        // A disk's moment of weakness is no damage.
        self.note(|notes| notes.damaged.remove(digest));
        if let Some(stamp) = stamp {
            self.note(|notes| {
                forget_if_many(&mut notes.verified);
                notes.verified.insert(digest.clone(), stamp);
            });
        }
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
        let (size, _, pieces) = self.open_content(digest).await?;
        if size > manifest::LARGEST as u64 {
            let reason = format!("{digest} has {size} bytes, too many to read at once");
            return Err(Error::Size { reason });
        }
        let pieces: Vec<Bytes> = pieces.try_collect().await?;
        Ok(match <[Bytes; 1]>::try_from(pieces) {
            Ok([only]) => only,
            Err(pieces) => pieces.concat().into(),
        })
    }

    /// Size, stamp and verified content of a blob. That it turns out damaged is remembered.
    async fn open_content(
        &self,
        digest: &ContentDigest,
    ) -> Result<(u64, Option<String>, Verified)> {
        let found = self.found(digest).await?;
        let (size, stamp) = (found.size, found.stamp.clone());
        Ok((size, stamp, self.whole(found, digest)))
    }

    pub(crate) async fn found(&self, digest: &ContentDigest) -> Result<Found> {
        let found = self.inner.blobs.open(digest).await?;
        found.ok_or_else(|| Error::BlobUnknown {
            digest: digest.clone(),
        })
    }

    pub(crate) fn whole(&self, found: Found, digest: &ContentDigest) -> Verified {
        let (registry, digest) = (self.clone(), digest.clone());
        let pieces = read::whole(found, digest.clone()).inspect_err(move |error| {
            if matches!(error, Error::Damaged { .. }) {
                registry.note(|notes| notes.damaged.insert(digest.clone()));
            }
        });
        Box::pin(pieces)
    }

    /// Whether the content was found damaged when it was read last.
    pub(crate) fn is_damaged(&self, digest: &ContentDigest) -> bool {
        self.note(|notes| notes.damaged.contains(digest))
    }

    /// Whether the object as it is now was verified before in this process.
    pub(crate) fn is_verified(&self, found: &Found, digest: &ContentDigest) -> bool {
        let Some(stamp) = &found.stamp else {
            return false;
        };
        self.note(|notes| notes.verified.get(digest) == Some(stamp))
    }

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

    /// Runs file operations on a thread that may wait for the disk.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        spawn_blocking(move || work(&inner))
            .await
            .map_err(Error::ShuttingDown)?
    }

    fn note<T>(&self, change: impl FnOnce(&mut Notes) -> T) -> T {
        // Each change is one call on one map: a panic leaves nothing half done.
        let mut notes = self
            .inner
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut notes)
    }

    fn vouch(&self, digest: &ContentDigest) {
        let at = now();
        self.note(|notes| {
            if notes.vouched.len() >= MEMORY {
                let grace = self.inner.options.grace;
                let young =
                    |then: &SystemTime| at.duration_since(*then).is_ok_and(|age| age < grace);
                notes.vouched.retain(|_, then| young(then));
            }
            notes.vouched.insert(digest.clone(), at)
        });
    }

    /// When somebody was last told that the blob is here, in this process.
    pub(crate) fn vouched(&self, digest: &ContentDigest) -> Option<SystemTime> {
        self.note(|notes| notes.vouched.get(digest).copied())
    }

    /// When the oldest writer began that is open, or ended within the grace period.
    pub(crate) fn oldest_writer(&self) -> Option<SystemTime> {
        let (at, grace) = (now(), self.inner.options.grace);
        self.note(|notes| {
            let recent = |ended: SystemTime| at.duration_since(ended).is_ok_and(|age| age < grace);
            notes.ended.retain(|(ended, _)| recent(*ended));
            let begun = notes.ended.iter().map(|(_, began)| began);
            notes.writers.values().chain(begun).min().copied()
        })
    }

    /// An upload or writer that began at `began` has just ended.
    pub(crate) fn note_end(&self, began: SystemTime) {
        let at = now();
        self.note(|notes| {
            if notes.ended.len() >= MEMORY {
                // One entry that spares at least as much stands for all of them.
                let oldest = notes.ended.iter().map(|(_, began)| *began).min();
                notes.ended = oldest.map(|oldest| (at, oldest)).into_iter().collect();
            }
            notes.ended.push((at, began));
        });
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
        registry.inner.blobs.publish(aside, &digest).await?;
        registry.note(|notes| notes.damaged.remove(&digest));
        registry.vouch(&digest);
        Ok(digest)
    }
}

fn forget_if_many<V>(map: &mut HashMap<ContentDigest, V>) {
    if map.len() >= MEMORY {
        map.clear();
    }
}

fn sha256(digest: &ContentDigest) -> Digest {
    digest
        .sha256()
        .unwrap_or_else(|| unreachable!("it was computed by SHA-256"))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| Error::file("open", &path, e))?;
    let deadline = Instant::now() + TAKEOVER;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::file("lock", &path, e)),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(Error::InUse {
                    path: folder.to_owned(),
                });
            }
            // The kernel offers no lock with a deadline; a killed predecessor lets go at its exit.
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Removes what writers of a process that is gone had not finished.
fn sweep_staging(staging: &Path) -> Result<()> {
    let names = durable::names_in(staging)?;
    names
        .iter()
        .filter(|name| durable::is_fresh_name(name))
        .try_for_each(|name| durable::remove(&staging.join(name)))
}

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
