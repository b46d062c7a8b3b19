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
        ["http", "https", "registry", "metrics"]
            .map(|name| server[name].as_str().unwrap().to_owned())
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

/// Brings a database up, and nothing else.
fn database(ward: &Ward) {
    let text =
        "[stack]\nname = \"shop\"\nversion = \"1.0\"\n[database.db]\nengine = \"postgres\"\n";
    ward.write("ward.toml", text);
    ward.up();
}

/// Pipes SQL into the database.
fn piped(ward: &Ward, sql: &str, more: &[&str]) -> std::process::Output {
    ward.write("some.sql", sql);
    let sql = std::fs::File::open(ward.dir().join("some.sql")).unwrap();
    let mut command = ward.command(&["db", "psql", "db"]);
    command.args(more).stdin(sql).output().unwrap()
}

#[test]
fn piped_sql_ends_at_its_first_mistake_and_says_so() {
    let ward = Ward::new();
    database(&ward);
    let sql = "create table kept (); select nonsense; create table never ();";
    let ended = piped(&ward, sql, &[]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    let tables = "select string_agg(tablename, ',') from pg_tables where schemaname = 'public'";
    let tables = piped(&ward, tables, &["--", "-At"]);
    assert_eq!(String::from_utf8_lossy(&tables.stdout).trim(), "kept");
    assert!(tables.status.success(), "{tables:?}");
    let on = ["--", "-v", "ON_ERROR_STOP=0"];
    let ended = piped(&ward, "select nonsense; select 'later';", &on);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("later"));
    assert!(ended.status.success(), "{ended:?}");
    assert!(ward.ok(&["db", "psql", "--help"]).contains("exit status 3"));
}

#[test]
fn what_is_purged_leaves_no_empty_folders_and_nothing_of_others_goes_with_it() {
    let ward = Ward::new();
    database(&ward);
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write(
        "ward.toml",
        &(text + "[environment.dev]\n[environment.qa]\n"),
    );
    ward.ok(&["up", ".", "--env", "qa"]);
    let there = |path: &str| ward.home().join(path).exists();
    ward.ok(&["down", "--purge", "--yes", "--env", "dev"]);
    assert!(!there("data/shop/dev") && !there("secrets/shop/dev") && !there("run/shop/dev"));
    assert!(there("data/shop/qa/db") && there("secrets/shop/qa/db"));
    assert!(ward.home().join("run/shop/qa/db.current").is_symlink());
    ward.ok(&["down", "--purge", "--yes", "--env", "qa"]);
    assert!(!there("data") && !there("secrets") && !there("run/shop"));
    ward.up();
    assert!(there("data/shop/dev/db") && there("secrets/shop/dev/db"));
}

#[test]
fn what_is_no_regular_file_is_no_stack_file_and_nobody_waits_for_it() {
    let ward = Ward::new();
    stack(&ward, "one");
    ward.up();
    let file = ward.dir().join("ward.toml");
    let odd = |what: &str| {
        for command in ["deploy", "check"] {
            let ran = ward.run(&[command, ward.dir().to_str().unwrap()]);
            ran.fails(1, &["ward.toml is no regular file", "not a folder, a pipe"]);
        }
        assert!(!ward.ok(&["status"]).is_empty(), "{what}");
        // Whoever is in that folder and asks for something else is not kept waiting either.
        ward.ok(&["releases"]);
    };
    let gone = || std::fs::remove_file(&file).unwrap();
    gone();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, mode).unwrap();
    odd("a pipe");
    gone();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    odd("a device");
    gone();
    drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
    odd("a socket");
    gone();
    std::fs::create_dir(&file).unwrap();
    odd("a folder");
    std::fs::remove_dir(&file).unwrap();
    stack(&ward, "two");
    std::fs::rename(&file, ward.dir().join("real.toml")).unwrap();
    std::os::unix::fs::symlink("real.toml", &file).unwrap();
    ward.ok(&["deploy"]);
    serves(&ward, "two");
}

#[test]
fn a_purge_that_cannot_be_confirmed_starts_nothing() {
    let ward = Ward::new();
    database(&ward);
    ward.ok(&["down"]);
    let purge = ward.run(&["down", "--purge"]);
    purge.fails(1, &["no terminal to ask at", "--yes"]);
    assert_eq!(ward.processes(), Vec::<String>::new());
    assert!(ward.home().join("data/shop/dev/db").exists());
    ward.ok(&["down", "--purge", "--yes"]);
    assert!(!ward.home().join("data").exists());
    assert_eq!(ward.processes(), Vec::<String>::new());
}

#[test]
fn output_of_a_release_that_is_not_there_is_an_error_and_not_silence() {
    let ward = Ward::new();
    let keep = |ward: &Ward| {
        let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        let few = "version = \"1.0\"\nkeep_releases = 1";
        ward.write("ward.toml", &text.replace("version = \"1.0\"", few));
        let brief = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        ward.write("ward.toml", &brief.replace("\"30s\"", "\"0s\""));
        ward.up();
    };
    for answer in ["one", "two", "three", "four"] {
        stack(&ward, answer);
        keep(&ward);
    }
    let of = |service: &'static str, release| ward.run(&["logs", service, "--release", release]);
    of("web", "r99").fails(1, &["shop/dev has no release r99", "there are: ", "r4"]);
    of("web", "r0").fails(1, &["has no release r0"]);
    of("web", "r4").success();
    of("wbe", "r4").fails(1, &["never had a service or database called wbe", "web"]);
    eventually("the first release is retired", || {
        !ward.ok(&["releases"]).contains("r1 ")
    });
    of("web", "r1").fails(1, &["r1 of shop/dev is retired", "there are: "]);
    let followed = ward.run(&["logs", "-f", "--release", "r99"]);
    followed.fails(1, &["has no release r99"]);
}

#[test]
fn limits_of_processes_and_scratch_space_reach_the_instances() {
    let ward = Ward::new();
    stack(&ward, "one");
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let limits = "port = 8000\nprocesses = 12\nscratch = \"2MiB\"";
    ward.write("ward.toml", &text.replace("port = 8000", limits));
    ward.up();
    let inside = |script: &str| ward.run(&["exec", "web", "--", "sh", "-c", script]);
    let full = inside("head -c 3000000 /dev/zero >/tmp/x; wc -c </tmp/x; rm /tmp/x");
    assert!(full.stderr().contains("No space left"), "{full:?}");
    assert_eq!(full.stdout().trim(), "2097152", "{full:?}");
    let many = inside("for n in $(seq 12); do sleep 5 >/dev/null 2>&1 & done");
    assert!(many.stderr().contains("fork"), "{many:?}");
    serves(&ward, "one");
}

#[test]
fn what_a_build_takes_and_is_not_there_is_a_mistake_of_the_file() {
    let ward = Ward::new();
    let file = |services: &str| {
        let head = "[stack]\nname = \"shop\"\nversion = \"1.0\"\n";
        ward.write("ward.toml", &format!("{head}{services}"));
    };
    let service = |name: &str, build: &str| format!("[service.{name}]\nbuild = {{ {build} }}\n");
    let run = r#"run = ["python3", "app.py"], base = "host""#;
    file(
        &[
            service("a", r#"cargo = "web""#),
            service("b", r#"dockerfile = "Dockerfil""#),
            service(
                "c",
                &format!(r#"files = ["app.py", "ap.py", "no/such"], {run}"#),
            ),
            service(
                "d",
                &format!(r#"command = ["no-such-program"], files = ["made"], {run}"#),
            ),
            service(
                "e",
                &format!(r#"command = ["make.sh"], files = ["made"], {run}"#),
            ),
            service(
                "f",
                &format!(r#"command = ["./plain"], files = ["made"], {run}"#),
            ),
            service(
                "g",
                &format!(r#"command = ["sh", "-c", "true"], files = ["made"], {run}"#),
            ),
        ]
        .concat(),
    );
    ward.write("Dockerfile", "FROM scratch\n");
    ward.write("plain", "");
    ward.write("make.sh", "#!/bin/sh\n");
    let made = ward.dir().join("make.sh");
    std::fs::set_permissions(made, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let found = ward.run(&["check"]);
    let codes = ["W0501", "W0502", "W0503", "W0504"];
    found.fails(2, &codes);
    found.fails(
        2,
        &["no Cargo workspace that could have `web`", "7 mistakes in"],
    );
    found.fails(
        2,
        &["no Dockerfile `Dockerfil`", "did you mean `Dockerfile`?"],
    );
    found.fails(
        2,
        &[
            "`ap.py` is not there",
            "did you mean `app.py`?",
            "`no/such` is not",
        ],
    );
    found.fails(
        2,
        &["no program `no-such-program` in the PATH", "`./make.sh`?"],
    );
    found.fails(2, &["`./plain` is there, but may not be executed"]);
    let views = ward.run(&["check", "--output", "json"]);
    let views: serde_json::Value = serde_json::from_str(&views.stdout()).unwrap();
    assert_eq!(
        (&views[0]["code"], &views[0]["text"]),
        (&"W0501".into(), &"\"web\"".into())
    );

    // Of the packages of a workspace those with a binary are offered.
    let manifest = "[workspace]\nmembers = [\"web\", \"words\"]\nresolver = \"3\"\n";
    ward.write("Cargo.toml", manifest);
    for (name, source) in [("web", "main.rs"), ("words", "lib.rs")] {
        std::fs::create_dir_all(ward.dir().join(name).join("src")).unwrap();
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        ward.write(&format!("{name}/Cargo.toml"), &package);
        ward.write(&format!("{name}/src/{source}"), "fn main() {}\n");
    }
    // Cargo is found by way of the home folder.
    let checked = |package: &str| {
        file(&service("a", &format!("cargo = \"{package}\"")));
        let mut check = ward.command(&["check"]);
        let home = std::env::var_os("HOME").unwrap_or_default();
        let output = check.env("HOME", home).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let says = |package: &str, sentences: &[&str]| {
        let (code, said) = checked(package);
        let all = sentences.iter().all(|sentence| said.contains(sentence));
        assert!(code == Some(2) && all, "{said}");
    };
    says("wbe", &["has no package `wbe`", "did you mean `web`?"]);
    says(
        "words",
        &["the package `words` has no binary", "binary: `web`"],
    );
    assert_eq!(checked("web").0, Some(0));
    // What cargo cannot read is left to the build.
    ward.write("Cargo.toml", "[workspace");
    assert_eq!(checked("web").0, Some(0));
    // Cargo itself would wait for ever for somebody who writes.
    let pipe = ward.dir().join("Cargo.toml");
    std::fs::remove_file(&pipe).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    says("web", &["Cargo.toml is no regular file"]);
}

#[test]
fn usage_asks_for_no_more_than_is_missing() {
    let ward = Ward::new();
    let (exec, psql) = (
        "Usage: ward exec [OPTIONS] <COMPONENT> <COMMAND>...\n",
        "Usage: ward db psql [OPTIONS] <DATABASE> [-- <ARGUMENTS>...]\n",
    );
    ward.run(&["exec"]).fails(2, &[exec]);
    ward.run(&["exec", "web"]).fails(2, &[exec]);
    ward.run(&["db", "psql"]).fails(2, &[psql]);
    assert!(ward.ok(&["exec", "--help"]).contains(exec));
    assert!(ward.ok(&["db", "psql", "--help"]).contains(psql));
}

fn find(all: &[u8], part: &[u8]) -> usize {
    position(all, part).expect("an event of that kind in the database file")
}

fn position(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}
