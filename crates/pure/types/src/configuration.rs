//! Configuration: values that people lay over the `env` of a stack file's services, one environment at a time.
//!
//! Decision: an environment has one configuration, numbered by its changes; a release holds the values that it
//! runs with, and beside them what the file said in their places. So a release is whole by itself and comes back
//! as it was, and what is unset gives way to the file's value again without the file being there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::release::{Environment, Release};
use crate::spec::EnvSpec;

/// Values by the names of environment variables.
pub type Values = BTreeMap<String, String>;

/// One value that is set, or unset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigChange {
    /// For which service; `None`: for all of them, where nothing is set for one by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// The environment variable.
    pub key: String,
    /// Its value from here on; `None`: the stack file's own, if it has one.
    pub value: Option<String>,
}

/// `web.LOG_LEVEL=debug`, or `LOG_LEVEL unset`.
impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "{service}.")?;
        }
        match &self.value {
            Some(value) => write!(f, "{}={}", self.key, value.escape_debug()),
            None => write!(f, "{} unset", self.key),
        }
    }
}

/// What is set in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// How often it was changed; 0: never.
    pub version: u64,
    /// For all services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub all: Values,
    /// For one service each, which comes before what is set for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<Name, Values>,
}

/// The configuration that a release was made with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configured {
    /// The version.
    pub version: u64,
    /// What the stack file says in the places of its values, by service and variable; `None`: nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<Name, BTreeMap<String, Option<String>>>,
}

impl Configured {
    /// Of a release that was made before anything was set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.version == 0
    }
}

impl Configuration {
    /// Of an environment in which nothing was ever set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.version == 0
    }

    /// What is set for a service by its name, or for all.
    #[must_use]
    pub fn set(&self, service: Option<&Name>) -> Option<&Values> {
        match service {
            None => Some(&self.all),
            Some(name) => self.services.get(name),
        }
    }

    /// What is set in the place of a change.
    #[must_use]
    pub fn value(&self, change: &ConfigChange) -> Option<&String> {
        self.set(change.service.as_ref())?.get(&change.key)
    }

    /// Carries changes out, which make its next version.
    pub(crate) fn change(&mut self, changes: &[ConfigChange]) {
        self.version += 1;
        for change in changes {
            let values = match &change.service {
                None => &mut self.all,
                Some(name) => self.services.entry(name.clone()).or_default(),
            };
            match &change.value {
                Some(value) => drop(values.insert(change.key.clone(), value.clone())),
                None => drop(values.remove(&change.key)),
            }
        }
        self.services.retain(|_, values| !values.is_empty());
    }

    /// The same configuration as it will be after `changes`.
    #[must_use]
    pub fn after(&self, changes: &[ConfigChange]) -> Self {
        let mut after = self.clone();
        after.change(changes);
        after
    }

    /// Every value that is set, as the changes that make a new environment's configuration the same.
    #[must_use]
    pub fn as_changes(&self) -> Vec<ConfigChange> {
        let change = |service: Option<&Name>, (key, value): (&String, &String)| ConfigChange {
            service: service.cloned(),
            key: key.clone(),
            value: Some(value.clone()),
        };
        let all = self.all.iter().map(|value| change(None, value));
        let services = self.services.iter();
        let services = services
            .flat_map(|(name, values)| values.iter().map(move |value| change(Some(name), value)));
        all.chain(services).collect()
    }

    /// What a service gets: what is set for it by its name, and else for all.
    fn of(&self, service: &Name) -> Values {
        let mut values = self.all.clone();
        values.extend(self.services.get(service).cloned().unwrap_or_default());
        values
    }

    /// Nothing is set any more; its versions are numbered on.
    pub(crate) fn forget(&mut self) {
        (self.all, self.services) = (Values::new(), BTreeMap::new());
    }

    /// Lays it over what a stack file declares.
    #[must_use]
    pub fn over(&self, mut declared: EnvSpec) -> (EnvSpec, Configured) {
        let mut replaced = BTreeMap::new();
        for (name, service) in &mut declared.services {
            let values = self.of(name);
            let before = values.into_iter().map(|(key, value)| {
                let before = service.env.insert(key.clone(), value);
                (key, before)
            });
            let before: BTreeMap<_, _> = before.collect();
            if !before.is_empty() {
                replaced.insert(name.clone(), before);
            }
        }
        let version = self.version;
        (declared, Configured { version, replaced })
    }
}

impl Release {
    /// What the stack file declared, without the values that were set.
    #[must_use]
    pub fn declared(&self) -> EnvSpec {
        let mut spec = self.spec.clone();
        for (name, before) in &self.config.replaced {
            let Some(service) = spec.services.get_mut(name) else {
                continue;
            };
            for (key, value) in before {
                match value {
                    Some(value) => drop(service.env.insert(key.clone(), value.clone())),
                    None => drop(service.env.remove(key)),
                }
            }
        }
        spec
    }
}

impl Release {
    /// The values that it runs with in place of the stack file's, as the changes that make a new environment's
    /// configuration the same.
    #[must_use]
    pub fn values(&self) -> Vec<ConfigChange> {
        let services = self.config.replaced.iter();
        let keys = services.flat_map(|(name, keys)| keys.keys().map(move |key| (name, key)));
        let values = keys.filter_map(|(name, key)| {
            let value = self.spec.services.get(name)?.env.get(key)?;
            Some(ConfigChange {
                service: Some(name.clone()),
                key: key.clone(),
                value: Some(value.clone()),
            })
        });
        values.collect()
    }
}

impl Environment {
    /// Whether a release runs with other values than those that are set now.
    #[must_use]
    pub fn is_outdated(&self, release: &Release) -> bool {
        let as_recorded = release.config.version == self.configuration.version;
        !as_recorded && self.configuration.over(release.declared()).0 != release.spec
    }

    /// The values that are set in the place of what a stack file says in another way than the release that serves,
    /// as the changes that would give way to it: whoever edited the file may wait for it in vain.
    #[must_use]
    pub fn shadowed(&self, declared: &EnvSpec) -> Vec<ConfigChange> {
        let Some(serves) = self.current_release().map(Release::declared) else {
            return Vec::new();
        };
        let mut shadowed = BTreeSet::new();
        for (name, service) in &declared.services {
            let before = serves.services.get(name);
            for (key, set) in self.configuration.of(name) {
                let new = service.env.get(&key).filter(|new| **new != set);
                let old = before.and_then(|before| before.env.get(&key));
                if new.is_none() || new == old {
                    continue;
                }
                let own = self.configuration.services.get(name);
                let own = own.is_some_and(|values| values.contains_key(&key));
                shadowed.insert(ConfigChange {
                    service: own.then(|| name.clone()),
                    key,
                    value: None,
                });
            }
        }
        shadowed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EnvId, ReleaseId};
    use crate::release::Build;
    use crate::time::Timestamp;

    fn declared() -> EnvSpec {
        let service = |env: &str| {
            format!(
                r#"{{"source":{{"kind":"image","reference":"x:1"}},"command":null,"port":null,"health":null,
                "instances":1,"links":[],"egress":[],"env":{env},"memory":null,"release":null,"route":[],
                "start_timeout":1,"drain_timeout":1,"stop_timeout":1}}"#
            )
        };
        let (api, web) = (service(r#"{"LOG":"info"}"#), service("{}"));
        let text = format!(
            r#"{{"id":"shop/dev","version":"1.0","services":{{"api":{api},"web":{web}}},"databases":{{}},"keep_warm":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn set(service: Option<&str>, key: &str, value: Option<&str>) -> ConfigChange {
        ConfigChange {
            service: service.map(|name| Name::parse(name).unwrap()),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    fn release(configuration: &Configuration) -> Release {
        let (spec, config) = configuration.over(declared());
        Release {
            id: ReleaseId(1),
            build: Build {
                version: "1.0.1".to_owned(),
                images: BTreeMap::new(),
                stack_file: None,
                provenance: None,
            },
            named: None,
            promoted: None,
            spec,
            config,
            secrets: BTreeMap::new(),
            recorded: Timestamp(1),
            by: "anna".to_owned(),
        }
    }

    #[test]
    fn what_is_set_for_one_comes_before_what_is_set_for_all_and_the_file_comes_back() {
        let changes = [
            set(None, "LOG", Some("warn")),
            set(Some("api"), "LOG", Some("debug")),
            set(Some("web"), "X", Some("1")),
        ];
        let configuration = Configuration::default().after(&changes);
        assert_eq!(configuration.version, 1);
        assert_eq!(configuration.as_changes(), changes);
        let made = release(&configuration);
        let env = |name: &str| &made.spec.services[&Name::parse(name).unwrap()].env;
        assert_eq!(
            (env("api")["LOG"].as_str(), env("web")["LOG"].as_str()),
            ("debug", "warn")
        );
        assert_eq!(made.declared(), declared());
        let unset = configuration.after(&[set(Some("api"), "LOG", None), set(None, "LOG", None)]);
        let (spec, _) = unset.over(made.declared());
        assert_eq!(
            spec.services[&Name::parse("api").unwrap()].env["LOG"],
            "info"
        );
    }

    #[test]
    fn a_release_is_outdated_only_where_a_value_differs() {
        let mut env = Environment::new(EnvId::parse("shop/dev").unwrap());
        let made = release(&env.configuration);
        assert!(!env.is_outdated(&made));
        env.configuration
            .change(&[set(Some("api"), "LOG", Some("info"))]);
        assert!(!env.is_outdated(&made), "it is the file's own value");
        env.configuration
            .change(&[set(Some("api"), "LOG", Some("debug"))]);
        assert!(env.is_outdated(&made));
    }

    #[test]
    fn what_an_older_ward_wrote_down_is_read() {
        let mut value = serde_json::to_value(release(&Configuration::default())).unwrap();
        assert!(value.get("config").is_none());
        value["spec"] = serde_json::to_value(declared()).unwrap();
        let read: Release = serde_json::from_value(value).unwrap();
        assert!(read.config.is_none());
    }
}
