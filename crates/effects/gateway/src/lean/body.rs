//! How long an answer's body is, and what of the bytes that come belongs to it.

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Debug)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes are left.
    Length(u64),
    /// Its chunks say so.
    Chunked(Chunks),
    /// The end of the connection is its end.
    ToTheEnd,
}

/// The chunks cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Framing {
    /// Chunks, from the first one on.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks(Within::Size { size: 0, digits: 0 }))
    }

    /// Whether nothing more of it comes.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Empty | Self::Length(0) => true,
            Self::Chunked(chunks) => chunks.0 == Within::Nothing,
            Self::Length(_) | Self::ToTheEnd => false,
        }
    }

    /// How many bytes are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => None,
        }
    }

    /// So many bytes of a body whose length is told have gone by.
    pub(super) fn passed(&mut self, bytes: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes as u64);
        }
    }

    /// Gives the pieces of the body that are in these bytes, and how many of the bytes were used.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        piece: impl FnMut(&'a [u8]),
    ) -> Result<usize, Malformed> {
        self.take_all(bytes, piece, |_| {})
    }

    /// The same, with the bytes of the trailer section, its end included.
    pub(crate) fn take_all<'a>(
        &mut self,
        bytes: &'a [u8],
        mut piece: impl FnMut(&'a [u8]),
        trailer: impl FnMut(u8),
    ) -> Result<usize, Malformed> {
        match self {
            Self::Empty => Ok(0),
            Self::ToTheEnd => {
                piece(bytes);
                Ok(bytes.len())
            }
            Self::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                piece(&bytes[..taken]);
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.take(bytes, piece, trailer),
        }
    }
}

/// Where in a chunked body one is (RFC 9112 section 7.1).
#[derive(Debug)]
pub(crate) struct Chunks(Within);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A chunk's size.
    Size {
        size: u64,
        digits: u8,
    },
    /// What may stand behind it, so many bytes so far.
    Extension {
        size: u64,
        bytes: u16,
    },
    /// The line feed behind it.
    SizeEnd {
        size: u64,
    },
    /// A chunk's data.
    Data {
        left: u64,
    },
    /// The end of its data.
    DataReturn,
    DataEnd,
    /// The trailer section, of which so many bytes have been read; whether its line is empty.
    Trailer {
        bytes: u16,
        empty: bool,
    },
    TrailerEnd {
        bytes: u16,
        empty: bool,
    },
    /// It is over.
    Nothing,
}

/// What stands behind sizes, and trailers, may have so many bytes.
const ASIDE: u16 = 8 * 1024;

impl Chunks {
    fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        mut piece: impl FnMut(&'a [u8]),
        mut trailer: impl FnMut(u8),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.0 != Within::Nothing {
            if let Within::Data { left } = self.0 {
                let there = bytes.len() - at;
                let taken = usize::try_from(left).map_or(there, |left| left.min(there));
                piece(&bytes[at..at + taken]);
                at += taken;
                let left = left - taken as u64;
                self.0 = match left {
                    0 => Within::DataReturn,
                    left => Within::Data { left },
                };
                continue;
            }
            if let Within::Trailer { .. } | Within::TrailerEnd { .. } = self.0 {
                trailer(bytes[at]);
            }
            self.0 = self.0.after(bytes[at]).ok_or(Malformed)?;
            at += 1;
        }
        Ok(at)
    }
}

impl Within {
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { size, digits }, byte) if byte.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Self::SizeEnd { size },
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => {
                Self::Extension { size, bytes: 0 }
            }
            (Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Extension { size, bytes }, byte) if byte != b'\n' && bytes < ASIDE => {
                Self::Extension {
                    size,
                    bytes: bytes + 1,
                }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer {
                bytes: 0,
                empty: true,
            },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer { bytes, empty }, b'\r') => Self::TrailerEnd { bytes, empty },
            (Self::Trailer { bytes, .. }, byte) if byte != b'\n' && bytes < ASIDE => {
                Self::Trailer {
                    bytes: bytes + 1,
                    empty: false,
                }
            }
            (Self::TrailerEnd { empty: true, .. }, b'\n') => Self::Nothing,
            (
                Self::TrailerEnd {
                    bytes,
                    empty: false,
                },
                b'\n',
            ) => Self::Trailer { bytes, empty: true },
            _ => return None,
        })
    }
}

/// Writes a piece of a body as a chunk.
pub(crate) fn push_chunk(out: &mut Vec<u8>, piece: &[u8]) {
    if !piece.is_empty() {
        push_size(out, piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
}

/// What stands before the data of a chunk.
pub(crate) fn push_size(out: &mut Vec<u8>, size: usize) {
    use std::io::Write as _;
    // A vector takes whatever is written.
    let _ = write!(out, "{size:x}\r\n");
}

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(parts: &[&[u8]]) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut framing, mut body) = (Framing::chunked(), Vec::new());
        for part in parts {
            framing.take(part, |piece| body.extend_from_slice(piece))?;
        }
        Ok((body, framing.is_over()))
    }

    #[test]
    fn chunks_are_taken_apart() {
        let whole = b"5\r\nhello\r\n00A;x=\"y\"\r\n, world...\r\n0\r\nEtag: x\r\n\r\n";
        assert_eq!(taken(&[whole]), Ok((b"hello, world...".to_vec(), true)));
        assert_eq!(
            taken(&[b"5\r\nhello\r\n0\r\n"]),
            Ok((b"hello".to_vec(), false))
        );
        let mut framing = Framing::chunked();
        assert_eq!(
            framing.take(b"0\r\n\r\nHTTP", |_| {}),
            Ok(5),
            "what is next is not its own"
        );
    }

    #[test]
    fn what_no_two_would_read_alike_is_malformed() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b"5\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n",
            b"11111111111111111\r\n",
            b"5;\n",
            b"5\rx",
            b"0\r\nEtag: x\n",
        ] {
            assert_eq!(
                taken(&[bad]),
                Err(Malformed),
                "{:?}",
                bad.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn trailers_are_told_apart_from_the_data() {
        let whole = b"2\r\nhi\r\n0\r\nEtag: x\r\nA: b\r\n\r\nGET";
        for cut in 0..whole.len() {
            let (mut framing, mut body, mut trailers) = (Framing::chunked(), vec![], vec![]);
            let mut used = 0;
            for part in [&whole[..cut], &whole[cut..]] {
                let piece = |piece: &[u8]| body.extend_from_slice(piece);
                used += framing
                    .take_all(part, piece, |byte| trailers.push(byte))
                    .unwrap();
            }
            assert_eq!((&*body, used), (&b"hi"[..], whole.len() - 3), "{cut}");
            assert_eq!(trailers, b"Etag: x\r\nA: b\r\n\r\n");
        }
    }

    proptest! {
        #[test]
        fn wherever_the_bytes_are_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let mut sent = Vec::new();
            pieces.iter().for_each(|piece| push_chunk(&mut sent, piece));
            sent.extend_from_slice(LAST_CHUNK);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &sent[cut[0]..cut[1]]).collect();
            prop_assert_eq!(taken(&parts), Ok((pieces.concat(), true)));
        }
    }
}
