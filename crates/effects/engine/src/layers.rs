//! The folder of unpacked layers: `layers/HEX`, one per layer digest, and `layers/HEX.diff_id` beside it.
//!
//! A layer is unpacked into a folder with another name and renamed when it is whole and verified, so that
//! a folder with a layer's name is always that layer. Two calls for one layer take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ward_types::id::Digest;

use crate::error::{Error, file};
use crate::folder::{make_private, subfolders};

/// Folders whose names begin so are on their way in or out; at the start they are what a crash left.
const UNFINISHED: &str = ".";

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// How many layers.
    pub layers: u64,
    /// How many bytes their files held.
    pub bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Layers {
    dir: PathBuf,
    turns: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
}

impl Layers {
    pub(crate) fn open(dir: PathBuf) -> Result<Self, Error> {
        make_private(&dir)?;
        for folder in subfolders(&dir)? {
            if name_of(&folder).starts_with(UNFINISHED) {
                remove_tree(&folder)?;
            }
        }
        let turns = Mutex::default();
        Ok(Self { dir, turns })
    }

    /// The folder of a layer, which `unpack` fills if it is not there; it must verify that the layer is
    /// `digest` and, uncompressed, `diff_id`.
    pub(crate) fn provide(
        &self,
        digest: &Digest,
        diff_id: &Digest,
        unpack: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let turn = self.turn(digest);
        let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.dir.join(digest.hex());
        let note = self.dir.join(format!("{}.diff_id", digest.hex()));
        if folder.is_dir() {
            check_note(&note, digest, diff_id)?;
            return Ok(folder);
        }
        let fresh = self.dir.join(format!("{UNFINISHED}{}.new", digest.hex()));
        remove_tree(&fresh)?;
        make_private(&fresh)?;
        if let Err(error) = unpack(&fresh) {
            if let Err(left) = remove_tree(&fresh) {
                tracing::warn!(error = %left, "a layer that could not be unpacked stays behind");
            }
            return Err(error);
        }
        fs::write(&note, diff_id.as_str()).map_err(file("write", &note))?;
        fs::rename(&fresh, &folder).map_err(file("create", &folder))?;
        Ok(folder)
    }

    fn turn(&self, digest: &Digest) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(digest.clone()).or_default().clone()
    }

    pub(crate) fn collect(
        &self,
        keep: &BTreeSet<Digest>,
        used: &BTreeSet<PathBuf>,
    ) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        for folder in subfolders(&self.dir)? {
            let name = name_of(&folder);
            // What is no layer is not Ward's to remove, or on its way in.
            let Ok(digest) = Digest::parse(&format!("sha256:{name}")) else {
                continue;
            };
            if keep.contains(&digest) || used.contains(&folder) {
                continue;
            }
            let turn = self.turn(&digest);
            let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
            collected.bytes += bytes_below(&folder);
            collected.layers += 1;
            self.remove(&folder, name)?;
        }
        Ok(collected)
    }

    fn remove(&self, folder: &Path, name: &str) -> Result<(), Error> {
        // Renamed first: half a layer under a layer's name must never be seen.
        let leaving = self.dir.join(format!("{UNFINISHED}{name}.gone"));
        remove_tree(&leaving)?;
        fs::rename(folder, &leaving).map_err(file("remove", folder))?;
        let note = self.dir.join(format!("{name}.diff_id"));
        let _ = fs::remove_file(note);
        remove_tree(&leaving)
    }
}

fn check_note(note: &Path, digest: &Digest, diff_id: &Digest) -> Result<(), Error> {
    let known = fs::read_to_string(note).unwrap_or_default();
    match Digest::parse(known.trim()) {
        Ok(actual) if actual != *diff_id => Err(Error::Layer {
            digest: digest.clone(),
            source: crate::image::LayerError::DiffId {
                expected: diff_id.clone(),
                actual,
            },
        }),
        _ => Ok(()),
    }
}

fn name_of(folder: &Path) -> &str {
    folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

fn remove_tree(folder: &Path) -> Result<(), Error> {
    match ward_tree::remove(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => bytes += entry.metadata().map_or(0, |m| m.len()),
                _ => {}
            }
        }
    }
    bytes
}
