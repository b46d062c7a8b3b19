//! Commands that change what serves in an environment.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ward_types::id::{DeploymentId, Name, PipelineRunId, ReleaseId};
use ward_types::policy::Rule;
use ward_types::range::AddressRange;
use ward_types::source::BuildName;
use ward_types::spec::Strategy;
use ward_types::time::{Millis, Timestamp};

use super::{Addresses, AnyEnv, OfEnv, Why, duration, of_folder};

pub(super) const PLAN_ENDS: &str = "Exit status: 0 nothing to do, 2 changes, 1 anything else: an error, or a policy that forbids the changes. \
docs/plan.schema.json describes what `--output json` prints.";

pub(super) const MAINTENANCE_USAGE: &str =
    "ward maintenance on [OPTIONS] --message <TEXT> [SERVICE]";

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Folder of the stack file; without it, and without a ward.toml here, only the platform starts
    #[arg(conflicts_with_all = ["platform", "all"])]
    pub(crate) dir: Option<PathBuf>,
    /// Start the platform only: what should be up comes up, nothing is deployed
    #[arg(long)]
    pub(crate) platform: bool,
    /// Bring up all that is down, of every stack, each with the release that served last in it; nothing is deployed
    #[arg(long, conflicts_with_all = ["platform", "env"])]
    pub(crate) all: bool,
    /// Environment of the stack
    #[arg(short, long, default_value = "dev", value_name = "NAME", value_parser = of_folder)]
    pub(crate) env: Name,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Folder of the stack file
    #[arg(default_value = ".", conflicts_with = "plan")]
    pub(crate) dir: PathBuf,
    /// Environment of the stack [default: dev, or that of the plan]
    #[arg(short, long, value_name = "NAME", value_parser = of_folder)]
    pub(crate) env: Option<Name>,
    /// Carry out what `ward plan --out` wrote, and nothing else; refused where something else serves by now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["force", "strategy"])]
    pub(crate) plan: Option<PathBuf>,
    /// Release a build that is kept (`ward build --list`), such as 1.2.7 or shop/1.2.7, and build nothing
    #[arg(
        long,
        value_name = "BUILD",
        conflicts_with_all = ["dir", "plan", "envs"]
    )]
    pub(crate) build: Option<BuildName>,
    /// Environments of the stack, such as dev,test,prod: builds once, then deploys to each in this order, and stops at
    /// the first that fails
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = of_folder,
        conflicts_with_all = ["env", "no_wait", "plan"]
    )]
    pub(crate) envs: Vec<Name>,
    /// Make a new release even when nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    #[arg(long, value_name = "STRATEGY", value_parser = crate::strategy::parse, help = crate::strategy::HELP)]
    pub(crate) strategy: Option<Strategy>,
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) why: Why,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// Environment that the build is taken from, as NAME or STACK/NAME
    #[arg(long, value_name = "ENV")]
    pub(crate) from: String,
    /// Environment of the same stack that gets it
    #[arg(long, value_name = "ENV")]
    pub(crate) to: String,
    /// Which release of the first, such as r3 [default: the one that serves there]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<ReleaseId>,
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Build, and bring the build from stage to stage, as the stack file declares it; a run goes on by itself
    Run {
        /// The pipeline's name
        pipeline: Name,
        /// Folder of the stack file
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Take a build that is kept (`ward build --list`), such as 1.2.7; checks are run in the folder
        #[arg(long, value_name = "BUILD")]
        build: Option<BuildName>,
        /// Return as soon as the run is recorded
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        addresses: Box<Addresses>,
    },
    /// Show the runs, newest first, or one of them
    Show {
        /// Such as p3
        run: Option<PipelineRunId>,
    },
    /// List the runs, newest first
    List,
    /// Follow a run to its end, whoever it waits for, and end with 0 if every stage has the build then, else with 1
    Watch {
        /// Such as p3
        run: PipelineRunId,
    },
    /// Let a build go further, as somebody who has the role that its gate asks for
    Approve(Vote),
    /// End a run: the build goes no further
    Reject(Vote),
}

/// A word about a run.
#[derive(Debug, Args)]
pub(crate) struct Vote {
    /// Such as p3 [default: the only one that is under way of the stack in this folder, or without a ward.toml here
    /// of any]
    pub(crate) run: Option<PipelineRunId>,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Folder of the stack file
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Environment of the stack
    #[arg(short, long, default_value = "dev", value_name = "NAME", value_parser = of_folder)]
    pub(crate) env: Name,
    /// Write the plan to a file, which `ward deploy --plan` carries out
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show a plan that was written, and make none
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "env", "out", "strategy"])]
    pub(crate) show: Option<PathBuf>,
    #[arg(long, value_name = "STRATEGY", value_parser = crate::strategy::parse, help = crate::strategy::HELP)]
    pub(crate) strategy: Option<Strategy>,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
}

pub(super) const WAIVE_USAGE: &str =
    "ward policy waive [OPTIONS] --until <DATE> --why <TEXT> <RULE>";

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Show the rules of an environment, and who answers for what
    Show(OfEnv),
    /// Let a rule be broken until a date; the reason is recorded
    #[command(override_usage = WAIVE_USAGE)]
    Waive {
        /// The rule, such as min_instances
        #[arg(value_parser = rule)]
        rule: Rule,
        #[command(flatten)]
        env: OfEnv,
        /// Until the end of a day in UTC, such as 2026-12-31, or for a duration, such as 7d; a year at most
        #[arg(long, value_name = "DATE", value_parser = crate::commands::until)]
        until: Timestamp,
        /// Why
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Let a rule hold again before its waiver ends
    Enforce {
        /// The rule
        #[arg(value_parser = rule)]
        rule: Rule,
        #[command(flatten)]
        env: OfEnv,
        #[command(flatten)]
        why: Why,
    },
}

fn rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text).ok_or_else(|| {
        let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        format!("there are: {}", names.join(", "))
    })
}

#[derive(Debug, Args)]
pub(crate) struct GoTo {
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// Which release, such as r3
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<ReleaseId>,
    /// Go there even if a release command has left a schema that it does not run on; the reason is recorded
    #[arg(long, value_name = "REASON")]
    pub(crate) despite_schema: Option<String>,
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// What a new deployment waits for, and who waits for it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pace {
    /// Cancel the environment's deployments and builds that have not ended: it begins when they have gone back
    #[arg(long)]
    pub(crate) supersede: bool,
    /// Return as soon as the deployment is recorded; `ward deployment watch` follows it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Deployment {
    /// Show how a deployment stands, what it waits for, and until when
    Show(OfDeployment),
    /// Follow a deployment to its verdict
    Watch(OfDeployment),
    /// Let a deployment stay as it is: no request moves until it is resumed, for a day at most
    Pause(Steered),
    /// Let a deployment that is paused go on
    Resume(Steered),
    /// Hold a deployment no longer: the rest of its stages follow at once, and it does not bake
    Promote {
        #[command(flatten)]
        steered: Steered,
        /// Only the stage that it is at; the next one is held as declared
        #[arg(long)]
        stage: bool,
    },
    /// Take a deployment back: the release before goes on serving; where none is under way, end a build
    Cancel(Steered),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Answer every request of the outside with a page (503); links are served all the same
    #[command(override_usage = MAINTENANCE_USAGE)]
    On {
        #[command(flatten)]
        of: Maintained,
        /// What clients read
        #[arg(short, long, value_name = "TEXT")]
        message: String,
        /// Addresses whose requests go through all the same, such as 10.0.0.0/8; may be given again
        #[arg(long, value_name = "RANGE")]
        allow: Vec<AddressRange>,
        /// When clients are told to come back
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
        retry_after: Millis,
    },
    /// Answer them as usual again
    Off {
        #[command(flatten)]
        of: Maintained,
    },
}

/// What a maintenance is about.
#[derive(Debug, Args)]
pub(crate) struct Maintained {
    /// Only this service [default: the whole environment]
    pub(crate) service: Option<Name>,
    #[command(flatten)]
    pub(crate) env: OfEnv,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// A deployment that somebody decides about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Steered {
    #[command(flatten)]
    pub(crate) of: OfDeployment,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// Which deployment a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfDeployment {
    /// Such as d7 [default: the one that is under way, else the newest]
    pub(crate) deployment: Option<DeploymentId>,
    #[command(flatten)]
    pub(crate) env: OfEnv,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Remove the data too, and all secrets, also those that people set; backups stay, until the environment is deleted
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}
