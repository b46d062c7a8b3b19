//! What serves, when something of it dies or is ill while nothing is deployed.

use super::*;

#[test]
fn instance_dies_at_rest() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).kill(wall);
    world.say("! web-r1-3 was killed");
    world.run(5000);
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
}

#[test]
fn instance_that_stays_stopped_is_replaced_sooner_and_that_is_recorded() {
    let mut world = served();
    let wall = world.wall();
    world.sim(&id("web-r1-3")).pause(wall);
    world.say("! web-r1-3 is stopped by a signal");
    world.run(14_000);
    world.say("! nothing yet");
    world.run(8000);
    golden!(world.transcript);
}

/// It answers well, and is replaced all the same: nobody has tried what it answers now.
#[test]
fn instances_whose_files_were_changed_are_replaced_although_they_are_healthy() {
    let mut world = served();
    world.gateway.busy(&id("web-r1-3"), 1, 0);
    for instance in ["web-r1-3", "web-r1-4"] {
        world.sim(&id(instance)).alter("app.py was edited");
    }
    world.say("! the files of web-r1-3 and web-r1-4 were edited");
    world.run(3000);
    world.gateway.cut(&id("web-r1-3"));
    world.run(5000);
    golden!(world.transcript);
}

/// Those that take their place are changed before they have taken it: there are as many as there may be, and some go.
#[test]
fn replacements_whose_files_were_changed_as_well_are_replaced_in_their_turn() {
    let mut world = served();
    let change = |world: &mut World, all: [&str; 2]| {
        for instance in all {
            world.sim(&id(instance)).alter("app.py was edited");
        }
        let [one, other] = all;
        world.say(&format!("! the files of {one} and {other} were edited"));
    };
    change(&mut world, ["web-r1-3", "web-r1-4"]);
    world.run(100);
    change(&mut world, ["web-r1-6", "web-r1-7"]);
    world.run(10_000);
    golden!(world.transcript);
}

/// While something is deployed nothing of what serves is exchanged beside it.
#[test]
fn files_that_were_changed_during_a_deployment_wait_for_its_end() {
    let mut world = served();
    world.behave = of_release(2, Behaviour::hangs);
    world.deploy(returns());
    world.run(2000);
    world.sim(&id("web-r1-3")).alter("app.py was edited");
    world.say("! the files of web-r1-3 were edited");
    world.settle();
    world.run(5000);
    golden!(world.transcript);
}
