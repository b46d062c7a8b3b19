//! An employer's people, page by page.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use plans_model::plan::Employee;
use plans_store::employers;
use serde::Deserialize;

use super::PageFailure;
use super::layout::{self, crumbs, empty, plural};
use crate::api;
use crate::form::Id;
use crate::serve::App;

/// How many employees one page shows.
const SHOWN: i32 = 100;

#[derive(Deserialize)]
pub(super) struct Behind {
    /// The number of the page, counted from 1. Text, so that no address is ever unreadable.
    #[serde(default)]
    page: String,
}

/// `GET /employers/{id}/employees?page=`
pub(super) async fn page(
    State(app): State<App>,
    Id(id): Id,
    Query(behind): Query<Behind>,
) -> Result<Response, PageFailure> {
    let number = behind.page.trim().parse().unwrap_or(1).clamp(1, 1_000);
    let client = app.pool.get().await?;
    let employer = api::find(&client, id).await?;
    let mut people =
        employers::employees(&client, id, (number - 1) * SHOWN, i64::from(SHOWN) + 1).await?;
    let more = people.len() > SHOWN as usize;
    people.truncate(SHOWN as usize);
    let own = format!("/employers/{id}");
    let to = |number: i32| format!("{own}/employees?page={number}");
    let content = html! {
        (crumbs(&[("/", "Employers"), (&own, &employer.name)], "Employees"))
        div.heading { div { h1 { "Employees" } p.lead { (plural(employer.employees, "employee", "employees")) } } }
        section.card.flush {
            @if people.is_empty() { (empty("Nobody here", "There are no employees on this page.")) }
            @else { (table(&people)) }
        }
        nav.pages aria-label="Pages" {
            @if number > 1 { a.button href=(to(number - 1)) { "Previous" } }
            @if more { a.button href=(to(number + 1)) { "Next" } }
        }
    };
    Ok(layout::page("Employees", content))
}

/// Employees as rows.
pub(super) fn table(people: &[Employee]) -> Markup {
    html! {
        table.rows {
            caption.hidden { "Employees" }
            thead { tr {
                th scope="col" { "Employee" } th scope="col" { "Number" } th scope="col" { "Expected usage" }
                th.num scope="col" { "Dependents" }
            } }
            tbody {
                @for who in people {
                    tr {
                        th scope="row" { (who.name) }
                        td data-label="Number" { span.code { (who.number) } }
                        td data-label="Expected usage" { span class={ "usage " (who.usage.name()) } { (who.usage.name()) } }
                        td.num data-label="Dependents" { (who.dependents) }
                    }
                }
            }
        }
    }
}
