//! What a build must not be taken past by hand: a pipeline that did not let it pass, and gates that it never came to.

use std::collections::BTreeMap;

use ward_types::event::State;
use ward_types::id::{Digest, EnvId, Name};
use ward_types::pipeline::{Gate, Outcome, Pipeline, Position, Run, Stage};
use ward_types::release::Build;
use ward_types::unit::format_duration;

use crate::policy::Built;

/// A build, and the files of checks that it was made beside, by the words that name them: a run with others says nothing of
/// it. Where none are known every run does.
pub type Made<'a> = (&'a Build, &'a BTreeMap<String, Digest>);

/// The runs of a build, the newest first.
fn runs_of<'a>(
    state: &'a State,
    (build, checks): Made<'a>,
    to: &EnvId,
) -> impl Iterator<Item = &'a Run> {
    let stack = to.stack();
    let other = |run: &Run| {
        let of_run = |(word, digest)| run.checks.get(word).is_some_and(|had| had != digest);
        checks.iter().any(of_run)
    };
    let same =
        move |run: &&Run| run.stack == stack && Built::from(build).is(&run.build) && !other(run);
    state.pipelines.values().rev().filter(same)
}

/// What keeps a build from being promoted by hand.
#[derive(Debug, Clone)]
pub struct Bar<'a> {
    /// The last run that it went through.
    pub run: &'a Run,
    /// That this one did not let it pass, or has not yet, as a clause; where it stands or how it ended belongs behind it.
    pub what: String,
}

/// Why a build must not be promoted to `to` by hand: the last pipeline that it went through did not let it
/// pass, or has not yet.
#[must_use]
pub fn bars<'a>(state: &'a State, made: Made<'a>, to: &EnvId) -> Option<Bar<'a>> {
    let run = runs_of(state, made, to).next()?;
    let version = &run.build.version;
    let of = format!("the pipeline {} ({})", run.pipeline, run.id);
    let what = match &run.position {
        Position::Ended {
            outcome: Outcome::Succeeded,
        } => return None,
        Position::Ended { .. } => format!("{version} did not pass {of}"),
        _ => {
            let mut ahead = run.stages.iter().skip(run.stage());
            if !ahead.any(|stage| stage.env == to.env()) {
                return None;
            }
            format!("{version} is on its way to {to} in {of}")
        }
    };
    Some(Bar { run, what })
}

/// Gates that a build has not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpassed {
    /// The pipeline.
    pub pipeline: Name,
    /// What stands before the stage, as clauses: `the check of dev`.
    pub gates: Vec<String>,
}

/// The gates before `to` that a build has not passed, by the pipelines of its own stack file. Where several lead there
/// one that it has passed is enough, and so is one in which nothing stands before it.
#[must_use]
pub fn unpassed(
    state: &State,
    made: Made<'_>,
    to: &EnvId,
    pipelines: &BTreeMap<Name, Pipeline>,
) -> Option<Unpassed> {
    let mut first = None;
    for (name, pipeline) in pipelines {
        let mut stages = pipeline.stages.iter();
        let Some(at) = stages.position(|stage| stage.env == to.env()) else {
            continue;
        };
        let before = pipeline.stages.iter().take(at);
        let gates: Vec<String> = before.flat_map(clauses).collect();
        let mut runs = runs_of(state, made, to);
        if gates.is_empty() || runs.any(|run| run.pipeline == *name && has_passed(run, at)) {
            return None;
        }
        first.get_or_insert(Unpassed {
            pipeline: name.clone(),
            gates,
        });
    }
    first
}

/// Whether a run is behind the gates of all stages before this one, and nothing was found against the build since.
pub(crate) fn has_passed(run: &Run, stage: usize) -> bool {
    match &run.position {
        Position::Ended { outcome } => *outcome == Outcome::Succeeded,
        _ => run.stage() >= stage,
    }
}

fn clauses(stage: &Stage) -> Vec<String> {
    let env = &stage.env;
    let Gate {
        check,
        soak,
        approve,
    } = &stage.gate;
    let check = check.as_ref().map(|_| format!("the check of {env}"));
    let soak = (soak.0 > 0).then(|| format!("{} in {env}", format_duration(*soak)));
    let approve = approve.as_ref();
    let approve = approve.map(|approve| format!("the word of a {} in {env}", approve.role));
    [check, soak, approve].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use ward_types::id::PipelineRunId;

    use super::super::failed;
    use super::super::tests::{reached, run};
    use super::*;

    #[test]
    fn a_build_is_not_promoted_past_its_pipeline() {
        let mut state = State::default();
        let build = run(Position::Deploying { stage: 0 }).build;
        let none = BTreeMap::new();
        let bars = |state: &State, to: &str| {
            let bar = bars(state, (&build, &none), &EnvId::parse(to).unwrap());
            bar.map(|bar| format!("{}: {}", bar.what, bar.run.stands()))
        };
        assert_eq!(bars(&state, "shop/prod"), None);
        state.pipelines.insert(
            PipelineRunId(1),
            reached(Position::Approving { stage: 1 }, 2),
        );
        assert!(
            bars(&state, "shop/prod")
                .unwrap()
                .contains("waits for the word of a qa-lead")
        );
        assert_eq!(bars(&state, "shop/dev"), None);
        assert_eq!(bars(&state, "other/prod"), None);
        let failed = failed(
            &reached(Position::Checking { stage: 0 }, 1),
            "no".into(),
            Vec::new(),
        );
        state.pipelines.insert(PipelineRunId(2), run(failed));
        assert!(bars(&state, "shop/dev").unwrap().contains("did not pass"));
        let outcome = Outcome::Succeeded;
        state
            .pipelines
            .insert(PipelineRunId(3), run(Position::Ended { outcome }));
        assert_eq!(bars(&state, "shop/prod"), None);
    }

    #[test]
    fn what_passed_by_other_checks_says_nothing_of_what_was_made_beside_these() {
        let digest = |of: char| Digest::parse(&format!("sha256:{}", String::from(of).repeat(64)));
        let files = |of| BTreeMap::from([("./check.sh".to_owned(), digest(of).unwrap())]);
        let mut passed = run(Position::Ended {
            outcome: Outcome::Succeeded,
        });
        let build = passed.build.clone();
        let to = EnvId::parse("shop/prod").unwrap();
        let stages = passed.stages.clone();
        let pipelines = BTreeMap::from([(passed.pipeline.clone(), Pipeline { stages })]);
        let mut state = State::default();
        let mut failed = run(failed(
            &reached(Position::Checking { stage: 0 }, 1),
            "no".into(),
            Vec::new(),
        ));
        failed.checks = files('a');
        passed.checks = files('b');
        state.pipelines.insert(PipelineRunId(1), failed);
        state.pipelines.insert(PipelineRunId(2), passed);
        let (its_own, others, none) = (files('a'), files('b'), BTreeMap::new());
        for (checks, may) in [(&its_own, false), (&others, true), (&none, true)] {
            assert_eq!(bars(&state, (&build, checks), &to).is_none(), may);
            let unpassed = unpassed(&state, (&build, checks), &to, &pipelines);
            assert_eq!(unpassed.is_none(), may);
        }
    }

    #[test]
    fn a_build_needs_the_gates_before_a_stage_and_no_others() {
        let mut state = State::default();
        let of = run(Position::Deploying { stage: 0 });
        let name = |text: &str| Name::parse(text).unwrap();
        let stages = of.stages.clone();
        let pipelines = BTreeMap::from([(name("delivery"), Pipeline { stages })]);
        let to = |text: &str| EnvId::parse(text).unwrap();
        let needs = |state: &State, env: &str| {
            let needs = unpassed(state, (&of.build, &BTreeMap::new()), &to(env), &pipelines);
            needs.map_or_else(Vec::new, |needs| needs.gates)
        };
        let all = [
            "the check of dev",
            "10m in qa",
            "the word of a qa-lead in qa",
        ];
        assert_eq!(needs(&state, "shop/prod"), all, "it never went through it");
        assert_eq!(needs(&state, "shop/qa"), all[..1]);
        assert_eq!(
            needs(&state, "shop/dev"),
            [""; 0],
            "nothing stands before it"
        );
        assert_eq!(
            needs(&state, "shop/demo"),
            [""; 0],
            "no pipeline leads there"
        );
        let waits = reached(Position::Approving { stage: 1 }, 2);
        state.pipelines.insert(PipelineRunId(1), waits);
        assert_eq!(needs(&state, "shop/qa"), [""; 0]);
        assert_eq!(needs(&state, "shop/prod"), all);
        let outcome = Outcome::Succeeded;
        let passed = run(Position::Ended { outcome });
        state.pipelines.insert(PipelineRunId(2), passed);
        assert_eq!(needs(&state, "shop/prod"), [""; 0]);
        // Another build's run is none of this one's.
        let mut other = of.build.clone();
        other.stack_file = Some("another".into());
        assert!(
            unpassed(
                &state,
                (&other, &BTreeMap::new()),
                &to("shop/prod"),
                &pipelines
            )
            .is_some()
        );
        // A shorter way that has nothing before it is one, too.
        let short = Pipeline {
            stages: of.stages[2..].to_vec(),
        };
        let mut both = pipelines.clone();
        both.insert(name("hotfix"), short);
        assert_eq!(
            unpassed(&state, (&other, &BTreeMap::new()), &to("shop/prod"), &both),
            None
        );
    }
}
