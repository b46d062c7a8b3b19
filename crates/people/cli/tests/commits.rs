//! What is said of commits: when a source is added, while one is on its way, and as long as it is remembered.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::work::{PIPELINE, Work, gate};
use support::{Ran, Ward, eventually, is_root, sources};

/// A pipeline in which root approves.
fn pipeline() -> String {
    PIPELINE.to_owned() + &gate("anybody", r#""uid:0", "root""#)
}

fn add(ward: &Ward, work: &Work, more: &[&str]) -> Ran {
    sources::add(ward, work, &[&["--poll", "1s"], more].concat())
}

/// What is shown of a commit.
fn line(ward: &Ward, work: &Work, id: &str) -> String {
    let shown = ward.ok(&["source", "show", "app"]);
    let id = work.short(id);
    let mut lines = shown
        .lines()
        .filter(|line| line.trim_start().starts_with(&id));
    lines.next_back().unwrap_or_default().trim().to_owned()
}

fn comes_to(ward: &Ward, work: &Work, id: &str, says: &str) {
    eventually(&format!("it says {says}: {}", line(ward, work, id)), || {
        line(ward, work, id).ends_with(says)
    });
}

#[test]
fn what_the_stack_file_does_not_declare_is_refused_when_a_source_is_added() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", &pipeline());
    ward.ok(&["up", "--platform"]);
    let refused = add(&ward, &work, &["--pipeline", "nope"]);
    refused.fails(
        1,
        &[
            "shop has no pipeline nope; nothing was changed",
            "there are: delivery",
        ],
    );
    let refused = add(&ward, &work, &["--env", "pord"]);
    refused.fails(
        1,
        &[
            "shop declares no environment pord; nothing was changed",
            "dev, prod",
        ],
    );
    assert!(!ward.home().join("sources/app").exists());
    assert!(
        ward.ok(&["source", "list", "--output", "json"])
            .starts_with("[]")
    );

    // What nobody knows yet is said.
    let hosted = ["source", "add", "app", "--hosted", "--branch", "main"];
    let added = ward.run(&[&hosted[..], &["--pipeline", "nope"]].concat());
    added.success();
    let says =
        "whether the stack file declares the pipeline nope is not known: nothing was pushed yet";
    assert!(added.stderr().contains(says), "{added:?}");
    ward.ok(&["source", "remove", "app", "--yes"]);
    work.commit("two", "nonsense = 1");
    let added = add(&ward, &work, &["--pipeline", "nope"]);
    added.success();
    assert!(added.stderr().contains("has mistakes"), "{added:?}");
}

#[test]
fn a_commit_is_shown_as_it_stands_through_its_whole_life() {
    if !is_root() {
        println!("skipped: the one who approves is root");
        return;
    }
    let (ward, work) = (Ward::new(), Work::new());
    ward.ok(&["up", "--platform"]);
    let first = work.commit("one", &pipeline());
    add(&ward, &work, &["--pipeline", "delivery"]).success();
    comes_to(
        &ward,
        &work,
        &first,
        "is built as 1.0.1; in p1: shop/dev waits for the word of a lead",
    );
    let second = work.commit("two", &pipeline());
    comes_to(
        &ward,
        &work,
        &second,
        "is built as 1.0.2; waits for p1, which is under way",
    );
    ward.ok(&["pipeline", "reject", "p1", "--why", "not this"]);
    comes_to(
        &ward,
        &work,
        &first,
        "is built as 1.0.1; in p1: uid:0(root) rejected it: “not this”",
    );
    comes_to(
        &ward,
        &work,
        &second,
        "in p2: shop/dev waits for the word of a lead",
    );
    ward.ok(&["pipeline", "approve", "p2"]);
    comes_to(
        &ward,
        &work,
        &second,
        "is built as 1.0.2; has passed the pipeline delivery (p2)",
    );
    ward.ok(&["source", "remove", "app"]);

    // By a source that leads to an environment.
    add(&ward, &work, &["--env", "dev"]).success();
    let third = work.commit("three", &pipeline());
    comes_to(&ward, &work, &third, "; serves in shop/dev as r3");
    ward.ok(&["rollback", "--env", "dev"]);
    comes_to(
        &ward,
        &work,
        &third,
        "; was r3 of shop/dev, where r2 serves now",
    );
    ward.ok(&["down", "--env", "dev"]);
    comes_to(&ward, &work, &third, "; is r3 of shop/dev, which is down");
    let more = format!("[service.web.env]\nMODE = \"exit\"\n{}", pipeline());
    let text = support::work::stack("four", &more).replace("env = { ANSWER = \"four\" }", "");
    work.write("ward.toml", &text);
    work.git(&["commit", "-qam", "Broken"]);
    let fourth = work.git(&["rev-parse", "HEAD"]);
    eventually("it failed", || {
        line(&ward, &work, &fourth).contains(" to r4 of shop/dev ")
    });
}

/// Whether the newest release of an environment is of changes that no commit holds, and which it is.
fn newest(ward: &Ward, env: &str) -> (String, String) {
    let releases = ward.ok(&["releases", "--env", env, "--output", "json"]);
    let releases: serde_json::Value = serde_json::from_str(&releases).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let provenance = &releases[0]["provenance"];
    (text(&provenance["tree"]), text(&provenance["id"]))
}

#[test]
fn a_commit_takes_the_place_of_the_changes_that_it_holds() {
    let (ward, work) = (Ward::new(), Work::new());
    let first = work.commit("one", "");
    let deploy = ["deploy", work.text()];
    // Changes that are tried before they are committed: of what they are nobody can look up.
    work.write("ward.toml", &support::work::stack("two", ""));
    ward.ok(&deploy);
    assert_eq!(newest(&ward, "shop/dev"), ("changed".to_owned(), first));
    let again = ward.run(&deploy);
    assert!(again.stderr().contains("nothing changed"), "{again:?}");
    let plan = ["plan", work.text()];
    assert_eq!(ward.run(&plan).code(), 0);
    // The commit that holds them is another release of the same images, without being forced.
    let second = work.commit("two", "");
    let planned = ward.run(&plan);
    assert_eq!(planned.code(), 2, "{planned:?}");
    let shown = planned.stdout() + &planned.stderr();
    let change = "with changes that no commit holds → ";
    assert!(
        shown.contains("commit") && shown.contains(change),
        "{shown}"
    );
    ward.ok(&deploy);
    let committed = ("as_committed".to_owned(), second);
    assert_eq!(newest(&ward, "shop/dev"), committed);
    assert!(ward.ok(&["status"]).contains("r2 (1.0.2 of "));
    // From there on there is nothing to do, whatever lies in the folder beside what is built.
    assert_eq!(ward.run(&plan).code(), 0);
    work.write("notes.txt", "nothing that is built");
    let again = ward.run(&deploy);
    assert!(again.stderr().contains("nothing changed"), "{again:?}");
    assert_eq!(newest(&ward, "shop/dev"), committed);
    ward.ok(&["rollback"]);
    ward.ok(&["rollforward"]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_push_is_told_once_that_it_is_built() {
    let (ward, work) = (Ward::new(), Work::new());
    ward.ok(&["up", "--platform"]);
    let add = ["source", "add", "app", "--hosted", "--branch", "main"];
    ward.ok(&[&add[..], &["--env", "dev"]].concat());
    let remote = ward.ok(&["source", "show", "app", "--remote"]);
    work.git(&["remote", "add", "ward", remote.trim()]);
    work.commit("one", "");
    let pushed = work.tried(&["push", "ward", "main"]);
    let said = String::from_utf8_lossy(&pushed.stderr).into_owned();
    assert!(pushed.status.success(), "{said}");
    assert_eq!(said.matches("is built as 1.0.1").count(), 1, "{said}");
    assert!(said.contains("comes into force as r1 by d1"), "{said}");
}
