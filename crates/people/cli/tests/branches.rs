//! What a source follows: one branch by its name, or tags by a pattern, and nothing that only looks like it.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::sources::{builds_of, shown, standings};
use support::work::Work;
use support::{Ran, Ward, answers, eventually};

const ENVIRONMENTS: &str = r#"
[environment.dev]
[environment.next]
service.web.route.host = "next.localhost"
"#;

fn add(ward: &Ward, work: &Work, name: &str, follows: &[&str]) -> Ran {
    let add = ["source", "add", name, work.text(), "--poll", "1h"];
    ward.run(&[&add[..], follows].concat())
}

fn sync(ward: &Ward, name: &str) -> Ran {
    ward.run(&["source", "sync", name])
}

/// The commits that a source knows.
fn known(ward: &Ward, name: &str) -> Vec<String> {
    let all = standings(ward, name).into_iter();
    all.map(|(id, _)| id).collect()
}

fn serves(ward: &Ward, env: &str, answer: &str) {
    eventually(&format!("{env} answers {answer}"), || {
        answers(ward, env).as_deref() == Some(answer)
    });
}

#[test]
fn of_two_branches_each_goes_where_its_source_leads_and_no_other_is_built() {
    let (ward, work) = (Ward::new(), Work::new());
    let first = work.commit("one", ENVIRONMENTS);
    let on = |branch: &str| work.git(&["switch", "-q", branch]);
    // Some that a pattern, a prefix or a guess of git's would take for one of the two.
    for other in [
        "release/1.2",
        "release/1.2.1",
        "main2",
        "old/main",
        "release/1",
    ] {
        work.git(&["branch", other]);
    }
    ward.ok(&["up", "--platform"]);
    add(&ward, &work, "trunk", &["--branch", "main", "--env", "dev"]).success();
    let release = ["--branch", "release/1.2", "--env", "next"];
    add(&ward, &work, "release", &release).success();
    serves(&ward, "dev", "one");
    serves(&ward, "next", "one");
    // A commit that both have is one of each.
    assert_eq!(known(&ward, "trunk"), [&first[..]]);
    assert_eq!(known(&ward, "release"), [&first[..]]);

    on("release/1.2");
    let fix = work.commit("fix", ENVIRONMENTS);
    for name in ["release", "trunk"] {
        sync(&ward, name).success();
    }
    serves(&ward, "next", "fix");
    assert_eq!(answers(&ward, "dev").as_deref(), Some("one"));
    assert_eq!(known(&ward, "release"), [&first[..], &fix]);
    assert_eq!(known(&ward, "trunk"), [&first[..]]);

    on("main");
    let second = work.commit("two", ENVIRONMENTS);
    for other in ["release/1.2.1", "main2", "old/main", "release/1"] {
        on(other);
        let stray = work.commit(other, ENVIRONMENTS);
        work.git(&["tag", &format!("on-{}", other.replace('/', "-")), &stray]);
    }
    // Tags of the same names, which git would ask about first.
    work.git(&["tag", "main"]);
    work.git(&["tag", "release/1.2"]);
    for name in ["release", "trunk"] {
        sync(&ward, name).success();
    }
    serves(&ward, "dev", "two");
    assert_eq!(answers(&ward, "next").as_deref(), Some("fix"));
    assert_eq!(known(&ward, "trunk"), [&first[..], &second]);
    assert_eq!(known(&ward, "release"), [&first[..], &fix]);
    assert_eq!([&second, &fix].map(|id| builds_of(&ward, id)), [1, 1]);

    // A branch that is gone is told, the other goes on, and one that is back is followed again.
    on("main");
    work.git(&["branch", "-q", "-m", "release/1.2", "aside"]);
    let gone = sync(&ward, "release");
    gone.fails(1, &["branch release/1.2"]);
    let trouble = shown(&ward, "release")["looked"]["trouble"].to_string();
    assert!(trouble.contains("release/1.2"), "{trouble}");
    let list = ward.ok(&["source", "list"]);
    assert!(list.contains("cannot be looked at"), "{list}");
    let third = work.commit("three", ENVIRONMENTS);
    sync(&ward, "trunk").success();
    serves(&ward, "dev", "three");
    work.git(&["branch", "-q", "-m", "aside", "release/1.2"]);
    on("release/1.2");
    let back = work.commit("back", ENVIRONMENTS);
    sync(&ward, "release").success();
    serves(&ward, "next", "back");
    assert_eq!(known(&ward, "release"), [&first[..], &fix, &back]);
    assert_eq!(known(&ward, "trunk"), [&first[..], &second, &third]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn what_no_branch_or_tag_can_be_called_is_refused_and_changes_nothing() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", "");
    ward.ok(&["up", "--platform"]);
    let pattern = "is a pattern, and a source follows one branch";
    for (branch, says) in [
        ("release/*", pattern),
        ("*", pattern),
        ("nowhere", "branch nowhere"),
        ("main:other", "`main:other` is no name of a branch"),
        ("+main", "branch +main"),
        ("a..b", "`a..b` is no name of a branch"),
        ("main~1", "`main~1` is no name of a branch"),
        ("a b", "`a b` is no name of a branch"),
        ("", "`` is no name of a branch"),
        ("mai?", "`mai?` is no name of a branch"),
        ("refs/heads/main", "branch refs/heads/main"),
    ] {
        let refused = add(&ward, &work, "app", &["--branch", branch]);
        refused.fails(1, &[says, "nothing was changed"]);
    }
    for (tags, says) in [
        ("v**", "`v**` is no pattern of tags"),
        ("*-*", "`*-*` is no pattern of tags"),
        ("v?", "`v?` is no pattern of tags"),
        ("v[12]", "`v[12]` is no pattern of tags"),
        ("", "`` is no pattern of tags"),
    ] {
        let refused = add(&ward, &work, "app", &["--tag", tags]);
        refused.fails(1, &[says, "one `*`: 'v*'", "nothing was changed"]);
    }
    add(&ward, &work, "app", &["--branch", "main", "--tag", "v*"]).fails(2, &["--tag"]);
    add(&ward, &work, "app", &[]).fails(2, &["--branch", "--tag"]);
    let listed = ward.run(&["source", "list"]);
    let said = listed.stderr();
    assert!(said.contains("no repository is watched"), "{listed:?}");
    assert!(!ward.home().join("sources/app").exists());
    let events = ward.ok(&["events", "-n", "100"]);
    assert!(!events.contains("source app"), "{events}");
}

#[test]
fn a_pattern_takes_the_tags_that_it_names_and_no_others() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("zero", "");
    work.git(&["tag", "v0-ok"]);
    ward.ok(&["up", "--platform"]);
    add(&ward, &work, "tags", &["--tag", "v*-ok"]).success();
    add(&ward, &work, "one", &["--tag", "v2"]).success();
    let there = known(&ward, "tags");
    assert_eq!(there.len(), 1);
    let mut tagged = Vec::new();
    for tag in [
        "v1",
        "v1-ok",
        "x-v2-ok",
        "v2",
        "v2-okay",
        "team/v3-ok",
        "v4/b-ok",
    ] {
        let id = work.commit(tag, "");
        work.git(&["tag", "-a", "-m", tag, tag]);
        tagged.push((tag, id));
    }
    for name in ["tags", "one"] {
        sync(&ward, name).success();
    }
    let of = |names: &[&str]| -> Vec<String> {
        let of = tagged.iter().filter(|(tag, _)| names.contains(tag));
        of.map(|(_, id)| id.clone()).collect()
    };
    eventually("all is built", || {
        let all = [standings(&ward, "tags"), standings(&ward, "one")].concat();
        all.iter().all(|(_, is)| is == "built" || is == "there")
    });
    // `*` stands for anything, a slash too.
    let named = [there, of(&["v1-ok", "v4/b-ok"])].concat();
    assert_eq!(known(&ward, "tags"), named);
    assert_eq!(known(&ward, "one"), of(&["v2"]));
}
