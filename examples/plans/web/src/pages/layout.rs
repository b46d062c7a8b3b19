//! What all pages share.

use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};
use plans_model::money::Cents;
use plans_store::comparisons::State;

use crate::assets::address;

/// A whole page. One that waits for something is loaded again by the browser after so many seconds.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) again: Option<u8>,
}

impl Page<'_> {
    pub(super) fn with(&self, content: Markup) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (self.title) " · Plan Advisor" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = self.again { meta http-equiv="refresh" content=(seconds); }
                    link rel="icon" href=(address("icon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(address("style.css"));
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    header.top { div.inner {
                        a.brand href="/" { (logo()) span { "Plan Advisor" } }
                        span.claim { "What a benefits plan really costs in a year" }
                    } }
                    main #main tabindex="-1" { (content) }
                    footer { p {
                        "Costs are estimates from the assumptions shown with them, not offers. All times are UTC."
                    } }
                }
            }
        };
        Html(markup.into_string()).into_response()
    }
}

/// A page that waits for nothing.
pub(super) fn page(title: &str, content: Markup) -> Response {
    Page { title, again: None }.with(content)
}

/// The way back.
pub(super) fn crumbs(ways: &[(&str, &str)], here: &str) -> Markup {
    html! {
        nav.crumbs aria-label="Breadcrumb" {
            @for (href, name) in ways { a href=(href) { (name) } }
            span aria-current="page" { (here) }
        }
    }
}

/// The state as a coloured word; the colour says nothing that the word does not.
pub(super) fn chip(state: State) -> Markup {
    let (class, word) = match state {
        State::Queued => ("queued", "Waiting"),
        State::Running => ("running", "Being computed"),
        State::Done => ("done", "Done"),
        State::Failed => ("failed", "Failed"),
    };
    html! { span class={ "chip " (class) } { (word) } }
}

/// A moment: 21 Nov 2026, 09:30.
pub(super) fn moment(at: Timestamp) -> Markup {
    let shown = at
        .to_zoned(TimeZone::UTC)
        .strftime("%-d %b %Y, %H:%M")
        .to_string();
    html! { time datetime=(at) { (shown) } }
}

/// An amount in a table, in whole dollars; the cents are in its title.
pub(super) fn money(label: &str, amount: Cents) -> Markup {
    html! { td.num data-label=(label) title=(amount) { (amount.dollars()) } }
}

/// "1 plan", "2 plans".
pub(super) fn plural(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A place where nothing is yet.
pub(super) fn empty(title: &str, text: &str) -> Markup {
    html! { div.empty { h3 { (title) } p { (text) } } }
}

fn logo() -> Markup {
    html! {
        svg viewBox="0 0 32 32" aria-hidden="true" {
            rect.mark width="32" height="32" rx="9" {}
            path.beam d="M16 7v18M9 11h14M11 25h10" {}
            path.pan d="M5.5 18 9 11l3.5 7a3.6 3.6 0 0 1-7 0zM19.5 18 23 11l3.5 7a3.6 3.6 0 0 1-7 0z" {}
        }
    }
}
