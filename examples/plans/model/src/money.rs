//! Money as whole US cents; no floating point anywhere near it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An amount in cents.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cents(pub i64);

/// The highest amount that can be entered: ten million dollars.
pub const HIGHEST: Cents = Cents(1_000_000_000);

impl Cents {
    /// So many percent of it, rounded half up to a cent. For amounts from zero up to [`HIGHEST`] times twelve.
    pub fn percent(self, percent: u8) -> Self {
        Self((self.0 * i64::from(percent) + 50) / 100)
    }

    /// Twelve of it: a year of a monthly amount.
    pub fn yearly(self) -> Self {
        Self(self.0 * 12)
    }

    /// Whole dollars with thousands separated, rounded half up: what a table for people shows.
    pub fn dollars(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let whole = (self.0.unsigned_abs() + 50) / 100;
        format!("{sign}${}", with_thousands(whole))
    }

    /// Reads `12`, `12.5`, `12.50`, `$1,234.50`; the message is meant for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || "is no amount of dollars such as 1234.50".to_owned();
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = without_thousands(whole).ok_or_else(refused)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(&whole) || !digits(fraction) || fraction.len() > 2 {
            return Err(refused());
        }
        // Twelve digits at most: the number fits.
        if whole.len() > 10 {
            return Err(format!("is more than {HIGHEST}"));
        }
        let amount = format!("{whole}{fraction:0<2}").parse().map(Self);
        match amount.map_err(|_| refused())? {
            amount if amount > HIGHEST => Err(format!("is more than {HIGHEST}")),
            amount => Ok(amount),
        }
    }
}

/// The digits without their commas; nothing where a comma does not stand before three digits.
fn without_thousands(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let grouped = !rest.is_empty();
    let fits =
        rest.iter().all(|group| group.len() == 3) && (!grouped || (1..=3).contains(&first.len()));
    fits.then(|| text.replace(',', ""))
}

fn with_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(
            f,
            "{sign}${}.{:02}",
            with_thousands(amount / 100),
            amount % 100
        )
    }
}

impl Add for Cents {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Cents {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self(0), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_to_people() {
        assert_eq!(Cents(123_456_789).to_string(), "$1,234,567.89");
        assert_eq!(Cents(-5).to_string(), "-$0.05");
        assert_eq!(Cents(123_450).dollars(), "$1,235");
    }

    #[test]
    fn amounts_are_read_exactly_or_refused() {
        assert_eq!(Cents::parse(" $1,234.5 "), Ok(Cents(123_450)));
        assert_eq!(Cents::parse("0"), Ok(Cents(0)));
        for bad in [
            "",
            ".",
            "-1",
            "1.234",
            "1e3",
            "1,2",
            "1,2345",
            ",123",
            "NaN",
            "1 000",
            "99999999999",
        ] {
            assert!(Cents::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn half_a_cent_goes_up() {
        assert_eq!(Cents(50).percent(1), Cents(1));
        assert_eq!(Cents(49).percent(1), Cents(0));
        assert_eq!(Cents(12_345).percent(100), Cents(12_345));
    }
}
