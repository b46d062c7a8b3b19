//! A folder that nothing written through it can leave.
//!
//! A layer comes from strangers. Its paths are resolved by the kernel with the layer's folder as the root
//! (`openat2`, `RESOLVE_IN_ROOT`), so that an absolute path, a `..` or a symbolic link made by an earlier
//! entry ends inside. The last component is never followed: what is there is removed, and the new one is
//! made with `O_EXCL`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;

/// How often a resolution is tried again when the kernel could not exclude a race with a rename
/// somewhere on the machine.
const ATTEMPTS: usize = 1000;

/// The most folders above one another.
const DEEPEST: usize = 256;

/// What hides a lower layer's entry: a character device 0/0 (overlayfs).
const WHITEOUT: u64 = 0;

pub(super) struct Tree {
    root: OwnedFd,
    folder: PathBuf,
}

/// What is at a place.
enum There {
    Nothing,
    Folder,
    Whiteout,
    Other,
}

impl Tree {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty())?;
        let folder = folder.to_owned();
        Ok(Self { root, folder })
    }

    /// The folder that the layer's own is in.
    pub(super) fn layers(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.resolve(path, flags)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// The folder `path`, made with those above it where it is missing.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(folder) => return Ok(folder),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (parent, name) = self.place(path)?;
        match there(&parent, name)? {
            There::Nothing => make_folder(&parent, name)?,
            There::Whiteout => replace_whiteout(&parent, name)?,
            // A file, or a symbolic link that leads nowhere in this layer.
            There::Folder | There::Other => return Err(Errno::NOTDIR.into()),
        }
        Ok(self.resolve(path, OFlags::PATH | OFlags::DIRECTORY)?)
    }

    /// The folder that holds the last component of `path`, and that component.
    fn place<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.folder(parent)?, name))
    }

    /// Makes a folder, or sets the mode of the one that is there. Its owner may always enter and write, so
    /// that the layer can be removed.
    pub(super) fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(for_everybody(mode & 0o1777 | 0o700));
        if path.as_os_str().is_empty() {
            // The root must be entered by whatever user the instance is.
            return Ok(rustix::fs::fchmod(
                &self.root,
                mode | Mode::from_raw_mode(0o755),
            )?);
        }
        let (parent, name) = self.place(path)?;
        match there(&parent, name)? {
            There::Folder => {}
            There::Nothing => make_folder(&parent, name)?,
            There::Whiteout => replace_whiteout(&parent, name)?,
            There::Other => {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
                make_folder(&parent, name)?;
            }
        }
        Ok(rustix::fs::fchmod(open_folder(&parent, name)?, mode)?)
    }

    /// Makes an empty file in place of what is there.
    pub(super) fn make_file(&self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.place(path)?;
        clear(&parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&parent, name, flags | OFlags::CLOEXEC, mode)?;
        Ok(File::from(file))
    }

    /// Makes a symbolic link in place of what is there. Its target is text: nothing follows it here.
    pub(super) fn make_symlink(&self, path: &Path, target: &OsStr) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        clear(&parent, name)?;
        Ok(rustix::fs::symlinkat(target, &parent, name)?)
    }

    /// Makes a second name for a file of this layer in place of what is there.
    pub(super) fn make_link(&self, path: &Path, existing: &Path) -> io::Result<()> {
        let name_there = existing.file_name().ok_or(Errno::INVAL)?;
        let above = existing.parent().unwrap_or(Path::new(""));
        let from = self.resolve(above, OFlags::PATH | OFlags::DIRECTORY)?;
        let (parent, name) = self.place(path)?;
        let source = rustix::fs::statat(&from, name_there, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(source.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
        if same_place(&from, name_there, &parent, name)? {
            return Ok(());
        }
        clear(&parent, name)?;
        Ok(rustix::fs::linkat(
            &from,
            name_there,
            &parent,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Hides what lower layers have at `path`; what this layer has there stays.
    pub(super) fn hide(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        match there(&parent, name)? {
            There::Nothing => make_whiteout(&parent, name),
            There::Folder => make_opaque(&open_folder(&parent, name)?),
            There::Whiteout | There::Other => Ok(()),
        }
    }

    /// Hides what lower layers have in the folder `path`.
    pub(super) fn hide_below(&self, path: &Path) -> io::Result<()> {
        self.folder(path)?;
        make_opaque(&self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    /// Sets a folder's time of change.
    pub(super) fn date(&self, path: &Path, seconds: u64) -> io::Result<()> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::fs::futimens(folder, &times(seconds))?)
    }
}

/// A path of an archive as components, without leading slashes and dots. `None` when it climbs with `..`
/// or is longer than a path can be.
pub(super) fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part if part.len() > 255 || part.contains(&0) => return None,
            part => inside.push(OsStr::from_bytes(part)),
        }
    }
    let short = inside.as_os_str().len() < 4096 && inside.components().count() <= DEEPEST;
    short.then_some(inside)
}

/// Times of access and change, both `seconds` after 1970.
pub(super) fn times(seconds: u64) -> Timestamps {
    let tv_sec = i64::try_from(seconds).unwrap_or(0);
    let time = Timespec { tv_sec, tv_nsec: 0 };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn stat(parent: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn there(parent: &OwnedFd, name: &OsStr) -> Result<There, Errno> {
    let Some(stat) = stat(parent, name)? else {
        return Ok(There::Nothing);
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => There::Folder,
        FileType::CharacterDevice if stat.st_rdev == WHITEOUT => There::Whiteout,
        _ => There::Other,
    })
}

fn same_place(from: &OwnedFd, a: &OsStr, to: &OwnedFd, b: &OsStr) -> Result<bool, Errno> {
    let (Some(a), Some(b)) = (stat(from, a)?, stat(to, b)?) else {
        return Ok(false);
    };
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(
        parent,
        name,
        Mode::from_raw_mode(0o755),
    )?)
}

/// A folder that comes after its own whiteout: new, and nothing of the lower layers shows in it.
fn replace_whiteout(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    make_folder(parent, name)?;
    make_opaque(&open_folder(parent, name)?)
}

fn open_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Removes what is there, unless it is a folder with something in it.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = match there(parent, name)? {
        There::Nothing => return Ok(()),
        There::Folder => AtFlags::REMOVEDIR,
        There::Whiteout | There::Other => AtFlags::empty(),
    };
    Ok(rustix::fs::unlinkat(parent, name, flags)?)
}

/// Linux lets an ordinary user make the device 0/0, and no other (since 5.8).
fn make_whiteout(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let kind = FileType::CharacterDevice;
    Ok(rustix::fs::mknodat(
        parent,
        name,
        kind,
        Mode::empty(),
        WHITEOUT,
    )?)
}

/// The mark that overlayfs reads when it is mounted with `userxattr`, as the sandbox mounts it for everybody.
fn make_opaque(folder: &OwnedFd) -> io::Result<()> {
    let mark = "user.overlay.opaque";
    Ok(rustix::fs::fsetxattr(
        folder.as_fd(),
        mark,
        b"y",
        XattrFlags::empty(),
    )?)
}

/// The rights that a file's owner has by its image, given to everybody where the layer's files belong to
/// root: the instance's user is another one then, and would be shut out of its own files. Writing is left
/// out, as a layer is read-only; others cannot get at it, as the state folder is closed to them.
pub(super) fn for_everybody(mode: u32) -> u32 {
    if !rustix::process::geteuid().is_root() {
        return mode;
    }
    let owners = (mode >> 6) & 0o5;
    mode | owners << 3 | owners
}
