//! examples/plans: four services and PostgreSQL, as a copy of one that serves, and in six environments at once.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{peer, sleep};
use crate::error::Error;
use crate::load::{KeepAlive, Target};
use crate::measure::Measured;
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::ward::{Ward, replace};
use crate::workshop::Workshop;

pub(super) const CREATED: Bar = Bar {
    name: "environments: examples/plans, four services and PostgreSQL, created and answering, median",
    unit: "s",
    most: 4.0,
};
pub(super) const EVERYWHERE: Bar = Bar {
    name: "environments: one command, six environments from a new commit, all serving it, max",
    unit: "s",
    most: 30.0,
};

const TIMES: u32 = 5;
const COMMITS: u32 = 2;
/// Those of the stack file, with the hosts that they have there.
const SIX: [(&str, &str); 6] = [
    ("dev", "dev.plans.localhost"),
    ("test", "test.plans.localhost"),
    ("qa", "qa.plans.localhost"),
    ("prod", "plans.localhost"),
    ("demo-north", "north.plans.localhost"),
    ("demo-south", "south.plans.localhost"),
];
/// What every page of the application says, and a commit changes.
const CLAIM: &str = "What a benefits plan really costs in a year";
const PAGE: &str = "web/src/pages/layout.rs";

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let ward = workshop.plans()?;
    // A folder that was given holds what cargo made of the last commit of the run before, which is newer than the source.
    commit(ward.stack(), CLAIM, CLAIM)?;
    ward.up_alone().await?;
    say("  building examples/plans once, so that its images are there");
    ward.run(&["deploy", "--env", "dev"]).await?;
    let (created, removed) = copies(&ward).await?;
    let target = Target::of(&ward, SIX[0].1).await?;
    let woken = sleep::woken(&ward, &target, SIX[0].0, TIMES).await?;
    let peer = peer::measure(&ward, &target, workshop, TIMES).await;
    let (everywhere, first) = commits(&ward).await?;
    ward.stop().await?;
    let mut rows = vec![
        CREATED.row(created.median()),
        informs("environments: the same, max", created.max(), "s"),
        informs(
            "environments: its removal, data included, median",
            removed.median(),
            "s",
        ),
    ];
    let mut notes = vec![format!(
        "{TIMES} copies of examples/plans by `ward env create NAME --from dev`, images present, to the first good answer \
         of a page that reads the database; initdb, migrations and the seed with made-up employers are within the time. The case studies that Ward \
         grew from report 15 minutes to a day for an environment."
    )];
    match peer {
        Ok((theirs, how)) => {
            let ratio = created.median().zip(theirs.median());
            rows.extend([
                informs(
                    "environments: the same images and PostgreSQL by podman, median",
                    theirs.median(),
                    "s",
                ),
                informs(
                    "environments: Ward / podman, medians",
                    ratio.map(|(own, peer)| own / peer),
                    "ratio",
                ),
            ]);
            notes.push(how);
        }
        Err(error) => notes.push(format!(
            "podman was not measured beside it: {}",
            error.sentence()
        )),
    }
    rows.extend([
        sleep::WITH_POSTGRES.row(woken.median()),
        informs("environments: the same, max", woken.max(), "s"),
        EVERYWHERE.row(everywhere.max()),
        informs("environments: the same, median", everywhere.median(), "s"),
        informs(
            "environments: six from nothing, images present, once",
            first.as_secs_f64(),
            "s",
        ),
    ]);
    notes.push(format!(
        "{COMMITS} commits that change a page of examples/plans, each built before by `ward plan`; `ward deploy --envs` to \
         the last of the six that shows the new page. They are brought to it one after the other, because those behind \
         the first that fails are there to be protected."
    ));
    Ok((rows, notes))
}

/// How long each copy took to its first answer, and its removal.
async fn copies(ward: &Ward) -> Result<(Sample, Sample), Error> {
    let target = Target::of(ward, SIX[0].1).await?;
    let (mut created, mut removed) = (Sample::default(), Sample::default());
    for number in 1..=TIMES {
        let name = format!("copy-{number}");
        let target = target.with_host(format!("web.{name}.localhost"));
        let started = Instant::now();
        ward.run(&["env", "create", &name, "--from", "dev"]).await?;
        answers(&target, CLAIM).await?;
        created.add(started.elapsed().as_secs_f64());
        let (_, took) = ward.run(&["env", "delete", &name, "--yes"]).await?;
        removed.add(took.as_secs_f64());
    }
    Ok((created, removed))
}

/// How long each commit took to serve everywhere; and how long the six took to come up before.
async fn commits(ward: &Ward) -> Result<(Sample, Duration), Error> {
    let names = SIX.map(|(name, _)| name).join(",");
    let deploy = ["deploy", "--envs", &names];
    let (_, first) = ward.run(&deploy).await?;
    let target = Target::of(ward, SIX[0].1).await?;
    let mut everywhere = Sample::default();
    let mut claim = CLAIM.to_owned();
    for number in 1..=COMMITS {
        let next = format!("{CLAIM}, by commit {number}");
        commit(ward.stack(), &claim, &next)?;
        claim = next;
        // It builds, and ends with 2 because there is something to do.
        ward.ends(&["plan", "--env", "dev"], 2).await?;
        let started = Instant::now();
        ward.run(&deploy).await?;
        let mut asked = JoinSet::new();
        for (_, host) in SIX {
            let (target, claim) = (target.with_host(host.to_owned()), claim.clone());
            asked.spawn(async move { answers(&target, &claim).await });
        }
        while let Some(answer) = asked.join_next().await {
            answer.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        }
        let took = started.elapsed().as_secs_f64();
        say(&format!(
            "  commit {number} serves in six environments after {took:.1} s"
        ));
        everywhere.add(took);
    }
    Ok((everywhere, first))
}

fn commit(stack: &Path, old: &str, new: &str) -> Result<(), Error> {
    let quoted = |text: &str| format!("\"{text}\"");
    replace(&stack.join(PAGE), &quoted(old), &quoted(new))
}

/// The command has said that it serves: the first answer must be good, and say this.
async fn answers(target: &Target, claim: &str) -> Result<(), Error> {
    let page = KeepAlive::new(target, "/").page().await.map_err(|why| {
        Error::Unexpected(format!(
            "{} is said to serve, and the first request failed: {why}",
            target.host
        ))
    })?;
    // Quoted, because what a commit says begins like what the one before said.
    match String::from_utf8_lossy(&page).contains(&format!(">{claim}<")) {
        true => Ok(()),
        false => Err(Error::Unexpected(format!(
            "{} does not say \"{claim}\"",
            target.host
        ))),
    }
}
