//! Commands about configuration and secrets.

use clap::{Args, Subcommand};

use super::{OfEnv, Pace, Why};

const SECRET_VALUE: &str = "The value is all of standard input, without the end of its last line. At a terminal $VISUAL or $EDITOR is opened on a \
file in memory; without one the value is typed and not shown. It is never an argument: those are read by other users and \
kept by shells.";

const ROTATES: &str = "A secret with `generate` gets a new random value; one with `rotate` what that command writes. A database has two \
passwords valid at once: the new release gets the new one, and the old one is withdrawn when nothing uses it any more.";

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Set environment variables of services, which makes a new release of the same build
    #[command(override_usage = "ward config set [OPTIONS] <[SERVICE.]KEY=VALUE>...")]
    Set {
        /// What to set; without SERVICE for all services where nothing is set for one by its name
        #[arg(required = true, value_name = "[SERVICE.]KEY=VALUE")]
        values: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Let the stack file's own values come back, which makes a new release of the same build
    #[command(override_usage = "ward config unset [OPTIONS] <[SERVICE.]KEY>...")]
    Unset {
        /// What to unset, as it was set
        #[arg(required = true, value_name = "[SERVICE.]KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// List what is set, since when and by whom
    List(OfEnv),
    /// List every version of the configuration, the newest first
    History(OfEnv),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a secret to what is on standard input, or what $EDITOR writes; which makes a new release of the same build
    #[command(
        after_help = SECRET_VALUE,
        override_usage = "ward secret set [OPTIONS] <NAME> < FILE"
    )]
    Set {
        /// The secret's name, as in the `secrets` of a service
        name: String,
        /// What somebody wrote behind the name: a value, which no message may repeat
        #[arg(hide = true)]
        misplaced: Vec<String>,
        /// Keep the end of the last line, which otherwise does not belong to the value
        #[arg(long)]
        exact: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Take away a secret that no service gets any more
    #[command(override_usage = "ward secret unset [OPTIONS] <NAME>...")]
    Unset {
        /// The secrets
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Set all secrets of a .env file on standard input, in one release
    #[command(override_usage = "ward secret import [OPTIONS] < FILE")]
    Import {
        #[command(flatten)]
        change: Change,
    },
    /// List secrets: versions, since when, by whom, and who gets them; never values
    List(OfEnv),
    /// List every version of a secret, or of all, the newest first
    History {
        /// The secret
        name: Option<String>,
        #[command(flatten)]
        env: OfEnv,
    },
    /// Give a secret a new value: made by Ward, by the command that the stack file declares, or a database's password
    #[command(
        after_help = ROTATES,
        override_usage = "ward secret rotate [OPTIONS] <NAME>"
    )]
    Rotate {
        /// The secret's name, or database/NAME
        name: String,
        #[command(flatten)]
        change: Change,
    },
    /// Seal all secrets of this Ward under a new master key, while everything runs on
    Rekey {
        #[command(flatten)]
        why: Why,
    },
}

/// A change of what an environment's releases are made with.
#[derive(Debug, Clone, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// The environment, named in full, is still to be made: what is set waits for it
    #[arg(long, requires = "env")]
    pub(crate) new: bool,
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) why: Why,
}
