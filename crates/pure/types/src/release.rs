//! Builds, releases, deployments, and an environment as the fold of its events.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backup::Backups;
use crate::checkup::Occasion;
use crate::configuration::{Configuration, Configured};
use crate::id::{DeploymentId, Digest, EnvId, InstanceId, Name, ReleaseId};
use crate::life::Life;
use crate::maintenance::Maintained;
use crate::policy::{Declared, Waivers};
use crate::run::Runs;
use crate::schema::SchemaChange;
use crate::secrets::{SecretName, Secrets};
use crate::sleep::Sleep;
use crate::source::Provenance;
use crate::spec::EnvSpec;
use crate::time::{Millis, Timestamp};
use crate::volume::Kept;

/// The immutable output of one source state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// `MAJOR.MINOR.N`.
    pub version: String,
    /// The manifest digest of each service's image.
    pub images: BTreeMap<Name, Digest>,
    /// The text of the stack file that it was made with: what another environment should be is resolved from it,
    /// without the source. None of builds that an older Ward made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_file: Option<String>,
    /// The commit that it was made of, where git knows the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Box<Provenance>>,
}

/// The immutable unit that an environment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// What was built.
    pub build: Build,
    /// The whole resolved configuration: what the stack file declares, with the values that were set over it.
    pub spec: EnvSpec,
    /// Which values these are.
    #[serde(default, skip_serializing_if = "Configured::is_none")]
    pub config: Configured,
    /// The versions of the secrets that it runs with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, u64>,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Where its build was taken from, of one that was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// In an environment that began as a copy: whether its stack file names the environment, which by this release is no
    /// copy any more. Where the environment was declared from the beginning no release says so, nor do those of an older
    /// Ward: see [`Release::is_named`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<bool>,
}

/// That a release is the build of another environment's release: the same images and the same stack file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The environment that it was taken from.
    pub env: EnvId,
    /// Which release of that.
    pub release: ReleaseId,
}

impl Release {
    /// Whether the stack file names its environment, where that began as a copy.
    #[must_use]
    pub fn is_named(&self) -> bool {
        is_named(self.named, &self.spec)
    }
}

/// The same of what is to become a release. Where nothing says so, what is seeded is a copy: each of them is.
#[must_use]
pub fn is_named(said: Option<bool>, spec: &EnvSpec) -> bool {
    said.unwrap_or(!spec.seeded)
}

impl fmt::Display for Promoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.env, self.release)
    }
}

/// Why an environment moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A new release: its release commands run. For every other reason they run only where the data has not
    /// been prepared for the release.
    Deploy,
    /// Back to an earlier release.
    Rollback,
    /// Forward again to a release that was rolled back.
    Rollforward,
    /// The environment comes up again after `down`, or on a machine that was restarted.
    Up,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Deploy => "deploy",
            Reason::Rollback => "rollback",
            Reason::Rollforward => "rollforward",
            Reason::Up => "up",
        })
    }
}

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Phase {
    /// Another deployment of this environment is under way.
    Queued,
    /// Databases come up, then release commands run.
    Preparing,
    /// New instances start, become healthy and are switched to, stage by stage.
    Rolling {
        /// Which stage of the strategy, from 0.
        #[serde(default, skip_serializing_if = "is_first")]
        stage: u32,
    },
    /// The new release failed: its instances are stopped, the old ones keep serving.
    Reverting {
        /// What went wrong.
        failure: Failure,
    },
    /// It ended.
    Finished {
        /// How.
        verdict: Verdict,
        /// What went wrong, unless it succeeded.
        failure: Option<Failure>,
        /// When.
        at: Timestamp,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(stage: &u32) -> bool {
    *stage == 0
}

/// What went wrong with a deployment, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// The last lines that the failing instance wrote.
    pub output: Vec<String>,
    /// What to do next, or the setting that changes it.
    pub hint: Option<String>,
}

/// How a deployment ended, from what serves and never from what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The new release serves.
    Succeeded,
    /// The new release had served; the old one serves again.
    RolledBack,
    /// The new release failed; the old one never stopped serving.
    FailedOldServing,
    /// The new release failed, and no old one serves in full.
    FailedDegraded,
    /// Ward could not find out what serves.
    Unknown,
}

impl Verdict {
    /// The word of the glossary.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Succeeded => "succeeded",
            Verdict::RolledBack => "rolled_back",
            Verdict::FailedOldServing => "failed_old_serving",
            Verdict::FailedDegraded => "failed_degraded",
            Verdict::Unknown => "unknown",
        }
    }

    /// The same word as people read it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Verdict::Succeeded => "succeeded",
            Verdict::RolledBack => "rolled back",
            Verdict::FailedOldServing => "failed, old serving",
            Verdict::FailedDegraded => "failed, degraded",
            Verdict::Unknown => "unknown",
        }
    }
}

/// An instance that ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEnd {
    /// Which.
    pub instance: InstanceId,
    /// When that was recorded.
    pub at: Timestamp,
    /// How, as a predicate.
    pub how: String,
}

/// The act of moving an environment from one release to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its number.
    pub id: DeploymentId,
    /// Why.
    pub reason: Reason,
    /// What served when it began; until then, what served when it was asked for.
    pub from: Option<ReleaseId>,
    /// What shall serve.
    pub to: ReleaseId,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it left the queue.
    pub started: Option<Timestamp>,
    /// When its present phase began: deadlines count from here.
    pub phase_since: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Who paused it, and when, while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// When it was resumed last, if it was: what was well before that may not be any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Timestamp>,
    /// The stages below this number need not be held any more: somebody said so.
    #[serde(default, skip_serializing_if = "is_first")]
    pub promoted: u32,
    /// The last stage whose table the gateway was seen to have in force, where that was recorded: a deployment
    /// that stays at no stage is told by its verdict alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// Who cancelled it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
    /// Why it goes to a release that the schema cannot take, by the one who asked for it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub despite_schema: Option<String>,
    /// The plan that it carries out, by the digest of all that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// How long nothing ran of services whose releases do not overlap, in the order in which that was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Where it stands.
    pub phase: Phase,
}

impl Deployment {
    /// Whether it ended well.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let succeeded = Verdict::Succeeded;
        matches!(self.phase, Phase::Finished { verdict, .. } if verdict == succeeded)
    }

    /// What a health check is asked for that it needs now.
    #[must_use]
    pub fn occasion(&self) -> Occasion {
        let (deployment, resumed) = (self.id, self.resumed);
        Occasion {
            deployment,
            resumed,
        }
    }
}

/// That a deployment's release takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// By the table of which stage; `None`: by what is left of one, on the way back.
    pub stage: Option<u32>,
    /// Since when.
    pub at: Timestamp,
}

/// That a deployment takes no further step until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who asked for it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// That nothing ran of a service, because the instances of one release were gone before those of the other
/// started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Which service.
    pub service: Name,
    /// The release that was started after it.
    pub release: ReleaseId,
    /// From the end of the last instance before to the start of the first one after, in milliseconds.
    pub lasted: Millis,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap {
            service,
            release,
            lasted,
        } = self;
        let tenths = lasted.0.div_ceil(100);
        let (seconds, tenth) = (tenths / 10, tenths % 10);
        write!(
            f,
            "{service}: nothing ran for {seconds}.{tenth} s, then {release}"
        )
    }
}

/// Whether an environment should run at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// It should run its current release.
    Up,
    /// Everything should be stopped, data kept.
    Down,
    /// Everything should be stopped, and its data removed.
    Purged,
}

/// Whether the data of an environment has been prepared for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataState {
    /// There is none yet, or it was purged: release commands run, whatever the reason of a deployment.
    New,
    /// Release commands have run on it. What an older Ward wrote down says nothing else.
    #[default]
    Kept,
}

/// One environment, as the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Which one.
    pub id: EnvId,
    /// Whether it should run.
    pub goal: Goal,
    /// When it was taken down last, if ever, also where it was brought up since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_down: Option<Timestamp>,
    /// Whether its data has been prepared for a release.
    #[serde(default)]
    pub data: DataState,
    /// Whether its data was removed, and nothing has made new data since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_gone: bool,
    /// The newest release whose release commands have all ended well on its data.
    #[serde(default)]
    pub prepared: Option<ReleaseId>,
    /// The highest number of a build that it has, or had, a release of.
    pub builds: u64,
    /// Every retained release.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// What serves, by the last verdict; nothing after a purge.
    pub current: Option<ReleaseId>,
    /// What served before that.
    pub previous: Option<ReleaseId>,
    /// Every deployment, by number.
    pub deployments: BTreeMap<DeploymentId, Deployment>,
    /// The ordinals of the instances whose ends were recorded last, in that order.
    #[serde(default)]
    pub ended: VecDeque<u64>,
    /// The last of these ends, with all that is known of them, in the same order.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub last_ends: VecDeque<LastEnd>,
    /// The ordinals of the instances that were given up last because other hands had changed something of them, or
    /// because they were not well when requests were to go back to them, in that order.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub given_up: VecDeque<u64>,
    /// The release commands that took away what earlier releases needed, since its data is new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema: Vec<SchemaChange>,
    /// What of it is in maintenance.
    #[serde(default, skip_serializing_if = "Maintained::is_empty")]
    pub maintained: Maintained,
    /// Its jobs' runs, and one-off commands.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub runs: Runs,
    /// The rules of the policy that somebody answers for.
    #[serde(default, skip_serializing_if = "Waivers::is_empty")]
    pub waivers: Waivers,
    /// The rules of the newest build that served in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Declared>,
    /// What people set in it.
    #[serde(default, skip_serializing_if = "Configuration::is_none")]
    pub configuration: Configuration,
    /// Which secrets it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: Secrets,
    /// The snapshots of its volumes.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub snapshots: Kept,
    /// The backups of its databases.
    #[serde(default, skip_serializing_if = "Backups::is_none")]
    pub backups: Backups,
    /// Where it comes from, and how it ends.
    #[serde(default)]
    pub life: Life,
    /// Whether it sleeps.
    #[serde(default, skip_serializing_if = "Sleep::is_none")]
    pub sleep: Sleep,
}

impl Environment {
    /// An environment that nothing was deployed to yet.
    #[must_use]
    pub fn new(id: EnvId) -> Self {
        Self {
            id,
            goal: Goal::Up,
            taken_down: None,
            data: DataState::New,
            data_gone: false,
            prepared: None,
            builds: 0,
            releases: BTreeMap::new(),
            current: None,
            previous: None,
            deployments: BTreeMap::new(),
            ended: VecDeque::new(),
            last_ends: VecDeque::new(),
            given_up: VecDeque::new(),
            schema: Vec::new(),
            maintained: Maintained::default(),
            runs: Runs::default(),
            waivers: Waivers::default(),
            rules: None,
            configuration: Configuration::default(),
            secrets: Secrets::new(),
            snapshots: Kept::new(),
            backups: Backups::default(),
            life: Life::default(),
            sleep: Sleep::default(),
        }
    }

    /// The deployment that is under way, if one is.
    #[must_use]
    pub fn active(&self) -> Option<&Deployment> {
        self.deployments
            .values()
            .find(|d| !matches!(d.phase, Phase::Queued | Phase::Finished { .. }))
    }

    /// The deployment whose turn comes next.
    #[must_use]
    pub fn next_queued(&self) -> Option<&Deployment> {
        self.deployments
            .values()
            .find(|d| matches!(d.phase, Phase::Queued))
    }

    /// The number of the next release.
    #[must_use]
    pub fn next_release(&self) -> ReleaseId {
        self.newest_release().next()
    }

    /// The number of the next deployment.
    #[must_use]
    pub fn next_deployment(&self) -> DeploymentId {
        self.deployments
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default()
            .next()
    }

    /// The deployment that brought what serves there: the last that changed it. One that led to what served already has
    /// moved nothing.
    #[must_use]
    pub fn moved_by(&self) -> Option<DeploymentId> {
        let moved = |d: &&Deployment| d.succeeded() && d.from != Some(d.to);
        self.deployments.values().rfind(moved).map(|d| d.id)
    }

    /// The release that serves, if one does.
    #[must_use]
    pub fn current_release(&self) -> Option<&Release> {
        self.releases.get(&self.current?)
    }

    /// The release that served last, of one that is down: it can come up with that as it was.
    #[must_use]
    pub fn comes_up_with(&self) -> Option<ReleaseId> {
        let last = self.current_release().map(|release| release.id);
        last.filter(|_| self.goal != Goal::Up)
    }

    /// How it comes up as it was, whatever its folder holds by now, in a clause; `None`: it is not down, or nothing served.
    #[must_use]
    pub fn way_up(&self) -> Option<String> {
        let (last, id) = (self.comes_up_with()?, &self.id);
        Some(format!(
            "`ward rollback --to {last} --env {id}` brings up {last} as it was"
        ))
    }
}
