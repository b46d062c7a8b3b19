//! Strategies through the real gateway: a canary's share is counted, what dies goes back, what rolls loses
//! nothing.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::load::{Connection, Load, get};
use support::{Ward, eventually, kill9};

const HOST: &str = "shop.localhost";

/// r1 answers `one`; what comes next is deployed so.
fn up(strategy: &str) -> Ward {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, strategy);
    ward.up();
    ward
}

fn deploy_two(ward: &Ward, strategy: &str) {
    ward.stack(r#"ANSWER = "two""#, strategy);
    ward.ok(&["deploy", "--no-wait"]);
}

fn shown(ward: &Ward) -> Value {
    let detail = ward.ok(&["deployment", "show", "d2", "--output", "json"]);
    serde_json::from_str(&detail).unwrap()
}

fn waits_for(ward: &Ward, what: &str) {
    eventually(what, || shown(ward)["waiting"].to_string().contains(what));
}

/// How many of 100 requests on one connection the new release answers.
fn of_a_hundred(ward: &Ward) -> usize {
    let mut connection = Connection::open(&ward.http(), HOST).unwrap();
    let answers = (0..100).map(|_| connection.get("/").unwrap().body);
    answers.filter(|body| body == "two").count()
}

const CANARY: &str = r#"deploy = { strategy = "canary", steps = [{ weight = 10, hold = "until_told" }, { weight = 50, hold = "until_told" }] }"#;

#[test]
fn a_canary_takes_exactly_its_share_until_it_is_told() {
    let ward = up(CANARY);
    deploy_two(&ward, CANARY);
    waits_for(&ward, "r2 takes 10 % of the requests of web");
    assert_eq!(of_a_hundred(&ward), 10);
    assert_eq!(of_a_hundred(&ward), 10);
    let paused = ward.ok(&["deployment", "pause", "--why", "a look at it"]);
    assert!(
        paused.contains("paused by uid:") && paused.contains(" “a look at it”"),
        "{paused}"
    );
    assert_eq!(shown(&ward)["paused_why"], "a look at it");
    assert!(shown(&ward)["paused_at"].is_u64());
    waits_for(&ward, "ward deployment resume");
    ward.run(&["deployment", "promote"])
        .fails(1, &["is paused"]);
    ward.run(&["deployment", "pause"]).fails(1, &["already"]);
    ward.ok(&["deployment", "resume"]);
    ward.run(&["deployment", "resume"])
        .fails(1, &["is not paused"]);
    assert!(shown(&ward)["paused_why"].is_null());
    assert_eq!(of_a_hundred(&ward), 10);
    ward.ok(&["deployment", "promote", "--stage"]);
    waits_for(&ward, "r2 takes 50 % of the requests of web");
    assert_eq!(of_a_hundred(&ward), 50);
    ward.ok(&["deployment", "promote"]);
    ward.run(&["deployment", "watch"]).success();
    assert_eq!(of_a_hundred(&ward), 100);
    let events = ward.ok(&["events"]);
    for said in ["d2 paused", "a look at it", "d2 resumed", "d2 promoted"] {
        assert!(events.contains(said), "{said}: {events}");
    }
    ward.run(&["deployment", "promote"])
        .fails(1, &["no deployment", "is under way"]);
}

#[test]
fn a_canary_that_dies_gives_everything_back() {
    let ward = up(CANARY);
    deploy_two(&ward, CANARY);
    waits_for(&ward, "r2 takes 10 %");
    let instances = ward.instances("web");
    let canary = instances.iter().find(|i| i["release"] == 2).unwrap();
    kill9(i32::try_from(canary["pid"].as_i64().unwrap()).unwrap());
    eventually("the verdict falls", || {
        shown(&ward)["deployment"]["verdict"] == "rolled_back"
    });
    assert_eq!(of_a_hundred(&ward), 0);
    let message = shown(&ward)["deployment"]["failure"]["message"].to_string();
    assert!(
        message.contains("while r2 took 10 % of the requests of web"),
        "{message}"
    );
}

/// Ends the clients whatever becomes of the test.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients that ask 200 times a second together; when each answer came, and its status.
fn steadily(address: &str, until: &AtomicBool) -> Vec<(Instant, u16)> {
    std::thread::scope(|scope| {
        let clients = (0..20).map(|number| {
            scope.spawn(move || {
                let mut connection = Connection::open(address, HOST).unwrap();
                let mut next = Instant::now() + Duration::from_millis(5 * number);
                let mut seen = Vec::new();
                while !until.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now())); // The rate.
                    next += Duration::from_millis(100);
                    let answer = connection.get("/").unwrap();
                    seen.push((Instant::now(), answer.status));
                }
                seen
            })
        });
        let clients: Vec<_> = clients.collect();
        let seen = clients.into_iter().map(|client| client.join().unwrap());
        seen.flatten().collect()
    })
}

const JUDGED: &str =
    r#"deploy = { strategy = "canary", steps = [{ weight = 10, hold = "5m" }], bake = "1m" }"#;

/// Deploys the second release under such a load, until it is taken back: when the bad answers came.
fn taken_back(ward: &Ward, mode: &str, meanwhile: impl FnOnce()) -> Vec<Instant> {
    let address = ward.http();
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let clients = scope.spawn(|| steadily(&address, &over));
        let ends = Ends(&over);
        ward.stack(&format!(r#"ANSWER = "two", MODE = "{mode}""#), JUDGED);
        ward.ok(&["deploy", "--no-wait"]);
        meanwhile();
        eventually("the verdict falls", || {
            shown(ward)["deployment"]["verdict"] == "rolled_back"
        });
        drop(ends);
        clients.join().unwrap()
    });
    let bad = seen.iter().filter(|(_, status)| *status != 200);
    let mut bad: Vec<Instant> = bad.map(|(at, _)| *at).collect();
    bad.sort();
    let took = bad[bad.len() - 1] - bad[0];
    println!("{mode}: {} bad of {}, for {took:?}", bad.len(), seen.len());
    bad
}

fn must_be_short(bad: &[Instant]) {
    let took = bad[bad.len() - 1] - bad[0];
    assert!(
        bad.len() >= 3 && took < Duration::from_secs(2),
        "{} bad answers, for {took:?}",
        bad.len()
    );
}

#[test]
fn a_canary_that_fails_its_requests_is_taken_back_within_two_seconds() {
    let ward = up(JUDGED);
    must_be_short(&taken_back(&ward, "broken", || {}));
    assert_eq!(of_a_hundred(&ward), 0);
    let events = ward.ok(&["events"]);
    for said in ["reverting: r2 failed ", "d2 rolled back"] {
        assert!(events.contains(said), "{said}: {events}");
    }
    let failure = shown(&ward)["deployment"]["failure"].to_string();
    for said in [
        "r2 failed ",
        " requests of web in ",
        ", r1 0 of ",
        "`analysis`",
    ] {
        assert!(failure.contains(said), "{said}: {failure}");
    }
}

#[test]
fn a_canary_that_begins_to_fail_later_is_taken_back_within_two_seconds() {
    let ward = up(JUDGED);
    let bad = taken_back(&ward, "frail", || {
        waits_for(&ward, "r2 takes 10 %");
        // It is well for a few seconds, in which it answers the load, too.
        let mut connection = Connection::open(&ward.http(), HOST).unwrap();
        let mut answered = 0;
        eventually("it answers well", || {
            answered += u32::from(connection.get("/").unwrap().body == "two");
            answered >= 20
        });
        eventually("it breaks", || {
            connection.get("/break").unwrap().body == "two"
        });
    });
    must_be_short(&bad);
    let failure = shown(&ward)["deployment"]["failure"].to_string();
    assert!(failure.contains("r2 failed "), "{failure}");
}

#[test]
fn a_canary_that_nobody_asks_is_not_promoted() {
    let strategy = r#"deploy = { strategy = "canary", steps = [{ weight = 10, hold = "1s" }], analysis = { requests = 20 } }"#;
    let ward = up(strategy);
    deploy_two(&ward, strategy);
    eventually("the verdict falls", || {
        shown(&ward)["deployment"]["verdict"] == "rolled_back"
    });
    let failure = shown(&ward)["deployment"]["failure"].to_string();
    for said in [
        "r2 had 0 requests of web",
        "20 are asked for",
        "inconclusive",
    ] {
        assert!(failure.contains(said), "{said}: {failure}");
    }
    assert_eq!(of_a_hundred(&ward), 0);
}

const PROBED: &str = r#"deploy = { strategy = "canary", steps = [{ weight = 10, hold = "2s" }], bake = "1s", analysis = { requests = 20, inconclusive = "hold", probe = { path = "/", every = "10ms" } } }"#;

#[test]
fn a_canary_that_nobody_asks_is_promoted_by_probes() {
    let ward = up(PROBED);
    deploy_two(&ward, PROBED);
    ward.run(&["deployment", "watch"]).success();
    assert_eq!(shown(&ward)["deployment"]["verdict"], "succeeded");
    assert_eq!(of_a_hundred(&ward), 100);
}

#[test]
fn a_canary_that_nobody_asks_and_that_fails_its_probes_goes_back() {
    let ward = up(PROBED);
    ward.stack(r#"ANSWER = "two", MODE = "broken""#, PROBED);
    ward.ok(&["deploy", "--no-wait"]);
    eventually("the verdict falls", || {
        shown(&ward)["deployment"]["verdict"] == "rolled_back"
    });
    let failure = shown(&ward)["deployment"]["failure"].to_string();
    for said in ["r2 failed ", " requests of web in ", ", r1 0 of "] {
        assert!(failure.contains(said), "{said}: {failure}");
    }
    assert_eq!(of_a_hundred(&ward), 0);
}

/// An event stream of its own connection, from its first event to its end: how many events, and the rest.
fn listen(address: &str, heard: &AtomicUsize) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    let ask = format!("GET /events HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return text;
        }
        let before = text.contains("data: 0");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let first = !before && text.contains("data: 0");
        heard.fetch_add(usize::from(first), Ordering::SeqCst);
    }
}

#[test]
fn event_streams_of_the_release_before_are_told_to_go_within_their_own_budget() {
    let long = "long_drain_timeout = \"3s\"\nstop_timeout = \"1s\"";
    let ward = up(long);
    let (address, heard) = (ward.http(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| (listen(&address, &heard), Instant::now())))
            .collect();
        eventually("all listen", || heard.load(Ordering::SeqCst) >= 6);
        ward.stack(r#"ANSWER = "two""#, long);
        ward.ok(&["deploy"]);
        let ends: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        for (text, _) in &ends {
            // Whole events, and the end of a chunked body: nothing was cut.
            assert!(text.contains("ward-release: r1"), "{text}");
            assert!(text.ends_with("\n\n\r\n0\r\n\r\n"), "{text:?}");
        }
        let times = ends.iter().map(|(_, at)| *at);
        let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
        assert!(last - first > Duration::from_millis(750), "all at once");
    });
    assert_eq!(of_a_hundred(&ward), 100);
}

#[test]
fn p1_a_rolling_deploy_and_its_way_back_lose_nothing() {
    let strategy = r#"deploy = { strategy = "rolling" }"#;
    let ward = up(strategy);
    let load = Load::start(&ward.http(), HOST);
    deploy_two(&ward, strategy);
    ward.run(&["deployment", "watch"]).success();
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "two");
    ward.ok(&["rollback"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "one");
    let (asked, failures) = load.end();
    assert!(asked > 100 && failures.is_empty(), "{asked}: {failures:?}");
}

#[test]
fn p1_what_bakes_is_cancelled_without_a_loss() {
    let strategy = r#"deploy = { strategy = "blue_green", bake = "10m" }"#;
    let ward = up(strategy);
    let load = Load::start(&ward.http(), HOST);
    deploy_two(&ward, strategy);
    waits_for(
        &ward,
        "the instances of r1 are kept until it has proven itself",
    );
    assert_eq!(of_a_hundred(&ward), 100);
    ward.run(&["deployment", "cancel"]).success();
    assert_eq!(of_a_hundred(&ward), 0);
    assert_eq!(shown(&ward)["deployment"]["verdict"], "rolled_back");
    let (asked, failures) = load.end();
    assert!(asked > 100 && failures.is_empty(), "{asked}: {failures:?}");
}

#[test]
fn a_flag_takes_the_place_of_what_the_stack_file_says() {
    let ward = up("");
    ward.stack(r#"ANSWER = "two""#, "");
    ward.ok(&["deploy", "--no-wait", "--strategy", "canary:20=until_told"]);
    waits_for(&ward, "r2 takes 20 % of the requests of web");
    assert_eq!(of_a_hundred(&ward), 20);
    ward.ok(&["deployment", "cancel"]);
    ward.run(&["deploy", "--strategy", "canary:0=1m"])
        .fails(2, &["--strategy", "no weight from 1 to 99"]);
}
