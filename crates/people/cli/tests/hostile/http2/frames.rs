//! Frames (RFC 9113 section 4.1), and header blocks of fields that are named in full (RFC 7541 section 6.2.2): any byte
//! can be said so.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// As much as every peer takes in one frame.
const LARGEST: usize = 16 * 1024;

pub type Field = (Vec<u8>, Vec<u8>);

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The frames of a header section.
pub fn section(stream: u32, fields: &[Field], ends: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    let mut pieces: Vec<&[u8]> = block.chunks(LARGEST).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let ended = if at == last { END_HEADERS } else { 0 };
        let stream_ends = if at == 0 && ends { END_STREAM } else { 0 };
        frame(kind, ended | stream_ends, stream, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// A string that is not packed (RFC 7541 section 5.2).
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut left = bytes.len();
    if left < 127 {
        out.push(u8::try_from(left).unwrap());
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend(bytes);
}

/// A frame that came.
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

/// The first frame of some bytes, and what is behind it.
pub fn first(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let head = bytes.get(..9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    let frame = Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload: bytes.get(9..9 + length)?,
    };
    Some((frame, &bytes[9 + length..]))
}
