//! What can go wrong with a build.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::SinkError;

/// The result of a build's step.
pub type Result<T> = std::result::Result<T, Error>;

/// A build that did not succeed. The registry holds no image of it; blobs that were sent already stay
/// until they are collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is an image that others built.
    #[error("an image that others built is pulled, not built")]
    NothingToBuild,
    /// A command of no words.
    #[error("a command needs a program")]
    NoCommand,
    /// A program could not be started.
    #[error("cannot start `{program}` in {}; {}", dir.display(), remedy(program, source))]
    Start {
        /// The program.
        program: String,
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error, or was killed.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// The command.
        command: String,
        /// `exit status 101`, `signal 9 (SIGKILL)`.
        status: String,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// A cargo package has no binary.
    #[error("the package `{package}` has no binary; name one that has, or give it a src/main.rs")]
    NoBinary {
        /// The package.
        package: String,
    },
    /// It is not clear which binary of a package is meant.
    #[error(
        "the package `{package}` has the binaries {names}, and none with its own name; call one `{package}`"
    )]
    SeveralBinaries {
        /// The package.
        package: String,
        /// The binaries.
        names: String,
    },
    /// A binary is of a kind that Ward cannot put in an image.
    #[error("{} is no 64-bit ELF file of this machine's byte order, so Ward cannot tell which libraries it needs", path.display())]
    NotElf {
        /// The binary.
        path: PathBuf,
    },
    /// A shared library is not on this machine.
    #[error("{} needs the shared library {library}, which is not on this machine; install it", binary.display())]
    NoLibrary {
        /// The binary.
        binary: PathBuf,
        /// The library.
        library: String,
    },
    /// The CA certificates are not on this machine.
    #[error(
        "there are no CA certificates on this machine to put in the image; run: apt-get install ca-certificates"
    )]
    NoCertificates,
    /// No program that builds a Dockerfile is installed.
    #[error("no program that builds a Dockerfile is installed; run: apt-get install buildah")]
    NoBuilder,
    /// A named file is not there.
    #[error("there is no {name} in {}, which the key `files` names{}", dir.display(), if *after_command { "; the build command did not make it" } else { "" })]
    MissingFile {
        /// As the stack file names it.
        name: String,
        /// The stack's folder.
        dir: PathBuf,
        /// Whether a command ran before.
        after_command: bool,
    },
    /// The Dockerfile is not there.
    #[error("there is no {name} in {}, which the key `dockerfile` names", dir.display())]
    MissingDockerfile {
        /// As the stack file names it.
        name: String,
        /// The stack's folder.
        dir: PathBuf,
    },
    /// A name leads out of the stack's folder.
    #[error(
        "{name} lies outside the stack's folder; the keys `files` and `dockerfile` name paths inside it"
    )]
    Outside {
        /// As the stack file names it.
        name: String,
    },
    /// A symbolic link leads out of what is taken.
    #[error("the symbolic link {} leads to {}, outside the stack's folder; an image cannot hold that", path.display(), target.display())]
    Escapes {
        /// The link, relative to the stack's folder.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// Neither a file, a folder nor a symbolic link.
    #[error("{} is a socket, pipe or device; an image cannot hold that", path.display())]
    Special {
        /// Relative to the stack's folder.
        path: PathBuf,
    },
    /// A file changed while it was read.
    #[error("{} changed while it was read; build again when nothing writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No space left.
    #[error(
        "the disk is full: the {left} bytes that are left in {} are not enough; make room there and try again",
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
    /// A builder made something that is no image.
    #[error("{builder} made something that is not an image as Ward reads it: {what}")]
    NotAnImage {
        /// The program.
        builder: String,
        /// What is wrong.
        what: String,
    },
    /// The registry did not take it.
    #[error("the registry did not take {what}")]
    Sink {
        /// What was sent.
        what: String,
        /// Why.
        #[source]
        source: SinkError,
    },
}

impl Error {
    /// The action on the file failed; a full disk is told apart from the rest.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                left: bytes_left_without(&path),
                folder: path.parent().unwrap_or(&path).to_owned(),
                source,
            },
            _ => Self::File {
                action,
                path,
                source,
            },
        }
    }

    pub(crate) fn sink(what: impl Into<String>) -> impl FnOnce(SinkError) -> Self {
        let what = what.into();
        move |source| Self::Sink { what, source }
    }

    /// The last lines that the failing program wrote; empty when it was no program that failed.
    #[must_use]
    pub fn output(&self) -> &[String] {
        match self {
            Self::Failed { output, .. } => output,
            _ => &[],
        }
    }
}

/// Bytes that are free on a file's disk when the file, which did not fit, is gone.
fn bytes_left_without(file: &Path) -> u64 {
    let own = file.metadata().map_or(0, |file| file.len());
    let disk = rustix::fs::statvfs(file.parent().unwrap_or(file));
    disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)) + own
}

/// What helps a program that the kernel would not start (execve(2)).
fn remedy(program: &str, source: &io::Error) -> &'static str {
    let is_path = program.contains('/');
    match source.kind() {
        io::ErrorKind::PermissionDenied if is_path => "`chmod +x` makes it executable",
        io::ErrorKind::NotFound if is_path => {
            "it has to be a file there, and the interpreter in its first line on this machine"
        }
        _ if Errno::from_io_error(source) == Some(Errno::NOEXEC) => {
            "a script begins with the line that names its interpreter, such as `#!/bin/sh`"
        }
        _ => "it has to be in the PATH that `ward serve` was started with",
    }
}
