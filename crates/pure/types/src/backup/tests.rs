use super::*;
use crate::id::EnvId;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn file() -> BackupFile {
    BackupFile {
        bytes: 10,
        digest: Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap(),
    }
}

/// An environment, and the moment.
struct World(Environment, u64);

impl World {
    fn new() -> Self {
        let id = EnvId::parse("returns/prod").unwrap();
        Self(Environment::new(id), 0)
    }

    fn at(&mut self, secs: u64) -> &mut Self {
        self.1 = secs * 1000;
        self
    }

    fn tell(&mut self, event: &Event) -> Result<(), MisfitEvent> {
        self.0.apply_to_backups(Timestamp(self.1), event)
    }

    fn begin(&mut self, id: u64, keep: u32) -> Result<(), MisfitEvent> {
        let env = self.0.id.clone();
        self.tell(&Event::BackupBegan {
            env,
            backup: BackupId(id),
            database: name("db"),
            keep,
            by: "ward".to_owned(),
        })
    }

    fn take(&mut self, id: u64) -> Result<(), MisfitEvent> {
        let (env, file) = (self.0.id.clone(), file());
        self.tell(&Event::BackupTaken {
            env,
            backup: BackupId(id),
            file,
        })
    }

    fn restore(&mut self, id: u64) -> Result<(), MisfitEvent> {
        let env = self.0.id.clone();
        self.tell(&Event::BackupRestored {
            env,
            backup: BackupId(id),
            proof: Proof { tables: 1, rows: 2 },
        })
    }

    fn fail(&mut self, id: u64) -> Result<(), MisfitEvent> {
        let env = self.0.id.clone();
        self.tell(&Event::BackupFailed {
            env,
            backup: BackupId(id),
            why: "the disk is full".to_owned(),
        })
    }

    fn whole(&mut self, id: u64, keep: u32) {
        self.begin(id, keep).unwrap();
        self.take(id).unwrap();
        self.restore(id).unwrap();
    }

    fn due(&self) -> Option<u64> {
        let due = self.0.backups.due(&name("db"), Millis::secs(3600));
        due.map(|at| at.0 / 1000)
    }
}

#[test]
fn p8_a_backup_counts_only_after_it_was_restored() {
    let mut world = World::new();
    world.begin(1, 2).unwrap();
    assert!(world.restore(1).is_err(), "it was never taken");
    world.take(1).unwrap();
    assert!(world.0.backups.newest(&name("db")).is_none());
    assert!(world.begin(2, 2).is_err(), "one is under way");
    world.restore(1).unwrap();
    assert_eq!(world.0.backups.newest(&name("db")).unwrap().0, BackupId(1));
    for again in [World::take, World::restore, World::fail] {
        assert!(again(&mut world, 1).is_err(), "it has ended");
    }
    assert!(world.begin(1, 2).is_err(), "its number is taken");
}

#[test]
fn failures_push_out_nothing_that_was_restored() {
    let mut world = World::new();
    for id in 1..=4 {
        world.whole(id, 2);
    }
    for id in 5..=40 {
        world.begin(id, 1).unwrap();
        world.fail(id).unwrap();
    }
    let all = &world.0.backups.all;
    let counting = all.iter().filter(|(_, backup)| backup.counts());
    let counting: Vec<u64> = counting.map(|(id, _)| id.0).collect();
    assert_eq!(counting, [3, 4]);
    assert_eq!(all.len(), 2 + FAILURES);
    assert_eq!(all.keys().next_back(), Some(&BackupId(40)));
}

#[test]
fn the_first_is_due_at_once_and_what_failed_after_a_pause_that_grows() {
    let mut world = World::new();
    assert_eq!(world.due(), Some(0));
    world.at(100).begin(1, 7).unwrap();
    assert_eq!(world.due(), None, "it is under way");
    world.fail(1).unwrap();
    assert_eq!(world.due(), Some(105));
    world.at(105).begin(2, 7).unwrap();
    world.at(110).fail(2).unwrap();
    assert_eq!(world.due(), Some(120));
    for id in 3..=20 {
        world.begin(id, 7).unwrap();
        world.fail(id).unwrap();
    }
    assert_eq!(world.due(), Some(110 + 15 * 60));
    world.at(2000).whole(21, 7);
    assert_eq!(world.due(), Some(2000 + 3600));
    // However long nobody looked, it is made up for once.
    world.at(90_000).whole(22, 7);
    assert_eq!(world.due(), Some(90_000 + 3600));
}

#[test]
fn one_table_is_no_tables() {
    let said = |tables, rows| Proof { tables, rows }.to_string();
    assert_eq!(said(1, 1), "1 table, 1 row");
    assert_eq!(said(2, 0), "2 tables, 0 rows");
}
