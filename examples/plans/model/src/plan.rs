//! Plans and the people they cover.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cost::Usage;
use crate::money::{Cents, HIGHEST};

/// The most plans that are compared at a time.
pub const MOST_PLANS: usize = 40;
/// The most employees of one employer.
pub const MOST_EMPLOYEES: usize = 5_000;
/// The most dependents of one employee.
pub const MOST_DEPENDENTS: u8 = 9;
/// The longest name, in characters.
pub const LONGEST_NAME: usize = 80;
/// The longest code or number, in characters.
pub const LONGEST_CODE: usize = 20;

/// Who is covered: the employee alone, or with dependents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// The employee alone.
    Single,
    /// The employee and at least one dependent.
    Family,
}

/// An amount for each coverage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tiers {
    /// For the employee alone.
    pub single: Cents,
    /// For a family, all of its members together.
    pub family: Cents,
}

impl Tiers {
    /// The amount for a coverage.
    pub fn of(self, coverage: Coverage) -> Cents {
        match coverage {
            Coverage::Single => self.single,
            Coverage::Family => self.family,
        }
    }
}

/// What an insurer offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Short and unique within an employer: `PPO-500`.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// What is paid each month, whatever happens.
    pub premium: Tiers,
    /// How much of the premium the employer pays, in percent.
    pub employer_percent: u8,
    /// What members pay of a year's charges before the plan pays anything.
    pub deductible: Tiers,
    /// What members pay of the charges beyond the deductible, in percent.
    pub coinsurance_percent: u8,
    /// The most that members pay of a year's charges.
    pub out_of_pocket: Tiers,
    /// What the employer puts into the employee's health account each year.
    pub account: Cents,
}

/// Somebody who is covered, and whom with them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Employee {
    /// Unique within an employer.
    pub number: String,
    /// Their name.
    pub name: String,
    /// How many people are covered with them, up to [`MOST_DEPENDENTS`].
    pub dependents: u8,
    /// How much care each of them is expected to need.
    pub usage: Usage,
}

impl Employee {
    /// Which amounts of a plan hold for them.
    pub fn coverage(&self) -> Coverage {
        match self.dependents {
            0 => Coverage::Single,
            _ => Coverage::Family,
        }
    }

    /// How many people are covered, the employee included.
    pub fn covered(&self) -> u32 {
        u32::from(self.dependents) + 1
    }
}

/// What is wrong with a plan or an employee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The column where it is to be mended.
    pub column: &'static str,
    /// What is wrong; completes "the value …".
    pub reason: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.column, self.reason)
    }
}

fn wrong(column: &'static str, reason: impl Into<String>) -> Wrong {
    Wrong {
        column,
        reason: reason.into(),
    }
}

impl Plan {
    /// Everything that is wrong with it.
    pub fn wrongs(&self) -> Vec<Wrong> {
        let mut found = Vec::new();
        found.extend(text("code", &self.code, LONGEST_CODE));
        found.extend(text("name", &self.name, LONGEST_NAME));
        let tiers = [
            ("premium_single", "premium_family", self.premium),
            ("deductible_single", "deductible_family", self.deductible),
            (
                "out_of_pocket_single",
                "out_of_pocket_family",
                self.out_of_pocket,
            ),
        ];
        for (single, family, amounts) in tiers {
            found.extend(amount(single, amounts.single));
            found.extend(amount(family, amounts.family));
            if amounts.family < amounts.single {
                found.push(wrong(family, format!("is less than {single}")));
            }
        }
        let least = [
            (
                "out_of_pocket_single",
                self.out_of_pocket.single,
                self.deductible.single,
            ),
            (
                "out_of_pocket_family",
                self.out_of_pocket.family,
                self.deductible.family,
            ),
        ];
        for (column, most, deductible) in least {
            if most < deductible {
                found.push(wrong(column, "is less than the deductible"));
            }
        }
        let percents = [
            ("employer_percent", self.employer_percent),
            ("coinsurance_percent", self.coinsurance_percent),
        ];
        found.extend(percents.iter().filter(|(_, percent)| *percent > 100).map(
            |(column, percent)| wrong(column, format!("is {percent}; it goes from 0 to 100")),
        ));
        found.extend(amount("employer_account", self.account));
        found
    }
}

impl Employee {
    /// Everything that is wrong with it.
    pub fn wrongs(&self) -> Vec<Wrong> {
        let mut found = Vec::new();
        found.extend(text("number", &self.number, LONGEST_CODE));
        found.extend(text("name", &self.name, LONGEST_NAME));
        if self.dependents > MOST_DEPENDENTS {
            let reason = format!(
                "is {}; it goes from 0 to {MOST_DEPENDENTS}",
                self.dependents
            );
            found.push(wrong("dependents", reason));
        }
        found
    }
}

fn text(column: &'static str, text: &str, longest: usize) -> Option<Wrong> {
    if text.trim().is_empty() {
        return Some(wrong(column, "is empty"));
    }
    if text.chars().count() > longest {
        return Some(wrong(column, format!("has more than {longest} characters")));
    }
    let control = text.chars().any(char::is_control);
    control.then(|| wrong(column, "has a line break or another control character"))
}

fn amount(column: &'static str, amount: Cents) -> Option<Wrong> {
    match amount {
        amount if amount < Cents(0) => Some(wrong(column, "is less than zero")),
        amount if amount > HIGHEST => Some(wrong(column, format!("is more than {HIGHEST}"))),
        _ => None,
    }
}
