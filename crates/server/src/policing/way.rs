//! How a build came to an environment, where a rule asks for that.

use ward_plan::policy::{self, As, Built, Way};
use ward_store::Log;
use ward_types::id::Name;
use ward_types::pipeline::Pipeline;
use ward_types::policy::{Level, Policy, Rule};
use ward_types::release::{Environment, Release};
use ward_types::spec::EnvSpec;

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::stack_of;
use crate::source;

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
        let stack = built.stack_file;
        let stack = stack.and_then(|text| stack_of(source::FILE, text).ok());
        let pipelines = stack.map(|stack| stack.pipelines).unwrap_or_default();
        let state = self.store().state();
        let id = &to.spec.id;
        let r#as = As::of(state.environment(id), to);
        Some(Way::of(&state, (id, r#as), built, &pipelines))
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
