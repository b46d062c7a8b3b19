use ward_types::id::{DeploymentId, EnvId, Name, ReleaseId};
use ward_types::pipeline::{Outcome, Reached};
use ward_types::release::{Release, Verdict};
use ward_types::time::Timestamp;

use super::super::tests::reached;
use super::*;

/// p3, begun at 100, which is to go on to prod with its build.
fn lets_go_on() -> Run {
    let mut run = reached(Position::Deploying { stage: 2 }, 2);
    (run.id, run.began) = (PipelineRunId(3), Timestamp(100));
    run
}

fn build(text: &str) -> Build {
    let mut build = lets_go_on().build;
    build.version = format!("1.0.{text}");
    build.stack_file = (text != "run").then(|| text.to_owned());
    build
}

fn qa() -> Environment {
    let mut env = Environment::new(EnvId::parse("shop/qa").unwrap());
    env.current = Some(ReleaseId(4));
    env
}

/// prod, where d1 brought an old build before.
fn prod() -> Environment {
    let mut env = Environment::new(EnvId::parse("shop/prod").unwrap());
    moved(&mut env, "old", 50, Verdict::Succeeded);
    env
}

/// Somebody moves an environment to a new release.
fn moved(env: &mut Environment, text: &str, at: u64, verdict: Verdict) {
    let phase = Phase::Finished {
        verdict,
        failure: None,
        at: Timestamp(at + 1),
    };
    moves(env, text, at, phase);
}

fn moves(env: &mut Environment, text: &str, at: u64, phase: Phase) {
    let (to, id) = (env.next_release(), env.next_deployment());
    let release = format!(
        r#"{{"id": {}, "build": {}, "spec": {{"id": "{}", "version": "1.0", "keep_warm": 0, "services": {{}}, "databases": {{}}}}, "recorded": {at},
        "by": "bob"}}"#,
        to.0,
        serde_json::to_string(&build(text)).unwrap(),
        env.id,
    );
    let release: Release = serde_json::from_str(&release).unwrap();
    env.releases.insert(to, release);
    let deployment = format!(
        r#"{{"id": {}, "reason": "deploy", "from": null, "to": {}, "requested": {at}, "started": null,
        "phase_since": {at}, "by": "bob", "phase": {}}}"#,
        id.0,
        to.0,
        serde_json::to_string(&phase).unwrap(),
    );
    let deployment: Deployment = serde_json::from_str(&deployment).unwrap();
    if deployment.succeeded() {
        env.current = Some(to);
    }
    env.deployments.insert(id, deployment);
}

fn held(env: &Environment, others: &[Run]) -> Option<String> {
    let runs = others.iter().map(|run| (run.id, run.clone())).collect();
    match held_back(&lets_go_on(), &runs, Some(&qa()), Some(env))? {
        Position::Ended {
            outcome: Outcome::Failed { message, stage, .. },
        } => {
            assert_eq!(stage, 2);
            Some(message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hotfix_of_the_next_stage_is_not_replaced_by_an_older_build() {
    let mut env = prod();
    assert_eq!(held(&env, &[]), None, "it was there before the run began");
    moved(&mut env, "hotfix", 500, Verdict::Succeeded);
    let at = Timestamp(500);
    let says = format!(
        "bob brought 1.0.hotfix to shop/prod (r2, by d2), asked for on {at}, since the run began, and that is not \
         overruled: `ward pipeline run delivery` with what is newest begins a new run"
    );
    assert_eq!(held(&env, &[]), Some(says.clone()));
    // Other values of it do not hide it.
    moved(&mut env, "hotfix", 600, Verdict::Succeeded);
    assert_eq!(held(&env, &[]), Some(says));
    // What was asked for last is this very build.
    moved(&mut env, "run", 700, Verdict::Succeeded);
    assert_eq!(held(&env, &[]), None);
}

#[test]
fn one_that_is_under_way_counts_and_one_that_came_to_nothing_does_not() {
    let mut env = prod();
    moves(&mut env, "hotfix", 500, Phase::Queued);
    let says = held(&env, &[]).unwrap();
    assert!(
        says.starts_with("bob brings 1.0.hotfix to shop/prod"),
        "{says}"
    );
    let cancelled = env.deployments.get_mut(&DeploymentId(2)).unwrap();
    cancelled.cancelled = Some("bob".into());
    assert_eq!(held(&env, &[]), None);
    for verdict in [Verdict::FailedOldServing, Verdict::RolledBack] {
        let mut env = prod();
        moved(&mut env, "hotfix", 500, verdict);
        assert_eq!(held(&env, &[]), None, "{verdict:?}");
    }
}

#[test]
fn other_values_of_what_served_before_hold_nothing_back() {
    let mut env = prod();
    moved(&mut env, "old", 500, Verdict::Succeeded);
    assert_eq!(held(&env, &[]), None);
    // Also of what was on its way when the run began.
    let mut env = prod();
    moves(&mut env, "coming", 99, Phase::Queued);
    moves(&mut env, "coming", 500, Phase::Queued);
    assert_eq!(held(&env, &[]), None);
}

#[test]
fn of_two_runs_that_which_began_later_is_the_last_whichever_comes_first() {
    let mut env = prod();
    moved(&mut env, "other", 500, Verdict::Succeeded);
    let other = |id: u64, began: u64, queued: bool| {
        let mut run = reached(Position::Deploying { stage: 2 }, 2);
        (run.id, run.began) = (PipelineRunId(id), Timestamp(began));
        run.pipeline = Name::parse("hotfix").unwrap();
        run.reached.push(Reached {
            release: ReleaseId(2),
            deployment: Some(DeploymentId(2)),
            queued,
        });
        run
    };
    let later = held(&env, &[other(4, 200, true)]).unwrap();
    assert!(later.contains("(r2, by d2 of p4)"), "{later}");
    assert_eq!(held(&env, &[other(2, 90, true)]), None, "it began before");
    let joined = held(&env, &[other(2, 90, false)]);
    assert!(joined.is_some(), "somebody else had asked for it");
    let elsewhere = Run {
        stack: Name::parse("other").unwrap(),
        ..other(2, 90, true)
    };
    assert!(held(&env, &[elsewhere]).is_some());
}

#[test]
fn one_that_was_rolled_back_or_taken_down_since_stays_so() {
    let mut env = prod();
    moved(&mut env, "run", 500, Verdict::Succeeded);
    let back = env.deployments.get_mut(&DeploymentId(2)).unwrap();
    back.reason = Reason::Rollback;
    let says = held(&env, &[]).unwrap();
    assert_eq!(says, "bob rolled shop/prod back to r2 since the run began");
    let mut before = qa();
    before.goal = Goal::Down;
    let held_back = held_back(
        &lets_go_on(),
        &BTreeMap::new(),
        Some(&before),
        Some(&prod()),
    );
    let said = format!("{held_back:?}");
    assert!(said.contains("shop/qa was taken down: "), "{said}");
    let mut env = prod();
    env.goal = Goal::Down;
    let says = held(&env, &[]).unwrap();
    assert!(says.starts_with("shop/prod was taken down: "), "{says}");
}

#[test]
fn a_way_back_that_came_to_nothing_or_changed_only_values_holds_nothing_back() {
    let back = |env: &mut Environment, from: Option<u64>| {
        let back = env.deployments.get_mut(&DeploymentId(2)).unwrap();
        back.reason = Reason::Rollback;
        back.from = from.map(ReleaseId);
    };
    for verdict in [Verdict::FailedOldServing, Verdict::RolledBack] {
        let mut env = prod();
        moved(&mut env, "run", 500, verdict);
        back(&mut env, Some(1));
        assert_eq!(held(&env, &[]), None, "{verdict:?}");
    }
    let mut env = prod();
    moved(&mut env, "old", 500, Verdict::Succeeded);
    back(&mut env, Some(1));
    assert_eq!(held(&env, &[]), None, "other values of the same build");
    back(&mut env, None);
    assert!(held(&env, &[]).is_some());
}
