use std::collections::BTreeMap;

use ward_types::id::{DeploymentId, EnvId, Name, PipelineRunId, ReleaseId};
use ward_types::pipeline::{Approval, By, Check, Gate, Reached, Stage, Vote};
use ward_types::release::Build;
use ward_types::time::Millis;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// dev with a check, qa with a soak and an approval by another of anna and uid:2, prod with nothing.
pub(crate) fn run(position: Position) -> Run {
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
        why: String::new(),
        dir: "/src".into(),
        checks: Default::default(),
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

pub(in crate::pipeline) fn reached(position: Position, stages: usize) -> Run {
    let mut run = run(position);
    let one = Reached {
        release: ReleaseId(4),
        deployment: Some(DeploymentId(9)),
        queued: true,
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
    let next_of = |run: &Run| next(run, Some(&env(4, &finished("succeeded"))), &[], now);
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
    let over = next(&soaks, Some(&serves), &[], until);
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
        at: None,
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
    assert_eq!(
        next(&waits, Some(&serves), &[], Timestamp(1)),
        Next::Wait(None)
    );
    waits.votes.push(vote(1, Word::Reject, None));
    let over = next(&waits, Some(&serves), &[], Timestamp(1));
    assert!(matches!(
        over,
        Next::Move(Position::Ended {
            outcome: Outcome::Rejected { stage: 1, .. }
        })
    ));
}

#[test]
fn who_lets_pass_what_has_passed_is_told_by_whose_word() {
    let (lead, stranger) = ("uid:2", "uid:3");
    let approve = |run: &Run, who: &str| passed(run, who, Word::Approve).cloned();
    let mut waits = reached(Position::Approving { stage: 1 }, 2);
    assert_eq!(approve(&waits, lead), None, "its word is needed");
    let given = vote(1, Word::Approve, None);
    waits.votes.push(given.clone());
    assert_eq!(approve(&waits, lead).as_ref(), Some(&given));
    waits.position = Position::Deploying { stage: 2 };
    assert_eq!(approve(&waits, lead).as_ref(), Some(&given));
    assert_eq!(approve(&waits, stranger), None);
    assert_eq!(passed(&waits, lead, Word::Reject), None);
}

#[test]
fn what_fails_or_serves_no_more_goes_no_further() {
    let fails = |run: &Run, env: &Environment| match next(run, Some(env), &[], Timestamp(1)) {
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
        next(&deployed, Some(&under_way), &[], Timestamp(1)),
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

#[test]
fn who_wrote_the_commit_is_no_second_person() {
    let mut waits = reached(Position::Approving { stage: 1 }, 2);
    waits.author = "source:app".into();
    let gate = &mut waits.stages[1].gate;
    let approval = gate.approve.as_mut().unwrap();
    approval.people.push("uid:1000".into());
    let of = |author: &str, tree: &str| {
        let provenance = format!(
            r#"{{"repository": "/src", "id": "{}", "author": "{author}", "committed": 0, "tree": "{tree}", "source": "app"}}"#,
            "a".repeat(40)
        );
        let mut run = waits.clone();
        run.build.provenance = Some(serde_json::from_str(&provenance).unwrap());
        run
    };
    for author in [
        "Anna Bauer <anna@example.com>",
        "Anna Bauer <Anna+work@example.com>",
        "anna <1+a@users.example.com>",
        "ANNA",
    ] {
        let run = of(author, "as_committed");
        let why = counts(&run, "uid:1000(anna)", Word::Approve).unwrap_err();
        assert!(
            why.contains("wrote the commit") && why.contains(author),
            "{why}"
        );
        assert!(counts(&run, "uid:1000(anna)", Word::Reject).is_ok());
        assert!(counts(&run, "uid:2(bob)", Word::Approve).is_ok());
    }
    for author in [
        "Bob <bob@anna.example.com>",
        "Annabel <annabel@x>",
        "<@x>",
        "",
    ] {
        let run = of(author, "as_committed");
        assert!(
            counts(&run, "uid:1000(anna)", Word::Approve).is_ok(),
            "{author}"
        );
        assert!(counts(&run, "uid:1000", Word::Approve).is_ok(), "{author}");
    }
    // What it was built of is somebody's work who is in no commit yet: who started the run.
    let changed = of("Anna <anna@example.com>", "changed");
    assert!(counts(&changed, "uid:1000(anna)", Word::Approve).is_ok());
    let mut anybody = of("Anna <anna@example.com>", "as_committed");
    let gate = &mut anybody.stages[1].gate;
    gate.approve.as_mut().unwrap().by = By::Anybody;
    assert!(counts(&anybody, "uid:1000(anna)", Word::Approve).is_ok());
}

/// qa soaks since 100, by d9 to r4, and passes at 601 000.
fn soaking() -> (Run, Environment) {
    let until = Timestamp(601_000);
    let mut run = reached(Position::Soaking { stage: 1, until }, 2);
    run.since = Timestamp(100);
    (run, env(4, &finished("succeeded")))
}

fn end(instance: &str, at: u64) -> LastEnd {
    LastEnd {
        instance: InstanceId::parse(instance).unwrap(),
        at: Timestamp(at),
        how: "ended with exit code 7".into(),
    }
}

/// Why it failed; `None`: it goes on.
fn fails(run: &Run, env: &Environment, ill: &[Ill]) -> Option<String> {
    match next(run, Some(env), ill, Timestamp(5000)) {
        Next::Wait(Some(_)) => None,
        Next::Move(Position::Ended {
            outcome: Outcome::Failed { message, stage, .. },
        }) => {
            assert_eq!(stage, 1);
            Some(message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_ends_by_itself_within_a_soak_fails_it() {
    let (run, mut env) = soaking();
    env.last_ends.push_back(end("web-r4-2", 99));
    env.last_ends.push_back(end("web-r3-1", 500));
    assert_eq!(
        fails(&run, &env, &[]),
        None,
        "before it, and of another release"
    );
    env.last_ends.push_back(end("web-r4-2", 5001));
    assert_eq!(fails(&run, &env, &[]), None, "by a clock that was ahead");
    env.last_ends.push_back(end("web-r4-3", 100));
    let message = fails(&run, &env, &[]).unwrap();
    let said = "web of shop/qa ended within its soak: web-r4-3 ended with exit code 7";
    assert_eq!(message, said);
    env.last_ends = [end("db-r0-1", 500)].into();
    assert!(fails(&run, &env, &[]).unwrap().starts_with("db of shop/qa"));
    // Behind the soak nobody looks at it.
    let mut waits = reached(Position::Approving { stage: 1 }, 2);
    waits.since = Timestamp(100);
    assert_eq!(
        next(&waits, Some(&env), &[], Timestamp(5000)),
        Next::Wait(None)
    );
}

#[test]
fn what_is_ill_within_a_soak_fails_it() {
    let (run, env) = soaking();
    let ill = |instance: &str| Ill {
        instance: InstanceId::parse(instance).unwrap(),
        why: Some("GET / answered 500".into()),
    };
    assert_eq!(fails(&run, &env, &[ill("web-r3-1")]), None);
    let message = fails(&run, &env, &[ill("web-r4-1")]).unwrap();
    let said = "web of shop/qa was unhealthy within its soak: web-r4-1, GET / answered 500";
    assert_eq!(message, said);
}

#[test]
fn what_else_serves_within_a_soak_fails_it_also_where_it_was_taken_back() {
    let (run, mut env) = soaking();
    let mut other = env.deployments[&DeploymentId(9)].clone();
    other.id = DeploymentId(10);
    other.to = ReleaseId(5);
    other.from = Some(ReleaseId(4));
    let at = |at: u64, verdict: Verdict| Phase::Finished {
        verdict,
        failure: None,
        at: Timestamp(at),
    };
    let with = |env: &mut Environment, phase: Phase| {
        let other = Deployment {
            phase,
            ..other.clone()
        };
        env.deployments.insert(other.id, other);
    };
    with(&mut env, at(500, Verdict::FailedOldServing));
    assert_eq!(fails(&run, &env, &[]), None, "it took no request");
    with(&mut env, at(50, Verdict::RolledBack));
    assert_eq!(fails(&run, &env, &[]), None, "it was over before");
    with(&mut env, at(500, Verdict::RolledBack));
    let message = fails(&run, &env, &[]).unwrap();
    assert_eq!(
        message,
        "d10 to r5 took requests in shop/qa within its soak"
    );
    let (run, mut env) = soaking();
    env.goal = Goal::Down;
    let message = fails(&run, &env, &[]).unwrap();
    assert_eq!(message, "shop/qa was taken down within its soak");
}

#[test]
fn what_was_moved_elsewhere_and_back_or_taken_down_passes_no_gate() {
    for (position, when) in [
        (Position::Checking { stage: 1 }, "while its check ran"),
        (
            Position::Approving { stage: 1 },
            "while it waited for a word",
        ),
    ] {
        let mut run = reached(position.clone(), 2);
        run.since = Timestamp(100);
        run.votes.push(vote(1, Word::Approve, None));
        let says = |env: &Environment| match next(&run, Some(env), &[], Timestamp(5000)) {
            Next::Move(Position::Ended {
                outcome: Outcome::Failed { message, .. },
            }) => Some(message),
            _ => None,
        };
        let mut env = env(4, &finished("succeeded"));
        assert_eq!(says(&env), None, "its own deployment");
        let mut other = env.deployments[&DeploymentId(9)].clone();
        let at = |at: u64| Phase::Finished {
            verdict: Verdict::Succeeded,
            failure: None,
            at: Timestamp(at),
        };
        (other.id, other.to) = (DeploymentId(8), ReleaseId(3));
        other.phase = at(50);
        env.deployments.insert(other.id, other.clone());
        assert_eq!(says(&env), None, "it was over before");
        (other.id, other.to) = (DeploymentId(10), ReleaseId(5));
        other.phase = at(500);
        env.deployments.insert(other.id, other);
        let said = format!("d10 to r5 took requests in shop/qa {when}");
        assert_eq!(says(&env), Some(said));
        let mut env = self::env(4, &finished("succeeded"));
        env.goal = Goal::Down;
        let said = format!("shop/qa was taken down {when}");
        assert_eq!(says(&env), Some(said.clone()));
        // What brings it up again leads to the same release, and undoes nothing.
        let mut env = self::env(4, &finished("succeeded"));
        let mut up = env.deployments[&DeploymentId(9)].clone();
        (up.id, up.from) = (DeploymentId(10), Some(ReleaseId(4)));
        up.phase = at(500);
        env.deployments.insert(up.id, up);
        env.taken_down = Some(Timestamp(50));
        assert_eq!(says(&env), None, "it was down before");
        env.taken_down = Some(Timestamp(450));
        assert_eq!(says(&env), Some(said));
    }
}
