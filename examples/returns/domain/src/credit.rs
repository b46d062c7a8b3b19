//! What a returned item is worth.
//!
//! Illustrative terms, as a returns agreement would state them:
//!
//! | reason | credit |
//! | --- | --- |
//! | expired, at most 12 months ago | 100 % of the list price |
//! | expired earlier | none; destroyed |
//! | unused, in date | 85 % |
//! | damaged | 40 % |
//!
//! Money is rounded once per item, half a cent up.

use jiff::ToSpan;
use jiff::civil::Date;

use crate::entry::Reason;
use crate::money::Cents;

/// The share of the list price, in percent, that is credited for an item on the day it is valued.
pub fn percent(reason: Reason, expiry: Date, today: Date) -> i64 {
    match reason {
        Reason::Expired if within_window(expiry, today) => 100,
        Reason::Expired => 0,
        Reason::Unused => 85,
        Reason::Damaged => 40,
    }
}

/// The credit for `quantity` units at `unit_price`.
pub fn credit(unit_price: Cents, quantity: i32, percent: i64) -> Cents {
    Cents((unit_price.0 * i64::from(quantity) * percent + 50) / 100)
}

fn within_window(expiry: Date, today: Date) -> bool {
    today
        .checked_sub(12.months())
        .is_ok_and(|oldest| expiry >= oldest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const TODAY: Date = date(2026, 11, 21);

    #[test]
    fn the_terms_hold_to_the_day() {
        assert_eq!(percent(Reason::Expired, date(2026, 11, 20), TODAY), 100);
        assert_eq!(percent(Reason::Expired, date(2025, 11, 21), TODAY), 100);
        assert_eq!(percent(Reason::Expired, date(2025, 11, 20), TODAY), 0);
        assert_eq!(percent(Reason::Unused, date(2027, 1, 31), TODAY), 85);
        assert_eq!(percent(Reason::Damaged, date(2020, 1, 31), TODAY), 40);
    }

    #[test]
    fn half_a_cent_rounds_up_once() {
        assert_eq!(credit(Cents(333), 3, 85), Cents(849), "849.15");
        assert_eq!(credit(Cents(1), 50, 85), Cents(43), "42.5");
        assert_eq!(credit(Cents(999), 7, 0), Cents(0));
    }

    #[test]
    fn the_largest_item_fits() {
        let most = credit(crate::money::HIGHEST_PRICE, crate::entry::MOST_UNITS, 100);
        assert_eq!(most, Cents(100_000_000_000));
    }
}
