//! The price table, as people look at it.

use serde::Serialize;

use crate::money::Cents;
use crate::ndc;
use crate::pool::{DbError, Session, Statement};

/// One priced product.
#[derive(Clone, Debug, Serialize)]
pub struct Price {
    /// The code as 5-4-2.
    pub ndc: String,
    /// Name and strength.
    pub product: String,
    /// Tablet, vial, …
    pub form: String,
    /// Who makes it.
    pub manufacturer: String,
    /// What one unit is.
    pub unit: String,
    /// Price of one unit, in cents.
    pub unit_price_cents: Cents,
}

const LIST: Statement = Statement {
    purpose: "list prices",
    sql: "select ndc, product, form, manufacturer, unit, unit_price_cents from price order by product, ndc limit $1",
};

/// By product, at most `limit`.
pub async fn list(session: &Session, limit: i64) -> Result<Vec<Price>, DbError> {
    let read = |row: &tokio_postgres::Row| Price {
        ndc: ndc::hyphenated(row.get(0)),
        product: row.get(1),
        form: row.get(2),
        manufacturer: row.get(3),
        unit: row.get(4),
        unit_price_cents: Cents(row.get(5)),
    };
    Ok(session
        .all(LIST, &[&limit])
        .await?
        .iter()
        .map(read)
        .collect())
}
