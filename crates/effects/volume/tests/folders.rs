//! Volumes on a real disk.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use tempfile::TempDir;
use ward_types::id::{EnvId, Name, SnapshotId};
use ward_volume::{Error, Volumes};

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
        volumes.prepare(&shop(), &uploads(), SnapshotId(from))?;
        volumes.exchange(&shop(), &uploads(), SnapshotId(kept))?;
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
    // Nobody has noted what this one put aside.
    volumes.prepare(&shop(), &uploads(), SnapshotId(9)).unwrap();
    volumes
        .exchange(&shop(), &uploads(), SnapshotId(12))
        .unwrap();
    volumes.sweep(&shop(), |_, id| id.0 == 9).unwrap();
    let left = fs::read_dir(four.parent().unwrap()).unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["before-s12", "s9"]);
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
    let volumes = Volumes::new(home.path());
    let data = volumes.ready(&shop(), &uploads(), owner()).unwrap();
    let deep: std::path::PathBuf = std::iter::repeat_n("d", 1000).collect();
    fs::create_dir_all(data.join(deep)).unwrap();
    assert!(volumes.bytes(&shop(), &uploads()).is_ok());
    let snapshots = volumes.snapshot(&shop(), &uploads(), SnapshotId(1));
    fs::create_dir_all(snapshots.parent().unwrap()).unwrap();
    fs::rename(&data, &snapshots).unwrap();
    let copied = volumes.prepare(&shop(), &uploads(), SnapshotId(1));
    assert!(matches!(copied, Err(Error::TooDeep { .. })), "{copied:?}");
    let next = snapshots.parent().unwrap().parent().unwrap().join("next");
    assert!(!next.exists(), "nothing of it is left");
    volumes.delete(&shop(), &uploads()).unwrap();
}
