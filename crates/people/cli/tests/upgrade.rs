//! Another version of the binary takes over while the application serves.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::{Read, Write};
use std::path::PathBuf;

use support::load::{Load, get};
use support::{Ward, eventually};

const HOST: &str = "shop.localhost";

/// Another version: the same binary, somewhere else.
fn version(ward: &Ward, name: &str) -> PathBuf {
    let path = ward.dir().join(name);
    let here = env!("CARGO_BIN_EXE_ward");
    std::fs::hard_link(here, &path)
        .or_else(|_| std::fs::copy(here, &path).map(drop))
        .unwrap();
    path
}

fn binary_of(pid: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn ids(ward: &Ward) -> Vec<serde_json::Value> {
    let healthy = ward.healthy("web");
    healthy.iter().map(|i| i["id"].clone()).collect()
}

#[test]
fn p1_an_upgrade_of_ward_loses_no_request() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    let (http, instances) = (ward.http(), ids(&ward));
    for name in ["ward-2", "ward-3"] {
        let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
        let exe = version(&ward, name);
        let arguments = ["upgrade", "--why", name];
        let output = ward.command_of(exe.to_str().unwrap(), &arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(ward.server_pid() != server && ward.gateway_pid() != gateway);
        assert_eq!(binary_of(ward.server_pid()), exe);
        assert_eq!(binary_of(ward.gateway_pid()), exe);
        assert_eq!(ids(&ward), instances, "instances are not touched");
        assert_eq!(ward.http(), http, "it listens where it did");
        let asked = load.asked();
        eventually("clients go on", || load.asked() > asked + 50);
    }
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    let events = ward.ok(&["events"]);
    assert!(events.contains("ward-3"), "who asked, and why: {events}");
    // What was started by the version before is stopped by this one.
    ward.ok(&["down"]);
    assert!(ward.processes().is_empty(), "{:?}", ward.processes());
}

#[test]
fn p4_a_deployment_goes_on_through_an_upgrade() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    ward.stack(r#"ANSWER = "better""#, "");
    ward.ok(&["deploy", "--no-wait"]);
    let exe = version(&ward, "ward-2");
    let output = ward
        .command_of(exe.to_str().unwrap(), &["upgrade"])
        .output();
    assert!(output.as_ref().unwrap().status.success(), "{output:?}");
    ward.ok(&["deployment", "watch", "d2"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "better");
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
}

#[test]
fn a_version_that_does_not_start_leaves_the_one_before_running() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    ward.up();
    let exe = version(&ward, "ward-2");
    // Its file is gone by the time that it would start a server from it.
    let script = format!(
        "exec 9<{0}; rm {0}; exec /proc/self/fd/9 upgrade",
        exe.display()
    );
    let output = ward.command_of("sh", &["-c", &script]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words}");
    assert!(words.contains("the upgrade failed"), "{words}");
    assert!(words.contains("runs again"), "{words}");
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "good");
    assert_eq!(
        binary_of(ward.server_pid()),
        PathBuf::from(env!("CARGO_BIN_EXE_ward"))
    );
}

#[test]
fn p1_a_gateway_that_cannot_start_takes_nothing_over() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    ward.up();
    let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
    let load = Load::start(&ward.http(), HOST);
    let key = ward.home().join("ca/ca.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, "no key").unwrap();
    let upgrade = ward.run(&["upgrade"]);
    std::fs::write(&key, kept).unwrap();
    upgrade.fails(1, &["the upgrade failed", "runs again"]);
    assert_eq!(ward.gateway_pid(), gateway, "it goes on");
    assert!(ward.server_pid() != server);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
}

#[test]
fn p1_what_is_under_way_in_the_gateway_before_is_drained_by_a_deploy() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let slow = text
        .replace("keep_warm = \"30s\"", "keep_warm = \"0s\"")
        .replace(
            "port = 8000",
            "port = 8000\ndrain_timeout = \"60s\"\nstop_timeout = \"1s\"",
        );
    ward.write("ward.toml", &slow);
    ward.up();
    let http = ward.http();
    // A body that ends only after the deploy has done all that it can do meanwhile.
    let mut upload = std::net::TcpStream::connect(&http).unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\n\r\nab");
    upload.write_all(head.as_bytes()).unwrap();
    ward.ok(&["upgrade"]);
    ward.write("ward.toml", &slow.replace("good", "better"));
    ward.ok(&["deploy"]);
    eventually(
        "what is under way in the gateway before is waited for",
        || ward.ok(&["status"]).contains("to finish 1 request"),
    );
    upload.write_all(b"cd").unwrap();
    let mut answer = [0; 15];
    upload.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[test]
fn a_version_whose_file_was_replaced_is_started_again_when_the_next_does_not() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    let installed = version(&ward, "installed");
    let dir = ward.dir().to_str().unwrap().to_owned();
    let exe = installed.to_str().unwrap();
    let up = ward.command_of(exe, &["up", &dir]).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    let next = ward.dir().join("installed.new");
    std::fs::copy(&installed, &next).unwrap();
    std::fs::rename(next, &installed).unwrap();
    let key = ward.home().join("ca/ca.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, "no key").unwrap();
    let upgrade = ward.command_of(exe, &["upgrade"]).output().unwrap();
    std::fs::write(&key, kept).unwrap();
    let words = String::from_utf8_lossy(&upgrade.stderr).into_owned();
    assert!(words.contains("runs again"), "{words}");
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "good");
}

#[test]
fn nothing_to_take_over_from_is_said() {
    let ward = Ward::new();
    ward.run(&["upgrade"]).fails(1, &["ward up"]);
}

#[test]
fn an_upgrade_keeps_what_the_gateway_was_told_unless_it_is_said_anew() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    let up = ward
        .command(&["up"])
        .env("WARD_ACCESS_LOG_QUERY", "on")
        .env("WARD_PROXY_PROTOCOL", "192.0.2.0/24,192.0.2.9")
        .env("WARD_TRACEPARENT", "unsampled")
        .output();
    assert!(up.unwrap().status.success());
    let told = || {
        let line = std::fs::read(format!("/proc/{}/cmdline", ward.gateway_pid())).unwrap();
        let told = String::from_utf8(line).unwrap();
        [
            "--access-log-query=on",
            "--proxy-protocol=192.0.2.9",
            "--traceparent=unsampled",
        ]
        .map(|word| told.contains(word))
    };
    assert_eq!(told(), [true, true, true]);
    let exe = version(&ward, "ward-2");
    let upgrade = |anew: &[(&str, &str)]| {
        let mut command = ward.command_of(exe.to_str().unwrap(), &["upgrade"]);
        let output = command.envs(anew.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    upgrade(&[]);
    assert_eq!(told(), [true, true, true]);
    upgrade(&[("WARD_ACCESS_LOG_QUERY", "off")]);
    assert_eq!(told(), [false, true, true]);
    ward.ok(&["down"]);
}

#[test]
fn p6_an_upgrade_hands_on_the_command_of_the_master_key_and_takes_none_that_gives_another() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    let key = |name: &str, hex: &str| {
        let path = ward.home().join(name);
        std::fs::write(&path, hex.repeat(32)).unwrap();
        format!("cat {}", path.display())
    };
    let (own, other) = (key("key", "5a"), key("other-key", "5b"));
    let with = |arguments: &[&str], command: &str| {
        let mut command_line = ward.command(arguments);
        command_line.env("WARD_MASTER_KEY_COMMAND", command);
        let output = command_line.output().unwrap();
        support::Ran::of(arguments, output)
    };
    with(&["up", "--platform"], &own).success();
    ward.up();
    let set = ["secret", "set", "API_KEY", "--env", "shop/dev"];
    support::piped(&ward, &set, "hunter2-hunter2").success();
    // Twice: what was handed on is handed on again.
    for _ in 0..2 {
        ward.ok(&["upgrade"]);
        ward.ok(&["secret", "rekey"]);
    }
    let seen = std::fs::read(format!("/proc/{}/cmdline", ward.server_pid())).unwrap();
    assert!(
        !String::from_utf8_lossy(&seen).contains("cat "),
        "others could read it"
    );
    let server = ward.server_pid();
    let refused = with(&["upgrade"], &other);
    refused.fails(1, &["the upgrade failed", "master key", "runs again"]);
    let refused = with(&["upgrade"], "false");
    refused.fails(1, &["the upgrade failed", "runs again"]);
    assert_ne!(ward.server_pid(), server);
    ward.ok(&["secret", "rekey"]);
    ward.ok(&["deploy", "--force"]);
}

#[test]
fn an_address_for_webhooks_is_given_to_a_platform_that_runs() {
    let ward = Ward::new();
    ward.ok(&["up", "--platform"]);
    let with = |arguments: &[&str], address: &str| {
        let mut command = ward.command(arguments);
        let output = command.env("WARD_HOOKS_ADDR", address).output().unwrap();
        support::Ran::of(arguments, output)
    };
    let asked = with(&["up", "--platform"], "127.0.0.1:0");
    let said = format!("{}{}", asked.stdout(), asked.stderr());
    assert!(
        said.contains("WARD_HOOKS_ADDR=127.0.0.1:0 ward upgrade"),
        "{said}"
    );
    with(&["upgrade"], "127.0.0.1:0").success();
    assert!(ward.ok(&["status"]).contains("webhooks 127.0.0.1:0"));
    let again = with(&["up", "--platform"], "127.0.0.1:0");
    assert!(!format!("{}{}", again.stdout(), again.stderr()).contains("ward upgrade"));
}
