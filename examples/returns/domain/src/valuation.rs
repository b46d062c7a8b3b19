//! Valuing items and crediting returns: the worker's two jobs, and the price by hand that unblocks them.
//!
//! Each call takes one return in one transaction, chosen with `for update skip locked`: any number of
//! workers may run, each return is taken by one, and a job that was done is not found again. A worker that
//! is killed in the middle leaves nothing behind but a lock that the database releases.

use jiff::civil::Date;
use tokio_postgres::Row;

use crate::credit;
use crate::money::Cents;
use crate::pool::{DbError, Lease, Session, Statement};
use crate::returns::{self, ChangeError, reason_of};
use crate::state::{State, Step};

/// What was done for one return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Valued {
    /// The return.
    pub return_id: i64,
    /// Items that got a credit.
    pub priced: usize,
    /// Items that the price table does not know.
    pub unknown: usize,
}

const NEXT_TO_VALUE: Statement = Statement {
    purpose: "find a return to value",
    sql: "select r.id from product_return r
          where r.state in ('submitted', 'received', 'verified')
            and exists (select 1 from item i left join price p on p.ndc = i.ndc
                        where i.return_id = r.id
                          and (i.valuation = 'pending' or i.valuation = 'unknown' and p.ndc is not null))
          order by r.id limit 1 for update of r skip locked",
};
const OPEN_ITEMS: Statement = Statement {
    purpose: "read items to value",
    sql: "select i.id, i.reason, i.expiry, i.quantity, p.product, p.unit_price_cents
          from item i left join price p on p.ndc = i.ndc
          where i.return_id = $1 and i.valuation <> 'priced' order by i.id",
};
const PRICE: Statement = Statement {
    purpose: "value an item",
    sql: "update item set valuation = 'priced', product = coalesce($2, product), unit_price_cents = $3,
                 credit_percent = $4, credit_cents = $5, priced_by_hand = $6 where id = $1",
};
const FLAG: Statement = Statement {
    purpose: "flag an item for a price by hand",
    sql: "update item set valuation = 'unknown' where id = $1",
};
const NEXT_TO_CREDIT: Statement = Statement {
    purpose: "find a return to credit",
    sql: "select r.id from product_return r
          where r.state = 'verified'
            and not exists (select 1 from item i where i.return_id = r.id and i.valuation <> 'priced')
          order by r.id limit 1 for update of r skip locked",
};
const TOTAL: Statement = Statement {
    purpose: "add up a credit",
    sql: "select coalesce(sum(credit_cents), 0)::bigint from item where return_id = $1",
};
const UNPRICED_ITEM: Statement = Statement {
    purpose: "read an item",
    sql: "select id, reason, expiry, quantity from item where return_id = $1 and id = $2 and valuation = 'unknown'",
};

/// Values the open items of one return; nothing where no return has any.
pub async fn value_one(lease: &mut Lease, today: Date) -> Result<Option<Valued>, DbError> {
    let work = lease.begin().await?;
    let Some(row) = work.first(NEXT_TO_VALUE, &[]).await? else {
        work.commit().await?;
        return Ok(None);
    };
    let mut valued = Valued {
        return_id: row.get(0),
        priced: 0,
        unknown: 0,
    };
    for item in work.all(OPEN_ITEMS, &[&valued.return_id]).await? {
        match item.get::<_, Option<i64>>(5) {
            Some(price) => {
                price_item(&work, &item, item.get(4), Cents(price), today, false).await?;
                valued.priced += 1;
            }
            None => {
                work.change(FLAG, &[&item.get::<_, i64>(0)]).await?;
                valued.unknown += 1;
            }
        }
    }
    returns::touch(&work, valued.return_id).await?;
    work.commit().await?;
    Ok(Some(valued))
}

/// Credits one verified return whose items all have a value; returns its id and the amount.
pub async fn credit_one(lease: &mut Lease) -> Result<Option<(i64, Cents)>, DbError> {
    let work = lease.begin().await?;
    let Some(row) = work.first(NEXT_TO_CREDIT, &[]).await? else {
        work.commit().await?;
        return Ok(None);
    };
    let id: i64 = row.get(0);
    let total = Cents(work.first(TOTAL, &[&id]).await?.map_or(0, |row| row.get(0)));
    let note = format!("Credited {total}");
    returns::settle(
        &work,
        id,
        State::Verified,
        State::Credited,
        Step::Credit,
        &note,
    )
    .await?;
    work.commit().await?;
    Ok(Some((id, total)))
}

/// Sets the price of an item that the price table does not know.
pub async fn price_by_hand(
    lease: &mut Lease,
    id: i64,
    item: i64,
    price: Cents,
    today: Date,
) -> Result<(), ChangeError> {
    let work = lease.begin().await?;
    let state = returns::hold(&work, id).await?;
    if state == State::Draft || state.is_final() {
        return Err(ChangeError::State {
            number: returns::number(id),
            state,
            wanted: "setting a price",
        });
    }
    let row = work
        .first(UNPRICED_ITEM, &[&id, &item])
        .await?
        .ok_or(ChangeError::Missing("item without a price"))?;
    price_item(&work, &row, None, price, today, true).await?;
    returns::touch(&work, id).await?;
    work.commit().await?;
    Ok(())
}

async fn price_item(
    work: &Session,
    item: &Row,
    product: Option<&str>,
    price: Cents,
    today: Date,
    by_hand: bool,
) -> Result<(), DbError> {
    let percent = credit::percent(reason_of(item.get(1))?, item.get(2), today);
    let credit = credit::credit(price, item.get(3), percent);
    let percent = percent as i32;
    let id: i64 = item.get(0);
    work.change(
        PRICE,
        &[&id, &product, &price.0, &percent, &credit.0, &by_hand],
    )
    .await
    .map(drop)
}
