//! Runs programs, from the root of the checkout, and says which.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::packages;

/// A sentence for the person, on standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), PathBuf::from)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Runs a command to its end, its output shown; says what it is first.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word: &OsStr| word.to_string_lossy().into_owned())
        .collect();
    let mut line = words.join(" ");
    if let Some((_, after)) = line.split_once("/bin/") {
        line = after.to_owned();
    }
    say(&format!("> {line}"));
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(error) => Err(format!("`{line}` cannot be run: {error}")),
    }
}

/// Simulates: the work is in the crate `ward-sim`.
pub(crate) fn sim(seeds: u64, from: u64, seed: Option<u64>) -> Result<(), String> {
    let mut sim = cargo();
    sim.args(["run", "--release", "--locked", "--quiet"]);
    sim.args(["--package", "ward-sim", "--"]);
    match seed {
        Some(seed) => sim.arg("--seed").arg(seed.to_string()),
        None => sim
            .args(["--seeds", &seeds.to_string()])
            .args(["--from", &from.to_string()]),
    };
    run(&mut sim)
}

/// Measures: the work is in the crate `ward-bench`.
pub(crate) fn bench(names: &[String], output: &str) -> Result<(), String> {
    packages::install(packages::BENCH)?;
    run(cargo().args(["build", "--release", "--locked", "--package", "ward-cli"]))?;
    let mut bench = cargo();
    bench.args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "ward-bench",
        "--",
    ]);
    // What concerns rollouts: the simulator, and the real thing.
    let rollouts = ["sim", "canary", "upgrades", "soak"].map(str::to_owned);
    let names = match names {
        [only] if only == "sim" => &rollouts,
        names => names,
    };
    run(bench.args(["--output", output]).args(names))
}
