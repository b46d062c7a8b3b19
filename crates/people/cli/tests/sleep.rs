//! Environments that sleep while nobody uses them, and wake on their first request.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::load::{Answer, Connection, get};
use support::{WORKER_AND_DATABASE, Ward, alive, eventually, kill9, poll, sql};

const HOST: &str = "shop.localhost";

fn declared(idle: &str) -> String {
    format!("[environment.dev]\nsleep = \"{idle}\"\n")
}

fn shown(ward: &Ward) -> Value {
    serde_json::from_str(&ward.ok(&["env", "show", "dev", "--output", "json"])).unwrap()
}

fn sleeps(ward: &Ward) -> bool {
    shown(ward)["state"] == "asleep"
}

/// Nothing of it runs: neither instances nor their keepers.
fn is_still(ward: &Ward) -> bool {
    let processes = ward.processes();
    let runs = |line: &String| line.contains("keeper") || line.contains("postgres");
    sleeps(ward) && !processes.iter().any(runs)
}

fn put_to_sleep(ward: &Ward) {
    let said = ward.run(&["env", "sleep", "dev", "--why", "nobody is there"]);
    said.success();
    assert!(
        said.stderr().contains("shop/dev sleeps, its data kept"),
        "{said:?}"
    );
    eventually("nothing of it runs", || is_still(ward));
}

fn ask(ward: &Ward) -> Answer {
    get(&ward.http(), HOST, "/").unwrap()
}

#[test]
fn p1_an_idle_environment_sleeps_and_its_first_request_wakes_it() {
    let ward = Ward::new();
    ward.stack("", &format!("{WORKER_AND_DATABASE}{}", declared("2s")));
    ward.up();
    sql(&ward, None, "create table patient (name text)");
    eventually("it falls asleep", || is_still(&ward));
    let status = ward.ok(&["status"]);
    assert!(status.contains("asleep since "), "{status}");
    assert!(
        status.contains("because nobody asked it for anything"),
        "{status}"
    );
    let listed = ward.ok(&["env", "list"]);
    assert!(listed.contains("asleep"), "{listed}");
    let began = Instant::now();
    let answer = ask(&ward);
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    println!("the first answer took {:?}", began.elapsed());
    let there = "select count(*) from pg_class where relname = 'patient'";
    assert_eq!(sql(&ward, None, there), "1", "its data is kept");
    let events = ward.ok(&["events", "--env", "dev", "-n", "100"]);
    for event in ["it sleeps: nobody asked it", "it wakes: a request came"] {
        assert!(events.contains(event), "{events}");
    }
    eventually("it falls asleep again", || is_still(&ward));
    // Nobody has changed it.
    let planned = ward.ok(&["plan"]);
    assert!(planned.contains("nothing to do"), "{planned}");
    // What stands in the log of requests says how long that one waited.
    let log = ward.home().join("gateway/access.log");
    let log = std::fs::read_to_string(log).unwrap();
    let line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert!(line["wait_us"].as_u64().unwrap() > 10_000, "{line}");
}

#[test]
fn p1_whatever_comes_at_once_is_held_and_answered() {
    let ward = Ward::new();
    ward.stack("", "[environment.dev]");
    ward.up();
    put_to_sleep(&ward);
    let address = ward.http();
    let body = vec![7; 300_000];
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| get(&address, HOST, "/").map(|answer| answer.status)))
            .collect();
        let post = scope.spawn(|| {
            let mut connection = Connection::open(&address, HOST).unwrap();
            connection.post_slowly("/upload", &body, 3).unwrap()
        });
        for asked in asks {
            assert_eq!(asked.join().unwrap().unwrap(), 200);
        }
        let digest = post.join().unwrap();
        assert_eq!((digest.status, digest.body.len()), (200, 64));
    });
    let events = ward.ok(&["events", "--env", "dev", "-n", "100"]);
    assert_eq!(
        events.matches("it wakes: a request came").count(),
        1,
        "{events}"
    );
}

#[test]
fn p4_a_server_that_is_killed_on_the_way_to_sleep_or_back_goes_on() {
    let ward = Ward::new();
    ward.stack("", &format!("{WORKER_AND_DATABASE}[environment.dev]"));
    ward.up();
    let address = ward.http();
    // On the way down.
    let mut nap = ward.command(&["env", "sleep", "dev"]);
    let mut nap = nap
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is asleep", || sleeps(&ward));
    kill9(ward.server_pid());
    let _ = nap.wait();
    // Nobody is there to wake it: the request waits.
    let held = {
        let address = address.clone();
        std::thread::spawn(move || get(&address, HOST, "/"))
    };
    eventually("the request is held", || !held.is_finished());
    ward.ok(&["up", "--platform"]);
    assert_eq!(held.join().unwrap().unwrap().status, 200);
    // On the way up.
    put_to_sleep(&ward);
    let server = ward.server_pid();
    let held = {
        let address = address.clone();
        std::thread::spawn(move || get(&address, HOST, "/"))
    };
    eventually("it wakes", || !sleeps(&ward));
    kill9(server);
    ward.ok(&["up", "--platform"]);
    assert_eq!(held.join().unwrap().unwrap().status, 200);
}

#[test]
fn p1_a_gateway_that_follows_another_holds_requests_too() {
    let ward = Ward::new();
    ward.stack("", "[environment.dev]");
    ward.up();
    put_to_sleep(&ward);
    let address = ward.http();
    kill9(ward.gateway_pid());
    assert_eq!(get(&address, HOST, "/").unwrap().status, 200);
    put_to_sleep(&ward);
    ward.ok(&["upgrade"]);
    assert_eq!(get(&address, HOST, "/").unwrap().status, 200);
}

#[test]
fn whoever_needs_it_wakes_it() {
    let ward = Ward::new();
    ward.stack("", &format!("{WORKER_AND_DATABASE}[environment.dev]"));
    ward.up();
    let woken = |by: &str| {
        let events = ward.ok(&["events", "--env", "dev", "-n", "200"]);
        let last = events
            .lines()
            .rev()
            .find(|line| line.contains("it wakes: "));
        assert!(last.is_some_and(|line| line.contains(by)), "{events}");
    };
    put_to_sleep(&ward);
    assert_eq!(sql(&ward, None, "select 7"), "7");
    woken("somebody wanted it so");
    put_to_sleep(&ward);
    ward.stack(
        "ANSWER = \"two\"",
        &format!("{WORKER_AND_DATABASE}[environment.dev]"),
    );
    ward.ok(&["deploy"]);
    woken("it is deployed");
    assert_eq!(ask(&ward).body, "two");
    put_to_sleep(&ward);
    ward.ok(&["rollback"]);
    woken("it is deployed");
    assert_eq!(ask(&ward).body, "hello");
    // For a command alone it wakes, and sleeps again.
    put_to_sleep(&ward);
    let said = ward.ok(&["run", "web", "--", "python3", "-c", "print(6 * 7)"]);
    assert!(said.contains("42"), "{said}");
    woken("a job or a command is to run");
    eventually("it sleeps again", || is_still(&ward));
    ward.ok(&["env", "wake", "dev"]);
    woken("somebody wanted it so");
    assert_eq!(ward.healthy("web").len(), 2);
    put_to_sleep(&ward);
    ward.up();
    woken("somebody wanted it so");
    // Down is down, and up is awake.
    put_to_sleep(&ward);
    ward.ok(&["down", "-e", "dev"]);
    assert_eq!(shown(&ward)["state"], "down");
    ward.run(&["env", "sleep", "dev"])
        .fails(1, &["shop/dev is down"]);
    ward.run(&["env", "wake", "dev"])
        .fails(1, &["shop/dev is down"]);
    ward.up();
    assert_eq!(ask(&ward).status, 200);
}

/// The one file of the application, where the layers of images are unpacked.
fn unpacked(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find_map(|path| match path.is_dir() {
        true => unpacked(&path),
        false => path.ends_with("app.py").then_some(path),
    })
}

#[test]
fn a_file_that_is_deleted_while_it_sleeps_is_put_right_before_it_wakes() {
    let ward = Ward::new();
    ward.stack("", "[environment.dev]");
    ward.up();
    put_to_sleep(&ward);
    std::fs::remove_file(unpacked(ward.home()).unwrap()).unwrap();
    assert_eq!(ask(&ward).status, 200);
    // The request was answered by the first of them.
    eventually("both are there", || ward.healthy("web").len() == 2);
}

/// Damages the blob that a layer would be unpacked from again: it has the layer's digest as its name.
fn spoil(ward: &Ward, layer: &Path) {
    let hex = layer.file_name().unwrap().to_str().unwrap();
    let blobs = ward.home().join("registry/blobs/sha256");
    std::fs::write(blobs.join(&hex[..2]).join(hex), "nothing").unwrap();
}

#[test]
fn what_cannot_come_up_is_refused_after_a_while_and_at_once_from_then_on() {
    let ward = Ward::new();
    ward.stack("", "[environment.dev]");
    ward.up();
    put_to_sleep(&ward);
    let file = unpacked(ward.home()).unwrap();
    let layers = ward.home().join("layers");
    let layer = file
        .ancestors()
        .find(|above| above.parent() == Some(layers.as_path()));
    spoil(&ward, layer.unwrap());
    std::fs::remove_file(&file).unwrap();
    let began = Instant::now();
    let mut held = Connection::open(&ward.http(), HOST).unwrap();
    held.patience(Duration::from_secs(60));
    let refused = held.get("/").unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.headers.contains("retry-after: 10"), "{refused:?}");
    assert!(refused.headers.contains("ward-fault: ward"), "{refused:?}");
    assert!(
        refused.body.contains("did not wake within 30 seconds"),
        "{refused:?}"
    );
    assert!(
        began.elapsed() >= Duration::from_secs(29),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    assert_eq!(ask(&ward).status, 503);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// Its only master key, out of the way; what puts it back.
fn hide_key(ward: &Ward) -> (String, impl FnOnce()) {
    let mut keys = std::fs::read_dir(ward.home().join("master-keys")).unwrap();
    let key = keys.find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|e| e == "key").then_some(path)
    });
    let key = key.unwrap();
    let aside = ward.home().join("aside");
    std::fs::rename(&key, &aside).unwrap();
    let id = key.file_stem().unwrap().to_str().unwrap().to_owned();
    (id, move || std::fs::rename(aside, key).unwrap())
}

#[test]
fn what_lacks_its_master_key_is_not_woken_and_everybody_is_told_soon() {
    let ward = Ward::new();
    let more = "secrets = { TOKEN = \"env\" }\n[secret.TOKEN]\ngenerate = 32\n[environment.dev]";
    ward.stack("", more);
    ward.up();
    ward.ok(&["doctor"]);
    put_to_sleep(&ward);
    let (id, put_back) = hide_key(&ward);
    let needs = format!("the master key {id} is needed, and ");
    let began = Instant::now();
    let refused = ask(&ward);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(
        refused.body.contains("its secrets cannot be opened"),
        "{refused:?}"
    );
    assert!(!refused.body.contains(&id), "{refused:?}");
    ward.run(&["env", "wake", "dev"]).fails(
        1,
        &["shop/dev cannot be woken: ", &needs, "put the key back"],
    );
    ward.run(&["exec", "web", "--", "/bin/true"])
        .fails(1, &["shop/dev cannot be woken: ", &needs]);
    assert!(began.elapsed() < Duration::from_secs(20), "{began:?}");
    let status = ward.run(&["status"]);
    assert!(status.stderr().contains(&needs), "{status:?}");
    assert!(
        status.stdout().contains("shop/dev cannot be woken"),
        "{status:?}"
    );
    assert!(sleeps(&ward), "nothing was changed");
    let cannot = shown(&ward)["cannot_wake"].to_string();
    assert!(cannot.contains(&needs), "{cannot}");
    let doctor = ward.run(&["doctor"]);
    assert_eq!(doctor.code(), 1, "{doctor:?}");
    assert!(doctor.stdout().contains(&needs), "{doctor:?}");
    let server = ward.server_pid();
    kill9(server);
    eventually("it is gone", || !alive(server));
    let doctor = ward.run(&["doctor"]);
    assert!(
        doctor.stdout().contains(&needs),
        "without a server: {doctor:?}"
    );
    ward.ok(&["up", "--platform"]);
    put_back();
    assert_eq!(ask(&ward).status, 200);
    ward.ok(&["doctor"]);
    let status = ward.run(&["status"]);
    assert!(!status.stderr().contains("master key"), "{status:?}");
}

/// Over HTTP/2, in curl's words: the protocol, the status and what came.
#[test]
fn p1_a_request_over_http2_is_held_too() {
    let ward = Ward::new();
    ward.stack("", "[environment.dev]");
    ward.up();
    put_to_sleep(&ward);
    let address = ward.http();
    let url = format!("http://{address}/upload");
    let host = format!("host: {HOST}");
    let asked = [
        "--http2-prior-knowledge",
        "-s",
        "-w",
        " %{http_version} %{http_code}",
    ];
    let body = ["-H", &host, "--data-binary", "seven", &url];
    let output = Command::new("curl")
        .args(asked)
        .args(body)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with(" 2 200"), "{said}");
}

#[test]
fn a_held_request_keeps_awake_what_takes_longer_to_start_than_it_may_be_idle() {
    let ward = Ward::new();
    ward.stack("", &declared("1s"));
    let slow = support::APP.replace("server = Server(", "time.sleep(3)\nserver = Server(");
    ward.write("app.py", &slow);
    ward.up();
    eventually("it falls asleep", || is_still(&ward));
    assert_eq!(ask(&ward).status, 200);
}

#[test]
fn it_ends_while_it_sleeps() {
    let ward = Ward::new();
    ward.stack(
        "",
        "[environment.dev]\n[environment.prod]\nservice.web.route.host = \"prod.localhost\"",
    );
    ward.ok(&["deploy", "--env", "prod"]);
    ward.ok(&[
        "env", "create", "demo", "--from", "prod", "--sleep", "1s", "--ttl", "12s",
    ]);
    let state = || -> Value {
        let shown = ward.ok(&["env", "show", "demo", "--output", "json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["state"].clone()
    };
    eventually("it sleeps", || state() == "asleep");
    assert!(poll(Duration::from_secs(30), || state() == "deleted"));
    ward.run(&[
        "env", "create", "other", "--from", "prod", "--sleep", "10ms",
    ])
    .fails(
        1,
        &["an environment sleeps when it was idle for 1s to 30 days, and not 10ms"],
    );
}
