//! 100 deploys and rollbacks in turn, under load.
//!
//! Each deploy is of another release than the one that serves (a variable of the web service differs), so that
//! new instances start and the old ones are drained; each rollback goes back to the first release, whose
//! instances are warm.

use std::time::Duration;

use super::{Measured, under_load};
use crate::error::Error;
use crate::load::{Load, Target};
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::ward::Ward;
use crate::workshop::Workshop;

const FAILED: Bar = Bar {
    name: "deploys: failed requests during deploys and rollbacks",
    unit: "requests",
    most: 0.0,
};
const BROKEN: Bar = Bar {
    name: "deploys: deploys and rollbacks that did not succeed",
    unit: "commands",
    most: 0.0,
};
pub(super) const BARS: &[Bar] = &[FAILED, BROKEN];

const BEFORE: &str = "env = { RUST_LOG = \"info\" }\nmemory";
const AFTER: &str = "env = { RUST_LOG = \"info\", BENCH = \"other\" }\nmemory";

pub(super) async fn measure(workshop: &Workshop, rounds: u32) -> Measured {
    let ward = workshop.returns().await?;
    ward.up().await?;
    let target = Target::of(&ward, under_load::HOST).await?;
    let load = Load::returns(&target).await?;
    // The load is under way before anything changes, and for a while after.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ward.edit(BEFORE, AFTER)?;
    let mut moves = Moves::default();
    for round in 1..=rounds {
        moves.make(&ward, round).await;
        if round % 10 == 0 {
            say(&format!(
                "  {round} of {rounds}: {} requests failed",
                load.failed()
            ));
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let load = load.end().await;
    ward.stop().await?;

    let mut rows = vec![
        FAILED.row(load.failed() as f64),
        BROKEN.row(moves.broken.len() as f64),
    ];
    rows.extend(under_load::rows("deploys", &load));
    rows.push(informs(
        "deploys: `ward deploy` under load, median",
        moves.deploys.median(),
        "ms",
    ));
    rows.push(informs(
        "deploys: `ward rollback` under load, median",
        moves.rollbacks.median(),
        "ms",
    ));
    let mut notes = under_load::notes(&load);
    notes.insert(0, format!("{rounds} commands, `ward deploy` of a release that differs in a variable and `ward rollback` in turn."));
    notes.extend(moves.broken);
    Ok((rows, notes))
}

/// Deploys and rollbacks so far.
#[derive(Default)]
struct Moves {
    deploys: Sample,
    rollbacks: Sample,
    /// What those said that did not succeed.
    broken: Vec<String>,
}

impl Moves {
    /// Odd rounds deploy, even ones roll back.
    async fn make(&mut self, ward: &Ward, round: u32) {
        let (command, times) = match round % 2 {
            1 => ("deploy", &mut self.deploys),
            _ => ("rollback", &mut self.rollbacks),
        };
        match ward.run(&[command]).await {
            Ok((_, took)) => times.add_millis(took),
            Err(error) => self.broke(round, &error),
        }
    }

    fn broke(&mut self, round: u32, error: &Error) {
        let why = format!("round {round}: {}", error.sentence());
        say(&why);
        self.broken.push(why);
    }
}
