//! Which releases run on the schema that release commands left behind.
//!
//! Decision: what a command of a kind that takes something away may have done counts from the moment that it
//! begins, because one that fails half-way may have done it; that is in the log before it is started. After
//! `contract` the release that served meanwhile still runs, because it has to: it serves while the command
//! runs. After `irreversible` none of the releases before runs; the one that serves goes on serving, because
//! there is nothing better. Only going back asks: a new release is deployed whatever the schema, and what
//! serves already is not asked. New data knows of no command.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, Name, ReleaseId};
use crate::release::{DataState, Deployment, Environment, Reason};
use crate::spec::Schema;
use crate::time::Timestamp;

/// That a release command took away, or may have taken away, what earlier releases needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Whose command.
    pub release: ReleaseId,
    /// In which deployment it ran.
    pub deployment: DeploymentId,
    /// The service that it belongs to.
    pub service: Name,
    /// Of which kind.
    pub schema: Schema,
    /// The oldest release that runs on what it leaves.
    pub oldest: ReleaseId,
    /// When it began.
    pub at: Timestamp,
    /// Who asked for the deployment.
    pub by: String,
    /// How far it came.
    pub end: ChangeEnd,
}

/// How far a release command came, by the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeEnd {
    /// It began.
    Begun,
    /// It ended well.
    Ended,
    /// Its deployment failed before all of its release commands had ended well.
    Failed,
}

/// Whose command, of which kind, when and by whom, as a noun phrase with a relative clause.
impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, release, schema) = (&self.service, self.release, self.schema.as_str());
        write!(
            f,
            "the release command of {service} of {release} ({schema})"
        )?;
        let (deployment, at, by) = (self.deployment, self.at, &self.by);
        match self.end {
            ChangeEnd::Begun => write!(f, ", which began in {deployment} by {by} on {at}"),
            ChangeEnd::Ended => write!(f, ", which ran in {deployment} by {by} on {at}"),
            ChangeEnd::Failed => write!(
                f,
                ", which began in {deployment} by {by} on {at} and may have done a part of its work before that failed"
            ),
        }
    }
}

impl Environment {
    /// The release command after which a release does not run any more; `None`: it can be gone to, as far as
    /// the schema is concerned. What serves goes on serving.
    #[must_use]
    pub fn barred(&self, to: ReleaseId) -> Option<&SchemaChange> {
        if self.current == Some(to) {
            return None;
        }
        let bars = self.schema.iter().filter(|change| to < change.oldest);
        bars.max_by_key(|change| (change.oldest, std::cmp::Reverse(change.deployment)))
    }

    /// Whether a release does not run on the schema, though it may serve: somebody wanted it all the same.
    #[must_use]
    pub fn is_barred(&self, release: ReleaseId) -> bool {
        self.schema.iter().any(|change| release < change.oldest)
    }

    /// Whether a deployment runs release commands: for a new release, on data that is new, and for a release that
    /// is newer than all that the data was prepared for, because its commands failed or the data is newer than
    /// it. The commands of a newer release have done what those of an older one do.
    #[must_use]
    pub fn runs_commands(&self, deployment: &Deployment) -> bool {
        let newer = self.prepared < Some(deployment.to);
        deployment.reason == Reason::Deploy || self.data == DataState::New || newer
    }

    /// Why a deployment must not begin: it goes back to a release that the schema cannot take any more, and
    /// nobody said that it shall all the same.
    #[must_use]
    pub fn schema_refuses(&self, deployment: &Deployment) -> Option<&SchemaChange> {
        let asks = deployment.reason != Reason::Deploy && deployment.despite_schema.is_none();
        self.barred(deployment.to).filter(|_| asks)
    }

    /// The newest release below the current that once served, and that the schema can take.
    #[must_use]
    pub fn newest_way_back(&self) -> Option<ReleaseId> {
        let current = self.current?;
        let below = self.once_served().filter(|id| *id < current);
        below.filter(|id| self.barred(*id).is_none()).max()
    }

    /// The oldest release that runs on what a command of `release` leaves.
    pub(crate) fn oldest_after(&self, schema: Schema, release: ReleaseId) -> ReleaseId {
        match (schema, self.current) {
            (Schema::None | Schema::Expand, _) => ReleaseId::default(),
            (Schema::Contract, Some(serves)) => serves.min(release),
            (Schema::Contract, None) | (Schema::Irreversible, _) => release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Deadlines, ReleaseCommand};

    #[test]
    fn what_an_older_ward_wrote_down_is_read() {
        let command = r#"{"command":["migrate"],"timeout":1000}"#;
        let command: ReleaseCommand = serde_json::from_str(command).unwrap();
        assert_eq!(command.schema, Schema::Expand);
        let deadlines: Deadlines = serde_json::from_str("{}").unwrap();
        assert_eq!(deadlines, Deadlines::default());
        let environment = r#"{"id":"returns/dev","goal":"up","builds":0,"releases":{},
            "current":null,"previous":null,"deployments":{}}"#;
        let environment: Environment = serde_json::from_str(environment).unwrap();
        assert_eq!((environment.schema, environment.prepared), (vec![], None));
    }
}
