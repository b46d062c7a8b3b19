//! What is asked and told about builds that are kept, and about sources.

use serde::{Deserialize, Serialize};

use super::{Others, Unchanged, Until};
use crate::id::Name;
use crate::secret::Secret;
use crate::source::{BuildName, CommitId, Follows, Place, Seen, Source, Then};
use crate::spec::Strategy;
use crate::time::{Millis, Timestamp};

/// The body of `POST /v1/builds`, which makes a build and releases it nowhere. The answer is a stream of
/// [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The folder of the stack file, absolute.
    pub dir: String,
    /// The revision that is checked out and built; `None`: the folder as it is.
    #[serde(default)]
    pub rev: Option<String>,
    /// The environment whose declaration says how the images are made.
    pub env: Name,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/builds/deploy`: an environment gets a build that is kept. The answer is a stream of
/// [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDeployRequest {
    /// The build.
    pub build: BuildName,
    /// The environment's name within the stack.
    pub env: Name,
    /// Why, for the audit log.
    pub why: String,
    /// What to do with an environment that runs this very release already.
    pub unchanged: Unchanged,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
    /// How services with a port take over, in place of what the stack file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
}

/// The body of `POST /v1/sources`: a repository is watched from here on. The answer is an [`AddedSource`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddSource {
    /// Its name.
    pub name: Name,
    /// Where the repository is.
    pub place: Place,
    /// What of it counts.
    pub follows: Follows,
    /// The folder of the stack file in it; empty: its top.
    #[serde(default)]
    pub folder: String,
    /// What becomes of each build.
    pub then: Then,
    /// How often it is looked at.
    #[serde(default)]
    pub poll: Option<Millis>,
    /// Whether a webhook may say that there is something new.
    #[serde(default)]
    pub webhook: bool,
    /// Whether the commits behind a branch's tip are built, too, that came with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
    /// What it proves itself with over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Why, for the audit log.
    pub why: String,
}

/// A user and a token, for a repository over HTTPS. It goes through a socket of Ward's own, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The user; most services take any.
    pub user: String,
    /// The token.
    pub token: Secret,
}

/// The body of `POST /v1/sources/token`: a source proves itself with another token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetToken {
    /// Which source.
    pub name: Name,
    /// With what.
    pub token: Token,
    /// Why, for the audit log.
    pub why: String,
}

/// A source that was just added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedSource {
    /// The source.
    pub source: SourceView,
    /// The secret of its webhook, which is shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What of it is not known yet, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The body of `POST /v1/sources/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSource {
    /// Which.
    pub name: Name,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/sources/sync`: look now. The answer is a stream of [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Which.
    pub name: Name,
    /// Whether the newest commit is tried again where it failed.
    #[serde(default)]
    pub again: bool,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
    /// Why, for the audit log.
    pub why: String,
}

/// The body of `POST /v1/sources/pushed`, which a hook of a hosted repository sends. The answer is a stream of
/// [`super::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRequest {
    /// Which source.
    pub name: Name,
    /// What was pushed.
    pub pushed: Vec<Pushed>,
}

/// A reference that leads elsewhere since a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Such as `refs/heads/main`.
    pub reference: String,
    /// What it led to right after the push: a commit, or a tag's object.
    pub object: CommitId,
}

/// One of the answer of `GET /v1/sources?name=shop`; without a name of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// The source, with its commits, the oldest first.
    pub source: Source,
    /// Where it is: a folder or a URL.
    pub repository: String,
    /// How the last look at it went, since the server started.
    pub looked: Option<Looked>,
    /// Where a webhook is sent to, where the server takes them.
    pub hook: Option<String>,
    /// What it does now, in sentences.
    pub waiting: Vec<String>,
    /// Each commit's standing as a sentence, the newest first.
    pub commits: Vec<CommitView>,
}

/// A commit with what became of it, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitView {
    /// The commit.
    pub seen: Seen,
    /// What became of it.
    pub stands: String,
}

/// How a look at a repository went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// When.
    pub at: Timestamp,
    /// What went wrong, if something did.
    pub trouble: Option<String>,
}
