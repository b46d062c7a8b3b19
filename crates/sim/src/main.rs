//! What `cargo xtask sim` runs: seeds, the crash sweep, and how fast they go.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use ward_sim::{Run, sweep, try_seed};

const USAGE: &str = "usage: ward-sim [--seeds N] [--from FIRST] | --seed ONE";

/// How many seeds are tried when nobody says.
const SEEDS: u64 = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match asked(&arguments) {
        Some(Asked::One(seed)) => replay(seed),
        Some(Asked::Many { from, seeds }) => tried(from, seeds),
        None => {
            say(USAGE);
            ExitCode::from(2)
        }
    }
}

enum Asked {
    One(u64),
    Many { from: u64, seeds: u64 },
}

fn asked(arguments: &[String]) -> Option<Asked> {
    let (mut from, mut seeds) = (0, SEEDS);
    let mut one = None;
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        let value = value.parse().ok()?;
        match name.as_str() {
            "--seeds" => seeds = value,
            "--from" => from = value,
            "--seed" => one = Some(Asked::One(value)),
            _ => return None,
        }
    }
    one.or(Some(Asked::Many { from, seeds }))
}

/// Nobody may be reading any more; that is no reason to end otherwise.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn replay(seed: u64) -> ExitCode {
    let outcome = try_seed(seed, Some(String::new()));
    say(&outcome.transcript);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            say(&format!("seed {seed}: {violation}"));
            ExitCode::FAILURE
        }
    }
}

fn tried(from: u64, seeds: u64) -> ExitCode {
    let since = Instant::now();
    let run = Run::of(from, seeds);
    let took = since.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "it is printed to one decimal")]
    let rate = |count: u64| count as f64 / took;
    say(&format!(
        "{seeds} seeds from {from}, {} deployments, {:.0} simulated hours in {took:.1} s: {:.0} seeds and {:.1} simulated hours per second",
        run.deployments,
        rate(run.simulated) * took / 3_600_000.0,
        rate(seeds),
        rate(run.simulated) / 3_600_000.0,
    ));
    let mut broken = run.broken;
    for swept in sweep() {
        let (runs, boundaries) = (swept.runs, swept.boundaries);
        say(&format!(
            "crash sweep, {}: {boundaries} boundaries, {runs} runs, {} broken",
            swept.scenario,
            swept.violations.len()
        ));
        let places = swept.violations.iter().map(|(place, _)| place);
        broken.extend(places.map(|place| format!("{}: {place}", swept.scenario)));
    }
    broken.iter().for_each(|line| say(line));
    match broken.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
