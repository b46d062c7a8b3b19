//! The report: one file that loads nothing from elsewhere and runs nothing.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plans_model::compare::{Comparison, EmployeeResult, PlanResult};
use plans_model::cost::Usage;
use plans_model::money::Cents;
use serde::Deserialize;

const STYLE: &str = include_str!("report.css");

/// What a report is about.
#[derive(Deserialize)]
pub(crate) struct Subject {
    employer: String,
    asked_at: String,
    comparison: Comparison,
}

impl Subject {
    /// A comparison whose positions lead nowhere is refused before it is read.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let plans = self.comparison.plans.len();
        let knows = |at: &usize| *at < plans;
        let ranks = &self.comparison.ranking;
        let fits = |who: &EmployeeResult| who.costs.len() == plans && who.best < plans;
        let sound = !ranks.is_empty()
            && ranks.iter().all(knows)
            && self.comparison.employees.iter().all(fits);
        match sound {
            true => Ok(self),
            false => Err("the comparison contradicts itself".to_owned()),
        }
    }

    fn ranked(&self) -> impl Iterator<Item = &PlanResult> {
        let plans = &self.comparison.plans;
        self.comparison.ranking.iter().map(|at| &plans[*at])
    }
}

pub(crate) fn page(subject: &Subject) -> Markup {
    let recommended = subject.comparison.recommended();
    let day = subject.asked_at.split('T').next().unwrap_or_default();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Plan recommendation for " (subject.employer) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.kind { "Benefits plan recommendation" }
                    h1 { (subject.employer) }
                    p.facts {
                        (subject.comparison.employees.len()) " employees · " (subject.comparison.plans.len())
                        " plans · " time datetime=(day) { (day) }
                    }
                }
                main {
                    section.answer {
                        p.kind { "Recommended" }
                        h2 { (recommended.name) " " span.code { (recommended.code) } }
                        ul {
                            @for reason in &subject.comparison.reasons {
                                li.for[reason.speaks_for()].but[!reason.speaks_for()] {
                                    span.sign { (reason.word()) ": " }
                                    (reason)
                                }
                            }
                        }
                    }
                    (plans(subject))
                    (years(subject))
                    (people(subject))
                    (terms(subject))
                }
            }
        }
    }
}

fn plans(subject: &Subject) -> Markup {
    html! {
        section {
            h2 { "An expected year, by plan" }
            p.lead { "As if everybody had the plan. The first is the recommended one." }
            table {
                thead { tr {
                    th scope="col" { "Plan" } th.num scope="col" { "Employees pay" } th.num scope="col" { "Employer pays" }
                    th.num scope="col" { "Together" } th.num scope="col" { "Cheapest for" }
                } }
                tbody {
                    @for plan in subject.ranked() {
                        tr {
                            (named(plan)) (money(plan.expected.employee)) (money(plan.expected.employer))
                            (money(plan.expected.together())) td.num { (plan.cheapest_for) }
                        }
                    }
                }
            }
        }
    }
}

fn years(subject: &Subject) -> Markup {
    let titles = ["Light year", "Medium year", "Heavy year"];
    html! {
        section {
            h2 { "What employees pay if the year is the same for everybody" }
            table {
                thead { tr { th scope="col" { "Plan" } @for title in titles { th.num scope="col" { (title) } } } }
                tbody {
                    @for plan in subject.ranked() {
                        tr { (named(plan)) @for year in plan.years { (money(year.employee)) } }
                    }
                }
            }
        }
    }
}

fn people(subject: &Subject) -> Markup {
    html! {
        section {
            h2 { "Employee by employee" }
            p.lead { "What each is expected to pay in a year; the least is set in bold." }
            table.people {
                thead { tr {
                    th scope="col" { "Employee" }
                    @for plan in &subject.comparison.plans { th.num scope="col" { (plan.code) } }
                } }
                tbody {
                    @for who in &subject.comparison.employees {
                        tr {
                            th scope="row" { (who.name) " " span.code { (who.number) } }
                            @for cost in &who.costs {
                                td.num.least[*cost == who.costs[who.best]] { (cost.dollars()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn terms(subject: &Subject) -> Markup {
    let charges = Usage::ALL.map(|year| subject.comparison.assumptions.charges(year).dollars());
    html! {
        section.terms {
            h2 { "How this was computed" }
            p {
                "A person's care is taken to be charged at " (charges[0]) " in a light, " (charges[1])
                " in a medium and " (charges[2]) " in a heavy year. Members pay up to the deductible, then their \
                coinsurance, never more than the out-of-pocket maximum; the employer's account pays first, and what \
                it does not need stays the employee's."
            }
            dl {
                @for usage in Usage::ALL {
                    @let [light, medium, heavy] = usage.chances();
                    dt { "Usage " (usage.name()) }
                    dd { (light) " % light, " (medium) " % medium, " (heavy) " % heavy years" }
                }
            }
            p {
                "The expected cost is taken over all combinations of years of the people who are covered, exactly, and \
                rounded half up to a cent once for each employee and plan. Amounts are shown in whole dollars."
            }
        }
    }
}

fn named(plan: &PlanResult) -> Markup {
    html! { th scope="row" { (plan.name) " " span.code { (plan.code) } } }
}

fn money(amount: Cents) -> Markup {
    html! { td.num { (amount.dollars()) } }
}
