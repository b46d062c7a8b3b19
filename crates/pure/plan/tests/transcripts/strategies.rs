//! Rolling deployments, and services of different strategies beside each other.

use super::*;

#[test]
fn rolling_four_by_one() {
    let mut world = served_web(4);
    world.gateway.busy(&id("web-r1-2"), 1, 0);
    world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 4));
    world.run(4000);
    world.gateway.cut(&id("web-r1-2"));
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn rolling_by_percent_to_more_instances() {
    let mut world = served_web(3);
    world.deploy(by(rolling(Amount::Percent(40), Amount::Percent(40)), 5));
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn rolling_that_is_cancelled_goes_back_as_it_came() {
    let mut world = served_web(3);
    let second = world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 3));
    world.run(950);
    world.cancel(second);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn rolling_whose_third_batch_cannot_start() {
    let mut world = served_web(3);
    world.behave = Box::new(|start| match start.ordinal {
        6 => Behaviour::exits(120, 101, &["out of licences"]),
        _ => usual(start),
    });
    world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 3));
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

/// The two that are left serve alone at once, because r2 declares no more; the verdict waits for all four.
#[test]
fn rolling_to_fewer_instances_that_is_cancelled() {
    let mut world = served_web(4);
    let second = world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 2));
    world.run(500);
    world.cancel(second);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn rolling_whose_old_instances_come_back_slowly() {
    let mut world = served_web(4);
    let second = world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 4));
    world.run(1400);
    world.behave = Box::new(|_| Behaviour {
        healthy_after: Some(25_000),
        ..Behaviour::default()
    });
    world.cancel(second);
    world.settle();
    golden!(world.transcript);
}

/// An instance that drains is back in rotation when one that took its place dies.
#[test]
fn rolling_whose_new_instance_dies_while_an_old_one_drains() {
    let mut world = served_web(3);
    world.gateway.busy(&id("web-r1-3"), 1, 0);
    world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 3));
    world.run(2000);
    let wall = world.wall();
    world.sim(&id("web-r2-4")).kill(wall);
    world.say("! web-r2-4 was killed");
    world.run(1000);
    world.gateway.cut(&id("web-r1-3"));
    world.settle();
    golden!(world.transcript);
}

/// `api` rolls, `web` is a canary, the worker switches with the last table; `mail` comes, `fax` goes.
#[test]
fn services_with_different_strategies() {
    let usual = Strategy::default;
    let mut world = fresh();
    world.deploy(three(usual(), usual(), &[("fax", inner(1))]));
    world.settle();
    world.transcript.clear();
    let rolls = rolling(Amount::Count(1), Amount::Count(1));
    let next = three(rolls, canary(&[(10, 30), (50, 30)]), &[("mail", inner(1))]);
    world.deploy(next);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

#[test]
fn services_with_different_strategies_go_back_together() {
    let usual = Strategy::default;
    let mut world = fresh();
    world.deploy(three(usual(), usual(), &[("fax", inner(1))]));
    world.settle();
    world.transcript.clear();
    let rolls = rolling(Amount::Count(1), Amount::Count(1));
    let next = three(rolls, canary(&[(50, 30)]), &[("mail", inner(1))]);
    let second = world.deploy(next);
    world.run(10_000);
    world.cancel(second);
    world.settle();
    world.run(1000);
    golden!(world.transcript);
}

/// r1 has no `api` any more, and r2 loses its `web` while it bakes: `web` goes back and `api` stays.
#[test]
fn two_releases_that_have_both_lost_something_each_serve_what_they_can() {
    let small = || {
        let web = deployed(blue_green(60), web(1));
        spec(&[("api", inner(1)), ("web", web)], &[])
    };
    let mut world = fresh();
    world.deploy(small());
    world.settle();
    world.behave = Box::new(
        |start| match start.release == 1 && start.component == "api" {
            true => Behaviour::hangs(),
            false => usual(start),
        },
    );
    world.transcript.clear();
    let wall = world.wall();
    world.sim(&id("api-r1-1")).kill(wall);
    world.say("! api-r1-1 was killed, and no other of its kind comes up");
    world.run(2000);
    world.deploy(small());
    world.run(5000);
    let wall = world.wall();
    let web = world
        .engine
        .keys()
        .find(|id| id.as_str().starts_with("web-r2"));
    let web = web.cloned().expect("r2 runs");
    world.sim(&web).kill(wall);
    world.say(&format!("! {web} was killed"));
    world.run(2000);
    golden!(world.transcript);
}
