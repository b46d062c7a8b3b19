//! Commands that run programs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ward_types::copy::HostPattern;
use ward_types::id::{BackupId, Name, RunId};
use ward_types::time::Millis;

use super::{OfEnv, Why, duration};

pub(super) const EXEC_ENDS: &str = "It ends as the program ended: with its exit status, or with 128 and the number of the signal that ended it. 127 \
says that there is no such program, 126 that it cannot be executed.";

pub(super) const RUN_ENDS: &str = "It has a new instance of the service, of the release that serves, with its image, links, egress, variables and \
limits; its output is kept and shown by `ward logs`. The command is in the log: no secret belongs into it. `ward run` ends with the \
command's exit status, with 124 when its deadline was out, and goes on without you when it is interrupted: `ward job stop` ends it.";

pub(super) const PSQL_ENDS: &str = "SQL that is piped in ends at the first statement that fails, with exit status 3 (ON_ERROR_STOP); `-- -v ON_ERROR_STOP=0` \
goes on to the last one. 1 and 2 are psql's own: it could not do what it was told, or lost its connection.";

pub(super) const BACKUP_ENDS: &str = "It ends with 0 when the backup was restored into a new database that nobody needs, with as many rows in each table as the \
backup holds; before that it counts for nothing. Interrupting it leaves the backup alone.";

pub(super) const RESTORE_USAGE: &str =
    "ward db restore [OPTIONS] --backup <BACKUP>... --into <NAME>";

pub(super) const EXEC_USAGE: &str = "ward exec [OPTIONS] <COMPONENT> <COMMAND>...";

pub(super) const RUN_USAGE: &str = "ward run [OPTIONS] <SERVICE> -- <COMMAND>...";

pub(super) const PSQL_USAGE: &str = "ward db psql [OPTIONS] <DATABASE> [-- <ARGUMENTS>...]";

/// A command that runs to its end.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The service whose image it runs in
    pub(crate) service: Name,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// How long it may take, 1s to 7d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Millis>,
    #[command(flatten)]
    pub(crate) asked: AskedRun,
}

/// A run that somebody asks for.
#[derive(Debug, Args)]
pub(crate) struct AskedRun {
    #[command(flatten)]
    pub(crate) of: OfEnv,
    /// Do not wait for its end
    #[arg(short = 'd', long, visible_alias = "detach")]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List the jobs of the release that serves, and when they are due
    List(OfEnv),
    /// Run a job now
    Run {
        /// Which job
        job: Name,
        #[command(flatten)]
        asked: AskedRun,
    },
    /// Show what became of the last runs, newest first
    History {
        /// Of which job [default: all, and one-off commands]
        job: Option<Name>,
        #[command(flatten)]
        of: OfEnv,
        /// How many runs, at most the last hundred
        #[arg(short = 'n', long, default_value_t = 100, value_name = "RUNS")]
        limit: usize,
    },
    /// Stop a run
    Stop {
        /// Which run, such as run4
        run: RunId,
        #[command(flatten)]
        of: OfEnv,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Service or database
    pub(crate) component: Name,
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// Give it the instance's secrets in its variables, passwords of databases too; otherwise it gets all others
    #[arg(long)]
    pub(crate) secrets: bool,
    #[command(flatten)]
    pub(crate) why: Why,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Open a shell on a database, or pipe SQL into it
    #[command(after_help = PSQL_ENDS, override_usage = PSQL_USAGE)]
    Psql {
        /// The database's name in the stack file
        database: Name,
        #[command(flatten)]
        env: OfEnv,
        #[command(flatten)]
        why: Why,
        /// More arguments for psql
        #[arg(last = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Back a database up now: sealed, kept apart from it, and restored to see whether it can be
    #[command(after_help = BACKUP_ENDS)]
    Backup {
        /// The database's name in the stack file [default: the only one]
        database: Option<Name>,
        #[command(flatten)]
        env: OfEnv,
        #[command(flatten)]
        why: Why,
    },
    /// List the backups: when each was taken, of which release, whether it was restored, or why not
    Backups(OfEnv),
    /// Make a new environment of the release that serves, with what a backup holds; nothing that is there is changed
    #[command(override_usage = RESTORE_USAGE)]
    Restore(Restore),
}

/// A backup that becomes an environment.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Which backup, such as b7; where there are several databases, one of each
    #[arg(long = "backup", value_name = "BACKUP", required = true)]
    pub(crate) backups: Vec<BackupId>,
    /// The name of the new environment
    #[arg(long, value_name = "NAME")]
    pub(crate) into: Name,
    #[command(flatten)]
    pub(crate) env: OfEnv,
    /// How long it lasts, such as 7d; then it is deleted, and its data with it [default: until somebody deletes it]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Millis>,
    /// How its hosts are named, by {service}, {env}, {stack} and {host} [default: {service}.{env}.localhost]
    #[arg(long, value_name = "PATTERN", value_parser = HostPattern::parse)]
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
