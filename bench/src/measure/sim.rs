//! The simulator: seeds without a broken promise, the crash sweep, and what a pass over many environments costs.

use std::time::Instant;

use ward_sim::{Fleet, Run, sweep};

use super::Measured;
use crate::error::Error;
use crate::process;
use crate::report::{Bar, informs, say};

const BROKEN: Bar = Bar {
    name: "sim: seeds that break a promise, verdicts among them",
    unit: "seeds",
    most: 0.0,
};
const SWEPT: Bar = Bar {
    name: "sim: crashes and repetitions, at each boundary, that break a promise",
    unit: "runs",
    most: 0.0,
};
const PASS: Bar = Bar {
    name: "sim: 10,000 environments of 5 services: observe, plan, check",
    unit: "s",
    most: 1.0,
};
const MEMORY: Bar = Bar {
    name: "sim: memory for 10,000 environments of 5 services",
    unit: "MB",
    most: 500.0,
};
pub(super) const BARS: &[Bar] = &[BROKEN, SWEPT, PASS, MEMORY];

const ENVIRONMENTS: usize = 10_000;

pub(super) fn measure(seeds: u64) -> Measured {
    let before = own_memory()?;
    let mut fleet = Fleet::at_rest(ENVIRONMENTS);
    let since = Instant::now();
    let busy = fleet.pass();
    let pass = since.elapsed().as_secs_f64();
    let memory = own_memory()? - before;
    drop(fleet);
    if busy > 0 {
        return Err(Error::Unexpected(format!(
            "{busy} environments are not at rest"
        )));
    }
    let since = Instant::now();
    let run = Run::of(0, seeds);
    let took = since.elapsed().as_secs_f64();
    say(&format!("  {seeds} seeds in {took:.0} s"));
    let swept = sweep();
    let boundaries: u64 = swept.iter().map(|one| one.boundaries).sum();
    let runs: u64 = swept.iter().map(|one| one.runs).sum();
    let broken = swept.iter().map(|one| one.violations.len()).sum::<usize>();
    let hours = run.simulated as f64 / 3_600_000.0;
    let rows = vec![
        BROKEN.row(run.broken.len() as f64),
        informs("sim: seeds", seeds as f64, "seeds"),
        informs(
            "sim: deployments that ended",
            run.deployments as f64,
            "deployments",
        ),
        informs("sim: simulated time", hours, "hours"),
        informs("sim: simulated hours per second", hours / took, "hours/s"),
        SWEPT.row(broken as f64),
        informs(
            "sim: boundaries between intent, effect and record",
            boundaries as f64,
            "boundaries",
        ),
        informs("sim: runs of the crash sweep", runs as f64, "runs"),
        PASS.row(pass),
        MEMORY.row(memory),
    ];
    let mut notes = vec![format!(
        "the real planner, checker and driver; {} scenarios swept; the pass is one thread's.",
        swept.len()
    )];
    notes.extend(run.broken.iter().take(10).cloned());
    Ok((rows, notes))
}

/// Of this process, in MB.
fn own_memory() -> Result<f64, Error> {
    let bytes = process::proportional_set_size(std::process::id());
    let bytes =
        bytes.ok_or_else(|| Error::Unexpected("its own memory cannot be read".to_owned()))?;
    Ok(bytes as f64 / 1e6)
}
