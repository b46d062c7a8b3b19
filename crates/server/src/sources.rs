//! Sources: repositories that are watched, added and removed by people, looked at because it is time, because somebody
//! pushed or asked, or because a webhook says so.
//!
//! Decision: a webhook and a push say only that there may be something new. What there is, the repository says: so a
//! webhook that is repeated, or that somebody forges who has its secret, comes to a look and to nothing else.

mod carrying;
mod declared;
mod following;
mod hooks;
mod place;
mod pushers;
mod standing;
mod tending;
mod tokens;
mod watched;

use ward_git::Address;
use ward_plan::source::sighted;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::Name;
use ward_types::secret::Secret;
use ward_types::source::{CommitId, Login, Place, Source, Standing};
use ward_types::time::Millis;
use ward_types::view::{
    AddSource, AddedSource, CommitView, Progress, PushedRequest, RemoveSource, SourceView,
    SyncRequest, Token, Until,
};

pub use self::hooks::{Hook, Proof};
use self::place::{Folder, fetch, make_ready, repository, tips};
use self::tokens::{credentials, token_label};
pub(crate) use self::watched::Sources;
use self::watched::Watched;
use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop};
use crate::kept::git_refusal;

/// How often a repository may be looked at, at the most and at the least.
const POLLS: std::ops::RangeInclusive<Millis> = Millis::secs(1)..=Millis::secs(24 * 3600);
/// How many sources there may be.
const MOST: usize = 100;

impl Control {
    /// The sources, or the one that is named.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn sources(&self, name: Option<&Name>) -> Result<Vec<SourceView>, Refusal> {
        let state = self.store().state();
        match name {
            None => Ok(state
                .sources
                .values()
                .map(|s| self.source_view(&state, s))
                .collect()),
            Some(name) => {
                let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
                Ok(vec![self.source_view(&state, source)])
            }
        }
    }

    fn source_view(&self, state: &State, source: &Source) -> SourceView {
        let watched = self.0.sources.get(&source.name);
        let hooks = self.0.hooks.filter(|_| source.webhook);
        let doing = watched.as_ref().and_then(Watched::doing);
        let commits = source.commits.iter().rev().map(|seen| CommitView {
            seen: seen.clone(),
            stands: standing::stands(state, source, seen, doing.as_ref()),
        });
        SourceView {
            repository: repository(&self.0.home, source),
            looked: watched.as_ref().and_then(Watched::last_look),
            hook: hooks.map(|address| format!("http://{address}/hooks/{}", source.name)),
            waiting: watched.map(|w| w.sentences()).unwrap_or_default(),
            commits: commits.collect(),
            source: source.clone(),
        }
    }

    /// Watches a repository from here on. It must be there, and have what is to be followed.
    ///
    /// # Errors
    /// When it is not there, and when a source of that name is.
    pub async fn add_source(
        &self,
        actor: &Actor,
        request: AddSource,
    ) -> Result<AddedSource, Refusal> {
        let _admitted = self.admit()?;
        let why = request.why.clone();
        let token = request.token.clone();
        let source = source_of(actor, request)?;
        let name = source.name.clone();
        if source.webhook && self.0.hooks.is_none() {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                "this platform takes no webhooks; nothing was changed",
            )
            .hint("`WARD_HOOKS_ADDR=0.0.0.0:8070 ward upgrade` gives it an address for them, and stops nothing"));
        }
        let _alone = self.0.sources.change().await;
        let state = self.store().state();
        if state.sources.contains_key(&name) {
            let message = format!("there is a source {name} already; nothing was changed");
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
                "`ward source show {name}` shows it; `ward source remove {name}` makes room"
            )));
        }
        if state.sources.len() >= MOST {
            let message = format!("there are {MOST} sources; nothing was changed");
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let added = self.source_added(actor, &why, &source, token).await;
        if added.is_err() {
            let _ = Folder::of(&self.0.home, &name).remove();
        }
        let (secret, notes) = added?;
        self.tend(&source);
        let state = self.store().state();
        let source = state.sources.get(&name).ok_or_else(|| no_source(&name))?;
        Ok(AddedSource {
            source: self.source_view(&state, source),
            secret,
            notes,
        })
    }

    async fn source_added(
        &self,
        actor: &Actor,
        why: &str,
        source: &Source,
        token: Option<Token>,
    ) -> Result<(Option<Secret>, Vec<String>), Refusal> {
        let login = token.as_ref().map(credentials).transpose()?;
        let home = &self.0.home;
        // What a server has left that was killed while one of this name was added or removed.
        let folder = Folder::of(home, &source.name);
        let cleared = folder.remove();
        cleared.map_err(|error| Refusal::failed("the source was not added", &error))?;
        let git = |error: ward_git::Error| git_refusal(&error);
        make_ready(home, &self.0.exe, source).await.map_err(git)?;
        let fetching = fetch(home, source, login.as_ref());
        fetching.await.map_err(git)?;
        let found = tips(home, source).await.map_err(git)?;
        let commits: Vec<CommitId> = found.iter().map(|tip| tip.commit.clone()).collect();
        let state = self.store().state();
        let unknown = self.leads_somewhere(&state, source, &commits).await?;
        let found: Vec<_> = found
            .into_iter()
            .map(|tip| ward_plan::source::Sighting {
                reference: tip.reference,
                commit: tip.commit,
                tip: true,
                with: None,
            })
            .collect();
        let finder = Actor::source(&source.name);
        let new = sighted(source, &found, true);
        let seen = self.described(&finder, source, new).await.map_err(git)?;
        if let Some(Token { token, .. }) = token {
            self.seal_for_source(token_label(&source.name, 1)?, token)
                .await?;
        }
        let secret = match source.webhook {
            true => Some(self.new_webhook_secret(&source.name).await?),
            false => None,
        };
        let added = Event::SourceAdded {
            source: Box::new(source.clone()),
        };
        let seen = seen.into_iter().map(|seen| Event::CommitSeen {
            source: source.name.clone(),
            seen: Box::new(seen),
        });
        let _desk = self.desk_for(why).await;
        let events = std::iter::once(added).chain(seen).collect();
        self.append(actor, why, events).await?;
        Ok((secret, unknown.into_iter().collect()))
    }

    /// Watches a repository no more. What is being built of it is ended; its builds and releases stay. A repository that
    /// Ward hosts is removed.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove_source(
        &self,
        actor: &Actor,
        request: &RemoveSource,
    ) -> Result<(), Refusal> {
        let _admitted = self.admit()?;
        let _alone = self.0.sources.change().await;
        let name = &request.name;
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
            let event = Event::SourceRemoved {
                source: source.name.clone(),
            };
            let secrets = source.webhook || source.login.is_some();
            Ok((secrets, vec![event]))
        });
        let secrets = deciding.await?;
        drop(desk);
        self.0.sources.end(name).await;
        if secrets {
            let (vault, env) = (self.vault().clone(), tokens::env(name)?);
            let purging = tokio::task::spawn_blocking(move || vault.purge(&env));
            if !matches!(purging.await, Ok(Ok(()))) {
                tracing::warn!(source = %name, "its secrets are left, sealed, and mean nothing any more");
            }
        }
        let removed = Folder::of(&self.0.home, name).remove();
        removed.map_err(|error| {
            Refusal::failed("the source is removed, but its folder is left", &error)
        })
    }

    /// Looks at a source now, and tells what becomes of its newest commit.
    pub async fn sync_source(self, actor: Actor, request: SyncRequest, steps: Steps) {
        let name = &request.name;
        let followed = async {
            let watched = self.0.sources.get(name).ok_or_else(|| no_source(name))?;
            let heard = watched.hear();
            self.0.sources.go_on_where(|| true);
            self.look(&Actor::source(name), name, &watched, &[]).await?;
            if request.again {
                self.tried_again(&actor, &request).await?;
            }
            let state = self.store().state();
            let newest = state.sources.get(name).and_then(|s| s.commits.last());
            let newest = newest.map(|seen| seen.commit.id.clone());
            Ok::<_, Refusal>((heard, newest))
        };
        let last = match followed.await {
            Ok((heard, Some(id))) => {
                self.followed_commit(name, &id, request.until, heard, &steps)
                    .await
            }
            Ok((_, None)) => Progress::Done {
                message: format!("{name} has no commit yet"),
                addresses: Vec::new(),
            },
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn tried_again(&self, actor: &Actor, request: &SyncRequest) -> Result<(), Refusal> {
        let desk = self.desk_for(&request.why).await;
        let name = &request.name;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
            let newest = source.commits.last();
            let failed = newest.filter(|s| matches!(s.standing, Standing::Failed { .. }));
            let Some(failed) = failed else {
                let message = format!("the newest commit of {name} did not fail");
                let hint = format!("`ward source show {name}` says what became of it");
                return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
            };
            let id = failed.commit.id.clone();
            let built = ward_plan::source::kept(state, name, &id);
            let standing = match built {
                // What was built is not built again.
                Some(kept) => Standing::Built {
                    version: kept.build.version.clone(),
                },
                None => Standing::Waiting,
            };
            let event = Event::CommitMoved {
                source: name.clone(),
                commit: id,
                standing,
            };
            Ok(((), vec![event]))
        });
        deciding.await
    }

    /// Takes what was pushed to a repository that Ward hosts, and tells what becomes of it.
    pub async fn pushed(self, actor: Actor, request: PushedRequest, steps: Steps) {
        let name = &request.name;
        let taken = async {
            let watched = self.0.sources.get(name).ok_or_else(|| no_source(name))?;
            let heard = watched.hear();
            let state = self.store().state();
            let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
            let followed = |p: &&ward_types::view::Pushed| source.follows.names(&p.reference);
            let last = request.pushed.iter().rfind(followed).cloned();
            let Some(last) = last else {
                return Ok::<_, Refusal>((heard, None));
            };
            self.0.sources.go_on_where(|| true);
            self.look(&actor, name, &watched, &request.pushed).await?;
            let repository = Folder::of(&self.0.home, name).repository();
            let commit = repository.commit(&last.object).await;
            let commit = commit.map_err(|error| git_refusal(&error))?;
            Ok((heard, Some(commit.id)))
        };
        let last = match taken.await {
            Ok((heard, Some(id))) => {
                let until = Until::Verdict;
                self.followed_commit(name, &id, until, heard, &steps).await
            }
            Ok((_, None)) => Progress::Done {
                message: format!(
                    "{name} does not follow what was pushed; it is kept, and not built"
                ),
                addresses: Vec::new(),
            },
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }
}

fn source_of(actor: &Actor, request: AddSource) -> Result<Source, Refusal> {
    let git = |error: ward_git::Error| git_refusal(&error);
    let place = match request.place {
        Place::Hosted => Place::Hosted,
        Place::Remote(text) => {
            Place::Remote(Address::parse(&text).map_err(git)?.as_str().to_owned())
        }
    };
    use ward_types::source::Follows;
    let follows = match request.follows {
        Follows::Branch(name) => Follows::Branch(ward_git::branch(&name).map_err(git)?),
        Follows::Tags(pattern) => Follows::Tags(ward_git::tags(&pattern).map_err(git)?),
    };
    if let Some(poll) = request.poll.filter(|poll| !POLLS.contains(poll)) {
        let message = format!(
            "a repository cannot be looked at every {}; nothing was changed",
            ward_types::unit::format_duration(poll)
        );
        return Err(Refusal::new(RefusalKind::Invalid, message).hint("from 1s to 24h"));
    }
    Ok(Source {
        name: request.name,
        place,
        follows,
        folder: ward_git::folder(&request.folder).map_err(git)?,
        then: request.then,
        poll: request.poll,
        webhook: request.webhook,
        each: request.each,
        login: request.token.map(|token| Login {
            user: token.user,
            version: 1,
        }),
        added: now(),
        by: actor.who.clone(),
        commits: Vec::new(),
    })
}

fn no_source(name: &Name) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("there is no source {name}"))
        .hint("`ward source list` lists them; `ward source add` adds one")
}
