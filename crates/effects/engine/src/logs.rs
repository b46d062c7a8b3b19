//! Reading and following the files that keepers write output to.
//!
//! A file is `logs/STACK/ENVIRONMENT/COMPONENT/RELEASE/INSTANCE.log`, each line `UNIX_MILLIS o|e TEXT`;
//! when it has grown it becomes `INSTANCE.log.1`. Only whole lines are read. Following looks at the files
//! ten times a second: that finds new instances and renamed files without a watch on each folder.

mod collect;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use ward_types::id::{InstanceId, Name, ReleaseId};
use ward_types::time::Timestamp;
use ward_types::view::LogLine;

use crate::error::{Error, file};
use crate::folder::subfolders;

pub(crate) use collect::collect;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What [`tail`] reads at most of a file, in bytes.
const TAIL: u64 = 128 * 1024;

/// The most lines that [`LogFollow::next`] gives at once.
const BATCH: usize = 1000;

/// Which output is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Of these services and databases; empty: of all.
    pub components: BTreeSet<Name>,
    /// Of instances of this release.
    pub release: Option<ReleaseId>,
    /// Of these instances; `None`: of all.
    pub instances: Option<BTreeSet<InstanceId>>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Only so many of the last lines (before following begins).
    pub tail: Option<usize>,
}

/// Output as it comes. Dropping it ends the following.
#[derive(Debug)]
pub struct LogFollow {
    lines: mpsc::Receiver<Result<Vec<LogLine>, Error>>,
}

impl LogFollow {
    pub(crate) fn new(folder: PathBuf, query: LogQuery) -> Self {
        let (sender, lines) = mpsc::channel(1);
        tokio::spawn(follow(LogReader::new(folder, query), sender));
        Self { lines }
    }

    /// The next lines, at least one and at most a thousand; waits for them. What is there already comes first,
    /// ordered by time, then what follows. May be dropped and called again without losing a line.
    ///
    /// # Errors
    /// [`Error::File`] once, when the logs cannot be read; `None` after it.
    pub async fn next(&mut self) -> Option<Result<Vec<LogLine>, Error>> {
        self.lines.recv().await
    }
}

async fn follow(mut files: LogReader, sender: mpsc::Sender<Result<Vec<LogLine>, Error>>) {
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let lines = files.look();
            (files, lines)
        });
        // A task that panicked or a runtime that ends: nothing more will come.
        let Ok((returned, lines)) = looked.await else {
            return;
        };
        files = returned;
        let lines = match lines {
            Ok(lines) => lines,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        for batch in lines.chunks(BATCH) {
            if sender.send(Ok(batch.to_vec())).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = sender.closed() => return,
        }
    }
}

/// What is there now, oldest first.
pub(crate) fn read(folder: &Path, query: &LogQuery) -> Result<Vec<LogLine>, Error> {
    LogReader::new(folder.to_owned(), query.clone()).look()
}

/// The output of an environment, read up to a point. It reads files, and blocks meanwhile.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    query: LogQuery,
    open: BTreeMap<PathBuf, Reading>,
    looks: u64,
}

impl LogReader {
    pub(crate) fn new(folder: PathBuf, query: LogQuery) -> Self {
        let open = BTreeMap::new();
        Self {
            folder,
            query,
            open,
            looks: 0,
        }
    }

    /// The lines that came since the last look, ordered by time; at the first look as the query says.
    ///
    /// # Errors
    /// [`Error::File`] when the files cannot be read.
    pub fn look(&mut self) -> Result<Vec<LogLine>, Error> {
        let mut lines = Vec::new();
        for (path, id) in self.wanted()? {
            let reading = match self.open.entry(path.clone()) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => match Reading::open(&path, id) {
                    // Collected since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    opened => new.insert(opened.map_err(file("read", &path))?),
                },
            };
            reading
                .more(&path, &mut lines)
                .map_err(file("read", &path))?;
        }
        if let Some(since) = self.query.since {
            lines.retain(|line| line.at >= since);
        }
        // Stable: lines of one instance and one millisecond stay in their order.
        lines.sort_by_key(|line| line.at);
        if let (0, Some(tail)) = (self.looks, self.query.tail) {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        self.looks += 1;
        Ok(lines)
    }

    fn wanted(&self) -> Result<Vec<(PathBuf, InstanceId)>, Error> {
        let mut wanted = Vec::new();
        for component in subfolders(&self.folder)? {
            let name = Name::parse(&text_of(&component));
            if !name.is_ok_and(|name| self.wants_component(&name)) {
                continue;
            }
            for release in subfolders(&component)? {
                if self.wants_release(&text_of(&release)) {
                    self.wanted_in(&release, &mut wanted)?;
                }
            }
        }
        Ok(wanted)
    }

    fn wants_component(&self, name: &Name) -> bool {
        self.query.components.is_empty() || self.query.components.contains(name)
    }

    fn wants_release(&self, text: &str) -> bool {
        self.query
            .release
            .is_none_or(|release| release.to_string() == text)
    }

    fn wanted_in(
        &self,
        release: &Path,
        wanted: &mut Vec<(PathBuf, InstanceId)>,
    ) -> Result<(), Error> {
        let entries = match fs::read_dir(release) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(file("read", release))?,
        };
        for entry in entries {
            let path = entry.map_err(file("read", release))?.path();
            let name = text_of(&path);
            let Some(Ok(id)) = name.strip_suffix(".log").map(InstanceId::parse) else {
                continue;
            };
            let only = self.query.instances.as_ref();
            if only.is_none_or(|only| only.contains(&id)) {
                wanted.push((path, id));
            }
        }
        Ok(())
    }
}

/// One instance's file, read up to a point.
#[derive(Debug)]
struct Reading {
    id: InstanceId,
    file: File,
    inode: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
    /// What the file before this one held, until it is told.
    before: Vec<u8>,
}

impl Reading {
    fn open(path: &Path, id: InstanceId) -> io::Result<Self> {
        // The older file first: when it is replaced in between, lines are missing and none comes twice.
        let before = fs::read(rotated(path)).unwrap_or_default();
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            id,
            file,
            inode,
            begun: Vec::new(),
            before,
        })
    }

    fn more(&mut self, path: &Path, lines: &mut Vec<LogLine>) -> io::Result<()> {
        if !self.before.is_empty() {
            let before = std::mem::take(&mut self.before);
            self.parse(before, lines);
            self.begun.clear();
        }
        self.rest(lines)?;
        if let Ok(now) = fs::metadata(path)
            && now.ino() != self.inode
        {
            // Renamed meanwhile: what was still written to it, then the new one.
            self.rest(lines)?;
            self.begun.clear();
            self.file = File::open(path)?;
            self.inode = self.file.metadata()?.ino();
            self.rest(lines)?;
        }
        Ok(())
    }

    fn rest(&mut self, lines: &mut Vec<LogLine>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.begun);
        self.file.read_to_end(&mut bytes)?;
        self.parse(bytes, lines);
        Ok(())
    }

    fn parse(&mut self, mut bytes: Vec<u8>, lines: &mut Vec<LogLine>) {
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.begun = bytes.split_off(whole);
        let texts = bytes.split(|byte| *byte == b'\n');
        lines.extend(texts.filter_map(|text| line(&self.id, text)));
    }
}

/// A line of a log file; `None` for what is none.
fn line(id: &InstanceId, bytes: &[u8]) -> Option<LogLine> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, ' ');
    let at = Timestamp(parts.next()?.parse().ok()?);
    let stream = parts
        .next()
        .filter(|stream| matches!(*stream, "o" | "e"))?
        .to_owned();
    let text = parts.next().unwrap_or("").to_owned();
    Some(LogLine {
        at,
        instance: id.clone(),
        stream,
        text,
    })
}

/// The texts of the last `lines` lines of a log file and the one before it.
pub(crate) fn tail(path: &Path, lines: usize) -> Vec<String> {
    let mut texts = last_texts(path);
    if texts.len() < lines {
        let mut earlier = last_texts(&rotated(path));
        earlier.append(&mut texts);
        texts = earlier;
    }
    texts.split_off(texts.len().saturating_sub(lines))
}

fn last_texts(path: &Path) -> Vec<String> {
    let end = end_of(path).unwrap_or_default();
    let end = String::from_utf8_lossy(&end);
    let text = |line: &str| Some(line.splitn(3, ' ').nth(2)?.to_owned());
    end.lines().filter_map(text).collect()
}

/// The last bytes of a file, from the beginning of a line.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    if start > 0 {
        let first = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.drain(..first);
    }
    Ok(bytes)
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn text_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
