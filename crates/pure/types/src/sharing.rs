//! What stacks share: a service that others may link to, and a link that leads to one.
//!
//! Both sides say so: the one by an [`Export`], the other by a [`SharedLink`]. What a link may reach is decided by the
//! export that is in force, at each request.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, Name};
use crate::spec::EnvSpec;

/// What a link to another stack looks like, as a noun phrase.
pub const LINK_RULE: &str = "`STACK/SERVICE` or `STACK@ENVIRONMENT/SERVICE`";

/// What an export looks like, as a noun phrase.
pub const EXPORT_RULE: &str =
    "`STACK`, `STACK/ENVIRONMENT` or `STACK/*`, where `*` as the stack is any other one";

/// Where the application reaches what it links to in another stack. It is the same whatever that listens on, so that
/// nobody has to start again when the other stack changes it.
pub const PORT: u16 = 80;

/// A link to a service of another stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SharedLink {
    /// The other stack.
    pub stack: Name,
    /// Which environment of it; `None`: the one of the same name.
    pub env: Option<Name>,
    /// Its service.
    pub service: Name,
}

impl SharedLink {
    /// Reads `claims/api` or `claims@prod/api`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (place, service) = text.split_once('/')?;
        let (stack, env) = match place.split_once('@') {
            Some((stack, env)) => (stack, Some(Name::parse(env).ok()?)),
            None => (place, None),
        };
        Some(Self {
            stack: Name::parse(stack).ok()?,
            env,
            service: Name::parse(service).ok()?,
        })
    }

    /// The environment that it leads to from `own`.
    #[must_use]
    pub fn target(&self, own: &EnvId) -> EnvId {
        let env = self.env.clone().unwrap_or_else(|| own.env());
        EnvId::new(&self.stack, &env)
    }

    /// The name by which an instance finds it. No service or database of its own stack can have it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}", self.service, self.stack)
    }
}

impl fmt::Display for SharedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.env {
            Some(env) => write!(f, "{}@{env}/{}", self.stack, self.service),
            None => write!(f, "{}/{}", self.stack, self.service),
        }
    }
}

impl From<SharedLink> for String {
    fn from(link: SharedLink) -> Self {
        link.to_string()
    }
}

impl TryFrom<String> for SharedLink {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not {LINK_RULE}"))
    }
}

/// Who of other stacks may link to a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Export {
    /// Which stack; `None`: any other one.
    pub stack: Option<Name>,
    /// Which of its environments.
    pub envs: Importers,
}

/// Which environments of another stack may link to this one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Importers {
    /// The one of the same name.
    Same,
    /// The one of this name.
    Named(Name),
    /// All.
    All,
}

impl Export {
    /// Reads `returns`, `returns/qa`, `returns/*`, `*` or `*/*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stack, envs) = match text.split_once('/') {
            Some((stack, "*")) => (stack, Importers::All),
            Some((stack, env)) => (stack, Importers::Named(Name::parse(env).ok()?)),
            None => (text, Importers::Same),
        };
        let stack = match stack {
            "*" => None,
            stack => Some(Name::parse(stack).ok()?),
        };
        Some(Self { stack, envs })
    }

    /// Whether `other` may link to a service of `own` that is exported so. Environments of one stack never may.
    #[must_use]
    pub fn admits(&self, own: &EnvId, other: &EnvId) -> bool {
        let (stack, env) = (other.stack(), other.env());
        let known = self.stack.as_ref().is_none_or(|known| *known == stack);
        let fits = match &self.envs {
            Importers::Same => env == own.env(),
            Importers::Named(name) => *name == env,
            Importers::All => true,
        };
        stack != own.stack() && known && fits
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stack.as_ref().map_or("*", Name::as_str))?;
        match &self.envs {
            Importers::Same => Ok(()),
            Importers::Named(env) => write!(f, "/{env}"),
            Importers::All => f.write_str("/*"),
        }
    }
}

impl From<Export> for String {
    fn from(export: Export) -> Self {
        export.to_string()
    }
}

impl TryFrom<String> for Export {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not {EXPORT_RULE}"))
    }
}

/// Whether a service that is exported so may be linked to from `other`.
#[must_use]
pub fn admits(exports: &[Export], own: &EnvId, other: &EnvId) -> bool {
    exports.iter().any(|export| export.admits(own, other))
}

/// A link of another stack that leads to an environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Importer {
    /// Whose link.
    pub env: EnvId,
    /// Its service.
    pub service: Name,
    /// What it leads to.
    pub to: Name,
}

impl fmt::Display for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.service, self.env)
    }
}

/// The links of an environment to other stacks: its service, the link, and where that leads.
pub fn links(spec: &EnvSpec) -> impl Iterator<Item = (&Name, &SharedLink, EnvId)> {
    let services = spec.services.iter();
    services.flat_map(move |(name, service)| {
        let links = service.shared_links.iter();
        links.map(move |link| (name, link, link.target(&spec.id)))
    })
}

/// The links of one environment that lead to another.
pub fn importers(spec: &EnvSpec, to: &EnvId) -> Vec<Importer> {
    let leading = links(spec).filter(|(_, _, target)| target == to);
    let importer = |(name, link, _): (&Name, &SharedLink, EnvId)| Importer {
        env: spec.id.clone(),
        service: name.clone(),
        to: link.service.clone(),
    };
    leading.map(importer).collect()
}

/// What an environment says to a link from `other` to a service of its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is exported to it.
    Exported,
    /// It is exported, but not to it; or not at all.
    NotExported,
    /// There is no such service.
    NoService,
}

/// Whether `other` may link to `service` of an environment.
#[must_use]
pub fn admission(spec: &EnvSpec, service: &Name, other: &EnvId) -> Admission {
    match spec.services.get(service) {
        Some(known) if admits(&known.exports, &spec.id, other) => Admission::Exported,
        Some(_) => Admission::NotExported,
        None => Admission::NoService,
    }
}

/// The links that a release lets in, and another one would not.
#[must_use]
pub fn lost(from: &EnvSpec, to: &EnvSpec, importers: &[Importer]) -> Vec<Importer> {
    let open = |spec: &EnvSpec, one: &Importer| {
        let reached = spec.services.get(&one.to).is_some_and(|s| s.port.is_some());
        reached && admission(spec, &one.to, &one.env) == Admission::Exported
    };
    let lost = importers
        .iter()
        .filter(|one| open(from, one) && !open(to, one));
    lost.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(text: &str) -> EnvId {
        EnvId::parse(text).unwrap()
    }

    #[test]
    fn links_are_read_as_they_are_written() {
        for text in ["claims/api", "claims@prod/api"] {
            assert_eq!(SharedLink::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "api",
            "claims/",
            "/api",
            "claims@/api",
            "claims/api/v1",
            "claims/prod@api",
            "*/api",
            "claims@*/api",
            "Claims/api",
            "claims@a@b/api",
            "",
        ] {
            assert_eq!(SharedLink::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_link_leads_to_the_environment_of_the_same_name_unless_it_names_one() {
        let target = |link: &str| SharedLink::parse(link).unwrap().target(&env("returns/qa"));
        assert_eq!(target("claims/api"), env("claims/qa"));
        assert_eq!(target("claims@prod/api"), env("claims/prod"));
        let link = SharedLink::parse("claims@prod/api").unwrap();
        assert_eq!(link.host(), "api.claims");
    }

    #[test]
    fn an_export_lets_in_whom_it_names_and_nobody_of_its_own_stack() {
        let own = env("claims/prod");
        let cases = [
            ("returns", &["returns/prod"][..]),
            ("returns/qa", &["returns/qa"]),
            (
                "returns/*",
                &["returns/prod", "returns/qa", "returns/demo-acme"],
            ),
            ("*", &["returns/prod", "plans/prod"]),
            ("*/qa", &["returns/qa"]),
            (
                "*/*",
                &[
                    "returns/prod",
                    "returns/qa",
                    "returns/demo-acme",
                    "plans/prod",
                ],
            ),
        ];
        let all = [
            "returns/prod",
            "returns/qa",
            "returns/demo-acme",
            "plans/prod",
            "claims/prod",
            "claims/qa",
        ];
        for (text, let_in) in cases {
            let export = Export::parse(text).unwrap();
            assert_eq!(export.to_string(), text);
            let admitted = all.into_iter().filter(|one| export.admits(&own, &env(one)));
            assert_eq!(admitted.collect::<Vec<_>>(), let_in, "{text}");
        }
        for text in [
            "",
            "/",
            "returns/",
            "/qa",
            "re*",
            "returns/q*",
            "a/b/c",
            "returns@qa",
        ] {
            assert_eq!(Export::parse(text), None, "{text}");
        }
    }
}
