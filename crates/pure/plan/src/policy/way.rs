//! How a build came to an environment: by the gates of a pipeline, past somebody else's eyes, or around both.
//!
//! Decision: it is asked of builds, not of releases. A build that serves an environment, or has served there, brings
//! nothing new, so that other values, a rotation of secrets and the way forward again stay open. Of any other the newest
//! run decides that had it on its way there: what a later run found out about a build is not undone by an earlier one.
//! What served in an environment as a copy of another one has come there by itself, and counts for copies alone.
//! A stage that is the first has no gate before it, so a pipeline of that one stage lets nothing through.

use std::collections::BTreeMap;

use ward_types::event::State;
use ward_types::id::{Digest, EnvId, Name, PipelineRunId};
use ward_types::pipeline::{By, Pipeline, Run, Vote, Word};
use ward_types::policy::Rule;
use ward_types::release::{Build, Environment, Release};

use super::{Broken, Wanted};
use crate::pipeline::{has_passed, is_another};

/// A build, or what is known of one before it is made.
#[derive(Debug, Clone, Copy)]
pub struct Built<'a> {
    /// Its images; `None`: they are not made yet.
    pub images: Option<&'a BTreeMap<Name, Digest>>,
    /// The text of its stack file.
    pub stack_file: Option<&'a str>,
}

impl<'a> From<&'a Build> for Built<'a> {
    fn from(build: &'a Build) -> Self {
        Self {
            images: Some(&build.images),
            stack_file: build.stack_file.as_deref(),
        }
    }
}

impl Built<'_> {
    /// Whether a build is this one, as far as it is known.
    #[must_use]
    pub fn is(&self, build: &Build) -> bool {
        let images = self.images.is_none_or(|images| *images == build.images);
        images && self.stack_file == build.stack_file.as_deref()
    }
}

/// How a build comes to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    come: Come,
    /// The pipelines of its stack file that have a stage before the environment.
    leading: Vec<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Come {
    /// It serves there, or has served there.
    Served,
    /// By this run, whose gates it has passed.
    By {
        run: PipelineRunId,
        approved: Approved,
    },
    /// By none.
    Around,
}

/// Whose word a build has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Approved {
    /// Somebody's who did not bring it.
    ByAnother,
    /// Nobody's but theirs.
    No,
}

/// As what an environment would get a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// As what a stack file declares.
    Declared,
    /// As the copy that it is.
    Copy,
}

impl As {
    /// As what a release would serve in an environment that may be known.
    #[must_use]
    pub fn of(known: Option<&Environment>, release: &Release) -> Self {
        let copied = |known: &Environment| known.life.origin.is_some() && !known.is_deleted();
        let copy = known.is_some_and(copied);
        match copy && !release.is_named() {
            true => As::Copy,
            false => As::Declared,
        }
    }
}

impl Way {
    /// Of a build that `pipelines` of its own stack file could bring there.
    #[must_use]
    pub fn of(
        state: &State,
        (env, r#as): (&EnvId, As),
        built: Built<'_>,
        pipelines: &BTreeMap<Name, Pipeline>,
    ) -> Self {
        let leads = |pipeline: &Pipeline| {
            let mut behind = pipeline.stages.iter().skip(1);
            behind.any(|stage| stage.env == env.env())
        };
        let leading = pipelines.iter().filter(|(_, pipeline)| leads(pipeline));
        Self {
            come: come(state, (env, r#as), built),
            leading: leading.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Whether it comes there around every pipeline, and has never served there.
    #[must_use]
    pub fn is_around(&self) -> bool {
        self.come == Come::Around
    }
}

fn come(state: &State, (env, r#as): (&EnvId, As), built: Built<'_>) -> Come {
    let known = state.environment(env);
    if known.is_some_and(|known| has_served(known, r#as, built)) {
        return Come::Served;
    }
    let runs = state.pipelines.values().rev();
    let runs = runs.filter(|run| run.stack == env.stack() && built.is(&run.build));
    let mut runs = runs.filter_map(|run| Some((run, behind_another(run, env)?)));
    let passed = |(run, stage): &(&Run, usize)| has_passed(run, *stage);
    let by = match built.images {
        Some(_) => runs.next().filter(passed),
        // Before it is made it may turn out to be any of them.
        None => runs.find(passed),
    };
    match by {
        Some((run, stage)) => Come::By {
            run: run.id,
            approved: approved(run, stage),
        },
        None => Come::Around,
    }
}

fn has_served(env: &Environment, r#as: As, built: Built<'_>) -> bool {
    let served = env.current.into_iter().chain(env.once_served());
    let served = served.filter_map(|id| env.releases.get(&id));
    let mut counts = served.filter(|one| r#as == As::Copy || As::of(Some(env), one) == r#as);
    counts.any(|release| built.is(&release.build))
}

/// Which stage of a run the environment is, where another one stands before it.
fn behind_another(run: &Run, env: &EnvId) -> Option<usize> {
    let mut stages = run.stages.iter();
    let at = stages.position(|stage| stage.env == env.env());
    at.filter(|at| *at > 0)
}

fn approved(run: &Run, stage: usize) -> Approved {
    let counts = |vote: &Vote| {
        let approves = vote.word == Word::Approve && vote.refused.is_none();
        approves && vote.stage < stage && is_another(run, &vote.by)
    };
    match run.votes.iter().any(counts) {
        true => Approved::ByAnother,
        false => Approved::No,
    }
}

/// What breaks [`Rule::Pipeline`].
pub(super) fn around(wanted: &Wanted<'_>) -> Option<Broken> {
    let way = wanted.way?;
    let id = &wanted.spec.id;
    (way.come == Come::Around).then(|| Broken {
        path: path(Rule::Pipeline),
        message: format!("{id} would get a build that has not passed the gates before it"),
        way_out: by_pipeline(way, id),
    })
}

/// What breaks [`Rule::SecondPerson`].
pub(super) fn alone(wanted: &Wanted<'_>) -> Option<Broken> {
    let way = wanted.way?;
    let id = &wanted.spec.id;
    let (message, way_out) = match &way.come {
        Come::Served
        | Come::By {
            approved: Approved::ByAnother,
            ..
        } => return None,
        Come::By { run, .. } => (
            format!("nobody but who brought it has approved what {id} would get by {run}"),
            format!(
                "a new run, and the word of another person in a gate before {}",
                id.env()
            ),
        ),
        Come::Around => (
            format!("nobody has approved what {id} would get"),
            format!(
                "{}, and the word of another person in it",
                by_pipeline(way, id)
            ),
        ),
    };
    Some(Broken {
        path: path(Rule::SecondPerson),
        message,
        way_out,
    })
}

fn path(rule: Rule) -> String {
    format!("policy.{rule}")
}

fn by_pipeline(way: &Way, id: &EnvId) -> String {
    match way.leading.first() {
        Some(name) => format!("`ward pipeline run {name}`"),
        None => format!(
            "a `[pipeline.NAME]` with a stage before {}, and `ward pipeline run NAME`",
            id.env()
        ),
    }
}

/// Sees to it that no run goes in vain where the policies of stages ask for a second person: each approval before such
/// a stage is by another one, and there is one.
///
/// # Errors
/// The stage before which nobody is asked.
pub fn by_another(pipeline: &mut Pipeline, asks: impl Fn(&Name) -> bool) -> Result<(), Name> {
    let stages = &mut pipeline.stages;
    let Some(first) = stages.iter().position(|stage| asks(&stage.env)) else {
        return Ok(());
    };
    let mut before = stages.iter().take(first);
    if !before.any(|stage| stage.gate.approve.is_some()) {
        return Err(stages[first].env.clone());
    }
    let last = stages.iter().rposition(|stage| asks(&stage.env));
    let before = stages.iter_mut().take(last.unwrap_or_default());
    for approve in before.filter_map(|stage| stage.gate.approve.as_mut()) {
        approve.by = By::Another;
    }
    Ok(())
}
