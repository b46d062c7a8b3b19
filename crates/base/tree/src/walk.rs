//! Walks a tree, each folder before what is in it, and again behind that.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::chain::OPEN;
use crate::{Chain, below, kind};

/// What is done with a tree on the way through it.
pub trait Visit {
    /// Something that is no folder, in the folder `at`.
    ///
    /// # Errors
    /// End the walk.
    fn entry(&mut self, at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()>;

    /// A folder in the folder `at`, before what is in it. The root is not told.
    ///
    /// # Errors
    /// End the walk.
    fn enter(&mut self, at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()>;

    /// A folder behind all that is in it, the root last.
    ///
    /// # Errors
    /// End the walk.
    fn leave(&mut self, _folder: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Something that could not be looked at. What went away meanwhile is left out, unless this says otherwise.
    ///
    /// # Errors
    /// End the walk.
    fn closed(&mut self, errno: Errno) -> io::Result<()> {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(()),
            errno => Err(errno.into()),
        }
    }
}

/// Where a folder's list is being read.
struct Reading {
    /// `None` of a folder that is far above.
    list: Option<Dir>,
    /// Behind what was seen.
    offset: i64,
}

/// Shows a tree to `visit`.
///
/// # Errors
/// Those of `visit`; when a list cannot be read, or a folder was moved meanwhile.
pub fn walk(root: OwnedFd, visit: &mut impl Visit) -> io::Result<()> {
    let mut chain = Chain::new(root);
    let mut above: Vec<Reading> = Vec::new();
    let mut here = read(&chain, 0)?;
    loop {
        let Some(list) = &mut here.list else {
            here = read(&chain, here.offset)?;
            continue;
        };
        let Some(entry) = list.read() else {
            visit.leave(chain.last())?;
            let Some(reading) = above.pop() else {
                return Ok(());
            };
            chain.up()?;
            here = reading;
            continue;
        };
        let entry = entry?;
        here.offset = entry.offset();
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let at = chain.last();
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => {
                visit.closed(errno)?;
                continue;
            }
        };
        if kind(&stat) != FileType::Directory {
            visit.entry(at, name, &stat)?;
            continue;
        }
        match below(at, name) {
            Ok(inner) => {
                visit.enter(at, name, &stat)?;
                chain.down(inner)?;
                let inside = read(&chain, 0)?;
                above.push(std::mem::replace(&mut here, inside));
                let far = above.len().checked_sub(OPEN);
                if let Some(reading) = far.and_then(|far| above.get_mut(far)) {
                    reading.list = None;
                }
            }
            Err(errno) => visit.closed(errno)?,
        }
    }
}

fn read(chain: &Chain, offset: i64) -> io::Result<Reading> {
    let mut list = Dir::read_from(chain.last())?;
    if offset != 0 {
        list.seek(offset)?;
    }
    Ok(Reading {
        list: Some(list),
        offset,
    })
}
