//! Mistakes as people and as programs read them.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use ward_types::text::steers;
use ward_types::view::{LabelView, MistakeView};

use crate::lines::Lines;
use crate::mistake::{Code, Mistake, Span};

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// With ANSI colours, for a terminal.
    Colour,
    /// Without, for files, pipes and `NO_COLOR`.
    Plain,
}

/// How many mistakes are shown with their text; the rest is counted.
const MOST_SHOWN: usize = 50;

/// The longest line, in bytes, that is shown.
const LONGEST_LINE: usize = 400;

/// How many columns are taken by what is left of a line that is shown. A line that wraps leaves its underline behind.
const GUTTER: usize = 8;

/// How much of a line is shown before the place, where not all of it is.
const BEFORE: usize = 24;

/// Shows mistakes with the offending text underlined.
///
/// `name` is the file's name to show, `text` the text that was read, `width` the terminal's width in
/// columns. The text ends with a line that counts the mistakes of the file, where there is one; that an environment was asked
/// for which it does not declare is none of its.
#[must_use]
pub fn render(name: &str, text: &str, mistakes: &[Mistake], look: Look, width: usize) -> String {
    let theme = match look {
        Look::Colour => GraphicalTheme::unicode(),
        Look::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.max(40))
        .with_context_lines(1)
        .with_links(false);
    let printable = printable(text);
    let lines = Lines::of(&printable);
    let room = width.max(40) - GUTTER;
    let mut shown = String::new();
    for mistake in mistakes.iter().take(MOST_SHOWN) {
        let source = Source {
            name,
            text: &printable,
            lines: &lines,
            part: part(&printable, &lines, mistake, room),
        };
        let report = Report::new(mistake, &source);
        // Writing into a String fails only where the source cannot give the lines, and then the
        // message alone still helps.
        if handler.render_report(&mut shown, &report).is_err() {
            shown.push_str(&format!("{}: {}\n", mistake.code, mistake.message));
        }
        shown.push('\n');
    }
    let of_file = |one: &&Mistake| one.code != Code::UnknownEnvironment;
    shown.push_str(&count(name, mistakes.iter().filter(of_file).count()));
    shown
}

fn count(name: &str, mistakes: usize) -> String {
    let more = match mistakes.saturating_sub(MOST_SHOWN) {
        0 => String::new(),
        more => format!(" ({more} of them not shown)"),
    };
    match mistakes {
        0 => String::new(),
        1 => format!("1 mistake in {name}\n"),
        many => format!("{many} mistakes in {name}{more}\n"),
    }
}

/// The text with everything that could steer a terminal replaced, byte for byte, so that places hold.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A carriage return before a line's end is invisible and harmless as a space.
            '\r' => shown.push(' '),
            '\n' | '\t' => shown.push(c),
            c if steers(c) => shown.extend(std::iter::repeat_n('?', c.len_utf8())),
            c => shown.push(c),
        }
    }
    shown
}

/// The text as miette reads it.
///
/// It asks for no context to learn a position, and for context to show something: whole lines then, and
/// no more of them than the place itself covers.
struct Source<'a> {
    name: &'a str,
    text: &'a str,
    lines: &'a Lines<'a>,
    /// Of a long line all that is shown.
    part: Option<Span>,
}

/// What is shown of a line that is longer than there is room for; of places on several lines whole lines are shown.
fn part(text: &str, lines: &Lines<'_>, mistake: &Mistake, room: usize) -> Option<Span> {
    let labels = mistake.labels.iter().map(|label| label.span.start);
    let starts: Vec<usize> = labels.chain([mistake.span.start]).collect();
    let line = lines.around(mistake.span.start);
    let shown = text.get(line.start..line.end)?;
    let elsewhere = starts.iter().any(|at| *at < line.start || *at > line.end);
    if elsewhere || shown.chars().count() <= room {
        return None;
    }
    let first = starts.iter().min().copied()?.checked_sub(line.start)?;
    let letters: Vec<usize> = shown.char_indices().map(|(at, _)| at).collect();
    let place = letters.partition_point(|at| *at < first);
    let fits = mistake.span.end.saturating_sub(line.start) <= *letters.get(room)?;
    let from = match fits {
        true => 0,
        false => place.saturating_sub(BEFORE),
    };
    let end = letters.get(from + room).copied().unwrap_or(shown.len());
    let part = Span {
        start: line.start + letters.get(from)?,
        end: line.start + end,
    };
    // Where not all places are in it, each is where it stands.
    starts.iter().all(|at| *at < part.end).then_some(part)
}

impl SourceCode for Source<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        let (from, to) = match (before, self.part) {
            (0, _) => (start, end),
            (_, Some(part)) => (part.start, part.end),
            (_, None) => {
                let last = end.saturating_sub(1).max(start);
                (self.lines.around(start).start, self.lines.around(last).end)
            }
        };
        let data = self.text.get(from..to).ok_or(MietteError::OutOfBounds)?;
        let (line, column) = self.lines.position(from);
        let count = self.lines.number(to) + 1 - self.lines.number(from);
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            data.as_bytes(),
            (from, to - from).into(),
            line - 1,
            column - 1,
            count,
        )))
    }
}

struct Report<'a> {
    mistake: &'a Mistake,
    /// The place in words where the text cannot be shown.
    place: String,
    source: Option<&'a Source<'a>>,
}

impl<'a> Report<'a> {
    fn new(mistake: &'a Mistake, source: &'a Source<'a>) -> Self {
        let Source { name, lines, .. } = *source;
        let labels = mistake.labels.iter().map(|label| label.span);
        let mut ends = labels
            .chain([mistake.span])
            .flat_map(|span| [span.start, span.end]);
        let long = ends.any(|at| lines.around(at).len() > LONGEST_LINE);
        let whole_file = mistake.span == Span::START && mistake.labels.is_empty();
        let (line, column) = lines.position(mistake.span.start);
        let (source, place) = match (whole_file, long) {
            (true, _) => (None, format!(" ({name})")),
            (_, true) => (None, format!(" ({name}, line {line}, column {column})")),
            (false, false) => (Some(source), String::new()),
        };
        Self {
            mistake,
            place,
            source,
        }
    }

    /// The place to underline: of one that covers many lines, the first.
    fn underlined(&self, span: Span) -> SourceSpan {
        let lines = self.source.map(|source| source.lines);
        let end = lines.map_or(span.end, |lines| lines.around(span.start).end);
        let part = self.source.and_then(|source| source.part);
        let end = part.map_or(end, |part| part.end.min(end));
        let start = span.start.min(end);
        let end = span.end.min(end.max(start));
        (start, end - start).into()
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.mistake.message, self.place)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.mistake.code))
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        // What breaks a rule is no wrong word: what would be right may be a command, or a day.
        let word = match self.mistake.code {
            Code::AgainstPolicy | Code::PolicyWarning => "instead:",
            _ => "expected",
        };
        let expected = self
            .mistake
            .expected
            .iter()
            .map(|text| format!("{word} {text}"));
        let meant = self
            .mistake
            .did_you_mean
            .iter()
            .map(|text| format!("did you mean `{text}`?"));
        let lines: Vec<String> = expected.chain(meant).collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source?;
        let own = &self.mistake;
        let primary = (Some(own.note.clone()), self.underlined(own.span));
        let primary = LabeledSpan::new_primary_with_span(primary.0, primary.1);
        let others = own.labels.iter().map(|label| {
            LabeledSpan::new_with_span(Some(label.text.clone()), self.underlined(label.span))
        });
        Some(Box::new(std::iter::once(primary).chain(others)))
    }
}

/// The mistakes for programs, in the same order.
#[must_use]
pub fn views(name: &str, text: &str, mistakes: &[Mistake]) -> Vec<MistakeView> {
    let lines = Lines::of(text);
    mistakes
        .iter()
        .map(|mistake| view(name, text, &lines, mistake))
        .collect()
}

fn view(name: &str, text: &str, lines: &Lines<'_>, mistake: &Mistake) -> MistakeView {
    let (line, column) = lines.position(mistake.span.start);
    let labels = mistake.labels.iter().map(|label| {
        let (line, column) = lines.position(label.span.start);
        LabelView {
            line,
            column,
            span: label.span,
            text: label.text.clone(),
        }
    });
    MistakeView {
        code: mistake.code.id().to_owned(),
        message: mistake.message.clone(),
        file: name.to_owned(),
        line,
        column,
        span: mistake.span,
        text: text
            .get(mistake.span.start..mistake.span.end)
            .unwrap_or("")
            .to_owned(),
        expected: mistake.expected.clone(),
        did_you_mean: mistake.did_you_mean.clone(),
        labels: labels.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, what: &str) -> Vec<String> {
        let start = text.find(what).unwrap();
        let span = Span {
            start,
            end: start + what.len(),
        };
        let mistake = Mistake::at(span, Code::AgainstPolicy, "too much".to_owned());
        let shown = render("ward.toml", text, &[mistake], Look::Plain, 100);
        shown.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_that_would_wrap_is_shown_in_part_with_its_underline_below_the_place() {
        let words: Vec<String> = (100..160).map(|number| format!("w{number}")).collect();
        let text = format!("a = 1\nlist = [{}]\nb = 2\n", words.join(" "));
        for what in ["list", "w100", "w112", "w130", "w159"] {
            let shown = shown(&text, what);
            let code = shown.iter().position(|line| line.contains(what)).unwrap();
            assert!(
                shown[code..code + 2]
                    .iter()
                    .all(|line| line.chars().count() <= 100),
                "{shown:#?}"
            );
            let place = shown[code]
                .find(what)
                .map(|at| shown[code][..at].chars().count());
            let below: Vec<char> = shown[code + 1].chars().collect();
            let underline = below.iter().position(|c| matches!(c, '─' | '┬'));
            assert_eq!(place, underline, "{shown:#?}");
        }
    }
}
