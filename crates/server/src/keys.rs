//! Whether the master keys are there, for who looks before something has to be opened.
//!
//! Decision: it is looked for when somebody asks, and nothing of it is kept: a key that was put back is there at the next
//! look. A command that gives keys and takes its time is not waited for; that it does is what is told then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use ward_seal::{KeySource, Vault};
use ward_store::Log;
use ward_types::id::EnvId;
use ward_types::release::{Environment, Release};
use ward_types::secrets::{SecretLabel, SecretName};
use ward_types::view::KeysMissing;

use crate::actor::{Refusal, RefusalKind, causes};
use crate::control::Control;

/// Who only looks waits no longer for a command that gives keys.
const LOOKED_WITHIN: Duration = Duration::from_secs(1);

/// Who wants to wake an environment has more time: without an answer it is tried as if all were well.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// One look at a time: each may run a command.
pub(crate) type Looking = Arc<Mutex<()>>;

/// What of the master keys of a state folder is missing that no server has.
#[must_use]
pub fn missing(home: &Path) -> Option<KeysMissing> {
    let backups = std::env::var_os("WARD_BACKUP_DIR").map(Into::into);
    let vault = Vault::new(home, KeySource::from_environment()).with_backups(backups);
    vault.has_its_keys().err().map(|error| told(&error))
}

fn told(error: &ward_seal::Error) -> KeysMissing {
    KeysMissing {
        message: causes(error),
        hint: error.hint(),
        unknown: false,
    }
}

impl Control {
    /// What of the master keys is missing that something is sealed under.
    pub(crate) async fn keys_missing(&self) -> Option<KeysMissing> {
        let (vault, looking) = (self.vault().clone(), Arc::clone(&self.0.looking));
        let look = async move {
            let turn = looking.lock_owned().await;
            let look = move || {
                let _turn = turn;
                vault.has_its_keys()
            };
            tokio::task::spawn_blocking(look).await
        };
        match tokio::time::timeout(LOOKED_WITHIN, look).await {
            Ok(Ok(looked)) => looked.err().map(|error| told(&error)),
            Ok(Err(_ended)) => None,
            Err(_late) => Some(KeysMissing {
                message: "it is not known whether the master keys are there: the command of WARD_MASTER_KEY_COMMAND has \
                          not answered yet"
                    .to_owned(),
                hint: Some("nothing is wrong while it answers later; where it never does, nothing is started that needs a \
                            secret: run it by hand".to_owned()),
                unknown: true,
            }),
        }
    }

    /// Whether what serves in an environment could be started: all that its instances need can be opened.
    ///
    /// # Errors
    /// What cannot, and where its key was looked for.
    pub(crate) async fn can_wake(&self, id: &EnvId) -> Result<(), Refusal> {
        let state = self.store().state();
        let env = state.environments.get(id);
        let Some((env, release)) = env.and_then(|env| Some((env, env.current_release()?))) else {
            return Ok(());
        };
        let labels = sealed_for(env, release);
        if labels.is_empty() {
            return Ok(());
        }
        let vault = self.vault().clone();
        let check = move || labels.iter().try_for_each(|label| vault.check(label));
        let checked = tokio::task::spawn_blocking(check);
        match tokio::time::timeout(ASKED_WITHIN, checked).await {
            Ok(Ok(Err(error))) => {
                let message = format!("{id} cannot be woken: {}", causes(&error));
                let refusal = Refusal::new(RefusalKind::Failed, message);
                Err(match error.hint() {
                    Some(hint) => refusal.hint(hint),
                    None => refusal,
                })
            }
            // Whoever starts it will find out.
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// What its instances and its databases are given.
fn sealed_for(env: &Environment, release: &Release) -> Vec<SecretLabel> {
    let own = release.secrets.iter();
    let own = own.filter(|(name, _)| name.database().is_none());
    let own = own.map(|(name, version)| (name.clone(), *version));
    // The newest, whatever the release; the first one was never sealed.
    let passwords = release.spec.databases.keys().filter_map(|database| {
        let name = SecretName::of_database(database);
        let version = env.secret(&name)?.version;
        Some((name, version))
    });
    let all = own.chain(passwords);
    all.map(|(name, version)| SecretLabel {
        env: env.id.clone(),
        name,
        version,
    })
    .collect()
}
