//! `cargo xtask test`: everything that CI runs. One list, in the order in which a failure is cheapest.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::fuzz::fuzz;
use crate::packages;
use crate::replay::replay;
use crate::run::{cargo, root, run, say};
use crate::{docs, packages::TEST};

/// The examples: workspaces of their own.
const EXAMPLES: [&str; 2] = ["examples/returns/Cargo.toml", "examples/plans/Cargo.toml"];

/// How long each fuzz target goes on, in seconds.
const FUZZED_FOR: u32 = 5;

pub(crate) fn test() -> Result<(), String> {
    packages::install(TEST)?;
    type Step = (&'static str, fn() -> Result<(), String>);
    let steps: [Step; 9] = [
        ("formatting", formatting),
        ("lints", lints),
        ("pages from their tables", docs::check),
        ("Ward's tests", wards_tests),
        ("what scanners find in the gateway", posture),
        ("the examples' tests", example_tests),
        ("the documents' commands", documents),
        ("a short run of the fuzz targets", fuzzing),
        ("a short soak", soak),
    ];
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, step) in steps {
        let since = Instant::now();
        match step() {
            Ok(()) => passed += 1,
            Err(message) => {
                say(&format!("{name}: {message}"));
                failed.push(name);
            }
        }
        say(&format!("# {name}: {} s", since.elapsed().as_secs()));
    }
    say(&format!("{passed} passed, {} failed", failed.len()));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn formatting() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in EXAMPLES.into_iter().chain(["fuzz/Cargo.toml"]) {
        run(cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

fn lints() -> Result<(), String> {
    let flags = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
    ];
    let strict = ["--", "-D", "warnings"];
    run(cargo().args(flags).args(strict))?;
    for manifest in EXAMPLES {
        run(cargo()
            .args(flags)
            .args(["--manifest-path", manifest])
            .args(strict))?;
    }
    Ok(())
}

fn wards_tests() -> Result<(), String> {
    run(cargo().args(["build", "--locked", "--package", "ward-cli"]))?;
    run(cargo().env("WARD_TEST_PYTHON", packages::python()?).args([
        "test",
        "--locked",
        "--workspace",
        "--no-fail-fast",
        "--quiet",
    ]))
}

/// What speaks with the gateway as an attacker would.
const SMUGGLEX: (&str, &str) = ("smugglex", "0.4.0");

fn posture() -> Result<(), String> {
    let (name, version) = SMUGGLEX;
    let smugglex = packages::tool(name, version, &["--version"])?;
    let mut test = cargo();
    test.env("WARD_TEST_SMUGGLEX", smugglex);
    test.args(["test", "--locked", "--quiet", "--package", "ward-gateway"]);
    run(test.args(["--test", "gateway", "--", "--ignored", "posture"]))
}

fn example_tests() -> Result<(), String> {
    for manifest in EXAMPLES {
        let flags = [
            "test",
            "--locked",
            "--workspace",
            "--quiet",
            "--manifest-path",
        ];
        run(cargo().args(flags).arg(manifest))?;
    }
    Ok(())
}

/// The bench's soak, shortened to about a minute: it fails where a bar does not hold.
fn soak() -> Result<(), String> {
    run(cargo().args(["build", "--locked", "--package", "ward-bench"]))?;
    let bench = root().join("target/debug/ward-bench");
    let mut soak = Command::new(bench);
    soak.args(["soak", "--short", "--moves", "45", "--requests", "5000"]);
    let report = soak.args(["--output", "json"]).stderr(Stdio::inherit());
    let report = report
        .output()
        .map_err(|error| format!("the soak cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&report.stdout);
    say(&text);
    match report.status.success() && !text.contains("\"holds\": false") {
        true => Ok(()),
        false => Err("a bar of the soak does not hold".to_owned()),
    }
}

/// Each target on its corpus, and then for some seconds.
fn fuzzing() -> Result<(), String> {
    fuzz(&[], FUZZED_FOR)
}

/// Replays the sessions of the documents.
pub(crate) fn documents() -> Result<(), String> {
    run(cargo().args(["build", "--locked", "--package", "ward-cli"]))?;
    replay(&root().join("README.md"), &root().join("target/debug"))
}
