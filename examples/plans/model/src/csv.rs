//! CSV as RFC 4180 describes it: cells by comma, rows by line, quotes around what holds either.
//!
//! A byte order mark at the start and empty lines are passed over, and a line may end in LF alone.

/// A row with the line on which it begins, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The line.
    pub line: usize,
    /// Its cells, without their quotes.
    pub cells: Vec<String>,
}

/// Text that is no CSV.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Broken {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Reads all rows.
///
/// # Errors
/// At the first quote that stands where none can.
pub fn read(text: &str) -> Result<Vec<Row>, Broken> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        rest: text,
        line: 1,
    };
    let mut rows = Vec::new();
    while !reader.rest.is_empty() {
        let row = reader.row()?;
        if row.cells.iter().any(|cell| !cell.trim().is_empty()) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// What is left to read, and on which line it begins.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Row, Broken> {
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            cells.push(match self.rest.strip_prefix('"') {
                Some(rest) => {
                    self.rest = rest;
                    self.quoted()?
                }
                None => self.bare()?,
            });
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        self.end_of_line();
        Ok(Row { line, cells })
    }

    fn bare(&mut self) -> Result<String, Broken> {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (cell, rest) = self.rest.split_at(end);
        let cell = match rest.starts_with(',') {
            true => cell,
            false => cell.strip_suffix('\r').unwrap_or(cell),
        };
        if cell.contains('"') {
            return Err(self.broken("a quote inside of a cell that does not begin with one"));
        }
        self.rest = rest;
        Ok(cell.to_owned())
    }

    /// From behind the opening quote to behind the closing one.
    fn quoted(&mut self) -> Result<String, Broken> {
        let opened = self.line;
        let mut cell = String::new();
        loop {
            let Some(end) = self.rest.find('"') else {
                let reason = "a quote is opened here and never closed";
                return Err(Broken {
                    line: opened,
                    reason,
                });
            };
            cell.push_str(&self.rest[..end]);
            self.line += self.rest[..end].matches('\n').count();
            self.rest = &self.rest[end + 1..];
            match self.rest.strip_prefix('"') {
                Some(rest) => {
                    cell.push('"');
                    self.rest = rest;
                }
                None => break,
            }
        }
        let ends = self.rest.is_empty()
            || self.rest.starts_with([',', '\n'])
            || self.rest.starts_with("\r\n");
        match ends {
            true => Ok(cell),
            false => Err(self.broken("something follows a closing quote")),
        }
    }

    fn end_of_line(&mut self) {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        if let Some(rest) = rest.strip_prefix('\n') {
            self.rest = rest;
            self.line += 1;
        }
    }

    fn broken(&self, reason: &'static str) -> Broken {
        Broken {
            line: self.line,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<(usize, Vec<String>)> {
        let rows = read(text).unwrap();
        rows.into_iter().map(|row| (row.line, row.cells)).collect()
    }

    #[test]
    fn rows_know_their_lines() {
        let text = "\u{feff}a,b\r\n\r\n\"x\n\"\"y\"\"\",2\n ,\nlast,3";
        let row =
            |line, cells: &[&str]| (line, cells.iter().map(|cell| (*cell).to_owned()).collect());
        let expected = vec![
            row(1, &["a", "b"]),
            row(3, &["x\n\"y\"", "2"]),
            row(6, &["last", "3"]),
        ];
        assert_eq!(cells(text), expected);
    }

    #[test]
    fn quotes_out_of_place_are_told_with_their_line() {
        let line = |text| read(text).unwrap_err().line;
        assert_eq!(line("a\nb\"c\n"), 2);
        assert_eq!(line("a\n\"b\nc"), 2);
        assert_eq!(line("\"a\n\"b\n"), 2);
    }
}
