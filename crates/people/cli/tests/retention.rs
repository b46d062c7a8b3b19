//! What is retained, and what is removed.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::load::get;
use support::{APP, Ward, eventually};

/// A release whose image is like no other's.
fn release(ward: &Ward, n: u32) {
    ward.write("app.py", &format!("{APP}\n# {n}\n"));
    let few = "[environment.dev]\nstack.keep_releases = 1\nstack.keep_warm = \"0s\"";
    ward.stack(&format!("ANSWER = \"release {n}\""), few);
    ward.up();
}

fn releases(ward: &Ward) -> Vec<u64> {
    let view: Value = serde_json::from_str(&ward.ok(&["releases", "--output", "json"])).unwrap();
    let releases = view.as_array().unwrap().iter();
    releases
        .map(|release| release["id"].as_u64().unwrap())
        .collect()
}

fn layers(ward: &Ward) -> usize {
    let layers = std::fs::read_dir(ward.home().join("layers")).unwrap();
    let is_layer = |entry: &std::fs::DirEntry| entry.path().is_dir();
    layers.flatten().filter(is_layer).count()
}

#[test]
fn p9_what_no_release_needs_is_retired_and_collected() {
    let ward = Ward::new();
    release(&ward, 1);
    release(&ward, 2);
    let of_two = layers(&ward);
    release(&ward, 3);
    release(&ward, 4);
    eventually("r1 and r2 are retired and their layers collected", || {
        releases(&ward) == [4, 3] && layers(&ward) == of_two
    });
    let logs = ward.home().join("logs/shop/dev/web");
    assert!(logs.join("r4").exists() && !logs.join("r1").exists());
    let retired = ward.run(&["rollback", "--to", "r1"]);
    retired.fails(1, &["r1 of shop/dev is retired", "keep_releases"]);
    ward.ok(&["rollback"]);
    let serves = get(&ward.http(), "shop.localhost", "/").unwrap();
    assert_eq!(serves.body, "release 3");
    let events = ward.ok(&["events", "-n", "100"]);
    assert!(events.contains("release r1 retired"), "{events}");
    ward.ok(&["audit", "verify"]);
}
