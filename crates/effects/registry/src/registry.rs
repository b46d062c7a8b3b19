//! The registry inside the process: what the HTTP service, the builder and the engine all call.
//!
//! - `content`: whether a blob is here, and its verified bytes.
//! - `writer`: a blob on its way in.
//! - `manifests`: what a repository records, and in which order.
//! - `notes`: what this process remembers, for collection and to verify nothing twice.

mod content;
mod manifests;
mod notes;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use tokio::sync::RwLock;
use tokio::task::spawn_blocking;
use ward_types::id::Digest;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::digest::ContentDigest;
use crate::durable;
use crate::error::{Error, Result};
use crate::uploads::Uploads;
use notes::Notes;

pub use manifests::Manifest;
pub(crate) use manifests::Scope;
pub use writer::BlobWriter;
pub(crate) use writer::Sealed;

/// How long a start waits for a predecessor that is on its way out.
const TAKEOVER: Duration = Duration::from_secs(3);

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
