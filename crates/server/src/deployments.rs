//! Deployments that were asked for: shown, watched, cancelled.

use std::time::Duration;

use tokio::sync::mpsc;
use ward_store::{Holder, Lease, Log};
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, EnvId, Name};
use ward_types::release::{Deployment, Environment, Pause, Phase, Reason, Verdict};
use ward_types::time::Millis;
use ward_types::view::{
    CancelRequest, DeploymentDetail, DeploymentQuery, LeaseView, Progress, Steer, SteerRequest,
    ending,
};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::builds::{End, Over};
use crate::clock::now;
use crate::control::Control;
use crate::driver::Live;
use crate::follow::Follows;
use crate::recording::is_over;
use crate::views::deployment_view;

impl Control {
    /// One deployment as it stands, with what it waits for.
    ///
    /// # Errors
    /// When there is none.
    pub async fn deployment(&self, query: &DeploymentQuery) -> Result<DeploymentDetail, Refusal> {
        let (env, deployment) = self.found(query.env.as_ref(), query.deployment, newest)?;
        let live = self.seen_lately(&env).await;
        let mut waiting: Vec<String> = match deployment.phase {
            Phase::Finished { .. } => Vec::new(),
            Phase::Queued => live.queued.clone(),
            _ => live.waits_on().cloned().collect(),
        };
        waiting.extend(self.0.builds.sentences(&env));
        let release_commands = self.release_commands(&env, &deployment);
        let lease = match deployment.phase {
            Phase::Queued | Phase::Finished { .. } => None,
            _ => Lease::holder(&self.0.home).map(lease_view),
        };
        let pause = paused(&deployment).cloned();
        let said = self.said_of(&env, deployment.id)?;
        let ended = match deployment.phase {
            Phase::Finished { at, .. } => Some(at),
            _ => None,
        };
        Ok(DeploymentDetail {
            release_commands,
            lease,
            env,
            deployment: deployment_view(&deployment, now()),
            by: deployment.by,
            requested: deployment.requested,
            why: said.asked,
            plan: deployment.plan,
            ended,
            started: deployment.started,
            phase_since: deployment.phase_since,
            cancelled: deployment.cancelled,
            paused_at: pause.as_ref().map(|pause| pause.at),
            paused_why: pause.as_ref().map_or_else(String::new, |_| said.paused),
            paused: pause.map(|pause| pause.by),
            despite_schema: deployment.despite_schema,
            waiting,
        })
    }

    /// What the driver saw since the log was last changed; what it saw before, where it is busy for longer than
    /// anybody waits.
    pub(crate) async fn seen_lately(&self, env: &EnvId) -> Live {
        let events = *self.store().changed().borrow();
        let mut live = self.live(env);
        let later = live.wait_for(|live| live.events >= events);
        let _ = tokio::time::timeout(Duration::from_secs(1), later).await;
        live.borrow().clone()
    }

    fn release_commands(&self, env: &EnvId, deployment: &Deployment) -> Vec<Name> {
        let ran = deployment.reason == Reason::Deploy && deployment.started.is_some();
        let known = self.known(env).filter(|_| ran);
        let release = known
            .as_ref()
            .and_then(|env| env.releases.get(&deployment.to));
        let services = release
            .into_iter()
            .flat_map(|release| &release.spec.services);
        let with = services.filter(|(_, service)| service.release.is_some());
        with.map(|(name, _)| name.clone()).collect()
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
            control.say_builds(&env, &progress).await;
            let last = control
                .follow_deployment(&env, deployment.id, Follows::FromNow, &progress)
                .await;
            let _ = progress.send(last).await;
        });
        Ok(())
    }

    /// Cancels a deployment, and tells how it ends; where none is under way, a build.
    pub async fn cancel(
        self,
        actor: Actor,
        request: CancelRequest,
        progress: mpsc::Sender<Progress>,
    ) {
        let last = match self.cancelled(&actor, &request).await {
            Ok(Cancelled::Deployment(env, id)) => {
                // They were not meant, and go on.
                self.say_builds(&env, &progress).await;
                let follows = Follows::FromNow;
                outcome(self.follow_deployment(&env, id, follows, &progress).await)
            }
            Ok(Cancelled::Build(over)) => self.build_cancelled(over).await,
            Err(refusal) => Progress::Failed {
                message: refusal.message,
                hint: refusal.hint,
            },
        };
        let _ = progress.send(last).await;
    }

    async fn say_builds(&self, env: &EnvId, progress: &mpsc::Sender<Progress>) {
        let on = self.0.builds.sentences(env);
        if !on.is_empty() {
            let _ = progress.send(Progress::Waiting { on }).await;
        }
    }

    async fn build_cancelled(&self, over: Over) -> Progress {
        let left = self.untouched(&over.env);
        let message = format!(
            "the build of {} that {} asked for is cancelled; {left}",
            over.env, over.by
        );
        self.0.builds.gone(&[over]).await;
        Progress::Done {
            message,
            addresses: Vec::new(),
        }
    }

    async fn cancelled(
        &self,
        actor: &Actor,
        request: &CancelRequest,
    ) -> Result<Cancelled, Refusal> {
        let env = self.environment(request.env.as_ref())?;
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            match found(state, &env, request.deployment, unfinished) {
                Some(found) => to_cancel(&env, found, actor).map(|event| (Some(found.id), event)),
                None => Ok((None, Vec::new())),
            }
        });
        if let Some(deployment) = deciding.await? {
            return Ok(Cancelled::Deployment(env, deployment));
        }
        let by = actor.who.clone();
        let built = request.deployment.is_none();
        let over = built.then(|| self.0.builds.end_first(&env, &End::Cancelled { by }));
        let over = over.flatten().map(Cancelled::Build);
        over.ok_or_else(|| self.no_deployment(&env, request.deployment))
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
        let env = self.environment(request.env.as_ref())?;
        // At the desk: one that ends meanwhile cannot be steered any more.
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let found = found(state, &env, request.deployment, unfinished);
            let found = found.ok_or_else(|| self.no_deployment(&env, request.deployment))?;
            let event = steered(&env, found, request.steer, actor)?;
            Ok((found.id, vec![event]))
        });
        let deployment = deciding.await?;
        drop(desk);
        self.deployment(&DeploymentQuery {
            env: Some(env),
            deployment: Some(deployment),
        })
        .await
    }

    fn found(
        &self,
        env: Option<&EnvId>,
        asked: Option<DeploymentId>,
        otherwise: fn(&Environment) -> Option<&Deployment>,
    ) -> Result<(EnvId, Deployment), Refusal> {
        let id = self.environment(env)?;
        let state = self.store().state();
        match found(&state, &id, asked, otherwise) {
            Some(deployment) => Ok((id, deployment.clone())),
            None => Err(self.no_deployment(&id, asked)),
        }
    }

    fn no_deployment(&self, env: &EnvId, asked: Option<DeploymentId>) -> Refusal {
        let message = match asked {
            Some(asked) => format!("{env} has no deployment {asked}"),
            None => format!("no deployment of {env} is under way"),
        };
        let hint = match self.0.builds.sentences(env) {
            building if building.is_empty() => "`ward events` shows all that there were".to_owned(),
            building => building.join("\n"),
        };
        Refusal::new(RefusalKind::NotFound, message).hint(hint)
    }
}

/// What was cancelled.
enum Cancelled {
    Deployment(EnvId, DeploymentId),
    Build(Over),
}

fn found<'a>(
    state: &'a State,
    env: &EnvId,
    asked: Option<DeploymentId>,
    otherwise: fn(&Environment) -> Option<&Deployment>,
) -> Option<&'a Deployment> {
    let env = state.environments.get(env)?;
    match asked {
        Some(asked) => env.deployments.get(&asked),
        None => otherwise(env),
    }
}

/// One that somebody has cancelled before is only followed.
fn to_cancel(env: &EnvId, found: &Deployment, actor: &Actor) -> Result<Vec<Event>, Refusal> {
    let id = found.id;
    if is_over(found) {
        let message = format!("{id} of {env} has ended already");
        return Err(Refusal::new(RefusalKind::Conflict, message)
            .hint("`ward rollback` goes back to the release before"));
    }
    let event = || Event::DeploymentCancelled {
        env: env.clone(),
        deployment: id,
        by: actor.who.clone(),
    };
    Ok(found.cancelled.is_none().then(event).into_iter().collect())
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

/// Who keeps it where it is: one that goes back or has ended is kept by nobody.
fn paused(deployment: &Deployment) -> Option<&Pause> {
    let over = matches!(
        deployment.phase,
        Phase::Reverting { .. } | Phase::Finished { .. }
    );
    deployment.paused.as_ref().filter(|_| !over)
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
            message: format!(
                "{id} to {to} is {}",
                ending(verdict, deployment.cancelled.as_ref())
            ),
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

fn lease_view(holder: Holder) -> LeaseView {
    LeaseView {
        term: holder.term,
        pid: std::process::id(),
        silent: Millis(u64::try_from(holder.silent.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_kept_by_nobody() {
        let in_phase = |phase: &str| {
            let text = format!(
                r#"{{"id":2,"reason":"deploy","from":1,"to":2,"requested":1,"started":1,"phase_since":1,
                "by":"anna","paused":{{"by":"bob","at":1}},"phase":{phase}}}"#
            );
            let deployment = serde_json::from_str(&text).unwrap();
            paused(&deployment).map(|pause| pause.by.clone())
        };
        assert_eq!(in_phase(r#"{"state":"preparing"}"#).as_deref(), Some("bob"));
        let failure = r#"{"message":"It failed.","output":[],"hint":null}"#;
        let reverting = format!(r#"{{"state":"reverting","failure":{failure}}}"#);
        assert_eq!(in_phase(&reverting), None);
        let ended = r#"{"state":"finished","verdict":"succeeded","failure":null,"at":2}"#;
        assert_eq!(in_phase(ended), None);
    }
}
