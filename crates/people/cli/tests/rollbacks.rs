//! Rollbacks to instances that were kept warm, and deployments that were paused: what is not well by the time that it is
//! needed gets no requests, and clients are answered by the release that serves until another can.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::load::{Load, get};
use support::{APP, Ward, eventually, kill9, pause, poll};

const HOST: &str = "shop.localhost";

/// No request may take longer, on a machine under load too: what waits for an instance that does not answer waits for
/// much longer.
const LONGEST: Duration = Duration::from_secs(5);

/// What is stopped heeds no signal but the last, after ten seconds.
const LEAVING: Duration = Duration::from_secs(60);

/// The test application; it answers nobody any more from SIGUSR1 on, and takes connections. It takes so many seconds to
/// begin as `SLOW` says.
fn can_be_muted() -> String {
    let asks = "    def do_GET(self):\n";
    let muted = format!("{asks}        if Server.muted:\n            time.sleep(3600)\n");
    let heeds = "class Server(ThreadingHTTPServer):\n";
    let app = APP.replace(asks, &muted);
    let app = app.replace(heeds, &format!("{heeds}    muted = False\n"));
    let first = "MODE = os.environ";
    let slow = format!("time.sleep(float(os.environ.get(\"SLOW\", \"0\")))\n{first}");
    let app = app.replace(first, &slow);
    let begins = "server.serve_forever()";
    let signal = "signal.signal(signal.SIGUSR1, lambda *_: setattr(Server, \"muted\", True))";
    let muted = app.replace(begins, &format!("{signal}\n{begins}"));
    assert!(muted.contains("if Server.muted") && muted.contains("SIGUSR1"));
    assert!(muted.contains("SLOW"));
    muted
}

fn declare(ward: &Ward, answer: &str, more: &str) {
    declare_with(ward, &format!(r#"ANSWER = "{answer}""#), more);
}

fn declare_with(ward: &Ward, env: &str, more: &str) {
    ward.stack(env, more);
    let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    // Nobody asks an instance that is healthy how it is, but once a minute.
    let seldom = text.replace(
        r#"interval = "50ms", healthy = 2"#,
        r#"interval = "60s", healthy = 1"#,
    );
    assert_ne!(seldom, text);
    ward.write("ward.toml", &seldom.replace("30s", "10m"));
}

/// r2 serves and answers `two`, and r1, which answers `one`, is warm; each is declared with more.
fn two_releases(more: [&str; 2]) -> Ward {
    let ward = Ward::new();
    ward.write("app.py", &can_be_muted());
    declare(&ward, "one", more[0]);
    ward.up();
    declare(&ward, "two", more[1]);
    ward.ok(&["deploy"]);
    ward
}

fn of_release(ward: &Ward, release: u64) -> Vec<Value> {
    let mut all = ward.instances("web");
    all.retain(|one| one["release"] == release && one["state"]["state"] == "healthy");
    all
}

fn pid(instance: &Value) -> i32 {
    i32::try_from(instance["pid"].as_i64().unwrap()).unwrap()
}

fn mute(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::USR1).unwrap();
}

fn ids(instances: &[Value]) -> Vec<String> {
    let ids = instances.iter().map(|one| one["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// Rolls back under load, after something was done to so many of the instances that are warm. No request fails or takes
/// long, r1 serves by then, and what nothing was done to takes requests again.
fn rolled_back(harmed: usize, harm: fn(i32)) -> Ward {
    let ward = two_releases(["", ""]);
    let warm = of_release(&ward, 1);
    assert_eq!(warm.len(), 2, "{warm:?}");
    let load = Load::start(&ward.http(), HOST);
    warm.iter().take(harmed).for_each(|one| harm(pid(one)));
    let begun = Instant::now();
    ward.ok(&["rollback", "--why", "two is worse"]);
    println!("{harmed} harmed: {:?}", begun.elapsed());
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "one");
    let asked = load.asked();
    eventually("the load goes on", || load.asked() > asked + 50);
    let longest = load.longest();
    let (_, failures) = load.end();
    assert!(failures.is_empty(), "{failures:?}");
    assert!(longest < LONGEST, "{longest:?}");
    let serves = ids(&ward.healthy("web"));
    assert_eq!(serves.len(), 2, "{serves:?}");
    for (number, id) in ids(&warm).iter().enumerate() {
        assert_eq!(serves.contains(id), number >= harmed, "{serves:?}");
    }
    ward
}

fn says(ward: &Ward, what: &str) {
    let events = ward.ok(&["events", "-n", "50"]);
    assert!(events.contains(what), "{what}: {events}");
}

#[test]
fn p1_a_rollback_to_what_was_stopped_just_now_waits_for_others() {
    let ward = rolled_back(2, pause);
    says(
        &ward,
        "was not well when r1 was to take over (it is stopped by a signal, and makes no progress), and is given up",
    );
}

#[test]
fn p1_a_rollback_to_two_of_which_one_was_stopped_keeps_the_other() {
    rolled_back(1, pause);
}

#[test]
fn p1_a_rollback_to_what_answers_nobody_waits_for_others() {
    let ward = rolled_back(2, mute);
    says(&ward, "its health check was not answered within 2000 ms");
}

#[test]
fn p1_a_rollback_to_what_was_killed_just_now_waits_for_others() {
    let ward = rolled_back(2, kill9);
    says(&ward, "was ended by SIGKILL");
}

#[test]
fn a_rollback_to_what_is_well_starts_nothing() {
    let ward = rolled_back(0, pause);
    let events = ward.ok(&["events", "-n", "50"]);
    assert!(!events.contains("was not well"), "{events}");
}

/// While the worker of r2 finishes what it has begun, r1 has the requests already.
#[test]
fn what_is_gone_back_to_and_stops_in_rotation_is_left_again() {
    let worker = |heeds: &str| {
        format!(
            r#"
[service.worker]
build = {{ files = ["app.py"], run = ["/bin/sh", "-c", "trap {heeds} TERM; while :; do sleep 1; done"], base = "host" }}
stop_timeout = "20s"
"#
        )
    };
    // Only that of r2 takes its time.
    let ward = two_releases([&worker("exit"), &worker("''")]);
    ward.ok(&["rollback", "--no-wait"]);
    let answers = || get(&ward.http(), HOST, "/").unwrap().body;
    eventually("r1 has the requests", || answers() == "one");
    for one in of_release(&ward, 1) {
        pause(pid(&one));
    }
    let begun = Instant::now();
    let phase = || deployment(&ward, "d3");
    // It is seen within five seconds, and not waited for until r1 could have started anew.
    eventually("it goes back", || phase().to_string().contains("revert"));
    eventually("r2 has them again", || answers() == "two");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:#}", phase());
    let why = phase().to_string();
    assert!(
        why.contains("that took the requests of web is well any more"),
        "{why}"
    );
    for worker in ward.instances("worker") {
        if worker["pid"].is_i64() {
            kill9(pid(&worker));
        }
    }
    eventually("it has ended", || phase()["verdict"] == "rolled_back");
}

fn deployment(ward: &Ward, id: &str) -> Value {
    let shown = ward.ok(&["deployment", "show", id, "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["deployment"].clone()
}

/// Pauses a deployment whose instances have only begun to start, stops those of its release when they are healthy, and
/// resumes it at once.
fn resumed_to_what_was_stopped(ward: &Ward, to: u64) -> Vec<Value> {
    ward.ok(&["deployment", "pause"]);
    eventually("they are healthy", || of_release(ward, to).len() == 2);
    let stopped = of_release(ward, to);
    stopped.iter().for_each(|one| pause(pid(one)));
    ward.ok(&["deployment", "resume"]);
    stopped
}

fn without_a_failure(load: Load) {
    let longest = load.longest();
    let (_, failures) = load.end();
    assert!(failures.is_empty(), "{failures:?}");
    assert!(longest < LONGEST, "{longest:?}");
}

#[test]
fn p1_a_deploy_that_is_resumed_does_not_switch_to_what_was_stopped_just_now() {
    let ward = Ward::new();
    ward.write("app.py", &can_be_muted());
    declare(&ward, "one", "");
    ward.up();
    declare_with(&ward, r#"ANSWER = "two", SLOW = "5""#, "");
    let load = Load::start(&ward.http(), HOST);
    ward.ok(&["deploy", "--no-wait"]);
    resumed_to_what_was_stopped(&ward, 2);
    let ended = || deployment(&ward, "d2")["verdict"] == "failed_old_serving";
    assert!(poll(LEAVING, ended), "{}", deployment(&ward, "d2"));
    let why = deployment(&ward, "d2").to_string();
    assert!(why.contains("it is stopped by a signal"), "{why}");
    let asked = load.asked();
    eventually("the load goes on", || load.asked() > asked + 50);
    without_a_failure(load);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "one");
}

/// Nothing of r1 is warm, so that the rollback starts it.
#[test]
fn p1_a_rollback_that_is_resumed_replaces_what_was_stopped_of_its_own() {
    let ward = Ward::new();
    ward.write("app.py", &can_be_muted());
    let cold = |env: &str| {
        declare_with(&ward, env, "");
        let text = std::fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        ward.write("ward.toml", &text.replace("10m", "0s"));
    };
    cold(r#"ANSWER = "one", SLOW = "5""#);
    ward.up();
    cold(r#"ANSWER = "two""#);
    ward.ok(&["deploy"]);
    eventually("nothing of r1 is left", || {
        ward.instances("web").iter().all(|one| one["release"] == 2)
    });
    let load = Load::start(&ward.http(), HOST);
    ward.ok(&["rollback", "--no-wait"]);
    let stopped = ids(&resumed_to_what_was_stopped(&ward, 1));
    let serves = || deployment(&ward, "d3")["verdict"] == "succeeded";
    assert!(poll(LEAVING, serves), "{}", deployment(&ward, "d3"));
    without_a_failure(load);
    says(
        &ward,
        "was not well when r1 was to take over (it is stopped by a signal, and makes no progress), and is given up",
    );
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "one");
    let serves = ids(&ward.healthy("web"));
    assert!(serves.iter().all(|id| !stopped.contains(id)), "{serves:?}");
}

#[test]
fn who_rolls_back_while_somebody_does_joins_that_and_goes_no_step_further() {
    let ward = two_releases(["", ""]);
    declare(&ward, "three", "");
    ward.ok(&["deploy"]);
    // That takes a while: what does not answer is asked for two seconds, and then others start.
    of_release(&ward, 2).iter().for_each(|one| mute(pid(one)));
    ward.ok(&["rollback", "--no-wait", "--why", "three is worse"]);
    let again = ward.run(&["rollback", "--why", "I have seen it too"]);
    again.success();
    let joined = "d4 leads to this very release already: r2, asked for by";
    assert!(again.stderr().contains(joined), "{again:?}");
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "two");
    let deployments = ward.ok(&["events", "--deployment", "d5"]);
    assert_eq!(deployments, "", "there is no other one");
    // Once it is over the next one goes further, and a release can be named meanwhile.
    ward.ok(&["rollback", "--why", "two is worse too"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "one");
}

#[test]
fn who_rolls_back_joins_a_rollback_that_something_waits_behind_and_cancels_that() {
    let ward = two_releases(["", ""]);
    declare(&ward, "three", "");
    ward.ok(&["deploy"]);
    of_release(&ward, 2).iter().for_each(|one| mute(pid(one)));
    ward.ok(&["rollback", "--no-wait", "--why", "three is worse"]);
    declare(&ward, "four", "");
    ward.ok(&["deploy", "--no-wait"]);
    let again = ward.run(&["rollback", "--why", "I have seen it too"]);
    again.success();
    for said in [
        "d5 to r4, asked for by",
        "d4 leads to this very release already",
    ] {
        assert!(again.stderr().contains(said), "{again:?}");
    }
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "two");
    assert!(deployment(&ward, "d5")["cancelled"]["by"].is_string());
    assert_eq!(deployment(&ward, "d4")["cancelled"], Value::Null);
}

#[test]
fn who_rolls_back_while_somebody_leaves_a_rollout_stays_with_what_served() {
    let ward = two_releases(["", ""]);
    declare(&ward, "three", "");
    ward.ok(&["deploy", "--no-wait", "--strategy", "canary:10=until_told"]);
    let rolls = || ward.ok(&["deployment", "show"]).contains("rolling");
    eventually("it is rolled out to some", rolls);
    // What served comes back with the gateway's word, and so is under way for as long as that says nothing.
    let gateway = Pid::from_raw(ward.gateway_pid()).unwrap();
    kill_process(gateway, Signal::STOP).unwrap();
    // Nobody would tell the canary to go on: it is not waited for.
    let rollback = || ward.run(&["rollback", "--no-wait", "--why", "three is worse"]);
    let both = thread::scope(|threads| {
        let both = [(); 2].map(|()| threads.spawn(rollback));
        both.map(|one| one.join())
    });
    let _ = kill_process(gateway, Signal::CONT);
    let both = both.map(|one| one.unwrap());
    both.iter().for_each(|one| drop(one.success()));
    // Whoever was first ended the canary, and the other one joins that.
    for said in [
        "d3 to r3, asked for by",
        "d4 leads to this very release already: r2, asked for by",
    ] {
        let says = both.iter().filter(|one| one.stderr().contains(said));
        assert_eq!(says.count(), 1, "{said}: {both:?}");
    }
    eventually("the rollback is over", || {
        deployment(&ward, "d4")["verdict"] == "succeeded"
    });
    let releases = ward.ok(&["releases"]);
    let serves = releases.lines().find(|line| line.contains("serves"));
    assert!(
        serves.unwrap_or_default().contains("r2 (serves)"),
        "{releases}"
    );
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "two");
}
