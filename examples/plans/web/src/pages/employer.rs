//! One employer: its plans, its people, its comparisons; the imports, and asking for a comparison.

use axum::extract::{Multipart, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use plans_model::compare::Goal;
use plans_model::cost::{Assumptions, Usage};
use plans_model::plan::{Employee, Plan, Tiers};
use plans_store::comparisons::{self, Summary};
use plans_store::employers::{self, Employer};
use serde::Deserialize;

use super::PageFailure;
use super::layout::{self, chip, crumbs, empty, moment, plural};
use crate::api;
use crate::form::{self, Asked, Fields, Id};
use crate::serve::App;

/// How many employees the page shows; the others have a page of their own.
const SHOWN: i64 = 8;

#[derive(Deserialize)]
pub(super) struct Came {
    /// What was imported just now.
    imported: Option<String>,
}

/// `GET /employers/{id}`
pub(super) async fn page(
    State(app): State<App>,
    Id(id): Id,
    Query(came): Query<Came>,
) -> Result<Response, PageFailure> {
    let client = app.pool.get().await?;
    let employer = api::find(&client, id).await?;
    let plans = employers::plans(&client, id).await?;
    let people = employers::employees(&client, id, 0, SHOWN).await?;
    let comparisons = comparisons::of_employer(&client, id, 10).await?;
    let content = html! {
        (crumbs(&[("/", "Employers")], &employer.name))
        div.heading { div {
            h1 { (employer.name) }
            p.lead {
                (plural(employer.plans, "plan", "plans")) " · " (plural(employer.employees, "employee", "employees"))
            }
        } }
        (imported(&employer, came.imported.as_deref()))
        div.split {
            div.body {
                (listed_comparisons(&comparisons))
                (offered(&plans))
                (covered(&employer, &people))
            }
            aside {
                (compare_form(&employer))
                (import_form(&employer, "plans", "Import plans", employer.plans))
                (import_form(&employer, "employees", "Import employees", employer.employees))
            }
        }
    };
    Ok(layout::page(&employer.name, content))
}

/// `POST /employers/{id}/plans`
pub(super) async fn plans(
    State(app): State<App>,
    Id(id): Id,
    form: Multipart,
) -> Result<Response, PageFailure> {
    api::import_plans(&app, id, &form::file(form).await?).await?;
    Ok(Redirect::to(&format!("/employers/{id}?imported=plans")).into_response())
}

/// `POST /employers/{id}/employees`
pub(super) async fn employees(
    State(app): State<App>,
    Id(id): Id,
    form: Multipart,
) -> Result<Response, PageFailure> {
    api::import_employees(&app, id, &form::file(form).await?).await?;
    Ok(Redirect::to(&format!("/employers/{id}?imported=employees")).into_response())
}

/// `POST /employers/{id}/comparisons`
pub(super) async fn compare(
    State(app): State<App>,
    Id(id): Id,
    Fields(asked): Fields<Asked>,
) -> Result<Response, PageFailure> {
    let comparison = api::compare(&app, id, &asked).await?;
    Ok(Redirect::to(&format!("/comparisons/{comparison}")).into_response())
}

fn imported(employer: &Employer, what: Option<&str>) -> Markup {
    let said = match what {
        Some("plans") => plural(employer.plans, "plan was", "plans were"),
        Some("employees") => plural(employer.employees, "employee was", "employees were"),
        _ => return html! {},
    };
    html! { p.notice role="status" { (said) " imported; they replace what was there before." } }
}

fn listed_comparisons(comparisons: &[Summary]) -> Markup {
    html! {
        section.card.flush {
            h2.title { "Comparisons" }
            @if comparisons.is_empty() { (empty("None yet", "Import plans and employees, then compare.")) }
            @else {
                table.rows {
                    caption.hidden { "Comparisons, newest first" }
                    thead { tr {
                        th scope="col" { "Asked" } th scope="col" { "Cheapest for" } th scope="col" { "State" }
                        th scope="col" { "Recommended" }
                    } }
                    tbody {
                        @for one in comparisons {
                            tr {
                                th scope="row" data-label="Asked" { a.cover href={ "/comparisons/" (one.id) } { (moment(one.asked_at)) } }
                                td data-label="Cheapest for" { (one.goal.whose()) }
                                td data-label="State" { (chip(one.state)) }
                                td data-label="Recommended" { (one.recommended.as_deref().unwrap_or("")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn offered(plans: &[Plan]) -> Markup {
    html! {
        section.card.flush #plans {
            h2.title { "Plans" }
            @if plans.is_empty() { (empty("No plans yet", "Import them from a CSV file.")) }
            @else {
                table.rows {
                    caption.hidden { "Plans, amounts for single and family coverage" }
                    thead { tr {
                        th scope="col" { "Plan" } th.num scope="col" { "Monthly premium" } th.num scope="col" { "Employer pays" }
                        th.num scope="col" { "Deductible" } th.num scope="col" { "Coinsurance" } th.num scope="col" { "Most out of pocket" }
                    } }
                    tbody {
                        @for plan in plans {
                            tr {
                                th scope="row" { (plan.name) span.sub.code { (plan.code) } }
                                (tiers("Monthly premium", plan.premium))
                                td.num data-label="Employer pays" {
                                    (plan.employer_percent) " %"
                                    @if plan.account.0 > 0 { span.sub { "+ " (plan.account.dollars()) " a year" } }
                                }
                                (tiers("Deductible", plan.deductible))
                                td.num data-label="Coinsurance" { (plan.coinsurance_percent) " %" }
                                (tiers("Most out of pocket", plan.out_of_pocket))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tiers(label: &str, tiers: Tiers) -> Markup {
    html! {
        td.num data-label=(label) { (tiers.single.dollars()) span.sub { (tiers.family.dollars()) " family" } }
    }
}

fn covered(employer: &Employer, people: &[Employee]) -> Markup {
    html! {
        section.card.flush #employees {
            h2.title { "Employees" }
            @if people.is_empty() { (empty("No employees yet", "Import them from a CSV file.")) }
            @else {
                (super::people::table(people))
                @if employer.employees > SHOWN {
                    p.more { a href={ "/employers/" (employer.id) "/employees" } { "All " (employer.employees) " employees" } }
                }
            }
        }
    }
}

fn compare_form(employer: &Employer) -> Markup {
    let ready = employer.plans > 0 && employer.employees > 0;
    let assumed = Assumptions::default();
    html! {
        form.card.stack.ask method="post" action={ "/employers/" (employer.id) "/comparisons" } {
            h2 { "Compare" }
            fieldset {
                legend { "The recommended plan costs the least for" }
                @for goal in Goal::ALL {
                    label.choice { input type="radio" name="goal" value=(goal.name()) checked[goal == Goal::default()]; (goal.whose()) }
                }
            }
            fieldset {
                legend { "Dollars that a person's care is charged at in a year that is" }
                div.trio {
                    @for (year, title) in Usage::ALL.into_iter().zip(["Light", "Medium", "Heavy"]) {
                        div.field {
                            label for=(year.name()) { (title) }
                            input id=(year.name()) name=(year.name()) type="text" inputmode="decimal" autocomplete="off"
                                value=(assumed.charges(year).0 / 100);
                        }
                    }
                }
            }
            @if ready { button.button.primary { "Compare " (plural(employer.plans, "plan", "plans")) } }
            @else { p.hint { "Import plans and employees first." } }
        }
    }
}

fn import_form(employer: &Employer, what: &str, title: &str, there: i64) -> Markup {
    let file = format!("{what}-file");
    html! {
        form.card.stack method="post" enctype="multipart/form-data" action={ "/employers/" (employer.id) "/" (what) } {
            h2 { (title) }
            div.field {
                label for=(file) { "CSV file, up to 1 MiB" }
                input id=(file) name="file" type="file" accept=".csv,text/csv" required aria-describedby={ (file) "-hint" };
                p.hint id={ (file) "-hint" } {
                    @if there > 0 { "Replaces what is there. " }
                    a href={ "/examples/" (what) ".csv" } { "An example to start from" }
                }
            }
            button.button { (title) }
        }
    }
}
