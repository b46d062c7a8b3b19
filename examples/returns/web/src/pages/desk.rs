//! The receiving desk: what arrives, what is to be checked, what waits for a price.

use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};
use returns_domain::pool::Session;
use returns_domain::returns::{self, Search, Summary};
use returns_domain::state::State;

use super::PageFailure;
use super::layout::{self, Place, moment, plural};
use super::list::credit;
use crate::serve::App;

const MOST: i64 = 50;

/// `GET /receiving`
pub(super) async fn page(Shared(app): Shared<App>) -> Result<Response, PageFailure> {
    let session = app.pool.get().await?;
    let expected = in_state(&session, State::Submitted).await?;
    let arrived = in_state(&session, State::Received).await?;
    let verified = in_state(&session, State::Verified).await?;
    drop(session);
    let content = html! {
        div.heading { div {
            h1 { "Receiving desk" }
            p.lead { "Receive what arrives, count and verify it. Credits follow by themselves." }
        } }
        div.columns data-live="" {
            (column("On the way", "Submitted by a pharmacy, not here yet", &expected, Some(("receive", "Receive"))))
            (column("To verify", "Arrived; count it and compare", &arrived, Some(("verify", "Verify"))))
            (column("Waiting for credit", "Verified; credited once every item has a price", &verified, None))
        }
    };
    Ok(layout::page("Receiving desk", Place::Desk, content))
}

async fn in_state(session: &Session, state: State) -> Result<Vec<Summary>, PageFailure> {
    let search = Search {
        state: Some(state),
        limit: MOST,
        ..Search::default()
    };
    Ok(returns::search(session, &search).await?)
}

fn column(title: &str, hint: &str, found: &[Summary], action: Option<(&str, &str)>) -> Markup {
    html! {
        section.column {
            h2 { (title) span.badge { (found.len()) } }
            p.hint { (hint) }
            @if found.is_empty() { p.nothing { "Nothing here." } }
            @for summary in found {
                article.card.ticket {
                    div.line {
                        a href={ "/returns/" (summary.id) } { (summary.number) }
                        span.value { (credit(summary)) }
                    }
                    p.main { (summary.pharmacy) }
                    p.sub { (plural(summary.items, "item", "items")) " · " (plural(summary.units, "unit", "units")) " · " (moment(summary.updated_at)) }
                    @if summary.items_without_price > 0 {
                        p.sub.warn { a href={ "/returns/" (summary.id) "#items" } { (plural(summary.items_without_price, "price missing", "prices missing")) } }
                    }
                    @if let Some((step, label)) = action {
                        form method="post" action={ "/returns/" (summary.id) "/" (step) } {
                            input type="hidden" name="back" value="desk";
                            button.button { (label) " " span.hidden { (summary.number) } }
                        }
                    }
                }
            }
        }
    }
}
