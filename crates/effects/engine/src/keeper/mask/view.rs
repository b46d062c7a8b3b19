//! The ways in which a text can be read: as it was said, and without what only carries it.
//!
//! Decision: what carries a text is taken away, and the same values are looked for in what is left, because the ways to
//! write a value are without number: which bytes are percent-encoded, and where a colour begins or a line of base64 ends,
//! is up to whoever writes it. Each way is read once from its beginning to its end, and only where there is something to
//! take away.

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroize as _;

use super::digits::{self, ESCAPES};
use super::{Found, HELD, Masks};

/// Encoders break lines at 60 (uuencode), 64 (PEM) or 76 letters (MIME); shorter ones are taken for lines that are over.
const FULL: usize = 60;
/// The longest name or number of a character in HTML, in bytes; it may have some zeros.
const REFERENCE: usize = 10;
/// The longest sequence of a terminal that is one, in bytes: titles and links have texts of their own.
const SEQUENCE: usize = 256;

/// One way.
pub(super) struct View<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where each byte is in the text: from where to where. `None`: where it is here.
    places: Option<Vec<(usize, usize)>>,
    /// Where something begins of which only the rest would tell what it is.
    cut: usize,
    text: usize,
}

/// Every way to read a text that differs from the others.
pub(super) fn views(text: &[u8]) -> Vec<View<'_>> {
    let mut views = vec![View::plain(text)];
    if carries(text) {
        views.push(View::read(text, Escapes::Kept));
    }
    if escapes(text) {
        views.push(View::read(text, Escapes::Decoded));
    }
    views.extend(digits::read(text));
    views
}

/// Whether percent-encoding is undone, and `\xNN` of the literals of many languages, and what JSON and HTML may escape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Kept,
    Decoded,
}

/// What stands at a place of a text.
enum Part {
    /// A byte, written in so many.
    Byte(u8, usize),
    /// The first so many of these bytes, written in so many.
    Bytes([u8; 4], usize, usize),
    /// So many bytes of what only carries others.
    Carrier(usize),
    /// The beginning of something whose end is still to come.
    Cut,
}

impl<'a> View<'a> {
    fn plain(text: &'a [u8]) -> Self {
        Self {
            bytes: Cow::Borrowed(text),
            places: None,
            cut: text.len(),
            text: text.len(),
        }
    }

    /// Of these bytes of a text, and from where to where each is there.
    pub(super) fn of(
        text: &'a [u8],
        bytes: Vec<u8>,
        places: Vec<(usize, usize)>,
        cut: usize,
    ) -> Self {
        Self {
            bytes: Cow::Owned(bytes),
            places: Some(places),
            cut,
            text: text.len(),
        }
    }

    fn read(text: &'a [u8], escapes: Escapes) -> Self {
        let (mut bytes, mut places) = (Vec::with_capacity(text.len()), Vec::new());
        let (mut line, mut at) = (Line::default(), 0);
        while at < text.len() {
            let part = part(&text[at..], escapes, &line);
            let mut take = |byte, length| {
                if !line.passes_over(byte) {
                    bytes.push(byte);
                    places.push((at, at + length));
                }
            };
            at += match part {
                Part::Cut => break,
                Part::Carrier(length) => length,
                Part::Byte(byte, length) => {
                    take(byte, length);
                    length
                }
                Part::Bytes(all, count, length) => {
                    all.iter().take(count).for_each(|byte| take(*byte, length));
                    length
                }
            };
        }
        Self::of(text, bytes, places, at)
    }

    /// The first byte that begins at `from` of the text, or behind it.
    fn index(&self, from: usize) -> usize {
        match &self.places {
            None => from.min(self.bytes.len()),
            Some(places) => places.partition_point(|(start, _)| *start < from),
        }
    }

    fn place(&self, index: usize) -> (usize, usize) {
        let own = (index, index + 1);
        let places = self.places.as_ref();
        places.map_or(own, |places| {
            places.get(index).copied().unwrap_or((self.text, self.text))
        })
    }

    /// All secrets that begin at `from` of the text, or behind it, also those within others.
    pub(super) fn found<'v>(
        &'v self,
        masks: &'v Masks,
        from: usize,
    ) -> impl Iterator<Item = Found> + 'v {
        let input = aho_corasick::Input::new(&*self.bytes).range(self.index(from)..);
        let all = masks.automaton.find_overlapping_iter(input);
        all.map(|found| Found {
            start: self.place(found.start()).0,
            end: self.place(found.end().saturating_sub(1)).1,
            pattern: found.pattern().as_usize(),
        })
    }

    /// The first place of the text from `from` on where something begins whose end is still to come.
    pub(super) fn unfinished(&self, masks: &Masks, from: usize) -> usize {
        let from = from.max(self.text.saturating_sub(HELD));
        let found = masks.unfinished(&self.bytes, self.index(from));
        let found = found.map_or(self.text, |index| self.place(index).0);
        found.min(self.cut.max(from))
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(bytes) = &mut self.bytes {
            bytes.zeroize();
        }
    }
}

/// Whether a text has anything that is taken away but escapes.
fn carries(text: &[u8]) -> bool {
    let breaks = |run: Range<usize>| {
        let mut line = Line::default();
        text[run.clone()].iter().for_each(|byte| {
            line.passes_over(*byte);
        });
        let end = text.get(run.end);
        line.is_full() && matches!(end, Some(b'\r' | b'\n' | b'\\'))
    };
    text.contains(&b'\x1b') || runs(text, FULL, is_letter).any(breaks)
}

/// Whether a text has anything, or may begin it, that is an escape.
fn escapes(text: &[u8]) -> bool {
    let begun = |two: &[u8]| matches!(two, [b'\\', b'x' | b'u' | b'/']);
    let literal = || text.windows(2).any(begun) || text.ends_with(b"\\");
    text.contains(&b'%') || text.contains(&b'&') || (text.contains(&b'\\') && literal())
}

/// Where at least so many bytes of a kind follow each other, from the first of them to the last. A byte of another kind
/// tells that none of those before it is the first, so that of most texts few bytes are looked at.
pub(super) fn runs(
    text: &[u8],
    least: usize,
    is: fn(u8) -> bool,
) -> impl Iterator<Item = Range<usize>> + '_ {
    let (mut done, mut at) = (0, least.saturating_sub(1));
    std::iter::from_fn(move || {
        while let Some(byte) = text.get(at) {
            if !is(*byte) {
                at += least;
                continue;
            }
            let before = text[done..at].iter().rev().take_while(|byte| is(**byte));
            let behind = text[at..].iter().take_while(|byte| is(**byte));
            let run = at - before.count()..at + behind.count();
            (done, at) = (run.end, run.end + least);
            if run.len() >= least {
                return Some(run);
            }
        }
        None
    })
}

fn part(rest: &[u8], escapes: Escapes, line: &Line) -> Part {
    match *rest {
        [b'\x1b', ..] => sequence(rest),
        // As a JSON string writes a break.
        [b'\\', b'n' | b'r', ..] if line.is_full() || line.broken => Part::Byte(b'\n', 2),
        [b'\\'] if line.is_full() || line.broken => Part::Cut,
        [b'%', high, low, ..] if escapes == Escapes::Decoded => match (digit(high), digit(low)) {
            (Some(high), Some(low)) => Part::Byte(high << 4 | low, 3),
            _ => Part::Byte(b'%', 1),
        },
        [b'\\', ..] if escapes == Escapes::Decoded => literal(rest),
        [b'&', ..] if escapes == Escapes::Decoded => reference(rest),
        [b'%'] if escapes == Escapes::Decoded => Part::Cut,
        [b'%', high] if escapes == Escapes::Decoded && digit(high).is_some() => Part::Cut,
        [byte, ..] => Part::Byte(byte, 1),
        [] => Part::Cut,
    }
}

/// A byte of a string's literal, and what may become one.
fn literal(rest: &[u8]) -> Part {
    // No more than matter: of many each is asked about.
    let first = rest.iter().take(ESCAPES + 1);
    let escapes = first.take_while(|byte| **byte == b'\\').count();
    match &rest[escapes..] {
        // As a string has it that is in another one: as the other one has it alone.
        [b'"', ..] if escapes > ESCAPES => Part::Byte(b'\\', escapes),
        _ if escapes > ESCAPES => Part::Byte(b'\\', 1),
        [b'x', high, low, ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Part::Byte(high << 4 | low, escapes + 3),
            _ => Part::Byte(b'\\', 1),
        },
        [] | [b'x'] => Part::Cut,
        [b'x', high] if digit(*high).is_some() => Part::Cut,
        [b'/', ..] => Part::Byte(b'/', escapes + 1),
        [b'u', ..] => utf16(rest, escapes),
        _ => Part::Byte(b'\\', 1),
    }
}

/// A character of an HTML text that is written by its number or one of the names that every encoder knows (HTML, section
/// 13.1.4).
fn reference(rest: &[u8]) -> Part {
    let plain = Part::Byte(b'&', 1);
    let name = rest.iter().skip(1).take(REFERENCE);
    let name = name.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#');
    let length = 1 + name.count();
    match rest.get(length) {
        None if length <= REFERENCE => Part::Cut,
        Some(b';') => match referred(&rest[1..length]) {
            Some(c) => {
                let mut bytes = [0; 4];
                let count = c.encode_utf8(&mut bytes).len();
                Part::Bytes(bytes, count, length + 1)
            }
            None => plain,
        },
        _ => plain,
    }
}

fn referred(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    let number = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let number = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    char::from_u32(number.ok()?)
}

/// A character of a JSON string that is written as one or two units of UTF-16, each behind so many backslashes.
fn utf16(rest: &[u8], escapes: usize) -> Part {
    let (begin, behind) = rest.split_at((escapes + 1).min(rest.len()));
    let length = begin.len() + 4;
    let plain = Part::Byte(b'\\', 1);
    match unit(behind) {
        Unit::Cut => Part::Cut,
        Unit::None => plain,
        Unit::Of(high @ 0xd800..0xdc00) => {
            let second = rest.get(length..).unwrap_or_default();
            if begin.starts_with(second) {
                return Part::Cut;
            }
            match second.strip_prefix(begin).map(unit) {
                Some(Unit::Of(low)) => match char::decode_utf16([high, low]).next() {
                    Some(Ok(c)) => as_in_json(c, 2 * length),
                    _ => plain,
                },
                Some(Unit::Cut) => Part::Cut,
                Some(Unit::None) | None => plain,
            }
        }
        Unit::Of(unit) => char::from_u32(unit.into()).map_or(plain, |c| as_in_json(c, length)),
    }
}

/// What four digits stand for.
enum Unit {
    Of(u16),
    None,
    Cut,
}

fn unit(digits: &[u8]) -> Unit {
    let mut four = digits.iter().take(4);
    let all = four.try_fold(0, |all: u16, byte| {
        Some(all << 4 | u16::from(digit(*byte)?))
    });
    match all {
        Some(unit) if digits.len() >= 4 => Unit::Of(unit),
        Some(_) => Unit::Cut,
        None => Unit::None,
    }
}

/// A character as a JSON string has it that escapes only what it must: so one of its forms is looked for.
fn as_in_json(c: char, length: usize) -> Part {
    let short = |byte| Part::Bytes([b'\\', byte, 0, 0], 2, length);
    match c {
        '"' => short(b'"'),
        '\\' => short(b'\\'),
        '\n' => short(b'n'),
        '\r' => short(b'r'),
        '\t' => short(b't'),
        '\0'..' ' => Part::Byte(b'\\', 1),
        c => {
            let mut bytes = [0; 4];
            let count = c.encode_utf8(&mut bytes).len();
            Part::Bytes(bytes, count, length)
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A sequence of a terminal (ECMA-48, section 5): what a parameter is, and which byte ends it.
fn sequence(rest: &[u8]) -> Part {
    let ended = |from: usize, ends: fn(u8) -> bool, within: fn(u8) -> bool| {
        let rest = rest.get(from..).unwrap_or_default();
        match rest.iter().take(SEQUENCE).position(|byte| !within(*byte)) {
            Some(at) if ends(rest[at]) => Part::Carrier(from + at + 1),
            None if rest.len() < SEQUENCE => Part::Cut,
            _ => Part::Byte(b'\x1b', 1),
        }
    };
    match rest.get(1) {
        None => Part::Cut,
        Some(b'[') => ended(
            2,
            |b| (0x40..0x7f).contains(&b),
            |b| (0x20..0x40).contains(&b),
        ),
        // A title or a link, to BEL or to ESC and a backslash, which goes as a sequence of its own.
        Some(b']' | b'P' | b'^' | b'_') => {
            let text = rest.get(2..).unwrap_or_default();
            let end = text
                .iter()
                .take(SEQUENCE)
                .position(|b| matches!(b, 0x07 | 0x1b));
            match end {
                Some(at) => Part::Carrier(2 + at + usize::from(text[at] == 0x07)),
                None if text.len() < SEQUENCE => Part::Cut,
                None => Part::Byte(b'\x1b', 1),
            }
        }
        Some(_) => ended(
            1,
            |b| (0x30..0x7f).contains(&b),
            |b| (0x20..0x30).contains(&b),
        ),
    }
}

/// Whether it is of base64, in one of both alphabets.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// The letters of base64 behind each other at the end of what was read.
#[derive(Default)]
struct Line {
    standard: usize,
    url_safe: usize,
    /// Whether one is no hexadecimal digit: a line that ends with a digest is over.
    more: bool,
    /// Whether a break of a full line was passed over, and no letter came since.
    broken: bool,
}

impl Line {
    fn is_full(&self) -> bool {
        self.more && self.standard.max(self.url_safe) >= FULL
    }

    /// Takes one more byte. Whether it only breaks a line that goes on.
    fn passes_over(&mut self, byte: u8) -> bool {
        if matches!(byte, b'\r' | b'\n') && self.is_full() {
            *self = Self {
                broken: true,
                ..Self::default()
            };
            return true;
        }
        if self.broken && matches!(byte, b'\r' | b'\n' | b' ' | b'\t') {
            return true;
        }
        let letter = byte.is_ascii_alphanumeric();
        let count = |counted: usize, also: &[u8]| match letter || also.contains(&byte) {
            true => counted + 1,
            false => 0,
        };
        self.standard = count(self.standard, b"+/");
        self.url_safe = count(self.url_safe, b"-_");
        self.broken = false;
        let any = self.standard + self.url_safe > 0;
        self.more = any && (self.more || !byte.is_ascii_hexdigit());
        false
    }
}
