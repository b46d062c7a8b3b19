//! The crash sweep: each scenario is run once to count the boundaries between an intent, its effect and its
//! record, and then for each boundary once with the driver killed there, once with what is done there done
//! twice because its answer is lost, and once with the driver stopped before it until another has taken over.

use ward_types::id::DeploymentId;
use ward_types::release::Goal;
use ward_types::spec::{Schema, Strategy};

use crate::chaos::{ends_well, outcome};
use crate::dice::Dice;
use crate::inner::{Behaviours, Faults};
use crate::simulation::Simulation;
use crate::specs::{canary, drowsy, one_by_one, returns, returns_by, seeded, with_schema};

/// What a scenario's sweep came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub scenario: &'static str,
    /// How many boundaries there are.
    pub boundaries: u64,
    /// How many runs there were.
    pub runs: u64,
    /// What was broken: where, and the transcript.
    pub violations: Vec<(String, String)>,
}

type Scenario = (&'static str, fn(&mut Simulation));

const SCENARIOS: [Scenario; 21] = [
    ("first deploy", |s| {
        s.world().deploy(returns(2));
        s.settle();
    }),
    ("deploy", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.settle();
        s.run(90_000);
    }),
    ("scale up and down", |s| {
        first(s);
        s.world().deploy(returns(4));
        s.settle();
        s.world().deploy(returns(1));
        s.settle();
    }),
    ("rollback and forward", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.settle();
        s.world().go_to(ward_types::id::ReleaseId(1));
        s.settle();
        s.world().go_to(ward_types::id::ReleaseId(2));
        s.settle();
    }),
    ("rollback to what hangs, unseen", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.settle();
        s.world().lag = 4000;
        fall_ill(s, 1, 2);
        s.run(1000);
        s.world().go_to(ward_types::id::ReleaseId(1));
        s.settle();
    }),
    ("rollback to what dies in rotation", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.settle();
        s.world().go_to(ward_types::id::ReleaseId(1));
        s.run(50);
        fall_ill(s, 1, 2);
        s.settle();
    }),
    ("irreversible, and back all the same", |s| {
        first(s);
        s.world()
            .deploy(with_schema(returns(2), Schema::Irreversible));
        s.settle();
        let back = ward_types::id::ReleaseId(1);
        s.world().go_to_despite(back, "restored by hand");
        s.settle();
    }),
    ("failing deploy", |s| {
        first(s);
        s.world().behaviours = Behaviours::Any(Dice::new(17));
        s.world().deploy(returns(3));
        s.settle();
    }),
    ("cancel", |s| {
        first(s);
        let id = s.world().deploy(returns(2));
        s.run(700);
        if s.world().unfinished().contains(&id) {
            s.world().cancel(id);
        }
        s.settle();
    }),
    ("rolling", |s| {
        by_strategy(s, one_by_one(), 3);
        s.settle();
    }),
    ("rolling, cancelled", |s| {
        let id = by_strategy(s, one_by_one(), 3);
        s.run(1700);
        if s.world().unfinished().contains(&id) {
            s.world().cancel(id);
        }
        s.settle();
    }),
    ("canary", |s| {
        by_strategy(s, canary(&[(10, 5), (60, 5)], 5), 2);
        s.settle();
    }),
    ("canary, aborted", |s| {
        by_strategy(s, canary(&[(10, 60)], 0), 2);
        s.run(5000);
        {
            let mut world = s.world();
            let (now, wall) = (world.now, world.wall());
            let canary = world.engine.values_mut().next_back();
            canary.into_iter().for_each(|copy| copy.kill(now, wall));
        }
        s.settle();
    }),
    ("two deploys at once", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.world().deploy(returns(3));
        s.settle();
    }),
    ("down and up", |s| {
        first(s);
        s.world().goal(Goal::Down);
        s.run(30_000);
        s.world().goal(Goal::Up);
        s.world().go_to(ward_types::id::ReleaseId(1));
        s.settle();
    }),
    ("asleep, and woken by a request", |s| {
        s.world().deploy(drowsy(5));
        s.settle();
        s.run(10_000);
        s.world().asks();
        s.run(3000);
        s.world().is_answered();
        s.run(10_000);
        s.world().deploy(drowsy(5));
        s.settle();
    }),
    ("a request while it falls asleep", |s| {
        s.world().deploy(drowsy(60));
        s.settle();
        s.world().gateway.takes = 300;
        s.world().sleeps();
        s.run(350);
        s.world().asks();
        s.run(5000);
        s.world().is_answered();
    }),
    ("seeded, until its time is over", |s| {
        s.world().lasts(Some(20_000));
        s.world().deploy(seeded());
        s.settle();
        s.run(60_000);
    }),
    ("deleted in the middle of a deployment", |s| {
        first(s);
        s.world().deploy(returns(2));
        s.run(200);
        s.world().delete();
        s.run(60_000);
    }),
    ("a clone", |s| {
        first(s);
        s.world().delete();
        s.run(120_000);
        s.world().create_clone();
        s.world().deploy(seeded());
        s.settle();
    }),
    ("an instance and its database die", |s| {
        first(s);
        {
            let mut world = s.world();
            let (now, wall) = (world.now, world.wall());
            for copy in world.engine.values_mut().take(2) {
                copy.kill(now, wall);
            }
        }
        s.run(20_000);
    }),
];

/// A second release beside the first, by a strategy.
fn by_strategy(simulation: &mut Simulation, strategy: Strategy, instances: u32) -> DeploymentId {
    simulation.world().deploy(returns(instances));
    simulation.settle();
    let next = returns_by(strategy, instances);
    simulation.world().deploy(next)
}

/// So many web instances of a release do not answer any more.
fn fall_ill(simulation: &mut Simulation, release: u64, count: usize) {
    let mut world = simulation.world();
    let (now, wall) = (world.now, world.wall());
    let ours = |copy: &&mut crate::engine::Copy| {
        let facts = &copy.facts;
        facts.release.0 == release && facts.component == crate::specs::name("web")
    };
    let copies = world.engine.values_mut().filter(ours).take(count);
    copies.for_each(|copy| copy.turn(false, now, wall));
}

fn first(simulation: &mut Simulation) {
    simulation.world().deploy(returns(2));
    simulation.settle();
}

/// Sweeps every scenario.
#[must_use]
pub fn sweep() -> Vec<Swept> {
    SCENARIOS.iter().map(sweep_one).collect()
}

fn sweep_one(scenario: &Scenario) -> Swept {
    let (name, play) = scenario;
    let mut undisturbed = Simulation::new("returns/dev", None);
    play(&mut undisturbed);
    let boundaries = undisturbed.world().boundary;
    let mut swept = Swept {
        scenario: name,
        boundaries,
        runs: 0,
        violations: Vec::new(),
    };
    for boundary in 1..=boundaries {
        let crash = Faults {
            crash_at: Some(boundary),
            ..Faults::default()
        };
        let repeat = Faults {
            lose_at: Some(boundary),
            ..Faults::default()
        };
        let stall = Faults {
            stall_at: Some(boundary),
            ..Faults::default()
        };
        for (what, faults) in [("killed", crash), ("repeated", repeat), ("stopped", stall)] {
            swept.runs += 1;
            if let Some(violation) = broken(*play, faults, None) {
                let transcript = broken(*play, faults, Some(String::new()));
                let place = format!("{what} at {boundary}: {violation}");
                swept
                    .violations
                    .push((place, transcript.unwrap_or_default()));
            }
        }
    }
    swept
}

/// What was broken, or with a transcript how.
fn broken(play: fn(&mut Simulation), faults: Faults, transcript: Option<String>) -> Option<String> {
    let told = transcript.is_some();
    let mut simulation = Simulation::new("returns/dev", transcript);
    simulation.fault(faults);
    play(&mut simulation);
    ends_well(&mut simulation, &mut Dice::new(1));
    let outcome = outcome(&simulation);
    match told {
        true => Some(outcome.transcript),
        false => outcome.violation,
    }
}
