//! Who pushed a commit is its author, whether a server ran when it was pushed or not.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::sources::{runs, shown};
use support::work::Work;
use support::{Ward, answers, eventually, is_root, kill9};
use tempfile::TempDir;

/// The user that Ward runs as, who pushes.
const ANNA: u32 = 1234;
/// Another user of the machine.
const BEN: u32 = 1235;
const ROOT: u32 = 0;

const GATE: &str = r#"
[environment.dev]
[environment.prod]
service.web.route.host = "prod.localhost"
[pipeline.delivery]
stages = ["dev", "prod"]
[pipeline.delivery.gate.dev]
approve = { role = "lead", by = "another" }
[role.lead]
people = ["uid:1234", "uid:1235"]
"#;

fn of_user(uid: u32, program: &str) -> Command {
    let id = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    command.arg(program);
    command
}

/// A Ward of Anna's with a repository that it hosts, where everybody may give a word.
struct Hosting {
    ward: Ward,
    people: TempDir,
    work: Work,
    remote: String,
}

impl Hosting {
    fn new() -> Self {
        let hosting = Self {
            ward: Ward::of_user(ANNA),
            people: TempDir::new().unwrap(),
            work: Work::new(),
            remote: String::new(),
        };
        for open in [hosting.people.path(), hosting.work.path()] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(hosting.people.path(), Some(ANNA), Some(ANNA)).unwrap();
        // Its work tree is root's, and what it pushes to is Anna's.
        let trusts = "[safe]\ndirectory = *\n";
        fs::write(hosting.trusting(), trusts).unwrap();
        hosting.up();
        let add = ["source", "add", "app", "--hosted", "--branch", "main"];
        let more = ["--pipeline", "delivery", "--poll", "1s"];
        hosting.ward.ok(&[&add[..], &more].concat());
        let remote = hosting.ward.ok(&["source", "show", "app", "--remote"]);
        Self {
            remote: remote.trim().to_owned(),
            ..hosting
        }
    }

    fn trusting(&self) -> PathBuf {
        self.work.path().join(".git/trusting")
    }

    fn up(&self) {
        let mut up = self.ward.command(&["up", "--platform"]);
        let up = up.env("WARD_PEOPLE_DIR", self.people.path());
        let up = up.output().unwrap();
        assert!(up.status.success(), "{up:?}");
    }

    fn push(&self, uid: u32) -> Output {
        self.push_these(uid, &["main"])
    }

    fn push_these(&self, uid: u32, references: &[&str]) -> Output {
        let mut git = of_user(uid, "git");
        git.args(["push", &self.remote]).args(references);
        git.current_dir(self.work.path());
        git.env("GIT_CONFIG_GLOBAL", self.trusting());
        let pushed = git.output().unwrap();
        assert!(pushed.status.success(), "{pushed:?}");
        pushed
    }

    /// The run of this build, which waits for somebody's word.
    fn waits(&self, number: usize) -> Value {
        let newest = || runs(&self.ward).first().cloned().unwrap_or_default();
        eventually("its run waits for a word", || {
            runs(&self.ward).len() == number && newest()["position"]["at"] == "approving"
        });
        newest()
    }

    fn approve_as(&self, uid: u32) -> Output {
        let mut approve = of_user(uid, env!("CARGO_BIN_EXE_ward"));
        let approve = approve.args(["pipeline", "approve"]);
        approve.env("WARD_HOME", self.people.path());
        approve.output().unwrap()
    }

    fn prod_gets(&self, answer: &str) {
        eventually("prod has it", || {
            answers(&self.ward, "prod").as_deref() == Some(answer)
        });
        eventually("its run is over", || {
            runs(&self.ward)[0]["position"]["at"] == "ended"
        });
    }

    fn notes(&self) -> usize {
        let notes = Path::new(&self.remote).join("ward-pushes");
        fs::read_dir(notes).unwrap().count()
    }
}

fn says(output: &Output, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(text), "it does not say {text:?}: {said}");
}

/// Who brought each commit.
fn brought(ward: &Ward) -> Vec<String> {
    let commits = shown(ward, "app")["source"]["commits"].take();
    let by = |seen: &Value| seen["by"].as_str().unwrap().to_owned();
    commits.as_array().unwrap().iter().map(by).collect()
}

#[test]
fn who_pushed_while_no_server_ran_is_the_author_and_cannot_approve() {
    if !is_root() {
        println!("skipped: who is not root cannot be two people");
        return;
    }
    let hosting = Hosting::new();
    let (ward, work) = (&hosting.ward, &hosting.work);
    let own = "started the run, and a second person has to approve it";
    kill9(ward.server_pid());
    work.commit("one", GATE);
    says(&hosting.push(ANNA), "no Ward server runs");
    hosting.up();
    let run = hosting.waits(1);
    let anna = run["author"].as_str().unwrap();
    assert!(anna.starts_with("uid:1234"), "{run:#}");
    let refused = hosting.approve_as(ANNA);
    assert!(!refused.status.success());
    says(&refused, own);
    assert!(hosting.approve_as(BEN).status.success());
    hosting.prod_gets("one");
    let deployed = ward.ok(&["releases", "--env", "shop/dev", "--output", "json"]);
    assert!(deployed.contains(anna), "{deployed}");

    // Of what several people pushed meanwhile, whoever pushed what is built.
    kill9(ward.server_pid());
    work.commit("two", GATE);
    hosting.push(ANNA);
    work.commit("three", GATE);
    hosting.push(ROOT);
    // What root pushed belongs to root, and few of the next objects are in the same folders.
    let objects = Path::new(&hosting.remote).join("objects");
    for folder in fs::read_dir(objects).unwrap() {
        chown(folder.unwrap().path(), Some(ANNA), Some(ANNA)).unwrap();
    }
    hosting.up();
    let run = hosting.waits(2);
    let root = run["author"].as_str().unwrap();
    assert!(root.starts_with("uid:0"), "{run:#}");
    assert!(hosting.approve_as(ANNA).status.success());
    hosting.prod_gets("three");

    // One that is found before its push is told of.
    let told = Path::new(&hosting.remote).join("hooks/post-receive");
    fs::remove_file(told).unwrap();
    work.commit("four", GATE);
    hosting.push(ANNA);
    assert_eq!(hosting.waits(3)["author"], anna);
    says(&hosting.approve_as(ANNA), own);
    assert_eq!(brought(ward), [anna, root, anna]);
    // What was never found is of a push that another one came over.
    eventually("what is known is not noted any more", || {
        hosting.notes() == 2
    });
    ward.ok(&["pipeline", "reject"]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn of_several_who_pushed_a_commit_the_first_is_its_author_whatever_is_written_into_it() {
    if !is_root() {
        println!("skipped: who is not root cannot be two people");
        return;
    }
    let hosting = Hosting::new();
    let (ward, work) = (&hosting.ward, &hosting.work);
    kill9(ward.server_pid());
    work.commit("one", GATE);
    let two = work.commit("two", GATE);
    hosting.push(ANNA);
    // Somebody takes the branch back, and pushes the same once more.
    hosting.push_these(ROOT, &["+main~1:main"]);
    hosting.push(ROOT);
    // Notes that git keeps are of whoever pushes them, and say what they like.
    let says = "uid:1235";
    work.git(&["notes", "add", "-m", says, "main"]);
    let claims = work.path().join(".git/claims");
    fs::write(&claims, format!("{two} refs/heads/main\n")).unwrap();
    let blob = work.git(&["hash-object", "-w", ".git/claims"]);
    work.git(&["update-ref", "refs/notes/ward-pushes", &blob]);
    hosting.push_these(ROOT, &["refs/notes/commits", "refs/notes/ward-pushes"]);
    // Each notes that it pushes, and that it was taken.
    assert_eq!(hosting.notes(), 6);
    hosting.up();
    let run = hosting.waits(1);
    assert!(
        run["author"].as_str().unwrap().starts_with("uid:1234"),
        "{run:#}"
    );
    assert_eq!(brought(ward).len(), 1, "{run:#}");
    ward.ok(&["pipeline", "reject"]);
}
