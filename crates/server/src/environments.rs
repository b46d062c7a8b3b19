//! Environments as values: copied by digest, listed, given an end, deleted.
//!
//! Decision: a copy is recorded whole at once (its creation, its release, its first deployment), from the release
//! that serves in its parent at that moment. What it is a copy of stays with it, so that a stack file which does not
//! name it says all the same what it is to become: as its parent, with hosts of its own.

mod barred;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ward_stack::{Mistake, Stack};
use ward_store::Log;
use ward_types::configuration::ConfigChange;
use ward_types::copy::copied;
use ward_types::environments::{
    CopiedData, CreateRequest, DataView, DeleteRequest, EnvironmentDetail, EnvironmentsView,
    ExtendRequest, NewEnd, Standing,
};
use ward_types::event::{Event, State};
use ward_types::id::{BackupId, EnvId, Name};
use ward_types::keeper::{InstanceState, Role};
use ward_types::life::{Cause, Ending, LONGEST, Origin, SHORTEST, Said, roughly};
use ward_types::release::{Environment, Goal, Reason, Release};
use ward_types::sleep::{LONGEST_IDLE, SHORTEST_IDLE, Sleep};
use ward_types::spec::EnvSpec;
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::format_duration;
use ward_types::view::{Made, Others, Progress, SharingView};

use self::barred::{never_gives_data, origin_of_copy};
use crate::actor::{Actor, Refusal, RefusalKind};
use crate::backups::original;
use crate::builds::End;
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds, say};
use crate::recording::{Queued, Wish};
use crate::secrets::{applied, missing_secrets};
use crate::sharing::{Warned, warn_of};
use crate::views::Purged;

/// The event by which a copy has the configuration that its parent serves with, but for what was set for the copy before
/// it was made: that stays, also where the parent says something else for one service alone.
fn as_in(serves: &Release, parent: &Environment, copy: &Environment) -> Option<Event> {
    let changes = match parent.is_outdated(serves) {
        false => parent.configuration.as_changes(),
        true => serves.values(),
    };
    let own = |change: &ConfigChange| {
        let for_all = ConfigChange {
            service: None,
            ..change.clone()
        };
        let known = &copy.configuration;
        known.value(change).is_some() || known.value(&for_all).is_some()
    };
    let changes: Vec<_> = changes.into_iter().filter(|change| !own(change)).collect();
    (!changes.is_empty()).then(|| Event::ConfigChanged {
        env: copy.id.clone(),
        version: copy.configuration.version + 1,
        changes,
    })
}

/// As of `ward down`.
const DEADLINE: Duration = Duration::from_secs(180);

/// A copy that is in the log.
struct Copied {
    env: EnvId,
    release: Release,
    until: Option<Timestamp>,
    queued: Queued,
    warned: Vec<Warned>,
}

impl Control {
    /// Makes a copy of an environment, and tells how it goes, to the end.
    pub async fn create(self, actor: Actor, request: CreateRequest, steps: Steps) {
        let last = match self.copied(&actor, &request).await {
            Ok(copied) => {
                let env = &copied.env;
                self.tell_copy(&request, &copied, &steps).await;
                self.followed(env, copied.queued.id, request.until, &steps)
                    .await
            }
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn tell_copy(&self, request: &CreateRequest, copied: &Copied, steps: &Steps) {
        let (env, from) = (&copied.env, &request.from);
        let version = &copied.release.build.version;
        let message =
            format!("{env} is a copy of {from} as it serves ({version}); nothing is built");
        say(steps, message).await;
        if !request.restores.is_empty() {
            let restored: Vec<String> = request.restores.iter().map(ToString::to_string).collect();
            let message = format!(
                "its databases get what {} of {from} holds",
                restored.join(", ")
            );
            say(steps, message).await;
        }
        if request.data == CopiedData::Rows {
            let message = format!("its databases get the rows that {from} has now");
            say(steps, message).await;
        }
        warn_of(&copied.warned, steps).await;
        if let Some(until) = copied.until {
            let left = roughly(until.since(now()));
            let name = env.env();
            let message = format!(
                "it ends in {left}, on {until}, and its data with it; `ward env extend {name} --ttl 7d` gives it \
                 more time"
            );
            say(steps, message).await;
        }
    }

    async fn copied(&self, actor: &Actor, request: &CreateRequest) -> Result<Copied, Refusal> {
        let _admitted = self.admit()?;
        let from = self.alive(Some(&request.from))?;
        if let Some(ttl) = request.ttl {
            lasting(ttl)?;
        }
        if let Some(idle) = request.sleep {
            idling(idle)?;
        }
        let env = EnvId::new(&from.stack(), &request.name);
        if env == from {
            let message = format!("{env} cannot be a copy of itself");
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        self.backups_open(&from, &request.restores).await?;
        self.copy_is_barred(request, (&from, &env))?;
        let _need = match request.data {
            CopiedData::Rows => {
                self.has_room(&from).await?;
                Some(self.awake(actor, &from, &request.why).await?)
            }
            CopiedData::None => None,
        };
        // What the parent retains is not collected in between.
        let _unrecorded = self.0.unrecorded.read().await;
        let spec = self.spec_of_copy(&from, &env, &request.restores);
        if let Some(spec) = &spec {
            self.copy_has_secrets(spec).await?;
        }
        let desk = self.desk().await;
        let made = match &spec {
            Some(spec) => self.generated(spec).await?,
            None => Vec::new(),
        };
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            self.copy(state, actor, request, (&from, &env), &made)
        });
        let copied = deciding.await?;
        drop(desk);
        self.live(&env);
        Ok(copied)
    }

    fn copy(
        &self,
        state: &State,
        actor: &Actor,
        request: &CreateRequest,
        (from, env): (&EnvId, &EnvId),
        made: &[Event],
    ) -> Result<(Copied, Vec<Event>), Refusal> {
        let parent = state.environments.get(from).ok_or_else(|| unserved(from))?;
        let asked = &request.restores;
        let serves = original(parent, asked).ok_or_else(|| unserved(from))?;
        let restores = match asked.is_empty() {
            true => BTreeMap::new(),
            false => self.chosen_backups(parent, &serves.spec, asked)?,
        };
        if request.data == CopiedData::Rows || !restores.is_empty() {
            self.stays_home(&serves.spec)?;
        }
        let origin = origin_of_copy(parent, request);
        if request.data == CopiedData::Rows {
            never_gives_data(parent, &serves.spec).map_or(Ok(()), Err)?;
            self.gives_data_now(parent, &serves.spec)?;
        }
        let known = state.environments.get(env);
        let mut events = match known.filter(|known| !known.is_deleted() && !known.is_bare()) {
            Some(known) => self.makes_room(known)?,
            None => Vec::new(),
        };
        let spec = copied(&serves.declared(), env, &origin);
        let spec = spec.map_err(|error| unnamed(&error))?;
        self.possible(&spec, Some(&origin))?;
        let until = request.ttl.map(|ttl| now() + ttl);
        events.push(Event::EnvironmentCreated {
            env: env.clone(),
            origin: Some(Box::new(origin)),
            copies: match request.data {
                CopiedData::None if !restores.is_empty() => Some(from.clone()),
                CopiedData::None => None,
                CopiedData::Rows => Some(from.clone()),
            },
            restores,
            until,
            by: actor.who.clone(),
            why: request.why.clone(),
        });
        let fresh = known.map_or_else(|| Environment::new(env.clone()), |env| (**env).clone());
        // What people set is a part of what serves, and is copied. Secrets are not: they are set or made anew.
        let created = applied(&fresh, &events);
        events.extend(as_in(serves, parent, &created));
        events.extend(made.iter().cloned());
        let fresh = applied(&fresh, &events);
        let (spec, config) = fresh.configuration.over(spec);
        let secrets = fresh.secrets_for(&spec);
        let secrets = secrets.map_err(|missing| missing_secrets(env, &spec, &missing))?;
        let release = Release {
            id: fresh.newest_release().next(),
            build: serves.build.clone(),
            spec,
            config,
            secrets,
            recorded: now(),
            by: actor.who.clone(),
            promoted: None,
        };
        self.copy_permitted(&release)?;
        let warned = self.links_lead(None, &release.spec)?;
        events.push(Event::ReleaseRecorded {
            env: env.clone(),
            release: Box::new(release.clone()),
        });
        let wish = Wish {
            to: release.id,
            reason: Reason::Deploy,
            others: Others::Wait,
            despite_schema: None,
        };
        let (queued, events) = wish.events(&fresh, actor, events);
        let copied = Copied {
            env: env.clone(),
            release,
            until,
            queued,
            warned,
        };
        Ok((copied, events))
    }

    /// What a copy declares before values are set over it, for its secrets.
    fn spec_of_copy(&self, from: &EnvId, env: &EnvId, asked: &[BackupId]) -> Option<EnvSpec> {
        let parent = self.known(from)?;
        let declared = original(&parent, asked)?.declared();
        Some(EnvSpec {
            id: env.clone(),
            ..declared
        })
    }

    async fn copy_has_secrets(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        let env = &spec.id;
        // Nothing declares a copy before it is there.
        let new =
            |hint: String| hint.replace(&format!("--env {env}`"), &format!("--env {env} --new`"));
        let there = self.secrets_there(spec).await;
        there.map_err(|refusal| Refusal {
            hint: refusal.hint.map(new),
            ..refusal
        })
    }

    /// Whether an environment's rows and files, which may be copied, can be now.
    fn gives_data_now(&self, parent: &Environment, spec: &EnvSpec) -> Result<(), Refusal> {
        let (env, name) = (&parent.id, parent.id.env());
        let live = self.live(env).borrow().clone();
        let runs = |database: &Name| {
            live.observed.instances.values().any(|seen| {
                let facts = &seen.facts;
                let healthy = seen.status.state == InstanceState::Healthy;
                facts.role == Role::Database && facts.component == *database && healthy
            })
        };
        if let Some(database) = spec.databases.keys().find(|name| !runs(name)) {
            let message =
                format!("the database {database} of {env} does not run, and so cannot be copied");
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
                "`ward up --env {name}` brings it up; `ward status` shows what it waits for"
            )));
        }
        Ok(())
    }

    /// Whether the disk takes the data twice.
    async fn has_room(&self, from: &EnvId) -> Result<(), Refusal> {
        let home = self.0.home.clone();
        let data = home.join("data").join(from.as_str());
        let (volumes, of) = (self.0.world.composer.volumes.clone(), from.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let free = rustix::fs::statvfs(&home).ok()?;
            let names = volumes.list(&of).ok()?;
            let files = names.iter().map(|name| volumes.bytes(&of, name).ok());
            let files: u64 = files.sum::<Option<u64>>()?;
            let rows = size(&data).unwrap_or_default();
            Some((rows + files, free.f_bavail * free.f_frsize))
        });
        let Ok(Some((data, free))) = looked.await else {
            return Ok(()); // What cannot be told is found out by the copy, which looks itself.
        };
        if free >= data + ward_postgres::RESERVE {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let message = format!(
            "the data of {from} takes {} MiB, and the disk has {} MiB left, of which {} stay free",
            mib(data),
            mib(free),
            mib(ward_postgres::RESERVE)
        );
        Err(Refusal::new(RefusalKind::Failed, message)
            .hint("nothing was changed; make room first, or leave out `--copy-data`"))
    }

    /// One that was purged is as good as gone, and its name is free; any other is in the way.
    fn makes_room(&self, known: &Environment) -> Result<Vec<Event>, Refusal> {
        if let Some(refusal) = over(known) {
            return Err(refusal);
        }
        let env = known.id.clone();
        let purged = known.goal == Goal::Purged && known.data_gone && self.is_gone(known);
        if !purged {
            return Err(exists(known));
        }
        if !known.backups.all.is_empty() {
            let message =
                format!("{env} was purged, and still has backups, which would go with its name");
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
                "take another name, or `ward env delete {env}` removes them first"
            )));
        }
        let ending = Event::EnvironmentEnding {
            env: env.clone(),
            cause: Cause::Asked,
            by: "ward".to_owned(),
            why: "it was purged, and another one takes its name".to_owned(),
        };
        Ok(vec![ending, Event::EnvironmentDeleted { env }])
    }

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
        let desk = self.desk().await;
        let decide = |state: &State| {
            let known = state.environments.get(&env);
            let known = known.ok_or_else(|| unrecorded(&env))?;
            if let Some(refusal) = over(known) {
                return Err(refusal);
            }
            // Its end would take its data with it, and nobody would be asked then.
            if until.is_some() && known.life.origin.is_none() {
                self.may_purge(state, &env)?;
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
        let desk = self.desk().await;
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
            if !ends && known.life.origin.is_none() {
                self.may_purge(state, &env)?;
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
            origin: life.origin,
            created: life.created,
            expires: life.expires.filter(|_| life.ending.is_none()),
            ending: life.ending,
            deleted: life.deleted,
            sleeps_after: current.and_then(|release| release.spec.sleep),
            sleep: env.sleep.clone(),
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
        // One that only has values was made by those who set them, for the deploy that is to come.
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

/// What a copy is to become by a stack file that does not name it.
///
/// # Errors
/// The file's mistakes, where it does not declare what it is a copy of; why its hosts have no names.
pub(crate) fn resolved_copy(
    stack: &Stack,
    env: &Name,
    origin: &Origin,
) -> Result<Result<EnvSpec, Refusal>, Vec<Mistake>> {
    let parent = match &origin.above {
        Some(above) => match resolved_copy(stack, &origin.from, above)? {
            Ok(parent) => parent,
            refused => return Ok(refused),
        },
        None => stack.resolve(&origin.from)?,
    };
    let id = EnvId::new(&stack.name, env);
    Ok(copied(&parent, &id, origin).map_err(|error| unnamed(&error)))
}

fn unnamed(error: &ward_types::copy::CopyError) -> Refusal {
    Refusal::new(RefusalKind::Invalid, error.to_string()).hint(
        "`ward env create --hosts PATTERN` says how the hosts of a copy are named: {service} is the service that a \
         host leads to, {host} the host of the original, {env} and {stack} are the copy's",
    )
}

fn unserved(from: &EnvId) -> Refusal {
    let message = format!("{from} has no release that serves, and so nothing to copy");
    let name = from.env();
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "`ward deploy --env {name}` brings one; `ward releases --env {name}` shows what there was"
    ))
}

fn unrecorded(env: &EnvId) -> Refusal {
    let message = format!("nothing of {env} is recorded yet: it is just being built");
    Refusal::new(RefusalKind::Conflict, message)
        .hint("`ward status` shows how far it is; `ward deployment cancel` ends the build")
}

fn exists(known: &Environment) -> Refusal {
    let (env, name) = (&known.id, known.id.env());
    let what = match &known.life.origin {
        Some(origin) => format!(", a copy of {}", origin.from),
        None => ", declared by its stack file".to_owned(),
    };
    let created = known.life.created.as_ref().map(said).unwrap_or_default();
    let message = format!("{env} exists already{what}{created}");
    let end = match known.life.expires {
        Some(expiry) => format!("it ends in {}; ", roughly(expiry.at.since(now()))),
        None => String::new(),
    };
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{end}`ward deploy --env {name}` brings it up to date, `ward env extend {name}` gives it another end, \
         `ward env delete {name}` makes room"
    ))
}

/// `, created on … by anna`.
fn said(created: &Said) -> String {
    match created.by.as_str() {
        "" => format!(", created on {}", created.at),
        by => format!(", created on {} by {by}", created.at),
    }
}

/// Why nothing can be done with an environment any more, if that is so.
pub(crate) fn over(known: &Environment) -> Option<Refusal> {
    let ending = known.life.ending.as_ref()?;
    let (env, name) = (&known.id, known.id.env());
    let why = because(ending);
    let again = match &known.life.origin {
        Some(origin) => format!(
            "`ward env create {name} --from {}` makes it again",
            origin.from
        ),
        None => format!("`ward deploy --env {name}` makes it again"),
    };
    let (message, when) = match known.life.deleted {
        Some(at) => (format!("{env} was deleted on {at}: {why}"), ""),
        None => (format!("{env} is being deleted: {why}"), " when it is gone"),
    };
    Some(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{again}{when}; `ward events --env {env}` shows its history"
    )))
}

fn because(ending: &Ending) -> String {
    let Said { by, why, .. } = &ending.said;
    let why = match why.as_str() {
        "" => String::new(),
        why => format!(" (“{why}”)"),
    };
    match ending.cause {
        Cause::Expired => "its time was over".to_owned(),
        Cause::Unmade => "it could not be made".to_owned(),
        Cause::Asked => format!("{by} asked for it{why}"),
    }
}

fn lasting(ttl: Millis) -> Result<(), Refusal> {
    if (SHORTEST..=LONGEST).contains(&ttl) {
        return Ok(());
    }
    let (shortest, longest) = (format_duration(SHORTEST), format_duration(LONGEST));
    let asked = match ttl < SHORTEST {
        true => format_duration(ttl),
        false => roughly(ttl),
    };
    let message = format!("an environment lasts from {shortest} to {longest}, and not {asked}");
    Err(Refusal::new(RefusalKind::Invalid, message)
        .hint("say another time with --ttl; without an end it lasts until it is deleted"))
}

fn idling(idle: Millis) -> Result<(), Refusal> {
    if (SHORTEST_IDLE..=LONGEST_IDLE).contains(&idle) {
        return Ok(());
    }
    let message = format!(
        "an environment sleeps when it was idle for {} to {}, and not {}",
        format_duration(SHORTEST_IDLE),
        roughly(LONGEST_IDLE),
        format_duration(idle)
    );
    Err(Refusal::new(RefusalKind::Invalid, message)
        .hint("say another time with --sleep; without it the copy sleeps as what it is a copy of"))
}

fn end(asked: NewEnd) -> Result<Option<Timestamp>, Refusal> {
    let at = match asked {
        NewEnd::Never => return Ok(None),
        NewEnd::In(ttl) => {
            lasting(ttl)?;
            return Ok(Some(now() + ttl));
        }
        NewEnd::At(at) => at,
    };
    if at < now() + SHORTEST {
        let message = format!("{at} is over");
        return Err(Refusal::new(RefusalKind::Invalid, message)
            .hint("name a moment to come; `ward env delete` ends an environment now"));
    }
    lasting(at.since(now()))?;
    Ok(Some(at))
}

fn standing(env: &Environment) -> Standing {
    match (env.goal, env.current) {
        _ if env.is_deleted() => Standing::Deleted,
        _ if env.ending().is_some() => Standing::Ending,
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
