//! Hexadecimal digits in pairs, with something between them: what dumps, fingerprints and literals of arrays are; and lines
//! of digits alone, which go on in the next line.
//!
//! Decision: the digits are read alone, and looked through for the same values as digits without anything between them. So
//! it does not matter what stands there, and the automaton has no further forms of each value. That is done only where so
//! many pairs stand together that they could be a value, so that other text costs little but a look at a byte in seventeen.

use std::ops::Range;

use ward_types::secrets::SHORTEST_MASKED;
use zeroize::Zeroize as _;

use super::view::{View, runs};

/// The fewest pairs that can be a value; and those of a line that may go on in the next one.
const LEAST: usize = SHORTEST_MASKED;
/// The fewest bytes that so many pairs have with a break somewhere between them.
const SHORTEST: usize = 2 * LEAST + 1;
/// The digits of a line that `xxd -p` writes, of which no common digest has so many: more may stand before them.
const WRITTEN: usize = 60;
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
        if are_pairs(text, &run) {
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

/// Whether a byte may stand between two pairs.
fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b':' | b',' | b';' | b'-' | b'\r')
}

/// How many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_hexdigit()).count()
}

/// Whether so many groups of digits that follow each other are pairs that they could be a value, or one of many digits goes
/// on behind its end. Columns of numbers are neither, and found out at once.
fn are_pairs(text: &[u8], run: &Range<usize>) -> bool {
    let (mut pairs, mut at) = (0, run.start);
    let mut groups = text[run.clone()].split(|byte| !byte.is_ascii_hexdigit());
    groups.any(|group| {
        let (start, end) = (at, at + group.len());
        at = end + 1;
        pairs = match group.len() {
            2 => pairs + 1,
            // Between two bytes that are no digits; what announces a pair.
            0 => pairs,
            1 if group == b"0" => pairs,
            many if many >= 2 * LEAST && goes_on(text, start, end) => LEAST,
            _ => 0,
        };
        pairs >= LEAST
    })
}

/// Whether many digits that stand together are followed by as many, or by a break that can be passed over.
fn goes_on(text: &[u8], start: usize, end: usize) -> bool {
    let between = text[end..].iter().take(BETWEEN);
    let between = between.take_while(|byte| is_between(**byte)).count();
    match &text[end + between..] {
        // Cut before the break, behind what may stand there; without that the digits may go on themselves.
        [] => between > 0 && may_be_dump(text, start, end - start),
        [b'\n', ..] => may_be_dump(text, start, end - start),
        rest => between > 0 && digits(rest) >= 2 * LEAST,
    }
}

/// Whether a line of many digits may be of a dump: a digest or an id at the end of other text is not.
fn may_be_dump(text: &[u8], start: usize, digits: usize) -> bool {
    let before = text[..start].iter().rev().take(BETWEEN);
    let mut before = before.skip_while(|byte| matches!(byte, b' ' | b'\t'));
    digits == WRITTEN || matches!(before.next(), None | Some(b'\n' | b'\r'))
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
    /// The place of its digits, behind what announces them; or of many, that are as many pairs.
    At(Range<usize>),
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
        // Pairs that stand together, and the line that they are in.
        let (mut from, mut line) = (self.bytes.len(), Line::at(part.start));
        let mut at = part.start;
        while at < part.end {
            match self.pair(at, &line) {
                Pair::At(digits) => {
                    at = digits.end;
                    line.take(&digits);
                    self.push(digits);
                    match self.between(at, &line) {
                        Some((length, Next::InLine)) => at += length,
                        Some((length, Next::Below)) => {
                            at += length;
                            line = line.next(at);
                        }
                        None => (from, line) = (self.end(from, at), Line::at(at)),
                    }
                }
                Pair::None(length) => {
                    from = self.end(from, at);
                    at += length;
                    line = Line::at(at);
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

    fn push(&mut self, digits: Range<usize>) {
        self.bytes.extend_from_slice(&self.text[digits.clone()]);
        self.places.extend(digits.map(|at| (at, at + 1)));
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

    fn pair(&self, at: usize, line: &Line) -> Pair {
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
        let first = at + announced;
        let digits = digits(rest.get(announced..).unwrap_or_default());
        let ends = announced + digits == rest.len();
        // Where it is cut at either end nobody can tell whether they are even.
        let even = digits.is_multiple_of(2) || first == 0 || ends;
        let least = if line.goes_on { 2 } else { 2 * LEAST };
        match digits {
            2 => Pair::At(first..first + 2),
            0 | 1 if ends => Pair::Cut,
            many if many >= least && even && announced == 0 => Pair::At(first..first + many),
            // One byte at least: of what may stand between two pairs, or of what is no digit.
            _ => Pair::None((announced + digits).max(1)),
        }
    }

    /// How much stands behind a pair and before what may be the next one.
    fn between(&self, at: usize, line: &Line) -> Option<(usize, Next)> {
        let mut next = Next::InLine;
        let rest = self.text.get(at..).unwrap_or_default();
        for (length, byte) in rest.iter().enumerate() {
            match *byte {
                _ if length > BETWEEN => return None,
                byte if is_between(byte) => {}
                b'\n' if next == Next::InLine && line.is_full(self.text) => next = Next::Below,
                b'\n' => return None,
                _ => return Some((length, next)),
            }
        }
        (rest.len() <= BETWEEN).then_some((rest.len(), next))
    }
}

/// Where a pair is that follows another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    InLine,
    Below,
}

/// The pairs of a line that stand together.
struct Line {
    start: usize,
    pairs: usize,
    /// Of the longest group of digits with nothing between them.
    longest: usize,
    /// Whether it goes on where a line of many digits ended: the last one of a dump can have few.
    goes_on: bool,
}

impl Line {
    fn at(start: usize) -> Self {
        Self {
            start,
            pairs: 0,
            longest: 0,
            goes_on: false,
        }
    }

    fn next(&self, start: usize) -> Self {
        Self {
            goes_on: self.longest > 2,
            ..Self::at(start)
        }
    }

    fn take(&mut self, digits: &Range<usize>) {
        if self.pairs == 0 {
            self.start = digits.start;
        }
        self.pairs += digits.len() / 2;
        self.longest = self.longest.max(digits.len());
    }

    fn is_full(&self, text: &[u8]) -> bool {
        let many = || may_be_dump(text, self.start, self.longest);
        self.pairs >= LEAST && (self.longest <= 2 || many())
    }
}
