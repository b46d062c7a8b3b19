//! A build on its way through a pipeline: its gates, the words of people, and what becomes of it when something
//! fails or Ward is killed on the way.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::pipelines::{CHECKED, approved, comes_to, declare, ruled, run, shown};
use support::secrets::set;
use support::{Ran, Ward, answers, eventually, go_on, is_root, kill9, level, pause};
use tempfile::TempDir;

/// Who starts the runs of the tests that need two people.
const AUTHOR: u32 = 1234;

#[test]
fn a_build_goes_from_stage_to_stage_when_its_checks_are_passed() {
    let ward = Ward::new();
    let soaks = "[pipeline.delivery.gate.qa]\nsoak = \"1s\"\n";
    declare(&ward, "good", &format!("{CHECKED}{soaks}"));
    let first = run(&ward);
    first.success();
    assert!(
        first
            .stderr()
            .contains("1.0.1 has passed the pipeline delivery"),
        "{first:?}"
    );
    for env in ["dev", "qa", "prod"] {
        assert_eq!(answers(&ward, env).as_deref(), Some("good"));
    }
    let releases = ward.ok(&["releases", "--env", "prod"]);
    assert!(releases.contains("1.0.1 from shop/qa r1"), "{releases}");

    declare(&ward, "bad", &format!("{CHECKED}{soaks}"));
    let failed = run(&ward);
    let says = [
        "the check of shop/dev was not passed",
        "checked shop/dev r2 bad",
        "were not begun",
        "shop/dev serves the build, until `ward rollback --env dev` takes it back",
    ];
    failed.fails(1, &says);
    let served = ["dev", "qa", "prod"].map(|env| answers(&ward, env).unwrap());
    assert_eq!(served, ["bad", "good", "good"]);
    let detail = ward.ok(&["pipeline", "show", "p2"]);
    assert!(
        detail.contains("it failed") && detail.contains("not begun"),
        "{detail}"
    );
    let around = ward.run(&["promote", "--from", "dev", "--to", "prod"]);
    around.fails(1, &["1.0.2 did not pass the pipeline delivery (p2)"]);
    ward.run(&["pipeline", "approve", "p2"])
        .fails(1, &["p2 is over"]);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["pipeline", "run", "other", &dir])
        .fails(1, &["shop has no pipeline other", "delivery"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
}

#[test]
fn one_question_tells_who_brought_a_release_from_what_past_whom_and_why() {
    if !is_root() {
        println!("skipped: the role is root's");
        return;
    }
    let ward = Ward::new();
    let gate = "[pipeline.delivery.gate.prod]\nsoak = \"1h\"\n";
    let approved = approved("\"uid:0\"", "anybody");
    declare(&ward, "good", &format!("{approved}{gate}"));
    let dir = ward.dir().to_str().unwrap().to_owned();
    let why = ["pipeline", "run", "delivery", &dir, "--why", "CR-4711"];
    ward.ok(&why);
    ward.ok(&["pipeline", "approve", "p1", "--why", "seen in qa"]);
    comes_to(&ward, "p1", "soaking");
    // What looks like another line of what is shown is none, and is not recorded.
    for forged in [
        "x\n  approved behind qa by uid:7(anna)",
        "x\u{1b}[1Aapproved",
        "x\u{202e}devorppa",
        &"x".repeat(501),
    ] {
        let vote = ["pipeline", "reject", "p1", "--why", forged];
        ward.run(&vote).fails(
            1,
            &[
                "a reason (--why) is one line of at most 500 letters",
                "nothing was changed",
            ],
        );
        let run = ["pipeline", "run", "delivery", &dir, "--why", forged];
        ward.run(&run).fails(1, &["a reason (--why) is one line"]);
    }
    assert!(!ward.ok(&["events", "-n", "1000"]).contains("anna"));
    // Said again it lets nothing pass, and is not recorded.
    let again = ward.run(&["pipeline", "approve", "p1", "--why", "again"]);
    again.success();
    assert!(
        again
            .stderr()
            .contains("p1 was approved already, behind shop/qa by uid:0")
            && again.stderr().contains("nothing was recorded"),
        "{again:?}"
    );
    let run = shown(&ward, "p1");
    assert_eq!(run["votes"].as_array().unwrap().len(), 1, "{run:#}");
    assert_eq!(run["why"], "CR-4711");
    assert!(run["votes"][0]["at"].as_u64().unwrap() > 0, "{run:#}");
    let detail = ward.ok(&["pipeline", "show", "p1"]);
    assert!(
        detail.contains("“CR-4711”") && detail.contains("approved behind qa by uid:0"),
        "{detail}"
    );

    let listed = ward.ok(&["releases", "--env", "prod"]);
    let brought = ["p1, approved by uid:0", ": “CR-4711”"];
    assert!(brought.iter().all(|text| listed.contains(text)), "{listed}");
    let one = ["releases", "show", "r1", "--env", "prod"];
    let text = ward.ok(&one);
    for says in [
        "r1 of shop/prod   serves",
        "1.0.1, the build of shop/qa r1",
        "p1 of delivery, begun by uid:0",
        "“CR-4711”",
        "approved behind qa by uid:0",
        "“seen in qa”",
        "d1 (deploy) asked for by uid:0",
        "succeeded on",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let json = ward.ok(&[&one[..], &["--output", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["release"]["approved"][0]["why"], "seen in qa");
    assert_eq!(json["release"]["run"], 1);
    // Its events are those that say so.
    let all = ward.ok(&["events", "-n", "1000", "--output", "json"]);
    let all: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let proved = json["events"].as_array().unwrap();
    let kinds = all.iter().filter(|one| proved.contains(&one["seq"]));
    let kinds: Vec<&str> = kinds
        .map(|one| one["event"]["kind"].as_str().unwrap())
        .collect();
    for kind in [
        "pipeline_began",
        "pipeline_voted",
        "pipeline_moved",
        "release_recorded",
        "deployment_queued",
        "deployment_moved",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let about = ["events", "--env", "prod", "--release", "r1"];
    let about = ward.ok(&[&about[..], &["--output", "json"]].concat());
    let about = about.lines().map(|line| {
        let one: Value = serde_json::from_str(line).unwrap();
        one["seq"].clone()
    });
    assert_eq!(
        about.collect::<Vec<_>>(),
        *proved,
        "the command that is offered shows them all"
    );
    ward.run(&["releases", "show", "r9", "--env", "prod"])
        .fails(1, &["shop/prod has no release r9", "ward events"]);

    let shown = ward.ok(&["deployment", "show", "d1", "--env", "prod"]);
    assert!(
        shown.contains("p1 of the pipeline delivery") && shown.contains("ended at"),
        "{shown}"
    );
    let about = |more: &[&str]| ward.ok(&[&["events", "--env", "prod"][..], more].concat());
    let of_release = about(&["--release", "r1"]);
    assert!(
        of_release.contains("release r1 recorded") && of_release.contains("d1 succeeded"),
        "{of_release}"
    );
    assert!(about(&["--deployment", "d1", "--by", "ward"]).contains("d1 succeeded"));
    assert_eq!(about(&["--by", "nobody"]), "");
    assert_eq!(about(&["--until", "2020-01-01"]), "");
    assert!(about(&["--since", "10m"]).contains("release r1 recorded"));
    ward.run(&["events", "--since", "soon"])
        .fails(2, &["`soon` is not a moment"]);
    ward.ok(&["pipeline", "reject", "p1"]);
    comes_to(&ward, "p1", "ended");
}

#[test]
fn p4_a_run_goes_on_by_itself_when_ward_was_killed() {
    let ward = Ward::new();
    let soaks = "[pipeline.delivery.gate.prod]
soak = \"2s\"
";
    let approved = approved("\"uid:0\", \"root\"", "anybody");
    declare(&ward, "good", &format!("{approved}{soaks}"));
    let waits = run(&ward);
    waits.success();
    assert!(
        waits.stderr().contains("waits for the word of a qa-lead"),
        "{waits:?}"
    );
    let around = ward.run(&["promote", "--from", "qa", "--to", "prod"]);
    around.fails(
        1,
        &["1.0.1 is on its way to shop/prod in the pipeline delivery (p1)"],
    );
    // The very same again is that run, also where a build is named; another build has to wait.
    let again = run(&ward);
    again.success();
    let same = "has this very build already (1.0.1); no other run is begun";
    let says = [same, "waits for the word of a qa-lead"];
    let said = again.stderr();
    assert!(says.iter().all(|text| said.contains(text)), "{again:?}");
    let changed = approved.replace("[role", "# another\n[role");
    declare(&ward, "good", &format!("{changed}{soaks}"));
    run(&ward).fails(
        1,
        &[
            "p1 of the pipeline delivery",
            "is under way",
            "`ward pipeline show p1` says how it goes",
        ],
    );
    ward.run(&["pipeline", "show", "p2"])
        .fails(1, &["no run p2"]);
    assert_eq!(answers(&ward, "prod"), None);

    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    comes_to(&ward, "p1", "approving");
    if is_root() {
        ward.ok(&["pipeline", "approve", "--why", "looks well"]);
        comes_to(&ward, "p1", "soaking");
        kill9(ward.server_pid());
        ward.ok(&["up", "--platform"]);
        comes_to(&ward, "p1", "ended");
        let run = shown(&ward, "p1");
        assert_eq!(
            run["position"]["outcome"]["outcome"], "succeeded",
            "{run:#}"
        );
        assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
        ward.ok(&["audit", "verify"]);
    }
}

#[test]
fn a_stage_that_is_moved_elsewhere_meanwhile_passes_nothing() {
    let ward = Ward::new();
    declare(&ward, "good", &approved("\"uid:0\"", "anybody"));
    run(&ward).success();
    declare(&ward, "other", &approved("\"uid:0\"", "anybody"));
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--env", "qa"]);
    comes_to(&ward, "p1", "ended");
    let stands = shown(&ward, "p1")["stands"].to_string();
    // Requests move before its deployment has ended.
    let says = [
        "d2 to r2 took requests in shop/qa while it waited for a word",
        "shop/qa does not serve r1 any more",
    ];
    assert!(says.iter().any(|text| stands.contains(text)), "{stands}");
}

/// Whatever happens in a stage while it soaks is what the soak is for.
#[test]
fn a_soak_is_not_passed_by_what_crashes_or_is_ill_within_it() {
    let ward = Ward::new();
    let soaks = "[pipeline.delivery.gate.qa]\nsoak = \"1h\"\n";
    declare(&ward, "good", soaks);
    let dir = ward.dir().to_str().unwrap().to_owned();
    let begin = |id: &str| {
        ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
        comes_to(&ward, id, "soaking");
    };
    let fails = |id: &str, says: &str| {
        comes_to(&ward, id, "ended");
        let stands = shown(&ward, id)["stands"].to_string();
        assert!(stands.contains(says), "{stands}");
        assert_eq!(answers(&ward, "prod"), None);
    };
    let in_qa = || {
        let status = ward.ok(&["status", "--env", "qa", "--output", "json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        let components = status["environments"][0]["components"].clone();
        let all = components.as_array().unwrap().iter();
        let instances = all.flat_map(|one| one["instances"].as_array().unwrap().clone());
        let serves = |one: &Value| one["in_rotation"] == true;
        instances.filter(serves).collect::<Vec<Value>>()
    };
    let pid = || i32::try_from(in_qa()[0]["pid"].as_i64().unwrap()).unwrap();
    // One that is killed, and comes back at once.
    begin("p1");
    kill9(pid());
    fails("p1", "web of shop/qa ended within its soak: web-r1-");
    // One that does not answer any more.
    declare(&ward, "better", soaks);
    begin("p2");
    let stopped = pid();
    pause(stopped);
    fails(
        "p2",
        "web of shop/qa was unhealthy within its soak: web-r2-",
    );
    go_on(stopped);
    // Taken down.
    declare(&ward, "best", soaks);
    begin("p3");
    ward.ok(&["down", "--env", "qa", "--yes"]);
    fails("p3", "shop/qa was taken down within its soak");
}

/// It is healthy for two seconds each time, and by then its deployment has succeeded.
#[test]
fn a_service_that_crashes_soon_after_its_start_passes_no_soak() {
    let ward = Ward::new();
    let crashes = support::APP.replace(
        "server.serve_forever()",
        "threading.Timer(2, lambda: os._exit(7)).start()\nserver.serve_forever()",
    );
    assert_ne!(crashes, support::APP);
    let soaks = "[pipeline.delivery.gate.dev]\nsoak = \"30s\"\n";
    declare(&ward, "good", soaks);
    ward.write("app.py", &crashes);
    let failed = run(&ward);
    let says = [
        "web of shop/dev ended within its soak",
        "ended with exit code 7",
    ];
    failed.fails(1, &says);
    assert_eq!(answers(&ward, "qa"), None);
    assert_eq!(answers(&ward, "prod"), None);
}

#[test]
fn a_build_that_was_let_through_does_not_bring_up_what_was_taken_down_or_taken_back() {
    let ward = Ward::new();
    let gates = "[pipeline.delivery.gate.qa]\nsoak = \"1h\"\n";
    let short = "[pipeline.delivery.gate.qa]\nsoak = \"2s\"\n";
    declare(&ward, "good", "");
    run(&ward).success();
    for (answer, env) in [("better", "down"), ("best", "rollback")] {
        declare(&ward, answer, short);
        let dir = ward.dir().to_str().unwrap().to_owned();
        ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
        let id = match env {
            "down" => "p2",
            _ => "p3",
        };
        comes_to(&ward, id, "soaking");
        match env {
            "down" => {
                ward.ok(&["down", "--env", "prod", "--yes"]);
            }
            _ => {
                ward.ok(&["rollback", "--env", "prod"]);
            }
        }
        comes_to(&ward, id, "ended");
        let stands = shown(&ward, id)["stands"].to_string();
        match env {
            "down" => {
                let says = "shop/prod was taken down: `ward rollback --to r1 --env shop/prod`";
                assert!(stands.contains(says), "{stands}");
                assert_eq!(answers(&ward, "prod"), None);
                ward.ok(&["deploy", &dir, "--env", "prod"]);
            }
            _ => assert!(stands.contains("rolled shop/prod back to r1"), "{stands}"),
        }
    }
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // What is denied while it waits goes no further, either.
    declare(&ward, "last", gates);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
    comes_to(&ward, "p4", "soaking");
    ward.ok(&["pipeline", "reject", "p4"]);
    comes_to(&ward, "p4", "ended");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
}

#[test]
fn a_word_without_a_number_is_about_the_stack_in_the_folder() {
    let ward = Ward::new();
    declare(
        &ward,
        "good",
        "[pipeline.delivery.gate.dev]\nsoak = \"1h\"\n",
    );
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
    comes_to(&ward, "p1", "soaking");
    let other = TempDir::new().unwrap();
    let file = other.path().join("ward.toml");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    fs::write(&file, text.replace("\"shop\"", "\"claims\"")).unwrap();
    let rejects = |dir: &Path| {
        let arguments = ["pipeline", "reject"];
        let mut command = ward.command(&arguments);
        Ran::of(&arguments, command.current_dir(dir).output().unwrap())
    };
    let says = [
        "no pipeline of claims, the stack in this folder, is under way; of others there is p1 of shop",
        "`ward pipeline reject p1` means that one",
    ];
    rejects(other.path()).fails(1, &says);
    fs::write(&file, "[stack").unwrap();
    let says = ["ward.toml cannot be read", "name the run, such as p3"];
    rejects(other.path()).fails(1, &says);
    assert_eq!(shown(&ward, "p1")["position"]["at"], "soaking");
    assert_eq!(shown(&ward, "p1")["votes"], Value::Array(Vec::new()));
    // Where there is no stack the only one of all is meant, and at home its own.
    fs::remove_file(&file).unwrap();
    rejects(other.path()).success();
    comes_to(&ward, "p1", "ended");
    ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
    comes_to(&ward, "p2", "soaking");
    let rejected = rejects(ward.dir());
    rejected.success();
    assert!(rejected.stderr().contains("p2 is rejected"), "{rejected:?}");
    comes_to(&ward, "p2", "ended");
}

#[test]
fn who_leaves_a_run_at_the_terminal_is_told_what_follows_it() {
    let ward = Ward::new();
    declare(
        &ward,
        "good",
        "[pipeline.delivery.gate.dev]\nsoak = \"1h\"\n",
    );
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["up", "--platform"]);
    let mut follows = ward.command(&["pipeline", "run", "delivery", &dir]);
    let follows = follows.stderr(Stdio::piped()).spawn().unwrap();
    eventually("it begins", || {
        ward.run(&["pipeline", "show", "p1"]).code() == 0
    });
    comes_to(&ward, "p1", "soaking");
    let pid = rustix::process::Pid::from_child(&follows);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let left = follows.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert_eq!(left.status.code(), Some(130), "{said}");
    for says in [
        "`ward pipeline show p1`",
        "`ward pipeline reject p1` ends it",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(!said.contains("ward deployment"), "{said}");
    let rejected = ward.run(&["pipeline", "reject"]);
    rejected.success();
    let said = rejected.stderr();
    assert!(
        said.contains("p1 is rejected: it goes no further"),
        "{said}"
    );
    assert!(!said.contains("goes on"), "{said}");
    comes_to(&ward, "p1", "ended");
}

#[test]
fn a_hotfix_that_was_brought_to_a_later_stage_meanwhile_is_not_replaced_by_the_older_build() {
    let ward = Ward::new();
    let gates = approved("\"uid:0\", \"root\"", "anybody");
    declare(&ward, "good", "");
    run(&ward).success();
    declare(&ward, "older", &gates);
    run(&ward).success();
    comes_to(&ward, "p2", "approving");
    let dir = ward.dir().to_str().unwrap().to_owned();
    declare(&ward, "hotfix", &gates);
    ward.ok(&["deploy", &dir, "--env", "prod"]);
    // Other values do not make another build of it.
    ward.ok(&["config", "set", "web.LEVEL=calm", "--env", "prod"]);
    if !is_root() {
        println!("skipped: the role is root's");
        return;
    }
    ward.ok(&["pipeline", "approve", "p2"]);
    comes_to(&ward, "p2", "ended");
    let stands = shown(&ward, "p2")["stands"].to_string();
    for says in [
        "to shop/prod (r2, by d2), asked for on ",
        "since the run began",
        "`ward pipeline run delivery` with what is newest",
    ] {
        assert!(stands.contains(says), "{says}: {stands}");
    }
    assert_eq!(answers(&ward, "prod").as_deref(), Some("hotfix"));
    // A new run has what is newest.
    run(&ward).success();
    ward.ok(&["pipeline", "approve", "p3"]);
    comes_to(&ward, "p3", "ended");
    let outcome = &shown(&ward, "p3")["position"]["outcome"]["outcome"];
    assert_eq!(outcome, "succeeded");
}

#[test]
fn whoever_rejects_a_run_takes_back_what_is_rolled_out_by_it_and_nothing_else() {
    let ward = Ward::new();
    ruled(&ward, "good", "", "");
    run(&ward).success();
    // It never becomes healthy there.
    ruled(&ward, "better", "service.web.env.MODE = \"hang\"", "");
    let dir = ward.dir().to_str().unwrap().to_owned();
    let rolls = |id: &str| {
        ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
        eventually("it is rolled out in prod", || {
            let run = shown(&ward, id);
            run["position"]["stage"] == 2 && run["reached"].as_array().unwrap().len() == 3
        });
    };
    let deployment = |id: &str| {
        let show = [
            "deployment",
            "show",
            id,
            "--env",
            "prod",
            "--output",
            "json",
        ];
        let shown: Value = serde_json::from_str(&ward.ok(&show)).unwrap();
        shown["deployment"].clone()
    };
    rolls("p2");
    let reject = |id: &str| {
        let rejected = ward.run(&["pipeline", "reject", id, "--why", "not this"]);
        rejected.success();
        comes_to(&ward, id, "ended");
        rejected.stderr()
    };
    let said = reject("p2");
    let says = "d2 to r2 in shop/prod is cancelled: it goes back to r1";
    assert!(said.contains(says), "{said}");
    let ended = || deployment("d2")["phase"] == "finished";
    eventually("its deployment has ended", ended);
    assert!(
        deployment("d2")["cancelled"].is_object(),
        "{}",
        deployment("d2")
    );
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // One that somebody else asked for is theirs.
    ward.ok(&["deploy", &dir, "--env", "prod", "--no-wait"]);
    rolls("p3");
    let said = reject("p3");
    let says = [
        "d3 to ",
        "goes on, because uid:",
        "`ward deployment cancel d3 --env shop/prod`",
    ];
    assert!(says.iter().all(|text| said.contains(text)), "{said}");
    let goes_on = deployment("d3");
    assert!(goes_on["cancelled"].is_null(), "{goes_on}");
    let cancel = ["deployment", "cancel", "d3", "--env", "shop/prod"];
    ward.run(&cancel);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_trouble_of_the_moment_does_not_end_a_run_that_has_passed_its_gates() {
    let ward = Ward::new();
    declare(
        &ward,
        "good",
        "[pipeline.delivery.gate.qa]\nsoak = \"5s\"\n",
    );
    let dir = ward.dir().to_str().unwrap().to_owned();
    let mut follows = ward.command(&["pipeline", "run", "delivery", &dir]);
    let follows = follows.stderr(Stdio::piped()).spawn().unwrap();
    eventually("it begins", || {
        ward.run(&["pipeline", "show", "p1"]).code() == 0
    });
    comes_to(&ward, "p1", "soaking");
    // What cannot be read forbids nothing and lets nothing through.
    let policy = ward.home().join("policy.toml");
    fs::create_dir(&policy).unwrap();
    let waits = "shop/prod cannot get 1.0.1 now: the installation's policy ";
    let hindered = |says: &str| {
        let run = shown(&ward, "p1");
        let stands = run["stands"].as_str().unwrap();
        let here = run["position"]["at"] == "deploying" && run["position"]["stage"] == 2;
        here && stands.contains(waits) && stands.contains(says)
    };
    eventually("it waits", || hindered("cannot be read"));
    let one = ward.ok(&["pipeline", "show", "p1"]);
    let on = "p1 tries again every half a minute, `ward pipeline reject p1` ends it";
    assert!(one.contains(on), "{one}");
    // Who follows it is told, as before a freeze.
    let followed = follows.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&followed.stderr).into_owned();
    assert!(followed.status.success() && said.contains(waits), "{said}");
    // It looks again whenever something happens. Mistakes are no word against the build, either.
    fs::remove_dir(&policy).unwrap();
    fs::write(&policy, "[environment").unwrap();
    let happens = |value: &str| {
        let until = ["--until", "1h", "--why", value];
        let waive = ["policy", "waive", "freeze", "--env", "shop/dev"];
        ward.run(&[&waive[..], &until].concat());
    };
    happens("one");
    eventually("it waits on", || hindered("has mistakes"));
    assert_eq!(answers(&ward, "prod"), None);
    fs::remove_file(&policy).unwrap();
    happens("two");
    comes_to(&ward, "p1", "ended");
    let outcome = &shown(&ward, "p1")["position"]["outcome"]["outcome"];
    assert_eq!(outcome, "succeeded");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_build_that_never_came_to_the_gates_is_not_promoted_past_them() {
    let ward = Ward::new();
    declare(&ward, "good", CHECKED);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--env", "dev"]);
    let around = ward.run(&["promote", "--from", "dev", "--to", "qa"]);
    around.fails(
        1,
        &[
            "1.0.1 has not passed the gates before shop/qa in the pipeline delivery (the check of dev)",
            "`ward pipeline run delivery` in its folder brings what lies there",
        ],
    );
    let built = ward.ok(&["build", &dir]);
    let version = built.lines().next().unwrap();
    let by_its_gates = format!("`ward pipeline run delivery --build {version}` brings it there");
    ward.run(&["deploy", "--build", version, "--env", "prod"])
        .fails(
            1,
            &["has not passed the gates before shop/prod", &by_its_gates],
        );
    // Nothing stands before the first stage; and who has passed may go wherever the pipeline leads.
    ward.ok(&["deploy", "--build", version, "--env", "dev"]);
    assert_eq!(answers(&ward, "qa"), None);
    ward.ok(&["pipeline", "run", "delivery", "--build", version]);
    ward.ok(&["down", "--env", "prod", "--purge", "--yes"]);
    ward.ok(&["promote", "--from", "qa", "--to", "prod"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // A folder goes around it: that is the way of a hotfix, which is said.
    declare(&ward, "fix", CHECKED);
    let fix = ward.run(&["deploy", &dir, "--env", "prod"]);
    fix.success();
    assert_eq!(warned_of(&fix), ["prod"], "{fix:?}");
    let hint = "`ward pipeline run delivery` brings it past them; `policy.pipeline = \"deny\"` refuses any other way";
    assert!(fix.stderr().contains(hint), "{fix:?}");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("fix"));
}

/// The environments that get a build past the gates of the pipeline, as a command says.
fn warned_of(ran: &Ran) -> Vec<String> {
    let said = ran.stderr();
    let says = " gets a build that has not passed the gates before it (pipeline delivery)";
    let before = said.lines().filter_map(|line| line.split_once(says));
    let env = |(line, _): (&str, &str)| line.rsplit('/').next().unwrap().to_owned();
    before.map(env).collect()
}

#[test]
fn who_goes_past_the_gates_is_told_and_who_goes_by_them_is_not() {
    let ward = Ward::new();
    let dir = ward.dir().to_str().unwrap().to_owned();
    let all = ["deploy", &dir, "--envs", "dev,qa,prod"];
    let done = |arguments: &[&str]| {
        let ran = ward.run(arguments);
        ran.success();
        warned_of(&ran)
    };
    declare(&ward, "fine", "");
    assert_eq!(done(&all), [""; 0], "there are no gates");
    declare(&ward, "good", CHECKED);
    assert_eq!(done(&all), ["qa", "prod"]);
    // What serves there already is no news, and what changes nothing neither.
    assert_eq!(done(&all), [""; 0]);
    assert_eq!(done(&["deploy", &dir, "--env", "prod", "--force"]), [""; 0]);
    // By its gates it comes there without a word, and as often as anybody likes.
    ward.write("app.py", &format!("{}\n# another build\n", support::APP));
    assert_eq!(done(&["pipeline", "run", "delivery", &dir]), [""; 0]);
    assert_eq!(done(&["deploy", &dir, "--env", "qa", "--force"]), [""; 0]);
    // The rule says it by itself.
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let warns = "[environment.prod]\npolicy.pipeline = \"warn\"";
    ward.write("ward.toml", &text.replace("[environment.prod]", warns));
    let ran = ward.run(&["deploy", &dir, "--env", "prod"]);
    ran.success();
    assert_eq!(warned_of(&ran), [""; 0], "{ran:?}");
    assert!(ran.stderr().contains("has not passed the gates"), "{ran:?}");
}

/// Another person, who has or has not the role.
const OTHER: u32 = 1235;

/// A platform of the author's, and the folder of the socket that is for everybody.
fn for_everybody() -> (Ward, TempDir) {
    let (ward, people) = (Ward::of_user(AUTHOR), TempDir::new().unwrap());
    // Everybody can reach it, as `/run/ward` would be.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(people.path(), open).unwrap();
    chown(people.path(), Some(AUTHOR), Some(AUTHOR)).unwrap();
    let mut up = ward.command(&["up", "--platform"]);
    let up = up.env("WARD_PEOPLE_DIR", people.path()).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    (ward, people)
}

/// By the socket that is for everybody.
fn as_other(people: &Path, arguments: &[&str]) -> std::process::Output {
    let id = OTHER.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    command.arg(env!("CARGO_BIN_EXE_ward"));
    command.args(arguments).env("WARD_HOME", people);
    command.output().unwrap()
}

#[test]
fn only_a_second_person_with_the_role_lets_it_pass_and_each_word_is_recorded() {
    if !is_root() {
        println!("skipped: who is not root cannot be two people");
        return;
    }
    let (ward, people) = for_everybody();
    let as_other = |arguments: &[&str]| as_other(people.path(), arguments);
    let author = format!("\"uid:{AUTHOR}\"");
    declare(&ward, "good", &approved(&author, "another"));
    run(&ward).success();
    ward.run(&["pipeline", "approve"]).fails(
        1,
        &["started the run, and a second person has to approve it"],
    );
    let stranger = as_other(&["pipeline", "approve", "p1"]);
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(
        !stranger.status.success() && said.contains("does not have the role qa-lead"),
        "{said}"
    );
    let events = ward.ok(&["events", "--env", "qa"]);
    assert!(
        events.contains("p1 was not approved by uid:1235: does not have the role"),
        "{events}"
    );
    // Said again it is not recorded again.
    assert!(!as_other(&["pipeline", "approve", "p1"]).status.success());
    assert_eq!(shown(&ward, "p1")["votes"].as_array().unwrap().len(), 2);
    // Nothing else is for them.
    for words in [
        &["status"][..],
        &["down", "--yes"],
        &["secret", "list", "--env", "shop/qa"],
    ] {
        let refused = as_other(words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains("this socket is for `ward pipeline show`"),
            "{said}"
        );
    }
    assert!(as_other(&["pipeline", "show", "p1"]).status.success());
    comes_to(&ward, "p1", "approving");
    ward.ok(&["pipeline", "reject", "--why", "not this week"]);
    comes_to(&ward, "p1", "ended");
    let events = ward.ok(&["events", "--env", "qa"]);
    assert!(events.contains("rejected it: “not this week”"), "{events}");

    declare(
        &ward,
        "good",
        &approved(&format!("{author}, \"uid:{OTHER}\""), "another"),
    );
    run(&ward).success();
    let second = as_other(&["pipeline", "approve", "p2", "--why", "seen"]);
    assert!(second.status.success(), "{second:?}");
    comes_to(&ward, "p2", "ended");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // Where everybody is heard it is told, too, when nobody can be meant.
    declare(&ward, "better", &approved("\"nosuchuser\"", "anybody"));
    let unheard = run(&ward);
    let says = "of a qa-lead (nosuchuser): no user of this machine is one";
    assert!(unheard.stderr().contains(says), "{unheard:?}");
    ward.ok(&["pipeline", "reject", "p3"]);
}

#[test]
fn a_gate_that_nobody_could_let_a_run_past_is_told_at_its_beginning() {
    if !is_root() {
        println!("skipped: who is not root cannot be two people");
        return;
    }
    let ward = Ward::of_user(AUTHOR);
    let begins = |people: &str, by: &str| {
        declare(&ward, "good", &approved(people, by));
        let said = run(&ward);
        said.success();
        ward.ok(&["pipeline", "reject"]);
        said.stderr()
    };
    let unheard = format!(
        "nobody can give the word that shop/qa will wait for, of a qa-lead (uid:{OTHER}): without WARD_PEOPLE_DIR only \
         uid:{AUTHOR} and root are heard"
    );
    let said = begins(&format!("\"uid:{OTHER}\""), "anybody");
    for says in [&unheard, "start Ward with WARD_PEOPLE_DIR="] {
        assert!(said.contains(says), "{says}: {said}");
    }
    let both = format!("\"uid:{AUTHOR}\", \"root\"");
    let said = begins(&both, "another");
    let says = format!(
        "nobody but root can give the word that shop/qa will wait for, of a qa-lead (uid:{AUTHOR}, root), another person"
    );
    assert!(said.contains(&says), "{said}");
    let detail = ward.ok(&["pipeline", "show", "p2"]);
    let says = format!("word of a qa-lead (uid:{AUTHOR}, root), another person than its author");
    assert!(detail.contains(&says), "{detail}");
    let said = begins(&both, "anybody");
    assert!(!said.contains("nobody"), "{said}");
    // Neither of these is helped by a socket for everybody.
    let nobody = begins("\"nosuchuser\"", "anybody");
    assert!(
        nobody.contains("(nosuchuser): no user of this machine is one"),
        "{nobody}"
    );
    let own = begins(&format!("\"uid:{AUTHOR}\""), "another");
    assert!(
        own.contains("who is one started the run, or wrote the commit"),
        "{own}"
    );
    for said in [nobody, own] {
        assert!(!said.contains("WARD_PEOPLE_DIR"), "{said}");
    }
}

#[test]
fn a_stage_in_which_nothing_served_yet_asks_for_a_reason_as_its_stack_file_does() {
    if !is_root() {
        println!("skipped: the role is root's");
        return;
    }
    let ward = Ward::new();
    let gates = approved("\"uid:0\"", "anybody");
    ruled(&ward, "good", "policy.reason = \"deny\"", &gates);
    let refused = ["the policy of shop/prod asks for a reason", "--why"];
    run(&ward).fails(1, &refused);
    assert_eq!(answers(&ward, "dev"), None, "nothing was begun");
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["pipeline", "run", "delivery", &dir, "--why", "CR-1"]);
    ward.run(&["pipeline", "approve", "p1"]).fails(1, &refused);
    ward.run(&["pipeline", "approve", "p1", "--why", "\u{2060}."])
        .fails(1, &["one line"]);
    ward.run(&["pipeline", "approve", "p1", "--why", " - "])
        .fails(1, &refused);
    ward.ok(&["pipeline", "approve", "p1", "--why", " CR-2 "]);
    comes_to(&ward, "p1", "ended");
    assert_eq!(shown(&ward, "p1")["votes"][0]["why"], "CR-2");
}

#[test]
fn where_the_policy_asks_for_a_pipeline_nothing_goes_around_its_gates() {
    let ward = Ward::new();
    let rule = "policy.pipeline = \"deny\"";
    let deploy = |env: &str| ward.run(&["deploy", "--env", env]);
    let around = "shop/prod would get a build that has not passed the gates before it";
    ruled(&ward, "good", rule, CHECKED);
    deploy("prod").fails(
        1,
        &[
            around,
            "(pipeline: ",
            "ward.toml:",
            "instead: `ward pipeline run delivery`",
        ],
    );
    let plan = ward.run(&["plan", "--env", "prod", "--out", "plan.json"]);
    assert!(
        plan.code() == 1 && format!("{plan:?}").contains(around),
        "{plan:?}"
    );
    let file = ward.dir().join("plan.json");
    ward.run(&["deploy", "--plan", file.to_str().unwrap()])
        .fails(1, &[around]);
    deploy("dev").success();
    ward.run(&["promote", "--from", "dev", "--to", "prod"])
        .fails(1, &["prod"]);
    assert_eq!(answers(&ward, "prod"), None);
    run(&ward).success();
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    // What was let through may have other values, and may come there in every way.
    ward.ok(&["config", "set", "A=1", "--env", "prod"]);
    ward.ok(&["rollback", "--env", "prod"]);
    ward.ok(&["rollforward", "--env", "prod"]);
    ward.ok(&["deploy", "--env", "prod", "--force"]);
    assert_eq!(level(&ward, "pipeline"), "deny");

    // Whoever takes the rule out of the file does not get past it, and past the installation's no stack file gets.
    ruled(&ward, "edited", "", CHECKED);
    deploy("prod").fails(1, &[around]);
    fs::write(
        ward.home().join("policy.toml"),
        format!("[environment.prod]\n{rule}\n"),
    )
    .unwrap();
    deploy("prod").fails(1, &[around]);
    let waive = ["policy", "waive", "pipeline", "--env", "prod"];
    ward.ok(&[&waive[..], &["--until", "1h", "--why", "it is down"]].concat());
    let urgent = deploy("prod");
    assert!(urgent.stderr().contains("it is down"), "{urgent:?}");
    urgent.success();
    assert_eq!(answers(&ward, "prod").as_deref(), Some("edited"));
    ward.ok(&["policy", "enforce", "pipeline", "--env", "prod"]);
    // Who looks at the release sees who answered for it, also when that is over; of others nothing.
    let releases = ward.ok(&["releases", "--env", "prod", "--output", "json"]);
    let releases: Value = serde_json::from_str(&releases).unwrap();
    for (at, waived) in [(0, 1), (1, 0)] {
        let release = format!("r{}", releases[at]["id"]);
        let show = ["releases", "show", &release, "--env", "prod"];
        let text = ward.ok(&show);
        assert_eq!(text.contains("pipeline, by uid:0"), waived == 1, "{text}");
        assert_eq!(text.contains("“it is down”"), waived == 1, "{text}");
        let json = ward.ok(&[&show[..], &["--output", "json"]].concat());
        let json: Value = serde_json::from_str(&json).unwrap();
        let waivers = json["waivers"].as_array().map_or(0, Vec::len);
        assert_eq!(waivers, waived, "{json:#}");
        let about = ward.ok(&["events", "--env", "prod", "--release", &release]);
        assert_eq!(
            about.contains("the rule pipeline is waived"),
            waived == 1,
            "{about}"
        );
    }
    ruled(&ward, "bad", "", CHECKED);
    run(&ward).fails(1, &["the check of shop/dev was not passed"]);
    deploy("prod").fails(1, &[around, "installation's policy of prod forbids it"]);
    // A copy has what serves where it comes from.
    fs::write(ward.home().join("policy.toml"), rule).unwrap();
    ward.ok(&["env", "create", "demo", "--from", "prod"]);
    ward.ok(&["config", "set", "B=1", "--env", "demo"]);
}

/// What serves in dev has passed nothing, and a copy has it all the same.
#[test]
fn a_copy_is_no_way_around_the_gates() {
    let ward = Ward::new();
    let rule = "policy.pipeline = \"deny\"";
    ruled(&ward, "bad", rule, CHECKED);
    ward.ok(&["deploy", "--env", "dev"]);
    let declared = [
        "shop/prod is declared in the stack file of shop, and so is no copy",
        "`ward deploy --env prod`, or `ward pipeline run delivery`, brings it up",
    ];
    ward.run(&["env", "create", "prod", "--from", "dev"])
        .fails(1, &declared);
    ward.run(&["env", "clone", "dev", "prod"])
        .fails(1, &declared);
    assert_eq!(answers(&ward, "prod"), None);
    // Whoever names an environment in the installation's file means it, whatever it is; all others are copied.
    fs::write(
        ward.home().join("policy.toml"),
        format!("{rule}\n[environment.late]\npolicy.tls = \"off\"\n"),
    )
    .unwrap();
    ward.run(&["env", "create", "late", "--from", "dev"]).fails(
        1,
        &[
            "the installation's policy forbids shop/late",
            "has not passed the gates before it (pipeline)",
            "another policy for `[environment.late]`",
        ],
    );
    ward.ok(&["env", "create", "demo", "--from", "dev"]);
    ward.ok(&["config", "set", "B=1", "--env", "demo"]);
}

#[test]
fn where_the_policy_asks_for_a_second_person_the_author_is_none() {
    if !is_root() {
        println!("skipped: who is not root cannot be two people");
        return;
    }
    let (ward, people) = for_everybody();
    let rule = "policy.second_person = \"deny\"";
    ruled(&ward, "good", rule, CHECKED);
    run(&ward).fails(
        1,
        &[
            "the policy of prod asks for a second person (second_person)",
            "no gate of delivery before it asks for anybody's word",
        ],
    );
    // Whatever the gate says of the author.
    let both = format!("\"uid:{AUTHOR}\", \"uid:{OTHER}\"");
    ruled(&ward, "good", rule, &approved(&both, "anybody"));
    run(&ward).success();
    ward.run(&["pipeline", "approve", "p1"]).fails(
        1,
        &["started the run, and a second person has to approve it"],
    );
    ward.run(&["deploy", "--env", "prod"])
        .fails(1, &["nobody has approved what shop/prod would get"]);
    let second = as_other(people.path(), &["pipeline", "approve", "p1"]);
    assert!(second.status.success(), "{second:?}");
    comes_to(&ward, "p1", "ended");
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
    ward.ok(&["deploy", "--env", "prod", "--force"]);
    // One that began before the installation asked, and that its author approved, goes no further.
    ruled(&ward, "alone", "", &approved(&both, "anybody"));
    ward.ok(&[
        "policy",
        "waive",
        "second_person",
        "--env",
        "prod",
        "--until",
        "1h",
        "--why",
        "late",
    ]);
    run(&ward).success();
    ward.ok(&["policy", "enforce", "second_person", "--env", "prod"]);
    ward.ok(&["pipeline", "approve", "p2"]);
    comes_to(&ward, "p2", "ended");
    let detail = ward.ok(&["pipeline", "show", "p2"]);
    assert!(
        detail.contains("its policy forbids it: nobody but who brought it has approved"),
        "{detail}"
    );
    assert_eq!(answers(&ward, "prod").as_deref(), Some("good"));
}

/// A gate of dev whose check, and what that starts, take ten minutes; where it says who they are.
fn slow_check(ward: &Ward, timeout: &str) -> PathBuf {
    let gate = "[pipeline.delivery.gate.dev]\ncommand = [\"python3\", \"check.py\"]\n";
    declare(ward, "good", &format!("{gate}timeout = \"{timeout}\"\n"));
    let pids = ward.dir().join("pids");
    let slow = format!(
        "import os, subprocess, time\nchild = subprocess.Popen([\"sleep\", \"600\"])\n\
         open(\"pids.new\", \"w\").write(f\"{{os.getpid()}} {{child.pid}}\")\n\
         os.rename(\"pids.new\", {:?})\ntime.sleep(600)\n",
        pids.display()
    );
    ward.write("check.py", &slow);
    pids
}

fn all_gone(pids: &Path) {
    let text = fs::read_to_string(pids).unwrap();
    for pid in text.split(' ') {
        let pid: i32 = pid.parse().unwrap();
        eventually(&format!("{pid} is gone"), || !support::alive(pid));
    }
    fs::remove_file(pids).unwrap();
}

#[test]
fn a_check_that_takes_longer_than_it_may_is_ended_and_the_gate_not_passed() {
    let ward = Ward::new();
    let pids = slow_check(&ward, "10s");
    let failed = run(&ward);
    failed.fails(
        1,
        &["the check of shop/dev took longer than 10 s, and was ended"],
    );
    assert_eq!(answers(&ward, "dev").as_deref(), Some("good"));
    assert_eq!(answers(&ward, "qa"), None, "it went no further");
    assert_eq!(
        shown(&ward, "p1")["position"]["outcome"]["outcome"],
        "failed"
    );
    all_gone(&pids);
}

#[test]
fn a_check_that_runs_is_ended_by_whoever_rejects_the_run_or_takes_its_stage_away() {
    let ward = Ward::new();
    let pids = slow_check(&ward, "1h");
    let dir = ward.dir().to_str().unwrap().to_owned();
    let ends = |id: &str, by: &[&str], says: &str| {
        ward.ok(&["pipeline", "run", "delivery", &dir, "--no-wait"]);
        comes_to(&ward, id, "checking");
        eventually("its check runs", || pids.exists());
        ward.ok(by);
        comes_to(&ward, id, "ended");
        let stands = shown(&ward, id)["stands"].to_string();
        assert!(stands.contains(says), "{stands}");
        all_gone(&pids);
    };
    let reject = ["pipeline", "reject", "p1", "--why", "it hangs"];
    ends("p1", &reject, "rejected it: “it hangs”");
    let down = ["down", "--env", "dev", "--yes"];
    ends("p2", &down, "shop/dev was taken down while its check ran");
    assert_eq!(answers(&ward, "qa"), None, "neither went further");
}

#[test]
fn what_a_check_says_of_secrets_is_masked_and_not_kept_where_they_cannot_be_opened() {
    const VALUE: &str = "the-token-of-dev";
    let ward = Ward::new();
    declare(&ward, "good", CHECKED);
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let dev = "[environment.dev]\n";
    let secret = "service.web.secrets = { TOKEN = \"env\" }\n";
    ward.write("ward.toml", &text.replace(dev, &format!("{dev}{secret}")));
    ward.ok(&["up", "--platform"]);
    set(&ward, "TOKEN", VALUE);
    let says = format!("print(\"it knows {VALUE}\")\nraise SystemExit(3)\n");
    ward.write("check.py", &says);
    run(&ward).fails(1, &["exit status 3", "it knows [secret TOKEN]"]);
    // And so are the reasons that people give.
    let dir = ward.dir().to_str().unwrap().to_owned();
    let why = format!("with {VALUE}");
    let reasoned = ["pipeline", "run", "delivery", &dir, "--why", &why];
    ward.run(&reasoned).fails(1, &["it knows [secret TOKEN]"]);
    assert_eq!(shown(&ward, "p2")["why"], "with [secret TOKEN]");
    // Where a line is so long that it comes in pieces, the value may be in two of them.
    let long = "import sys\nsys.stdout.write(\"A\" * ((1 << 20) - 14))\n";
    ward.write("check.py", &format!("{long}{says}"));
    run(&ward).fails(1, &["exit status 3", "(a line of more than 64 KiB)"]);
    let sealed = ward.home().join("sealed/shop/dev/TOKEN/1.json");
    let removes = format!("import os\nos.remove({:?})\n{says}", sealed.display());
    ward.write("check.py", &removes);
    let failed = run(&ward);
    failed.fails(
        1,
        &["exit status 3; what it wrote is not kept, because secrets do not open"],
    );
    let events = ward.ok(&["events", "-n", "1000", "--output", "json"]);
    let all = format!("{failed:?}{events}");
    assert!(!all.contains(VALUE), "{all}");
    assert!(!all.contains(&VALUE[4..]), "{all}");
}
