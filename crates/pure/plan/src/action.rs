//! A plan: what to do, in order, and what is waited for.

use ward_types::checkup::Occasion;
use ward_types::id::{DeploymentId, InstanceId, Name, ReleaseId, RunId, SnapshotId};
use ward_types::keeper::Role;
use ward_types::life::{Cause, Filling};
use ward_types::maintenance::Maintenance;
use ward_types::release::{Gap, Phase};
use ward_types::route::Route;
use ward_types::run::Attempt;
use ward_types::sharing::Export;
use ward_types::sleep::{Alarm, Drowsiness};
use ward_types::spec::{Probe, Schema};
use ward_types::table::Split;
use ward_types::time::{Millis, Timestamp};

use crate::memory::Memory;
use crate::waiting::Waiting;

/// What to do now, and what is waited for. An immutable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// To be carried out in this order. None rests on another's success: when one fails the others are
    /// carried out all the same, and it is planned again. A plan that has actions is followed by another
    /// as soon as they are carried out.
    pub actions: Vec<Action>,
    /// What is waited for; empty when the environment is as it should be.
    pub waiting: Vec<Waiting>,
    /// When to plan again at the latest, even if nothing is seen to change.
    pub wake: Option<Timestamp>,
    /// The first ordinal that this plan could give out.
    pub first_ordinal: u64,
    /// The first ordinal that it did not give out. To be made durable before any `Start` is carried out.
    pub next_ordinal: u64,
    /// To be handed to the next call of `plan`.
    pub memory: Memory,
}

/// One thing to do. Doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A deployment enters another phase: becomes the event `DeploymentMoved`.
    Move {
        /// Which deployment.
        deployment: DeploymentId,
        /// Its next phase.
        phase: Phase,
    },
    /// The gateway shows a deployment's release: becomes the event `DeploymentServed`.
    Serve {
        /// Which deployment.
        deployment: DeploymentId,
        /// By the table of which stage, which stays in force; `None`: by what is left of one.
        stage: Option<u32>,
    },
    /// Start an instance.
    Start {
        /// Its id, never used before.
        id: InstanceId,
        /// The service, database or volume.
        component: Name,
        /// The release; `r0` for a database.
        release: ReleaseId,
        /// What it is for.
        role: Role,
    },
    /// Put these pools into force, in place of all pools of this environment.
    Route {
        /// All pools of this environment; a pool that is not named is removed.
        pools: Vec<PlannedPool>,
    },
    /// Have an instance's health checked now: what came of it is seen, after `within` at the latest.
    Check {
        /// Which instance.
        id: InstanceId,
        /// For what: once for each.
        of: Occasion,
        /// How long its answer is waited for.
        within: Millis,
    },
    /// Cut what still runs on an instance that is out of rotation.
    Cut {
        /// Which instance.
        id: InstanceId,
    },
    /// Ask an instance to stop.
    Stop {
        /// Which instance.
        id: InstanceId,
        /// From the signal to SIGKILL.
        grace: Millis,
    },
    /// Record that an instance ended without being asked to: becomes the event `InstanceEnded`.
    Report {
        /// Which instance.
        id: InstanceId,
        /// How, as a predicate.
        how: String,
    },
    /// Record that an instance is given up, because other hands changed something of it, or because it was not well when
    /// requests were to go back to it: becomes the event `InstanceGivenUp`. It is replaced by other actions.
    GiveUp {
        /// Which instance.
        id: InstanceId,
        /// What of it, as a predicate.
        because: String,
    },
    /// Record that a release command begins after which earlier releases do not run any more: becomes the event
    /// `SchemaChanging`.
    ChangeSchema {
        /// In which deployment.
        deployment: DeploymentId,
        /// Whose command.
        service: Name,
        /// What it does.
        schema: Schema,
    },
    /// Record how long nothing ran of a service, because two releases of it do not overlap: becomes the event
    /// `ServiceExchanged`.
    Exchanged {
        /// By which deployment.
        deployment: DeploymentId,
        /// Which service, and how long.
        gap: Gap,
    },
    /// Record what became of an attempt of a run: becomes the event `RunTried`.
    Tried {
        /// Which run.
        run: RunId,
        /// What became of it.
        attempt: Box<Attempt>,
        /// When it is tried again, at the earliest.
        again: Option<Timestamp>,
    },
    /// Remove what is left of an instance that is over.
    Remove {
        /// Which instance.
        id: InstanceId,
    },
    /// Remove the environment's data, and record that it is gone: the event `DataPurged`.
    PurgeData,
    /// Record that new data was filled: becomes the event `DataFilled`.
    Fill {
        /// In which deployment.
        deployment: DeploymentId,
        /// By what.
        filling: Filling,
        /// The database or the service.
        component: Name,
    },
    /// Record that a snapshot of a volume is whole: becomes the event `VolumeSnapshotted`.
    Snapshotted {
        /// In which deployment.
        deployment: DeploymentId,
        /// Of which volume.
        volume: Name,
        /// Its number, that of the instance that made it.
        snapshot: SnapshotId,
        /// How many of the volume are kept.
        keep: u32,
    },
    /// Record that the environment ends: becomes the event `EnvironmentEnding`. Nothing else is done with it.
    End {
        /// By what.
        cause: Cause,
    },
    /// Record that the environment goes to sleep: becomes the event `EnvironmentSlept`. Nothing else is done with it.
    Sleep {
        /// Why.
        cause: Drowsiness,
    },
    /// Record that it is woken: becomes the event `EnvironmentWoken`. Nothing else is done with it.
    Wake {
        /// What wakes it.
        by: Alarm,
    },
    /// Record that its end is near: becomes the event `ExpiryNear`.
    WarnOfEnd,
    /// Record that nothing of it is left but its history: becomes the event `EnvironmentDeleted`.
    Delete,
    /// Retain a release no longer: becomes the event `ReleaseRetired`.
    Retire {
        /// Which release.
        release: ReleaseId,
    },
}

/// One service's pool, as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPool {
    /// The service.
    pub service: Name,
    /// The requests that lead to it; none when only links do.
    pub routes: Vec<Route>,
    /// The instances in rotation, by ordinal. May be empty: requests wait for a few seconds, then 503 with
    /// Retry-After.
    pub endpoints: Vec<InstanceId>,
    /// How requests are divided where two releases are in rotation; `None`: by the instances alone.
    pub split: Option<Split>,
    /// Requests that the gateway makes itself, while a release is on trial.
    pub probe: Option<Probe>,
    /// What clients get instead of answers, for now.
    pub maintenance: Option<Maintenance>,
    /// Since when the environment sleeps whose requests are held.
    pub asleep: Option<Timestamp>,
    /// Who of other stacks may link to it.
    pub exports: Vec<Export>,
}
