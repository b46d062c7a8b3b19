//! Where builds come from: commits, the sources that are watched for new ones, and builds that are kept without a
//! release.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, Digest, InvalidId, Name, PipelineRunId, ReleaseId};
use crate::release::Build;
use crate::time::{Millis, Timestamp};

/// How many builds of a stack are kept that no release has and no source needs.
pub const KEPT_BUILDS: usize = 20;
/// How many commits of a source are remembered.
pub const KNOWN_COMMITS: usize = 200;

/// A commit of git: 40 hexadecimal digits, or 64 in a repository of SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// Reads a commit's whole id.
    ///
    /// # Errors
    /// [`InvalidId`] when it is not 40 or 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match matches!(text.len(), 40 | 64) && text.bytes().all(hex) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidId {
                text: text.to_owned(),
                expected: "a commit: 40 or 64 hexadecimal digits",
            }),
        }
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ten digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> String {
        id.0
    }
}

impl TryFrom<String> for CommitId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl FromStr for CommitId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

/// A commit, as git tells of it. Author and subject are what somebody wrote there: nobody has proved them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Who wrote the change: `Anna Bauer <anna@example.com>`.
    pub author: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// The first line of its message, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
}

/// Whether a build was made of what its commit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tree {
    /// Of a clean checkout, or of a folder without a change.
    AsCommitted,
    /// Of a folder with changes that no commit holds.
    Changed,
}

/// Where a build comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The repository: a folder or a URL, never with a password.
    pub repository: String,
    /// The commit.
    #[serde(flatten)]
    pub commit: Commit,
    /// Whether it is that commit and nothing else.
    pub tree: Tree,
    /// The source that brought it, of one that a source brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Name>,
}

impl Provenance {
    /// Whether it names the commit that holds all of a build, where one made of `before` was of changes that no commit
    /// held: what serves is the same, and only now somebody can look up what it was made of.
    #[must_use]
    pub fn settles(&self, before: Option<&Self>) -> bool {
        self.tree == Tree::AsCommitted && before.is_some_and(|before| before.tree == Tree::Changed)
    }
}

/// `3f2a9c01de by Anna Bauer <anna@example.com>, with changes`.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = match self.tree {
            Tree::AsCommitted => "",
            Tree::Changed => ", with changes that no commit holds",
        };
        let Commit { id, author, .. } = &self.commit;
        write!(f, "{} by {author}{changed}", id.short())
    }
}

/// A build that was made for itself, and is kept so that it can be released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBuild {
    /// The stack.
    pub stack: Name,
    /// The environment whose declaration says how the images are made.
    pub env: Name,
    /// What was made.
    pub build: Build,
    /// The files beside the stack file that the checks of its pipelines name, as they were then; none of builds that an
    /// older Ward made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Digest>,
    /// When.
    pub made: Timestamp,
    /// Who asked for it.
    pub by: String,
}

/// A build as people name it: `1.2.7`, or `shop/1.2.7` where several stacks have one of that version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildName {
    /// Its stack.
    pub stack: Option<Name>,
    /// Its version.
    pub version: String,
}

impl FromStr for BuildName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            text: text.to_owned(),
            expected: "a build such as 1.2.7 or shop/1.2.7",
        };
        let (stack, version) = match text.split_once('/') {
            Some((stack, version)) => (Some(Name::parse(stack)?), version),
            None => (None, text),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match version.split('.').count() == 3 && version.split('.').all(digits) {
            true => Ok(Self {
                stack,
                version: version.to_owned(),
            }),
            false => Err(invalid()),
        }
    }
}

impl fmt::Display for BuildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stack {
            Some(stack) => write!(f, "{stack}/{}", self.version),
            None => f.write_str(&self.version),
        }
    }
}

/// The builds of a stack that are kept for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptBuilds {
    /// The highest number that one of them ever had, or one that a pipeline began with.
    pub last: u64,
    /// By their number, `N` of `MAJOR.MINOR.N`.
    pub kept: BTreeMap<u64, KeptBuild>,
}

/// The number of a build: `7` of `1.2.7`.
#[must_use]
pub fn number(version: &str) -> Option<u64> {
    version.rsplit('.').next()?.parse().ok()
}

/// What of a repository a source follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    /// The newest commit of this branch.
    Branch(String),
    /// The commits of the tags that this pattern names; `*` stands for anything.
    Tags(String),
}

impl Follows {
    /// As git names it: `refs/heads/main`, `refs/tags/v*`.
    #[must_use]
    pub fn reference(&self) -> String {
        match self {
            Follows::Branch(name) => format!("refs/heads/{name}"),
            Follows::Tags(pattern) => format!("refs/tags/{pattern}"),
        }
    }

    /// Whether it is that reference.
    #[must_use]
    pub fn names(&self, reference: &str) -> bool {
        let own = self.reference();
        match (self, own.split_once('*')) {
            (Follows::Tags(_), Some((before, after))) => reference
                .strip_prefix(before)
                .is_some_and(|rest| rest.ends_with(after)),
            _ => own == reference,
        }
    }
}

impl fmt::Display for Follows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Follows::Branch(name) => write!(f, "branch {name}"),
            Follows::Tags(pattern) => write!(f, "tags {pattern}"),
        }
    }
}

/// What becomes of a build that a source brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is kept.
    Keep,
    /// This environment of its stack gets it.
    Deploy(Name),
    /// It goes through this pipeline of its stack.
    Pipeline(Name),
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Then::Keep => f.write_str("kept"),
            Then::Deploy(env) => write!(f, "deployed to {env}"),
            Then::Pipeline(name) => write!(f, "through the pipeline {name}"),
        }
    }
}

/// Where the repository of a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Elsewhere: a folder or a URL, which is looked at.
    Remote(String),
    /// In the state folder: people push to it.
    Hosted,
}

/// What a source proves itself with over HTTPS. The token itself is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user; most services take any beside a token.
    pub user: String,
    /// Which of the tokens that the source ever had, from 1.
    pub version: u64,
}

/// A repository that is watched for new commits, each of which is built once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: Name,
    /// Where the repository is.
    pub place: Place,
    /// What of it counts.
    pub follows: Follows,
    /// The folder of the stack file in the repository; empty: at its top.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// What becomes of each build.
    pub then: Then,
    /// How often it is looked at; `None`: only when somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Millis>,
    /// Whether a webhook may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub webhook: bool,
    /// Whether the commits behind a branch's tip are built, too, that came with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
    /// What it proves itself with, of a repository over HTTPS that is not public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it.
    pub by: String,
    /// The newest commits, in the order in which they were seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<Seen>,
}

/// A commit that was seen in a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which.
    pub commit: Commit,
    /// Where: `refs/heads/main`.
    pub reference: String,
    /// When.
    pub at: Timestamp,
    /// Who brought it: the one who pushed it to Ward, or `source:NAME` where it was found.
    pub by: String,
    /// The newer commit that it came with: that one is released, and this one built and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<CommitId>,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Standing {
    /// It is to be built.
    Waiting,
    /// It was there before the source was: it is not built.
    There,
    /// It is built, and not released yet.
    Built {
        /// The version of the build.
        version: String,
    },
    /// An environment has it.
    Deployed {
        /// The version of the build.
        version: String,
        /// The release that it came to.
        release: ReleaseId,
        /// The deployment to it; `None` where it served already.
        deployment: Option<DeploymentId>,
    },
    /// It began its way through a pipeline.
    Began {
        /// The version of the build.
        version: String,
        /// The run.
        run: PipelineRunId,
    },
    /// A later one came before it had its turn.
    Passed {
        /// The version of the build, if it was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The later one.
        by: CommitId,
    },
    /// It was not built, or not released. It is not tried again by itself.
    Failed {
        /// Why, as a sentence.
        message: String,
    },
}

impl Standing {
    /// The version of its build, if it is built.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Standing::Waiting | Standing::There | Standing::Failed { .. } => None,
            Standing::Built { version }
            | Standing::Deployed { version, .. }
            | Standing::Began { version, .. } => Some(version),
            Standing::Passed { version, .. } => version.as_deref(),
        }
    }

    /// What became of it once it was built, as a predicate.
    #[must_use]
    pub fn beyond_its_build(&self) -> Option<String> {
        match self {
            Standing::Deployed {
                release,
                deployment,
                ..
            } => Some(match deployment {
                Some(deployment) => format!("comes into force as {release} by {deployment}"),
                None => format!("changes nothing in {release}"),
            }),
            Standing::Began { run, .. } => Some(format!("goes through its pipeline as {run}")),
            Standing::Passed { by, .. } => Some(format!("gave way to {}", by.short())),
            Standing::Waiting
            | Standing::There
            | Standing::Built { .. }
            | Standing::Failed { .. } => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Waiting => f.write_str("waits to be built"),
            Standing::There => f.write_str("was there before the source was, and is not built"),
            Standing::Built { version } => write!(f, "is built as {version}"),
            Standing::Deployed {
                version,
                release,
                deployment,
            } => match deployment {
                Some(deployment) => {
                    write!(f, "is built as {version}, in {release} by {deployment}")
                }
                None => write!(f, "is built as {version}, and changes nothing in {release}"),
            },
            Standing::Began { version, run } => write!(f, "is built as {version}, in {run}"),
            Standing::Passed { version, by } => {
                let built = version.as_ref().map(|v| format!("is built as {v}, and "));
                let built = built.unwrap_or_default();
                write!(f, "{built}gave way to {}", by.short())
            }
            Standing::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}

impl Source {
    /// What is known of a commit.
    #[must_use]
    pub fn seen(&self, commit: &CommitId) -> Option<&Seen> {
        self.commits.iter().find(|seen| seen.commit.id == *commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_tags_and_a_branch_only_itself() {
        let tags = Follows::Tags("v*-ok".into());
        assert!(tags.names("refs/tags/v1.2-ok"));
        assert!(!tags.names("refs/tags/v1.2"));
        assert!(!tags.names("refs/heads/v1-ok"));
        assert!(Follows::Tags("v1".into()).names("refs/tags/v1"));
        let branch = Follows::Branch("main".into());
        assert!(branch.names("refs/heads/main"));
        assert!(!branch.names("refs/heads/main2"));
    }

    #[test]
    fn commits_are_whole_and_in_lower_case() {
        let whole = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(CommitId::parse(whole).unwrap().short(), "0123456789");
        for bad in ["", "0123", &whole.to_uppercase(), &format!("{whole}0")] {
            assert!(CommitId::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
