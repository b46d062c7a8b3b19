//! Employers with their plans and employees. An import replaces a list in one transaction: all or nothing.

use plans_model::cost::Usage;
use plans_model::money::Cents;
use plans_model::plan::{Employee, LONGEST_NAME, Plan, Tiers};
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Transaction};

use crate::pool::{DbError, could_not};

/// The most employers that are kept.
pub const MOST_EMPLOYERS: i64 = 1_000;

/// An employer in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Employer {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// How many plans it is offered.
    pub plans: i64,
    /// How many employees it has.
    pub employees: i64,
    /// What its last comparison recommended.
    pub recommended: Option<String>,
}

/// Why an employer was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The name is empty or too long, is taken, or there are too many.
    #[error("{0}")]
    Refused(String),
}

const LIST: &str = "select e.id, e.name,
        (select count(*) from plan p where p.employer_id = e.id),
        (select count(*) from employee p where p.employer_id = e.id),
        (select c.recommended from comparison c
          where c.employer_id = e.id and c.state = 'done' order by c.id desc limit 1)
    from employer e";

fn employer(row: &Row) -> Employer {
    Employer {
        id: row.get(0),
        name: row.get(1),
        plans: row.get(2),
        employees: row.get(3),
        recommended: row.get(4),
    }
}

/// All employers, by name.
pub async fn list(client: &Client) -> Result<Vec<Employer>, DbError> {
    let rows = client
        .query(&format!("{LIST} order by lower(e.name), e.id"), &[])
        .await;
    let rows = rows.map_err(could_not("list employers"))?;
    Ok(rows.iter().map(employer).collect())
}

/// One employer.
pub async fn find(client: &Client, id: i64) -> Result<Option<Employer>, DbError> {
    let row = client
        .query_opt(&format!("{LIST} where e.id = $1"), &[&id])
        .await;
    Ok(row
        .map_err(could_not("read an employer"))?
        .as_ref()
        .map(employer))
}

/// Adds an employer; gives its id.
pub async fn add(client: &Client, name: &str) -> Result<i64, AddError> {
    let name = name.trim();
    let refused = |reason: String| Err(AddError::Refused(reason));
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control)
    {
        return refused(format!("Enter a name of 1 to {LONGEST_NAME} characters."));
    }
    let added = client
        .query_opt(
            "insert into employer (name) select $1
             where (select count(*) from employer) < $2 returning id",
            &[&name, &MOST_EMPLOYERS],
        )
        .await;
    match added {
        Ok(Some(row)) => Ok(row.get(0)),
        Ok(None) => refused(format!(
            "There are {MOST_EMPLOYERS} employers already, and no room for more."
        )),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            refused("There is an employer of this name already.".to_owned())
        }
        Err(error) => Err(could_not("add an employer")(error).into()),
    }
}

/// An employer's plans, in the order of the file.
pub async fn plans(client: &Client, id: i64) -> Result<Vec<Plan>, DbError> {
    let sql = "select code, name, premium_single, premium_family, employer_percent, deductible_single,
                      deductible_family, coinsurance_percent, out_of_pocket_single, out_of_pocket_family, account
               from plan where employer_id = $1 order by position";
    let rows = client
        .query(sql, &[&id])
        .await
        .map_err(could_not("list plans"))?;
    rows.iter().map(plan).collect()
}

fn plan(row: &Row) -> Result<Plan, DbError> {
    let tiers = |single, family| Tiers {
        single: Cents(row.get(single)),
        family: Cents(row.get(family)),
    };
    let percent = |at: usize| {
        let stored = u8::try_from(row.get::<_, i16>(at));
        stored.map_err(|_| DbError::Foreign("a percentage"))
    };
    Ok(Plan {
        code: row.get(0),
        name: row.get(1),
        premium: tiers(2, 3),
        employer_percent: percent(4)?,
        deductible: tiers(5, 6),
        coinsurance_percent: percent(7)?,
        out_of_pocket: tiers(8, 9),
        account: Cents(row.get(10)),
    })
}

/// Up to `limit` of an employer's employees behind a position, in the order of the file.
pub async fn employees(
    client: &Client,
    id: i64,
    behind: i32,
    limit: i64,
) -> Result<Vec<Employee>, DbError> {
    let sql = "select number, name, dependents, usage from employee
               where employer_id = $1 and position > $2 order by position limit $3";
    let rows = client.query(sql, &[&id, &behind, &limit]).await;
    rows.map_err(could_not("list employees"))?
        .iter()
        .map(employee)
        .collect()
}

fn employee(row: &Row) -> Result<Employee, DbError> {
    let named: String = row.get(3);
    let usage = Usage::ALL.into_iter().find(|usage| usage.name() == named);
    Ok(Employee {
        number: row.get(0),
        name: row.get(1),
        dependents: u8::try_from(row.get::<_, i16>(2))
            .map_err(|_| DbError::Foreign("a number of dependents"))?,
        usage: usage.ok_or(DbError::Foreign("a usage"))?,
    })
}

/// Replaces an employer's plans. `false` where there is no such employer.
pub async fn replace_plans(client: &mut Client, id: i64, plans: &[Plan]) -> Result<bool, DbError> {
    let work = client
        .transaction()
        .await
        .map_err(could_not("begin a transaction"))?;
    if !emptied(&work, id, "delete from plan where employer_id = $1").await? {
        return Ok(false);
    }
    let statement = work
        .prepare(
            "insert into plan (employer_id, position, code, name, premium_single, premium_family, employer_percent,
                 deductible_single, deductible_family, coinsurance_percent, out_of_pocket_single,
                 out_of_pocket_family, account)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .await
        .map_err(could_not("store plans"))?;
    for (position, plan) in (1..).zip(plans) {
        let position: i32 = position;
        let percents = [plan.employer_percent, plan.coinsurance_percent].map(i16::from);
        let values: [&(dyn ToSql + Sync); 13] = [
            &id,
            &position,
            &plan.code,
            &plan.name,
            &plan.premium.single.0,
            &plan.premium.family.0,
            &percents[0],
            &plan.deductible.single.0,
            &plan.deductible.family.0,
            &percents[1],
            &plan.out_of_pocket.single.0,
            &plan.out_of_pocket.family.0,
            &plan.account.0,
        ];
        work.execute(&statement, &values)
            .await
            .map_err(could_not("store a plan"))?;
    }
    work.commit().await.map_err(could_not("commit plans"))?;
    Ok(true)
}

/// Replaces an employer's employees. `false` where there is no such employer.
pub async fn replace_employees(
    client: &mut Client,
    id: i64,
    employees: &[Employee],
) -> Result<bool, DbError> {
    let work = client
        .transaction()
        .await
        .map_err(could_not("begin a transaction"))?;
    if !emptied(&work, id, "delete from employee where employer_id = $1").await? {
        return Ok(false);
    }
    let numbers: Vec<&str> = employees.iter().map(|who| who.number.as_str()).collect();
    let names: Vec<&str> = employees.iter().map(|who| who.name.as_str()).collect();
    let dependents: Vec<i16> = employees.iter().map(|who| who.dependents.into()).collect();
    let usages: Vec<&str> = employees.iter().map(|who| who.usage.name()).collect();
    work.execute(
        "insert into employee (employer_id, position, number, name, dependents, usage)
         select $1, row.at, row.number, row.name, row.dependents, row.usage
         from unnest($2::text[], $3::text[], $4::int2[], $5::text[])
              with ordinality as row (number, name, dependents, usage, at)",
        &[&id, &numbers, &names, &dependents, &usages],
    )
    .await
    .map_err(could_not("store employees"))?;
    work.commit().await.map_err(could_not("commit employees"))?;
    Ok(true)
}

/// Locks the employer, so that two imports come one after the other, and removes what it had.
async fn emptied(work: &Transaction<'_>, id: i64, sql: &str) -> Result<bool, DbError> {
    let found = work
        .query_opt("select id from employer where id = $1 for update", &[&id])
        .await;
    if found.map_err(could_not("find the employer"))?.is_none() {
        return Ok(false);
    }
    work.execute(sql, &[&id])
        .await
        .map_err(could_not("remove the list before"))?;
    Ok(true)
}
