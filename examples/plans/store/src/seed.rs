//! Synthetic data: made-up employers, whose plans are compared at once. Safe to repeat.

use plans_model::compare::{Goal, Request};
use plans_model::cost::Assumptions;
use plans_model::synthetic;
use tokio_postgres::Client;

use crate::comparisons;
use crate::employers::{self, AddError};
use crate::pool::{DbError, could_not};

/// Adds the made-up employers that are missing; returns how many were added.
pub async fn seed(client: &mut Client) -> Result<usize, AddError> {
    let mut added = 0;
    for made_up in synthetic::employers() {
        match begun(client, made_up.name).await? {
            Some((_, true)) => continue,
            // A seed that was killed half way left it without a comparison.
            Some((id, false)) => fill(client, id, made_up).await?,
            None => {
                let id = employers::add(client, made_up.name).await?;
                fill(client, id, made_up).await?;
            }
        }
        added += 1;
    }
    Ok(added)
}

/// The employer of that name, and whether it has a comparison.
async fn begun(client: &Client, name: &str) -> Result<Option<(i64, bool)>, DbError> {
    let sql = "select id, exists (select from comparison where employer_id = employer.id)
               from employer where name = $1";
    let row = client.query_opt(sql, &[&name]).await;
    let row = row.map_err(could_not("look for an employer"))?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

async fn fill(client: &mut Client, id: i64, made_up: synthetic::Employer) -> Result<(), AddError> {
    employers::replace_plans(client, id, &made_up.plans).await?;
    employers::replace_employees(client, id, &made_up.employees).await?;
    let request = Request {
        plans: made_up.plans,
        employees: made_up.employees,
        assumptions: Assumptions::default(),
        goal: Goal::Together,
    };
    let text = comparisons::as_text(&request).map_err(|_| DbError::Foreign("a request"))?;
    comparisons::ask(client, id, request.goal, &text).await?;
    Ok(())
}
