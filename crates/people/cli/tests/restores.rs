//! A restore that is cut off leaves all or nothing, and what no server was there to back up is made up for.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::backups::{becomes, psql, stack, view};
use support::load::get;
use support::{Ran, Ward, eventually, go_on, kill9, pause, piped, poll};

const AGAIN: &str = "shop/again";
const COPIED: &str = "the data was copied into db";
const UNMADE: &str = "it could not be made: it is deleted";
const ROWS: &str = "60000";

/// When the server is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Recorded,
    DatabaseStarts,
    IsToBeFilled,
    IsBeingFilled,
    IsFilled,
}

fn restoring(ward: &Ward) -> std::process::Child {
    let restore = [
        "db", "restore", "--backup", "b1", "--into", "again", "--env", "shop/dev",
    ];
    let mut command = ward.command(&restore);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn instances(ward: &Ward) -> usize {
    fs::read_dir(ward.home().join("run").join(AGAIN)).map_or(0, Iterator::count)
}

/// How many bytes the database's tables take.
fn written(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => written(&entry.path()),
        // Not the log, which is as large from the beginning.
        Ok(meta) if !dir.ends_with("pg_wal") => meta.len(),
        _ => 0,
    });
    of.sum()
}

/// The process that reads what the new database gets.
fn reader(ward: &Ward) -> Option<i32> {
    let home = ward.home().to_str().unwrap();
    let line = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let after = stat.rsplit_once(") ")?.1;
        after.split(' ').nth(1)?.parse().ok()
    };
    // Below a keeper of this Ward, and of no other on the machine.
    let is_ours = |pid: i32| {
        let mut above = std::iter::successors(Some(pid), |pid| parent(*pid));
        above.any(|pid| line(pid).contains(home))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| line(*pid).contains("pg_restore --file=-") && is_ours(*pid))
}

fn environments(ward: &Ward) -> Vec<String> {
    let status = ward.status();
    let all = status["environments"].as_array().cloned();
    let ids = all.unwrap_or_default().into_iter();
    ids.filter_map(|env| env["id"].as_str().map(str::to_owned))
        .collect()
}

fn is_there(ward: &Ward) -> bool {
    environments(ward).contains(&AGAIN.to_owned())
}

/// How often this was said of the new environment in the log.
fn said(ward: &Ward, text: &str) -> usize {
    let events = ward.ok(&["events", "-n", "1000"]);
    let of = events.lines().filter(|line| line.contains(AGAIN));
    of.filter(|line| line.contains(text)).count()
}

fn rows(ward: &Ward, env: &str) -> String {
    psql(ward, env, "select count(*) from patient")
}

impl Moment {
    const ALL: [Self; 5] = [
        Self::Recorded,
        Self::DatabaseStarts,
        Self::IsToBeFilled,
        Self::IsBeingFilled,
        Self::IsFilled,
    ];

    /// Whether it has come, of a restore before which so many were filled.
    fn has_come(self, ward: &Ward, filled: usize, half: &mut Half) -> bool {
        match self {
            Self::Recorded => is_there(ward),
            Self::DatabaseStarts => instances(ward) >= 1,
            Self::IsToBeFilled => instances(ward) >= 2,
            Self::IsBeingFilled => half.is_reached(ward),
            Self::IsFilled => said(ward, COPIED) > filled,
        }
    }
}

/// A restore that is held in the middle.
#[derive(Default)]
struct Half {
    fresh: u64,
    held: Option<i32>,
}

impl Half {
    /// Lets it go on for a moment at a time, until the new database has a part of the rows.
    fn is_reached(&mut self, ward: &Ward) -> bool {
        let data = ward.home().join("data").join(AGAIN);
        let Some(reader) = reader(ward) else {
            self.fresh = written(&data);
            return false;
        };
        pause(reader);
        let some = written(&data) > self.fresh + (1 << 20);
        match some {
            true => self.held = Some(reader),
            false => go_on(reader),
        }
        some
    }
}

#[test]
fn p4_a_restore_whose_server_is_killed_leaves_all_or_nothing_says_so_and_can_be_done_again() {
    let ward = Ward::new();
    stack(&ward, "");
    ward.up();
    // Nothing that can be made small: it is given to the new database for as long as that reads it.
    let part = |salt: usize| format!("sha512((n || '{salt}')::bytea)");
    let file: Vec<String> = (0..5).map(part).collect();
    let made = format!(
        "create table patient as select n, {} as file from generate_series(1, {ROWS}) n",
        file.join(" || ")
    );
    psql(&ward, "shop/dev", &made);
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    becomes(&ward, 1, "restored");
    for moment in Moment::ALL {
        let (filled, unmade) = (said(&ward, COPIED), said(&ward, UNMADE));
        let (server, mut half) = (ward.server_pid(), Half::default());
        let asked = restoring(&ward);
        let limit = Duration::from_secs(60);
        let came = poll(limit, || moment.has_come(&ward, filled, &mut half));
        assert!(came, "{moment:?} never came");
        kill9(server);
        if let Some(held) = half.held {
            go_on(held);
        }
        let told = Ran::of(&["db", "restore"], asked.wait_with_output().unwrap());
        let says = [
            "the Ward server broke off the call",
            "goes on with what was under way",
        ];
        told.fails(1, &says);
        ward.ok(&["up", "--platform"]);
        let settled = poll(Duration::from_secs(90), || {
            let shown = ward.run(&["deployment", "show", "--env", AGAIN]);
            !is_there(&ward) || shown.stdout().contains("succeeded")
        });
        assert!(settled, "{moment:?}: {}", ward.ok(&["status"]));
        // Who gave it the rows was killed in the middle of them.
        let held = matches!(moment, Moment::IsBeingFilled);
        match is_there(&ward) {
            true => {
                assert!(!held, "nobody has given it the rest");
                assert_eq!(rows(&ward, AGAIN), ROWS, "{moment:?}: a part was restored");
                ward.ok(&["env", "delete", AGAIN, "--yes"]);
            }
            false => {
                let says = [
                    "The data could not be copied into db",
                    "could not read from input file: end of file",
                    "Nothing of the new environment is left behind: make it again",
                ];
                let watch = ["deployment", "watch", "--env", AGAIN];
                ward.run(&watch).fails(1, &says);
                assert_eq!(said(&ward, UNMADE), unmade + 1, "{moment:?}");
            }
        }
        let left = ["data", "run"].map(|path| ward.home().join(path).join(AGAIN));
        eventually("nothing of it is left", || {
            let empty = |path: &PathBuf| fs::read_dir(path).map_or(0, Iterator::count) == 0;
            left.iter().all(empty)
        });
        assert_eq!(rows(&ward, "shop/dev"), ROWS);
    }
    let again = restoring(&ward).wait_with_output().unwrap();
    Ran::of(&["db", "restore"], again).success();
    assert_eq!([AGAIN, "shop/dev"].map(|env| rows(&ward, env)), [ROWS; 2]);
    ward.ok(&["audit", "verify"]);
}

/// When each backup that counts was begun, by its number.
fn begun(ward: &Ward) -> Vec<u64> {
    let mut all = view(ward)["backups"].as_array().unwrap().clone();
    all.retain(|one| one["stand"]["stand"] == "restored");
    all.reverse();
    assert!(all.iter().all(|one| one["by"] == "ward"), "{all:?}");
    all.iter()
        .map(|one| one["began"].as_u64().unwrap())
        .collect()
}

/// Milliseconds since 1970.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn backups_that_were_missed_are_told_of_and_made_up_for_once() {
    const EVERY: u64 = 8_000;
    let ward = Ward::new();
    stack(&ward, "backups = { every = \"8s\", keep = 50 }\n");
    let limit = Duration::from_secs(90);
    let since = |moment: u64| begun(&ward).iter().filter(|at| **at > moment).count();
    ward.up();
    becomes(&ward, 1, "restored");
    // While the environment is down nothing is taken, and that is said.
    ward.ok(&["down", "--env", "shop/dev"]);
    let (before, down) = (begun(&ward), clock());
    let missed = before.last().unwrap() + 3 * EVERY;
    assert!(poll(limit, || clock() > missed));
    assert_eq!(begun(&ward), before);
    let says = [
        "the newest backup that was restored is of ",
        "one is due every 8s",
    ];
    for told in [
        &["status"][..],
        &["db", "backups", "--env", "shop/dev"],
        &["doctor"],
    ] {
        let ran = ward.run(told);
        assert_eq!(ran.code() == 0, told != ["doctor"], "{ran:?}");
        let said = ran.stdout() + &ran.stderr();
        assert!(says.iter().all(|text| said.contains(text)), "{said}");
    }
    let back = clock();
    ward.up();
    let so = poll(limit, || since(back) >= 1);
    assert!(so, "{}", view(&ward));
    eventually("nobody is told any more", || {
        ward.status()["environments"][0]["overdue_backups"].is_null()
    });
    // The same while no server runs.
    kill9(ward.server_pid());
    let missed = clock() + 3 * EVERY;
    assert!(poll(limit, || clock() > missed));
    ward.ok(&["up", "--platform"]);
    let so = poll(limit, || since(missed) >= 2);
    assert!(so, "{}", view(&ward));
    // Once, and from there on in their time.
    let all = begun(&ward);
    let away = |at: &&u64| (down..back).contains(*at);
    assert_eq!(all.iter().filter(away).count(), 0, "{all:?}");
    let pauses: Vec<u64> = all.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= EVERY), "{pauses:?}");
}

/// The secrets of an environment that is not made after all would stay behind.
#[test]
fn a_backup_that_does_not_open_sets_no_secrets_and_is_not_recommended() {
    let ward = Ward::new();
    stack(&ward, "");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let secret = "links = [\"db\"]\nsecrets = { API_KEY = \"env\" }";
    ward.write("ward.toml", &text.replace("links = [\"db\"]", secret));
    ward.ok(&["up", "--platform"]);
    let set = ["secret", "set", "API_KEY", "--env", "shop/dev"];
    piped(&ward, &set, "of-dev-of-dev").success();
    ward.up();
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let restore = |backup: &str, more: &[&str]| {
        let asked = ["db", "restore", "--into", "again", "--env", "shop/dev"];
        ward.run(&[&asked[..], &["--backup", backup], more].concat())
    };
    restore("b1", &[]).fails(
        1,
        &[
            "a secret is not set in shop/again",
            "`--secrets FILE` sets those of a .env file first",
        ],
    );
    ward.write("again.env", "API_KEY='of-again-of-again'\n");
    let secrets = ["--secrets", "again.env"];
    let path = ward.home().join("backups/shop/dev/database.db/1.backup");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = restore("b1", &secrets);
    refused.fails(
        1,
        &[
            "was altered: it is not what was written",
            "nothing was changed; `ward db backups --env shop/dev` lists what there is",
        ],
    );
    assert!(!refused.stderr().contains("db restore"), "{refused:?}");
    assert!(!is_there(&ward));
    let events = ward.ok(&["events", "-n", "1000"]);
    assert!(!events.contains(AGAIN), "{events}");
    // Another one that counts is named.
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let other = "`ward db restore --backup b2 --into NAME --env shop/dev`";
    restore("b1", &secrets).fails(1, &["nothing was changed; shop/dev has b2", other]);
    restore("b2", &secrets).success();
    assert!(is_there(&ward));
}

#[test]
fn what_was_purged_is_restored_under_another_name_and_has_its_hosts() {
    const HOST: &str = "shop.localhost";
    let ward = Ward::new();
    stack(&ward, "");
    ward.up();
    psql(&ward, "shop/dev", "create table patient (n int)");
    psql(&ward, "shop/dev", "insert into patient values (7)");
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let restore = |more: &[&str]| {
        let asked = ["db", "restore", "--backup", "b1", "--env", "shop/dev"];
        ward.run(&[&asked[..], more].concat())
    };
    let itself = "shop/dev cannot be a copy of itself";
    restore(&["--into", "dev"]).fails(1, &[itself, "`--into` takes another name"]);
    let hosts = ["--hosts", "{host}"];
    let taken = "the host shop.localhost leads to shop/dev already";
    restore(&[&["--into", "again"], &hosts[..]].concat()).fails(1, &[taken]);
    ward.ok(&["down", "--env", "shop/dev", "--purge", "--yes"]);
    let hint = "`--into dev-new --hosts '{host}'` makes one with the hosts of shop/dev";
    restore(&["--into", "dev"]).fails(1, &[itself, hint]);
    restore(&[&["--into", "again"], &hosts[..]].concat()).success();
    let answer = || get(&ward.http(), HOST, "/").unwrap().body;
    assert_eq!(answer(), "one");
    assert_eq!(psql(&ward, AGAIN, "select n from patient"), "7");
    // The stack file says what becomes of it, whether it declares it or not.
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    for (said, declared) in [("two", ""), ("three", "[environment.again]\n")] {
        let text = text.replace("\"one\"", &format!("\"{said}\""));
        ward.write("ward.toml", &format!("{text}{declared}"));
        ward.ok(&["deploy", "--env", "again"]);
        assert_eq!(answer(), said);
    }
    assert_eq!(psql(&ward, AGAIN, "select n from patient"), "7");
    let back = ["rollback", "--to", "r1", "--env", "shop/dev"];
    let taken = "the host shop.localhost leads to shop/again already";
    ward.run(&back).fails(1, &[taken]);
}

/// Where the data is gone the backups are the only way back, and whoever answered for the one has not for the other.
#[test]
fn the_backups_of_what_was_purged_are_kept_by_the_rule_of_its_data() {
    let ward = Ward::new();
    stack(&ward, "");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let rule = "policy.database_removed = \"deny\"\n";
    ward.write("ward.toml", &format!("{text}{rule}"));
    ward.up();
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let rule = |verb: &str, more: &[&str]| {
        let asked = ["policy", verb, "database_removed", "--env", "shop/dev"];
        ward.ok(&[&asked[..], more].concat());
    };
    let waive = ["--until", "1h", "--why", "the disk is full"];
    rule("waive", &waive);
    ward.ok(&["down", "--env", "shop/dev", "--purge", "--yes"]);
    rule("enforce", &[]);
    let delete = ["env", "delete", "shop/dev", "--yes"];
    let forbids = "the policy of shop/dev forbids to remove its data (database_removed)";
    ward.run(&delete).fails(1, &[forbids]);
    // They stay when it is purged again: nothing more is lost by it.
    ward.ok(&["down", "--env", "shop/dev", "--purge", "--yes"]);
    rule("waive", &waive);
    ward.ok(&delete);
}

/// These are its rows, whichever way they take.
#[test]
fn the_backups_of_what_may_not_be_copied_become_nothing_beside_it() {
    let ward = Ward::new();
    stack(&ward, "");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let denied = text.replace("copy_data = \"allowed\"", "copy_data = \"denied\"");
    ward.write("ward.toml", &denied);
    ward.up();
    psql(&ward, "shop/dev", "create table patient (n int)");
    // That it is restored to be proved is nobody's copy.
    ward.ok(&["db", "backup", "--env", "shop/dev"]);
    let restore_b1 = ["db", "restore", "--backup", "b1", "--env", "shop/dev"];
    let restore = || ward.run(&[&restore_b1[..], &["--into", "again"]].concat());
    let way_out =
        "`copy_data = \"allowed\"` under [environment.dev] in ward.toml, deployed, allows it";
    let refused = [
        "what the backups of shop/dev hold must not get into another environment",
        "nothing was changed",
        way_out,
        "`--why \"…\"`",
        "`ward down --env shop/dev`",
    ];
    restore().fails(1, &refused);
    assert!(!is_there(&ward));
    // Somebody answers for it.
    let why = ["--into", "again", "--why", "rows deleted by mistake"];
    ward.ok(&[&restore_b1[..], &why].concat());
    ward.ok(&["env", "delete", "again", "--yes"]);
    eventually("it is gone", || !is_there(&ward));
    ward.ok(&["down", "--env", "shop/dev"]);
    restore().success();
    assert_eq!(psql(&ward, AGAIN, "select count(*) from patient"), "0");
    ward.ok(&["env", "delete", "again", "--yes"]);
    ward.write("ward.toml", &text);
    ward.up();
    restore().success();
}
