//! What is asked and told about secrets. No answer holds a value.

use serde::{Deserialize, Serialize};

use super::{Expect, Others, Until};
use crate::id::{EnvId, Name, ReleaseId};
use crate::secret::Secret;
use crate::secrets::{Origin, SecretName};
use crate::time::Timestamp;

/// The body of `POST /v1/secrets`, which travels over the API's Unix socket only. The answer is a stream of
/// [`super::Progress`], one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    /// The environment, which the stack file in `dir` may declare where it is not there yet.
    pub env: Option<EnvId>,
    /// Whether the environment has to be there.
    #[serde(default)]
    pub expect: Expect,
    /// The folder of the stack file that the caller is in, absolute, if there is one.
    #[serde(default)]
    pub dir: Option<String>,
    /// What to set and unset, in one go.
    pub changes: Vec<SecretSetting>,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// A secret that is set or unset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSetting {
    /// Which.
    pub name: SecretName,
    /// Its value from here on; `None`: none.
    pub value: Option<Secret>,
}

/// The body of `POST /v1/secrets/rotate`; the answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which secret.
    pub name: SecretName,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// `GET /v1/secrets?env=…`: the secrets of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsView {
    /// The environment.
    pub env: EnvId,
    /// Those that are set, and those that a service should get and that are not.
    pub secrets: Vec<SecretView>,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// What releases get from here on; `None`: it is not set.
    pub newest: Option<SecretVersionView>,
    /// The version that the release that serves has.
    pub in_force: Option<u64>,
    /// The services that get it.
    pub used_by: Vec<Name>,
    /// Of a password that is being replaced: until when the one before works, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

/// One version of a secret, as `GET /v1/secrets/history?env=…&name=…` lists them, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersionView {
    /// Its number.
    pub version: u64,
    /// A keyed digest: the same value has the same, under the same master key. Empty where it was unset.
    pub digest: String,
    /// Where it comes from; `None`: it was unset.
    pub origin: Option<Origin>,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub why: String,
    /// Retained releases that have it.
    pub releases: Vec<ReleaseId>,
}

/// The body of `POST /v1/secrets/rekey`, which is answered by a [`RekeyView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RekeyRequest {
    /// Why, for the audit log.
    pub why: String,
}

/// What another master key came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RekeyView {
    /// The ids of the keys before.
    pub from: Vec<String>,
    /// The id of the key that all is sealed under now.
    pub to: String,
    /// How many values.
    pub values: usize,
}
