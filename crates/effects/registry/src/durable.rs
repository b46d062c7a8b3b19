//! Small files that are there whole or not at all, whatever moment the power fails at.
//!
//! The order is: write aside, fsync the file, rename, fsync the folder. A rename before the fsync
//! could survive a crash with an empty file under the final name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A new random name, in the form of a version 4 UUID (RFC 9562).
pub(crate) fn fresh_name() -> Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
        let source = io::Error::other("the random generator failed");
        Error::file("make a name in", Path::new("uploads"), source)
    })?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}

/// Whether a file's name is one that [`fresh_name`] makes: what is not was not written by Ward.
pub(crate) fn is_fresh_name(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = |b: u8| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    groups == [8, 4, 4, 4, 12] && text.bytes().all(hex)
}

/// Makes a folder and those above it, each recorded in its parent before the next is made.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_folder(parent)?;
    match fs::create_dir(path) {
        Ok(()) => sync_folder(parent),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::file("make the folder", path, e)),
    }
}

/// Writes the entries of a folder to the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::file("write to disk", path, e))
}

/// A file under a name of its own in the staging folder, which goes away unless it is published.
pub(crate) struct Aside {
    pub(crate) path: PathBuf,
    published: bool,
}

impl Aside {
    pub(crate) fn new(staging: &Path) -> Result<Self> {
        Ok(Self {
            path: staging.join(fresh_name()?),
            published: false,
        })
    }

    /// A file that was written under a name of its own already.
    pub(crate) fn adopt(path: PathBuf) -> Self {
        Self {
            path,
            published: false,
        }
    }

    /// Gives the file its final name. What it held is on the disk already.
    pub(crate) fn publish(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|e| Error::file("rename a new file to", to, e))?;
        self.published = true;
        sync_folder(to.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the next start sweeps the staging folder.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Puts `bytes` at `path`, whole or not at all, over what was there.
pub(crate) fn write(staging: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = Aside::new(staging)?;
    let mut file =
        File::create_new(&aside.path).map_err(|e| Error::file("make a file in", staging, e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| Error::file("write", path, e))?;
    make_folder(path.parent().unwrap_or(staging))?;
    aside.publish(path)
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("/"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::file("remove", path, e)),
    }
}

/// The names in a folder; a folder that is not there is empty.
pub(crate) fn names_in(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("list", path, e)),
    };
    entries
        .filter_map(|entry| match entry {
            Ok(entry) => entry.file_name().into_string().ok().map(Ok),
            Err(e) => Some(Err(Error::file("list", path, e))),
        })
        .collect()
}

/// A small file's content; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::file("read", path, e)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_names_are_uuids_and_differ() {
        let (a, b) = (fresh_name().unwrap(), fresh_name().unwrap());
        assert!(is_fresh_name(&a) && is_fresh_name(&b) && a != b);
        assert_eq!(a.as_bytes()[14], b'4');
        for bad in ["", "..", "notes.txt", &a[1..], &a.to_uppercase()] {
            assert!(!is_fresh_name(bad), "{bad} was taken");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let staging = folder.path().join("staging");
        make_folder(&staging).unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(write(&staging, &folder.path().join("file/below"), b"x").is_err());
        assert!(names_in(&staging).unwrap().is_empty());
    }
}
