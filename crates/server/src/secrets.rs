//! Secrets: set and unset by people, made where the stack file says so, sealed before the log knows of them.
//!
//! Decision: a value is sealed and on the disk before the event that names its version, and whoever seals is alone at
//! the desk, so that no version is given out twice. What was sealed and never recorded is replaced by the next one of
//! its number, or collected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ward_seal::Vault;
use ward_store::Log;
use ward_types::event::{Event, Record, State};
use ward_types::id::EnvId;
use ward_types::release::{Environment, Release};
use ward_types::secret::Secret;
use ward_types::secrets::{Origin, SHORTEST_MASKED, SecretLabel, SecretName};
use ward_types::spec::EnvSpec;
use ward_types::view::{
    Expect, Made, Others, Progress, SecretRequest, SecretSetting, SecretVersionView, SecretView,
    SecretsView,
};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::builds::{End, Over};
use crate::clock::now;
use crate::configuration::{Changed, base, known_or_awaited};
use crate::control::{Control, Desk};
use crate::deploy::{Steps, Stop, ended_builds, say};
use crate::settable::{allowed, kept, unused};

/// What a request to change secrets comes to, sealed and not recorded yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealed {
    pub(crate) events: Vec<Event>,
}

impl Control {
    pub(crate) fn vault(&self) -> &Vault {
        &self.composer().opener.vault
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
        let names: Vec<SecretName> = request.changes.iter().map(|c| c.name.clone()).collect();
        self.others_open(&id, request.others, &names).await?;
        let desk = self.desk_for(&request.why).await;
        if request.expect == Expect::Absent {
            // Somebody may have made it meanwhile.
            self.can_be_made(Some(Made { ttl: None }), &id)?;
        }
        let env = self
            .known(&id)
            .unwrap_or_else(|| Environment::new(id.clone()));
        allowed(&env, request)?;
        if request.changes.iter().any(|change| change.value.is_some()) {
            kept(&env)?;
        }
        let sealed = self.sealed(&env, &request.changes).await?;
        let asked = (actor, request.others, request.why.as_str());
        let changed = match sealed.events.is_empty() {
            true => Changed::Nothing,
            false => self.recorded_secrets(&desk, &id, asked, &sealed).await?,
        };
        let over = self.supersede_builds(&desk, &id, actor, request.others, &changed);
        // Nobody else waits for one who does not read.
        drop(desk);
        for message in unused(&env, declared.as_ref(), request) {
            let hint = "it is kept all the same; a service gets it when its `secrets` name it";
            let hint = hint.to_owned();
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
        ended_builds(&over, "superseded", steps).await;
        for event in &sealed.events {
            say(steps, sentence(event)).await;
        }
        for SecretSetting { name, value } in &request.changes {
            if value.as_ref().is_some_and(|value| is_shown(value.expose())) {
                let warning = unmasked(name);
                let _ = steps.send(warning).await;
            }
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
            let (env, mut events) = known_or_awaited(state, id);
            // A purge may have begun while it was sealed.
            if sealed.events.iter().any(is_value) {
                kept(&env)?;
            }
            events.extend(sealed.events.iter().cloned());
            self.with_values(&env, actor, others, events)
        };
        self.decided(desk, actor, why, decide).await
    }

    /// A change that supersedes what is under way ends the builds before it, too: at the desk where it was recorded,
    /// so that a build that is asked for after it is none of them.
    pub(crate) fn supersede_builds(
        &self,
        _desk: &Desk<'_>,
        env: &EnvId,
        actor: &Actor,
        others: Others,
        changed: &Changed,
    ) -> Vec<Over> {
        let (Others::Cancel, Changed::Released(..)) = (others, changed) else {
            return Vec::new();
        };
        let by = actor.who.clone();
        self.0.builds.end_all(env, &End::Superseded { by })
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
        let unmade = to_generate(&env, spec);
        if !unmade.is_empty() {
            kept(&env)?;
        }
        for (name, bytes) in unmade {
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
    pub(crate) async fn secrets_there(&self, spec: &EnvSpec) -> Result<(), Refusal> {
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
        self.can_be_opened(&spec.id, versions).await
    }

    /// The same of a release, with the versions that it has: asked before the decision to go to it.
    ///
    /// # Errors
    /// As of [`Control::secrets_there`].
    pub(crate) async fn release_opens(
        &self,
        env: &EnvId,
        release: &Release,
    ) -> Result<(), Refusal> {
        self.can_be_opened(env, own_versions(release)).await
    }

    /// The same of the release that a change of values would make, but for the secrets that it changes: asked before the
    /// desk, by whoever makes one.
    ///
    /// # Errors
    /// As of [`Control::secrets_there`], but what is not set is told by who records.
    pub(crate) async fn others_open(
        &self,
        env: &EnvId,
        others: Others,
        changed: &[SecretName],
    ) -> Result<(), Refusal> {
        let Some(known) = self.known(env) else {
            return Ok(());
        };
        let Some(base) = base(&known, others) else {
            return Ok(());
        };
        let names = base.spec.secret_names().into_iter();
        let names = names.filter(|name| !changed.contains(name));
        let versions = names.filter_map(|name| {
            let version = known.secret(&name)?.version;
            Some((name, version))
        });
        self.can_be_opened(env, versions).await
    }

    /// Whether the values of a release are still there, which is told at once.
    ///
    /// # Errors
    /// Which is not.
    pub(crate) fn release_has_values(&self, env: &EnvId, release: &Release) -> Result<(), Refusal> {
        for label in labels(env, own_versions(release)) {
            let there = self.vault().holds(&label);
            there.map_err(|error| refusal(&self.untouched(env), &error))?;
        }
        Ok(())
    }

    /// Apart from the tasks of the runtime: a command that gives the master key takes its time.
    async fn can_be_opened(
        &self,
        env: &EnvId,
        versions: impl Iterator<Item = (SecretName, u64)>,
    ) -> Result<(), Refusal> {
        let labels: Vec<SecretLabel> = labels(env, versions).collect();
        let vault = self.vault().clone();
        let check = move || labels.iter().try_for_each(|label| vault.check(label));
        let checked = tokio::task::spawn_blocking(check).await;
        let checked = checked.map_err(|error| Refusal::failed(&self.untouched(env), &error))?;
        checked.map_err(|error| refusal(&self.untouched(env), &error))
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
        let replaced = |name: &SecretName| {
            let held = known.secrets.get(name);
            held.is_some_and(|held| held.leaving.is_some())
        };
        let view = |name: SecretName| {
            let version = known.secret(&name).map(|newest| newest.version);
            let of = history.get(&name).into_iter().flatten();
            let mut of = of.filter(|view| view.origin.is_some());
            SecretView {
                newest: version.and_then(|version| of.find(|v| v.version == version).cloned()),
                in_force: current.and_then(|release| release.secrets.get(&name).copied()),
                used_by: spec.map(|spec| spec.users_of(&name)).unwrap_or_default(),
                replaced: replaced(&name).then(|| self.lasting(env, &name)).flatten(),
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

/// The versions of a release's own secrets: a database's password is not the release's.
fn own_versions(release: &Release) -> impl Iterator<Item = (SecretName, u64)> {
    let versions = release.secrets.clone().into_iter();
    versions.filter(|(name, _)| name.database().is_none())
}

fn labels(
    env: &EnvId,
    versions: impl Iterator<Item = (SecretName, u64)>,
) -> impl Iterator<Item = SecretLabel> {
    versions.map(|(name, version)| SecretLabel {
        env: env.clone(),
        name,
        version,
    })
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
    let shared = Arc::new(env.clone());
    state.environments.insert(env.id.clone(), shared);
    for event in events {
        // What does not fit is refused by the log itself.
        let _ = state.apply(now(), event);
    }
    let then = state.environments.remove(&env.id);
    then.map_or_else(|| env.clone(), Arc::unwrap_or_clone)
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

fn is_value(event: &Event) -> bool {
    matches!(event, Event::SecretChanged { .. })
}

/// Whether a value is too short to be masked in what instances write.
fn is_shown(value: &str) -> bool {
    value
        .lines()
        .all(|line| line.trim().len() < SHORTEST_MASKED)
}

fn unmasked(name: &SecretName) -> Progress {
    Progress::Warning {
        message: format!(
            "{name} has fewer than {SHORTEST_MASKED} bytes: it is not masked in what instances write"
        ),
        hint: "a longer value is, because it can be told from other text".to_owned(),
    }
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
