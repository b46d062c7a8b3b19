//! From text to tree, with all syntax errors.
//!
//! The parser recovers from most errors by itself, but stops building its tree at a line that holds a key
//! and no `=`. Such lines are blanked and the rest is read again, so that one of them does not hide the
//! mistakes below it.

use toml::de::{DeTable, Error};

use crate::lines::Lines;
use crate::mistake::{Code, Mistake, Span};
use crate::reading::MOST_MISTAKES;
use crate::tree::{self, Table};

/// What could be read of the text.
pub(crate) struct Parsed {
    pub(crate) file: Table,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) extent: Extent,
}

/// How much of the text is in the tree. What is not in a tree that is not whole proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// All keys.
    Whole,
    /// All but some lines within tables.
    LinesLost,
    /// Nobody knows.
    Part,
}

impl Extent {
    fn after(error: &Error) -> Self {
        match error.message() {
            "duplicate key" => Extent::Whole,
            message if message.starts_with(UNQUOTED) => Extent::Whole,
            message if message.starts_with(NO_VALUE) => Extent::LinesLost,
            _ => Extent::Part,
        }
    }
}

/// How often the text is read again; a file that needs more is reported as far as it was read.
const READINGS: usize = 4;

/// The parser's words for a key that nothing follows.
const NO_VALUE: &str = "key with no value";

/// The parser's words for a text without quotes.
const UNQUOTED: &str = "string values must be quoted";

/// Reads the text as TOML 1.1.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut errors: Vec<Error> = Vec::new();
    let mut readable = text.to_owned();
    let mut file = Table::default();
    let lines = Lines::of(text);
    for _ in 0..READINGS {
        let (table, found) = DeTable::parse_recoverable(&readable);
        file = tree::from_toml(table.get_ref());
        let without_value = lines_without_value(&lines, &found);
        errors.extend(found);
        if without_value.is_empty() {
            break;
        }
        readable = blank(&readable, &without_value);
    }
    let extent = errors
        .iter()
        .map(Extent::after)
        .max()
        .unwrap_or(Extent::Whole);
    errors.truncate(MOST_MISTAKES);
    Parsed {
        extent,
        mistakes: errors
            .iter()
            .map(|error| mistake(&lines, text, &file, error))
            .collect(),
        file,
    }
}

fn lines_without_value(lines: &Lines<'_>, errors: &[Error]) -> Vec<Span> {
    let spans = errors
        .iter()
        .filter(|error| error.message().starts_with(NO_VALUE));
    let mut lines: Vec<_> = spans
        .filter_map(Error::span)
        .map(|span| lines.around(span.start))
        .collect();
    lines.dedup();
    lines
}

fn blank(text: &str, lines: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for line in lines {
        bytes[line.start..line.end].fill(b' ');
    }
    String::from_utf8(bytes).expect("whole lines were replaced by spaces, so no character was cut")
}

fn mistake(lines: &Lines<'_>, text: &str, file: &Table, error: &Error) -> Mistake {
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected.to_owned())),
        None => (error.message(), None),
    };
    let span = error.span().map(Span::from);
    if what.contains("recurs") {
        let span = span.unwrap_or_else(|| most_dotted(text));
        return Mistake::at(span, Code::TooDeep, "tables or lists are nested too deeply")
            .expected("at most 80 levels");
    }
    let span = visible(lines, text, span.unwrap_or(Span::START));
    if what == "duplicate key" {
        return duplicate(lines, text, file, span);
    }
    let message = format!("this is not TOML: {what}");
    let mistake = Mistake::at(span, Code::Syntax, message);
    if what == UNQUOTED {
        let written = text[span.start..span.end].trim();
        let meant = Some(format!("\"{written}\"")).filter(|_| is_word(written));
        return mistake.expected("a text in quotes").mean(meant);
    }
    match expected {
        Some(expected) => mistake.expected(expected),
        None => mistake,
    }
}

fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/%@ ".contains(c);
    (1..=60).contains(&text.len()) && text.chars().all(plain)
}

/// The parser names no place for a key of too many parts.
fn most_dotted(text: &str) -> Span {
    let dots = |line: &&str| line.bytes().filter(|b| *b == b'.').count();
    let line = text.lines().max_by_key(dots).unwrap_or("");
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    Span {
        start,
        end: start + line.len(),
    }
}

/// Makes a place between two characters into text that can be underlined: what follows on the line,
/// or else what stands before.
fn visible(lines: &Lines<'_>, text: &str, span: Span) -> Span {
    if !span.is_empty() {
        return span;
    }
    let line = lines.around(span.start);
    let (before, after) = (&text[line.start..span.start], &text[span.start..line.end]);
    let word = after.split(char::is_whitespace).next().unwrap_or("");
    if !word.is_empty() {
        return Span {
            start: span.start,
            end: span.start + word.len(),
        };
    }
    let word = before.trim_end();
    let start = word.rfind(char::is_whitespace).map_or(0, |at| {
        at + word[at..].chars().next().map_or(0, char::len_utf8)
    });
    Span {
        start: line.start + start,
        end: line.start + word.len(),
    }
}

fn duplicate(lines: &Lines<'_>, text: &str, file: &Table, span: Span) -> Mistake {
    let name = &text[span.start..span.end];
    let mistake = Mistake::at(
        span,
        Code::DuplicateKey,
        format!("{} is given twice", crate::value::quote(name)),
    );
    let mistake = mistake.note("again").expected("each key and table once");
    match first_header(lines, text, span).or_else(|| first_key(text, file, span)) {
        Some(first) => mistake.label(first, "first"),
        None => mistake,
    }
}

/// The same `[header]` further up.
fn first_header(lines: &Lines<'_>, text: &str, span: Span) -> Option<Span> {
    let header = |line: &str| {
        let line = line.trim();
        let end = line.starts_with('[').then(|| line.rfind(']'))??;
        Some(line[..=end].to_owned())
    };
    let own = lines.around(span.start);
    let wanted = header(&text[own.start..own.end])?;
    let same = |line: &&str| header(line).as_ref() == Some(&wanted);
    let line = text[..own.start].lines().find(same)?.trim();
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    Some(Span {
        start,
        end: start + wanted.len(),
    })
}

/// The nearest key of this name further up, if no table begins or ends in between.
fn first_key(text: &str, file: &Table, span: Span) -> Option<Span> {
    let name = text[span.start..span.end].trim_matches(['"', '\'']);
    let mut nearest: Option<Span> = None;
    nearest_key(file, name, span, &mut nearest);
    nearest.filter(|first| same_table(&text[first.end..span.start]))
}

fn nearest_key(table: &Table, name: &str, before: Span, nearest: &mut Option<Span>) {
    for (key, entry) in &table.entries {
        let nearer = nearest.is_none_or(|found| entry.key.start > found.start);
        if key == name && entry.key.end <= before.start && nearer {
            *nearest = Some(entry.key);
        }
        if let crate::tree::Value::Table(below) = &entry.node.value {
            nearest_key(below, name, before, nearest);
        }
    }
}

fn same_table(between: &str) -> bool {
    let mut depth = 0i64;
    let never_below = between.bytes().all(|b| {
        depth += i64::from(b == b'{') - i64::from(b == b'}');
        depth >= 0
    });
    let header = between
        .lines()
        .skip(1)
        .any(|line| line.trim_start().starts_with('['));
    never_below && depth == 0 && !header
}
