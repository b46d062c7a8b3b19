//! Runs of pipelines: begun, carried on, shown, approved and rejected.
//!
//! What to do next is decided by [`ward_plan::pipeline`] from what the log says, and each thing that was done is an
//! event: a server that takes over goes on where the last one was. Only a check that was under way is run again.

mod beginning;
mod checks;
mod freezing;
mod hindering;
mod saying;
mod telling;
mod unheard;

pub(crate) use self::beginning::no_pipeline;
use self::beginning::{Begun, same};
pub(crate) use self::checks::files_of;
pub(crate) use self::hindering::Hindered;
use self::saying::Said;
pub(crate) use self::telling::view;

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use ward_plan::pipeline::{self, Ill, Next};
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, Name, PipelineRunId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::pipeline::{Check, Position, Run};
use ward_types::release::{Environment, Promoted};
use ward_types::source::BuildName;
use ward_types::time::{Millis, Timestamp};
use ward_types::view::{Held, Others, PipelineRequest, Progress, Unchanged, Until};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::{Control, Desk};
use crate::deploy::{Steps, Stop, say};
use crate::policing;
use crate::recording::{Offer, Terms};

impl Control {
    /// Builds, begins a run, and tells how it goes: to its end, or to where it waits for somebody's word.
    pub async fn run_pipeline(self, actor: Actor, request: PipelineRequest, steps: Steps) {
        let begun = match &request.build {
            None => self.begun(&actor, &request, &steps).await,
            Some(build) => self.begun_with_kept(&actor, &request, build).await,
        };
        let last = match begun {
            Ok(begun) => self.run_through(begun, request.until, &steps).await,
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn begun_with_kept(
        &self,
        actor: &Actor,
        request: &PipelineRequest,
        build: &BuildName,
    ) -> Result<Begun, Stop> {
        let kept = self.kept_build(build)?;
        if let Some(id) = same(&self.store().state(), &request.pipeline, &kept) {
            return Ok(Begun::UnderWay(id));
        }
        let also = |_: &Run| None;
        let id = self.begun_with(actor, request, &kept, also).await?;
        Ok(Begun::New(id))
    }

    async fn run_through(&self, begun: Begun, until: Until, steps: &Steps) -> Progress {
        let (id, is) = match begun {
            Begun::New(id) => {
                self.tell_freezes(id, steps).await;
                self.tell_unheard(id, steps).await;
                tokio::spawn(self.clone().conduct(id));
                (id, "is recorded")
            }
            Begun::UnderWay(id) => {
                say(steps, self.brings_already(id)).await;
                (id, "is under way")
            }
        };
        match until {
            Until::Verdict => self.followed_run(id, steps).await,
            Until::Queued => Progress::Done {
                message: format!("{id} {is}; `ward pipeline show {id}` says how it goes"),
                addresses: Vec::new(),
            },
        }
    }

    /// That a run which is under way has the build that another one is asked for with.
    fn brings_already(&self, id: PipelineRunId) -> String {
        let state = self.store().state();
        let Some(run) = state.pipelines.get(&id) else {
            return format!("{id} has this very build");
        };
        let (version, by) = (&run.build.version, &run.author);
        format!(
            "{id}, begun by {by}, has this very build already ({version}); no other run is begun"
        )
    }

    /// Goes on with what was under way when the server before ended.
    pub(crate) fn resume_pipelines(&self) {
        let state = self.store().state();
        for run in state.pipelines.values().filter(|run| !run.is_over()) {
            tokio::spawn(self.clone().conduct(run.id));
        }
    }

    /// Carries a run on until it is over or the server ends.
    pub(crate) async fn conduct(self, id: PipelineRunId) {
        let mut changed = self.store().changed();
        let mut ending = self.ending();
        loop {
            changed.mark_unchanged();
            let state = self.store().state();
            let Some(run) = state.pipelines.get(&id) else {
                return;
            };
            let env = run.env(run.stage());
            let mut instances = env.as_ref().map(|env| self.engine().changed_in(env));
            let ill = env.as_ref().map(|env| self.ill(env)).unwrap_or_default();
            let env = env.and_then(|env| state.environment(&env));
            let due = match pipeline::next(run, env, &ill, now()) {
                Next::Over => {
                    self.0.hindered.no_more(id);
                    return;
                }
                Next::Wait(due) => due,
                next => {
                    let done = tokio::select! {
                        biased;
                        _ = ending.wait_for(|end| *end) => return,
                        done = self.does(run, next) => done,
                    };
                    match done {
                        Ok(None) => continue,
                        Ok(due) => due,
                        Err(refusal) => {
                            tracing::error!(run = %id, error = refusal.message, "a pipeline cannot go on");
                            Some(now() + Millis::secs(5))
                        }
                    }
                }
            };
            tokio::select! {
                _ = ending.wait_for(|end| *end) => return,
                more = changed.changed() => if more.is_err() { return },
                () = until(due) => {}
                () = changes_in(run, instances.as_mut()) => {}
            }
        }
    }

    /// What of an environment is seen to be ill.
    fn ill(&self, env: &EnvId) -> Vec<Ill> {
        let seen = self.engine().observe(env).into_values();
        let serves = |role| matches!(role, Role::Service | Role::Database);
        let ill = seen.filter(|seen| {
            serves(seen.facts.role) && seen.status.state == InstanceState::Unhealthy
        });
        ill.map(|seen| Ill {
            instance: seen.facts.id,
            why: seen.status.last_failure,
        })
        .collect()
    }

    /// Does what is next; when to look again, where it cannot be done yet.
    async fn does(&self, run: &Run, next: Next) -> Result<Option<Timestamp>, Refusal> {
        match next {
            Next::Release { stage } => {
                let _admitted = self.admit()?;
                let released = self.next_stage(run, stage).await;
                let hindrance = released
                    .as_ref()
                    .err()
                    .and_then(|stop| self.hindrance(stop));
                match hindrance {
                    Some(why) => self.0.hindered.by(run.id, why),
                    None => self.0.hindered.no_more(run.id),
                }
                match &released {
                    Err(stop) if hindrance.is_some() || freezing::is_why(stop) => {
                        Ok(Some(now() + freezing::LOOKS))
                    }
                    _ => self.settle(run, released.err()).await.map(|()| None),
                }
            }
            Next::Check { stage } => {
                let check = run
                    .stages
                    .get(stage)
                    .and_then(|stage| stage.gate.check.as_ref());
                let position = match check {
                    // What is not asked any more is ended with all that it has started.
                    Some(check) => tokio::select! {
                        position = self.checked(run, check) => position,
                        () = self.asks_no_more(run.id, stage) => return Ok(None),
                    },
                    None => pipeline::checked(run, now()),
                };
                // What the check has seen must be what serves still, and nobody may have said no meanwhile.
                match self.next_of(run.id) == (Next::Check { stage }) {
                    true => self.moved(run, position).await.map(|()| None),
                    false => Ok(None),
                }
            }
            Next::Move(position) => self.moved(run, position).await.map(|()| None),
            Next::Over | Next::Wait(_) => Ok(None),
        }
    }

    /// Releases the build in the next stage, unless somebody has said no to it, or has moved what it would go on from or
    /// to.
    async fn next_stage(&self, run: &Run, stage: usize) -> Result<(), Stop> {
        let _unrecorded = self.0.unrecorded.read().await;
        // What ends the run must not wait for what cannot be done now.
        if let Some(held) = self.held_back(run, stage) {
            return Ok(self.moved(run, held).await?);
        }
        let offer = self.stage_offer(run, stage)?;
        self.releasable(&offer.spec, offer.origin.as_ref()).await?;
        self.images_at_hand(&offer).await?;
        let desk = self.desk_for(&reason(run)).await;
        // Here nobody else decides: what was known before may not hold any more.
        if self.next_of(run.id) != (Next::Release { stage }) {
            return Ok(());
        }
        if let Some(held) = self.held_back(run, stage) {
            drop(desk);
            return Ok(self.moved(run, held).await?);
        }
        self.stage_released(&desk, run, &offer).await
    }

    /// The end of a run that must not go on to this stage.
    fn held_back(&self, run: &Run, stage: usize) -> Option<Position> {
        let known = |stage: Option<usize>| self.known(&run.env(stage?)?);
        let (before, env) = (known(stage.checked_sub(1)), known(Some(stage)));
        let state = self.store().state();
        pipeline::held_back(run, &state.pipelines, before.as_ref(), env.as_ref())
    }

    /// Returns when the check of this stage is not what is next for a run any more: somebody said no, or moved the stage.
    async fn asks_no_more(&self, id: PipelineRunId, stage: usize) {
        let mut changed = self.store().changed();
        while self.next_of(id) == (Next::Check { stage }) {
            if changed.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    fn next_of(&self, id: PipelineRunId) -> Next {
        let state = self.store().state();
        let Some(run) = state.pipelines.get(&id) else {
            return Next::Over;
        };
        let env = run.env(run.stage());
        let ill = env.as_ref().map(|env| self.ill(env)).unwrap_or_default();
        let env = env.and_then(|env| state.environment(&env));
        pipeline::next(run, env, &ill, now())
    }

    /// A stage that must not get its release ends the run.
    async fn settle(&self, run: &Run, stop: Option<Stop>) -> Result<(), Refusal> {
        let message = match stop.map(Stop::word) {
            None => return Ok(()),
            Some(Progress::Failed { message, .. }) => message,
            Some(Progress::Mistakes { mistakes, .. }) => {
                let first = mistakes.into_iter().next();
                first.map_or_else(String::new, |mistake| mistake.message)
            }
            Some(Progress::Forbidden { violations, .. }) => {
                format!("its policy forbids it: {}", policing::all(&violations))
            }
            Some(_) => "it cannot be released".to_owned(),
        };
        let position = pipeline::failed(run, message, Vec::new());
        self.moved(run, position).await
    }

    async fn moved(&self, run: &Run, position: Position) -> Result<(), Refusal> {
        let env = run
            .env(run.stage())
            .ok_or_else(|| no_stage(&run.pipeline))?;
        let event = Event::PipelineMoved {
            env,
            run: run.id,
            position,
        };
        self.append(&Actor::ward(), "", vec![event]).await.map(drop)
    }

    /// What a stage gets.
    fn stage_offer(&self, run: &Run, stage: usize) -> Result<Offer, Stop> {
        let env = run.env(stage).ok_or_else(|| no_stage(&run.pipeline))?;
        let text = run.build.stack_file.as_deref().unwrap_or_default();
        let name = format!("ward.toml of {}", run.id);
        let (spec, origin) = self.resolved_in(&name, text, &env.env())?;
        let before = stage.checked_sub(1);
        let before = before.and_then(|before| Some((run.env(before)?, run.reached.get(before)?)));
        Ok(Offer {
            spec,
            images: run.build.images.clone(),
            stack_file: Some(text.to_owned()),
            provenance: run.build.provenance.clone(),
            origin,
            version: Some(run.build.version.clone()),
            promoted: before.map(|(env, reached)| Promoted {
                env,
                release: reached.release,
            }),
        })
    }

    /// Releases the build in a stage, and writes down that the run has come there, in one transaction.
    async fn stage_released(&self, desk: &Desk<'_>, run: &Run, offer: &Offer) -> Result<(), Stop> {
        let why = reason(run);
        let terms = Terms {
            why: &why,
            unchanged: Unchanged::Keep,
            others: Others::Wait,
            rollback: Held::Superseded,
            made: None,
            stage_of: Some(run.id),
            plan: None,
        };
        let author = Actor {
            who: run.author.clone(),
        };
        let forced = self.told_anew(&offer.spec.id, offer.provenance.as_deref());
        self.permitted(&author, offer.as_offered(), None, forced)?;
        self.recorded(desk, &author, terms, offer).await?;
        self.live(&offer.spec.id);
        Ok(())
    }

    /// Runs the check of the run's present stage; where the run stands then.
    async fn checked(&self, run: &Run, check: &Check) -> Position {
        let env = self.check_variables(run);
        let dir = Path::new(&run.dir);
        match checks::altered(dir, check, &run.checks).await {
            Ok(None) => {}
            Ok(Some(word)) => {
                let message = format!(
                    "the check was not run: {word} in {} is not what it was when the run began",
                    run.dir
                );
                return pipeline::failed(run, message, Vec::new());
            }
            Err(why) => {
                let message = format!("the check was not run: it cannot be read: {why}");
                return pipeline::failed(run, message, Vec::new());
            }
        }
        let said = Said::default();
        let take = |piece| said.take(piece);
        let checking = ward_build::check(&check.command, dir, env, &take);
        let limit = check.timeout.duration();
        let of = run
            .env(run.stage())
            .map_or_else(String::new, |env| env.to_string());
        match tokio::time::timeout(limit, checking).await {
            Ok(Ok(())) => pipeline::checked(run, now()),
            Ok(Err(error)) => {
                let message = format!("the check of {of} was not passed: {}", causes(&error));
                match self.told_by_check(run, &said).await {
                    Ok(output) => pipeline::failed(run, message, output),
                    Err(why) => {
                        let message =
                            format!("{message}; what it wrote is not kept, because {why}");
                        pipeline::failed(run, message, Vec::new())
                    }
                }
            }
            Err(_) => {
                let message = format!(
                    "the check of {of} took longer than {} s, and was ended",
                    limit.as_secs()
                );
                pipeline::failed(run, message, Vec::new())
            }
        }
    }

    fn check_variables(&self, run: &Run) -> Vec<(&'static str, String)> {
        let env = run.env(run.stage());
        let known = env.as_ref().and_then(|env| self.known(env));
        let release = known.as_ref().and_then(Environment::current_release);
        let (http, _) = self.0.world.routing.addresses();
        let addresses = release.map(|release| self.addresses(release).join(" "));
        vec![
            (
                "WARD_ENV",
                env.map_or_else(String::new, |env| env.to_string()),
            ),
            (
                "WARD_RELEASE",
                release.map_or_else(String::new, |release| release.id.to_string()),
            ),
            ("WARD_VERSION", run.build.version.clone()),
            ("WARD_ADDRESSES", addresses.unwrap_or_default()),
            ("WARD_HTTP", http.to_string()),
        ]
    }
}

/// Why a stage gets a release.
fn reason(run: &Run) -> String {
    format!("{} of the pipeline {}", run.id, run.pipeline)
}

fn no_stage(pipeline: &Name) -> Refusal {
    Refusal::new(
        RefusalKind::Failed,
        format!("the pipeline {pipeline} has no such stage"),
    )
}

/// Returns when an instance of the stage that soaks changed; of others nobody asks.
async fn changes_in(run: &Run, instances: Option<&mut watch::Receiver<u64>>) {
    if let (Position::Soaking { .. }, Some(instances)) = (&run.position, instances)
        && instances.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Returns at that time; without one never.
async fn until(due: Option<Timestamp>) {
    match due {
        Some(due) => tokio::time::sleep(Duration::from_millis(due.since(now()).0)).await,
        None => std::future::pending().await,
    }
}
