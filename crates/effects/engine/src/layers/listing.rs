//! What a folder holds, file by file, and in what it is another one than it was.
//!
//! Decision: two questions, one cheap and one sure. The list of a folder is what the kernel says of each of its files
//! (kind, mode, owner, size, dates), so that it is compared without reading any. The date of change (`ctime`) is among them,
//! which nobody can set: whoever edits a file and puts its date back is found out. Where lists differ, which they also do
//! when a state folder was copied elsewhere, folders are compared byte by byte.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// How many files are named of those that differ.
const NAMED: usize = 3;

/// The longest name that is shown of a file, in characters.
const SHOWN: usize = 120;

/// How many bytes of two files are compared at a time.
const CHUNK: usize = 64 << 10;

/// The mark of a folder that hides what lower layers have in it.
const OPAQUE: &str = "user.overlay.opaque";

/// All that is below a folder, by its path there.
struct Listing {
    entries: BTreeMap<Vec<u8>, Stat>,
    /// The path of the folder that is being walked, and the lengths of those above it.
    at: Vec<u8>,
    above: Vec<usize>,
}

impl ward_tree::Visit for Listing {
    fn entry(&mut self, _at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let path = self.path(name);
        self.entries.insert(path, *stat);
        Ok(())
    }

    fn enter(&mut self, _at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let path = self.path(name);
        self.above.push(self.at.len());
        self.at.clone_from(&path);
        self.entries.insert(path, *stat);
        Ok(())
    }

    fn leave(&mut self, _folder: BorrowedFd<'_>) -> io::Result<()> {
        self.at.truncate(self.above.pop().unwrap_or(0));
        Ok(())
    }

    fn closed(&mut self, errno: Errno) -> io::Result<()> {
        Err(errno.into())
    }
}

impl Listing {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut listing = Self {
            entries: BTreeMap::new(),
            at: Vec::new(),
            above: Vec::new(),
        };
        ward_tree::walk(ward_tree::open(folder)?, &mut listing)?;
        Ok(listing)
    }

    fn path(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.at.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }
}

/// The list of a folder, the same bytes for the same files.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (path, stat) in Listing::of(folder)?.entries {
        write!(
            bytes,
            "{:o} {} {} {} {}.{} {}.{} ",
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec
        )?;
        bytes.extend_from_slice(&path);
        bytes.push(0);
    }
    Ok(bytes)
}

/// In what a folder is another one than `right`, in a clause; `None`: in nothing that an instance could see.
///
/// # Errors
/// When `right` cannot be read. A `folder` that cannot be read is another one.
pub(super) fn difference(folder: &Path, right: &Path) -> io::Result<Option<String>> {
    let wanted = Listing::of(right)?.entries;
    let found = match Listing::of(folder) {
        Ok(found) => found.entries,
        Err(error) => return Ok(Some(format!("it cannot be read: {error}"))),
    };
    let mut different = Vec::new();
    for (path, stat) in &wanted {
        let how = match found.get(path) {
            None => Some("was deleted".to_owned()),
            Some(other) => changed(&place(folder, path), other, &place(right, path), stat)?,
        };
        different.extend(how.map(|how| format!("{} {how}", shown(path))));
    }
    let added = found.keys().filter(|path| !wanted.contains_key(*path));
    different.extend(added.map(|path| format!("{} was added", shown(path))));
    if different.is_empty() {
        return Ok(None);
    }
    let more = different.len().saturating_sub(NAMED);
    different.truncate(NAMED);
    let mut text = different.join(", ");
    if more > 0 {
        text = format!("{text}, and {more} more");
    }
    Ok(Some(text))
}

/// What was done to a file that should be as `right`.
fn changed(
    path: &Path,
    stat: &Stat,
    right: &Path,
    right_stat: &Stat,
) -> io::Result<Option<String>> {
    let (kind, wanted) = (ward_tree::kind(stat), ward_tree::kind(right_stat));
    if kind != wanted || (kind == FileType::CharacterDevice && stat.st_rdev != right_stat.st_rdev) {
        return Ok(Some("is of another kind".to_owned()));
    }
    let edited = match kind {
        FileType::RegularFile if stat.st_size != right_stat.st_size => true,
        FileType::RegularFile => match same_bytes(path, right) {
            Ok(same) => !same,
            Err(Unequal::Theirs(error)) => {
                return Ok(Some(format!("cannot be read: {error}")));
            }
            Err(Unequal::Ours(error)) => return Err(error),
        },
        FileType::Symlink => std::fs::read_link(path).ok() != Some(std::fs::read_link(right)?),
        FileType::Directory => is_opaque(path) != is_opaque(right),
        _ => false,
    };
    // Nobody dates folders that an archive does not name, links and what hides others.
    let dated = kind == FileType::RegularFile && stat.st_mtime != right_stat.st_mtime;
    let how = match () {
        () if edited => Some("was edited"),
        () if kind != FileType::Symlink && stat.st_mode != right_stat.st_mode => {
            Some("has another mode")
        }
        () if (stat.st_uid, stat.st_gid) != (right_stat.st_uid, right_stat.st_gid) => {
            Some("has another owner")
        }
        () if dated => Some("has another date"),
        () => None,
    };
    Ok(how.map(str::to_owned))
}

/// Which of two files could not be read.
enum Unequal {
    Theirs(io::Error),
    Ours(io::Error),
}

fn same_bytes(path: &Path, right: &Path) -> Result<bool, Unequal> {
    let mut theirs = open(path).map_err(Unequal::Theirs)?;
    let mut ours = open(right).map_err(Unequal::Ours)?;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        let part = (&mut theirs).take(CHUNK as u64).read_to_end(&mut one);
        part.map_err(Unequal::Theirs)?;
        let part = (&mut ours).take(CHUNK as u64).read_to_end(&mut other);
        part.map_err(Unequal::Ours)?;
        if one != other {
            return Ok(false);
        }
        if one.is_empty() {
            return Ok(true);
        }
    }
}

/// Never waits, whatever took the file's place meanwhile.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn is_opaque(folder: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(folder, OPAQUE, &mut value[..]).is_ok_and(|length| length > 0)
}

fn place(folder: &Path, path: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(path))
}

fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.escape_debug().take(SHOWN).collect()
}
