//! Seeds and sweeps, as many as every run of the tests can afford; `cargo xtask sim` tries more.

use ward_sim::{sweep, try_seed};

/// How many seeds are tried; `WARD_SEED` replays one of them.
const SEEDS: u64 = 2000;

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = std::env::var("WARD_SEED").ok().and_then(|s| s.parse().ok()) {
        let outcome = try_seed(seed, Some(String::new()));
        assert_eq!(outcome.violation, None, "{}", outcome.transcript);
        return;
    }
    for seed in 0..SEEDS {
        if let Some(violation) = try_seed(seed, None).violation {
            let told = try_seed(seed, Some(String::new())).transcript;
            panic!("{told}\n{violation}: replay with WARD_SEED={seed}");
        }
    }
}

#[test]
fn p4_no_crash_at_any_boundary_breaks_a_promise() {
    for swept in sweep() {
        if let Some((place, transcript)) = swept.violations.first() {
            let all = swept.violations.len();
            panic!("{transcript}\n{} ({all} in all): {place}", swept.scenario);
        }
        assert!(
            swept.boundaries > 20,
            "{} has few boundaries",
            swept.scenario
        );
    }
}
