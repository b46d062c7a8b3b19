//! Money as whole US cents; no floating point anywhere near it.

use std::fmt;
use std::iter::Sum;

use serde::Serialize;

/// An amount in cents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Cents(pub i64);

/// The highest price of one unit that can be entered: 100,000 dollars.
pub const HIGHEST_PRICE: Cents = Cents(10_000_000);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let whole = (self.0.unsigned_abs() / 100).to_string();
        let cents = self.0.unsigned_abs() % 100;
        write!(f, "{sign}${}.{cents:02}", with_thousands(&whole))
    }
}

impl Cents {
    /// Digits with a decimal point and nothing else, for files that programs read.
    pub fn plain(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        format!(
            "{sign}{}.{:02}",
            self.0.unsigned_abs() / 100,
            self.0.unsigned_abs() % 100
        )
    }

    /// Reads `12`, `12.5`, `12.50`, `$1,234.50`; the message is meant for the person who typed it.
    pub fn parse_price(text: &str) -> Result<Self, String> {
        let clean: String = text.trim().trim_start_matches('$').replace(',', "");
        let (whole, fraction) = clean.split_once('.').unwrap_or((&clean, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 9
            || fraction.len() > 2
            || !digits(whole)
            || !digits(fraction)
        {
            return Err("Enter a price in dollars and cents, for example 12.50.".into());
        }
        // At most nine and two digits, checked above: the number fits.
        let value: i64 = format!("{whole}{fraction:0<2}")
            .parse()
            .map_err(|_| "Enter a price, for example 12.50.")?;
        Self(value).checked_price()
    }

    /// The amount, if it is one that a unit can cost.
    pub fn checked_price(self) -> Result<Self, String> {
        match self.0 {
            i64::MIN..=0 => Err("The price must be more than zero.".into()),
            n if n > HIGHEST_PRICE.0 => Err(format!(
                "The price can be at most {HIGHEST_PRICE} per unit."
            )),
            _ => Ok(self),
        }
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|c| c.0).sum())
    }
}

/// Digits with a comma between each group of three.
pub fn with_thousands(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_to_people_and_to_programs() {
        assert_eq!(Cents(123_456_789).to_string(), "$1,234,567.89");
        assert_eq!(Cents(5).to_string(), "$0.05");
        assert_eq!(Cents(-150).to_string(), "-$1.50");
        assert_eq!(Cents(123_456).plain(), "1234.56");
    }

    #[test]
    fn prices_are_read_exactly_or_refused() {
        assert_eq!(Cents::parse_price("12"), Ok(Cents(1200)));
        assert_eq!(Cents::parse_price("12.5"), Ok(Cents(1250)));
        assert_eq!(Cents::parse_price(" $1,234.56 "), Ok(Cents(123_456)));
        for bad in [
            "",
            ".",
            "0",
            "0.00",
            "-1",
            "1.234",
            "1e3",
            "12,5x",
            "999999999",
            "9999999999",
        ] {
            assert!(Cents::parse_price(bad).is_err(), "{bad}");
        }
    }
}
