//! Volumes: kept across releases, rollbacks and kills, with snapshots, and gone only when somebody says so.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Ran, Ward, eventually, is_root, kill9};

const UPLOADS: &str =
    "volumes = { uploads = \"/data\" }\nstop_timeout = \"1s\"\n[volume.uploads]\nsize = \"8MiB\"\n";

fn answer(text: &str) -> String {
    format!("ANSWER = \"{text}\"")
}

/// A shell inside of an instance of the web service.
fn inside(ward: &Ward, script: &str) -> Ran {
    ward.run(&["exec", "web", "--", "sh", "-c", script])
}

fn reads(ward: &Ward, path: &str) -> String {
    inside(ward, &format!("cat {path}"))
        .success()
        .trim()
        .to_owned()
}

fn listed(ward: &Ward) -> Value {
    serde_json::from_str(&ward.ok(&["volume", "list", "--output", "json"])).unwrap()
}

/// The numbers of the snapshots of a volume, the newest first.
fn snapshots(ward: &Ward) -> Vec<u64> {
    let view = listed(ward);
    let all = view["volumes"][0]["snapshots"].as_array().unwrap().clone();
    all.iter().map(|one| one["id"].as_u64().unwrap()).collect()
}

fn folders(ward: &Ward) -> Vec<String> {
    let snapshots = ward.home().join("volumes/shop/dev/uploads/snapshots");
    let found = std::fs::read_dir(snapshots).into_iter().flatten().flatten();
    let mut names: Vec<String> = found
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_in_a_volume_outlives_releases_rollbacks_and_kills() {
    let ward = Ward::new();
    ward.stack(&answer("one"), UPLOADS);
    ward.up();
    inside(
        &ward,
        "echo first > /data/file && mkdir /data/sub && ln -s ../file /data/sub/link",
    )
    .success();
    // Both instances see it.
    let one_each = ward.instances("web").len();
    assert_eq!(one_each, 2);
    ward.stack(&answer("two"), UPLOADS);
    ward.ok(&["deploy"]);
    assert_eq!(reads(&ward, "/data/sub/link"), "first");
    inside(&ward, "echo second > /data/file").success();
    ward.ok(&["rollback"]);
    assert_eq!(reads(&ward, "/data/file"), "second");
    // The server, and every instance with its keeper.
    let keepers: Vec<i32> = ward
        .instances("web")
        .iter()
        .filter_map(|instance| instance["pid"].as_i64())
        .map(|pid| i32::try_from(pid).unwrap())
        .collect();
    assert!(!keepers.is_empty());
    kill9(ward.server_pid());
    keepers.into_iter().for_each(kill9);
    ward.ok(&["up", "--platform"]);
    eventually("it serves again", || ward.healthy("web").len() == 2);
    assert_eq!(reads(&ward, "/data/file"), "second");
    // A release command and a one-off command see it, too.
    let ran = ward.ok(&["run", "web", "--", "cat", "/data/file"]);
    assert!(ran.contains("second"), "{ran}");
    ward.ok(&["down"]);
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "second");
    // Nothing else of the state folder is to be seen, and no device or set-user-id program works there.
    let mounted = inside(&ward, "grep ' /data ' /proc/self/mounts").success();
    assert!(
        mounted.contains("nosuid") && mounted.contains("nodev"),
        "{mounted}"
    );
    if is_root() {
        let owner = inside(&ward, "stat -c %u:%g /data/file; id -u").success();
        let ids: Vec<&str> = owner.split_whitespace().collect();
        assert_eq!(ids[0], format!("{0}:{0}", ids[1]), "{owner}");
    }
    ward.ok(&["down", "--purge", "--yes"]);
    assert!(!ward.home().join("volumes").exists());
    ward.up();
    inside(&ward, "test ! -e /data/file").success();
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_volume_that_no_release_has_is_kept_until_somebody_deletes_it() {
    let ward = Ward::new();
    ward.stack(&answer("one"), UPLOADS);
    ward.up();
    inside(&ward, "echo kept > /data/file").success();
    let delete = |more: &[&str]| ward.run(&[&["volume", "delete", "uploads"], more].concat());
    delete(&[]).fails(1, &["no terminal to ask at"]);
    delete(&["--yes"]).fails(
        1,
        &[
            "r1 of shop/dev has the volume uploads",
            "nothing was changed",
        ],
    );
    ward.stack(&answer("two"), "stop_timeout = \"1s\"");
    let plan: Value = serde_json::from_str(
        ward.run(&["plan", "--output", "json"])
            .stdout()
            .lines()
            .last()
            .unwrap(),
    )
    .unwrap();
    let changes = plan["changes"]
        .as_array()
        .unwrap_or_else(|| panic!("{plan}"))
        .clone();
    let gone = changes
        .iter()
        .find(|change| change["path"] == "volume.uploads")
        .unwrap();
    assert_eq!(
        (&gone["kind"], &gone["destructive"]),
        (&"remove".into(), &true.into())
    );
    ward.ok(&["deploy"]);
    inside(&ward, "test ! -e /data").success();
    delete(&["--yes"]).fails(1, &["is kept for a rollback and sees the volume uploads"]);
    let shown = ward.ok(&["volume", "list"]);
    assert!(
        shown.contains("(none)") && shown.contains("uploads"),
        "{shown}"
    );
    ward.ok(&["rollback"]);
    assert_eq!(reads(&ward, "/data/file"), "kept");
    ward.ok(&["deploy"]);
    // What keeps the old instances warm ends with the environment.
    ward.ok(&["down", "--env", "dev"]);
    delete(&["--yes", "--why", "nobody needs it"]).success();
    delete(&["--yes"]).fails(1, &["has no volume uploads on the disk", "it has none"]);
    assert!(!ward.home().join("volumes/shop/dev/uploads").exists());
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("the volume uploads is deleted, with its snapshots"),
        "{events}"
    );
}

#[test]
fn a_snapshot_is_made_before_a_release_and_put_back_while_down() {
    let ward = Ward::new();
    let stack = |text: &str, command: &str| {
        let release = format!("release = {{ command = [\"sh\", \"-c\", \"{command}\"] }}\n");
        let more = "snapshot = \"before_release\"\nkeep_snapshots = 2\n";
        ward.stack(&answer(text), &format!("{release}{UPLOADS}{more}"));
    };
    stack("one", "true");
    ward.up();
    assert_eq!(snapshots(&ward), Vec::<u64>::new(), "what is new is empty");
    inside(&ward, "echo one > /data/file; mkdir /data/d; ln -s x /data/d/l; chmod 750 /data/d; mkfifo /data/p").success();
    // The snapshot is older than what a release command does.
    stack("two", "echo migrated > /data/file");
    ward.ok(&["deploy"]);
    let first = snapshots(&ward);
    assert_eq!(first.len(), 1);
    assert_eq!(reads(&ward, "/data/file"), "migrated");
    ward.ok(&["rollback"]);
    assert_eq!(snapshots(&ward), first, "a rollback makes none");
    ward.ok(&["rollforward"]);
    let restore = |id: u64, more: &[&str]| {
        let id = format!("s{id}");
        ward.run(&[&["volume", "restore", &id], more].concat())
    };
    for more in [&["--yes"][..], &[]] {
        restore(first[0], more).fails(1, &["shop/dev is up", "ward down --env shop/dev"]);
    }
    restore(99, &[]).fails(1, &["has no snapshot s99"]);
    restore(99, &["--yes"]).fails(1, &["has no snapshot s99"]);
    ward.ok(&["down", "--env", "dev"]);
    restore(first[0], &[]).fails(1, &["no terminal to ask at"]);
    let said = restore(first[0], &["--yes", "--why", "the migration was wrong"]).success();
    let kept = snapshots(&ward)[0];
    assert!(
        said.contains(&format!("what it held before is s{kept}")),
        "{said}"
    );
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "one");
    let folder = inside(
        &ward,
        "stat -c %a /data/d; readlink /data/d/l; test -w /data/file && echo mine",
    );
    assert_eq!(
        folder.success().split_whitespace().collect::<Vec<_>>(),
        ["750", "x", "mine"]
    );
    // It can be taken back.
    ward.ok(&["down", "--env", "dev"]);
    restore(kept, &["--yes"]).success();
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "migrated");
    // The newest two are kept, on the disk as in the log.
    stack("three", "true");
    ward.ok(&["deploy"]);
    stack("four", "true");
    ward.ok(&["deploy"]);
    let two = snapshots(&ward);
    assert_eq!(two.len(), 2);
    let mut names: Vec<String> = two.iter().map(|id| format!("s{id}")).collect();
    names.sort();
    eventually("the others are swept away", || folders(&ward) == names);
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("is a snapshot of the volume uploads"),
        "{events}"
    );
    assert!(
        events.contains(&format!("the volume uploads holds what s{kept} held")),
        "{events}"
    );
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_snapshot_that_cannot_be_made_fails_the_deployment_before_anything_changed() {
    let ward = Ward::new();
    let with = format!("{UPLOADS}snapshot = \"before_release\"\n");
    ward.stack(&answer("one"), &with);
    ward.up();
    // Not even its own user may read it.
    inside(&ward, "echo x > /data/closed && chmod 000 /data/closed").success();
    ward.stack(&answer("two"), &with);
    let deployed = ward.run(&["deploy"]);
    deployed.fails(
        1,
        &[
            "The snapshot of the volume uploads could not be made",
            "/from/./closed",
            "volume.uploads.snapshot",
        ],
    );
    assert!(snapshots(&ward).is_empty());
    eventually("nothing of it is left", || folders(&ward).is_empty());
    inside(&ward, "chmod 600 /data/closed").success();
    ward.ok(&["deploy"]);
    assert_eq!(snapshots(&ward).len(), 1);
}

#[test]
fn a_volume_that_holds_too_much_is_told_and_nothing_is_deployed_until_it_holds_less() {
    let ward = Ward::new();
    ward.stack(&answer("one"), &format!("scratch = \"1MiB\"\n{UPLOADS}"));
    ward.up();
    // No file becomes larger than the volume is to be.
    let large = inside(
        &ward,
        "head -c 9000000 /dev/zero > /data/large; stat -c %s /data/large",
    );
    assert!(large.stdout().contains("8388608"), "{large:?}");
    inside(&ward, "head -c 4000000 /dev/urandom > /data/more; sync").success();
    eventually("the status says so", || {
        let status = ward.ok(&["status"]);
        status.contains("volume uploads holds 11 MiB, more than its size, 8MiB")
    });
    let shown = ward.run(&["volume", "list"]);
    assert!(
        shown
            .stderr()
            .contains("the volume uploads holds more than its size"),
        "{shown:?}"
    );
    ward.stack(&answer("two"), &format!("scratch = \"1MiB\"\n{UPLOADS}"));
    ward.run(&["deploy"]).fails(
        1,
        &[
            "the volume uploads of shop/dev held 11 MiB a moment ago, and its size is 8MiB",
            "nothing was changed",
            "volume.uploads.size",
        ],
    );
    ward.stack(&answer("two"), &UPLOADS.replace("8MiB", "16MiB"));
    ward.ok(&["deploy"]);
    // Going back is always possible.
    ward.ok(&["rollback"]);
    inside(&ward, "rm /data/large").success();
    eventually("that is seen", || {
        !ward.ok(&["status"]).contains("more than its size")
    });
    ward.stack(&answer("three"), UPLOADS);
    ward.ok(&["deploy"]);
}

/// A shell inside of an instance of the web service of an environment.
fn inside_of(ward: &Ward, env: &str, script: &str) -> Ran {
    ward.run(&["exec", "web", "--env", env, "--", "sh", "-c", script])
}

const MANY: &str = "mkdir /data/many && cd /data/many && seq 60000 | xargs touch";

/// What a clone has of [`MANY`] where it came up; where it did not, nothing is left of it.
fn all_or_nothing(ward: &Ward) -> Option<usize> {
    let demo = ward.home().join("volumes/shop/demo");
    let listed = || ward.ok(&["env", "list", "--all"]);
    let mut serves = None;
    eventually("it serves, or is gone", || {
        let many = std::fs::read_dir(demo.join("uploads/data/many"));
        serves = many.ok().map(Iterator::count);
        let up = inside_of(ward, "demo", "true").code() == 0;
        up || (listed().contains("it could not be made") && !demo.exists())
    });
    serves.filter(|_| demo.exists())
}

const CLONED: &str = "[environment.prod]\ncopy_data = \"allowed\"\n";

#[test]
fn a_clone_has_the_files_of_its_original_and_both_go_their_own_way() {
    let ward = Ward::new();
    let denied = format!("{UPLOADS}{}", CLONED.replace("allowed", "denied"));
    ward.stack(&answer("one"), &denied);
    ward.ok(&["deploy", "--env", "prod"]);
    let made = "cd /data && mkdir -m 750 sub && echo real > sub/file && chmod 640 sub/file && ln -s file sub/link";
    inside_of(&ward, "prod", made).success();
    let clone = ["env", "clone", "prod", "demo"];
    ward.run(&clone)
        .fails(1, &["the data of shop/prod must not be copied"]);
    ward.stack(&answer("one"), &format!("{UPLOADS}{CLONED}"));
    ward.ok(&["deploy", "--env", "prod"]);
    let made = ward.run(&clone);
    made.success();
    let said = made.stderr();
    assert!(
        said.contains("its volumes get the files that shop/prod has now")
            && !said.contains("its databases"),
        "{said}"
    );
    let shown = "cd /data/sub && cat link && stat -c '%a %n' . file && echo own > mine";
    let seen = inside_of(&ward, "demo", shown).success();
    assert_eq!(seen, "real\n750 .\n640 file\n");
    if is_root() {
        let owner = "stat -c %u /data /data/sub/file; id -u";
        let owners = inside_of(&ward, "demo", owner).success();
        let mut owners: Vec<&str> = owners.split_whitespace().collect();
        owners.dedup();
        assert_eq!(owners.len(), 1, "{owners:?}");
    }
    inside_of(
        &ward,
        "prod",
        "test ! -e /data/sub/mine && echo new > /data/sub/file",
    )
    .success();
    assert_eq!(
        inside_of(&ward, "demo", "cat /data/sub/file").success(),
        "real\n"
    );
    let events = ward.ok(&["events", "--env", "demo"]);
    assert!(
        events.contains("files were copied into the volume uploads"),
        "{events}"
    );
    // It is an environment like any other from now on.
    ward.ok(&["down", "--env", "demo"]);
    ward.ok(&["up", "--env", "demo", ward.dir().to_str().unwrap()]);
    assert_eq!(
        inside_of(&ward, "demo", "cat /data/sub/mine").success(),
        "own\n"
    );
    ward.ok(&["audit", "verify"]);
}

#[test]
fn p4_a_copy_of_files_goes_on_when_the_server_is_killed() {
    let ward = Ward::new();
    let with = format!("{UPLOADS}{CLONED}").replace("8MiB", "1GiB");
    ward.stack(&answer("one"), &with);
    ward.ok(&["deploy", "--env", "prod"]);
    inside_of(&ward, "prod", MANY).success();
    ward.ok(&["env", "clone", "prod", "demo", "--no-wait"]);
    let many = ward.home().join("volumes/shop/demo/uploads/data/many");
    eventually("it is begun", || many.exists());
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    assert_eq!(all_or_nothing(&ward), Some(60_000));
}

#[test]
fn an_original_that_is_removed_while_its_files_are_copied_leaves_no_half_of_them() {
    let ward = Ward::new();
    let with = format!("{UPLOADS}{CLONED}").replace("8MiB", "1GiB");
    ward.stack(&answer("one"), &with);
    ward.ok(&["deploy", "--env", "prod"]);
    inside_of(&ward, "prod", MANY).success();
    ward.ok(&["env", "clone", "prod", "demo", "--no-wait"]);
    let many = ward.home().join("volumes/shop/demo/uploads/data/many");
    eventually("it is begun", || many.exists());
    ward.ok(&["down", "--env", "prod", "--purge", "--yes"]);
    let files = all_or_nothing(&ward);
    assert!(matches!(files, None | Some(60_000)), "{files:?}");
}

#[test]
fn a_copy_of_an_environment_has_empty_volumes_where_nobody_asks_for_its_data() {
    let ward = Ward::new();
    let two = "[environment.dev]\n[environment.prod]\npolicy.volume_removed = \"deny\"\nservice.web.route.host = \"prod.localhost\"";
    ward.stack(&answer("one"), &format!("{UPLOADS}{two}"));
    ward.ok(&["deploy", "--env", "prod"]);
    inside_of(&ward, "prod", "echo real > /data/file").success();
    ward.ok(&["env", "create", "demo", "--from", "prod"]);
    ward.ok(&[
        "exec",
        "web",
        "--env",
        "demo",
        "--",
        "sh",
        "-c",
        "test ! -e /data/file && echo made > /data/file",
    ]);
    ward.ok(&["env", "delete", "demo", "--yes"]);
    assert!(!ward.home().join("volumes/shop/demo").exists());
    ward.run(&["down", "--env", "prod", "--purge", "--yes"])
        .fails(1, &["forbids to remove its data (volume_removed)"]);
    ward.stack(&answer("one"), two);
    ward.run(&["deploy", "--env", "prod"]).fails(
        1,
        &[
            "the volume uploads would be removed",
            "keep `[volume.uploads]`",
        ],
    );
    let kept = ward.ok(&["exec", "web", "--env", "prod", "--", "cat", "/data/file"]);
    assert_eq!(kept.trim(), "real");
    ward.ok(&[
        "policy",
        "waive",
        "volume_removed",
        "--env",
        "prod",
        "--until",
        "1h",
        "--why",
        "the test is over",
    ]);
}

#[test]
fn an_ordinary_user_has_volumes_and_snapshots_too() {
    if !is_root() {
        return; // The other tests are this one then.
    }
    let ward = Ward::of_user(1234);
    let dev = "snapshot = \"before_release\"\n[environment.dev]\ncopy_data = \"allowed\"\n";
    let with = format!("{UPLOADS}{dev}");
    ward.stack(&answer("one"), &with);
    ward.up();
    inside(&ward, "echo one > /data/file").success();
    ward.stack(&answer("two"), &with);
    ward.ok(&["deploy"]);
    inside(&ward, "echo two > /data/file").success();
    let id = format!("s{}", snapshots(&ward)[0]);
    ward.ok(&["down", "--env", "dev"]);
    ward.ok(&["volume", "restore", &id, "--yes"]);
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "one");
    ward.ok(&["env", "clone", "dev", "demo"]);
    assert_eq!(
        inside_of(&ward, "demo", "cat /data/file").success(),
        "one\n"
    );
}

#[test]
fn p4_a_snapshot_goes_on_when_the_server_is_killed() {
    let ward = Ward::new();
    let with = format!("{UPLOADS}snapshot = \"before_release\"\n").replace("8MiB", "1GiB");
    ward.stack(&answer("one"), &with);
    ward.up();
    // Many files, so that it takes a while.
    inside(
        &ward,
        "mkdir /data/many && cd /data/many && seq 20000 | xargs touch",
    )
    .success();
    ward.stack(&answer("two"), &with);
    ward.ok(&["deploy", "--no-wait"]);
    eventually("it is begun, or over", || {
        !folders(&ward).is_empty() || ward.status()["environments"][0]["current"] == 2
    });
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    eventually("the release serves", || {
        ward.status()["environments"][0]["current"] == 2
    });
    let made = snapshots(&ward);
    assert_eq!(made.len(), 1);
    let many = ward.home().join(format!(
        "volumes/shop/dev/uploads/snapshots/s{}/many",
        made[0]
    ));
    assert_eq!(std::fs::read_dir(many).unwrap().count(), 20_000);
    ward.ok(&["audit", "verify"]);
}

/// An environment that is down, with the snapshot whose number is returned: it holds `old`, the volume `new`.
fn down_with_a_snapshot(ward: &Ward, more: &str) -> String {
    let with = format!("{UPLOADS}snapshot = \"before_release\"\n").replace("8MiB", "1GiB");
    ward.stack(&answer("one"), &with);
    ward.up();
    inside(ward, &format!("echo old > /data/file; {more}")).success();
    ward.stack(&answer("two"), &with);
    ward.ok(&["deploy"]);
    inside(ward, "echo new > /data/file").success();
    ward.ok(&["down", "--env", "dev"]);
    format!("s{}", snapshots(ward)[0])
}

/// The folders of a volume.
fn parts(ward: &Ward) -> Vec<String> {
    let volume = ward.home().join("volumes/shop/dev/uploads");
    let found = std::fs::read_dir(volume).unwrap().flatten();
    let mut names: Vec<String> = found
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn restores(ward: &Ward) -> bool {
    parts(ward).iter().any(|name| name.starts_with("restore-"))
}

/// A command that is under way.
fn begun(ward: &Ward, arguments: &[&str]) -> Child {
    let mut command = ward.command(arguments);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap()
}

const FILES: &str = "mkdir /data/many && cd /data/many && seq 20000 | xargs touch";

#[test]
fn a_restore_that_is_given_up_or_asked_for_twice_loses_nothing() {
    let ward = Ward::new();
    let id = down_with_a_snapshot(&ward, FILES);
    let restore = ["volume", "restore", &id, "--yes"];
    let mut given_up = begun(&ward, &restore);
    eventually("it copies", || restores(&ward));
    given_up.kill().unwrap();
    given_up.wait().unwrap();
    eventually("what it copied is removed", || !restores(&ward));
    assert_eq!(snapshots(&ward).len(), 1, "nothing was changed");
    // Two at once, of which the one waits for the other, or is refused.
    let mut first = begun(&ward, &restore);
    eventually("it copies", || restores(&ward));
    let second = ward.run(&restore);
    assert!(first.wait().unwrap().success());
    // On a slow disk it was refused, with nothing changed.
    if second.code() != 0 {
        second.fails(1, &["is being restored; nothing was changed"]);
        ward.ok(&restore);
    }
    let kept = snapshots(&ward);
    assert_eq!(kept.len(), 3);
    for number in [0, 2] {
        let snapshot = ward.home().join(format!(
            "volumes/shop/dev/uploads/snapshots/s{}/many",
            kept[number]
        ));
        assert_eq!(std::fs::read_dir(snapshot).unwrap().count(), 20_000);
    }
    assert_eq!(parts(&ward), ["data", "snapshots"]);
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "old");
    assert_eq!(
        inside(&ward, "ls /data/many | wc -l").success().trim(),
        "20000"
    );
}

#[test]
fn p4_a_server_that_is_killed_in_a_restore_leaves_the_one_or_the_other() {
    let ward = Ward::new();
    let id = down_with_a_snapshot(&ward, FILES);
    let mut restoring = begun(&ward, &["volume", "restore", &id, "--yes"]);
    eventually("it copies", || restores(&ward));
    kill9(ward.server_pid());
    restoring.wait().unwrap();
    // As far as one comes that is killed between the two names: what it held before has no name of its own.
    let volume = ward.home().join("volumes/shop/dev/uploads");
    let folder = parts(&ward)
        .into_iter()
        .find(|name| name.starts_with("restore-"))
        .unwrap();
    std::fs::rename(volume.join("data"), volume.join(folder).join("former")).unwrap();
    ward.ok(&["up", "--platform"]);
    eventually("what is left is removed", || !restores(&ward));
    assert_eq!(parts(&ward), ["data", "snapshots"]);
    assert_eq!(snapshots(&ward).len(), 1, "the log has no restore");
    ward.up();
    assert_eq!(reads(&ward, "/data/file"), "new");
    ward.ok(&["audit", "verify"]);
}

#[test]
fn folders_of_any_depth_can_be_measured_and_removed() {
    let ward = Ward::new();
    ward.stack(&answer("one"), UPLOADS);
    ward.up();
    // Deeper than any path can name, with what holds more than the volume may at the bottom.
    let dig = "import os; os.chdir('/data'); [(os.mkdir('d'), os.chdir('d')) for _ in range(5000)]; \
               [open(f'file{n}', 'wb').write(os.urandom(6 << 20)) for n in (1, 2)]";
    inside(&ward, &format!("python3 -c \"{dig}\" && sync")).success();
    eventually("the status says so", || {
        let status = ward.ok(&["status"]);
        status.contains("more than its size, 8MiB")
    });
    let with = UPLOADS.replace("8MiB", "1GiB");
    ward.stack(
        &answer("two"),
        &format!("{with}snapshot = \"before_release\"\n"),
    );
    let refused = ward.run(&["deploy"]);
    refused.fails(1, &["File name too long"]);
    let longest = refused.stderr().lines().map(str::len).max();
    assert!(longest.is_some_and(|longest| longest < 1000), "{longest:?}");
    ward.ok(&["down", "--purge", "--yes"]);
    assert!(!ward.home().join("volumes").exists());
    ward.ok(&["audit", "verify"]);
}
