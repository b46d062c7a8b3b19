//! Returns in the database: opening, filling, moving, listing.
//!
//! Every change locks the return's row first, checks the state under that lock, and writes the state and
//! its line of history in one transaction. Two people who press a button at once get one change and one
//! clear refusal.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::attachment::{self, Attachment};
use crate::entry::{Head, MOST_ITEMS, NewItem, Reason};
use crate::money::Cents;
use crate::ndc;
use crate::pool::{DbError, Lease, Session, Statement};
use crate::state::{State, Step};

/// A return as it appears in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its id in addresses.
    pub id: i64,
    /// Its number for people, such as R-000042.
    pub number: String,
    /// Who returns.
    pub pharmacy: String,
    /// The pharmacy's own number; may be empty.
    pub reference: String,
    /// Where it stands.
    pub state: State,
    /// How many items.
    pub items: i64,
    /// How many units, over all items.
    pub units: i64,
    /// Items that the price table does not know.
    pub items_without_price: i64,
    /// Items that the worker has not valued yet.
    pub items_pending: i64,
    /// Sum of the credits of the valued items, in cents.
    pub credit_cents: Cents,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A return with all that belongs to it.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: Summary,
    /// Whom to ask.
    pub contact: String,
    /// The pharmacy's remark.
    pub note: String,
    /// The medicines.
    pub lines: Vec<Item>,
    /// What happened, oldest first.
    pub history: Vec<Change>,
    /// Photos and papers.
    pub attachments: Vec<Attachment>,
}

/// One returned medicine.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its id in addresses.
    pub id: i64,
    /// The code as 5-4-2.
    pub ndc: String,
    /// Name from the price table; absent until valued, or unknown.
    pub product: Option<String>,
    /// Lot number.
    pub lot: String,
    /// Last day of use.
    pub expiry: Date,
    /// Units.
    pub quantity: i32,
    /// Why it comes back.
    pub reason: Reason,
    /// How far its valuation is.
    pub valuation: Valuation,
    /// Price of one unit, in cents.
    pub unit_price_cents: Option<Cents>,
    /// Share of the price that is credited.
    pub credit_percent: Option<i32>,
    /// What is credited, in cents.
    pub credit_cents: Option<Cents>,
    /// Whether the desk entered the price.
    pub priced_by_hand: bool,
}

/// How far the valuation of an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Valuation {
    /// The worker has not looked yet.
    Pending,
    /// It has a credit.
    Priced,
    /// The price table does not know it; the desk enters a price.
    Unknown,
}

/// One line of history.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Its id, which grows with time.
    pub id: i64,
    /// The state before; absent for the first.
    pub from: Option<State>,
    /// The state after.
    pub to: State,
    /// `pharmacy`, `receiving-desk` or `worker`.
    pub actor: String,
    /// What was noted with it.
    pub note: String,
    /// When.
    pub at: Timestamp,
}

/// How many returns stand in a state, and what they are worth.
#[derive(Clone, Debug, Serialize)]
pub struct Tally {
    /// The state.
    pub state: State,
    /// Returns in it.
    pub returns: i64,
    /// Credit of their valued items, in cents.
    pub credit_cents: Cents,
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Part of a pharmacy, reference, return number, NDC, lot or product.
    pub words: Option<String>,
    /// Only this state.
    pub state: Option<State>,
    /// Only returns with a smaller id: the next page.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// There is no such return, or no such item in it.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// The state does not allow it.
    #[error("{number} is {state}: {wanted} is not possible any more, or not yet")]
    State {
        /// The return's number.
        number: String,
        /// Where it stands.
        state: State,
        /// What was wanted, as "submit".
        wanted: &'static str,
    },
    /// Nothing to submit.
    #[error("{0} has no items yet; add at least one before you submit it")]
    Empty(String),
    /// No room for another item.
    #[error("{0} has {MOST_ITEMS} items, the most that one return can hold; open another one")]
    Full(String),
}

macro_rules! summary_sql {
    ($rest:literal) => {
        concat!(
            "select r.id, r.pharmacy, r.reference, r.state, r.created_at, r.updated_at,
                    i.items, i.units, i.unknown, i.pending, i.credit, r.contact, r.note
             from product_return r
             cross join lateral (
                 select count(*) as items, coalesce(sum(quantity), 0)::bigint as units,
                        count(*) filter (where valuation = 'unknown') as unknown,
                        count(*) filter (where valuation = 'pending') as pending,
                        coalesce(sum(credit_cents), 0)::bigint as credit
                 from item where return_id = r.id) i ",
            $rest
        )
    };
}

const ONE: Statement = Statement {
    purpose: "read a return",
    sql: summary_sql!("where r.id = $1"),
};
const SEARCH: Statement = Statement {
    purpose: "search returns",
    sql: summary_sql!(
        "where ($1::text is null or r.state = $1)
           and ($2::text is null or r.pharmacy ilike $2 or r.reference ilike $2 or r.id = $4
                or exists (select 1 from item x left join price p on p.ndc = x.ndc
                           where x.return_id = r.id
                             and (x.lot ilike $2 or x.product ilike $2 or p.product ilike $2 or x.ndc like $3)))
           and ($5::bigint is null or r.id < $5)
         order by r.id desc limit $6"
    ),
};
const OPEN: Statement = Statement {
    purpose: "open a return",
    sql: "insert into product_return (pharmacy, contact, reference, note) values ($1, $2, $3, $4) returning id",
};
const CHANGE: Statement = Statement {
    purpose: "record a change of state",
    sql: "insert into state_change (return_id, from_state, to_state, actor, note) values ($1, $2, $3, $4, $5)",
};
const MOVE: Statement = Statement {
    purpose: "change the state of a return",
    sql: "update product_return set state = $2, updated_at = now() where id = $1",
};
const TOUCH: Statement = Statement {
    purpose: "note that a return changed",
    sql: "update product_return set updated_at = now() where id = $1",
};
const HOLD: Statement = Statement {
    purpose: "lock a return",
    sql: "select state from product_return where id = $1 for update",
};
const COUNT: Statement = Statement {
    purpose: "count items",
    sql: "select count(*) from item where return_id = $1",
};
const ADD: Statement = Statement {
    purpose: "add an item",
    sql: "insert into item (return_id, ndc, lot, expiry, quantity, reason) values ($1, $2, $3, $4, $5, $6) returning id",
};
const REMOVE: Statement = Statement {
    purpose: "remove an item",
    sql: "delete from item where return_id = $1 and id = $2",
};
const ITEMS: Statement = Statement {
    purpose: "list items",
    sql: "select i.id, i.ndc, coalesce(i.product, p.product), i.lot, i.expiry, i.quantity, i.reason, i.valuation,
                 i.unit_price_cents, i.credit_percent, i.credit_cents, i.priced_by_hand
          from item i left join price p on p.ndc = i.ndc where i.return_id = $1 order by i.id",
};
const FORGO: Statement = Statement {
    purpose: "take back the credit of a destroyed return",
    sql: "update item set credit_percent = 0, credit_cents = 0 where return_id = $1 and valuation = 'priced'",
};
const HISTORY: Statement = Statement {
    purpose: "read the history",
    sql: "select id, from_state, to_state, actor, note, at from state_change where return_id = $1 order by id",
};
const TALLY: Statement = Statement {
    purpose: "count returns",
    sql: "select r.state, count(distinct r.id), coalesce(sum(i.credit_cents), 0)::bigint
          from product_return r left join item i on i.return_id = r.id group by r.state",
};

/// The number that people read: R-000042.
pub fn number(id: i64) -> String {
    format!("R-{id:06}")
}

/// Opens a draft; returns its id.
pub async fn open(lease: &mut Lease, head: &Head) -> Result<i64, DbError> {
    let work = lease.begin().await?;
    let row = work
        .first(
            OPEN,
            &[&head.pharmacy, &head.contact, &head.reference, &head.note],
        )
        .await?;
    let id: i64 = row.map_or(0, |row| row.get(0));
    record(
        &work,
        id,
        None,
        State::Draft,
        crate::state::Actor::Pharmacy.name(),
        "",
    )
    .await?;
    work.commit().await?;
    Ok(id)
}

/// Adds an item to a draft; returns its id.
pub async fn add_item(lease: &mut Lease, id: i64, item: &NewItem) -> Result<i64, ChangeError> {
    let work = lease.begin().await?;
    draft_only(&work, id, "adding items").await?;
    if count_items(&work, id).await? >= MOST_ITEMS {
        return Err(ChangeError::Full(number(id)));
    }
    let params: [&(dyn ToSql + Sync); 6] = [
        &id,
        &item.ndc.digits(),
        &item.lot,
        &item.expiry,
        &item.quantity,
        &item.reason.name(),
    ];
    let row = work.first(ADD, &params).await?;
    work.change(TOUCH, &[&id]).await?;
    work.commit().await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

/// Takes an item out of a draft.
pub async fn remove_item(lease: &mut Lease, id: i64, item: i64) -> Result<(), ChangeError> {
    let work = lease.begin().await?;
    draft_only(&work, id, "removing items").await?;
    if work.change(REMOVE, &[&id, &item]).await? == 0 {
        return Err(ChangeError::Missing("item"));
    }
    work.change(TOUCH, &[&id]).await?;
    work.commit().await?;
    Ok(())
}

/// Takes a step; returns the state that follows.
pub async fn take(
    lease: &mut Lease,
    id: i64,
    step: Step,
    note: &str,
) -> Result<State, ChangeError> {
    let work = lease.begin().await?;
    let state = hold(&work, id).await?;
    let Some(next) = step.from(state) else {
        return Err(ChangeError::State {
            number: number(id),
            state,
            wanted: step.name(),
        });
    };
    if step == Step::Submit && count_items(&work, id).await? == 0 {
        return Err(ChangeError::Empty(number(id)));
    }
    if step == Step::Destroy {
        work.change(FORGO, &[&id]).await?;
    }
    settle(&work, id, state, next, step, note).await?;
    work.commit().await?;
    Ok(next)
}

/// Writes a step that was checked under the return's lock: the new state and its line of history.
pub(crate) async fn settle(
    work: &Session,
    id: i64,
    from: State,
    to: State,
    step: Step,
    note: &str,
) -> Result<(), DbError> {
    work.change(MOVE, &[&id, &to.name()]).await?;
    record(work, id, Some(from), to, step.actor().name(), note).await
}

/// Locks a return for the rest of the transaction, and says where it stands.
pub(crate) async fn hold(work: &Session, id: i64) -> Result<State, ChangeError> {
    let row = work
        .first(HOLD, &[&id])
        .await?
        .ok_or(ChangeError::Missing("return"))?;
    Ok(state_of(row.get(0))?)
}

/// Notes that a return changed without changing its state.
pub(crate) async fn touch(work: &Session, id: i64) -> Result<(), DbError> {
    work.change(TOUCH, &[&id]).await.map(drop)
}

/// One return, or nothing.
pub async fn load(session: &Session, id: i64) -> Result<Option<Detail>, DbError> {
    let Some(row) = session.first(ONE, &[&id]).await? else {
        return Ok(None);
    };
    let lines = session
        .all(ITEMS, &[&id])
        .await?
        .iter()
        .map(item)
        .collect::<Result<_, _>>()?;
    let history = session
        .all(HISTORY, &[&id])
        .await?
        .iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    let attachments = attachment::list(session, id).await?;
    let summary = summary(&row)?;
    Ok(Some(Detail {
        summary,
        contact: row.get(11),
        note: row.get(12),
        lines,
        history,
        attachments,
    }))
}

/// Returns that match, newest first.
pub async fn search(session: &Session, search: &Search) -> Result<Vec<Summary>, DbError> {
    let words = search.words.as_deref().map(like);
    let code = search.words.as_deref().and_then(digits_of);
    let id = search.words.as_deref().and_then(id_of);
    let state = search.state.map(State::name);
    let params: [&(dyn ToSql + Sync); 6] =
        [&state, &words, &code, &id, &search.before, &search.limit];
    session
        .all(SEARCH, &params)
        .await?
        .iter()
        .map(summary)
        .collect()
}

/// One row per state, in the order of a return's life; states without returns included.
pub async fn tally(session: &Session) -> Result<Vec<Tally>, DbError> {
    let rows = session.all(TALLY, &[]).await?;
    let mut tallies: Vec<Tally> = State::ALL
        .iter()
        .map(|&state| Tally {
            state,
            returns: 0,
            credit_cents: Cents(0),
        })
        .collect();
    for row in rows {
        let state = state_of(row.get(0))?;
        if let Some(tally) = tallies.iter_mut().find(|t| t.state == state) {
            (tally.returns, tally.credit_cents) = (row.get(1), Cents(row.get(2)));
        }
    }
    Ok(tallies)
}

async fn record(
    work: &Session,
    id: i64,
    from: Option<State>,
    to: State,
    actor: &str,
    note: &str,
) -> Result<(), DbError> {
    work.change(
        CHANGE,
        &[&id, &from.map(State::name), &to.name(), &actor, &note],
    )
    .await
    .map(drop)
}

async fn draft_only(work: &Session, id: i64, wanted: &'static str) -> Result<(), ChangeError> {
    match hold(work, id).await? {
        State::Draft => Ok(()),
        state => Err(ChangeError::State {
            number: number(id),
            state,
            wanted,
        }),
    }
}

async fn count_items(work: &Session, id: i64) -> Result<i64, DbError> {
    Ok(work.first(COUNT, &[&id]).await?.map_or(0, |row| row.get(0)))
}

pub(crate) fn state_of(text: &str) -> Result<State, DbError> {
    text.parse().map_err(|_| DbError::Foreign {
        what: "a state",
        value: text.to_owned(),
    })
}

fn summary(row: &Row) -> Result<Summary, DbError> {
    let id: i64 = row.get(0);
    Ok(Summary {
        id,
        number: number(id),
        pharmacy: row.get(1),
        reference: row.get(2),
        state: state_of(row.get(3))?,
        created_at: row.get(4),
        updated_at: row.get(5),
        items: row.get(6),
        units: row.get(7),
        items_without_price: row.get(8),
        items_pending: row.get(9),
        credit_cents: Cents(row.get(10)),
    })
}

fn item(row: &Row) -> Result<Item, DbError> {
    let reason: &str = row.get(6);
    let valuation: &str = row.get(7);
    Ok(Item {
        id: row.get(0),
        ndc: ndc::hyphenated(row.get(1)),
        product: row.get(2),
        lot: row.get(3),
        expiry: row.get(4),
        quantity: row.get(5),
        reason: reason_of(reason)?,
        valuation: match valuation {
            "pending" => Valuation::Pending,
            "priced" => Valuation::Priced,
            "unknown" => Valuation::Unknown,
            other => {
                return Err(DbError::Foreign {
                    what: "a valuation",
                    value: other.to_owned(),
                });
            }
        },
        unit_price_cents: row.get::<_, Option<i64>>(8).map(Cents),
        credit_percent: row.get(9),
        credit_cents: row.get::<_, Option<i64>>(10).map(Cents),
        priced_by_hand: row.get(11),
    })
}

pub(crate) fn reason_of(text: &str) -> Result<Reason, DbError> {
    Reason::parse(text).ok_or_else(|| DbError::Foreign {
        what: "a reason",
        value: text.to_owned(),
    })
}

fn change(row: &Row) -> Result<Change, DbError> {
    Ok(Change {
        id: row.get(0),
        from: row.get::<_, Option<&str>>(1).map(state_of).transpose()?,
        to: state_of(row.get(2))?,
        actor: row.get(3),
        note: row.get(4),
        at: row.get(5),
    })
}

/// A LIKE pattern that finds the text itself anywhere.
fn like(words: &str) -> String {
    let mut pattern = String::from("%");
    for c in words.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A pattern for stored codes, where the words could be (part of) an NDC, hyphens or not.
fn digits_of(words: &str) -> Option<String> {
    if let Ok(code) = ndc::Ndc::parse(words) {
        return Some(code.digits().to_owned());
    }
    let digits: String = words.chars().filter(|c| *c != '-').collect();
    (digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| format!("%{digits}%"))
}

/// The id meant by `R-000042`, `r42` or `42`.
fn id_of(words: &str) -> Option<i64> {
    let bare = words.trim_start_matches(['r', 'R']).trim_start_matches('-');
    (!bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()))
        .then(|| bare.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_was_typed() {
        assert_eq!(like("50%_a\\b"), "%50\\%\\_a\\\\b%");
        assert_eq!(digits_of("0093-3109-01").as_deref(), Some("00093310901"));
        assert_eq!(digits_of("3109").as_deref(), Some("%3109%"));
        assert_eq!(digits_of("Lipitor 40"), None);
    }

    #[test]
    fn numbers_lead_to_their_return() {
        assert_eq!(number(42), "R-000042");
        for text in ["R-000042", "r42", "42"] {
            assert_eq!(id_of(text), Some(42));
        }
        assert_eq!(id_of("R-"), None);
        assert_eq!(id_of("99999999999999999999"), None);
    }
}
