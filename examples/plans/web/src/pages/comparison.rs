//! One comparison: that it is under way, or what came out and why.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use plans_model::compare::{Comparison, PlanResult};
use plans_model::cost::Usage;
use plans_store::comparisons::{self, Summary};

use super::PageFailure;
use super::layout::{Page, chip, crumbs, moment, money};
use crate::api;
use crate::form::Id;
use crate::serve::App;

/// `GET /comparisons/{id}`
pub(super) async fn page(State(app): State<App>, Id(id): Id) -> Result<Response, PageFailure> {
    let (summary, result) = api::read_comparison(&app, id).await?;
    let own = format!("/employers/{}", summary.employer_id);
    let waits = matches!(
        summary.state,
        comparisons::State::Queued | comparisons::State::Running
    );
    let content = html! {
        (crumbs(&[("/", "Employers"), (&own, &summary.employer)], "Comparison"))
        div.heading {
            div {
                h1 { "Comparison " (chip(summary.state)) }
                p.lead { "Asked " (moment(summary.asked_at)) ", for what is cheapest for " (summary.goal.whose()) "." }
            }
            @if result.is_some() {
                p.actions {
                    a.button href={ "/comparisons/" (id) "/report" } { "Open the report" }
                    a.button.primary href={ "/comparisons/" (id) "/report?download=1" } { "Save the report" }
                }
            }
        }
        @match &result {
            Some(result) => (outcome(result)),
            None => (without(&summary)),
        }
    };
    let title = format!("Comparison for {}", summary.employer);
    let again = waits.then_some(1);
    Ok(Page {
        title: &title,
        again,
    }
    .with(content))
}

fn without(summary: &Summary) -> Markup {
    let problem = summary.problem.as_deref();
    html! {
        section.card.wait aria-live="polite" {
            @match summary.state {
                comparisons::State::Failed => {
                    h2 { "It could not be computed" }
                    p { (problem.unwrap_or("Nobody knows why.")) }
                },
                _ => {
                    h2 { "It is being computed" }
                    p { "This page loads itself again until the result is there; it takes a few seconds." }
                    @if let Some(problem) = problem { p.hint { "The last attempt did not work, and is repeated: " (problem) "." } }
                },
            }
        }
    }
}

fn outcome(result: &Comparison) -> Markup {
    let recommended = result.recommended();
    html! {
        section.answer aria-labelledby="recommended" {
            p.kind { "Recommended" }
            h2 #recommended { (recommended.name) " " span.code { (recommended.code) } }
            ul {
                @for reason in &result.reasons {
                    li.for[reason.speaks_for()].but[!reason.speaks_for()] {
                        span.sign { (reason.word()) ": " }
                        (reason)
                    }
                }
            }
        }
        (plans(result))
        (years(result))
        p.lead.terms {
            "Care charged at " (result.assumptions.low.dollars()) " in a light, " (result.assumptions.medium.dollars())
            " in a medium and " (result.assumptions.high.dollars()) " in a heavy year of one person. Each employee's own costs, "
            "and how all of this is computed, are in the report."
        }
    }
}

fn ranked(result: &Comparison) -> impl Iterator<Item = &PlanResult> {
    result.ranking.iter().filter_map(|at| result.plans.get(*at))
}

fn plans(result: &Comparison) -> Markup {
    let longest = ranked(result)
        .map(|plan| plan.expected.together().0)
        .max()
        .unwrap_or(0);
    html! {
        section.card.flush {
            h2.title { "An expected year" span.legend { span.employee { "Employees" } span.employer { "Employer" } } }
            table.rows {
                caption.hidden { "The expected cost of a year by plan, as if everybody had it; the recommended plan first" }
                thead { tr {
                    th scope="col" { "Plan" } th.num scope="col" { "Employees pay" } th.num scope="col" { "Employer pays" }
                    th.num scope="col" { "Together" } th.num scope="col" { "Cheapest for" }
                } }
                tbody {
                    @for (rank, plan) in ranked(result).enumerate() {
                        tr.best[rank == 0] {
                            th scope="row" { (plan.name) span.sub.code { (plan.code) } (bar(plan, longest)) }
                            (money("Employees pay", plan.expected.employee))
                            (money("Employer pays", plan.expected.employer))
                            (money("Together", plan.expected.together()))
                            td.num data-label="Cheapest for" { (plan.cheapest_for) " of " (result.employees.len()) }
                        }
                    }
                }
            }
        }
    }
}

/// Both parts of the cost beside each other, as long as they are dear; the numbers are in the same row.
fn bar(plan: &PlanResult, longest: i64) -> Markup {
    let width = |cents: i64| (i128::from(cents) * 1000 / i128::from(longest.max(1))).to_string();
    let [employee, employer] = [plan.expected.employee.0, plan.expected.employer.0];
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.employee width=(width(employee)) height="10" {}
            rect.employer x=(width(employee)) width=(width(employer)) height="10" {}
        }
    }
}

fn years(result: &Comparison) -> Markup {
    let titles = ["Light year", "Medium year", "Heavy year"];
    html! {
        section.card.flush {
            h2.title { "What employees pay if the year is the same for everybody" }
            table.rows {
                caption.hidden { "What all employees together pay in a light, a medium and a heavy year" }
                thead { tr { th scope="col" { "Plan" } @for title in titles { th.num scope="col" { (title) } } } }
                tbody {
                    @for plan in ranked(result) {
                        tr {
                            th scope="row" { (plan.name) span.sub.code { (plan.code) } }
                            @for (title, year) in titles.iter().zip(Usage::ALL) { (money(title, plan.years[year as usize].employee)) }
                        }
                    }
                }
            }
        }
    }
}
