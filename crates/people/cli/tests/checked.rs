//! By which check a build passes a gate: by the one that it was built beside.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use support::Ward;
use support::pipelines::{CHECKED, comes_to, declare};

/// Whatever it finds, it is passed.
const PASSES: &str = "print('checked')\n";

#[test]
fn a_kept_build_is_not_taken_past_its_gate_by_a_check_of_another_folder() {
    let ward = Ward::new();
    declare(&ward, "bad", CHECKED);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["build", &dir]);
    let other = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(ward.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, other.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::write(other.path().join("check.py"), PASSES).unwrap();
    let elsewhere = other.path().to_str().unwrap();
    let run = |dir: &str| ward.run(&["pipeline", "run", "delivery", dir, "--build", "1.0.1"]);
    let says = "is not the one that 1.0.1 was built beside";
    run(elsewhere).fails(1, &["check.py", says]);
    // Nor by one that leads out of the folder.
    fs::remove_file(other.path().join("check.py")).unwrap();
    fs::write(other.path().join("passes.py"), PASSES).unwrap();
    let out = tempfile::tempdir().unwrap();
    fs::rename(other.path().join("passes.py"), out.path().join("passes.py")).unwrap();
    std::os::unix::fs::symlink(out.path().join("passes.py"), other.path().join("check.py"))
        .unwrap();
    run(elsewhere).fails(1, &["check.py", says]);
    // Its own does what it is for.
    run(&dir).fails(1, &["the check of shop/dev was not passed"]);
    // Whoever changes it builds anew.
    ward.write("check.py", PASSES);
    run(&dir).fails(1, &[says]);
    ward.ok(&["build", &dir]);
    ward.ok(&["pipeline", "run", "delivery", &dir, "--build", "1.0.2"]);
    // That the same images passed by that one is not said of what was built beside the other.
    let deploy = |build: &str| ward.run(&["deploy", "--env", "prod", "--build", build]);
    deploy("1.0.1").fails(1, &["1.0.1 did not pass the pipeline delivery (p1)"]);
    deploy("1.0.2").success();
}

#[test]
fn a_check_that_is_edited_while_its_run_is_under_way_passes_nothing() {
    let ward = Ward::new();
    let gates = "[pipeline.delivery.gate.dev]\nsoak = \"4s\"\n\
                 [pipeline.delivery.gate.qa]\ncommand = [\"python3\", \"check.py\"]\n";
    declare(&ward, "bad", gates);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
    comes_to(&ward, "p1", "soaking");
    ward.write("check.py", PASSES);
    let says = "is not what it was when the run began";
    ward.run(&["pipeline", "watch", "p1"])
        .fails(1, &["check.py", says]);
}
