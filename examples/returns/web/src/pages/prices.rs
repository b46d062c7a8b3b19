//! The price list.

use axum::extract::State;
use axum::response::Response;
use maud::html;
use returns_domain::prices;

use super::PageFailure;
use super::layout::{self, Place};
use crate::serve::App;

/// `GET /prices`
pub(super) async fn page(State(app): State<App>) -> Result<Response, PageFailure> {
    let found = prices::list(&*app.pool.get().await?, 1_000).await?;
    let content = html! {
        div.heading { div {
            h1 { "Price list" }
            p.lead { "What items are valued against. A product that is not listed gets its price from the receiving desk." }
        } }
        div.card.flush {
            table.rows {
                caption.hidden { "Prices by product" }
                thead { tr {
                    th scope="col" { "Product" } th scope="col" { "NDC" } th scope="col" { "Manufacturer" }
                    th scope="col" { "Unit" } th.num scope="col" { "Price" }
                } }
                tbody {
                    @for price in &found {
                        tr {
                            th scope="row" { span.main { (price.product) } span.sub { (price.form) } }
                            td.code data-label="NDC" { (price.ndc) }
                            td data-label="Manufacturer" { (price.manufacturer) }
                            td data-label="Unit" { (price.unit) }
                            td.num data-label="Price" { (price.unit_price_cents) }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page("Price list", Place::Prices, content))
}
