//! Opening a return.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use returns_domain::entry::{FieldErrors, HeadInput};
use returns_domain::returns;

use super::PageFailure;
use super::layout::{self, Field, Place, summary};
use crate::form::Fields;
use crate::serve::App;

/// `GET /returns/new`
pub(super) async fn page() -> Response {
    form(&HeadInput::default(), &FieldErrors::default())
}

/// `POST /returns`
pub(super) async fn submit(
    State(app): State<App>,
    Fields(input): Fields<HeadInput>,
) -> Result<Response, PageFailure> {
    let head = match input.check() {
        Ok(head) => head,
        Err(errors) => {
            return Ok(layout::with_status(
                StatusCode::UNPROCESSABLE_ENTITY,
                form(&input, &errors),
            ));
        }
    };
    let id = returns::open(&mut app.pool.get().await?, &head).await?;
    Ok(Redirect::to(&format!("/returns/{id}")).into_response())
}

fn form(input: &HeadInput, errors: &FieldErrors) -> Response {
    let field = |name, label, hint, value| Field {
        name,
        label,
        hint,
        value,
        errors,
    };
    let names = [
        ("pharmacy", "Pharmacy"),
        ("contact", "Contact"),
        ("reference", "Your reference"),
        ("note", "Note"),
    ];
    let content = html! {
        nav.crumbs aria-label="Breadcrumb" { a href="/" { "Returns" } span { "New return" } }
        div.heading { div {
            h1 { "New return" }
            p.lead { "First say who returns. The medicines come on the next page, and nothing is sent before you submit." }
        } }
        (summary(errors, &names))
        form.card.form method="post" action="/returns" novalidate {
            (field("pharmacy", "Pharmacy", "Name and branch, as on your account.", &input.pharmacy).text("wide", None, None))
            (field("contact", "Contact (optional)", "Whom we ask when something is unclear.", &input.contact).text("half", None, None))
            (field("reference", "Your reference (optional)", "For example a debit memo number.", &input.reference).text("half", None, None))
            (field("note", "Note (optional)", "Anything the receiving desk should know. No patient data, please.", &input.note).area())
            div.actions {
                button.button.primary { "Continue to items" }
                a.button href="/" { "Cancel" }
            }
        }
    };
    layout::page("New return", Place::Returns, content)
}
