//! Copies of environments.
//!
//! Decision: a copy is recorded whole at once (its creation, its release, its first deployment), from the release
//! that serves in its parent at that moment. What it is a copy of stays with it, so that a stack file which does not
//! name it says all the same what it is to become: as its parent, with hosts of its own.

use std::collections::BTreeMap;

use ward_stack::{Mistake, Stack};
use ward_store::Log;
use ward_types::configuration::ConfigChange;
use ward_types::copy::copied;
use ward_types::environments::{CopiedData, CreateRequest, Trial};
use ward_types::event::{Event, State};
use ward_types::id::{BackupId, EnvId, Name};
use ward_types::keeper::{InstanceState, Role};
use ward_types::life::{Cause, Origin, roughly};
use ward_types::release::{Environment, Goal, Reason, Release};
use ward_types::spec::EnvSpec;
use ward_types::time::Timestamp;
use ward_types::view::{Others, Progress};

use super::barred::{declared_as, declares, never_gives_backups, never_gives_data, origin_of_copy};
use super::ends::{idling, lasting};
use super::refusals::{exists, itself, over, unserved};
use super::size;
use crate::actor::{Actor, Refusal, RefusalKind};
use crate::backups::original;
use crate::clock::now;
use crate::configuration::end_before;
use crate::control::Control;
use crate::deploy::{Steps, Stop, say};
use crate::recording::{Queued, Wish};
use crate::secrets::{applied, missing_secrets};
use crate::sharing::{Warned, warn_of};

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
        if request.trial == Trial::Yes {
            let last = match self.tried(&actor, &request).await {
                Ok(env) => Progress::Done {
                    message: format!("{env} can be made, where it has the secrets that it needs"),
                    addresses: Vec::new(),
                },
                Err(refusal) => Stop::Refused(refusal).word(),
            };
            let _ = steps.send(last).await;
            return;
        }
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

    /// Whether it can be made, but for its secrets, which are set then. Nothing is changed.
    async fn tried(&self, actor: &Actor, request: &CreateRequest) -> Result<EnvId, Refusal> {
        let (from, env) = self.copyable(request).await?;
        let state = self.store().state();
        let _not_recorded = self.copy(&state, actor, request, (&from, &env), &[])?;
        Ok(env)
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
            let spec = &copied.release.spec;
            let (rows, files) = (!spec.databases.is_empty(), !spec.volumes.is_empty());
            let rows = rows.then_some("its databases get the rows");
            let files = files.then_some("its volumes get the files");
            for what in rows.into_iter().chain(files) {
                say(steps, format!("{what} that {from} has now")).await;
            }
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
        let (from, env) = self.copyable(request).await?;
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
        let desk = self.desk_for(&request.why).await;
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

    /// What is copied, and what it becomes, where nothing is in the way of it but secrets that are not set.
    async fn copyable(&self, request: &CreateRequest) -> Result<(EnvId, EnvId), Refusal> {
        let from = self.alive(Some(&request.from))?;
        if let Some(ttl) = request.ttl {
            lasting(ttl)?;
        }
        if let Some(idle) = request.sleep {
            idling(idle)?;
        }
        let env = EnvId::new(&from.stack(), &request.name);
        if env == from {
            let goal = self.known(&from).map_or(Goal::Up, |known| known.goal);
            return Err(itself(&from, goal, request));
        }
        self.backups_open(&from, &request.restores).await?;
        self.copy_is_barred(request, (&from, &env))?;
        if let Some(parent) = self.known(&from).filter(|_| !request.restores.is_empty()) {
            let serves = original(&parent, &request.restores).ok_or_else(|| unserved(&from))?;
            self.chosen_backups(&parent, &serves.spec, &request.restores)?;
        }
        Ok((from, env))
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
        if !restores.is_empty() {
            never_gives_backups(parent, &serves.spec, &request.why).map_or(Ok(()), Err)?;
        }
        let origin = origin_of_copy(parent, request);
        if request.data == CopiedData::Rows {
            never_gives_data(parent, &serves.spec).map_or(Ok(()), Err)?;
            // One that sleeps is woken for it, but not to try.
            if request.trial == Trial::No {
                self.gives_data_now(parent, &serves.spec)?;
            }
        }
        let known = state.environments.get(env);
        let mut events = match known.filter(|known| !known.is_deleted() && !known.is_bare()) {
            Some(known) => self.makes_room(known)?,
            None => Vec::new(),
        };
        let spec = copied(&serves.declared(), env, &origin);
        let spec = spec.map_err(|error| unnamed(&error))?;
        self.possible(&spec, Some(&origin))?;
        let before = known.and_then(|known| end_before(known));
        let until = request.ttl.map(|ttl| now() + ttl).or(before);
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
        let secrets = match (fresh.secrets_for(&spec), request.trial) {
            (Ok(secrets), _) => secrets,
            (Err(_), Trial::Yes) => BTreeMap::new(),
            (Err(missing), Trial::No) => return Err(missing_secrets(env, &spec, &missing)),
        };
        let release = Release {
            id: fresh.newest_release().next(),
            build: serves.build.clone(),
            spec,
            config,
            secrets,
            recorded: now(),
            by: actor.who.clone(),
            named: Some(false),
            promoted: None,
        };
        if let Some(refusal) = declared_as(serves, env, request) {
            return Err(refusal);
        }
        self.copy_permitted(&release, declares(serves, env).as_ref())?;
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
            plan: None,
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
        let file = |hint: String| {
            format!(
                "`--secrets FILE` sets those of a .env file first, with the same command; or {hint}"
            )
        };
        let there = self.secrets_there(spec).await;
        there.map_err(|refusal| Refusal {
            hint: refusal.hint.map(new).map(file),
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
    pub(super) fn makes_room(&self, known: &Environment) -> Result<Vec<Event>, Refusal> {
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
    // What was a copy may have been declared since.
    let above = origin.above.as_deref();
    let parent = match above.filter(|_| !stack.environments.contains(&origin.from)) {
        Some(above) => match resolved_copy(stack, &origin.from, above)? {
            Ok(parent) => parent,
            refused => return Ok(refused),
        },
        None => stack.resolve(&origin.from)?,
    };
    let id = EnvId::new(&stack.name, env);
    Ok(copied(&parent, &id, origin).map_err(|error| unnamed(&error)))
}

pub(super) fn unnamed(error: &ward_types::copy::CopyError) -> Refusal {
    Refusal::new(RefusalKind::Invalid, error.to_string()).hint(
        "`ward env create --hosts PATTERN` says how the hosts of a copy are named: {service} is the service that a \
         host leads to, {host} the host of the original, {env} and {stack} are the copy's",
    )
}
