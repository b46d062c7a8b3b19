//! What is asked and told about backups.

use serde::{Deserialize, Serialize};

use crate::backup::{Backup, Overdue};
use crate::id::{BackupId, EnvId, Name};
use crate::time::Timestamp;

/// The body of `POST /v1/backups`: one backup, now. The answer is a stream of [`Progress`](crate::view::Progress), which
/// ends when it was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// The database; `None`: the only one.
    pub database: Option<Name>,
    /// Why, for the audit log.
    pub why: String,
}

/// `GET /v1/backups?env=…`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupsView {
    /// The environment.
    pub env: EnvId,
    /// The newest first.
    pub backups: Vec<BackupView>,
    /// The databases that have none that is young enough.
    pub overdue: Vec<Overdue>,
    /// When the next one is due; `None`: none is, or one is under way.
    pub next: Option<Timestamp>,
    /// The folder that they lie in.
    pub folder: String,
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupView {
    /// Its number.
    pub id: BackupId,
    /// The version of the release that served, where that release is retained.
    pub version: Option<String>,
    /// The backup.
    #[serde(flatten)]
    pub backup: Backup,
}
