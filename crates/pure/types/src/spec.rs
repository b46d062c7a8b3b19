//! What one environment of a stack should be: a stack file after its overrides and defaults are applied.
//!
//! Every value is explicit here, so that what was reviewed, what is hashed and what runs are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backup::BackupSpec;
use crate::balance::Balance;
use crate::guard::Guard;
use crate::id::{EnvId, Name};
use crate::policy::Policy;
pub use crate::route::RouteSpec;
use crate::run::JobSpec;
use crate::secrets::{SecretName, SecretPlace, SecretSpec};
use crate::sharing::{Export, SharedLink};
use crate::time::Millis;
use crate::unit::ByteSize;
use crate::volume::VolumeSpec;

/// One environment, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvSpec {
    /// Which environment.
    pub id: EnvId,
    /// `MAJOR.MINOR`; Ward appends the build number.
    pub version: String,
    /// The services by name.
    pub services: BTreeMap<Name, ServiceSpec>,
    /// The databases by name.
    pub databases: BTreeMap<Name, DatabaseSpec>,
    /// The volumes by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<Name, VolumeSpec>,
    /// The jobs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<Name, JobSpec>,
    /// How long the previous release's instances are kept running after a deployment.
    pub keep_warm: Millis,
    /// How many of the newest releases are retained, at least 1. Those that can be needed are beside them.
    #[serde(default = "EnvSpec::keep_releases")]
    pub keep_releases: u32,
    /// How long Ward waits for what has no limit of its own.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Whether seed commands run on its data while that is new: where the file says so, and in copies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seeded: bool,
    /// Whether its rows may be copied into another environment.
    #[serde(default, skip_serializing_if = "CopyData::is_denied")]
    pub copy_data: CopyData,
    /// How long nobody asks it for anything until it sleeps; `None`: it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Millis>,
    /// The region that its data stays in; `None`: nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Name>,
    /// Whether the default set of rules is on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// What plans for it must pass, by the stack file.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// What the file says of secrets beside who gets them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretSpec>,
}

/// How long Ward waits for what belongs to no service: then a deployment goes back, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// From a deployment's request until its turn.
    pub queue: Millis,
    /// From a deployment's start until its databases are healthy, and from a database's own start until it is
    /// given up.
    pub database_start: Millis,
    /// From SIGINT to SIGKILL of a database that has come up: its last checkpoint.
    pub database_stop: Millis,
    /// From the wish for a new routing table until the gateway has put it into force.
    pub acknowledge: Millis,
    /// While a deployment is paused, or held until told: for a word.
    pub promote: Millis,
    /// From a failure until its verdict.
    pub revert: Millis,
}

/// Of a stack file that names none, and of releases that were recorded before there were such settings.
impl Default for Deadlines {
    fn default() -> Self {
        Self {
            queue: Millis::secs(3600),
            database_start: Millis::secs(60),
            database_stop: Millis::secs(60),
            acknowledge: Millis::secs(10),
            promote: Millis::secs(24 * 3600),
            revert: Millis::secs(60),
        }
    }
}

impl EnvSpec {
    /// Of releases that were recorded before there was such a setting.
    fn keep_releases() -> u32 {
        10
    }
}

/// One service, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Where its image comes from.
    pub source: ImageSource,
    /// The command to run instead of the image's own.
    pub command: Option<Vec<String>>,
    /// The port that the application listens on.
    pub port: Option<u16>,
    /// How Ward knows that an instance is well. `None` only where the file says `health = "none"` or
    /// the service has no port.
    pub health: Option<HealthSpec>,
    /// How many instances run.
    pub instances: u32,
    /// What it may reach inside the stack.
    pub links: Vec<Name>,
    /// What it may reach in other stacks, where these export it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_links: Vec<SharedLink>,
    /// Who of other stacks may link to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    /// What it may reach outside.
    pub egress: Vec<EgressSpec>,
    /// Environment variables. No secret belongs here.
    pub env: BTreeMap<String, String>,
    /// The secrets that it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretPlace>,
    /// The volumes that it sees, each at an absolute path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<Name, String>,
    /// The most memory an instance may use.
    pub memory: Option<ByteSize>,
    /// How many processes and threads an instance may have, 1 to 65536.
    #[serde(default = "ServiceSpec::processes")]
    pub processes: u32,
    /// The most that each scratch folder of an instance holds, where `memory` is not less.
    #[serde(default = "ServiceSpec::scratch")]
    pub scratch: ByteSize,
    /// Work to do before a release serves, such as migrations.
    pub release: Option<ReleaseCommand>,
    /// What fills new data with what is made up, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedCommand>,
    /// How clients reach it.
    #[serde(
        default,
        rename = "route",
        deserialize_with = "crate::route::one_or_several"
    )]
    pub routes: Vec<RouteSpec>,
    /// From start to healthy, at most.
    pub start_timeout: Millis,
    /// From the routing switch until requests under way are cut off.
    pub drain_timeout: Millis,
    /// From the routing switch until the last long connection is told to go away. `None`: a release that was
    /// recorded before there was such a setting; see [`ServiceSpec::long_drain`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_drain_timeout: Option<Millis>,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Millis,
    /// Whether instances of two releases may run beside each other. Where they may not, the old ones are
    /// gone before a new one starts.
    #[serde(default = "ServiceSpec::overlap")]
    pub overlap: bool,
    /// How a new release takes over.
    #[serde(default)]
    pub strategy: Strategy,
    /// What a new release must show while a step of a canary is held or it bakes. Without it a breach sends
    /// it back as well, but no number of requests is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// Requests that the gateway makes itself meanwhile, so that there is something to judge by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What its clients may take.
    #[serde(default, skip_serializing_if = "Guard::is_default")]
    pub guard: Guard,
    /// How its requests are placed on its instances.
    #[serde(default, skip_serializing_if = "Balance::is_default")]
    pub balance: Balance,
}

/// How the instances of a new release take over from those of the one before. Only a deploy follows it:
/// a rollback is one switch, and so is the first release of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// All new instances beside the old ones, then one switch of all requests.
    BlueGreen {
        /// How long the new release serves everything, with the old instances beside it, before the
        /// deployment has succeeded.
        bake: Millis,
    },
    /// A few instances at a time.
    Rolling {
        /// How many are replaced at a time.
        batch: Amount,
        /// How many more than declared may run meanwhile, draining ones included; at least 1.
        surge: Amount,
    },
    /// A small share of the requests first.
    Canary {
        /// The steps before everything goes to the new release, of growing weight.
        steps: Vec<CanaryStep>,
        /// What keeps a client on one side.
        sticky: Option<Sticky>,
        /// As of `BlueGreen`, after the last step.
        bake: Millis,
    },
}

impl Default for Strategy {
    fn default() -> Self {
        Self::BlueGreen { bake: Millis(0) }
    }
}

/// A number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many of a hundred that are declared, 1 to 100, rounded up.
    Percent(u8),
}

impl Amount {
    /// Of `declared` instances; at least 1.
    #[must_use]
    pub fn of(self, declared: u32) -> u32 {
        let count = match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let exact = u64::from(declared) * u64::from(percent);
                u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
            }
        };
        count.max(1)
    }
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// How many of any 100 requests in a row go to the new release, 1 to 99.
    pub weight: u8,
    /// How long; `None`: until told (`ward deployment promote`).
    pub hold: Option<Millis>,
}

/// How many requests a new release must have answered as well as the one before, before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// How many at each step, and while it bakes; 1 to 1000000.
    pub requests: u32,
    /// What becomes of one that has not answered so many when its time is over.
    pub inconclusive: Inconclusive,
}

/// GET requests that the gateway makes while a new release is on trial, to both releases in turn where both
/// are in rotation, through the same way as clients' and counted like them. They carry `ward-probe: 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The path.
    pub path: String,
    /// From one request to the next, 10 ms to 1 minute.
    pub every: Millis,
}

/// What becomes of a release of which too few requests say whether it is as good as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// It goes back.
    #[default]
    Rollback,
    /// It goes on.
    Promote,
    /// It stays where it is until there are enough, or somebody promotes it.
    Hold,
}

/// What keeps a client with one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// A cookie of this name, which the gateway sets.
    Cookie(String),
    /// The value of this header, which clients send.
    Header(String),
}

impl ServiceSpec {
    /// How long its long connections have: websockets, event streams, gRPC calls that are being answered.
    #[must_use]
    pub fn long_drain(&self) -> Millis {
        self.long_drain_timeout.unwrap_or(self.drain_timeout)
    }

    /// Of releases that were recorded before there was such a setting.
    fn processes() -> u32 {
        4096
    }

    /// Of releases that were recorded before there was such a setting.
    fn scratch() -> ByteSize {
        ByteSize(1 << 30)
    }

    /// Of releases that were recorded before there was such a setting: they ran that way.
    fn overlap() -> bool {
        true
    }
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImageSource {
    /// A binary package of the Cargo workspace beside the stack file.
    Cargo {
        /// The package's name.
        package: String,
    },
    /// A command that makes files, and the files that go into the image.
    Command {
        /// The build command, run in the stack's folder; empty where the stack file omits it, because the files are
        /// there already. (An empty list in the file itself is a mistake, W0308.)
        command: Vec<String>,
        /// Files and folders to take, relative to the stack's folder.
        files: Vec<String>,
        /// What an instance runs.
        run: Vec<String>,
        /// What lies below the files.
        base: Base,
    },
    /// A Dockerfile, built by buildah, podman or docker.
    Dockerfile {
        /// Relative to the stack's folder.
        path: String,
    },
    /// An image that others built, by tag or digest.
    Image {
        /// `name:tag` or `host/name@sha256:…`.
        reference: String,
    },
}

/// What lies below an image's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Nothing.
    Empty,
    /// The host's own `/usr` (and the links `/bin`, `/lib`, … into it), read-only.
    Host,
}

/// How Ward knows that an instance is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// The path of a GET request that must be answered with a 2xx status.
    pub path: String,
    /// From one check to the next.
    pub interval: Millis,
    /// How long an answer may take.
    pub timeout: Millis,
    /// How many good answers in a row make an instance healthy.
    pub healthy: u32,
    /// How many bad answers in a row make it unhealthy again.
    pub unhealthy: u32,
}

/// A declared right to reach an outside address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EgressSpec {
    /// A host name or an IPv4 address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Work to do before a release serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCommand {
    /// The command, run once in an instance of the new release.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Millis,
    /// What it does to the schema that earlier releases run on.
    #[serde(default)]
    pub schema: Schema,
}

/// What fills new data with what is made up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedCommand {
    /// The command, run once in an instance of the first release, behind its release commands.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Millis,
}

/// Whether the rows of an environment may be copied into another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyData {
    /// They may not.
    #[default]
    Denied,
    /// They may.
    Allowed,
}

impl CopyData {
    /// Whether they may not.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        *self == Self::Denied
    }
}

/// What a release command does to the schema of the data, the mildest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// It changes none.
    None,
    /// It only adds: every earlier release runs on it. What an older Ward wrote down says nothing else.
    #[default]
    Expand,
    /// It takes away what older releases needed: the release that served meanwhile still runs on it, those
    /// before that do not.
    Contract,
    /// No earlier release runs on it.
    Irreversible,
}

impl Schema {
    /// The word of the stack file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Expand => "expand",
            Self::Contract => "contract",
            Self::Irreversible => "irreversible",
        }
    }

    /// Whether there are earlier releases that do not run on what it leaves.
    #[must_use]
    pub fn takes_away(self) -> bool {
        self >= Self::Contract
    }
}

impl Strategy {
    /// The key of the stack file, and its value, by which the release before and the new one are kept
    /// serving or ready beside each other for longer than one switch takes.
    #[must_use]
    pub fn beside(&self) -> Option<&'static str> {
        match self {
            Self::Rolling { .. } => Some("rolling"),
            Self::Canary { .. } => Some("canary"),
            Self::BlueGreen { bake } if *bake > Millis(0) => Some("bake"),
            Self::BlueGreen { .. } => None,
        }
    }
}

/// A database, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSpec {
    /// Which program.
    pub engine: DatabaseEngine,
    /// The most memory it may use.
    pub memory: Option<ByteSize>,
    /// How often it is backed up; `None`: only when somebody asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupSpec>,
}

/// Which program keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseEngine {
    /// PostgreSQL 15 or later, as installed on the machine.
    Postgres,
}
