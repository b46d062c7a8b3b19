//! `kill -9` while the log is written to (promise P4): nothing acknowledged is lost, no batch is torn, no
//! number is given twice, and the audit finds nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scene;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scene::{created, entry, env, executed};
use ward_store::{Log, Store};
use ward_types::event::Event;

const DATABASE: &str = "WARD_TEST_DATABASE";
const ROUNDS: u64 = 25;

/// Not a test: the process that is killed. It appends pairs, and says what was acknowledged.
#[test]
#[ignore = "started by the tests below"]
fn child_that_appends() {
    let Some(path) = std::env::var_os(DATABASE) else {
        return;
    };
    let store = Store::open(path.as_ref()).unwrap();
    for n in 0.. {
        let number = store.next_number("pairs", 1).unwrap();
        let pair = vec![
            entry(n, executed(&format!("a{number}"))),
            entry(n, executed(&format!("b{number}"))),
        ];
        let records = store.append(pair).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacked {} {number}", records[0].seq).unwrap();
        out.flush().unwrap();
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_appends", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A small generator of numbers, so that a run can be repeated from the seed that it prints.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn seq_and_number(line: &str) -> Option<(u64, u64)> {
    let (seq, number) = line.strip_prefix("acked ")?.split_once(' ')?;
    Some((seq.parse().ok()?, number.parse().ok()?))
}

/// Lets a child append, kills it somewhere after `least` pairs, and gives what it had acknowledged.
fn run_and_kill(path: &Path, least: u64, busy: Duration) -> Vec<(u64, u64)> {
    let mut child = start(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acked = Vec::new();
    while (acked.len() as u64) < least {
        let line = lines.next().expect("the child ended by itself").unwrap();
        acked.extend(seq_and_number(&line));
    }
    let from = Instant::now();
    while from.elapsed() < busy {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it wrote before it died counts too; the very last line may be torn.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    acked.extend(rest.iter().filter_map(|line| seq_and_number(line)));
    acked
}

#[test]
fn p4_a_killed_writer_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ward.db");
    Store::open(&path)
        .unwrap()
        .append(vec![entry(0, created(&env()))])
        .unwrap();
    let seed = u64::from(std::process::id());
    let mut numbers = Numbers(seed);
    let mut given = BTreeSet::new();
    for round in 0..ROUNDS {
        let busy = Duration::from_micros(numbers.below(4000));
        let acked = run_and_kill(&path, 1 + numbers.below(6), busy);
        let store = Store::open(&path).unwrap();
        check(&store, &acked, &format!("seed {seed}, round {round}"));
        assert!(
            acked.iter().all(|(_, number)| given.insert(*number)),
            "a number was given twice"
        );
        let next = store.next_number("pairs", 0).unwrap();
        assert!(
            next > *given.last().unwrap(),
            "seed {seed}, round {round}: a number would be given twice"
        );
    }
}

fn check(store: &Store, acked: &[(u64, u64)], round: &str) {
    let audit = store.verify(None).unwrap();
    assert_eq!(audit.breaks, [""; 0], "{round}");
    assert_eq!(audit.events % 2, 1, "{round}: a pair was torn");
    let records = store.records(None, usize::MAX, None).unwrap();
    assert_eq!(records.len() as u64, audit.events);
    for (seq, number) in acked {
        let names = [format!("a{number}"), format!("b{number}")];
        for (record, name) in records[*seq as usize..].iter().zip(names) {
            let Event::CommandExecuted { program, .. } = &record.event else {
                panic!("{round}: event {seq} is another one");
            };
            assert_eq!(*program, name, "{round}");
        }
        assert!(
            records.len() as u64 >= seq + 2,
            "{round}: event {seq} was acknowledged and is gone"
        );
    }
}
