//! What a plan waits for, as data (promise P12). `Display` gives a sentence for a person.

use std::fmt;

use ward_types::id::{DeploymentId, InstanceId, Name, ReleaseId, RunId};
use ward_types::life::Filling;
use ward_types::time::{Millis, Timestamp};

/// How long something is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Until when.
    pub until: Timestamp,
    /// How long in all.
    pub limit: Millis,
    /// The setting of the stack file that changes the limit, or the sum of settings that it is; `None` for a fixed
    /// limit of Ward's own.
    pub setting: Option<&'static str>,
}

/// One thing that a plan waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// A deployment waits its turn.
    Queue {
        /// The one that waits.
        deployment: DeploymentId,
        /// The one before it.
        behind: DeploymentId,
        /// When it ends without having begun.
        bound: Bound,
    },
    /// A database is not healthy yet.
    Database {
        /// Which database.
        database: Name,
        /// Its instance, if it has one that runs.
        instance: Option<InstanceId>,
        /// What is wrong with it, in a clause.
        ailment: Option<String>,
        /// When the deployment gives up, if one waits for it.
        bound: Option<Bound>,
    },
    /// A release command runs.
    ReleaseCommand {
        /// The service that it belongs to.
        service: Name,
        /// Its instance.
        instance: InstanceId,
        /// When it is given up.
        bound: Bound,
    },
    /// New data is filled.
    Filling {
        /// By what.
        filling: Filling,
        /// The database or the service.
        component: Name,
        /// The instance that does it.
        instance: InstanceId,
        /// When it is given up.
        bound: Bound,
    },
    /// A snapshot of a volume is made.
    Snapshot {
        /// Of which volume.
        volume: Name,
        /// The instance that does it.
        instance: InstanceId,
        /// When it is given up.
        bound: Bound,
    },
    /// A service has fewer healthy instances than declared.
    Healthy {
        /// Which service.
        service: Name,
        /// Of which release.
        release: ReleaseId,
        /// How many are healthy.
        healthy: u32,
        /// How many are declared.
        wanted: u32,
        /// What is wrong with one of the others, in a clause.
        ailment: Option<String>,
        /// When the first of them is given up, if one is starting.
        bound: Option<Bound>,
    },
    /// An instance is replaced because other hands changed the files that it runs from.
    Replacement {
        /// Which instance.
        instance: InstanceId,
        /// What was changed, in a clause.
        what: String,
        /// When the one that takes its place is given up, if one is starting.
        bound: Option<Bound>,
    },
    /// The gateway does not answer; what runs goes on running.
    Gateway {
        /// When the deployment gives up, if one waits for it.
        bound: Option<Bound>,
    },
    /// The gateway has not put the new routes into force yet.
    Acknowledgement {
        /// When the deployment gives up, if one waits for it.
        bound: Option<Bound>,
    },
    /// A component ended again and again; the next start is put off.
    Backoff {
        /// The service or database.
        component: Name,
        /// How many ends in a row.
        failures: u32,
        /// Whether the last one was Ward's: it had not become healthy, or stayed ill.
        given_up: bool,
        /// When it is started again.
        bound: Bound,
    },
    /// An instance is out of rotation and finishes what it has begun.
    Drain {
        /// Which instance.
        instance: InstanceId,
        /// Requests under way.
        requests: u64,
        /// Upgraded and long connections under way.
        upgraded: u64,
        /// When they are cut.
        bound: Bound,
    },
    /// An instance was asked to stop.
    Stopping {
        /// Which instance.
        instance: InstanceId,
        /// When it is killed.
        bound: Bound,
    },
    /// An instance was asked to stop, and those of another release start when it is gone.
    Finishing {
        /// Which instance.
        instance: InstanceId,
        /// When it is killed.
        bound: Bound,
    },
    /// An instance that is over must be cleared away first.
    Removal {
        /// Which instance.
        instance: InstanceId,
    },
    /// Databases are stopped when the last service instance is over.
    ServicesToEnd {
        /// The databases that run on.
        databases: Vec<Name>,
        /// How many instances of services still run.
        running: u32,
    },
    /// A release failed and keeps its requests, because nothing else can serve them yet.
    Successor {
        /// The release that failed.
        release: ReleaseId,
        /// When the verdict falls in any case.
        bound: Bound,
    },
    /// A deployment stays at one of its stages.
    Stage {
        /// Which deployment.
        deployment: DeploymentId,
        /// Its release.
        release: ReleaseId,
        /// What that takes of each service's requests meanwhile, in percent.
        takes: Vec<(Name, u8)>,
        /// Until what.
        until: Until,
        /// When it goes on; when somebody must say so: when it goes back unless somebody did.
        bound: Bound,
    },
    /// A run goes on.
    Run {
        /// Which run.
        run: RunId,
        /// Its instance.
        instance: InstanceId,
        /// When it is stopped.
        bound: Bound,
    },
    /// A run that failed is tried again.
    RunAgain {
        /// Which run.
        run: RunId,
        /// When.
        bound: Bound,
    },
    /// A run waits for the one before of its job.
    RunQueue {
        /// Which run.
        run: RunId,
        /// The one before.
        behind: RunId,
    },
    /// A run waits for a deployment to prepare the data.
    RunUnprepared {
        /// Which run.
        run: RunId,
    },
    /// The release before is kept running, so that a rollback is a switch.
    Warm {
        /// Which release.
        release: ReleaseId,
        /// Whether the schema takes a rollback to it.
        way_back: WayBack,
        /// When it is stopped.
        bound: Bound,
    },
}

/// Whether a rollback can lead to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// As far as the schema is concerned.
    Open,
    /// The same of one that was gone back from: a rollforward leads to it.
    Forward,
    /// A release command has taken away what it needs.
    Barred,
}

/// What ends a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Its time is over.
    Time,
    /// Somebody says so.
    Told,
    /// Somebody lets it go on.
    Resumed {
        /// Who paused it.
        by: String,
    },
    /// There are requests enough to say whether it is as good, or somebody says that it is.
    Enough {
        /// Of which service.
        service: Name,
        /// How many there are.
        requests: u64,
        /// How many are asked for.
        enough: u64,
    },
    /// Everything goes to the new release, and it has been well for long enough.
    Baked {
        /// The release that is kept beside it.
        old: ReleaseId,
    },
}

impl Waiting {
    /// How long this is waited for, if there is a limit.
    #[must_use]
    pub fn bound(&self) -> Option<&Bound> {
        match self {
            Waiting::Database { bound, .. }
            | Waiting::Healthy { bound, .. }
            | Waiting::Replacement { bound, .. }
            | Waiting::Gateway { bound }
            | Waiting::Acknowledgement { bound } => bound.as_ref(),
            Waiting::Queue { bound, .. }
            | Waiting::ReleaseCommand { bound, .. }
            | Waiting::Filling { bound, .. }
            | Waiting::Snapshot { bound, .. }
            | Waiting::Backoff { bound, .. }
            | Waiting::Drain { bound, .. }
            | Waiting::Stopping { bound, .. }
            | Waiting::Finishing { bound, .. }
            | Waiting::Successor { bound, .. }
            | Waiting::Stage { bound, .. }
            | Waiting::Run { bound, .. }
            | Waiting::RunAgain { bound, .. }
            | Waiting::Warm { bound, .. } => Some(bound),
            Waiting::Removal { .. }
            | Waiting::ServicesToEnd { .. }
            | Waiting::RunQueue { .. }
            | Waiting::RunUnprepared { .. } => None,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence(f)?;
        match self.bound() {
            Some(bound) => write!(f, " {bound}"),
            None => Ok(()),
        }
    }
}

impl Waiting {
    fn sentence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Queue {
                deployment, behind, ..
            } => {
                write!(f, "Deployment {deployment} waits for {behind} to end.")
            }
            Waiting::Database {
                database,
                instance,
                ailment,
                ..
            } => {
                write!(f, "Waiting for the database {database} to be healthy")?;
                if let Some(id) = instance {
                    write!(f, " ({id})")?;
                }
                reason(f, ailment.as_deref())
            }
            Waiting::Replacement { instance, what, .. } => write!(
                f,
                "Replacing {instance}, whose files are not its image's any more: {what}."
            ),
            Waiting::ReleaseCommand {
                service, instance, ..
            } => write!(
                f,
                "Waiting for the release command of {service} to end ({instance})."
            ),
            Waiting::Filling {
                filling: Filling::Copy,
                component,
                instance,
                ..
            } => write!(
                f,
                "Waiting for the data to be copied into {component} ({instance})."
            ),
            Waiting::Filling {
                filling: Filling::Volume,
                component,
                instance,
                ..
            } => write!(
                f,
                "Waiting for the files to be copied into the volume {component} ({instance})."
            ),
            Waiting::Filling {
                filling: Filling::Seed,
                component,
                instance,
                ..
            } => write!(
                f,
                "Waiting for the seed command of {component} to end ({instance})."
            ),
            Waiting::Snapshot {
                volume, instance, ..
            } => write!(
                f,
                "Waiting for the snapshot of the volume {volume} ({instance})."
            ),
            Waiting::Healthy {
                service,
                release,
                healthy,
                wanted,
                ailment,
                ..
            } => {
                write!(
                    f,
                    "Waiting for {service} of {release}: {healthy} of {wanted} instances are healthy"
                )?;
                reason(f, ailment.as_deref())
            }
            Waiting::Gateway { .. } => write!(
                f,
                "Waiting for the gateway, which does not answer; what serves goes on serving."
            ),
            Waiting::Acknowledgement { .. } => {
                write!(f, "Waiting for the gateway to acknowledge the new routes.")
            }
            Waiting::Backoff {
                component,
                failures,
                given_up: false,
                ..
            } => write!(
                f,
                "Waiting before {component} is started again: it ended {}.",
                in_a_row(*failures)
            ),
            Waiting::Backoff {
                component,
                failures,
                ..
            } => write!(
                f,
                "Waiting before {component} is started again: it was stopped because it was not healthy in time, {}; `ward logs {component}` shows why.",
                times(*failures)
            ),
            Waiting::Drain {
                instance,
                requests,
                upgraded,
                ..
            } => write!(
                f,
                "Waiting for {instance} to finish {} and {}.",
                Count(*requests, "request"),
                Count(*upgraded, "long connection")
            ),
            Waiting::Stopping { instance, .. } => write!(f, "Waiting for {instance} to stop."),
            Waiting::Finishing { instance, .. } => write!(
                f,
                "Waiting for {instance} to finish what it has begun: another release of it starts when it is gone."
            ),
            Waiting::Removal { instance } => {
                write!(f, "Waiting for what is left of {instance} to be removed.")
            }
            Waiting::ServicesToEnd { databases, running } => {
                let names: Vec<&str> = databases.iter().map(Name::as_str).collect();
                let names = names.join(", ");
                write!(
                    f,
                    "Waiting for {} of services to end before {names} is stopped.",
                    Count(u64::from(*running), "instance")
                )
            }
            Waiting::Successor { release, .. } => write!(
                f,
                "{release} failed and keeps its requests: nothing else can serve them yet."
            ),
            Waiting::Stage {
                deployment,
                release,
                takes,
                until,
                ..
            } => stage(f, *deployment, *release, takes, until),
            Waiting::Run { run, instance, .. } => write!(f, "{run} goes on ({instance})."),
            Waiting::RunAgain { run, .. } => {
                write!(f, "{run} failed and is tried again after a pause.")
            }
            Waiting::RunQueue { run, behind } => write!(f, "{run} waits for {behind} to end."),
            Waiting::RunUnprepared { run } => {
                write!(f, "{run} waits for a deployment to prepare the data.")
            }
            Waiting::Warm {
                release,
                way_back: WayBack::Open,
                ..
            } => write!(
                f,
                "Keeping the instances of {release} running, so that a rollback is immediate."
            ),
            Waiting::Warm {
                release,
                way_back: WayBack::Forward,
                ..
            } => write!(
                f,
                "Keeping the instances of {release} running, so that a rollforward is immediate."
            ),
            Waiting::Warm {
                release,
                way_back: WayBack::Barred,
                ..
            } => write!(
                f,
                "Keeping the instances of {release} running; it does not run on the schema any more: only `ward rollback --to {release} --despite-schema REASON` goes back to it."
            ),
        }
    }
}

fn stage(
    f: &mut fmt::Formatter<'_>,
    deployment: DeploymentId,
    release: ReleaseId,
    takes: &[(Name, u8)],
    until: &Until,
) -> fmt::Result {
    let takes = Takes(takes);
    match until {
        Until::Time => write!(f, "{release} takes {takes} for a while."),
        Until::Told => write!(
            f,
            "{release} takes {takes} until `ward deployment promote` lets {deployment} go on."
        ),
        Until::Resumed { by } => write!(
            f,
            "{deployment} was paused by {by}: {release} takes {takes} until `ward deployment resume`."
        ),
        Until::Enough {
            service,
            requests,
            enough,
        } => write!(
            f,
            "{release} takes {takes} until it has answered {enough} of those of {service}, so far {}; `ward deployment promote` lets {deployment} go on without.",
            Tenths(*requests, *enough)
        ),
        Until::Baked { old } => write!(
            f,
            "{release} serves; the instances of {old} are kept until it has proven itself."
        ),
    }
}

/// `10 % of the requests of web and 25 % of those of api`.
pub(crate) struct Takes<'a>(pub(crate) &'a [(Name, u8)]);

impl fmt::Display for Takes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(((first, percent), others)) = self.0.split_first() else {
            return f.write_str("no requests");
        };
        write!(f, "{percent} % of the requests of {first}")?;
        for (service, percent) in others {
            write!(f, " and {percent} % of those of {service}")?;
        }
        Ok(())
    }
}

/// `1 request`, `2 requests`.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(number, noun) = self;
        let plural = if *number == 1 { "" } else { "s" };
        write!(f, "{number} {noun}{plural}")
    }
}

/// So many tenths, in percent: what changes with each request is no news.
struct Tenths(u64, u64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tenths(part, whole) = self;
        match part {
            0 => f.write_str("none"),
            _ => match part.saturating_mul(10) / (*whole).max(1) {
                0 => f.write_str("less than 10 %"),
                tenths => write!(f, "{} %", tenths * 10),
            },
        }
    }
}

fn times(failures: u32) -> String {
    match failures {
        1 => "once".to_owned(),
        more => format!("{more} times in a row"),
    }
}

fn in_a_row(failures: u32) -> String {
    match failures {
        1 => "by itself".to_owned(),
        more => format!("{more} times in a row"),
    }
}

fn reason(f: &mut fmt::Formatter<'_>, ailment: Option<&str>) -> fmt::Result {
    match ailment {
        Some(text) => write!(f, "; {text}."),
        None => f.write_str("."),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = Span(self.limit);
        match self.setting {
            Some(setting) => write!(f, "(at most {limit}: `{setting}`)"),
            None => write!(f, "(at most {limit})"),
        }
    }
}

/// A span as people write it: `200ms`, `30s`, `1m30s`.
pub(crate) struct Span(pub(crate) Millis);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.0;
        let (hours, minutes, seconds) =
            (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        match (hours, minutes, seconds, millis % 1000) {
            (0, 0, 0, ms) => write!(f, "{ms}ms"),
            (0, 0, s, 0) => write!(f, "{s}s"),
            (0, 0, s, ms) => write!(f, "{s}.{ms:03}s"),
            (0, m, 0, _) => write!(f, "{m}m"),
            (0, m, s, _) => write!(f, "{m}m{s}s"),
            (h, 0, _, _) => write!(f, "{h}h"),
            (h, m, _, _) => write!(f, "{h}h{m}m"),
        }
    }
}
