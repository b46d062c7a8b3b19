//! Mutations: a byte or a line of another case changed, once to three times, most often where the framing is.

use super::{Book, Good, Mutations, fill};
use crate::random::Random;

/// What is put in or in the place of something.
const BYTES: [u8; 16] = [
    b'\r', b'\n', b' ', b'\t', 0, b':', b';', b',', b'"', 0x0b, 0x0c, 0x85, 0xa0, 0xff, b'0', b'x',
];
/// Where a change is most likely to matter.
const WORDS: [&[u8]; 9] = [
    b"Transfer-Encoding",
    b"chunked",
    b"Content-Length",
    b"Host",
    b"HTTP/1.1",
    b"Connection",
    b"\r\n\r\n",
    b"\r\n0\r\n",
    b"GET /smuggled",
];
/// Bases that grammar alone makes only with one fault each.
const BASES: [&str; 6] = [
    "POST /c/@N HTTP/1.1\r\n@LContent-Length: 5\r\n\r\nhello@S",
    "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n@S",
    "POST /c/@N HTTP/1.1\r\n@LX: y\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nX: y\r\n\r\n@S",
    "GET /c/@N HTTP/1.1\r\n@LConnection: keep-alive\r\nCookie: a=b\r\n\r\n@S",
    "POST /c/@N HTTP/1.1\r\n@LContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n@S",
    "GET /c/@N HTTP/1.1\r\n@L\r\nPOST /c/@N/second HTTP/1.1\r\n@LContent-Length: 5\r\n\r\nhello@S",
];

pub fn write(book: &mut Book, mutations: Mutations) {
    let grammar = book.cases.len();
    for _ in 0..mutations.number {
        let id = book.cases.len();
        let mut random = Random::new(mutations.seed, id as u64);
        let mut bytes = match random.below(2) {
            0 => {
                let base = random.of(&BASES);
                fill(base, &book.host, id)
            }
            _ => renumbered(&book.cases[random.below(grammar)], id),
        };
        // Nobody sends what is large once more.
        bytes.truncate(4096);
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        let mut parts = vec![bytes];
        if random.below(8) == 0 && parts[0].len() > 2 {
            let at = 1 + random.below(parts[0].len() - 1);
            let rest = parts[0].split_off(at);
            parts.push(rest);
        }
        book.push("mutation", parts, Good::No);
    }
}

fn renumbered(case: &super::Case, id: usize) -> Vec<u8> {
    let (old, new) = (format!("{:05}", case.id), format!("{id:05}"));
    let mut bytes = case.bytes();
    for at in 0..bytes.len().saturating_sub(4) {
        if bytes[at] == b'/' && bytes[at + 1..].starts_with(old.as_bytes()) {
            bytes[at + 1..at + 6].copy_from_slice(new.as_bytes());
        }
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = place(bytes, random);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => {
            bytes.remove(at);
        }
        2 => bytes.insert(at, bytes[at]),
        3 => bytes[at] = *random.of(&BYTES),
        4 => double_line(bytes, at),
        5 => {
            let end = (at + 1 + random.below(4)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => bytes.insert(at, *random.of(&BYTES)),
    }
}

/// Somewhere, three times of four at the edge of a word of framing.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let word = *random.of(&WORDS);
    let found: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(word))
        .collect();
    if found.is_empty() || random.below(4) == 0 {
        return random.below(bytes.len());
    }
    let at = *random.of(&found);
    let at = match random.below(3) {
        0 => at,
        1 => at + word.len() + random.below(3),
        _ => at + random.below(word.len()),
    };
    at.min(bytes.len() - 1)
}

/// The line that this byte is in comes twice.
fn double_line(bytes: &mut Vec<u8>, at: usize) {
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n');
    let start = start.map_or(0, |start| start + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
    let end = end.map_or(bytes.len(), |end| at + end + 1);
    let line = bytes[start..end].to_vec();
    bytes.splice(start..start, line);
}
