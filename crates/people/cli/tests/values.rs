//! Values of secrets: written in an editor, given as a file in memory, and sealed anew while they are in use.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use support::load::Load;
use support::secrets::{HOST, asked, set, stack};
use support::terminal::at_a_terminal;
use support::{Ran, Ward, eventually, kill9, piped};

/// Two instances of a service that has secrets.
fn ward(secrets: &str) -> Ward {
    let ward = Ward::new();
    stack(&ward, secrets, "instances = 2");
    ward.ok(&["up", "--platform"]);
    ward
}

#[test]
fn p6_what_an_editor_writes_is_what_the_instance_has() {
    let ward = ward(r#"API_KEY = "env""#);
    let place = ward.dir().join("place");
    let edited = |script: &str| {
        ward.write(
            "editor.sh",
            &format!("echo \"$1\" > {}\n{script}", place.display()),
        );
        let set = ["secret", "set", "API_KEY", "--env", "shop/dev"];
        let mut command = at_a_terminal(&ward, 80, &set);
        command.env("EDITOR", format!("sh {}/editor.sh", ward.dir().display()));
        let ran = Ran::of(&["secret", "set"], command.output().unwrap());
        let path = fs::read_to_string(&place).unwrap();
        assert!(!Path::new(path.trim()).exists(), "{path} is left");
        ran
    };
    let first = edited("printf 'written by an editor\\n' > \"$1\"\n");
    assert_eq!(first.code(), 0, "{first:?}");
    assert!(
        !first.stdout().contains("written by an editor"),
        "{first:?}"
    );
    ward.up();
    assert_eq!(asked(&ward, "/var/API_KEY"), "written by an editor");
    // Editors write a new file and put it in the place of the one that was there.
    let second = edited("printf 'another value' > \"$1.new\" && mv \"$1.new\" \"$1\"\n");
    assert_eq!(second.code(), 0, "{second:?}");
    assert_eq!(asked(&ward, "/var/API_KEY"), "another value");
    // An editor that fails, and one that writes nothing, set nothing.
    let failed = edited("printf 'not this' > \"$1\"; exit 1\n");
    let empty = edited("true\n");
    assert!(
        failed.code() != 0 && empty.code() != 0,
        "{failed:?} {empty:?}"
    );
    assert_eq!(asked(&ward, "/var/API_KEY"), "another value");
}

#[test]
fn p6_a_secret_that_is_a_file_is_in_memory() {
    let ward = ward(r#"signing-key = "/run/secrets/signing-key""#);
    set(&ward, "signing-key", "hunter2-hunter2");
    ward.up();
    assert_eq!(asked(&ward, "/kind/run/secrets/signing-key"), "tmpfs\n");
    assert_ne!(
        asked(&ward, "/kind/app"),
        "tmpfs\n",
        "the image is on the disk"
    );
}

/// The master keys that are there.
fn keys(ward: &Ward) -> Vec<PathBuf> {
    let entries = fs::read_dir(ward.home().join("master-keys")).unwrap();
    let all = entries.map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|e| e == "key"))
        .collect()
}

/// Releases with different values one after the other, the master key exchanged meanwhile, and the server killed in it
/// once: all that was sealed opens under the key that is left, and clients notice nothing.
#[test]
fn p1_p4_another_master_key_costs_no_request_also_when_the_server_is_killed_in_it() {
    let names: Vec<String> = (0..40).map(|number| format!("KEY_{number:02}")).collect();
    let places: Vec<String> = names
        .iter()
        .map(|name| format!("{name} = \"env\""))
        .collect();
    let ward = ward(&places.join(", "));
    let values: Vec<String> = names
        .iter()
        .map(|name| format!("{name}=value-of-{name}"))
        .collect();
    piped(
        &ward,
        &["secret", "import", "--env", "shop/dev"],
        &values.join("\n"),
    )
    .success();
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    let rekey = || {
        let mut command = ward.command(&["secret", "rekey", "--why", "a test"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let whole = rekey().wait_with_output().unwrap();
    Ran::of(&["secret", "rekey"], whole).success();
    let before = keys(&ward);
    assert_eq!(before.len(), 1);
    // Killed while the new key is there beside the one before: some values need the one, some the other.
    let cut = (0..20).any(|_| {
        let server = ward.server_pid();
        let mut killed = rekey();
        while keys(&ward).len() == 1 && killed.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        kill9(server);
        killed.wait().unwrap();
        let between = keys(&ward).len() > 1;
        ward.ok(&["up", "--platform"]);
        between
    });
    assert!(cut, "no kill came in time");
    // The same command goes on.
    ward.ok(&["secret", "rekey", "--why", "again"]);
    let after = keys(&ward);
    assert_eq!(after.len(), 1, "the keys before are gone: {after:?}");
    assert_ne!(after, before);
    // New instances open what was sealed before, in this release and the next.
    ward.ok(&["deploy", "--force"]);
    set(&ward, "KEY_00", "another-value");
    let asked_before = load.asked();
    eventually("requests go on", || load.asked() > asked_before + 100);
    let (asked_for, failures) = load.end();
    println!(
        "measured: {} of {asked_for} requests failed",
        failures.len()
    );
    assert_eq!(failures, Vec::<String>::new(), "of {asked_for}");
    assert_eq!(asked(&ward, "/var/KEY_00"), "another-value");
    for name in &names[1..] {
        assert_eq!(
            asked(&ward, &format!("/var/{name}")),
            format!("value-of-{name}")
        );
    }
    let listed = ward.ok(&["secret", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["secrets"].as_array().unwrap().len(), names.len());
    ward.ok(&["audit", "verify"]);
}
