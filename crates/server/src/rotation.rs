//! Rotation: a secret gets a new value while everything runs on.
//!
//! Decision: a database's new password is made valid beside the one before, and recorded; the release that follows
//! gets the new one, and so does every instance that is started from then on. The one before is withdrawn when every
//! instance that may have it is gone, however long that takes: instances that are kept warm, long connections, a
//! deployment that went back. Until then there is no other rotation.

use std::collections::BTreeMap;
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use ward_engine::client::KeeperClient;
use ward_postgres::{Credential, role_of};
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{Exit, InstanceFacts, Role};
use ward_types::release::{Environment, Goal, Release};
use ward_types::secret::Secret;
use ward_types::secrets::{Origin, SecretName, SecretVersion};
use ward_types::view::{ExecCommand, RekeyRequest, RekeyView, RotateRequest};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::configuration::Changed;
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds, say};
use crate::secrets::{Sealed, next, refusal, sentence};

/// How long a declared rotation may take.
const ROTATES_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How long statements may take.
const STATEMENTS_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether a password can be withdrawn.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest output of a rotation that is read, in bytes.
const LONGEST: u64 = 64 * 1024;
/// The random bytes of a database's password.
const PASSWORD: u32 = 30;

impl Control {
    /// Gives a secret a new value, and sees the release through that has it.
    pub async fn rotate(self, actor: Actor, request: RotateRequest, steps: Steps) {
        let last = match self.rotated(&actor, &request, &steps).await {
            Ok((env, changed)) => {
                let until = request.until;
                self.changed_through(&env, changed, until, &steps).await
            }
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn rotated(
        &self,
        actor: &Actor,
        request: &RotateRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Changed), Refusal> {
        let _admitted = self.admit()?;
        let id = self.environment(request.env.as_ref())?;
        let _need = self.awake(actor, &id, &request.why).await?;
        let value = match request.name.database() {
            Some(database) => {
                self.may_rotate(&id, &database)?;
                self.drawn(&id, PASSWORD)?
            }
            None => self.new_value(&id, request, steps).await?,
        };
        let desk = self.desk().await;
        let env = self.recorded_environment(&id)?;
        let label = next(&env, &request.name);
        if let Some(database) = request.name.database() {
            // Again: somebody may have been faster.
            self.may_rotate(&id, &database)?;
            self.admitted(&id, &database, label.version, &value).await?;
        }
        let event = self.seal(label, value, Origin::Rotated).await?;
        let sealed = Sealed {
            events: vec![event],
        };
        let asked = (actor, request.others, request.why.as_str());
        let changed = self.recorded_secrets(&desk, &id, asked, &sealed).await?;
        let over = self.supersede_builds(&desk, &id, actor, request.others, &changed);
        drop(desk);
        ended_builds(&over, "superseded", steps).await;
        for event in &sealed.events {
            say(steps, sentence(event)).await;
        }
        self.live(&id);
        Ok((id, changed))
    }

    fn recorded_environment(&self, env: &EnvId) -> Result<Environment, Refusal> {
        self.known(env).ok_or_else(|| {
            let message = format!("nothing of {env} runs yet");
            Refusal::new(RefusalKind::Conflict, message)
        })
    }

    fn drawn(&self, env: &EnvId, bytes: u32) -> Result<Secret, Refusal> {
        ward_seal::generate(bytes).map_err(|error| refusal(&self.untouched(env), &error))
    }

    /// What the stack file declares for a secret: random bytes, or what a command says.
    async fn new_value(
        &self,
        id: &EnvId,
        request: &RotateRequest,
        steps: &Steps,
    ) -> Result<Secret, Refusal> {
        let (env, name) = (self.recorded_environment(id)?, &request.name);
        let newest = || env.releases.values().next_back();
        let release = env.current_release().or_else(newest);
        let declared = release.and_then(|release| release.spec.secrets.get(name));
        match declared {
            Some(spec) if !spec.rotate.is_empty() => {
                let users = release.map(|release| release.spec.users_of(name));
                let user = users.unwrap_or_default().into_iter().next();
                let user = user.ok_or_else(|| nobody(id, name))?;
                self.told(&env, name, &user, spec.rotate.clone(), steps)
                    .await
            }
            Some(spec) if spec.generate.is_some() => {
                self.drawn(id, spec.generate.unwrap_or_default())
            }
            _ => Err(not_declared(&env, name)),
        }
    }

    /// What a service's own command says is the new value.
    async fn told(
        &self,
        env: &Environment,
        name: &SecretName,
        service: &Name,
        argv: Vec<String>,
        steps: &Steps,
    ) -> Result<Secret, Refusal> {
        let instance = self.running(&env.id, service)?;
        let program = argv.first().cloned().unwrap_or_default();
        say(steps, format!("{program} runs beside {instance}")).await;
        let variable = Secret::new(name.to_string());
        let command = ExecCommand {
            argv,
            env: BTreeMap::from([("WARD_SECRET".to_owned(), variable)]),
        };
        let running = self.run_inside(&env.id, &instance, command, String::new());
        let ran = tokio::time::timeout(ROTATES_WITHIN, running).await;
        let failed = |what: String| {
            let left = self.untouched(&env.id);
            let message = format!("the rotation of {name} {what}; {left}");
            Refusal::new(RefusalKind::Failed, message)
                .hint(format!("it must write the new value to standard output and end with status 0; what it says on standard error is in no log, because it may hold the value: run it by hand with `ward exec --secrets {service} -- {program}`"))
        };
        let ran = ran.map_err(|_| failed("took longer than 5 minutes".to_owned()))?;
        let (exit, said) = ran.map_err(|why| failed(format!("could not be run: {why}")))?;
        match exit {
            Exit::Code(0) => {}
            Exit::Code(code) => return Err(failed(format!("ended with status {code}"))),
            Exit::Signal(signal) => return Err(failed(format!("was ended by signal {signal}"))),
        }
        let value = said.expose().strip_suffix('\n').unwrap_or(said.expose());
        if value.is_empty() || value.contains('\0') || value.len() > 32 * 1024 {
            return Err(failed("wrote nothing that can be a value".to_owned()));
        }
        Ok(Secret::new(value.to_owned()))
    }

    /// Runs a program beside an instance to its end: how it ended, and what it wrote to standard output.
    async fn run_inside(
        &self,
        env: &EnvId,
        instance: &InstanceId,
        command: ExecCommand,
        input: String,
    ) -> Result<(Exit, Secret), String> {
        let client = KeeperClient::connect(&self.engine().instance_dir(env, instance));
        let client = client.map_err(|error| causes(&error))?;
        let broken = |error: std::io::Error| error.to_string();
        let (stdin, mut feed) = std::io::pipe().map_err(broken)?;
        let (output, stdout) = std::io::pipe().map_err(broken)?;
        let null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .map_err(broken)?;
        let reading = tokio::task::spawn_blocking(move || read(output));
        // No more than a pipe holds, so that nobody has to read for it to end.
        feed.write_all(input.as_bytes()).map_err(broken)?;
        drop(feed);
        let env = command.env.into_iter();
        let env = env.map(|(name, value)| (name, value.expose().to_owned()));
        let stdio = [stdin.as_fd(), stdout.as_fd(), null.as_fd()];
        let exit = client.exec(command.argv, env.collect(), stdio).await;
        drop((stdin, stdout));
        let exit = exit.map_err(|error| causes(&error))?;
        let said = reading.await.map_err(|error| error.to_string())?;
        Ok((exit, said.map_err(broken)?))
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
        let waits: Vec<String> = self
            .holders(&env, &name)
            .iter()
            .map(ToString::to_string)
            .collect();
        let waits = match waits.is_empty() {
            true => "it will be in a moment".to_owned(),
            false => format!("{} may still use it", waits.join(", ")),
        };
        let message = format!("the password before of {name} is not withdrawn yet: {waits}");
        let hint = "it is as soon as they are gone; `stack.keep_warm` says how long instances of the release before are kept";
        Err(Refusal::new(RefusalKind::Conflict, message).hint(hint))
    }

    /// Makes a new password valid beside the one before.
    async fn admitted(
        &self,
        env: &EnvId,
        database: &Name,
        version: u64,
        password: &Secret,
    ) -> Result<(), Refusal> {
        let credential = Credential {
            role: role_of(version),
            password: password.clone(),
        };
        let statements = ward_postgres::admission(&credential)
            .map_err(|error| Refusal::failed("no password can be made", &error))?;
        self.stated(env, database, statements).await.map_err(|why| {
            let left = self.untouched(env);
            let message =
                format!("the new password of {database} cannot be made valid: {why}; {left}");
            Refusal::new(RefusalKind::Failed, message)
                .hint(format!("`ward logs {database} --env {env}` may say more"))
        })
    }

    /// Has the superuser of a database carry statements out.
    async fn stated(&self, env: &EnvId, database: &Name, statements: String) -> Result<(), String> {
        self.has_database(env, database)
            .map_err(|refusal| refusal.message)?;
        // Not by the password that is rotated: it may be the one that does not open.
        let own = self.composer().opener.own(env, database).await;
        let own = own.map_err(|error| causes(&error))?;
        let instance = self
            .running(env, database)
            .map_err(|refusal| refusal.message)?;
        let running = self.run_inside(env, &instance, own.superuser_psql(), statements);
        match tokio::time::timeout(STATEMENTS_WITHIN, running).await {
            Err(_) => Err("it takes longer than a minute".to_owned()),
            Ok(Err(why)) => Err(why),
            Ok(Ok((Exit::Code(0), _))) => Ok(()),
            Ok(Ok((exit, _))) => Err(format!("psql ended with {exit:?}")),
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
        let statements = ward_postgres::withdrawal(&role_of(version));
        self.stated(env, &database, statements).await?;
        let event = Event::PasswordWithdrawn {
            env: env.clone(),
            name: name.clone(),
            version,
        };
        let appended = self.append(&Actor::ward(), "", vec![event]).await;
        appended.map(drop).map_err(|refusal| refusal.message)
    }

    /// Seals all secrets under a new master key.
    ///
    /// # Errors
    /// When a key that is needed is not there, or the disk is full: then all can be read as before.
    pub async fn rekey(&self, actor: &Actor, request: &RekeyRequest) -> Result<RekeyView, Refusal> {
        let _admitted = self.admit()?;
        let _desk = self.desk().await;
        let left = "every secret can be read as before";
        self.backup_keys_are_there()
            .map_err(|error| refusal(left, &error))?;
        let vault = self.vault().clone();
        let rekeying = tokio::task::spawn_blocking(move || vault.rekey());
        let done = rekeying
            .await
            .map_err(|error| Refusal::failed(left, &error))?;
        let done = done.map_err(|error| refusal(left, &error))?;
        let from: Vec<String> = done.from.iter().map(ToString::to_string).collect();
        let event = Event::SecretsRekeyed {
            from: from.clone(),
            to: done.to.to_string(),
        };
        self.append(actor, &request.why, vec![event]).await?;
        Ok(RekeyView {
            from,
            to: done.to.to_string(),
            values: done.values,
        })
    }
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
        Role::Database | Role::Snapshot | Role::Drill(_) => false,
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

fn read(output: PipeReader) -> std::io::Result<Secret> {
    let mut text = String::new();
    output.take(LONGEST).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}

fn nobody(env: &EnvId, name: &SecretName) -> Refusal {
    let message =
        format!("no service of {env} gets {name}, so that its rotation has nowhere to run");
    Refusal::new(RefusalKind::Conflict, message)
}

fn not_declared(env: &Environment, name: &SecretName) -> Refusal {
    if env.secret(name).is_none() {
        let message = format!("{} has no secret {name}", env.id);
        return Refusal::new(RefusalKind::NotFound, message).hint(
            "`ward secret list` shows those that it has; a database's password is database/NAME",
        );
    }
    let message = format!("the stack file does not say how {name} is rotated");
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "`[secret.{name}]` with `generate` or `rotate` says so; `ward secret set {name}` gives it a value by hand"
    ))
}
