//! A layer: a file tree as a tar file whose bytes depend on nothing but the tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use tar::{Builder, EntryType, Header};
use ward_types::id::Digest;

use crate::{Error, Result, SOURCE_DATE_EPOCH};

/// What stands at a path.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Folder,
    Link(PathBuf),
    File(Content),
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file of the host.
    Host(PathBuf),
    /// A file below a folder, reached without leaving it whatever changes meanwhile: the folder may
    /// belong to somebody who may read less than Ward.
    Beneath(Arc<OwnedFd>, PathBuf),
}

impl Content {
    fn path(&self) -> &Path {
        match self {
            Self::Host(path) | Self::Beneath(_, path) => path,
        }
    }

    fn open(&self) -> Result<File> {
        let opened = match self {
            Self::Host(path) => open_file(path),
            Self::Beneath(folder, path) => beneath(folder, path, OFlags::RDONLY).map(File::from),
        };
        opened.map_err(Error::file("read", self.path()))
    }
}

// NONBLOCK: a pipe that took a file's place must not make Ward wait.
const UNWAITING: OFlags = OFlags::CLOEXEC
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens a regular file to read; anything else is invalid input.
pub(crate) fn open_file(path: &Path) -> std::io::Result<File> {
    let file = File::from(rustix::fs::open(path, UNWAITING, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let kind = std::io::ErrorKind::InvalidInput;
    Err(std::io::Error::new(kind, "it is no regular file"))
}

/// Opens a folder to open what is in it.
pub(crate) fn open_folder(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = UNWAITING | OFlags::DIRECTORY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a path below a folder; a symbolic link that leads out of it is an error.
pub(crate) fn beneath(folder: &OwnedFd, path: &Path, flags: OFlags) -> std::io::Result<OwnedFd> {
    let flags = flags | UNWAITING;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(folder, path, flags, Mode::empty(), resolve)?)
}

/// A file tree, by path relative to its root. A folder sorts before what is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    /// Puts something at a path, and the folders above it where there are none yet.
    pub(crate) fn insert(&mut self, path: &Path, node: Node) {
        let mut folder = path.parent();
        while let Some(above) = folder.filter(|above| !above.as_os_str().is_empty()) {
            self.0.entry(above.to_owned()).or_insert(Node::Folder);
            folder = above.parent();
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Puts a file of the host at the place where the host has it.
    pub(crate) fn insert_host_file(&mut self, path: &Path) -> Result<()> {
        let content = path.canonicalize().map_err(Error::file("read", path))?;
        let folder = self.host_folder(path.parent().unwrap_or(Path::new("/")));
        if let Some(name) = path.file_name() {
            self.insert(&folder.join(name), Node::File(Content::Host(content)));
        }
        Ok(())
    }

    /// The place of a folder of the host, after putting the symbolic links that lead there (such as
    /// `/lib`) as the host has them.
    pub(crate) fn host_folder(&mut self, path: &Path) -> PathBuf {
        let mut folder = PathBuf::new();
        let mut rest = components(path);
        // A loop of links would not end; the kernel follows no more than 40.
        let mut links = 0;
        while let Some(next) = rest.pop() {
            if next == ".." {
                folder.pop();
                continue;
            }
            let here = folder.join(&next);
            match std::fs::read_link(Path::new("/").join(&here)) {
                Ok(target) if links < 40 => {
                    links += 1;
                    if target.is_absolute() {
                        folder.clear();
                    }
                    rest.extend(components(&target));
                    self.insert(&here, Node::Link(target));
                }
                _ => folder = here,
            }
        }
        folder
    }

    /// Writes the tree as a tar file.
    pub(crate) fn write(&self, file: &Path) -> Result<Layer> {
        let failed = |source| Error::file("write", file)(source);
        let out = File::create(file).map_err(failed)?;
        let mut builder = Builder::new(Hashing::new(BufWriter::with_capacity(1 << 18, out)));
        for (path, node) in &self.0 {
            append(&mut builder, path, node, file)?;
        }
        let hashing = builder.into_inner().map_err(failed)?;
        let (mut inner, digest, size) = hashing.finish();
        inner.flush().map_err(failed)?;
        Ok(Layer {
            file: file.to_owned(),
            digest,
            size,
        })
    }
}

/// The names of a path, the last first.
fn components(path: &Path) -> Vec<std::ffi::OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

/// A layer, written.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) file: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(SOURCE_DATE_EPOCH);
    header
}

fn append(builder: &mut Builder<impl Write>, path: &Path, node: &Node, to: &Path) -> Result<()> {
    let failed = |source| Error::file("write", to)(source);
    match node {
        Node::Folder => {
            let mut header = header(EntryType::Directory, 0o755, 0);
            builder
                .append_data(&mut header, path, std::io::empty())
                .map_err(failed)
        }
        Node::Link(target) => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            builder
                .append_link(&mut header, path, target)
                .map_err(failed)
        }
        Node::File(content) => append_file(builder, path, content, to),
    }
}

fn append_file(
    builder: &mut Builder<impl Write>,
    path: &Path,
    content: &Content,
    to: &Path,
) -> Result<()> {
    let mut file = content.open()?;
    let metadata = file
        .metadata()
        .map_err(Error::file("read", content.path()))?;
    let changed = || Error::Changed {
        path: content.path().to_owned(),
    };
    if !metadata.is_file() {
        return Err(changed());
    }
    let mode = match metadata.permissions().mode() & 0o100 {
        0 => 0o644,
        _ => 0o755,
    };
    let mut header = header(EntryType::Regular, mode, metadata.size());
    let mut bytes = Counted {
        inner: (&mut file).take(metadata.size()),
        count: 0,
    };
    let appended = builder.append_data(&mut header, path, &mut bytes);
    appended.map_err(Error::file("write", to))?;
    // A shorter file would shift everything behind it in the tar file.
    if bytes.count == metadata.size() {
        Ok(())
    } else {
        Err(changed())
    }
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

/// Computes the digest of what is written through it.
struct Hashing<W> {
    inner: W,
    context: Context,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            context: Context::new(&SHA256),
            size: 0,
        }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, finished(self.context), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn finished(context: Context) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Digest::from_sha256(&hash)
}

/// The digest of these bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finished(context)
}

/// The digest of what a reader gives, and how many bytes that was.
pub(crate) fn digest_of_reader(mut reader: impl Read) -> std::io::Result<(Digest, u64)> {
    let mut hashing = Hashing::new(std::io::sink());
    std::io::copy(&mut reader, &mut hashing)?;
    let (_, digest, size) = hashing.finish();
    Ok((digest, size))
}
