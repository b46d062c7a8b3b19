//! What happens, told line by line: a script against a simulated world, and its transcript beside it.
//!
//! `>` somebody asks, `=` a deployment moves, `+` `*` `-` Ward acts, `~` the world changes, `!` the
//! driver dies, `…` what is waited for. The time is seconds since the world began.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]

mod world;

use ward_types::id::ReleaseId;
use ward_types::keeper::{Exit, Role};
use ward_types::release::{Goal, Reason};
use ward_types::spec::{
    Amount, Analysis, Deadlines, EnvSpec, Inconclusive, Schema, ServiceSpec, Sticky, Strategy,
};
use ward_types::table::Endpoint;
use ward_types::time::Millis;
use world::{
    Behaviour, Mishap, World, alone, blue_green, canary, deployed, id, inner, linked, name,
    returns, rolling, spec, web, with_command, with_schema, worker,
};

/// Release commands end well after 200 ms, databases take half a second, the rest is healthy after 300 ms.
fn usual(start: &world::Start) -> Behaviour {
    match start.role {
        Role::ReleaseCommand => Behaviour::exits(200, 0, &["migrated"]),
        Role::Database => Behaviour {
            healthy_after: Some(500),
            ..Behaviour::default()
        },
        Role::Service => Behaviour::default(),
    }
}

fn fresh() -> World {
    let mut world = World::new();
    world.behave = Box::new(usual);
    world
}

/// A world in which r1 of the example serves; its transcript begins here.
fn served() -> World {
    let mut world = fresh();
    world.deploy(returns());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world
}

fn of_release(release: u64, other: fn() -> Behaviour) -> Box<dyn Fn(&world::Start) -> Behaviour> {
    Box::new(move |start| {
        let affected = start.release == release && start.role == Role::Service;
        if affected && start.component == "web" {
            other()
        } else {
            usual(start)
        }
    })
}

#[test]
fn first_deploy() {
    let mut world = fresh();
    world.deploy(returns());
    world.settle();
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn second_deploy() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-3"), 1, 0);
    world.deploy(returns());
    world.run(3000);
    world.gateway.cut(&id("web-r1-3"));
    world.run(700_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn health_that_never_comes() {
    let mut world = served();
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn release_commands_in_the_order_of_links() {
    let mut world = fresh();
    let api = with_command(linked(inner(1), &["store"]));
    let store = linked(inner(1), &["zeta"]);
    let zeta = with_command(inner(1));
    world.deploy(spec(&[("api", api), ("store", store), ("zeta", zeta)], &[]));
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn rollback_while_warm() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(3000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn a_deploy_that_fails_leaves_the_release_before_warm() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.behave = of_release(3, || Behaviour::exits(120, 101, &["no DATABASE_URL"]));
    world.deploy(returns());
    world.settle();
    world.run(2000);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn rollback_cold_after_down_and_up() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.goal(Goal::Down);
    world.run(60_000);
    world.transcript.clear();
    world.goal(Goal::Up);
    world.queue(ReleaseId(2), Reason::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn instance_dies_at_rest() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world.say("! web-r1-3 was killed");
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn instance_that_dies_again_and_again_at_rest() {
    let mut world = served();
    world.behave = of_release(1, || Behaviour {
        exit: Some((2000, Exit::Code(7))),
        ..Behaviour::default()
    });
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world.say("! web-r1-3 was killed");
    world.run(30_000);
    world.behave = Box::new(usual);
    world.say("> mended");
    world.run(120_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn unhealthy_instances_leave_but_never_the_last() {
    let mut world = served();
    for (instance, well) in [("web-r1-3", false), ("web-r1-4", false), ("web-r1-3", true)] {
        let wall = world.wall();
        world.sim(&id(instance)).turn(well, wall);
        let how = if well { "well again" } else { "ill" };
        world.say(&format!("! {instance} is {how}"));
        world.run(2000);
    }
    insta::assert_snapshot!(world.transcript);
}

/// What serves had run for a while when it fell ill.
#[test]
fn instance_that_stays_ill_is_replaced_before_it_is_stopped() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-3"), 1, 0);
    let wall = world.wall();
    world.sim(&id("web-r1-3")).turn(false, wall);
    world.say("! web-r1-3 is ill, and stays so");
    world.run(62_000);
    world.gateway.cut(&id("web-r1-3"));
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

/// What both depend on is away: nothing is gained by stopping them, and their replacements are no better.
#[test]
fn instances_that_are_all_ill_go_on_serving_while_replacements_are_tried() {
    let mut world = fresh();
    world.deploy(spec(&[("web", web(1))], &[]));
    world.settle();
    world.run(20_000);
    world.transcript.clear();
    world.behave = of_release(1, Behaviour::hangs);
    let wall = world.wall();
    world.sim(&id("web-r1-1")).turn(false, wall);
    world.say("! web-r1-1 is ill, and so is what replaces it");
    world.run(200_000);
    let wall = world.wall();
    world.sim(&id("web-r1-1")).turn(true, wall);
    world.say("! web-r1-1 is well again");
    world.run(40_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn instance_that_was_well_and_is_killed_is_back_at_once() {
    let mut world = served();
    world.run(20_000);
    world.transcript.clear();
    for instance in ["web-r1-3", "web-r1-6", "web-r1-7"] {
        let wall = world.wall();
        world.sim(&id(instance)).kill(wall);
        world.say(&format!("! {instance} was killed by an operator"));
        world.run(12_000);
    }
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn database_that_hangs_while_it_starts_fails_the_deployment_and_is_stopped() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour {
            output: vec!["database system was interrupted; last known up at 04:12".into()],
            ..Behaviour::hangs()
        },
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.run(5000);
    let left: Vec<_> = world.engine.keys().collect();
    assert!(left.is_empty(), "{left:?}");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn database_that_hangs_at_rest_is_given_more_time_at_each_start() {
    let mut world = served();
    world.behave = Box::new(|start| match start.role {
        // The replay of its log takes three minutes.
        Role::Database => Behaviour {
            healthy_after: Some(180_000),
            ..Behaviour::default()
        },
        _ => usual(start),
    });
    let wall = world.wall();
    world.sim(&id("db-r0-1")).lose(wall);
    world.say("! the database's keeper was killed");
    world.run(400_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn rollback_after_a_purge_prepares_the_new_data() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.goal(Goal::Purged);
    world.run(60_000);
    world.transcript.clear();
    world.goal(Goal::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn gateway_away_during_the_switch() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 4000);
    world.say("! the gateway was killed");
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn gateway_away_for_too_long() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 30_000);
    world.say("! the gateway was killed");
    world.settle();
    world.run(30_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn gateway_away_until_nobody_knows() {
    let mut world = served();
    world.deploy(returns());
    world.run(400);
    let now = world.now;
    world.gateway.go_away(now, 90_000);
    world.say("! the gateway was killed");
    world.settle();
    world.run(30_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn what_died_before_a_rollback_is_no_failure_of_it() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.transcript.clear();
    let (now, wall) = (world.now, world.wall());
    world.gateway.go_away(now, 3000);
    world.sim(&id("web-r1-3")).kill(wall);
    world.memory = ward_plan::Memory::default();
    world.say("! web-r1-3, which was warm, the gateway and the driver were killed");
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn gateway_acknowledges_late() {
    let mut world = served();
    world.gateway.takes = 900;
    world.deploy(returns());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn two_deploys_at_once() {
    let mut world = served();
    world.deploy(returns());
    world.deploy(returns());
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn long_connections_are_cut_when_their_budget_is_out() {
    let mut world = served();
    world.gateway.busy(&id("worker-r1-5"), 0, 0);
    world.gateway.busy(&id("web-r1-4"), 0, 3);
    let mut next = returns();
    next.keep_warm = Millis(0);
    world.deploy(next.clone());
    world.settle();
    world.transcript.clear();
    world.gateway.busy(&id("web-r2-7"), 0, 2);
    world.deploy(next);
    world.run(60_000);
    insta::assert_snapshot!(world.transcript);
}

/// What is left decides: a request whose own budget is out is not cut under the long connections beside it.
#[test]
fn requests_and_long_connections_have_budgets_of_their_own() {
    let mut world = served();
    let mut next = returns();
    next.keep_warm = Millis(0);
    world.deploy(next.clone());
    world.settle();
    world.transcript.clear();
    world.gateway.busy(&id("web-r2-7"), 1, 0);
    world.gateway.busy(&id("web-r2-8"), 1, 3);
    world.deploy(next);
    world.run(35_000);
    world.gateway.busy(&id("web-r2-8"), 1, 0);
    world.run(10_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn down() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-4"), 2, 0);
    world.deploy(returns());
    world.run(100);
    world.goal(Goal::Down);
    world.run(5000);
    world.gateway.cut(&id("web-r1-4"));
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn purge() {
    let mut world = served();
    world.goal(Goal::Purged);
    world.run(20_000);
    assert_eq!(world.purged, 1);
    assert!(world.gateway.table.is_empty());
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn a_purge_that_fails_is_tried_again() {
    let mut world = served();
    world.goal(Goal::Purged);
    world.run(150);
    // The plan that removes the database goes well, the one after it does not.
    world.mishaps = vec![Mishap::Fail(0), Mishap::Fail(99)];
    world.run(10_000);
    assert_eq!(world.purged, 1, "{}", world.transcript);
}

#[test]
fn database_dies() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("db-r0-1")).lose(wall);
    world.sim(&id("worker-r1-5")).kill(wall);
    world.say("! the database's keeper and the worker were killed");
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn database_cannot_be_started() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => {
            Behaviour::refused("no PostgreSQL is installed: apt install postgresql-15")
        }
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.behave = Box::new(usual);
    world.say("> PostgreSQL was installed");
    world.queue(ReleaseId(1), Reason::Deploy);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn driver_killed_between_actions() {
    let mut world = served();
    // Taken from the end: one crash in each of the first plans.
    world.mishaps = vec![
        Mishap::Crash(1),
        Mishap::Crash(0),
        Mishap::Crash(2),
        Mishap::Crash(1),
    ];
    world.deploy(returns());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn machine_was_restarted() {
    let mut world = served();
    let wall = world.wall();
    for sim in world.engine.values_mut() {
        sim.lose(wall);
    }
    world.memory = ward_plan::Memory::default();
    world.say("! the machine was restarted");
    world.queue(ReleaseId(1), Reason::Up);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn clock_set_back_and_forth() {
    let mut world = served();
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.run(1000);
    world.set_clock(-3_600_000);
    world.settle();
    world.set_clock(0);
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}

/// Four releases, each of which served; two are retained beside what is needed.
fn four_deploys(env: &str) -> World {
    let mut world = World::of(env);
    world.behave = Box::new(usual);
    for _ in 0..4 {
        let mut spec = spec(&[("web", web(1))], &[]);
        spec.keep_releases = 2;
        spec.keep_warm = Millis(0);
        world.deploy(spec);
        world.settle();
        world.run(2000);
    }
    world
}

#[test]
fn releases_that_nothing_needs_are_retired() {
    let mut world = four_deploys("returns/dev");
    let retained = |world: &World| world.env().releases.keys().copied().collect::<Vec<_>>();
    assert_eq!(retained(&world), [ReleaseId(3), ReleaseId(4)]);
    world.queue(ReleaseId(3), Reason::Rollback);
    world.settle();
    world.run(2000);
    assert_eq!(retained(&world), [ReleaseId(3), ReleaseId(4)]);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn p2_what_ever_reached_prod_is_never_retired() {
    let world = four_deploys("returns/prod");
    assert_eq!(world.env().releases.len(), 4);
}

#[test]
fn cancelled_while_it_rolls_out_and_while_it_waits() {
    let mut world = served();
    let rolling = world.deploy(returns());
    let waiting = world.deploy(returns());
    world.run(250);
    world.cancel(waiting);
    world.run(50);
    world.cancel(rolling);
    world.settle();
    world.run(5000);
    let left: Vec<_> = world
        .engine
        .keys()
        .filter(|id| id.as_str().contains("-r2-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn cancelled_while_it_is_switched_to() {
    let mut world = served();
    world.gateway.takes = 500;
    let second = world.deploy(returns());
    world.run(700);
    world.cancel(second);
    world.settle();
    world.run(5000);
    insta::assert_snapshot!(world.transcript);
}

/// A world in which r1 of one web service serves; what comes next is deployed by a strategy.
fn served_web(instances: u32) -> World {
    let mut world = fresh();
    world.deploy(spec(&[("web", web(instances))], &[]));
    world.settle();
    world.run(15_000);
    world.transcript.clear();
    world
}

/// Nothing of the old release is kept afterwards: its end is part of the transcript.
fn by(strategy: Strategy, instances: u32) -> EnvSpec {
    let mut spec = spec(&[("web", deployed(strategy, web(instances)))], &[]);
    spec.keep_warm = Millis(0);
    spec
}

#[test]
fn rolling_four_by_one() {
    let mut world = served_web(4);
    world.gateway.busy(&id("web-r1-2"), 1, 0);
    world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 4));
    world.run(4000);
    world.gateway.cut(&id("web-r1-2"));
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn rolling_by_percent_to_more_instances() {
    let mut world = served_web(3);
    world.deploy(by(rolling(Amount::Percent(40), Amount::Percent(40)), 5));
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn rolling_that_is_cancelled_goes_back_as_it_came() {
    let mut world = served_web(3);
    let second = world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 3));
    world.run(950);
    world.cancel(second);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}

/// The two that are left serve alone at once, because r2 declares no more; the verdict waits for all four.
#[test]
fn rolling_to_fewer_instances_that_is_cancelled() {
    let mut world = served_web(4);
    let second = world.deploy(by(rolling(Amount::Count(1), Amount::Count(1)), 2));
    world.run(500);
    world.cancel(second);
    world.settle();
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_whose_gateway_is_away_when_its_time_is_over() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 30)]), 2));
    world.run(28_000);
    let now = world.now;
    world.gateway.go_away(now, 8000);
    world.say("! the gateway was killed");
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_by_time() {
    let mut world = served_web(4);
    let strategy = match canary(&[(10, 30), (50, 60)]) {
        Strategy::Canary { steps, .. } => Strategy::Canary {
            steps,
            sticky: Some(Sticky::Cookie("side".into())),
            bake: Millis::secs(20),
        },
        other => other,
    };
    world.deploy(by(strategy, 4));
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_until_told() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(5, 0), (25, 600), (50, 600)]), 2));
    world.looks = 60_000;
    world.run(7_200_000);
    world.promote(second, 3);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_nobody_promotes_goes_back() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(5, 0)]), 2));
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_paused_and_resumed() {
    let mut world = served_web(2);
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(20_000);
    world.pause(second);
    world.run(600_000);
    world.resume(second);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn paused_before_anything_moved_and_forgotten() {
    let mut world = served_web(2);
    let second = world.deploy(by(Strategy::default(), 2));
    world.run(100);
    world.pause(second);
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_whose_instance_dies() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(65_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).kill(wall);
    world.say("! web-r2-3 was killed");
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_fails_its_health_check() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60)]), 2));
    world.run(20_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).turn(false, wall);
    world.say("! web-r2-3 is ill");
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_cancelled_at_a_step() {
    let mut world = served_web(2);
    world.gateway.takes = 200;
    let second = world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(20_000);
    world.gateway.busy(&id("web-r2-3"), 1, 0);
    world.cancel(second);
    world.run(2000);
    world.gateway.cut(&id("web-r2-3"));
    world.settle();
    let left: Vec<_> = world
        .engine
        .keys()
        .filter(|id| id.as_str().contains("-r2-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_while_the_planner_is_restarted() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    world.run(80_000);
    world.memory = ward_plan::Memory::default();
    world.say("! the planner was restarted");
    world.run(40_000);
    world.memory = ward_plan::Memory::default();
    let now = world.now;
    world.gateway.go_away(now, 5000);
    world.say("! the planner and the gateway were restarted");
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn blue_green_that_bakes() {
    let mut world = served_web(2);
    world.deploy(by(blue_green(60), 2));
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn blue_green_that_dies_while_it_bakes() {
    let mut world = served_web(2);
    world.deploy(by(blue_green(60), 2));
    world.run(40_000);
    let wall = world.wall();
    world.sim(&id("web-r2-3")).kill(wall);
    world.say("! web-r2-3 was killed");
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

/// The release answers so: how many of 20 requests it fails, and how many microseconds each takes.
type Answers = fn(ReleaseId) -> (u64, u64);

/// So many requests per second for a while, by the table in force, looked at five times a second.
fn asked(world: &mut World, rate: u64, millis: u64, answers: Answers) {
    for _ in 0..millis / 200 {
        let pool = world.gateway.table.first().cloned();
        let pool = pool.expect("a service is routed");
        let all = rate / 5;
        for endpoint in &pool.endpoints {
            let ours = |e: &&Endpoint| e.release == endpoint.release;
            let siblings = pool.endpoints.iter().filter(ours).count() as u64;
            let requests = match &pool.split {
                Some(split) if split.release == endpoint.release => {
                    all * u64::from(split.percent) / 100
                }
                Some(split) => all * u64::from(100 - split.percent) / 100,
                None => all,
            };
            let (failed, micros) = answers(endpoint.release);
            let requests = requests / siblings;
            let failed = requests * failed / 20;
            world
                .gateway
                .answer(&endpoint.instance, requests, failed, micros);
        }
        world.run(200);
    }
}

/// The gateway's own requests for a while, where the table asks for them, to each release in turn.
fn probed(world: &mut World, millis: u64, answers: Answers) {
    for turn in 0..millis / 100 {
        let pools = world.gateway.table.clone();
        for pool in pools.iter().filter(|pool| pool.probe.is_some()) {
            let mut releases: Vec<_> = pool.endpoints.iter().map(|e| e.release).collect();
            releases.sort();
            releases.dedup();
            let release = releases[turn as usize % releases.len()];
            let of_it = |e: &&Endpoint| e.release == release;
            let endpoint = pool.endpoints.iter().find(of_it);
            let endpoint = endpoint.expect("it has one of each of its releases");
            let (failed, micros) = answers(release);
            let gateway = &mut world.gateway;
            gateway.answer(&endpoint.instance, 1, failed / 20, micros);
        }
        world.run(100);
    }
}

fn probing(strategy: Strategy, requests: u32) -> EnvSpec {
    let mut spec = analysed(strategy, requests, Inconclusive::Rollback);
    let web = spec.services.get_mut(&name("web"));
    web.expect("it is declared").probe = Some(world::probe("/healthz"));
    spec
}

fn analysed(strategy: Strategy, requests: u32, inconclusive: Inconclusive) -> EnvSpec {
    let mut spec = by(strategy, 2);
    let web = spec.services.get_mut(&name("web"));
    let web = web.expect("it is declared just above");
    web.analysis = Some(Analysis {
        requests,
        inconclusive,
    });
    spec
}

fn well(_: ReleaseId) -> (u64, u64) {
    (0, 5000)
}

/// It is out of the table with the look that sees it: a fifth of a second after its first bad answer.
#[test]
fn canary_that_fails_its_requests() {
    let mut world = served_web(2);
    asked(&mut world, 200, 10_000, well);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    asked(&mut world, 200, 20_000, |release| match release {
        ReleaseId(2) => (20, 1000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

/// It was well for a quarter of an hour: it goes back with the first look at that all the same.
#[test]
fn canary_that_begins_to_fail_late() {
    let mut world = served_web(2);
    world.deploy(by(canary(&[(10, 3600)]), 2));
    asked(&mut world, 200, 900_000, well);
    world.say("! r2 begins to fail");
    asked(&mut world, 200, 5000, |release| match release {
        ReleaseId(2) => (20, 1000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_answers_later() {
    let mut world = served_web(2);
    asked(&mut world, 200, 10_000, well);
    world.deploy(by(canary(&[(10, 60), (50, 60)]), 2));
    asked(&mut world, 200, 20_000, |release| match release {
        ReleaseId(2) => (0, 12_000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_is_asked_enough_goes_on() {
    let mut world = served_web(2);
    let strategy = canary(&[(10, 20), (50, 20)]);
    world.deploy(analysed(strategy, 50, Inconclusive::Rollback));
    asked(&mut world, 200, 60_000, well);
    insta::assert_snapshot!(world.transcript);
}

/// Nobody asks it anything but the gateway: at ten percent and at fifty alike, and nothing afterwards.
#[test]
fn canary_without_clients_is_judged_by_probes() {
    let mut world = served_web(2);
    world.deploy(probing(canary(&[(10, 20), (50, 20)]), 50));
    probed(&mut world, 60_000, well);
    assert!(world.gateway.table.iter().all(|pool| pool.probe.is_none()));
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_without_clients_that_fails_its_probes_goes_back() {
    let mut world = served_web(2);
    world.deploy(probing(canary(&[(10, 20), (50, 20)]), 50));
    probed(&mut world, 60_000, |release| match release {
        ReleaseId(2) => (20, 1000),
        _ => (0, 5000),
    });
    assert!(world.gateway.table.iter().all(|pool| pool.probe.is_none()));
    insta::assert_snapshot!(world.transcript);
}

/// While it bakes the old release is out of rotation: only the new one is probed.
#[test]
fn bake_without_clients_is_judged_by_probes() {
    let mut world = served_web(2);
    world.deploy(probing(blue_green(20), 50));
    probed(&mut world, 30_000, well);
    assert!(world.gateway.table.iter().all(|pool| pool.probe.is_none()));
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_goes_back() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 50, Inconclusive::Rollback));
    asked(&mut world, 50, 10_000, well);
    world.run(50_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_goes_on_where_that_is_said() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 50, Inconclusive::Promote));
    asked(&mut world, 50, 5_000, well);
    world.run(50_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_is_held_until_there_is_enough() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.run(30_000);
    asked(&mut world, 50, 10_000, well);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_is_held_for_requests_goes_back_after_a_day() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn canary_that_is_held_for_requests_is_promoted() {
    let mut world = served_web(2);
    let second = world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.run(30_000);
    world.promote(second, 1);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

/// The old release takes nothing any more: what it answered before is what counts.
#[test]
fn blue_green_that_fails_its_requests_while_it_bakes() {
    let mut world = served_web(2);
    asked(&mut world, 200, 10_000, well);
    world.deploy(by(blue_green(60), 2));
    asked(&mut world, 200, 10_000, well);
    asked(&mut world, 200, 20_000, |release| match release {
        ReleaseId(2) => (2, 5000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn blue_green_that_answers_later_while_it_bakes() {
    let mut world = served_web(2);
    asked(&mut world, 200, 10_000, well);
    world.deploy(by(blue_green(60), 2));
    asked(&mut world, 200, 30_000, |release| match release {
        ReleaseId(2) => (0, 50_000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn bake_of_which_too_little_is_seen_goes_back() {
    let mut world = served_web(2);
    world.deploy(analysed(blue_green(20), 50, Inconclusive::Rollback));
    world.run(60_000);
    insta::assert_snapshot!(world.transcript);
}

/// A planner that has forgotten begins to count anew; what the gateway counted before is nobody's fault.
#[test]
fn canary_judged_anew_when_the_planner_and_the_gateway_are_restarted() {
    let mut world = served_web(2);
    asked(&mut world, 200, 10_000, well);
    world.deploy(by(canary(&[(10, 60)]), 2));
    asked(&mut world, 200, 15_000, well);
    world.gateway.answer(&id("web-r2-3"), 20, 20, 1000);
    world.memory = ward_plan::Memory::default();
    world.say("! the planner was restarted while web-r2-3 failed 20 requests");
    asked(&mut world, 200, 5000, well);
    world.gateway.traffic.clear();
    world.gateway.latency.clear();
    world.say("! the gateway was restarted and counts from nothing");
    asked(&mut world, 200, 5000, well);
    world.say("! web-r2-3 fails everything");
    asked(&mut world, 200, 5000, |release| match release {
        ReleaseId(2) => (20, 1000),
        _ => (0, 5000),
    });
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

fn three(api: Strategy, web_strategy: Strategy, others: &[(&str, ServiceSpec)]) -> EnvSpec {
    let mut services = vec![
        ("api", deployed(api, inner(2))),
        ("web", deployed(web_strategy, linked(web(2), &["api"]))),
        ("worker", worker(1)),
    ];
    services.extend(others.iter().cloned());
    let mut spec = spec(&services, &[]);
    spec.keep_warm = Millis(0);
    spec
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn a_rollback_from_a_canary_release_is_one_switch() {
    let mut world = served_web(2);
    let mut next = by(canary(&[(10, 30)]), 2);
    next.keep_warm = Millis::secs(600);
    world.deploy(next);
    world.settle();
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

/// What the log says of a release that is asked for, if it refuses that.
fn refused(world: &mut World, to: u64) -> String {
    let to = ReleaseId(to);
    let change = world.env().barred(to).expect("it is barred").to_string();
    let says = format!("! a rollback to {to} is refused: {change}");
    world.say(&says);
    says
}

#[test]
fn schema_that_contracts_lets_one_release_back() {
    let mut world = served();
    for _ in 0..2 {
        world.deploy(returns());
        world.settle();
    }
    world.run(1_000_000);
    world.transcript.clear();
    world.deploy(with_schema(returns(), Schema::Contract));
    world.settle();
    refused(&mut world, 2);
    refused(&mut world, 1);
    world.queue(ReleaseId(3), Reason::Rollback);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn schema_that_is_irreversible_lets_nothing_back_but_what_is_asked_for_all_the_same() {
    let mut world = served();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    world.run(1_000_000);
    refused(&mut world, 1);
    let why = Some("the data was restored");
    world.queue_despite(ReleaseId(1), Reason::Rollback, why);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn schema_command_that_fails_half_way_counts_and_what_serves_goes_on() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(1_000_000);
    world.transcript.clear();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 3) => Behaviour::exits(90, 3, &["half of the rows are gone"]),
        _ => usual(start),
    });
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    refused(&mut world, 1);
    let wall = world.wall();
    let serves: Vec<_> = world.engine.keys().cloned().collect();
    let web = serves.iter().find(|id| id.as_str().starts_with("web-r2"));
    world.sim(web.expect("r2 serves")).kill(wall);
    world.say("! an instance of what serves is killed, and comes back");
    world.run(5000);
    world.deploy(returns());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn schema_that_changes_while_a_rollback_waits_its_turn() {
    let mut world = served();
    world.deploy(returns());
    world.settle();
    world.run(1_000_000);
    world.transcript.clear();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(1000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn schema_that_was_never_prepared_for_a_release_is_before_it_serves() {
    let mut world = served();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 2) => Behaviour::exits(90, 3, &["a lock was held"]),
        _ => usual(start),
    });
    world.deploy(returns());
    world.settle();
    world.behave = Box::new(usual);
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.queue(ReleaseId(2), Reason::Rollforward);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn schema_is_forgotten_with_the_data() {
    let mut world = served();
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    assert!(world.env().barred(ReleaseId(1)).is_some());
    world.goal(Goal::Purged);
    world.run(60_000);
    assert!(world.env().barred(ReleaseId(1)).is_none());
    world.goal(Goal::Up);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    assert_eq!(world.env().current, Some(ReleaseId(1)));
}

#[test]
fn waits_too_long_for_its_turn() {
    let mut world = served();
    world.deploy(by(canary(&[(10, 7200)]), 2));
    world.run(60_000);
    world.deploy(returns());
    world.run(3_700_000);
    insta::assert_snapshot!(world.transcript);
}

/// Each of them shorter than usual.
fn in_a_hurry() -> EnvSpec {
    let deadlines = Deadlines {
        queue: Millis::secs(30),
        database_start: Millis::secs(3),
        database_stop: Millis::secs(4),
        acknowledge: Millis::secs(2),
        promote: Millis::secs(20),
        revert: Millis::secs(5),
    };
    EnvSpec {
        deadlines,
        ..returns()
    }
}

#[test]
fn deadlines_of_the_stack_file_are_kept_and_named() {
    let mut world = served();
    let now = world.now;
    world.gateway.refuses_until = now + 60_000;
    world.deploy(in_a_hurry());
    world.settle();
    world.run(60_000);
    let mut held = in_a_hurry();
    for (name, service) in &mut held.services {
        if name.as_str() == "web" {
            service.strategy = canary(&[(10, 0)]);
        }
    }
    world.deploy(held.clone());
    world.deploy(in_a_hurry());
    world.settle();
    world.run(1000);
    world.deploy(held);
    world.run(25_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn database_that_does_not_start_in_the_time_that_the_stack_file_gives_it() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour::hangs(),
        _ => usual(start),
    });
    world.deploy(in_a_hurry());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn database_that_does_not_stop_in_the_time_that_the_stack_file_gives_it() {
    let mut world = fresh();
    world.behave = Box::new(|start| match start.role {
        Role::Database => Behaviour {
            stop_takes: 60_000,
            ..usual(start)
        },
        _ => usual(start),
    });
    world.deploy(in_a_hurry());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.goal(Goal::Purged);
    world.run(20_000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn a_way_back_that_takes_too_long_says_so() {
    let mut world = served();
    world.behave = Box::new(|start| match (start.role, start.release) {
        (Role::ReleaseCommand, 2) => Behaviour {
            stop_takes: 60_000,
            ..Behaviour::hangs()
        },
        _ => usual(start),
    });
    let mut spec = in_a_hurry();
    for service in spec.services.values_mut() {
        service.stop_timeout = Millis::secs(120);
    }
    let deployment = world.deploy(spec);
    world.run(2000);
    world.cancel(deployment);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

/// A web service and a worker that must never run twice.
fn with_worker() -> EnvSpec {
    let worker = ServiceSpec {
        stop_timeout: Millis::secs(600),
        ..alone(worker(1))
    };
    spec(&[("web", web(2)), ("worker", worker)], &[])
}

/// Its release r1 serves.
fn working() -> World {
    let mut world = fresh();
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world
}

/// The worker of a release is so.
fn worker_of(release: u64, other: fn() -> Behaviour) -> Box<dyn Fn(&world::Start) -> Behaviour> {
    Box::new(
        move |start| match start.release == release && start.component == "worker" {
            true => other(),
            false => usual(start),
        },
    )
}

#[test]
fn worker_is_gone_before_the_next_one_starts() {
    let mut world = working();
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_is_let_finish_its_job() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour {
        stop_takes: 250_000,
        ..Behaviour::default()
    });
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    world.transcript.clear();
    world.deploy(with_worker());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_does_not_heed_the_signal_is_killed_when_its_time_is_over() {
    let stack = || {
        let mut stack = with_worker();
        let worker = stack.services.get_mut(&name("worker"));
        worker.unwrap().stop_timeout = Millis::secs(10);
        stack
    };
    let mut world = fresh();
    world.behave = worker_of(1, || Behaviour {
        stop_takes: u64::MAX,
        ..Behaviour::default()
    });
    world.deploy(stack());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_cannot_start_gives_way_to_the_one_before() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour::exits(150, 1, &["no queue"]));
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_cannot_even_be_started() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour::refused("no room"));
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_is_exchanged_after_a_rollback_has_switched() {
    let mut world = working();
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_is_exchanged_after_a_canary() {
    let stack = || {
        let mut stack = with_worker();
        let web = stack.services.get_mut(&name("web")).unwrap();
        web.strategy = canary(&[(20, 5)]);
        stack
    };
    let mut world = fresh();
    world.deploy(stack());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

/// d2 waits for the worker of r1, which takes a minute to finish what it has begun.
fn finishing() -> World {
    let mut world = fresh();
    world.behave = worker_of(1, || Behaviour {
        stop_takes: 60_000,
        ..Behaviour::default()
    });
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(with_worker());
    world.run(5000);
    world
}

#[test]
fn cancelled_while_the_worker_finishes() {
    let mut world = finishing();
    world.cancel(ward_types::id::DeploymentId(2));
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn planner_killed_while_the_worker_finishes() {
    let mut world = finishing();
    world.memory = ward_plan::Memory::default();
    // Something else of the new release is ill meanwhile: the old worker is not started for that.
    let wall = world.wall();
    world.sim(&id("web-r2-4")).turn(false, wall);
    world.run(10_000);
    let wall = world.wall();
    world.sim(&id("web-r2-4")).turn(true, wall);
    world.memory = ward_plan::Memory::default();
    world.settle();
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_dies_at_rest_is_replaced_when_it_is_gone() {
    let mut world = working();
    let wall = world.wall();
    world.sim(&id("worker-r1-3")).kill(wall);
    world.run(2000);
    insta::assert_snapshot!(world.transcript);
}

/// `jobs` is reached by links and must not run twice: its requests wait while nothing is there.
fn with_jobs() -> EnvSpec {
    spec(&[("jobs", alone(inner(1))), ("web", web(1))], &[])
}

#[test]
fn service_with_a_port_is_gone_before_the_next_one_starts() {
    let mut world = fresh();
    world.deploy(with_jobs());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.gateway.busy(&id("jobs-r1-1"), 1, 0);
    world.deploy(with_jobs());
    world.run(2000);
    world.gateway.cut(&id("jobs-r1-1"));
    world.settle();
    world.run(2000);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn service_with_a_port_that_cannot_start_gives_way_to_the_one_before() {
    let mut world = fresh();
    world.deploy(with_jobs());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.behave = Box::new(
        |start| match start.component == "jobs" && start.release == 2 {
            true => Behaviour::hangs(),
            false => usual(start),
        },
    );
    world.deploy(with_jobs());
    world.settle();
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn worker_that_is_all_there_is() {
    let stack = || spec(&[("worker", alone(worker(1)))], &[]);
    let mut world = fresh();
    world.deploy(stack());
    world.settle();
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    insta::assert_snapshot!(world.transcript);
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
    insta::assert_snapshot!(world.transcript);
}
