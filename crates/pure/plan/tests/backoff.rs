//! When what ended is started again: at once what was well, after a pause that grows what was not. A case
//! is one number; one that fails replays exactly (`WARD_SEED`).

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use proptest::prelude::*;
use ward_types::id::InstanceId;
use world::{Dice, World, cases, seeds, spec, web};

/// From an instance's start until it is healthy, as the simulated world has it.
const HEALTHY_AFTER: u64 = 300;
/// What was healthy for so long has started well.
const WELL: u64 = 10_000;

fn newest(world: &World) -> InstanceId {
    let ids = world.engine.keys();
    ids.max_by_key(|id| id.ordinal()).unwrap().clone()
}

/// Kills the one instance when it has been healthy for `healthy` milliseconds; how long until the next one
/// is started.
fn pause_after(world: &mut World, healthy: u64) -> u64 {
    world.run(HEALTHY_AFTER + healthy);
    let (before, wall, at) = (newest(world), world.wall(), world.now);
    assert!(world.engine[&before].is_healthy(), "{}", world.transcript);
    world.sim(&before).kill(wall);
    world.run(0);
    while newest(world) == before {
        assert!(world.now - at <= 60_000, "{}", world.transcript);
        world.run(100);
    }
    world.now - at
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_was_well_is_back_at_once_and_the_rest_after_a_growing_pause(seed in seeds()) {
        let mut dice = Dice::new(seed);
        let mut world = World::new();
        world.deploy(spec(&[("web", web(1))], &[]));
        world.run(0);
        let mut short = 0;
        for _ in 0..1 + dice.below(10) {
            let healthy = dice.below(2 * WELL);
            short = if healthy >= WELL { 0 } else { short + 1 };
            let expected = match short {
                0 => 0,
                row => (1000 << (row - 1)).min(60_000),
            };
            let pause = pause_after(&mut world, healthy);
            prop_assert_eq!(pause, expected, "{}", world.transcript);
        }
    }
}
