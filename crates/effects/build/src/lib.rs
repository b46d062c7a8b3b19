//! Makes OCI images from a source, byte for byte the same each time.
//!
//! What decides an image: the source, the tool that builds it, and for a cargo build the shared
//! libraries and CA certificates of the machine. What does not: the time, the folder, the user, the order
//! in which a folder lists its files. Layers are uncompressed tar files with one fixed time, owner 0 and
//! two modes, so that no compressor's version decides a digest.
//!
//! A build runs what the stack file says, as the user that Ward runs as. It gets a short list of that
//! process's environment variables and no other, so that none that holds a secret ends in an image.

mod cache;
mod cargo;
mod check;
mod command;
mod dockerfile;
mod elf;
mod error;
mod files;
mod fingerprint;
mod hook;
mod image;
mod inputs;
mod layer;
mod libraries;
mod orphans;
mod process;
mod work;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};

use ward_types::id::{Digest, Name};
use ward_types::spec::ImageSource;

pub use cache::trim_cache;
pub use check::check;
pub use error::{Error, Result};
pub use hook::tell;
pub use inputs::absent_inputs;
pub use orphans::end_orphans;
pub use process::Piece;

/// The label that tells the engine to show the host's `/usr` below an image's files; its value is `host`.
pub const BASE_LABEL: &str = "io.ward.base";

/// The time of every file in an image, and `SOURCE_DATE_EPOCH` of every build, in seconds: 1980-01-01,
/// because the zip format knows no earlier day and build tools refuse one.
pub const SOURCE_DATE_EPOCH: u64 = 315_532_800;

/// Where images go: a registry, seen through what a build needs of it.
pub trait ImageSink: Sync {
    /// Whether the repository holds this blob, so that it need not be sent.
    fn has_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> impl Future<Output = std::result::Result<bool, SinkError>> + Send;

    /// Whether the repository holds this manifest and all that it refers to.
    fn has_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> impl Future<Output = std::result::Result<bool, SinkError>> + Send;

    /// Takes the content of a file, which has this digest. The file is not changed, and goes away after.
    fn put_blob(
        &self,
        repository: &str,
        digest: &Digest,
        file: &Path,
    ) -> impl Future<Output = std::result::Result<(), SinkError>> + Send;

    /// Takes a manifest, whose blobs were all put before.
    fn put_manifest(
        &self,
        repository: &str,
        digest: &Digest,
        media_type: &str,
        manifest: Vec<u8>,
    ) -> impl Future<Output = std::result::Result<(), SinkError>> + Send;
}

/// Why a sink did not take something.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// One service's image to make.
#[derive(Debug, Clone)]
pub struct Request {
    /// The service; its name stands before each line of output.
    pub service: Name,
    /// What the image is made of.
    pub source: ImageSource,
    /// The folder of the stack file, absolute.
    pub dir: PathBuf,
    /// A folder of this stack's builds, kept from build to build for speed (`$WARD_HOME/builds/STACK`),
    /// of one Ward alone. It is made when it is not there, and may be deleted when no build runs.
    pub cache: PathBuf,
    /// The repository in the registry, such as `returns/web`.
    pub repository: String,
}

/// A line that a build wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The service whose image is built.
    pub service: Name,
    /// The text, without its end of line.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.service, self.text)
    }
}

/// What takes the lines that a build writes, while it runs.
pub type Output<'a> = &'a (dyn Fn(Line) + Send + Sync);

/// An image that is in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Whether it had to be made.
    pub outcome: Outcome,
}

/// Whether an image had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made now.
    Made,
    /// The registry had it already.
    Unchanged,
}

/// Builds one service's image into the sink.
///
/// Dropping the future cancels the build: the processes that it started are killed. It has no deadline of
/// its own; put one around it.
///
/// # Errors
/// [`Error`]; no manifest was put then.
pub async fn build(request: &Request, sink: &impl ImageSink, output: Output<'_>) -> Result<Image> {
    let lines = |text: String| {
        output(Line {
            service: request.service.clone(),
            text,
        });
    };
    let work = work::Work::begin(&request.cache)?;
    match &request.source {
        ImageSource::Cargo { package } => cargo::build(request, package, &work, sink, &lines).await,
        ImageSource::Command {
            command,
            files,
            run,
            base,
        } => {
            let source = command::Source {
                command,
                files,
                run,
                base: *base,
            };
            command::build(request, &source, &work, sink, &lines).await
        }
        ImageSource::Dockerfile { path } => {
            dockerfile::build(request, path, &work, sink, &lines).await
        }
        ImageSource::Image { .. } => Err(Error::NothingToBuild),
    }
}
