//! Commands that look and change nothing.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::time::Millis;

use super::{AnyEnv, OfEnv, at_least_one, duration};

pub(super) const CHECK_ENDS: &str = "Exit status: 0 nothing is wrong, or the policy only warns; 1 a policy denies what the file declares; \
2 the file has mistakes.";

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Purged environments, too, whose data is gone; their releases, output and events are left
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Service, database, or run of a job or command such as run4; without it all of them
    pub(crate) component: Option<Name>,
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// Show the gateway's access log instead, a line for each request; without --env of all environments, and
    /// what led nowhere
    #[arg(long)]
    pub(crate) access: bool,
    /// Go on showing lines as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines of the last while, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Millis>,
    /// Only the last lines
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    pub(crate) tail: usize,
    /// Only instances of this release
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<ReleaseId>,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Show one second and end, as without a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Go on showing events as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many, the newest
    #[arg(short = 'n', long, default_value_t = 50, value_name = "EVENTS")]
    pub(crate) limit: usize,
    /// Only from this moment on, such as 2026-12-01 or 2026-12-01T18:00, or of the last while, such as 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only up to this moment
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<String>,
    /// Only what this person did, such as uid:1000 or anna
    #[arg(long, value_name = "PERSON")]
    pub(crate) by: Option<String>,
    /// Only what is about this release, such as r4, and the deployments to it; without --env of the only environment that
    /// has had it
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<ReleaseId>,
    /// Only what is about this deployment, such as d4; without --env of the only environment that has had it
    #[arg(long, value_name = "DEPLOYMENT")]
    pub(crate) deployment: Option<DeploymentId>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Releases {
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// How many, the newest [default: all that are retained]
    #[arg(short = 'n', long, value_name = "RELEASES", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    #[command(subcommand)]
    pub(crate) one: Option<OneRelease>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OneRelease {
    /// Show one release: what it is, who brought it, when, why, past which gates, and the events that prove it
    Show {
        /// Such as r4
        release: ReleaseId,
        #[command(flatten)]
        env: OfEnv,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Recompute the whole log, and say at which event it breaks, if it does
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Install it into this machine's trust store (needs root)
    #[arg(long)]
    pub(crate) install: bool,
    /// Take it out of this machine's trust store again (needs root)
    #[arg(long, conflicts_with = "install")]
    pub(crate) uninstall: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Folder of the stack file
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}
