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
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::Exit;
use ward_types::release::Environment;
use ward_types::secret::Secret;
use ward_types::secrets::{Origin, SecretName};
use ward_types::view::{ExecCommand, RekeyRequest, RekeyView, RotateRequest};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::configuration::Changed;
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds, say};
use crate::passwords::Admitted;
use crate::secrets::{Sealed, next, refusal, sentence};

/// How long a declared rotation may take.
const ROTATES_WITHIN: Duration = Duration::from_secs(5 * 60);
/// The longest output of a rotation that is read, in bytes.
const LONGEST: u64 = 64 * 1024;
/// The random bytes of a database's password.
const PASSWORD: u32 = 30;

/// What a secret is to become.
enum New {
    Value(Secret),
    /// Of a database, where it is valid already.
    Password(Admitted),
}

impl Control {
    /// Gives a secret a new value, and sees the release through that has it.
    pub async fn rotate(self, actor: Actor, request: RotateRequest, steps: Steps) {
        let last = match self.rotated(&actor, &request, &steps).await {
            Ok((env, changed)) => {
                let until = request.until;
                let last = self.changed_through(&env, changed, until, &steps).await;
                if let Some(lasts) = self.lasting(&env, &request.name) {
                    say(&steps, lasts).await;
                }
                last
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
        let changed = std::slice::from_ref(&request.name);
        self.others_open(&id, request.others, changed).await?;
        let new = match request.name.database() {
            Some(database) => {
                let password = self.drawn(&id, PASSWORD)?;
                New::Password(self.new_password(actor, &id, &database, password).await?)
            }
            None => New::Value(self.new_value(&id, request, steps).await?),
        };
        let desk = self.desk_for(&request.why).await;
        let (label, value) = match &new {
            New::Password(admitted) => self.recordable(&desk, admitted)?,
            New::Value(value) => {
                let env = self.recorded_environment(&id)?;
                (next(&env, &request.name), value.clone())
            }
        };
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

    pub(crate) fn recorded_environment(&self, env: &EnvId) -> Result<Environment, Refusal> {
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
    pub(crate) async fn run_inside(
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

    /// Seals all secrets under a new master key. Away from the desk: a command that gives the key takes its time, and
    /// what keeps two of these apart, and new values from coming in between, is the vault.
    ///
    /// # Errors
    /// When a key that is needed is not there, or the disk is full: nothing is lost by it.
    pub async fn rekey(&self, actor: &Actor, request: &RekeyRequest) -> Result<RekeyView, Refusal> {
        let _admitted = self.admit()?;
        let left = "no secret was lost by it, and the same command goes on";
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
    let serves = env.current.map_or_else(
        || "no release yet".to_owned(),
        |release| release.to_string(),
    );
    let message = format!(
        "what serves in {} ({serves}) does not say how {name} is rotated",
        env.id
    );
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "`[secret.{name}]` with `generate` or `rotate` in the stack file says so, from the next `ward deploy` on; \
         `ward secret set {name}` gives it a value by hand"
    ))
}
