//! What a server knows of the sources beside the log: when each was looked at, what it does, and who listens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OnceCell, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use ward_types::id::Name;
use ward_types::secret::Secret;
use ward_types::source::CommitId;
use ward_types::time::{Millis, Timestamp};
use ward_types::view::{Looked, Progress};

use crate::control::lock;

/// How much a listener may be behind; one that is further behind misses lines.
const BEHIND: usize = 1024;
/// What is said of a source while everything is down.
const RESTS: &str = "everything was taken down; its commits wait until something is brought up, or the platform is started again";
/// Between two lines of the log about webhooks that were refused.
const TOLD_EVERY: Millis = Millis::secs(60);

/// Every source that this server watches.
#[derive(Default)]
pub(crate) struct Sources {
    all: Mutex<BTreeMap<Name, Watched>>,
    changing: tokio::sync::Mutex<()>,
    /// Whether everything was taken down, and nothing is to be up since.
    resting: watch::Sender<bool>,
}

impl Sources {
    /// Ends what is built and released for all of them. Their commits wait, until something is brought up again, somebody
    /// asks for a commit, or another server starts. The log says by then that nothing is to be up.
    pub(crate) fn rest(&self) {
        self.resting.send_replace(true);
    }

    /// Goes on where that is so now: not by a state of the log from before they were to rest.
    pub(super) fn go_on_where(&self, so: impl FnOnce() -> bool) {
        self.resting.send_if_modified(|rests| {
            let goes_on = *rests && so();
            *rests &= !goes_on;
            goes_on
        });
    }

    pub(super) fn resting(&self) -> watch::Receiver<bool> {
        self.resting.subscribe()
    }

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
            webhook: OnceCell::new(),
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
    webhook: OnceCell<Secret>,
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
    told: Option<Timestamp>,
    warned: Option<String>,
    rests: bool,
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

    /// Notes whether its commits wait because everything is down.
    pub(super) fn rests(&self, rests: bool) {
        lock(&self.0.now).rests = rests;
    }

    /// Notes that a webhook was refused. Whether that is worth a line of the log: the last was a while ago.
    pub(super) fn refused(&self, at: Timestamp) -> bool {
        let mut now = lock(&self.0.now);
        now.refused = Some(at);
        let due = now.told.is_none_or(|told| at.since(told) >= TOLD_EVERY);
        if due {
            now.told = Some(at);
        }
        due
    }

    /// What webhooks are signed with, opened once: it is the same for as long as the source is there.
    pub(super) async fn webhook_secret(
        &self,
        opening: impl Future<Output = Option<Secret>>,
    ) -> Option<Secret> {
        let opening = async { opening.await.ok_or(()) };
        let secret = self.0.webhook.get_or_try_init(|| opening).await;
        secret.ok().cloned()
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
        let rests = now.rests.then(|| RESTS.to_owned());
        does.into_iter().chain(rests).chain(refused).collect()
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
