//! The folder of unpacked layers: `layers/HEX`, one per layer digest, and `layers/HEX.diff_id` beside it.
//!
//! A layer is unpacked into a folder with another name and renamed when it is whole and verified. What it holds then is
//! listed in `HEX.files`, and compared with that before anything starts from it. One that other hands changed is condemned
//! (`HEX.changed` says in what) and never used again; the layer is unpacked anew into `HEX.1`, and so on. The condemned
//! one stays where it is while instances run from it, because nothing may be moved or mended below a mounted overlay. One
//! that is gone as a whole, whatever took its place, is condemned like the others, by its list or by an instance that runs
//! from it: were its name given again, nobody could tell that instance from those that run from what is whole. Two calls
//! for one layer take turns.

mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ward_types::id::Digest;

use crate::error::{Error, file};
use crate::folder::{Home, entries, make_private, subfolders};
use crate::start;

/// Folders whose names begin so are on their way in or out; at the start they are what a crash left.
const UNFINISHED: &str = ".";

/// The list of what a folder holds.
const FILES: &str = "files";
/// In what a folder is not its layer any more.
const CHANGED: &str = "changed";

/// A look at a folder holds for so many times as long as it took: so looking takes a twentieth of one processor at
/// most, however many files there are and however many instances start.
const HOLDS: u32 = 20;

/// How long a condemned folder is kept although no instance is seen that uses it: one may be about to start.
const ABOUT_TO_START: Duration = Duration::from_secs(60);

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
    home: Home,
    dir: PathBuf,
    turns: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
    /// The folders that are not their layers any more, those that are gone among them.
    condemned: Mutex<BTreeMap<PathBuf, Condemned>>,
    /// Until when a look holds that found nothing.
    looked: Mutex<BTreeMap<PathBuf, Instant>>,
}

#[derive(Debug)]
struct Condemned {
    what: String,
    since: Instant,
}

impl Layers {
    pub(crate) fn open(home: Home) -> Result<Self, Error> {
        let dir = home.layers();
        make_private(&dir)?;
        for entry in entries(&dir)? {
            if name_of(&entry).starts_with(UNFINISHED) {
                remove_tree(&entry)?;
            }
        }
        let mut condemned = BTreeMap::new();
        for folder in places(&dir)?.into_keys() {
            if let Ok(what) = fs::read_to_string(beside(&folder, CHANGED)) {
                let since = Instant::now();
                condemned.insert(folder, Condemned { what, since });
            }
        }
        Ok(Self {
            home,
            dir,
            turns: Mutex::default(),
            condemned: Mutex::new(condemned),
            looked: Mutex::default(),
        })
    }

    /// The folder of a layer, which `unpack` fills if there is none that is whole; it must verify that the layer is
    /// `digest` and, uncompressed, `diff_id`.
    pub(crate) fn provide(
        &self,
        digest: &Digest,
        diff_id: &Digest,
        unpack: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let turn = self.turn(digest);
        let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let note = self.dir.join(format!("{}.diff_id", digest.hex()));
        let there = self.there(digest)?;
        if there.is_some() {
            check_note(&note, digest, diff_id)?;
        }
        if let Some(folder) = there.as_ref().filter(|folder| self.is_whole(folder)) {
            return Ok(folder.clone());
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
        if there.is_none() {
            for folder in self.lost(digest)? {
                self.condemn(&folder, instead_of(&folder))?;
            }
        }
        if let Some(folder) = there {
            let difference = listing::difference(&folder, &fresh);
            match difference.map_err(file("read", &fresh))? {
                // Copied to another disk, or unpacked by a Ward that listed nothing.
                None => {
                    list(&folder)?;
                    remove_tree(&fresh)?;
                    return Ok(folder);
                }
                Some(what) => self.condemn(&folder, what)?,
            }
        }
        fs::write(&note, diff_id.as_str()).map_err(file("write", &note))?;
        let folder = self.next(digest)?;
        fs::rename(&fresh, &folder).map_err(file("create", &folder))?;
        list(&folder)?;
        Ok(folder)
    }

    /// Whether a folder holds what was unpacked into it, as far as can be told without reading its files.
    pub(crate) fn is_whole(&self, folder: &Path) -> bool {
        if self.what_changed([folder]).is_some() {
            return false;
        }
        let began = Instant::now();
        let holds = self
            .looked()
            .get(folder)
            .is_some_and(|until| *until > began);
        if holds && is_folder(folder) {
            return true;
        }
        let listed = fs::read(beside(folder, FILES));
        let same = match (listed, listing::list(folder)) {
            (Ok(listed), Ok(found)) => listed == found,
            _ => false,
        };
        let mut looked = self.looked();
        match same {
            true => {
                let now = Instant::now();
                looked.insert(folder.to_owned(), now + (now - began) * HOLDS);
            }
            false => drop(looked.remove(folder)),
        }
        same
    }

    /// What other hands changed in any of these folders.
    pub(crate) fn what_changed<'a>(
        &self,
        folders: impl IntoIterator<Item = &'a Path>,
    ) -> Option<String> {
        let condemned = self.condemned();
        let mut folders = folders.into_iter();
        folders.find_map(|folder| Some(condemned.get(folder)?.what.clone()))
    }

    /// Whether other hands changed anything that is still there.
    pub(crate) fn is_any_condemned(&self) -> bool {
        !self.condemned().is_empty()
    }

    fn condemn(&self, folder: &Path, what: String) -> Result<(), Error> {
        tracing::warn!(folder = %folder.display(), what, "an unpacked layer is not what it was");
        let note = beside(folder, CHANGED);
        fs::write(&note, &what).map_err(file("write", &note))?;
        let since = Instant::now();
        let condemned = Condemned { what, since };
        self.condemned().insert(folder.to_owned(), condemned);
        Ok(())
    }

    /// The folder of a layer that is not condemned.
    fn there(&self, digest: &Digest) -> Result<Option<PathBuf>, Error> {
        let condemned: BTreeSet<PathBuf> = self.condemned().keys().cloned().collect();
        let mut folders = self.folders_of(digest)?.into_iter();
        let there = folders.find(|(_, folder)| !condemned.contains(folder));
        Ok(there.map(|(_, folder)| folder))
    }

    /// Where a layer was and is not any more: what is beside it tells that, or an instance that runs from it.
    fn lost(&self, digest: &Digest) -> Result<BTreeSet<PathBuf>, Error> {
        let mut all: BTreeSet<PathBuf> = places(&self.dir)?.into_keys().collect();
        // What is not understood of an instance is no reason to start none.
        match start::roots(&self.home) {
            Ok(used) => all.extend(used),
            Err(error) => tracing::warn!(%error, "from what instances run is not known"),
        }
        let condemned = self.condemned();
        all.retain(|place| {
            let of = layer_of(name_of(place)).filter(|_| place.parent() == Some(&self.dir));
            let ours = of.is_some_and(|(of, _)| of == *digest);
            ours && !is_folder(place) && !condemned.contains_key(place)
        });
        Ok(all)
    }

    /// A name for it that nothing has, nor had while an instance may run from it.
    fn next(&self, digest: &Digest) -> Result<PathBuf, Error> {
        let mut all: BTreeSet<PathBuf> = places(&self.dir)?.into_keys().collect();
        all.extend(self.condemned().keys().cloned());
        let numbers = all.iter().filter_map(|place| {
            let (of, number) = layer_of(name_of(place))?;
            (of == *digest).then_some(number)
        });
        let name = match numbers.max() {
            None => digest.hex().to_owned(),
            Some(newest) => format!("{}.{}", digest.hex(), newest.saturating_add(1)),
        };
        Ok(self.dir.join(name))
    }

    fn folders_of(&self, digest: &Digest) -> Result<Vec<(u32, PathBuf)>, Error> {
        let folders = subfolders(&self.dir)?.into_iter().filter_map(|folder| {
            let (of, number) = layer_of(name_of(&folder))?;
            (of == *digest).then_some((number, folder))
        });
        Ok(folders.collect())
    }

    fn turn(&self, digest: &Digest) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(digest.clone()).or_default().clone()
    }

    fn condemned(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Condemned>> {
        self.condemned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what is not used and either condemned or not among what `keeps` wants.
    pub(crate) fn collect(
        &self,
        keeps: impl Fn(&Digest) -> bool,
        used: &BTreeSet<PathBuf>,
    ) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        // What is no layer is not Ward's to remove, or on its way in.
        let mut all = places(&self.dir)?;
        let condemned: Vec<PathBuf> = self.condemned().keys().cloned().collect();
        all.extend(condemned.into_iter().filter_map(|place| {
            let (digest, _) = layer_of(name_of(&place))?;
            Some((place, digest))
        }));
        for (folder, digest) in all {
            let turn = self.turn(&digest);
            let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let condemned = self.condemned().get(&folder).map(|one| one.since.elapsed());
            let stays = match condemned {
                Some(since) => since < ABOUT_TO_START,
                None => keeps(&digest),
            };
            if stays || used.contains(&folder) {
                continue;
            }
            if is_folder(&folder) {
                collected.bytes += bytes_below(&folder);
                collected.layers += 1;
            }
            self.remove(&folder, &digest)?;
        }
        Ok(collected)
    }

    fn remove(&self, folder: &Path, digest: &Digest) -> Result<(), Error> {
        // Before the folder: a list without one says that other hands removed it.
        let _ = fs::remove_file(beside(folder, FILES));
        // Renamed first: half a layer under a layer's name must never be seen.
        let name = name_of(folder);
        let leaving = self.dir.join(format!("{UNFINISHED}{name}.gone"));
        remove_tree(&leaving)?;
        match fs::rename(folder, &leaving) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", folder)(error));
            }
            _ => {}
        }
        let _ = fs::remove_file(beside(folder, CHANGED));
        self.condemned().remove(folder);
        self.looked().remove(folder);
        if self.folders_of(digest)?.is_empty() {
            let note = self.dir.join(format!("{}.diff_id", digest.hex()));
            let _ = fs::remove_file(note);
        }
        remove_tree(&leaving)
    }
}

/// Writes down what a folder holds. One that is cut by a crash is no list of anything, and the folder is compared anew.
fn list(folder: &Path) -> Result<(), Error> {
    let files = beside(folder, FILES);
    let found = listing::list(folder).map_err(file("read", folder))?;
    fs::write(&files, found).map_err(file("write", &files))
}

/// Whether this is a folder, and no link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// What happened to a layer where there is no folder, in a clause.
fn instead_of(folder: &Path) -> String {
    let what = match fs::symlink_metadata(folder) {
        Err(_) => return "a whole layer was removed".to_owned(),
        Ok(found) if found.is_symlink() => "a symbolic link",
        Ok(_) => "a file",
    };
    format!("{what} took the place of a whole layer")
}

/// The file of this name beside a folder.
fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.with_file_name(format!("{}.{name}", name_of(folder)))
}

/// Where layers are or were, of which there is a folder, what took its place, or a note beside it.
fn places(dir: &Path) -> Result<BTreeMap<PathBuf, Digest>, Error> {
    let found = entries(dir)?.into_iter().filter_map(|entry| {
        let name = name_of(&entry);
        let noted = [FILES, CHANGED].iter().find_map(|note| {
            let name = name.strip_suffix(note)?;
            name.strip_suffix('.')
        });
        let name = noted.unwrap_or(name);
        let (digest, _) = layer_of(name)?;
        Some((dir.join(name), digest))
    });
    Ok(found.collect())
}

/// Of which layer a folder of this name is, and the how manieth.
fn layer_of(name: &str) -> Option<(Digest, u32)> {
    let (hex, number) = match name.split_once('.') {
        Some((hex, number)) => (hex, number.parse().ok()?),
        None => (name, 0),
    };
    let digest = Digest::parse(&format!("sha256:{hex}")).ok()?;
    Some((digest, number))
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
