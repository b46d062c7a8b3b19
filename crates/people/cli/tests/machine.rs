//! What the machine lacks: namespaces, room on the disk, a database, an image as it was pushed. Each gets a
//! word that says what to do; nothing is half done, and what serves goes on serving.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::load::{Load, get};
use support::{Ward, alive, eventually, is_root, kill9, poll, sql};
use tempfile::TempDir;

const HOST: &str = "shop.localhost";
const GOOD: &str = r#"ANSWER = "good""#;
const MIB: u64 = 1 << 20;

fn serves(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

/// A command that runs where the kernel gives no more namespaces of one kind.
fn denied(ward: &Ward, kind: &str, arguments: &[&str]) -> Output {
    let inner = ward.command(arguments);
    let script = format!("echo 0 >/proc/sys/user/{kind} && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(ward.dir()).env_clear();
    let set = inner.get_envs();
    command.envs(set.filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).output().unwrap()
}

/// Neither `ward up` nor `ward doctor` can make a sandbox; both say each of these, and nothing stays begun.
fn is_told_what_the_kernel_denies(kind: &str, says: &[&str]) {
    if !is_allowed(&["--user", "--map-root-user"]) {
        println!("SKIPPED, NOT TESTED: {kind} of a user namespace; this user may not make one");
        return;
    }
    let ward = Ward::new();
    ward.stack(GOOD, "");
    let up = denied(&ward, kind, &["up", ward.dir().to_str().unwrap()]);
    let doctor = denied(&ward, kind, &["doctor"]);
    for output in [&up, &doctor] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        for text in says {
            assert!(
                out.contains(text) || err.contains(text),
                "no {text:?} in\n{out}{err}"
            );
        }
    }
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("no instance can run here"), "{doctor}");
    assert!(ward.instances("web").is_empty());
    let keepers = || {
        ward.processes()
            .iter()
            .any(|line| line.contains("ward keeper"))
    };
    assert!(
        poll(Duration::from_secs(5), || !keepers()),
        "{:#?}",
        ward.processes()
    );
    assert_eq!(folders_below(&ward.home().join("run/shop/dev")), 0);
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
}

fn folders_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

#[test]
fn no_user_namespaces() {
    let says = ["namespaces failed", "sysctl -w user.max_user_namespaces="];
    is_told_what_the_kernel_denies("max_user_namespaces", &says);
}

#[test]
fn no_network_namespaces() {
    is_told_what_the_kernel_denies(
        "max_net_namespaces",
        &[
            "network namespace failed",
            "sysctl -w user.max_net_namespaces=",
        ],
    );
}

/// Set for a test that was started again in a mount namespace of its own; names its folder.
const INSIDE: &str = "WARD_TEST_MACHINE";

/// Starts the test `name` again in a mount namespace of its own in which `prepare`, a shell script, has
/// mounted what it needs; `$1` is a folder for it. What is mounted so is gone with the last process in it,
/// however the test ends. Gives the folder to the test when it runs inside, and nothing outside.
fn in_own_mounts(name: &str, prepare: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Some(PathBuf::from(folder));
    }
    let (outer, back): (&[&str], _) = match is_root() {
        true => (&["--mount"], "exec".to_owned()),
        false => {
            // Root of a namespace mounts; in another one below it the user is again who it was.
            let uid = rustix::process::geteuid().as_raw();
            let gid = rustix::process::getegid().as_raw();
            let back = format!("exec unshare --user --map-user={uid} --map-group={gid}");
            (&["--user", "--map-root-user", "--mount"], back)
        }
    };
    if !is_allowed(outer) {
        println!("SKIPPED, NOT TESTED: {name}; this user may not mount in a namespace of its own");
        return None;
    }
    let folder = TempDir::new().unwrap();
    let ran = Command::new("unshare")
        .args(outer)
        .args([
            "sh",
            "-c",
            &format!("set -e; {prepare}; shift; {back} \"$@\""),
            "sh",
        ])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .env("TMPDIR", folder.path())
        .status();
    assert!(
        ran.unwrap().success(),
        "{name} failed inside of its namespace"
    );
    None
}

fn is_allowed(namespaces: &[&str]) -> bool {
    let tried = Command::new("unshare")
        .args(namespaces)
        .arg("true")
        .output();
    tried.is_ok_and(|output| output.status.success())
}

/// A disk of 200 MiB for everything that the test writes.
fn small_disk(name: &str) -> Option<PathBuf> {
    in_own_mounts(name, "mount -t tmpfs -o size=200m,mode=1777 ward \"$1\"")
}

/// Takes all but so many bytes of the disk until it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn all_but(disk: &Path, rest: u64) -> Self {
        // Beside another one, if there is.
        let names = ["filler", "more"].map(|name| disk.join(name));
        let [first, second] = names;
        let filler = Self(if first.exists() { second } else { first });
        let file = fs::File::create(&filler.0).unwrap();
        // Others may take some of it at the same time.
        let taken = || {
            let left = rustix::fs::statvfs(disk).unwrap();
            let size = (left.f_bavail * left.f_frsize).saturating_sub(rest);
            size == 0
                || rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)
                    .is_ok()
        };
        eventually("the disk is filled", taken);
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Deploys an image of twenty MiB where so much room is left: it says each of these and changes nothing,
/// and succeeds when there is room.
fn is_too_large_for(disk: &Path, room: u64, says: &[&str]) {
    let ward = Ward::new();
    ward.stack(GOOD, "");
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    ward.stack(r#"ANSWER = "large""#, "");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write(
        "ward.toml",
        &text.replace(r#""app.py"],"#, r#""app.py", "ballast"],"#),
    );
    let ballast = fs::File::create(ward.dir().join("ballast")).unwrap();
    ballast.set_len(20 * MIB).unwrap(); // A hole, which takes no room by itself.
    let filler = Filler::all_but(disk, room);
    let deploy = ward.run(&["deploy"]);
    deploy.fails(1, says);
    deploy.fails(
        1,
        &[
            ward.home().to_str().unwrap(),
            "make room",
            "nothing was changed",
        ],
    );
    assert!(!ward.ok(&["releases"]).contains("r2"));
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    serves(&ward, "good");
    for unfinished in ["registry/staging", "layers"] {
        let names = fs::read_dir(ward.home().join(unfinished)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names
            .filter(|name| unfinished != "layers" || name.starts_with('.'))
            .collect();
        assert!(names.is_empty(), "{names:?} is left in {unfinished}");
    }
    drop(filler);
    ward.ok(&["deploy"]);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    serves(&ward, "large");
}

#[test]
fn a_disk_that_fills_while_an_image_is_built() {
    if let Some(disk) = small_disk("a_disk_that_fills_while_an_image_is_built") {
        is_too_large_for(
            &disk,
            10 * MIB,
            &[
                "the build of web failed",
                "bytes that are left in",
                "/builds/",
            ],
        );
    }
}

#[test]
fn a_disk_that_fills_while_an_image_is_copied_to_the_registry() {
    if let Some(disk) = small_disk("a_disk_that_fills_while_an_image_is_copied_to_the_registry") {
        is_too_large_for(
            &disk,
            30 * MIB,
            &["the registry's disk is full", "bytes that are left in"],
        );
    }
}

#[test]
fn a_disk_that_has_no_room_to_unpack_an_image() {
    if let Some(disk) = small_disk("a_disk_that_has_no_room_to_unpack_an_image") {
        is_too_large_for(
            &disk,
            50 * MIB,
            &["cannot unpack", "bytes, and the disk of", "/layers"],
        );
    }
}

#[test]
fn a_disk_that_is_full_when_the_platform_starts() {
    let Some(disk) = small_disk("a_disk_that_is_full_when_the_platform_starts") else {
        return;
    };
    let ward = Ward::new();
    ward.stack(GOOD, "");
    let room = format!("make room on the disk of {}", ward.home().display());
    // One that never ran, one that ran before, and one whose instances serve.
    for number in 0..3 {
        let filler = Filler::all_but(&disk, 0);
        let up = ward.run(&["up", "--platform"]);
        match number {
            0 => {
                up.fails(1, &[&room]);
                // In the foreground it says so by itself.
                ward.run(&["serve"]).fails(1, &[&room]);
            }
            // What its log has kept free may be enough.
            _ if up.code() == 0 => {}
            _ => up.fails(1, &[&room]),
        }
        drop(filler);
        match number {
            0 => drop(ward.ok(&["up", "--platform"])),
            1 => drop(ward.up()),
            _ => break,
        }
        kill9(ward.server_pid());
    }
    ward.ok(&["up", "--platform"]);
    serves(&ward, "good");
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
}

#[test]
fn a_disk_that_fills_while_a_database_is_backed_up_or_the_backup_tried() {
    let name = "a_disk_that_fills_while_a_database_is_backed_up_or_the_backup_tried";
    let mount = "mount -t tmpfs -o size=600m,mode=1777 ward \"$1\"";
    let Some(disk) = in_own_mounts(name, mount) else {
        return;
    };
    let ward = Ward::new();
    ward.stack(
        GOOD,
        "links = [\"db\"]\nstop_timeout = \"1s\"\n[database.db]\nengine = \"postgres\"\n[environment.prod]",
    );
    ward.ok(&["deploy", "--env", "prod"]);
    sql(
        &ward,
        Some("prod"),
        "create table big as select (select string_agg(md5(random()::text || i || j), '') from generate_series(1, 100) as j) as t \
         from generate_series(1, 20000) as i",
    );
    let load = Load::start(&ward.http(), HOST);
    let backup = || ward.run(&["db", "backup", "--env", "prod"]);
    let files = || {
        let folder = ward.home().join("backups/shop/prod/database.db");
        fs::read_dir(folder).map_or(0, Iterator::count)
    };
    // Nothing for it at all; room for a part of it; room for it, and not for what it is tried in.
    for (room, says) in [
        (50, "of which 64 stay free"),
        (80, "of which 64 stay free"),
        (190, "the disk is nearly full: less than 64 MiB are free"),
    ] {
        let filler = Filler::all_but(&disk, room * MIB);
        backup().fails(1, &["failed", says]);
        assert!(poll(Duration::from_secs(20), || files() == 0), "{room}");
        sql(
            &ward,
            Some("prod"),
            "insert into big values ('it takes rows')",
        );
        let run = ward.home().join("run/shop/prod");
        let drills = || {
            let all = fs::read_dir(&run).unwrap().flatten();
            all.filter(|entry| entry.path().join("data").exists())
                .count()
        };
        assert!(poll(Duration::from_secs(20), || drills() == 0), "{room}");
        drop(filler);
    }
    backup().success();
    assert_eq!(files(), 2);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_disk_that_fills_while_an_environment_is_cloned() {
    let name = "a_disk_that_fills_while_an_environment_is_cloned";
    let mount = "mount -t tmpfs -o size=600m,mode=1777 ward \"$1\"";
    let Some(disk) = in_own_mounts(name, mount) else {
        return;
    };
    let ward = Ward::new();
    let database = "links = [\"db\"]\nstop_timeout = \"1s\"\n[database.db]\nengine = \"postgres\"\n\
                    [environment.prod]\ncopy_data = \"allowed\"";
    ward.stack(GOOD, database);
    ward.ok(&["deploy", "--env", "prod"]);
    // 60 MiB that do not compress.
    sql(
        &ward,
        Some("prod"),
        "create table big as select (select string_agg(md5(random()::text || j), '') from generate_series(1, 100) as j) as t \
         from generate_series(1, 20000) as i",
    );
    let load = Load::start(&ward.http(), HOST);
    let clone = || {
        ward.command(&["env", "clone", "prod", "demo"])
            .output()
            .unwrap()
    };
    let full = Filler::all_but(&disk, 200 * MIB);
    ward.run(&["env", "clone", "prod", "demo"]).fails(
        1,
        &[
            "the data of shop/prod takes",
            "nothing was changed",
            "--copy-data",
        ],
    );
    drop(full);
    let data = ward.home().join("data/shop/demo");
    let (cloned, filler) = std::thread::scope(|scope| {
        let cloning = scope.spawn(clone);
        assert!(
            poll(Duration::from_secs(60), || data.exists()),
            "it is never begun"
        );
        // Enough for an empty database, and for half of what is copied.
        let filler = Filler::all_but(&disk, 150 * MIB);
        (cloning.join().unwrap(), filler)
    });
    let said = String::from_utf8_lossy(&cloned.stderr).into_owned();
    assert_eq!(cloned.status.code(), Some(1), "{said}");
    for part in [
        "The data could not be copied into db",
        "the disk is nearly full",
        "Nothing of the new environment is left behind",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let gone = || {
        ward.ok(&["env", "list", "--all"])
            .contains("it could not be made")
    };
    assert!(poll(Duration::from_secs(60), gone), "it is left behind");
    assert!(!data.exists() && !ward.home().join("secrets/shop/demo").exists());
    assert!(!ward.ok(&["env", "list"]).contains("demo"));
    drop(filler);
    ward.ok(&["env", "clone", "prod", "demo"]);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
}

#[test]
fn a_disk_that_fills_while_the_log_is_written() {
    let Some(disk) = small_disk("a_disk_that_fills_while_the_log_is_written") else {
        return;
    };
    let ward = Ward::new();
    for answer in ["one", "two"] {
        ward.stack(&format!(r#"ANSWER = "{answer}""#), "");
        ward.up();
    }
    let load = Load::start(&ward.http(), HOST);
    let filler = Filler::all_but(&disk, 0);
    // It may have been the release that filled it: going back goes on working.
    for _ in 0..5 {
        ward.ok(&["rollback"]);
        serves(&ward, "one");
        ward.ok(&["rollforward"]);
        serves(&ward, "two");
    }
    drop(filler);
    // Also by a server that begins where little is left, and by none that begins where nothing is.
    let begun_with = |left: u64, before: &dyn Fn()| {
        let server = ward.server_pid();
        let pid = rustix::process::Pid::from_raw(server).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(poll(Duration::from_secs(20), || !alive(server)));
        before();
        let most = Filler::all_but(&disk, left);
        ward.ok(&["up", "--platform"]);
        // At no moment is there room that was not there before.
        (most, Filler::all_but(&disk, 0))
    };
    let filler = begun_with(12 * MIB, &|| ());
    ward.ok(&["rollback"]);
    serves(&ward, "one");
    ward.ok(&["rollforward"]);
    serves(&ward, "two");
    drop(filler);
    // Somebody has taken all that the log had for itself.
    let database = ward.home().join("ward.db");
    let filler = begun_with(5 * MIB, &|| {
        let script = "import sqlite3, sys; log = sqlite3.connect(sys.argv[1], isolation_level=None); log.execute('vacuum')";
        let vacuum = Command::new("python3")
            .args(["-c", script])
            .arg(&database)
            .output();
        assert!(vacuum.unwrap().status.success());
    });
    // What was left in the journal takes a few events.
    let taken = (0..200).find(|_| {
        let waives = ["policy", "waive", "tls", "--env", "dev", "--until", "1h"];
        ward.run(&[&waives[..], &["--why", "it is full"]].concat())
            .code()
            != 0
    });
    assert!(taken.is_some(), "there is no end of room");
    let before = ward.ok(&["events", "-n", "100"]);
    for _ in 0..3 {
        let rollback = ward.run(&["rollback"]);
        rollback.fails(1, &["is full", "nothing was recorded", "free some space"]);
        rollback.fails(1, &[ward.home().join("ward.db").to_str().unwrap()]);
    }
    assert_eq!(ward.ok(&["events", "-n", "100"]), before);
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    serves(&ward, "two");
    drop(filler);
    ward.ok(&["rollback"]);
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    serves(&ward, "one");
}

#[test]
fn no_postgres() {
    let hide = "test ! -d /usr/lib/postgresql || mount -t tmpfs ward /usr/lib/postgresql";
    if in_own_mounts("no_postgres", hide).is_none() {
        return;
    }
    let ward = Ward::new();
    let line = "sudo apt-get install -y postgresql";
    let database = "[database.db]\nengine = \"postgres\"\n";
    ward.stack(GOOD, database);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["up", &dir])
        .fails(1, &["PostgreSQL 15 or later is not installed", line]);
    assert!(
        !ward.ok(&["events"]).contains("shop"),
        "something was recorded"
    );
    assert_eq!(folders_below(&ward.home().join("data")), 0);
    assert!(ward.ok(&["doctor"]).contains(line));
    // What needs none comes up, and goes on when it asks for one.
    ward.stack(GOOD, "");
    ward.up();
    ward.stack(r#"ANSWER = "with a database""#, database);
    ward.run(&["deploy"]).fails(1, &[line]);
    assert!(!ward.ok(&["releases"]).contains("r2"));
    serves(&ward, "good");
}

#[test]
fn a_layer_that_was_altered_is_not_run_and_what_serves_goes_on() {
    let ward = Ward::new();
    // Nothing of a release that was left stays warm, so that it is started from its image.
    let release = |answer: &str| {
        ward.stack(&format!(r#"ANSWER = "{answer}""#), "");
        let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        ward.write(
            "ward.toml",
            &text.replace("keep_warm = \"30s\"", "keep_warm = \"0s\""),
        );
        ward.write("app.py", &format!("{}\n# {answer}\n", support::APP));
        ward.up();
    };
    release("first");
    let unpacked = layers(&ward);
    assert_eq!(unpacked.len(), 1, "{unpacked:?}");
    release("second");
    let server = ward.server_pid();
    kill9(server);
    eventually("the server is gone", || !alive(server));
    // As after a restart of the machine with an empty cache of layers.
    let hex = &unpacked[0];
    let blob = ward
        .home()
        .join("registry/blobs/sha256")
        .join(&hex[..2])
        .join(hex);
    let pushed = fs::read(&blob).unwrap();
    let mut altered = pushed.clone();
    altered[700] ^= 1;
    fs::write(&blob, altered).unwrap();
    fs::remove_dir_all(ward.home().join("layers").join(hex)).unwrap();
    ward.up();
    let load = Load::start(&ward.http(), HOST);
    let rollback = ward.run(&["rollback", "--to", "r1"]);
    rollback.fails(1, &["failed, old serving", hex, "the manifest says"]);
    assert!(ward.ok(&["releases"]).contains("r2 (serves)"));
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    assert!(
        !layers(&ward).contains(hex),
        "a layer that is not what it should be was kept"
    );
    // The same source makes the same layer, and so mends it; then the same command succeeds.
    release("first");
    assert_eq!(fs::read(&blob).unwrap(), pushed);
    release("second");
    ward.ok(&["rollback", "--to", "r1"]);
    let (asked, failures) = load.end();
    assert!(failures.is_empty(), "of {asked}: {failures:#?}");
    serves(&ward, "first");
}

/// The digests of the layers that are unpacked.
fn layers(ward: &Ward) -> Vec<String> {
    let names = fs::read_dir(ward.home().join("layers")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 64).collect()
}

#[test]
fn a_disk_that_fills_while_a_snapshot_is_made() {
    let Some(disk) = small_disk("a_disk_that_fills_while_a_snapshot_is_made") else {
        return;
    };
    let ward = Ward::new();
    let volume = "volumes.uploads = \"/data\"\nstop_timeout = \"1s\"\n\
                  [volume.uploads]\nsize = \"40MiB\"\nsnapshot = \"before_release\"";
    ward.stack(GOOD, volume);
    ward.up();
    let fill = "head -c 30000000 /dev/urandom > /data/file";
    ward.ok(&["exec", "web", "--", "sh", "-c", fill]);
    ward.stack("ANSWER = \"two\"", volume);
    let full = Filler::all_but(&disk, 80 * MIB);
    ward.run(&["deploy"]).fails(
        1,
        &[
            "The snapshot of the volume uploads could not be made",
            "the disk is nearly full",
        ],
    );
    let snapshots = ward.home().join("volumes/shop/dev/uploads/snapshots");
    let left = || fs::read_dir(&snapshots).into_iter().flatten().count();
    assert!(
        poll(Duration::from_secs(20), || left() == 0),
        "nothing of it is left"
    );
    assert_eq!(ward.status()["environments"][0]["current"], 1);
    drop(full);
    ward.ok(&["deploy"]);
    assert_eq!(left(), 1);
}

#[test]
fn a_disk_that_fills_while_the_files_of_a_clone_are_copied() {
    let Some(disk) = small_disk("a_disk_that_fills_while_the_files_of_a_clone_are_copied") else {
        return;
    };
    let ward = Ward::new();
    let volume = "volumes.uploads = \"/data\"\nstop_timeout = \"1s\"\n[volume.uploads]\nsize = \"40MiB\"\n\
                  [environment.prod]\ncopy_data = \"allowed\"";
    ward.stack(GOOD, volume);
    ward.ok(&["deploy", "--env", "prod"]);
    let fill = "cd /data && for i in 1 2 3 4 5 6; do head -c 5000000 /dev/urandom > $i; done";
    ward.ok(&["exec", "web", "--env", "prod", "--", "sh", "-c", fill]);
    let clone = ["env", "clone", "prod", "demo"];
    let full = Filler::all_but(&disk, 80 * MIB);
    ward.run(&clone)
        .fails(1, &["the data of shop/prod takes", "nothing was changed"]);
    drop(full);

    let demo = ward.home().join("volumes/shop/demo");
    let (cloned, filler) = std::thread::scope(|scope| {
        let cloning = scope.spawn(|| ward.command(&clone).output().unwrap());
        let begun = || demo.join("uploads/data").exists();
        assert!(poll(Duration::from_secs(60), begun), "it is never begun");
        let filler = Filler::all_but(&disk, 50 * MIB);
        (cloning.join().unwrap(), filler)
    });
    let said = String::from_utf8_lossy(&cloned.stderr).into_owned();
    assert_eq!(cloned.status.code(), Some(1), "{said}");
    for part in [
        "The data could not be copied into the volume uploads",
        "the disk is nearly full",
        "Nothing of the new environment is left behind",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let gone = || !demo.exists() && !ward.ok(&["env", "list"]).contains("demo");
    assert!(poll(Duration::from_secs(60), gone), "it is left behind");
    drop(filler);
    ward.ok(&clone);
}
