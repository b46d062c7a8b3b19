//! What all pages share.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};
use returns_domain::entry::FieldErrors;
use returns_domain::money::with_thousands;
use returns_domain::state::State;

use crate::assets::address;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Returns,
    Desk,
    Prices,
    Elsewhere,
}

/// A whole page.
pub(super) fn page(title: &str, place: Place, content: Markup) -> Response {
    let nav = [
        (Place::Returns, "/", "Returns"),
        (Place::Desk, "/receiving", "Receiving desk"),
        (Place::Prices, "/prices", "Price list"),
    ];
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " · Medicine Returns" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href=(address("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(address("style.css"));
                script src=(address("live.js")) defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    div.inner {
                        a.brand href="/" { (logo()) span { "Medicine Returns" } }
                        nav aria-label="Main" {
                            @for (own, href, label) in nav {
                                a href=(href) aria-current=[(own == place).then_some("page")] { (label) }
                            }
                        }
                        a.button.primary href="/returns/new" { "New return" }
                    }
                }
                main #main tabindex="-1" { (content) }
                footer { p { "Expired, damaged and unused medicines: returned, checked, credited. All times are UTC." } }
            }
        }
    };
    Html(markup.into_string()).into_response()
}

/// The same page with another status.
pub(super) fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}

/// The state as a coloured word; the colour says nothing that the word does not.
pub(super) fn chip(state: State) -> Markup {
    html! { span class={ "chip " (state.name()) } { (state.title()) } }
}

/// A day as people write it: 21 Nov 2026.
pub(super) fn day(date: jiff::civil::Date) -> Markup {
    html! { time datetime=(date) { (date.strftime("%-d %b %Y")) } }
}

/// A moment: 21 Nov 2026, 09:30.
pub(super) fn moment(at: Timestamp) -> Markup {
    let shown = at
        .to_zoned(TimeZone::UTC)
        .strftime("%-d %b %Y, %H:%M")
        .to_string();
    html! { time datetime=(at) { (shown) } }
}

/// A count with thousands separated.
pub(super) fn count(n: i64) -> String {
    with_thousands(&n.to_string())
}

/// "1 item", "2 items".
pub(super) fn plural(n: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A field: label, hint, input, and what is wrong with it.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) hint: &'a str,
    pub(super) value: &'a str,
    pub(super) errors: &'a FieldErrors,
}

impl Field<'_> {
    /// A line of text; `list` names a list of suggestions, `class` a width.
    pub(super) fn text(&self, class: &str, list: Option<&str>, mode: Option<&str>) -> Markup {
        self.around(class, html! {
            input id=(self.name) name=(self.name) value=(self.value) type="text" list=[list] inputmode=[mode]
                autocomplete="off" aria-invalid=[self.wrong().map(|_| "true")] aria-describedby=[self.described()];
        })
    }

    /// Several lines.
    pub(super) fn area(&self) -> Markup {
        self.around("wide", html! {
            textarea id=(self.name) name=(self.name) rows="3" aria-invalid=[self.wrong().map(|_| "true")]
                aria-describedby=[self.described()] { (self.value) }
        })
    }

    /// One of several.
    pub(super) fn choice(&self, class: &str, options: &[(&str, &str)]) -> Markup {
        self.around(class, html! {
            select id=(self.name) name=(self.name) aria-invalid=[self.wrong().map(|_| "true")] aria-describedby=[self.described()] {
                option value="" selected[self.value.is_empty()] { "Choose…" }
                @for (value, label) in options {
                    option value=(value) selected[*value == self.value] { (label) }
                }
            }
        })
    }

    fn around(&self, class: &str, input: Markup) -> Markup {
        html! {
            div class={ "field " (class) @if self.wrong().is_some() { " wrong" } } {
                label for=(self.name) { (self.label) }
                (input)
                @if let Some(message) = self.wrong() {
                    p.error id={ (self.name) "-error" } { (message) }
                } @else if !self.hint.is_empty() {
                    p.hint id={ (self.name) "-hint" } { (self.hint) }
                }
            }
        }
    }

    fn wrong(&self) -> Option<&str> {
        self.errors.of(self.name)
    }

    fn described(&self) -> Option<String> {
        match (self.wrong(), self.hint) {
            (Some(_), _) => Some(format!("{}-error", self.name)),
            (None, "") => None,
            (None, _) => Some(format!("{}-hint", self.name)),
        }
    }
}

/// The list of what is wrong, above a form, each leading to its field.
pub(super) fn summary(errors: &FieldErrors, names: &[(&str, &str)]) -> Markup {
    html! {
        @if !errors.is_empty() {
            div.alert.bad role="alert" {
                p { strong { "Please check " (plural(errors.len() as i64, "field", "fields")) ". Nothing you entered was lost." } }
                ul {
                    @for (name, label) in names {
                        @if let Some(message) = errors.of(name) {
                            li { a href={ "#" (name) } { (label) } ": " (message) }
                        }
                    }
                }
            }
        }
    }
}

/// A place where nothing is yet.
pub(super) fn empty(title: &str, text: &str, action: Option<(&str, &str)>) -> Markup {
    html! {
        div.empty {
            svg viewBox="0 0 96 72" aria-hidden="true" {
                rect.box x="18" y="26" width="60" height="38" rx="5" {}
                path.line d="M18 38h60M42 26v12h12V26" {}
                g.pill transform="rotate(-28 66 16)" {
                    rect x="52" y="10" width="28" height="12" rx="6" {}
                    path d="M66 10v12" {}
                }
            }
            h2 { (title) }
            p { (text) }
            @if let Some((href, label)) = action {
                a.button.primary href=(href) { (label) }
            }
        }
    }
}

fn logo() -> Markup {
    html! {
        svg viewBox="0 0 32 32" aria-hidden="true" {
            rect.mark width="32" height="32" rx="9" {}
            g.capsule transform="rotate(-45 16 16)" {
                rect x="6" y="11" width="20" height="10" rx="5" {}
                path d="M16 11v10" {}
            }
        }
    }
}
