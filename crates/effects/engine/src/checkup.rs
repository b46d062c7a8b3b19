//! A health check out of turn: one question to the keeper, in a task of its own, so that nobody waits for an instance
//! that does not answer.

use std::path::Path;

use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::id::{EnvId, InstanceId};
use ward_types::keeper::{InstanceState, InstanceStatus};
use ward_types::time::Millis;

use crate::client::{ClientError, KeeperClient};
use crate::engine::{Engine, Inner};
use crate::error::Error;

impl Engine {
    /// Has the health of an instance checked now, whatever the interval of its checks, because a deployment must know.
    /// Returns at once; [`Engine::observe`] shows what came of it, after `within` at the latest. Asked twice for the
    /// same occasion it checks once. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn check(
        &self,
        env: &EnvId,
        id: &InstanceId,
        of: Occasion,
        within: Millis,
    ) -> Result<(), Error> {
        self.known(env, id)?;
        let found = Found::Awaited;
        if self.0.checked(env, id, Checkup { of, found }) {
            let (engine, env, id) = (self.clone(), env.clone(), id.clone());
            tokio::spawn(async move {
                let found = ask(&engine.instance_dir(&env, &id), within).await;
                engine.0.checked(&env, &id, Checkup { of, found });
            });
        }
        Ok(())
    }
}

impl Inner {
    /// Notes what came of a check, unless it was asked for another one since; whether it did.
    fn checked(&self, env: &EnvId, id: &InstanceId, checkup: Checkup) -> bool {
        let mut all = self.seen();
        let Some(seen) = all.get_mut(env).and_then(|env| env.get_mut(id)) else {
            return false; // Removed meanwhile.
        };
        let known = seen.checkup.as_ref();
        let same = known.is_some_and(|known| known.of == checkup.of);
        // The first word of a check is that it is awaited, and only once.
        if same == (checkup.found == Found::Awaited) {
            return false;
        }
        seen.checkup = Some(checkup);
        drop(all);
        self.bump(env);
        true
    }
}

async fn ask(dir: &Path, within: Millis) -> Found {
    match tokio::time::timeout(within.duration(), status(dir)).await {
        Ok(Ok(status)) => found(&status),
        Ok(Err(error)) => {
            tracing::debug!(dir = %dir.display(), %error, "a keeper does not say how its instance is");
            Found::Ill("its keeper does not answer".to_owned())
        }
        Err(_) => Found::Ill(format!(
            "its health check was not answered within {} ms",
            within.0
        )),
    }
}

async fn status(dir: &Path) -> Result<InstanceStatus, ClientError> {
    match KeeperClient::connect(dir)?.check().await {
        // One of an older Ward: its own checks have to do.
        Err(ClientError::Refused { .. }) => KeeperClient::connect(dir)?.status().await,
        other => other,
    }
}

/// What a keeper's word means. A single answer that is not good is one too many here.
fn found(status: &InstanceStatus) -> Found {
    match (&status.state, &status.last_failure) {
        (InstanceState::Healthy, None) => Found::Well,
        (_, Some(failure)) => Found::Ill(failure.trim_end_matches('.').to_owned()),
        (InstanceState::Starting | InstanceState::Unhealthy, None) => {
            Found::Ill("its health check has not succeeded often enough".to_owned())
        }
        (
            InstanceState::Stopping
            | InstanceState::Exited { .. }
            | InstanceState::Failed { .. }
            | InstanceState::Lost,
            None,
        ) => Found::Ill("it does not run any more".to_owned()),
    }
}
