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
        events.contains("run1 queued: `/bin/sh -c echo hello"),
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
