//! Where builds come from: folders and revisions, repositories that are watched, and those that people push to.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::sources::{add, builds_of, json, runs, shown, standings};
use support::work::{PIPELINE, Work, stack};
use support::{Ward, answers, eventually, kill9};

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_build_of_a_revision_is_kept_and_released_later_and_knows_its_commit() {
    let (ward, work) = (Ward::new(), Work::new());
    let first = work.commit("one", PIPELINE);
    work.commit("two", PIPELINE);
    work.write("ward.toml", "no stack file at all");
    let built = ward.ok(&["build", work.text(), "--rev", "HEAD~1"]);
    assert!(built.starts_with("1.0.1\nweb sha256:"), "{built}");
    let list = json(&ward.ok(&["build", "--list", "--output", "json"]));
    let made = &list[0]["build"]["provenance"];
    assert_eq!(
        (&made["id"], &made["tree"]),
        (&Value::from(first.clone()), &Value::from("as_committed"))
    );
    assert_eq!(made["author"], "Anna Bauer <anna@example.com>");
    ward.run(&["releases", "--env", "shop/dev"])
        .fails(1, &["there is no environment shop/dev"]);
    assert_eq!(answers(&ward, "dev"), None, "a build is released nowhere");
    ward.run(&["build", work.text(), "--rev", "nowhere"])
        .fails(1, &["has no revision nowhere", "nothing was changed"]);
    ward.run(&["build", work.text()]).fails(2, &["ward.toml"]);
    // The same again is the same build.
    let again = ward.ok(&["build", work.text(), "--rev", &first]);
    assert_eq!(again, built);

    ward.ok(&["deploy", "--build", "1.0.1"]);
    assert_eq!(answers(&ward, "dev").as_deref(), Some("one"));
    let releases = ward.ok(&["releases", "--env", "shop/dev"]);
    let of = format!("1.0.1 of {} by Anna Bauer", work.short(&first));
    assert!(releases.contains(&of), "{releases}");
    let status = ward.ok(&["status"]);
    assert!(status.contains(&of), "{status}");
    ward.run(&["deploy", "--build", "1.0.9"])
        .fails(1, &["no build 1.0.9 is kept"]);
    ward.run(&["deploy", "--build", "other/1.0.1"])
        .fails(1, &["no build other/1.0.1 is kept"]);
    ward.ok(&["pipeline", "run", "delivery", "--build", "shop/1.0.1"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("one"));
    let prod = json(&ward.ok(&["releases", "--env", "shop/prod", "--output", "json"]));
    assert_eq!(prod[0]["provenance"]["id"], Value::from(first));

    // A folder with changes is deployed with that word, and one without git without.
    work.write("ward.toml", &stack("three", PIPELINE));
    let plan = ward.run(&["plan", work.text()]);
    assert!(
        said_of(&plan).contains("with changes that no commit holds"),
        "{plan:?}"
    );
    ward.ok(&["deploy", work.text()]);
    let releases = ward.ok(&["releases", "--env", "shop/dev"]);
    assert!(releases.contains("+ by Anna Bauer"), "{releases}");
    ward.write("ward.toml", &stack("four", PIPELINE));
    ward.ok(&["deploy", ward.dir().to_str().unwrap()]);
    let dev = json(&ward.ok(&["releases", "--env", "shop/dev", "--output", "json"]));
    assert_eq!(dev[0].get("provenance"), None, "{dev:#}");
    ward.ok(&["audit", "verify"]);
}

fn said_of(ran: &support::Ran) -> String {
    format!("{}{}", ran.stdout(), ran.stderr())
}

#[test]
fn each_commit_of_a_branch_is_built_once_and_goes_through_the_pipeline() {
    let (ward, work) = (Ward::new(), Work::new());
    let first = work.commit("one", PIPELINE);
    ward.ok(&["up", "--platform"]);
    let add = ["source", "add", "app", work.text(), "--branch"];
    ward.run(&[&add[..], &["nowhere"]].concat())
        .fails(1, &["branch nowhere", "nothing was changed"]);
    assert!(
        ward.run(&["source", "list"])
            .stderr()
            .contains("no repository is watched")
    );
    let more = ["main", "--pipeline", "delivery", "--poll", "1s"];
    ward.ok(&[&add[..], &more].concat());
    ward.run(&[&add[..], &more].concat())
        .fails(1, &["there is a source app already"]);
    eventually("prod has the commit", || {
        answers(&ward, "prod").as_deref() == Some("one")
    });
    eventually("the run is over", || {
        runs(&ward)[0]["position"]["at"] == "ended"
    });

    let second = work.commit("two", PIPELINE);
    eventually("prod has the next commit", || {
        answers(&ward, "prod").as_deref() == Some("two")
    });
    let prod = json(&ward.ok(&["releases", "--env", "shop/prod", "--output", "json"]));
    let made = &prod[0]["provenance"];
    assert_eq!(
        (&made["id"], &made["source"]),
        (&Value::from(second.clone()), &Value::from("app"))
    );
    assert_eq!(prod[0]["by"], "source:app");
    eventually("the second run is over", || {
        runs(&ward)[0]["position"]["at"] == "ended"
    });

    // What was built is not built again: after a kill, and when the branch goes back.
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    work.git(&["reset", "-q", "--hard", &first]);
    ward.ok(&["source", "sync", "app"]);
    assert_eq!([&first, &second].map(|id| builds_of(&ward, id)), [1, 1]);
    assert_eq!(runs(&ward).len(), 2);

    // One that cannot be built is told, and tried again only when somebody says so.
    let broken = work.commit("three", "nonsense = 1");
    eventually("it failed", || {
        standings(&ward, "app").last() == Some(&(broken.clone(), "failed".into()))
    });
    let list = ward.ok(&["source", "show", "app"]);
    assert!(list.contains("its stack file has a mistake"), "{list}");
    ward.run(&["source", "sync", "app", "--again"])
        .fails(1, &["its stack file has a mistake", "--again"]);
    assert_eq!(builds_of(&ward, &broken), 0);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("two"));

    ward.ok(&["source", "remove", "app"]);
    work.commit("four", PIPELINE);
    assert!(!ward.home().join("sources/app").exists());
    ward.run(&["source", "show", "app"])
        .fails(1, &["there is no source app"]);
    assert_eq!(
        answers(&ward, "prod").as_deref(),
        Some("two"),
        "what serves goes on"
    );
    ward.ok(&["audit", "verify"]);
}

#[test]
fn each_commit_that_came_is_built_where_that_is_asked_for_and_the_newest_is_released() {
    let (ward, work) = (Ward::new(), Work::new());
    let before = work.commit("before", PIPELINE);
    let first = work.commit("one", PIPELINE);
    ward.ok(&["up", "--platform"]);
    let more = ["--pipeline", "delivery", "--poll", "1h", "--each"];
    add(&ward, &work, &more).success();
    eventually("the first run is over", || {
        runs(&ward)
            .first()
            .is_some_and(|run| run["position"]["at"] == "ended")
    });
    let [second, third, fourth] =
        ["two", "three", "four"].map(|answer| work.commit(answer, PIPELINE));
    ward.ok(&["source", "sync", "app"]);
    assert_eq!(answers(&ward, "prod").as_deref(), Some("four"));
    let all = [&before, &first, &second, &third, &fourth];
    assert_eq!(all.map(|id| builds_of(&ward, id)), [0, 1, 1, 1, 1]);
    let began = "began".to_owned();
    let passed = "passed".to_owned();
    assert_eq!(
        standings(&ward, "app"),
        [
            (first, began.clone()),
            (second.clone(), passed.clone()),
            (third, passed),
            (fourth, began)
        ]
    );
    assert_eq!(runs(&ward).len(), 2, "none for those behind the newest");
    let list = ward.ok(&["build", "--list", "--output", "json"]);
    assert!(list.contains(&second), "{list}");
    ward.run(&[
        "source",
        "add",
        "tags",
        work.text(),
        "--tag",
        "v*",
        "--each",
    ])
    .fails(2, &["--each"]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn p4_a_commit_whose_build_was_killed_is_built_when_ward_is_back() {
    let (ward, work) = (Ward::new(), Work::new());
    let slow = stack("one", "").replace(
        "build = { files",
        r#"build = { command = ["sh", "-c", "test ! -e left && touch left && echo $$ >> $HOME/began && while [ ! -e $HOME/go ]; do sleep 0.05; done"], files"#,
    );
    work.write("ward.toml", &slow);
    work.git(&["add", "-A"]);
    work.git(&["commit", "-q", "-m", "Slow"]);
    let id = work.git(&["rev-parse", "HEAD"]);
    ward.ok(&["up", "--platform"]);
    ward.ok(&[
        "source",
        "add",
        "app",
        work.text(),
        "--branch",
        "main",
        "--env",
        "dev",
    ]);
    eventually("it is being built", || {
        shown(&ward, "app")["waiting"]
            .to_string()
            .contains("is being built")
    });
    let began = || fs::read_to_string(ward.home().join("began")).unwrap_or_default();
    eventually("it has begun", || began().lines().count() == 1);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    // Nobody builds beside it, or where somebody else has written.
    eventually("it has begun again", || began().lines().count() == 2);
    let first = began().lines().next().unwrap().to_owned();
    let command = fs::read(format!("/proc/{first}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).into_owned();
    assert!(!command.contains("began"), "it is still there: {command}");
    fs::write(ward.home().join("go"), "").unwrap();
    eventually("it serves", || {
        answers(&ward, "dev").as_deref() == Some("one")
    });
    assert_eq!(builds_of(&ward, &id), 1);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    eventually("it is deployed", || {
        standings(&ward, "app") == [(id.clone(), "deployed".into())]
    });
    assert_eq!(builds_of(&ward, &id), 1);
    let dev = json(&ward.ok(&["releases", "--env", "shop/dev", "--output", "json"]));
    assert_eq!(dev.as_array().unwrap().len(), 1, "{dev:#}");
}

#[test]
fn p4_a_commit_whose_build_was_cut_off_by_a_down_of_all_is_built_when_the_platform_is_back() {
    let (ward, work) = (Ward::new(), Work::new());
    let slow = |answer: &str| {
        stack(answer, "").replace(
            "build = { files",
            r#"build = { command = ["sh", "-c", "echo $$ >> $HOME/began && while [ ! -e $HOME/go ]; do sleep 0.05; done"], files"#,
        )
    };
    let began = || fs::read_to_string(ward.home().join("began")).unwrap_or_default();
    let begun = |times: usize| {
        eventually("it has begun", || began().lines().count() == times);
    };
    let commit = |answer: &str| {
        work.write("ward.toml", &slow(answer));
        work.git(&["add", "-A"]);
        work.git(&["commit", "-q", "-m", answer]);
        work.git(&["rev-parse", "HEAD"])
    };
    let first = commit("one");
    ward.ok(&["up", "--platform"]);
    add(&ward, &work, &["--env", "dev", "--poll", "1s"]).success();
    begun(1);
    // Another one waits behind it: it must not take its place while everything goes down.
    let second = commit("two");
    eventually("both are seen", || standings(&ward, "app").len() == 2);
    let down = ward.run(&["down"]);
    down.success();
    assert!(
        down.stderr().contains("the platform is stopped"),
        "{down:?}"
    );
    assert_eq!(began().lines().count(), 1, "the second was begun");

    ward.ok(&["up", "--platform"]);
    begun(2);
    let waits = "waiting".to_owned();
    assert_eq!(
        standings(&ward, "app"),
        [(first.clone(), waits.clone()), (second.clone(), waits)]
    );
    fs::write(ward.home().join("go"), "").unwrap();
    eventually("the second serves", || {
        answers(&ward, "dev").as_deref() == Some("two")
    });
    assert_eq!([&first, &second].map(|id| builds_of(&ward, id)), [1, 1]);

    // Where the platform goes on after all, it waits for something that is brought up.
    fs::remove_file(ward.home().join("go")).unwrap();
    let third = commit("three");
    begun(4);
    let down = r#"{"env":null,"data":"keep","why":""}"#;
    let mut curl = Command::new("curl");
    curl.args(["-s", "--unix-socket"])
        .arg(ward.home().join("ward.sock"));
    curl.args(["-H", "content-type: application/json", "-d", down]);
    let output = curl.arg("http://ward/v1/down").output().unwrap();
    assert!(
        said(&output).contains("nothing runs any more"),
        "{output:?}"
    );
    assert_eq!(
        standings(&ward, "app").last(),
        Some(&(third, "waiting".to_owned()))
    );
    assert!(
        shown(&ward, "app")["waiting"]
            .to_string()
            .contains("everything was taken down")
    );
    fs::write(ward.home().join("go"), "").unwrap();
    ward.ok(&["source", "sync", "app"]);
    assert_eq!(answers(&ward, "dev").as_deref(), Some("three"));
    ward.ok(&["audit", "verify"]);
}

/// How many events of this kind are in the log.
fn events_of(ward: &Ward, kind: &str) -> usize {
    let events = ward.ok(&["events", "--output", "json", "-n", "10000"]);
    let of = events
        .lines()
        .filter(|line| json(line)["event"]["kind"] == kind);
    of.count()
}

#[test]
fn p4_a_server_that_is_killed_on_the_way_of_a_commit_builds_it_once_and_runs_its_pipeline_once() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("zero", PIPELINE);
    ward.ok(&["up", "--platform"]);
    let more = ["--pipeline", "delivery", "--poll", "1s"];
    add(&ward, &work, &more).success();
    let serves = |answer: &str| {
        eventually("prod has the commit", || {
            answers(&ward, "prod").as_deref() == Some(answer)
        });
        eventually("every run is over", || {
            runs(&ward)
                .iter()
                .all(|run| run["position"]["at"] == "ended")
        });
    };
    serves("zero");
    let steps = [
        "commit_seen",
        "build_made",
        "pipeline_began",
        "release_recorded",
        "deployment_queued",
        "pipeline_moved",
    ];
    for (number, step) in steps.iter().enumerate() {
        let before = events_of(&ward, step);
        let id = work.commit(step, PIPELINE);
        eventually(step, || events_of(&ward, step) > before);
        kill9(ward.server_pid());
        ward.ok(&["up", "--platform"]);
        serves(step);
        assert_eq!(builds_of(&ward, &id), 1, "{step}");
        assert_eq!(runs(&ward).len(), number + 2, "{step}");
    }
    let all = standings(&ward, "app");
    assert!(all.iter().all(|(_, is)| is == "began"), "{all:?}");
    ward.ok(&["audit", "verify"]);
}

/// A repository that Ward hosts, and a work tree that pushes to it.
fn hosted(ward: &Ward, more: &[&str]) -> Work {
    let work = Work::new();
    ward.ok(&["up", "--platform"]);
    let add = ["source", "add", "app", "--hosted", "--branch", "main"];
    ward.ok(&[&add[..], more].concat());
    let remote = ward.ok(&["source", "show", "app", "--remote"]);
    work.git(&["remote", "add", "ward", remote.trim()]);
    work
}

#[test]
fn a_git_push_is_built_and_its_way_is_told_and_a_broken_stack_file_is_refused() {
    let ward = Ward::new();
    let work = hosted(&ward, &["--pipeline", "delivery"]);
    let first = work.commit("one", PIPELINE);
    let pushed = work.tried(&["push", "ward", "main"]);
    let says = said(&pushed);
    assert!(pushed.status.success(), "{says}");
    assert!(
        says.contains("remote:") && says.contains("1.0.1 has passed the pipeline delivery"),
        "{says}"
    );
    assert_eq!(answers(&ward, "prod").as_deref(), Some("one"));
    let run = &runs(&ward)[0];
    assert_ne!(
        run["author"], "source:app",
        "the author of the run is who pushed"
    );
    assert_eq!(run["provenance"]["id"], Value::from(first.clone()));

    work.commit("two", "[service.web2]\nport = \"many\"\nnonsense = 1\n");
    let refused = work.tried(&["push", "ward", "main"]);
    let says = said(&refused);
    assert!(!refused.status.success(), "{says}");
    for word in [
        "nonsense",
        "port",
        "the push is refused",
        "pre-receive hook declined",
    ] {
        assert!(says.contains(word), "it does not say {word}: {says}");
    }
    work.commit("two", "");
    let says = said(&work.tried(&["push", "ward", "main"]));
    assert!(says.contains("has no pipeline delivery"), "{says}");
    fs::remove_file(work.path().join("ward.toml")).unwrap();
    work.git(&["commit", "-qam", "No stack file"]);
    let says = said(&work.tried(&["push", "ward", "main"]));
    assert!(says.contains("there is no file ward.toml of"), "{says}");
    // Nothing of that was taken.
    let remote = ward.ok(&["source", "show", "app", "--remote"]);
    let tip = work.git(&["--git-dir", remote.trim(), "rev-parse", "main"]);
    assert_eq!(tip, first);
    assert_eq!(standings(&ward, "app").len(), 1);
    // Another branch is kept, and not looked into.
    let other = work.tried(&["push", "ward", "main:other"]);
    assert!(
        said(&other).contains("does not follow what was pushed"),
        "{other:?}"
    );

    ward.run(&["source", "remove", "app"])
        .fails(1, &["no terminal to ask at"]);
    ward.ok(&["source", "remove", "app", "--yes"]);
    assert!(!PathBuf::from(remote.trim()).exists());
}

#[test]
fn of_two_pushes_at_once_each_commit_is_seen_and_built_at_most_once() {
    let ward = Ward::new();
    let work = hosted(&ward, &["--env", "dev"]);
    let first = work.commit("one", "");
    let second = work.commit("two", "");
    let push = |what: String| {
        let mut git = Command::new("git");
        git.args(["push", "ward", &what]).current_dir(work.path());
        git.stdout(Stdio::piped()).stderr(Stdio::piped());
        git.spawn().unwrap()
    };
    let both = [
        push(format!("{first}:refs/heads/main")),
        push(format!("{second}:refs/heads/main")),
    ];
    let both = both.map(|git| git.wait_with_output().unwrap());
    // The one that came second may have found what it did not expect; then its pusher is told by git.
    assert!(
        both.iter().any(|output| output.status.success()),
        "{both:?}"
    );
    work.git(&["push", "ward", "main"]);
    eventually("the newest serves", || {
        answers(&ward, "dev").as_deref() == Some("two")
    });
    eventually("nothing waits", || {
        standings(&ward, "app")
            .iter()
            .all(|(_, is)| is == "deployed" || is == "passed")
    });
    let seen: Vec<String> = standings(&ward, "app")
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert!(seen.contains(&second), "{seen:?}");
    if both[0].status.success() {
        assert!(seen.contains(&first), "{seen:?}");
    }
    assert_eq!(builds_of(&ward, &second), 1);
    assert!(builds_of(&ward, &first) <= 1);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn what_is_pushed_while_no_server_runs_is_built_when_one_does() {
    let ward = Ward::new();
    let work = hosted(&ward, &["--env", "dev"]);
    let id = work.commit("one", "");
    kill9(ward.server_pid());
    let pushed = work.tried(&["push", "ward", "main"]);
    assert!(
        pushed.status.success() && said(&pushed).contains("no Ward server runs"),
        "{pushed:?}"
    );
    work.commit("two", "nonsense = 1");
    assert!(!work.tried(&["push", "ward", "main"]).status.success());
    ward.ok(&["up", "--platform"]);
    eventually("it serves", || {
        answers(&ward, "dev").as_deref() == Some("one")
    });
    assert_eq!(builds_of(&ward, &id), 1);
}

#[test]
fn tags_that_come_are_built_and_addresses_with_a_password_are_refused() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", "");
    work.git(&["tag", "v1"]);
    ward.ok(&["up", "--platform"]);
    for (address, says) in [
        ("https://anna:s3cret@127.0.0.1/x", "password"),
        ("ext::sh -c x", "no address of a repository"),
        ("http://127.0.0.1/x", "does not fetch by http"),
        ("relative/path", "no address of a repository"),
    ] {
        let refused = ward.run(&["source", "add", "bad", address, "--branch", "main"]);
        refused.fails(1, &[says, "nothing was changed"]);
        assert!(!said_of(&refused).contains("s3cret"), "{refused:?}");
    }
    let add = [
        "source",
        "add",
        "app",
        work.text(),
        "--tag",
        "v*",
        "--poll",
        "1s",
    ];
    ward.ok(&add);
    assert_eq!(standings(&ward, "app")[0].1, "there");
    let second = work.commit("two", "");
    work.git(&["tag", "-a", "-m", "The second", "v2"]);
    work.git(&["tag", "w3"]);
    let built = (second.clone(), "built".to_owned());
    eventually("the tag is built", || {
        standings(&ward, "app").last() == Some(&built)
    });
    let list = json(&ward.ok(&["build", "--list", "--output", "json"]));
    assert_eq!(list[0]["build"]["provenance"]["id"], Value::from(second));
    assert_eq!(list.as_array().unwrap().len(), 1);
    ward.ok(&["deploy", "--build", "1.0.1"]);
    assert_eq!(answers(&ward, "dev").as_deref(), Some("two"));
}
