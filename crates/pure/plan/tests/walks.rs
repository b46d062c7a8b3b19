//! Random walks through the simulated world: deployments good and bad, rollbacks, downs and ups, killed
//! instances, gateways that are away, slow or refuse, drivers that die between two actions, clocks that
//! are set. The world holds every step against the promises; at the end everything is calm, and the
//! environment must be as it was declared. A walk is one number; one that fails replays exactly
//! (`WARD_SEED`).

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use proptest::prelude::*;
use ward_types::id::{DeploymentId, InstanceId};
use ward_types::keeper::{Exit, Role};
use ward_types::release::{Goal, Phase, Reason, Verdict};
use ward_types::spec::{EnvSpec, Schema, ServiceSpec, Strategy};
use ward_types::time::Millis;
use world::{
    Behaviour, Dice, Mishap, Start, World, alone, any_analysis, any_probe, any_strategy, cases,
    deployed, inner, linked, seeds, spec, web, with_command, with_schema, worker,
};

fn good(start: &Start) -> Behaviour {
    match start.role {
        Role::ReleaseCommand | Role::Run(_) => Behaviour::exits(150, 0, &[]),
        _ => Behaviour::default(),
    }
}

/// Four in five do what they should; what the others do depends on their number alone.
fn mixed(seed: u64) -> Box<dyn Fn(&Start) -> Behaviour> {
    Box::new(move |start| {
        let mut dice = Dice::new(seed ^ start.ordinal.wrapping_mul(0x9e37_79b9));
        match dice.below(30) {
            0 => Behaviour::exits(dice.below(2000), 1, &["panicked"]),
            // A database that hangs gets ever more time, and a walk is to end.
            1 if start.role != Role::Database => Behaviour::hangs(),
            2 => Behaviour::refused("no room"),
            3 | 4 => Behaviour {
                exit: Some((400 + dice.below(20_000), Exit::Signal(11))),
                ..good(start)
            },
            5 => Behaviour {
                stop_takes: 60_000,
                ..good(start)
            },
            6 => Behaviour {
                healthy_after: Some(dice.below(40_000)),
                ..good(start)
            },
            _ => good(start),
        }
    })
}

fn any_spec(dice: &mut Dice) -> EnvSpec {
    let mut services = vec![("web", web(1 + dice.below(3) as u32))];
    if dice.chance(50) {
        services.push(("api", with_command(inner(1 + dice.below(2) as u32))));
    }
    if dice.chance(60) {
        services.push(("worker", any_worker(dice)));
    }
    let databases: &[&str] = if dice.chance(70) { &["db"] } else { &[] };
    for (_, service) in services.iter_mut().filter(|_| !databases.is_empty()) {
        *service = linked(service.clone(), databases);
    }
    for (_, service) in services.iter_mut().filter(|(_, s)| s.port.is_some()) {
        *service = deployed(any_strategy(dice), service.clone());
        service.analysis = any_analysis(dice);
        service.probe = any_probe(dice);
        let alone = matches!(service.strategy, Strategy::BlueGreen { .. }) && dice.chance(20);
        service.overlap = !alone;
    }
    let mut spec = spec(&services, databases);
    let kinds = [Schema::None, Schema::Expand, Schema::Contract];
    let beside = spec
        .services
        .values()
        .any(|s| s.strategy.beside().is_some());
    let kind = match dice.below(8) {
        0..4 => Schema::Expand,
        4 | 5 if !beside => Schema::Irreversible,
        _ => *dice.pick(&kinds),
    };
    spec = with_schema(spec, kind);
    spec.keep_warm = Millis(dice.below(3) * 20_000);
    spec.keep_releases = u32::try_from(1 + dice.below(4)).unwrap();
    spec
}

/// Most must not run beside another release's, and many of those have long to finish what they have begun.
fn any_worker(dice: &mut Dice) -> ServiceSpec {
    let worker = worker(1 + dice.below(2) as u32);
    if dice.chance(25) {
        return worker;
    }
    let seconds = *dice.pick(&[1, 10, 600]);
    ServiceSpec {
        stop_timeout: Millis::secs(seconds),
        ..alone(worker)
    }
}

fn step(world: &mut World, dice: &mut Dice) {
    if world.env().goal != Goal::Up && dice.chance(40) {
        world.goal(Goal::Up);
    }
    match dice.below(27) {
        0..=3 => drop(world.deploy(any_spec(dice))),
        4..=6 => back_or_forth(world, dice),
        7 => world.goal(*dice.pick(&[Goal::Down, Goal::Up, Goal::Purged, Goal::Up])),
        8 | 9 => world.goal(Goal::Up),
        10 | 11 => {
            let (now, away) = (world.now, dice.below(40_000));
            world.say("! the gateway was killed");
            world.gateway.go_away(now, away);
        }
        12 => world.gateway.refuses_until = world.now + dice.below(30_000),
        13 => world.gateway.takes = dice.below(3) * 700,
        14..=16 => harm(world, dice),
        17 | 18 => busy(world, dice),
        19 | 20 => mishap(world, dice),
        21 => cancel(world, dice),
        22 => pause(world, dice),
        23..=25 => go_on(world),
        _ => world.set_clock(dice.below(7_200_000) as i64 - 3_600_000),
    }
    let time = *dice.pick(&[0, 50, 300, 1000, 5000, 20_000, 70_000]);
    world.run(dice.below(time + 1));
}

fn back_or_forth(world: &mut World, dice: &mut Dice) {
    let releases: Vec<_> = world.env().releases.keys().copied().collect();
    if !releases.is_empty() {
        let to = *dice.pick(&releases);
        let reason = match world.env().current {
            Some(current) if current > to => Reason::Rollback,
            Some(current) if current < to => Reason::Rollforward,
            _ => Reason::Up,
        };
        match world.env().barred(to).is_some() || dice.chance(3) {
            true if dice.chance(50) => {}
            true => drop(world.queue_despite(to, reason, Some("I said so"))),
            false => drop(world.queue(to, reason)),
        }
    }
}

fn unfinished(world: &World) -> Vec<DeploymentId> {
    let all = world.env().deployments.values();
    let unfinished = all.filter(|d| !matches!(d.phase, Phase::Finished { .. }));
    unfinished.map(|d| d.id).collect()
}

fn cancel(world: &mut World, dice: &mut Dice) {
    let ids = unfinished(world);
    if !ids.is_empty() {
        world.cancel(*dice.pick(&ids));
    }
}

fn pause(world: &mut World, dice: &mut Dice) {
    let ids: Vec<_> = unfinished(world);
    if !ids.is_empty() {
        world.pause(*dice.pick(&ids));
    }
}

/// Whatever waits for a word gets it.
fn go_on(world: &mut World) {
    for id in unfinished(world) {
        let deployment = &world.env().deployments[&id];
        let active = world.env().active().is_some_and(|d| d.id == id);
        if deployment.paused.is_some() {
            world.resume(id);
        } else if active {
            world.promote(id, 99);
        }
    }
}

fn anyone(world: &World, dice: &mut Dice) -> Option<InstanceId> {
    let ids: Vec<_> = world.engine.keys().cloned().collect();
    (!ids.is_empty()).then(|| dice.pick(&ids).clone())
}

fn harm(world: &mut World, dice: &mut Dice) {
    let Some(id) = anyone(world, dice) else {
        return;
    };
    let wall = world.wall();
    let what = dice.below(4);
    world.say(&format!(
        "! {id}: {}",
        ["killed", "lost", "ill", "well"][what as usize]
    ));
    match what {
        0 => world.sim(&id).kill(wall),
        1 => world.sim(&id).lose(wall),
        2 => world.sim(&id).turn(false, wall),
        _ => world.sim(&id).turn(true, wall),
    }
}

/// Only what is in the table gets work.
fn busy(world: &mut World, dice: &mut Dice) {
    let Some(id) = anyone(world, dice) else {
        return;
    };
    let named = world
        .gateway
        .table
        .iter()
        .flat_map(|p| &p.endpoints)
        .any(|e| e.instance == id);
    match named && dice.chance(70) {
        true => {
            let (requests, failed) = (dice.below(40), dice.below(10));
            let micros = 500 << dice.below(8);
            world
                .gateway
                .answer(&id, requests, failed.saturating_sub(6), micros);
            world.gateway.busy(&id, dice.below(3), dice.below(2));
        }
        false => world.gateway.cut(&id),
    }
}

fn mishap(world: &mut World, dice: &mut Dice) {
    let mishap = match dice.chance(50) {
        true => Mishap::Crash(dice.below(4) as usize),
        false => Mishap::Fail(dice.below(4) as usize),
    };
    world.mishaps = vec![mishap; 1 + dice.below(2) as usize];
}

/// Nothing is wrong any more: what was begun ends, and a good release is what serves.
fn calm(world: &mut World) {
    world.say("> calm");
    world.mishaps.clear();
    world.behave = Box::new(good);
    world.gateway.takes = 0;
    world.gateway.refuses_until = 0;
    world.gateway.traffic.clear();
    let wall = world.wall();
    for sim in world.engine.values_mut() {
        sim.turn(true, wall);
    }
    world.run(45_000);
    world.goal(Goal::Up);
    settle(world);
}

/// As `World::settle`, and whoever is asked says yes.
fn settle(world: &mut World) {
    for _ in 0..2000 {
        go_on(world);
        world.run(1000);
        if unfinished(world).is_empty() {
            return;
        }
    }
    panic!("no end\n{}", world.transcript);
}

fn ends_well(world: &mut World, dice: &mut Dice) {
    calm(world);
    // A stage may be too short for as many requests as an analysis asks for: then it goes back, rightly.
    let mut spec = any_spec(dice);
    for service in spec.services.values_mut() {
        service.analysis = None;
    }
    let id = world.deploy(spec);
    settle(world);
    let text = &world.transcript;
    let phase = &world.env().deployments[&id].phase;
    let succeeded = matches!(
        phase,
        Phase::Finished {
            verdict: Verdict::Succeeded,
            ..
        }
    );
    assert!(succeeded, "{phase:?}\n{text}");
    world.run(200_000);
    is_as_declared(world);
    world.goal(Goal::Purged);
    world.run(120_000);
    let empty = world.engine.is_empty() && world.gateway.table.is_empty();
    assert!(empty && world.purged > 0, "{}", world.transcript);
}

/// Each service has its instances, all healthy and in rotation, and nothing else runs but databases.
fn is_as_declared(world: &World) {
    let env = world.env();
    let current = env.current_release().unwrap();
    let text = &world.transcript;
    for (name, service) in &current.spec.services {
        let copies = world.engine.values().filter(|s| {
            s.facts.role == Role::Service && s.facts.component == *name && s.is_healthy()
        });
        let ids: Vec<_> = copies.map(|s| s.facts.id.clone()).collect();
        assert_eq!(ids.len(), service.instances as usize, "{name}\n{text}");
        let pool = world.gateway.table.iter().find(|p| p.service == *name);
        let routed = pool.map_or(0, |p| p.endpoints.len());
        let wanted = service.port.map_or(0, |_| ids.len());
        assert_eq!(routed, wanted, "{name}\n{text}");
    }
    for sim in world.engine.values() {
        let facts = &sim.facts;
        let old = facts.role != Role::Database && facts.release != current.id;
        assert!(!old, "{} is left\n{text}", facts.id);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn every_walk_ends_well(seed in seeds()) {
        let mut dice = Dice::new(seed);
        let mut world = World::new();
        world.behave = mixed(seed);
        for _ in 0..dice.below(30) {
            step(&mut world, &mut dice);
        }
        ends_well(&mut world, &mut dice);
    }
}
