//! Uploads under way: `uploads/<id>/data` and `uploads/<id>/repository`.
//!
//! An upload outlives its connection and the process. What has been received is the length of the
//! file; after a restart the digest so far is computed from it once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedMutexGuard;

use crate::catalog::now;
use crate::durable;
use crate::error::{Error, Result};
use crate::name::Repository;
use crate::staging::Progress;

/// The most uploads under way at a time.
const MOST: usize = 4096;
/// How long a request waits for the one before it on the same upload: a client that lost its
/// connection is often back before the registry has noticed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<Upload>>>,
}

/// One upload.
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) began: SystemTime,
    repository: Repository,
    folder: PathBuf,
    progress: Arc<tokio::sync::Mutex<Progress>>,
    ended: AtomicBool,
}

impl Upload {
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Waits for the request before, and fails if that one ended the upload.
    pub(crate) async fn lock(&self) -> Result<OwnedMutexGuard<Progress>> {
        let waiting = self.progress.clone().lock_owned();
        let guard =
            tokio::time::timeout(PATIENCE, waiting)
                .await
                .map_err(|_| Error::UploadBusy {
                    id: self.id.clone(),
                })?;
        if self.ended.load(Ordering::Acquire) {
            return Err(unknown(&self.id));
        }
        Ok(guard)
    }
}

fn unknown(id: &str) -> Error {
    Error::UploadUnknown {
        id: id.chars().take(64).collect(),
    }
}

/// What a sweep of uploads that nobody goes on with found.
pub(crate) struct Swept {
    pub(crate) removed: u64,
    /// When the oldest of those still under way began.
    pub(crate) oldest: Option<SystemTime>,
}

impl Uploads {
    /// The uploads in a folder. What a crash left half begun in it is removed.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        durable::make_folder(&folder)?;
        for id in ids_in(&folder)? {
            if repository_of(&folder.join(&id)).is_none() {
                remove_folder(&folder.join(&id))?;
            }
        }
        Ok(Self {
            folder,
            open: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, repository: &Repository) -> Result<Arc<Upload>> {
        if self.table().len() >= MOST {
            return Err(Error::TooManyUploads { limit: MOST });
        }
        let id = durable::fresh_name()?;
        let folder = self.folder.join(&id);
        fs::create_dir(&folder).map_err(|e| Error::file("make the folder", &folder, e))?;
        let begun = File::create_new(folder.join("data"))
            .and_then(|_| fs::write(folder.join("repository"), repository.as_str()));
        if let Err(e) = begun {
            remove_folder(&folder)?;
            return Err(Error::file("begin an upload in", &folder, e));
        }
        self.remember(Upload {
            folder,
            id,
            began: now(),
            repository: repository.clone(),
            progress: Arc::new(tokio::sync::Mutex::new(Progress::nothing())),
            ended: AtomicBool::new(false),
        })
    }

    /// Two requests may both find an upload on the disk: the first one's lock is the lock. One that was
    /// closed meanwhile is not taken up again, since its file may be on its way to become a blob.
    fn remember(&self, upload: Upload) -> Result<Arc<Upload>> {
        let mut table = self.table();
        if repository_of(&upload.folder).is_none() {
            return Err(unknown(&upload.id));
        }
        let id = upload.id.clone();
        Ok(table.entry(id).or_insert_with(|| Arc::new(upload)).clone())
    }

    pub(crate) fn find(&self, repository: &Repository, id: &str) -> Result<Arc<Upload>> {
        let known = self.table().get(id).cloned();
        let upload = match known {
            Some(upload) => upload,
            None => self.find_on_disk(id)?,
        };
        if upload.repository == *repository {
            Ok(upload)
        } else {
            Err(unknown(id))
        }
    }

    fn find_on_disk(&self, id: &str) -> Result<Arc<Upload>> {
        if !durable::is_fresh_name(id) {
            return Err(unknown(id));
        }
        let folder = self.folder.join(id);
        let repository = repository_of(&folder).ok_or_else(|| unknown(id))?;
        let progress = Progress::of_file(&folder.join("data"))?;
        let began = modified(&folder.join("repository")).unwrap_or_else(now);
        self.remember(Upload {
            folder,
            id: id.to_owned(),
            began,
            repository,
            progress: Arc::new(tokio::sync::Mutex::new(progress)),
            ended: AtomicBool::new(false),
        })
    }

    /// Ends an upload whose lock the caller holds: from here no request finds it, in the table or on
    /// the disk, and those that wait for its lock are told that it has ended.
    pub(crate) fn close(&self, upload: &Upload) -> Result<()> {
        let mut table = self.table();
        upload.ended.store(true, Ordering::Release);
        durable::remove(&upload.folder.join("repository"))?;
        table.remove(&upload.id);
        Ok(())
    }

    /// Removes what an upload that was closed left on the disk.
    pub(crate) fn clear(&self, upload: &Upload) -> Result<()> {
        remove_folder(&upload.folder)
    }

    /// Removes the uploads that received nothing since `expired`.
    pub(crate) fn sweep(&self, expired: SystemTime) -> Result<Swept> {
        let mut swept = Swept {
            removed: 0,
            oldest: None,
        };
        for id in ids_in(&self.folder)? {
            let folder = self.folder.join(&id);
            let began = modified(&folder.join("repository"));
            let received = modified(&folder.join("data")).or_else(|| modified(&folder));
            if received.max(began).is_some_and(|at| at <= expired) && self.end_idle(&id)? {
                swept.removed += 1;
            } else {
                swept.oldest = [swept.oldest, began].into_iter().flatten().min();
            }
        }
        Ok(swept)
    }

    /// Ends an upload unless a request is writing to it.
    fn end_idle(&self, id: &str) -> Result<bool> {
        let known = self.table().get(id).cloned();
        let Some(upload) = known else {
            return remove_folder(&self.folder.join(id)).map(|()| true);
        };
        match upload.progress.clone().try_lock_owned() {
            Ok(_locked) => {
                self.close(&upload)?;
                self.clear(&upload).map(|()| true)
            }
            Err(_writing) => Ok(false),
        }
    }
}

fn ids_in(folder: &Path) -> Result<Vec<String>> {
    let mut ids = durable::names_in(folder)?;
    ids.retain(|id| durable::is_fresh_name(id));
    Ok(ids)
}

fn repository_of(folder: &Path) -> Option<Repository> {
    let name = fs::read_to_string(folder.join("repository")).ok()?;
    Repository::parse(&name).ok()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// Removes the two files that an upload consists of and its folder, and nothing else.
fn remove_folder(folder: &Path) -> Result<()> {
    durable::remove(&folder.join("data"))?;
    durable::remove(&folder.join("repository"))?;
    match fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::file("remove", folder, e)),
    }
}
