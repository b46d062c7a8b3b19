//! Content on its way out: verified while it is delivered.
//!
//! The last piece of a blob is held back until the digest of all of it is known to be right. Where
//! it is wrong the stream ends in an error and the body stays short of its announced length, which
//! no HTTP client takes for a success. A part of a blob cannot be checked by itself; so before one is
//! delivered the whole blob is verified, once for as long as the stored object does not change.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::blobs::{Bytestream, Found};
use crate::digest::{ContentDigest, Hasher};
use crate::error::{Error, Result};

/// Bytes read, hashed and handed on at a time: large enough to make the hand-over cheap, small
/// enough to still be in the processor's cache when the socket takes them.
const PIECE: usize = 256 * 1024;

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
            };
            reader.into_stream().boxed()
        }
        Bytestream::Remote(bytes) => verify_stream(bytes, hasher, digest).boxed(),
    }
}

/// Some bytes of a blob that is known to be right.
pub(crate) fn part(found: Found, digest: &ContentDigest, range: Range<u64>) -> Verified {
    match found.bytes {
        Bytestream::File(file) => {
            let reader = FileReader {
                file,
                range,
                check: None,
                spare: Spare::default(),
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
}

impl FileReader {
    /// One piece is read ahead while the one before it is being sent.
    fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::unfold(Some(self.read_ahead()), async |ahead: Option<Ahead>| {
            let (reader, piece) = match ahead?.await {
                Ok(done) => done,
                Err(e) => return Some((Err(Error::ShuttingDown(e)), None)),
            };
            match piece {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reader.read_ahead()))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
    }

    fn read_ahead(mut self) -> Ahead {
        spawn_blocking(move || {
            let piece = self.next_piece();
            (self, piece)
        })
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return self.end().map(|()| None);
        }
        let bytes = self
            .read_piece()
            .map_err(|e| Error::file("read a blob in", std::path::Path::new("blobs"), e))?;
        if let Some((hasher, _)) = &mut self.check {
            hasher.update(&bytes);
        }
        if self.range.is_empty() {
            self.end()?;
        }
        Ok(Some(bytes))
    }

    fn read_piece(&mut self) -> io::Result<Bytes> {
        let left = self.range.end - self.range.start;
        let want = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = self.spare.take();
        // One buffer's length serves all pieces but the last, so that none is cleared twice.
        piece.bytes.resize(want, 0);
        self.file
            .read_exact_at(&mut piece.bytes, self.range.start)?;
        self.range.start += want as u64;
        Ok(Bytes::from_owner(piece))
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

type Ahead = JoinHandle<(FileReader, Result<Option<Bytes>>)>;

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
