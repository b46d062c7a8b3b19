//! The folders from a root to one below it, of which only the last are held open.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::Mode;

use crate::FOLDER;

/// How many folders are held open, the root beside them.
pub(crate) const OPEN: usize = 32;

/// How deep a tree may be that is walked: each level takes some bytes of memory.
pub(crate) const DEEPEST: usize = 1 << 20;

/// A way down from a root.
#[derive(Debug)]
pub struct Chain {
    root: OwnedFd,
    /// Those below the root.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    id: Id,
    /// `None` of one that is far above the last.
    fd: Option<OwnedFd>,
}

/// Device and inode: which folder it is, whatever it is called now.
type Id = (u64, u64);

impl Chain {
    /// The way that has not left its root.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            levels: Vec::new(),
        }
    }

    /// How many folders below the root the last one is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The folder that the way leads to.
    #[must_use]
    pub fn last(&self) -> BorrowedFd<'_> {
        let last = self.levels.last().and_then(|level| level.fd.as_ref());
        last.unwrap_or(&self.root).as_fd()
    }

    /// Goes down to a folder of the last one.
    ///
    /// # Errors
    /// Where the tree is beyond all use, or the folder cannot be read.
    pub fn down(&mut self, fd: OwnedFd) -> io::Result<()> {
        if self.levels.len() >= DEEPEST {
            return Err(io::Error::other(format!(
                "its folders are more than {DEEPEST} deep"
            )));
        }
        let id = id(fd.as_fd())?;
        self.levels.push(Level { id, fd: Some(fd) });
        let far = self.levels.len().checked_sub(OPEN + 1);
        if let Some(level) = far.and_then(|far| self.levels.get_mut(far)) {
            level.fd = None;
        }
        Ok(())
    }

    /// Goes back up by one folder. At the root it does nothing.
    ///
    /// # Errors
    /// When the last folder lies in another one meanwhile.
    pub fn up(&mut self) -> io::Result<()> {
        let Some(left) = self.levels.pop() else {
            return Ok(());
        };
        match (self.levels.last_mut(), left.fd) {
            (Some(above), Some(left)) if above.fd.is_none() => {
                let fd = rustix::fs::openat(&left, c"..", FOLDER, Mode::empty())?;
                if id(fd.as_fd())? != above.id {
                    return Err(io::Error::other("a folder was moved meanwhile"));
                }
                above.fd = Some(fd);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn id(fd: BorrowedFd<'_>) -> io::Result<Id> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
