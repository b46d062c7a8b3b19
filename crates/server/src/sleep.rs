//! Sleep: who asks for an environment that sleeps wakes it, and who needs something of it keeps it awake.
//!
//! When it falls asleep the planner decides, or a person. What wakes it is either in the log (a deployment, a run), which
//! the planner sees, or a request that the gateway holds, or somebody at the API: both are recorded here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use ward_store::Log;
use ward_types::environments::NapRequest;
use ward_types::event::{Event, State};
use ward_types::id::EnvId;
use ward_types::release::{Environment, Goal};
use ward_types::sleep::{Alarm, Drowsiness, HELD_FOR};
use ward_types::table::Call;
use ward_types::time::{Millis, Timestamp};
use ward_types::view::Progress;

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::{Control, lock};
use crate::deploy::{Steps, Stop};
use crate::goto::up_again;
use crate::schedule;

/// As of `ward down`.
const DEADLINE: Duration = Duration::from_secs(180);
/// How long a gateway that does not answer is left alone: it is started again within milliseconds.
const ASKED_AGAIN: Duration = Duration::from_millis(50);
/// The same of a log that takes nothing.
const RECORDED_AGAIN: Duration = Duration::from_millis(500);
/// A job that is due so soon is not worth falling asleep before.
const SOON: Millis = Millis::secs(60);

/// The environments that somebody needs just now, of whom neither their logs nor the gateway know. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Needed(Arc<Mutex<BTreeMap<EnvId, usize>>>);

/// The calls that the gateway need not tell again.
#[derive(Default)]
struct Answered {
    all: Vec<Call>,
    /// Those of them that cannot be woken, until somebody asks again.
    unable: Vec<Call>,
}

/// Whether an environment still sleeps the sleep that a call is for.
fn is_meant(state: &State, call: &Call) -> bool {
    let env = state.environment(&call.env);
    let sleeps = env.and_then(Environment::asleep);
    sleeps.is_some_and(|asleep| asleep.since == call.asleep)
}

/// Keeps an environment awake until it is dropped.
pub(crate) struct Need {
    needed: Needed,
    env: EnvId,
}

impl Needed {
    fn enter(&self, env: &EnvId) -> Need {
        *lock(&self.0).entry(env.clone()).or_default() += 1;
        Need {
            needed: self.clone(),
            env: env.clone(),
        }
    }

    /// Whether somebody does.
    pub(crate) fn is(&self, env: &EnvId) -> bool {
        lock(&self.0).contains_key(env)
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        let mut needed = lock(&self.needed.0);
        let left = needed.get(&self.env).copied().unwrap_or_default();
        match left {
            0 | 1 => drop(needed.remove(&self.env)),
            _ => drop(needed.insert(self.env.clone(), left - 1)),
        }
    }
}

/// Who just copies an environment's rows.
fn copier<'a>(state: &'a State, id: &EnvId) -> Option<&'a EnvId> {
    let mut others = state.environments.values();
    // What is restored has its rows from a backup.
    let copier = others.find(|other| {
        other.copies_data()
            && other.life.restores.is_empty()
            && other.life.copies.as_ref() == Some(id)
    })?;
    Some(&copier.id)
}

/// Whether an environment that could fall asleep is needed: its rows are just copied, or one of its jobs is due soon.
pub(crate) fn is_expected(state: &State, id: &EnvId, now: Timestamp) -> bool {
    let Some(env) = state.environments.get(id).filter(|env| env.may_sleep()) else {
        return false;
    };
    let jobs = env
        .current_release()
        .map(|release| release.spec.jobs.keys());
    let mut due = jobs
        .into_iter()
        .flatten()
        .filter_map(|job| schedule::next_due(env, job));
    copier(state, id).is_some() || due.any(|due| due.since(now) < SOON)
}

impl Control {
    /// Wakes environments for which the gateway holds requests, for as long as the server runs.
    pub(crate) fn keep_answering_calls(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut known = Answered::default();
            let mut warned = BTreeSet::new();
            loop {
                let (all, unable) = (&known.all, &known.unable);
                match control.0.world.routing.calls(all, unable).await {
                    Ok(calls) => known = control.answered(calls, &mut warned).await,
                    Err(_) => {
                        known = Answered::default();
                        tokio::time::sleep(ASKED_AGAIN).await;
                    }
                }
            }
        });
    }

    /// Wakes those that still sleep the sleep that is meant. Of one that cannot be woken the log of the server says so once.
    async fn answered(&self, calls: Vec<Call>, warned: &mut BTreeSet<Call>) -> Answered {
        let mut answered = Answered::default();
        for call in calls {
            if self.is_meant(&call)
                && let Err(refusal) = self.can_wake(&call.env).await
            {
                if warned.insert(call.clone()) {
                    tracing::warn!(env = %call.env, error = refusal.message, "requests are refused");
                }
                answered.all.push(call.clone());
                answered.unable.push(call);
                continue;
            }
            let desk = self.desk().await;
            let decide = |state: &State| {
                let meant = is_meant(state, &call);
                Ok(((), woken(&call.env, Alarm::Request, meant)))
            };
            match self.decided(&desk, &Actor::ward(), "", decide).await {
                Ok(()) => {
                    warned.remove(&call);
                    answered.all.push(call);
                }
                Err(refusal) => {
                    tracing::warn!(env = %call.env, error = refusal.message, "it is not woken; that is tried again");
                    drop(desk);
                    tokio::time::sleep(RECORDED_AGAIN).await;
                }
            }
        }
        answered
    }

    fn is_meant(&self, call: &Call) -> bool {
        is_meant(&self.store().state(), call)
    }

    /// Wakes an environment, waits until it is up as far as that comes soon, and keeps it awake until what comes back is
    /// dropped.
    ///
    /// # Errors
    /// When it cannot be woken, or the log does not take it.
    pub(crate) async fn awake(
        &self,
        actor: &Actor,
        env: &EnvId,
        why: &str,
    ) -> Result<Need, Refusal> {
        let need = self.0.world.needed.enter(env);
        self.wake_up(actor, env, why).await?;
        let known = self.known(env);
        let woken = known.and_then(|env| env.sleep.woken);
        if woken.is_some_and(|woken| now().since(woken.at) < HELD_FOR) {
            let (ignored, _) = mpsc::channel(1);
            let up = self.comes_to_rest(env, HELD_FOR.duration(), |_| true, &ignored);
            // What is missing then is said by whoever looks for it.
            drop(up.await);
        }
        Ok(need)
    }

    async fn wake_up(&self, actor: &Actor, env: &EnvId, why: &str) -> Result<bool, Refusal> {
        if self
            .known(env)
            .is_some_and(|known| known.asleep().is_some())
        {
            self.can_wake(env).await?;
        }
        let desk = self.desk_for(why).await;
        let decide = |state: &State| {
            let known = state.environments.get(env);
            let sleeps = known.is_some_and(|known| known.asleep().is_some());
            Ok((sleeps, woken(env, Alarm::Asked, sleeps)))
        };
        self.decided(&desk, actor, why, decide).await
    }

    /// Wakes an environment, and tells how it goes, to the end.
    pub async fn wake(self, actor: Actor, request: NapRequest, steps: Steps) {
        let last = match self.waken(&actor, &request, &steps).await {
            Ok(last) => last,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn waken(
        &self,
        actor: &Actor,
        request: &NapRequest,
        steps: &Steps,
    ) -> Result<Progress, Refusal> {
        let _admitted = self.admit()?;
        let env = self.alive(Some(&request.env))?;
        let known = self.known(&env);
        if let Some(known) = known.as_ref().filter(|known| known.goal != Goal::Up) {
            return Err(not_up(known));
        }
        let woken = self.wake_up(actor, &env, &request.why).await?;
        if woken {
            self.comes_to_rest(&env, DEADLINE, |_| true, steps).await?;
        }
        let message = match woken {
            true => format!("{env} is awake"),
            false => format!("{env} is awake already; nothing was changed"),
        };
        let release = known.as_ref().and_then(Environment::current_release);
        let addresses = release.map(|release| self.addresses(release));
        Ok(Progress::Done {
            message,
            addresses: addresses.unwrap_or_default(),
        })
    }

    /// Puts an environment to sleep, and tells how it goes, to the end.
    pub async fn sleep(self, actor: Actor, request: NapRequest, steps: Steps) {
        let last = match self.put_to_sleep(&actor, &request, &steps).await {
            Ok(last) => last,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn put_to_sleep(
        &self,
        actor: &Actor,
        request: &NapRequest,
        steps: &Steps,
    ) -> Result<Progress, Refusal> {
        let _admitted = self.admit()?;
        let env = self.alive(Some(&request.env))?;
        let seen = self.0.world.routing.last_seen();
        if !seen.is_some_and(|seen| seen.holds) {
            let message = format!(
                "nothing was changed: the gateway does not answer, or is of a version that does not hold requests for \
                 what sleeps, as those for {env} would have to be"
            );
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(
                "ask again in a moment; `ward upgrade` replaces a gateway of an older version",
            ));
        }
        let desk = self.desk().await;
        let decide = |state: &State| match state.environments.get(&env) {
            Some(known) if known.asleep().is_some() => Ok((false, Vec::new())),
            Some(known) => {
                self.can_sleep(known)?;
                let event = Event::EnvironmentSlept {
                    env: env.clone(),
                    cause: Drowsiness::Asked,
                };
                Ok((true, vec![event]))
            }
            None => Err(Refusal::new(
                RefusalKind::Conflict,
                format!("nothing of {env} runs yet"),
            )),
        };
        let slept = self.decided(&desk, actor, &request.why, decide).await?;
        drop(desk);
        let asleep = || self.known(&env).is_some_and(|env| env.asleep().is_some());
        let stopped = |live: &crate::driver::Live| live.observed.instances.is_empty();
        self.comes_to_rest(&env, DEADLINE, |live| stopped(live) || !asleep(), steps)
            .await?;
        let message = match (asleep(), slept) {
            (true, true) => format!("{env} sleeps, its data kept; its first request wakes it"),
            (true, false) => format!("{env} sleeps already; nothing was changed"),
            (false, _) => {
                format!("{env} was woken meanwhile; `ward events --env {env}` says by what")
            }
        };
        Ok(Progress::Done {
            message,
            addresses: Vec::new(),
        })
    }

    fn can_sleep(&self, env: &Environment) -> Result<(), Refusal> {
        let id = &env.id;
        let conflict = |message: String, hint: &str| {
            Err(Refusal::new(RefusalKind::Conflict, message).hint(hint.to_owned()))
        };
        let state = self.store().state();
        if let (None, Goal::Up, Some(copier)) = (env.work(), env.goal, copier(&state, id)) {
            return conflict(
                format!("the rows of {id} are just copied into {copier}, and it cannot sleep now"),
                &format!("`ward deployment watch --env {copier}` follows it; then ask again"),
            );
        }
        match env.work() {
            _ if env.goal != Goal::Up => Err(not_up(env)),
            _ if env.current_release().is_none() => conflict(
                format!("no release serves in {id}, and so nothing of it can sleep"),
                "`ward down` stops what runs; `ward releases` shows what there was",
            ),
            Some(Alarm::Deployment) => conflict(
                format!("{id} is being deployed, and cannot sleep now"),
                "`ward deployment watch` follows it; then ask again",
            ),
            Some(_) => conflict(
                format!("a job or a command runs in {id}, which cannot sleep now"),
                "`ward job history` shows it; then ask again",
            ),
            // A job that is due soon keeps nobody from it who wants it so: it wakes it.
            None if self.0.world.needed.is(id) => conflict(
                format!("somebody is just about to work in {id}, or to copy its rows"),
                "ask again in a moment",
            ),
            None if env.is_backed_up() => conflict(
                format!("a backup of {id} is under way, and it cannot sleep now"),
                "`ward db backups` shows it; that is over when it was restored",
            ),
            None if !env.may_sleep() => conflict(
                format!("a password of {id} is being replaced, and it cannot sleep now"),
                "`ward secret list` shows it; that is over when the instances that had the old one are gone",
            ),
            None => Ok(()),
        }
    }
}

fn woken(env: &EnvId, by: Alarm, sleeps: bool) -> Vec<Event> {
    let event = Event::EnvironmentWoken {
        env: env.clone(),
        by,
    };
    if sleeps { vec![event] } else { Vec::new() }
}

fn not_up(env: &Environment) -> Refusal {
    let id = &env.id;
    let message = format!("{id} is down, and neither sleeps nor is awake; nothing was changed");
    Refusal::new(RefusalKind::Conflict, message).hint(up_again(env))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_needed_until_nobody_needs_it_any_more() {
        let (needed, env) = (Needed::default(), EnvId::parse("shop/dev").unwrap());
        let (one, other) = (needed.enter(&env), needed.enter(&env));
        drop(one);
        assert!(needed.is(&env));
        drop(other);
        assert!(!needed.is(&env));
    }
}
