//! Environments as values: listed, given an end, deleted, and copied by digest ([`copying`]).

mod barred;
mod copying;
mod ends;
mod refusals;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ward_store::Log;
use ward_types::environments::{
    DataView, DeleteRequest, EnvironmentDetail, EnvironmentsView, ExtendRequest, Standing,
};
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name};
use ward_types::life::{Cause, Origin, roughly};
use ward_types::release::{Environment, Goal};
use ward_types::sleep::Sleep;
use ward_types::view::{Made, Progress, SharingView};

pub(crate) use self::copying::resolved_copy;
use self::ends::{end, lasting};
pub(crate) use self::refusals::over;
use self::refusals::{exists, unrecorded};
use crate::actor::{Actor, Refusal};
use crate::builds::End;
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds};
use crate::sharing::warn_of;
use crate::views::Purged;

/// As of `ward down`.
const DEADLINE: Duration = Duration::from_secs(180);

impl Control {
    /// Gives an environment another end, or none.
    ///
    /// # Errors
    /// When it does not exist, ends already, or the end lies in the past or too far away.
    pub async fn extend(
        &self,
        actor: &Actor,
        request: &ExtendRequest,
    ) -> Result<EnvironmentDetail, Refusal> {
        let env = self.alive(Some(&request.env))?;
        let until = end(request.end)?;
        let desk = self.desk_for(&request.why).await;
        let decide = |state: &State| {
            let known = state.environments.get(&env);
            let known = known.ok_or_else(|| unrecorded(&env))?;
            if let Some(refusal) = over(known) {
                return Err(refusal);
            }
            // Its end would take its data with it, and nobody would be asked then.
            let later = |until| known.life.expires.is_some_and(|expiry| until >= expiry.at);
            if until.is_some_and(|until| !later(until)) {
                self.may_expire(known)?;
            }
            let same = known.life.expires.map(|expiry| expiry.at) == until;
            let event = Event::EnvironmentExtended {
                env: env.clone(),
                until,
            };
            let events = if same { Vec::new() } else { vec![event] };
            Ok(((), events))
        };
        self.decided(&desk, actor, &request.why, decide).await?;
        drop(desk);
        let known = self.known(&env).ok_or_else(|| unrecorded(&env))?;
        Ok(self.detail(&known))
    }

    /// Deletes an environment, and tells how it goes, to the end.
    pub async fn delete(self, actor: Actor, request: DeleteRequest, steps: Steps) {
        let last = match self.deleted(&actor, &request, &steps).await {
            Ok(last) => last,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn deleted(
        &self,
        actor: &Actor,
        request: &DeleteRequest,
        steps: &Steps,
    ) -> Result<Progress, Refusal> {
        let env = self.environment(Some(&request.env))?;
        let data = self.has_data(&env);
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let known = state.environments.get(&env);
            let known = known.ok_or_else(|| unrecorded(&env))?;
            if known.is_deleted() {
                return over(known).map_or(Ok(((), Vec::new())), Err);
            }
            let event = Event::EnvironmentEnding {
                env: env.clone(),
                cause: Cause::Asked,
                by: actor.who.clone(),
                why: request.why.clone(),
            };
            let ends = known.ending().is_some();
            if !ends {
                self.may_delete(known)?;
            }
            Ok(((), if ends { Vec::new() } else { vec![event] }))
        });
        deciding.await?;
        let by = actor.who.clone();
        let builds = self.0.builds.end_all(&env, &End::Down { by });
        drop(desk);
        warn_of(&self.cut_off_from(std::slice::from_ref(&env)), steps).await;
        ended_builds(&builds, "ended", steps).await;
        self.0.builds.gone(&builds).await;
        let gone = || self.known(&env).is_none_or(|known| known.is_deleted());
        self.comes_to_rest(&env, DEADLINE, |_| gone(), steps)
            .await?;
        let with = if data { ", its data removed" } else { "" };
        let message =
            format!("{env} is deleted{with}; its history stays: `ward events --env {env}`");
        Ok(Progress::Done {
            message,
            addresses: Vec::new(),
        })
    }

    /// The environments from their creation to their end, those that are gone too where that is asked for; or the
    /// one that is asked for, with the size of its data.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn environments(
        &self,
        env: Option<&EnvId>,
        gone: Purged,
    ) -> Result<EnvironmentsView, Refusal> {
        if let Some(env) = env {
            let env = self.environment(Some(env))?;
            let mut detail = match self.known(&env) {
                Some(known) => self.detail(&known),
                None => unrecorded_detail(&env),
            };
            self.measure(&mut detail).await;
            if detail.state == Standing::Asleep {
                let refused = self.can_wake(&env).await.err();
                detail.cannot_wake = refused.map(|refusal| refusal.message);
            }
            return Ok(EnvironmentsView {
                environments: vec![detail],
            });
        }
        let state = self.store().state();
        let shown = |known: &&Arc<Environment>| {
            let living = !known.is_deleted() && !self.is_gone(known);
            living || gone == Purged::Shown
        };
        let known = state.environments.values().filter(shown);
        let mut environments: Vec<_> = known.map(|known| self.detail(known)).collect();
        let building = self.0.builds.environments().into_iter();
        let building = building.filter(|env| !state.environments.contains_key(env));
        environments.extend(building.map(|env| unrecorded_detail(&env)));
        environments.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(EnvironmentsView { environments })
    }

    fn detail(&self, env: &Environment) -> EnvironmentDetail {
        let current = env.current_release();
        let newest = || env.releases.values().next_back();
        let spec = current.or_else(newest).map(|release| &release.spec);
        let life = env.life.clone();
        let names = |names: Option<Vec<&Name>>| -> Vec<Name> {
            names.into_iter().flatten().cloned().collect()
        };
        let databases = names(spec.map(|spec| spec.databases.keys().collect()));
        EnvironmentDetail {
            id: env.id.clone(),
            state: standing(env),
            origin: life.origin.filter(|_| env.is_copy()),
            created: life.created,
            expires: life.expires.filter(|_| life.ending.is_none()),
            ending: life.ending,
            deleted: life.deleted,
            sleeps_after: current.and_then(|release| release.spec.sleep),
            sleep: env.sleep.clone(),
            cannot_wake: None,
            release: env.current,
            version: current.map(|release| release.build.version.clone()),
            addresses: current
                .filter(|_| env.goal == Goal::Up)
                .map(|release| self.addresses(release))
                .unwrap_or_default(),
            services: names(spec.map(|spec| spec.services.keys().collect())),
            sharing: self.sharing(env),
            databases: databases
                .into_iter()
                .map(|name| DataView { name, bytes: None })
                .collect(),
        }
    }

    async fn measure(&self, detail: &mut EnvironmentDetail) {
        let data = self.0.home.join("data").join(detail.id.as_str());
        for database in &mut detail.databases {
            let folder = data.join(database.name.as_str());
            let sized = tokio::task::spawn_blocking(move || size(&folder));
            database.bytes = sized.await.ok().flatten();
        }
    }

    /// An environment that is there to be changed: not one that ends or is gone.
    ///
    /// # Errors
    /// What there is instead, or what became of it.
    pub(crate) fn alive(&self, asked: Option<&EnvId>) -> Result<EnvId, Refusal> {
        let env = self.environment(asked)?;
        let refusal = self.known(&env).as_ref().and_then(over);
        refusal.map_or(Ok(env), Err)
    }

    /// Whether an environment that a deploy is to make is not there yet.
    pub(crate) fn can_be_made(&self, made: Option<Made>, env: &EnvId) -> Result<(), Refusal> {
        let Some(made) = made else {
            return Ok(());
        };
        if let Some(ttl) = made.ttl {
            lasting(ttl)?;
        }
        let known = self.known(env).filter(|known| !known.is_deleted());
        // One that only has values is awaited by those who set them, for the deploy that is to come.
        match known.filter(|known| !known.is_bare()) {
            Some(known) => Err(over(&known).unwrap_or_else(|| exists(&known))),
            None => Ok(()),
        }
    }

    /// Says that an environment's end is near, where it is.
    pub(crate) async fn tell_end(&self, env: &EnvId, steps: &Steps) {
        let life = self.known(env).map(|env| env.life);
        let expiry = life.filter(|life| life.ending.is_none());
        let expiry = expiry.and_then(|life| life.expires);
        let Some(expiry) = expiry.filter(|expiry| expiry.is_near(now())) else {
            return;
        };
        let left = roughly(expiry.at.since(now()));
        let name = env.env();
        let message = format!(
            "{env} ends in {left}, on {}, and its data with it",
            expiry.at
        );
        let hint = format!("`ward env extend {name} --ttl 7d` gives it more time");
        let _ = steps.send(Progress::Warning { message, hint }).await;
    }

    /// What an environment is a copy of, if it is one.
    ///
    /// # Errors
    /// When it is one, and has ended.
    pub(crate) fn origin(&self, env: &EnvId) -> Result<Option<Origin>, Refusal> {
        let known = self.known(env).filter(|known| known.life.origin.is_some());
        match known.as_ref().and_then(over) {
            Some(refusal) => Err(refusal),
            None => Ok(known.and_then(|known| known.life.origin)),
        }
    }
}

fn standing(env: &Environment) -> Standing {
    match (env.goal, env.current) {
        _ if env.is_deleted() => Standing::Deleted,
        _ if env.ending().is_some() => Standing::Ending,
        _ if env.is_awaited() => Standing::Awaited,
        (Goal::Up, Some(_)) if env.asleep().is_some() => Standing::Asleep,
        (Goal::Up, Some(_)) => Standing::Up,
        (Goal::Up, None) if env.active().or(env.next_queued()).is_some() => Standing::Coming,
        (Goal::Up, None) => Standing::Unserved,
        (Goal::Down, _) => Standing::Down,
        (Goal::Purged, _) => Standing::Purged,
    }
}

fn unrecorded_detail(env: &EnvId) -> EnvironmentDetail {
    EnvironmentDetail {
        id: env.clone(),
        state: Standing::Coming,
        origin: None,
        created: None,
        expires: None,
        ending: None,
        deleted: None,
        sleeps_after: None,
        sleep: Sleep::default(),
        cannot_wake: None,
        release: None,
        version: None,
        addresses: Vec::new(),
        services: Vec::new(),
        sharing: SharingView::default(),
        databases: Vec::new(),
    }
}

/// What a folder takes of the disk, in bytes; `None`: there is none. What goes away meanwhile is not counted.
fn size(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    let mut blocks = std::fs::symlink_metadata(folder).ok()?.blocks();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(known) = entry.metadata() else {
                continue;
            };
            blocks += known.blocks();
            if known.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Some(blocks * 512)
}
