//! Where a long answer may end without an event or a message cut in two.

/// Follows an answer, and tells where in it it may end.
#[derive(Debug)]
pub(crate) enum Marks {
    /// Server-sent events: after a blank line (HTML Living Standard, section 9.2.5).
    Events {
        /// Bytes since the last end of a line.
        line: u64,
        /// Whether the last byte was a carriage return, whose line feed may follow.
        returned: bool,
        /// Whether an event has begun.
        begun: bool,
    },
    /// gRPC messages: a byte, their length in four, and so many bytes (gRPC over HTTP/2).
    Messages {
        /// The head of the message that is under way, so far.
        head: [u8; 5],
        /// How much of it has been read.
        read: usize,
        /// What is left of the message.
        payload: u64,
    },
    /// Nothing is known, because it is compressed: anywhere.
    Anywhere,
}

impl Marks {
    /// Of an event stream that has not begun.
    pub(crate) const EVENTS: Self = Self::Events {
        line: 0,
        returned: false,
        begun: false,
    };
    /// Of a gRPC call's answer that has not begun.
    pub(crate) const MESSAGES: Self = Self::Messages {
        head: [0; 5],
        read: 0,
        payload: 0,
    };

    /// Whether it may end here.
    pub(crate) fn may_end(&self) -> bool {
        match self {
            Self::Events { begun, .. } => !begun,
            Self::Messages { read, payload, .. } => *read == 0 && *payload == 0,
            Self::Anywhere => true,
        }
    }

    /// These bytes went by.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        self.walk(bytes, |_| false);
    }

    /// How many of these bytes go by until it may end; `None`: it may not end in them. They have gone by.
    pub(crate) fn pass_to_end(&mut self, bytes: &[u8]) -> Option<usize> {
        self.walk(bytes, Self::may_end)
    }

    fn walk(&mut self, bytes: &[u8], stops: impl Fn(&Self) -> bool) -> Option<usize> {
        let mut passed = 0;
        while passed < bytes.len() {
            passed += self.step(&bytes[passed..]);
            if stops(self) {
                return Some(passed);
            }
        }
        None
    }

    /// Goes over a part of `bytes`, at least one, that does not cross a place where it may end.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Events {
                line,
                returned,
                begun,
            } => {
                let byte = bytes[0];
                let second_half = byte == b'\n' && *returned;
                *returned = byte == b'\r';
                if second_half {
                    return 1;
                }
                if !matches!(byte, b'\r' | b'\n') {
                    (*line, *begun) = (*line + 1, true);
                    return 1;
                }
                *begun &= *line > 0;
                *line = 0;
                1
            }
            Self::Messages {
                head,
                read,
                payload,
            } => {
                if *payload > 0 {
                    let left = usize::try_from(*payload).unwrap_or(usize::MAX);
                    let step = left.min(bytes.len());
                    *payload -= step as u64;
                    return step;
                }
                head[*read] = bytes[0];
                *read += 1;
                if *read == head.len() {
                    let [_, length @ ..] = *head;
                    (*read, *payload) = (0, u64::from(u32::from_be_bytes(length)));
                }
                1
            }
            Self::Anywhere => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All places where it may end, however the bytes are cut.
    fn ends(mut marks: Marks, bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut passed = 0;
        for mut chunk in bytes.chunks(piece) {
            while let Some(end) = marks.pass_to_end(chunk) {
                assert!(marks.may_end());
                passed += end;
                ends.push(passed);
                chunk = &chunk[end..];
            }
            passed += chunk.len();
        }
        assert_eq!(passed, bytes.len());
        ends
    }

    #[test]
    fn events_end_at_blank_lines() {
        for (text, expected) in [
            ("data: 1\n\ndata: 2\n\n", vec![9, 18]),
            ("data: 1\r\rdata: 2\r\r", vec![9, 18]),
            ("id: 1\r\ndata: 1\r\n\r\ndata: 2", vec![17, 18]),
            ("data: 1\ndata: 2\n", vec![]),
            (": a comment that keeps it open\n\n", vec![32]),
        ] {
            for piece in [1, 2, 3, 100] {
                assert_eq!(
                    ends(Marks::EVENTS, text.as_bytes(), piece),
                    expected,
                    "{text:?} {piece}"
                );
            }
        }
        assert!(Marks::EVENTS.may_end());
    }

    #[test]
    fn messages_end_after_their_length() {
        let bytes = [&b"\0\0\0\0\x03abc"[..], b"\x01\0\0\0\0", b"\0\0\0\0\x02x"].concat();
        for piece in [1, 2, 3, 100] {
            assert_eq!(ends(Marks::MESSAGES, &bytes, piece), [8, 13], "{piece}");
        }
        assert!(Marks::MESSAGES.may_end());
    }
}
