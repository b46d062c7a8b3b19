//! Content on its way in: a file aside that grows while its digest is computed.
//!
//! Bytes are written first and hashed after, and only what was written counts: an upload that is
//! resumed goes on exactly behind the last byte that is in the file. Work goes to the blocking
//! threads one batch at a time, while the next batch is collected from the network; so a slow client
//! holds no thread, and an upload holds two batches of memory, whatever its size.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::ops::DerefMut;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rustix::fs::{Advice, fadvise};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::digest::{Algorithm, ContentDigest, Hasher};
use crate::error::{Error, Result};

/// Bytes collected before they are handed to a blocking thread.
const BATCH: usize = 512 * 1024;
/// Bytes after which the kernel is asked to begin writing to the disk. By itself it waits for half a
/// minute or gigabytes, and the fsync at the end of an upload would then wait for all of it.
const WRITE_BEHIND: u64 = 8 * 1024 * 1024;
/// How long a client may send nothing in the middle of a body.
const IDLE: Duration = Duration::from_secs(120);
/// What is still read from a client whose body is refused, so that it gets to see the answer.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How far an upload has come.
pub(crate) struct Progress {
    hasher: Hasher,
    pub(crate) written: u64,
}

impl Progress {
    pub(crate) fn nothing() -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            written: 0,
        }
    }

    /// How far the upload in this file had come, after a restart.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let (hasher, written) = hash_file(path, Algorithm::Sha256)?;
        Ok(Self { hasher, written })
    }

    /// The digest of the whole file, by the algorithm that the client chose at the end.
    pub(crate) fn digest(&self, path: &Path, algorithm: Algorithm) -> Result<ContentDigest> {
        match algorithm {
            Algorithm::Sha256 => Ok(self.hasher.clone().finish()),
            Algorithm::Sha512 => Ok(hash_file(path, algorithm)?.0.finish()),
        }
    }
}

fn hash_file(path: &Path, algorithm: Algorithm) -> Result<(Hasher, u64)> {
    let failed = |e| Error::file("read", path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok((hasher, total));
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
    }
}

/// A file that bytes are appended to. `P` owns the progress or holds its lock.
pub(crate) struct Sink<P> {
    file: File,
    path: PathBuf,
    /// Up to here the kernel was asked to write to the disk.
    behind: u64,
    pub(crate) progress: P,
}

impl<P: DerefMut<Target = Progress>> Sink<P> {
    /// A file that is not there yet.
    pub(crate) fn create(path: &Path, progress: P) -> Result<Self> {
        Self::open(
            OpenOptions::new().append(true).create_new(true),
            path,
            progress,
        )
    }

    /// A file that `progress` tells how far it has come.
    pub(crate) fn reopen(path: &Path, progress: P) -> Result<Self> {
        Self::open(OpenOptions::new().append(true), path, progress)
    }

    fn open(how: &OpenOptions, path: &Path, progress: P) -> Result<Self> {
        let file = how.open(path).map_err(|e| Error::file("open", path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            behind: progress.written,
            progress,
        })
    }

    /// Appends, and counts what was appended. After a failure the file is as long as before.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            self.file.set_len(self.progress.written)?;
            return Err(error);
        }
        self.progress.hasher.update(bytes);
        self.progress.written += bytes.len() as u64;
        self.write_behind();
        Ok(())
    }

    /// Linux begins to write a range to the disk when it is told that the range is no longer needed,
    /// and keeps what is not written yet; what follows the upload still finds it in memory.
    fn write_behind(&mut self) {
        let length = self.progress.written - self.behind;
        if let Some(length) = NonZeroU64::new(length).filter(|n| n.get() >= WRITE_BEHIND) {
            // Advice: where it is not taken the fsync at the end takes longer, and that is all.
            let _ = fadvise(&self.file, self.behind, Some(length), Advice::DontNeed);
            self.behind = self.progress.written;
        }
    }

    fn append_all(&mut self, batch: &[Bytes]) -> Result<()> {
        batch
            .iter()
            .try_for_each(|bytes| self.append(bytes))
            .map_err(|e| Error::file("write", &self.path, e))
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|e| Error::file("write to disk", &self.path, e))
    }
}

/// A body that broke off.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The sink is at hand, or a blocking thread has it.
enum Hand<S> {
    Free(S),
    Busy(JoinHandle<(S, Result<()>)>),
}

impl<P> Hand<Sink<P>>
where
    P: DerefMut<Target = Progress> + Send + 'static,
{
    async fn take(self) -> (Option<Sink<P>>, Result<()>) {
        match self {
            Self::Free(sink) => (Some(sink), Ok(())),
            Self::Busy(task) => match task.await {
                Ok((sink, outcome)) => (Some(sink), outcome),
                Err(e) => (None, Err(Error::ShuttingDown(e))),
            },
        }
    }

    fn give(mut sink: Sink<P>, batch: Vec<Bytes>) -> Self {
        Self::Busy(spawn_blocking(move || {
            let outcome = sink.append_all(&batch);
            (sink, outcome)
        }))
    }
}

/// Appends a body to a sink. What arrived before a failure stays in the file, and counts.
///
/// Dropping the future (a client that is gone) loses at most the batch being collected: the blocking
/// thread ends its own, and gives up the lock on the progress after that.
///
/// # Errors
/// [`Error::BodyCut`] when the body breaks off or stalls, [`Error::DiskFull`] or [`Error::File`] when
/// it cannot be written.
pub(crate) async fn ingest<P, B, E>(sink: Sink<P>, mut body: B) -> Result<Sink<P>>
where
    P: DerefMut<Target = Progress> + Send + 'static,
    B: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    E: Into<Broken>,
{
    let before = sink.progress.written;
    let mut hand = Hand::Free(sink);
    loop {
        let (batch, end) = collect_batch(&mut body).await;
        let (sink, outcome) = hand.take().await;
        if outcome.is_err() {
            drain(&mut body).await;
        }
        outcome?;
        let Some(sink) = sink else { unreachable_sink() };
        hand = Hand::give(sink, batch);
        let Some(end) = end else { continue };
        let (sink, outcome) = hand.take().await;
        outcome?;
        let Some(sink) = sink else { unreachable_sink() };
        return match end {
            Ok(()) => Ok(sink),
            Err(source) => Err(Error::BodyCut {
                received: sink.progress.written - before,
                source,
            }),
        };
    }
}

/// `Hand::take` gives the sink back whenever it reports success.
fn unreachable_sink() -> ! {
    unreachable!("a write that succeeded gives its sink back")
}

/// What comes until a batch is full or the body ends; `Some` tells how it ended.
async fn collect_batch<B, E>(body: &mut B) -> (Vec<Bytes>, Option<std::result::Result<(), Broken>>)
where
    B: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    E: Into<Broken>,
{
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        match tokio::time::timeout(IDLE, body.next()).await {
            Ok(Some(Ok(bytes))) => {
                size += bytes.len();
                batch.push(bytes);
            }
            Ok(Some(Err(e))) => return (batch, Some(Err(e.into()))),
            Ok(None) => return (batch, Some(Ok(()))),
            Err(elapsed) => return (batch, Some(Err(elapsed.into()))),
        }
    }
    (batch, None)
}

async fn drain<B, E>(body: &mut B)
where
    B: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
{
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(bytes)) = body.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    // A client that goes on for longer loses the answer; it cannot hold the request for ever.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
