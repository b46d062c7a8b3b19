//! Runs: commands that run to their end in an instance of their own, beside the services of an environment. A job runs
//! by its schedule or because somebody asked; a one-off command because somebody asked.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, InstanceId, Name, ReleaseId, RunId};
use crate::time::{Millis, Timestamp};
use crate::view::LogLine;

/// How many runs that have ended an environment remembers; the log has them all.
const ENDED: usize = 100;

/// Work that is done again and again, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The service whose image, links, egress, variables and limits it runs with.
    pub service: Name,
    /// What it runs.
    pub command: Vec<String>,
    /// When; `None`: only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What becomes of a run that is due while the one before goes on.
    #[serde(default)]
    pub overlap: Overlap,
    /// How often one that failed is tried again, 0 to 10.
    #[serde(default)]
    pub retries: u32,
    /// How long one attempt may take.
    pub deadline: Millis,
    /// What becomes of one that was due while nothing could run it.
    #[serde(default)]
    pub missed: Missed,
    /// Whether copies of the environment run it on its schedule, too.
    #[serde(default)]
    pub copies: bool,
}

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week (POSIX crontab).
    pub cron: String,
    /// A name of the IANA time zone database, in whose time the schedule is meant.
    pub time_zone: String,
}

/// What becomes of a run that is due while the one before goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out, and that is recorded.
    #[default]
    Skip,
    /// It waits until the one before has ended.
    Queue,
    /// It runs beside it.
    Allow,
}

/// What becomes of a run that was due while the environment was down, or no server ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// The last one that was missed runs as soon as it can.
    #[default]
    Run,
    /// None of them runs.
    Skip,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Of which job; `None`: a one-off command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Name>,
    /// The moment of the schedule that it stands for; `None`: somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The service whose image it runs in.
    pub service: Name,
    /// The release that it runs in.
    pub release: ReleaseId,
    /// What it runs.
    pub command: Vec<String>,
    /// How long one attempt may take.
    pub deadline: Millis,
    /// How often it is tried again.
    #[serde(default)]
    pub retries: u32,
    /// Beside which others it runs.
    #[serde(default)]
    pub overlap: Overlap,
    /// When it was asked for.
    pub requested: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// What became of it so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// When it is tried again, at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
    /// Who asked that it stop, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl Run {
    /// Whether an instance was an attempt of it that has ended and is recorded.
    #[must_use]
    pub fn has_tried(&self, instance: &InstanceId) -> bool {
        let mut attempts = self.attempts.iter();
        attempts.any(|attempt| attempt.instance.as_ref() == Some(instance))
    }

    /// How it stands to be tried once more after an attempt that ended at `at` in this way: with a pause that doubles,
    /// from 1 s to 5 min.
    #[must_use]
    pub fn again_after(&self, outcome: &Outcome, at: Timestamp) -> Option<Timestamp> {
        let tried = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::Late);
        let left = failed && self.stopped.is_none() && tried < self.retries;
        let pause = 1_000_u64.checked_shl(tried).unwrap_or(u64::MAX);
        left.then(|| Timestamp(at.0.saturating_add(pause.min(300_000))))
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        Some(&self.attempts.last()?.outcome)
    }
}

/// One attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// In which instance; `None`: it was ended before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// When its instance was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When its end was seen.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// With exit status 0.
    Succeeded,
    /// In another way, which is said as a predicate: `exited with status 3`.
    Failed {
        /// How.
        how: String,
        /// Its exit status, where it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u8>,
    },
    /// It took longer than its deadline and was stopped.
    Late,
    /// It was stopped by somebody, or because the environment went down.
    Stopped {
        /// By whom.
        by: String,
    },
}

/// The runs of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    /// The last number that was given out.
    pub last: RunId,
    /// Those that have not ended.
    pub open: BTreeMap<RunId, Run>,
    /// Those that have ended last, in that order.
    pub ended: VecDeque<Run>,
    /// For each job the last moment of its schedule that was acted on.
    pub due: BTreeMap<Name, Timestamp>,
}

impl Runs {
    /// Whether there was none, ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One by its number, where it is remembered.
    #[must_use]
    pub fn get(&self, id: RunId) -> Option<&Run> {
        let ended = || self.ended.iter().find(|run| run.id == id);
        self.open.get(&id).or_else(ended)
    }

    /// Those of a job that have not ended.
    pub fn of_job<'a>(&'a self, job: &'a Name) -> impl Iterator<Item = &'a Run> {
        let open = self.open.values();
        open.filter(move |run| run.job.as_ref() == Some(job))
    }

    pub(crate) fn queue(&mut self, run: Run) {
        self.last = run.id;
        if let (Some(job), Some(due)) = (&run.job, run.due) {
            self.due.insert(job.clone(), due);
        }
        self.open.insert(run.id, run);
    }

    /// `None` where it is not open.
    pub(crate) fn tried(
        &mut self,
        id: RunId,
        attempt: Attempt,
        again: Option<Timestamp>,
    ) -> Option<()> {
        let run = self.open.get_mut(&id)?;
        run.attempts.push(attempt);
        run.again = again;
        if again.is_none() {
            self.ended.extend(self.open.remove(&id));
            while self.ended.len() > ENDED {
                self.ended.pop_front();
            }
        }
        Some(())
    }
}

/// The body of `POST /v1/runs`. The answer is a stream of [`RunProgress`], one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// What to run.
    pub what: What,
    /// How long an attempt of a one-off command may take; of a job its own setting holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Millis>,
    /// Why, for the audit log.
    pub why: String,
    /// Whether the stream ends when the run is recorded.
    #[serde(default)]
    pub until: RunUntil,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A job of the release that serves.
    Job(Name),
    /// A command, in a new instance of a service of the release that serves.
    Command {
        /// The service.
        service: Name,
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// When the stream of a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunUntil {
    /// With its end.
    #[default]
    Ended,
    /// When it is recorded.
    Queued,
}

/// One step of a run, as it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunProgress {
    /// It is recorded.
    Queued {
        /// Where.
        env: EnvId,
        /// The run.
        run: Box<Run>,
    },
    /// It waits.
    Waiting {
        /// For what, in a sentence.
        on: String,
    },
    /// It wrote a line.
    Output {
        /// The line.
        line: LogLine,
    },
    /// An attempt has ended, and it is tried again.
    Tried {
        /// What became of it.
        attempt: Box<Attempt>,
    },
    /// It has ended.
    Ended {
        /// The run.
        run: Box<Run>,
    },
    /// It could not be asked for, or nobody can tell what became of it.
    Failed {
        /// What happened.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// The body of `POST /v1/runs/stop`, which is answered by the [`Run`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which run.
    pub run: RunId,
    /// Why, for the audit log.
    pub why: String,
}

/// `GET /v1/runs?env=…`: the jobs of the release that serves, and the runs that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsView {
    /// The environment.
    pub env: EnvId,
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// The runs, oldest first.
    pub runs: Vec<RunView>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its name.
    pub name: Name,
    /// What is declared.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// When it is due next; `None`: never by itself, or while the environment is not up.
    pub next: Option<Timestamp>,
}

/// One run, and whether it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Whether it has not ended.
    pub open: bool,
}
