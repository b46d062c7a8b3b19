//! The new release compared with the old one, at a canary's steps and while it bakes.

use super::*;

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
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
}

#[test]
fn canary_that_is_asked_enough_goes_on() {
    let mut world = served_web(2);
    let strategy = canary(&[(10, 20), (50, 20)]);
    world.deploy(analysed(strategy, 50, Inconclusive::Rollback));
    asked(&mut world, 200, 60_000, well);
    golden!(world.transcript);
}

/// Nobody asks it anything but the gateway: at ten percent and at fifty alike, and nothing afterwards.
#[test]
fn canary_without_clients_is_judged_by_probes() {
    let mut world = served_web(2);
    world.deploy(probing(canary(&[(10, 20), (50, 20)]), 50));
    probed(&mut world, 60_000, well);
    assert!(world.gateway.table.iter().all(|pool| pool.probe.is_none()));
    golden!(world.transcript);
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
    golden!(world.transcript);
}

/// While it bakes the old release is out of rotation: only the new one is probed.
#[test]
fn bake_without_clients_is_judged_by_probes() {
    let mut world = served_web(2);
    world.deploy(probing(blue_green(20), 50));
    probed(&mut world, 30_000, well);
    assert!(world.gateway.table.iter().all(|pool| pool.probe.is_none()));
    golden!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_goes_back() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 50, Inconclusive::Rollback));
    asked(&mut world, 50, 10_000, well);
    world.run(50_000);
    golden!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_goes_on_where_that_is_said() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 50, Inconclusive::Promote));
    asked(&mut world, 50, 5_000, well);
    world.run(50_000);
    golden!(world.transcript);
}

#[test]
fn canary_of_which_too_little_is_seen_is_held_until_there_is_enough() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.run(30_000);
    asked(&mut world, 50, 10_000, well);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn canary_that_is_held_for_requests_goes_back_after_a_day() {
    let mut world = served_web(2);
    world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.looks = 600_000;
    world.run(24 * 3_600_000);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn canary_that_is_held_for_requests_is_promoted() {
    let mut world = served_web(2);
    let second = world.deploy(analysed(canary(&[(10, 20)]), 10, Inconclusive::Hold));
    world.run(30_000);
    world.promote(second, 1);
    world.settle();
    golden!(world.transcript);
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
    golden!(world.transcript);
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
    golden!(world.transcript);
}

#[test]
fn bake_of_which_too_little_is_seen_goes_back() {
    let mut world = served_web(2);
    world.deploy(analysed(blue_green(20), 50, Inconclusive::Rollback));
    world.run(60_000);
    golden!(world.transcript);
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
    golden!(world.transcript);
}
