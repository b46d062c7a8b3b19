//! Trees of folders that workloads wrote: walked, measured and removed, however deep they are.
//!
//! Decision: whoever writes a tree decides how deep it is, and forty thousand folders in each other are made in a second.
//! So nothing here calls itself for a level, holds a descriptor for each, or names a path that the kernel would find too
//! long. A tree may be changed meanwhile: no symbolic link is followed, no other file system is entered, and the way up
//! is taken only to the folder that the way down came from.

mod chain;
mod remove;
mod walk;

pub use chain::Chain;
pub use remove::remove;
pub use walk::{Visit, walk};

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the root of a tree: a folder, and no link to one.
///
/// # Errors
/// The kernel's.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
}

/// Opens a folder of this name in another one, on the same file system.
///
/// # Errors
/// `NOENT`, `NOTDIR` or `LOOP` where there is none, `XDEV` where a file system is mounted there.
pub fn below(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(folder, name, FOLDER, Mode::empty(), resolve)
}

/// What kind of file something is.
#[must_use]
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// How many bytes of the disk the tree below a folder takes, without the folder itself. What is removed or closed
/// meanwhile is left out.
///
/// # Errors
/// When it cannot be read, or its folders are moved meanwhile.
pub fn bytes(root: &Path) -> io::Result<u64> {
    let mut sum = Sum(0);
    walk(open(root)?, &mut sum)?;
    Ok(sum.0)
}

struct Sum(u64);

impl Visit for Sum {
    fn entry(&mut self, _at: BorrowedFd<'_>, _name: &CStr, stat: &Stat) -> io::Result<()> {
        // A file of several names is one.
        self.0 += own(stat) / stat.st_nlink.max(1);
        Ok(())
    }

    fn enter(&mut self, _at: BorrowedFd<'_>, _name: &CStr, stat: &Stat) -> io::Result<()> {
        self.0 += own(stat);
        Ok(())
    }

    fn closed(&mut self, _errno: Errno) -> io::Result<()> {
        Ok(())
    }
}

fn own(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}
