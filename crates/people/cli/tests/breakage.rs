//! What broke Ward once: several people at a time, processes that hang, a log that was tampered with.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::load::get;
use support::{Ward, alive, eventually};

const HOST: &str = "shop.localhost";

fn stack(ward: &Ward, answer: &str) {
    ward.stack(&format!(r#"ANSWER = "{answer}""#), "");
}

fn begin(ward: &Ward, arguments: &[&str]) -> std::process::Child {
    let mut command = ward.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn serves(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

#[test]
fn whoever_is_second_to_start_the_platform_uses_the_first() {
    let ward = Ward::new();
    stack(&ward, "good");
    let dir = ward.dir().to_str().unwrap().to_owned();
    let all: Vec<_> = (0..5).map(|_| begin(&ward, &["up", &dir])).collect();
    for one in all {
        let output = one.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
    }
    serves(&ward, "good");
    assert_eq!(ward.healthy("web").len(), 2);
}

#[test]
fn down_that_is_overtaken_by_a_deploy_says_so_and_does_not_wait() {
    let ward = Ward::new();
    stack(&ward, "one");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    // Instances that take a while to stop, so that the deploy comes in the middle of it.
    let slow = |answer: &str| {
        text.replace("one", answer)
            .replace("ANSWER", r#"MODE = "deaf", ANSWER"#)
            .replace("port = 8000", "port = 8000\nstop_timeout = \"2s\"")
    };
    ward.write("ward.toml", &slow("one"));
    ward.up();
    let since = Instant::now();
    let down = begin(&ward, &["down", "--env", "dev"]);
    eventually("the environment shall be down", || {
        ward.status()["environments"][0]["goal"] == "down"
    });
    ward.write("ward.toml", &slow("two"));
    ward.ok(&["deploy"]);
    let output = down.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("brought up again"), "{words}");
    assert!(since.elapsed() < Duration::from_secs(30));
    serves(&ward, "two");
}

#[test]
fn rollback_in_the_middle_of_a_deployment_goes_to_what_serves() {
    let ward = Ward::new();
    for answer in ["one", "two"] {
        stack(&ward, answer);
        ward.up();
    }
    // The third never becomes healthy: it is still on its way when it is called back.
    ward.stack(r#"ANSWER = "three", MODE = "unhealthy""#, "");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write("ward.toml", &text.replace("\"10s\"", "\"2s\""));
    let deploy = begin(&ward, &["deploy"]);
    eventually("the third is on its way", || {
        ward.run(&["events"])
            .stdout()
            .contains("deployment d3 rolling")
    });
    ward.ok(&["rollback"]);
    let _ = deploy.wait_with_output();
    serves(&ward, "two");
}

#[test]
fn a_gateway_that_hangs_is_followed_by_another() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    let hung = ward.gateway_pid();
    let pid = Pid::from_raw(hung).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    stack(&ward, "two");
    let deploy = ward.run(&["deploy"]);
    let successor = ward.gateway_pid();
    kill_process(pid, Signal::CONT).unwrap();
    deploy.success();
    assert_ne!(successor, hung);
    serves(&ward, "two");
    eventually("the elder leaves", || !alive(hung));
}

#[test]
fn down_ends_a_gateway_that_nothing_else_is_left_of() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    ward.ok(&["down", "--env", "dev"]);
    let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
    support::kill9(server);
    eventually("the server is gone", || !alive(server));
    ward.ok(&["down"]);
    eventually("the gateway is gone", || !alive(gateway));
}

#[test]
fn p7_a_log_that_keeps_the_server_from_starting_is_audited_all_the_same() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    ward.ok(&["down"]);
    let whole = ward.ok(&["audit", "verify"]);
    assert!(whole.contains("none altered"), "{whole}");
    let database = ward.home().join("ward.db");
    let untouched = std::fs::read(&database).unwrap();
    let at = find(&untouched, b"\"deployment_moved\"");
    let mut altered = untouched.clone();
    altered[at + 1] = b'D';
    std::fs::write(&database, &altered).unwrap();
    let verified = ward.run(&["audit", "verify"]);
    assert_eq!(verified.code(), 1, "{verified:?}");
    assert!(verified.stdout().contains("event"), "{verified:?}");
    std::fs::write(&database, &untouched).unwrap();
}

#[test]
fn p7_an_altered_log_is_told_to_everyone_who_asks_and_recorded_once() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    ward.ok(&["deploy", "--force", "--why", "the true reason"]);
    ward.ok(&["down"]);
    let database = ward.home().join("ward.db");
    let mut bytes = std::fs::read(&database).unwrap();
    // SQLite leaves copies of rows that it moved: each is altered, so that the row itself is.
    while let Some(at) = position(&bytes, b"the true reason") {
        bytes[at + 4] = b'T';
    }
    std::fs::write(&database, &bytes).unwrap();
    let told = |ran: &support::Ran| {
        let all = ran.stdout() + &ran.stderr();
        assert!(all.contains("the log was altered: event"), "{ran:?}");
        assert!(all.contains("ward audit verify"), "{ran:?}");
        assert!(all.contains("rely on no event from"), "{ran:?}");
    };
    let doctor = ward.run(&["doctor"]);
    told(&doctor);
    assert_eq!(doctor.code(), 1, "{doctor:?}");
    let dir = ward.dir().to_str().unwrap().to_owned();
    for _start in 0..2 {
        let up = ward.run(&["up", &dir]);
        told(&up);
        up.success();
        serves(&ward, "one");
        told(&ward.run(&["status"]));
        told(&ward.run(&["doctor"]));
        told(&ward.run(&["deploy", "--force"]));
        assert_eq!(ward.status()["server"]["log"]["state"], "altered");
        let events = ward.ok(&["events", "-n", "500"]);
        let found = events.matches("the log was found altered").count();
        assert_eq!(found, 1, "{events}");
        ward.ok(&["down"]);
    }
}

/// Asks the server to end, as `ward down` does when everything is down; its answer.
fn shutdown(ward: &Ward) -> String {
    let mut stream = UnixStream::connect(ward.home().join("ward.sock")).unwrap();
    stream
        .write_all(b"POST /v1/shutdown HTTP/1.1\r\nhost: ward\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_platform_does_not_end_while_something_is_up_or_is_being_deployed() {
    let ward = Ward::new();
    stack(&ward, "one");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let slow = r#"build = { command = ["sh", "-c", "touch begun; while ! test -e go; do sleep 0.05; done"], files"#;
    ward.write("ward.toml", &text.replace("build = { files", slow));
    let dir = ward.dir().to_str().unwrap().to_owned();
    let up = begin(&ward, &["up", &dir]);
    eventually("the build has begun", || ward.dir().join("begun").exists());
    let answer = shutdown(&ward);
    ward.write("go", "");
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert!(answer.contains("is being deployed just now"), "{answer}");
    let output = up.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer = shutdown(&ward);
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert!(answer.contains("shop/dev is to be up"), "{answer}");
    serves(&ward, "one");
}

#[test]
fn p3_down_ends_although_the_gateway_is_gone_and_cannot_be_started_again() {
    let ward = Ward::new();
    stack(&ward, "one");
    let copy = ward.home().join("ward-that-goes");
    std::fs::copy(env!("CARGO_BIN_EXE_ward"), &copy).unwrap();
    let usual = ward.command(&["up", ward.dir().to_str().unwrap()]);
    let mut up = std::process::Command::new(&copy);
    up.args(usual.get_args()).env_clear();
    up.envs(
        usual
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let up = up.output().unwrap();
    assert!(up.status.success(), "{up:?}");
    std::fs::remove_file(&copy).unwrap();
    support::kill9(ward.gateway_pid());
    let since = Instant::now();
    ward.ok(&["down"]);
    assert!(since.elapsed() < Duration::from_secs(30));
    eventually("nothing is left", || ward.processes().is_empty());
}

#[test]
fn ports_that_the_kernel_chose_stay_when_everything_is_started_again() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    let addresses = |ward: &Ward| {
        let server = ward.status()["server"].clone();
        ["http", "https", "registry"].map(|name| server[name].as_str().unwrap().to_owned())
    };
    let before = addresses(&ward);
    let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
    support::kill9(server);
    support::kill9(gateway);
    eventually("both are gone", || !alive(server) && !alive(gateway));
    ward.up();
    assert_eq!(addresses(&ward), before);
    serves(&ward, "one");
}

#[test]
fn p3_a_start_beside_a_gateway_that_hangs_names_it_and_ends() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
    let hung = Pid::from_raw(gateway).unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    support::kill9(server);
    eventually("the server is gone", || !alive(server));
    let since = Instant::now();
    let down = ward.run(&["down"]);
    let took = since.elapsed();
    support::kill9(gateway);
    assert_eq!(down.code(), 1, "{down:?}");
    let says = format!("(process {gateway})");
    assert!(down.stderr().contains(&says), "{down:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

fn find(all: &[u8], part: &[u8]) -> usize {
    position(all, part).expect("an event of that kind in the database file")
}

fn position(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}
