//! What a run of a pipeline does next, whose word counts, and what a build must not be promoted past.
//!
//! Decision: a gate stands behind its stage. When the stage serves the build, its check is run, then it soaks,
//! then somebody approves; only then does the next stage get the build. A release that does not serve its stage
//! any more, because somebody deployed or rolled back there meanwhile, passes nothing: what would be approved is
//! not what was tried. That holds where it was moved back since, too. A soak is more than its time: whatever of the release
//! ends by itself or is ill within it fails it at once.

mod held;
mod past;
mod words;

use std::ops::RangeInclusive;

use ward_types::id::InstanceId;
use ward_types::pipeline::{Outcome, Position, Reached, Run, Word};
use ward_types::release::{Deployment, Environment, Goal, LastEnd, Phase, Verdict};
use ward_types::time::Timestamp;

pub use self::held::held_back;
pub(crate) use self::past::has_passed;
pub use self::past::{Bar, Made, Unpassed, bars, unpassed};
pub use self::words::{counts, is_another, may_approve, passed};
use crate::databases;

/// What to do now about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing ever again.
    Over,
    /// Release the build in this stage.
    Release {
        /// Which.
        stage: usize,
    },
    /// Run the check of this stage's gate.
    Check {
        /// Which.
        stage: usize,
    },
    /// Write down that it stands elsewhere.
    Move(Position),
    /// Wait until something changes, or until then.
    Wait(Option<Timestamp>),
}

/// A service or database that is seen to be ill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ill {
    /// Which instance.
    pub instance: InstanceId,
    /// Why its last health check failed, if that is known.
    pub why: Option<String>,
}

/// What to do now; `env` is the environment of the run's present stage, and `ill` what is seen to be ill there.
#[must_use]
pub fn next(run: &Run, env: Option<&Environment>, ill: &[Ill], now: Timestamp) -> Next {
    if let Some(vote) = run.word().filter(|vote| vote.word == Word::Reject)
        && !run.is_over()
    {
        return Next::Move(ended(Outcome::Rejected {
            stage: run.stage(),
            by: vote.by.clone(),
            why: vote.why.clone(),
        }));
    }
    match &run.position {
        Position::Ended { .. } => Next::Over,
        Position::Deploying { stage } => deploying(run, *stage, env, now),
        position => match moved_away(run, env) {
            Some(lost) => Next::Move(lost),
            None => match spoiled(run, env, ill, now) {
                Some(message) => Next::Move(failed(run, message, Vec::new())),
                None => at_the_gate(run, position, now),
            },
        },
    }
}

/// Where it stands when the check of its present stage has ended well.
#[must_use]
pub fn checked(run: &Run, now: Timestamp) -> Position {
    behind(run, run.stage(), Step::Check, now)
}

/// Where it stands when something of its present stage has failed.
#[must_use]
pub fn failed(run: &Run, message: String, output: Vec<String>) -> Position {
    let stage = run.stage();
    ended(Outcome::Failed {
        stage,
        message,
        output,
    })
}

fn ended(outcome: Outcome) -> Position {
    Position::Ended { outcome }
}

/// The deployment that a run waits for, which has not ended.
#[must_use]
pub fn under_way<'a>(run: &Run, env: Option<&'a Environment>) -> Option<&'a Deployment> {
    let Position::Deploying { stage } = &run.position else {
        return None;
    };
    let deployment = run.reached.get(*stage)?.deployment?;
    let deployment = env?.deployments.get(&deployment)?;
    (!matches!(deployment.phase, Phase::Finished { .. })).then_some(deployment)
}

fn deploying(run: &Run, stage: usize, env: Option<&Environment>, now: Timestamp) -> Next {
    let Some(reached) = run.reached.get(stage) else {
        return Next::Release { stage };
    };
    let served = |id| env.and_then(|env| env.deployments.get(&id));
    let (verdict, failure) = match reached.deployment {
        None => (Some(Verdict::Succeeded), None),
        Some(id) => match served(id).map(|deployment| &deployment.phase) {
            Some(Phase::Finished {
                verdict, failure, ..
            }) => (Some(*verdict), failure.as_ref()),
            Some(_) => (None, None),
            None => (Some(Verdict::Unknown), None),
        },
    };
    match verdict {
        None => Next::Wait(None),
        Some(Verdict::Succeeded) => Next::Move(behind(run, stage, Step::Deploy, now)),
        Some(verdict) => {
            let env = run.env(stage).map_or(String::new(), |env| env.to_string());
            let why = failure.map(|failure| format!(": {}", failure.message));
            let message = format!(
                "{} of {env} ended as {}{}",
                reached.release,
                verdict.in_words(),
                why.unwrap_or_default()
            );
            let output = failure.map(|failure| failure.output.clone());
            Next::Move(failed(run, message, output.unwrap_or_default()))
        }
    }
}

fn at_the_gate(run: &Run, position: &Position, now: Timestamp) -> Next {
    match position {
        Position::Checking { stage } => Next::Check { stage: *stage },
        Position::Soaking { stage, until } if *until <= now => {
            Next::Move(behind(run, *stage, Step::Soak, now))
        }
        Position::Soaking { until, .. } => Next::Wait(Some(*until)),
        Position::Approving { stage } if run.word().is_some() => {
            Next::Move(behind(run, *stage, Step::Approve, now))
        }
        _ => Next::Wait(None),
    }
}

/// The end of a run whose stage serves something else by now.
fn moved_away(run: &Run, env: Option<&Environment>) -> Option<Position> {
    left(run, run.stage(), env)
}

fn left(run: &Run, stage: usize, env: Option<&Environment>) -> Option<Position> {
    let reached = run.reached.get(stage)?;
    let serves = env.and_then(|env| env.current);
    (serves != Some(reached.release)).then(|| {
        let env = run.env(stage).map_or(String::new(), |env| env.to_string());
        let message = format!(
            "{env} does not serve {} any more: somebody moved it while the run was under way",
            reached.release
        );
        failed(run, message, Vec::new())
    })
}

/// What keeps a run from passing the gate that it is in: its stage was down meanwhile, or something else took requests
/// there, also where it was taken back since; within a soak also what ended by itself, or is ill.
fn spoiled(run: &Run, env: Option<&Environment>, ill: &[Ill], now: Timestamp) -> Option<String> {
    let (reached, env) = (run.reached.get(run.stage())?, env?);
    // What is of a time to come was recorded while a clock was ahead, before this.
    let within = run.since..=now;
    match &run.position {
        Position::Checking { .. } => disturbed(reached, env, "while its check ran", &within),
        Position::Approving { .. } => {
            disturbed(reached, env, "while it waited for a word", &within)
        }
        Position::Soaking { .. } => disturbed(reached, env, "within its soak", &within)
            .or_else(|| unwell(reached, env, ill, &within)),
        Position::Deploying { .. } | Position::Ended { .. } => None,
    }
}

fn disturbed(
    reached: &Reached,
    env: &Environment,
    when: &str,
    within: &RangeInclusive<Timestamp>,
) -> Option<String> {
    let name = &env.id;
    let meanwhile = env.taken_down.is_some_and(|at| within.contains(&at));
    if env.goal != Goal::Up || meanwhile {
        return Some(format!("{name} was taken down {when}"));
    }
    let other = |d: &&Deployment| {
        let ours = reached.deployment == Some(d.id);
        let same = d.to == reached.release && d.from == Some(reached.release);
        !ours && !same && took_requests(d, within)
    };
    let other = env.deployments.values().find(other)?;
    let (id, to) = (other.id, other.to);
    Some(format!("{id} to {to} took requests in {name} {when}"))
}

fn unwell(
    reached: &Reached,
    env: &Environment,
    ill: &[Ill],
    soak: &RangeInclusive<Timestamp>,
) -> Option<String> {
    let name = &env.id;
    let of_release = |instance: &InstanceId| {
        let release = instance.release();
        release == Some(reached.release) || release == Some(databases::RELEASE)
    };
    let within = |end: &&LastEnd| soak.contains(&end.at) && of_release(&end.instance);
    if let Some(end) = env.last_ends.iter().find(within) {
        let (instance, how) = (&end.instance, &end.how);
        return Some(format!(
            "{} of {name} ended within its soak: {instance} {how}",
            service(instance)
        ));
    }
    let ill = ill.iter().find(|ill| of_release(&ill.instance))?;
    let why = ill.why.as_ref().map(|why| format!(", {why}"));
    Some(format!(
        "{} of {name} was unhealthy within its soak: {}{}",
        service(&ill.instance),
        ill.instance,
        why.unwrap_or_default()
    ))
}

fn service(instance: &InstanceId) -> String {
    instance
        .service()
        .map_or(String::new(), |name| name.to_string())
}

/// Whether requests moved to a deployment's release, or back, within that time.
fn took_requests(deployment: &Deployment, within: &RangeInclusive<Timestamp>) -> bool {
    let served = deployment
        .served
        .is_some_and(|served| within.contains(&served.at));
    let moved = matches!(
        deployment.phase,
        Phase::Finished {
            verdict: Verdict::Succeeded | Verdict::RolledBack | Verdict::FailedDegraded | Verdict::Unknown,
            at,
            ..
        } if within.contains(&at)
    );
    served || moved
}

/// What of a stage is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Deploy,
    Check,
    Soak,
    Approve,
}

/// Where a run stands when so much of a stage is done.
fn behind(run: &Run, stage: usize, done: Step, now: Timestamp) -> Position {
    let Some(gate) = run.stages.get(stage).map(|stage| &stage.gate) else {
        return ended(Outcome::Succeeded);
    };
    if done < Step::Check && gate.check.is_some() {
        return Position::Checking { stage };
    }
    if done < Step::Soak && gate.soak.0 > 0 {
        let until = now + gate.soak;
        return Position::Soaking { stage, until };
    }
    if done < Step::Approve && gate.approve.is_some() {
        return Position::Approving { stage };
    }
    match stage + 1 < run.stages.len() {
        true => Position::Deploying { stage: stage + 1 },
        false => ended(Outcome::Succeeded),
    }
}

#[cfg(test)]
pub(crate) mod tests;
