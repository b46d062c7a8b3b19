//! Programs beside instances: where to reach an instance, and what the log says of it.
//!
//! Decision: the log has the whole command, because who audits it asks what was run, and not only that something was.
//! Values of secrets are masked in it as they are in what instances write; where they cannot be opened now, so that
//! nobody can tell whether one is among the arguments, the program's name stands there alone.

use std::collections::BTreeSet;

use ward_engine::keeper::Hiding;
use ward_postgres::Database;
use ward_types::configuration::ConfigChange;
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::secrets::{Mask, SHORTEST_MASKED, SecretLabel};
use ward_types::text::quoted;
use ward_types::view::{ExecProgram, ExecRequest, ExecTarget};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::control::Control;
use crate::reasons::LONGEST as LONGEST_REASON;

/// The most letters of a command that the log has.
const LONGEST: usize = 1000;
/// What the log has in place of a reason that may say a secret.
const UNTOLD: &str = "(a reason was given that may say a secret)";

impl Control {
    /// Where to reach an instance of a component, for a program of the caller's. It is recorded.
    ///
    /// # Errors
    /// When nothing of that name runs.
    pub async fn exec(&self, actor: &Actor, request: &ExecRequest) -> Result<ExecTarget, Refusal> {
        let env = self.alive(request.env.as_ref())?;
        // Before it is woken: who is refused changes nothing.
        self.reasoned_there(actor, &request.why, &env)?;
        let serving = self.serving(&env);
        let mut why = self.reason(&env, serving, &request.why).await;
        let _need = self.awake(actor, &env, &why).await?;
        let instance = self.running(&env, &request.component)?;
        if instance.release() != serving {
            why = self.reason(&env, instance.release(), &why).await;
        }
        let (program, arguments, shell) = match &request.program {
            ExecProgram::Named { program, arguments } => (program.clone(), arguments, None),
            ExecProgram::DatabaseShell { arguments } => {
                let database = self.database(&env, &request.component).await?;
                ("psql".to_owned(), arguments, Some(database.psql(&[])))
            }
        };
        let (program, command) = match arguments {
            Some(arguments) => self.told_as(&env, &instance, program, arguments).await,
            None => (program, None),
        };
        let event = Event::CommandExecuted {
            env: env.clone(),
            instance: instance.to_string(),
            program,
            command,
            secrets: Some(request.secrets),
        };
        self.append(actor, &why, vec![event]).await?;
        let dir = self.engine().instance_dir(&env, &instance);
        Ok(ExecTarget {
            instance,
            dir: dir.display().to_string(),
            command: shell,
        })
    }

    /// A database as its clients see it.
    async fn database(&self, env: &EnvId, name: &Name) -> Result<Database, Refusal> {
        self.has_database(env, name)?;
        let prepared = self.composer().opener.prepared(env, name).await;
        let database = prepared.map(|prepared| prepared.database);
        database.map_err(|error| Refusal::failed("there is no shell for it", &error))
    }

    /// A program and its command for the log; `None` where it cannot be told whether a secret is in it.
    async fn told_as(
        &self,
        env: &EnvId,
        instance: &InstanceId,
        program: String,
        arguments: &[String],
    ) -> (String, Option<String>) {
        let words = || std::iter::once(&program).chain(arguments);
        let masks = match is_too_short(words()) {
            true => Ok(Vec::new()),
            false => self.masks(env, instance.release()).await,
        };
        let masks = match masks {
            Ok(masks) => masks,
            Err(why) => {
                tracing::warn!(%env, why, "the log has no arguments of a command: secrets do not open");
                return (program, None);
            }
        };
        let hiding = Hiding::of(&masks);
        let told: Vec<String> = words().map(|w| quoted(&hiding.masked(w))).collect();
        // Once more: words of a value of several can be arguments of their own.
        let line = hiding.masked(&told.join(" "));
        let program = hiding.masked(&program);
        if let Some(name) = hidden(&masks, &line) {
            tracing::warn!(%env, name, "the log has no arguments of a command: a secret is among them, in quotes");
            return (program, None);
        }
        (program, Some(bounded(&line)))
    }

    /// A reason for the log, without the values of secrets; where it cannot be told whether one is in it, that alone.
    pub(crate) async fn reason(
        &self,
        env: &EnvId,
        release: Option<ReleaseId>,
        why: &str,
    ) -> String {
        if !may_say_a_secret(why) {
            return why.to_owned();
        }
        told(self.without_secrets(env, release, why).await, why)
    }

    /// The same of the values that events are to set, which no environment has yet.
    pub(crate) async fn reason_for(&self, events: &[Event], why: &str) -> String {
        let label = |event: &Event| match event {
            Event::SecretChanged {
                env, name, version, ..
            } => Some(SecretLabel {
                env: env.clone(),
                name: name.clone(),
                version: *version,
            }),
            _ => None,
        };
        let labels: Vec<SecretLabel> = events.iter().filter_map(label).collect();
        if labels.is_empty() || !may_say_a_secret(why) {
            return why.to_owned();
        }
        let masks = self.composer().opener.masks(labels).await;
        let masks = masks.map_err(|error| causes(&error));
        told(masks.and_then(|masks| without(&masks, why)), why)
    }

    /// A text for the log, without the values of secrets.
    ///
    /// # Errors
    /// Why it cannot be told whether one is in it, as a clause.
    pub(crate) async fn without_secrets(
        &self,
        env: &EnvId,
        release: Option<ReleaseId>,
        text: &str,
    ) -> Result<String, String> {
        let masks = self.masks(env, release).await.map_err(|why| {
            tracing::warn!(%env, why, "a text is not in the log: secrets do not open");
            "secrets do not open".to_owned()
        })?;
        without(&masks, text)
    }

    /// The release that serves.
    pub(crate) fn serving(&self, env: &EnvId) -> Option<ReleaseId> {
        self.known(env).and_then(|known| known.current)
    }

    /// Whether the command of a run says no secret. The log must have it as it is, because the run is made from there.
    ///
    /// # Errors
    /// Which secret it says; or that none can be opened, without which the run could not start either.
    pub(crate) async fn says_no_secret(
        &self,
        env: &EnvId,
        command: &[String],
    ) -> Result<(), Refusal> {
        let Some(name) = self.said_in(env, command).await.map_err(|why| {
            let message = format!("it cannot be told whether a secret is in the command: {why}");
            Refusal::new(RefusalKind::Conflict, message)
                .hint("`ward doctor` shows what is missing; nothing was run")
        })?
        else {
            return Ok(());
        };
        let message =
            format!("the value of the secret {name} is in the command, and commands are recorded");
        Err(Refusal::new(RefusalKind::Invalid, message).hint(
            "the run has its service's secrets: let a script in the image read the variable or the file, or name the \
             variable in single quotes: `sh -c 'client --token \"$TOKEN\"'`; nothing was run, and nothing recorded",
        ))
    }

    /// Whether no value that is to be set says a secret: each version of a configuration is in the log.
    ///
    /// # Errors
    /// Which secret it says, and where; or that none can be opened.
    pub(crate) async fn sets_no_secret(
        &self,
        env: &EnvId,
        changes: &[ConfigChange],
    ) -> Result<(), Refusal> {
        for change in changes {
            let value = change.value.iter().filter(|v| v.len() >= SHORTEST_MASKED);
            let value: Vec<String> = value.cloned().collect();
            if value.is_empty() {
                continue;
            }
            let key = &change.key;
            let said = self.said_in(env, &value).await.map_err(|why| {
                let message = format!("it cannot be told whether a secret is in {key}: {why}");
                Refusal::new(RefusalKind::Conflict, message)
                    .hint("`ward doctor` shows what is missing; nothing was changed")
            })?;
            if let Some(name) = said {
                let message = format!(
                    "the value of the secret {name} is in {key}, and what `ward config set` sets is recorded"
                );
                let hint = format!(
                    "`ward secret set {key}` keeps a value sealed, for a service that has {key} among its `secrets`; \
                     nothing was changed, and nothing recorded"
                );
                return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint));
            }
        }
        Ok(())
    }

    /// Whether what clients of an environment are shown says no secret.
    ///
    /// # Errors
    /// Which secret it says. Where none can be opened it cannot be told, and clients have to be told something then, too.
    pub(crate) async fn shows_no_secret(&self, env: &EnvId, message: &str) -> Result<(), Refusal> {
        let said = match message.len() >= SHORTEST_MASKED {
            true => self.said_in(env, &[message.to_owned()]).await,
            false => return Ok(()),
        };
        let Ok(Some(name)) = said else {
            return Ok(());
        };
        let message = format!(
            "the value of the secret {name} is in the message, and clients are shown that; nothing was changed"
        );
        Err(Refusal::new(RefusalKind::Invalid, message).hint("say it without the value"))
    }

    /// The secret whose value is in these words, or in what they are together.
    async fn said_in(&self, env: &EnvId, words: &[String]) -> Result<Option<String>, String> {
        let masks = self.masks(env, self.serving(env)).await?;
        Ok(said(&masks, words))
    }

    /// The values that somebody may know who acts on an environment: what it has now, and what a release was given.
    pub(crate) async fn masks(
        &self,
        env: &EnvId,
        release: Option<ReleaseId>,
    ) -> Result<Vec<Mask>, String> {
        let Some(known) = self.known(env) else {
            return Ok(Vec::new());
        };
        let of_release = |id: Option<ReleaseId>| id.and_then(|id| known.releases.get(&id));
        let given = of_release(release);
        let coming = of_release(known.active().map(|deployment| deployment.to));
        let given_values = given.into_iter().flat_map(|release| &release.secrets);
        let held = known.secrets.iter().flat_map(|(name, held)| {
            let versions = held.current.iter().chain(&held.leaving);
            versions.map(move |version| (name, &version.version))
        });
        let versions: BTreeSet<_> = given_values.chain(held).collect();
        let labels: Vec<SecretLabel> = versions
            .into_iter()
            .map(|(name, version)| SecretLabel {
                env: env.clone(),
                name: name.clone(),
                version: *version,
            })
            .collect();
        let opener = &self.composer().opener;
        let mut masks = opener.masks(labels).await.map_err(|error| causes(&error))?;
        let releases = [known.current_release(), given, coming];
        let databases = releases.into_iter().flatten();
        let databases = databases.flat_map(|release| release.spec.databases.keys());
        for database in databases.collect::<BTreeSet<_>>() {
            let prepared = opener.prepared(env, database).await;
            let prepared = prepared.map_err(|error| causes(&error))?;
            masks.push(Mask {
                name: prepared.name.to_string(),
                value: prepared.database.credential().password,
            });
        }
        Ok(masks)
    }
}

/// The secret whose value is in these words, or in what they are together.
pub(crate) fn said(masks: &[Mask], words: &[String]) -> Option<String> {
    let line = words.join(" ");
    let says = |masks: &[Mask]| {
        let hiding = Hiding::of(masks);
        hiding.masked(&line) != line
            || words.iter().any(|word| hiding.masked(word) != *word)
            || hidden(masks, &line).is_some()
    };
    if !says(masks) {
        return None;
    }
    let said = |mask: &&Mask| says(std::slice::from_ref(*mask));
    let name = masks.iter().find(said).map(|mask| mask.name.as_str());
    Some(name.unwrap_or("that Ward keeps").to_owned())
}

fn without(masks: &[Mask], text: &str) -> Result<String, String> {
    let masked = Hiding::of(masks).masked(text);
    match hidden(masks, &masked) {
        Some(name) => Err(format!("the secret {name} is in it, in quotes")),
        None => Ok(masked),
    }
}

/// A reason as the log has it.
fn told(masked: Result<String, String>, why: &str) -> String {
    match masked {
        Ok(masked) if masked == why => masked,
        // Names can be longer than values.
        Ok(masked) => masked.chars().take(LONGEST_REASON).collect(),
        Err(why) => {
            tracing::warn!(why, "the log has no reason");
            UNTOLD.to_owned()
        }
    }
}

/// Whether a reason is long enough to say a secret.
pub(crate) fn may_say_a_secret(why: &str) -> bool {
    why.trim().len() >= SHORTEST_MASKED
}

/// Whether a command is too short to say a secret, in whichever form: then none is opened for it.
fn is_too_short<'a>(words: impl Iterator<Item = &'a String>) -> bool {
    let bytes: usize = words.map(|word| word.len() + 1).sum();
    bytes <= SHORTEST_MASKED
}

/// The secret whose value is in a line once all quotes are taken away: a shell and SQL write it in parts then.
fn hidden<'a>(masks: &'a [Mask], line: &str) -> Option<&'a str> {
    let bare = |text: &str| text.replace(['\'', '"', '\\'], "");
    let line = bare(line);
    let is_in = |mask: &&Mask| {
        let value = bare(mask.value.expose());
        value.len() >= SHORTEST_MASKED && line.contains(&value)
    };
    masks.iter().find(is_in).map(|mask| mask.name.as_str())
}

fn bounded(line: &str) -> String {
    let letters = line.chars().count();
    match letters > LONGEST {
        true => {
            let begin: String = line.chars().take(LONGEST).collect();
            format!("{begin}… ({letters} letters)")
        }
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_few_bytes_says_no_secret() {
        let too_short = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            is_too_short(words.iter())
        };
        for line in ["sh", "psql", "env -u A", "printenv"] {
            assert_eq!(too_short(line), line.len() < SHORTEST_MASKED, "{line}");
        }
    }

    #[test]
    fn a_long_one_is_cut_and_says_so() {
        let long = "ä".repeat(LONGEST + 1);
        let told = bounded(&long);
        assert!(told.ends_with("ä… (1001 letters)"), "{told}");
        assert_eq!(bounded("short"), "short");
    }
}
