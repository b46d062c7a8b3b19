//! CSV as RFC 4180 describes it, safe to open in a spreadsheet.
//!
//! A cell that starts with `=`, `+`, `-`, `@`, a tab or a carriage return would be run as a formula by
//! common spreadsheets, so it gets an apostrophe in front (OWASP, "CSV Injection"), also after leading
//! spaces, which some programs skip. Numbers that this program made go through [`Row::number`] instead.

use std::fmt::Display;

/// One line under construction.
#[derive(Default)]
pub struct Row(String);

impl Row {
    /// Adds a text of any origin.
    pub fn text(mut self, value: &str) -> Self {
        self.separate();
        let risky = value
            .trim_start_matches(' ')
            .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
        let safe = if risky {
            format!("'{value}")
        } else {
            value.to_owned()
        };
        if safe.contains(['"', ',', '\r', '\n', ';', '\t'])
            || safe.starts_with(' ')
            || safe.ends_with(' ')
        {
            self.0.push('"');
            self.0.push_str(&safe.replace('"', "\"\""));
            self.0.push('"');
        } else {
            self.0.push_str(&safe);
        }
        self
    }

    /// Adds a number, date or other value whose text holds no character that CSV knows.
    pub fn number(mut self, value: impl Display) -> Self {
        self.separate();
        self.0.push_str(&value.to_string());
        self
    }

    /// The line with its end.
    pub fn end(self) -> String {
        format!("{}\r\n", self.0.strip_prefix(',').unwrap_or_default())
    }

    fn separate(&mut self) {
        // A marker in front of the first cell too, so that an empty first cell is still a cell.
        self.0.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str) -> String {
        Row::default()
            .text(value)
            .end()
            .trim_end_matches("\r\n")
            .to_owned()
    }

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(cell("Amoxicillin 500 mg"), "Amoxicillin 500 mg");
        assert_eq!(
            Row::default().text("").number(-5).text("x").end(),
            ",-5,x\r\n"
        );
    }

    #[test]
    fn separators_quotes_and_line_ends_are_quoted() {
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(cell("a\r\nb"), "\"a\r\nb\"");
    }

    #[test]
    fn formulas_are_defused() {
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(cell("-2"), "'-2");
        assert_eq!(cell("  =1"), "'  =1");
        assert_eq!(cell("\t=1"), "\"'\t=1\"");
        assert_eq!(
            cell("=HYPERLINK(\"http://x\",\"y\")"),
            "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""
        );
    }
}
