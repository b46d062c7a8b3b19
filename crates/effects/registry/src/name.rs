//! Names of repositories and tags. They become names of folders and files, so nothing is taken
//! that the specification's own grammar does not allow, and that grammar has no room for `..`, an
//! absolute path or a name that begins with `_`, which the catalog keeps for itself.

use std::fmt;

use crate::digest::ContentDigest;
use crate::error::{Error, Result};

/// The longest repository name taken, in bytes. Clients cut at 255 with the host's name.
const LONGEST_NAME: usize = 255;
/// The longest tag, in bytes (distribution specification, "Pulling manifests").
const LONGEST_TAG: usize = 128;

/// The name of a repository: path components of lower-case letters and digits, separated inside by
/// `.`, `_`, `__` or any number of `-` (distribution specification, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// Reads a repository's name.
    ///
    /// # Errors
    /// [`Error::Name`] when the specification's grammar does not allow it.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() <= LONGEST_NAME && text.split('/').all(is_component) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Name {
            text: text.chars().take(LONGEST_NAME).collect(),
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
pub(crate) fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let separators_hold = bytes
        .split(|b| word(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'));
    word(*first) && word(*last) && separators_hold
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// [`Error::Reference`] when the specification's grammar does not allow it.
    pub fn parse(text: &str) -> Result<Self> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let begins = text.bytes().next().is_some_and(word);
        let rest = text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if begins && rest && text.len() <= LONGEST_TAG {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Reference {
            text: text.chars().take(LONGEST_TAG).collect(),
        })
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it stands in a listing: case-insensitive first (distribution specification, "Listing
    /// Tags"), then by its bytes so that the order is total.
    pub(crate) fn order(&self) -> (String, &str) {
        (self.0.to_ascii_lowercase(), &self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// Its content.
    Digest(ContentDigest),
}

impl Reference {
    /// Reads a tag or a digest.
    ///
    /// # Errors
    /// [`Error::DigestSyntax`] for a text with a colon that is no digest, [`Error::Reference`] for one
    /// without that is no tag.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(':') {
            return ContentDigest::parse(text).map(Self::Digest);
        }
        Tag::parse(text).map(Self::Tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_names() {
        for good in ["a", "library/nginx", "a.b/c__d/e---f/9", "127.0.0.1-5000/x"] {
            assert!(Repository::parse(good).is_ok(), "{good} was refused");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "a.", "_tags", "a/_tags", "a___b",
            "a..b", "a._b", "A", "a b", "a\0b", "ä", "a%2fb", "a:b", &long,
        ] {
            assert!(Repository::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_grammar_of_tags() {
        for good in ["latest", "_x", "V1.2-rc_3", &"t".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good} was refused");
        }
        for bad in [
            "",
            ".",
            "..",
            "-x",
            ".x",
            "a/b",
            "a b",
            "é",
            &"t".repeat(129),
        ] {
            assert!(Tag::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn tags_are_ordered_without_regard_to_case() {
        let mut tags = ["b", "A", "a", "C"].map(|t| Tag::parse(t).unwrap());
        tags.sort_by(|x, y| x.order().cmp(&y.order()));
        assert_eq!(tags.map(|t| t.0), ["A", "a", "b", "C"]);
    }
}
