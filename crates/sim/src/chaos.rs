//! Anything may happen, in any order, and in the end nothing is wrong any more: then what was begun ends,
//! a good release is what serves, and a purge leaves nothing.

use ward_types::id::DeploymentId;
use ward_types::release::{Goal, Phase, Verdict};
use ward_types::sleep::Alarm;

use ward_types::time::Millis;

use crate::dice::Dice;
use crate::inner::{Behaviours, Faults, Inner};
use crate::simulation::Simulation;
use crate::specs;

/// As far as the clock is set back, at most, in milliseconds, and a minute.
const SET_BACK: u64 = 7_260_000;

/// What became of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The promise that was broken, if one was.
    pub violation: Option<String>,
    /// How much time went by in the world, in milliseconds.
    pub simulated: u64,
    /// How many deployments ended.
    pub deployments: u64,
    /// What happened, line by line, if that was asked for.
    pub transcript: String,
}

/// Runs the world of a seed. `transcript`, when given, is written on.
#[must_use]
pub fn try_seed(seed: u64, transcript: Option<String>) -> Outcome {
    let mut dice = Dice::new(seed);
    let mut simulation = Simulation::new("returns/dev", transcript);
    simulation.world().behaviours = Behaviours::Any(Dice::new(seed ^ 0x5eed));
    // In one world of five nobody sees at once what became of an instance.
    if dice.chance(20) {
        simulation.world().lag = dice.below(1500);
    }
    for _ in 0..dice.below(30) {
        step(&mut simulation, &mut dice);
    }
    ends_well(&mut simulation, &mut dice);
    outcome(&simulation)
}

pub(crate) fn outcome(simulation: &Simulation) -> Outcome {
    let world = simulation.world();
    Outcome {
        violation: world.violation.clone(),
        simulated: world.now,
        deployments: world.ended.len() as u64,
        transcript: world.transcript.clone().unwrap_or_default(),
    }
}

fn step(simulation: &mut Simulation, dice: &mut Dice) {
    if simulation.world().violation.is_some() {
        return;
    }
    let lives = simulation.world().env().life.ending.is_none();
    match lives {
        true => happens(&mut simulation.world(), dice),
        false => makes_room(&mut simulation.world(), dice),
    }
    let time = dice.pick(&[0, 50, 300, 1000, 5000, 20_000, 70_000]);
    simulation.run(dice.below(time.unwrap_or_default() + 1));
}

fn happens(world: &mut Inner, dice: &mut Dice) {
    if world.env().goal != Goal::Up && dice.chance(40) {
        world.goal(Goal::Up);
    }
    match dice.below(46) {
        0..=3 => drop(world.deploy(specs::any(dice))),
        4..=6 => back_or_forth(world, dice),
        7 => {
            let goals = [Goal::Down, Goal::Up, Goal::Purged, Goal::Up];
            world.goal(dice.pick(&goals).unwrap_or(Goal::Up));
        }
        8 | 9 => world.goal(Goal::Up),
        10 | 11 => {
            world.say(|| "! the gateway was killed".into());
            world.gateway.away_until = world.now + dice.below(40_000);
        }
        12 => world.gateway.refuses_until = world.now + dice.below(30_000),
        13 => world.gateway.takes = dice.below(3) * 700,
        14..=16 => harm(world, dice),
        17 | 18 => busy(world, dice),
        19 | 20 => world.faults.crash_at = Some(world.boundary + 1 + dice.below(30)),
        21 | 22 => world.faults.lose_at = Some(world.boundary + 1 + dice.below(30)),
        23 => {
            world.say(|| "! the disk is full".into());
            world.log_full_until = world.now + dice.below(20_000);
        }
        24 => cancel(world, dice),
        25 => pause(world, dice),
        26..=28 => world.go_on(),
        29 | 30 => world.faults.stall_at = Some(world.boundary + 1 + dice.below(30)),
        31 => world.lasts(Some(dice.below(100_000) + 1)),
        32 => match dice.chance(30) {
            true => world.delete(),
            false => world.lasts(None),
        },
        33..=35 => world.runs(dice),
        36 => world.stop_a_run(),
        37..=41 => world.asks(),
        42 => world.is_answered(),
        43 => world.sleeps(),
        44 => world.wakes(Alarm::Asked),
        _ => world.set_clock(dice.below(7_200_000).cast_signed() - 3_600_000),
    }
}

/// One that ends is left alone but for what breaks; another one of its name comes when it is gone.
fn makes_room(world: &mut Inner, dice: &mut Dice) {
    if world.env().is_deleted() {
        return world.create();
    }
    match dice.below(6) {
        0 => harm(world, dice),
        1 => world.gateway.away_until = world.now + dice.below(40_000),
        2 => world.faults.crash_at = Some(world.boundary + 1 + dice.below(30)),
        3 => world.faults.lose_at = Some(world.boundary + 1 + dice.below(30)),
        4 => world.faults.stall_at = Some(world.boundary + 1 + dice.below(30)),
        _ => world.log_full_until = world.now + dice.below(20_000),
    }
}

fn back_or_forth(world: &mut Inner, dice: &mut Dice) {
    let releases: Vec<_> = world.env().releases.keys().copied().collect();
    let Some(to) = dice.pick(&releases) else {
        return;
    };
    match (world.env().barred(to), dice.chance(50)) {
        (None, _) => drop(world.go_to(to)),
        (Some(_), true) => drop(world.go_to_despite(to, "I said so")),
        (Some(_), false) => {}
    }
}

fn cancel(world: &mut Inner, dice: &mut Dice) {
    if let Some(id) = dice.pick(&world.unfinished()) {
        world.cancel(id);
    }
}

fn pause(world: &mut Inner, dice: &mut Dice) {
    if let Some(id) = dice.pick(&world.unfinished()) {
        world.pause(id);
    }
}

fn harm(world: &mut Inner, dice: &mut Dice) {
    let ids: Vec<_> = world.engine.keys().cloned().collect();
    let (now, wall, what) = (world.now, world.wall(), dice.below(6));
    let Some(id) = dice.pick(&ids) else { return };
    world.say(|| {
        let what = ["killed", "lost", "ill", "well", "stopped", "changed"].get(what as usize);
        format!("! {id} is {}", what.unwrap_or(&"?"))
    });
    let Some(copy) = world.engine.get_mut(&id) else {
        return;
    };
    match what {
        0 => copy.kill(now, wall),
        1 => copy.lose(now, wall),
        2 => copy.turn(false, now, wall),
        3 => copy.turn(true, now, wall),
        4 => copy.pause(now, wall),
        _ => copy.alter(),
    }
}

fn busy(world: &mut Inner, dice: &mut Dice) {
    let ids: Vec<_> = world.engine.keys().cloned().collect();
    let Some(id) = dice.pick(&ids) else { return };
    match dice.chance(70) {
        true => world.gateway.busy(&id, dice.below(3), dice.below(2)),
        false => world.gateway.cut(&id),
    }
}

/// Nothing is wrong any more.
fn calm(simulation: &mut Simulation) {
    {
        let mut world = simulation.world();
        world.say(|| "> calm".into());
        world.faults = Faults::default();
        world.behaviours = Behaviours::Good;
        world.log_full_until = 0;
        world.lag = 0;
        world.gateway.calm();
        let (now, wall) = (world.now, world.wall());
        for copy in world.engine.values_mut() {
            copy.turn(true, now, wall);
        }
    }
    simulation.world().go_on();
    lives_on(simulation);
    simulation.run(45_000);
    simulation.world().goal(Goal::Up);
    simulation.settle();
}

/// One that ends does so, and another takes its place; it ends no more.
fn lives_on(simulation: &mut Simulation) {
    if simulation.world().env().life.ending.is_some() {
        simulation.run(300_000);
        let mut world = simulation.world();
        let deleted = world.env().is_deleted();
        world.must(deleted, || "it does not come to its end".into());
        if deleted {
            world.create();
        }
        return;
    }
    simulation.world().lasts(None);
}

pub(crate) fn ends_well(simulation: &mut Simulation, dice: &mut Dice) {
    calm(simulation);
    let id = simulation.world().deploy(specs::any(dice));
    simulation.settle();
    must_have_succeeded(&mut simulation.world(), id);
    simulation.run(200_000);
    if simulation.world().violation.is_some() {
        return;
    }
    // The deadline of one that hangs since before the clock was set back is that much later.
    if simulation.world().is_run_ahead() {
        simulation.run(SET_BACK);
    }
    simulation.world().no_run_is_open();
    wakes_up(simulation);
    simulation.world().must_be_as_declared();
    if dice.chance(50) {
        simulation.world().goal(Goal::Purged);
        simulation.run(120_000);
        return simulation.world().must_be_empty();
    }
    match dice.chance(50) {
        true => simulation.world().delete(),
        false => simulation.world().lasts(Some(1000)),
    }
    simulation.run(130_000);
    let mut world = simulation.world();
    let deleted = world.env().is_deleted() && world.env().releases.is_empty();
    world.must(deleted, || "it is not gone".into());
    world.must_be_empty();
}

/// What declares it sleeps by now. Whoever asks has an answer, when what took its time to stop has.
fn wakes_up(simulation: &mut Simulation) {
    let current = simulation.world().env().current_release().cloned();
    let idle = current.and_then(|release| release.spec.sleep);
    if idle.is_some_and(|idle| idle < Millis::secs(200)) {
        simulation.world().must_be_still();
    }
    simulation.world().asks();
    simulation.run(70_000);
    simulation.world().is_answered();
}

fn must_have_succeeded(world: &mut Inner, id: DeploymentId) {
    let phase = world.env().deployments.get(&id).map(|d| d.phase.clone());
    let verdict = match phase {
        Some(Phase::Finished { verdict, .. }) => Some(verdict),
        _ => None,
    };
    world.must(verdict == Some(Verdict::Succeeded), || {
        format!("{id} ends with {verdict:?} although nothing is wrong")
    });
}
