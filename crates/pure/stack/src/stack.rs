//! A stack file that holds no mistake.

use std::collections::BTreeMap;

use ward_types::id::Name;
use ward_types::pipeline::Pipeline;
use ward_types::spec::EnvSpec;

use crate::inputs::Input;
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
    /// Its pipelines, with the people of their roles.
    pub pipelines: BTreeMap<Name, Pipeline>,
    pub(crate) specs: BTreeMap<Name, EnvSpec>,
    pub(crate) inputs: BTreeMap<Name, Vec<Input>>,
    /// Where each environment is declared; empty where the file declares none.
    pub(crate) places: Vec<(Name, Span)>,
    /// Where its name stands.
    pub(crate) named: Span,
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

    /// What the builds of the environment `env` take beside the file, in its order; of one that is not declared
    /// nothing.
    #[must_use]
    pub fn inputs(&self, env: &Name) -> &[Input] {
        self.inputs.get(env).map_or(&[], Vec::as_slice)
    }

    /// The same of all environments together.
    #[must_use]
    pub fn all_inputs(&self) -> Vec<Input> {
        let mut all: Vec<Input> = self.inputs.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    fn unknown(&self, env: &Name) -> Mistake {
        let names = || self.environments.iter().map(Name::as_str);
        let message = format!("the stack `{}` declares no environment `{env}`", self.name);
        let mistake = |place| Mistake::at(place, Code::UnknownEnvironment, message);
        let Some(((_, first), others)) = self.places.split_first() else {
            // Declaring one takes the default away, so both have to be declared.
            let expected = format!(
                "`{DEFAULT_ENVIRONMENT}`, or both `[environment.{DEFAULT_ENVIRONMENT}]` and `[environment.{env}]` in the file"
            );
            return mistake(self.named)
                .note(format!(
                    "declares none, and so has `{DEFAULT_ENVIRONMENT}` alone"
                ))
                .expected(expected)
                .mean(suggest::closest(env.as_str(), names()));
        };
        let mistake = mistake(*first)
            .note("declared here")
            .expected(suggest::one_of(names()))
            .mean(suggest::closest(env.as_str(), names()));
        others.iter().fold(mistake, |mistake, (_, span)| {
            mistake.label(*span, "and here")
        })
    }
}
