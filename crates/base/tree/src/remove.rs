//! Removes a tree.
//!
//! Decision: a folder that is too far down is moved up into the root, to be removed from there. So a tree of any depth
//! takes the same memory and the same descriptors, and what was begun can be begun anew.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::chain::OPEN;
use crate::{below, kind, open};

/// Removes a folder with all that is in it, or whatever else has this name. It is done when it is over, also where
/// others remove it meanwhile. Blocks on the disk.
///
/// # Errors
/// `NotFound` when there is nothing of this name; when something cannot be removed, with where it is.
pub fn remove(path: &Path) -> io::Result<()> {
    let root = match open(path) {
        Ok(root) => root,
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
            Some(Errno::ACCESS) => {
                let above = path.parent().ok_or(error)?;
                let name = path.file_name().unwrap_or_default();
                let name = CString::new(name.as_encoded_bytes())?;
                opened(open(above)?.as_fd(), &name)?
            }
            _ => return Err(error),
        },
    };
    Removal::of(root)?.run()?;
    match rustix::fs::rmdir(path) {
        Err(errno) if errno != Errno::NOENT => Err(errno.into()),
        _ => Ok(()),
    }
}

/// A folder that is being emptied.
struct Folder {
    name: CString,
    fd: OwnedFd,
    list: Dir,
    /// What was done when its list was begun.
    done: u64,
}

struct Removal {
    root: OwnedFd,
    folders: Vec<Folder>,
    /// How many entries have gone from where they were.
    done: u64,
    /// The number of the next folder that is moved up.
    next: u64,
}

impl Removal {
    fn of(root: OwnedFd) -> io::Result<Self> {
        let mut removal = Self {
            root: root.try_clone()?,
            folders: Vec::new(),
            done: 0,
            next: 0,
        };
        removal.enter(CString::default(), root)?;
        Ok(removal)
    }

    fn enter(&mut self, name: CString, fd: OwnedFd) -> io::Result<()> {
        // What may not be written cannot be emptied, and its owner may change that.
        let stat = rustix::fs::fstat(&fd)?;
        let mine = Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU);
        if !mine && !rustix::process::geteuid().is_root() {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
        }
        let list = Dir::read_from(&fd)?;
        self.folders.push(Folder {
            name,
            fd,
            list,
            done: self.done,
        });
        Ok(())
    }

    /// Empties the root.
    fn run(&mut self) -> io::Result<()> {
        while let Some(folder) = self.folders.last_mut() {
            match folder.list.read() {
                Some(entry) => {
                    let entry = entry?;
                    let name = entry.file_name();
                    if ![c".", c".."].contains(&name) {
                        self.entry(name)?;
                    }
                }
                None => self.leave()?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &CStr) -> io::Result<()> {
        let depth = self.folders.len();
        let Some(folder) = self.folders.last() else {
            return Ok(());
        };
        let at = folder.fd.as_fd();
        match removed(at, name) {
            Ok(()) => self.done += 1,
            Err(Errno::NOENT) => {}
            // It is a folder.
            Err(Errno::ISDIR) => match depth < OPEN {
                true => match opened(at, name) {
                    Ok(inner) => self.enter(name.to_owned(), inner)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(self.at(name, error)),
                },
                false => self.lift(name)?,
            },
            Err(errno) => return Err(self.at(name, errno.into())),
        }
        Ok(())
    }

    /// Moves a folder of the last one into the root.
    fn lift(&mut self, name: &CStr) -> io::Result<()> {
        let Some(folder) = self.folders.last() else {
            return Ok(());
        };
        let at = folder.fd.as_fd();
        // Only what may be written can be moved elsewhere.
        drop(opened(at, name).map_err(|error| self.at(name, error))?);
        loop {
            let new = format!(".removed-{}", self.next);
            self.next += 1;
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(at, name, &self.root, new, flags) {
                Ok(()) => {
                    self.done += 1;
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                // There is no room for more folders until some of them are removed: the next time.
                Err(Errno::NOENT | Errno::MLINK) => return Ok(()),
                Err(errno) => return Err(self.at(name, errno.into())),
            }
        }
    }

    /// The end of a list: removes the folder, or begins the list anew where something is left and something was done.
    fn leave(&mut self) -> io::Result<()> {
        let Some(mut left) = self.folders.pop() else {
            return Ok(());
        };
        let Some(above) = self.folders.last() else {
            // The root: removed by its path, when it is empty.
            if left.done != self.done {
                left.done = self.done;
                left.list.rewind();
                self.folders.push(left);
            }
            return Ok(());
        };
        match rustix::fs::unlinkat(&above.fd, &left.name, AtFlags::REMOVEDIR) {
            Ok(()) => self.done += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                if left.done != self.done {
                    left.done = self.done;
                    left.list.rewind();
                    self.folders.push(left);
                }
            }
            Err(errno) => return Err(self.at(&left.name, errno.into())),
        }
        Ok(())
    }

    /// What happened, and where.
    fn at(&self, name: &CStr, error: io::Error) -> io::Error {
        let above = self.folders.iter().skip(1).map(|folder| &*folder.name);
        let names: Vec<_> = above
            .chain([name])
            .map(|name| name.to_string_lossy())
            .collect();
        let path = shortened(&names.join("/"));
        io::Error::new(error.kind(), format!("{path}: {error}"))
    }
}

fn removed(at: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        // So says POSIX of a folder, and the kernel of what nobody may remove.
        Err(Errno::PERM) => {
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match kind(&stat) {
                FileType::Directory => Err(Errno::ISDIR),
                _ => Err(Errno::PERM),
            }
        }
        other => other,
    }
}

/// A folder that is there, opened even where its owner may not read it.
fn opened(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    match below(at, name) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(at, name, flags, Mode::empty())?;
            // By its descriptor: a link that takes its place is not followed.
            let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::chmod(place, Mode::RWXU)?;
            Ok(below(at, name)?)
        }
        Err(Errno::XDEV) => Err(io::Error::new(
            io::ErrorKind::CrossesDevices,
            "another file system is mounted there; unmount it first",
        )),
        other => Ok(other?),
    }
}

/// Both ends of a long path.
fn shortened(path: &str) -> String {
    let length = path.chars().count();
    match length > 120 {
        false => path.to_owned(),
        true => {
            let begin: String = path.chars().take(60).collect();
            let end: String = path.chars().skip(length - 60).collect();
            format!("{begin}…{end}")
        }
    }
}
