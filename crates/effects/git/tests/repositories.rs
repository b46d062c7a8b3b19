//! Real repositories in folders of their own.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use ward_git::{Address, Commits, Error, Repository, Revision, Tip, provenance};
use ward_types::source::{CommitId, Follows, Tree};

/// A repository with a work tree.
struct Work(TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(TempDir::new().unwrap());
        work.git(&["init", "-q", "-b", "main"]);
        work
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "user.name=Anna B\u{7}auer",
            "-c",
            "user.email=anna@example.com",
        ]);
        git.args(["-c", "tag.gpgSign=false", "-c", "commit.gpgSign=false"]);
        let output = git.args(args).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, file: &str, text: &str) -> CommitId {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", &format!("{file} is {text}\n\nmore")]);
        CommitId::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }
}

fn copy() -> (TempDir, Repository) {
    let dir = TempDir::new().unwrap();
    let repository = Repository::at(dir.path().join("a folder/copy.git"));
    (dir, repository)
}

fn address(path: &Path) -> Address {
    Address::parse(path.to_str().unwrap()).unwrap()
}

fn branch() -> Follows {
    Follows::Branch("main".into())
}

#[tokio::test]
async fn a_folder_is_what_its_commit_holds_until_something_changes() {
    let work = Work::new();
    assert!(
        provenance(work.path()).await.is_none(),
        "there is no commit"
    );
    let id = work.commit("app/web.py", "one");
    work.git(&[
        "remote",
        "add",
        "origin",
        "https://anna:s3cret@host.example/shop.git",
    ]);
    let clean = provenance(&work.path().join("app")).await.unwrap();
    assert_eq!((clean.commit.id, clean.tree), (id, Tree::AsCommitted));
    assert_eq!(clean.repository, "https://host.example/shop.git");
    assert_eq!(clean.commit.author, "Anna B auer <anna@example.com>");
    assert_eq!(clean.commit.subject, "app/web.py is one");
    assert!(clean.commit.committed.0 > 1_600_000_000_000);
    fs::write(work.path().join("new"), "").unwrap();
    assert_eq!(provenance(work.path()).await.unwrap().tree, Tree::Changed);
    let nowhere = TempDir::new().unwrap();
    assert!(provenance(nowhere.path()).await.is_none());
}

#[tokio::test]
async fn a_revision_is_checked_out_as_it_was_committed() {
    let work = Work::new();
    symlink("/nowhere", work.path().join("link")).unwrap();
    let first = work.commit("app/run.sh", "one");
    work.commit("app/run.sh", "two");
    fs::write(work.path().join("app/run.sh"), "three").unwrap();
    fs::write(work.path().join("app/new"), "three").unwrap();
    let into = TempDir::new().unwrap();
    let into = into.path().join("a tree");
    let dir = work.path().join("app");
    let revision = Revision::find(&dir, "HEAD~1").await.unwrap();
    assert_eq!(revision.provenance.commit.id, first);
    let app = revision.check_out(&into).await.unwrap();
    assert_eq!(app, into.join("app"));
    assert_eq!(fs::read_to_string(app.join("run.sh")).unwrap(), "one");
    assert!(!app.join("new").exists());
    assert_eq!(
        fs::read_link(into.join("link")).unwrap(),
        PathBuf::from("/nowhere")
    );
    assert!(!into.join(".git").exists());
    // The folder of the user is as it was.
    assert!(work.git(&["status", "--porcelain"]).contains("app/new"));
    for bad in ["nowhere", "--help", "", "HEAD^{tree}"] {
        assert!(Revision::find(&dir, bad).await.is_err(), "{bad} was taken");
    }
}

#[tokio::test]
async fn a_copy_follows_a_branch_and_keeps_what_is_needed() {
    let work = Work::new();
    let first = work.commit("ward.toml", "one");
    let (dir, copy) = copy();
    copy.make().await.unwrap();
    copy.make().await.unwrap();
    let from = address(work.path());
    copy.fetch(&from, &branch(), None).await.unwrap();
    let tips = || async { copy.tips(&branch(), Commits::Copied).await.unwrap() };
    assert_eq!(tips().await[0].commit, first);
    assert_eq!(tips().await[0].reference, "refs/heads/main");
    copy.need(&first).await.unwrap();
    // Another history altogether.
    work.git(&["checkout", "-q", "--orphan", "other"]);
    let second = work.commit("ward.toml", "two");
    work.git(&["branch", "-f", "main", "other"]);
    copy.fetch(&from, &branch(), None).await.unwrap();
    assert_eq!(tips().await[0].commit, second);
    let into = dir.path().join("tree");
    copy.check_out(&first, &into).await.unwrap();
    copy.check_out(&first, &into).await.unwrap();
    assert_eq!(fs::read_to_string(into.join("ward.toml")).unwrap(), "one");
    copy.need_only(&[]).await.unwrap();
    let text = copy.file(&second, "ward.toml", 100).await.unwrap();
    assert_eq!(text.as_deref(), Some(&b"two"[..]));
    assert!(
        copy.file(&second, "none.toml", 100)
            .await
            .unwrap()
            .is_none()
    );
    assert!(copy.file(&second, "ward.toml", 2).await.is_err());
    let nowhere = Follows::Branch("nowhere".into());
    let error = copy.fetch(&from, &nowhere, None).await.unwrap_err();
    assert!(error.to_string().contains("branch nowhere"), "{error}");
}

#[tokio::test]
async fn what_came_behind_a_tip_is_found_by_first_parents_the_oldest_first() {
    let work = Work::new();
    let first = work.commit("ward.toml", "one");
    let (_dir, copy) = copy();
    copy.make().await.unwrap();
    let from = address(work.path());
    copy.fetch(&from, &branch(), None).await.unwrap();
    let second = work.commit("ward.toml", "two");
    work.git(&["checkout", "-q", "-b", "side"]);
    work.commit("side.toml", "of another branch");
    work.git(&["checkout", "-q", "main"]);
    let third = work.commit("ward.toml", "three");
    work.git(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    copy.fetch_newest(&from, &branch(), None, 21).await.unwrap();
    let tips = copy.tips(&branch(), Commits::Copied).await.unwrap();
    let tip = &tips[0].commit;
    let behind = |known: Vec<CommitId>, most| {
        let copy = &copy;
        async move { copy.behind(tip, &known, most).await.unwrap() }
    };
    assert_eq!(
        behind(vec![first.clone()], 20).await,
        [second.clone(), third.clone()]
    );
    assert_eq!(
        behind(vec![first.clone()], 1).await,
        std::slice::from_ref(&third)
    );
    let gone = CommitId::parse(&"7".repeat(40)).unwrap();
    assert_eq!(
        behind(vec![gone, second], 20).await,
        std::slice::from_ref(&third)
    );
    assert_eq!(behind(vec![tip.clone()], 20).await, []);
    assert_eq!(behind(vec![third], 20).await, []);
}

#[tokio::test]
async fn tags_are_found_by_their_pattern_in_the_order_of_their_time() {
    let work = Work::new();
    let mut ids = Vec::new();
    for (number, tag) in ["v2", "v1", "x1"].iter().enumerate() {
        ids.push(work.commit("ward.toml", tag));
        let date = format!("2026-01-0{} 00:00:00 +0000", number + 1);
        let annotated = ["tag", "-a", "-m", "a tag", tag];
        let mut git = Command::new("git");
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]);
        git.args(annotated).current_dir(work.path());
        assert!(
            git.env("GIT_COMMITTER_DATE", date)
                .status()
                .unwrap()
                .success()
        );
    }
    let (_dir, copy) = copy();
    copy.make().await.unwrap();
    let follows = Follows::Tags("v*".into());
    copy.fetch(&address(work.path()), &follows, None)
        .await
        .unwrap();
    let tips = copy.tips(&follows, Commits::Copied).await.unwrap();
    let found: Vec<_> = tips
        .iter()
        .map(|tip| (tip.reference.as_str(), &tip.commit))
        .collect();
    assert_eq!(
        found,
        [("refs/tags/v2", &ids[0]), ("refs/tags/v1", &ids[1])]
    );
}

#[tokio::test]
async fn tags_that_a_pattern_names_may_be_still_to_come_and_may_go_again() {
    let work = Work::new();
    work.commit("ward.toml", "one");
    let (_dir, copy) = copy();
    copy.make().await.unwrap();
    let address = address(work.path());
    let found = async |pattern: &str| {
        let follows = Follows::Tags(pattern.into());
        copy.fetch(&address, &follows, None).await.unwrap();
        let tips = copy.tips(&follows, Commits::Copied).await.unwrap();
        tips.len()
    };
    assert_eq!([found("v*").await, found("v1").await], [0, 0]);
    work.git(&["tag", "v1"]);
    assert_eq!(found("v*").await, 1);
    work.git(&["tag", "-d", "v1"]);
    assert_eq!(found("v*").await, 0);
    // One that is not there has no tags either, and is told of.
    let gone = Address::parse("/nowhere/at/all").unwrap();
    let follows = Follows::Tags("v*".into());
    let refused = copy.fetch(&gone, &follows, None).await.unwrap_err();
    assert!(refused.to_string().contains("cannot fetch"), "{refused}");
}

#[tokio::test]
async fn a_repository_runs_nothing_of_its_own() {
    let work = Work::new();
    work.commit("ward.toml", "one");
    let marker = work.path().join("ran");
    let run = format!("touch {}", marker.display());
    for setting in [
        "core.fsmonitor",
        "core.sshCommand",
        "uploadpack.packObjectsHook",
    ] {
        work.git(&["config", setting, &run]);
    }
    for hook in ["post-checkout", "reference-transaction", "pre-auto-gc"] {
        let path = work.path().join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{run}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    }
    assert!(provenance(work.path()).await.is_some());
    let (dir, copy) = copy();
    copy.make().await.unwrap();
    copy.fetch(&address(work.path()), &branch(), None)
        .await
        .unwrap();
    let revision = Revision::find(work.path(), "HEAD").await.unwrap();
    revision.check_out(&dir.path().join("tree")).await.unwrap();
    assert!(!marker.exists(), "a repository ran a program");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let (_dir, copy) = copy();
    copy.make().await.unwrap();
    let nowhere = address(Path::new("/nowhere/at/all"));
    let error = copy.fetch(&nowhere, &branch(), None).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[tokio::test]
async fn a_fetch_that_is_broken_off_leaves_a_repository_that_can_be_fetched_to() {
    let work = Work::new();
    let first = work.commit("ward.toml", "one");
    let (_dir, copy) = copy();
    copy.make().await.unwrap();
    let from = address(work.path());
    // Large enough that its lock is seen before it has ended.
    let noise: String = (0..200_000)
        .map(|n: u32| format!("{}\n", n.wrapping_mul(2_654_435_761)))
        .collect();
    for n in 0..10 {
        fs::write(
            work.path().join(format!("noise-{n}")),
            format!("{n}{noise}"),
        )
        .unwrap();
    }
    let large = work.commit("ward.toml", "two");
    let lock = copy.path().join("shallow.lock");
    {
        let branch = branch();
        let mut fetching = std::pin::pin!(copy.fetch(&from, &branch, None));
        loop {
            tokio::select! {
                fetched = &mut fetching => panic!("it ended before its lock was seen: {fetched:?}"),
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
            if lock.exists() {
                break;
            }
        }
    }
    assert!(!lock.exists(), "git removes it when it is told to end");
    copy.fetch(&from, &branch(), None).await.unwrap();
    assert_eq!(copy.commit(&large).await.unwrap().id, large);
    assert_ne!(first, large);
}

#[tokio::test]
async fn who_pushes_is_noted_until_that_is_known() {
    let (_dir, repository) = copy();
    repository.make().await.unwrap();
    assert_eq!(repository.notes().unwrap(), [], "nobody has pushed");
    let tip = |digit: &str, name: &str| Tip {
        reference: format!("refs/heads/{name}"),
        commit: CommitId::parse(&digit.repeat(40)).unwrap(),
    };
    let (one, two) = (tip("1", "main"), tip("2", "release/1.2"));
    repository.note(&[]).unwrap();
    repository.note(std::slice::from_ref(&one)).unwrap();
    repository.note(&[one.clone(), two.clone()]).unwrap();
    repository.note(std::slice::from_ref(&two)).unwrap();
    let notes = repository.notes().unwrap();
    let mine = fs::metadata(repository.path()).unwrap().uid();
    assert!(notes.iter().all(|note| note.uid == mine), "{notes:?}");
    let mut tips: Vec<&[Tip]> = notes.iter().map(|note| &note.tips[..]).collect();
    tips.sort_by_key(|tips| (tips.len(), tips[0].commit.clone()));
    // None takes the place of another.
    let only = std::slice::from_ref;
    assert_eq!(tips, [only(&one), only(&two), &[one.clone(), two.clone()]]);
    assert!(notes.iter().all(|note| !note.taken), "{notes:?}");
    repository.note_taken(only(&one)).unwrap();
    repository.note_taken(&[]).unwrap();
    let taken = repository.notes().unwrap();
    let taken: Vec<&[Tip]> = taken
        .iter()
        .filter(|note| note.taken)
        .map(|note| &note.tips[..])
        .collect();
    assert_eq!(taken, [only(&one)]);
    repository.forget_notes(|tip| *tip == one).unwrap();
    let left = repository.notes().unwrap();
    assert_eq!(left.len(), 2, "the other is not known: {left:?}");
    assert!(left.iter().all(|note| note.tips.contains(&two)), "{left:?}");
    // One that is being written says nothing, and is not taken away from who writes it.
    let folder = repository.path().join("ward-pushes");
    fs::write(
        folder.join("x.new"),
        format!("{} {}", one.commit, one.reference),
    )
    .unwrap();
    repository.forget_notes(|_| true).unwrap();
    let left = repository.notes().unwrap();
    assert!(left.len() == 1 && left[0].tips.is_empty(), "{left:?}");
    // Until it is too old.
    let day = SystemTime::now() - Duration::from_secs(25 * 3600);
    let file = fs::File::options().write(true).open(folder.join("x.new"));
    file.unwrap().set_modified(day).unwrap();
    repository.forget_notes(|_| false).unwrap();
    assert_eq!(repository.notes().unwrap(), []);
}
