//! What a worker keeps at hand for the lean path: buffers that nobody uses, and the time in words.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Poll, ready};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::pipe::Pipe;
use crate::clock;

/// What a head is read into; what limits a head, and a body that comes with it.
const SIZE: usize = 16 * 1024;
/// What a long body is read into.
const LARGE: usize = 128 * 1024;
/// What heads are written into.
const HEAD: usize = 1024;
/// What heads of answers are read into, one behind the other, and the least room that one finds. A piece keeps all of it:
/// what is shorter than this does not stay in it.
const STRETCH: usize = 32 * 1024;
const SHORT: usize = STRETCH / 4;
const ROOM: usize = 8 * 1024;
const KEPT: usize = 64;
const LARGE_KEPT: usize = 4;
/// All workers together keep no more than there may be, on sixteen cores.
const PIPES_KEPT: usize = 2;

/// Buffers of one worker. A connection has one only while there is something in it.
#[derive(Default)]
pub(crate) struct Spare {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    heads: RefCell<Vec<Vec<u8>>>,
    stretch: RefCell<BytesMut>,
    pipes: RefCell<Vec<Pipe>>,
}

impl Spare {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.small.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(SIZE))
    }

    /// An empty buffer for a head.
    pub(crate) fn head(&self) -> Vec<u8> {
        let spare = self.heads.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(HEAD))
    }

    /// What `read` puts into some room, in a buffer that it shares with what was read before.
    pub(crate) fn read(
        &self,
        read: impl FnOnce(&mut BytesMut) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<Bytes>> {
        let mut stretch = self.stretch.borrow_mut();
        if stretch.capacity() < ROOM {
            *stretch = BytesMut::with_capacity(STRETCH);
        }
        ready!(read(&mut stretch))?;
        Poll::Ready(Ok(stretch.split().freeze()))
    }

    /// The end of what was read, from there on, for whoever keeps it for longer than this turn: a client that does not take it
    /// holds no more than it is counted for, or four times as much.
    pub(crate) fn keep(read: &Bytes, from: usize) -> Bytes {
        match read.get(from..) {
            Some(short) if short.len() < SHORT => Bytes::copy_from_slice(short),
            Some(long) => read.slice_ref(long),
            None => Bytes::new(),
        }
    }

    /// Takes a buffer back, and leaves one without room.
    pub(crate) fn put(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let (spare, kept) = match buffer.capacity() {
            // One that has grown to another size is not kept.
            SIZE => (&self.small, KEPT),
            LARGE => (&self.large, LARGE_KEPT),
            HEAD => (&self.heads, KEPT),
            _ => return,
        };
        let mut spare = spare.borrow_mut();
        if spare.len() < kept {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// An empty pipe, where there is one.
    pub(super) fn pipe(&self) -> Option<Pipe> {
        let spare = self.pipes.borrow_mut().pop();
        spare.or_else(Pipe::new)
    }

    /// Takes a pipe back; what holds something is closed.
    pub(super) fn put_pipe(&self, pipe: Pipe) {
        let mut spare = self.pipes.borrow_mut();
        if pipe.held() == 0 && spare.len() < PIPES_KEPT {
            spare.push(pipe);
        }
    }

    /// Gives an empty buffer more room.
    pub(super) fn enlarge(&self, buffer: &mut Vec<u8>) {
        if buffer.capacity() < LARGE {
            self.put(buffer);
            let spare = self.large.borrow_mut().pop();
            *buffer = spare.unwrap_or_else(|| Vec::with_capacity(LARGE));
        }
    }
}

/// The time as `Date` has it (RFC 9110 section 5.6.7), written once a second.
#[derive(Default)]
pub(crate) struct Dates {
    second: Cell<Option<u64>>,
    text: Cell<[u8; 29]>,
}

impl Dates {
    /// Now.
    pub(super) fn now(&self) -> [u8; 29] {
        let second = Some(clock::millis() / 1000);
        if self.second.replace(second) != second {
            let text = httpdate::fmt_http_date(SystemTime::now());
            if let Ok(text) = text.into_bytes().try_into() {
                self.text.set(text);
            }
        }
        self.text.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_only_of_their_sizes() {
        let spare = Spare::default();
        let mut buffer = spare.take();
        buffer.extend_from_slice(b"secret");
        let place = buffer.as_ptr();
        spare.put(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        let mut again = spare.take();
        assert!(again.is_empty() && again.as_ptr() == place);
        spare.enlarge(&mut again);
        assert!(again.capacity() >= LARGE);
        again.reserve_exact(2 * LARGE);
        spare.put(&mut again);
        assert!(spare.large.borrow().is_empty() && spare.small.borrow().len() == 1);
    }

    #[test]
    fn what_is_read_stays_as_it_is_and_shares_room() {
        let spare = Spare::default();
        let read = |text: &[u8]| {
            let polled = spare.read(|room| {
                room.extend_from_slice(text);
                Poll::Ready(Ok(text.len()))
            });
            match polled {
                Poll::Ready(Ok(read)) => read,
                other => panic!("{other:?}"),
            }
        };
        let (first, second) = (read(b"first"), read(b"second"));
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_eq!(first.as_ptr().wrapping_add(5), second.as_ptr());
        let much: Vec<Bytes> = (0..9).map(|_| read(&[7; ROOM])).collect();
        assert!(much.iter().all(|piece| piece[..] == [7; ROOM]));
        assert!(read(b"").is_empty());
        let long = read(&[7; SHORT + 1]);
        assert_eq!(Spare::keep(&long, 1).as_ptr(), long[1..].as_ptr());
        let short = Spare::keep(&long, 2);
        assert!(short[..] == long[2..] && short.as_ptr() != long[2..].as_ptr());
        assert!(Spare::keep(&long, long.len()).is_empty() && Spare::keep(&first, 9).is_empty());
        assert!(spare.read(|_| Poll::Pending).is_pending());
    }

    #[test]
    fn the_time_is_told() {
        let dates = Dates::default();
        let text = dates.now();
        let told = httpdate::parse_http_date(std::str::from_utf8(&text).unwrap()).unwrap();
        let off = SystemTime::now().duration_since(told).unwrap();
        assert!(off.as_secs() < 60, "{off:?}");
    }
}
