//! What a server does for each source while it runs: it looks at the repository, and carries its commits on.
//!
//! What is next is decided by [`ward_plan::source`] from what the log says, so that a server that takes over goes on
//! where the last one was: a commit whose build was cut off waits still, and one that is built is not built again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use ward_plan::source::{Next, Sighting, next, sighted};
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::Name;
use ward_types::release::Goal;
use ward_types::source::{CommitId, Seen, Source, Standing};
use ward_types::view::{Looked, Progress, Pushed};

use super::place::{Folder, behind as behind_tip, fetch, make_ready, needed, tips};
use super::pushers::{self, Pushers};
use super::watched::Doing;
use super::{Watched, no_source};
use crate::actor::{Actor, Refusal, causes};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::Steps;
use crate::kept::git_refusal;
use crate::policing;

/// Before something is tried again that should not have failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a repository was not looked at.
enum Trouble {
    Token(Refusal),
    Git(ward_git::Error),
}

impl From<ward_git::Error> for Trouble {
    fn from(error: ward_git::Error) -> Self {
        Trouble::Git(error)
    }
}

impl Trouble {
    fn sentence(&self) -> String {
        match self {
            Trouble::Token(refusal) => refusal.message.clone(),
            Trouble::Git(error) => causes(error),
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            Trouble::Token(refusal) => refusal,
            Trouble::Git(error) => git_refusal(&error),
        }
    }
}

impl Control {
    /// Goes on with every source that is in the log. Their hooks start this binary from now on.
    pub(crate) fn tend_sources(&self) {
        let state = self.store().state();
        for source in state.sources.values() {
            self.tend(source);
            let (control, source) = (self.clone(), source.clone());
            tokio::spawn(async move {
                let made = make_ready(&control.0.home, &control.0.exe, &source).await;
                if let Err(error) = made {
                    let error = causes(&error);
                    tracing::error!(source = %source.name, error, "a source's repository is not ready");
                }
            });
        }
    }

    /// Starts what a source needs.
    pub(super) fn tend(&self, source: &Source) {
        let watched = self.0.sources.begin(&source.name);
        let looker = tokio::spawn(self.clone().keep_looking(source.clone(), watched.clone()));
        let worker = tokio::spawn(
            self.clone()
                .carry_on_source(source.name.clone(), watched.clone()),
        );
        watched.tasks(vec![looker, worker]);
    }

    async fn keep_looking(self, source: Source, watched: Watched) {
        let mut ending = self.ending();
        // What was pushed while no server ran, and what a webhook told nobody.
        let mut due = (source.poll.is_some() || source.webhook).then(Instant::now);
        loop {
            let period = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ending.wait_for(|end| *end) => return,
                () = watched.asked() => {}
                () = period => {}
            }
            let finder = Actor::source(&source.name);
            let looking = tokio::select! {
                _ = ending.wait_for(|end| *end) => return,
                looked = self.look(&finder, &source.name, &watched, &[]) => looked,
            };
            if let Err(refusal) = looking
                && watched.is_news(&refusal.message)
            {
                let error = refusal.message;
                tracing::warn!(source = %source.name, error, "a repository cannot be looked at");
            }
            due = source.poll.map(|poll| Instant::now() + poll.duration());
        }
    }

    /// Looks at a repository, and records the commits that were never seen.
    pub(super) async fn look(
        &self,
        actor: &Actor,
        name: &Name,
        watched: &Watched,
        pushed: &[Pushed],
    ) -> Result<(), Refusal> {
        let _alone = watched.look_alone().await;
        let state = self.store().state();
        let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
        let found = self.sightings(source, pushed).await;
        let trouble = found.as_ref().err().map(Trouble::sentence);
        watched.looked(Looked { at: now(), trouble });
        let found = found.map_err(Trouble::refusal)?;
        let new = self.described(actor, source, sighted(source, &found, false));
        let new = new.await.map_err(|error| git_refusal(&error))?;
        self.seen(actor, name, new).await?;
        if let Some(source) = self.store().state().sources.get(name) {
            pushers::forget(&Folder::of(&self.0.home, name).repository(), source);
        }
        Ok(())
    }

    /// What is pushed and is no tip any more comes first: it is older.
    async fn sightings(
        &self,
        source: &Source,
        pushed: &[Pushed],
    ) -> Result<Vec<Sighting>, Trouble> {
        let repository = Folder::of(&self.0.home, &source.name).repository();
        let login = self.source_login(source).await.map_err(Trouble::Token)?;
        fetch(&self.0.home, source, login.as_ref()).await?;
        let tips = tips(&self.0.home, source).await?;
        let mut behind = Vec::new();
        for tip in &tips {
            let commits = behind_tip(&self.0.home, source, tip).await?;
            behind.extend(commits.into_iter().map(|commit| Sighting {
                reference: tip.reference.clone(),
                commit,
                tip: false,
                with: Some(tip.commit.clone()),
            }));
        }
        let mut found = Vec::new();
        for Pushed { reference, object } in pushed {
            let commit = repository.commit(object).await?.id;
            let tip = |tip: &ward_git::Tip| tip.commit == commit && tip.reference == *reference;
            let known = behind.iter().any(|one| one.commit == commit);
            if !known && !tips.iter().any(tip) {
                found.push(Sighting {
                    reference: reference.clone(),
                    commit,
                    tip: false,
                    with: None,
                });
            }
        }
        found.extend(behind);
        found.extend(tips.into_iter().map(|tip| Sighting {
            reference: tip.reference,
            commit: tip.commit,
            tip: true,
            with: None,
        }));
        Ok(found)
    }

    /// Commits with what git says of them, and with who pushed them where that is noted; from here on they stay until they
    /// are not needed.
    pub(super) async fn described(
        &self,
        actor: &Actor,
        source: &Source,
        new: Vec<(Sighting, Standing)>,
    ) -> ward_git::Result<Vec<Seen>> {
        let repository = Folder::of(&self.0.home, &source.name).repository();
        let pushers = Pushers::of(&repository)?;
        let mut all = Vec::new();
        for (sighting, standing) in new {
            let by = pushers.of_sighting(&sighting);
            repository.need(&sighting.commit).await?;
            all.push(Seen {
                commit: repository.commit(&sighting.commit).await?,
                reference: sighting.reference,
                at: now(),
                by: by.unwrap_or_else(|| actor.clone()).who,
                with: sighting.with,
                standing,
            });
        }
        Ok(all)
    }

    async fn seen(&self, actor: &Actor, name: &Name, new: Vec<Seen>) -> Result<(), Refusal> {
        if new.is_empty() {
            return Ok(());
        }
        let desk = self.desk().await;
        let deciding = self.decided(&desk, actor, "", |state| {
            let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
            let unknown = new
                .iter()
                .filter(|seen| source.seen(&seen.commit.id).is_none());
            let event = |seen: &Seen| Event::CommitSeen {
                source: name.clone(),
                seen: Box::new(seen.clone()),
            };
            Ok(((), unknown.map(event).collect()))
        });
        deciding.await
    }

    /// Carries a source's commits on, one after the other, until it is removed or the server ends.
    async fn carry_on_source(self, name: Name, watched: Watched) {
        let mut changed = self.store().changed();
        let mut ending = self.ending();
        let mut resting = self.0.sources.resting();
        let (steps, heard) = mpsc::channel(256);
        let telling = tokio::spawn(watched.clone().tell(heard));
        let mut kept = None;
        loop {
            changed.mark_unchanged();
            self.0.sources.go_on_where(|| self.something_is_to_be_up());
            let rests = *resting.borrow_and_update();
            let state = self.store().state();
            let Some(source) = state.sources.get(&name) else {
                break;
            };
            watched.rests(rests);
            let again = match next(&state, source) {
                _ if rests => None,
                Next::Wait => {
                    self.tidy(source, needed(&state, source), &mut kept).await;
                    None
                }
                what => {
                    let done = tokio::select! {
                        biased;
                        _ = ending.wait_for(|end| *end) => break,
                        _ = resting.wait_for(|rests| *rests) => Ok(()),
                        done = self.does_of_source(source, &what, &watched, &steps) => done,
                    };
                    watched.does(None);
                    match done {
                        Ok(()) => continue,
                        Err(refusal) => {
                            tracing::error!(source = %name, error = refusal.message, "a source cannot go on");
                            Some(AGAIN)
                        }
                    }
                }
            };
            let later = async {
                match again {
                    Some(again) => tokio::time::sleep(again).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ending.wait_for(|end| *end) => break,
                more = changed.changed() => if more.is_err() { break },
                _ = resting.changed() => {}
                () = later => {}
            }
        }
        telling.abort();
    }

    fn something_is_to_be_up(&self) -> bool {
        let state = self.store().state();
        let mut all = state.environments.values();
        all.any(|env| env.goal == Goal::Up)
    }

    /// Not while a commit is being looked up: it is needed before the log knows of it.
    async fn tidy(
        &self,
        source: &Source,
        needed: BTreeSet<CommitId>,
        kept: &mut Option<BTreeSet<CommitId>>,
    ) {
        if kept.as_ref() == Some(&needed) {
            return;
        }
        let Some(watched) = self.0.sources.get(&source.name) else {
            return;
        };
        let Some(_alone) = watched.try_look_alone() else {
            return; // The next event brings it here again.
        };
        match Folder::of(&self.0.home, &source.name)
            .keep_only(&needed)
            .await
        {
            Ok(()) => *kept = Some(needed),
            Err(error) => {
                let error = causes(&error);
                tracing::warn!(source = %source.name, error, "what no commit needs is left");
            }
        }
    }

    async fn does_of_source(
        &self,
        source: &Source,
        what: &Next,
        watched: &Watched,
        steps: &Steps,
    ) -> Result<(), Refusal> {
        let (id, done) = match what {
            Next::Wait => return Ok(()),
            Next::Move(id, standing) => return self.commit_moved(source, id, standing).await,
            Next::Build(id) => {
                // Where the platform is being stopped the commit waits for the next one.
                drop(self.admit()?);
                watched.does(doing(id, "is being built"));
                (id, self.commit_built(source, id, steps).await)
            }
            Next::Release(id) => {
                drop(self.admit()?);
                watched.does(doing(id, "is being released"));
                (id, self.commit_released(source, id, steps).await)
            }
        };
        let Err(stop) = done else {
            return Ok(());
        };
        // Somebody else may have moved the world meanwhile: what is next is another thing then.
        let state = self.store().state();
        let known = state.sources.get(&source.name);
        if known.is_none_or(|known| next(&state, known) != *what) {
            return Ok(());
        }
        let word = stop.word();
        let message = first_line(&word);
        let _ = steps.send(word).await;
        let failed = Standing::Failed { message };
        self.commit_moved(source, id, &failed).await
    }
}

fn doing(commit: &CommitId, what: &'static str) -> Option<Doing> {
    let commit = commit.clone();
    Some(Doing { commit, what })
}

/// What the log keeps of a failure: the output of a build is for those who follow it.
fn first_line(word: &Progress) -> String {
    let line = match word {
        Progress::Failed { message, .. } => message.lines().next().unwrap_or_default().to_owned(),
        Progress::Mistakes {
            count, mistakes, ..
        } => {
            let first = mistakes.first().map(|mistake| mistake.message.clone());
            let first = first.unwrap_or_default();
            match count {
                1 => format!("its stack file has a mistake: {first}"),
                more => format!("its stack file has {more} mistakes, the first: {first}"),
            }
        }
        Progress::Forbidden { violations, .. } => {
            format!("its policy forbids it: {}", policing::all(violations))
        }
        _ => "it cannot be built".to_owned(),
    };
    line.replace("; nothing was changed", "")
}
