//! Notices: what people should know who do not look is told to a program of theirs.
//!
//! Decision: the program is the file `notify` in the state folder, as `policy.toml` there is the installation's policy. So
//! it is there for the next server, too, whoever starts that, and what it knows (the address of a chat, say, that is a
//! secret in itself) is in no list of processes. It gets one event at a time, in their order, as a line of JSON.
//! The log is the queue: nobody waits for the program, and a server that takes over goes on at the place that is
//! remembered beside it. An event is passed over when it was told, so a server that is killed meanwhile tells it again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ward_store::Log;
use ward_types::event::Record;
use ward_types::view::NoticesView;

use crate::actor::causes;
use crate::control::{Control, lock};

/// The program, in the state folder.
const PROGRAM: &str = "notify";

/// What is remembered of it, beside it.
const FILE: &str = "notices.json";

/// How long it may take for one event.
const WITHIN: Duration = Duration::from_secs(10);

/// Between the times that it gets one that it did not take. Those behind one that it never took get one try each, until
/// it takes one: what is wrong is the program, most of the time, or what it writes to.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// So many events are read at once.
const AT_ONCE: usize = 200;

/// It is not told of what is so many events ago: that is history, and the log has it.
const MOST_BEHIND: u64 = 10_000;

/// How the program takes what it is told.
#[derive(Default)]
pub(crate) struct Notices(Mutex<NoticesView>);

/// How far the log was gone through.
#[derive(Serialize, Deserialize)]
struct Place {
    /// The first event that was not.
    next: u64,
}

struct Teller {
    program: PathBuf,
    file: PathBuf,
    next: u64,
    /// What the file says.
    kept: Option<u64>,
}

impl Control {
    /// How notices are taken; nothing where there is no program for them.
    pub(crate) fn notices(&self) -> Option<NoticesView> {
        let there = self.0.home.join(PROGRAM).exists();
        there.then(|| lock(&self.0.notices.0).clone())
    }

    /// Tells what there is to tell for as long as the server runs.
    pub(crate) fn keep_notifying(&self) {
        let control = self.clone();
        let mut changed = self.store().changed();
        let mut teller = Teller::of(&self.0.home, *changed.borrow());
        tokio::spawn(async move {
            let mut ending = control.ending();
            loop {
                let events = *changed.borrow_and_update();
                tokio::select! {
                    biased;
                    _ = ending.wait_for(|end| *end) => return,
                    () = control.told_to(&mut teller, events) => {}
                }
                tokio::select! {
                    _ = ending.wait_for(|end| *end) => return,
                    more = changed.changed() => if more.is_err() { return },
                }
            }
        });
    }

    async fn told_to(&self, teller: &mut Teller, events: u64) {
        if !teller.is_there() {
            // What happens meanwhile is not told later.
            teller.forget(events);
            *lock(&self.0.notices.0) = NoticesView::default();
            return;
        }
        teller.catch_up(events);
        loop {
            let after = teller.next.checked_sub(1);
            let records = match self.store().records(after, AT_ONCE, None) {
                Ok(records) if records.is_empty() => return,
                Ok(records) => records,
                Err(error) => {
                    let error = causes(&error);
                    return tracing::error!(error, "notices cannot be given");
                }
            };
            for record in records {
                let told = record.event.is_notice();
                if told {
                    self.tell(teller, &record).await;
                }
                teller.passed(record.seq, told);
            }
        }
    }

    /// Until it is taken, or was tried often enough.
    async fn tell(&self, teller: &Teller, record: &Record) {
        let ill = lock(&self.0.notices.0).trouble.is_some();
        let mut pauses = PAUSES.iter().filter(|_| !ill);
        let mut line = serde_json::to_vec(record).unwrap_or_default();
        line.push(b'\n');
        loop {
            let Err(why) = self.told_once(&teller.program, &line).await else {
                lock(&self.0.notices.0).trouble = None;
                return;
            };
            let (seq, kind) = (record.seq, record.event.kind());
            let program = teller.program.display();
            let trouble = format!("{program} did not take event {seq} ({kind}): {why}");
            tracing::warn!(trouble, "a notice was not taken");
            lock(&self.0.notices.0).trouble = Some(trouble);
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    lock(&self.0.notices.0).left_out += 1;
                    return;
                }
            }
        }
    }

    async fn told_once(&self, program: &Path, line: &[u8]) -> Result<(), String> {
        let home = &self.0.home;
        let env = vec![("WARD_HOME", home.clone())];
        let telling = ward_build::tell(program, home, env, line);
        match tokio::time::timeout(WITHIN, telling).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let last = error.output().last().map(|line| format!(": {line}"));
                Err(format!("{}{}", causes(&error), last.unwrap_or_default()))
            }
            Err(_) => Err(format!(
                "it took longer than {} s, and was ended",
                WITHIN.as_secs()
            )),
        }
    }
}

impl Teller {
    /// At the place that is remembered, or behind all `events` that there are.
    fn of(home: &Path, events: u64) -> Self {
        let file = home.join(FILE);
        let kept = fs::read(&file).unwrap_or_default();
        let kept: Option<Place> = serde_json::from_slice(&kept).ok();
        let kept = kept.map(|place| place.next);
        Self {
            program: home.join(PROGRAM),
            file,
            // A log that is shorter than that is another one.
            next: kept.filter(|next| *next <= events).unwrap_or(events),
            kept,
        }
    }

    fn is_there(&self) -> bool {
        self.program.exists()
    }

    fn forget(&mut self, events: u64) {
        self.next = events;
        if self.kept.take().is_none() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the place of the last notice is left");
        }
    }

    fn catch_up(&mut self, events: u64) {
        let oldest = events.saturating_sub(MOST_BEHIND);
        if self.next < oldest {
            let left_out = oldest - self.next;
            tracing::warn!(
                events = left_out,
                "no notices are given of what is long ago"
            );
            self.next = oldest;
        }
        if self.kept.is_none() {
            self.keep();
        }
    }

    /// What is no notice is written down with the next that is one, or with many others.
    fn passed(&mut self, seq: u64, told: bool) {
        self.next = seq + 1;
        let far = self
            .kept
            .is_none_or(|kept| self.next >= kept + MOST_BEHIND / 10);
        if told || far {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let beside = self.file.with_extension("new");
        let place = Place { next: self.next };
        let written = serde_json::to_vec(&place).map_err(io::Error::from);
        let written = written.and_then(|bytes| fs::write(&beside, bytes));
        match written.and_then(|()| fs::rename(&beside, &self.file)) {
            Ok(()) => self.kept = Some(self.next),
            Err(error) => tracing::warn!(%error, "the place of the last notice is not kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_kept_while_there_is_a_program_and_no_longer() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join(PROGRAM);
        let mut teller = Teller::of(home.path(), 7);
        assert_eq!((teller.next, teller.is_there()), (7, false));
        teller.forget(9);
        fs::write(&program, "").unwrap();
        assert!(teller.is_there());
        teller.catch_up(12);
        assert_eq!(
            Teller::of(home.path(), 12).next,
            9,
            "what came since it is there"
        );
        teller.passed(9, false);
        assert_eq!(Teller::of(home.path(), 12).next, 9);
        teller.passed(10, true);
        assert_eq!(Teller::of(home.path(), 12).next, 11);
        // Another log has other events.
        assert_eq!(Teller::of(home.path(), 5).next, 5);
        teller.passed(11 + MOST_BEHIND / 10, false);
        assert_eq!(Teller::of(home.path(), 5000).next, teller.next);
        teller.catch_up(50_000);
        assert_eq!(teller.next, 50_000 - MOST_BEHIND);
        teller.forget(60_000);
        assert_eq!(Teller::of(home.path(), 60_000).next, 60_000);
        fs::write(home.path().join(FILE), "no JSON").unwrap();
        assert_eq!(Teller::of(home.path(), 3).next, 3);
    }
}
