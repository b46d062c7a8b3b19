//! Comparisons: asked by people, taken by workers, ended once.
//!
//! A worker takes the oldest one with `FOR UPDATE SKIP LOCKED`, so that any number of them never wait for
//! each other, and holds it under a lease. One that is killed says nothing more; when its lease is over
//! another one takes what it had. The number of the attempt is the fence: a worker that comes back late
//! finds that its attempt is no longer the last, and stores nothing.

use std::time::Duration;

use jiff::Timestamp;
use plans_model::compare::{Goal, Request};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::pool::{DbError, could_not};

/// How often a comparison is begun before it counts as failed.
pub const MOST_ATTEMPTS: i32 = 5;

/// Where a comparison stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has taken it, or it is to be tried again.
    Queued,
    /// A worker has it.
    Running,
    /// Its result is there.
    Done,
    /// It cannot be computed.
    Failed,
}

/// A comparison without its result.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its id.
    pub id: i64,
    /// Whose it is.
    pub employer_id: i64,
    /// The employer's name.
    pub employer: String,
    /// Whose cost decides.
    pub goal: Goal,
    /// Where it stands.
    pub state: State,
    /// The code of the recommended plan.
    pub recommended: Option<String>,
    /// Why it failed, or why it is tried again.
    pub problem: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it was done or had failed.
    pub ended_at: Option<Timestamp>,
}

const SUMMARY: &str =
    "select c.id, c.employer_id, e.name, c.goal, c.state, c.recommended, c.problem, c.asked_at,
    c.ended_at from comparison c join employer e on e.id = c.employer_id";

fn summary(row: &Row) -> Result<Summary, DbError> {
    let goal: String = row.get(3);
    let goal = Goal::ALL.into_iter().find(|known| known.name() == goal);
    let state = match row.get::<_, &str>(4) {
        "queued" => State::Queued,
        "running" => State::Running,
        "done" => State::Done,
        "failed" => State::Failed,
        _ => return Err(DbError::Foreign("the state of a comparison")),
    };
    Ok(Summary {
        id: row.get(0),
        employer_id: row.get(1),
        employer: row.get(2),
        goal: goal.ok_or(DbError::Foreign("the goal of a comparison"))?,
        state,
        recommended: row.get(5),
        problem: row.get(6),
        asked_at: row.get(7),
        ended_at: row.get(8),
    })
}

/// Asks for a comparison; gives its id.
pub async fn ask(
    client: &Client,
    employer: i64,
    goal: Goal,
    request: &str,
) -> Result<i64, DbError> {
    let sql =
        "insert into comparison (employer_id, goal, request) values ($1, $2, $3) returning id";
    let row = client
        .query_one(sql, &[&employer, &goal.name(), &request])
        .await;
    row.map(|row| row.get(0))
        .map_err(could_not("ask for a comparison"))
}

/// The newest comparisons of an employer.
pub async fn of_employer(
    client: &Client,
    employer: i64,
    limit: i64,
) -> Result<Vec<Summary>, DbError> {
    let sql = format!("{SUMMARY} where c.employer_id = $1 order by c.id desc limit $2");
    let rows = client.query(&sql, &[&employer, &limit]).await;
    rows.map_err(could_not("list comparisons"))?
        .iter()
        .map(summary)
        .collect()
}

/// One comparison, with its result as JSON where it is done.
pub async fn find(client: &Client, id: i64) -> Result<Option<(Summary, Option<String>)>, DbError> {
    let row = client
        .query_opt(&format!("{SUMMARY} where c.id = $1"), &[&id])
        .await;
    let Some(row) = row.map_err(could_not("read a comparison"))? else {
        return Ok(None);
    };
    let result = client
        .query_one("select result from comparison where id = $1", &[&id])
        .await;
    let result = result.map_err(could_not("read a result"))?.get(0);
    Ok(Some((summary(&row)?, result)))
}

/// The report of a comparison, where there is one.
pub async fn report(client: &Client, id: i64) -> Result<Option<String>, DbError> {
    let row = client
        .query_opt("select report from comparison where id = $1", &[&id])
        .await;
    Ok(row
        .map_err(could_not("read a report"))?
        .and_then(|row| row.get(0)))
}

/// A comparison that a worker has taken.
#[derive(Debug)]
pub struct Job {
    /// The comparison.
    pub id: i64,
    /// The fence: only the last attempt may end it.
    pub attempt: i32,
    /// The employer's name.
    pub employer: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// What was asked, as JSON.
    pub request: String,
}

/// Takes the oldest comparison that nobody works on, for the time of the lease.
pub async fn take(client: &Client, lease: Duration) -> Result<Option<Job>, DbError> {
    let sql = "update comparison set state = 'running', attempts = attempts + 1,
                   lease_until = now() + make_interval(secs => $1)
               where id = (
                   select id from comparison
                   where state = 'queued' and coalesce(lease_until, now()) <= now()
                      or state = 'running' and lease_until < now()
                   order by id limit 1 for update skip locked)
               returning id, attempts, request, asked_at,
                   (select name from employer where employer.id = employer_id)";
    let row = client.query_opt(sql, &[&lease.as_secs_f64()]).await;
    Ok(row.map_err(could_not("take a comparison"))?.map(|row| Job {
        id: row.get(0),
        attempt: row.get(1),
        request: row.get(2),
        asked_at: row.get(3),
        employer: row.get(4),
    }))
}

/// What a worker found out.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The result and its report.
    Done {
        /// The code of the recommended plan.
        recommended: &'a str,
        /// As JSON.
        result: &'a str,
        /// As HTML.
        report: &'a str,
    },
    /// It cannot be computed.
    Failed(&'a str),
    /// It could not be computed now; it is tried again after a pause, unless that was the last attempt.
    Again(&'a str, Duration),
}

/// Ends a job. `false` where another worker has taken it meanwhile, and nothing was stored.
pub async fn end(client: &Client, job: &Job, outcome: &Outcome<'_>) -> Result<bool, DbError> {
    let mine = "id = $1 and attempts = $2 and state = 'running'";
    let changed = match outcome {
        Outcome::Done {
            recommended,
            result,
            report,
        } => {
            let sql = format!(
                "update comparison set state = 'done', recommended = $3, result = $4, report = $5, problem = null,
                     lease_until = null, ended_at = now() where {mine}"
            );
            client
                .execute(&sql, &[&job.id, &job.attempt, recommended, result, report])
                .await
        }
        Outcome::Failed(problem) => {
            client
                .execute(&failed(mine), &[&job.id, &job.attempt, problem])
                .await
        }
        Outcome::Again(problem, _) if job.attempt >= MOST_ATTEMPTS => {
            client
                .execute(&failed(mine), &[&job.id, &job.attempt, problem])
                .await
        }
        Outcome::Again(problem, pause) => {
            let sql = format!(
                "update comparison set state = 'queued', problem = $3,
                     lease_until = now() + make_interval(secs => $4) where {mine}"
            );
            client
                .execute(
                    &sql,
                    &[&job.id, &job.attempt, problem, &pause.as_secs_f64()],
                )
                .await
        }
    };
    Ok(changed.map_err(could_not("end a comparison"))? == 1)
}

fn failed(mine: &str) -> String {
    format!(
        "update comparison set state = 'failed', problem = $3, lease_until = null, ended_at = now() where {mine}"
    )
}

/// The request as it is stored.
pub fn as_text(request: &Request) -> Result<String, serde_json::Error> {
    serde_json::to_string(request)
}
