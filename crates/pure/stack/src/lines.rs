//! Where the lines of a text begin.

use crate::mistake::Span;

/// The lines of a text, found once.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
        }
    }

    /// The number of the line that holds the byte `at`, from 0.
    pub(crate) fn number(&self, at: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    /// The line that holds the byte `at`, without its end.
    pub(crate) fn around(&self, at: usize) -> Span {
        let number = self.number(at);
        let start = self.starts.get(number).copied().unwrap_or(0);
        let end = self
            .starts
            .get(number + 1)
            .map_or(self.text.len(), |next| next - 1);
        Span { start, end }
    }

    /// The line and column of the byte `at`, both from 1, the column in characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let start = self.around(at).start;
        let before = self.text.get(start..at).unwrap_or("");
        (self.number(at) + 1, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_lines() {
        let lines = Lines::of("aé\nb\n");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(3), (1, 3));
        assert_eq!(lines.position(4), (2, 1));
        assert_eq!(lines.position(6), (3, 1));
        assert_eq!(lines.around(5), Span { start: 4, end: 5 });
        assert_eq!(Lines::of("").position(0), (1, 1));
    }
}
