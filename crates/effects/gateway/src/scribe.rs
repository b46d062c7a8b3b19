//! Writes the access log: one thread that nobody waits for.
//!
//! Workers hand it batches of whole lines. A batch is one write to a file opened for appending, so that the
//! lines of two gateways, one of which replaces the other, stay whole beside each other. While it writes it
//! holds the file's lock: only so may a file that is long enough be renamed, and half a batch on a full disk be
//! taken away again. A lock that somebody sits on (a gateway that was stopped) is not waited for: then the
//! batch is appended without it, and nothing is renamed.
//!
//! What cannot be written is dropped and counted. Nothing that is served ever waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::access::{AccessLog, path_of, rotated};
use crate::tally::Tallies;

/// Batches that wait to be written; what comes on top is dropped. At 64 KiB a batch, 16 MiB.
const WAITING: usize = 256;
/// How long another gateway may have the file's lock.
const LOCKED_WITHIN: Duration = Duration::from_millis(500);
/// How often the file is opened anew because another gateway has just renamed it.
const RENAMED_AT_MOST: usize = 5;
/// How long the last batches may take at the end.
const LAST_WITHIN: Duration = Duration::from_secs(3);

/// Whole lines.
#[derive(Default)]
pub(crate) struct Batch {
    /// The lines, each with its end.
    pub(crate) text: Vec<u8>,
    /// How many.
    pub(crate) lines: u64,
}

enum Message {
    Batch(Batch),
    End,
}

/// Where workers put their batches. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    sender: SyncSender<Message>,
    /// Emptied buffers, to be filled again.
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    tallies: Arc<Tallies>,
}

impl Outbox {
    /// Hands a batch over, or drops it where too many wait already; an empty buffer in its place. Never waits.
    pub(crate) fn put(&self, batch: Batch) -> Vec<u8> {
        let sent = self.sender.try_send(Message::Batch(batch));
        if let Err(
            TrySendError::Full(Message::Batch(lost))
            | TrySendError::Disconnected(Message::Batch(lost)),
        ) = sent
        {
            self.tallies
                .dropped
                .fetch_add(lost.lines, Ordering::Relaxed);
            let mut text = lost.text;
            text.clear();
            return text;
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }
}

/// The thread.
pub(crate) struct Scribe {
    outbox: Outbox,
    ended: Receiver<()>,
}

impl Scribe {
    /// Starts it for the log in the gateway's folder.
    pub(crate) fn start(
        folder: &Path,
        log: &AccessLog,
        tallies: &Arc<Tallies>,
    ) -> io::Result<Self> {
        let (sender, batches) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let outbox = Outbox {
            sender,
            spare: Arc::default(),
            tallies: Arc::clone(tallies),
        };
        let (spare, tallies) = (Arc::clone(&outbox.spare), Arc::clone(tallies));
        let book = Book::new(folder, log);
        std::thread::Builder::new()
            .name("ward-access-log".to_owned())
            .spawn(move || {
                write_all(book, &batches, &spare, &tallies);
                let _ = end.send(());
            })?;
        Ok(Self { outbox, ended })
    }

    /// Where batches are put.
    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Waits until what was put there before is written, though not for a disk that hangs.
    pub(crate) fn finish(self) {
        let deadline = Instant::now() + LAST_WITHIN;
        let mut end = Message::End;
        while let Err(TrySendError::Full(again)) = self.outbox.sender.try_send(end) {
            if Instant::now() > deadline {
                return;
            }
            end = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.ended.recv_timeout(LAST_WITHIN);
    }
}

fn write_all(
    mut book: Book,
    batches: &Receiver<Message>,
    spare: &Mutex<Vec<Vec<u8>>>,
    tallies: &Tallies,
) {
    let mut failing = false;
    while let Ok(Message::Batch(mut batch)) = batches.recv() {
        let written = book.append(&batch.text);
        let count = match &written {
            Ok(()) => &tallies.lines,
            Err(_) => &tallies.dropped,
        };
        count.fetch_add(batch.lines, Ordering::Relaxed);
        match &written {
            Err(error) if !failing => {
                tracing::warn!(%error, path = %book.path.display(), "the access log loses lines");
            }
            Ok(()) if failing => tracing::info!("the access log is written again"),
            _ => {}
        }
        failing = written.is_err();
        batch.text.clear();
        let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as workers can fill at once; the rest was a burst.
        if spare.len() < 16 {
            spare.push(batch.text);
        }
    }
}

/// The file and those before it.
struct Book {
    path: PathBuf,
    bytes: u64,
    files: u32,
    file: Option<File>,
}

/// Whether nobody else renames or shortens the file meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Locked,
    Shared,
}

impl Book {
    fn new(folder: &Path, log: &AccessLog) -> Self {
        Self {
            path: path_of(folder),
            bytes: log.bytes,
            files: log.files,
            file: None,
        }
    }

    /// Appends whole lines, all or none of them.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let (mut file, mut hold) = self.held()?;
        let mut length = file.metadata()?.len();
        if hold == Hold::Locked && length > 0 && length + text.len() as u64 > self.bytes {
            self.rotate()?;
            // The lock of the old file goes with it.
            (file, hold) = self.held()?;
            length = file.metadata()?.len();
        }
        let written = write_whole(&mut file, text);
        if let Err((so_far, error)) = written {
            let is_ours = file
                .metadata()
                .is_ok_and(|now| now.len() == length + so_far);
            if so_far > 0 && hold == Hold::Locked && is_ours {
                let _ = file.set_len(length);
            }
            return Err(error);
        }
        if hold == Hold::Locked {
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
        }
        self.file = Some(file);
        Ok(())
    }

    /// The file that has the log's name, locked if that can be.
    fn held(&mut self) -> io::Result<(File, Hold)> {
        for _ in 0..RENAMED_AT_MOST {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.open()?,
            };
            let hold = lock(&file);
            if self.is_current(&file) {
                return Ok((file, hold));
            }
        }
        Ok((self.open()?, Hold::Shared))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&self.path)
    }

    fn is_current(&self, file: &File) -> bool {
        let identity = |metadata: io::Result<std::fs::Metadata>| {
            metadata.map(|found| (found.dev(), found.ino()))
        };
        let (own, named) = (
            identity(file.metadata()),
            identity(std::fs::metadata(&self.path)),
        );
        matches!((own, named), (Ok(own), Ok(named)) if own == named)
    }

    /// Each file takes the number after its own; the last one goes.
    fn rotate(&self) -> io::Result<()> {
        let last = self.files.max(1);
        for number in (1..last).rev() {
            match std::fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, rotated(&self.path, 1))?;
        // More were kept once.
        let mut beyond = last + 1;
        while std::fs::remove_file(rotated(&self.path, beyond)).is_ok() {
            beyond += 1;
        }
        Ok(())
    }
}

fn lock(file: &File) -> Hold {
    let deadline = Instant::now() + LOCKED_WITHIN;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Hold::Locked,
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(_) => return Hold::Shared,
        }
    }
}

/// How much was written, where not all was.
fn write_whole(file: &mut File, text: &[u8]) -> Result<(), (u64, io::Error)> {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return Err((written as u64, io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written as u64, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(bytes: u64, files: u32) -> AccessLog {
        AccessLog {
            bytes,
            files,
            ..AccessLog::default()
        }
    }

    #[test]
    fn two_that_write_at_once_lose_and_tear_nothing_while_files_are_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let log = small(40_000, 1000);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (folder, log) = (folder.path(), &log);
                scope.spawn(move || {
                    let mut book = Book::new(folder, log);
                    for batch in 0..200 {
                        let lines: String = (0..20)
                            .map(|line| format!("{writer} {batch} {line} {}\n", "x".repeat(40)))
                            .collect();
                        book.append(lines.as_bytes()).unwrap();
                    }
                });
            }
        });
        let mut seen = std::collections::BTreeSet::new();
        let mut files = 0;
        for item in std::fs::read_dir(folder.path()).unwrap() {
            let text = std::fs::read_to_string(item.unwrap().path()).unwrap();
            // Who does not get its turn with the lock appends to what is long enough already.
            assert!(text.len() <= 80_000, "{}", text.len());
            files += 1;
            for line in text.lines() {
                let parts: Vec<&str> = line.split(' ').collect();
                assert_eq!((parts.len(), parts[3].len()), (4, 40), "torn: {line}");
                assert!(seen.insert(line.to_owned()), "twice: {line}");
            }
        }
        assert_eq!(seen.len(), 4 * 200 * 20);
        assert!(files > 10, "{files}");
    }

    #[test]
    fn the_oldest_file_goes_and_all_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::new(folder.path(), &small(10, 2));
        for number in 0..6 {
            book.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        let path = path_of(folder.path());
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "line 5\n");
        assert_eq!(read(&rotated(&path, 1)), "line 4\n");
        assert_eq!(read(&rotated(&path, 2)), "line 3\n");
        assert!(!rotated(&path, 3).exists());
        let mut book = Book::new(folder.path(), &small(10, 1));
        book.append(b"line 6\n").unwrap();
        assert_eq!(read(&rotated(&path, 1)), "line 5\n");
        assert!(!rotated(&path, 2).exists(), "what is beyond goes too");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_lock_that_somebody_sits_on_is_not_waited_for_and_nothing_is_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::new(folder.path(), &small(10, 2));
        book.append(b"line 0\n").unwrap();
        let other = File::open(path_of(folder.path())).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        book.append(b"line 1\n").unwrap();
        assert!(!rotated(&path_of(folder.path()), 1).exists());
        drop(other);
        book.append(b"line 2\n").unwrap();
        let before = std::fs::read_to_string(rotated(&path_of(folder.path()), 1)).unwrap();
        assert_eq!(before, "line 0\nline 1\n");
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", path_of(folder.path())).unwrap();
        let tallies = Arc::default();
        let scribe = Scribe::start(folder.path(), &AccessLog::default(), &tallies).unwrap();
        for _ in 0..3 {
            let batch = Batch {
                text: b"line\nline\n".to_vec(),
                lines: 2,
            };
            scribe.outbox().put(batch);
        }
        scribe.finish();
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!((count(&tallies.lines), count(&tallies.dropped)), (0, 6));
    }

    #[test]
    fn what_cannot_wait_is_dropped_at_once() {
        let (sender, _batches) = sync_channel(1);
        let outbox = Outbox {
            sender,
            spare: Arc::default(),
            tallies: Arc::default(),
        };
        for _ in 0..3 {
            let batch = Batch {
                text: b"line\n".to_vec(),
                lines: 1,
            };
            assert!(outbox.put(batch).is_empty());
        }
        assert_eq!(outbox.tallies.dropped.load(Ordering::Relaxed), 2);
    }
}
