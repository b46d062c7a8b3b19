//! Reads a stack file from its folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    let file = File::open(&path).map_err(unreadable)?;
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
