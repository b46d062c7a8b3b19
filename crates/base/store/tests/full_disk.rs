//! A full disk: a clear error, nothing half recorded, and the store goes on when there is space again.
//! The disk is a small tmpfs in a mount namespace of its own, which ends with the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scene;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use scene::{created, entry, env, executed, release};
use ward_store::{Error, Log, Store};

const DISK: &str = "WARD_TEST_DISK";

#[test]
fn a_full_disk_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$1\" --exact on_a_small_disk --ignored --nocapture";
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", script]);
    command
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env(DISK, dir.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the disk was full"), "{text}");
}

/// Leaves no byte of the disk free.
fn fill(disk: &Path) -> PathBuf {
    let ballast = disk.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    ballast
}

/// Not a test by itself: it runs where `DISK` is a disk of 1 MiB.
#[test]
#[ignore = "started by the test above"]
fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(DISK).map(PathBuf::from) else {
        return;
    };
    let path = disk.join("ward.db");
    let store = Store::open(&path).unwrap();
    store.append(vec![entry(1, created(&env()))]).unwrap();
    store.append(release(&env(), 1)).unwrap();
    let before = (store.state(), store.records(None, 1000, None).unwrap());

    let ballast = fill(&disk);
    let mut appended = 0;
    let error = loop {
        // The log's file may have room for a few more.
        match store.append(vec![entry(2, executed(&"x".repeat(3000)))]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 1000, "the disk never became full");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(
        error.to_string().contains("is full; nothing was recorded"),
        "{error}"
    );
    writeln!(
        std::io::stdout(),
        "the disk was full after {appended}: {error}"
    )
    .unwrap();
    assert_eq!(store.state(), before.0);
    let records = store.records(None, 1000, None).unwrap();
    assert_eq!(records.len(), before.1.len() + appended);
    assert!(matches!(
        store.append(release(&env(), 2)).unwrap_err(),
        Error::Full { .. }
    ));
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);

    std::fs::remove_file(&ballast).unwrap();
    store.append(release(&env(), 2)).unwrap();
    assert_eq!(store.verify(None).unwrap().breaks, [""; 0]);
    let state = store.state();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.state(), state);
    assert_eq!(store.verify(None).unwrap().events, 13 + appended as u64);

    let _ballast = fill(&disk);
    let error = Store::open(&disk.join("second.db")).err().unwrap();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
}
