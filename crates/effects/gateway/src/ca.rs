//! The local certificate authority, in the state folder's `ca`.

use std::io;
use std::path::Path;

/// Why there is no certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of it cannot be read or written.
    #[error("cannot use {path} of the local certificate authority")]
    File {
        /// The file or folder.
        path: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The key or a certificate cannot be made or understood.
    #[error(
        "the local certificate authority in {path} is broken; remove that folder and run `ward trust` again"
    )]
    Broken {
        /// Its folder.
        path: String,
        /// What failed.
        #[source]
        source: rcgen::Error,
    },
}

/// The authority's certificate as PEM, for `ward trust`. The authority is made when there is none.
///
/// # Errors
/// [`CaError`]
pub fn certificate_pem(home: &Path) -> Result<String, CaError> {
    let path = home.join("ca/ca.pem");
    std::fs::read_to_string(&path).map_err(|source| CaError::File {
        path: path.display().to_string(),
        source,
    })
}
