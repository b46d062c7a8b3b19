//! How a build came to an environment, where a rule asks for that.

use std::collections::BTreeMap;

use ward_plan::policy::{self, As, Built, Way};
use ward_store::Log;
use ward_types::id::Name;
use ward_types::pipeline::Pipeline;
use ward_types::policy::{Level, Policy, Rule, Violation};
use ward_types::release::{Environment, Release};
use ward_types::spec::EnvSpec;

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::stack_of;
use crate::sharing::Warned;
use crate::source;

type Pipelines = BTreeMap<Name, Pipeline>;

/// Those of a build's own stack file.
fn pipelines_of(built: Built<'_>) -> Pipelines {
    let stack = built.stack_file;
    let stack = stack.and_then(|text| stack_of(source::FILE, text).ok());
    stack.map(|stack| stack.pipelines).unwrap_or_default()
}

impl Control {
    /// How a build comes to where `to` would serve, unless none of these policies asks.
    pub(super) fn way(&self, to: &Release, built: Built<'_>, policies: &[&Policy]) -> Option<Way> {
        let asked = |rule| {
            policies
                .iter()
                .any(|policy| policy.level(rule) != Level::Off)
        };
        if !asked(Rule::Pipeline) && !asked(Rule::SecondPerson) {
            return None;
        }
        Some(self.way_by(to, built, &pipelines_of(built)))
    }

    fn way_by(&self, to: &Release, built: Built<'_>, pipelines: &Pipelines) -> Way {
        let state = self.store().state();
        let id = &to.spec.id;
        let r#as = As::of(state.environment(id), to);
        Way::of(&state, (id, r#as), built, pipelines)
    }

    /// That a build goes past the gates that its own stack file puts before an environment, where no rule says so: it is the
    /// way of a hotfix, and nobody takes it unawares.
    pub(super) fn past_its_gates(
        &self,
        to: &Release,
        built: Built<'_>,
        found: &[Violation],
    ) -> Option<Warned> {
        // Before it is made it may turn out to be one that has passed.
        built.images?;
        if found.iter().any(|one| one.rule == Rule::Pipeline) {
            return None;
        }
        let (id, pipelines) = (&to.spec.id, pipelines_of(built));
        if !self.way_by(to, built, &pipelines).is_around() {
            return None;
        }
        let state = self.store().state();
        let unpassed =
            ward_plan::pipeline::unpassed(&state, (&to.build, &BTreeMap::new()), id, &pipelines)?;
        let pipeline = unpassed.pipeline;
        Some(Warned {
            message: format!(
                "{id} gets a build that has not passed the gates before it (pipeline {pipeline})"
            ),
            hint: format!(
                "`ward pipeline run {pipeline}` brings it past them; `policy.pipeline = \"deny\"` refuses any other way"
            ),
        })
    }

    /// Takes care that a run can come to its end where the policies of its stages ask for a second person.
    ///
    /// # Errors
    /// The first stage before which nobody would be asked.
    pub(crate) fn asks_another(
        &self,
        name: &Name,
        pipeline: &mut Pipeline,
        specs: &[EnvSpec],
    ) -> Result<(), Refusal> {
        let rule = Rule::SecondPerson;
        let installation = self.installation()?;
        let denies = |spec: &EnvSpec| {
            let known = self.known(&spec.id);
            let known = known.as_ref();
            let waived = known.is_some_and(|env| env.waivers.of(rule, now()).is_some());
            let holds = known.and_then(Environment::policy);
            let policies = [&spec.policy, installation.of(&spec.id.env())];
            let mut policies = policies.into_iter().chain(&holds);
            !waived && policies.any(|policy| policy.level(rule) == Level::Deny)
        };
        let asking: Vec<Name> = specs
            .iter()
            .filter(|spec| denies(spec))
            .map(|spec| spec.id.env())
            .collect();
        policy::by_another(pipeline, |env| asking.contains(env)).map_err(|env| {
            let message = format!(
                "the policy of {env} asks for a second person ({rule}), and no gate of {name} before it asks for \
                 anybody's word; nothing was changed"
            );
            let hint = "`approve = { role = \"ROLE\", by = \"another\" }` in the gate of a stage before it";
            Refusal::new(RefusalKind::Conflict, message).hint(hint)
        })
    }
}
