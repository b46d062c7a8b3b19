//! What keeps a run from its next stage, though it has passed the gate before it.
//!
//! Decision: what was asked for last is what is wanted, as with `deploy --envs`. A run asks for all of its stages when it
//! begins, however long it is on its way: whatever somebody brought to the next one since is newer, and of two runs that
//! which began later is the later wish, whichever comes there first. Nothing would be undone where it is the same build,
//! or where only values were changed.

use std::collections::BTreeMap;

use ward_types::id::{PipelineRunId, ReleaseId};
use ward_types::pipeline::{Position, Run};
use ward_types::release::{Build, Deployment, Environment, Goal, Phase, Reason};

use super::{failed, left};
use crate::policy::Built;

/// The end of a run that must not go on to its next stage: the stage before is down, or serves something else by now, or
/// somebody has taken the next one down, or back, or brought another build there, since the run began. `before` and `env` are the
/// environments of these two, `runs` all that are known.
#[must_use]
pub fn held_back(
    run: &Run,
    runs: &BTreeMap<PipelineRunId, Run>,
    before: Option<&Environment>,
    env: Option<&Environment>,
) -> Option<Position> {
    let stage = run.stage();
    // Whoever begins a run asks for its first stage.
    let last = stage.checked_sub(1)?;
    if let Some(lost) = left(run, last, before) {
        return Some(lost);
    }
    if let Some(message) = before.and_then(down) {
        return Some(failed(run, message, Vec::new()));
    }
    let env = env.filter(|env| !env.is_bare() && !env.is_deleted())?;
    let message = down(env)
        .or_else(|| taken_back(run, runs, env))
        .or_else(|| overtaken(run, runs, env))?;
    Some(failed(run, message, Vec::new()))
}

fn down(env: &Environment) -> Option<String> {
    let id = &env.id;
    let up = || format!("`ward up --env {}` brings it up", id.env());
    (env.goal != Goal::Up).then(|| {
        let up = env.way_up().unwrap_or_else(up);
        format!("{id} was taken down: {up}")
    })
}

fn taken_back(run: &Run, runs: &BTreeMap<PipelineRunId, Run>, env: &Environment) -> Option<String> {
    let mut since = env.deployments.values().rev();
    let back = |d: &&Deployment| {
        d.reason == Reason::Rollback
            && stands(d)
            && !is_same_build(env, d)
            && is_later(run, runs, env, d)
    };
    let back = since.find(back)?;
    let (by, id, to) = (&back.by, &env.id, back.to);
    Some(format!("{by} rolled {id} back to {to} since the run began"))
}

/// That another build was brought there since, or is on its way there.
fn overtaken(run: &Run, runs: &BTreeMap<PipelineRunId, Run>, env: &Environment) -> Option<String> {
    let (last, build) = last_move(env)?;
    if Built::from(build).is(&run.build) || !is_later(run, runs, env, last) {
        return None;
    }
    let brings = match last.succeeded() {
        true => "brought",
        false => "brings",
    };
    let of = asked_by(runs, env, last).map(|other| format!(" of {}", other.id));
    let of = of.unwrap_or_default();
    let (by, version, id, to, at) = (&last.by, &build.version, &env.id, last.to, last.requested);
    Some(format!(
        "{by} {brings} {version} to {id} ({to}, by {}{of}), asked for on {at}, since the run began, and that is not \
         overruled: `ward pipeline run {}` with what is newest begins a new run",
        last.id, run.pipeline
    ))
}

/// The last deployment that brought another build than the one before, or is to, with its build.
fn last_move(env: &Environment) -> Option<(&Deployment, &Build)> {
    let mut last: Option<(&Deployment, &Build)> = None;
    for deployment in env.deployments.values().filter(|d| stands(d)) {
        let Some(release) = env.releases.get(&deployment.to) else {
            continue;
        };
        let same = |(_, known): (&Deployment, &Build)| Built::from(known).is(&release.build);
        if !last.is_some_and(same) {
            last = Some((deployment, &release.build));
        }
    }
    last
}

/// Whether a deployment changed no more than values.
fn is_same_build(env: &Environment, deployment: &Deployment) -> bool {
    let build = |id: &ReleaseId| env.releases.get(id).map(|release| &release.build);
    let before = deployment.from.as_ref().and_then(build);
    before
        .zip(build(&deployment.to))
        .is_some_and(|(from, to)| Built::from(from).is(to))
}

/// Whether what a deployment leads to serves, or will unless it fails.
fn stands(deployment: &Deployment) -> bool {
    match deployment.phase {
        Phase::Queued | Phase::Preparing | Phase::Rolling { .. } => deployment.cancelled.is_none(),
        Phase::Reverting { .. } => false,
        Phase::Finished { .. } => deployment.succeeded(),
    }
}

/// Whether a deployment was asked for after the run: one of another run when that one began.
fn is_later(
    run: &Run,
    runs: &BTreeMap<PipelineRunId, Run>,
    env: &Environment,
    deployment: &Deployment,
) -> bool {
    let since = deployment.requested > run.began;
    since && asked_by(runs, env, deployment).is_none_or(|other| other.id > run.id)
}

/// The run that asked for a deployment.
fn asked_by<'a>(
    runs: &'a BTreeMap<PipelineRunId, Run>,
    env: &Environment,
    deployment: &Deployment,
) -> Option<&'a Run> {
    let asked = |run: &&Run| {
        let mut reached = run.reached.iter().enumerate();
        reached.any(|(stage, reached)| {
            let its = reached.queued && reached.deployment == Some(deployment.id);
            its && run.env(stage).as_ref() == Some(&env.id)
        })
    };
    runs.values().find(asked)
}

#[cfg(test)]
mod tests;
