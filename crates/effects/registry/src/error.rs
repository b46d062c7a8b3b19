//! What can go wrong, once for both doors: the HTTP one and the one inside the process.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::ContentDigest;
use crate::name::{Reference, Repository};

/// The result of a registry operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A registry operation that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no repository name.
    #[error(
        "`{text}` is not a repository name: lower-case letters and digits, separated by . _ __ - or /"
    )]
    Name {
        /// The offending text, cut to a sensible length.
        text: String,
    },
    /// The text is neither a tag nor a digest.
    #[error("`{text}` is not a tag: at most 128 letters, digits, and . _ - after the first")]
    Reference {
        /// The offending text, cut to a sensible length.
        text: String,
    },
    /// The text is no digest that the registry can check.
    #[error(
        "`{text}` is not a digest: sha256: and 64, or sha512: and 128, lower-case hexadecimal digits"
    )]
    DigestSyntax {
        /// The offending text, cut to a sensible length.
        text: String,
    },
    /// The content does not have the digest that it was pushed under.
    #[error(
        "the content has the digest {actual}, not {expected}; nothing was recorded, push it again"
    )]
    DigestMismatch {
        /// The digest that the client named.
        expected: ContentDigest,
        /// The digest of what arrived.
        actual: ContentDigest,
    },
    /// The repository holds no such blob.
    #[error("no blob {digest} here; push it first")]
    BlobUnknown {
        /// The blob that was asked for.
        digest: ContentDigest,
    },
    /// There is no such upload, or it has ended.
    #[error("no upload {id} is under way here; begin one with POST")]
    UploadUnknown {
        /// The upload that was asked for.
        id: String,
    },
    /// A chunk does not begin where the one before it ended.
    #[error("the next chunk has to begin at byte {offset}")]
    UploadOrder {
        /// Bytes received so far.
        offset: u64,
        /// The upload's location, to go on at.
        location: String,
    },
    /// Two requests wrote to one upload.
    #[error("another request is still writing to upload {id}; wait for it to end")]
    UploadBusy {
        /// The upload.
        id: String,
    },
    /// More uploads are under way than the registry keeps.
    #[error("{limit} uploads are under way already; end or cancel some, or try again later")]
    TooManyUploads {
        /// The most that may be.
        limit: usize,
    },
    /// A length that was announced is not the length that is.
    #[error("{reason}")]
    Size {
        /// Which two lengths differ.
        reason: String,
    },
    /// The client went away, or its body broke off.
    #[error("the body ended before it was complete; {received} bytes of this request were kept")]
    BodyCut {
        /// Bytes of this request that had arrived.
        received: u64,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No such manifest in this repository.
    #[error("no manifest {reference} in {repository}")]
    ManifestUnknown {
        /// The repository.
        repository: Repository,
        /// What was asked for.
        reference: Reference,
    },
    /// The repository does not exist.
    #[error("no repository {repository}; it comes into being with its first push")]
    RepositoryUnknown {
        /// The repository.
        repository: Repository,
    },
    /// The manifest is not one.
    #[error("not a manifest: {reason}")]
    ManifestInvalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest refers to content that is not here.
    #[error("the manifest refers to {digest}, which is not in {repository}; push that first")]
    ManifestBlobUnknown {
        /// The repository.
        repository: Repository,
        /// What is missing.
        digest: ContentDigest,
    },
    /// The manifest is larger than any manifest is.
    #[error("the manifest is larger than {limit} bytes")]
    ManifestTooLarge {
        /// The largest that is taken, in bytes.
        limit: usize,
    },
    /// What the store holds under a digest is something else.
    #[error(
        "the store holds damaged content under {digest} (its bytes have the digest {actual}); push it again to mend it"
    )]
    Damaged {
        /// The digest that was asked for.
        digest: ContentDigest,
        /// The digest of what is there.
        actual: ContentDigest,
    },
    /// No space left.
    #[error(
        "the registry's disk is full: the {left} bytes that are left in {} are not enough; nothing of this was \
         recorded, make room there and try again",
        folder.display()
    )]
    DiskFull {
        /// The folder in which there was no space.
        folder: PathBuf,
        /// Bytes that are free on its disk without what did not fit.
        left: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {doing} {path}")]
    File {
        /// The operation, as a verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The object store failed.
    #[error("the object store failed on {digest}")]
    Store {
        /// The content, or a word for many.
        digest: String,
        /// What it said.
        #[source]
        source: object_store::Error,
    },
    /// Another process has this registry open.
    #[error("the registry in {path} is in use by another process; stop that one first")]
    InUse {
        /// The registry's folder.
        path: PathBuf,
    },
    /// The runtime is shutting down.
    #[error("the registry is shutting down")]
    ShuttingDown(#[source] tokio::task::JoinError),
}

impl Error {
    /// The file operation `doing` on `path` failed; a full disk is told apart from the rest.
    pub(crate) fn file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                folder: path.parent().unwrap_or(path).to_owned(),
                left: bytes_left_without(path),
                source,
            },
            _ => Self::File {
                doing,
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn store(digest: &ContentDigest, source: object_store::Error) -> Self {
        Self::Store {
            digest: digest.to_string(),
            source,
        }
    }
}

/// Bytes that are free on a file's disk when the file, which did not fit, is gone.
fn bytes_left_without(file: &Path) -> u64 {
    let own = file.metadata().map_or(0, |file| file.len());
    let disk = rustix::fs::statvfs(file.parent().unwrap_or(file));
    disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)) + own
}
