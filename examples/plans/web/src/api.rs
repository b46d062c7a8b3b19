//! The JSON API: the same rules as the pages, for programs. Also what both of them do.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use plans_model::compare::{Comparison, Request};
use plans_model::import;
use plans_model::plan::{Employee, MOST_EMPLOYEES, Plan};
use plans_store::comparisons::{self, Summary};
use plans_store::employers::{self, Employer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::{ApiFailure, Failure};
use crate::form::{Asked, Body, Id};
use crate::serve::App;

type Answer<T> = Result<Json<T>, ApiFailure>;
type Created<T> = Result<(StatusCode, [(HeaderName, String); 1], Json<T>), ApiFailure>;

fn created<T>(address: String, what: T) -> Created<T> {
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, address)],
        Json(what),
    ))
}

/// `GET /api/employers`
pub(crate) async fn list(State(app): State<App>) -> Answer<Value> {
    let employers = employers::list(&*app.pool.get().await?).await?;
    Ok(Json(json!({ "employers": employers })))
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// `POST /api/employers`
pub(crate) async fn add(State(app): State<App>, Body(body): Body) -> Created<Employer> {
    let asked: Named = document(&body)?;
    let client = app.pool.get().await?;
    let id = employers::add(&client, &asked.name).await?;
    let employer = find(&client, id).await?;
    created(format!("/api/employers/{id}"), employer)
}

#[derive(Serialize)]
pub(crate) struct Detail {
    #[serde(flatten)]
    employer: Employer,
    offered: Vec<Plan>,
    comparisons: Vec<Summary>,
}

/// `GET /api/employers/{id}`
pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Answer<Detail> {
    let client = app.pool.get().await?;
    Ok(Json(Detail {
        employer: find(&client, id).await?,
        offered: employers::plans(&client, id).await?,
        comparisons: comparisons::of_employer(&client, id, 50).await?,
    }))
}

/// `PUT /api/employers/{id}/plans`: the body is CSV.
pub(crate) async fn plans(State(app): State<App>, Id(id): Id, Body(body): Body) -> Answer<Value> {
    let imported = import_plans(&app, id, &body).await?;
    Ok(Json(json!({ "imported": imported })))
}

/// `PUT /api/employers/{id}/employees`: the body is CSV.
pub(crate) async fn employees(
    State(app): State<App>,
    Id(id): Id,
    Body(body): Body,
) -> Answer<Value> {
    let imported = import_employees(&app, id, &body).await?;
    Ok(Json(json!({ "imported": imported })))
}

/// `POST /api/employers/{id}/comparisons`
pub(crate) async fn ask(State(app): State<App>, Id(id): Id, Body(body): Body) -> Created<Value> {
    let asked: Asked = document(if body.is_empty() { b"{}" } else { &body })?;
    let comparison = compare(&app, id, &asked).await?;
    let address = format!("/api/comparisons/{comparison}");
    created(address, json!({ "id": comparison, "state": "queued" }))
}

#[derive(Serialize)]
pub(crate) struct Compared {
    #[serde(flatten)]
    summary: Summary,
    /// The reasons as sentences.
    reasons: Vec<String>,
    result: Option<Comparison>,
}

/// `GET /api/comparisons/{id}`
pub(crate) async fn comparison(State(app): State<App>, Id(id): Id) -> Answer<Compared> {
    let (summary, result) = read_comparison(&app, id).await?;
    let reasons = result.iter().flat_map(|result| &result.reasons);
    let reasons = reasons.map(ToString::to_string).collect();
    Ok(Json(Compared {
        summary,
        reasons,
        result,
    }))
}

fn document<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::Unreadable(format!("The body is not the JSON expected here: {error}."))
    })
}

pub(crate) async fn find(client: &tokio_postgres::Client, id: i64) -> Result<Employer, Failure> {
    let found = employers::find(client, id).await?;
    found.ok_or(Failure::Missing("employer"))
}

/// A comparison and, where it is done, what came out.
pub(crate) async fn read_comparison(
    app: &App,
    id: i64,
) -> Result<(Summary, Option<Comparison>), Failure> {
    let found = comparisons::find(&*app.pool.get().await?, id).await?;
    let (summary, text) = found.ok_or(Failure::Missing("comparison"))?;
    let result = text.map(|text| serde_json::from_str(&text)).transpose();
    let unknown = |_| Failure::Database(plans_store::DbError::Foreign("a result"));
    Ok((summary, result.map_err(unknown)?))
}

/// Imports plans; gives how many. All or nothing.
pub(crate) async fn import_plans(app: &App, id: i64, text: &[u8]) -> Result<usize, Failure> {
    let plans = import::plans(text).map_err(Failure::Rows)?;
    let stored = employers::replace_plans(&mut *app.pool.get().await?, id, &plans).await?;
    stored
        .then_some(plans.len())
        .ok_or(Failure::Missing("employer"))
}

/// Imports employees; gives how many. All or nothing.
pub(crate) async fn import_employees(app: &App, id: i64, text: &[u8]) -> Result<usize, Failure> {
    let employees: Vec<Employee> = import::employees(text).map_err(Failure::Rows)?;
    let stored = employers::replace_employees(&mut *app.pool.get().await?, id, &employees).await?;
    stored
        .then_some(employees.len())
        .ok_or(Failure::Missing("employer"))
}

/// Asks for a comparison of what is there now; gives its id.
pub(crate) async fn compare(app: &App, id: i64, asked: &Asked) -> Result<i64, Failure> {
    let (goal, assumptions) = asked.read()?;
    let client = app.pool.get().await?;
    find(&client, id).await?;
    let request = Request {
        plans: employers::plans(&client, id).await?,
        employees: employers::employees(&client, id, 0, MOST_EMPLOYEES as i64).await?,
        assumptions,
        goal,
    };
    if request.plans.is_empty() || request.employees.is_empty() {
        let why = "There is nothing to compare yet: import plans and employees first.";
        return Err(Failure::Conflict(why.to_owned()));
    }
    request
        .check()
        .map_err(|refusal| Failure::Invalid(refusal.to_string()))?;
    let unknown = |_| Failure::Database(plans_store::DbError::Foreign("a request"));
    let text = comparisons::as_text(&request).map_err(unknown)?;
    Ok(comparisons::ask(&client, id, goal, &text).await?)
}
