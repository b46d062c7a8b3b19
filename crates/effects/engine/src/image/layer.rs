//! One layer: an archive of changes (OCI image specification 1.1, layer.md), plain, gzip or zstd.
//!
//! The archive comes from strangers. It is unpacked into a folder that it cannot leave (`tree`), what
//! it says of its sizes is held against the space that is there, and the folder counts only after the
//! digests of both the blob and the archive were found right. Owners, extended attributes, devices,
//! pipes and set-uid bits are left out: an instance has one user, no capabilities and a `/dev` of its own.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::Mode;
use tar::EntryType;
use ward_types::id::Digest;

use crate::image::tree::{self, Tree};

/// The most entries of a layer. A large distribution has some hundred thousand.
const MOST_ENTRIES: u64 = 5_000_000;

/// The most bytes of headers (long names, extended headers) before an entry; they are held in memory.
const MOST_HEADERS: u64 = 1 << 20;

/// Space that unpacking leaves free on the disk, in bytes.
const RESERVE: u64 = 64 << 20;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its blob cannot be read.
    #[error("cannot read the blob {}", path.display())]
    Blob {
        /// The blob's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The blob is not what its name says.
    #[error("its blob has the digest {actual}, the manifest says {expected}")]
    Digest {
        /// The manifest's.
        expected: Digest,
        /// The blob's.
        actual: Digest,
    },
    /// The uncompressed archive is not what the configuration says.
    #[error(
        "its archive has the digest {actual}, the image's configuration says {expected} (diff_id)"
    )]
    DiffId {
        /// The configuration's.
        expected: Digest,
        /// The archive's.
        actual: Digest,
    },
    /// The archive or its compression is damaged.
    #[error("its archive is damaged")]
    Archive(#[source] io::Error),
    /// An entry's name, or the name that it links to, climbs out with `..` or is too long.
    #[error("its entry `{entry}` names a place outside of the layer: `{name}`")]
    Outside {
        /// The entry.
        entry: String,
        /// The name.
        name: String,
    },
    /// An entry could not be made.
    #[error("its entry `{entry}` cannot be made")]
    Entry {
        /// The entry.
        entry: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An entry says that it is larger than the disk has room.
    #[error(
        "its entry `{entry}` needs {size} bytes, and the disk of {} has {left} left, of which {RESERVE} \
         stay free; make room there and try again",
        folder.display()
    )]
    NoRoom {
        /// The folder of unpacked layers.
        folder: PathBuf,
        /// The entry.
        entry: String,
        /// Its size in bytes.
        size: u64,
        /// Bytes that are free on the disk.
        left: u64,
    },
    /// The disk became full all the same: somebody else writes, too.
    #[error(
        "its entry `{entry}` does not fit on the disk of {}, which has {left} bytes left; make room there \
         and try again",
        folder.display()
    )]
    Full {
        /// The folder of unpacked layers.
        folder: PathBuf,
        /// The entry.
        entry: String,
        /// Bytes that are free on the disk.
        left: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It has more entries than any real layer.
    #[error("it has more than {MOST_ENTRIES} entries")]
    TooMany,
    /// The folder that it is unpacked into cannot be used.
    #[error("cannot write to {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Unpacks and verifies the layer whose blob is the file `blob` into the empty folder `into`.
pub(super) fn unpack(
    blob: &Path,
    digest: &Digest,
    diff_id: &Digest,
    into: &Path,
) -> Result<(), LayerError> {
    let unreadable = |source| LayerError::Blob {
        path: blob.to_owned(),
        source,
    };
    let unwritable = |source| LayerError::Folder {
        path: into.to_owned(),
        source,
    };
    let file = File::open(blob).map_err(unreadable)?;
    let (compressed, plain) = (Sum::default(), Sum::default());
    let tree = Tree::open(into).map_err(unwritable)?;
    tree.make_folder(Path::new(""), 0o755).map_err(unwritable)?;

    let unpacked = decode(Hashed {
        inner: &file,
        sum: compressed.clone(),
    })
    .map_err(LayerError::Archive)
    .and_then(|archive| entries(archive, &plain, &tree));
    // Whatever went wrong, a blob that is not what its name says is the reason to tell.
    let mut rest = Hashed {
        inner: &file,
        sum: compressed.clone(),
    };
    io::copy(&mut rest, &mut io::sink()).map_err(unreadable)?;
    let actual = compressed.digest();
    if actual != *digest {
        return Err(LayerError::Digest {
            expected: digest.clone(),
            actual,
        });
    }
    unpacked?;
    let actual = plain.digest();
    if actual != *diff_id {
        return Err(LayerError::DiffId {
            expected: diff_id.clone(),
            actual,
        });
    }
    // The folder's name will promise that it is whole, also after a power cut.
    rustix::fs::syncfs(tree.root()).map_err(|errno| unwritable(errno.into()))
}

/// The archive, whatever its compression, which its first bytes tell better than its media type.
fn decode<'r>(blob: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut blob = BufReader::with_capacity(128 << 10, blob);
    let start = blob.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(blob)?))
    } else {
        Ok(Box::new(blob))
    }
}

fn entries(archive: impl Read, sum: &Sum, tree: &Tree) -> Result<(), LayerError> {
    let headers = Allowance::default();
    let metered = Metered {
        inner: Hashed {
            inner: archive,
            sum: sum.clone(),
        },
        left: headers.clone(),
    };
    let mut archive = tar::Archive::new(metered);
    let mut dates = Vec::new();
    let mut count = 0;
    let mut entries = archive.entries().map_err(LayerError::Archive)?;
    loop {
        headers.set(MOST_HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(LayerError::Archive)?;
        headers.set(u64::MAX);
        count += 1;
        if count > MOST_ENTRIES {
            return Err(LayerError::TooMany);
        }
        one(&mut entry, tree, &mut dates)?;
        // What the entry has left is read here, where it is no header.
        io::copy(&mut entry, &mut io::sink()).map_err(LayerError::Archive)?;
    }
    headers.set(u64::MAX);
    // The digest covers what follows the end of the archive, too.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(LayerError::Archive)?;
    // Last, because each entry changes the date of the folder that it is in.
    for (path, seconds) in dates.iter().rev() {
        let entry = || path.display().to_string();
        let dated = tree.date(path, *seconds);
        dated.map_err(|source| LayerError::Entry {
            entry: entry(),
            source,
        })?;
    }
    Ok(())
}

fn one<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    tree: &Tree,
    dates: &mut Vec<(PathBuf, u64)>,
) -> Result<(), LayerError> {
    let raw = entry.path_bytes().into_owned();
    let shown = shown(&raw);
    let path = tree::inside(&raw).ok_or_else(|| LayerError::Outside {
        entry: shown.clone(),
        name: shown.clone(),
    })?;
    let failed = |source| not_made(tree, &shown, source);
    if let Some(hidden) = path
        .file_name()
        .and_then(|name| name.as_bytes().strip_prefix(b".wh."))
    {
        return hide(tree, &path, hidden).map_err(failed);
    }
    let mode = entry.header().mode().unwrap_or(0o755);
    let seconds = entry.header().mtime().unwrap_or(0);
    match entry.header().entry_type() {
        EntryType::Directory => {
            tree.make_folder(&path, mode).map_err(failed)?;
            dates.push((path, seconds));
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            check_room(tree, &shown, entry.size())?;
            let file = tree.make_file(&path).map_err(failed)?;
            copy(entry, &file, failed)?;
            let mode = Mode::from_raw_mode(tree::for_everybody(mode & 0o777));
            rustix::fs::fchmod(&file, mode)
                .and_then(|()| rustix::fs::futimens(&file, &tree::times(seconds)))
                .map_err(|errno| failed(errno.into()))?;
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            tree.make_symlink(&path, OsStr::from_bytes(&target))
                .map_err(failed)?;
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let existing = tree::inside(&target).ok_or_else(|| LayerError::Outside {
                entry: shown.clone(),
                name: self::shown(&target),
            })?;
            tree.make_link(&path, &existing).map_err(failed)?;
        }
        // Devices and pipes; global headers, volume names and what else is no file.
        other => tracing::debug!(entry = shown, kind = ?other, "left out of a layer"),
    }
    Ok(())
}

/// `.wh.NAME` hides NAME in lower layers, `.wh..wh..opq` everything in its folder; other names that begin
/// with `.wh..wh.` are notes of old file systems.
fn hide(tree: &Tree, path: &Path, hidden: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    match hidden {
        b".wh..opq" => tree.hide_below(folder),
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidInput.into()),
        note if note.starts_with(b".wh.") => Ok(()),
        name => tree.hide(&folder.join(OsStr::from_bytes(name))),
    }
}

fn check_room(tree: &Tree, entry: &str, size: u64) -> Result<(), LayerError> {
    let left = left(tree).map_err(|source| not_made(tree, entry, source))?;
    if size > left.saturating_sub(RESERVE) {
        return Err(LayerError::NoRoom {
            folder: tree.layers().to_owned(),
            entry: entry.to_owned(),
            size,
            left,
        });
    }
    Ok(())
}

/// Bytes that are free on the layer's disk.
fn left(tree: &Tree) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(tree.root())?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn not_made(tree: &Tree, entry: &str, source: io::Error) -> LayerError {
    let entry = entry.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LayerError::Full {
            folder: tree.layers().to_owned(),
            entry,
            left: left(tree).unwrap_or(0),
            source,
        },
        _ => LayerError::Entry { entry, source },
    }
}

/// Copies an entry's bytes. Whose fault a failure is, the archive's or the disk's, decides what is told.
fn copy(
    entry: &mut impl Read,
    mut file: &File,
    failed: impl Fn(io::Error) -> LayerError,
) -> Result<(), LayerError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let length = match entry.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LayerError::Archive(error)),
        };
        io::Write::write_all(&mut file, &buffer[..length]).map_err(&failed)?;
    }
}

/// A name of an archive for an error message: printable, and not longer than a line.
fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len().min(300)]);
    text.escape_debug().collect()
}

pub(super) fn digest_of(sum: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sum);
    Digest::from_sha256(&bytes)
}

/// A SHA-256 computation that is read by one who does not own the reader.
#[derive(Clone)]
struct Sum(Rc<RefCell<Context>>);

impl Default for Sum {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Context::new(&SHA256))))
    }
}

impl Sum {
    fn digest(&self) -> Digest {
        digest_of(self.0.borrow().clone().finish().as_ref())
    }
}

/// A reader whose bytes are summed up as they pass.
struct Hashed<R> {
    inner: R,
    sum: Sum,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.sum.0.borrow_mut().update(&buffer[..length]);
        Ok(length)
    }
}

type Allowance = Rc<Cell<u64>>;

/// A reader that gives no more bytes than it is allowed: the archive reader holds headers in memory.
struct Metered<R> {
    inner: R,
    left: Allowance,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other(
                "an entry's headers are longer than a megabyte",
            ));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let length = self.inner.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.left.set(left - length as u64);
        }
        Ok(length)
    }
}
