//! Demonstration data: some weeks in the life of a returns desk. Never added by itself.
//!
//! Each return carries a reference of its own (`DEMO-001` …) and is added only where that reference is
//! missing, under a lock, so that the command may run any number of times and twice at once.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio_postgres::Config;

use crate::pool::{self, DbError, Session, Statement};
use crate::state::{State, Step};

const RETURNS: i64 = 46;

const PHARMACIES: [(&str, &str); 9] = [
    ("Harbor Street Pharmacy", "Dana Whitfield"),
    ("St. Brigid Medical Center, Pharmacy", "Luis Ortega"),
    ("Oak & Vine Apothecary", "Priya Raman"),
    ("Lakeside Family Drugs", "Tom Becker"),
    ("Northgate Long-Term Care Pharmacy", "Annika Sorensen"),
    ("Cedar Ridge Clinic Pharmacy", "Marcus Hale"),
    ("Riverbend Community Pharmacy", "Joanne Li"),
    ("Willow Park Pharmacy #204", "Samir Haddad"),
    ("Mercy General, Outpatient Pharmacy", "Ellen Brandt"),
];

const NOTES: [&str; 5] = [
    "Cold-chain items packed separately with a logger.",
    "Water damage in the store room; photos follow.",
    "",
    "Quarterly clean-out of the automated dispensers.",
    "",
];

const LOCK: Statement = Statement {
    purpose: "take the demonstration lock",
    sql: "select pg_advisory_xact_lock(727376826)",
};
const KNOWN: Statement = Statement {
    purpose: "look for demonstration data",
    sql: "select 1 from product_return where reference = $1",
};
const CODES: Statement = Statement {
    purpose: "read the price table",
    sql: "select ndc from price order by ndc",
};
const OPEN: Statement = Statement {
    purpose: "add a return",
    sql: "insert into product_return (pharmacy, contact, reference, note, state, created_at, updated_at)
          values ($1, $2, $3, $4, $5, $6, $7) returning id",
};
const ITEM: Statement = Statement {
    purpose: "add an item",
    sql: "insert into item (return_id, ndc, lot, expiry, quantity, reason, created_at) values ($1, $2, $3, $4, $5, $6, $7)",
};
const CHANGE: Statement = Statement {
    purpose: "add a line of history",
    sql: "insert into state_change (return_id, from_state, to_state, actor, note, at) values ($1, $2, $3, $4, $5, $6)",
};

/// Adds what is missing; returns how many returns were added.
pub async fn seed(config: &Config, now: Timestamp) -> Result<i64, DbError> {
    let session = pool::connect(config).await?;
    // Nothing is committed unless everything is: an error closes the connection, which rolls back.
    session.batch("begin a transaction", "begin").await?;
    session.first(LOCK, &[]).await?;
    let codes: Vec<String> = session
        .all(CODES, &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut added = 0;
    for n in 1..=RETURNS {
        let reference = format!("DEMO-{n:03}");
        if session.first(KNOWN, &[&reference]).await?.is_none() {
            add(&session, n, &reference, &codes, now).await?;
            added += 1;
        }
    }
    session.batch("commit", "commit").await?;
    Ok(added)
}

async fn add(
    session: &Session,
    n: i64,
    reference: &str,
    codes: &[String],
    now: Timestamp,
) -> Result<(), DbError> {
    let mut dice = Dice::new(n);
    let (pharmacy, contact) = dice.pick(&PHARMACIES);
    let steps = life(n, &mut dice);
    let mut at = now
        - SignedDuration::from_hours((RETURNS - n) * 13 + 30)
        - SignedDuration::from_mins(dice.below(600));
    let opened = at;
    let mut moments = Vec::new();
    for _ in &steps {
        at = (at + SignedDuration::from_mins(90 + dice.below(1_600)))
            .min(now - SignedDuration::from_mins(dice.below(50)));
        moments.push(at);
    }
    let state = steps
        .iter()
        .try_fold(State::Draft, |state, step| step.from(state))
        .unwrap_or(State::Draft);
    let note = dice.pick(&NOTES);
    let params: pool::Params<'_> = &[
        &pharmacy,
        &contact,
        &reference,
        &note,
        &state.name(),
        &opened,
        &at,
    ];
    let id: i64 = session
        .first(OPEN, params)
        .await?
        .map_or(0, |row| row.get(0));
    for _ in 0..(if n % 15 == 0 { 0 } else { 1 + dice.below(6) }) {
        add_item(session, id, codes, &mut dice, opened).await?;
    }
    session
        .change(
            CHANGE,
            &[&id, &None::<&str>, &"draft", &"pharmacy", &"", &opened],
        )
        .await?;
    let mut from = State::Draft;
    for (step, at) in steps.iter().zip(moments) {
        let to = step.from(from).unwrap_or(from);
        let note = if *step == Step::Destroy {
            "Cold chain broken in transit; not fit for credit."
        } else {
            ""
        };
        session
            .change(
                CHANGE,
                &[
                    &id,
                    &Some(from.name()),
                    &to.name(),
                    &step.actor().name(),
                    &note,
                    &at,
                ],
            )
            .await?;
        from = to;
    }
    Ok(())
}

/// How far a return has come. Crediting is left to the worker, which makes the demonstration move.
fn life(n: i64, dice: &mut Dice) -> Vec<Step> {
    let all = [Step::Submit, Step::Receive, Step::Verify];
    match n {
        n if n % 15 == 0 || n > RETURNS - 3 => Vec::new(),
        n if n > RETURNS - 9 => all[..1].to_vec(),
        n if n > RETURNS - 14 => all[..2].to_vec(),
        n if n % 11 == 0 => vec![Step::Submit, Step::Receive, Step::Destroy],
        _ if dice.below(12) == 0 => all[..2].to_vec(),
        _ => all.to_vec(),
    }
}

async fn add_item(
    session: &Session,
    id: i64,
    codes: &[String],
    dice: &mut Dice,
    opened: Timestamp,
) -> Result<(), DbError> {
    let day = opened.to_zoned(TimeZone::UTC).date();
    let (reason, expiry) = match dice.below(10) {
        0..=5 => ("expired", day.saturating_sub((10 + dice.below(300)).days())),
        6 | 7 => ("unused", day.saturating_add((400 + dice.below(500)).days())),
        _ => ("damaged", day.saturating_add((90 + dice.below(500)).days())),
    };
    // Now and then a product that the price table does not know.
    let unknown = "71288010312".to_owned();
    let code = if dice.below(40) == 0 {
        &unknown
    } else {
        &codes[dice.below(codes.len() as i64) as usize]
    };
    let letter = char::from(b'A' + dice.below(26) as u8);
    let lot = format!("{letter}{:05}", 10_000 + dice.below(89_999));
    let quantity = 1 + dice.below(24) as i32;
    session
        .change(
            ITEM,
            &[&id, code, &lot, &expiry, &quantity, &reason, &opened],
        )
        .await
        .map(drop)
}

/// A small repeatable sequence (SplitMix64), so that every demonstration looks the same.
struct Dice(u64);

impl Dice {
    fn new(n: i64) -> Self {
        // Another factor than the step below, or the sequences of neighbours would overlap.
        Self(n.unsigned_abs().wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n.unsigned_abs().max(1)) as i64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as i64) as usize]
    }
}
