//! Digests of stored content, and computing them while bytes go by.

use std::fmt;

use aws_lc_rs::digest::{self, Context};
use ward_types::id::Digest;

use crate::error::{Error, Result};

/// A registered digest algorithm (OCI image specification, descriptors, "Registered algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the one that every client speaks.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every algorithm that is taken.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name, as it stands before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn implementation(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The digest of a piece of content, by either algorithm. Ward itself makes SHA-256 ones only
/// ([`Digest`]); clients may push others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest {
    algorithm: Algorithm,
    hex: String,
}

impl ContentDigest {
    /// Reads `algorithm:hex`.
    ///
    /// # Errors
    /// [`Error::DigestSyntax`] when it is not `sha256:` and 64, or `sha512:` and 128, lower-case
    /// hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let syntax = || Error::DigestSyntax {
            text: text.chars().take(160).collect(),
        };
        let (name, hex) = text.split_once(':').ok_or_else(syntax)?;
        Self::from_parts(name, hex).ok_or_else(syntax)
    }

    /// The digest with this algorithm's name and these hexadecimal digits, when they are one.
    #[must_use]
    pub fn from_parts(name: &str, hex: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == name)?;
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (hex.len() == algorithm.hex_length() && hex.bytes().all(digits)).then(|| Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The same digest as the rest of Ward writes it; `None` for another algorithm than SHA-256.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        Digest::parse(&self.to_string()).ok()
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl From<&Digest> for ContentDigest {
    fn from(digest: &Digest) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            hex: digest.hex().to_owned(),
        }
    }
}

/// A digest under way. Cheap to clone, so a digest so far can be had without ending it.
#[derive(Clone)]
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            context: Context::new(algorithm.implementation()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> ContentDigest {
        let hex = self
            .context
            .finish()
            .as_ref()
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0'))
            .collect();
        ContentDigest {
            algorithm: self.algorithm,
            hex,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(ContentDigest::of(Algorithm::Sha256, b"").to_string(), empty);
        let long = ContentDigest::of(Algorithm::Sha512, b"abc").to_string();
        assert!(long.starts_with("sha512:ddaf35a193617abacc417349ae204131"));
        assert_eq!(ContentDigest::parse(&long).unwrap().to_string(), long);
    }

    #[test]
    fn odd_digests_are_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let path = format!("sha256:../{}", "a".repeat(61));
        for bad in ["", "sha256", "sha256:", "md5:00", &upper, &path] {
            assert!(ContentDigest::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
