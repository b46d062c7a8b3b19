//! How text is laid out in a terminal: broken between words, never within one, and never in the middle of a cell.
//!
//! A table that is too wide gives each column the width of its longest word at least, and shares what is left. Where
//! not even that fits, each row is a block: its first cell, and below it a line for each of the others.

use comfy_table::{Row, Table};

/// What is between two columns.
const GAP: usize = 2;

/// A sentence gets at least so many columns; in a terminal that has fewer it is broken anywhere.
const NARROWEST: usize = 24;

/// How many columns a text takes; colours take none.
fn columns(text: &str) -> usize {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .count()
}

/// The text in lines that have no more than `room` columns, broken at spaces.
pub(crate) fn lines(text: &str, room: usize) -> Vec<String> {
    broken(text, room.max(NARROWEST))
}

fn broken(text: &str, room: usize) -> Vec<String> {
    filled(text.split_inclusive(' '), room)
}

fn filled<'a>(words: impl Iterator<Item = &'a str>, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for word in words {
        match lines.last_mut() {
            Some(line) if length + columns(word.trim_end()) <= room => line.push_str(word),
            _ => {
                length = 0;
                lines.push(word.to_owned());
            }
        }
        length += columns(word);
    }
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A sentence in a terminal of this width; from its second line on it is indented deeper than where it begins.
pub(crate) fn sentence(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| columns(text) > *width) else {
        return vec![text.to_owned()];
    };
    let (begin, rest) = text.split_at(text.len() - text.trim_start_matches(' ').len());
    let deeper = format!("{begin}  ");
    let room = width.saturating_sub(deeper.len()).max(NARROWEST);
    let broken = filled(words(rest), room);
    let broken = broken.iter().enumerate();
    let indented = broken.map(|(number, line)| match number {
        0 => format!("{begin}{line}"),
        _ => format!("{deeper}{line}"),
    });
    indented.collect()
}

/// What is said behind its beginning, such as `error:`; where the terminal is too narrow, further lines stand below the
/// first. A command is not broken: it could not be copied. Lines of the text that begin with a space keep their place.
pub(crate) fn behind(begin: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let below = " ".repeat(columns(begin));
    let room = width.map(|width| width.saturating_sub(below.len()).max(NARROWEST));
    let mut all = Vec::new();
    for line in text.split('\n') {
        if line.starts_with(' ') {
            all.extend(sentence(line, width));
            continue;
        }
        let lines = match room {
            Some(room) if columns(line) > room => filled(words(line), room),
            _ => vec![line.to_owned()],
        };
        let placed = lines.iter().map(|line| format!("{below}{line}"));
        all.extend(placed);
    }
    if let Some(first) = all.first_mut() {
        *first = format!("{begin}{}", first.strip_prefix(&below).unwrap_or(first));
    }
    all
}

/// The words of a sentence, each with the space behind it; what stands in backticks is one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split_inclusive(move |letter| {
        quoted ^= letter == '`';
        letter == ' ' && !quoted
    })
}

/// Phrases beside each other, as many in a line as a terminal of this width has room for; none is broken.
pub(crate) fn phrases(begin: &str, phrases: &[String], width: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for phrase in phrases {
        match lines.last_mut() {
            Some(line)
                if width
                    .is_none_or(|width| columns(line) + APART.len() + columns(phrase) <= width) =>
            {
                line.push_str(APART);
                line.push_str(phrase);
            }
            _ => lines.push(format!("{begin}{phrase}")),
        }
    }
    lines
}

/// What is said of one thing, two spaces apart, in a terminal of this width: from its second line on it is indented. None
/// is broken that fits a line; an address that does not is broken behind its slashes.
pub(crate) fn parts(parts: &[String], width: Option<usize>) -> Vec<String> {
    let whole = parts.join(BESIDE);
    let Some(width) = width.filter(|width| columns(&whole) > *width) else {
        return vec![whole];
    };
    let room = width.max(NARROWEST);
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if columns(line) + BESIDE.len() + columns(part) <= room => {
                line.push_str(BESIDE);
                line.push_str(part);
            }
            None if columns(part) <= room => lines.push(part.clone()),
            _ => lines
                .extend(pieces(part, room - BESIDE.len()).map(|line| format!("{BESIDE}{line}"))),
        }
    }
    lines
}

/// Between two parts of a line, and before what is left of one.
const BESIDE: &str = "  ";

/// A part in lines of at most so many columns, broken behind what ends a word or a segment.
fn pieces(part: &str, room: usize) -> impl Iterator<Item = String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in part.split_inclusive([' ', '/', '?', '&']) {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(piece.trim_end()) <= room => line.push_str(piece),
            _ => lines.push(piece.to_owned()),
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned())
}

/// Between two phrases of a line.
const APART: &str = "   ";

/// The lines of a table in a terminal of this width. The padding at their ends goes: it would wrap.
pub(crate) fn table(table: &Table, width: Option<usize>) -> Vec<String> {
    let whole = table.to_string();
    let whole: Vec<String> = whole.lines().map(|l| l.trim_end().to_owned()).collect();
    let Some(width) = width.filter(|width| whole.iter().any(|line| columns(line) > *width)) else {
        return whole;
    };
    let head = table.header().map(cells).unwrap_or_default();
    let rows: Vec<Vec<String>> = table.row_iter().map(cells).collect();
    match widths(&head, &rows, width.saturating_sub(1)) {
        Some(widths) => {
            let headed = (!head.is_empty()).then_some(&head);
            let all = headed.into_iter().chain(&rows);
            all.flat_map(|row| beside(row, &widths)).collect()
        }
        None => rows
            .iter()
            .flat_map(|row| block(&head, row, width))
            .collect(),
    }
}

fn cells(row: &Row) -> Vec<String> {
    row.cell_iter().map(|cell| cell.content()).collect()
}

/// A column's least width, which breaks no word, and that of its longest cell.
struct Column {
    least: usize,
    whole: usize,
}

fn column(head: &[String], rows: &[Vec<String>], number: usize) -> Column {
    let above = head.get(number).map_or(0, |cell| columns(cell));
    let cells = || rows.iter().filter_map(|row| row.get(number));
    let words = cells().flat_map(|cell| cell.split_whitespace());
    Column {
        least: words.map(columns).max().unwrap_or(0).max(above),
        whole: cells()
            .map(|cell| columns(cell))
            .max()
            .unwrap_or(0)
            .max(above),
    }
}

/// How wide each column is; nothing where words would have to be broken. Who needs little more gets it first.
fn widths(head: &[String], rows: &[Vec<String>], room: usize) -> Option<Vec<usize>> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0).max(head.len());
    let all: Vec<Column> = (0..count)
        .map(|number| column(head, rows, number))
        .collect();
    let least: usize = all.iter().map(|column| column.least).sum();
    let mut spare = room.checked_sub(least + GAP * count.saturating_sub(1))?;
    let mut needs: Vec<(usize, &Column)> = all.iter().enumerate().collect();
    needs.sort_by_key(|(_, column)| column.whole - column.least);
    let mut given = Vec::new();
    for (done, (number, column)) in needs.into_iter().enumerate() {
        let more = (column.whole - column.least).min(spare / (count - done));
        spare -= more;
        given.push((number, column.least + more));
    }
    given.sort_unstable();
    Some(given.into_iter().map(|(_, width)| width).collect())
}

/// A row of cells that have lines. A colour that went on behind a line's end would be that of the next cell.
fn beside(row: &[String], widths: &[usize]) -> Vec<String> {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| match columns(cell) > *width {
            true => broken(&anstream::adapter::strip_str(cell).to_string(), *width),
            false => vec![cell.clone()],
        });
    let cells: Vec<Vec<String>> = cells.collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |number: usize| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let text = cell.get(number).map_or("", String::as_str);
            let padding = (width + GAP).saturating_sub(columns(text));
            line.push_str(&format!("{text}{:padding$}", ""));
        }
        format!(" {}", line.trim_end())
    };
    (0..height).map(line).collect()
}

/// A row for which there is no room beside each other.
fn block(head: &[String], row: &[String], width: usize) -> Vec<String> {
    let widest = head.iter().map(|cell| columns(cell)).max().unwrap_or(0);
    let mut lines: Vec<String> = row
        .first()
        .map(|cell| format!(" {cell}"))
        .into_iter()
        .collect();
    for (number, cell) in row
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, c)| !c.is_empty())
    {
        let name = head.get(number).map_or("", String::as_str);
        let name = format!("   {name:widest$}  ");
        let deep = columns(&name);
        let broken = broken(cell, width.saturating_sub(deep));
        let indented = broken
            .iter()
            .enumerate()
            .map(|(number, line)| match number {
                0 => format!("{name}{line}"),
                _ => format!("{:deep$}{line}", ""),
            });
        lines.extend(indented);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_broken_between_them_and_an_address_behind_its_slashes() {
        let said = |address: &str| {
            [
                "12:00:00Z",
                "200",
                &format!("GET {address}"),
                "3.1 ms",
                "127.0.0.1",
            ]
            .map(str::to_owned)
        };
        let short = said("shop.localhost/returns");
        assert_eq!(parts(&short, None).len(), 1);
        assert_eq!(
            parts(&short, Some(40)),
            [
                "12:00:00Z  200",
                "  GET shop.localhost/returns  3.1 ms",
                "  127.0.0.1"
            ]
        );
        let long = said("shop.localhost/api/reports/2026-11-22?from=1&to=2");
        assert_eq!(
            parts(&long, Some(40)),
            [
                "12:00:00Z  200",
                "  GET shop.localhost/api/reports/",
                "  2026-11-22?from=1&to=2  3.1 ms",
                "  127.0.0.1",
            ]
        );
    }
    use crate::commands::columns as headed;

    #[test]
    fn what_is_said_behind_its_beginning_stands_below_it_and_no_command_is_broken() {
        let hint = " hint: ";
        let text = "`ward rollback --to r2 --env prod` goes back to it\nor wait";
        assert_eq!(
            behind(hint, text, None),
            [
                " hint: `ward rollback --to r2 --env prod` goes back to it",
                "       or wait"
            ]
        );
        assert_eq!(
            behind(hint, text, Some(47)),
            [
                " hint: `ward rollback --to r2 --env prod` goes",
                "       back to it",
                "       or wait"
            ]
        );
        // One that has no room is left to the terminal, which copies it whole.
        assert_eq!(
            behind(hint, text, Some(32))[0],
            " hint: `ward rollback --to r2 --env prod`"
        );
        assert_eq!(
            behind("error: ", "it failed\n  | exit status 1", Some(80)),
            ["error: it failed", "  | exit status 1"]
        );
        let red = "\u{1b}[31merror:\u{1b}[39m ";
        let said = behind(red, "the policy forbids it; nothing was changed", Some(40));
        assert_eq!(
            said,
            [
                format!("{red}the policy forbids it; nothing").as_str(),
                "       was changed"
            ]
        );
    }

    fn runs() -> Table {
        let mut table = headed(&["RUN", "WHAT", "ASKED FOR", "BY", "TOOK", "STATE"]);
        table.add_row([
            "run12",
            "web: python3 manage.py migrate",
            "2026-11-21 09:02:52Z",
            "uid:1000(somebody)",
            "3.10 s",
            "\u{1b}[31mfailed: it exited with status 1\u{1b}[39m (attempt 2)",
        ]);
        table
    }

    #[test]
    fn a_wide_terminal_and_a_pipe_show_a_row_on_one_line() {
        for width in [None, Some(200)] {
            assert_eq!(table(&runs(), width).len(), 2);
        }
    }

    #[test]
    fn no_word_is_broken_and_no_line_is_too_long() {
        for width in [60, 80, 100, 120] {
            let shown = table(&runs(), Some(width));
            assert!(
                shown.iter().all(|line| columns(line) <= width),
                "{shown:#?}"
            );
            let words: Vec<&str> = shown.iter().flat_map(|l| l.split_whitespace()).collect();
            for word in ["uid:1000(somebody)", "manage.py", "2026-11-21", "(attempt"] {
                assert!(words.contains(&word), "{word} at {width}: {shown:#?}");
            }
        }
    }

    #[test]
    fn a_row_that_has_no_room_is_a_block() {
        let mut sources = headed(&["SOURCE", "REPOSITORY"]);
        let repository = "https://git.example.com/a/rather/long/way/to/a/repository.git";
        sources.add_row(["web", repository]);
        let shown = table(&sources, Some(60));
        assert_eq!(shown[0], " web");
        assert_eq!(shown[1], format!("   REPOSITORY  {repository}"));
    }

    #[test]
    fn a_sentence_goes_on_deeper_than_it_begins() {
        let text = "  Waiting for web of r3: 0 of 2 instances are healthy";
        assert_eq!(sentence(text, None), [text]);
        assert_eq!(sentence(text, Some(80)), [text]);
        assert_eq!(
            sentence(text, Some(40)),
            [
                "  Waiting for web of r3: 0 of 2",
                "    instances are healthy"
            ]
        );
    }

    #[test]
    fn sentences_are_broken_at_spaces() {
        let text = "shop/dev release r12 recorded (1.0.12)  “because”";
        assert_eq!(broken(text, usize::MAX), [text]);
        let parts = ["shop/dev release r12", "recorded (1.0.12)", "“because”"];
        assert_eq!(broken(text, 24), parts);
        assert_eq!(broken("a 0123456789 b", 4), ["a", "0123456789", "b"]);
        assert_eq!(broken("", 24), [""; 0]);
    }

    #[test]
    fn phrases_stay_whole_and_fill_their_lines() {
        let all = [
            "http 127.0.0.1:8080",
            "https 127.0.0.1:8443",
            "registry 127.0.0.1:5050",
        ];
        let all = all.map(ToOwned::to_owned);
        let at = |width| phrases("  ", &all, width);
        let whole = "  http 127.0.0.1:8080   https 127.0.0.1:8443   registry 127.0.0.1:5050";
        assert_eq!(at(None), [whole]);
        assert_eq!(at(Some(whole.len())), [whole]);
        let (first, second) = whole.split_at(whole.find("   registry").unwrap());
        let second = format!("  {}", second.trim_start());
        assert_eq!(at(Some(whole.len() - 1)), [first, &second]);
        assert_eq!(at(Some(10)).len(), 3);
    }
}
