//! Fuzzing: `fuzz/` with cargo-fuzz, which is installed below `target/` and nowhere else.
//!
//! Targets are compiled by the project's own compiler, with coverage and without a sanitizer: those need another
//! compiler, and look for mistakes with memory, which code without `unsafe` does not make.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;
use crate::run::{cargo, root, run, say};

const VERSION: &str = "0.13.2";
/// A run that takes longer, in seconds, hangs.
const TIMEOUT: u32 = 20;
/// How many targets run at once.
const AT_ONCE: usize = 2;

/// What cargo-fuzz is run with.
struct Fuzzer {
    /// Where cargo-fuzz is.
    bin: PathBuf,
}

impl Fuzzer {
    fn installed() -> Result<Self, String> {
        let fuzz = packages::tool("cargo-fuzz", VERSION, &["fuzz", "--version"])?;
        let bin = fuzz.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { bin })
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut fuzz = cargo();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.bin.clone()).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(paths) {
            fuzz.env("PATH", path);
        }
        if std::env::var_os("CARGO_TARGET_DIR").is_none() {
            fuzz.env("CARGO_TARGET_DIR", root().join("target/fuzz/build"));
        }
        fuzz.args(["fuzz", subcommand, "--sanitizer", "none"]);
        fuzz
    }
}

/// The targets, by name.
fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some(path.file_stem()?.to_str()?.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Runs each target whose name was given, or all, on its kept corpus, and goes on from there for so many seconds.
/// What is found on the way is kept below `target/`, and nothing of it in the repository.
pub(crate) fn fuzz(names: &[String], seconds: u32) -> Result<(), String> {
    let all = targets()?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(format!(
            "there is no target {unknown}; there are: {}",
            all.join(", ")
        ));
    }
    let chosen = if names.is_empty() { &all } else { names };
    let fuzzer = Fuzzer::installed()?;
    let mut build = fuzzer.command("build");
    // With one target its name can be said; all are built in one go.
    if let [only] = chosen {
        build.arg(only);
    }
    run(&mut build)?;
    let failed: Vec<&str> = chosen
        .chunks(AT_ONCE)
        .flat_map(|some| at_once(&fuzzer, some, seconds))
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "failed: {}; what they failed on is in target/fuzz, and runs again by `cargo fuzz run TARGET FILE`",
            failed.join(", ")
        )),
    }
}

/// The names of those that failed.
fn at_once<'a>(fuzzer: &Fuzzer, names: &'a [String], seconds: u32) -> Vec<&'a str> {
    std::thread::scope(|scope| {
        let one = |name: &'a String| scope.spawn(move || one(fuzzer, name, seconds));
        let all: Vec<_> = names.iter().map(one).collect();
        let ended = all.into_iter().zip(names).filter_map(|(thread, name)| {
            let failed = !matches!(thread.join(), Ok(Ok(())));
            failed.then_some(name.as_str())
        });
        ended.collect()
    })
}

fn one(fuzzer: &Fuzzer, name: &str, seconds: u32) -> Result<(), String> {
    let work = root().join("target/fuzz").join(name);
    let found = work.join("found");
    std::fs::create_dir_all(&found)
        .map_err(|error| format!("{} cannot be made: {error}", found.display()))?;
    let mut fuzz = fuzzer.command("run");
    fuzz.arg(name).arg(&found);
    // Read, and never written to: the first folder is.
    fuzz.arg(root().join("fuzz/corpus").join(name)).arg("--");
    fuzz.args([format!("-timeout={TIMEOUT}"), "-verbosity=0".to_owned()]);
    fuzz.arg(format!("-artifact_prefix={}/", work.display()));
    // Without time the corpora are run, and nothing else.
    fuzz.arg(match seconds {
        0 => "-runs=0".to_owned(),
        seconds => format!("-max_total_time={seconds}"),
    });
    run(&mut fuzz).inspect_err(|error| say(error))
}
