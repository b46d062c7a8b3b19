//! Failures as pages.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{Place, page};
use crate::failure::Failure;

/// A failure that a person sees.
#[derive(Debug)]
pub(crate) struct PageFailure(pub(crate) Failure);

impl<F: Into<Failure>> From<F> for PageFailure {
    fn from(failure: F) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        self.0.note();
        let title = title(&self.0);
        self.0
            .dress(page(title, Place::Elsewhere, content(title, &self.0)))
    }
}

fn title(failure: &Failure) -> &'static str {
    match failure {
        Failure::Missing(_) => "Not found",
        Failure::Conflict(_) => "That is not possible now",
        Failure::Invalid(_) => "Please check what you entered",
        Failure::Unreadable(_) => "That could not be read",
        Failure::TooLarge(_) => "Too large",
        Failure::Foreign => "Refused",
        Failure::Method => "Not possible here",
        Failure::Database(_) => "One moment, please",
    }
}

fn content(title: &str, failure: &Failure) -> Markup {
    html! {
        section.problem {
            p.code { (failure.status().as_u16()) }
            h1 { (title) }
            p.lead { (failure.message()) }
            p.actions {
                a.button.primary href="/" { "All returns" }
                a.button href="/receiving" { "Receiving desk" }
            }
        }
    }
}
