//! National Drug Codes.
//!
//! The FDA assigns ten digits in three segments (labeler, product, package) as 4-4-2, 5-3-2 or 5-4-1.
//! Billing uses eleven digits, 5-4-2 (HIPAA, 45 CFR 162.1002), made by padding the short segment with a
//! zero. Ten digits without hyphens are refused: three different drugs could be meant.

use std::fmt;

use serde::Serialize;

/// A code in its eleven-digit form; shown as 5-4-2.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ndc(String);

/// Why a text is no NDC. The message is meant for the person who typed it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NdcError {
    /// Nothing was entered.
    #[error("Enter the NDC printed on the package.")]
    Missing,
    /// Ten digits without hyphens.
    #[error(
        "Ten digits can be read three ways. Add the hyphens as printed on the package: 4-4-2, 5-3-2 or 5-4-1."
    )]
    Ambiguous,
    /// Something that is neither a digit nor a hyphen.
    #[error("An NDC has digits and hyphens only; “{0}” is neither.")]
    Character(char),
    /// A count of digits or segments that no form has.
    #[error("{0} is not an NDC form. Use 4-4-2, 5-3-2, 5-4-1 or 5-4-2 with hyphens, or 11 digits.")]
    Shape(String),
}

impl Ndc {
    /// Reads any of the accepted forms; spaces around it are ignored.
    pub fn parse(text: &str) -> Result<Self, NdcError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NdcError::Missing);
        }
        if let Some(other) = text.chars().find(|c| !c.is_ascii_digit() && *c != '-') {
            return Err(NdcError::Character(other));
        }
        let segments: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = segments.iter().map(|s| s.len()).collect();
        match lengths.as_slice() {
            [11] => Ok(Self(text.to_owned())),
            [10] => Err(NdcError::Ambiguous),
            [4, 4, 2] | [5, 3, 2] | [5, 4, 1] | [5, 4, 2] => Ok(Self(format!(
                "{:0>5}{:0>4}{:0>2}",
                segments[0], segments[1], segments[2]
            ))),
            [count] => Err(NdcError::Shape(format!(
                "{count} digit{}",
                if *count == 1 { "" } else { "s" }
            ))),
            _ => {
                let shape: Vec<String> = lengths.iter().map(usize::to_string).collect();
                Err(NdcError::Shape(shape.join("-")))
            }
        }
    }

    /// Eleven digits.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ndc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hyphenated(&self.0))
    }
}

impl Serialize for Ndc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Eleven digits as 5-4-2; anything else unchanged.
pub fn hyphenated(digits: &str) -> String {
    if digits.len() == 11 && digits.is_ascii() {
        format!("{}-{}-{}", &digits[..5], &digits[5..9], &digits[9..])
    } else {
        digits.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_the_same_eleven_digits() {
        for (text, digits) in [
            ("0093-3109-01", "00093310901"),
            ("00093-310-01", "00093031001"),
            ("00093-3109-1", "00093310901"),
            ("00093-3109-01", "00093310901"),
            (" 00093310901 ", "00093310901"),
        ] {
            assert_eq!(Ndc::parse(text).unwrap().digits(), digits, "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_five_four_two() {
        assert_eq!(
            Ndc::parse("0093-3109-01").unwrap().to_string(),
            "00093-3109-01"
        );
    }

    #[test]
    fn what_is_no_ndc_is_refused_with_the_reason() {
        assert_eq!(Ndc::parse("  "), Err(NdcError::Missing));
        assert_eq!(Ndc::parse("0093310901"), Err(NdcError::Ambiguous));
        assert_eq!(Ndc::parse("0093-3109-0l"), Err(NdcError::Character('l')));
        assert_eq!(
            Ndc::parse("0093-310-01"),
            Err(NdcError::Shape("4-3-2".into()))
        );
        assert_eq!(Ndc::parse("1"), Err(NdcError::Shape("1 digit".into())));
        assert_eq!(
            Ndc::parse("000933109012"),
            Err(NdcError::Shape("12 digits".into()))
        );
        assert_eq!(Ndc::parse("--"), Err(NdcError::Shape("0-0-0".into())));
        assert_eq!(
            Ndc::parse("٠٠٠٩٣٣١٠٩٠١"),
            Err(NdcError::Character('٠')),
            "other scripts' digits"
        );
    }
}
