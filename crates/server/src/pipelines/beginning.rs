//! The beginning of a run: what its pipeline says, with a build that is made for it or one that is kept.

use std::collections::BTreeMap;
use std::path::Path;

use ward_plan::policy::Built;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{Digest, EnvId, Name, PipelineRunId};
use ward_types::pipeline::{Pipeline, Position, Run};
use ward_types::release::{Build, Environment};
use ward_types::source::KeptBuild;
use ward_types::spec::EnvSpec;
use ward_types::view::PipelineRequest;

use super::checks::{Files, differing, files_of, words};
use super::no_stage;
use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, mistaken, stack_of, unreadable};
use crate::each::named_once;
use crate::hosts::apart;
use crate::kept::{declared, named};
use crate::making::Once;
use crate::policing::{made_of, unmade};
use crate::recording::{next_build, provenance_of};
use crate::source;

/// What became of the wish for a run.
pub(super) enum Begun {
    /// It is recorded.
    New(PipelineRunId),
    /// One that is under way has the very same build.
    UnderWay(PipelineRunId),
}

/// What a run is begun with.
struct Beginning {
    stack: Name,
    pipeline: Pipeline,
    first: EnvSpec,
    text: String,
}

impl Control {
    pub(super) async fn begun(
        &self,
        actor: &Actor,
        request: &PipelineRequest,
        steps: &Steps,
    ) -> Result<Begun, Stop> {
        let admitted = self.admit()?;
        let dir = Path::new(&request.dir);
        let provenance = provenance_of(dir).await;
        let (file, text) = source::read(dir).map_err(unreadable)?;
        let beginning = self.beginning(&file, text, &request.pipeline).await?;
        let first = &beginning.first;
        self.say_no_secret(&beginning.stack, &[], Some(&beginning.text))
            .await?;
        self.reasoned(actor, &request.why, first)?;
        self.all_stages_reasoned(actor, &request.why, &beginning.text, beginning.stages())?;
        // Before a build, so that nobody waits for one in vain; looked at again when it is released.
        self.permitted(
            actor,
            (first, None, unmade(&beginning.text)),
            Some(dir),
            self.told_anew(&first.id, provenance.as_deref()),
        )?;
        let begins = (&beginning.stack, &request.pipeline);
        self.alone(&self.store().state(), begins, unmade(&beginning.text))?;
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
        let checks = files_of(dir, [&beginning.pipeline]).await?;
        let desk = self.desk_for(&request.why).await;
        let wanted = building.wanted();
        wanted.map_err(|end| self.cut_off(&building, &first.id, &end))?;
        // Now that it is known what it has: a run whose first stage cannot get it does not begin.
        let built = made_of(&made.images, &beginning.text);
        let forced = self.told_anew(&first.id, provenance.as_deref());
        self.permitted(actor, (first, None, built), Some(dir), forced)?;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let built = made_of(&made.images, &beginning.text);
            if let Some(other) = self.alone(state, begins, built)? {
                return Ok((Err(other), Vec::new()));
            }
            let build = Build {
                version: version(state, &beginning, &made.images),
                images: made.images.clone(),
                stack_file: Some(beginning.text.clone()),
                provenance: provenance.clone(),
            };
            let run = beginning.run(state, (actor, request), build, &checks);
            let event = Event::PipelineBegan {
                env: first.id.clone(),
                run: Box::new(run.clone()),
            };
            Ok((Ok(run), vec![event]))
        });
        let run = match deciding.await? {
            Ok(run) => run,
            Err(other) => return Ok(Begun::UnderWay(other)),
        };
        // The images are in no release yet: the first stage gets them before anything may be collected.
        let released = match self.stage_offer(&run, 0) {
            Ok(offer) => self.stage_released(&desk, &run, &offer).await,
            Err(stop) => Err(stop),
        };
        drop((building, made, desk));
        self.settle_first(&run, released.err()).await;
        Ok(Begun::New(run.id))
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
        let made = made_of(&build.images, &beginning.text);
        let forced = self.told_anew(&first.id, build.provenance.as_deref());
        self.permitted(actor, (first, None, made), None, forced)?;
        self.images_ready(&first.id, &build.images).await?;
        let dir = Path::new(&request.dir);
        let checks = files_of(dir, [&beginning.pipeline]).await?;
        if let Some(word) = differing(words(&beginning.pipeline), &checks, &kept.checks) {
            return Err(other_check(dir, word, kept).into());
        }
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            if let Some(other) = under_way(state, (&beginning.stack, &request.pipeline)) {
                return Err(self.in_the_way(other));
            }
            let run = beginning.run(state, (actor, request), build.clone(), &checks);
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
        let each: Vec<_> = specs.iter().map(|spec| (spec, None)).collect();
        self.declarable(&stack.name, &each, None).await?;
        for spec in &specs {
            same_sources(&specs[0], spec)?;
        }
        let mut pipeline = pipeline.clone();
        self.asks_another(name, &mut pipeline, &specs)?;
        Ok(Beginning {
            stack: stack.name.clone(),
            pipeline,
            first: specs.into_iter().next().ok_or_else(|| no_stage(name))?,
            text,
        })
    }

    /// Two runs of one pipeline would move the same environments against each other. One that has the same build as what
    /// is to begin is no hindrance, but the very thing that is asked for.
    fn alone(
        &self,
        state: &State,
        begins: (&Name, &Name),
        built: Built<'_>,
    ) -> Result<Option<PipelineRunId>, Refusal> {
        match under_way(state, begins) {
            None => Ok(None),
            Some(other) if built.is(&other.build) => Ok(Some(other.id)),
            Some(other) => Err(self.in_the_way(other)),
        }
    }

    fn in_the_way(&self, other: &Run) -> Refusal {
        let (id, by, pipeline) = (other.id, &other.author, &other.pipeline);
        let (stands, hint) = self.stands_now(other);
        let message =
            format!("{id} of the pipeline {pipeline}, begun by {by}, is under way: {stands}");
        Refusal::new(RefusalKind::Conflict, message).hint(hint)
    }
}

impl Beginning {
    fn stages(&self) -> impl Iterator<Item = EnvId> {
        let stages = self.pipeline.stages.iter();
        stages.map(|stage| EnvId::new(&self.stack, &stage.env))
    }

    fn run(
        &self,
        state: &State,
        (actor, request): (&Actor, &PipelineRequest),
        build: Build,
        checks: &Files,
    ) -> Run {
        let last = state.pipelines.keys().next_back().copied();
        let at = now();
        Run {
            id: last.unwrap_or_default().next(),
            stack: self.stack.clone(),
            pipeline: request.pipeline.clone(),
            stages: self.pipeline.stages.clone(),
            author: actor.who.clone(),
            began: at,
            why: request.why.trim().to_owned(),
            dir: request.dir.clone(),
            checks: checks.clone(),
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
    let known = state.environment(&first.id);
    let serves = known.and_then(Environment::current_release);
    let same = |build: &Build| {
        build.images == *images && build.stack_file.as_ref() == Some(&beginning.text)
    };
    match serves.filter(|release| same(&release.build)) {
        Some(release) => release.build.version.clone(),
        None => format!("{}.{}", first.version, next_build(state, &first.id)),
    }
}

/// The run of a pipeline that has not ended.
fn under_way<'a>(state: &'a State, (stack, pipeline): (&Name, &Name)) -> Option<&'a Run> {
    let mut all = state.pipelines.values().filter(|run| !run.is_over());
    all.find(|run| run.stack == *stack && run.pipeline == *pipeline)
}

/// The run that is under way with a build that is kept.
pub(super) fn same(state: &State, pipeline: &Name, kept: &KeptBuild) -> Option<PipelineRunId> {
    let run = under_way(state, (&kept.stack, pipeline))?;
    Built::from(&kept.build).is(&run.build).then_some(run.id)
}

/// A kept build passes its gates by the checks that it was built beside: whoever has others in a folder passes nothing.
fn other_check(dir: &Path, word: &str, kept: &KeptBuild) -> Refusal {
    let (dir, version) = (dir.display(), &kept.build.version);
    let message = format!(
        "{word} in {dir} is not the one that {version} was built beside: a build passes its gates by its own checks"
    );
    Refusal::new(RefusalKind::Conflict, message)
        .hint("run it in the folder, or in a checkout of the commit, that it was built from; or build anew")
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

pub(crate) fn no_pipeline<'a>(
    stack: &Name,
    name: &Name,
    there: impl Iterator<Item = &'a Name>,
) -> Refusal {
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
