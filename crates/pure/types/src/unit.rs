//! Durations and sizes as people write them in a stack file: `200ms`, `256MiB`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// Why a duration or size does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidUnit {
    /// The offending text.
    pub text: String,
    /// What would have been right.
    pub expected: &'static str,
}

/// What a duration looks like, for an error message.
pub const DURATION_RULE: &str = "a duration such as 200ms, 5s, 2m, 1h or 7d";
/// What a size looks like, for an error message.
pub const SIZE_RULE: &str = "a size such as 512KiB, 256MiB, 1GiB or 10GB";

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, without a space.
///
/// # Errors
/// [`InvalidUnit`] when it is something else, or longer than `u64` milliseconds.
pub fn parse_duration(text: &str) -> Result<Millis, InvalidUnit> {
    let millis = split(text).and_then(|(number, unit)| {
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(factor)
    });
    millis.map(Millis).ok_or_else(|| InvalidUnit {
        text: text.to_owned(),
        expected: DURATION_RULE,
    })
}

/// Prints a duration in the largest unit that divides it: `1500ms`, `90s`, `2m`.
#[must_use]
pub fn format_duration(span: Millis) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    for (factor, unit) in units {
        if span.0 >= factor && span.0.is_multiple_of(factor) {
            return format!("{}{unit}", span.0 / factor);
        }
    }
    format!("{}ms", span.0)
}

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads a size: a whole number and `B`, `KB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`,
    /// `GiB`, `TiB` (powers of 1024), without a space.
    ///
    /// # Errors
    /// [`InvalidUnit`] when it is something else, or more than `u64` bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidUnit> {
        let bytes = split(text).and_then(|(number, unit)| number.checked_mul(size_factor(unit)?));
        bytes.map(Self).ok_or_else(|| InvalidUnit {
            text: text.to_owned(),
            expected: SIZE_RULE,
        })
    }
}

fn size_factor(unit: &str) -> Option<u64> {
    Some(match unit {
        "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    })
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            let factor = 1u64 << shift;
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["200ms", "5s", "2m", "1h", "7d", "1500ms", "0ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for bad in [
            "",
            "5",
            "5 s",
            "s",
            "-1s",
            "1.5s",
            "5min",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn sizes_round_trip() {
        for text in ["512KiB", "256MiB", "1GiB", "7B"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ByteSize::parse("10GB").unwrap().0, 10_000_000_000);
        for bad in ["", "256", "256M", "mib", "1 GiB", "99999999TiB"] {
            assert!(ByteSize::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
