//! What an instance knows that nobody else may: its secrets, and the passwords of its databases.
//!
//! Decision: all of an instance are opened together, and apart from the tasks of the runtime, because a command that
//! gives the master key takes its time. A database is prepared once for an instance, so that its variables, what is
//! masked in its output, and the version that is written down with it are of one password. From the moment at which
//! that version is chosen to the moment at which the instance can be observed it is kept here who was given it: who
//! withdraws a password asks here first, and then the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ward_postgres::{Credential, Database, Postgres};
use ward_seal::Vault;
use ward_store::{Log, Store};
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::PasswordGiven;
use ward_types::secret::Secret;
use ward_types::secrets::{Mask, SecretLabel, SecretName};

use crate::compose::ComposeError;
use crate::control::lock;

/// Opens secrets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) postgres: Postgres,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) starting: Starting,
}

/// The secrets of one instance.
pub(crate) struct Opened {
    pub(crate) values: BTreeMap<SecretName, Secret>,
    /// In the order in which they were asked for.
    pub(crate) databases: Vec<Prepared>,
    pub(crate) given: Given,
}

/// A database with its newest password: one that was changed is not valid any more, whatever the release.
pub(crate) struct Prepared {
    pub(crate) env: EnvId,
    /// The password's name.
    pub(crate) name: SecretName,
    pub(crate) version: u64,
    pub(crate) database: Database,
}

impl Opened {
    pub(crate) fn passwords(&self) -> Vec<PasswordGiven> {
        let databases = self.databases.iter();
        let passwords = databases.map(|prepared| PasswordGiven {
            env: prepared.env.clone(),
            name: prepared.name.clone(),
            version: prepared.version,
        });
        passwords.collect()
    }
}

impl Opener {
    /// Opens what an instance gets.
    ///
    /// # Errors
    /// [`ComposeError`], as it says.
    pub(crate) async fn opened(
        &self,
        instance: &InstanceId,
        labels: Vec<SecretLabel>,
        databases: Vec<(EnvId, Name)>,
    ) -> Result<Opened, ComposeError> {
        let given = self.starting.enter(instance, || self.newest(&databases));
        let versions = given.passwords();
        let own = self.clone();
        let opened = aside(move || {
            let pairs = databases.into_iter().zip(versions);
            let prepared = pairs.map(|((env, name), given)| own.with(&env, &name, given.version));
            let opened = labels.into_iter().map(|label| {
                let value = own.vault.open(&label)?;
                Ok((label.name, value))
            });
            let databases = prepared.collect::<Result<Vec<_>, ComposeError>>()?;
            Ok((databases, opened.collect::<Result<_, ComposeError>>()?))
        });
        let (databases, values) = opened.await?;
        Ok(Opened {
            values,
            databases,
            given,
        })
    }

    /// A database for somebody who logs in at once.
    ///
    /// # Errors
    /// [`ComposeError::Database`], [`ComposeError::Secret`].
    pub(crate) async fn prepared(
        &self,
        env: &EnvId,
        database: &Name,
    ) -> Result<Prepared, ComposeError> {
        let (own, env, database) = (self.clone(), env.clone(), database.clone());
        aside(move || own.with(&env, &database, own.version(&env, &database))).await
    }

    /// A database with what it needs itself: its first password, and the superuser's.
    ///
    /// # Errors
    /// [`ComposeError::Database`].
    pub(crate) async fn own(&self, env: &EnvId, database: &Name) -> Result<Database, ComposeError> {
        let (own, env, database) = (self.clone(), env.clone(), database.clone());
        aside(move || own.bare(&env, &database)).await
    }

    /// Has the master key at hand for what is opened in the next seconds; or why it is not, so that nobody asks again
    /// meanwhile.
    pub(crate) async fn fetch_key(&self) {
        let vault = self.vault.clone();
        // Whoever needs it is told why it is not there.
        let _ = tokio::task::spawn_blocking(move || vault.key().map(drop)).await;
    }

    /// What must not be read where something is written down.
    ///
    /// # Errors
    /// [`ComposeError`], where one does not open.
    pub(crate) async fn masks(&self, labels: Vec<SecretLabel>) -> Result<Vec<Mask>, ComposeError> {
        let own = self.clone();
        let open = move |label: SecretLabel| {
            let value = own.value(&label)?;
            let name = label.name.to_string();
            Ok(Mask { name, value })
        };
        aside(move || labels.into_iter().map(open).collect()).await
    }

    /// The first password of a database was never sealed: it is with the database.
    fn value(&self, label: &SecretLabel) -> Result<Secret, ComposeError> {
        match label.name.database().filter(|_| label.version == 0) {
            Some(database) => {
                let database = self.bare(&label.env, &database)?;
                Ok(database.credential().password)
            }
            None => Ok(self.vault.open(label)?),
        }
    }

    fn newest(&self, databases: &[(EnvId, Name)]) -> Vec<PasswordGiven> {
        let newest = databases.iter().map(|(env, database)| PasswordGiven {
            env: env.clone(),
            name: SecretName::of_database(database),
            version: self.version(env, database),
        });
        newest.collect()
    }

    /// The version of a database's password that is the newest; 0: the first one, which was never changed.
    fn version(&self, env: &EnvId, database: &Name) -> u64 {
        let state = self.store.state();
        let known = state.environments.get(env);
        let newest = known.and_then(|env| env.secret(&SecretName::of_database(database)));
        newest.map_or(0, |newest| newest.version)
    }

    fn bare(&self, env: &EnvId, database: &Name) -> Result<Database, ComposeError> {
        let prepared = self.postgres.prepare(env, database);
        prepared.map_err(|source| ComposeError::Database {
            database: database.clone(),
            source: Box::new(source),
        })
    }

    fn with(&self, env: &EnvId, database: &Name, version: u64) -> Result<Prepared, ComposeError> {
        let (env, name) = (env.clone(), SecretName::of_database(database));
        let mut prepared = self.bare(&env, database)?;
        if version > 0 {
            let label = SecretLabel {
                env: env.clone(),
                name: name.clone(),
                version,
            };
            prepared = prepared.with(Credential {
                role: ward_postgres::role_of(version),
                password: self.vault.open(&label)?,
            });
        }
        Ok(Prepared {
            env,
            name,
            version,
            database: prepared,
        })
    }
}

/// Does what may take its time where it holds up nothing else.
async fn aside<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, ComposeError> + Send + 'static,
) -> Result<T, ComposeError> {
    let opening = tokio::task::spawn_blocking(open);
    opening.await.map_err(ComposeError::Opening)?
}

/// The instances that were given passwords and cannot be observed yet. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Starting(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    next: u64,
    all: BTreeMap<u64, (InstanceId, Vec<PasswordGiven>)>,
}

/// That an instance was given passwords; until this is dropped they are not withdrawn.
pub(crate) struct Given {
    starting: Starting,
    number: u64,
}

impl Starting {
    /// Chosen and entered in one go: who looks afterwards finds it, or it is chosen from a later state.
    fn enter(&self, instance: &InstanceId, choose: impl FnOnce() -> Vec<PasswordGiven>) -> Given {
        let mut entries = lock(&self.0);
        let number = entries.next;
        entries.next += 1;
        entries.all.insert(number, (instance.clone(), choose()));
        drop(entries);
        let starting = self.clone();
        Given { starting, number }
    }

    /// Those that were given a password from before a version.
    pub(crate) fn before(&self, version: u64, env: &EnvId, name: &SecretName) -> Vec<InstanceId> {
        let entries = lock(&self.0);
        let old = |given: &[PasswordGiven]| given.iter().any(|p| p.is_before(version, env, name));
        let may = entries.all.values().filter(|(_, given)| old(given));
        may.map(|(instance, _)| instance.clone()).collect()
    }
}

impl Given {
    fn passwords(&self) -> Vec<PasswordGiven> {
        let entries = lock(&self.starting.0);
        let own = entries.all.get(&self.number);
        own.map(|(_, given)| given.clone()).unwrap_or_default()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        lock(&self.starting.0).all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::ReleaseId;

    #[test]
    fn who_was_given_a_password_is_known_until_it_can_be_observed() {
        let starting = Starting::default();
        let env = EnvId::parse("shop/dev").unwrap();
        let web = Name::parse("web").unwrap();
        let name = SecretName::of_database(&Name::parse("db").unwrap());
        let id = InstanceId::new(&web, ReleaseId(1), 1);
        let given = starting.enter(&id, || {
            vec![PasswordGiven {
                env: env.clone(),
                name: name.clone(),
                version: 1,
            }]
        });
        assert_eq!(given.passwords().len(), 1);
        assert!(
            starting.before(1, &env, &name).is_empty(),
            "it is the newest"
        );
        assert_eq!(starting.before(2, &env, &name), [id]);
        let other = EnvId::parse("shop/qa").unwrap();
        assert!(starting.before(2, &other, &name).is_empty());
        drop(given);
        assert!(starting.before(2, &env, &name).is_empty());
    }
}
