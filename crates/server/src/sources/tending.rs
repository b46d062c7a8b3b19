//! What a server does for each source while it runs: it looks at the repository, and carries its commits on.
//!
//! What is next is decided by [`ward_plan::source`] from what the log says, so that a server that takes over goes on
//! where the last one was: a commit whose build was cut off waits still, and one that is built is not built again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use ward_plan::source::{Next, Sighting, kept, next, sighted};
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, Name};
use ward_types::policy::Violation;
use ward_types::source::{
    BuildName, CommitId, KeptBuild, Provenance, Seen, Source, Standing, Then, Tree,
};
use ward_types::view::{
    KeptDeployRequest, Looked, Others, PipelineRequest, Progress, Pushed, Unchanged, Until,
};

use super::place::{Folder, fetch, make_ready, needed, repository, tips};
use super::watched::Doing;
use super::{Watched, no_source};
use crate::actor::{Actor, Refusal, causes};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, unreadable};
use crate::kept::{Wish, git_refusal};
use crate::policing::{self, Forced};
use crate::recording::Settled;
use crate::source as stack_file;

/// Before something is tried again that should not have failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whether a commit's folder may be one that was there.
#[derive(Debug, Clone, Copy)]
enum Checkout {
    Anew,
    Kept,
}

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
        self.seen(actor, name, new).await
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
        let mut found = Vec::new();
        for Pushed { reference, object } in pushed {
            let commit = repository.commit(object).await?.id;
            let tip = |tip: &ward_git::Tip| tip.commit == commit && tip.reference == *reference;
            if !tips.iter().any(tip) {
                found.push(Sighting {
                    reference: reference.clone(),
                    commit,
                    tip: false,
                });
            }
        }
        found.extend(tips.into_iter().map(|tip| Sighting {
            reference: tip.reference,
            commit: tip.commit,
            tip: true,
        }));
        Ok(found)
    }

    /// Commits with what git says of them; from here on they stay until they are not needed.
    pub(super) async fn described(
        &self,
        actor: &Actor,
        source: &Source,
        new: Vec<(Sighting, Standing)>,
    ) -> ward_git::Result<Vec<Seen>> {
        let repository = Folder::of(&self.0.home, &source.name).repository();
        let mut all = Vec::new();
        for (sighting, standing) in new {
            repository.need(&sighting.commit).await?;
            all.push(Seen {
                commit: repository.commit(&sighting.commit).await?,
                reference: sighting.reference,
                at: now(),
                by: actor.who.clone(),
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
        let (steps, heard) = mpsc::channel(256);
        let telling = tokio::spawn(watched.clone().tell(heard));
        let mut kept = None;
        loop {
            changed.mark_unchanged();
            let state = self.store().state();
            let Some(source) = state.sources.get(&name) else {
                break;
            };
            let again = match next(&state, source) {
                Next::Wait => {
                    self.tidy(source, needed(&state, source), &mut kept).await;
                    None
                }
                what => {
                    let done = tokio::select! {
                        biased;
                        _ = ending.wait_for(|end| *end) => break,
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
                () = later => {}
            }
        }
        telling.abort();
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

    async fn commit_moved(
        &self,
        source: &Source,
        id: &CommitId,
        standing: &Standing,
    ) -> Result<(), Refusal> {
        let event = moved(&source.name, id, standing.clone());
        let actor = Actor::source(&source.name);
        self.append(&actor, "", vec![event]).await.map(drop)
    }

    /// The folder of the stack file of a commit, checked out: for a build anew, because one before may have written
    /// there.
    async fn checked_out(
        &self,
        source: &Source,
        id: &CommitId,
        tree: Checkout,
    ) -> Result<PathBuf, Refusal> {
        let folder = Folder::of(&self.0.home, &source.name);
        let into = folder.commit(id);
        let repository = folder.repository();
        let checked_out = match tree {
            Checkout::Anew => repository.check_out_anew(id, &into).await,
            Checkout::Kept => repository.check_out(id, &into).await,
        };
        checked_out.map_err(|error| git_refusal(&error))?;
        Ok(match source.folder.is_empty() {
            true => into,
            false => into.join(&source.folder),
        })
    }

    async fn commit_built(
        &self,
        source: &Source,
        id: &CommitId,
        steps: &Steps,
    ) -> Result<(), Stop> {
        let seen = source.seen(id).ok_or_else(|| no_source(&source.name))?;
        let dir = self.checked_out(source, id, Checkout::Anew).await?;
        let author = Actor {
            who: seen.by.clone(),
        };
        // Before a build, so that nobody waits for one in vain.
        let env = match &source.then {
            Then::Keep => Name::parse(ward_stack::DEFAULT_ENVIRONMENT)
                .map_err(|error| Refusal::failed("no environment has this name", &error))?,
            Then::Pipeline(pipeline) => {
                let (file, text) = stack_file::read(&dir).map_err(unreadable)?;
                self.can_begin(&file, &text, pipeline).await?
            }
            Then::Deploy(env) => {
                let (spec, _, _) = self.wanted(&dir, env, None).await?;
                self.permitted(&author, (&spec, None), Some(&dir), Forced::No)?;
                env.clone()
            }
        };
        let provenance = Provenance {
            repository: repository(&self.0.home, source),
            commit: seen.commit.clone(),
            tree: Tree::AsCommitted,
            source: Some(source.name.clone()),
        };
        let wish = Wish {
            dir: &dir,
            env: &env,
            provenance: Some(Box::new(provenance)),
            why: &because(source, seen),
        };
        let built = |kept: &KeptBuild| {
            let version = kept.build.version.clone();
            Some(moved(&source.name, id, Standing::Built { version }))
        };
        self.kept_of(&author, wish, built, steps).await?;
        Ok(())
    }

    async fn commit_released(
        &self,
        source: &Source,
        id: &CommitId,
        steps: &Steps,
    ) -> Result<(), Stop> {
        let state = self.store().state();
        let seen = source.seen(id).ok_or_else(|| no_source(&source.name))?;
        let Some(build) = kept(&state, &source.name, id) else {
            return Ok(()); // It is moved for that at the next turn.
        };
        let author = Actor {
            who: seen.by.clone(),
        };
        let version = build.build.version.clone();
        let name = BuildName {
            stack: Some(build.stack.clone()),
            version: version.clone(),
        };
        let why = because(source, seen);
        match &source.then {
            Then::Keep => Ok(()),
            Then::Pipeline(pipeline) => {
                let dir = self.checked_out(source, id, Checkout::Kept).await?;
                let request = PipelineRequest {
                    dir: dir.display().to_string(),
                    pipeline: pipeline.clone(),
                    build: Some(name),
                    why,
                    until: Until::Queued,
                };
                let began = |run: &ward_types::pipeline::Run| {
                    let (version, run) = (version.clone(), run.id);
                    Some(moved(&source.name, id, Standing::Began { version, run }))
                };
                let run = self.begun_with(&author, &request, build, began).await?;
                tokio::spawn(self.clone().conduct(run));
                Ok(())
            }
            Then::Deploy(env) => {
                let request = KeptDeployRequest {
                    build: name,
                    env: env.clone(),
                    why,
                    unchanged: Unchanged::Keep,
                    others: Others::Wait,
                    until: Until::Queued,
                    strategy: None,
                };
                let (env, settled) = self.kept_released(&author, &request, steps).await?;
                let standing = self.deployed(&env, version, &settled)?;
                Ok(self.commit_moved(source, id, &standing).await?)
            }
        }
    }

    fn deployed(
        &self,
        env: &EnvId,
        version: String,
        settled: &Settled,
    ) -> Result<Standing, Refusal> {
        let known = self.known(env);
        let to = |id| Some(known.as_ref()?.deployments.get(&id)?.to);
        let (release, deployment) = match settled {
            Settled::Nothing(release) | Settled::Held(release) => (Some(*release), None),
            Settled::UnderWay(id) => (to(*id), Some(*id)),
            Settled::Queued(queued) => (to(queued.id), Some(queued.id)),
        };
        let release = release.ok_or_else(|| {
            let kind = crate::actor::RefusalKind::Failed;
            Refusal::new(kind, format!("{env} has not got its release"))
        })?;
        Ok(Standing::Deployed {
            version,
            release,
            deployment,
        })
    }
}

fn doing(commit: &CommitId, what: &'static str) -> Option<Doing> {
    let commit = commit.clone();
    Some(Doing { commit, what })
}

fn moved(source: &Name, commit: &CommitId, standing: Standing) -> Event {
    Event::CommitMoved {
        source: source.clone(),
        commit: commit.clone(),
        standing,
    }
}

/// Why a build or a release is made, for the log.
fn because(source: &Source, seen: &Seen) -> String {
    let (name, id) = (&source.name, seen.commit.id.short());
    format!("{id} of the source {name}: {}", seen.commit.subject)
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
            let denied = violations.iter().filter(|violation| violation.is_denied());
            let denied: Vec<Violation> = denied.cloned().collect();
            format!("its policy forbids it: {}", policing::all(&denied))
        }
        _ => "it cannot be built".to_owned(),
    };
    line.replace("; nothing was changed", "")
}
