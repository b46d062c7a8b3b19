//! Reads a stack file from its folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The name of a stack file.
pub const FILE: &str = "ward.toml";

/// Why a stack file could not be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is none, or it cannot be opened.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is a folder, a pipe, a socket or a device.
    #[error("{path} is no regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than a stack file may be.
    #[error("{path} is larger than {} KiB, which no stack file is", ward_stack::MAX_BYTES / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not text.
    #[error("{path} is not UTF-8 text: byte {at} does not belong there")]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first offending byte's place.
        at: usize,
    },
}

impl SourceError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            SourceError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("name the folder that holds {FILE}"))
            }
            SourceError::Unreadable { .. } | SourceError::TooLarge { .. } => None,
            SourceError::NotAFile { .. } => Some(
                "a stack file is a regular file, or a symbolic link to one; not a folder, a pipe, a socket or a device"
                    .to_owned(),
            ),
            SourceError::NotText { .. } => Some("save it as UTF-8".to_owned()),
        }
    }
}

/// The path and the text of the stack file in `dir`; of a huge file no more than the limit is read.
///
/// # Errors
/// [`SourceError`], as it says.
pub fn read(dir: &Path) -> Result<(String, String), SourceError> {
    let path = dir.join(FILE);
    let unreadable = |source| SourceError::Unreadable {
        path: path.clone(),
        source,
    };
    let Some(file) = regular(&path).map_err(unreadable)? else {
        return Err(SourceError::NotAFile { path });
    };
    let mut bytes = Vec::new();
    file.take(ward_stack::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > ward_stack::MAX_BYTES {
        return Err(SourceError::TooLarge { path });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) => Err(SourceError::NotText {
            at: error.utf8_error().valid_up_to(),
            path,
        }),
    }
}

/// Opens a file without ever waiting; `None` when it is no regular file.
fn regular(path: &Path) -> io::Result<Option<File>> {
    // Asked first, because opening a device can do something to it.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    // NONBLOCK: a pipe that took the file's place meanwhile would make the server wait for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let is_file = file.metadata()?.is_file();
    Ok(is_file.then_some(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_regular_file_is_read_and_none_is_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        let refused = |what: &str| {
            let answer = read(dir.path());
            let told =
                matches!(&answer, Err(SourceError::NotAFile { path }) if path.ends_with(FILE));
            assert!(told, "{what}: {answer:?}");
            fs::remove_file(&path).expect("it was made");
        };
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
        refused("a pipe");
        symlink("/dev/zero", &path).expect("a link");
        refused("a device");
        symlink("/", &path).expect("a link");
        refused("a folder");
        drop(UnixListener::bind(&path).expect("a socket"));
        refused("a socket");
        symlink("real.toml", &path).expect("a link");
        fs::write(dir.path().join("real.toml"), "text").expect("a file");
        assert_eq!(read(dir.path()).expect("a file").1, "text");
    }
}
