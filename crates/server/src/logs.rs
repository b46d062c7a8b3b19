//! Shows the output of instances, also of those that are gone.

use std::collections::BTreeSet;

use serde::Deserialize;
use tokio::sync::mpsc;
use ward_types::id::{EnvId, Name, ReleaseId};
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
    /// Of which service or database.
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
    pub fn logs(&self, query: LogQuery, lines: mpsc::Sender<LogLine>) -> Result<(), Refusal> {
        let env = self.environment(query.env.as_ref())?;
        if let Some(component) = &query.component {
            self.had(&env, component)?;
        }
        let engine = self.engine().clone();
        let wanted = ward_engine::LogQuery {
            components: query.component.into_iter().collect(),
            release: query.release.map(ReleaseId),
            since: query
                .since
                .map(|millis| Timestamp(now().0.saturating_sub(Millis(millis).0))),
            tail: query.tail,
            instance: None,
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

    /// Whether any release of an environment has, or had, a service or database of that name.
    fn had(&self, env: &EnvId, component: &Name) -> Result<(), Refusal> {
        let known = self.known(env);
        let specs = known
            .iter()
            .flat_map(|env| env.releases.values().map(|release| &release.spec));
        let names: BTreeSet<&Name> = specs
            .flat_map(|spec| spec.services.keys().chain(spec.databases.keys()))
            .collect();
        if names.contains(component) {
            return Ok(());
        }
        let list: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let message = format!("{env} never had a service or database called {component}");
        Err(Refusal::new(RefusalKind::NotFound, message)
            .hint(format!("there are: {}", list.join(", "))))
    }
}
