//! Jobs and one-off commands: each in an instance of its own, with an end that is kept.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::Value;
use support::{APP, Ward, eventually, kill9};

const JOBS: &str = r#"
[job.fails]
service = "web"
command = ["/bin/sh", "-c", "echo it is $WARD_JOB in $WARD_RUN >&2; exit 3"]
retries = 1

[job.late]
service = "web"
command = ["/bin/sleep", "600"]
deadline = "1s"

[job.long]
service = "web"
command = ["/bin/sleep", "600"]
"#;

fn up(more: &str) -> Ward {
    let ward = Ward::new();
    ward.write("app.py", APP);
    ward.stack("", &format!("{JOBS}{more}"));
    ward.up();
    ward
}

fn history(ward: &Ward) -> Vec<Value> {
    serde_json::from_str(&ward.ok(&["job", "history", "--output", "json"])).unwrap()
}

fn outcome(ward: &Ward, run: u64) -> Value {
    let runs = history(ward);
    let run = runs.iter().find(|known| known["id"] == run).unwrap();
    match run["open"].as_bool().unwrap() {
        true => Value::Null,
        false => run["attempts"].as_array().unwrap().last().unwrap()["outcome"]["outcome"].clone(),
    }
}

#[test]
fn a_one_off_command_tells_what_it_writes_and_ends_as_the_command_ends() {
    let ward = up("");
    let script = "echo hello from $WARD_SERVICE; test -f app.py && exit 7";
    let ran = ward.run(&[
        "run", "web", "--why", "to look", "--", "/bin/sh", "-c", script,
    ]);
    assert_eq!(ran.code(), 7, "{ran:?}");
    assert_eq!(ran.stdout(), "hello from web\n");
    assert!(
        ran.stderr()
            .contains("run1 failed: it ended with exit code 7"),
        "{ran:?}"
    );
    assert_eq!(ward.run(&["run", "web", "--", "/bin/true"]).code(), 0);
    // Nothing is left of it but what it wrote, and the record.
    eventually("its instance is gone", || ward.instances("web").len() == 2);
    assert!(ward.ok(&["logs", "web"]).contains("hello from web"));
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("run1 queued: `/bin/sh -c 'echo hello"),
        "{events}"
    );
    assert!(events.contains("“to look”"), "{events}");
}

#[test]
fn what_cannot_be_run_is_refused_and_says_what_there_is() {
    let ward = up("");
    let refused = ward.run(&["run", "wep", "--", "/bin/true"]);
    assert!(
        refused.stderr().contains("has no service wep"),
        "{refused:?}"
    );
    assert!(refused.stderr().contains("there are: web"), "{refused:?}");
    let refused = ward.run(&["job", "run", "close-month"]);
    assert!(
        refused.stderr().contains("there are: fails, late, long"),
        "{refused:?}"
    );
    let refused = ward.run(&["run", "web", "--deadline", "8d", "--", "/bin/true"]);
    assert!(
        refused.stderr().contains("a deadline is 1s to 7d"),
        "{refused:?}"
    );
    let ran = ward.run(&["run", "web", "--", "/no/such"]);
    assert_eq!(ran.code(), 1);
    assert!(
        ran.stderr().contains("/no/such is not in the image"),
        "{ran:?}"
    );
    assert_eq!(history(&ward).len(), 1);
}

#[test]
fn a_job_that_fails_is_tried_again_and_one_that_is_late_is_stopped() {
    let ward = up("");
    let ran = ward.run(&["job", "run", "fails"]);
    assert_eq!(ran.code(), 3, "{ran:?}");
    assert_eq!(ran.stdout(), "it is fails in run1\n".repeat(2));
    assert_eq!(history(&ward)[0]["attempts"].as_array().unwrap().len(), 2);
    let ran = ward.run(&["job", "run", "late"]);
    assert_eq!(ran.code(), 124, "{ran:?}");
    assert_eq!(outcome(&ward, 2), "late");
    // Of all attempts, and of nothing else.
    let alone = ward.ok(&["logs", "run1"]);
    assert_eq!(alone.matches("it is fails in run1").count(), 2, "{alone}");
    assert_eq!(alone.lines().count(), 2, "{alone}");
    ward.run(&["logs", "run9"])
        .fails(1, &["has no run9", "ward job history"]);
    ward.run(&["logs", "run1", "-f"])
        .fails(1, &["is not followed by its name"]);
}

#[test]
fn a_run_goes_on_through_deploys_and_a_killed_server_and_ends_when_it_is_told() {
    let ward = up("");
    ward.ok(&["job", "run", "long", "--detach"]);
    eventually("it runs", || ward.instances("web").len() == 3);
    let refused = ward.run(&["job", "run", "long"]);
    assert!(refused.stderr().contains("run1 goes on"), "{refused:?}");
    ward.ok(&["deploy", "--force"]);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    assert_eq!(outcome(&ward, 1), Value::Null);
    ward.ok(&["job", "stop", "run1", "--why", "enough"]);
    eventually("it has ended", || outcome(&ward, 1) == "stopped");
    assert_eq!(history(&ward)[0]["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(ward.run(&["job", "stop", "run1"]).code(), 1);
}

#[test]
fn a_job_is_run_when_it_is_due() {
    let ward =
        up("[job.often]\nservice = \"web\"\ncommand = [\"/bin/true\"]\nschedule = \"* * * * *\"\n");
    let list: Vec<Value> =
        serde_json::from_str(&ward.ok(&["job", "list", "--output", "json"])).unwrap();
    let often = list.iter().find(|job| job["name"] == "often").unwrap();
    let next = often["next"].as_u64().unwrap();
    assert_eq!(next % 60_000, 0);
    // A minute may have ended since the deployment: the run of that minute is
    // not the one that was announced.
    let announced = || {
        history(&ward)
            .into_iter()
            .find(|run| run["job"] == "often" && run["due"].as_u64() == Some(next))
    };
    assert!(
        support::poll(std::time::Duration::from_secs(90), || announced()
            .is_some_and(|run| run["open"] == false)),
        "{:?}",
        history(&ward)
    );
    let run = announced().unwrap();
    assert_eq!(run["by"], "ward");
}

/// Milliseconds since 1970.
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

/// A minute comes while the server is dead, and is long over when there is one again.
#[test]
fn p4_what_was_due_while_no_server_ran_is_made_up_for_or_left_out_and_both_are_in_the_log() {
    let ward = up("");
    // What is deployed already runs on: this takes little time, also where the machine is slow.
    let minute = (clock() + 30_000).div_ceil(60_000);
    let at_minute = format!("{} {} * * *", minute % 60, minute / 60 % 24);
    let job = |name: &str, schedule: &str, program: &str, rule: &str| {
        format!(
            "[job.{name}]\nservice = \"web\"\ncommand = [{program}]\nschedule = \"{schedule}\"\n{rule}\n"
        )
    };
    let quick = "\"/bin/true\"";
    let jobs = [
        job("made-up", &at_minute, quick, "missed = \"run\""),
        job("left-out", &at_minute, quick, "missed = \"skip\""),
        job(
            "busy",
            "* * * * *",
            "\"/bin/sleep\", \"600\"",
            "overlap = \"skip\"",
        ),
    ];
    ward.stack("", &format!("{JOBS}{}", jobs.concat()));
    ward.up();
    // Or its schedule has begun it a moment ago.
    ward.run(&["job", "run", "busy", "--no-wait"]);
    kill9(ward.server_pid());
    let due = minute * 60_000;
    assert!(clock() < due, "the server was to be killed before");
    // What is more than a minute late was missed.
    let limit = std::time::Duration::from_secs(200);
    assert!(support::poll(limit, || clock() > due + 62_000));
    ward.ok(&["up", "--platform"]);
    let of = |name: &str| {
        let runs = history(&ward).into_iter();
        runs.filter(|run| run["job"] == name).collect::<Vec<_>>()
    };
    eventually("the job is made up for", || {
        of("made-up").iter().any(|run| run["open"] == false)
    });
    let [made_up] = &of("made-up")[..] else {
        panic!("{:?}", history(&ward));
    };
    assert_eq!(
        (&made_up["due"], &made_up["by"]),
        (&due.into(), &"ward".into())
    );
    assert!(
        made_up["requested"].as_u64().unwrap() > due + 60_000,
        "{made_up}"
    );
    assert_eq!(
        (of("left-out").len(), of("busy").len()),
        (0, 1),
        "{:?}",
        history(&ward)
    );
    let events = ward.ok(&["events", "-n", "1000"]);
    let about = |name: &str| {
        let lines = events.lines();
        let of =
            lines.filter(|line| line.contains(&format!("job {name}")) && line.contains("left out"));
        of.map(str::to_owned).collect::<Vec<_>>()
    };
    let [missed] = &about("left-out")[..] else {
        panic!("{events}");
    };
    assert!(missed.contains("it was missed"), "{missed}");
    assert!(about("made-up").is_empty(), "{events}");
    let busy = about("busy");
    assert!(
        !busy.is_empty() && busy.iter().all(|line| line.contains("goes on")),
        "{events}"
    );
    // Nothing of it is found out a second time.
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    assert_eq!((of("made-up").len(), of("left-out").len()), (1, 0));
}

#[test]
fn a_time_zone_that_is_not_there_changes_nothing() {
    let ward = up("");
    let job = "[job.often]\nservice = \"web\"\ncommand = [\"/bin/true\"]\nschedule = \"0 2 * * *\"\ntime_zone = \"Europe/Atlantis\"\n";
    ward.stack("", job);
    ward.run(&["check"]).fails(2, &["W0328", "Europe/Atlantis"]);
    let refused = ward.run(&["deploy"]);
    assert!(
        refused
            .stderr()
            .contains("`Europe/Atlantis` is not the name of a time zone"),
        "{refused:?}"
    );
    assert!(!ward.ok(&["events"]).contains("r2"));
}
