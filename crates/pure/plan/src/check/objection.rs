//! What can speak against a plan.

use ward_types::id::{DeploymentId, InstanceId, Name, ReleaseId, RunId};
use ward_types::sharing::Export;

/// Why a plan must not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It stops, cuts or removes an instance that takes requests (P1).
    #[error("it would {verb} {id}, which is in rotation")]
    InRotation {
        /// `stop`, `cut` or `remove`.
        verb: &'static str,
        /// Which instance.
        id: InstanceId,
    },
    /// It stops, cuts or removes an instance that may take requests: the gateway is not seen (P1).
    #[error("it would {verb} {id}, and without the gateway nobody knows whether it is in rotation")]
    RotationUnknown {
        /// `stop`, `cut` or `remove`.
        verb: &'static str,
        /// Which instance.
        id: InstanceId,
    },
    /// It stops an instance that the serving release needs, with no other to take its place (P1).
    #[error(
        "it would stop {id}, the last healthy instance of {service} of the release that serves"
    )]
    LastHealthy {
        /// Which instance.
        id: InstanceId,
        /// Its service.
        service: Name,
    },
    /// It cuts or stops work that is under way before its budget is out (P1).
    #[error("it would stop {id}, which has {requests} requests under way, before they are cut")]
    StopsWork {
        /// Which instance.
        id: InstanceId,
        /// How many requests.
        requests: u64,
    },
    /// It acts on an instance that is not there.
    #[error("it would {verb} {id}, which nobody sees")]
    NoSuchInstance {
        /// `stop`, `cut`, `remove` or `route to`.
        verb: &'static str,
        /// Which instance.
        id: InstanceId,
    },
    /// It removes an instance that runs.
    #[error("it would remove {id}, which is not over")]
    RemovesRunning {
        /// Which instance.
        id: InstanceId,
    },
    /// It records an end that was not one, was asked for, or is recorded already.
    #[error("it would record that {id} ended by itself, which is not so or was recorded")]
    FalseEnd {
        /// Which instance.
        id: InstanceId,
    },
    /// It records that an instance is given up that other hands did nothing to, or records it again.
    #[error("it would record that {id} is given up, which nobody changed, or which was recorded")]
    FalseGivingUp {
        /// Which instance.
        id: InstanceId,
    },
    /// It records an attempt of a run that has not ended so, or was recorded.
    #[error("it would record an attempt of {run} that has not ended so, or was recorded")]
    FalseTry {
        /// Which run.
        run: RunId,
    },
    /// It removes an instance whose unasked end was not recorded (P7).
    #[error("it would remove {id}, which ended by itself, before that is recorded")]
    RemovesUnrecorded {
        /// Which instance.
        id: InstanceId,
    },
    /// Two actions on one instance contradict each other, or one is said twice.
    #[error("it has two actions on {id}")]
    Conflict {
        /// Which instance.
        id: InstanceId,
    },
    /// It has more than one routing table, and only one can be in force.
    #[error("it routes twice")]
    RoutesTwice,
    /// It routes to an instance that is not healthy although others are.
    #[error("it would route {service} to {id}, which is not healthy")]
    NotHealthy {
        /// The service.
        service: Name,
        /// Which instance.
        id: InstanceId,
    },
    /// It goes back to an instance of which nobody knows how it is since that was asked for (P1).
    #[error(
        "it would route {service} to {id}, whose health was not checked since {deployment} was asked for"
    )]
    Unchecked {
        /// The service.
        service: Name,
        /// Which instance.
        id: InstanceId,
        /// By which deployment.
        deployment: DeploymentId,
    },
    /// It goes on with a release that answers nobody, although the one that serves could (P1).
    #[error(
        "it would go on with {deployment}, none of whose instances that take the requests of {service} is healthy, although the release that serves has healthy ones"
    )]
    GoesOnIll {
        /// Which deployment.
        deployment: DeploymentId,
        /// The service.
        service: Name,
    },
    /// It routes to an instance of something else.
    #[error("it would route {service} to {id}, which is not an instance of that service")]
    WrongInstance {
        /// The service.
        service: Name,
        /// Which instance.
        id: InstanceId,
    },
    /// It leaves a service that serves without an instance (P1).
    #[error(
        "it would leave {service} without an instance in rotation, although it has healthy ones"
    )]
    EmptiesPool {
        /// The service.
        service: Name,
    },
    /// One environment would serve two releases at once.
    #[error("it would have instances of more than one release in rotation")]
    MixesReleases,
    /// It makes the gateway probe a release that is not on trial, or otherwise than that asks for.
    #[error("it would probe {service}, which is not on trial or does not ask for that")]
    UnaskedProbe {
        /// The service.
        service: Name,
    },
    /// It divides a service's requests in a way that no step of its strategy names.
    #[error("it would divide the requests of {service} in a way that its strategy does not name")]
    WrongSplit {
        /// The service.
        service: Name,
    },
    /// It leaves fewer healthy instances than a deployment may, although there are more (P1).
    #[error("it would leave {service} fewer than {floor} healthy instances while it is deployed")]
    BelowFloor {
        /// The service.
        service: Name,
        /// How many there must be.
        floor: usize,
    },
    /// It routes although the gateway is not seen.
    #[error("it would route although the gateway is not seen")]
    RoutesBlindly,
    /// It routes to a release that is neither the one that serves nor one that has started in full.
    #[error("it would route to a release that has not started in full")]
    RoutesEarly,
    /// It puts a service into maintenance, or takes it out of it, other than the log says.
    #[error("it would put {service} into or out of maintenance, which nobody asked for")]
    WrongMaintenance {
        /// Which service.
        service: Name,
    },
    /// It lets other stacks in where no release that serves there does (P5).
    #[error(
        "it would let `{export}` link to {service}, which no release that serves there exports so"
    )]
    LetsIn {
        /// Which service.
        service: Name,
        /// Whom.
        export: Export,
    },
    /// It routes an environment that should be down, or sleeps.
    #[error("it would route requests to an environment that should be down, or sleeps")]
    RoutesDown,
    /// It stops a database while something could use it.
    #[error("it would stop the database instance {id} while it may be in use")]
    StopsDatabase {
        /// Which instance.
        id: InstanceId,
    },
    /// It starts a second copy of a database over the same data.
    #[error("it would start {id} while another instance has the data of {database}")]
    SecondDatabase {
        /// Which instance.
        id: InstanceId,
        /// The database.
        database: Name,
    },
    /// It starts an instance whose id is taken or was not this plan's to give out.
    #[error("it would start {id}, whose number is not its to give out")]
    OrdinalTaken {
        /// Which instance.
        id: InstanceId,
    },
    /// An instance's id does not say what is started.
    #[error("it would start {id} as something else than its id says")]
    Misnamed {
        /// Which instance.
        id: InstanceId,
    },
    /// It starts something that no release in force asks for.
    #[error("it would start {id}, which nothing asks for now")]
    StartsOutOfTurn {
        /// Which instance.
        id: InstanceId,
    },
    /// It starts more instances of a release than that declares, beside those that are ill.
    #[error("it would run more instances of {component} than declared")]
    TooMany {
        /// The service.
        component: Name,
    },
    /// It starts a release command that takes something away from earlier releases before that is recorded (P7).
    #[error(
        "it would start {id}, after which earlier releases do not run, before that is recorded"
    )]
    UnrecordedSchema {
        /// Which instance.
        id: InstanceId,
    },
    /// It records a change of the schema that no release command makes now, or that is recorded.
    #[error(
        "it would record that a release command of {service} begins, which is not so or was recorded"
    )]
    FalseSchema {
        /// The service.
        service: Name,
    },
    /// It lets a deployment begin that goes back to a release that the schema cannot take.
    #[error("it would let {deployment} begin, which goes to a release that the schema cannot take")]
    SchemaCannotTake {
        /// Which deployment.
        deployment: DeploymentId,
    },
    /// It starts an instance beside one of another release, and one of the two does not want that.
    #[error("it would start {id} beside {other}, and releases of that service must not overlap")]
    Overlaps {
        /// Which instance.
        id: InstanceId,
        /// The one that is not proven gone.
        other: InstanceId,
    },
    /// It records again, or of a deployment that is not under way, how long nothing ran of a service.
    #[error("it would record again how long nothing ran of {service}, or at the wrong time")]
    FalseGap {
        /// The service.
        service: Name,
    },
    /// It moves a deployment past a phase, or out of one that it cannot leave yet.
    #[error("it would move {deployment} where it cannot go from where it is")]
    SkipsPhase {
        /// Which deployment.
        deployment: DeploymentId,
    },
    /// It says that a release serves that the gateway does not show to be serving (P3).
    #[error("it would give {deployment} a verdict that the gateway does not bear out")]
    FalseVerdict {
        /// Which deployment.
        deployment: DeploymentId,
    },
    /// It removes data that is to be kept or is in use.
    #[error("it would remove data that is to be kept or is in use")]
    PurgesData,
    /// It records that data was filled by something that has not ended well, or was recorded.
    #[error("it would record that {component} was filled, which is not so or was recorded")]
    FalseFilling {
        /// The database or the service.
        component: Name,
    },
    /// It records a snapshot of a volume that is not whole, or again.
    #[error("it would record a snapshot of the volume {volume}, which is not whole or recorded")]
    FalseSnapshot {
        /// Of which volume.
        volume: Name,
    },
    /// It ends an environment that has no end, has ended, or does more than that.
    #[error(
        "it would end an environment that has no end or has ended, or do something else with that"
    )]
    EndsUnasked,
    /// It tells of an end that there is not, or again.
    #[error("it would tell of an end that there is not, or that was told")]
    WarnsAgain,
    /// It puts an environment to sleep that is at work, is asked for something, or declares no sleep; or does more than
    /// that.
    #[error(
        "it would put to sleep what is at work or does not sleep, or do something else with that"
    )]
    SleepsAtWork,
    /// It wakes an environment that does not sleep, or for nothing; or does more than that.
    #[error("it would wake what does not sleep, or for nothing, or do something else with that")]
    WakesUncalled,
    /// It refuses what comes for an environment that sleeps, or holds what comes for one that does not (P1).
    #[error(
        "it would hold requests for {service}, which does not sleep, or not hold them, which does"
    )]
    WrongSleep {
        /// The service.
        service: Name,
    },
    /// It says that an environment is gone of which something is left.
    #[error("it would say that the environment is gone, and something of it is left")]
    DeletesWhatIsThere,
    /// It retires a release that something can still lead to (P2).
    #[error("it would retire {release}, which may be needed again")]
    RetiresNeeded {
        /// Which release.
        release: ReleaseId,
    },
}
