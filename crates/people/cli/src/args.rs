//! The command line, as clap reads it. Every flag of every command is here and in the modules below.
//!
//! Usage is spelt out where arguments are required: of one that is missing clap would show each option that a
//! variable such as `WARD_HOME` sets as if it were required, too.

mod deploying;
mod environments;
mod looking;
mod processes;
mod running;
mod sources;
mod values;
mod volumes;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ward_types::id::Name;
use ward_types::time::Millis;

use self::deploying::PLAN_ENDS;
pub(crate) use self::deploying::{
    Deploy, Deployment, Down, GoTo, Maintenance, OfDeployment, Pace, Pipeline, Plan, Policy,
    Promote, Steered, Up, Vote,
};
pub(crate) use self::environments::{Env, EnvDiff, Extend, Made, Nap};
use self::looking::CHECK_ENDS;
pub(crate) use self::looking::{
    Audit, Check, Events, Logs, OneRelease, Releases, Status, Top, Trust,
};
pub(crate) use self::processes::{Addresses, ForGateway, Serve, Switch, Traceparent, Upgrade};
pub(crate) use self::running::{AskedRun, Db, Exec, Job, Restore, Run};
use self::running::{EXEC_ENDS, EXEC_USAGE, RUN_ENDS, RUN_USAGE};
pub(crate) use self::sources::{AddSource, Build, Hook, Pushed, Source, TokenUser};
pub(crate) use self::values::{Change, Config, Secret};
pub(crate) use self::volumes::Volume;

/// Builds, releases, runs and rolls back what one `ward.toml` describes.
#[derive(Debug, Parser)]
#[command(name = "ward", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// State folder [default: the XDG data folder's `ward`, or /var/lib/ward for root]
    #[arg(
        long,
        global = true,
        env = "WARD_HOME",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) home: Option<PathBuf>,
    /// What is printed: sentences and tables for people, or JSON
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        help_heading = "Global options"
    )]
    pub(crate) output: Output,
    /// Say only what was asked for, and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Say more: the output of builds
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "quiet",
        help_heading = "Global options"
    )]
    pub(crate) verbose: bool,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Sentences and tables.
    Text,
    /// One JSON value, or one a line for what is streamed.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the platform in the background, and bring an environment up
    Up(Up),
    /// Build, release, and switch without losing a request
    Deploy(Deploy),
    /// Release the build that serves in one environment in another one; nothing is built
    Promote(Promote),
    /// Make a build, and release it nowhere
    Build(Box<Build>),
    /// Watch git repositories: each new commit is built once
    #[command(subcommand)]
    Source(Source),
    /// Bring a build through the stages of a pipeline, and give a word at its gates
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Say what a deploy would change, and change nothing
    #[command(after_help = PLAN_ENDS)]
    Plan(Plan),
    /// Show the rules that plans must pass, or answer for breaking one
    #[command(subcommand)]
    Policy(Policy),
    /// Go back to the release before, or to another one; deployments that lead elsewhere are cancelled
    Rollback(GoTo),
    /// Go forward again to a release that was rolled back
    Rollforward(GoTo),
    /// Show, watch, pause, promote or cancel a deployment
    #[command(subcommand)]
    Deployment(Deployment),
    /// Let clients get a page instead of answers, for a while
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// Create, list, compare, extend and delete environments
    #[command(subcommand)]
    Env(Env),
    /// Set, unset and list values over the stack file's `env`
    #[command(subcommand)]
    Config(Config),
    /// Set, list and rotate secrets, whose values are shown to nobody
    #[command(subcommand)]
    Secret(Secret),
    /// List the releases of an environment, newest first, or show one
    Releases(Releases),
    /// Show what runs, and what Ward is waiting for
    Status(Status),
    /// Show the output of instances, or the requests that the gateway served
    Logs(Logs),
    /// Show how much is asked, how fast it is answered and what fails, per service
    Top(Top),
    /// Run a program beside an instance, in its sandbox
    #[command(after_help = EXEC_ENDS, override_usage = EXEC_USAGE)]
    Exec(Exec),
    /// Run a command to its end, in an instance of its own
    #[command(after_help = RUN_ENDS, override_usage = RUN_USAGE)]
    Run(Run),
    /// List, run and stop jobs, and show what became of them
    #[command(subcommand)]
    Job(Job),
    /// Show the log of what was done, by whom and why
    Events(Events),
    /// Work with a database
    #[command(subcommand)]
    Db(Db),
    /// List, restore and delete volumes, which are kept across releases
    #[command(subcommand)]
    Volume(Volume),
    /// Check the audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Say what this machine allows, and what protection is missing
    Doctor,
    /// Show the local certificate authority, or let this machine trust it
    Trust(Trust),
    /// Check a stack file without doing anything
    #[command(after_help = CHECK_ENDS)]
    Check(Check),
    /// Stop everything, and keep the data
    Down(Down),
    /// Replace the platform's processes with this version of the binary, without losing a request
    Upgrade(Upgrade),
    /// Run the control plane in the foreground
    Serve(Serve),
    /// Run the data plane (Ward does this itself)
    #[command(hide = true)]
    Gateway(ForGateway),
    /// What git starts when somebody pushes to a repository that Ward hosts (git does this itself)
    #[command(hide = true, subcommand)]
    Hook(Hook),
    /// Run one instance (Ward does this itself)
    #[command(hide = true)]
    Keeper,
}

/// The environment that commands use when none is named.
pub(crate) fn dev() -> Name {
    Name::parse(ward_stack::DEFAULT_ENVIRONMENT).expect("the default environment has a name")
}

/// Which environment a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfEnv {
    /// Environment, as NAME or STACK/NAME [default: dev of the stack in this folder, or the only one]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) env: Option<String>,
}

/// The same for a command that is about all of them when none is named.
#[derive(Debug, Clone, Args)]
pub(crate) struct AnyEnv {
    /// Environment, as NAME or STACK/NAME [default: all of them]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) env: Option<String>,
}

/// The name of an environment, where its stack is that of a folder.
fn of_folder(text: &str) -> Result<Name, String> {
    if let Some((_, name)) = text.split_once('/') {
        return Err(format!(
            "the stack is that of the folder: name the environment alone, `{name}`"
        ));
    }
    Name::parse(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Millis, ward_types::unit::InvalidUnit> {
    ward_types::unit::parse_duration(text)
}

/// How many of something are shown.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a whole number is needed, 1 at least".to_owned())
}

/// Why something is done.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Why {
    /// Why, for the audit log
    #[arg(
        id = "why",
        long = "why",
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) text: String,
}
