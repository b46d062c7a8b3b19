//! What a run of a pipeline does next, whose word counts, and what a build must not be promoted past.
//!
//! Decision: a gate stands behind its stage. When the stage serves the build, its check is run, then it soaks,
//! then somebody approves; only then does the next stage get the build. A release that does not serve its stage
//! any more, because somebody deployed or rolled back there meanwhile, passes nothing: what would be approved is
//! not what was tried.

mod past;

use ward_types::pipeline::{Approval, By, Outcome, Position, Run, Word};
use ward_types::release::{Deployment, Environment, Goal, Phase, Reason, Verdict};
use ward_types::time::Timestamp;

pub use self::past::{Unpassed, bars, unpassed};

/// What to do now about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing ever again.
    Over,
    /// Release the build in this stage.
    Release {
        /// Which.
        stage: usize,
    },
    /// Run the check of this stage's gate.
    Check {
        /// Which.
        stage: usize,
    },
    /// Write down that it stands elsewhere.
    Move(Position),
    /// Wait until something changes, or until then.
    Wait(Option<Timestamp>),
}

/// What to do now; `env` is the environment of the run's present stage.
#[must_use]
pub fn next(run: &Run, env: Option<&Environment>, now: Timestamp) -> Next {
    if let Some(vote) = run.word().filter(|vote| vote.word == Word::Reject)
        && !run.is_over()
    {
        return Next::Move(ended(Outcome::Rejected {
            stage: run.stage(),
            by: vote.by.clone(),
            why: vote.why.clone(),
        }));
    }
    match &run.position {
        Position::Ended { .. } => Next::Over,
        Position::Deploying { stage } => deploying(run, *stage, env, now),
        position => match moved_away(run, env) {
            Some(lost) => Next::Move(lost),
            None => at_the_gate(run, position, now),
        },
    }
}

/// Where it stands when the check of its present stage has ended well.
#[must_use]
pub fn checked(run: &Run, now: Timestamp) -> Position {
    behind(run, run.stage(), Step::Check, now)
}

/// Where it stands when something of its present stage has failed.
#[must_use]
pub fn failed(run: &Run, message: String, output: Vec<String>) -> Position {
    let stage = run.stage();
    ended(Outcome::Failed {
        stage,
        message,
        output,
    })
}

fn ended(outcome: Outcome) -> Position {
    Position::Ended { outcome }
}

fn deploying(run: &Run, stage: usize, env: Option<&Environment>, now: Timestamp) -> Next {
    let Some(reached) = run.reached.get(stage) else {
        return Next::Release { stage };
    };
    let served = |id| env.and_then(|env| env.deployments.get(&id));
    let (verdict, failure) = match reached.deployment {
        None => (Some(Verdict::Succeeded), None),
        Some(id) => match served(id).map(|deployment| &deployment.phase) {
            Some(Phase::Finished {
                verdict, failure, ..
            }) => (Some(*verdict), failure.as_ref()),
            Some(_) => (None, None),
            None => (Some(Verdict::Unknown), None),
        },
    };
    match verdict {
        None => Next::Wait(None),
        Some(Verdict::Succeeded) => Next::Move(behind(run, stage, Step::Deploy, now)),
        Some(verdict) => {
            let env = run.env(stage).map_or(String::new(), |env| env.to_string());
            let why = failure.map(|failure| format!(": {}", failure.message));
            let message = format!(
                "{} of {env} ended as {}{}",
                reached.release,
                verdict.in_words(),
                why.unwrap_or_default()
            );
            let output = failure.map(|failure| failure.output.clone());
            Next::Move(failed(run, message, output.unwrap_or_default()))
        }
    }
}

fn at_the_gate(run: &Run, position: &Position, now: Timestamp) -> Next {
    match position {
        Position::Checking { stage } => Next::Check { stage: *stage },
        Position::Soaking { stage, until } if *until <= now => {
            Next::Move(behind(run, *stage, Step::Soak, now))
        }
        Position::Soaking { until, .. } => Next::Wait(Some(*until)),
        Position::Approving { stage } if run.word().is_some() => {
            Next::Move(behind(run, *stage, Step::Approve, now))
        }
        _ => Next::Wait(None),
    }
}

/// The end of a run that must not go on to its next stage, though it has passed the gate before it: the stage before
/// serves something else by now, or somebody has taken the next one down, or back, since the run began. `before` and
/// `env` are the environments of these two.
#[must_use]
pub fn held_back(
    run: &Run,
    before: Option<&Environment>,
    env: Option<&Environment>,
) -> Option<Position> {
    let stage = run.stage();
    // Whoever begins a run asks for its first stage.
    let last = stage.checked_sub(1)?;
    if let Some(lost) = left(run, last, before) {
        return Some(lost);
    }
    let env = env.filter(|env| !env.is_bare() && !env.is_deleted())?;
    let id = &env.id;
    if env.goal != Goal::Up {
        let message = format!(
            "{id} was taken down: `ward up --env {}` brings it up",
            id.env()
        );
        return Some(failed(run, message, Vec::new()));
    }
    let since = |deployment: &&Deployment| deployment.requested > run.began;
    let mut since = env.deployments.values().rev().filter(since);
    let back = since.find(|deployment| deployment.reason == Reason::Rollback)?;
    let message = format!(
        "{} rolled {id} back to {} since the run began",
        back.by, back.to
    );
    Some(failed(run, message, Vec::new()))
}

/// The end of a run whose stage serves something else by now.
fn moved_away(run: &Run, env: Option<&Environment>) -> Option<Position> {
    left(run, run.stage(), env)
}

fn left(run: &Run, stage: usize, env: Option<&Environment>) -> Option<Position> {
    let reached = run.reached.get(stage)?;
    let serves = env.and_then(|env| env.current);
    (serves != Some(reached.release)).then(|| {
        let env = run.env(stage).map_or(String::new(), |env| env.to_string());
        let message = format!(
            "{env} does not serve {} any more: somebody moved it while the run was under way",
            reached.release
        );
        failed(run, message, Vec::new())
    })
}

/// What of a stage is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Deploy,
    Check,
    Soak,
    Approve,
}

/// Where a run stands when so much of a stage is done.
fn behind(run: &Run, stage: usize, done: Step, now: Timestamp) -> Position {
    let Some(gate) = run.stages.get(stage).map(|stage| &stage.gate) else {
        return ended(Outcome::Succeeded);
    };
    if done < Step::Check && gate.check.is_some() {
        return Position::Checking { stage };
    }
    if done < Step::Soak && gate.soak.0 > 0 {
        let until = now + gate.soak;
        return Position::Soaking { stage, until };
    }
    if done < Step::Approve && gate.approve.is_some() {
        return Position::Approving { stage };
    }
    match stage + 1 < run.stages.len() {
        true => Position::Deploying { stage: stage + 1 },
        false => ended(Outcome::Succeeded),
    }
}

/// Why the word of `who` does not count; to be recorded with it.
///
/// # Errors
/// A predicate of the one who gave it.
pub fn counts(run: &Run, who: &str, word: Word) -> Result<(), String> {
    let approval = run
        .stages
        .get(run.stage())
        .and_then(|s| s.gate.approve.as_ref());
    match (word, approval) {
        // Whoever started it may take it back.
        (Word::Reject, _) if same(who, &run.author) => Ok(()),
        (Word::Reject, None) => {
            let approvals = run.stages.iter().filter_map(|s| s.gate.approve.as_ref());
            let mut people = approvals.flat_map(|approval| &approval.people);
            match people.any(|person| is(person, who)) {
                true => Ok(()),
                false => Err("has no role in this pipeline, and did not start the run".to_owned()),
            }
        }
        (Word::Approve, _) if !matches!(run.position, Position::Approving { .. }) => {
            Err("is not asked for a word yet".to_owned())
        }
        (Word::Approve, None) => Err("is not asked for a word here".to_owned()),
        (_, Some(approval)) => entitled(approval, run, who, word),
    }
}

fn entitled(approval: &Approval, run: &Run, who: &str, word: Word) -> Result<(), String> {
    if !approval.people.iter().any(|person| is(person, who)) {
        return Err(format!("does not have the role {}", approval.role));
    }
    match (approval.by, word) {
        (By::Another, Word::Approve) if same(who, &run.author) => {
            Err("started the run, and a second person has to approve it".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether two are one person: a number stays who it is, whatever name the machine knows it by meanwhile.
fn same(who: &str, other: &str) -> bool {
    id(who) == id(other)
}

fn id(who: &str) -> &str {
    who.split_once('(').map_or(who, |(id, _)| id)
}

/// Whether `uid:1000` or `anna` of a stack file is `uid:1000(anna)`.
fn is(person: &str, who: &str) -> bool {
    let (id, name) = match who.split_once('(') {
        Some((id, rest)) => (id, rest.strip_suffix(')')),
        None => (who, None),
    };
    person == id || Some(person) == name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ward_types::id::{DeploymentId, EnvId, Name, PipelineRunId, ReleaseId};
    use ward_types::pipeline::{Check, Gate, Reached, Stage, Vote};
    use ward_types::release::Build;
    use ward_types::time::Millis;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// dev with a check, qa with a soak and an approval by another of anna and uid:2, prod with nothing.
    pub(super) fn run(position: Position) -> Run {
        let stage = |env: &str, gate: Gate| Stage {
            env: name(env),
            gate,
        };
        let check = Check {
            command: vec!["true".into()],
            timeout: Millis::secs(60),
        };
        let approve = Approval {
            role: name("qa-lead"),
            people: vec!["anna".into(), "uid:2".into()],
            by: By::Another,
        };
        let dev = Gate {
            check: Some(check),
            ..Gate::default()
        };
        let qa = Gate {
            soak: Millis::secs(600),
            approve: Some(approve),
            ..Gate::default()
        };
        Run {
            id: PipelineRunId(1),
            stack: name("shop"),
            pipeline: name("delivery"),
            stages: vec![
                stage("dev", dev),
                stage("qa", qa),
                stage("prod", Gate::default()),
            ],
            author: "uid:1000(anna)".into(),
            began: Timestamp(0),
            dir: "/src".into(),
            build: Build {
                version: "1.0.4".into(),
                images: BTreeMap::new(),
                stack_file: None,
                provenance: None,
            },
            position,
            since: Timestamp(0),
            reached: Vec::new(),
            votes: Vec::new(),
        }
    }

    pub(super) fn reached(position: Position, stages: usize) -> Run {
        let mut run = run(position);
        let one = Reached {
            release: ReleaseId(4),
            deployment: Some(DeploymentId(9)),
        };
        run.reached = vec![one; stages];
        run
    }

    fn env(current: u64, phase: &str) -> Environment {
        let mut env = Environment::new(EnvId::parse("shop/qa").unwrap());
        env.current = Some(ReleaseId(current));
        let text = format!(
            r#"{{"id":9,"reason":"deploy","from":null,"to":4,"requested":1,"started":1,"phase_since":1,"by":"anna",
            "phase":{phase}}}"#
        );
        env.deployments
            .insert(DeploymentId(9), serde_json::from_str(&text).unwrap());
        env
    }

    fn finished(verdict: &str) -> String {
        format!(r#"{{"state":"finished","verdict":"{verdict}","failure":null,"at":2}}"#)
    }

    #[test]
    fn each_stage_is_deployed_checked_soaked_and_approved_in_this_order() {
        let now = Timestamp(1000);
        let next_of = |run: &Run| next(run, Some(&env(4, &finished("succeeded"))), now);
        assert_eq!(
            next_of(&run(Position::Deploying { stage: 0 })),
            Next::Release { stage: 0 }
        );
        let deployed = reached(Position::Deploying { stage: 0 }, 1);
        assert_eq!(
            next_of(&deployed),
            Next::Move(Position::Checking { stage: 0 })
        );
        let checking = reached(Position::Checking { stage: 0 }, 1);
        assert_eq!(next_of(&checking), Next::Check { stage: 0 });
        assert_eq!(checked(&checking, now), Position::Deploying { stage: 1 });
        let until = Timestamp(601_000);
        let soaking = Position::Soaking { stage: 1, until };
        let second = reached(Position::Deploying { stage: 1 }, 2);
        assert_eq!(next_of(&second), Next::Move(soaking.clone()));
        let soaks = reached(soaking, 2);
        assert_eq!(next_of(&soaks), Next::Wait(Some(until)));
        let serves = env(4, &finished("succeeded"));
        let over = next(&soaks, Some(&serves), until);
        assert_eq!(over, Next::Move(Position::Approving { stage: 1 }));
        let mut waits = reached(Position::Approving { stage: 1 }, 2);
        assert_eq!(next_of(&waits), Next::Wait(None));
        waits.votes.push(vote(1, Word::Approve, None));
        assert_eq!(
            next_of(&waits),
            Next::Move(Position::Deploying { stage: 2 })
        );
        let last = reached(Position::Deploying { stage: 2 }, 3);
        let outcome = Outcome::Succeeded;
        assert_eq!(next_of(&last), Next::Move(Position::Ended { outcome }));
    }

    fn vote(stage: usize, word: Word, refused: Option<&str>) -> Vote {
        Vote {
            stage,
            by: "uid:2".into(),
            word,
            why: String::new(),
            refused: refused.map(str::to_owned),
        }
    }

    #[test]
    fn words_that_were_refused_or_given_before_move_nothing() {
        let mut waits = reached(Position::Approving { stage: 1 }, 2);
        waits.votes = vec![
            vote(1, Word::Approve, Some("no role")),
            vote(0, Word::Approve, None),
        ];
        let serves = env(4, &finished("succeeded"));
        assert_eq!(next(&waits, Some(&serves), Timestamp(1)), Next::Wait(None));
        waits.votes.push(vote(1, Word::Reject, None));
        let over = next(&waits, Some(&serves), Timestamp(1));
        assert!(matches!(
            over,
            Next::Move(Position::Ended {
                outcome: Outcome::Rejected { stage: 1, .. }
            })
        ));
    }

    #[test]
    fn what_fails_or_serves_no_more_goes_no_further() {
        let fails = |run: &Run, env: &Environment| match next(run, Some(env), Timestamp(1)) {
            Next::Move(Position::Ended {
                outcome: Outcome::Failed { message, .. },
            }) => message,
            other => panic!("{other:?}"),
        };
        let deployed = reached(Position::Deploying { stage: 1 }, 2);
        let message = fails(&deployed, &env(3, &finished("failed_old_serving")));
        assert_eq!(message, "r4 of shop/qa ended as failed, old serving");
        let waits = reached(Position::Approving { stage: 1 }, 2);
        let message = fails(&waits, &env(5, &finished("succeeded")));
        assert!(message.contains("does not serve r4 any more"), "{message}");
        let under_way = env(3, r#"{"state":"preparing"}"#);
        assert_eq!(
            next(&deployed, Some(&under_way), Timestamp(1)),
            Next::Wait(None)
        );
    }

    #[test]
    fn only_a_second_person_with_the_role_approves() {
        let waits = reached(Position::Approving { stage: 1 }, 2);
        let why = |who, word| counts(&waits, who, word).unwrap_err();
        assert!(counts(&waits, "uid:2(bob)", Word::Approve).is_ok());
        assert!(why("uid:1000(anna)", Word::Approve).contains("second person"));
        assert!(why("uid:3(carl)", Word::Approve).contains("role qa-lead"));
        assert!(why("uid:20", Word::Approve).contains("role qa-lead"));
        assert!(why("uid:3(carl)", Word::Reject).contains("role qa-lead"));
        assert!(counts(&waits, "uid:1000(anna)", Word::Reject).is_ok());
        let elsewhere = reached(Position::Checking { stage: 0 }, 1);
        assert!(counts(&elsewhere, "uid:2", Word::Approve).is_err());
        assert!(counts(&elsewhere, "uid:2", Word::Reject).is_ok());
        assert!(counts(&elsewhere, "uid:3", Word::Reject).is_err());
        let early = reached(Position::Deploying { stage: 1 }, 1);
        assert!(
            counts(&early, "uid:2", Word::Approve).is_err(),
            "it was not tried"
        );
    }
}
