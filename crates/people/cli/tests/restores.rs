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
use support::{Ran, Ward, eventually, go_on, kill9, pause, poll};

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
