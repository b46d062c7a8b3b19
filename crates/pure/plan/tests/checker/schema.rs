//! What release commands take away.

use super::*;

/// r2 serves, after which r1 does not run, and a rollback to r1 waits its turn: it was asked for before.
fn barred() -> Case {
    let mut world = serving();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.queue(ReleaseId(1), Reason::Rollback);
    for _ in 0..100 {
        world.run(100);
        if world.env().active().is_none() && world.env().current == Some(ReleaseId(2)) {
            break;
        }
    }
    let mut case = Case::of(&world);
    let rollback = case.env.deployments.get_mut(&DeploymentId(3)).unwrap();
    rollback.phase = Phase::Queued;
    case
}

pub(super) fn schema() -> Vec<Wrong> {
    let change = |service: &str, schema: Schema| Action::ChangeSchema {
        deployment: DeploymentId(2),
        service: name(service),
        schema,
    };
    let command = || vec![start("web-r2-6", Role::ReleaseCommand)];
    let contract = Schema::Contract;
    vec![
        (
            "a command that takes away, unrecorded",
            unrecorded(contract),
            command(),
            "unrecorded schema",
        ),
        (
            "one for which nothing can come back, unrecorded",
            unrecorded(Schema::Irreversible),
            command(),
            "unrecorded schema",
        ),
        (
            "the same command again",
            Case::of(&preparing(contract)),
            vec![change("web", contract)],
            "false schema",
        ),
        (
            "a service without a command",
            unrecorded(contract),
            vec![change("worker", contract)],
            "false schema",
        ),
        (
            "another kind than is declared",
            unrecorded(contract),
            vec![change("web", Schema::Irreversible)],
            "false schema",
        ),
        (
            "back to what does not run any more",
            barred(),
            vec![enter(3, Phase::Preparing)],
            "schema cannot take",
        ),
    ]
}

#[test]
fn what_the_schema_takes_is_taken() {
    let contract = Action::ChangeSchema {
        deployment: DeploymentId(2),
        service: name("web"),
        schema: Schema::Contract,
    };
    assert_eq!(unrecorded(Schema::Contract).objections(&[contract]), []);
    let begins = [enter(3, Phase::Preparing)];
    let mut asked_for = barred();
    let rollback = asked_for.env.deployments.get_mut(&DeploymentId(3)).unwrap();
    rollback.despite_schema = Some("the data was restored".into());
    assert_eq!(asked_for.objections(&begins), []);
    let mut ends = barred();
    assert_eq!(
        ends.objections(&[enter(3, finished(Verdict::FailedOldServing))]),
        []
    );
    ends.env.schema.clear();
    assert_eq!(ends.objections(&begins), []);
}
