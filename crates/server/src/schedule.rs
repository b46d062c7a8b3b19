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
use ward_types::release::{Deployment, Environment, Goal, Phase, Release, Verdict};
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

/// What a job is counted from: the last moment that was acted on, or its release; where the release that served before
/// had no such job, from when this one came to serve, which may be long after it was recorded.
fn since(env: &Environment, release: &Release, job: &Name) -> Timestamp {
    let acted = env.runs.due.get(job).copied().unwrap_or_default();
    let came = |deployment: &Deployment| match deployment.phase {
        Phase::Finished {
            verdict: Verdict::Succeeded,
            at,
            ..
        } if deployment.to == release.id => Some((deployment.from, at)),
        _ => None,
    };
    let came = env.deployments.values().rev().find_map(came);
    let new = came.filter(|(from, _)| {
        let before = from.and_then(|from| env.releases.get(&from));
        before.is_none_or(|before| !before.spec.jobs.contains_key(job))
    });
    let new = new.map(|(_, at)| at).unwrap_or_default();
    acted.max(release.recorded).max(new)
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
mod tests {
    use super::*;

    fn berlin(cron: &str) -> Schedule {
        Schedule {
            cron: cron.to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
        }
    }

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(moment.as_millisecond()).unwrap())
    }

    #[test]
    fn an_hour_that_is_left_out_is_made_up_for_once() {
        // On 29 March 2026 it was 3 o'clock after 2 o'clock.
        let daily = berlin("30 2 * * *");
        let first = next(&daily, at("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(
            first,
            at("2026-03-29T01:00:00Z"),
            "at 3:00, the first moment after"
        );
        let second = next(&daily, first).unwrap();
        assert_eq!(second, at("2026-03-30T00:30:00Z"));
        let monthly = berlin("0 2 29 * *");
        let due = next(&monthly, at("2026-03-01T00:00:00Z")).unwrap();
        assert_eq!(due, at("2026-03-29T01:00:00Z"));
    }

    #[test]
    fn an_hour_that_comes_twice_counts_once() {
        // On 25 October 2026 it is 2 o'clock twice.
        let daily = berlin("30 2 * * *");
        let first = next(&daily, at("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(first, at("2026-10-25T00:30:00Z"));
        assert_eq!(next(&daily, first).unwrap(), at("2026-10-26T01:30:00Z"));
        // What is due each quarter of an hour is due in both.
        let often = berlin("*/15 * * * *");
        let due = next(&often, at("2026-10-25T00:45:00Z")).unwrap();
        assert_eq!(due, at("2026-10-25T01:00:00Z"));
    }

    #[test]
    fn of_what_was_missed_the_last_one_is_found() {
        let (from, to) = (at("2024-01-01T00:00:00Z"), at("2026-10-25T00:07:00Z"));
        let last = |cron| last_between(&berlin(cron), from, to).unwrap();
        assert_eq!(last("* * * * *"), Some(to));
        assert_eq!(last("30 2 * * *"), Some(at("2026-10-24T00:30:00Z")));
        assert_eq!(last("0 2 1 1 *"), Some(at("2026-01-01T01:00:00Z")));
        assert_eq!(last("0 2 29 2 *"), Some(at("2024-02-29T01:00:00Z")));
        let none = last_between(&berlin("0 2 1 1 *"), at("2026-01-02T00:00:00Z"), to);
        assert_eq!(none.unwrap(), None);
    }

    #[test]
    fn a_zone_that_is_not_there_is_an_error() {
        let schedule = Schedule {
            cron: "0 2 * * *".to_owned(),
            time_zone: "Europe/Atlantis".to_owned(),
        };
        let error = next(&schedule, Timestamp(0)).unwrap_err();
        assert_eq!(error.to_string(), "there is no time zone Europe/Atlantis");
    }
}
