//! Why a plan is recommended, and what speaks against it: values first, sentences from them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, Goal, PlanResult};
use crate::money::Cents;

/// One reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// It costs the least by the goal.
    Lowest {
        /// Whose cost decided.
        goal: Goal,
        /// The expected cost of a year.
        amount: Cents,
        /// The next one and by how much it costs more; none where there is no other plan.
        next: Option<(String, Cents)>,
    },
    /// So many employees have no cheaper one.
    CheapestFor {
        /// How many.
        employees: usize,
        /// Of how many.
        of: usize,
    },
    /// What a heavy year costs an employee on average, and how many plans cost less then.
    HeavyYear {
        /// For one employee, rounded half up to a cent.
        average: Cents,
        /// How many plans are cheaper in such a year.
        cheaper: usize,
    },
    /// Against it: others would be better off with another plan.
    BetterElsewhere {
        /// How many.
        employees: usize,
        /// What they pay more than they had to, on average, rounded half up to a cent.
        average: Cents,
    },
    /// Against it: another one costs the employer less.
    EmployerPaysMore {
        /// The plan that is cheapest for the employer.
        than: String,
        /// By how much, in a year.
        by: Cents,
    },
    /// Worth a thought: two plans side by side.
    SideBySide {
        /// Both plans' names.
        plans: [String; 2],
        /// How many would take each.
        takers: [usize; 2],
        /// What it saves in a year against the recommended plan alone, by the goal.
        saves: Cents,
    },
}

impl Reason {
    /// Whether it speaks for the recommended plan.
    pub fn speaks_for(&self) -> bool {
        match self {
            Self::Lowest { .. } | Self::CheapestFor { .. } => true,
            Self::HeavyYear { cheaper, .. } => *cheaper == 0,
            Self::BetterElsewhere { .. }
            | Self::EmployerPaysMore { .. }
            | Self::SideBySide { .. } => false,
        }
    }
}

impl Reason {
    /// The word that a person reads before it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::SideBySide { .. } => "Or",
            reason if reason.speaks_for() => "For",
            _ => "But",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lowest { goal, amount, next } => {
                write!(
                    f,
                    "It costs {} the least: {} in an expected year",
                    goal.whose(),
                    amount.dollars()
                )?;
                match next {
                    None => write!(f, "; there is no other plan to compare it with."),
                    Some((_, Cents(0))) => write!(
                        f,
                        ", as much as the next one, whose heavy year is no cheaper."
                    ),
                    Some((next, by)) => write!(f, ", {} less than {next}.", by.dollars()),
                }
            }
            Self::CheapestFor { employees, of } => {
                write!(
                    f,
                    "It is the cheapest plan for {employees} of {}.",
                    people(*of)
                )
            }
            Self::HeavyYear {
                average,
                cheaper: 0,
            } => {
                write!(
                    f,
                    "In a heavy year it costs an employee {} on average; no other plan costs less then.",
                    average.dollars()
                )
            }
            Self::HeavyYear { average, cheaper } => {
                let plans = if *cheaper == 1 {
                    "one plan costs"
                } else {
                    "several plans cost"
                };
                write!(
                    f,
                    "In a heavy year it costs an employee {} on average; {plans} less then.",
                    average.dollars()
                )
            }
            Self::BetterElsewhere { employees, average } => {
                write!(
                    f,
                    "{} would pay less under another plan, {} a year on average.",
                    people(*employees),
                    average.dollars()
                )
            }
            Self::EmployerPaysMore { than, by } => {
                write!(
                    f,
                    "It costs the employer {} a year more than {than}.",
                    by.dollars()
                )
            }
            Self::SideBySide {
                plans: [first, second],
                takers,
                saves,
            } => write!(
                f,
                "Offered side by side, {first} would be taken by {} and {second} by {}; that saves {} a year.",
                takers[0],
                takers[1],
                saves.dollars()
            ),
        }
    }
}

fn people(count: usize) -> String {
    format!(
        "{count} {}",
        if count == 1 { "employee" } else { "employees" }
    )
}

/// The reasons for the first of the ranking, those that speak for it first.
pub(crate) fn reasons(comparison: &Comparison) -> Vec<Reason> {
    let mut reasons = vec![lowest(comparison)];
    reasons.extend(cheapest_for(comparison));
    reasons.push(heavy_year(comparison));
    reasons.extend(better_elsewhere(comparison));
    reasons.extend(employer_pays_more(comparison));
    reasons.extend(side_by_side(comparison));
    reasons.sort_by_key(|reason| !reason.speaks_for());
    reasons
}

fn lowest(comparison: &Comparison) -> Reason {
    let amount = comparison.goal.of(comparison.recommended().expected);
    let next = comparison.ranking.get(1).map(|at| &comparison.plans[*at]);
    Reason::Lowest {
        goal: comparison.goal,
        amount,
        next: next.map(|next| {
            (
                next.name.clone(),
                comparison.goal.of(next.expected) - amount,
            )
        }),
    }
}

fn cheapest_for(comparison: &Comparison) -> Option<Reason> {
    let employees = comparison.recommended().cheapest_for;
    (employees > 0).then_some(Reason::CheapestFor {
        employees,
        of: comparison.employees.len(),
    })
}

fn heavy_year(comparison: &Comparison) -> Reason {
    let heavy = |plan: &PlanResult| plan.years[2].employee;
    let own = heavy(comparison.recommended());
    Reason::HeavyYear {
        average: average(own, comparison.employees.len()),
        cheaper: comparison
            .plans
            .iter()
            .filter(|plan| heavy(plan) < own)
            .count(),
    }
}

fn better_elsewhere(comparison: &Comparison) -> Option<Reason> {
    let own = comparison.ranking[0];
    let more = comparison
        .employees
        .iter()
        .map(|who| who.costs[own] - who.costs[who.best]);
    let more: Vec<Cents> = more.filter(|more| *more > Cents(0)).collect();
    (!more.is_empty()).then(|| Reason::BetterElsewhere {
        employees: more.len(),
        average: average(more.iter().copied().sum(), more.len()),
    })
}

fn employer_pays_more(comparison: &Comparison) -> Option<Reason> {
    let own = comparison.recommended().expected.employer;
    let least = comparison
        .plans
        .iter()
        .min_by_key(|plan| plan.expected.employer)?;
    (least.expected.employer < own).then(|| Reason::EmployerPaysMore {
        than: least.name.clone(),
        by: own - least.expected.employer,
    })
}

fn side_by_side(comparison: &Comparison) -> Option<Reason> {
    let pair = comparison.pair.as_ref()?;
    let alone = comparison.goal.of(comparison.recommended().expected);
    Some(Reason::SideBySide {
        plans: pair.plans.map(|at| comparison.plans[at].name.clone()),
        takers: pair.takers,
        saves: alone - comparison.goal.of(pair.expected),
    })
}

/// Rounded half up; of at least one, and of amounts that are not negative.
fn average(sum: Cents, count: usize) -> Cents {
    let count = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    Cents((sum.0 + count / 2) / count)
}
