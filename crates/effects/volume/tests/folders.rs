//! Volumes on a real disk.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ward_types::id::{EnvId, Name, SnapshotId};
use ward_volume::{Error, Settled, Volumes};

fn shop() -> EnvId {
    EnvId::parse("shop/prod").unwrap()
}

fn uploads() -> Name {
    Name::parse("uploads").unwrap()
}

fn owner() -> u32 {
    match rustix::process::geteuid().as_raw() {
        0 => 1_000_000_007,
        own => own,
    }
}

#[test]
fn a_volume_is_made_once_and_belongs_to_its_user_whoever_had_it_before() {
    let home = TempDir::new().unwrap();
    let volumes = Volumes::new(home.path());
    let data = volumes.ready(&shop(), &uploads(), owner()).unwrap();
    fs::create_dir_all(data.join("a/b")).unwrap();
    fs::write(data.join("a/b/file"), "kept").unwrap();
    symlink("/etc", data.join("a/etc")).unwrap();
    let before = fs::metadata("/etc").unwrap().uid();
    let again = volumes.ready(&shop(), &uploads(), owner()).unwrap();
    assert_eq!(fs::read_to_string(again.join("a/b/file")).unwrap(), "kept");
    if rustix::process::geteuid().is_root() {
        volumes.ready(&shop(), &uploads(), owner() + 1).unwrap();
        for path in ["", "a", "a/b/file", "a/etc"] {
            let found = fs::symlink_metadata(data.join(path)).unwrap();
            assert_eq!((found.uid(), found.gid()), (owner() + 1, owner() + 1));
        }
    }
    assert_eq!(fs::metadata("/etc").unwrap().uid(), before);
    assert_eq!(volumes.list(&shop()).unwrap(), [uploads()]);
    let bytes = volumes.bytes(&shop(), &uploads()).unwrap();
    assert!((4096..1 << 20).contains(&bytes), "{bytes}");
    volumes.purge(&shop()).unwrap();
    assert!(!home.path().join("volumes").exists());
    assert_eq!(volumes.bytes(&shop(), &uploads()).unwrap(), 0);
}

#[test]
fn a_snapshot_takes_the_volumes_place_whole_and_what_was_there_is_kept() {
    let home = TempDir::new().unwrap();
    let volumes = Volumes::new(home.path());
    let data = volumes.ready(&shop(), &uploads(), owner()).unwrap();
    fs::write(data.join("file"), "new").unwrap();
    let four = volumes.snapshot(&shop(), &uploads(), SnapshotId(4));
    fs::create_dir_all(four.join("deep")).unwrap();
    fs::write(four.join("deep/file"), "old").unwrap();
    fs::set_permissions(four.join("deep/file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("deep/file", four.join("link")).unwrap();
    let restore = |from, kept| {
        let numbers = (SnapshotId(from), SnapshotId(kept));
        volumes.prepare(&shop(), &uploads(), numbers, &|| false)?;
        volumes.exchange(&shop(), &uploads(), SnapshotId(kept))?;
        volumes.settle(&shop(), &uploads(), |id| id.0 <= kept)?;
        volumes.clear(&shop(), &uploads())?;
        volumes.sweep(&shop(), |_, id| id.0 <= kept)
    };
    restore(4, 9).unwrap();
    assert_eq!(fs::read_to_string(data.join("link")).unwrap(), "old");
    let (was, is) = ["deep/file"]
        .map(|path| (four.join(path), data.join(path)))
        .map(|(was, is)| (fs::metadata(was).unwrap(), fs::metadata(is).unwrap()))
        .into_iter()
        .next()
        .unwrap();
    assert_eq!(
        (was.mode(), was.mtime(), was.uid()),
        (is.mode(), is.mtime(), is.uid())
    );
    assert!(!data.join("file").exists());
    // What it held before is a snapshot like any other.
    restore(9, 10).unwrap();
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "new");
    assert!(matches!(restore(7, 11), Err(Error::NoSnapshot { .. })));
    assert_eq!(names(four.parent().unwrap()), ["s10", "s4", "s9"]);
    assert_eq!(names(data.parent().unwrap()), ["data", "snapshots"]);
}

fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = found
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A volume that holds `new`, and its snapshot s4, which holds `old`.
fn with_snapshot(home: &TempDir) -> (Volumes, PathBuf, PathBuf) {
    let volumes = Volumes::new(home.path());
    let data = volumes.ready(&shop(), &uploads(), owner()).unwrap();
    fs::write(data.join("file"), "new").unwrap();
    let four = volumes.snapshot(&shop(), &uploads(), SnapshotId(4));
    fs::create_dir_all(&four).unwrap();
    fs::write(four.join("file"), "old").unwrap();
    (volumes, data, four)
}

const NUMBERS: (SnapshotId, SnapshotId) = (SnapshotId(4), SnapshotId(9));

#[test]
fn p4_what_a_volume_held_is_lost_at_no_moment_of_a_restore() {
    // How far it came: to the copy, to the first name, to the second, to the log, and to the new snapshot.
    for step in 0..5 {
        let home = TempDir::new().unwrap();
        let (volumes, data, four) = with_snapshot(&home);
        volumes
            .prepare(&shop(), &uploads(), NUMBERS, &|| false)
            .unwrap();
        let restore = data.parent().unwrap().join("restore-s9");
        match step {
            0 => {}
            1 => fs::rename(&data, restore.join("former")).unwrap(),
            _ => volumes
                .exchange(&shop(), &uploads(), SnapshotId(9))
                .unwrap(),
        }
        let logged = step >= 3;
        if step == 4 {
            volumes.settle(&shop(), &uploads(), |_| true).unwrap();
        }
        // What comes next is another server.
        if (1..4).contains(&step) {
            let ready = volumes.ready(&shop(), &uploads(), owner());
            assert!(matches!(ready, Err(Error::Unsettled { .. })), "{ready:?}");
            volumes.sweep(&shop(), |_, id| id.0 == 4).unwrap();
        }
        let is_kept = |id: SnapshotId| id.0 == 4 || logged && id.0 == 9;
        let settled = volumes.settle(&shop(), &uploads(), is_kept).unwrap();
        let expected = match step {
            0 | 4 => Vec::new(),
            3 => vec![Settled::Kept(SnapshotId(9))],
            _ => vec![Settled::TakenBack(SnapshotId(9))],
        };
        assert_eq!(settled, expected, "{step}");
        let again = volumes.settle(&shop(), &uploads(), is_kept).unwrap();
        assert!(again.is_empty(), "{again:?}");
        volumes.clear(&shop(), &uploads()).unwrap();
        volumes.sweep(&shop(), |_, id| is_kept(id)).unwrap();
        let holds = fs::read_to_string(data.join("file")).unwrap();
        let before = fs::read_to_string(four.with_file_name("s9").join("file"));
        match logged {
            true => assert_eq!((holds.as_str(), before.unwrap().as_str()), ("old", "new")),
            false => assert_eq!((holds.as_str(), before.is_err()), ("new", true)),
        }
        volumes.ready(&shop(), &uploads(), owner()).unwrap();
        assert_eq!(names(data.parent().unwrap()), ["data", "snapshots"]);
    }
}

#[test]
fn a_restore_that_is_given_up_leaves_the_others_alone() {
    let home = TempDir::new().unwrap();
    let (volumes, data, four) = with_snapshot(&home);
    for number in 0..50 {
        fs::write(four.join(format!("file-{number}")), "old").unwrap();
    }
    let looks = Cell::new(0);
    let given_up = volumes.prepare(&shop(), &uploads(), NUMBERS, &|| {
        looks.set(looks.get() + 1);
        // Another one of the same snapshot, from begin to end.
        if looks.get() == 20 {
            let numbers = (SnapshotId(4), SnapshotId(10));
            volumes
                .prepare(&shop(), &uploads(), numbers, &|| false)
                .unwrap();
        }
        looks.get() >= 40
    });
    assert!(matches!(given_up, Err(Error::GivenUp)), "{given_up:?}");
    assert!(!data.with_file_name("restore-s9").exists());
    volumes
        .exchange(&shop(), &uploads(), SnapshotId(10))
        .unwrap();
    assert_eq!(names(&data), names(&four));
}

#[test]
fn a_copy_has_the_holes_and_the_names_of_its_files() {
    let home = TempDir::new().unwrap();
    let (volumes, data, four) = with_snapshot(&home);
    let sparse = fs::File::create(four.join("sparse")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 30).unwrap();
    sparse.write_all_at(b"near the end", 2 << 30).unwrap();
    fs::create_dir(four.join("a")).unwrap();
    fs::hard_link(four.join("sparse"), four.join("a/other")).unwrap();
    fs::hard_link(four.join("file"), four.join("a/file")).unwrap();
    volumes
        .prepare(&shop(), &uploads(), NUMBERS, &|| false)
        .unwrap();
    volumes
        .exchange(&shop(), &uploads(), SnapshotId(9))
        .unwrap();
    for name in ["sparse", "a/other"] {
        let found = fs::metadata(data.join(name)).unwrap();
        assert_eq!((found.len(), found.nlink()), (3 << 30, 2));
        assert!(found.blocks() * 512 < 1 << 20, "{}", found.blocks());
    }
    let sparse = fs::File::open(data.join("sparse")).unwrap();
    let mut part = [0; 13];
    sparse.read_exact_at(&mut part, 1 << 30).unwrap();
    assert_eq!(&part, b"in the middle");
    let ino = |name: &str| fs::metadata(data.join(name)).unwrap().ino();
    assert_eq!(ino("file"), ino("a/file"));
    assert_ne!(ino("file"), ino("sparse"));
}

#[test]
fn who_copies_a_volume_that_is_removed_can_tell() {
    let home = TempDir::new().unwrap();
    let volumes = Volumes::new(home.path());
    let made = || {
        let data = volumes.ready(&shop(), &uploads(), owner()).unwrap();
        fs::write(data.join("file"), "here").unwrap();
        fs::File::open(data).unwrap()
    };
    let mode = |seen: &fs::File| seen.metadata().unwrap().permissions().mode() & 0o7777;
    let seen = made();
    assert_ne!(mode(&seen), ward_volume::REMOVED);
    volumes.delete(&shop(), &uploads()).unwrap();
    assert_eq!(mode(&seen), ward_volume::REMOVED);
    let seen = made();
    volumes.purge(&shop()).unwrap();
    assert_eq!(mode(&seen), ward_volume::REMOVED);
    // One that closed its own folder is removed, too.
    let seen = made();
    seen.set_permissions(fs::Permissions::from_mode(0o000))
        .unwrap();
    volumes.delete(&shop(), &uploads()).unwrap();
    assert_eq!(volumes.list(&shop()).unwrap(), []);
}

#[test]
fn folders_beyond_all_use_break_nothing() {
    let home = TempDir::new().unwrap();
    let (volumes, data, four) = with_snapshot(&home);
    let deep: PathBuf = std::iter::repeat_n("d", 1000).collect();
    fs::create_dir_all(four.join(&deep)).unwrap();
    fs::write(four.join(&deep).join("file"), vec![1; 1 << 20]).unwrap();
    let bytes = volumes.snapshot_bytes(&shop(), &uploads(), SnapshotId(4));
    assert!(bytes.unwrap() >= 1 << 20, "however deep it is");
    volumes
        .prepare(&shop(), &uploads(), NUMBERS, &|| false)
        .unwrap();
    volumes
        .exchange(&shop(), &uploads(), SnapshotId(9))
        .unwrap();
    volumes.settle(&shop(), &uploads(), |_| true).unwrap();
    assert_eq!(
        fs::metadata(data.join(&deep).join("file")).unwrap().len(),
        1 << 20
    );
    if rustix::process::geteuid().is_root() {
        volumes.ready(&shop(), &uploads(), owner() + 1).unwrap();
        let given = fs::metadata(data.join(&deep).join("file")).unwrap();
        assert_eq!(given.uid(), owner() + 1);
    }
    volumes.delete(&shop(), &uploads()).unwrap();
    assert_eq!(volumes.list(&shop()).unwrap(), []);
}
