//! Shows the output of instances, also of those that are gone.

use std::collections::BTreeSet;

use serde::Deserialize;
use tokio::sync::mpsc;
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId, RunId};
use ward_types::keeper::Role;
use ward_types::release::{Environment, Release};
use ward_types::time::{Millis, Timestamp};
use ward_types::view::LogLine;

use crate::actor::{Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::Control;

/// Which lines.
#[derive(Debug, Clone, Deserialize)]
pub struct LogQuery {
    /// Of which environment; the only one when it is not named.
    pub env: Option<EnvId>,
    /// Of which service, database or run.
    pub component: Option<Name>,
    /// Of which release, by number.
    pub release: Option<u64>,
    /// Of the last so many milliseconds.
    pub since: Option<u64>,
    /// At most so many, the newest.
    pub tail: Option<usize>,
    /// And then those that follow.
    #[serde(default)]
    pub follow: bool,
}

impl Control {
    /// Sends the lines, oldest first; with `follow` until the receiver goes away.
    ///
    /// # Errors
    /// When the environment does not exist.
    pub fn logs(&self, mut query: LogQuery, lines: mpsc::Sender<LogLine>) -> Result<(), Refusal> {
        let env = self.environment(query.env.as_ref())?;
        let known = self
            .known(&env)
            .unwrap_or_else(|| Environment::new(env.clone()));
        let mut instances = None;
        if let Some(component) = query.component.take() {
            let run = component.as_str().parse::<RunId>().ok();
            // A service may be called like a run: then it is meant.
            match (had([&known], &format!("{env} never"), &component), run) {
                (Ok(()), _) => query.component = Some(component),
                (Err(_), Some(_)) if query.follow => {
                    let message = "a run's output is not followed by its name";
                    return Err(Refusal::new(RefusalKind::Invalid, message)
                        .hint("leave --follow out; or follow the service that it runs in, `ward logs SERVICE --follow`"));
                }
                (Err(_), Some(run)) => instances = Some(self.instances_of(&known, run)?),
                (Err(refusal), None) => return Err(refusal),
            }
        }
        if let Some(release) = query.release {
            had_release(&known, ReleaseId(release), query.component.as_ref())?;
        }
        let engine = self.engine().clone();
        let wanted = ward_engine::LogQuery {
            components: query.component.into_iter().collect(),
            release: query.release.map(ReleaseId),
            since: query
                .since
                .map(|millis| Timestamp(now().0.saturating_sub(Millis(millis).0))),
            tail: query.tail,
            instances,
        };
        if query.follow {
            tokio::spawn(async move {
                let mut follow = engine.follow(&env, wanted);
                while let Some(Ok(found)) = tokio::select! {
                    found = follow.next() => found,
                    () = lines.closed() => None,
                } {
                    for line in found {
                        if lines.send(line).await.is_err() {
                            return;
                        }
                    }
                }
            });
        } else {
            tokio::task::spawn_blocking(move || match engine.logs(&env, &wanted) {
                Ok(found) => {
                    for line in found {
                        if lines.blocking_send(line).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => tracing::warn!(error = causes(&error), "logs could not be read"),
            });
        }
        Ok(())
    }
}

impl Control {
    /// The instances that a run was tried in, and is.
    fn instances_of(&self, env: &Environment, run: RunId) -> Result<BTreeSet<InstanceId>, Refusal> {
        let Some(known) = env.runs.get(run) else {
            let message = match run > RunId::default() && run <= env.runs.last {
                true => format!(
                    "{run} of {} was too long ago: its output is not told apart any more",
                    env.id
                ),
                false => format!("{} has no {run}", env.id),
            };
            return Err(Refusal::new(RefusalKind::NotFound, message)
                .hint("`ward job history` shows the last hundred runs; `ward logs SERVICE --since 1h` what their services wrote"));
        };
        let tried = known
            .attempts
            .iter()
            .filter_map(|attempt| attempt.instance.clone());
        let seen = self.engine().observe(&env.id).into_values();
        let is_of = seen.filter(|seen| seen.facts.role == Role::Run(run));
        Ok(tried.chain(is_of.map(|seen| seen.facts.id)).collect())
    }
}

/// Whether any release of these environments has or had a service or database of that name.
pub(crate) fn had<'a>(
    envs: impl IntoIterator<Item = &'a Environment>,
    who_never: &str,
    component: &Name,
) -> Result<(), Refusal> {
    let releases = envs.into_iter().flat_map(|env| env.releases.values());
    let names: BTreeSet<&Name> = releases.flat_map(components).collect();
    if names.contains(component) {
        return Ok(());
    }
    let message = format!("{who_never} had a service or database called {component}");
    Err(there_are(message, names))
}

/// Whether output of a release, and of `component` in it where that is named, is kept.
fn had_release(
    env: &Environment,
    asked: ReleaseId,
    component: Option<&Name>,
) -> Result<(), Refusal> {
    let Some(release) = env.releases.get(&asked) else {
        let message = if asked > ReleaseId::default() && asked < env.next_release() {
            format!(
                "{asked} of {} is retired: its output is not kept any more",
                env.id
            )
        } else {
            format!("{} has no release {asked}", env.id)
        };
        return Err(there_are(message, env.releases.keys()));
    };
    let spec = &release.spec;
    match component {
        Some(name) if spec.databases.contains_key(name) => {
            let message = format!("{name} is a database: its output belongs to no release");
            Err(Refusal::new(RefusalKind::NotFound, message).hint("leave --release out"))
        }
        Some(name) if !spec.services.contains_key(name) => {
            let message = format!("{asked} of {} has no service called {name}", env.id);
            Err(there_are(message, spec.services.keys()))
        }
        _ => began(env, asked),
    }
}

/// Whether a release can have written anything: a deployment that ended while it waited its turn started nothing.
fn began(env: &Environment, release: ReleaseId) -> Result<(), Refusal> {
    let to = || env.deployments.values().filter(|d| d.to == release);
    let began = to().any(|deployment| deployment.started.is_some());
    match to().next_back().filter(|_| !began) {
        Some(last) => {
            let (id, env) = (last.id, &env.id);
            let message = format!("no instance of {release} of {env} was ever started");
            let hint = format!("`ward deployment show {id} --env {env}` says how far it came");
            Err(Refusal::new(RefusalKind::NotFound, message).hint(hint))
        }
        None => Ok(()),
    }
}

fn components(release: &Release) -> impl Iterator<Item = &Name> {
    let spec = &release.spec;
    spec.services.keys().chain(spec.databases.keys())
}

fn there_are(message: String, list: impl IntoIterator<Item = impl ToString>) -> Refusal {
    let list: Vec<String> = list.into_iter().map(|one| one.to_string()).collect();
    let hint = match list.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are: {}", list.join(", ")),
    };
    Refusal::new(RefusalKind::NotFound, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::release::Deployment;

    /// An environment with one deployment to r2, which began then.
    fn with_one(started: Option<u64>) -> Environment {
        let started = started.map_or("null".to_owned(), |at| at.to_string());
        let text = format!(
            r#"{{"id":7,"reason":"deploy","from":1,"to":2,"requested":1,"started":{started},"phase_since":1,
            "by":"anna","phase":{{"state":"queued"}}}}"#
        );
        let deployment: Deployment = serde_json::from_str(&text).unwrap();
        let mut env = Environment::new(EnvId::parse("shop/dev").unwrap());
        env.deployments.insert(deployment.id, deployment);
        env
    }

    #[test]
    fn a_release_that_never_began_has_written_nothing_and_the_refusal_says_where_to_look() {
        let refused = began(&with_one(None), ReleaseId(2)).unwrap_err();
        assert_eq!(
            refused.message,
            "no instance of r2 of shop/dev was ever started"
        );
        let hint = refused.hint.unwrap_or_default();
        assert!(
            hint.contains("`ward deployment show d7 --env shop/dev`"),
            "{hint}"
        );
        began(&with_one(Some(3)), ReleaseId(2)).unwrap();
        // Of a release without a deployment that is known, nothing is known.
        began(&with_one(None), ReleaseId(1)).unwrap();
    }
}
