//! Takes environments down: a change of goal in the log, and then the drivers' work.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::EnvId;
use ward_types::release::Goal;
use ward_types::view::{Data, DownRequest, Progress};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::backups::restore_command;
use crate::builds::{End, Over};
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds};
use crate::driver::Live;
use crate::follow::Told;
use crate::sharing::warn_of;

/// Drains, stops and, with data to remove, removals: together they have their own deadlines well below this.
const DEADLINE: Duration = Duration::from_secs(180);

/// What takes no longer than this is not worth a sentence.
const QUIET: Duration = Duration::from_secs(1);

impl Control {
    /// Stops environments.
    pub async fn down(self, actor: Actor, request: DownRequest, steps: Steps) {
        let last = match self.take_down(&actor, &request, &steps).await {
            Ok(done) => done,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    /// Stops environments; their data stays unless it shall go.
    async fn take_down(
        &self,
        actor: &Actor,
        request: &DownRequest,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<Progress, Refusal> {
        let goal = match request.data {
            Data::Keep => Goal::Down,
            Data::Purge => Goal::Purged,
        };
        // Builds end behind the goal, at the same desk: where the log does not take the goal nothing was
        // changed, builds neither; and no deploy is recorded in between (see `builds`).
        let desk = self.desk_for(&request.why).await;
        let all: Vec<EnvId> = match &request.env {
            Some(id) => vec![self.alive(Some(id))?],
            None => self.there(),
        };
        // Before the goal is known: every driver sets out at once, and the first may be done before the last.
        let with_data: BTreeSet<EnvId> = all
            .iter()
            .filter(|env| self.has_data(env))
            .cloned()
            .collect();
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            if goal == Goal::Purged {
                all.iter().try_for_each(|env| self.may_purge(state, env))?;
            }
            let changes = |id: &&EnvId| {
                let env = state.environments.get(*id);
                env.is_some_and(|env| {
                    env.goal != goal && env.ending().is_none() && !self.is_gone(env)
                })
            };
            let event = |env: &EnvId| Event::GoalChanged {
                env: env.clone(),
                goal,
            };
            Ok(((), all.iter().filter(changes).map(event).collect()))
        });
        deciding.await?;
        if request.env.is_none() {
            // What sources are building waits for the next platform, as if this one had been killed.
            self.0.sources.rest();
        }
        let by = actor.who.clone();
        let down = End::Down { by };
        let ending = all.iter().map(|env| self.0.builds.end_all(env, &down));
        let over: Vec<Over> = ending.flatten().collect();
        drop(desk);
        ended_builds(&over, "ended", progress).await;
        warn_of(&self.cut_off_from(&all), progress).await;
        self.0.builds.gone(&over).await;
        let since = std::time::Instant::now();
        // One that was never recorded has nothing to stop.
        for env in all.iter().filter(|env| self.known(env).is_some()) {
            // One deadline for all: they stop at the same time.
            let left = DEADLINE.saturating_sub(since.elapsed());
            self.stopped(env, left, progress).await?;
            let message = match (goal, with_data.contains(env)) {
                (_, false) => format!("{env} is stopped"),
                (Goal::Purged, true) => {
                    let kept = self.known(env).filter(|env| !env.backups.all.is_empty());
                    let kept = kept.map_or(String::new(), |known| {
                        let remove = format!("`ward env delete {env}` removes them");
                        match restore_command(&known) {
                            Some(command) => format!(
                                "; its backups stay: `{command}` makes a new environment of the newest, {remove}"
                            ),
                            None => format!("; none of its backups counts, and {remove}"),
                        }
                    });
                    format!("{env} is stopped, its data removed{kept}")
                }
                (Goal::Up | Goal::Down, true) => format!("{env} is stopped, its data kept"),
            };
            let _ = progress
                .send(Progress::Step {
                    message,
                    took: None,
                })
                .await;
        }
        let state = self.store().state();
        let others: Vec<&str> = state
            .environments
            .values()
            // What only has values, or was never deployed, does not run.
            .filter(|env| env.goal == Goal::Up)
            .filter(|env| env.current.is_some() || env.work().is_some())
            .map(|env| env.id.as_str())
            .collect();
        let run = match others.len() {
            1 => "runs",
            _ => "run",
        };
        let message = match (all.is_empty(), others.is_empty()) {
            (true, _) => "no environment runs".to_owned(),
            (false, true) => "nothing runs any more".to_owned(),
            (false, false) => format!("{} {run} on", others.join(", ")),
        };
        Ok(Progress::Done {
            message,
            addresses: Vec::new(),
        })
    }

    /// Every environment but those that were purged, and what is being built.
    fn there(&self) -> Vec<EnvId> {
        let state = self.store().state();
        let recorded = state.environments.values();
        let recorded = recorded.filter(|env| !self.is_gone(env));
        let mut all: BTreeSet<EnvId> = recorded.map(|env| env.id.clone()).collect();
        all.extend(self.0.builds.environments());
        all.into_iter().collect()
    }

    /// Whether an environment has databases or volumes that were made.
    pub(crate) fn has_data(&self, env: &EnvId) -> bool {
        ["data", "volumes"].iter().any(|kind| {
            let all = self.0.home.join(kind);
            let own = all.join(env.stack().as_str()).join(env.env().as_str());
            std::fs::read_dir(own).is_ok_and(|mut parts| parts.next().is_some())
        })
    }

    /// Waits until nothing of an environment runs. Whoever brings it up again meanwhile has the last word:
    /// then there is nothing left to wait for.
    async fn stopped(
        &self,
        env: &EnvId,
        limit: Duration,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(), Refusal> {
        let stopped = self.comes_to_rest(
            env,
            limit,
            |live| live.observed.instances.is_empty(),
            progress,
        );
        tokio::select! {
            stopped = stopped => stopped,
            () = self.wanted_again(env) => {
                let message = format!("{env} was brought up again meanwhile, and is not stopped");
                Err(Refusal::new(RefusalKind::Conflict, message)
                    .hint("`ward events` says by whom; `ward down` stops it after all"))
            }
        }
    }

    async fn wanted_again(&self, env: &EnvId) {
        let mut log = self.store().changed();
        loop {
            log.mark_unchanged();
            let state = self.store().state();
            let wanted = state.environments.get(env).map(|env| env.goal);
            if wanted == Some(Goal::Up) || log.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until an environment's driver has nothing left to do, as far as the log goes now, and `also`
    /// holds; tells what it waits for.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub(crate) async fn comes_to_rest(
        &self,
        env: &EnvId,
        limit: Duration,
        also: impl Fn(&Live) -> bool,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(), Refusal> {
        let mut live = self.live(env);
        let events = *self.store().changed().borrow();
        let mut told = Told::default();
        let since = std::time::Instant::now();
        let rest = async {
            loop {
                let seen = live.borrow_and_update().clone();
                if seen.events >= events && seen.at_rest && also(&seen) {
                    return;
                }
                if seen.events >= events && since.elapsed() > QUIET {
                    let on = told.news(seen.waiting.iter());
                    if !on.is_empty() {
                        let _ = progress.send(Progress::Waiting { on }).await;
                    }
                }
                if live.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, rest).await.map_err(|_late| {
            let message = format!("{env} does not come to rest within {} s", limit.as_secs());
            let left: Vec<String> = self.live(env).borrow().waits_on().cloned().collect();
            let hint = match self.0.world.routing.mute() {
                Some(pid) => format!(
                    "the gateway (process {pid}) does not answer: end it with `kill -9 {pid}`, then do this again; gateway.log in the state folder may say why"
                ),
                None => "`ward status` says what it waits for; it goes on".to_owned(),
            };
            let message = [vec![message], left].concat().join("\n  ");
            Refusal::new(RefusalKind::Failed, message).hint(hint)
        })
    }
}
