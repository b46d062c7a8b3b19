//! Bad input and faults: each gets a clear word, and nothing that serves is lost.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use support::load::{Connection, Load, get};
use support::{Ward, alive, eventually, go_on, kill9, pause};

const HOST: &str = "shop.localhost";
const GOOD: &str = r#"ANSWER = "good""#;

fn up() -> Ward {
    let ward = Ward::new();
    ward.stack(GOOD, "");
    ward.up();
    ward
}

fn serves(ward: &Ward) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "good");
}

#[test]
fn every_mistake_is_told_in_one_run_and_changes_nothing() {
    let ward = up();
    ward.stack(GOOD, "[service.api]\nprot = 80\nlinks = [\"dbx\"]\n");
    ward.run(&["deploy"])
        .fails(2, &["prot", "port", "dbx", "W0"]);
    ward.run(&["check"]).fails(2, &["prot"]);
    assert!(!ward.ok(&["releases"]).contains("r2"));
    serves(&ward);
}

#[test]
fn a_stack_file_that_is_no_stack_file() {
    let ward = up();
    std::fs::remove_file(ward.dir().join("ward.toml")).unwrap();
    ward.run(&["deploy"])
        .fails(1, &["ward.toml", "name the folder"]);
    ward.write("ward.toml", &"# x\n".repeat(400_000));
    ward.run(&["deploy"]).fails(1, &["larger than"]);
    std::fs::write(ward.dir().join("ward.toml"), b"name = \"\xff\"").unwrap();
    ward.run(&["deploy"]).fails(1, &["UTF-8"]);
    ward.write("ward.toml", "[stack\nname = ");
    ward.run(&["deploy"]).fails(2, &["ward.toml"]);
    ward.run(&["deploy", "/no/such/folder"])
        .fails(1, &["/no/such/folder"]);
    serves(&ward);
}

#[test]
fn a_failing_build_shows_its_output_and_changes_nothing() {
    let ward = up();
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write(
        "ward.toml",
        &text.replace(
            "build = { files",
            r#"build = { command = ["sh", "-c", "echo the compiler; echo is cross >&2; echo today; exit 4"], files"#,
        ),
    );
    let failed = ward.run(&["deploy"]);
    let output = "  | the compiler\n  | is cross\n  | today\n";
    failed.fails(1, &[output, "exit status 4", "r1 serves as before"]);
    assert_eq!(
        failed.stderr().matches("nothing was changed").count(),
        1,
        "{failed:?}"
    );
    let verbose = ward.run(&["deploy", "-v"]).stderr();
    assert!(verbose.contains("  web is cross"), "{verbose}");
    assert!(!verbose.contains("  | is cross"), "said twice: {verbose}");
    assert!(!ward.ok(&["releases"]).contains("r2"));
    serves(&ward);
}

/// A release whose instances do not become healthy is taken back; the old one serves all the while.
fn taken_back(mode: &str, says: &[&str]) {
    let ward = up();
    let load = Load::start(&ward.http(), HOST);
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write(
        "ward.toml",
        &text
            .replace(r#"ANSWER = "good""#, &format!(r#"MODE = "{mode}""#))
            .replace("\"10s\"", "\"2s\""),
    );
    let deploy = ward.run(&["deploy"]);
    deploy.fails(1, &["failed, old serving"]);
    deploy.fails(1, says);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    serves(&ward);
    eventually("nothing of the failed release runs", || {
        ward.instances("web").iter().all(|i| i["release"] == 1)
    });
    // And the next release does not mind.
    ward.stack(r#"ANSWER = "better""#, "");
    ward.ok(&["deploy"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "better");
}

#[test]
fn a_health_check_that_answers_500() {
    taken_back("unhealthy", &["500", "start_timeout"]);
}

#[test]
fn a_health_check_that_hangs() {
    taken_back("hang", &["start_timeout"]);
}

#[test]
fn an_application_that_ends_at_once() {
    taken_back("exit", &["cannot open the moon", "exit code 3"]);
}

#[test]
fn a_worker_that_ends_at_once_is_taken_back() {
    let ward = up();
    let worker = r#"
[service.worker]
build = { files = ["app.py"], run = ["python3", "-u", "app.py"], base = "host" }
env = { MODE = "exit" }
"#;
    ward.stack(GOOD, worker);
    let deploy = ward.run(&["deploy"]);
    deploy.fails(
        1,
        &["failed, old serving", "cannot open the moon", "exit code 3"],
    );
    serves(&ward);
}

#[test]
fn a_rollback_does_not_need_the_current_release() {
    let ward = up();
    ward.stack(r#"ANSWER = "bad""#, "");
    ward.ok(&["deploy"]);
    // The current release breaks: its instances end, each time they are started.
    for instance in ward.instances("web").iter().filter(|i| i["release"] == 2) {
        kill9(i32::try_from(instance["pid"].as_i64().unwrap()).unwrap());
    }
    ward.ok(&["rollback"]);
    serves(&ward);
}

#[test]
fn an_application_that_ignores_sigterm_is_killed_and_one_that_forks_leaves_nothing() {
    for mode in ["deaf", "fork"] {
        let ward = Ward::new();
        ward.stack(
            &format!(r#"{GOOD}, MODE = "{mode}""#),
            "stop_timeout = \"1s\"",
        );
        let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        ward.write(
            "ward.toml",
            &text
                .replace("stop_timeout = \"1s\"", "")
                .replace("port = 8000", "port = 8000\nstop_timeout = \"1s\""),
        );
        ward.up();
        serves(&ward);
        let since = Instant::now();
        ward.ok(&["down"]);
        assert!(
            since.elapsed() < Duration::from_secs(15),
            "{mode}: {:?}",
            since.elapsed()
        );
        assert!(
            ward.processes().is_empty(),
            "{mode}: {:?}",
            ward.processes()
        );
    }
}

#[test]
fn p4_p10_the_server_is_killed_and_serving_goes_on() {
    let ward = up();
    let http = ward.http();
    let load = Load::start(&http, HOST);
    for _ in 0..3 {
        let server = ward.server_pid();
        let before: Vec<_> = ward
            .healthy("web")
            .iter()
            .map(|i| i["id"].clone())
            .collect();
        kill9(server);
        eventually("the server is gone", || !alive(server));
        for _ in 0..20 {
            assert_eq!(get(&http, HOST, "/").unwrap().body, "good");
        }
        ward.up();
        let after: Vec<_> = ward
            .healthy("web")
            .iter()
            .map(|i| i["id"].clone())
            .collect();
        assert_eq!(after, before, "it finds the instances that it had");
    }
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
}

#[test]
fn who_cannot_write_what_it_logs_goes_on() {
    let ward = Ward::new();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = ward.command(&["serve"]);
    let command = command.env("WARD_LOG", "debug").stderr(full.unwrap());
    let mut serve = command.spawn().unwrap();
    eventually("it listens", || ward.run(&["status"]).code() == 0);
    ward.stack(r#"ANSWER = "good""#, "");
    ward.up();
    let http = ward.http();
    let pid = || ward.healthy("web").first()?["pid"].as_i64();
    let first = pid().unwrap();
    kill9(i32::try_from(first).unwrap());
    eventually("it is replaced", || pid().is_some_and(|now| now != first));
    let gateway = ward.gateway_pid();
    kill9(gateway);
    eventually("another gateway serves", || {
        let good = get(&http, HOST, "/").is_ok_and(|answer| answer.body == "good");
        good && ward.gateway_pid() != gateway
    });
    ward.stack(r#"ANSWER = "better""#, "");
    ward.ok(&["deploy"]);
    assert_eq!(get(&http, HOST, "/").unwrap().body, "better");
    ward.ok(&["down", "--purge", "--yes"]);
    serve.wait().unwrap();
}

/// Its locks were removed while it slept, and so another one could start.
#[test]
fn p4_a_server_that_was_succeeded_does_nothing_when_it_wakes() {
    let ward = up();
    let http = ward.http();
    let load = Load::start(&http, HOST);
    let sleeper = ward.server_pid();
    pause(sleeper);
    for lock in ["lock", "registry/lock"] {
        std::fs::remove_file(ward.home().join(lock)).unwrap();
    }
    ward.run(&["status"])
        .fails(1, &["no sign of life", "kill -9", "ward up"]);
    let mut serve = ward.command(&["serve"]).spawn().unwrap();
    let socket = || std::fs::metadata(ward.home().join("ward.sock")).map(|m| m.ino());
    let before = socket().unwrap();
    eventually("its successor listens", || {
        socket().is_ok_and(|ino| ino != before)
    });
    assert!(ward.ok(&["events"]).contains(", t2)"));
    ward.stack(r#"ANSWER = "better""#, "");
    ward.ok(&["deploy"]);
    go_on(sleeper);
    eventually("the one that slept has ended", || !alive(sleeper));
    let log = std::fs::read_to_string(ward.home().join("server.log")).unwrap();
    assert!(log.contains("was succeeded by t2"), "{log}");
    assert_eq!(ward.server_pid(), i32::try_from(serve.id()).unwrap());
    assert_eq!(get(&http, HOST, "/").unwrap().body, "better");
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    ward.ok(&["down", "--purge", "--yes"]);
    serve.wait().unwrap();
}

#[test]
fn p4_a_deployment_goes_on_after_the_server_was_killed() {
    let ward = up();
    let http = ward.http();
    let load = Load::start(&http, HOST);
    for n in 2..5 {
        ward.stack(&format!(r#"ANSWER = "after {n}""#), "");
        let mut deploy = ward
            .command(&["deploy"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let recorded = format!("release r{n} recorded");
        eventually("the release is recorded", || {
            ward.run(&["events"]).stdout().contains(&recorded)
        });
        kill9(ward.server_pid());
        let _ = deploy.wait();
        ward.run(&["up"]);
        eventually("the deployment ended well", || {
            get(&http, HOST, "/").is_ok_and(|a| a.body == format!("after {n}"))
        });
    }
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
}

#[test]
fn a_killed_gateway_is_followed_by_another_and_connections_wait() {
    let ward = up();
    let http = ward.http();
    let gateway = ward.gateway_pid();
    kill9(gateway);
    // The listening socket outlives it: this connection waits for the successor.
    for _ in 0..20 {
        assert_eq!(get(&http, HOST, "/").unwrap().body, "good");
    }
    eventually("another gateway serves", || ward.gateway_pid() != gateway);
}

#[test]
fn a_killed_keeper_or_instance_is_replaced() {
    let ward = up();
    let http = ward.http();
    let first = ward.healthy("web").remove(0);
    kill9(i32::try_from(first["keeper_pid"].as_i64().unwrap()).unwrap());
    eventually("the application is gone with its keeper", || {
        !alive(i32::try_from(first["pid"].as_i64().unwrap()).unwrap())
    });
    eventually("two serve again", || {
        ward.healthy("web").len() == 2 && ward.healthy("web").iter().all(|i| i["id"] != first["id"])
    });
    let second = ward.healthy("web").remove(0);
    kill9(i32::try_from(second["pid"].as_i64().unwrap()).unwrap());
    eventually("two serve again", || {
        ward.healthy("web").len() == 2
            && ward.healthy("web").iter().all(|i| i["id"] != second["id"])
    });
    assert_eq!(get(&http, HOST, "/").unwrap().body, "good");
}

#[test]
fn p1_all_instances_killed_at_once_lose_only_what_is_under_way() {
    let ward = up();
    let load = Load::start(&ward.http(), HOST);
    for victims in ["pid", "keeper_pid"] {
        let asked = load.asked();
        eventually("requests are under way", || load.asked() > asked + 50);
        let dead = ward.healthy("web");
        for instance in &dead {
            kill9(i32::try_from(instance[victims].as_i64().unwrap()).unwrap());
        }
        eventually("two others serve", || {
            let healthy = ward.healthy("web");
            healthy.len() == 2
                && healthy
                    .iter()
                    .all(|i| dead.iter().all(|d| d["id"] != i["id"]))
        });
    }
    let (asked, failures) = load.end();
    // What comes while there is no instance waits. An upload that had begun cannot be sent again.
    let begun = |failure: &String| failure.starts_with("slow upload");
    let lost = failures.len() <= 2 && failures.iter().all(begun);
    assert!(lost, "of {asked}: {failures:#?}");
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ward = Ward::new();
    ward.stack(GOOD, "");
    ward.run(&["up", "--http-addr", &address])
        .fails(1, &[&address, "--http-addr", "WARD_HTTP_ADDR"]);
    ward.run(&["up", "--registry-addr", &address])
        .fails(1, &[&address, "--registry-addr"]);
    ward.up();
    serves(&ward);
}

#[test]
fn a_client_that_disappears_in_the_middle_of_a_body() {
    let ward = up();
    let http = ward.http();
    for _ in 0..20 {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(&http).unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nhost: shop.localhost\r\ncontent-length: 100000\r\n\r\nhalf",
            )
            .unwrap();
    }
    let mut kept = Connection::open(&http, HOST).unwrap();
    for _ in 0..20 {
        assert_eq!(kept.get("/").unwrap().body, "good");
    }
    // And nothing stays in flight for ever: a deploy drains as usual.
    ward.stack(r#"ANSWER = "next""#, "");
    ward.ok(&["deploy"]);
}

#[test]
fn commands_without_a_server_say_how_to_start_one() {
    let ward = Ward::new();
    ward.run(&["status"])
        .fails(1, &["no Ward server runs", "ward up"]);
    ward.run(&["rollback"]).fails(1, &["ward up"]);
    assert_eq!(ward.run(&["down"]).code(), 0);
}
