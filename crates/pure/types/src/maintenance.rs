//! Maintenance: a service's clients get a page instead of an answer of the application's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::range::AddressRange;
use crate::time::{Millis, Timestamp};

/// The most letters of a message.
pub const LONGEST_MESSAGE: usize = 500;

/// What clients are told meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Maintenance {
    /// The sentence on the page.
    pub message: String,
    /// The addresses whose requests go through all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AddressRange>,
    /// When they are told to come back (`Retry-After`), from each request on.
    pub retry_after: Millis,
}

/// A maintenance that somebody began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// What clients are told.
    pub maintenance: Maintenance,
    /// Who began it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What of an environment is in maintenance. Links are served all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintained {
    /// All of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Begun>,
    /// Single services.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<Name, Begun>,
}

impl Maintained {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_none() && self.services.is_empty()
    }

    /// What the clients of a service are told; what was said of the service itself goes before the rest.
    #[must_use]
    pub fn of(&self, service: &Name) -> Option<&Maintenance> {
        let begun = self.services.get(service).or(self.whole.as_ref());
        begun.map(|begun| &begun.maintenance)
    }

    /// One begins, in place of what was said before of the same.
    pub(crate) fn begin(&mut self, service: Option<&Name>, begun: Begun) {
        match service {
            Some(service) => drop(self.services.insert(service.clone(), begun)),
            None => self.whole = Some(begun),
        }
    }

    /// One ends; that of no single service: all of them.
    pub(crate) fn end(&mut self, service: Option<&Name>) {
        match service {
            Some(service) => drop(self.services.remove(service)),
            None => *self = Self::default(),
        }
    }
}
