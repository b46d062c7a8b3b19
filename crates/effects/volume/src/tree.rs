//! Walks a tree by descriptors. An application may change its volume meanwhile, and put a symbolic link in the place of
//! a folder: no path is ever walked twice, and no link is followed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{Error, file};

/// How deep folders may be: each level that is being walked holds a descriptor.
const DEEPEST: usize = 200;

/// So many bytes of the disk are left free for everybody else on it.
pub const RESERVE: u64 = 64 << 20;

pub(crate) fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| file("open", path)(errno.into()))
}

fn below(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Calls `visit` with each entry of a folder and how it is. What went away meanwhile is left out.
fn entries(
    dir: BorrowedFd<'_>,
    mut visit: impl FnMut(&CStr, &Stat) -> io::Result<()>,
) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => visit(name, &stat)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn too_deep(root: &Path) -> Error {
    Error::TooDeep {
        path: root.to_owned(),
        most: DEEPEST,
    }
}

/// The mode of a folder that is being removed: one that nobody gives his own. Whoever copies it looks for that when it has
/// read everything, because files that go away are no failure to it.
pub const REMOVED: u32 = 0o5700;

/// Says that a folder is being removed, before anything of it is.
pub(crate) fn leave(root: &Path) -> Result<(), Error> {
    let mode = std::fs::Permissions::from_mode(REMOVED);
    std::fs::set_permissions(root, mode).map_err(file("change the mode of", root))
}

/// How many bytes of the disk a tree takes. What is deeper than any use is not counted.
pub(crate) fn bytes(root: &Path) -> Result<u64, Error> {
    fn count(dir: BorrowedFd<'_>, depth: usize) -> io::Result<u64> {
        let mut bytes = 0;
        entries(dir, |name, stat| {
            let own = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
            // A file of several names is one.
            let names = match kind(stat) {
                FileType::Directory => 1,
                _ => stat.st_nlink.max(1),
            };
            bytes += own / names;
            if kind(stat) == FileType::Directory && depth < DEEPEST {
                // One that was removed or closed meanwhile holds nothing that counts.
                if let Ok(inner) = below(dir, name) {
                    bytes += count(inner.as_fd(), depth + 1)?;
                }
            }
            Ok(())
        })?;
        Ok(bytes)
    }
    count(open(root)?.as_fd(), 0).map_err(file("measure", root))
}

/// Gives a tree to a user, itself last: what was begun and not finished is begun anew.
pub(crate) fn give(root: &Path, owner: u32) -> Result<(), Error> {
    fn each(dir: BorrowedFd<'_>, owner: u32, depth: usize) -> io::Result<bool> {
        let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
        let mut whole = depth < DEEPEST;
        entries(dir, |name, stat| {
            if kind(stat) == FileType::Directory && whole {
                match below(dir, name) {
                    Ok(inner) => whole &= each(inner.as_fd(), owner, depth + 1)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::chownat(dir, name, Some(user), Some(group), flags) {
                Err(errno) if errno != Errno::NOENT => Err(errno.into()),
                _ => Ok(()),
            }
        })?;
        Ok(whole)
    }
    let root_fd = open(root)?;
    let whole = each(root_fd.as_fd(), owner, 0).map_err(file("change the owner of", root))?;
    if !whole {
        return Err(too_deep(root));
    }
    rustix::fs::fchown(
        &root_fd,
        Some(Uid::from_raw(owner)),
        Some(Gid::from_raw(owner)),
    )
    .map_err(|errno| file("change the owner of", root)(errno.into()))
}

/// Copies what is in `from` into the new folder `to`: files, folders and symbolic links, with their modes, times and
/// owners; the bytes are shared where the file system can do that. Nobody else may write to `to`.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir(to).map_err(file("create", to))?;
    let (source, target) = (open(from)?, open(to)?);
    folder(source.as_fd(), target.as_fd(), to, 0)?;
    let stat = rustix::fs::fstat(&source).map_err(|errno| file("read", from)(errno.into()))?;
    like(target.as_fd(), &stat).map_err(file("write", to))?;
    rustix::fs::syncfs(&target).map_err(|errno| file("write", to)(errno.into()))
}

fn folder(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    root: &Path,
    depth: usize,
) -> Result<(), Error> {
    if depth >= DEEPEST {
        return Err(too_deep(root));
    }
    let mut below_failed = None;
    let copied = entries(from, |name, stat| {
        match kind(stat) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let (inner, made) = (below(from, name)?, below(to, name)?);
                if let Err(error) = folder(inner.as_fd(), made.as_fd(), root, depth + 1) {
                    below_failed = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
                like(made.as_fd(), stat)?;
            }
            FileType::RegularFile => {
                if !has_room(to)? {
                    below_failed = Some(Error::NoRoom { reserve: RESERVE });
                    return Err(io::ErrorKind::StorageFull.into());
                }
                one_file(from, to, name, stat)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                owned(to, name, stat)?;
            }
            // Sockets, pipes and devices hold nothing.
            _ => {}
        }
        Ok(())
    });
    match (copied, below_failed) {
        (_, Some(error)) => Err(error),
        (copied, None) => copied.map_err(file("copy to", root)),
    }
}

fn has_room(at: BorrowedFd<'_>) -> io::Result<bool> {
    let disk = rustix::fs::fstatvfs(at)?;
    Ok(disk.f_bavail * disk.f_frsize >= RESERVE)
}

fn one_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    // Not to be kept waiting by a pipe that took a file's place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut target = File::from(target);
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        let mut source = source;
        io::copy(&mut source, &mut target)?;
    }
    like(target.as_fd(), stat)
}

/// Owner, then mode, which a change of the owner may take bits from, then times.
fn like(made: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(made, Some(user), Some(group))?;
    }
    rustix::fs::fchmod(made, Mode::from_raw_mode(stat.st_mode))?;
    let time = |seconds, nanoseconds| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.cast_signed()),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
    };
    Ok(rustix::fs::futimens(made, &times)?)
}

fn owned(at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(
        at,
        name,
        Some(user),
        Some(group),
        flags,
    )?)
}
