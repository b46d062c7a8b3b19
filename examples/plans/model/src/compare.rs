//! Comparing plans for all employees of an employer.
//!
//! Each plan is taken as if everybody had it. The recommended one costs the least by the goal that the
//! employer chose; where two cost the same, the one with the cheaper heavy year for employees, then the
//! one whose code comes first. Totals are sums of amounts that were rounded before, so that the columns of
//! a report add up.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::cost::{Assumptions, Bill, Usage, expected, same_year};
use crate::money::Cents;
use crate::plan::{Employee, MOST_EMPLOYEES, MOST_PLANS, Plan};
use crate::reason::{self, Reason};

/// Whose cost decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// What employer and employees pay together.
    #[default]
    Together,
    /// What employees pay.
    Employees,
    /// What the employer pays.
    Employer,
}

impl Goal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Together, Self::Employees, Self::Employer];

    /// Its name, as programs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Employees => "employees",
            Self::Employer => "employer",
        }
    }

    /// Whose cost, for people.
    pub fn whose(self) -> &'static str {
        match self {
            Self::Together => "employer and employees together",
            Self::Employees => "the employees",
            Self::Employer => "the employer",
        }
    }

    /// The part of a bill that decides.
    pub fn of(self, bill: Bill) -> Cents {
        match self {
            Self::Together => bill.together(),
            Self::Employees => bill.employee,
            Self::Employer => bill.employer,
        }
    }
}

/// What is to be compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// 1 to [`MOST_PLANS`].
    pub plans: Vec<Plan>,
    /// 1 to [`MOST_EMPLOYEES`].
    pub employees: Vec<Employee>,
    /// What care is charged at.
    pub assumptions: Assumptions,
    /// Whose cost decides.
    pub goal: Goal,
}

/// A request that cannot be computed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No plan, or too many.
    #[error("{0} plans; from 1 to {MOST_PLANS} can be compared")]
    Plans(usize),
    /// No employee, or too many.
    #[error("{0} employees; a comparison takes 1 to {MOST_EMPLOYEES}")]
    Employees(usize),
    /// A plan, or an employee, that cannot be.
    #[error("{what} “{which}”: {wrong}")]
    Wrong {
        /// `plan` or `employee`.
        what: &'static str,
        /// Its code or number.
        which: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// Charges that fall from a light year to a heavy one.
    #[error(
        "the charges of a light, a medium and a heavy year must not fall, and go from $0 to $10,000,000"
    )]
    Assumptions,
}

/// What came out for one plan, if everybody had it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanResult {
    /// Its code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// The expected cost of a year.
    pub expected: Bill,
    /// The cost of a year that is light, medium and heavy for everybody.
    pub years: [Bill; 3],
    /// For how many employees it is the cheapest; where several are, each counts.
    pub cheapest_for: usize,
}

/// What came out for one employee.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmployeeResult {
    /// Their number.
    pub number: String,
    /// Their name.
    pub name: String,
    /// The position of the plan that costs them the least.
    pub best: usize,
    /// What they are expected to pay in a year under each plan, in the plans' order.
    pub costs: Vec<Cents>,
}

/// Two plans side by side, of which each employee takes the one that costs them less.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// The positions of the plans.
    pub plans: [usize; 2],
    /// How many employees take each.
    pub takers: [usize; 2],
    /// The expected cost of a year.
    pub expected: Bill,
}

/// What came out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Whose cost decided.
    pub goal: Goal,
    /// What care was charged at.
    pub assumptions: Assumptions,
    /// The plans in the order of the request.
    pub plans: Vec<PlanResult>,
    /// The employees in the order of the request.
    pub employees: Vec<EmployeeResult>,
    /// The positions of the plans, the recommended one first.
    pub ranking: Vec<usize>,
    /// The best two side by side, where they cost less than the recommended plan alone.
    pub pair: Option<Pair>,
    /// Why the first of the ranking is recommended, and what speaks against it.
    pub reasons: Vec<Reason>,
}

impl Comparison {
    /// The plan that is recommended.
    pub fn recommended(&self) -> &PlanResult {
        &self.plans[self.ranking[0]]
    }
}

impl Request {
    /// Whether it can be computed.
    pub fn check(&self) -> Result<(), Refusal> {
        if !(1..=MOST_PLANS).contains(&self.plans.len()) {
            return Err(Refusal::Plans(self.plans.len()));
        }
        if !(1..=MOST_EMPLOYEES).contains(&self.employees.len()) {
            return Err(Refusal::Employees(self.employees.len()));
        }
        if !self.assumptions.are_in_order() {
            return Err(Refusal::Assumptions);
        }
        let plans = self.plans.iter().map(|plan| (&plan.code, plan.wrongs()));
        sound("plan", plans)?;
        let employees = self.employees.iter();
        sound(
            "employee",
            employees.map(|employee| (&employee.number, employee.wrongs())),
        )
    }

    /// Computes it.
    ///
    /// # Errors
    /// Says why it cannot be computed; never panics.
    pub fn compare(&self) -> Result<Comparison, Refusal> {
        self.check()?;
        let bills: Vec<Vec<Bill>> = self
            .employees
            .iter()
            .map(|employee| self.bills(employee))
            .collect();
        let employees = self.employees.iter().zip(&bills);
        let employees: Vec<EmployeeResult> =
            employees.map(|(who, bills)| outcome(who, bills)).collect();
        let plans: Vec<PlanResult> = (0..self.plans.len())
            .map(|at| self.plan(at, &bills, &employees))
            .collect();
        let ranking = self.ranking(&plans);
        let alone = self.goal.of(plans[ranking[0]].expected);
        let pair = self
            .pair(&bills)
            .filter(|pair| self.goal.of(pair.expected) < alone);
        let mut comparison = Comparison {
            goal: self.goal,
            assumptions: self.assumptions,
            plans,
            employees,
            ranking,
            pair,
            reasons: Vec::new(),
        };
        comparison.reasons = reason::reasons(&comparison);
        Ok(comparison)
    }

    fn bills(&self, employee: &Employee) -> Vec<Bill> {
        let plans = self.plans.iter();
        plans
            .map(|plan| expected(plan, employee, self.assumptions))
            .collect()
    }

    fn plan(&self, at: usize, bills: &[Vec<Bill>], employees: &[EmployeeResult]) -> PlanResult {
        let plan = &self.plans[at];
        let year = |year| {
            let everybody = self.employees.iter();
            everybody
                .map(|who| same_year(plan, who, self.assumptions, year))
                .sum()
        };
        let is_best = |who: &&EmployeeResult| who.costs[at] == who.costs[who.best];
        PlanResult {
            code: plan.code.clone(),
            name: plan.name.clone(),
            expected: bills.iter().map(|bills| bills[at]).sum(),
            years: Usage::ALL.map(year),
            cheapest_for: employees.iter().filter(is_best).count(),
        }
    }

    fn ranking(&self, plans: &[PlanResult]) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..plans.len()).collect();
        ranking.sort_by_key(|at| {
            let plan = &plans[*at];
            (
                self.goal.of(plan.expected),
                plan.years[2].employee,
                plan.code.clone(),
            )
        });
        ranking
    }

    /// The two plans that cost the least side by side; of equal ones those whose codes come first.
    fn pair(&self, bills: &[Vec<Bill>]) -> Option<Pair> {
        let count = self.plans.len();
        let pairs =
            (0..count).flat_map(|first| (first + 1..count).map(move |second| [first, second]));
        let pairs = pairs.map(|plans| side_by_side(plans, bills));
        let both_taken = pairs.filter(|pair| pair.takers.iter().all(|takers| *takers > 0));
        both_taken.min_by_key(|pair| {
            let mut codes = pair.plans.map(|at| self.plans[at].code.as_str());
            codes.sort_unstable();
            (self.goal.of(pair.expected), codes)
        })
    }
}

/// Nobody takes the dearer one; where both cost an employee the same, the employer's cost decides.
fn side_by_side(plans: [usize; 2], bills: &[Vec<Bill>]) -> Pair {
    let mut pair = Pair {
        plans,
        takers: [0, 0],
        expected: Bill::default(),
    };
    for bills in bills {
        let [first, second] = plans.map(|at| (bills[at].employee, bills[at].employer));
        let taken = usize::from(second < first);
        pair.takers[taken] += 1;
        pair.expected = pair.expected + bills[plans[taken]];
    }
    pair
}

fn outcome(employee: &Employee, bills: &[Bill]) -> EmployeeResult {
    let costs: Vec<Cents> = bills.iter().map(|bill| bill.employee).collect();
    let best = (0..costs.len()).min_by_key(|at| costs[*at]).unwrap_or(0);
    EmployeeResult {
        number: employee.number.clone(),
        name: employee.name.clone(),
        best,
        costs,
    }
}

fn sound<'a>(
    what: &'static str,
    all: impl Iterator<Item = (&'a String, Vec<crate::plan::Wrong>)>,
) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for (which, wrongs) in all {
        let twice = (!seen.insert(which)).then(|| "is there twice".to_owned());
        if let Some(wrong) = wrongs.first().map(ToString::to_string).or(twice) {
            return Err(Refusal::Wrong {
                what,
                which: which.clone(),
                wrong,
            });
        }
    }
    Ok(())
}
