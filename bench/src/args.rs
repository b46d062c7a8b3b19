//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::measure::{Length, Measurement};

/// Measures the platform, and prints a table of what was measured and which bar it has.
#[derive(Debug, Parser)]
#[command(name = "ward-bench", max_term_width = 100)]
pub(crate) struct Args {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    pub(crate) names: Vec<Measurement>,
    /// List what can be measured, and end
    #[arg(long)]
    pub(crate) list: bool,
    /// A table for people, or JSON
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// The binary to measure [default: `ward` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) ward: Option<PathBuf>,
    /// Deploys and rollbacks, counted together
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How many seeds the simulator tries
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// How often the server is killed, and how often it is upgraded
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) kills: u32,
    /// Deploys and rollbacks of the soak, counted together
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) moves: u32,
    /// How many requests the soak asks at least
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) requests: u64,
    /// The soak without examples/returns, which takes minutes to compile
    #[arg(long)]
    pub(crate) short: bool,
    /// Where the soak's random numbers begin
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// How often each short measurement is repeated
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) samples: u32,
    /// Size of the image that is pushed and pulled, in millions of bytes
    #[arg(long, default_value_t = 1000, value_name = "MB", value_parser = clap::value_parser!(u64).range(4..))]
    pub(crate) image: u64,
    /// Pushes and pulls per registry
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) copies: u32,
    /// Of the gateway or the environments, measure only what has this text in its name, as "HTTP/2"
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Work in this folder, and leave there what cargo has compiled of the example, for the next run
    /// [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// Start sandboxes in turn, as this JSON says, and print how long each took (the bench does this itself)
    #[arg(long, hide = true, value_name = "JSON")]
    pub(crate) turns: Option<String>,
    /// Attack a gateway until killed, as "ATTACK@ADDRESS:PORT" says (the bench does this itself)
    #[arg(long, hide = true, value_name = "ATTACK")]
    pub(crate) attack: Option<String>,
}

impl Args {
    pub(crate) fn soak(&self) -> Length {
        Length {
            moves: self.moves,
            requests: self.requests,
            short: self.short,
            seed: self.seed,
        }
    }
}

/// The form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table.
    Text,
    /// One JSON object.
    Json,
}
