//! What can be measured: a module each.

mod canary;
mod cold;
mod deploy_time;
mod deploys;
mod environments;
mod gateway;
mod memory;
mod registry;
mod rollback_time;
mod sandbox;
mod server_kills;
mod sim;
mod soak;
mod under_load;
mod upgrades;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::args::Args;
use crate::error::{Error, doing};
use crate::machine::Machine;
use crate::report::{Bar, Floor, Report, Row, data, say};
use crate::workshop::Workshop;
pub(crate) use gateway::attack;
pub(crate) use soak::Length;

/// Groups of rows, in the order in which they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// `ward up` in a new state folder, PostgreSQL included, to the first good answer
    Cold,
    /// Memory of server, gateway and keepers at rest
    Memory,
    /// Requests that fail during deploys and rollbacks in turn
    Deploys,
    /// Requests that fail while the server is killed
    ServerKills,
    /// Requests that fail while server and gateway are replaced by `ward upgrade`
    Upgrades,
    /// Seeds and crash sweep in the simulator, and a pass over 10,000 environments
    Sim,
    /// A canary that begins to fail, to zero weight
    Canary,
    /// The gateway beside nginx and HAProxy: processor time, rates, latencies, memory
    Gateway,
    /// Deploys and rollbacks of two applications for long, while things are killed and stopped
    Soak,
    /// A deploy of an already built release, beyond the application's own start
    DeployTime,
    /// A rollback to a warm release, to the last request on the old one
    RollbackTime,
    /// A sandbox from start to first answer, against crun
    Sandbox,
    /// Push and pull of a large image, against Debian's docker-registry
    Registry,
    /// Environments: how soon one is there, a hundred of them, six from one commit, and their secrets
    Environments,
}

/// What a measurement gives: rows, and how they were measured.
pub(crate) type Measured = Result<(Vec<Row>, Vec<String>), Error>;

/// One run.
pub(crate) struct Bench {
    workshop: Workshop,
}

impl Bench {
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let exe = match &args.ward {
            Some(given) => given.clone(),
            None => doing("find this program", std::env::current_exe())?.with_file_name("ward"),
        };
        let exe: PathBuf = doing(
            format!(
                "find the binary to measure, {}; --ward names it",
                exe.display()
            ),
            exe.canonicalize(),
        )?;
        Ok(Self {
            workshop: Workshop::open(exe, args.work.as_deref())?,
        })
    }

    /// Measures what was asked for, one after the other. What cannot be measured is said, and stops nothing.
    pub(crate) async fn run(&self, args: &Args) -> Report {
        let mut report = Report::new(Machine::look());
        let all = Measurement::value_variants();
        for measurement in all
            .iter()
            .filter(|one| args.names.is_empty() || args.names.contains(one))
        {
            say(&format!("measuring {}", measurement.name()));
            match self.measure(*measurement, args).await {
                Ok((rows, notes)) => {
                    let notes = notes
                        .into_iter()
                        .map(|note| format!("{}: {note}", measurement.name()));
                    report.add(rows, notes.collect());
                }
                Err(error) => {
                    let why = format!(
                        "{}: it could not be measured: {}",
                        measurement.name(),
                        error.sentence()
                    );
                    say(&why);
                    report.missed(measurement.bars(), measurement.floors(), why);
                }
            }
        }
        report
    }

    async fn measure(&self, measurement: Measurement, args: &Args) -> Measured {
        let workshop = &self.workshop;
        match measurement {
            Measurement::Cold => cold::measure(workshop).await,
            Measurement::Memory => memory::measure(workshop).await,
            Measurement::Deploys => deploys::measure(workshop, args.rounds).await,
            Measurement::ServerKills => server_kills::measure(workshop, args.kills).await,
            Measurement::Upgrades => upgrades::measure(workshop, args.kills).await,
            Measurement::Sim => sim::measure(args.seeds),
            Measurement::Canary => canary::measure(workshop).await,
            Measurement::Gateway => gateway::measure(workshop, args.only.as_deref()).await,
            Measurement::Soak => soak::measure(workshop, args.soak()).await,
            Measurement::DeployTime => deploy_time::measure(workshop, args.samples).await,
            Measurement::RollbackTime => rollback_time::measure(workshop, args.samples).await,
            Measurement::Sandbox => sandbox::measure(workshop, args.samples).await,
            Measurement::Registry => {
                registry::measure(workshop, args.image * 1_000_000, args.copies).await
            }
            Measurement::Environments => {
                environments::measure(workshop, args.only.as_deref()).await
            }
        }
    }
}

impl Measurement {
    fn floors(self) -> &'static [Floor] {
        match self {
            Self::Gateway => gateway::FLOORS,
            Self::Environments => environments::FLOORS,
            _ => &[],
        }
    }

    fn bars(self) -> &'static [Bar] {
        match self {
            Measurement::Cold => cold::BARS,
            Measurement::Memory => memory::BARS,
            Measurement::Deploys => deploys::BARS,
            Measurement::ServerKills => server_kills::BARS,
            Measurement::Upgrades => upgrades::BARS,
            Measurement::Sim => sim::BARS,
            Measurement::Canary => canary::BARS,
            Measurement::Gateway => gateway::BARS,
            Measurement::Soak => soak::BARS,
            Measurement::DeployTime => deploy_time::BARS,
            Measurement::RollbackTime => rollback_time::BARS,
            Measurement::Sandbox => sandbox::BARS,
            Measurement::Registry => registry::BARS,
            Measurement::Environments => environments::BARS,
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Starts sandboxes in turn, as it is told, and prints their times.
pub(crate) fn turns(told: &str) -> Result<(), Error> {
    let wrong =
        |error: serde_json::Error| Error::Unexpected(format!("--turns is not understood: {error}"));
    let turns: sandbox::Turns = serde_json::from_str(told).map_err(wrong)?;
    data(&serde_json::to_string(&turns.take()?).map_err(wrong)?);
    Ok(())
}

/// Prints the names, each with a sentence.
pub(crate) fn list() {
    for value in Measurement::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
    {
        let about = value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        data(&format!("{:14} {about}", value.get_name()));
    }
}

/// Runs what blocks beside the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
