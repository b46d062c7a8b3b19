//! The list of returns: what stands where, searched and narrowed.

use axum::extract::{Query, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use returns_domain::returns::{self, Search, Summary, Tally};
use returns_domain::state::State;

use super::layout::{self, Place, chip, count, empty, moment, plural};
use super::{Filter, PageFailure};
use crate::serve::App;

const PER_PAGE: i64 = 25;

/// `GET /?q=&state=&before=`
pub(super) async fn page(
    Shared(app): Shared<App>,
    Query(filter): Query<Filter>,
) -> Result<Response, PageFailure> {
    let session = app.pool.get().await?;
    let search = Search {
        limit: PER_PAGE + 1,
        ..filter.search()
    };
    let mut found = returns::search(&session, &search).await?;
    let tallies = returns::tally(&session).await?;
    drop(session);
    let older = (found.len() as i64 > PER_PAGE).then(|| found[PER_PAGE as usize - 1].id);
    found.truncate(PER_PAGE as usize);
    Ok(layout::page(
        "Returns",
        Place::Returns,
        content(&found, &tallies, &search, older),
    ))
}

fn content(found: &[Summary], tallies: &[Tally], search: &Search, older: Option<i64>) -> Markup {
    let all: i64 = tallies.iter().map(|t| t.returns).sum();
    html! {
        div.heading {
            div {
                h1 { "Returns" }
                p.lead { "Medicines on their way back, and what they are worth." }
            }
        }
        div data-live="" {
            (tiles(tallies, all, search))
            (tools(search))
            @if !found.is_empty() {
                (table(found))
                (pages(search, older))
            } @else if all == 0 {
                (empty("No returns yet", "Open a return, list the expired, damaged or unused medicines, and submit it.", Some(("/returns/new", "Open the first return"))))
            } @else {
                (empty("Nothing matches", "Try fewer words, another state, or part of an NDC or lot number.", Some(("/", "Show all returns"))))
            }
        }
    }
}

fn tiles(tallies: &[Tally], all: i64, search: &Search) -> Markup {
    let words = search.words.as_deref().unwrap_or("");
    html! {
        nav.tiles aria-label="By state" {
            a href=(address(words, None, None)) aria-current=[search.state.is_none().then_some("true")] {
                span.name { "All" } span.number { (count(all)) } span.money { "returns" }
            }
            @for tally in tallies {
                a class=(tally.state.name()) href=(address(words, Some(tally.state), None))
                    aria-current=[(search.state == Some(tally.state)).then_some("true")] {
                    span.name { (tally.state.title()) }
                    span.number { (count(tally.returns)) }
                    span.money { (worth(tally)) }
                }
            }
        }
    }
}

fn worth(tally: &Tally) -> String {
    match tally.state {
        State::Draft => "not sent yet".into(),
        State::Credited => format!("{} paid", tally.credit_cents),
        State::Destroyed => "no credit".into(),
        State::Submitted | State::Received | State::Verified => {
            format!("{} expected", tally.credit_cents)
        }
    }
}

fn tools(search: &Search) -> Markup {
    let words = search.words.as_deref().unwrap_or("");
    html! {
        div.tools {
            form.search role="search" action="/" {
                @if let Some(state) = search.state { input type="hidden" name="state" value=(state.name()); }
                label.hidden for="q" { "Search returns" }
                input id="q" name="q" type="search" value=(words) placeholder="Pharmacy, reference, NDC, lot, product or R-number" maxlength="80";
                button.button { "Search" }
                @if !words.is_empty() { a.plain href=(address("", search.state, None)) { "Clear" } }
            }
            a.button href={ "/returns.csv" (query(words, search.state, None)) } download { "Export CSV" }
        }
    }
}

fn table(found: &[Summary]) -> Markup {
    html! {
        div.card.flush {
            table.rows {
                caption.hidden { "Returns, newest first" }
                thead { tr {
                    th scope="col" { "Return" } th scope="col" { "Pharmacy" } th scope="col" { "State" }
                    th.num scope="col" { "Items" } th.num scope="col" { "Units" } th.num scope="col" { "Credit" }
                    th scope="col" { "Last change" }
                } }
                tbody { @for summary in found { (row(summary)) } }
            }
        }
    }
}

fn row(summary: &Summary) -> Markup {
    html! {
        tr {
            th scope="row" { a.cover href={ "/returns/" (summary.id) } { (summary.number) } }
            td data-label="Pharmacy" {
                span.main { (summary.pharmacy) }
                @if !summary.reference.is_empty() { span.sub { (summary.reference) } }
            }
            td data-label="State" {
                (chip(summary.state))
                @if summary.items_without_price > 0 && !summary.state.is_final() {
                    span.sub.warn { (plural(summary.items_without_price, "price missing", "prices missing")) }
                }
            }
            td.num data-label="Items" { (count(summary.items)) }
            td.num data-label="Units" { (count(summary.units)) }
            td.num data-label="Credit" { (credit(summary)) }
            td data-label="Last change" { (moment(summary.updated_at)) }
        }
    }
}

/// What is or will be credited; a dash while nothing is valued, or when nothing will be.
pub(super) fn credit(summary: &Summary) -> Markup {
    let valued = summary.items > summary.items_pending + summary.items_without_price;
    html! {
        @if summary.state == State::Destroyed { span.muted { "none" } }
        @else if !valued { span.muted { "—" } }
        @else if summary.state == State::Credited { strong { (summary.credit_cents) } }
        @else { (summary.credit_cents) }
    }
}

fn pages(search: &Search, older: Option<i64>) -> Markup {
    let words = search.words.as_deref().unwrap_or("");
    html! {
        @if older.is_some() || search.before.is_some() {
            nav.pages aria-label="Pages" {
                @if search.before.is_some() { a.button href=(address(words, search.state, None)) { "Newest" } }
                @if older.is_some() { a.button href=(address(words, search.state, older)) rel="next" { "Older returns" } }
            }
        }
    }
}

fn address(words: &str, state: Option<State>, before: Option<i64>) -> String {
    format!("/{}", query(words, state, before))
}

fn query(words: &str, state: Option<State>, before: Option<i64>) -> String {
    let mut pairs = Vec::new();
    if !words.is_empty() {
        pairs.push(format!("q={}", percent(words)));
    }
    pairs.extend(state.map(|state| format!("state={}", state.name())));
    pairs.extend(before.map(|before| format!("before={before}")));
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_what_was_searched() {
        assert_eq!(address("", None, None), "/");
        assert_eq!(
            address("a&b é", Some(State::Draft), Some(7)),
            "/?q=a%26b%20%C3%A9&state=draft&before=7"
        );
    }
}
