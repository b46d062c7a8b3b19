//! Runs as people see them: listed, followed, and given a word.

use ward_plan::pipeline;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name, PipelineRunId};
use ward_types::pipeline::{Outcome, Position, Run, Vote, Word};
use ward_types::release::Deployment;
use ward_types::view::{PipelineRunView, Progress, VoteRequest};

use super::no_stage;
use crate::actor::{Actor, Refusal, RefusalKind};
use crate::control::Control;
use crate::deploy::{Steps, Stop, say};
use crate::recording::goes_on;

impl Control {
    /// The runs, the newest first; or the one that is asked for.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn pipelines(&self, id: Option<PipelineRunId>) -> Result<Vec<PipelineRunView>, Refusal> {
        let state = self.store().state();
        match id {
            None => {
                let all = state.pipelines.values().rev();
                Ok(all.map(|run| self.view_of(run)).collect())
            }
            Some(id) => match state.pipelines.get(&id) {
                Some(run) => Ok(vec![self.view_of(run)]),
                None => Err(no_run(id)),
            },
        }
    }

    /// Takes a word about a run. One that does not count is recorded all the same, once; one that lets pass what has passed
    /// is not.
    ///
    /// # Errors
    /// When there is no such run, when it is over, and when the word does not count.
    pub async fn vote(
        &self,
        actor: &Actor,
        request: &VoteRequest,
    ) -> Result<PipelineRunView, Refusal> {
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let run = asked(state, request)?;
            let given = |refused, already, rollout| Given {
                run: run.id,
                refused,
                already,
                rollout,
            };
            if let Some(known) = pipeline::passed(run, &actor.who, request.word) {
                return Ok((given(None, Some(known.clone()), None), Vec::new()));
            }
            let refused = pipeline::counts(run, &actor.who, request.word).err();
            let vote = Vote {
                stage: run.stage(),
                by: actor.who.clone(),
                word: request.word,
                why: request.why.trim().to_owned(),
                refused: refused.clone(),
                at: None,
            };
            if refused.is_some() && run.votes.iter().any(|known| known.repeats(&vote)) {
                return Ok((given(refused, None, None), Vec::new()));
            }
            let env = run
                .env(run.stage())
                .ok_or_else(|| no_stage(&run.pipeline))?;
            // One that was refused ends nothing.
            let ends = request.word == Word::Reject && refused.is_none();
            let ended = ends.then(|| Rollout::of(state, run, &env)).flatten();
            let cancelled = ended.as_ref().and_then(|rollout| rollout.cancelled(actor));
            let event = Event::PipelineVoted {
                env,
                run: run.id,
                vote,
            };
            let events = [Some(event), cancelled].into_iter().flatten().collect();
            Ok((given(refused, None, ended), events))
        });
        let Given {
            run: id,
            refused,
            already,
            rollout,
        } = deciding.await?;
        if let Some(why) = refused {
            let state = self.store().state();
            let run = state.pipelines.get(&id);
            let waits = run.and_then(|run| self.held_up(run));
            let (stays, hint) = match waits {
                Some((sentence, hint)) => (format!("{id} stays where it is ({sentence})"), hint),
                None => {
                    let asked = run.is_some_and(|run| is_approving(&run.position));
                    let says = if asked {
                        "whose word it needs"
                    } else {
                        "how it goes"
                    };
                    let hint = format!("`ward pipeline show {id}` says {says}");
                    (format!("{id} stays where it is"), hint)
                }
            };
            let message = format!("{} {why}; {stays}, and this is recorded", actor.who);
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
        }
        let state = self.store().state();
        let run = state.pipelines.get(&id).ok_or_else(|| no_run(id))?;
        Ok(PipelineRunView {
            already,
            rollout: rollout.map(|rollout| rollout.told()),
            ..self.view_of(run)
        })
    }

    /// Tells how a run goes, to its end or to where it waits for somebody's word, for the end of a freeze, or for
    /// what keeps Ward from going on.
    pub(crate) async fn followed_run(&self, id: PipelineRunId, steps: &Steps) -> Progress {
        let mut changed = self.store().changed();
        let mut hindered = self.0.hindered.changed();
        let mut said = String::new();
        loop {
            changed.mark_unchanged();
            hindered.mark_unchanged();
            let state = self.store().state();
            let Some(run) = state.pipelines.get(&id) else {
                return Stop::Refused(no_run(id)).word();
            };
            if let Some((sentence, hint)) = self.held_up(run) {
                return Progress::Done {
                    message: format!("{id}: {sentence}; {hint}"),
                    addresses: Vec::new(),
                };
            }
            let stands = run.stands();
            match &run.position {
                Position::Ended { outcome } => return over(&state, run, outcome),
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
            let more = tokio::select! {
                more = changed.changed() => more,
                more = hindered.changed() => more,
            };
            if more.is_err() {
                return Stop::Refused(no_run(id)).word();
            }
        }
    }
}

/// What became of a word.
struct Given {
    run: PipelineRunId,
    /// Why it does not count.
    refused: Option<String>,
    /// The word by which the gate was passed before.
    already: Option<Vote>,
    /// What was under way in the stage of a run that it ends.
    rollout: Option<Rollout>,
}

/// The deployment that a run waited for when it was rejected.
struct Rollout {
    env: EnvId,
    deployment: Deployment,
    /// Whether the run asked for it, and not somebody else before.
    queued: bool,
}

impl Rollout {
    fn of(state: &State, run: &Run, env: &EnvId) -> Option<Self> {
        let deployment = pipeline::under_way(run, state.environment(env))?;
        let reached = run.reached.get(run.stage())?;
        Some(Self {
            env: env.clone(),
            deployment: deployment.clone(),
            queued: reached.queued,
        })
    }

    /// Who takes back what a run asked for takes its deployment back, too; one that somebody else asked for is theirs.
    fn cancelled(&self, actor: &Actor) -> Option<Event> {
        let one = self.queued && goes_on(&self.deployment);
        one.then(|| Event::DeploymentCancelled {
            env: self.env.clone(),
            deployment: self.deployment.id,
            by: actor.who.clone(),
        })
    }

    fn told(&self) -> String {
        let Self {
            env,
            deployment,
            queued,
        } = self;
        let (id, to) = (deployment.id, deployment.to);
        match (goes_on(deployment), queued) {
            (false, _) => format!("{id} to {to} in {env} goes back already"),
            (true, true) => match deployment.from {
                Some(from) => format!("{id} to {to} in {env} is cancelled: it goes back to {from}"),
                None => format!("{id} to {to} in {env} is cancelled: nothing served there before"),
            },
            (true, false) => format!(
                "{id} to {to} in {env} goes on, because {} had asked for it before: `ward deployment cancel {id} --env \
                 {env}` ends it",
                deployment.by
            ),
        }
    }
}

/// The one that is named, or the only one of the stack that is under way.
fn asked<'a>(state: &'a State, request: &VoteRequest) -> Result<&'a Run, Refusal> {
    let stack = request.stack.as_ref();
    let under_way = || state.pipelines.values().filter(|run| !run.is_over());
    let mut own = under_way().filter(|run| stack.is_none_or(|stack| run.stack == *stack));
    match request.run {
        Some(id) => match state.pipelines.get(&id) {
            Some(run) if run.is_over() => {
                let message = format!("{id} is over: {}", run.stands());
                Err(Refusal::new(RefusalKind::Conflict, message))
            }
            Some(run) => Ok(run),
            None => Err(no_run(id)),
        },
        None => match (own.next(), own.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(none_of(stack, under_way(), request.word)),
            _ => Err(
                Refusal::new(RefusalKind::Invalid, "several pipelines are under way")
                    .hint("name one, such as p3; `ward pipeline show` lists them"),
            ),
        },
    }
}

/// What is meant where no run is named is the stack in the folder, as elsewhere: others are not touched, and named.
fn none_of<'a>(stack: Option<&Name>, others: impl Iterator<Item = &'a Run>, word: Word) -> Refusal {
    let none = |message: String| Refusal::new(RefusalKind::NotFound, message);
    let others: Vec<&Run> = others.collect();
    let (Some(stack), Some(first)) = (stack, others.first()) else {
        return none("no pipeline is under way".to_owned());
    };
    let all = others
        .iter()
        .map(|run| format!("{} of {}", run.id, run.stack));
    let all: Vec<String> = all.collect();
    let message = format!(
        "no pipeline of {stack}, the stack in this folder, is under way; of others there is {}",
        all.join(", ")
    );
    let word = match word {
        Word::Approve => "approve",
        Word::Reject => "reject",
    };
    none(message).hint(format!(
        "`ward pipeline {word} {}` means that one",
        first.id
    ))
}

fn is_approving(position: &Position) -> bool {
    matches!(position, Position::Approving { .. })
}

fn over(state: &State, run: &Run, outcome: &Outcome) -> Progress {
    let id = run.id;
    match outcome {
        Outcome::Succeeded => Progress::Done {
            message: format!(
                "{id}: {} has passed the pipeline {}",
                run.build.version, run.pipeline
            ),
            addresses: Vec::new(),
        },
        Outcome::Failed { stage, output, .. } => {
            let left = serves_still(state, run, *stage).map_or_else(String::new, |env| {
                let name = env.env();
                format!(
                    "; {env} serves the build, until `ward rollback --env {name}` takes it back"
                )
            });
            let lines = output.iter().map(|line| format!("\n  | {line}"));
            Progress::Failed {
                message: format!("{id}: {outcome}{}", lines.collect::<String>()),
                hint: Some(format!(
                    "the stages behind it were not begun; mend it, and run the pipeline again{left}"
                )),
            }
        }
        Outcome::Rejected { .. } => Progress::Failed {
            message: format!("{id}: {outcome}"),
            hint: None,
        },
    }
}

/// The environment of a stage, where what the run brought there serves.
fn serves_still(state: &State, run: &Run, stage: usize) -> Option<EnvId> {
    let env = run.env(stage)?;
    let reached = run.reached.get(stage)?.release;
    let serves = state.environment(&env)?.current_release()?;
    (serves.id == reached).then_some(env)
}

pub(crate) fn view(run: &Run) -> PipelineRunView {
    PipelineRunView {
        id: run.id,
        stack: run.stack.clone(),
        pipeline: run.pipeline.clone(),
        version: run.build.version.clone(),
        provenance: run.build.provenance.as_deref().cloned(),
        author: run.author.clone(),
        began: run.began,
        why: run.why.clone(),
        since: run.since,
        stages: run.stages.clone(),
        reached: run.reached.clone(),
        position: run.position.clone(),
        stands: run.stands(),
        way_on: None,
        rollout: None,
        votes: run.votes.clone(),
        already: None,
    }
}

fn no_run(id: PipelineRunId) -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        format!("there is no run {id} of a pipeline"),
    )
    .hint("`ward pipeline show` lists them")
}
