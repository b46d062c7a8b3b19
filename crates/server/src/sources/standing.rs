//! Where a commit stands now, in words. What the log says of it is what was done with it; how that went on is in the
//! environment or the run that it came to.

use std::sync::Arc;

use ward_plan::source::{Next, kept, next};
use ward_types::event::State;
use ward_types::pipeline::{Outcome, Position};
use ward_types::release::{Deployment, Environment, Goal, Phase, Release};
use ward_types::source::{Seen, Source, Standing, Then};
use ward_types::view;

use super::watched::Doing;

/// Where a commit stands; `doing` is what the server does for its source just now.
pub(super) fn stands(state: &State, source: &Source, seen: &Seen, doing: Option<&Doing>) -> String {
    let doing = doing.filter(|doing| doing.commit == seen.commit.id);
    let further = match (&seen.standing, doing) {
        (Standing::Waiting, Some(doing)) => return doing.what.to_owned(),
        (Standing::Built { .. }, Some(doing)) => Some(doing.what.to_owned()),
        (Standing::Built { .. }, None) => ready(state, source, seen),
        (Standing::Began { run, .. }, _) => state.pipelines.get(run).map(|run| {
            let (id, stands) = (run.id, run.stands());
            match &run.position {
                Position::Ended {
                    outcome: Outcome::Succeeded,
                } => format!("has passed the pipeline {} ({id})", run.pipeline),
                _ => format!("in {id}: {stands}"),
            }
        }),
        (
            Standing::Deployed {
                release,
                deployment,
                ..
            },
            _,
        ) => {
            let has = |env: &&Arc<Environment>| {
                let made = env.releases.get(release);
                made.is_some_and(|made| comes_from(made, source, seen))
            };
            state.environments.values().find(has).map(|env| {
                let deployment = deployment.and_then(|id| env.deployments.get(&id));
                in_force(env, *release, deployment)
            })
        }
        _ => None,
    };
    let version = seen.standing.version();
    match (further, version) {
        (Some(further), Some(version)) => format!("is built as {version}; {further}"),
        _ => seen.standing.to_string(),
    }
}

fn comes_from(release: &Release, source: &Source, seen: &Seen) -> bool {
    let provenance = release.build.provenance.as_deref();
    provenance
        .is_some_and(|p| p.source.as_ref() == Some(&source.name) && p.commit.id == seen.commit.id)
}

/// What one that is built waits for.
fn ready(state: &State, source: &Source, seen: &Seen) -> Option<String> {
    let kept = kept(state, &source.name, &seen.commit.id);
    match (&source.then, kept) {
        (Then::Keep, Some(_)) => Some("kept".to_owned()),
        (Then::Keep, None) => Some("kept no more".to_owned()),
        (Then::Pipeline(name), Some(kept)) if next(state, source) == Next::Wait => {
            let mut runs = state.pipelines.values().filter(|run| !run.is_over());
            let before = runs.find(|run| run.stack == kept.stack && run.pipeline == *name)?;
            Some(format!("waits for {}, which is under way", before.id))
        }
        _ => None,
    }
}

/// What became of a release that a commit came to.
fn in_force(
    env: &Environment,
    release: ward_types::id::ReleaseId,
    deployment: Option<&Deployment>,
) -> String {
    let id = &env.id;
    if let Some(deployment) = deployment {
        match &deployment.phase {
            Phase::Finished {
                verdict, failure, ..
            } if *verdict != ward_types::release::Verdict::Succeeded => {
                let why = failure
                    .as_ref()
                    .map(|failure| format!(": {}", failure.message));
                let ended = view::ending(*verdict, None);
                return format!(
                    "{} to {release} of {id} {ended}{}",
                    deployment.id,
                    why.unwrap_or_default()
                );
            }
            Phase::Finished { .. } => {}
            _ => return format!("{} brings it to {id} as {release}", deployment.id),
        }
    }
    match (env.goal, env.current) {
        _ if env.is_deleted() => format!("was {release} of {id}, which is deleted"),
        (Goal::Up, Some(current)) if current == release => format!("serves in {id} as {release}"),
        (Goal::Up, Some(current)) => {
            format!("was {release} of {id}, where {current} serves now")
        }
        _ => format!("is {release} of {id}, which is down"),
    }
}
