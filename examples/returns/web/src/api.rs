//! The JSON API: the same rules as the pages, for programs.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use returns_domain::entry::{self, FieldErrors, HeadInput, ItemInput};
use returns_domain::money::Cents;
use returns_domain::pool::Session;
use returns_domain::prices::{self, Price};
use returns_domain::returns::{self, Detail, Search, Summary, Tally};
use returns_domain::state::Step;
use returns_domain::valuation;
use serde::{Deserialize, Serialize};

use crate::failure::{ApiFailure, Failure};
use crate::form::{Document, Named, ReturnId, Within};
use crate::pages::Filter;
use crate::serve::App;

type Answer<T> = Result<Json<T>, ApiFailure>;
type Created<T> = (StatusCode, [(header::HeaderName, String); 1], Json<T>);

/// Today, in UTC: the day on which expiry dates are judged.
pub(crate) fn today() -> Date {
    Zoned::now().with_time_zone(TimeZone::UTC).date()
}

#[derive(Serialize)]
pub(crate) struct Page {
    returns: Vec<Summary>,
    /// Give it as `before` to get the next page; absent on the last.
    next_before: Option<i64>,
}

/// `GET /api/returns?q=&state=&before=&limit=`
pub(crate) async fn list(State(app): State<App>, Query(filter): Query<Filter>) -> Answer<Page> {
    if let Some(unknown) = filter.unknown_state() {
        return Err(FieldErrors::one("state", unknown).into());
    }
    let limit = filter.limit.trim().parse().unwrap_or(50).clamp(1, 200);
    let search = Search {
        limit: limit + 1,
        ..filter.search()
    };
    let mut found = returns::search(&*app.pool.get().await?, &search).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next_before = found.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Page {
        returns: found,
        next_before,
    }))
}

/// `POST /api/returns`
pub(crate) async fn open(
    State(app): State<App>,
    Document(input): Document<HeadInput>,
) -> Result<Created<Detail>, ApiFailure> {
    let head = input.check()?;
    let mut lease = app.pool.get().await?;
    let id = returns::open(&mut lease, &head).await?;
    let Json(detail) = read(&lease, id).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/api/returns/{id}"))],
        Json(detail),
    ))
}

/// `GET /api/returns/{id}`
pub(crate) async fn show(State(app): State<App>, ReturnId(id): ReturnId) -> Answer<Detail> {
    read(&*app.pool.get().await?, id).await
}

/// `POST /api/returns/{id}/items`
pub(crate) async fn add_item(
    State(app): State<App>,
    ReturnId(id): ReturnId,
    Document(input): Document<ItemInput>,
) -> Result<(StatusCode, Json<Detail>), ApiFailure> {
    let item = input.check(today())?;
    let mut lease = app.pool.get().await?;
    returns::add_item(&mut lease, id, &item).await?;
    Ok((StatusCode::CREATED, read(&lease, id).await?))
}

/// `DELETE /api/returns/{id}/items/{item}`
pub(crate) async fn remove_item(
    State(app): State<App>,
    Within(id, item): Within,
) -> Result<StatusCode, ApiFailure> {
    returns::remove_item(&mut app.pool.get().await?, id, item).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What may come with a step.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct StepInput {
    pub(crate) note: String,
}

/// `POST /api/returns/{id}/submit`, `receive`, `verify`, `destroy`
pub(crate) async fn step(
    State(app): State<App>,
    Named(id, name): Named,
    Document(input): Document<StepInput>,
) -> Answer<Detail> {
    let step = Step::of_people(&name).ok_or(Failure::Missing("step"))?;
    let note = entry::step_note(step, &input.note)?;
    let mut lease = app.pool.get().await?;
    returns::take(&mut lease, id, step, &note).await?;
    read(&lease, id).await
}

#[derive(Deserialize)]
pub(crate) struct PriceInput {
    unit_price_cents: i64,
}

/// `POST /api/returns/{id}/items/{item}/price`
pub(crate) async fn price(
    State(app): State<App>,
    Within(id, item): Within,
    Document(input): Document<PriceInput>,
) -> Answer<Detail> {
    let price = Cents(input.unit_price_cents)
        .checked_price()
        .map_err(|m| FieldErrors::one("unit_price_cents", m))?;
    let mut lease = app.pool.get().await?;
    valuation::price_by_hand(&mut lease, id, item, price, today()).await?;
    read(&lease, id).await
}

/// `GET /api/tally`
pub(crate) async fn tally(State(app): State<App>) -> Answer<Vec<Tally>> {
    Ok(Json(returns::tally(&*app.pool.get().await?).await?))
}

/// `GET /api/prices`
pub(crate) async fn prices(State(app): State<App>) -> Answer<Vec<Price>> {
    Ok(Json(prices::list(&*app.pool.get().await?, 1_000).await?))
}

async fn read(session: &Session, id: i64) -> Answer<Detail> {
    Ok(Json(
        returns::load(session, id)
            .await?
            .ok_or(Failure::Missing("return"))?,
    ))
}
