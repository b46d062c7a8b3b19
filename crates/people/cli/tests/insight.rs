//! What people and programs can see of the requests that are served: the access log, metrics, `ward top`.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use support::load::{Connection, Load, get};
use support::terminal::at_a_terminal;
use support::{Ran, Ward, eventually, kill9};

const HOST: &str = "shop.localhost";
const GOOD: &str = r#"ANSWER = "good""#;

fn up() -> Ward {
    let ward = Ward::new();
    ward.stack(GOOD, "");
    ward.up();
    ward
}

/// The access log as `ward logs --access` gives it to programs.
fn log(ward: &Ward, more: &[&str]) -> Vec<Value> {
    let arguments = [&["logs", "--access", "--output", "json"], more].concat();
    let text = ward.ok(&arguments);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect()
}

fn ask(ward: &Ward, host: &str, path: &str) -> u16 {
    get(&ward.http(), host, path).unwrap().status
}

fn metrics(ward: &Ward) -> std::io::Result<String> {
    let address = ward.status()["server"]["metrics"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = get(&address, &address, "/metrics")?;
    assert_eq!(answer.status, 200);
    Ok(answer.body)
}

fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
}

#[test]
fn people_see_each_request_in_one_line_and_what_led_nowhere() {
    let ward = up();
    assert_eq!(ask(&ward, HOST, "/first?patient=Mustermann"), 200);
    assert_eq!(ask(&ward, "nobody.localhost", "/nowhere"), 404);
    assert_eq!(ask(&ward, HOST, "/second"), 200);
    eventually("the log has them", || log(&ward, &[]).len() >= 3);
    assert_eq!(paths(&log(&ward, &[])), ["/first", "/nowhere", "/second"]);
    assert_eq!(paths(&log(&ward, &["-n", "1"])), ["/second"]);
    assert_eq!(paths(&log(&ward, &["-e", "dev"])), ["/first", "/second"]);
    assert_eq!(
        paths(&log(&ward, &["web", "--release", "r1"])),
        ["/first", "/second"]
    );
    assert!(log(&ward, &["--release", "r2"]).is_empty());
    assert_eq!(log(&ward, &["--since", "1h"]).len(), 3);
    eventually("they are old", || {
        log(&ward, &["--since", "1ms"]).is_empty()
    });
    ward.run(&["logs", "--access", "-e", "shop/prod"])
        .fails(1, &["there is no environment shop/prod"]);
    let text = ward.ok(&["logs", "--access"]);
    assert!(!text.contains("Mustermann"), "{text}");
    // In a terminal of 80 columns nothing is broken within an address, a time or a number.
    let arguments = ["logs", "--access"];
    let mut shown = at_a_terminal(&ward, 80, &arguments);
    let shown = shown.env("NO_COLOR", "1").output().unwrap();
    let shown = Ran::of(&arguments, shown).success().replace('\r', "");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    let whole = ["GET shop.localhost/first", "GET nobody.localhost/nowhere"];
    for part in whole.iter().chain(&["of shop/dev", "127.0.0.1"]) {
        assert!(lines.iter().any(|line| line.contains(part)), "{shown}");
    }
    let nowhere = text.lines().find(|line| line.contains("/nowhere")).unwrap();
    for part in [
        "404",
        "GET nobody.localhost",
        "127.0.0.1",
        "client: It is not served here.",
    ] {
        assert!(nowhere.contains(part), "no {part} in {nowhere}");
    }
    let second = text.lines().find(|line| line.contains("/second")).unwrap();
    assert!(
        second.contains("200") && second.contains("of shop/dev"),
        "{second}"
    );
    let instance = log(&ward, &["-n", "1"])[0]["instance"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(second.contains(&instance), "{second}");
}

#[test]
fn whoever_follows_sees_requests_as_they_end() {
    let ward = up();
    let mut command = ward.command(&["logs", "--access", "-f", "-n", "0", "--output", "json"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // When it has begun to follow nobody says; it has when a request is seen.
    let (seen, first) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let line: Value = serde_json::from_str(&line).unwrap();
            let _ = seen.send(());
            all.push(line["path"].as_str().unwrap().to_owned());
            if all.last().is_some_and(|path| path == "/last") {
                break;
            }
        }
        all
    });
    eventually("a request is seen", || {
        ask(&ward, HOST, "/early");
        first.try_recv().is_ok()
    });
    let number = 40;
    let mut client = Connection::open(&ward.http(), HOST).unwrap();
    for path in 0..number {
        client.get(&format!("/each/{path}")).unwrap();
    }
    client.get("/last").unwrap();
    let all = reading.join().unwrap();
    following.kill().unwrap();
    following.wait().unwrap();
    let each: Vec<_> = all
        .iter()
        .filter(|path| path.starts_with("/each/"))
        .collect();
    assert_eq!(each.len(), number, "{all:?}");
}

#[test]
fn files_that_are_long_enough_are_put_away_and_read_all_the_same() {
    let ward = Ward::new();
    ward.stack(GOOD, "");
    let mut command = ward.command(&["up", ward.dir().to_str().unwrap()]);
    command
        .env("WARD_ACCESS_LOG_SIZE", "256KiB")
        .env("WARD_ACCESS_LOG_FILES", "2");
    let output = command.env("WARD_ACCESS_LOG_QUERY", "on").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let load = Load::start(&ward.http(), HOST);
    assert_eq!(ask(&ward, HOST, "/asked?for=this"), 200);
    let folder = ward.home().join("gateway");
    let there = |name: &str| folder.join(name).exists();
    let mut client = Connection::open(&ward.http(), HOST).unwrap();
    let long = format!("/{}", "x".repeat(4000));
    eventually("two files are put away", || {
        for _ in 0..20 {
            client.get(&long).unwrap();
        }
        there("access.log.1") && there("access.log.2")
    });
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    assert!(!there("access.log.3"));
    eventually("what is in the files is shown, and no more", || {
        let names = ["access.log", "access.log.1", "access.log.2"];
        let texts = names.map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
        let kept: usize = texts.iter().map(|text| text.lines().count()).sum();
        log(&ward, &["-n", "1000000"]).len() == kept
    });
    // It may have been put away and dropped by now; if not, it has its query.
    let asked = log(&ward, &["-n", "1000000"])
        .into_iter()
        .find(|line| line["path"] == "/asked");
    assert!(asked.is_none_or(|line| line["query"] == "for=this"));
    let one = ward.run(&["serve", "--access-log-size", "1KiB"]);
    one.fails(2, &["--access-log-size", "256KiB at least"]);
}

#[test]
fn who_asks_for_a_log_that_is_not_kept_is_told() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "good""#, "");
    let mut up = ward.command(&["up"]);
    let up = up.env("WARD_ACCESS_LOG", "off").output().unwrap();
    assert!(up.status.success(), "{up:?}");
    let known = ward.run(&["logs", "--access", "wbe"]);
    known.fails(1, &["no environment ever had", "wbe", "web"]);
    let asked = ward.command(&["logs", "--access"]).output().unwrap();
    assert!(
        asked.status.success() && asked.stdout.is_empty(),
        "{asked:?}"
    );
    let told = String::from_utf8(asked.stderr).unwrap();
    assert!(told.contains("ward upgrade --access-log=on"), "{told}");
}

#[test]
fn metrics_are_at_one_address_whoever_dies() {
    let ward = up();
    let address = ward.status()["server"]["metrics"].clone();
    assert!(
        ward.ok(&["status"])
            .contains(&format!("metrics {}", address.as_str().unwrap()))
    );
    assert_eq!(ask(&ward, HOST, "/"), 200);
    let good = r#"ward_requests_total{env="shop/dev",service="web",release="r1",class="2xx",fault="none",by="instance"}"#;
    let text = metrics(&ward).unwrap();
    assert_eq!(sample(&text, good), Some(1.0), "{text}");
    assert_eq!(
        sample(&text, "ward_instances_in_rotation"),
        Some(2.0),
        "{text}"
    );
    // The gateway tells it, so that it needs no server.
    let server = ward.server_pid();
    kill9(server);
    let direct = get(address.as_str().unwrap(), "a", "/metrics").unwrap();
    assert_eq!(sample(&direct.body, good), Some(1.0));
    ward.ok(&["up", "--platform"]);
    assert_eq!(ward.status()["server"]["metrics"], address);
    assert_eq!(sample(&metrics(&ward).unwrap(), good), Some(1.0));
    // A new gateway counts anew.
    kill9(ward.gateway_pid());
    eventually("another gateway tells", || {
        metrics(&ward).is_ok_and(|text| sample(&text, good).is_none())
    });
    assert_eq!(ask(&ward, HOST, "/"), 200);
    eventually("it counts", || {
        metrics(&ward).is_ok_and(|text| sample(&text, good) == Some(1.0))
    });
    ward.ok(&["upgrade"]);
    assert_eq!(ward.status()["server"]["metrics"], address);
    eventually("the gateway of the new version tells", || {
        metrics(&ward).is_ok_and(|text| sample(&text, good).is_none())
    });
}

#[test]
fn an_address_that_is_taken_is_an_error_only_where_it_was_asked_for() {
    let ward = Ward::new();
    ward.stack(GOOD, "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let refused = ward.run(&["up", "--metrics-addr", &taken]);
    refused.fails(1, &[&taken, "--metrics-addr"]);
    drop(listener);
    let mut command = ward.command(&["up", "--platform"]);
    let output = command.env_remove("WARD_METRICS_ADDR").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(metrics(&ward).unwrap().contains("ward_build_info"));
}

#[test]
fn top_shows_what_comes_in_a_second() {
    let ward = up();
    let load = Load::start(&ward.http(), HOST);
    eventually("clients ask", || load.asked() > 20);
    let second: Value =
        serde_json::from_str(&ward.ok(&["top", "--once", "--output", "json"])).unwrap();
    let (_, failures) = load.end();
    assert!(failures.is_empty(), "{failures:#?}");
    let row = &second["services"][0];
    assert_eq!(
        (row["env"].as_str(), row["service"].as_str()),
        (Some("shop/dev"), Some("web"))
    );
    assert!(row["rate"].as_f64().unwrap() > 1.0, "{second}");
    assert_eq!(
        (row["errors"].as_f64(), &row["healthy"], &row["instances"]),
        (Some(0.0), &2.into(), &2.into())
    );
    assert_eq!(row["releases"], serde_json::json!([1]));
    let [half, most] = ["p50_us", "p99_us"].map(|name| row[name].as_u64().unwrap());
    assert!(0 < half && half <= most, "{row}");
    // No terminal: one table.
    let text = ward.ok(&["top", "-e", "dev"]);
    for part in ["REQUESTS/S", "shop/dev", "web", "r1", "2/2"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    ward.run(&["top", "-e", "shop/prod"])
        .fails(1, &["there is no environment shop/prod"]);
    ward.ok(&["down"]);
    ward.run(&["top"]).fails(1, &["no Ward server runs"]);
}
