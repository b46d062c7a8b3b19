//! Files to start from: what an import looks like.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use plans_model::import::{EMPLOYEE_COLUMNS, PLAN_COLUMNS};
use plans_model::synthetic;

/// `GET /examples/plans.csv`
pub(super) async fn plans() -> Response {
    let line = |plan: &plans_model::Plan| {
        let amount =
            |amount: plans_model::Cents| format!("{}.{:02}", amount.0 / 100, amount.0 % 100);
        let cells = [
            plan.code.clone(),
            plan.name.clone(),
            amount(plan.premium.single),
            amount(plan.premium.family),
            plan.employer_percent.to_string(),
            amount(plan.deductible.single),
            amount(plan.deductible.family),
            plan.coinsurance_percent.to_string(),
            amount(plan.out_of_pocket.single),
            amount(plan.out_of_pocket.family),
            amount(plan.account),
        ];
        cells.join(",")
    };
    file(
        "plans.csv",
        &PLAN_COLUMNS,
        synthetic::plans().iter().map(line),
    )
}

/// `GET /examples/employees.csv`
pub(super) async fn employees() -> Response {
    let bakery = synthetic::employers().swap_remove(1);
    let lines = bakery.employees.iter().map(|who| {
        let cells = [
            who.number.clone(),
            who.name.clone(),
            who.usage.name().to_owned(),
            who.dependents.to_string(),
        ];
        cells.join(",")
    });
    file("employees.csv", &EMPLOYEE_COLUMNS, lines)
}

/// None of what is made up needs a quote.
fn file(name: &str, columns: &[&str], lines: impl Iterator<Item = String>) -> Response {
    let head = std::iter::once(columns.join(","));
    let text: String = head.chain(lines).map(|line| line + "\r\n").collect();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    (headers, text).into_response()
}
