//! Deployments that switch at once, and those that fail before they do.

use super::*;

#[test]
fn first_deploy() {
    let mut world = fresh();
    world.deploy(returns());
    world.settle();
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn second_deploy() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-3"), 1, 0);
    world.deploy(returns());
    world.run(3000);
    world.gateway.cut(&id("web-r1-3"));
    world.run(700_000);
    golden!(world.transcript);
}

#[test]
fn health_that_never_comes() {
    let mut world = served();
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn exit_before_healthy() {
    let mut world = served();
    world.behave = of_release(2, || {
        Behaviour::exits(120, 101, &["thread 'main' panicked:", "no DATABASE_URL"])
    });
    world.deploy(returns());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn instance_that_keeps_ending_during_the_rollout() {
    let slow = || spec(&[("slow", inner(1)), ("web", web(1))], &[]);
    let mut world = fresh();
    world.deploy(slow());
    world.settle();
    world.transcript.clear();
    world.behave = Box::new(|start| match start.component.as_str() {
        "slow" => Behaviour {
            healthy_after: Some(20_000),
            ..Behaviour::default()
        },
        _ => Behaviour {
            exit: Some((1000, Exit::Signal(11))),
            output: vec!["out of cheese".into()],
            ..Behaviour::default()
        },
    });
    world.deploy(slow());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn first_deploy_that_cannot_start() {
    let mut world = fresh();
    world.behave = of_release(1, || {
        Behaviour::refused("user namespaces are off: see `ward doctor`")
    });
    world.deploy(returns());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn release_command_fails() {
    let mut world = served();
    world.behave = Box::new(|start| match start.role {
        Role::ReleaseCommand => Behaviour::exits(90, 3, &["column `lot` is there already"]),
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn release_command_hangs() {
    let mut world = served();
    world.behave = Box::new(|start| match start.role {
        Role::ReleaseCommand => Behaviour::hangs(),
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn release_commands_in_the_order_of_links() {
    let mut world = fresh();
    let api = with_command(linked(inner(1), &["store"]));
    let store = linked(inner(1), &["zeta"]);
    let zeta = with_command(inner(1));
    world.deploy(spec(&[("api", api), ("store", store), ("zeta", zeta)], &[]));
    world.settle();
    golden!(world.transcript);
}

#[test]
fn a_service_comes_and_a_service_goes() {
    let mut world = fresh();
    world.deploy(spec(&[("old", inner(1)), ("web", web(1))], &["db"]));
    world.settle();
    world.transcript.clear();
    world.deploy(spec(
        &[("new", inner(1)), ("web", web(1)), ("sweep", worker(1))],
        &[],
    ));
    world.settle();
    world.run(3000);
    golden!(world.transcript);
}

#[test]
fn maintenance_goes_on_while_a_release_rolls_out() {
    let mut world = served();
    world.maintain(Some("back at noon"));
    world.settle();
    world.deploy(returns());
    world.settle();
    world.maintain(None);
    world.settle();
    golden!(world.transcript);
}
