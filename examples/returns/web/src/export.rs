//! CSV exports: one line per item, for the pharmacy's books.

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use returns_domain::csv::Row;
use returns_domain::returns::{self, Detail, Item, Search};

use crate::failure::Failure;
use crate::form::ReturnId;
use crate::pages::{Filter, PageFailure};
use crate::serve::App;

/// The most returns of one export.
const MOST_RETURNS: i64 = 1_000;

/// `GET /returns.csv`: all items of the returns that match.
pub(crate) async fn matching(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Response, PageFailure> {
    let session = app.pool.get().await?;
    let search = Search {
        limit: MOST_RETURNS,
        ..filter.search()
    };
    let mut text = heading();
    for summary in returns::search(&session, &search).await? {
        if let Some(detail) = returns::load(&session, summary.id).await? {
            push(&mut text, &detail);
        }
    }
    Ok(file("returns.csv", text))
}

/// `GET /returns/{id}/items.csv`: the items of one return.
pub(crate) async fn one(
    State(app): State<App>,
    ReturnId(id): ReturnId,
) -> Result<Response, PageFailure> {
    let detail = returns::load(&*app.pool.get().await?, id)
        .await?
        .ok_or(Failure::Missing("return"))?;
    let mut text = heading();
    push(&mut text, &detail);
    Ok(file(&format!("{}.csv", detail.summary.number), text))
}

fn heading() -> String {
    let names = [
        "return",
        "state",
        "pharmacy",
        "reference",
        "opened",
        "ndc",
        "product",
        "lot",
        "expiry",
        "quantity",
        "reason",
        "unit price (USD)",
        "credit percent",
        "credit (USD)",
    ];
    names
        .iter()
        .fold(Row::default(), |row, name| row.text(name))
        .end()
}

fn push(text: &mut String, detail: &Detail) {
    if detail.lines.is_empty() {
        let empty = (0..9).fold(head(detail), |row, _| row.text(""));
        text.push_str(&empty.end());
    }
    for item in &detail.lines {
        text.push_str(&line(detail, item));
    }
}

fn head(detail: &Detail) -> Row {
    let summary = &detail.summary;
    Row::default()
        .text(&summary.number)
        .text(summary.state.name())
        .text(&summary.pharmacy)
        .text(&summary.reference)
        .number(summary.created_at.strftime("%Y-%m-%d"))
}

fn line(detail: &Detail, item: &Item) -> String {
    head(detail)
        .text(&item.ndc)
        .text(item.product.as_deref().unwrap_or(""))
        .text(&item.lot)
        .number(item.expiry)
        .number(item.quantity)
        .text(item.reason.name())
        .number(item.unit_price_cents.map_or(String::new(), |c| c.plain()))
        .number(item.credit_percent.map_or(String::new(), |p| p.to_string()))
        .number(item.credit_cents.map_or(String::new(), |c| c.plain()))
        .end()
}

fn file(name: &str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    (headers, text).into_response()
}
