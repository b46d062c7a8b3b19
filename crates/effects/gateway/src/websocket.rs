//! Where one websocket frame ends and the next begins (RFC 6455 section 5.2). The gateway reads no more of
//! a websocket than that, so that a close frame of its own never lands inside another frame.

/// Close, 1012, "service restart".
pub(crate) const CLOSE_TO_CLIENT: [u8; 19] = *b"\x88\x11\x03\xf4service restart";
/// The same as a client sends it: masked, with a key of zeros.
pub(crate) const CLOSE_TO_INSTANCE: [u8; 23] = *b"\x88\x91\0\0\0\0\x03\xf4service restart";

/// The opcode of a close frame.
const CLOSE: u8 = 0x8;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct Borders {
    head: [u8; 14],
    read: usize,
    payload: u64,
    closed: bool,
}

impl Borders {
    /// Whether a new frame may begin here.
    pub(crate) fn at_border(&self) -> bool {
        self.read == 0 && self.payload == 0
    }

    /// Whether a close frame went by: nothing may follow it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// These bytes went by.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let step = self.step(bytes);
            bytes = &bytes[step..];
        }
    }

    /// How many of these bytes belong to the frame that is under way; all when it does not end in them.
    pub(crate) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        let mut ahead = Borders {
            head: self.head,
            ..*self
        };
        let mut passed = 0;
        while passed < bytes.len() {
            passed += ahead.step(&bytes[passed..]);
            if ahead.at_border() {
                break;
            }
        }
        passed
    }

    /// Goes over a part of `bytes` that does not cross a border.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let left = usize::try_from(self.payload).unwrap_or(usize::MAX);
            let step = left.min(bytes.len());
            self.payload -= step as u64;
            self.note_end();
            return step;
        }
        self.head[self.read] = bytes[0];
        self.read += 1;
        if self.read >= 2 && self.read == self.head_length() {
            self.payload = self.payload_length();
            self.read = 0;
            self.note_end();
        }
        1
    }

    fn note_end(&mut self) {
        self.closed |= self.payload == 0 && self.head[0] & 0x0f == CLOSE;
    }

    fn head_length(&self) -> usize {
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = match self.head[1] & 0x80 {
            0 => 0,
            _ => 4,
        };
        2 + extended + mask
    }

    fn payload_length(&self) -> u64 {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.head[1] & 0x7f {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: u8) -> Vec<u8> {
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(masked | length as u8),
            126..65536 => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked != 0 {
            frame.extend([1, 2, 3, 4]);
        }
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    #[test]
    fn borders_are_found_however_the_bytes_are_cut() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for masked in [0, 0x80] {
                let one = frame(length, masked);
                let two = [one.clone(), frame(3, masked)].concat();
                for piece in [1, 2, 3, 7, 4096, two.len()] {
                    let mut borders = Borders::default();
                    let mut passed = 0;
                    for bytes in two.chunks(piece) {
                        borders.pass(bytes);
                        passed += bytes.len();
                        let border = passed == one.len() || passed == two.len();
                        assert_eq!(borders.at_border(), border, "{length} {masked} {passed}");
                    }
                }
                let mut borders = Borders::default();
                borders.pass(&two[..1]);
                assert_eq!(borders.rest_of_frame(&two[1..]), one.len() - 1);
            }
        }
    }

    #[test]
    fn close_frames_are_whole() {
        for frame in [&CLOSE_TO_CLIENT[..], &CLOSE_TO_INSTANCE[..]] {
            let mut borders = Borders::default();
            assert_eq!(borders.rest_of_frame(frame), frame.len());
            borders.pass(&frame[..frame.len() - 1]);
            assert!(!borders.is_closed());
            borders.pass(&frame[frame.len() - 1..]);
            assert!(borders.at_border() && borders.is_closed());
        }
        let mut borders = Borders::default();
        borders.pass(&frame(70000, 0x80));
        assert!(!borders.is_closed());
        borders.pass(b"\x88\0");
        assert!(borders.is_closed());
    }

    #[test]
    fn the_rest_of_a_frame_at_a_border_is_the_next_frame() {
        let two = [frame(5, 0x80), frame(9, 0x80)].concat();
        assert_eq!(Borders::default().rest_of_frame(&two), 11);
        {}
    }
}
