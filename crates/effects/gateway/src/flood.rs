//! Decision: an HTTP/2 client pays for frames that serve nothing with answers that it takes.
//!
//! Most of what floods an HTTP/2 server the h2 library bounds itself (0.4.20, read): CONTINUATION frames and
//! the size of a header section, empty and tiny DATA frames, resets of streams that nobody has accepted yet,
//! and errors that the server answers with a reset. What it answers or drops without counting is bounded
//! here, on the connection's bytes: the gateway follows the heads of the frames (RFC 9113 section 4.1) and
//! counts
//!
//! - **frames that serve nothing by themselves**: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, and types that
//!   nobody knows. A client that is sent much says so much, so each piece of an answer earns some;
//! - **requests that are taken back** (RST_STREAM). The instance has begun to work for them, so they are
//!   cheap for the client alone ("rapid reset", CVE-2023-44487). Each answer that is taken to its end earns
//!   one: who cancels as often as it listens is a client, and who only cancels is not.
//!
//! Time earns a little of both. Whoever has spent all is cut. A clock is only read when something was spent
//! that was not there, so that a connection that behaves costs a look at each frame's head.

use std::sync::atomic::{AtomicU32, Ordering};

use ward_types::table::Refusal;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

/// In a row, and each second.
const IDLE_FRAMES: (u32, u32) = (2_000, 200);
const RESETS: (u32, u32) = (400, 20);
/// What a piece of an answer earns, and each so many bytes of it. Some clients open their window again for
/// every 4 KiB that they read, that of the stream and that of the connection.
const PER_PIECE: u32 = 4;
const BYTES_EACH: usize = 1024;
/// What answers earn is no licence for later.
const MOST_SAVED: u32 = 50_000;

/// What the answers of a connection have earned and nobody has spent yet.
#[derive(Default)]
pub(crate) struct Earned {
    frames: AtomicU32,
    resets: AtomicU32,
}

impl Earned {
    /// A piece of an answer of so many bytes goes out.
    pub(crate) fn piece(&self, bytes: usize) {
        let more = PER_PIECE + u32::try_from(bytes / BYTES_EACH).unwrap_or(MOST_SAVED);
        // Bounded, and one thread writes: no need for the two to be one step.
        let now = self.frames.load(Ordering::Relaxed).saturating_add(more);
        self.frames.store(now.min(MOST_SAVED), Ordering::Relaxed);
    }

    /// An answer came to its end.
    pub(crate) fn answer(&self) {
        let now = self.resets.load(Ordering::Relaxed) + 1;
        self.resets.store(now.min(MOST_SAVED), Ordering::Relaxed);
    }
}

/// Follows the bytes that a client sends.
pub(crate) struct Guard {
    reading: Reading,
    frames: Purse,
    resets: Purse,
}

enum Reading {
    /// So many bytes of the preface were right.
    Preface(usize),
    Head([u8; HEAD], usize),
    Payload(usize),
    /// It is not HTTP/2.
    Other,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            reading: Reading::Preface(0),
            frames: Purse::new(IDLE_FRAMES),
            resets: Purse::new(RESETS),
        }
    }
}

impl Guard {
    /// These bytes came. What the connection is cut for, if it is. `now` is asked for milliseconds.
    pub(crate) fn pass(
        &mut self,
        mut bytes: &[u8],
        earned: &Earned,
        now: impl Fn() -> u64,
    ) -> Option<Refusal> {
        let (mut idle, mut resets) = (0, 0);
        while !bytes.is_empty() {
            let (step, frame) = self.step(bytes);
            bytes = &bytes[step..];
            match frame {
                Some(Kind::Idle) => idle += 1,
                Some(Kind::Reset) => resets += 1,
                Some(Kind::Useful) | None => {}
            }
        }
        if idle > 0 && !self.frames.spend(idle, &earned.frames, &now) {
            return Some(Refusal::Flood);
        }
        if resets > 0 && !self.resets.spend(resets, &earned.resets, &now) {
            return Some(Refusal::Churn);
        }
        None
    }

    /// Goes over a part of `bytes`, at the most to the end of a frame's head, and says what frame that is.
    fn step(&mut self, bytes: &[u8]) -> (usize, Option<Kind>) {
        match &mut self.reading {
            Reading::Other => (bytes.len(), None),
            Reading::Payload(left) => {
                let step = (*left).min(bytes.len());
                *left -= step;
                if *left == 0 {
                    self.reading = Reading::Head([0; HEAD], 0);
                }
                (step, None)
            }
            Reading::Preface(read) => {
                let step = bytes.len().min(PREFACE.len() - *read);
                let right = bytes[..step] == PREFACE[*read..*read + step];
                *read += step;
                if !right {
                    self.reading = Reading::Other;
                } else if *read == PREFACE.len() {
                    self.reading = Reading::Head([0; HEAD], 0);
                }
                (step, None)
            }
            Reading::Head(head, read) => {
                let step = bytes.len().min(HEAD - *read);
                head[*read..*read + step].copy_from_slice(&bytes[..step]);
                *read += step;
                if *read < HEAD {
                    return (step, None);
                }
                let kind = Kind::of(head);
                let length =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                self.reading = match length {
                    0 => Reading::Head([0; HEAD], 0),
                    length => Reading::Payload(length),
                };
                (step, Some(kind))
            }
        }
    }
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Useful,
    Idle,
    Reset,
}

impl Kind {
    fn of(head: &[u8; HEAD]) -> Self {
        match head[3] {
            // DATA, HEADERS and CONTINUATION are h2's to count.
            0x0 | 0x1 | 0x9 => Self::Useful,
            0x3 => Self::Reset,
            _ => Self::Idle,
        }
    }
}

/// What may be spent.
struct Purse {
    held: u32,
    most: u32,
    per_second: u32,
    /// When time last paid (milliseconds).
    paid: Option<u64>,
}

impl Purse {
    fn new((most, per_second): (u32, u32)) -> Self {
        Self {
            held: most,
            most,
            per_second,
            paid: None,
        }
    }

    fn spend(&mut self, cost: u32, earned: &AtomicU32, now: impl Fn() -> u64) -> bool {
        if self.held < cost {
            let earned = earned.swap(0, Ordering::Relaxed);
            self.held = self.held.saturating_add(earned).min(self.most.max(earned));
        }
        if self.held < cost {
            self.pay(now());
        }
        let left = self.held.checked_sub(cost);
        self.held = left.unwrap_or(0);
        left.is_some()
    }

    fn pay(&mut self, now: u64) {
        let Some(paid) = self.paid else {
            self.paid = Some(now);
            return;
        };
        let earned = now.saturating_sub(paid) * u64::from(self.per_second) / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX).min(self.most);
            self.held = self.held.saturating_add(earned);
            self.paid = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length, 0x6);
        frame
    }

    fn begun() -> Guard {
        let mut guard = Guard::default();
        assert!(guard.pass(PREFACE, &Earned::default(), || 0).is_none());
        guard
    }

    /// How many of these frames pass.
    fn passed(guard: &mut Guard, frame: &[u8], earned: &Earned, now: u64) -> u32 {
        let mut count = 0;
        while guard.pass(frame, earned, || now).is_none() {
            count += 1;
            assert!(count < 1_000_000, "there is no end");
        }
        count
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let all = [
            frame(0x6, 8),
            frame(0x0, 70_000),
            frame(0x3, 4),
            frame(0x1, 0),
        ]
        .concat();
        for piece in [1, 2, 7, 10, 1000, all.len()] {
            let mut guard = begun();
            for bytes in all.chunks(piece) {
                assert!(guard.pass(bytes, &Earned::default(), || 0).is_none());
            }
            let spent = (
                IDLE_FRAMES.0 - guard.frames.held,
                RESETS.0 - guard.resets.held,
            );
            assert_eq!(spent, (1, 1), "{piece}");
        }
    }

    #[test]
    fn floods_end_and_time_pays_a_little() {
        for (kind, length, (most, per_second)) in [
            (0x6, 8, IDLE_FRAMES),
            (0x4, 0, IDLE_FRAMES),
            (0x2, 5, IDLE_FRAMES),
            (0x8, 4, IDLE_FRAMES),
            (0xbb, 0, IDLE_FRAMES),
            (0x3, 4, RESETS),
        ] {
            let (mut guard, earned) = (begun(), Earned::default());
            let frame = frame(kind, length);
            assert_eq!(passed(&mut guard, &frame, &earned, 1000), most, "{kind}");
            assert_eq!(passed(&mut guard, &frame, &earned, 2000), per_second);
            assert_eq!(passed(&mut guard, &frame, &earned, 2000), 0);
        }
        let (mut guard, earned) = (begun(), Earned::default());
        let data = frame(0x0, 100);
        for _ in 0..100_000 {
            assert!(guard.pass(&data, &earned, || 0).is_none());
        }
    }

    #[test]
    fn whoever_takes_answers_may_say_so() {
        // 100 MB in pieces of 16 KiB, and two window updates for every 4 KiB.
        let (mut guard, earned) = (begun(), Earned::default());
        let updates = [frame(0x8, 4), frame(0x8, 4)].concat();
        for _ in 0..6_400 {
            earned.piece(16 * 1024);
            for _ in 0..4 {
                assert!(guard.pass(&updates, &earned, || 0).is_none());
            }
        }
        // A call with small messages, each answered by a ping and two window updates.
        let beside = [frame(0x6, 8), updates].concat();
        for _ in 0..10_000 {
            earned.piece(20);
            assert!(guard.pass(&beside, &earned, || 0).is_none());
        }
        // Every second request is taken back.
        let reset = frame(0x3, 4);
        for _ in 0..10_000 {
            earned.answer();
            assert!(guard.pass(&reset, &earned, || 0).is_none());
        }
    }

    #[test]
    fn another_protocol_is_left_alone() {
        let (mut guard, earned) = (Guard::default(), Earned::default());
        let request = b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n";
        for _ in 0..100_000 {
            assert!(guard.pass(request, &earned, || 0).is_none());
        }
        assert!(matches!(guard.reading, Reading::Other));
    }
}
