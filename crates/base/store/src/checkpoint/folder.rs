//! The folder `checkpoints` beside the database: `latest`, one of each thousand events, and `key`.
//!
//! A checkpoint that the log contradicts is evidence. It is never overwritten: before the first new one of
//! a run takes the name `latest`, one that does not fit the log moves to `disputed-…`, where
//! `verify` keeps finding it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::{Error, Result};

/// One checkpoint of so many events is kept for ever.
const KEPT_EACH: u64 = 1000;

/// The folder of a database's checkpoints.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// That of this database, which need not exist.
    pub(crate) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_file_name("checkpoints"),
        }
    }

    /// Makes the folder, and writes the public key for those who check.
    pub(crate) fn make(&self, key: &str) -> Result<()> {
        let make = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        make.map_err(Error::file("make", &self.path))?;
        let path = self.path.join("key");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim_end() == key => Ok(()),
            _ => replace(&path, format!("{key}\n").as_bytes()),
        }
    }

    /// The text of the latest checkpoint.
    pub(crate) fn latest(&self) -> Option<String> {
        fs::read_to_string(self.path.join("latest")).ok()
    }

    /// Moves the latest checkpoint out of the way of its successor, to be found by `verify`.
    pub(crate) fn dispute_latest(&self) -> Result<()> {
        let latest = self.path.join("latest");
        let to = (0..u32::MAX)
            .map(|n| self.path.join(format!("disputed-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.path.join("disputed"));
        fs::rename(&latest, to).map_err(Error::file("rename", &latest))
    }

    /// Keeps the head of a log that had `before` events when the last one was kept.
    pub(crate) fn keep(&self, checkpoint: &Checkpoint, before: u64) -> Result<()> {
        if checkpoint.size / KEPT_EACH > before / KEPT_EACH {
            let name = format!("{:012}", checkpoint.size);
            replace(&self.path.join(name), checkpoint.text.as_bytes())?;
        }
        replace(&self.path.join("latest"), checkpoint.text.as_bytes())
    }

    /// Every checkpoint in the folder: its file's name and text.
    pub(crate) fn all(&self) -> Result<Vec<(String, String)>> {
        let Ok(listing) = fs::read_dir(&self.path) else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for item in listing {
            let item = item.map_err(Error::file("list", &self.path))?;
            let name = item.file_name().to_string_lossy().into_owned();
            if name != "key" && !name.ends_with(".new") {
                let bytes = fs::read(item.path()).map_err(Error::file("read", &item.path()))?;
                all.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        all.sort();
        Ok(all)
    }
}

/// Replaces a file whole (mode 0600), so that a reader or a crash finds the old or the new content.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(Error::file("write", &new))?;
    fs::rename(&new, path).map_err(Error::file("rename", &new))
}
