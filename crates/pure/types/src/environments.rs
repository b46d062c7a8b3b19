//! What the API is asked and answers about environments as values: made, listed, given an end, deleted.

use serde::{Deserialize, Serialize};

use crate::copy::HostPattern;
use crate::id::{BackupId, EnvId, Name, ReleaseId};
use crate::life::{Ending, Expiry, Origin, Said};
use crate::sleep::Sleep;
use crate::time::{Millis, Timestamp};
use crate::view::{SharingView, Until};

/// The body of `POST /v1/environments/create`: a copy of an environment, by digest. The answer is a stream of
/// [`Progress`](crate::view::Progress).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The copy's name within the stack.
    pub name: Name,
    /// What it is a copy of.
    pub from: EnvId,
    /// How its hosts are named.
    #[serde(default)]
    pub hosts: HostPattern,
    /// Whose rows it begins with.
    #[serde(default)]
    pub data: CopiedData,
    /// The backups that its databases begin with, one of each; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restores: Vec<BackupId>,
    /// How long it lasts; `None`: until somebody deletes it.
    #[serde(default)]
    pub ttl: Option<Millis>,
    /// How long nobody asks it for anything until it sleeps; `None`: as what it is a copy of.
    #[serde(default)]
    pub sleep: Option<Millis>,
    /// Why, for the audit log.
    pub why: String,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
    /// Whether it is only asked.
    #[serde(default)]
    pub trial: Trial,
}

/// Whether it is only asked if a copy can be made, its secrets aside. Nothing is recorded then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// It is made.
    #[default]
    No,
    /// It is asked.
    Yes,
}

/// What of an environment's data a copy gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopiedData {
    /// Nothing: the stack's seed commands fill it.
    #[default]
    None,
    /// The rows of its databases, where its policy allows that.
    Rows,
}

/// The body of `POST /v1/environments/extend`, which is answered by an [`EnvironmentDetail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendRequest {
    /// The environment.
    pub env: EnvId,
    /// Its end from now on.
    pub end: NewEnd,
    /// Why, for the audit log.
    pub why: String,
}

/// When an environment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewEnd {
    /// So long after this moment.
    In(Millis),
    /// At this moment.
    At(Timestamp),
    /// Not by itself.
    Never,
}

/// The body of `POST /v1/environments/sleep` and of `POST /v1/environments/wake`; the answer is a stream of
/// [`Progress`](crate::view::Progress).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NapRequest {
    /// The environment.
    pub env: EnvId,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/environments/delete`; the answer is a stream of [`Progress`](crate::view::Progress).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The environment.
    pub env: EnvId,
    /// Why, for the audit log.
    pub why: String,
}

/// `GET /v1/environments?gone=true&env=…`, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentsView {
    /// The environments.
    pub environments: Vec<EnvironmentDetail>,
}

/// One environment, from its creation to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentDetail {
    /// Which.
    pub id: EnvId,
    /// Where it stands.
    pub state: Standing,
    /// What it is a copy of; `None`: its stack file declares it.
    pub origin: Option<Origin>,
    /// When it was created, by whom and why; of a build that is under way nobody knows yet.
    pub created: Option<Said>,
    /// Its end, if it has one.
    pub expires: Option<Expiry>,
    /// Why it ends or ended.
    pub ending: Option<Ending>,
    /// When nothing of it was left but its history.
    pub deleted: Option<Timestamp>,
    /// How long nobody asks it for anything until it sleeps; `None`: it never does by itself.
    #[serde(default)]
    pub sleeps_after: Option<Millis>,
    /// Whether it sleeps.
    #[serde(default)]
    pub sleep: Sleep,
    /// Why it could not be woken, of one that sleeps and was asked for by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_wake: Option<String>,
    /// The release that serves.
    pub release: Option<ReleaseId>,
    /// The version of that release.
    pub version: Option<String>,
    /// The URLs by which it is reached.
    pub addresses: Vec<String>,
    /// Its services.
    pub services: Vec<Name>,
    /// What it shares with other stacks, and links to there.
    #[serde(default, skip_serializing_if = "SharingView::is_empty")]
    pub sharing: SharingView,
    /// Its databases, each with what its data takes of the disk.
    pub databases: Vec<DataView>,
}

/// The data of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataView {
    /// The database.
    pub name: Name,
    /// What it takes of the disk, in bytes; `None`: there is none.
    pub bytes: Option<u64>,
}

/// Where an environment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It should run, and a release serves.
    Up,
    /// It should run, and sleeps until somebody asks it for something.
    Asleep,
    /// It is not made yet: only values are kept for it, or who answers for a rule.
    Awaited,
    /// It should run, and comes up: no release serves yet.
    Coming,
    /// It should run, and no release serves: its deployments have failed.
    Unserved,
    /// It is stopped, its data kept.
    Down,
    /// It is stopped, its data removed or about to be; its releases are retained.
    Purged,
    /// It is on its way to its end.
    Ending,
    /// Nothing is left of it but its history.
    Deleted,
}
