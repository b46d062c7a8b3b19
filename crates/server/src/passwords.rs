//! Passwords of databases: made valid, and withdrawn.
//!
//! Decision: a database is spoken to away from the desk, because one that hangs would keep everybody from deciding
//! anything. What keeps two rotations of one database apart is that the first has its place here; and what is recorded
//! is a password of the very instance that runs then, because a database that was purged meanwhile never heard of it.
//! Statements have a deadline of their own in the database: what was given up is carried out by nobody later, when
//! another password may have its role.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ward_postgres::{Credential, role_of};
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{Exit, InstanceFacts, Role};
use ward_types::release::{Environment, Goal, Phase, Release, Verdict};
use ward_types::secret::Secret;
use ward_types::secrets::{SecretLabel, SecretName, SecretVersion};
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::format_duration;

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::{Control, Desk, lock};
use crate::secrets::next;

/// How long statements may take.
const STATEMENTS_WITHIN: Millis = Millis::secs(60);
/// How often it is looked whether a password can be withdrawn.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The databases whose passwords are being changed, and by whom. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Rotations(Arc<Mutex<BTreeMap<(EnvId, Name), String>>>);

/// The only rotation of a database, while it lives.
struct Rotation {
    all: Rotations,
    of: (EnvId, Name),
}

impl Rotations {
    /// Unless somebody else's is under way.
    ///
    /// # Errors
    /// Whose.
    fn begin(&self, env: &EnvId, database: &Name, actor: &Actor) -> Result<Rotation, Refusal> {
        let of = (env.clone(), database.clone());
        let mut all = lock(&self.0);
        if let Some(by) = all.get(&of) {
            let message = format!(
                "the password of {database} in {env} is being changed just now by {by}; nothing was changed"
            );
            return Err(Refusal::new(RefusalKind::Conflict, message)
                .hint("it takes a minute at most: wait for its end, then ask again"));
        }
        all.insert(of.clone(), actor.who.clone());
        drop(all);
        let all = self.clone();
        Ok(Rotation { all, of })
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.of);
    }
}

/// A new password that is valid beside the one before, and not recorded yet.
pub(crate) struct Admitted {
    database: Name,
    label: SecretLabel,
    password: Secret,
    /// Where it is valid.
    instance: InstanceId,
    /// Nobody else changes it meanwhile.
    _rotation: Rotation,
}

impl Control {
    /// Makes a new password valid beside the one before. Away from the desk.
    ///
    /// # Errors
    /// When there is no such database that runs, another change of its password is not over, or it does not take it in
    /// a minute; then the one before is the only one.
    pub(crate) async fn new_password(
        &self,
        actor: &Actor,
        env: &EnvId,
        database: &Name,
        password: Secret,
    ) -> Result<Admitted, Refusal> {
        let rotation = self.0.rotations.begin(env, database, actor)?;
        self.may_rotate(env, database)?;
        let name = SecretName::of_database(database);
        let label = next(&self.recorded_environment(env)?, &name);
        let instance = self
            .admitted(env, database, label.version, &password)
            .await?;
        Ok(Admitted {
            database: database.clone(),
            label,
            password,
            instance,
            _rotation: rotation,
        })
    }

    /// Whether a new password is still what can be recorded: its label and its value.
    ///
    /// # Errors
    /// When the database is not the one that took it.
    pub(crate) fn recordable(
        &self,
        _desk: &Desk<'_>,
        admitted: &Admitted,
    ) -> Result<(SecretLabel, Secret), Refusal> {
        let Admitted {
            database,
            label,
            password,
            instance,
            ..
        } = admitted;
        let env = &label.env;
        self.may_rotate(env, database)?;
        let label_now = next(&self.recorded_environment(env)?, &label.name);
        if label_now != *label || self.running(env, database)? != *instance {
            let left = self.untouched(env);
            let message =
                format!("{database} was started anew while its password was changed; {left}");
            return Err(Refusal::new(RefusalKind::Conflict, message)
                .hint("the one before is valid as it was: ask again"));
        }
        Ok((label.clone(), password.clone()))
    }

    /// Whether a database's password can be changed now.
    fn may_rotate(&self, id: &EnvId, database: &Name) -> Result<(), Refusal> {
        self.has_database(id, database)?;
        self.running(id, database)?;
        let env = self.recorded_environment(id)?;
        let name = SecretName::of_database(database);
        let held = env.secrets.get(&name);
        if held.is_none_or(|held| held.leaving.is_none()) {
            return Ok(());
        }
        let message = format!(
            "the password of {name} cannot be changed yet, because the one before is still valid"
        );
        let hint = match self.lasting(id, &name) {
            Some(lasting) => format!("{lasting}; `ward secret rotate {name}` again from then on"),
            None => "ask again in a moment".to_owned(),
        };
        Err(Refusal::new(RefusalKind::Conflict, message).hint(hint))
    }

    async fn admitted(
        &self,
        env: &EnvId,
        database: &Name,
        version: u64,
        password: &Secret,
    ) -> Result<InstanceId, Refusal> {
        let credential = Credential {
            role: role_of(version),
            password: password.clone(),
        };
        let until = now() + STATEMENTS_WITHIN;
        let statements = ward_postgres::admission(&credential, until)
            .map_err(|error| Refusal::failed("no password can be made", &error))?;
        self.stated(env, database, statements, until)
            .await
            .map_err(|why| {
                let left = self.untouched(env);
                let message =
                    format!("the new password of {database} cannot be made valid: {why}; {left}");
                Refusal::new(RefusalKind::Failed, message)
                    .hint(format!("`ward logs {database} --env {env}` may say more"))
            })
    }

    /// Has the superuser of a database carry statements out, until a moment behind which the database itself refuses
    /// them; the instance that did it.
    async fn stated(
        &self,
        env: &EnvId,
        database: &Name,
        statements: String,
        until: Timestamp,
    ) -> Result<InstanceId, String> {
        let left = Duration::from_millis(until.since(now()).0);
        let stated = self.stated_by_psql(env, database, statements);
        let stated = tokio::time::timeout(left, stated).await;
        stated.unwrap_or_else(|_| Err("it takes longer than a minute".to_owned()))
    }

    async fn stated_by_psql(
        &self,
        env: &EnvId,
        database: &Name,
        statements: String,
    ) -> Result<InstanceId, String> {
        self.has_database(env, database)
            .map_err(|refusal| refusal.message)?;
        // Not by the password that is rotated: it may be the one that does not open.
        let own = self.composer().opener.own(env, database).await;
        let own = own.map_err(|error| causes(&error))?;
        let instance = self
            .running(env, database)
            .map_err(|refusal| refusal.message)?;
        let running = self.run_inside(env, &instance, own.superuser_psql(), statements);
        match running.await? {
            (Exit::Code(0), _) => Ok(instance),
            (exit, _) => Err(format!("psql ended with {exit:?}")),
        }
    }

    /// The instances that may have the password that a database had before its newest: those of its environment, and
    /// those that copy its rows into another one.
    fn holders(&self, env: &Environment, name: &SecretName) -> Vec<InstanceId> {
        let Some(newest) = env.secret(name) else {
            return Vec::new();
        };
        // In this order: one that is not among those that are being started any more can be observed.
        let starting = &self.composer().opener.starting;
        let mut may = starting.before(newest.version, &env.id, name);
        let state = self.store().state();
        let others = state.environments.values();
        let copies = others.filter(|other| other.life.copies.as_ref() == Some(&env.id));
        let all = copies.map(|copy| &copy.id).chain([&env.id]);
        for seen in all.flat_map(|id| self.engine().observe(id).into_values()) {
            if !seen.status.state.is_over() && has_older(&seen.facts, env, name, newest) {
                may.push(seen.facts.id);
            }
        }
        may
    }

    /// Until when the password that a database had before its newest works, in a sentence; `None`: it has none.
    pub(crate) fn lasting(&self, id: &EnvId, name: &SecretName) -> Option<String> {
        name.database()?;
        let env = self.known(id)?;
        if env.secrets.get(name)?.leaving.is_none() {
            return Some(format!("the old password of {name} works no more"));
        }
        let holders = self.holders(&env, name);
        let list: Vec<String> = holders.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let previous = |instance: &InstanceId| instance.release() == env.previous;
        let kept = env.previous.and_then(|id| env.releases.get(&id));
        let kept = kept.map_or(Millis(0), |release| release.spec.keep_warm);
        let until = switched(&env).map(|at| at + kept);
        let works = match until.filter(|_| holders.iter().all(previous)) {
            _ if holders.is_empty() => {
                return Some(format!(
                    "nothing has the old password of {name} any more: it is withdrawn in a moment"
                ));
            }
            Some(until) if until > now() => format!(
                "until {until}: so long {list} may still use it (`stack.keep_warm`), and until they have stopped"
            ),
            Some(_) => format!("until {list} have stopped, which they do now"),
            None => {
                let serves = env.current_release();
                let kept = serves.map_or(Millis(0), |release| release.spec.keep_warm);
                let kept = format_duration(kept);
                format!(
                    "for as long as {list} may use it: until another release serves, and {kept} longer (`stack.keep_warm`)"
                )
            }
        };
        Some(format!(
            "the old password of {name} works {works}; `ward events` says when it is withdrawn"
        ))
    }

    /// Withdraws passwords that nothing uses any more, for as long as the server runs.
    pub(crate) fn keep_withdrawing(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut failed: BTreeMap<(EnvId, SecretName), String> = BTreeMap::new();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                for (env, name, version) in control.withdrawable() {
                    let key = (env.clone(), name.clone());
                    match control.withdraw(&env, &name, version).await {
                        Ok(()) => drop(failed.remove(&key)),
                        Err(why) if failed.get(&key) == Some(&why) => {}
                        Err(why) => {
                            tracing::warn!(%env, %name, why, "a password is not withdrawn; it is tried again");
                            failed.insert(key, why);
                        }
                    }
                }
            }
        });
    }

    fn withdrawable(&self) -> Vec<(EnvId, SecretName, u64)> {
        let state = self.store().state();
        let up = state
            .environments
            .values()
            .filter(|env| env.goal == Goal::Up);
        let leaving = up.flat_map(|env| {
            let held = env.secrets.iter();
            held.filter_map(move |(name, held)| Some((env, name, held.leaving.as_ref()?.version)))
        });
        let free = leaving.filter(|(env, name, _)| self.holders(env, name).is_empty());
        free.map(|(env, name, version)| (env.id.clone(), name.clone(), version))
            .collect()
    }

    async fn withdraw(&self, env: &EnvId, name: &SecretName, version: u64) -> Result<(), String> {
        let Some(database) = name.database() else {
            return Ok(());
        };
        let until = now() + STATEMENTS_WITHIN;
        let statements = ward_postgres::withdrawal(&role_of(version), until);
        self.stated(env, &database, statements, until).await?;
        let event = Event::PasswordWithdrawn {
            env: env.clone(),
            name: name.clone(),
            version,
        };
        let appended = self.append(&Actor::ward(), "", vec![event]).await;
        appended.map(drop).map_err(|refusal| refusal.message)
    }
}

/// When what serves took over.
fn switched(env: &Environment) -> Option<Timestamp> {
    let ends = env
        .deployments
        .values()
        .filter_map(|deployment| match deployment.phase {
            Phase::Finished {
                verdict: Verdict::Succeeded,
                at,
                ..
            } if Some(deployment.to) == env.current => Some(at),
            _ => None,
        });
    ends.max()
}

/// Whether an instance has the password from before the newest, or may have it: one that an older Ward started tells
/// by its time alone.
fn has_older(
    facts: &InstanceFacts,
    env: &Environment,
    name: &SecretName,
    newest: &SecretVersion,
) -> bool {
    if let Some(has) = facts.has_one_before(newest.version, &env.id, name) {
        return has;
    }
    let uses = match facts.role {
        Role::Database | Role::VolumeCopy | Role::Snapshot | Role::Drill(_) => false,
        Role::Copy => name.database().as_ref() == Some(&facts.component),
        Role::Service | Role::ReleaseCommand | Role::Seed | Role::Run(_) => {
            let release = env.releases.get(&facts.release);
            // One of a release that is not retained any more: nobody knows, so it may.
            let users = |release: &Release| release.spec.users_of(name).contains(&facts.component);
            facts.env == env.id && release.is_none_or(users)
        }
    };
    uses && facts.started <= newest.at
}
