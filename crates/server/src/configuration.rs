//! Configuration: set and unset by people, kept in the log, part of each release from then on.
//!
//! Decision: a change makes a new release of the build that serves, or of the one that a deployment leads to which
//! goes on, because what was asked for last is what is wanted. Where nothing is to be up it is recorded alone,
//! and the next release has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ward_store::Log;
use ward_types::configuration::{ConfigChange, Configuration};
use ward_types::event::{Event, Record, State};
use ward_types::id::{EnvId, Name};
use ward_types::release::{Environment, Goal, Phase, Reason, Release};
use ward_types::secrets::{SecretName, SecretPlace};
use ward_types::spec::EnvSpec;
use ward_types::time::Timestamp;
use ward_types::view::{
    ConfigRequest, ConfigStep, ConfigValue, ConfigVersion, ConfigView, Expect, Made, Others,
    OutdatedConfig, Progress, Until,
};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::{Control, unread};
use crate::deploy::{Steps, Stop, ended_builds, say, superseded};
use crate::recording::{Queued, Wish, goes_on};
use crate::secrets::{self, missing_secrets};
use crate::sharing::Warned;

/// The longest value, in bytes. The kernel takes 128 KiB with the name.
const LONGEST: usize = 32 * 1024;
/// What all values of an environment may have together, in bytes: each release holds them.
const ALL_TOGETHER: usize = 256 * 1024;
/// How many values may be set in an environment.
const MOST: usize = 500;

/// What a change of an environment's values came to.
pub(crate) enum Changed {
    /// To nothing.
    Nothing,
    /// To a record that the next release follows, and why there is none yet.
    Recorded(String),
    /// To a release that is on its way; and what is to be said of the build that it has.
    Released(Queued, Option<String>),
}

impl Control {
    /// Sets and unsets values, and sees the release through that has them.
    pub async fn configure(self, actor: Actor, request: ConfigRequest, steps: Steps) {
        let last = match self.configured(&actor, &request, &steps).await {
            Ok((env, changed)) => {
                self.changed_through(&env, changed, request.until, &steps)
                    .await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    /// The end of a change, for whoever asked for it.
    pub(crate) async fn changed_through(
        &self,
        env: &EnvId,
        changed: Changed,
        until: Until,
        steps: &Steps,
    ) -> Progress {
        let done = |message: String| Progress::Done {
            message,
            addresses: Vec::new(),
        };
        match changed {
            Changed::Nothing => done(format!("nothing changed in {env}")),
            Changed::Recorded(why) => done(why),
            Changed::Released(queued, note) => {
                superseded(&queued.superseded, steps).await;
                if let Some(note) = note {
                    say(steps, note).await;
                }
                self.followed(env, queued.id, until, steps).await
            }
        }
    }

    async fn configured(
        &self,
        actor: &Actor,
        request: &ConfigRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Changed), Stop> {
        let _admitted = self.admit()?;
        let (id, declared) =
            self.there_or_declared(request.env.as_ref(), request.expect, request.dir.as_deref())?;
        self.others_open(&id, request.others, &[]).await?;
        self.sets_no_secret(&id, &request.changes).await?;
        let desk = self.desk_for(&request.why).await;
        let decide = |state: &State| {
            let (env, mut events) = known_or_awaited(state, &id);
            allowed(&env, declared.as_ref(), &request.changes)?;
            let before = &env.configuration;
            let takes_effect =
                |change: &&ConfigChange| before.value(change) != change.value.as_ref();
            let changes: Vec<_> = request
                .changes
                .iter()
                .filter(takes_effect)
                .cloned()
                .collect();
            if changes.is_empty() {
                return Ok(((None, Changed::Nothing), Vec::new()));
            }
            let after = before.after(&changes);
            within_bounds(&id, &after)?;
            let version = after.version;
            events.push(Event::ConfigChanged {
                env: id.clone(),
                version,
                changes,
            });
            let (changed, events) = self.with_values(&env, actor, request.others, events)?;
            Ok(((Some(version), changed), events))
        };
        let (version, changed) = self.decided(&desk, actor, &request.why, decide).await?;
        let over = self.supersede_builds(&desk, &id, actor, request.others, &changed);
        drop(desk);
        ended_builds(&over, "superseded", steps).await;
        if let Some(version) = version {
            say(
                steps,
                format!("configuration {version} of {id} is recorded"),
            )
            .await;
        }
        self.live(&id);
        Ok((id, changed))
    }

    /// What events that change values lead to: a release that has them, where one should run and its policy lets it.
    pub(crate) fn with_values(
        &self,
        env: &Environment,
        actor: &Actor,
        others: Others,
        events: Vec<Event>,
    ) -> Result<(Changed, Vec<Event>), Refusal> {
        let after = secrets::applied(env, &events);
        let Some(base) = base(&after, others) else {
            let sentence = format!("the next release of {} has it", env.id);
            return Ok((Changed::Recorded(sentence), events));
        };
        let again = again(&after, base)?;
        if again.spec == base.spec && again.secrets == base.secrets {
            let sentence = format!(
                "nothing that runs changes by it: {} is what it was",
                base.id
            );
            return Ok((Changed::Recorded(sentence), events));
        }
        self.move_permitted(env.current_release(), &again)?;
        let note = of_what_serves(&after, base);
        let (queued, events) = released(&after, actor, others, events, again);
        Ok((Changed::Released(queued, note), events))
    }

    /// The environment that is asked for, and what the stack file in `dir` declares for it, if that is of the same
    /// stack. One that is not there yet has to be declared.
    pub(crate) fn there_or_declared(
        &self,
        asked: Option<&EnvId>,
        expect: Expect,
        dir: Option<&str>,
    ) -> Result<(EnvId, Option<EnvSpec>), Stop> {
        if let (Some(id), Expect::Absent) = (asked, expect) {
            self.can_be_made(Some(Made { ttl: None }), id)?;
            return Ok((id.clone(), self.declared_in_dir(id, dir)));
        }
        let refusal = match self.alive(asked) {
            Ok(id) => {
                let spec = self.declared_in_dir(&id, dir);
                return Ok((id, spec));
            }
            Err(refusal) => refusal,
        };
        if let (Some(id), Expect::ToCome) = (asked, expect) {
            return Ok((id.clone(), None));
        }
        let (Some(id), Some(dir)) = (asked, dir) else {
            return Err(refusal.into());
        };
        let (spec, ..) = self.resolved(Path::new(dir), &id.env())?;
        match spec.id == *id {
            true => Ok((id.clone(), Some(spec))),
            false => Err(refusal.into()),
        }
    }

    /// What the stack file in `dir` declares for an environment. One with mistakes is for `ward deploy` to tell.
    fn declared_in_dir(&self, id: &EnvId, dir: Option<&str>) -> Option<EnvSpec> {
        let (spec, ..) = self.resolved(Path::new(dir?), &id.env()).ok()?;
        (spec.id == *id).then_some(spec)
    }

    /// What is set in an environment.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn configuration(&self, env: &EnvId) -> Result<ConfigView, Refusal> {
        let known = self
            .known(env)
            .unwrap_or_else(|| Environment::new(env.clone()));
        let history = self.configuration_history(env)?;
        let value = |change: ConfigChange| {
            let set = |version: &&ConfigVersion| {
                let mut steps = version.changes.iter();
                steps.any(|s| (&s.change.service, &s.change.key) == (&change.service, &change.key))
            };
            let by = history.iter().find(set);
            ConfigValue {
                value: change.value.clone().unwrap_or_default(),
                version: by.map_or(0, |by| by.version),
                at: by.map(|by| by.at).unwrap_or_default(),
                by: by.map(|by| by.by.clone()).unwrap_or_default(),
                service: change.service,
                key: change.key,
            }
        };
        let current = known.current_release();
        Ok(ConfigView {
            env: env.clone(),
            version: known.configuration.version,
            in_force: current.map(|release| release.config.version),
            outdated: current.is_some_and(|release| known.is_outdated(release)),
            values: known
                .configuration
                .as_changes()
                .into_iter()
                .map(value)
                .collect(),
        })
    }

    /// Each version of an environment's configuration, the newest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn configuration_history(&self, env: &EnvId) -> Result<Vec<ConfigVersion>, Refusal> {
        let records = self.store().records(None, usize::MAX, Some(env));
        let records = records.map_err(unread)?;
        let mut now = Configuration::default();
        let mut versions: Vec<_> = records
            .into_iter()
            .filter_map(|record| version(&mut now, record))
            .collect();
        versions.reverse();
        Ok(versions)
    }
}

fn version(configuration: &mut Configuration, record: Record) -> Option<ConfigVersion> {
    let Event::ConfigChanged {
        version, changes, ..
    } = record.event
    else {
        return None;
    };
    let after = configuration.after(&changes);
    let steps = changes.into_iter().map(|change| ConfigStep {
        before: configuration.value(&change).cloned(),
        change,
    });
    let steps = steps.collect();
    *configuration = after;
    Some(ConfigVersion {
        version,
        at: record.at,
        by: record.who,
        why: record.why,
        changes: steps,
    })
}

/// An environment as it is; or one that is still to be made, also in the place of one that is gone, and the event by which
/// something can be kept for it.
pub(crate) fn known_or_awaited(state: &State, id: &EnvId) -> (Environment, Vec<Event>) {
    let known = state.environment(id).cloned();
    let there = known.as_ref().is_some_and(|env| !env.is_deleted());
    let env = known.unwrap_or_else(|| Environment::new(id.clone()));
    let awaited = Event::EnvironmentAwaited { env: id.clone() };
    let events = if there { Vec::new() } else { vec![awaited] };
    (secrets::applied(&env, &events), events)
}

/// The end that somebody gave an environment before it is made.
pub(crate) fn end_before(env: &Environment) -> Option<Timestamp> {
    let expires = env.life.expires.filter(|_| env.is_awaited());
    expires.map(|expiry| expiry.at)
}

/// An environment as it is; or a new one, also in the place of one that is gone or was awaited, and the event that makes
/// it. One that an older Ward made for its values alone gets its end by an event of its own.
pub(crate) fn known_or_created(
    state: &State,
    id: &EnvId,
    until: Option<Timestamp>,
    (actor, why): (&Actor, &str),
) -> (Environment, Vec<Event>) {
    let known = state.environment(id).cloned();
    let env = known.unwrap_or_else(|| Environment::new(id.clone()));
    let awaited = env.is_awaited();
    if state.environments.contains_key(id) && !env.is_deleted() && !awaited {
        let ends = until.filter(|_| env.is_bare());
        let extended = ends.map(|until| Event::EnvironmentExtended {
            env: id.clone(),
            until: Some(until),
        });
        let events: Vec<Event> = extended.into_iter().collect();
        return (secrets::applied(&env, &events), events);
    }
    let created = vec![Event::EnvironmentCreated {
        env: id.clone(),
        origin: None,
        copies: None,
        restores: BTreeMap::new(),
        until: until.or(end_before(&env)),
        by: actor.who.clone(),
        why: why.to_owned(),
    }];
    (secrets::applied(&env, &created), created)
}

/// A release of the same build with all values that are set now.
fn again(env: &Environment, base: &Release) -> Result<Release, Refusal> {
    let (spec, config) = env.configuration.over(base.declared());
    let versions = env.secrets_for(&spec);
    let secrets = versions.map_err(|missing| missing_secrets(&env.id, &spec, &missing))?;
    Ok(Release {
        spec,
        config,
        secrets,
        ..base.clone()
    })
}

/// What a release with other values is a copy of: what a deployment leads to that goes on, or what serves.
pub(crate) fn base(env: &Environment, others: Others) -> Option<&Release> {
    if env.goal != Goal::Up {
        return None;
    }
    // What goes back has failed: nobody wants its build again with other values.
    let leads = env.deployments.values().rev().find(|d| goes_on(d));
    let leads = leads.filter(|_| others == Others::Wait).map(|d| d.to);
    env.releases.get(&leads.or(env.current)?)
}

/// That the build of a deployment which goes back is not released again.
fn of_what_serves(env: &Environment, base: &Release) -> Option<String> {
    let back = env.active()?;
    let goes_back = matches!(back.phase, Phase::Reverting { .. });
    let serves = goes_back && env.current == Some(base.id);
    serves.then(|| {
        format!(
            "{} goes back, because it failed: the new release is of what serves, {} ({})",
            back.id, base.id, base.build.version
        )
    })
}

/// The events of a release that is `again` with a number of its own.
fn released(
    env: &Environment,
    actor: &Actor,
    others: Others,
    mut events: Vec<Event>,
    again: Release,
) -> (Queued, Vec<Event>) {
    let release = Release {
        id: env.next_release(),
        recorded: now(),
        by: actor.who.clone(),
        ..again
    };
    let wish = Wish {
        to: release.id,
        reason: Reason::Deploy,
        others,
        despite_schema: None,
        plan: None,
    };
    events.push(Event::ReleaseRecorded {
        env: env.id.clone(),
        release: Box::new(release),
    });
    wish.events(env, actor, events)
}

/// Whether these changes can be made, as far as that can be told by what is declared.
fn allowed(
    env: &Environment,
    declared: Option<&EnvSpec>,
    changes: &[ConfigChange],
) -> Result<(), Refusal> {
    if changes.is_empty() {
        let message = "nothing was named to set or unset";
        return Err(invalid(
            message.to_owned(),
            "KEY=VALUE, or SERVICE.KEY=VALUE",
        ));
    }
    let newest = env.releases.values().next_back().map(|r| &r.spec);
    let specs: Vec<&EnvSpec> = declared.into_iter().chain(newest).collect();
    let mut named = BTreeSet::new();
    for change in changes {
        if !named.insert((&change.service, &change.key)) {
            let message = format!("{} is named twice", place(change));
            return Err(invalid(
                message,
                "name it once: all changes are made in one go",
            ));
        }
        if let Some(service) = &change.service {
            has_service(&env.id, &specs, service)?;
        }
        match &change.value {
            Some(value) => settable(change, value, &specs)?,
            None => is_set(env, change)?,
        }
    }
    Ok(())
}

fn place(change: &ConfigChange) -> String {
    match &change.service {
        Some(service) => format!("{service}.{}", change.key),
        None => change.key.clone(),
    }
}

fn invalid(message: String, hint: &str) -> Refusal {
    Refusal::new(RefusalKind::Invalid, message).hint(hint)
}

/// Whether a service is declared by any of these; where there are none, nobody knows.
fn has_service(env: &EnvId, specs: &[&EnvSpec], service: &Name) -> Result<(), Refusal> {
    let Some(first) = specs.first() else {
        return Ok(());
    };
    if specs.iter().any(|spec| spec.services.contains_key(service)) {
        return Ok(());
    }
    let names = || first.services.keys().map(Name::as_str);
    let message = format!("{env} has no service {service}");
    let list = format!("there are: {}", names().collect::<Vec<_>>().join(", "));
    let hint = match ward_stack::closest(service.as_str(), names()) {
        Some(meant) => format!("did you mean `{meant}`? {list}"),
        None => list,
    };
    Err(Refusal::new(RefusalKind::NotFound, message).hint(hint))
}

fn settable(change: &ConfigChange, value: &str, specs: &[&EnvSpec]) -> Result<(), Refusal> {
    if let Err(wrong) = ward_stack::variable(&change.key, value) {
        let refusal = Refusal::new(RefusalKind::Invalid, wrong.message);
        return Err(Refusal {
            hint: wrong.hint,
            ..refusal
        });
    }
    if value.len() > LONGEST {
        let message = format!(
            "the value of {} has {} bytes; {LONGEST} is the most",
            place(change),
            value.len()
        );
        return Err(invalid(message, "larger things are files, in the image"));
    }
    if let Some(name) = specs.iter().find_map(|spec| secret_of(spec, change)) {
        let key = &change.key;
        let message = format!("{key} is a secret of {name}");
        return Err(invalid(
            message,
            &format!("`ward secret set {key}` sets it"),
        ));
    }
    let linked = specs
        .iter()
        .find_map(|spec| linked_to_a_database(spec, change));
    if let Some(name) = linked {
        let message = format!(
            "Ward sets `{}` of {name} itself, because of its link to a database",
            change.key
        );
        return Err(invalid(message, "take another name, or no link"));
    }
    Ok(())
}

/// The service that gets a secret as the variable that is to be changed.
fn secret_of<'a>(spec: &'a EnvSpec, change: &ConfigChange) -> Option<&'a Name> {
    let name = SecretName::parse(&change.key).ok()?;
    let meant = |service: &Name| change.service.as_ref().is_none_or(|named| named == service);
    let mut services = spec.services.iter();
    let gets = services.find(|(service, spec)| {
        meant(service) && spec.secrets.get(&name) == Some(&SecretPlace::Variable)
    });
    gets.map(|(service, _)| service)
}

/// The service whose link to a database sets the variable that is to be changed.
fn linked_to_a_database<'a>(spec: &'a EnvSpec, change: &ConfigChange) -> Option<&'a Name> {
    if !ward_stack::database_variable(&change.key) {
        return None;
    }
    let meant = |name: &Name| {
        change
            .service
            .as_ref()
            .is_none_or(|service| service == name)
    };
    let linked = spec.services.iter().find(|(name, service)| {
        let mut links = service.links.iter();
        meant(name) && links.any(|link| spec.databases.contains_key(link))
    });
    linked.map(|(name, _)| name)
}

fn is_set(env: &Environment, change: &ConfigChange) -> Result<(), Refusal> {
    let configuration = &env.configuration;
    if configuration.value(change).is_some() {
        return Ok(());
    }
    let set: Vec<String> = configuration.as_changes().iter().map(place).collect();
    let wanted = place(change);
    let message = format!("{wanted} is not set in {}", env.id);
    let hint = match ward_stack::closest(&wanted, set.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if set.is_empty() => "nothing is: all values are the stack file's own".to_owned(),
        None => format!("set are: {}", set.join(", ")),
    };
    Err(Refusal::new(RefusalKind::NotFound, message).hint(hint))
}

fn within_bounds(env: &EnvId, after: &Configuration) -> Result<(), Refusal> {
    let all = after.as_changes();
    let lengths = all
        .iter()
        .map(|c| c.key.len() + c.value.as_ref().map_or(0, String::len));
    let bytes: usize = lengths.sum();
    if all.len() <= MOST && bytes <= ALL_TOGETHER {
        return Ok(());
    }
    let message = format!(
        "{env} would have {} values of {bytes} bytes; {MOST} values and {ALL_TOGETHER} bytes are the most",
        all.len()
    );
    Err(invalid(message, "larger things are files, in the image"))
}

/// That what serves runs with other values than those that are set.
pub(crate) fn outdated(env: &Environment) -> Option<OutdatedConfig> {
    let current = env.current_release().filter(|_| env.goal == Goal::Up)?;
    env.is_outdated(current).then_some(OutdatedConfig {
        in_force: current.config.version,
        newest: env.configuration.version,
    })
}

/// That the stack file's new values are not the ones that hold.
pub(crate) fn shadowed(env: &Environment, declared: &EnvSpec) -> Option<Warned> {
    let shadowed = env.shadowed(declared);
    let places: Vec<String> = shadowed.iter().map(place).collect();
    let set = match places.len() {
        0 => return None,
        1 => "a new value, and the one that was set with `ward config set` stays in its place",
        _ => "new values, and those that were set with `ward config set` stay in their place",
    };
    let message = format!("{}: the stack file has {set}", places.join(", "));
    let keys = places.join(" ");
    let hint = format!(
        "`ward config unset {keys} --env {}` lets the file's hold",
        env.id
    );
    Some(Warned { message, hint })
}

/// What to say of a release that is gone to, where it has other values than those that are set.
pub(crate) fn warning(env: &Environment, to: &Release) -> Option<Progress> {
    env.is_outdated(to).then(|| Progress::Warning {
        message: format!(
            "{} comes back with its own configuration {}; the newest that was set is {}",
            to.id, to.config.version, env.configuration.version
        ),
        hint: "`ward config list` shows the newest; `ward deploy` or the next `ward config set` brings it into force"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use ward_types::release::Deployment;

    use super::*;

    /// r1 serves, and a deployment leads to r2.
    fn environment(phase: &str) -> Environment {
        let text = format!(
            r#"{{"id":1,"reason":"deploy","from":1,"to":2,"requested":1,"started":1,"phase_since":1,"by":"anna",
            "phase":{phase}}}"#
        );
        let deployment: Deployment = serde_json::from_str(&text).unwrap();
        let id = EnvId::parse("shop/dev").unwrap();
        let mut env = Environment::new(id);
        env.deployments.insert(deployment.id, deployment);
        for number in [1, 2] {
            let release = format!(
                r#"{{"id":{number},"build":{{"version":"1.0.{number}","images":{{}}}},"recorded":1,"by":"anna",
                "spec":{{"id":"shop/dev","version":"1.0","databases":{{}},"keep_warm":0,"services":{{}}}}}}"#
            );
            let release: Release = serde_json::from_str(&release).unwrap();
            env.releases.insert(release.id, release);
        }
        env.current = env.releases.keys().next().copied();
        env
    }

    #[test]
    fn values_are_for_what_goes_on_and_not_for_what_failed() {
        let base = |phase: &str| {
            let env = environment(phase);
            let base = base(&env, Others::Wait).unwrap();
            (base.id.0, of_what_serves(&env, base))
        };
        assert_eq!(base(r#"{"state":"rolling"}"#), (2, None));
        let failure = r#"{"message":"It failed.","output":[],"hint":null}"#;
        let reverting = format!(r#"{{"state":"reverting","failure":{failure}}}"#);
        let said = "d1 goes back, because it failed: the new release is of what serves, r1 (1.0.1)";
        assert_eq!(base(&reverting), (1, Some(said.to_owned())));
        let ended = r#"{"state":"finished","verdict":"rolled_back","failure":null,"at":2}"#;
        assert_eq!(base(ended), (1, None));
    }
}
