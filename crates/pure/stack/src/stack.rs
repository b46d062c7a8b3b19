//! A stack file that holds no mistake.

use std::collections::BTreeMap;

use ward_types::id::Name;
use ward_types::spec::EnvSpec;

use crate::mistake::{Code, Mistake, Span};
use crate::suggest;

/// The environment of a stack that declares none, and the one that commands use when none is named.
pub const DEFAULT_ENVIRONMENT: &str = "dev";

/// One stack: what its file declares, every environment already resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: Name,
    /// `MAJOR.MINOR`; Ward appends the build number.
    pub version: String,
    /// Its environments in the order of the file; `dev` alone where the file declares none.
    pub environments: Vec<Name>,
    pub(crate) specs: BTreeMap<Name, EnvSpec>,
    pub(crate) places: Vec<(Name, Span)>,
}

impl Stack {
    /// What the environment `env` should be: its overrides and all defaults applied.
    ///
    /// # Errors
    /// One mistake, [`Code::UnknownEnvironment`], when the stack does not declare it.
    pub fn resolve(&self, env: &Name) -> Result<EnvSpec, Vec<Mistake>> {
        let spec = self.specs.get(env).cloned();
        spec.ok_or_else(|| vec![self.unknown(env)])
    }

    fn unknown(&self, env: &Name) -> Mistake {
        let names = || self.environments.iter().map(Name::as_str);
        let first = self.places.first().map_or(Span::START, |(_, span)| *span);
        let mistake = Mistake::at(
            first,
            Code::UnknownEnvironment,
            format!("the stack `{}` declares no environment `{env}`", self.name),
        )
        .note("declared here")
        .expected(suggest::one_of(names()))
        .mean(suggest::closest(env.as_str(), names()));
        let others = self.places.iter().skip(1);
        others.fold(mistake, |mistake, (_, span)| {
            mistake.label(*span, "and here")
        })
    }
}
