//! `cargo xtask demo`: from a fresh checkout to a running environment.

use std::process::Command;

use crate::packages;
use crate::run::{cargo, root, run, say};

pub(crate) fn demo() -> Result<(), String> {
    packages::install(packages::DEMO)?;
    run(cargo().args(["build", "--release", "--locked", "--package", "ward-cli"]))?;
    let ward = root().join("target/release/ward");
    run(Command::new(&ward)
        .arg("up")
        .arg("examples/returns")
        .current_dir(root()))?;
    say("");
    say("Open the address above in a browser. Then try, with target/release in your PATH:");
    for line in [
        "ward status",
        "ward logs web -f",
        "ward releases",
        "ward down",
    ] {
        say(&format!("    {line}"));
    }
    Ok(())
}
