//! Deploys and rollbacks of two applications for a long time, under load, while things are killed and stopped.
//!
//! Server, keepers and instances are killed with -9 and stopped (SIGSTOP) at random moments of the moves, and
//! server and gateway are replaced by `ward upgrade` again and again. What was under way in an instance when
//! that was killed is lost and is counted apart: what was due before the last of its processes was dead, and
//! failed within two seconds of that. Anything else that fails is a failure of Ward's. A move that
//! something of its own was killed in may fail, but has a verdict, and the verdict is true: what answers is
//! the release that is said to serve.

mod applications;
mod faults;
mod moves;

use std::time::Duration;

use super::{Measured, under_load};
use crate::load::{Load, Summary};
use crate::report::{Bar, Row, informs, say};
use crate::ward::Ward;
use crate::workshop::Workshop;
use applications::Application;
use faults::Faults;
use moves::Moves;

const FAILED: Bar = Bar {
    name: "soak: failed requests, but for those under way in an instance that was killed",
    unit: "requests",
    most: 0.0,
};
const BROKEN: Bar = Bar {
    name: "soak: moves that failed though nothing was killed, or without a true verdict",
    unit: "moves",
    most: 0.0,
};
pub(super) const BARS: &[Bar] = &[FAILED, BROKEN];

/// From one upgrade to the next, in moves.
const UPGRADE_EVERY: u32 = 50;
const TOLD_EVERY: u32 = 25;

/// How long a soak is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// Deploys and rollbacks, counted together.
    pub(crate) moves: u32,
    /// How many requests are asked at least.
    pub(crate) requests: u64,
    /// Without examples/returns, which takes minutes to compile.
    pub(crate) short: bool,
    /// Where the random numbers begin.
    pub(crate) seed: u64,
}

pub(super) async fn measure(workshop: &Workshop, length: Length) -> Measured {
    let clerk = Application::clerk(workshop)?;
    let ward = match length.short {
        true => workshop.of(clerk.folder()),
        false => workshop.returns().await?,
    };
    ward.up().await?;
    let mut applications = vec![clerk];
    if !length.short {
        ward.run_in(applications[0].folder(), &["up"]).await?;
        applications.push(Application::returns(&ward));
    }
    let mut loads = Vec::new();
    for application in &applications {
        loads.push(application.load(&ward).await?);
    }
    let mut faults = Faults::new(length.seed);
    let mut moves = Moves::default();
    for round in 1..=length.moves {
        let which = (round as usize) % applications.len();
        let application = &mut applications[which];
        let fault = faults.next();
        let made = moves.make(&ward, application, fault, &loads, round).await?;
        faults.note(made);
        if round % UPGRADE_EVERY.min(length.moves.div_ceil(3)) == 0 {
            moves.upgrade(&ward, round).await;
        }
        if round % TOLD_EVERY == 0 {
            tell(round, length, &loads);
        }
    }
    until_enough(&loads, length.requests).await;
    moves.examine_log(&ward).await?;
    finish(ward, loads, &faults, &moves, length).await
}

fn tell(round: u32, length: Length, loads: &[Load]) {
    let [asked, failed, lost] =
        [Load::asked, Load::failed, Load::lost].map(|count| loads.iter().map(count).sum::<u64>());
    say(&format!(
        "  {round} of {} moves: {asked} requests, {failed} failed, {lost} lost with what was killed",
        length.moves
    ));
}

async fn until_enough(loads: &[Load], requests: u64) {
    while loads.iter().map(Load::asked).sum::<u64>() < requests {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn finish(
    ward: Ward,
    loads: Vec<Load>,
    faults: &Faults,
    moves: &Moves,
    length: Length,
) -> Measured {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut ended = Vec::new();
    for load in loads {
        ended.push(load.end().await);
    }
    ward.stop().await?;
    let failed: u64 = ended.iter().map(Summary::failed).sum();
    let mut rows = vec![
        FAILED.row(failed as f64),
        BROKEN.row(moves.broken().len() as f64),
    ];
    let lost: u64 = ended.iter().map(Summary::lost).sum();
    let asked: u64 = ended.iter().map(Summary::asked).sum();
    rows.extend(counts(asked, lost, moves, faults));
    let mut notes = vec![format!(
        "{} moves of {}, seed {}; killed or stopped at random: {}.",
        length.moves,
        match length.short {
            true => "an application in Python",
            false => "examples/returns and of an application in Python, in turn",
        },
        length.seed,
        faults.told()
    )];
    notes.extend(ended.iter().flat_map(under_load::failures));
    notes.extend(moves.broken().iter().cloned());
    Ok((rows, notes))
}

fn counts(asked: u64, lost: u64, moves: &Moves, faults: &Faults) -> Vec<Row> {
    let row = |name: &str, value: f64, unit| informs(format!("soak: {name}"), value, unit);
    vec![
        row("requests in all", asked as f64, "requests"),
        row(
            "requests under way in what was killed",
            lost as f64,
            "requests",
        ),
        row("moves that succeeded", f64::from(moves.succeeded), "moves"),
        row(
            "moves cut short by a kill",
            f64::from(moves.cut_short),
            "moves",
        ),
        row("upgrades", f64::from(moves.upgrades), "upgrades"),
        row("kills and stops", f64::from(faults.made()), "faults"),
    ]
}
