//! The access log as a file: where it is, how long it grows, and how it is read.
//!
//! It is `access.log` in the gateway's folder, one JSON object a line ([`ward_types::access::AccessLine`]), in
//! the order in which answers ended. A file that is long enough becomes `access.log.1`, the one before that
//! `access.log.2`, and so on.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ward_types::access::AccessLine;

const BLOCK: usize = 128 * 1024;

/// How the access log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Bytes after which a file is put away.
    pub bytes: u64,
    /// How many that were put away are kept; at least 1.
    pub files: u32,
    /// Whether it has query strings.
    pub query: Query,
}

/// Whether the access log has query strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Query {
    /// No: what people look for, and tokens in links, are in them.
    #[default]
    Omitted,
    /// Yes.
    Logged,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            files: 8,
            query: Query::Omitted,
        }
    }
}

/// The log in the gateway's folder.
pub(crate) fn path_of(folder: &Path) -> PathBuf {
    folder.join("access.log")
}

/// A file that was put away.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The newest lines of which `wanted` says yes, at most `most`, the oldest first; and where to go on. It stops
/// looking at the first line of which `older` says that none before it matters. What is no line is passed over.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn tail(
    home: &Path,
    most: usize,
    wanted: impl Fn(&AccessLine) -> bool,
    older: impl Fn(&AccessLine) -> bool,
) -> io::Result<(Vec<AccessLine>, Follow)> {
    let path = path_of(&crate::folder(home));
    let follow = Follow::new(&path)?;
    let mut found = VecDeque::new();
    let mut take = |line: &[u8]| {
        let Ok(line) = serde_json::from_slice::<AccessLine>(line) else {
            return true;
        };
        if older(&line) {
            return false;
        }
        if found.len() < most && wanted(&line) {
            found.push_front(line);
        }
        found.len() < most
    };
    let mut goes_on = match &follow.file {
        Some(file) => backwards(file.try_clone()?, follow.read, &mut take)?,
        None => true,
    };
    for number in numbers(&path) {
        if !goes_on || most == 0 {
            break;
        }
        // It may have been renamed or removed just now.
        if let Some(file) = open(&rotated(&path, number))? {
            let length = file.metadata()?.len();
            goes_on = backwards(file, length, &mut take)?;
        }
    }
    Ok((found.into(), follow))
}

/// Of the files that were put away, the newest first. One may be missing, where a gateway died while it renamed
/// them.
fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().and_then(|name| name.to_str());
    let start = format!("{}.", name.unwrap_or_default());
    let items = path.parent().map(std::fs::read_dir);
    let items = items.into_iter().flatten().flatten().flatten();
    let number = |item: std::fs::DirEntry| {
        let name = item.file_name();
        name.to_str()?.strip_prefix(&start)?.parse().ok()
    };
    let mut numbers: Vec<u32> = items.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Gives the whole lines of a file's first `length` bytes, the last one first, until `take` wants no more.
/// Whether it still does at the end.
fn backwards(
    mut file: File,
    length: u64,
    take: &mut impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let (mut start, mut held) = (length, Vec::new());
    while start > 0 {
        let size = (BLOCK as u64).min(start);
        start -= size;
        let mut block = vec![0; size as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.extend_from_slice(&held);
        // What stands before the first end of a line may begin in the block before.
        let first = match start {
            0 => 0,
            _ => block
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(block.len(), |at| at + 1),
        };
        let lines = block[first..].split(|byte| *byte == b'\n').rev();
        for line in lines.filter(|line| !line.is_empty()) {
            if !take(line) {
                return Ok(false);
            }
        }
        block.truncate(first);
        held = block;
    }
    Ok(true)
}

/// Where a reader is in the log.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// To the end of the last whole line.
    read: u64,
}

impl Follow {
    fn new(path: &Path) -> io::Result<Self> {
        let mut follow = Self {
            path: path.to_owned(),
            file: open(path)?,
            read: 0,
        };
        if let Some(file) = &mut follow.file {
            follow.read = whole(file)?;
        }
        Ok(follow)
    }

    /// The lines that have come since it was last asked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<AccessLine>> {
        let mut lines = Vec::new();
        loop {
            // Before the rest is read: nobody writes to a file any more that has lost its name.
            let renamed = self.is_renamed()?;
            self.rest(&mut lines)?;
            if !renamed {
                return Ok(lines);
            }
            self.file = open(&self.path)?;
            self.read = 0;
            if self.file.is_none() {
                return Ok(lines);
            }
        }
    }

    fn is_renamed(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let own = file.metadata()?;
        Ok(!std::fs::metadata(&self.path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())))
    }

    fn rest(&mut self, lines: &mut Vec<AccessLine>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.read += end as u64;
        let parsed = text[..end].split(|byte| *byte == b'\n');
        lines.extend(parsed.filter_map(|line| serde_json::from_slice(line).ok()));
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long a file is to the end of its last whole line.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir(crate::folder(home.path())).unwrap();
            Self(home)
        }

        fn path(&self) -> PathBuf {
            path_of(&crate::folder(self.0.path()))
        }

        fn append(&self, text: &str) {
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(self.path())
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn lines(&self, numbers: std::ops::Range<u64>) {
            numbers.for_each(|number| self.append(&line(number)));
        }

        fn rotate(&self) {
            for number in [2, 1] {
                let _ = std::fs::rename(
                    rotated(&self.path(), number),
                    rotated(&self.path(), number + 1),
                );
            }
            std::fs::rename(self.path(), rotated(&self.path(), 1)).unwrap();
        }

        fn tail(&self, most: usize) -> Vec<u64> {
            told(tail(self.0.path(), most, |_| true, |_| false).unwrap().0)
        }
    }

    fn line(number: u64) -> String {
        let line = AccessLine {
            total_us: number,
            // Longer than a block now and then.
            path: "x".repeat(if number.is_multiple_of(7) {
                200_000
            } else {
                30
            }),
            ..AccessLine::default()
        };
        serde_json::to_string(&line).unwrap() + "\n"
    }

    fn told(lines: Vec<AccessLine>) -> Vec<u64> {
        lines.into_iter().map(|line| line.total_us).collect()
    }

    #[test]
    fn the_newest_lines_come_from_as_many_files_as_it_takes() {
        let folder = Folder::new();
        assert!(folder.tail(10).is_empty());
        for start in [0, 10, 20] {
            folder.lines(start..start + 10);
            if start < 20 {
                folder.rotate();
            }
        }
        folder.append("no line\n{\"half");
        assert_eq!(folder.tail(5), [25, 26, 27, 28, 29]);
        assert_eq!(folder.tail(usize::MAX), (0..30).collect::<Vec<_>>());
        std::fs::rename(rotated(&folder.path(), 1), rotated(&folder.path(), 7)).unwrap();
        let all = (20..30).chain(0..10).chain(10..20);
        assert_eq!(
            folder.tail(usize::MAX).len(),
            all.count(),
            "a number is missing"
        );
        std::fs::rename(rotated(&folder.path(), 7), rotated(&folder.path(), 1)).unwrap();
        assert!(folder.tail(0).is_empty());
        let (even, _) = tail(folder.0.path(), 3, |line| line.total_us % 2 == 0, |_| false).unwrap();
        assert_eq!(told(even), [24, 26, 28]);
        let (late, _) = tail(folder.0.path(), 100, |_| true, |line| line.total_us < 17).unwrap();
        assert_eq!(told(late), (17..30).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_follows_misses_nothing_when_files_are_renamed() {
        let folder = Folder::new();
        let (_, mut follow) = tail(folder.0.path(), 0, |_| true, |_| false).unwrap();
        assert!(follow.more().unwrap().is_empty());
        folder.lines(0..2);
        assert_eq!(told(follow.more().unwrap()), [0, 1]);
        let text = line(2);
        let (half, rest) = text.split_at(20);
        folder.append(half);
        assert!(follow.more().unwrap().is_empty());
        folder.append(rest);
        folder.lines(3..5);
        folder.rotate();
        assert_eq!(told(follow.more().unwrap()), [2, 3, 4]);
        folder.lines(5..6);
        assert_eq!(told(follow.more().unwrap()), [5]);
        assert!(follow.more().unwrap().is_empty());
    }
}
