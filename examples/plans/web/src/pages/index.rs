//! All employers, and adding one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use plans_model::plan::LONGEST_NAME;
use plans_store::employers::{self, AddError, Employer};
use serde::Deserialize;

use super::PageFailure;
use super::layout::{self, empty, plural};
use crate::form::Fields;
use crate::serve::App;

async fn listed(app: &App, typed: &str, wrong: Option<&str>) -> Result<Response, PageFailure> {
    let employers = employers::list(&*app.pool.get().await?).await?;
    let content = html! {
        div.heading { div {
            h1 { "Employers" }
            p.lead { "Import an employer's plans and people, compare what a year costs, get a recommendation with its reasons." }
        } }
        div.split {
            section.body aria-label="Employers" {
                @if employers.is_empty() {
                    (empty("No employer yet", "Add the first one; its plans and employees come on the next page."))
                } @else { ul.tiles { @for employer in &employers { (tile(employer)) } } }
            }
            aside { (form(typed, wrong)) }
        }
    };
    Ok(layout::page("Employers", content))
}

/// `GET /`
pub(super) async fn page(State(app): State<App>) -> Result<Response, PageFailure> {
    listed(&app, "", None).await
}

fn tile(employer: &Employer) -> Markup {
    html! {
        li {
            a href={ "/employers/" (employer.id) } { (employer.name) }
            span.sub {
                (plural(employer.plans, "plan", "plans")) " · " (plural(employer.employees, "employee", "employees"))
            }
            @match &employer.recommended {
                Some(code) => span.sub { "Recommended: " strong { (code) } },
                None => span.sub { "Not compared yet" },
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    name: String,
}

/// `POST /employers`
pub(super) async fn add(
    State(app): State<App>,
    Fields(typed): Fields<Named>,
) -> Result<Response, PageFailure> {
    let added = employers::add(&*app.pool.get().await?, &typed.name).await;
    match added {
        Ok(id) => Ok(Redirect::to(&format!("/employers/{id}")).into_response()),
        Err(AddError::Refused(why)) => {
            let mut response = listed(&app, &typed.name, Some(&why)).await?;
            *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

fn form(typed: &str, wrong: Option<&str>) -> Markup {
    html! {
        form.card.stack method="post" action="/employers" novalidate {
            h2 { "Add an employer" }
            div.field.wrong[wrong.is_some()] {
                label for="name" { "Name" }
                input #name name="name" type="text" value=(typed) maxlength=(LONGEST_NAME) autocomplete="off"
                    aria-invalid=[wrong.map(|_| "true")] aria-describedby=[wrong.map(|_| "name-error")];
                @if let Some(why) = wrong { p.error #name-error role="alert" { (why) } }
            }
            button.button.primary { "Add employer" }
        }
    }
}
