//! What runs, and what is told of it as it goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cancellation, DeploymentView, OutdatedConfig, SharingView, VolumeUseView, WayView};
use crate::backup::Overdue;
use crate::id::{BackupId, Digest, EnvId, InstanceId, Name, ReleaseId, Term};
use crate::keeper::InstanceState;
use crate::life::Life;
use crate::maintenance::Maintenance;
use crate::release::{Goal, Promoted, Verdict};
use crate::schema::SchemaChange;
use crate::secret::Secret;
use crate::sleep::Sleep;
use crate::source::Provenance;
use crate::time::Timestamp;
use crate::tls::CertificateObserved;

/// `GET /v1/status?env=returns/dev`: the platform, and each environment (or the one asked for), also one that is
/// being built for the first time. Those that were purged are left out, except with `purged=true`: their data is
/// gone; their releases, images and output stay until they are collected, their events for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The server.
    pub server: ServerView,
    /// The environments.
    pub environments: Vec<EnvironmentView>,
}

/// The processes and addresses of this Ward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The binary's version.
    pub version: String,
    /// The server's process id.
    pub pid: u32,
    /// Its fencing number.
    #[serde(default)]
    pub term: Term,
    /// The gateway's process id, when it answers.
    pub gateway_pid: Option<u32>,
    /// The state folder.
    pub home: String,
    /// `127.0.0.1:8080`.
    pub http: String,
    /// `127.0.0.1:8443`.
    pub https: String,
    /// `127.0.0.1:5050`.
    pub registry: String,
    /// Where the gateway's metrics are had, `127.0.0.1:8090`; empty where nowhere.
    #[serde(default)]
    pub metrics: String,
    /// What a server that takes over is started with, beside its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What the last audit of the log found.
    pub log: LogView,
    /// How notices are taken; `None`: nobody asked for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<NoticesView>,
    /// What of the master keys is missing, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysMissing>,
}

/// How the program takes its notices that people asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NoticesView {
    /// Why the last one was not taken, as a sentence without a full stop; `None`: it was, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How many were never taken since this server began.
    #[serde(default)]
    pub left_out: u64,
}

/// That a master key which something is sealed under is not to be had, or that this is not known. No key and no value is
/// in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysMissing {
    /// Which is needed, and where it was looked for.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether nobody could tell in time if it is there.
    #[serde(default)]
    pub unknown: bool,
}

/// The answer to `POST /v1/handover`: what a server that takes over is told by variables, which no list of processes
/// shows to others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HandedOver {
    /// Names and values.
    #[serde(default)]
    pub variables: Vec<(String, Secret)>,
}

/// What is known of the log's wholeness. The server audits it at its start and once a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LogView {
    /// The first audit is not over yet.
    Unaudited,
    /// Nothing was altered.
    Whole {
        /// When that was found.
        at: Timestamp,
    },
    /// It is not what was appended to it, or cannot be audited at all.
    Altered {
        /// When that was found.
        at: Timestamp,
        /// The first event that is not what was appended, as far as that can be told.
        first: Option<u64>,
        /// What is wrong, in one line.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentView {
    /// Which.
    pub id: EnvId,
    /// What it should be.
    pub goal: Goal,
    /// The release that serves.
    pub current: Option<ReleaseId>,
    /// The version of that release.
    pub version: Option<String>,
    /// The commit that its build was made of, where git knew the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The URLs by which it is reached.
    pub addresses: Vec<String>,
    /// What of it is in maintenance.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceView>,
    /// The files with certificates of its hosts, as the gateway sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateObserved>,
    /// Where what serves runs with other values than those that are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated_config: Option<OutdatedConfig>,
    /// Its services and databases.
    pub components: Vec<ComponentView>,
    /// The volumes of the release that serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeUseView>,
    /// The databases that have no backup that is young enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overdue_backups: Vec<Overdue>,
    /// What it shares with other stacks, and links to there.
    #[serde(default, skip_serializing_if = "SharingView::is_empty")]
    pub sharing: SharingView,
    /// The deployment under way, if one is.
    pub deployment: Option<DeploymentView>,
    /// Where it comes from, and how it ends.
    #[serde(default)]
    pub life: Life,
    /// Whether it sleeps.
    #[serde(default)]
    pub sleep: Sleep,
    /// What Ward is waiting for, in sentences (promise P12); empty when nothing moves.
    pub waiting: Vec<String>,
}

/// What clients get instead of answers, and who wants it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// Of which service; `None`: of all of the environment.
    pub service: Option<Name>,
    /// What clients are told.
    pub maintenance: Maintenance,
    /// Who began it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// One service or database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: Name,
    /// `service` or `database`.
    pub kind: String,
    /// How many instances are declared.
    pub wanted: u32,
    /// Its instances.
    pub instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseId,
    /// Its state.
    pub state: InstanceState,
    /// Whether the gateway sends it new requests.
    pub in_rotation: bool,
    /// Since when it exists.
    pub started: Timestamp,
    /// Its process id on the host.
    pub pid: Option<u32>,
    /// Its keeper's process id; 0 when it never had one.
    pub keeper_pid: u32,
    /// Why the last health check failed; of one that is stopped, that.
    pub last_failure: Option<String>,
    /// Protections that the kernel denied.
    pub missing: Vec<String>,
    /// The backup that is restored in it to see whether it can be; such an instance is nobody's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<BackupId>,
    /// What other hands did to it while it runs, as a predicate, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
}

/// `GET /v1/releases?env=…`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Its number.
    pub id: ReleaseId,
    /// `1.0.7`.
    pub version: String,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Whether it serves, or served last where its environment is down.
    pub current: bool,
    /// Whether its environment is down.
    #[serde(default)]
    pub down: bool,
    /// How its last deployment ended, if it ended.
    pub verdict: Option<Verdict>,
    /// Who cancelled that deployment, if somebody did.
    #[serde(default)]
    pub cancelled: Option<Cancellation>,
    /// The release command after which it does not run any more, if there was one: `ward rollback` refuses it.
    #[serde(default)]
    pub barred: Option<SchemaChange>,
    /// The version of the configuration that it was made with; 0: nothing was set.
    #[serde(default)]
    pub config: u64,
    /// The images.
    pub images: BTreeMap<Name, Digest>,
    /// Where its build was taken from, of one that was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// The commit that its build was made of, where git knew the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// How it came there.
    #[serde(flatten)]
    pub way: WayView,
}
