//! Runs of pipelines: begun, carried on, shown, approved and rejected.
//!
//! What to do next is decided by [`ward_plan::pipeline`] from what the log says, and each thing that was done is an
//! event: a server that takes over goes on where the last one was. Only a check that was under way is run again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use ward_plan::pipeline::{self, Ill, Next};
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{Digest, EnvId, Name, PipelineRunId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::pipeline::{Check, Outcome, Pipeline, Position, Run, Vote};
use ward_types::release::{Build, Environment, Promoted};
use ward_types::source::KeptBuild;
use ward_types::spec::EnvSpec;
use ward_types::time::{Millis, Timestamp};
use ward_types::view::{
    Held, Others, PipelineRequest, PipelineRunView, Progress, Unchanged, Until, VoteRequest,
};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::{Control, Desk};
use crate::deploy::{Steps, Stop, mistaken, say, stack_of, unreadable};
use crate::each::named_once;
use crate::hosts::apart;
use crate::kept::{declared, named};
use crate::making::Once;
use crate::policing::Forced;
use crate::recording::{Offer, Terms, next_build, provenance_of};
use crate::source;

/// What a run is begun with.
struct Beginning {
    stack: Name,
    pipeline: Pipeline,
    first: EnvSpec,
    text: String,
}

impl Control {
    /// Builds, begins a run, and tells how it goes: to its end, or to where it waits for somebody's word.
    pub async fn run_pipeline(self, actor: Actor, request: PipelineRequest, steps: Steps) {
        let begun = match &request.build {
            None => self.begun(&actor, &request, &steps).await,
            Some(build) => match self.kept_build(build) {
                Ok(kept) => {
                    let also = |_: &Run| None;
                    self.begun_with(&actor, &request, &kept, also).await
                }
                Err(refusal) => Err(refusal.into()),
            },
        };
        let last = match begun {
            Ok(id) => {
                tokio::spawn(self.clone().conduct(id));
                match request.until {
                    Until::Verdict => self.followed_run(id, &steps).await,
                    Until::Queued => Progress::Done {
                        message: format!(
                            "{id} is recorded; `ward pipeline show {id}` says how it goes"
                        ),
                        addresses: Vec::new(),
                    },
                }
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn begun(
        &self,
        actor: &Actor,
        request: &PipelineRequest,
        steps: &Steps,
    ) -> Result<PipelineRunId, Stop> {
        let admitted = self.admit()?;
        let dir = Path::new(&request.dir);
        let provenance = provenance_of(dir).await;
        let (file, text) = source::read(dir).map_err(unreadable)?;
        let beginning = self.beginning(&file, text, &request.pipeline).await?;
        let first = &beginning.first;
        // Before a build, so that nobody waits for one in vain; looked at again when it is released.
        self.permitted(actor, (first, None), Some(dir), Forced::No)?;
        alone(&self.store().state(), &beginning.stack, &request.pipeline)?;
        let building = self.0.builds.begin(&first.id, actor, admitted);
        let once = Once::default();
        let made = tokio::select! {
            biased;
            end = building.ended() => Err(self.cut_off(&building, &first.id, &end).into()),
            made = self.images_made(dir, first, &building, &once, steps) => made,
        };
        let made = match made {
            Ok(made) => made,
            Err(stop) => {
                self.record_end(actor, &request.why, &first.id, &stop).await;
                return Err(stop);
            }
        };
        let desk = self.desk().await;
        let wanted = building.wanted();
        wanted.map_err(|end| self.cut_off(&building, &first.id, &end))?;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            alone(state, &beginning.stack, &request.pipeline)?;
            let build = Build {
                version: version(state, &beginning, &made.images),
                images: made.images.clone(),
                stack_file: Some(beginning.text.clone()),
                provenance: provenance.clone(),
            };
            let run = beginning.run(state, actor, request, build);
            let event = Event::PipelineBegan {
                env: first.id.clone(),
                run: Box::new(run.clone()),
            };
            Ok((run, vec![event]))
        });
        let run = deciding.await?;
        // The images are in no release yet: the first stage gets them before anything may be collected.
        let released = match self.stage_offer(&run, 0) {
            Ok(offer) => self.stage_released(&desk, &run, &offer).await,
            Err(stop) => Err(stop),
        };
        drop((building, made, desk));
        self.settle_first(&run, released.err()).await;
        Ok(run.id)
    }

    /// Where that cannot be written down either, it is tried again by whoever carries the run on.
    async fn settle_first(&self, run: &Run, stop: Option<Stop>) {
        if let Err(refusal) = self.settle(run, stop).await {
            tracing::error!(run = %run.id, error = refusal.message, "a pipeline's first stage");
        }
    }

    /// Begins a run with a build that is kept, together with what `also` says of it. Its checks are run in the folder of
    /// the request.
    pub(crate) async fn begun_with(
        &self,
        actor: &Actor,
        request: &PipelineRequest,
        kept: &KeptBuild,
        also: impl Fn(&Run) -> Option<Event>,
    ) -> Result<PipelineRunId, Stop> {
        let _admitted = self.admit()?;
        // Nothing is collected until the first stage has the images.
        let _unrecorded = self.0.unrecorded.read().await;
        let (file, build) = (named(kept), &kept.build);
        let text = build.stack_file.clone().unwrap_or_default();
        let beginning = self.beginning(&file, text, &request.pipeline).await?;
        let first = &beginning.first;
        let stack = stack_of(&file, &beginning.text)?;
        same_sources(&declared(kept, &stack)?, first)?;
        self.permitted(actor, (first, Some(&build.images)), None, Forced::No)?;
        self.images_ready(&first.id, &build.images).await?;
        let desk = self.desk().await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            alone(state, &beginning.stack, &request.pipeline)?;
            let run = beginning.run(state, actor, request, build.clone());
            let event = Event::PipelineBegan {
                env: first.id.clone(),
                run: Box::new(run.clone()),
            };
            let events = [Some(event), also(&run)].into_iter().flatten().collect();
            Ok((run, events))
        });
        let run = deciding.await?;
        let released = match self.stage_offer(&run, 0) {
            Ok(offer) => self.stage_released(&desk, &run, &offer).await,
            Err(stop) => Err(stop),
        };
        drop(desk);
        self.settle_first(&run, released.err()).await;
        Ok(run.id)
    }

    /// Whether a pipeline of a stack file can begin, and with what.
    pub(crate) async fn can_begin(
        &self,
        file: &str,
        text: &str,
        name: &Name,
    ) -> Result<Name, Stop> {
        let beginning = self.beginning(file, text.to_owned(), name).await?;
        Ok(beginning.first.id.env())
    }

    async fn beginning(&self, file: &str, text: String, name: &Name) -> Result<Beginning, Stop> {
        let stack = stack_of(file, &text)?;
        let Some(pipeline) = stack.pipelines.get(name) else {
            return Err(no_pipeline(&stack.name, name, stack.pipelines.keys()).into());
        };
        let envs: Vec<Name> = pipeline
            .stages
            .iter()
            .map(|stage| stage.env.clone())
            .collect();
        named_once(&envs)?;
        let specs = envs.iter().map(|env| stack.resolve(env));
        let specs: Result<Vec<EnvSpec>, _> = specs.collect();
        let specs = specs.map_err(|mistakes| mistaken(file, &text, &mistakes))?;
        apart(&specs.iter().collect::<Vec<_>>())?;
        for spec in &specs {
            self.releasable(spec, None).await?;
            same_sources(&specs[0], spec)?;
        }
        Ok(Beginning {
            stack: stack.name.clone(),
            pipeline: pipeline.clone(),
            first: specs.into_iter().next().ok_or_else(|| no_stage(name))?,
            text,
        })
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
            let env = env.and_then(|env| state.environments.get(&env));
            let due = match pipeline::next(run, env, &ill, now()) {
                Next::Over => return,
                Next::Wait(due) => due,
                next => {
                    let done = tokio::select! {
                        biased;
                        _ = ending.wait_for(|end| *end) => return,
                        done = self.does(run, next) => done,
                    };
                    match done {
                        Ok(()) => continue,
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

    async fn does(&self, run: &Run, next: Next) -> Result<(), Refusal> {
        match next {
            Next::Release { stage } => {
                let _admitted = self.admit()?;
                let released = self.next_stage(run, stage).await;
                self.settle(run, released.err()).await
            }
            Next::Check { stage } => {
                let check = run
                    .stages
                    .get(stage)
                    .and_then(|stage| stage.gate.check.as_ref());
                let position = match check {
                    Some(check) => self.checked(run, check).await,
                    None => pipeline::checked(run, now()),
                };
                // What the check has seen must be what serves still, and nobody may have said no meanwhile.
                match self.next_of(run.id) {
                    Next::Check { .. } => self.moved(run, position).await,
                    _ => Ok(()),
                }
            }
            Next::Move(position) => self.moved(run, position).await,
            Next::Over | Next::Wait(_) => Ok(()),
        }
    }

    /// Releases the build in the next stage, unless somebody has said no to it, or has moved what it would go on from or
    /// to.
    async fn next_stage(&self, run: &Run, stage: usize) -> Result<(), Stop> {
        let _unrecorded = self.0.unrecorded.read().await;
        let offer = self.stage_offer(run, stage)?;
        self.releasable(&offer.spec, offer.origin.as_ref()).await?;
        self.images_at_hand(&offer).await?;
        let desk = self.desk().await;
        // Here nobody else decides: what was known before may not hold any more.
        if self.next_of(run.id) != (Next::Release { stage }) {
            return Ok(());
        }
        let known = |stage: Option<usize>| self.known(&run.env(stage?)?);
        let (before, env) = (known(stage.checked_sub(1)), known(Some(stage)));
        if let Some(held) = pipeline::held_back(run, before.as_ref(), env.as_ref()) {
            drop(desk);
            return Ok(self.moved(run, held).await?);
        }
        self.stage_released(&desk, run, &offer).await
    }

    fn next_of(&self, id: PipelineRunId) -> Next {
        let state = self.store().state();
        let Some(run) = state.pipelines.get(&id) else {
            return Next::Over;
        };
        let env = run.env(run.stage());
        let ill = env.as_ref().map(|env| self.ill(env)).unwrap_or_default();
        let env = env.and_then(|env| state.environments.get(&env));
        pipeline::next(run, env, &ill, now())
    }

    /// A stage that cannot get its release ends the run.
    async fn settle(&self, run: &Run, stop: Option<Stop>) -> Result<(), Refusal> {
        let message = match stop.map(Stop::word) {
            None => return Ok(()),
            Some(Progress::Failed { message, .. }) => message,
            Some(Progress::Mistakes { mistakes, .. }) => {
                let first = mistakes.into_iter().next();
                first.map_or_else(String::new, |mistake| mistake.message)
            }
            Some(Progress::Forbidden { violations, .. }) => {
                let denied = violations.iter().find(|violation| violation.is_denied());
                let rule = denied.map(|denied| format!("{} ({})", denied.message, denied.rule));
                format!("its policy forbids it: {}", rule.unwrap_or_default())
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
        let why = format!("{} of the pipeline {}", run.id, run.pipeline);
        let terms = Terms {
            why: &why,
            unchanged: Unchanged::Keep,
            others: Others::Wait,
            rollback: Held::Superseded,
            made: None,
            stage_of: Some(run.id),
        };
        let author = Actor {
            who: run.author.clone(),
        };
        let wanted = (&offer.spec, Some(&offer.images));
        self.permitted(&author, wanted, None, Forced::No)?;
        self.recorded(desk, &author, terms, offer).await?;
        self.live(&offer.spec.id);
        Ok(())
    }

    /// Runs the check of the run's present stage; where the run stands then.
    async fn checked(&self, run: &Run, check: &Check) -> Position {
        let env = self.check_variables(run);
        let dir = Path::new(&run.dir);
        let checking = ward_build::check(&check.command, dir, env, &|_| {});
        let limit = check.timeout.duration();
        let of = run
            .env(run.stage())
            .map_or_else(String::new, |env| env.to_string());
        match tokio::time::timeout(limit, checking).await {
            Ok(Ok(())) => pipeline::checked(run, now()),
            Ok(Err(error)) => {
                let message = format!("the check of {of} was not passed: {}", causes(&error));
                pipeline::failed(run, message, error.output().to_vec())
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

    /// The runs, the newest first; or the one that is asked for.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn pipelines(&self, id: Option<PipelineRunId>) -> Result<Vec<PipelineRunView>, Refusal> {
        let state = self.store().state();
        match id {
            None => Ok(state.pipelines.values().rev().map(view).collect()),
            Some(id) => match state.pipelines.get(&id) {
                Some(run) => Ok(vec![view(run)]),
                None => Err(no_run(id)),
            },
        }
    }

    /// Takes a word about a run. One that does not count is recorded all the same, once.
    ///
    /// # Errors
    /// When there is no such run, when it is over, and when the word does not count.
    pub async fn vote(
        &self,
        actor: &Actor,
        request: &VoteRequest,
    ) -> Result<PipelineRunView, Refusal> {
        let desk = self.desk().await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let run = asked(state, request.run)?;
            let refused = pipeline::counts(run, &actor.who, request.word).err();
            let vote = Vote {
                stage: run.stage(),
                by: actor.who.clone(),
                word: request.word,
                why: request.why.clone(),
                refused: refused.clone(),
            };
            if refused.is_some() && run.votes.iter().any(|known| known.repeats(&vote)) {
                return Ok(((run.id, refused), Vec::new()));
            }
            let env = run
                .env(run.stage())
                .ok_or_else(|| no_stage(&run.pipeline))?;
            let event = Event::PipelineVoted {
                env,
                run: run.id,
                vote,
            };
            Ok(((run.id, refused), vec![event]))
        });
        let (id, refused) = deciding.await?;
        if let Some(why) = refused {
            let message = format!(
                "{} {why}; {id} stays where it is, and this is recorded",
                actor.who
            );
            let hint = format!("`ward pipeline show {id}` says whose word it needs");
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
        }
        let state = self.store().state();
        state.pipelines.get(&id).map(view).ok_or_else(|| no_run(id))
    }

    /// Tells how a run goes, to its end or to where it waits for somebody's word.
    pub(crate) async fn followed_run(&self, id: PipelineRunId, steps: &Steps) -> Progress {
        let mut changed = self.store().changed();
        let mut said = String::new();
        loop {
            changed.mark_unchanged();
            let state = self.store().state();
            let Some(run) = state.pipelines.get(&id) else {
                return Stop::Refused(no_run(id)).word();
            };
            let stands = run.stands();
            match &run.position {
                Position::Ended { outcome } => return over(run, outcome),
                Position::Approving { .. } if run.word().is_none() => {
                    return Progress::Done {
                        message: format!(
                            "{id}: {stands}; `ward pipeline approve {id}` gives it, `reject` denies it"
                        ),
                        addresses: Vec::new(),
                    };
                }
                _ if stands != said => {
                    say(steps, format!("{id}: {stands}")).await;
                    said = stands;
                }
                _ => {}
            }
            if changed.changed().await.is_err() {
                return Stop::Refused(no_run(id)).word();
            }
        }
    }
}

impl Beginning {
    fn run(&self, state: &State, actor: &Actor, request: &PipelineRequest, build: Build) -> Run {
        let last = state.pipelines.keys().next_back().copied();
        let at = now();
        Run {
            id: last.unwrap_or_default().next(),
            stack: self.stack.clone(),
            pipeline: request.pipeline.clone(),
            stages: self.pipeline.stages.clone(),
            author: actor.who.clone(),
            began: at,
            dir: request.dir.clone(),
            build,
            position: Position::Deploying { stage: 0 },
            since: at,
            reached: Vec::new(),
            votes: Vec::new(),
        }
    }
}

/// Of what serves in the first stage already it is the same build.
fn version(state: &State, beginning: &Beginning, images: &BTreeMap<Name, Digest>) -> String {
    let first = &beginning.first;
    let known = state.environments.get(&first.id);
    let serves = known.and_then(Environment::current_release);
    let same = |build: &Build| {
        build.images == *images && build.stack_file.as_ref() == Some(&beginning.text)
    };
    match serves.filter(|release| same(&release.build)) {
        Some(release) => release.build.version.clone(),
        None => format!("{}.{}", first.version, next_build(state, &first.id)),
    }
}

/// Two runs of one pipeline would move the same environments against each other.
fn alone(state: &State, stack: &Name, pipeline: &Name) -> Result<(), Refusal> {
    let mut others = state.pipelines.values().filter(|run| !run.is_over());
    let Some(other) = others.find(|run| run.stack == *stack && run.pipeline == *pipeline) else {
        return Ok(());
    };
    let (id, by) = (other.id, &other.author);
    let message = format!(
        "{id} of the pipeline {pipeline}, begun by {by}, is under way: {}",
        other.stands()
    );
    Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "wait for it, or end it: `ward pipeline reject {id}`"
    )))
}

/// The stages get the same images, so none of them may ask for others.
fn same_sources(first: &EnvSpec, spec: &EnvSpec) -> Result<(), Refusal> {
    let differs = spec.services.iter().find(|(name, service)| {
        let other = first.services.get(*name).map(|service| &service.source);
        other != Some(&service.source)
    });
    let Some((name, _)) = differs else {
        return Ok(());
    };
    let (env, other) = (&spec.id, &first.id);
    let message = format!(
        "{env} makes the image of {name} in another way than {other}: a pipeline brings one build to all"
    );
    let hint = format!(
        "take `build` and `image` of {name} out of `[environment.{}]`",
        env.env()
    );
    Err(Refusal::new(RefusalKind::Invalid, message).hint(hint))
}

/// The one that is named, or the only one that is under way.
fn asked(state: &State, id: Option<PipelineRunId>) -> Result<&Run, Refusal> {
    let mut under_way = state.pipelines.values().filter(|run| !run.is_over());
    match id {
        Some(id) => match state.pipelines.get(&id) {
            Some(run) if run.is_over() => {
                let message = format!("{id} is over: {}", run.stands());
                Err(Refusal::new(RefusalKind::Conflict, message))
            }
            Some(run) => Ok(run),
            None => Err(no_run(id)),
        },
        None => match (under_way.next(), under_way.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Refusal::new(
                RefusalKind::NotFound,
                "no pipeline is under way",
            )),
            _ => Err(
                Refusal::new(RefusalKind::Invalid, "several pipelines are under way")
                    .hint("name one, such as p3; `ward pipeline show` lists them"),
            ),
        },
    }
}

fn over(run: &Run, outcome: &Outcome) -> Progress {
    let id = run.id;
    match outcome {
        Outcome::Succeeded => Progress::Done {
            message: format!(
                "{id}: {} has passed the pipeline {}",
                run.build.version, run.pipeline
            ),
            addresses: Vec::new(),
        },
        Outcome::Failed { output, .. } => {
            let lines = output.iter().map(|line| format!("\n  | {line}"));
            Progress::Failed {
                message: format!("{id}: {outcome}{}", lines.collect::<String>()),
                hint: Some(
                    "the stages behind it were not begun; mend it, and run the pipeline again"
                        .to_owned(),
                ),
            }
        }
        Outcome::Rejected { .. } => Progress::Failed {
            message: format!("{id}: {outcome}"),
            hint: None,
        },
    }
}

fn view(run: &Run) -> PipelineRunView {
    PipelineRunView {
        id: run.id,
        stack: run.stack.clone(),
        pipeline: run.pipeline.clone(),
        version: run.build.version.clone(),
        provenance: run.build.provenance.as_deref().cloned(),
        author: run.author.clone(),
        began: run.began,
        since: run.since,
        stages: run.stages.clone(),
        reached: run.reached.clone(),
        position: run.position.clone(),
        stands: run.stands(),
        votes: run.votes.clone(),
    }
}

fn no_run(id: PipelineRunId) -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        format!("there is no run {id} of a pipeline"),
    )
    .hint("`ward pipeline show` lists them")
}

fn no_stage(pipeline: &Name) -> Refusal {
    Refusal::new(
        RefusalKind::Failed,
        format!("the pipeline {pipeline} has no such stage"),
    )
}

fn no_pipeline<'a>(stack: &Name, name: &Name, there: impl Iterator<Item = &'a Name>) -> Refusal {
    let there: Vec<&str> = there.map(Name::as_str).collect();
    let hint = match there.is_empty() {
        true => format!("declare one: `[pipeline.{name}]` with its `stages`"),
        false => format!("there are: {}", there.join(", ")),
    };
    Refusal::new(
        RefusalKind::NotFound,
        format!("{stack} has no pipeline {name}"),
    )
    .hint(hint)
}

/// Returns at that time; without one never.
/// Returns when an instance of the stage that soaks changed; of others nobody asks.
async fn changes_in(run: &Run, instances: Option<&mut watch::Receiver<u64>>) {
    if let (Position::Soaking { .. }, Some(instances)) = (&run.position, instances)
        && instances.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn until(due: Option<Timestamp>) {
    match due {
        Some(due) => tokio::time::sleep(Duration::from_millis(due.since(now()).0)).await,
        None => std::future::pending().await,
    }
}
