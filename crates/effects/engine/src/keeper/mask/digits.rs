//! Hexadecimal digits in pairs, with something between them: what dumps, fingerprints and literals of arrays are.
//!
//! Decision: the digits are read alone, and looked through for the same values as digits without anything between them. So
//! it does not matter what stands there, and the automaton has no further forms of each value. That is done only where so
//! many pairs stand together that they could be a value, so that other text costs nothing but a look at a byte in twenty.

use std::ops::Range;

use ward_types::secrets::SHORTEST_MASKED;
use zeroize::Zeroize as _;

use super::view::{View, runs};

/// The fewest pairs that can be a value; and those of a line that may go on in the next one.
const LEAST: usize = SHORTEST_MASKED;
/// The fewest bytes that so many pairs have with one byte between them.
const SHORTEST: usize = 3 * LEAST - 1;
/// The most bytes between two pairs: a line of a dump ends there, and the next one is indented.
const BETWEEN: usize = 24;
/// What is taken at the end of a text of what may have begun there: more than so few pairs have that do not count yet.
const BEGUN: usize = LEAST * (BETWEEN + 8);
/// The most backslashes before an `x`: where a text was escaped once more each is written as two.
pub(super) const ESCAPES: usize = 2;

/// The digits of a text that stand in pairs; `None` where there are too few.
pub(super) fn read(text: &[u8]) -> Option<View<'_>> {
    let mut digits = Digits {
        text,
        bytes: Vec::new(),
        places: Vec::new(),
        cut: text.len(),
    };
    let mut done = 0;
    for run in runs(text, SHORTEST, is_part) {
        if are_pairs(&text[run.clone()]) {
            done = run.end;
            digits.take(run);
        }
    }
    // What may go on: however little it is by now.
    let rest = text[done..].iter().rev().take(BEGUN);
    let rest = rest.take_while(|byte| is_part(**byte)).count();
    if rest > 0 {
        digits.take(text.len() - rest..text.len());
    }
    let Digits {
        mut bytes,
        places,
        cut,
        ..
    } = digits;
    if bytes.is_empty() && cut == text.len() {
        bytes.zeroize();
        return None;
    }
    Some(View::of(text, bytes, places, cut))
}

/// Whether a byte can be of a pair, or between two.
fn is_part(byte: u8) -> bool {
    const PARTS: [bool; 256] = {
        let mut parts = [false; 256];
        let all = b"0123456789abcdefABCDEFxX\\ \t:,;-\r\n";
        let mut at = 0;
        while at < all.len() {
            parts[all[at] as usize] = true;
            at += 1;
        }
        parts
    };
    PARTS[usize::from(byte)]
}

/// Whether so many groups of digits that follow each other are pairs that they could be a value. Columns of numbers are
/// none, and found out at once.
fn are_pairs(part: &[u8]) -> bool {
    let mut pairs = 0;
    part.split(|byte| !byte.is_ascii_hexdigit()).any(|group| {
        pairs = match group.len() {
            2 => pairs + 1,
            // Between two bytes that are no digits; what announces a pair.
            0 => pairs,
            1 if group == b"0" => pairs,
            _ => 0,
        };
        pairs >= LEAST
    })
}

struct Digits<'a> {
    text: &'a [u8],
    bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
    /// Where a pair begins whose end is still to come.
    cut: usize,
}

/// What stands at a place where a pair may begin.
enum Pair {
    /// The place of its digits, behind what announces them.
    At(usize),
    /// So many bytes that are no pair.
    None(usize),
    /// The beginning of one whose end is still to come.
    Cut,
}

impl Digits<'_> {
    /// Takes the pairs of a part of the text that has nothing else in it.
    fn take(&mut self, part: Range<usize>) {
        // Once, so that nothing is left behind where it grows.
        let room = self.text.len().saturating_sub(self.bytes.len());
        self.bytes.reserve(room);
        // Pairs that stand together, and those of them in this line.
        let (mut from, mut in_line) = (self.bytes.len(), 0);
        let mut at = part.start;
        while at < part.end {
            match self.pair(at) {
                Pair::At(first) => {
                    self.push(first);
                    self.push(first + 1);
                    in_line += 1;
                    at = first + 2;
                    match self.between(at, in_line) {
                        Some((length, Line::Same)) => at += length,
                        Some((length, Line::Next)) => (at, in_line) = (at + length, 0),
                        None => (from, in_line) = (self.end(from, at), 0),
                    }
                }
                Pair::None(length) => {
                    (from, in_line) = (self.end(from, at), 0);
                    at += length;
                }
                Pair::Cut => {
                    self.cut = at;
                    return;
                }
            }
        }
        if part.end < self.text.len() {
            self.end(from, part.end);
        }
    }

    fn push(&mut self, at: usize) {
        self.bytes.push(self.text[at]);
        self.places.push((at, at + 1));
    }

    /// Ends what stands together, which is left out where it is too short. From where the next one begins.
    fn end(&mut self, from: usize, at: usize) -> usize {
        match self.bytes.len() - from {
            0 => return from,
            few if few < 2 * LEAST => {
                self.bytes.truncate(from);
                self.places.truncate(from);
            }
            _ => {
                // In no form, so that nothing is found across it.
                self.bytes.push(b'\n');
                self.places.push((at, at));
            }
        }
        self.bytes.len()
    }

    fn pair(&self, at: usize) -> Pair {
        let rest = &self.text[at..];
        let announced = match rest {
            [b'0', b'x' | b'X', ..] => 2,
            [b'\\', ..] => {
                let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
                match rest.get(escapes) {
                    Some(b'x') => escapes + 1,
                    None if escapes <= ESCAPES => return Pair::Cut,
                    _ => return Pair::None(escapes),
                }
            }
            _ => 0,
        };
        let digits = rest.iter().skip(announced);
        let digits = digits.take_while(|byte| byte.is_ascii_hexdigit()).count();
        match digits {
            2 => Pair::At(at + announced),
            0 | 1 if announced + digits == rest.len() => Pair::Cut,
            // One byte at least: of what may stand between two pairs, or of what is no digit.
            _ => Pair::None((announced + digits).max(1)),
        }
    }

    /// How much stands behind a pair and before what may be the next one.
    fn between(&self, at: usize, in_line: usize) -> Option<(usize, Line)> {
        let mut line = Line::Same;
        let rest = self.text.get(at..).unwrap_or_default();
        for (length, byte) in rest.iter().enumerate() {
            match byte {
                _ if length > BETWEEN => return None,
                b' ' | b'\t' | b':' | b',' | b';' | b'-' | b'\r' => {}
                b'\n' if line == Line::Same && in_line >= LEAST => line = Line::Next,
                b'\n' => return None,
                _ => return Some((length, line)),
            }
        }
        (rest.len() <= BETWEEN).then_some((rest.len(), line))
    }
}

/// Where a pair is that follows another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Same,
    Next,
}
