//! The folders of volumes: made, measured, copied, removed.
//!
//! Decision: a volume is `volumes/STACK/ENVIRONMENT/NAME/data` of the state folder, its snapshots are folders beside
//! it, each under its number. What is there and not in the log was never finished, and is swept away. What puts a snapshot
//! in a volume's place is in `restore`.

mod error;
mod restore;
mod snapshot;
mod tree;

pub use error::Error;
pub use restore::Settled;
pub use snapshot::{SnapshotPlace, snapshot_instance};
pub use tree::{REMOVED, RESERVE};

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ward_types::id::{EnvId, Name, SnapshotId};

use crate::error::file;

/// What the name of a volume's former contents began with in earlier versions, until the log had them as a snapshot.
const BEFORE: &str = "before-";

/// The volumes of a state folder.
#[derive(Debug, Clone)]
pub struct Volumes {
    home: PathBuf,
}

impl Volumes {
    /// Those of the state folder `home` (absolute).
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self {
            home: home.join("volumes"),
        }
    }

    fn env(&self, env: &EnvId) -> PathBuf {
        self.home
            .join(env.stack().as_str())
            .join(env.env().as_str())
    }

    fn volume(&self, env: &EnvId, volume: &Name) -> PathBuf {
        self.env(env).join(volume.as_str())
    }

    /// What instances see of a volume.
    #[must_use]
    pub fn data(&self, env: &EnvId, volume: &Name) -> PathBuf {
        self.volume(env, volume).join("data")
    }

    /// Where a snapshot lies.
    #[must_use]
    pub fn snapshot(&self, env: &EnvId, volume: &Name, snapshot: SnapshotId) -> PathBuf {
        let snapshots = self.volume(env, volume).join("snapshots");
        snapshots.join(snapshot.to_string())
    }

    /// Makes a volume where there is none, and sees to it that all that is in it belongs to `owner`, where Ward is
    /// root: a volume may have been another service's before. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Unsettled`] where it is not known what the volume holds.
    pub fn ready(&self, env: &EnvId, volume: &Name, owner: u32) -> Result<PathBuf, Error> {
        let data = self.data(env, volume);
        if let Some(former) = self.unsettled(env, volume)? {
            return Err(Error::Unsettled { former });
        }
        private(&data)?;
        let root = rustix::process::geteuid().is_root();
        let belongs = fs::symlink_metadata(&data).map_err(file("read", &data))?;
        if root && belongs.uid() != owner {
            tree::give(&data, owner)?;
        }
        Ok(data)
    }

    /// Whose a volume is: the user id of its folder.
    ///
    /// # Errors
    /// [`Error::File`], also where there is none.
    pub fn owner(&self, env: &EnvId, volume: &Name) -> Result<u32, Error> {
        let data = self.data(env, volume);
        let stat = fs::symlink_metadata(&data).map_err(file("read", &data))?;
        Ok(stat.uid())
    }

    /// The volumes that an environment has on the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn list(&self, env: &EnvId) -> Result<Vec<Name>, Error> {
        let names = names(&self.env(env))?.into_iter();
        Ok(names.filter_map(|name| Name::parse(&name).ok()).collect())
    }

    /// How many bytes of the disk a volume takes, without its snapshots; 0 of one that is not there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn bytes(&self, env: &EnvId, volume: &Name) -> Result<u64, Error> {
        there(tree::bytes(&self.data(env, volume)))
    }

    /// The same of a snapshot.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn snapshot_bytes(
        &self,
        env: &EnvId,
        volume: &Name,
        snapshot: SnapshotId,
    ) -> Result<u64, Error> {
        there(tree::bytes(&self.snapshot(env, volume, snapshot)))
    }

    /// Removes the snapshots of an environment that are not to be kept, and those that were never finished.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sweep(
        &self,
        env: &EnvId,
        keep: impl Fn(&Name, SnapshotId) -> bool,
    ) -> Result<(), Error> {
        for volume in self.list(env)? {
            let snapshots = self.volume(env, &volume).join("snapshots");
            let kept = |name: &str| name.parse().is_ok_and(|id| keep(&volume, id));
            for name in names(&snapshots)? {
                let path = snapshots.join(&name);
                match name.strip_prefix(BEFORE) {
                    Some(name) if kept(name) => {
                        fs::rename(&path, snapshots.join(name)).map_err(file("rename", &path))?;
                    }
                    // What was data is removed only by somebody who says so.
                    Some(_) => {}
                    None if kept(&name) => {}
                    None => remove(&path)?,
                }
            }
        }
        Ok(())
    }

    /// Removes a volume with its snapshots, for ever. Removing what is not there does nothing. No instance that sees
    /// it may run.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn delete(&self, env: &EnvId, volume: &Name) -> Result<(), Error> {
        there(tree::leave(&self.data(env, volume)))?;
        remove(&self.volume(env, volume))
    }

    /// Removes all volumes of an environment, and the folders above that nothing else is in.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn purge(&self, env: &EnvId) -> Result<(), Error> {
        for volume in self.list(env)? {
            there(tree::leave(&self.data(env, &volume)))?;
        }
        remove(&self.env(env))?;
        // One that holds another environment's is not empty, and stays.
        let stack = self.home.join(env.stack().as_str());
        let _ = fs::remove_dir(stack).and_then(|()| fs::remove_dir(&self.home));
        Ok(())
    }
}

/// Of what is not there there is nothing.
fn there<T: Default>(done: Result<T, Error>) -> Result<T, Error> {
    match done {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(T::default())
        }
        other => other,
    }
}

/// A folder that only its owner may enter, and those above it.
fn private(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(file("create", folder))
}

fn remove(folder: &Path) -> Result<(), Error> {
    // A volume whose place another one took may still be copied from.
    there(tree::leave(folder))?;
    match ward_tree::remove(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// The names of the folders directly in one; none where it is not there.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("read", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("read", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
