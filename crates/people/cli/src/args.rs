//! The command line, as clap reads it. Every flag of every command is here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ward_types::copy::HostPattern;
use ward_types::id::{DeploymentId, Name, PipelineRunId, ReleaseId, RunId};
use ward_types::policy::Rule;
use ward_types::range::AddressRange;
use ward_types::spec::Strategy;
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::ByteSize;

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

const PLAN_ENDS: &str = "Exit status: 0 nothing to do, 2 changes, 1 anything else: an error, or a policy that forbids the changes. \
docs/plan.schema.json describes what `--output json` prints.";

const EXEC_ENDS: &str = "It ends as the program ended: with its exit status, or with 128 and the number of the signal that ended it. 127 \
says that there is no such program, 126 that it cannot be executed.";

const RUN_ENDS: &str = "It has a new instance of the service, of the release that serves, with its image, links, egress, variables and \
limits; its output is kept and shown by `ward logs`. The command is in the log: no secret belongs into it. `ward run` ends with the \
command's exit status, with 124 when its deadline was out, and goes on without you when it is interrupted: `ward job stop` ends it.";

const PSQL_ENDS: &str = "SQL that is piped in ends at the first statement that fails, with exit status 3 (ON_ERROR_STOP); `-- -v ON_ERROR_STOP=0` \
goes on to the last one. 1 and 2 are psql's own: it could not do what it was told, or lost its connection.";

const SECRET_VALUE: &str = "The value is all of standard input, without the end of its last line. At a terminal $VISUAL or $EDITOR is opened on a \
file in memory; without one the value is typed and not shown. It is never an argument: those are read by other users and \
kept by shells.";

const ROTATES: &str = "A secret with `generate` gets a new random value; one with `rotate` what that command writes. A database has two \
passwords valid at once: the new release gets the new one, and the old one is withdrawn when nothing uses it any more.";

// Usage is spelt out where arguments are required: of one that is missing clap would show each option that a
// variable such as WARD_HOME sets as if it were required, too.
const EXEC_USAGE: &str = "ward exec [OPTIONS] <COMPONENT> <COMMAND>...";
const MAINTENANCE_USAGE: &str = "ward maintenance on [OPTIONS] --message <TEXT> [SERVICE]";
const CREATE_USAGE: &str =
    "ward env create [OPTIONS] --from <ENV> <NAME>\n       ward env create [OPTIONS] <NAME> [DIR]";
const EXTEND_USAGE: &str =
    "ward env extend [OPTIONS] <--ttl <DURATION>|--until <TIME>|--forever> <ENV>";
const RUN_USAGE: &str = "ward run [OPTIONS] <SERVICE> -- <COMMAND>...";
const PSQL_USAGE: &str = "ward db psql [OPTIONS] <DATABASE> [-- <ARGUMENTS>...]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the platform in the background, and bring an environment up
    Up(Up),
    /// Build, release, and switch without losing a request
    Deploy(Deploy),
    /// Release the build that serves in one environment in another one; nothing is built
    Promote(Promote),
    /// Bring a build through the stages of a pipeline, and give a word at its gates
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Say what a deploy would change, and change nothing
    #[command(after_help = PLAN_ENDS)]
    Plan(Plan),
    /// Show the rules that plans must pass, or answer for breaking one
    #[command(subcommand)]
    Policy(Policy),
    /// Go back to the release before, or to another one
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
    /// List the releases of an environment, newest first
    Releases(OfEnv),
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
    /// Check the audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Say what this machine allows, and what protection is missing
    Doctor,
    /// Show the local certificate authority, or let this machine trust it
    Trust(Trust),
    /// Check a stack file without doing anything
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
    /// Run one instance (Ward does this itself)
    #[command(hide = true)]
    Keeper,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    #[command(flatten)]
    pub(crate) gateway: ForGateway,
    #[command(flatten)]
    pub(crate) acme: Acme,
    /// Take over from another version, for this reason (`ward upgrade` does this itself)
    #[arg(long, hide = true, value_name = "WHY")]
    pub(crate) upgrade: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

/// Where Ward listens.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Addresses {
    /// Where the gateway takes plain HTTP [default: 127.0.0.1:8080]
    #[arg(long, env = "WARD_HTTP_ADDR", value_name = "IP:PORT")]
    pub(crate) http_addr: Option<SocketAddr>,
    /// Where the gateway takes HTTPS [default: 127.0.0.1:8443]
    #[arg(long, env = "WARD_HTTPS_ADDR", value_name = "IP:PORT")]
    pub(crate) https_addr: Option<SocketAddr>,
    /// Where the registry listens [default: 127.0.0.1:5050]
    #[arg(long, env = "WARD_REGISTRY_ADDR", value_name = "IP:PORT")]
    pub(crate) registry_addr: Option<SocketAddr>,
    /// Where the gateway's metrics are had [default: 127.0.0.1:8090, or another port where that is taken]
    #[arg(long, env = "WARD_METRICS_ADDR", value_name = "IP:PORT")]
    pub(crate) metrics_addr: Option<SocketAddr>,
}

impl Addresses {
    /// Whichever ports are free: for a server that only takes things down.
    pub(crate) const ANY: Self = Self {
        http_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        https_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        registry_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        metrics_addr: Some(SocketAddr::new(LOOPBACK, 0)),
    };

    pub(crate) fn http(&self) -> SocketAddr {
        self.http_addr.unwrap_or(SocketAddr::new(LOOPBACK, 8080))
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https_addr.unwrap_or(SocketAddr::new(LOOPBACK, 8443))
    }

    pub(crate) fn registry(&self) -> SocketAddr {
        self.registry_addr
            .unwrap_or(SocketAddr::new(LOOPBACK, 5050))
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Folder of the stack file; without it, and without a ward.toml here, only the platform starts
    #[arg(conflicts_with = "platform")]
    pub(crate) dir: Option<PathBuf>,
    /// Start the platform only: what should be up comes up, nothing is deployed
    #[arg(long)]
    pub(crate) platform: bool,
    /// Environment of the stack
    #[arg(short, long, default_value = "dev", value_name = "NAME")]
    pub(crate) env: Name,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Folder of the stack file
    #[arg(default_value = ".", conflicts_with = "plan")]
    pub(crate) dir: PathBuf,
    /// Environment of the stack [default: dev, or that of the plan]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<Name>,
    /// Carry out what `ward plan --out` wrote, and nothing else; refused where something else serves by now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["force", "strategy"])]
    pub(crate) plan: Option<PathBuf>,
    /// Environments of the stack, such as dev,test,prod: builds once, then deploys to each in this order, and stops at
    /// the first that fails
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
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
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
        /// Return as soon as the run is recorded
        #[arg(long)]
        no_wait: bool,
        /// Why, for the audit log
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        why: String,
        #[command(flatten)]
        addresses: Addresses,
    },
    /// Show the runs, newest first, or one of them
    Show {
        /// Such as p3
        run: Option<PipelineRunId>,
    },
    /// Let a build go further, as somebody who has the role that its gate asks for
    Approve(Vote),
    /// End a run: the build goes no further
    Reject(Vote),
}

/// A word about a run.
#[derive(Debug, Args)]
pub(crate) struct Vote {
    /// Such as p3 [default: the only one that is under way]
    pub(crate) run: Option<PipelineRunId>,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Folder of the stack file
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Environment of the stack
    #[arg(short, long, default_value = "dev", value_name = "NAME")]
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

const WAIVE_USAGE: &str = "ward policy waive [OPTIONS] --until <DATE> --why <TEXT> <RULE>";

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
        /// Why, for the audit log
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        why: String,
    },
}

/// The environment that commands use when none is named.
pub(crate) fn dev() -> Name {
    Name::parse(ward_stack::DEFAULT_ENVIRONMENT).expect("the default environment has a name")
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
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
    /// Stop an environment for good, and remove its data; its history stays
    Delete {
        /// Environment, as NAME or STACK/NAME
        env: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Why, for the audit log
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        why: String,
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
    /// Copy the rows of its databases, too: only where its `copy_data` in ward.toml allows that
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
    /// How its hosts are named, by {service}, {env}, {stack} and {host} [default: {service}.{env}.localhost]
    #[arg(long, value_name = "PATTERN", value_parser = HostPattern::parse, requires = "from")]
    pub(crate) hosts: Option<HostPattern>,
    /// Return as soon as it is recorded; `ward deployment watch` follows it
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// Environment, as NAME or STACK/NAME
    pub(crate) env: String,
    #[command(flatten)]
    pub(crate) end: End,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
        /// Why, for the audit log
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        why: String,
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
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

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
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
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
    },
    /// Stop a run
    Stop {
        /// Which run, such as run4
        run: RunId,
        #[command(flatten)]
        of: OfEnv,
        /// Why, for the audit log
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        why: String,
    },
}

/// A deployment that somebody decides about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Steered {
    #[command(flatten)]
    pub(crate) of: OfDeployment,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}

/// Which deployment a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfDeployment {
    /// Such as d7 [default: the one that is under way, else the newest]
    pub(crate) deployment: Option<DeploymentId>,
    #[command(flatten)]
    pub(crate) env: OfEnv,
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
    /// Service or database; without it all of them
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

fn duration(text: &str) -> Result<Millis, ward_types::unit::InvalidUnit> {
    ward_types::unit::parse_duration(text)
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Show one second and end, as without a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

/// Where certificates come from that are had by ACME (`tls = { acme = true }` in a stack file).
#[derive(Debug, Clone, Args)]
pub(crate) struct Acme {
    /// The URL of the directory of a certificate authority that speaks ACME; who gives it agrees to its terms
    #[arg(long, env = "WARD_ACME_DIRECTORY", value_name = "URL")]
    pub(crate) acme_directory: Option<String>,
    /// The mail address that the authority may write to
    #[arg(
        long,
        env = "WARD_ACME_CONTACT",
        value_name = "ADDRESS",
        requires = "acme_directory"
    )]
    pub(crate) acme_contact: Option<String>,
    /// The root of the authority's own certificate, in PEM, where this machine does not trust it
    #[arg(
        long,
        env = "WARD_ACME_ROOT",
        value_name = "FILE",
        requires = "acme_directory"
    )]
    pub(crate) acme_root: Option<std::path::PathBuf>,
}

impl Acme {
    /// The same for another process of this binary.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let text = |name: &str, value: &Option<String>| {
            let value = value.as_ref().filter(|value| !value.is_empty());
            value.map(|value| format!("--acme-{name}={value}"))
        };
        let root = self
            .acme_root
            .as_ref()
            .map(|path| path.display().to_string());
        let all = [
            text("directory", &self.acme_directory),
            text("contact", &self.acme_contact),
            text("root", &root),
        ];
        // Nothing else means anything without a directory.
        match &all[0] {
            Some(_) => all.into_iter().flatten().collect(),
            None => Vec::new(),
        }
    }

    /// The same as the server takes it; `None` where there is no authority.
    pub(crate) fn settings(self) -> Option<ward_acme::Settings> {
        Some(ward_acme::Settings {
            directory: self.acme_directory.filter(|url| !url.is_empty())?,
            contact: self.acme_contact.map(|address| format!("mailto:{address}")),
            root: self.acme_root,
        })
    }
}

/// How the gateway keeps its access log, `gateway/access.log` in the state folder, and whom it believes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForGateway {
    /// Whether the gateway has an access log
    #[arg(
        long,
        env = "WARD_ACCESS_LOG",
        value_enum,
        default_value = "on",
        hide_env_values = true
    )]
    pub(crate) access_log: Switch,
    /// How long a file of it grows before the next one begins
    #[arg(long, env = "WARD_ACCESS_LOG_SIZE", value_name = "SIZE", value_parser = file_size, default_value = "64MiB")]
    pub(crate) access_log_size: ByteSize,
    /// How many of its files are kept beside the newest
    #[arg(
        long,
        env = "WARD_ACCESS_LOG_FILES",
        value_name = "FILES",
        value_parser = clap::value_parser!(u32).range(1..=1000),
        default_value_t = 8
    )]
    pub(crate) access_log_files: u32,
    /// Whether it has query strings, in which there may be what nobody else should read
    #[arg(
        long,
        env = "WARD_ACCESS_LOG_QUERY",
        value_enum,
        default_value = "off",
        hide_env_values = true
    )]
    pub(crate) access_log_query: Switch,
    /// Addresses of balancers that pass connections on with the PROXY protocol, version 2; each of their connections
    /// must begin with it
    #[arg(
        long,
        env = "WARD_PROXY_PROTOCOL",
        value_name = "RANGES",
        value_delimiter = ','
    )]
    pub(crate) proxy_protocol: Vec<AddressRange>,
    /// What requests get that belong to no trace (`traceparent`): one whose caller records it, one whose caller does
    /// not, or none
    #[arg(
        long,
        env = "WARD_TRACEPARENT",
        value_enum,
        default_value = "sampled",
        hide_env_values = true
    )]
    pub(crate) traceparent: Traceparent,
    /// How much memory the gateway may use before it refuses and cuts clients; a quarter of what the machine has
    /// unless it is said
    #[arg(
        long,
        env = "WARD_GATEWAY_MEMORY",
        value_name = "SIZE",
        value_parser = gateway_memory
    )]
    pub(crate) gateway_memory: Option<ByteSize>,
}

/// What becomes of requests that belong to no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Traceparent {
    /// They get one that asks applications to record them
    Sampled,
    /// They get one that does not
    Unsampled,
    /// They get none
    Pass,
}

impl ForGateway {
    /// The same for another process of this binary.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let word = |switch: Switch| match switch {
            Switch::On => "on",
            Switch::Off => "off",
        };
        let mut arguments = vec![
            format!("--access-log={}", word(self.access_log)),
            format!("--access-log-size={}", self.access_log_size),
            format!("--access-log-files={}", self.access_log_files),
            format!("--access-log-query={}", word(self.access_log_query)),
        ];
        // Each for itself, and none where there is none: a binary of an older version does not know it.
        let balancers = self.proxy_protocol.iter();
        arguments.extend(balancers.map(|range| format!("--proxy-protocol={range}")));
        match self.traceparent {
            Traceparent::Sampled => {}
            Traceparent::Unsampled => arguments.push("--traceparent=unsampled".to_owned()),
            Traceparent::Pass => arguments.push("--traceparent=pass".to_owned()),
        }
        let memory = self.gateway_memory.iter();
        arguments.extend(memory.map(|size| format!("--gateway-memory={size}")));
        arguments
    }
}

/// With less it could not hold what it needs for itself.
const LEAST_MEMORY: ByteSize = ByteSize(64 << 20);

fn gateway_memory(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).map_err(|error| error.to_string())?;
    match size < LEAST_MEMORY {
        true => Err(format!("it must be {LEAST_MEMORY} at least")),
        false => Ok(size),
    }
}

/// A file shorter than what is written at once would never be long enough.
const SHORTEST_FILE: ByteSize = ByteSize(256 * 1024);

fn file_size(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).map_err(|error| error.to_string())?;
    match size < SHORTEST_FILE {
        true => Err(format!("it must be {SHORTEST_FILE} at least")),
        false => Ok(size),
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
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
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
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
        /// More arguments for psql
        #[arg(last = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
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

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) env: AnyEnv,
    /// Remove the data too
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Why, for the audit log
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) why: String,
}
