//! What a year costs.
//!
//! Members pay a year's charges up to the deductible, then their coinsurance of the rest, and never more
//! than the out-of-pocket maximum. The employer pays a part of the premium and what it puts into the
//! employee's health account; the account pays first, and what it does not need stays the employee's.
//!
//! A year is never certain: each covered person has a light, a medium or a heavy one, independently, with
//! chances that follow from the usage that is expected of them ([`Usage::chances`]). The expected cost is
//! taken over all of these years, exactly, and is rounded half up to a cent once, at the end. It cannot be
//! had from the expected charges: a deductible and a maximum make cost no straight line.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::money::Cents;
use crate::plan::{Coverage, Employee, Plan};

/// How much care somebody is expected to need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// Check-ups, a prescription.
    Low,
    /// Visits to specialists, regular medicines.
    Medium,
    /// A chronic illness, an operation, a stay in hospital.
    High,
}

impl Usage {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The chance, in percent, that the year of such a person is a light, a medium and a heavy one.
    pub fn chances(self) -> [u8; 3] {
        match self {
            Self::Low => [80, 17, 3],
            Self::Medium => [25, 60, 15],
            Self::High => [5, 35, 60],
        }
    }
}

/// What one person's care is charged at in a year, by how the year goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assumptions {
    /// In a light year.
    pub low: Cents,
    /// In a medium year.
    pub medium: Cents,
    /// In a heavy year.
    pub high: Cents,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            low: Cents(60_000),
            medium: Cents(480_000),
            high: Cents(3_800_000),
        }
    }
}

impl Assumptions {
    /// The charges of one person in such a year.
    pub fn charges(self, year: Usage) -> Cents {
        match year {
            Usage::Low => self.low,
            Usage::Medium => self.medium,
            Usage::High => self.high,
        }
    }

    /// Whether a heavier year costs at least as much, and no more than can be entered.
    pub fn are_in_order(self) -> bool {
        let fits = |amount: Cents| (Cents(0)..=crate::money::HIGHEST).contains(&amount);
        self.low <= self.medium && self.medium <= self.high && fits(self.low) && fits(self.high)
    }
}

/// What a year costs whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Bill {
    /// The employee: their part of the premium and of the charges, less what the account paid.
    pub employee: Cents,
    /// The employer: its part of the premium, and what it put into the account.
    pub employer: Cents,
}

impl Bill {
    /// Both.
    pub fn together(self) -> Cents {
        self.employee + self.employer
    }
}

impl Add for Bill {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            employee: self.employee + other.employee,
            employer: self.employer + other.employer,
        }
    }
}

impl std::iter::Sum for Bill {
    fn sum<I: Iterator<Item = Self>>(bills: I) -> Self {
        bills.fold(Self::default(), Add::add)
    }
}

/// What members pay of a year's charges. The coinsurance is rounded half up to a cent.
pub fn share(plan: &Plan, coverage: Coverage, charges: Cents) -> Cents {
    let before = charges.min(plan.deductible.of(coverage));
    let beyond = (charges - before).percent(plan.coinsurance_percent);
    (before + beyond).min(plan.out_of_pocket.of(coverage))
}

/// What a year with these charges costs.
pub fn bill(plan: &Plan, coverage: Coverage, charges: Cents) -> Bill {
    let share = share(plan, coverage, charges);
    let fixed = fixed(plan, coverage);
    Bill {
        employee: fixed.employee + share - share.min(plan.account),
        employer: fixed.employer,
    }
}

/// What is paid before anybody is ill. The employer's part of the premium is rounded half up to a cent.
fn fixed(plan: &Plan, coverage: Coverage) -> Bill {
    let premium = plan.premium.of(coverage).yearly();
    let part = premium.percent(plan.employer_percent);
    Bill {
        employee: premium - part,
        employer: part + plan.account,
    }
}

/// What a year costs in which each covered person has the same kind of year.
pub fn same_year(plan: &Plan, employee: &Employee, assumed: Assumptions, year: Usage) -> Bill {
    let charges = Cents(assumed.charges(year).0 * i64::from(employee.covered()));
    bill(plan, employee.coverage(), charges)
}

/// The expected cost of a year, over all that may happen to the people who are covered.
pub fn expected(plan: &Plan, employee: &Employee, assumed: Assumptions) -> Bill {
    let covered = employee.covered();
    let chances = employee.usage.chances().map(u128::from);
    let mut weighted: u128 = 0;
    for (light, medium) in splits(covered) {
        let heavy = covered - light - medium;
        let years = [light, medium, heavy];
        let charges = Usage::ALL.iter().zip(years);
        let charges = charges.map(|(year, people)| assumed.charges(*year).0 * i64::from(people));
        let bill = bill(plan, employee.coverage(), Cents(charges.sum()));
        let chance = chances.iter().zip(years).map(|(chance, n)| chance.pow(n));
        // An employee never pays less than nothing: the premium's part is at most the premium.
        let paid = u128::from(bill.employee.0.unsigned_abs());
        weighted += ways(years) * chance.product::<u128>() * paid;
    }
    // At most 100^10, and amounts below 2^40: far from the end of u128.
    let all = 100_u128.pow(covered);
    let rounded = (weighted + all / 2) / all;
    Bill {
        employee: Cents(i64::try_from(rounded).unwrap_or(i64::MAX)),
        employer: fixed(plan, employee.coverage()).employer,
    }
}

/// How many people may have a light and a medium year; the others have a heavy one.
fn splits(covered: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..=covered).flat_map(move |light| (0..=covered - light).map(move |medium| (light, medium)))
}

/// In how many ways people can be told apart into groups of these sizes.
fn ways(groups: [u32; 3]) -> u128 {
    let factorial = |n: u32| (1..=u128::from(n)).product::<u128>();
    groups
        .iter()
        .fold(factorial(groups.iter().sum()), |ways, group| {
            ways / factorial(*group)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Tiers;

    fn plan() -> Plan {
        let tiers = |single, family| Tiers {
            single: Cents(single),
            family: Cents(family),
        };
        Plan {
            code: "P".into(),
            name: "Plan".into(),
            premium: tiers(50_000, 120_000),
            employer_percent: 80,
            deductible: tiers(100_000, 200_000),
            coinsurance_percent: 20,
            out_of_pocket: tiers(400_000, 800_000),
            account: Cents(0),
        }
    }

    #[test]
    fn deductible_then_coinsurance_then_the_maximum() {
        let share = |charges| share(&plan(), Coverage::Single, Cents(charges));
        assert_eq!(share(60_000), Cents(60_000));
        assert_eq!(share(100_000), Cents(100_000));
        assert_eq!(share(300_000), Cents(140_000));
        assert_eq!(share(3_000_000), Cents(400_000));
    }

    #[test]
    fn a_year_by_hand() {
        let mut plan = plan();
        plan.account = Cents(50_000);
        let bill = bill(&plan, Coverage::Single, Cents(300_000));
        // 12 × $500 × 20 % + $1,400 − $500; 12 × $500 × 80 % + $500.
        assert_eq!(bill.employee, Cents(120_000 + 140_000 - 50_000));
        assert_eq!(bill.employer, Cents(480_000 + 50_000));
    }

    #[test]
    fn the_expected_year_of_one_person_by_hand() {
        let employee = Employee {
            number: "1".into(),
            name: "A".into(),
            dependents: 0,
            usage: Usage::Low,
        };
        let bill = expected(&plan(), &employee, Assumptions::default());
        // Shares of $600, $1,760 and $4,000 with chances of 80, 17 and 3 %, and $1,200 of premium.
        assert_eq!(bill.employee, Cents(120_000 + 48_000 + 29_920 + 12_000));
    }

    #[test]
    fn every_chance_is_counted_once() {
        for usage in Usage::ALL {
            assert_eq!(
                usage.chances().iter().map(|c| u32::from(*c)).sum::<u32>(),
                100
            );
        }
        let all: u128 = splits(4).map(|(l, m)| ways([l, m, 4 - l - m])).sum();
        assert_eq!(all, 3_u128.pow(4));
    }
}
