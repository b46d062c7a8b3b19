//! Trees on a real disk, of the kind that only a workload would make.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, Stat};
use tempfile::TempDir;
use ward_tree::{Visit, below, bytes, open, remove, walk};

const DEEP: usize = 6_000;

/// Folders in each other, with a file of 4 KiB in each hundredth.
fn dig(root: &Path, name: &CStr, deep: usize) {
    let mut at: OwnedFd = open(root).unwrap();
    for level in 1..=deep {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        at = below(std::os::fd::AsFd::as_fd(&at), name).unwrap();
        if level % 100 == 0 {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let file = rustix::fs::openat(&at, c"file", flags, Mode::RUSR).unwrap();
            rustix::io::write(&file, &[1; 4096]).unwrap();
        }
    }
}

/// On a stack on which nothing can call itself six thousand times.
fn on_a_small_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let small = thread::Builder::new().stack_size(64 << 10);
        small.spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

#[test]
fn what_is_too_deep_to_be_named_is_measured_and_removed() {
    let home = TempDir::new().unwrap();
    let tree = home.path().join("tree");
    fs::create_dir(&tree).unwrap();
    dig(&tree, c"d", DEEP);
    dig(&tree, c"e", 100);
    fs::write(tree.join("file"), [1; 8192]).unwrap();
    let (measured, removed) = on_a_small_stack(|| (bytes(&tree), remove(&tree)));
    let files = (DEEP as u64 / 100 + 1) * 4096 + 8192;
    assert!(measured.unwrap() >= files);
    removed.unwrap();
    assert!(!tree.exists());
    assert_eq!(
        remove(&tree).unwrap_err().kind(),
        io::ErrorKind::NotFound,
        "it is gone"
    );
}

#[test]
fn links_lead_nowhere_and_broad_trees_go_too() {
    let home = TempDir::new().unwrap();
    let (tree, other) = (home.path().join("tree"), home.path().join("other"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("kept"), "kept").unwrap();
    symlink(&other, tree.join("a/link")).unwrap();
    fs::hard_link(other.join("kept"), tree.join("a/b/kept")).unwrap();
    for number in 0..5000 {
        fs::write(tree.join(format!("a/file-{number}")), "").unwrap();
        fs::create_dir(tree.join(format!("a/b/folder-{number}"))).unwrap();
    }
    // Many at the depth at which folders are moved up, by names that are taken.
    for number in 0..20 {
        dig(
            &tree,
            &std::ffi::CString::new(format!("n{number}")).unwrap(),
            70,
        );
        fs::write(tree.join(format!(".removed-{number}")), "").unwrap();
    }
    remove(&tree).unwrap();
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(other.join("kept")).unwrap(), "kept");
    assert_eq!(fs::metadata(other.join("kept")).unwrap().nlink(), 1);
    let link = home.path().join("link");
    symlink(&other, &link).unwrap();
    remove(&link).unwrap();
    assert!(other.exists() && fs::symlink_metadata(&link).is_err());
}

/// Counts what it is shown.
#[derive(Default)]
struct Count {
    entries: usize,
    entered: usize,
    left: usize,
}

impl Visit for Count {
    fn entry(&mut self, _at: BorrowedFd<'_>, _name: &CStr, _stat: &Stat) -> io::Result<()> {
        self.entries += 1;
        Ok(())
    }

    fn enter(&mut self, _at: BorrowedFd<'_>, _name: &CStr, _stat: &Stat) -> io::Result<()> {
        self.entered += 1;
        Ok(())
    }

    fn leave(&mut self, _folder: BorrowedFd<'_>) -> io::Result<()> {
        self.left += 1;
        Ok(())
    }
}

#[test]
fn a_walk_shows_everything_once_also_where_it_comes_back_to_a_folder_far_above() {
    let home = TempDir::new().unwrap();
    for number in 0..40 {
        let name = std::ffi::CString::new(format!("n{number}")).unwrap();
        dig(home.path(), &name, 150);
        fs::write(home.path().join(format!("file-{number}")), "").unwrap();
    }
    let mut seen = Count::default();
    walk(open(home.path()).unwrap(), &mut seen).unwrap();
    assert_eq!(
        (seen.entries, seen.entered, seen.left),
        (40 + 40, 40 * 150, 40 * 150 + 1)
    );
}

/// Moves the folder in which the walk is to another place.
struct Mover<'a>(&'a Path, usize);

impl Visit for Mover<'_> {
    fn entry(&mut self, _at: BorrowedFd<'_>, _name: &CStr, _stat: &Stat) -> io::Result<()> {
        Ok(())
    }

    fn enter(&mut self, _at: BorrowedFd<'_>, _name: &CStr, _stat: &Stat) -> io::Result<()> {
        self.1 += 1;
        if self.1 == 100 {
            fs::rename(self.0.join("d/d/d"), self.0.join("elsewhere"))?;
        }
        Ok(())
    }
}

#[test]
fn a_walk_never_leaves_its_tree_by_a_folder_that_was_moved() {
    let home = TempDir::new().unwrap();
    dig(home.path(), c"d", 120);
    let walked = walk(open(home.path()).unwrap(), &mut Mover(home.path(), 0));
    assert!(walked.unwrap_err().to_string().contains("was moved"));
    assert!(home.path().join("elsewhere").exists());
}
