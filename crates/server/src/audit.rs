//! The audit of the log: of one that is in use, and of one that no server has open.
//!
//! A server audits its log at its start and once a day. One that does not verify keeps nothing from being
//! served, because whoever alters a log must not be able to take the platform down with it; and it is
//! appended to as before, because what is done from then on has to be recorded too. But everyone who asks
//! is told, at every start and with every deployment, until the log verifies again; and the finding is
//! recorded in the log itself, once, so that it stays part of it whatever is repaired later.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use ward_store::{Entry, Log, Store};
use ward_types::event::Event;
use ward_types::view::{AuditView, LogView};

use crate::actor::{Refusal, RefusalKind, causes};
use crate::clock::now;

/// A server's start waits this long for the first audit. It takes 0.6 s per 100 000 events; the rest of a
/// longer one goes on behind it.
const FIRST_WITHIN: Duration = Duration::from_millis(300);

/// From one audit to the next.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Recomputes the whole log of a state folder; `None` when there is no log. Changes nothing.
///
/// # Errors
/// When the database cannot be read at all.
pub fn verify(home: &Path) -> Result<Option<AuditView>, Refusal> {
    let database = home.join("ward.db");
    if !database.exists() {
        return Ok(None);
    }
    let view = ward_store::verify_file(&database, None);
    view.map(Some).map_err(|error| unreadable(&error))
}

/// What to tell of an audit, for people.
#[must_use]
pub fn told(home: &Path, view: &AuditView) -> LogView {
    let at = now();
    let Some(worst) = view.breaks.first() else {
        return LogView::Whole { at };
    };
    let more = match view.breaks.len() {
        1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    let trust = match view.first {
        Some(first) => format!("rely on no event from {first} on"),
        None => "what is wrong is not in the events, but beside them".to_owned(),
    };
    LogView::Altered {
        at,
        first: view.first,
        message: format!("the log was altered: {worst}{more}"),
        hint: format!(
            "{trust}; `ward audit verify` lists everything; keep a copy of ward.db and checkpoints/ of {} as they are now, and compare with a checkpoint that was kept elsewhere",
            home.display()
        ),
    }
}

/// What to tell of a log that cannot be audited: nobody knows that it is whole.
#[must_use]
pub fn unaudited(refusal: Refusal) -> LogView {
    LogView::Altered {
        at: now(),
        first: None,
        message: refusal.message,
        hint: "see that the disk is well; `ward audit verify` tries again".to_owned(),
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let message = format!("the log cannot be read: {}", causes(error));
    Refusal::new(RefusalKind::Failed, message)
}

/// Audits the log of a running server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Auditor(Arc<Inner>);

struct Inner {
    home: PathBuf,
    store: Store,
    view: watch::Sender<LogView>,
    /// Held during an audit, so that two of them do not record one finding twice.
    turn: Mutex<()>,
}

impl Auditor {
    /// Begins the first audit, and goes on with the daily ones.
    pub(crate) fn start(home: PathBuf, store: Store) -> Self {
        let auditor = Self::idle(home, store);
        tokio::spawn(auditor.clone().run());
        auditor
    }

    /// One that looks at nothing by itself.
    pub(crate) fn idle(home: PathBuf, store: Store) -> Self {
        Self(Arc::new(Inner {
            home,
            store,
            view: watch::Sender::new(LogView::Unaudited),
            turn: Mutex::default(),
        }))
    }

    async fn run(self) {
        loop {
            if let Err(refusal) = self.audit().await {
                tracing::error!(error = refusal.message, "the log could not be audited");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What the last audit found.
    pub(crate) fn view(&self) -> LogView {
        self.0.view.borrow().clone()
    }

    /// Waits for the first audit, but not for long.
    pub(crate) async fn first(&self) {
        let mut view = self.0.view.subscribe();
        let audited = view.wait_for(|view| *view != LogView::Unaudited);
        let _ = tokio::time::timeout(FIRST_WITHIN, audited).await;
    }

    /// Recomputes the whole log, notes what was found, and records it if it is news.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub(crate) async fn audit(&self) -> Result<AuditView, Refusal> {
        let auditor = self.clone();
        let audited = tokio::task::spawn_blocking(move || auditor.recompute()).await;
        audited.unwrap_or_else(|error| Err(unreadable(&error)))
    }

    fn recompute(&self) -> Result<AuditView, Refusal> {
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let audited = self.0.store.verify(None);
        let audited = audited.map_err(|error| unreadable(&error));
        let told = match &audited {
            Ok(view) => told(&self.0.home, view),
            Err(refusal) => unaudited(refusal.clone()),
        };
        if let LogView::Altered { message, .. } = &told {
            tracing::error!(message, "the log does not verify");
        }
        // Noted first: what keeps the finding from being recorded must not keep it from being told.
        self.0.view.send_replace(told);
        if let Ok(view) = &audited
            && let Err(error) = self.record(view)
        {
            tracing::error!(error = causes(&error), "the finding is not recorded");
        }
        audited
    }

    /// Once per finding. It is counted after it was recorded: a crash in between records it twice, and not
    /// never.
    fn record(&self, view: &AuditView) -> ward_store::Result<()> {
        let store = &self.0.store;
        let mut news = Vec::new();
        let named = view.breaks.iter().any(|said| said.starts_with("event"));
        for key in view.breaks.iter().filter_map(|said| finding(said, named)) {
            if store.next_number(&key, 0)? == 1 {
                news.push(key);
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        store.append(vec![Entry {
            at: now(),
            who: "ward".to_owned(),
            why: String::new(),
            request: String::new(),
            event: Event::LogFoundAltered {
                first: view.first,
                breaks: view.breaks.clone(),
            },
        }])?;
        news.iter()
            .try_for_each(|key| store.next_number(key, 1).map(drop))
    }
}

/// The series that counts a finding. What is said of a checkpoint or of the head changes as the log grows.
/// `None` for the line that only counts others, and for checkpoints when the events that were altered are
/// named: that they differ follows from it, and each later one differs anew.
fn finding(said: &str, named: bool) -> Option<String> {
    let about = said.split(": ").next().unwrap_or(said);
    match said {
        _ if said.starts_with("and ") => None,
        _ if named && said.starts_with("checkpoints/") => None,
        _ if said.starts_with("checkpoints/") => Some(format!("finding/{about}")),
        _ if said.starts_with("the log's head ") => Some("finding/the log's head".to_owned()),
        _ => Some(format!("finding/{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(first: Option<u64>, breaks: &[&str]) -> AuditView {
        AuditView {
            events: 20,
            root: String::new(),
            first,
            breaks: breaks.iter().map(|said| (*said).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_told_names_the_event_and_what_to_do() {
        let home = Path::new("/srv/ward");
        assert!(matches!(
            told(home, &view(None, &[])),
            LogView::Whole { .. }
        ));
        let LogView::Altered { message, hint, .. } =
            told(home, &view(Some(4), &["event 4 was altered", "more"]))
        else {
            panic!("it was altered");
        };
        assert_eq!(
            message,
            "the log was altered: event 4 was altered (and 1 more)"
        );
        assert!(
            hint.starts_with("rely on no event from 4 on; `ward audit verify`"),
            "{hint}"
        );
    }

    #[tokio::test]
    async fn p7_a_finding_is_recorded_once_and_told_at_each_start() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("ward.db");
        let entry = |version: &str| Entry {
            at: now(),
            who: "ward".to_owned(),
            why: String::new(),
            request: String::new(),
            event: Event::ServerStarted {
                version: version.to_owned(),
                upgraded: false,
                term: ward_types::id::Term(1),
            },
        };
        let store = Store::open(&path).expect("a log");
        store
            .append(vec![entry("1"), entry("2"), entry("3")])
            .expect("three events");
        drop(store);
        alter(&path);
        for _start in 0..3 {
            let store = Store::open(&path).expect("the log");
            let auditor = Auditor::idle(home.path().to_owned(), store.clone());
            let audited = auditor.audit().await.expect("an audit");
            assert_eq!(audited.first, Some(1), "{audited:?}");
            assert!(matches!(
                auditor.view(),
                LogView::Altered { first: Some(1), .. }
            ));
            store.append(vec![entry("again")]).expect("it goes on");
        }
        let store = Store::open(&path).expect("the log");
        let kinds: Vec<_> = store.records(Some(2), 100, None).expect("events");
        let found = kinds
            .iter()
            .filter(|record| record.event.kind() == "log_found_altered");
        assert_eq!(found.count(), 1, "{kinds:?}");
    }

    /// The version that the second event names, in the database's file.
    fn alter(path: &Path) {
        let mut bytes = std::fs::read(path).expect("the database");
        let wal = path.with_extension("db-wal");
        assert!(
            !wal.exists() || std::fs::metadata(&wal).is_ok_and(|wal| wal.len() == 0),
            "the log was closed"
        );
        let part = b"\"version\":\"2\"";
        let at = bytes
            .windows(part.len())
            .position(|window| window == part)
            .expect("the second event");
        bytes[at + part.len() - 2] = b'7';
        std::fs::write(path, bytes).expect("the database");
    }
}
