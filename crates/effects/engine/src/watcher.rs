//! One task per keeper: listens to its `Watch` connection until the instance is over.
//!
//! A connection that ends is not a keeper that is gone: it is asked again, and only when nobody listens and
//! nobody holds the keeper's lock does the folder decide (`exit.json`: it exited; otherwise it is lost). One whose keeper
//! never had a socket was never told what to run, because the server that started it was gone: it never was.

use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use ward_types::keeper::{InstanceFacts, InstanceState, InstanceStatus, Reply, Request, SOCKET};
use ward_types::time::Timestamp;

use crate::client::{ClientError, KeeperClient};
use crate::engine::{Engine, Entered, Seen, state_without_keeper};
use crate::error::Error;
use crate::{folder, start};

/// How long [`crate::Engine::open`] waits for the first word of each keeper.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// Between two attempts to reach a keeper that lives and does not listen.
const AGAIN: Duration = Duration::from_millis(20);

/// Finds the instances of a state folder and listens to their keepers.
pub(crate) async fn find_again(engine: &Engine) -> Result<(), Error> {
    let mut first_words = Vec::new();
    for dir in engine.0.home.instances()? {
        match start::facts_of(&dir) {
            Ok(Some(facts)) if engine.instance_dir(&facts.env, &facts.id) == dir => {
                first_words.push(take_up(engine, facts));
            }
            Ok(Some(facts)) => {
                tracing::warn!(dir = %dir.display(), id = %facts.id, "a folder of another instance");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "an instance is not understood")
            }
        }
    }
    let deadline = tokio::time::Instant::now() + FIRST_WORD;
    for first_word in first_words {
        // An error is a watcher that found the instance over.
        let _ = tokio::time::timeout_at(deadline, first_word).await;
    }
    Ok(())
}

fn take_up(engine: &Engine, facts: InstanceFacts) -> oneshot::Receiver<()> {
    let mut status = start::status(InstanceState::Unhealthy, 0);
    status.last_failure = Some("its keeper has not answered yet".to_owned());
    let since = (engine.0.clock)();
    let seen = Seen {
        facts: facts.clone(),
        status,
        since,
        altered: None,
        checkup: None,
    };
    if let Entered::Known(_) = engine.0.enter(seen) {
        return oneshot::channel().1;
    }
    let (said, first_word) = oneshot::channel();
    let engine = engine.clone();
    tokio::spawn(async move { watch(&engine, &facts, Some(said)).await });
    first_word
}

/// Listens to a keeper that was just started.
pub(crate) fn spawn(engine: &Engine, facts: InstanceFacts) {
    let engine = engine.clone();
    tokio::spawn(async move { watch(&engine, &facts, None).await });
}

async fn watch(engine: &Engine, facts: &InstanceFacts, mut said: Option<oneshot::Sender<()>>) {
    let dir = engine.instance_dir(&facts.env, &facts.id);
    loop {
        let lives = folder::keeper_lives(&dir);
        match listen(engine, facts, &dir, &mut said).await {
            Ok(Over::Yes) => return,
            Ok(Over::No) => {}
            // Asked for the lock before the socket: a keeper that began to listen in between is not missed.
            Err(ClientError::Gone { .. }) if !lives || folder::exit_note(&dir).is_some() => break,
            Err(error) => tracing::debug!(id = %facts.id, %error, "its keeper does not listen"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    let (state, at) = state_without_keeper(&dir, (engine.0.clock)());
    if state == InstanceState::Lost && !dir.join(SOCKET).exists() {
        match folder::removed(&dir).await {
            Ok(()) => return engine.0.forget(&facts.env, &facts.id),
            Err(error) => tracing::warn!(id = %facts.id, %error, "what never began is not removed"),
        }
    }
    engine.0.record(facts, ended(engine, facts, state), at);
}

/// Whether an instance is over.
enum Over {
    Yes,
    No,
}

/// Listens on one connection to its end.
async fn listen(
    engine: &Engine,
    facts: &InstanceFacts,
    dir: &Path,
    said: &mut Option<oneshot::Sender<()>>,
) -> Result<Over, ClientError> {
    let keeper = KeeperClient::connect(dir)?;
    keeper.send(&Request::Watch, &[]).await?;
    while let Some((reply, _)) = keeper.recv().await? {
        match reply {
            Reply::Status { status } => {
                let over = status.state.is_over();
                // An instance that is found again while it starts has been starting all along.
                let first = said.take();
                let at = match (&status.state, &first) {
                    (InstanceState::Starting, Some(_)) => facts.started,
                    (state, _) => entered(engine, dir, state),
                };
                engine.0.record(facts, status, at);
                // Only now: whoever waits for the first word then looks at what was recorded.
                drop(first);
                if over {
                    return Ok(Over::Yes);
                }
            }
            Reply::Refused { message } => return Err(ClientError::Refused { message }),
            other => tracing::warn!(id = %facts.id, ?other, "its keeper said something else"),
        }
    }
    Ok(Over::No)
}

/// When a state that was just heard of was entered.
fn entered(engine: &Engine, dir: &Path, state: &InstanceState) -> Timestamp {
    match state {
        InstanceState::Exited { .. } => {
            folder::exit_note(dir).map_or_else(engine.0.clock, |note| note.at)
        }
        _ => (engine.0.clock)(),
    }
}

/// The status of an instance whose keeper is gone: what was last known of its sandbox, and nothing that
/// runs.
fn ended(engine: &Engine, facts: &InstanceFacts, state: InstanceState) -> InstanceStatus {
    let known = engine.0.look(&facts.env, &facts.id);
    let mut status =
        known.map_or_else(|| start::status(InstanceState::Lost, 0), |seen| seen.status);
    status.state = state;
    status.pid = None;
    status.last_failure = None;
    status
}
