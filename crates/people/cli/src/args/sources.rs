//! Commands about builds that are kept, and about the repositories that they come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ward_types::id::Name;
use ward_types::time::Millis;

use super::{Addresses, Why, duration, of_folder};

pub(super) const ADD_USAGE: &str =
    "ward source add [OPTIONS] <--branch <NAME>|--tag <PATTERN>> <NAME> <REPOSITORY|--hosted>";

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Folder of the stack file
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Build this commit, branch or tag from a clean checkout, and not the folder as it is
    #[arg(long, value_name = "REVISION")]
    pub(crate) rev: Option<String>,
    /// Environment whose declaration says how the images are made
    #[arg(short, long, default_value = "dev", value_name = "NAME", value_parser = of_folder)]
    pub(crate) env: Name,
    /// List the builds that are kept, and make none
    #[arg(long, conflicts_with_all = ["dir", "rev", "env", "why"])]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) why: Why,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Source {
    /// Watch a repository, and build each new commit once
    #[command(override_usage = ADD_USAGE)]
    Add(Box<AddSource>),
    /// List the repositories that are watched
    List,
    /// Show a source, its newest commits and what became of them
    Show {
        /// Its name
        name: Name,
        /// Print only where the repository is, for `git remote add`
        #[arg(long)]
        remote: bool,
        /// How many commits, the newest
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COMMITS")]
        limit: usize,
    },
    /// Give a source another token, on standard input, which must open its repository
    Token {
        /// The source's name
        name: Name,
        #[command(flatten)]
        user: TokenUser,
        #[command(flatten)]
        why: Why,
    },
    /// Watch a repository no more; its builds and releases stay, a repository that Ward hosts is removed
    Remove {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Look at a repository now, and follow its newest commit
    Sync {
        /// The source's name
        name: Name,
        /// Try the newest commit again, which failed
        #[arg(long)]
        again: bool,
        /// Return as soon as the commit is recorded
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddSource {
    /// Its name
    pub(crate) name: Name,
    /// A folder, or a URL: file://, https://, ssh:// or user@host:path; never with a password or a token
    #[arg(required_unless_present = "hosted", conflicts_with = "hosted")]
    pub(crate) repository: Option<String>,
    /// Ward hosts the repository, and people push to it
    #[arg(long)]
    pub(crate) hosted: bool,
    /// Build the newest commit of this branch
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "tag",
        required_unless_present = "tag"
    )]
    pub(crate) branch: Option<String>,
    /// Build each commit that came since the last look, and not the newest alone, which is what is released
    #[arg(long, conflicts_with = "tag")]
    pub(crate) each: bool,
    /// Build new tags, such as 'v*'; those that are there already are not built
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tag: Option<String>,
    /// Folder of the stack file in the repository
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub(crate) folder: String,
    /// Bring each build through this pipeline of its stack
    #[arg(long, value_name = "NAME", conflicts_with = "env")]
    pub(crate) pipeline: Option<Name>,
    /// Deploy each build to this environment of its stack; with neither, builds are kept
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<Name>,
    /// How often to look at it [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) poll: Option<Millis>,
    /// Take webhooks, too, which say that there is something new; prints the secret that they are signed with
    #[arg(long)]
    pub(crate) webhook: bool,
    /// Read a token for a repository over https:// from standard input, or ask for it
    #[arg(long)]
    pub(crate) token: bool,
    #[command(flatten)]
    pub(crate) user: TokenUser,
    #[command(flatten)]
    pub(crate) why: Why,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
}

/// Who a token is of.
#[derive(Debug, Args)]
pub(crate) struct TokenUser {
    /// The user beside the token; most services take any
    #[arg(long = "token-user", default_value = "git", value_name = "USER")]
    pub(crate) user: String,
}

/// What git starts when somebody pushes to a repository that Ward hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum Hook {
    /// Refuse a push whose stack file has mistakes
    PreReceive(Pushed),
    /// Tell the server what was pushed, and show what becomes of it
    PostReceive(Pushed),
}

#[derive(Debug, Args)]
pub(crate) struct Pushed {
    /// The source
    pub(crate) source: Name,
    /// What it follows, such as refs/heads/main
    #[arg(long)]
    pub(crate) follows: String,
    /// Folder of the stack file
    #[arg(long, default_value = "")]
    pub(crate) folder: String,
    /// The environment that gets each build
    #[arg(long)]
    pub(crate) env: Option<Name>,
    /// The pipeline of each build
    #[arg(long)]
    pub(crate) pipeline: Option<Name>,
}
