//! Content on its way out: verified while it is delivered.
//!
//! The last piece of a blob is held back until the digest of all of it is known to be right. Where
//! it is wrong the stream ends in an error and the body stays short of its announced length, which
//! no HTTP client takes for a success. A part of a blob cannot be checked by itself; so before one is
//! delivered the whole blob is verified. What was verified within the hour, and has not been written to
//! since, is delivered as it is: see `Registry::whole`.
//!
//! A piece that the kernel has in memory is read and hashed right where it is asked for: that takes
//! less than a tenth of a millisecond, and handing it to a thread and back would cost as much as reading
//! it. Only what has to come from the disk goes to a thread that may wait. Nothing else makes a reader of
//! memory wait, so it lets others have their turn by itself.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::spawn_blocking;

use crate::blobs::{Bytestream, Found};
use crate::digest::{ContentDigest, Hasher};
use crate::error::{Error, Result};

/// Bytes read, hashed and handed on at a time: large enough to make the hand-over cheap, small
/// enough to still be in the processor's cache when the socket takes them, and not to hold up others.
const PIECE: usize = 128 * 1024;
/// Pieces from memory in a row: a millisecond's worth, more on a processor without SHA instructions.
const IN_A_ROW: u32 = 8;

/// A stream of verified pieces.
pub(crate) type Verified = BoxStream<'static, Result<Bytes>>;

/// Every byte of a blob, the last of them only if the digest is right.
pub(crate) fn whole(found: Found, digest: ContentDigest) -> Verified {
    let hasher = Hasher::new(digest.algorithm());
    match found.bytes {
        Bytestream::File(file) => {
            let reader = FileReader {
                file,
                range: 0..found.size,
                check: Some((hasher, digest)),
                spare: Spare::default(),
                in_a_row: 0,
            };
            reader.into_stream().boxed()
        }
        Bytestream::Remote(bytes) => verify_stream(bytes, hasher, digest).boxed(),
    }
}

/// Some bytes, or all, of a blob that is known to be right.
pub(crate) fn part(found: Found, digest: &ContentDigest, range: Range<u64>) -> Verified {
    match found.bytes {
        Bytestream::File(file) => {
            let reader = FileReader {
                file,
                range,
                check: None,
                spare: Spare::default(),
                in_a_row: 0,
            };
            reader.into_stream().boxed()
        }
        Bytestream::Remote(bytes) => {
            let digest = digest.clone();
            cut(bytes, range)
                .map(move |piece| piece.map_err(|e| Error::store(&digest, e)))
                .boxed()
        }
    }
}

struct FileReader {
    file: File,
    range: Range<u64>,
    check: Option<(Hasher, ContentDigest)>,
    spare: Spare,
    in_a_row: u32,
}

impl FileReader {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::unfold(Some(self), async |reader| {
            let (reader, piece) = reader?.next_piece().await;
            let piece = piece.transpose()?;
            let goes_on = reader.filter(|_| piece.is_ok());
            Some((piece, goes_on))
        })
    }

    async fn next_piece(mut self) -> (Option<Self>, Result<Option<Bytes>>) {
        if self.range.is_empty() {
            let end = self.end().map(|()| None);
            return (None, end);
        }
        if self.in_a_row == IN_A_ROW {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let mut piece = self.empty_piece();
        if self.is_in_memory(&mut piece) {
            self.in_a_row += 1;
            let checked = self.check(piece);
            return (Some(self), checked);
        }
        self.in_a_row = 0;
        let read = spawn_blocking(move || {
            let read = self.file.read_exact_at(&mut piece.bytes, self.range.start);
            let checked = match read {
                Ok(()) => self.check(piece),
                Err(e) => Err(Error::file("read a blob in", Path::new("blobs"), e)),
            };
            (Some(self), checked)
        });
        let failed = |e| (None, Err(Error::ShuttingDown(e)));
        read.await.unwrap_or_else(failed)
    }

    fn empty_piece(&self) -> Piece {
        let left = self.range.end - self.range.start;
        let want = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = self.spare.take();
        // One buffer's length serves all pieces but the last, so that none is cleared twice.
        piece.bytes.resize(want, 0);
        piece
    }

    /// Fills the piece without waiting for the disk, if that can be done.
    fn is_in_memory(&self, piece: &mut Piece) -> bool {
        let want = piece.bytes.len();
        let into = &mut [IoSliceMut::new(&mut piece.bytes)];
        let read = preadv2(&self.file, into, self.range.start, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == want)
    }

    /// Counts a piece that was read, and compares the digest at the last one.
    fn check(&mut self, piece: Piece) -> Result<Option<Bytes>> {
        if let Some((hasher, _)) = &mut self.check {
            hasher.update(&piece.bytes);
        }
        self.range.start += piece.bytes.len() as u64;
        if self.range.is_empty() {
            self.end()?;
        }
        Ok(Some(Bytes::from_owner(piece)))
    }

    /// Asked for once, at the last byte: an empty blob has its only chance here too.
    fn end(&mut self) -> Result<()> {
        match self.check.take() {
            Some((hasher, digest)) => compare(hasher, digest),
            None => Ok(()),
        }
    }
}

/// The buffers of one stream. A piece that was sent gives its memory back for the next: asking the
/// allocator for each would cost as much as hashing it, in pages that the kernel clears.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn take(&self) -> Piece {
        let bytes = self.list().pop().unwrap_or_default();
        Piece {
            bytes,
            home: self.clone(),
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Piece {
    bytes: Vec<u8>,
    home: Spare,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.list().push(bytes);
    }
}

fn compare(hasher: Hasher, digest: ContentDigest) -> Result<()> {
    let actual = hasher.finish();
    if actual == digest {
        return Ok(());
    }
    tracing::error!(%digest, %actual, "the store holds damaged content");
    Err(Error::Damaged { digest, actual })
}

type Remote = BoxStream<'static, object_store::Result<Bytes>>;

/// Delivers each piece when the next has come, so that the last waits for the digest.
fn verify_stream(
    bytes: Remote,
    hasher: Hasher,
    digest: ContentDigest,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let start = Some((bytes, hasher, digest, None::<Bytes>));
    stream::unfold(start, async |state| {
        let (mut bytes, mut hasher, digest, mut held) = state?;
        loop {
            match bytes.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    if let Some(before) = held.replace(piece) {
                        return Some((Ok(before), Some((bytes, hasher, digest, held))));
                    }
                }
                Some(Err(e)) => return Some((Err(Error::store(&digest, e)), None)),
                None => {
                    let last = compare(hasher, digest).map(|()| held);
                    return last.transpose().map(|last| (last, None));
                }
            }
        }
    })
}

/// The bytes of `range` out of a stream of all of them.
fn cut(bytes: Remote, range: Range<u64>) -> impl Stream<Item = object_store::Result<Bytes>> + Send {
    let mut at = 0_u64;
    bytes
        .map(move |piece| {
            let mut piece = piece?;
            let (begin, end) = (at, at + piece.len() as u64);
            at = end;
            let from = range.start.clamp(begin, end) - begin;
            let to = range.end.clamp(begin, end) - begin;
            // Both are at most the length of a piece in memory.
            piece.truncate(usize::try_from(to).unwrap_or(usize::MAX));
            Ok(piece.split_off(usize::try_from(from).unwrap_or(0).min(piece.len())))
        })
        .filter(|piece| std::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use rustix::fs::{Advice, fadvise};

    use super::*;
    use crate::digest::Algorithm;

    fn found(file: &File, size: usize) -> Found {
        Found {
            size: size as u64,
            bytes: Bytestream::File(file.try_clone().unwrap()),
            stamp: None,
        }
    }

    async fn collected(pieces: Verified) -> Result<Vec<u8>> {
        let pieces: Vec<Bytes> = pieces.try_collect().await?;
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn from_memory_and_from_the_disk_alike() {
        let bytes: Vec<u8> = (0..PIECE * 5 + 77).map(|n| (n / 251) as u8).collect();
        let digest = ContentDigest::of(Algorithm::Sha256, &bytes);
        let wrong = ContentDigest::of(Algorithm::Sha256, b"something else");
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_all().unwrap();
        for in_memory in [bytes.len(), PIECE * 2, 0] {
            let forget_the_rest = || {
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
                file.read_exact_at(&mut vec![0; in_memory], 0).unwrap();
            };
            forget_the_rest();
            let all = whole(found(&file, bytes.len()), digest.clone());
            assert_eq!(collected(all).await.unwrap(), bytes);
            forget_the_rest();
            let mut all = whole(found(&file, bytes.len()), wrong.clone());
            let mut delivered = 0;
            let refused = loop {
                match all.next().await.unwrap() {
                    Ok(piece) => delivered += piece.len(),
                    Err(e) => break e,
                }
            };
            assert!(matches!(refused, Error::Damaged { .. }));
            assert_eq!(delivered, PIECE * 5, "the last piece is held back");
            assert!(all.next().await.is_none());
            forget_the_rest();
            let range = PIECE as u64 - 5..PIECE as u64 * 3 + 5;
            let some = part(found(&file, bytes.len()), &digest, range);
            assert_eq!(
                collected(some).await.unwrap(),
                bytes[PIECE - 5..PIECE * 3 + 5]
            );
        }
    }

    #[tokio::test]
    async fn others_have_their_turn_while_much_is_read_from_memory() {
        let bytes = vec![7; PIECE * IN_A_ROW as usize * 10];
        let digest = ContentDigest::of(Algorithm::Sha256, &bytes);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let turns = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let pieces = whole(found(&file, bytes.len()), digest);
        pieces.try_for_each(async |_| Ok(())).await.unwrap();
        other.abort();
        let turns = turns.load(std::sync::atomic::Ordering::Relaxed);
        assert!(turns >= 9, "the other task had {turns} turns");
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"short", 0).unwrap();
        let digest = ContentDigest::of(Algorithm::Sha256, b"short");
        assert!(collected(whole(found(&file, 9), digest)).await.is_err());
    }
}
