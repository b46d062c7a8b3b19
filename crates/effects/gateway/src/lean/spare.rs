//! What a worker keeps at hand for the lean path: buffers that nobody uses, and the time in words.

use std::cell::{Cell, RefCell};
use std::time::SystemTime;

use crate::clock;

/// What a head is read into; what limits a head, and a body that comes with it.
const SIZE: usize = 16 * 1024;
/// What a long body is read into.
const LARGE: usize = 128 * 1024;
const KEPT: usize = 64;
const LARGE_KEPT: usize = 4;

/// Buffers of one worker. A connection has one only while there is something in it.
#[derive(Default)]
pub(crate) struct Spare {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl Spare {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.small.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(SIZE))
    }

    /// Takes a buffer back, and leaves one without room.
    pub(crate) fn put(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let (spare, kept) = match buffer.capacity() {
            // One that has grown to another size is not kept.
            SIZE => (&self.small, KEPT),
            LARGE => (&self.large, LARGE_KEPT),
            _ => return,
        };
        let mut spare = spare.borrow_mut();
        if spare.len() < kept {
            buffer.clear();
            spare.push(buffer);
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
    fn the_time_is_told() {
        let dates = Dates::default();
        let text = dates.now();
        let told = httpdate::parse_http_date(std::str::from_utf8(&text).unwrap()).unwrap();
        let off = SystemTime::now().duration_since(told).unwrap();
        assert!(off.as_secs() < 60, "{off:?}");
    }
}
