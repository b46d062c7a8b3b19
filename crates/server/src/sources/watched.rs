//! What a server knows of the sources beside the log: when each was looked at, what it does, and who listens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use ward_types::id::Name;
use ward_types::source::CommitId;
use ward_types::time::Timestamp;
use ward_types::view::{Looked, Progress};

use crate::control::lock;

/// How much a listener may be behind; one that is further behind misses lines.
const BEHIND: usize = 1024;

/// Every source that this server watches.
#[derive(Default)]
pub(crate) struct Sources {
    all: Mutex<BTreeMap<Name, Watched>>,
    changing: tokio::sync::Mutex<()>,
}

impl Sources {
    /// Who holds it is alone to add and remove.
    pub(super) async fn change(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub(super) fn get(&self, name: &Name) -> Option<Watched> {
        lock(&self.all).get(name).cloned()
    }

    pub(super) fn begin(&self, name: &Name) -> Watched {
        let watched = Watched(Arc::new(Inner {
            asked: Notify::new(),
            looking: tokio::sync::Mutex::new(()),
            said: broadcast::channel(BEHIND).0,
            tasks: Mutex::default(),
            now: Mutex::default(),
        }));
        lock(&self.all).insert(name.clone(), watched.clone());
        watched
    }

    /// Returns when nothing is done for a source any more.
    pub(super) async fn end(&self, name: &Name) {
        let Some(watched) = lock(&self.all).remove(name) else {
            return;
        };
        let tasks = std::mem::take(&mut *lock(&watched.0.tasks));
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // It was aborted: that is its end.
            let _ = task.await;
        }
        // A request may be looking still.
        let _alone = watched.0.looking.lock().await;
    }
}

/// A source that is watched. Cheap to clone.
#[derive(Clone)]
pub(super) struct Watched(Arc<Inner>);

struct Inner {
    asked: Notify,
    looking: tokio::sync::Mutex<()>,
    said: broadcast::Sender<Progress>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    now: Mutex<Now>,
}

/// What is just done with a commit.
#[derive(Debug, Clone)]
pub(super) struct Doing {
    pub(super) commit: CommitId,
    /// As a predicate.
    pub(super) what: &'static str,
}

impl Doing {
    fn sentence(&self) -> String {
        format!("{} {}", self.commit.short(), self.what)
    }
}

#[derive(Default)]
struct Now {
    looked: Option<Looked>,
    does: Option<Doing>,
    refused: Option<Timestamp>,
    warned: Option<String>,
}

impl Watched {
    pub(super) fn tasks(&self, tasks: Vec<JoinHandle<()>>) {
        lock(&self.0.tasks).extend(tasks);
    }

    /// Asks for a look. However many ask, one look that is still to come is enough.
    pub(super) fn ask(&self) {
        self.0.asked.notify_one();
    }

    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    pub(super) async fn look_alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.looking.lock().await
    }

    pub(super) fn try_look_alone(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.0.looking.try_lock().ok()
    }

    pub(super) fn looked(&self, looked: Looked) {
        let mut now = lock(&self.0.now);
        if looked.trouble.is_none() {
            now.warned = None;
        }
        now.looked = Some(looked);
    }

    pub(super) fn last_look(&self) -> Option<Looked> {
        lock(&self.0.now).looked.clone()
    }

    /// Whether a trouble was not told just before.
    pub(super) fn is_news(&self, trouble: &str) -> bool {
        let mut now = lock(&self.0.now);
        let news = now.warned.as_deref() != Some(trouble);
        now.warned = Some(trouble.to_owned());
        news
    }

    pub(super) fn doing(&self) -> Option<Doing> {
        lock(&self.0.now).does.clone()
    }

    pub(super) fn does(&self, what: Option<Doing>) {
        lock(&self.0.now).does = what;
    }

    /// Notes that a webhook was refused.
    pub(super) fn refused(&self, at: Timestamp) {
        lock(&self.0.now).refused = Some(at);
    }

    /// Notes that a webhook was taken: what was refused before it is over.
    pub(super) fn taken(&self) {
        lock(&self.0.now).refused = None;
    }

    pub(super) fn sentences(&self) -> Vec<String> {
        let now = lock(&self.0.now);
        let refused = now.refused.map(|at| {
            format!(
                "a webhook was refused at {at}: it was not signed with the secret of the source"
            )
        });
        let does = now.does.as_ref().map(Doing::sentence);
        does.into_iter().chain(refused).collect()
    }

    /// Listens from here on.
    pub(super) fn hear(&self) -> Heard {
        Heard(Some(self.0.said.subscribe()))
    }

    /// Passes on what a build says to whoever listens.
    pub(super) async fn tell(self, mut said: mpsc::Receiver<Progress>) {
        while let Some(progress) = said.recv().await {
            // Nobody need be listening.
            let _ = self.0.said.send(progress);
        }
    }
}

/// What is said of a source.
pub(super) struct Heard(Option<broadcast::Receiver<Progress>>);

impl Heard {
    /// The next that is said of work under way; the last word of a build is told by what became of its commit.
    pub(super) async fn next(&mut self) -> Option<Progress> {
        loop {
            let Some(heard) = &mut self.0 else {
                return std::future::pending().await;
            };
            match heard.recv().await {
                Ok(progress) => return Some(as_a_step(progress)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.0 = None,
            }
        }
    }
}

/// What would end the stream for its reader is only a part of it here.
fn as_a_step(progress: Progress) -> Progress {
    let message = match progress {
        Progress::Failed { message, .. } => message,
        Progress::Mistakes { rendered, .. } | Progress::Forbidden { rendered, .. } => rendered,
        other => return other,
    };
    let took = None;
    Progress::Step { message, took }
}
