//! What is done with whole trees: given to a user, and copied. An application may change its volume meanwhile, and put a
//! symbolic link in the place of a folder: no path is ever walked twice, and no link is followed.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timestamps, Uid};
use rustix::io::Errno;
use ward_tree::{Chain, Visit, below, kind, walk};

use crate::error::{Error, file};

/// So many bytes of the disk are left free for everybody else on it.
pub const RESERVE: u64 = 64 << 20;

/// How many bytes are copied between two looks at the disk.
const CHUNK: usize = 1 << 20;

pub(crate) fn open(path: &Path) -> Result<OwnedFd, Error> {
    ward_tree::open(path).map_err(file("open", path))
}

/// The mode of a folder that is being removed: one that nobody gives his own. Whoever copies it looks for that when it has
/// read everything, because files that go away are no failure to it.
pub const REMOVED: u32 = 0o5700;

/// Says that a folder is being removed, before anything of it is.
pub(crate) fn leave(root: &Path) -> Result<(), Error> {
    let mode = std::fs::Permissions::from_mode(REMOVED);
    std::fs::set_permissions(root, mode).map_err(file("change the mode of", root))
}

/// How many bytes of the disk a tree takes.
pub(crate) fn bytes(root: &Path) -> Result<u64, Error> {
    ward_tree::bytes(root).map_err(file("measure", root))
}

/// Gives a tree to a user, itself last: what was begun and not finished is begun anew.
pub(crate) fn give(root: &Path, owner: u32) -> Result<(), Error> {
    let mut giving = Giving {
        user: Uid::from_raw(owner),
        group: Gid::from_raw(owner),
    };
    walk(open(root)?, &mut giving).map_err(file("change the owner of", root))
}

struct Giving {
    user: Uid,
    group: Gid,
}

impl Visit for Giving {
    fn entry(&mut self, at: BorrowedFd<'_>, name: &CStr, _stat: &Stat) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::chownat(at, name, Some(self.user), Some(self.group), flags) {
            Err(errno) if errno != Errno::NOENT => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, _at: BorrowedFd<'_>, _name: &CStr, _stat: &Stat) -> io::Result<()> {
        Ok(())
    }

    fn leave(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::fs::fchown(
            folder,
            Some(self.user),
            Some(self.group),
        )?)
    }
}

/// Copies a tree that nobody changes: files with their holes and their names, folders and links, with their owners where
/// Ward is root, their modes and times. `to` and `links` must not be there, on the same file system; `links` holds
/// another name of each file that has several, and may be removed behind that.
pub(crate) fn copy(
    from: &Path,
    (to, links): (&Path, &Path),
    given_up: &dyn Fn() -> bool,
) -> Result<(), Error> {
    for folder in [to, links] {
        std::fs::create_dir(folder).map_err(file("create", folder))?;
    }
    let target = open(to)?;
    let mut copying = Copying {
        to: Chain::new(open(to)?),
        links: open(links)?,
        buffer: vec![0; CHUNK],
        given_up,
        stopped: None,
    };
    let copied = walk(open(from)?, &mut copying);
    if let Some(stopped) = copying.stopped {
        return Err(stopped);
    }
    copied.map_err(file("copy", from))?;
    rustix::fs::syncfs(&target).map_err(|errno| file("write", to)(errno.into()))
}

struct Copying<'a> {
    to: Chain,
    links: OwnedFd,
    buffer: Vec<u8>,
    given_up: &'a dyn Fn() -> bool,
    /// Why it ended, where that is no error of the disk.
    stopped: Option<Error>,
}

impl Visit for Copying<'_> {
    fn entry(&mut self, from: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        self.goes_on()?;
        match kind(stat) {
            FileType::RegularFile if stat.st_nlink > 1 => self.linked(from, name, stat),
            FileType::RegularFile => self.file(from, name, stat),
            FileType::Symlink => {
                let to = self.to.last();
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                owned(to, name, stat)
            }
            // Sockets, pipes and devices hold nothing.
            _ => Ok(()),
        }
    }

    fn enter(&mut self, _from: BorrowedFd<'_>, name: &CStr, _stat: &Stat) -> io::Result<()> {
        self.goes_on()?;
        let to = self.to.last();
        rustix::fs::mkdirat(to, name, Mode::RWXU)?;
        let made = below(to, name)?;
        self.to.down(made)
    }

    fn leave(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        like(self.to.last(), &rustix::fs::fstat(folder)?)?;
        self.to.up()
    }

    /// Nobody changes what is copied: what is not there is missing.
    fn closed(&mut self, errno: Errno) -> io::Result<()> {
        Err(errno.into())
    }
}

impl Copying<'_> {
    /// Whether somebody still waits for it, and the disk has room for more.
    fn goes_on(&mut self) -> io::Result<()> {
        if (self.given_up)() {
            self.stopped = Some(Error::GivenUp);
            return Err(io::ErrorKind::Interrupted.into());
        }
        let disk = rustix::fs::fstatvfs(&self.links)?;
        if disk.f_bavail * disk.f_frsize < RESERVE {
            self.stopped = Some(Error::NoRoom { reserve: RESERVE });
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// A file of several names: the first is copied, the others are names of that copy.
    fn linked(&mut self, from: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let known = CString::new(stat.st_ino.to_string())?;
        let no = AtFlags::empty();
        match rustix::fs::linkat(&self.links, &known, self.to.last(), name, no) {
            // So many names that it takes a second file.
            Err(Errno::MLINK) => self.file(from, name, stat),
            Err(Errno::NOENT) => {
                self.file(from, name, stat)?;
                let to = self.to.last();
                Ok(rustix::fs::linkat(to, name, &self.links, &known, no)?)
            }
            linked => Ok(linked?),
        }
    }

    fn file(&mut self, from: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        // Not to be kept waiting by a pipe that took a file's place.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let target = File::from(rustix::fs::openat(self.to.last(), name, flags, mode)?);
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            self.contents(&source, &target)?;
        }
        like(target.as_fd(), stat)
    }

    /// Copies what is written of a file, and leaves out its holes.
    fn contents(&mut self, source: &File, target: &File) -> io::Result<()> {
        let size = source.metadata()?.len();
        let mut at = 0;
        while at < size {
            let (begin, end) = match written(source, at, size)? {
                Some(range) => range,
                None => break,
            };
            at = begin;
            while at < end {
                self.goes_on()?;
                let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let Some(part) = self.buffer.get_mut(..most) else {
                    break;
                };
                let count = source.read_at(part, at)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                target.write_all_at(part.get(..count).unwrap_or_default(), at)?;
                at += u64::try_from(count).unwrap_or_default();
            }
        }
        target.set_len(size)
    }
}

/// The next range of a file that was written, from `at` on; all of it where the file system does not tell.
fn written(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
    Ok(Some((begin, end.min(size))))
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
