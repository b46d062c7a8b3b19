//! What the engine tells a keeper to run, and the words that travel on a keeper's socket.
//!
//! The socket is a Unix socket of type `SOCK_SEQPACKET` named `k.sock` in the instance's folder. Each
//! message is one packet of JSON, at most [`MAX_MESSAGE`] bytes; descriptors travel beside it
//! (`SCM_RIGHTS`). A connection carries one request at a time and its reply, except `Watch`, after which
//! the keeper sends a [`Reply::Status`] at once and whenever the status changes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::{BackupId, EnvId, InstanceId, Name, ReleaseId, RunId};
use crate::secret::Secret;
use crate::secrets::{Given, SecretName};
use crate::time::{Millis, Timestamp};

/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The name of a keeper's socket in its instance's folder.
pub const SOCKET: &str = "k.sock";

/// Everything that a keeper must know to run one instance. It reaches the keeper through a pipe
/// (descriptor 0), never through a file or an argument, because `env` holds secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Who it is. The engine writes it to `facts.json` in its folder before it starts the keeper.
    pub facts: InstanceFacts,
    /// Its folder, mode 0700: the engine's `facts.json`, the keeper's socket and `exit.json`.
    pub dir: PathBuf,
    /// The file tree that it sees.
    pub root: RootSpec,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: String,
    /// Its environment variables, all of them.
    pub env: BTreeMap<String, Secret>,
    /// Its secrets, beside their values in `env`.
    #[serde(default)]
    pub secrets: Given,
    /// Who it is inside.
    pub user: UserSpec,
    /// What it may use.
    pub limits: Limits,
    /// How it is checked; `None`: healthy as soon as it runs.
    pub health: Option<HealthCheck>,
    /// What it may reach.
    pub links: Vec<LinkSpec>,
    /// Where its output goes.
    pub log: LogSpec,
    /// From SIGTERM to SIGKILL when nobody says otherwise.
    pub stop_timeout: Millis,
    /// The signal that asks it to stop, by number (15 for most, 2 for PostgreSQL's fast shutdown).
    pub stop_signal: i32,
    /// The Unix stream socket of the gateway that takes link and egress connections.
    pub gateway_links: PathBuf,
}

/// What anyone may know about an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// Its id, unique within its environment for ever.
    pub id: InstanceId,
    /// Its environment.
    pub env: EnvId,
    /// The service or database that it is a copy of; of a snapshot the volume.
    pub component: Name,
    /// The release that it belongs to; a database belongs to `r0`.
    pub release: ReleaseId,
    /// What it is for.
    pub role: Role,
    /// The port that it listens on, if it listens.
    pub port: Option<u16>,
    /// When the engine was told to start it.
    pub started: Timestamp,
    /// The passwords of databases that it was given, by their versions; `None`: an older Ward started it, and did not
    /// write that down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Vec<PasswordGiven>>,
}

/// Which version of a database's password an instance was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordGiven {
    /// The database's environment: of what copies rows, not always the instance's own.
    pub env: EnvId,
    /// The password's name.
    pub name: SecretName,
    /// The version; 0 is the first password, which no event names.
    pub version: u64,
}

impl PasswordGiven {
    /// Whether it is a password of this database from before a version.
    #[must_use]
    pub fn is_before(&self, version: u64, env: &EnvId, name: &SecretName) -> bool {
        self.version < version && (&self.env, &self.name) == (env, name)
    }
}

impl InstanceFacts {
    /// Whether it was given a password from before a version; `None`: nobody wrote that down.
    #[must_use]
    pub fn has_one_before(&self, version: u64, env: &EnvId, name: &SecretName) -> Option<bool> {
        let mut given = self.passwords.as_ref()?.iter();
        Some(given.any(|password| password.is_before(version, env, name)))
    }
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It serves, or works, until it is stopped.
    Service,
    /// A release command: it runs to its end.
    ReleaseCommand,
    /// A database.
    Database,
    /// A seed command: it fills new data, and runs to its end.
    Seed,
    /// It fills a new database with the rows of another one, and runs to its end.
    Copy,
    /// It fills a new volume, which is its component, with the files of another one, and runs to its end.
    VolumeCopy,
    /// It makes a snapshot of a volume, which is its component, and runs to its end.
    Snapshot,
    /// A database that is nobody's, in which a backup is restored to see whether it can be. It runs until it is stopped.
    Drill(BackupId),
    /// A run of a job, or a one-off command: it runs to its end.
    Run(RunId),
}

impl Role {
    /// Whether it is a deployment's: it prepares or fills data before a release serves.
    #[must_use]
    pub fn is_command(self) -> bool {
        matches!(
            self,
            Role::ReleaseCommand | Role::Seed | Role::Copy | Role::VolumeCopy | Role::Snapshot
        )
    }

    /// Whether it runs to its end, so that its end is no failure.
    #[must_use]
    pub fn is_meant_to_end(self) -> bool {
        self.is_command() || matches!(self, Role::Run(_))
    }
}

/// The file tree of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSpec {
    /// Unpacked image layers, lowest first. May be empty with `host_usr`.
    pub layers: Vec<PathBuf>,
    /// Whether the host's `/usr` (with `/bin`, `/sbin`, `/lib*` as on the host, and `/etc/alternatives`,
    /// `/etc/ssl`, `/etc/ld.so.cache`) is shown read-only.
    pub host_usr: bool,
    /// More folders and files to show.
    pub mounts: Vec<MountSpec>,
}

/// A folder or file of the host, shown in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// On the host.
    pub source: PathBuf,
    /// In the instance, absolute.
    pub target: String,
    /// May it be written to.
    pub access: Access,
}

/// May a mount be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// No.
    ReadOnly,
    /// Yes. The engine makes the folder belong to the instance's user.
    ReadWrite,
}

/// Who an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// The user id inside.
    pub uid: u32,
    /// The group id inside.
    pub gid: u32,
    /// The user and group id outside. An ordinary user can only be itself; root gives each component an
    /// unprivileged id of its own.
    pub host_id: u32,
}

/// What an instance may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Number of processes and threads of its own: Ward's pid 1 is not counted.
    pub processes: Option<u32>,
    /// Bytes in each of its scratch folders (/tmp, /run, /dev/shm), where `memory` is not less; without it as much
    /// as `memory`, or 1 GiB.
    #[serde(default)]
    pub scratch: Option<u64>,
    /// Bytes in one file, wherever it is; `None`: no limit.
    #[serde(default)]
    pub file: Option<u64>,
}

/// How a keeper checks its instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What it asks.
    pub probe: Probe,
    /// The port that it asks at.
    pub port: u16,
    /// From one check to the next. Until the first good answer it checks more often (at least every 25 ms).
    pub interval: Millis,
    /// How long an answer may take.
    pub timeout: Millis,
    /// Good answers in a row that make it healthy.
    pub healthy: u32,
    /// Bad answers in a row that make it unhealthy again.
    pub unhealthy: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Probe {
    /// `GET path` over HTTP/1.1; only 2xx is good.
    Http {
        /// The path, with its leading slash.
        path: String,
    },
    /// A PostgreSQL startup message; an authentication request is good, an error is bad.
    Postgres,
}

/// A listening socket made in the instance's network namespace, and where its connections lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// The host name that the application uses; `/etc/hosts` maps it to `address`.
    pub host: String,
    /// The loopback address of its own, such as 127.77.0.2.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Where connections lead.
    pub target: LinkTarget,
}

/// Where a link's connections lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LinkTarget {
    /// Straight to the keeper whose folder this symbolic link names now (a database's), at that port.
    /// The keeper copies the bytes itself, so that a gateway's death does not cut database connections.
    Keeper {
        /// The symbolic link to the instance's folder.
        dir: PathBuf,
        /// The port inside that instance.
        port: u16,
    },
    /// To the gateway, which balances over the service's instances.
    Service {
        /// The environment.
        env: EnvId,
        /// The service.
        service: Name,
    },
    /// To the gateway, which connects to the outside and records it.
    Egress {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The file; each line is `UNIX_MILLIS o|e TEXT` (`o` standard output, `e` standard error). The
    /// folder exists.
    pub file: PathBuf,
    /// When the file grows beyond this many bytes it is renamed to `FILE.1`, which is replaced.
    pub max_bytes: u64,
}

/// The first bytes that a keeper sends on a stream connection to the gateway's link socket: one line of
/// JSON, with the accepted connection's descriptor beside it. The gateway answers one byte `+` when it
/// has taken the descriptor over; without it the keeper asks again, so that connections wait for a
/// gateway's successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// Who connects.
    pub from: InstanceId,
    /// Its environment.
    pub env: EnvId,
    /// Where to.
    pub target: LinkTarget,
}

/// What a keeper can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// A connection to a port inside. The reply `Connected` carries one descriptor, a connected,
    /// non-blocking TCP socket.
    Connect {
        /// The port.
        port: u16,
    },
    /// How is it?
    Status,
    /// How is it, now and whenever that changes.
    Watch,
    /// Check its health now, whatever its interval. The reply `Status` comes when a check that began after this was
    /// asked is over; at once of an instance that has no check, that a signal stopped, or that was asked to stop. An
    /// older keeper refuses.
    Check,
    /// SIGTERM (or the spec's stop signal) now, SIGKILL after the grace. Asking again changes nothing, unless the grace is
    /// shorter. The reply comes at once; `Watch` shows the end.
    Stop {
        /// From the signal to SIGKILL.
        grace: Millis,
    },
    /// Run a program beside the instance, in its namespaces and with its restrictions. Three
    /// descriptors travel along: standard input, output and error. The reply `ExecDone` comes at its end.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Variables beside the instance's own.
        env: BTreeMap<String, String>,
        /// Whether those of the instance's own that hold secrets are among them. An older Ward gave them.
        #[serde(default)]
        secrets: Disclosure,
    },
    /// Signal the instance.
    Signal {
        /// The signal's number.
        signal: i32,
    },
}

/// Whether a program beside an instance gets the instance's secrets in its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// It does.
    #[default]
    Given,
    /// It does not.
    Withheld,
}

/// What a keeper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The descriptor beside it is connected.
    Connected,
    /// How it is.
    Status {
        /// The status.
        status: InstanceStatus,
    },
    /// It will be done.
    Done,
    /// The program ended.
    ExecDone {
        /// How.
        exit: Exit,
    },
    /// The program could not be run: it is not there, or it is none.
    NotRun {
        /// Why, in a sentence.
        message: String,
        /// The exit status by which a shell says so (POSIX.1, Shell and Utilities, 2.8.2): 127 for a program
        /// that is not there, 126 for one that cannot be executed.
        status: u8,
    },
    /// It cannot be done.
    Refused {
        /// Why, in a sentence.
        message: String,
    },
}

/// How an instance is. Observed, never an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its state.
    pub state: InstanceState,
    /// The process id of the application in the host's process namespace, while it runs.
    pub pid: Option<u32>,
    /// The keeper's own process id.
    pub keeper_pid: u32,
    /// Why the last health check failed, if it did; of one that is stopped, that.
    pub last_failure: Option<String>,
    /// What the kernel denied, and which protection is missing for it.
    pub missing: Vec<String>,
    /// Whether a signal stopped it (SIGSTOP and its like), so that it makes no progress. What a debugger holds is not
    /// meant. An older keeper does not say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// The state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// It runs, and has not been healthy yet.
    Starting,
    /// It runs, and its health check succeeds (or it has none).
    Healthy,
    /// It runs, was healthy, and its health check fails.
    Unhealthy,
    /// It was asked to stop and still runs.
    Stopping,
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// Whether it was asked to.
        asked: bool,
    },
    /// The sandbox could not be made.
    Failed {
        /// Why, and what to do.
        message: String,
    },
    /// Its keeper is gone without a word: it was killed, and the instance with it.
    Lost,
}

impl InstanceState {
    /// Whether nothing of it runs any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            InstanceState::Exited { .. } | InstanceState::Failed { .. } | InstanceState::Lost
        )
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "value", rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}
