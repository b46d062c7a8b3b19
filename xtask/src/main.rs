//! What a person or CI runs: `cargo xtask demo | test | bench | sim | mutations | fuzz | docs`.
//!
//! It is small on purpose, so that the first command on a fresh machine is not a long build: what is
//! heavy is built by the commands that it runs.

mod demo;
mod docs;
mod fuzz;
mod mutations;
mod packages;
mod promises;
mod replay;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What a person or CI runs")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing, build, bring examples/returns up, and print its addresses
    Demo,
    /// Install what the tests need, and run everything that CI runs
    Test,
    /// Measure, and compare with the programs that people use today
    Bench {
        /// Which measurements; all without a name. `sim` means all of rollouts: sim, canary, upgrades, soak
        names: Vec<String>,
        /// `text` for a table, `json` for programs
        #[arg(long, default_value = "text")]
        output: String,
    },
    /// Try seeds in the simulator, and its crash sweep
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Replay this one, and show what happens
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Remove each guard in turn, and see that a test notices
    Mutations {
        /// The first of them, by the number that is shown
        #[arg(long, default_value_t = 0)]
        from: usize,
    },
    /// Run the fuzz targets on their kept corpora, and go on from there
    Fuzz {
        /// Which targets; all without a name
        names: Vec<String>,
        /// How long each goes on
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Replay the README's session with the debug binary
    Replay,
    /// Write the reference pages anew from the tables that they come from
    Docs,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo => demo::demo(),
        Task::Test => test::test(),
        Task::Bench { names, output } => run::bench(&names, &output),
        Task::Sim { seeds, from, seed } => run::sim(seeds, from, seed),
        Task::Mutations { from } => mutations::mutations(from),
        Task::Fuzz { names, seconds } => fuzz::fuzz(&names, seconds),
        Task::Replay => test::documents(),
        Task::Docs => docs::write(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            run::say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}
