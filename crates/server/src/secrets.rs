//! Secrets: set and unset by people, made where the stack file says so, sealed before the log knows of them.
//!
//! Decision: a value is sealed and on the disk before the event that names its version, and whoever seals is alone at
//! the desk, so that no version is given out twice. What was sealed and never recorded is replaced by the next one of
//! its number, or collected.

use std::collections::{BTreeMap, BTreeSet};

use ward_seal::Vault;
use ward_store::Log;
use ward_types::event::{Event, Record, State};
use ward_types::id::EnvId;
use ward_types::release::{Environment, Release};
use ward_types::secret::Secret;
use ward_types::secrets::{Origin, SecretLabel, SecretName};
use ward_types::spec::EnvSpec;
use ward_types::view::{
    Others, Progress, SecretRequest, SecretSetting, SecretVersionView, SecretView, SecretsView,
};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::builds::End;
use crate::clock::now;
use crate::configuration::{Changed, base, known_or_created};
use crate::control::{Control, Desk};
use crate::deploy::{Steps, Stop, ended_builds, say};

/// The longest value, in bytes. The kernel takes 128 KiB for a variable with its name.
const LONGEST: usize = 32 * 1024;
/// How many secrets an environment may have.
const MOST: usize = 200;

/// What a request to change secrets comes to, sealed and not recorded yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealed {
    pub(crate) events: Vec<Event>,
}

impl Control {
    pub(crate) fn vault(&self) -> &Vault {
        &self.0.world.composer.vault
    }

    /// Sets and unsets secrets, and sees the release through that has them.
    pub async fn set_secrets(self, actor: Actor, request: SecretRequest, steps: Steps) {
        let last = match self.secrets_set(&actor, &request, &steps).await {
            Ok((env, changed)) => {
                let until = request.until;
                self.changed_through(&env, changed, until, &steps).await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn secrets_set(
        &self,
        actor: &Actor,
        request: &SecretRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Changed), Stop> {
        let _admitted = self.admit()?;
        let (id, declared) =
            self.there_or_declared(request.env.as_ref(), request.expect, request.dir.as_deref())?;
        let desk = self.desk().await;
        let env = self
            .known(&id)
            .unwrap_or_else(|| Environment::new(id.clone()));
        allowed(&env, request)?;
        let sealed = self.sealed(&env, &request.changes).await?;
        for sentence in unused(&env, declared.as_ref(), request) {
            let hint = "it is kept all the same; a service gets it when its `secrets` name it";
            let hint = hint.to_owned();
            let message = sentence;
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
        if sealed.events.is_empty() {
            return Ok((id, Changed::Nothing));
        }
        let asked = (actor, request.others, request.why.as_str());
        let changed = self.recorded_secrets(&desk, &id, asked, &sealed).await?;
        drop(desk);
        self.supersede_builds(&id, actor, request.others, &changed, steps)
            .await;
        for event in &sealed.events {
            say(steps, sentence(event)).await;
        }
        self.live(&id);
        Ok((id, changed))
    }

    /// Records what was sealed, with the release that follows from it.
    pub(crate) async fn recorded_secrets(
        &self,
        desk: &Desk<'_>,
        id: &EnvId,
        (actor, others, why): (&Actor, Others, &str),
        sealed: &Sealed,
    ) -> Result<Changed, Refusal> {
        let decide = |state: &State| {
            let (env, mut events) = known_or_created(state, id, None, (actor, why));
            events.extend(sealed.events.iter().cloned());
            self.with_values(&env, actor, others, events)
        };
        self.decided(desk, actor, why, decide).await
    }

    /// A change that supersedes what is under way ends the builds before it, too.
    pub(crate) async fn supersede_builds(
        &self,
        env: &EnvId,
        actor: &Actor,
        others: Others,
        changed: &Changed,
        steps: &Steps,
    ) {
        if let (Others::Cancel, Changed::Released(_)) = (others, changed) {
            let by = actor.who.clone();
            let over = self.0.builds.end_all(env, &End::Superseded { by });
            ended_builds(&over, "superseded", steps).await;
        }
    }

    /// Seals those values that differ from what is set. Only for whoever has the desk.
    async fn sealed(
        &self,
        env: &Environment,
        changes: &[SecretSetting],
    ) -> Result<Sealed, Refusal> {
        let mut events = Vec::new();
        for SecretSetting { name, value } in changes {
            let Some(value) = value else {
                events.push(Event::SecretUnset {
                    env: env.id.clone(),
                    name: name.clone(),
                });
                continue;
            };
            if !self.is_set_to(env, name, value).await? {
                let label = next(env, name);
                events.push(self.seal(label, value.clone(), Origin::Set).await?);
            }
        }
        Ok(Sealed { events })
    }

    async fn is_set_to(
        &self,
        env: &Environment,
        name: &SecretName,
        value: &Secret,
    ) -> Result<bool, Refusal> {
        let Some(current) = env.secret(name) else {
            return Ok(false);
        };
        let label = SecretLabel {
            env: env.id.clone(),
            name: name.clone(),
            version: current.version,
        };
        match self.opened(label).await {
            Ok(known) => Ok(known == *value),
            // One that is damaged can be set anew; one whose key is gone must not be.
            Err(ward_seal::Error::Missing { .. } | ward_seal::Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(refusal("nothing was changed", &error)),
        }
    }

    /// Seals a value, and gives the event that says so. Only for whoever has the desk.
    pub(crate) async fn seal(
        &self,
        label: SecretLabel,
        value: Secret,
        origin: Origin,
    ) -> Result<Event, Refusal> {
        let (vault, under) = (self.vault().clone(), label.clone());
        let sealing = tokio::task::spawn_blocking(move || vault.seal(&under, &value));
        let digest = sealing
            .await
            .map_err(|error| Refusal::failed("nothing was changed", &error))?
            .map_err(|error| refusal("nothing was changed", &error))?;
        Ok(Event::SecretChanged {
            env: label.env,
            name: label.name,
            version: label.version,
            digest,
            origin,
        })
    }

    pub(crate) async fn opened(&self, label: SecretLabel) -> Result<Secret, ward_seal::Error> {
        let vault = self.vault().clone();
        // Opening ends by itself; a panic in it would be a defect that is told as one.
        let opening = tokio::task::spawn_blocking(move || vault.open(&label));
        opening.await.unwrap_or(Err(ward_seal::Error::Random))
    }

    /// Makes those secrets that `spec` needs, that nobody has set, and that Ward may make. Only for whoever has the
    /// desk.
    pub(crate) async fn generated(&self, spec: &EnvSpec) -> Result<Vec<Event>, Refusal> {
        let env = self
            .known(&spec.id)
            .unwrap_or_else(|| Environment::new(spec.id.clone()));
        let mut events = Vec::new();
        for (name, bytes) in to_generate(&env, spec) {
            let value =
                ward_seal::generate(bytes).map_err(|e| refusal("nothing was changed", &e))?;
            events.push(
                self.seal(next(&env, &name), value, Origin::Generated)
                    .await?,
            );
        }
        Ok(events)
    }

    /// Whether every secret that `spec` needs is set or can be made, and can be opened: asked before anything is built.
    ///
    /// # Errors
    /// Which are not, and what to do.
    pub(crate) fn secrets_there(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        let env = self
            .known(&spec.id)
            .unwrap_or_else(|| Environment::new(spec.id.clone()));
        let made: BTreeSet<SecretName> = to_generate(&env, spec)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let names = spec.secret_names().into_iter();
        let (there, missing): (Vec<_>, Vec<_>) = names
            .filter(|name| !made.contains(name))
            .partition(|name| env.secret(name).is_some());
        if !missing.is_empty() {
            return Err(missing_secrets(
                &spec.id,
                spec,
                &missing.into_iter().collect(),
            ));
        }
        let versions = there.into_iter().filter_map(|name| {
            let version = env.secret(&name)?.version;
            Some((name, version))
        });
        self.can_be_opened(&spec.id, versions)
    }

    /// The same of a release, with the versions that it has.
    pub(crate) fn release_opens(&self, env: &EnvId, release: &Release) -> Result<(), Refusal> {
        let versions = release.secrets.clone().into_iter();
        self.can_be_opened(env, versions.filter(|(name, _)| name.database().is_none()))
    }

    fn can_be_opened(
        &self,
        env: &EnvId,
        versions: impl Iterator<Item = (SecretName, u64)>,
    ) -> Result<(), Refusal> {
        for (name, version) in versions {
            let label = SecretLabel {
                env: env.clone(),
                name,
                version,
            };
            let there = self.vault().check(&label);
            there.map_err(|error| refusal(&self.untouched(env), &error))?;
        }
        Ok(())
    }

    /// The secrets of an environment.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn secrets(&self, env: &EnvId) -> Result<SecretsView, Refusal> {
        let known = self
            .known(env)
            .unwrap_or_else(|| Environment::new(env.clone()));
        let history = self.secret_history(env, None)?;
        let current = known.current_release();
        let newest = known.releases.values().next_back();
        let spec = current.or(newest).map(|release| &release.spec);
        let mut names: BTreeSet<SecretName> = spec.map(EnvSpec::secret_names).unwrap_or_default();
        let set = known
            .secrets
            .iter()
            .filter(|(_, held)| held.current.is_some());
        names.extend(set.map(|(name, _)| name.clone()));
        let view = |name: SecretName| {
            let version = known.secret(&name).map(|newest| newest.version);
            let of = history.get(&name).into_iter().flatten();
            let mut of = of.filter(|view| view.origin.is_some());
            SecretView {
                newest: version.and_then(|version| of.find(|v| v.version == version).cloned()),
                in_force: current.and_then(|release| release.secrets.get(&name).copied()),
                used_by: spec.map(|spec| spec.users_of(&name)).unwrap_or_default(),
                name,
            }
        };
        Ok(SecretsView {
            env: env.clone(),
            secrets: names.into_iter().map(view).collect(),
        })
    }

    /// Each version of each secret of an environment, or of one, the newest first.
    ///
    /// # Errors
    /// When the log cannot be read, or never knew that secret.
    pub fn secret_history(
        &self,
        env: &EnvId,
        name: Option<&SecretName>,
    ) -> Result<BTreeMap<SecretName, Vec<SecretVersionView>>, Refusal> {
        let records = self.store().records(None, usize::MAX, Some(env));
        let records = records.map_err(|error| Refusal::failed("the log cannot be read", &error))?;
        let known = self.known(env);
        let mut all: BTreeMap<SecretName, Vec<SecretVersionView>> = BTreeMap::new();
        for record in records.into_iter().rev() {
            if let Some((name, version)) = version(known.as_ref(), record) {
                all.entry(name).or_default().push(version);
            }
        }
        let Some(name) = name else {
            return Ok(all);
        };
        all.retain(|known, _| known == name);
        match all.is_empty() {
            false => Ok(all),
            true => {
                let message = format!("{env} never had a secret {name}");
                Err(Refusal::new(RefusalKind::NotFound, message)
                    .hint("`ward secret list` shows those that it has"))
            }
        }
    }
}

fn version(env: Option<&Environment>, record: Record) -> Option<(SecretName, SecretVersionView)> {
    let (name, version, digest, origin) = match record.event {
        Event::SecretChanged {
            name,
            version,
            digest,
            origin,
            ..
        } => (name, version, digest, Some(origin)),
        Event::SecretUnset { name, .. } => (name, 0, String::new(), None),
        _ => return None,
    };
    let releases = env.into_iter().flat_map(|env| env.releases.values());
    let has = |release: &&Release| origin.is_some() && release.secrets.get(&name) == Some(&version);
    let view = SecretVersionView {
        version,
        digest,
        origin,
        at: record.at,
        by: record.who,
        why: record.why,
        releases: releases.filter(has).map(|release| release.id).collect(),
    };
    Some((name, view))
}

/// The label of a secret's next version.
pub(crate) fn next(env: &Environment, name: &SecretName) -> SecretLabel {
    SecretLabel {
        env: env.id.clone(),
        name: name.clone(),
        version: env.next_secret(name),
    }
}

fn to_generate(env: &Environment, spec: &EnvSpec) -> Vec<(SecretName, u32)> {
    let names = spec.secret_names().into_iter();
    let unset = names.filter(|name| env.secret(name).is_none());
    unset
        .filter_map(|name| {
            let bytes = spec.secrets.get(&name)?.generate?;
            Some((name, bytes))
        })
        .collect()
}

/// What becomes of an environment by events that are not recorded yet.
pub(crate) fn applied(env: &Environment, events: &[Event]) -> Environment {
    let mut state = State::default();
    state.environments.insert(env.id.clone(), env.clone());
    for event in events {
        // What does not fit is refused by the log itself.
        let _ = state.apply(now(), event);
    }
    state
        .environments
        .remove(&env.id)
        .unwrap_or_else(|| env.clone())
}

/// All that a release lacks, in one refusal.
pub(crate) fn missing_secrets(
    env: &EnvId,
    spec: &EnvSpec,
    missing: &BTreeSet<SecretName>,
) -> Refusal {
    let each = missing.iter().map(|name| {
        let users: Vec<String> = spec
            .users_of(name)
            .iter()
            .map(ToString::to_string)
            .collect();
        format!("{name} (of {})", users.join(", "))
    });
    let each: Vec<String> = each.collect();
    let what = match each.len() {
        1 => "a secret is not set",
        _ => "secrets are not set",
    };
    let message = format!("{what} in {env}: {}; nothing was changed", each.join(", "));
    let commands = missing
        .iter()
        .map(|name| format!("`ward secret set {name} --env {env}`"));
    let commands: Vec<String> = commands.collect();
    let hint = format!(
        "{} reads the value from standard input; `[secret.NAME] generate = 32` lets Ward make one",
        commands.join(", ")
    );
    Refusal::new(RefusalKind::Conflict, message).hint(hint)
}

pub(crate) fn refusal(left: &str, error: &ward_seal::Error) -> Refusal {
    let refusal = Refusal::new(RefusalKind::Failed, format!("{}; {left}", causes(error)));
    match error.hint() {
        Some(hint) => refusal.hint(hint),
        None => refusal,
    }
}

fn allowed(env: &Environment, request: &SecretRequest) -> Result<(), Refusal> {
    let invalid = |message: String, hint: &str| {
        Err(Refusal::new(RefusalKind::Invalid, message).hint(hint.to_owned()))
    };
    if request.changes.is_empty() {
        return invalid("no secret was named".to_owned(), "NAME=VALUE, one a line");
    }
    let mut named = BTreeSet::new();
    for SecretSetting { name, value } in &request.changes {
        if !named.insert(name) {
            return invalid(format!("{name} is named twice"), "name it once");
        }
        if name.database().is_some() {
            let hint = format!("`ward secret rotate {name}` lets Ward make another one");
            let message = format!("{name} is a database's password, which Ward makes itself");
            return invalid(message, &hint);
        }
        match value.as_ref().map(|value| value.expose()) {
            Some("") => {
                let hint = "pipe it in: `printf %s VALUE | ward secret set NAME`, or type it at a terminal";
                return invalid(format!("the value of {name} is empty"), hint);
            }
            Some(value) if value.len() > LONGEST => {
                let bytes = value.len();
                let message =
                    format!("the value of {name} has {bytes} bytes; {LONGEST} is the most");
                return invalid(message, "larger things are files, in the image");
            }
            Some(value) if value.contains('\0') => {
                let message = format!("the value of {name} holds a NUL character");
                return invalid(
                    message,
                    "no environment variable can; encode it, in base64 for instance",
                );
            }
            Some(_) => {}
            None => can_be_unset(env, name, request.others)?,
        }
    }
    let new = named.iter().filter(|name| !env.secrets.contains_key(name));
    let count = env.secrets.len() + new.count();
    if count > MOST {
        let message = format!("{} would have {count} secrets; {MOST} are the most", env.id);
        return invalid(message, "`ward secret unset` takes away what is not used");
    }
    Ok(())
}

fn can_be_unset(env: &Environment, name: &SecretName, others: Others) -> Result<(), Refusal> {
    if env.secret(name).is_none() {
        let set = env
            .secrets
            .iter()
            .filter(|(_, held)| held.current.is_some());
        let set: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
        let message = format!("{name} is not set in {}", env.id);
        let hint = match ward_stack::closest(name.as_str(), set.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if set.is_empty() => "no secret is".to_owned(),
            None => format!("set are: {}", set.join(", ")),
        };
        return Err(Refusal::new(RefusalKind::NotFound, message).hint(hint));
    }
    let Some(base) = base(env, others) else {
        return Ok(());
    };
    let users: Vec<String> = base
        .spec
        .users_of(name)
        .iter()
        .map(ToString::to_string)
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    let message = format!("{name} is a secret of {} in {}", users.join(", "), base.id);
    Err(Refusal::new(RefusalKind::Conflict, message).hint(
        "take it out of the `secrets` in the stack file and deploy that first; `ward secret set` gives it another value",
    ))
}

/// The names that no service gets, as far as that can be told, each in a sentence.
fn unused(env: &Environment, declared: Option<&EnvSpec>, request: &SecretRequest) -> Vec<String> {
    let newest = env
        .releases
        .values()
        .next_back()
        .map(|release| &release.spec);
    let specs: Vec<&EnvSpec> = declared.into_iter().chain(newest).collect();
    if specs.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<SecretName> = specs.iter().flat_map(|spec| spec.secret_names()).collect();
    let set = request
        .changes
        .iter()
        .filter(|change| change.value.is_some());
    let unknown = set.filter(|change| !known.contains(&change.name));
    unknown
        .map(|change| {
            let meant =
                ward_stack::closest(change.name.as_str(), known.iter().map(SecretName::as_str));
            let meant = meant.map(|meant| format!(" (did you mean `{meant}`?)"));
            format!(
                "no service gets {}{}",
                change.name,
                meant.unwrap_or_default()
            )
        })
        .collect()
}

/// What an event did, for whoever asked for it.
pub(crate) fn sentence(event: &Event) -> String {
    match event {
        Event::SecretChanged { name, version, .. } => format!("{name} has version {version}"),
        Event::SecretUnset { name, .. } => format!("{name} is not set any more"),
        other => other.kind().to_owned(),
    }
}

/// What to say of a release that is gone to, where it has other versions than releases would get now.
pub(crate) fn warning(env: &Environment, to: &Release) -> Option<Progress> {
    let older = env.older_secrets(to);
    if older.is_empty() {
        return None;
    }
    let each = older.iter().map(|(name, own, newest)| match newest {
        Some(newest) => format!("{name} {own} (the newest is {newest})"),
        None => format!("{name} {own} (it is not set any more)"),
    });
    let each: Vec<String> = each.collect();
    Some(Progress::Warning {
        message: format!(
            "{} comes back with its own secrets: {}",
            to.id,
            each.join(", ")
        ),
        hint: "`ward deploy` or the next `ward secret set` brings the newest into force".to_owned(),
    })
}
