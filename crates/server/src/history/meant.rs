//! Whose release or deployment is meant by a number that stands alone.

use std::sync::Arc;

use ward_store::Log;
use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::release::Environment;

use super::Sought;
use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;

impl Control {
    /// The same events, of the environment that is meant: numbers of releases and deployments are each environment's own.
    /// Where none is named it is the only one that had such a release or deployment, of `stack` where that is known here.
    ///
    /// # Errors
    /// When several environments had one.
    pub fn of_one(&self, sought: Sought, stack: Option<&Name>) -> Result<Sought, Refusal> {
        if sought.env.is_some() || (sought.release.is_none() && sought.deployment.is_none()) {
            return Ok(sought);
        }
        let state = self.store().state();
        let all = || state.environments.values().map(Arc::as_ref);
        let here = |env: &&Environment| stack.is_some_and(|stack| env.id.stack() == *stack);
        let known: Vec<&Environment> = match all().any(|env| here(&env)) {
            true => all().filter(here).collect(),
            false => all().collect(),
        };
        let had = |env: &&Environment| sought.is_of(env);
        let (lives, gone): (Vec<&Environment>, Vec<&Environment>) = known
            .into_iter()
            .filter(had)
            .partition(|env| !env.is_deleted());
        let meant = if lives.is_empty() { gone } else { lives };
        match meant.as_slice() {
            [] => Ok(sought),
            [one] => Ok(Sought {
                env: Some(one.id.clone()),
                ..sought
            }),
            several => Err(sought.unclear(several)),
        }
    }
}

impl Sought {
    /// Whether an environment had the release and the deployment that are asked for.
    fn is_of(&self, env: &Environment) -> bool {
        let newest = env.newest_release();
        let release = |asked: ReleaseId| asked > ReleaseId::default() && asked <= newest;
        let deployment =
            |asked: DeploymentId| asked > DeploymentId::default() && asked < env.next_deployment();
        self.release.is_none_or(release) && self.deployment.is_none_or(deployment)
    }

    /// That several environments had what is asked for.
    fn unclear(&self, envs: &[&Environment]) -> Refusal {
        let release = self.release.map(|release| format!("release {release}"));
        let deployment = self.deployment.map(|id| format!("deployment {id}"));
        let what: Vec<String> = release.into_iter().chain(deployment).collect();
        let what = what.join(" and a ");
        let envs: Vec<&str> = envs.iter().map(|env| env.id.as_str()).collect();
        let message = format!(
            "several environments have had a {what}: {}",
            envs.join(", ")
        );
        Refusal::new(RefusalKind::Invalid, message).hint("name one with --env")
    }
}
