//! Each guard removed in turn: a suite that stays green without it has a hole.
//!
//! The guards are removed from a copy of the sources, below `target`, one at a time; the tests that should
//! notice are run there, and must fail. A guard whose text is not found any more is a failure too: then
//! this list is to be mended. Tests that hang for `PATIENCE` have noticed as well.

mod guards;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use self::guards::MUTATIONS;
use crate::run::{root, run, say};

/// One guard: what it is, where it stands, its text and what takes its place, and the crates whose tests
/// should notice.
struct Mutation {
    guard: &'static str,
    file: &'static str,
    text: &'static str,
    without: &'static str,
    noticed_by: &'static [&'static str],
}

/// How long the tests may take without a guard, in seconds.
const PATIENCE: &str = "600";

/// Removes each guard in turn.
pub(crate) fn mutations(from: usize) -> Result<(), String> {
    let tree = root().join("target/mutations/tree");
    copy(&tree)?;
    let mut unnoticed = Vec::new();
    for (number, mutation) in MUTATIONS.iter().enumerate().skip(from) {
        let noticed = mutation.is_noticed(&tree)?;
        let word = if noticed { "noticed" } else { "NOT NOTICED" };
        say(&format!("# {number} without: {} … {word}", mutation.guard));
        if !noticed {
            unnoticed.push(mutation.guard);
        }
    }
    let removed = MUTATIONS.len().saturating_sub(from);
    say(&format!(
        "{removed} guards removed, {} noticed",
        removed - unnoticed.len()
    ));
    match unnoticed.is_empty() {
        true => Ok(()),
        false => Err(format!("no test notices: {}", unnoticed.join("; "))),
    }
}

/// What is committed, and what is not yet; over what a run that was stopped left changed.
fn copy(tree: &Path) -> Result<(), String> {
    fs::create_dir_all(tree).map_err(|error| format!("cannot make {}: {error}", tree.display()))?;
    let mut copy = Command::new("sh");
    copy.current_dir(root())
        .args([
            "-c",
            "git ls-files -z | xargs -0 cp --parents -Pf -t \"$0\"",
        ])
        .arg(tree);
    run(&mut copy)
}

impl Mutation {
    /// Whether any test fails without the guard, or the tests do not even build.
    fn is_noticed(&self, tree: &Path) -> Result<bool, String> {
        let path = tree.join(self.file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let whole = self.found_in(tree)?;
        fs::write(&path, whole.replace(self.text, self.without)).map_err(failed)?;
        let built = self.cargo(tree, &["--no-run"])?;
        let passed = built && self.cargo(tree, &[])?;
        fs::write(&path, whole).map_err(failed)?;
        match built {
            true => Ok(!passed),
            false => Err(format!("{} does not compile without it", self.guard)),
        }
    }

    /// The file that the guard stands in, once.
    fn found_in(&self, tree: &Path) -> Result<String, String> {
        let path = tree.join(self.file);
        let whole =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        match whole.matches(self.text).count() {
            1 => Ok(whole),
            times => Err(format!(
                "{} holds this guard {times} times and not once: {}",
                self.file, self.text
            )),
        }
    }

    fn cargo(&self, tree: &Path, more: &[&str]) -> Result<bool, String> {
        // Not only cargo: what it started as well.
        let mut test = Command::new("timeout");
        test.args(["--kill-after=10", PATIENCE, "cargo"])
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", root().join("target"))
            .env("INSTA_UPDATE", "no")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .args(["test", "--locked", "--quiet"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null());
        for package in self.noticed_by {
            test.args(["--package", package]);
        }
        let status = test.args(more).status();
        let status = status.map_err(|error| format!("cargo cannot be run: {error}"))?;
        Ok(status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_stands_where_the_list_says() {
        let wrong: Vec<String> = MUTATIONS
            .iter()
            .filter_map(|mutation| mutation.found_in(&root()).err())
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
