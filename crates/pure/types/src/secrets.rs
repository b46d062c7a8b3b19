//! Which secrets an environment has: their names and versions, never their values.
//!
//! Decision: a value is kept sealed under environment, name and version, outside of the log; the log holds that there
//! is such a version, and a keyed digest of it that says nothing to whoever lacks the key. A release names the
//! versions that it runs with. Only a database's password is not the release's own: one that was changed is not valid
//! any more, so that every instance gets the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, InvalidId, Name};
use crate::release::{Environment, Release};
use crate::secret::Secret;
use crate::spec::EnvSpec;
use crate::time::Timestamp;

/// The name of a secret: a letter, then letters, digits, `_` and `-`, at most 64. That of a database's password is
/// `database/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

const RULE: &str = "a letter, then letters, digits, `_` and `-`, at most 64";

/// What stands before the name of a database whose password a secret is.
const DATABASE: &str = "database/";

impl SecretName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidId`] when it breaks the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let good = match text.strip_prefix(DATABASE) {
            Some(database) => Name::parse(database).is_ok(),
            None => starts && text.chars().all(plain) && text.len() <= 64,
        };
        match good {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidId {
                text: text.to_owned(),
                expected: RULE,
            }),
        }
    }

    /// That of a database's password.
    #[must_use]
    pub fn of_database(name: &Name) -> Self {
        Self(format!("{DATABASE}{name}"))
    }

    /// The database whose password it is, if it is one.
    #[must_use]
    pub fn database(&self) -> Option<Name> {
        Name::parse(self.0.strip_prefix(DATABASE)?).ok()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for SecretName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

/// How a service gets a secret, as the stack file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretPlace {
    /// As the environment variable of its name.
    Variable,
    /// As the file at this path, below `/run/`, on a memory file system.
    File(String),
}

/// What a stack file says about a secret beside who gets it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretSpec {
    /// How many random bytes Ward makes it of where nobody has set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<u32>,
    /// What `ward secret rotate` runs beside an instance that has the secret; it writes the new value to standard
    /// output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotate: Vec<String>,
}

/// Where a version of a secret comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody set it.
    Set,
    /// Ward made it, because the stack file says so and nobody had set it.
    Generated,
    /// Its rotation made it.
    Rotated,
}

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Its number, from 1; none is given out twice.
    pub version: u64,
    /// A keyed digest of the value: the same value of the same secret has the same, under the same master key.
    pub digest: String,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was recorded.
    pub at: Timestamp,
}

/// One secret of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretHeld {
    /// The last number given out.
    pub last: u64,
    /// What releases get from here on; `None`: nothing, it was unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<SecretVersion>,
    /// The version before, of a database's password, which is valid until nothing uses it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<SecretVersion>,
}

/// The secrets of an environment.
pub type Secrets = BTreeMap<SecretName, SecretHeld>;

impl Environment {
    /// What releases get of a secret from here on.
    #[must_use]
    pub fn secret(&self, name: &SecretName) -> Option<&SecretVersion> {
        self.secrets.get(name)?.current.as_ref()
    }

    /// The number of a secret's next version.
    #[must_use]
    pub fn next_secret(&self, name: &SecretName) -> u64 {
        self.secrets.get(name).map_or(0, |held| held.last) + 1
    }

    /// The versions that a release of `spec` gets now. Databases' passwords are among them where they were changed.
    ///
    /// # Errors
    /// The names of all that are not set.
    pub fn secrets_for(
        &self,
        spec: &EnvSpec,
    ) -> Result<BTreeMap<SecretName, u64>, BTreeSet<SecretName>> {
        let mut versions = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for name in spec.secret_names() {
            match self.secret(&name) {
                Some(current) => drop(versions.insert(name, current.version)),
                None => drop(missing.insert(name)),
            }
        }
        let databases = spec.databases.keys().map(SecretName::of_database);
        let changed = databases.filter_map(|name| Some((self.secret(&name)?.version, name)));
        versions.extend(changed.map(|(version, name)| (name, version)));
        match missing.is_empty() {
            true => Ok(versions),
            false => Err(missing),
        }
    }

    /// The same for a release that is not recorded yet: what is not set has the version that it gets when it is.
    #[must_use]
    pub fn secrets_planned(&self, spec: &EnvSpec) -> BTreeMap<SecretName, u64> {
        match self.secrets_for(spec) {
            Ok(versions) => versions,
            Err(missing) => {
                let names = spec
                    .secret_names()
                    .into_iter()
                    .filter(|n| !missing.contains(n));
                let set = names.filter_map(|name| Some((self.secret(&name)?.version, name)));
                let set = set.map(|(version, name)| (name, version));
                let next = missing
                    .iter()
                    .map(|name| (name.clone(), self.next_secret(name)));
                set.chain(next).collect()
            }
        }
    }

    /// The secrets of which a release has another version than it would get now, each with both.
    #[must_use]
    pub fn older_secrets(&self, release: &Release) -> Vec<(SecretName, u64, Option<u64>)> {
        let own = release
            .secrets
            .iter()
            .filter(|(name, _)| name.database().is_none());
        let pairs = own.map(|(name, version)| {
            let newest = self.secret(name).map(|newest| newest.version);
            (name.clone(), *version, newest)
        });
        pairs
            .filter(|(_, own, newest)| *newest != Some(*own))
            .collect()
    }

    /// Nothing of its configuration and its secrets is left; their versions are numbered on.
    pub(crate) fn forget_values(&mut self) {
        self.configuration.forget();
        self.forget_secrets();
    }

    pub(crate) fn forget_secrets(&mut self) {
        for held in self.secrets.values_mut() {
            (held.current, held.leaving) = (None, None);
        }
    }

    /// The versions that are needed: those that releases get from here on, those of retained releases, and
    /// passwords that may still be in use.
    #[must_use]
    pub fn secrets_needed(&self) -> BTreeSet<(SecretName, u64)> {
        let held = self.secrets.iter().flat_map(|(name, held)| {
            let both = held.current.iter().chain(&held.leaving);
            both.map(|version| (name.clone(), version.version))
        });
        let releases = self.releases.values().flat_map(|release| &release.secrets);
        let releases = releases.map(|(name, version)| (name.clone(), *version));
        held.chain(releases).collect()
    }
}

impl EnvSpec {
    /// The secrets that any service gets.
    #[must_use]
    pub fn secret_names(&self) -> BTreeSet<SecretName> {
        let services = self.services.values();
        services
            .flat_map(|service| service.secrets.keys())
            .cloned()
            .collect()
    }

    /// The services that get a secret, or whose links use the password that it is.
    #[must_use]
    pub fn users_of(&self, name: &SecretName) -> Vec<Name> {
        let database = name.database();
        let uses = |links: &[Name]| database.as_ref().is_some_and(|name| links.contains(name));
        let services = self.services.iter();
        let users = services.filter(|(_, s)| s.secrets.contains_key(name) || uses(&s.links));
        users.map(|(service, _)| service.clone()).collect()
    }
}

/// What one version of a secret is sealed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretLabel {
    /// The environment.
    pub env: EnvId,
    /// The secret.
    pub name: SecretName,
    /// The version.
    pub version: u64,
}

impl fmt::Display for SecretLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "version {} of {} of {}",
            self.version, self.name, self.env
        )
    }
}

/// The secrets of an instance, beside their values in its variables.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Given {
    /// The variables whose values are secrets.
    #[serde(default)]
    pub variables: BTreeSet<String>,
    /// The files that are made for it, on its scratch space.
    #[serde(default)]
    pub files: Vec<SecretFile>,
    /// What must not appear in its output.
    #[serde(default)]
    pub masks: Vec<Mask>,
}

/// A secret as a file, of the instance's user and readable by nobody else (mode 0400).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretFile {
    /// Below `/run/`.
    pub path: String,
    /// What is in it.
    pub value: Secret,
}

/// The shortest value that is masked, in bytes: a shorter one cannot be told from other text.
pub const SHORTEST_MASKED: usize = 8;

/// A value that must not appear in an instance's output: what is written there instead is `[secret NAME]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mask {
    /// The secret's name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_variables_or_files() {
        for good in ["API_KEY", "signing-key", "a", "database/db"] {
            assert_eq!(SecretName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            "2x",
            "_x",
            "a/b",
            "../x",
            "a.b",
            "database/",
            "database/a/b",
            &long,
        ] {
            assert!(SecretName::parse(bad).is_err(), "{bad} was taken");
        }
        let name = Name::parse("db").unwrap();
        assert_eq!(SecretName::of_database(&name).database(), Some(name));
    }
}
