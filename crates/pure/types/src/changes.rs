//! Changes: what differs between two releases, and a plan as people and programs read it.
//!
//! Not to be confused with the steps that the driver takes (`ward_plan::plan`): a change says what will be
//! different, and the driver finds the way there.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{Digest, EnvId, Name, ReleaseId};
use crate::policy::{PolicyOutcome, Violation};
use crate::time::Timestamp;
use crate::unit::ByteSize;
use crate::view::Until;

/// The number of the form of [`PlanView`] and [`EnvDiffView`]: raised when a field goes away or changes its meaning.
/// `docs/plan.schema.json` describes it.
pub const FORMAT: u32 = 1;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where, in the words of the stack file: `service.web.instances`, `service.web.route[shop.example.org/api]`.
    pub path: String,
    /// The service or database that it belongs to; `None`: the environment as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// What it was; times are milliseconds, sizes bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// What it was, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_text: Option<String>,
    /// What it will be, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_text: Option<String>,
    /// Of a version of a secret that was: its keyed digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_digest: Option<String>,
    /// Of a version of a secret that will be: its keyed digest. One that is made by the deployment has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_digest: Option<String>,
    /// How it comes into force.
    pub effect: Effect,
    /// The same in a sentence without a full stop, with what it means for this very change.
    pub means: String,
    /// Whether somebody loses something by it: clients a way in, an application its data.
    pub destructive: bool,
}

/// A service, a database or a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    /// Which of them.
    pub kind: ComponentKind,
    /// Its name.
    pub name: Name,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// A service.
    Service,
    /// A database.
    Database,
    /// A volume.
    Volume,
}

impl ComponentKind {
    /// Its word in the stack file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ComponentKind::Service => "service",
            ComponentKind::Database => "database",
            ComponentKind::Volume => "volume",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// What becomes of what a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there.
    Add,
    /// It is another.
    Change,
    /// It is not there any more.
    Remove,
}

/// How a change comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Something is started that was not there.
    Starts,
    /// Instances end, and none takes their place.
    Ends,
    /// New instances have it.
    Replaces,
    /// The gateway has it from the switch on.
    Switches,
    /// A release command runs, in this deployment and the next ones.
    RunsCommand,
    /// Deployments go by it, from this one on.
    Steers,
    /// A database has it when it is started the next time.
    NextStart,
    /// It runs on with its data, and nothing reaches it.
    Strands,
    /// It is recorded, and nothing that runs changes.
    Recorded,
    /// What later plans must pass is another.
    Governs,
    /// It is part of the new release.
    Released,
}

/// What an environment takes of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Instances of services.
    pub instances: u64,
    /// Databases.
    pub databases: u64,
    /// The most memory that instances and databases with a limit may use together.
    pub memory: ByteSize,
    /// How many instances and databases have no limit.
    pub unlimited: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |number: u64, one: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{number} {one}s"),
        };
        let (instances, databases) = (self.instances, self.databases);
        write!(
            f,
            "{}, {}",
            many(instances, "instance"),
            many(databases, "database")
        )?;
        match (self.memory, self.unlimited) {
            (ByteSize(0), 0) => Ok(()),
            (ByteSize(0), unlimited) => write!(f, ", {unlimited} without a memory limit"),
            (memory, 0) => write!(f, ", {memory} of memory"),
            (memory, unlimited) => {
                write!(f, ", {memory} of memory and {unlimited} without a limit")
            }
        }
    }
}

/// The same before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CostChange {
    /// Of what serves.
    pub before: Cost,
    /// Of what is planned.
    pub after: Cost,
}

/// One thing that the deployment would do, in the order in which it does them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Which kind.
    pub step: StepKind,
    /// What it is about; `None`: the environment as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Name>,
    /// A sentence without a full stop.
    pub text: String,
    /// Whether something cannot be taken back afterwards as it could before.
    pub destructive: bool,
}

/// The kinds of what a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A database is started for the first time.
    Database,
    /// A snapshot of a volume is made.
    Snapshot,
    /// A release command runs.
    ReleaseCommand,
    /// A seed command fills new data.
    Seed,
    /// New instances start and take over.
    Instances,
    /// Instances end that nothing replaces.
    End,
    /// What served before is kept for a while.
    KeepWarm,
}

/// How many changes of each kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// What is added.
    pub add: u64,
    /// What is changed.
    pub change: u64,
    /// What is removed.
    pub remove: u64,
    /// Changes and steps that are destructive.
    pub destructive: u64,
}

impl Summary {
    /// Of changes and steps.
    #[must_use]
    pub fn of(changes: &[Change], steps: &[PlannedStep]) -> Self {
        let of = |kind| changes.iter().filter(|change| change.kind == kind).count() as u64;
        let destructive = changes.iter().filter(|change| change.destructive).count();
        let steps = steps.iter().filter(|step| step.destructive).count();
        Self {
            add: of(ChangeKind::Add),
            change: of(ChangeKind::Change),
            remove: of(ChangeKind::Remove),
            destructive: (destructive + steps) as u64,
        }
    }
}

/// What was seen to be other than the log says it should be, at the moment of the plan or since the last deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The service or database.
    pub component: Name,
    /// What was seen, in a sentence without a full stop.
    pub text: String,
    /// Whether it has been put right since.
    pub put_right: bool,
}

/// A release, as a plan names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its number, where it has one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// Its version; of one that is not recorded yet the one that it would get now.
    pub version: String,
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A deploy would change nothing.
    Nothing,
    /// A deploy would make a new release.
    Changes,
    /// A deploy would be refused by the policy.
    Forbidden,
    /// A deploy would be refused for something else, which a note says.
    Refused,
}

impl Outcome {
    /// Whether a deploy would be refused as things are.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self, Outcome::Forbidden | Outcome::Refused)
    }
}

/// The answer of `POST /v1/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// [`FORMAT`].
    pub format: u32,
    /// The environment.
    pub env: EnvId,
    /// What it comes to.
    pub outcome: Outcome,
    /// What serves; `None`: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Side>,
    /// What would serve.
    pub to: Side,
    /// How many changes there are.
    pub summary: Summary,
    /// The changes: those of the environment as a whole, then those of each component.
    pub changes: Vec<Change>,
    /// What a deployment would do; empty where there is nothing to do.
    pub steps: Vec<PlannedStep>,
    /// What the environment takes of its machine.
    pub cost: CostChange,
    /// What other hands changed.
    pub drift: Vec<Drift>,
    /// What the policy says.
    pub policy: PolicyOutcome,
    /// What else whoever reads it should know, in sentences.
    pub notes: Vec<String>,
    /// Where the plan was kept to be carried out: how it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptPlan>,
}

impl PlanView {
    /// The violations for which a deploy is refused.
    pub fn denied(&self) -> impl Iterator<Item = &Violation> {
        self.policy.denied()
    }
}

/// A plan that the server keeps, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPlan {
    /// The digest of all that it holds.
    pub digest: Digest,
    /// Until when it can be carried out.
    pub valid_until: Timestamp,
}

/// The body of `POST /v1/plan`; the answer is a stream of [`crate::view::Progress`] that ends with `Planned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The folder of the stack file, absolute.
    pub dir: String,
    /// The environment.
    pub env: Name,
    /// How services with a port take over, in place of what the stack file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<crate::spec::Strategy>,
    /// Whether the plan is kept to be carried out.
    #[serde(default)]
    pub keep: Keep,
}

/// Whether a plan is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// It is only shown.
    #[default]
    No,
    /// It can be carried out (`ward plan --out`).
    Yes,
}

/// The body of `POST /v1/plan/carry-out`; the answer is a stream of [`crate::view::Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarryOutRequest {
    /// What `ward plan --out` wrote, as it was read.
    pub file: String,
    /// Where whoever asks thinks that it leads; `None`: wherever it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Name>,
    /// Why, for the audit log.
    pub why: String,
    /// What happens to deployments of the environment that have not ended.
    #[serde(default)]
    pub others: crate::view::Others,
    /// When the stream ends.
    #[serde(default)]
    pub until: Until,
}

/// The answer of `GET /v1/environments/diff?from=…&to=…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvDiffView {
    /// [`FORMAT`].
    pub format: u32,
    /// The environment that is compared.
    pub from_env: EnvId,
    /// The one that it is compared with.
    pub to_env: EnvId,
    /// What serves in the first; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Side>,
    /// What serves in the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Side>,
    /// How many differences there are, without those set aside.
    pub summary: Summary,
    /// What differs.
    pub changes: Vec<Change>,
    /// What differs because the two are two: their names, their hosts.
    pub aside: Vec<Change>,
    /// What each takes of its machine.
    pub cost: CostChange,
}
