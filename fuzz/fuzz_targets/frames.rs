//! What is followed while it goes by: websocket frames (RFC 6455 section 5.2), HTTP/2 frames (RFC 9113 section 4.1),
//! event streams and gRPC messages. However the bytes are cut, the borders are where a reader of the whole finds
//! them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ward_fuzz::parts;
use ward_gateway::fuzzing::{Websocket, flood, may_end};
use ward_types::table::Refusal;

fuzz_target!(|data: &[u8]| {
    let [which, size, input @ ..] = data else {
        return;
    };
    let size = usize::from(*size);
    match which % 4 {
        0 => websocket(input, size),
        1 => http2(input, size),
        2 => events(input, size),
        _ => messages(input, size),
    }
});

/// Where frames end, and whether that one closes.
fn websocket_frames(bytes: &[u8]) -> Vec<(usize, bool)> {
    let (mut ends, mut at) = (Vec::new(), 0_u64);
    loop {
        let rest = &bytes[at as usize..];
        let [first, second, after @ ..] = rest else {
            return ends;
        };
        let big = |count: usize| {
            let number = after.get(..count)?;
            Some(
                number
                    .iter()
                    .fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte)),
            )
        };
        let (extended, length) = match second & 0x7f {
            126 => (2, big(2)),
            127 => (8, big(8)),
            short => (0, Some(u64::from(short))),
        };
        let Some(length) = length else { return ends };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let end = u128::from(at) + 2 + extended + mask + u128::from(length);
        if end > bytes.len() as u128 {
            return ends;
        }
        at = end as u64;
        ends.push((at as usize, first & 0x0f == 8));
    }
}

fn websocket(input: &[u8], size: usize) {
    let frames = websocket_frames(input);
    let (mut own, mut at) = (Websocket::default(), 0);
    for part in parts(input, size) {
        let next = frames.iter().find(|(end, _)| *end > at);
        let rest = next.map_or(input.len(), |(end, _)| *end) - at;
        assert_eq!(own.rest_of_frame(&input[at..]), rest);
        own.pass(part);
        at += part.len();
        let border = frames.iter().any(|(end, _)| *end == at);
        assert_eq!(own.at_border(), border, "at {at}");
        let closed = frames.iter().any(|(end, closes)| *closes && *end <= at);
        assert_eq!(own.is_closed(), closed, "at {at}");
    }
}

/// The same frames over and over, so that they are many.
fn http2(input: &[u8], size: usize) {
    let Some((&times, frames)) = input.split_first() else {
        return;
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let times = (usize::from(times) * 64).min(64 * 1024 / frames.len().max(1));
    let all = [&preface[..], &frames.repeat(times)].concat();
    assert_eq!(flood(parts(&all, size)), flooded(&all, size));
    assert_eq!(flood(parts(input, size)), None, "it is not HTTP/2");
}

fn flooded(all: &[u8], size: usize) -> Option<(Refusal, usize)> {
    let (mut at, mut idle, mut resets) = (24, 0, 0);
    // The part in which each frame's head ends.
    let mut heads = Vec::new();
    while let Some([a, b, c, kind, ..]) = all.get(at..at + 9) {
        heads.push(((at + 8) / size.max(1), *kind));
        at += 9 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
    }
    let mut heads = heads.into_iter().peekable();
    while let Some((part, _)) = heads.peek().copied() {
        while let Some((_, kind)) = heads.next_if(|(own, _)| *own == part) {
            match kind {
                0 | 1 | 9 => {}
                3 => resets += 1,
                _ => idle += 1,
            }
        }
        match (idle > 2_000, resets > 400) {
            (true, _) => return Some((Refusal::Flood, part)),
            (_, true) => return Some((Refusal::Churn, part)),
            _ => {}
        }
    }
    None
}

fn events(input: &[u8], size: usize) {
    let ends = may_end(false, parts(input, size));
    assert_eq!(ends, may_end(false, parts(input, usize::MAX)));
    // After a blank line, or before anything was said.
    let line_end = |text: &[u8]| match text {
        [.., b'\r', b'\n'] => Some(text.len() - 2),
        [.., b'\r' | b'\n'] => Some(text.len() - 1),
        _ => None,
    };
    let expected = (1..=input.len()).filter(|end| {
        let text = &input[..*end];
        let blank = |text: &[u8]| {
            let before = line_end(text)?;
            (before == 0 || line_end(&text[..before]).is_some()).then_some(())
        };
        // A line feed belongs to the carriage return before it.
        let half = text.ends_with(b"\r\n") && blank(&text[..text.len() - 1]).is_some();
        blank(text).is_some() || half
    });
    assert_eq!(
        ends,
        expected.collect::<Vec<_>>(),
        "{}",
        input.escape_ascii()
    );
}

fn messages(input: &[u8], size: usize) {
    let (mut expected, mut at) = (Vec::new(), 0_usize);
    while let Some([_, a, b, c, d]) = input.get(at..at + 5) {
        at += 5 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if at > input.len() {
            break;
        }
        expected.push(at);
    }
    assert_eq!(may_end(true, parts(input, size)), expected);
}
