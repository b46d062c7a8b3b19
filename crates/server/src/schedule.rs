//! When jobs are due: the schedule is a crontab's, its hours are those of a time zone, and the log remembers for each
//! job the last moment that was acted on. So a server that was away finds out what it missed, and none acts on a moment
//! twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name};
use ward_types::release::{Environment, Goal, Phase, Release, Verdict};
use ward_types::run::{JobSpec, Missed, Overlap, Schedule};
use ward_types::spec::EnvSpec;
use ward_types::time::{Millis, Timestamp};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::runs;

/// The clock may be set: it is looked at so often, whenever the next job is due.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// A moment that passed longer ago was missed.
const LATE: Millis = Millis::secs(60);

/// Why nobody can say when a job is due.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// There is no such time zone, here or among those that Ward brings.
    #[error("there is no time zone {0}")]
    NoZone(String),
    /// The schedule is none, or is never due.
    #[error("the schedule {0} is never due")]
    Never(String),
}

/// The first moment of a schedule after another one.
pub(crate) fn next(schedule: &Schedule, after: Timestamp) -> Result<Timestamp, ScheduleError> {
    let never = || ScheduleError::Never(schedule.cron.clone());
    let zone = || ScheduleError::NoZone(schedule.time_zone.clone());
    let zone = TimeZone::get(&schedule.time_zone).map_err(|_| zone())?;
    let parser = CronParser::builder();
    let parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed);
    let cron = parser.build().parse(&schedule.cron);
    let cron = cron.map_err(|_| never())?;
    let after = i64::try_from(after.0).ok();
    let after = after.and_then(|after| jiff::Timestamp::from_millisecond(after).ok());
    let after = after.ok_or_else(never)?.to_zoned(zone);
    let next = cron.find_next_occurrence(&after, false);
    let next = next.map_err(|_| never())?.timestamp().as_millisecond();
    u64::try_from(next).map(Timestamp).map_err(|_| never())
}

/// The last moment of a schedule after one and not after another, if there is one.
fn last_between(
    schedule: &Schedule,
    after: Timestamp,
    now: Timestamp,
) -> Result<Option<Timestamp>, ScheduleError> {
    // From behind, in growing steps: who was away for a year would count half a million minutes.
    let mut back = Millis::secs(3600).0;
    loop {
        let from = Timestamp(now.0.saturating_sub(back)).max(after);
        let mut at = next(schedule, from)?;
        let mut last = None;
        while at <= now {
            last = Some(at);
            at = next(schedule, at)?;
        }
        if last.is_some() || from == after {
            return Ok(last);
        }
        back = back.saturating_mul(16);
    }
}

/// A time zone that is not there is found out before anything changes.
pub(crate) fn known(spec: &EnvSpec) -> Result<(), Refusal> {
    for (name, job) in &spec.jobs {
        let schedule = job.schedule.as_ref();
        if let Some(Err(error)) = schedule.map(|schedule| next(schedule, now())) {
            let message = format!("job {name}: {error}");
            let hint = match error {
                ScheduleError::NoZone(_) => {
                    "names are those of the IANA database, such as Europe/Berlin"
                }
                ScheduleError::Never(_) => "a crontab's five fields, such as \"30 2 * * *\"",
            };
            return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint));
        }
    }
    Ok(())
}

/// What a job is counted from: the last moment that was acted on, or what the release is counted from that brought the job
/// or its schedule. One that has both from what served before goes on counting with that, so that a release which is made
/// while the environment is down drops no moment.
fn since(env: &Environment, release: &Release, job: &Name) -> Timestamp {
    let acted = env.runs.due.get(job).copied().unwrap_or_default();
    acted.max(begun(env, release, job))
}

/// From when a job has its schedule; where the release that served before had no such job, from when its own came to
/// serve, which may be long after that was recorded.
fn begun(env: &Environment, release: &Release, job: &Name) -> Timestamp {
    let schedule = |release: &Release| release.spec.jobs.get(job).map(|job| job.schedule.clone());
    let mut first = release;
    for deployment in env.deployments.values().rev() {
        let Phase::Finished {
            verdict: Verdict::Succeeded,
            at,
            ..
        } = deployment.phase
        else {
            continue;
        };
        if deployment.to != first.id {
            continue;
        }
        let before = deployment.from.and_then(|from| env.releases.get(&from));
        match before.and_then(|before| Some((before, schedule(before)?))) {
            Some((before, same)) if Some(&same) == schedule(first).as_ref() => first = before,
            Some(_) => break,
            None => return first.recorded.max(at),
        }
    }
    first.recorded
}

/// The jobs that can be due: of the release that serves, where the environment is to be up.
fn jobs(env: &Environment) -> Option<(&Release, &BTreeMap<Name, JobSpec>)> {
    let up = env.goal == Goal::Up;
    let release = env.current_release().filter(|_| up)?;
    Some((release, &release.spec.jobs))
}

/// When a job is due next by itself.
pub(crate) fn next_due(env: &Environment, job: &Name) -> Option<Timestamp> {
    let (release, jobs) = jobs(env)?;
    let schedule = jobs.get(job)?.schedule.as_ref()?;
    next(schedule, since(env, release, job)).ok()
}

/// What is due in an environment, as the events that it becomes.
fn due(env: &Environment, now: Timestamp) -> Vec<Event> {
    let Some((release, jobs)) = jobs(env) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let mut id = env.runs.last;
    for (name, job) in jobs {
        let Some(schedule) = &job.schedule else {
            continue;
        };
        let at = match last_between(schedule, since(env, release, name), now) {
            Ok(Some(at)) => at,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(env = %env.id, job = %name, %error, "nobody can say when a job is due");
                continue;
            }
        };
        let left_out = |because: String| Event::RunLeftOut {
            env: env.id.clone(),
            job: name.clone(),
            due: at,
            because,
        };
        let open = env.runs.of_job(name).next();
        events.push(match open.filter(|_| job.overlap == Overlap::Skip) {
            _ if job.missed == Missed::Skip && now.since(at) > LATE => {
                left_out("it was missed: the environment or the server was down".to_owned())
            }
            Some(open) => left_out(format!("{} goes on", open.id)),
            None if env.runs.open.len() >= runs::OPEN => {
                left_out(format!("{} runs have not ended", runs::OPEN))
            }
            None => {
                id = id.next();
                let run = runs::of_job((id, name, job), release.id, Some(at), &Actor::ward(), now);
                Event::RunQueued {
                    env: env.id.clone(),
                    run: Box::new(run),
                }
            }
        });
    }
    events
}

impl Control {
    /// Starts jobs when they are due, for as long as the server runs.
    pub(crate) fn keep_schedules(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut log = control.store().changed();
            loop {
                log.mark_unchanged();
                control.begin_what_is_due().await;
                let pause = control.until_due();
                tokio::select! {
                    more = log.changed() => if more.is_err() { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    async fn begin_what_is_due(&self) {
        let state = self.store().state();
        let any = |env: &&Arc<Environment>| !due(env, now()).is_empty();
        let envs: Vec<EnvId> = state
            .environments
            .values()
            .filter(any)
            .map(|env| env.id.clone())
            .collect();
        for id in envs {
            let desk = self.desk().await;
            let decide = |state: &State| {
                let env = state.environments.get(&id);
                let events = env.map(|env| due(env, now())).unwrap_or_default();
                Ok(((), events))
            };
            if let Err(refusal) = self.decided(&desk, &Actor::ward(), "", decide).await {
                tracing::warn!(env = %id, error = refusal.message, "what is due is not in the log");
                continue;
            }
            drop(desk);
            self.live(&id);
        }
    }

    fn until_due(&self) -> Duration {
        let state = self.store().state();
        let all = state.environments.values().flat_map(|env| {
            let jobs = jobs(env).into_iter().flat_map(|(_, jobs)| jobs.keys());
            jobs.filter_map(|job| next_due(env, job))
        });
        // What could not be recorded is tried again after a while, and not at once.
        let soonest = all.min().map_or(LOOK_EVERY, |at| {
            Duration::from_millis(at.since(now()).0.max(1_000))
        });
        soonest.min(LOOK_EVERY)
    }
}

#[cfg(test)]
mod tests;
