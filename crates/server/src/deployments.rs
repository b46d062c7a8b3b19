//! Deployments that were asked for: shown, watched, cancelled.

use tokio::sync::mpsc;
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{DeploymentId, EnvId};
use ward_types::release::{Deployment, Environment, Phase, Verdict};
use ward_types::view::{
    CancelRequest, DeploymentDetail, DeploymentQuery, Progress, Steer, SteerRequest,
};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::views::deployment_view;

impl Control {
    /// One deployment as it stands, with what it waits for.
    ///
    /// # Errors
    /// When there is none.
    pub fn deployment(&self, query: &DeploymentQuery) -> Result<DeploymentDetail, Refusal> {
        let (env, deployment) = self.found(query.env.as_ref(), query.deployment, newest)?;
        let live = self.live(&env);
        let waiting = match deployment.phase {
            Phase::Finished { .. } => Vec::new(),
            _ => live.borrow().waits_on().cloned().collect(),
        };
        Ok(DeploymentDetail {
            env,
            deployment: deployment_view(&deployment, now()),
            by: deployment.by,
            requested: deployment.requested,
            started: deployment.started,
            phase_since: deployment.phase_since,
            cancelled: deployment.cancelled,
            paused: deployment.paused.map(|pause| pause.by),
            waiting,
        })
    }

    /// Tells how a deployment goes, to its verdict.
    ///
    /// # Errors
    /// When there is none.
    pub fn watch(
        &self,
        query: &DeploymentQuery,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Refusal> {
        let (env, deployment) = self.found(query.env.as_ref(), query.deployment, newest)?;
        let control = self.clone();
        tokio::spawn(async move {
            let last = control
                .follow_deployment(&env, deployment.id, &progress)
                .await;
            let _ = progress.send(last).await;
        });
        Ok(())
    }

    /// Cancels a deployment, and tells how it ends.
    pub async fn cancel(
        self,
        actor: Actor,
        request: CancelRequest,
        progress: mpsc::Sender<Progress>,
    ) {
        let last = match self.cancelled(&actor, &request).await {
            Ok((env, id)) => outcome(self.follow_deployment(&env, id, &progress).await),
            Err(refusal) => Progress::Failed {
                message: refusal.message,
                hint: refusal.hint,
            },
        };
        let _ = progress.send(last).await;
    }

    async fn cancelled(
        &self,
        actor: &Actor,
        request: &CancelRequest,
    ) -> Result<(EnvId, DeploymentId), Refusal> {
        let (env, found) = self.found(request.env.as_ref(), request.deployment, unfinished)?;
        let deployment = found.id;
        if matches!(found.phase, Phase::Finished { .. }) {
            let message = format!("{deployment} of {env} has ended already");
            return Err(Refusal::new(RefusalKind::Conflict, message)
                .hint("`ward rollback` goes back to the release before"));
        }
        let event = Event::DeploymentCancelled {
            env: env.clone(),
            deployment,
            by: actor.who.clone(),
        };
        self.append(actor, &request.why, vec![event]).await?;
        Ok((env, deployment))
    }

    /// Lets a deployment stay as it is, go on, or hold its stages no longer.
    ///
    /// # Errors
    /// When there is none, when it has ended, and when it is already as it is told to be.
    pub async fn steer(
        &self,
        actor: &Actor,
        request: &SteerRequest,
    ) -> Result<DeploymentDetail, Refusal> {
        let (env, found) = self.found(request.env.as_ref(), request.deployment, unfinished)?;
        let event = steered(&env, &found, request.steer, actor)?;
        self.append(actor, &request.why, vec![event]).await?;
        self.deployment(&DeploymentQuery {
            env: Some(env),
            deployment: Some(found.id),
        })
    }

    fn found(
        &self,
        env: Option<&EnvId>,
        asked: Option<DeploymentId>,
        otherwise: fn(&Environment) -> Option<&Deployment>,
    ) -> Result<(EnvId, Deployment), Refusal> {
        let id = self.environment(env)?;
        let state = self.store().state();
        let found = state.environments.get(&id).and_then(|env| match asked {
            Some(asked) => env.deployments.get(&asked),
            None => otherwise(env),
        });
        let found = found.ok_or_else(|| {
            let message = match asked {
                Some(asked) => format!("{id} has no deployment {asked}"),
                None => format!("no deployment of {id} is under way"),
            };
            Refusal::new(RefusalKind::NotFound, message)
                .hint("`ward events` shows all that there were")
        })?;
        Ok((id, found.clone()))
    }
}

fn steered(env: &EnvId, found: &Deployment, steer: Steer, actor: &Actor) -> Result<Event, Refusal> {
    let (env, deployment) = (env.clone(), found.id);
    let refused = |what: &str, hint: &'static str| {
        let message = format!("{deployment} of {env} {what}");
        Err(Refusal::new(RefusalKind::Conflict, message).hint(hint))
    };
    let (stage, ended) = match found.phase {
        Phase::Rolling { stage } => (stage, false),
        Phase::Queued | Phase::Preparing => (0, false),
        Phase::Reverting { .. } | Phase::Finished { .. } => (0, true),
    };
    match (steer, &found.paused) {
        _ if ended => refused(
            "goes back or has ended already",
            "`ward deployment show` says how it ends",
        ),
        (Steer::Pause, Some(pause)) => refused(
            &format!("was paused by {} already", pause.by),
            "`ward deployment resume` lets it go on",
        ),
        (Steer::Resume, None) => refused(
            "is not paused",
            "`ward deployment show` says what it waits for",
        ),
        (Steer::PromoteStage | Steer::Promote, Some(_)) => refused(
            "is paused",
            "`ward deployment resume` lets it go on, `ward deployment promote` then holds it no longer",
        ),
        (Steer::Pause, None) => Ok(Event::DeploymentPaused {
            env,
            deployment,
            by: actor.who.clone(),
        }),
        (Steer::Resume, Some(_)) => Ok(Event::DeploymentResumed { env, deployment }),
        (Steer::PromoteStage, None) => Ok(promoted(env, deployment, stage + 1)),
        (Steer::Promote, None) => Ok(promoted(env, deployment, u32::MAX)),
    }
}

fn promoted(env: EnvId, deployment: DeploymentId, to: u32) -> Event {
    Event::DeploymentPromoted {
        env,
        deployment,
        to,
    }
}

/// A deployment that ends because it was cancelled has failed; cancelling it has not.
fn outcome(ended: Progress) -> Progress {
    let Progress::Ended {
        deployment,
        addresses,
    } = &ended
    else {
        return ended;
    };
    let (id, to) = (deployment.id, deployment.to);
    match deployment.verdict {
        Some(Verdict::Succeeded) => Progress::Failed {
            message: format!("{id} could not be cancelled any more: {to} serves"),
            hint: Some("`ward rollback` goes back to the release before".to_owned()),
        },
        Some(verdict @ (Verdict::RolledBack | Verdict::FailedOldServing)) => Progress::Done {
            message: format!("{id} to {to} is cancelled: {}", verdict.as_str()),
            addresses: addresses.clone(),
        },
        Some(Verdict::FailedDegraded) if deployment.from.is_none() => Progress::Done {
            message: format!("{id} to {to} is cancelled; nothing served before it"),
            addresses: Vec::new(),
        },
        _ => ended,
    }
}

/// The one that is under way, else the one whose turn is next.
fn unfinished(env: &Environment) -> Option<&Deployment> {
    env.active().or_else(|| env.next_queued())
}

/// The same, else the last that ended.
fn newest(env: &Environment) -> Option<&Deployment> {
    unfinished(env).or_else(|| env.deployments.values().next_back())
}
