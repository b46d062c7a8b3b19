//! Mistakes in stack files, as data.

use serde::{Deserialize, Serialize};

/// A stretch of a file, in bytes from its start; `end` is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The very beginning, for what concerns the whole file.
    pub const START: Span = Span { start: 0, end: 0 };

    /// How many bytes it covers.
    #[must_use]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it covers nothing and only marks a place.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// A mistake in a stack file, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MistakeView {
    /// `W0201`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// The offending text.
    pub text: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What was probably meant.
    pub did_you_mean: Option<String>,
    /// Other places that have to do with it.
    pub labels: Vec<LabelView>,
}

/// Another place that has to do with a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelView {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// What is there.
    pub text: String,
}
