//! Back to an earlier release, or forward to a later one: both are there already, so that neither waits for
//! what is being built meanwhile.

use ward_plan::changes::{Between, changes, dropped};
use ward_store::Log;
use ward_types::event::State;
use ward_types::id::{DeploymentId, EnvId, ReleaseId};
use ward_types::release::{Deployment, Environment, Goal, Phase, Reason, Release};
use ward_types::view::{Others, Progress, RollbackRequest};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::builds::End;
use crate::configuration;
use crate::control::{Control, Direction};
use crate::deploy::{Steps, Stop, ended_builds, superseded};
use crate::policing;
use crate::recording::{Queued, Wish, cancellations, goes_on};
use crate::secrets;
use crate::sharing::warn_of;

impl Control {
    /// Goes back or forward to a release that is there already.
    pub async fn go_to(
        self,
        actor: Actor,
        direction: Direction,
        request: RollbackRequest,
        steps: Steps,
    ) {
        let last = match self.sent_back(&actor, direction, &request, &steps).await {
            Ok((env, Sent::Queued(queued))) => {
                self.warn_of_older_values(&env, queued.id, &steps).await;
                self.followed(&env, queued.id, request.until, &steps).await
            }
            Ok((env, Sent::Joins(id))) => self.joined(&env, id, request.until, &steps).await,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn warn_of_older_values(&self, env: &EnvId, id: DeploymentId, steps: &Steps) {
        let known = self.known(env);
        let to = known.as_ref().and_then(|env| {
            let deployment = env.deployments.get(&id)?;
            Some((env, env.releases.get(&deployment.to)?))
        });
        let Some((env, to)) = to else { return };
        let warnings = [configuration::warning(env, to), secrets::warning(env, to)];
        for warning in warnings.into_iter().flatten() {
            let _ = steps.send(warning).await;
        }
    }

    async fn sent_back(
        &self,
        actor: &Actor,
        direction: Direction,
        request: &RollbackRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Sent), Refusal> {
        let _admitted = self.admit()?;
        if let Some("") = request.despite_schema.as_deref().map(str::trim) {
            let message = "`--despite-schema` needs a reason: it is recorded with your name";
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        let id = self.alive(request.env.as_ref())?;
        let reason = reason(direction);
        // Before the desk: a command that gives the master key takes its time, and nobody shall wait for it there.
        let (env, to) = self.aim(&self.store().state(), &id, direction, request)?;
        self.release_opens(&id, &to).await?;
        let warned = self.links_of_move(env.current_release(), &to);
        let drops = drops(&env, &to);
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let (env, to) = self.aim(state, &id, direction, request)?;
            let left = match request.others {
                Others::Wait => leading_elsewhere(&env, direction, to.id),
                Others::Cancel => Vec::new(),
            };
            let leave = cancellations(&env.id, &left, actor).collect();
            let same = same_way(&env, direction, request.to);
            if let Some(same) = same.filter(|_| request.others == Others::Wait) {
                return Ok(((Sent::Joins(same.id), left), leave));
            }
            self.release_has_values(&id, &to)?;
            // Going back to what has served is never forbidden, nor is coming up with what served last.
            let as_it_was = env.comes_up_with() == Some(to.id);
            let served = as_it_was || env.once_served().any(|id| id == to.id);
            if !served || env.current.is_some_and(|current| to.id > current) {
                self.move_permitted(env.current_release(), &to)?;
            }
            let wish = Wish {
                to: to.id,
                reason: match as_it_was {
                    true => Reason::Up,
                    false => reason,
                },
                others: request.others,
                despite_schema: request.despite_schema.clone(),
                plan: None,
            };
            let (queued, events) = wish.events(&env, actor, leave);
            Ok(((Sent::Queued(queued), left), events))
        });
        let (sent, left) = deciding.await?;
        let Sent::Queued(queued) = sent else {
            drop(desk);
            superseded(&left, steps).await;
            return Ok((id, sent));
        };
        let by = actor.who.clone();
        let over = match request.others {
            Others::Cancel => self.0.builds.end_all(&id, &End::Superseded { by }),
            Others::Wait => Vec::new(),
        };
        drop(desk);
        ended_builds(&over, "superseded", steps).await;
        superseded(&left, steps).await;
        superseded(&queued.superseded, steps).await;
        if let Some(drops) = drops {
            let _ = steps.send(drops).await;
        }
        warn_of(&warned, steps).await;
        self.live(&id);
        Ok((id, Sent::Queued(queued)))
    }

    /// Where a request leads, if it can lead there.
    fn aim(
        &self,
        state: &State,
        id: &EnvId,
        direction: Direction,
        request: &RollbackRequest,
    ) -> Result<(Environment, Release), Refusal> {
        let unknown = || Environment::new(id.clone());
        let known = state.environment(id).cloned();
        let env = known.unwrap_or_else(unknown);
        let to = target(&env, direction, request.to)?.clone();
        if request.despite_schema.is_none() {
            fits(&env, to.id)?;
        }
        self.possible(&to.spec, env.life.origin.as_ref())?;
        Ok((env, to))
    }
}

/// What a wish to go back or forward came to.
enum Sent {
    /// To a new deployment.
    Queued(Queued),
    /// To one that goes the same way, and has not ended.
    Joins(DeploymentId),
}

/// What is cancelled by going back. It waits for nothing that leads elsewhere: who goes back wants that release even less,
/// and one that is held or hangs would be waited for without an end.
fn leading_elsewhere(env: &Environment, direction: Direction, to: ReleaseId) -> Vec<Deployment> {
    let elsewhere = |d: &&Deployment| d.to != to && goes_on(d);
    match direction {
        Direction::Back => env
            .deployments
            .values()
            .filter(elsewhere)
            .cloned()
            .collect(),
        Direction::Forward => Vec::new(),
    }
}

fn reason(direction: Direction) -> Reason {
    match direction {
        Direction::Back => Reason::Rollback,
        Direction::Forward => Reason::Rollforward,
    }
}

/// The last deployment that goes the same way, and goes on. Whoever asks for that once more, and names no release, has seen
/// the same as who asked before, and wants no step further.
fn same_way(
    env: &Environment,
    direction: Direction,
    asked: Option<ReleaseId>,
) -> Option<&Deployment> {
    let same = |d: &&Deployment| d.reason == reason(direction) && goes_on(d);
    let last = || env.deployments.values().rev().find(same);
    asked.is_none().then(last).flatten()
}

/// What is taken away by going to a release, if anything is. Rules are not.
fn drops(env: &Environment, to: &Release) -> Option<Progress> {
    let serves = env.current_release()?;
    let changes = dropped(changes(Between::Releases, Some(serves), Some(to)));
    let rules = env.outlasting(&to.spec.policy);
    let rules = rules.map(|declared| policing::outlasting(to, declared));
    let nothing = changes.is_empty() && rules.is_none();
    (!nothing).then_some(Progress::Drops {
        from: serves.id,
        to: to.id,
        changes,
        rules,
    })
}

/// The schema takes the release, or it serves already.
fn fits(env: &Environment, to: ReleaseId) -> Result<(), Refusal> {
    let Some(change) = env.barred(to) else {
        return Ok(());
    };
    let message = format!(
        "{} cannot go to {to}: it does not run on the schema since {change}",
        env.id
    );
    let back = match env.newest_way_back() {
        Some(back) => format!("`ward rollback --to {back}` goes to the newest release that does"),
        None => match env.rollforward_target() {
            Some(next) if env.current.is_some_and(|current| env.is_barred(current)) => {
                format!("`ward rollforward` goes to {next}, which does")
            }
            _ => "no release before the one that serves does".to_owned(),
        },
    };
    Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{back}; `ward deploy` brings a fix forward; `--despite-schema REASON` goes to {to} all the same, which is recorded"
    )))
}

fn target(
    env: &Environment,
    direction: Direction,
    asked: Option<ReleaseId>,
) -> Result<&Release, Refusal> {
    let list = || {
        env.releases
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let pending = leading_away(env);
    if let Some(asked) = asked {
        return match env.releases.get(&asked) {
            Some(_) if env.current == Some(asked) && env.goal == Goal::Up && !pending => Err(
                Refusal::new(RefusalKind::Conflict, format!("{asked} serves already")),
            ),
            Some(release) => Ok(release),
            None if asked > ReleaseId::default() && asked < env.next_release() => {
                Err(Refusal::new(
                    RefusalKind::NotFound,
                    format!(
                        "{asked} of {} is retired: it is not retained any more",
                        env.id
                    ),
                )
                .hint(format!(
                    "there are: {}; `stack.keep_releases` says how many are retained",
                    list()
                )))
            }
            None => Err(Refusal::new(
                RefusalKind::NotFound,
                format!("{} has no release {asked}", env.id),
            )
            .hint(format!("there are: {}", list()))),
        };
    }
    if let (Some(last), Some(hint)) = (env.comes_up_with(), env.way_up()) {
        let message = format!("{} is down; {last} served last", env.id);
        return Err(Refusal::new(RefusalKind::Conflict, message)
            .hint(format!("{hint}; `ward releases` lists the others")));
    }
    let same = same_way(env, direction, asked).and_then(|same| env.releases.get(&same.to));
    if let Some(same) = same {
        return Ok(same);
    }
    let (found, word) = match direction {
        // In the middle of a deployment: back from where it leads, which is to what serves.
        Direction::Back if pending => (env.current, "before"),
        Direction::Back => (env.rollback_target(), "before"),
        Direction::Forward => (env.rollforward_target(), "after"),
    };
    let found = found.and_then(|id| env.releases.get(&id));
    found.ok_or_else(|| {
        let current = env
            .current
            .map_or("the current one".to_owned(), |id| id.to_string());
        Refusal::new(
            RefusalKind::Conflict,
            format!(
                "{} has no release {word} {current} that once served",
                env.id
            ),
        )
        .hint("`ward releases` lists them; --to names one")
    })
}

/// How an environment that is down comes up again.
pub(crate) fn up_again(env: &Environment) -> String {
    let up = format!("`ward up --env {}` brings it up", env.id.env());
    match env.way_up() {
        Some(way) => format!("{up} with what the folder holds; {way}"),
        None => up,
    }
}

/// Whether the newest deployment is not over and leads to another release than the current one.
fn leading_away(env: &Environment) -> bool {
    env.current.is_some()
        && env.deployments.values().next_back().is_some_and(|last| {
            !matches!(last.phase, Phase::Finished { .. }) && Some(last.to) != env.current
        })
}
