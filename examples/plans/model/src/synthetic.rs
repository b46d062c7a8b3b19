//! Made-up employers for demonstrations: the same ones each time, and nobody who lives.

use crate::cost::Usage;
use crate::money::Cents;
use crate::plan::{Employee, Plan, Tiers};

/// An employer that was made up.
pub struct Employer {
    /// Its name.
    pub name: &'static str,
    /// What it is offered.
    pub plans: Vec<Plan>,
    /// Who works there.
    pub employees: Vec<Employee>,
}

/// All of them.
pub fn employers() -> Vec<Employer> {
    let of = |name, count, seed| Employer {
        name,
        plans: plans(),
        employees: employees(count, seed),
    };
    vec![
        of("Alder Creek Components", 64, 7),
        of("Juniper Street Bakery", 11, 23),
        of("Three Bridges Physiotherapy", 28, 91),
    ]
}

/// Five plans of kinds that are sold: two with a high deductible and an account, three without.
pub fn plans() -> Vec<Plan> {
    let plan = |code: &str,
                name: &str,
                [premium, deductible, out_of_pocket]: [(i64, i64); 3],
                percents: (u8, u8),
                account: i64| {
        let tiers = |(single, family): (i64, i64)| Tiers {
            single: Cents(single * 100),
            family: Cents(family * 100),
        };
        Plan {
            code: code.to_owned(),
            name: name.to_owned(),
            premium: tiers(premium),
            employer_percent: percents.0,
            deductible: tiers(deductible),
            coinsurance_percent: percents.1,
            out_of_pocket: tiers(out_of_pocket),
            account: Cents(account * 100),
        }
    };
    vec![
        plan(
            "HDHP-3000",
            "Saver 3000 with account",
            [(438, 1_236), (3_000, 6_000), (6_500, 13_000)],
            (85, 20),
            750,
        ),
        plan(
            "HDHP-1800",
            "Saver 1800 with account",
            [(502, 1_418), (1_800, 3_600), (5_000, 10_000)],
            (80, 20),
            400,
        ),
        plan(
            "PPO-1500",
            "Choice 1500",
            [(561, 1_588), (1_500, 3_000), (6_000, 12_000)],
            (78, 25),
            0,
        ),
        plan(
            "PPO-500",
            "Choice 500",
            [(689, 1_952), (500, 1_000), (3_500, 7_000)],
            (72, 15),
            0,
        ),
        plan(
            "HMO-0",
            "Neighbourhood care",
            [(734, 2_069), (0, 0), (2_500, 5_000)],
            (70, 10),
            0,
        ),
    ]
}

const GIVEN: [&str; 16] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Esi", "Farid", "Greta", "Hugo", "Ines", "Jamal", "Keiko",
    "Liam", "Mina", "Noor", "Omar", "Priya",
];
const FAMILY: [&str; 12] = [
    "Abara", "Bell", "Costa", "Dahl", "Egan", "Fields", "Garza", "Holm", "Ito", "Jansen", "Khan",
    "Lowe",
];

fn employees(count: u64, seed: u64) -> Vec<Employee> {
    let mut dice = Dice(seed);
    let employee = |at: u64| Employee {
        number: format!("{:04}", 1001 + at),
        name: format!("{} {}", dice.one_of(&GIVEN), dice.one_of(&FAMILY)),
        dependents: dice.one_of(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 4]),
        usage: dice.one_of(&[
            Usage::Low,
            Usage::Low,
            Usage::Low,
            Usage::Medium,
            Usage::Medium,
            Usage::High,
        ]),
    };
    (0..count).map(employee).collect()
}

/// A linear congruential generator (Knuth's MMIX constants): the same throws for the same seed.
struct Dice(u64);

impl Dice {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        choices[(self.0 >> 33) as usize % choices.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_is_sound_and_always_the_same() {
        for (one, other) in employers().into_iter().zip(employers()) {
            assert!(one.plans.iter().all(|plan| plan.wrongs().is_empty()));
            assert!(one.employees.iter().all(|who| who.wrongs().is_empty()));
            assert_eq!(one.employees, other.employees);
        }
    }
}
