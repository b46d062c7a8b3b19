//! Failures as pages; the rows that an import refused as a table.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use plans_model::import::Refused;

use super::layout::page;
use crate::failure::{Failure, MOST_ROWS};

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
        let content = match &self.0 {
            Failure::Rows(rows) => refused(&self.0.message(), rows),
            failure => plain(title, failure),
        };
        self.0.dress(page(title, content))
    }
}

fn title(failure: &Failure) -> &'static str {
    match failure {
        Failure::Missing(_) => "Not found",
        Failure::Conflict(_) => "That is not possible yet",
        Failure::Invalid(_) => "Please check what you entered",
        Failure::Rows(_) => "Nothing was imported",
        Failure::Unreadable(_) => "That could not be read",
        Failure::TooLarge(_) => "Too large",
        Failure::Foreign => "Refused",
        Failure::Method => "Not possible here",
        Failure::Database(_) => "One moment, please",
    }
}

fn plain(title: &str, failure: &Failure) -> Markup {
    html! {
        section.problem {
            p.status { (failure.status().as_u16()) }
            h1 { (title) }
            p.lead { (failure.message()) }
            p.actions { a.button.primary href="/" { "All employers" } }
        }
    }
}

fn refused(message: &str, rows: &[Refused]) -> Markup {
    html! {
        div.heading { div { h1 { "Nothing was imported" } p.lead { "What was there before is unchanged." } } }
        div.alert role="alert" { p { strong { (message) } " Mend the file, go back, and import it again." } }
        section.card.flush {
            table.rows {
                caption.hidden { "What is to be mended, by line of the file" }
                thead { tr {
                    th scope="col" { "Line" } th scope="col" { "Column" } th scope="col" { "There is" } th scope="col" { "Reason" }
                } }
                tbody {
                    @for row in rows.iter().take(MOST_ROWS) {
                        tr {
                            th scope="row" data-label="Line" { (row.line) }
                            td data-label="Column" { @match &row.column { Some(column) => span.code { (column) }, None => "" } }
                            td data-label="There is" { @if row.value.is_empty() { span.muted { "nothing" } } @else { (row.value) } }
                            td data-label="Reason" { (row.reason) }
                        }
                    }
                }
            }
        }
        @if rows.len() > MOST_ROWS { p.lead { "And " (rows.len() - MOST_ROWS) " more." } }
    }
}
