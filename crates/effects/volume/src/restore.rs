//! Puts a snapshot in a volume's place.
//!
//! Decision: each restore has a folder of its own beside the volume's contents, `restore-NUMBER`: in it a copy of the
//! snapshot grows, then the former contents are moved into it, then the copy is moved out. Only then the log has it. The
//! former contents have a name that nothing else ever has, so that whoever comes after a kill at any moment knows them:
//! where the log has the number they become that snapshot, where it has not they go back. They are never removed here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ward_types::id::{EnvId, Name, SnapshotId};

use crate::error::{Error, file};
use crate::{Volumes, names, private, remove, tree};

/// What the name of a restore's folder begins with.
const RESTORE: &str = "restore-";

/// What became of a restore that was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The log has it: the former contents are the snapshot of this number.
    Kept(SnapshotId),
    /// The log has it not: the volume holds what it held before.
    TakenBack(SnapshotId),
}

/// One restore, whose number is that of the snapshot that the former contents become.
struct Restore {
    id: SnapshotId,
    folder: PathBuf,
}

impl Restore {
    fn copy(&self) -> PathBuf {
        self.folder.join("copy")
    }

    /// Other names of files in the copy.
    fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    fn former(&self) -> PathBuf {
        self.folder.join("former")
    }
}

impl Volumes {
    fn restore(&self, env: &EnvId, volume: &Name, id: SnapshotId) -> Restore {
        let folder = self.volume(env, volume).join(format!("{RESTORE}{id}"));
        Restore { id, folder }
    }

    /// The restores that have left something.
    fn restores(&self, env: &EnvId, volume: &Name) -> Result<Vec<Restore>, Error> {
        let names = names(&self.volume(env, volume))?;
        let ids = names
            .iter()
            .filter_map(|name| name.strip_prefix(RESTORE)?.parse().ok());
        Ok(ids.map(|id| self.restore(env, volume, id)).collect())
    }

    /// Where the former contents of a volume are, of which nobody has said yet what becomes of them.
    pub(crate) fn unsettled(&self, env: &EnvId, volume: &Name) -> Result<Option<PathBuf>, Error> {
        for restore in self.restores(env, volume)? {
            if exists(&restore.former())? {
                return Ok(Some(restore.former()));
            }
        }
        Ok(None)
    }

    /// Copies a snapshot, to take a volume's place; what the volume holds is to become the snapshot `kept`. It ends early
    /// when `given_up` says so.
    ///
    /// # Errors
    /// [`Error`], as it says; nothing of the copy is left then.
    pub fn prepare(
        &self,
        env: &EnvId,
        volume: &Name,
        (snapshot, kept): (SnapshotId, SnapshotId),
        given_up: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let from = self.snapshot(env, volume, snapshot);
        if !from.is_dir() {
            return Err(Error::NoSnapshot { path: from });
        }
        let restore = self.restore(env, volume, kept);
        fs::create_dir(&restore.folder).map_err(file("create", &restore.folder))?;
        let to = (restore.copy(), restore.links());
        tree::copy(&from, (&to.0, &to.1), given_up)
            .and_then(|()| remove(&to.1))
            .inspect_err(|_| drop(remove(&restore.folder)))
    }

    /// Puts what [`Volumes::prepare`] made in a volume's place. What the volume held is settled by [`Volumes::settle`]. No
    /// instance that sees the volume may run.
    ///
    /// # Errors
    /// [`Error::File`]; then [`Volumes::settle`] takes back what was done.
    pub fn exchange(&self, env: &EnvId, volume: &Name, kept: SnapshotId) -> Result<(), Error> {
        let (data, restore) = (self.data(env, volume), self.restore(env, volume, kept));
        private(&data)?;
        moved(&data, &restore.former())?;
        moved(&restore.copy(), &data)?;
        // Whatever the log says of it later must be true of the disk.
        let folders = [restore.folder.clone(), self.volume(env, volume)];
        folders.iter().try_for_each(|folder| synced(folder))
    }

    /// Finds out how far each restore came that left a volume's former contents, and ends it: they become a snapshot where
    /// `is_kept` says that the log has it, and else they go back. No restore of the volume may go on.
    ///
    /// # Errors
    /// [`Error::File`]; nothing is lost then, and it can be done again.
    pub fn settle(
        &self,
        env: &EnvId,
        volume: &Name,
        is_kept: impl Fn(SnapshotId) -> bool,
    ) -> Result<Vec<Settled>, Error> {
        let data = self.data(env, volume);
        let mut settled = Vec::new();
        for restore in self.restores(env, volume)? {
            if exists(&restore.former())? {
                settled.push(match is_kept(restore.id) {
                    true => self.keep(env, volume, &restore, &data)?,
                    false => take_back(&restore, &data)?,
                });
            }
        }
        Ok(settled)
    }

    fn keep(
        &self,
        env: &EnvId,
        volume: &Name,
        restore: &Restore,
        data: &Path,
    ) -> Result<Settled, Error> {
        if !exists(data)? {
            moved(&restore.copy(), data)?;
        }
        let snapshot = self.snapshot(env, volume, restore.id);
        snapshot.parent().map_or(Ok(()), private)?;
        moved(&restore.former(), &snapshot)?;
        Ok(Settled::Kept(restore.id))
    }

    /// Removes the copies of restores that came to nothing, and what is left of the others. No restore of the volume may go on.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(&self, env: &EnvId, volume: &Name) -> Result<(), Error> {
        for restore in self.restores(env, volume)? {
            if !exists(&restore.former())? {
                remove(&restore.folder)?;
            }
        }
        Ok(())
    }
}

fn take_back(restore: &Restore, data: &Path) -> Result<Settled, Error> {
    if exists(data)? {
        moved(data, &restore.copy())?;
    }
    moved(&restore.former(), data)?;
    Ok(Settled::TakenBack(restore.id))
}

/// Gives a folder another name, which nothing has.
fn moved(from: &Path, to: &Path) -> Result<(), Error> {
    let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::NOREPLACE);
    rustix::fs::renameat_with(here, from, here, to, flags)
        .map_err(|errno| file("rename", from)(errno.into()))
}

fn synced(folder: &Path) -> Result<(), Error> {
    rustix::fs::fsync(tree::open(folder)?).map_err(|errno| file("write", folder)(errno.into()))
}

fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(file("read", path)(error)),
    }
}
