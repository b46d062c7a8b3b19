//! Commands about environments as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ward_types::copy::HostPattern;
use ward_types::id::Name;
use ward_types::time::Millis;

use super::{Why, duration};

const CREATE_USAGE: &str =
    "ward env create [OPTIONS] --from <ENV> <NAME>\n       ward env create [OPTIONS] <NAME> [DIR]";

const EXTEND_USAGE: &str =
    "ward env extend [OPTIONS] <--ttl <DURATION>|--until <TIME>|--forever> <ENV>";

const DIFF_ENDS: &str =
    "Exit status: 0 no difference but names and hosts, 2 differences, 1 an error.";

#[derive(Debug, Args)]
pub(crate) struct EnvDiff {
    /// Environment, as NAME or STACK/NAME
    #[arg(value_name = "ENV")]
    pub(crate) from: String,
    /// The one that it is compared with
    #[arg(value_name = "OTHER")]
    pub(crate) to: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Make an environment: a copy of another one, the same release with data and addresses of its own; or one that
    /// a stack file declares
    #[command(override_usage = CREATE_USAGE)]
    Create(Create),
    /// Make an environment that is a copy of another one with its data: `create --copy-data`
    Clone {
        /// The environment that is copied, as NAME or STACK/NAME
        from: String,
        /// The name of the copy
        name: Name,
        #[command(flatten)]
        made: Made,
    },
    /// List the environments: where they come from, who made them, when they end
    List {
        /// Those that are gone, too: when, by whom and why
        #[arg(long)]
        all: bool,
    },
    /// Show one environment: its origin, its end, its addresses, its data
    Show {
        /// Environment, as NAME or STACK/NAME
        env: String,
    },
    /// Say in what the releases that serve in two environments differ
    #[command(after_help = DIFF_ENDS)]
    Diff(EnvDiff),
    /// Give an environment another end, or none
    #[command(override_usage = EXTEND_USAGE)]
    Extend(Extend),
    /// Put an environment to sleep: it stops, keeps its data, and wakes on its first request
    Sleep(Nap),
    /// Wake an environment that sleeps, before somebody asks it for something
    Wake(Nap),
    /// Stop an environment for good, and remove its data and its backups; its history stays
    Delete {
        /// Environment, as NAME or STACK/NAME
        env: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    pub(crate) name: Name,
    /// The environment that it is a copy of, as NAME or STACK/NAME [default: none, a stack file declares it]
    #[arg(long, value_name = "ENV", conflicts_with = "dir")]
    pub(crate) from: Option<String>,
    /// Folder of the stack file that declares it [default: this one]
    pub(crate) dir: Option<PathBuf>,
    /// Copy the rows of its databases and the files of its volumes, too: only where its `copy_data` in ward.toml allows that
    #[arg(long, requires = "from")]
    pub(crate) copy_data: bool,
    #[command(flatten)]
    pub(crate) made: Made,
}

/// How a copy is made.
#[derive(Debug, Args)]
pub(crate) struct Made {
    /// How long it lasts, such as 7d; then it is deleted, and its data with it [default: until somebody deletes it]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Millis>,
    /// How long nobody asks it for anything until it sleeps, such as 30m [default: as what it is a copy of]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "from")]
    pub(crate) sleep: Option<Millis>,
    /// How its hosts are named, by {service}, {env}, {stack} and {host} [default: {service}.{env}.localhost]
    #[arg(long, value_name = "PATTERN", value_parser = HostPattern::parse, requires = "from")]
    pub(crate) hosts: Option<HostPattern>,
    /// A .env file with its secrets, which are set before it is made; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets: Option<PathBuf>,
    /// Return as soon as it is recorded; `ward deployment watch` follows it
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Args)]
pub(crate) struct Nap {
    /// Environment, as NAME or STACK/NAME
    pub(crate) env: String,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// Environment, as NAME or STACK/NAME
    pub(crate) env: String,
    #[command(flatten)]
    pub(crate) end: End,
    /// Do not ask, where it ends earlier by this
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// When an environment ends.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct End {
    /// It ends so long after this moment, such as 3d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Millis>,
    /// It ends at this moment, such as 2026-12-01T18:00
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// It does not end by itself
    #[arg(long)]
    pub(crate) forever: bool,
}
