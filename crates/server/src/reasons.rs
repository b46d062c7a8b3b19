//! Whoever changes an environment says why, where its policy asks for that.
//!
//! Decision: this is asked where events come into the log, because each change comes there, whichever command it is; and
//! before a build, so that nobody waits for one in vain. What Ward does by itself has no reason but the events before.
//! There each reason loses the values of secrets, too: the log keeps it for ever, and many read it.

use std::collections::BTreeSet;

use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::EnvId;
use ward_types::policy::{Level, Policy, Rule};
use ward_types::release::Environment;
use ward_types::spec::EnvSpec;
use ward_types::text::steers;

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;

/// The most letters of a reason.
pub(crate) const LONGEST: usize = 500;

impl Control {
    /// Whether a deploy of this says why, where that is asked for: before anything is built.
    pub(crate) fn reasoned(&self, actor: &Actor, why: &str, spec: &EnvSpec) -> Result<(), Refusal> {
        match is_said(actor, why)? {
            true => Ok(()),
            false => self.asks_for_reason(&spec.id, Some(&spec.policy)),
        }
    }

    /// The same of what is done in an environment that is there, before anything is done for it.
    pub(crate) fn reasoned_there(
        &self,
        actor: &Actor,
        why: &str,
        env: &EnvId,
    ) -> Result<(), Refusal> {
        match is_said(actor, why)? {
            true => Ok(()),
            false => self.asks_for_reason(env, None),
        }
    }

    /// The same of all that a run of a pipeline leads to, by the stack file of its build.
    pub(crate) fn all_stages_reasoned(
        &self,
        actor: &Actor,
        why: &str,
        text: &str,
        mut stages: impl Iterator<Item = EnvId>,
    ) -> Result<(), Refusal> {
        match is_said(actor, why)? {
            true => Ok(()),
            false => stages
                .try_for_each(|env| self.asks_for_reason(&env, declared_in(text, &env).as_ref())),
        }
    }

    /// Whether events that are to be recorded say why, where that is asked for; and what they say fits in a line.
    pub(crate) fn all_reasoned(
        &self,
        actor: &Actor,
        why: &str,
        events: &[Event],
    ) -> Result<(), Refusal> {
        if is_said(actor, why)? {
            return Ok(());
        }
        for event in events.iter().filter(|event| is_change(event)) {
            for (env, wanted) in self.changed_by(event) {
                self.asks_for_reason(&env, wanted.as_ref())?;
            }
        }
        Ok(())
    }

    /// A reason and events that are to be recorded, without the values of secrets of the environments that they change, or
    /// copy.
    pub(crate) async fn without_values(
        &self,
        why: &str,
        mut events: Vec<Event>,
    ) -> (String, Vec<Event>) {
        let mut envs = BTreeSet::new();
        for event in &events {
            envs.extend(event.env().cloned());
            envs.extend(self.changed_by(event).into_iter().map(|(env, _)| env));
            envs.extend(original_of(event));
        }
        let masked = self.reason_for(&events, why.trim()).await;
        let masked = self.reason_in(&envs, &masked).await;
        for said in events.iter_mut().filter_map(Event::reason_mut) {
            *said = match said.trim() == why.trim() {
                true => masked.clone(),
                false => self.reason_in(&envs, said).await,
            };
        }
        (masked, events)
    }

    async fn reason_in(&self, envs: &BTreeSet<EnvId>, why: &str) -> String {
        let mut masked = why.to_owned();
        for env in envs {
            masked = self.reason(env, self.serving(env), &masked).await;
        }
        masked
    }

    /// Whose rules are asked, with what is declared for them beside what holds there. A word in a pipeline changes every
    /// environment that it leads to, also one in which nothing has served yet; who takes rows away changes nothing, and
    /// answers for it where they come from.
    fn changed_by(&self, event: &Event) -> Vec<(EnvId, Option<Policy>)> {
        let state = self.store().state();
        let known = event.pipeline().and_then(|run| state.pipelines.get(&run));
        let run = match event {
            Event::PipelineBegan { run, .. } => Some(&**run),
            _ => known,
        };
        if let Some(run) = run {
            let text = run.build.stack_file.as_deref().unwrap_or_default();
            let stages = (0..run.stages.len()).filter_map(|stage| run.env(stage));
            let stages = stages.map(|env| {
                let declared = declared_in(text, &env);
                (env, declared)
            });
            return stages.collect();
        }
        let (env, wanted) = match event {
            Event::EnvironmentCreated { copies, .. } => (copies.as_ref(), None),
            Event::ReleaseRecorded { env, release } => (Some(env), Some(&release.spec.policy)),
            event => (event.env(), None),
        };
        let env = env.cloned().into_iter();
        env.map(|env| (env, wanted.cloned())).collect()
    }

    fn asks_for_reason(&self, env: &EnvId, wanted: Option<&Policy>) -> Result<(), Refusal> {
        let rule = Rule::Reason;
        let known = self.known(env).filter(|known| !known.is_deleted());
        let waived = known
            .as_ref()
            .and_then(|known| known.waivers.of(rule, now()));
        let holds = known.as_ref().and_then(Environment::policy);
        // One that cannot be read forbids by itself what it may forbid.
        let installation = self.installation().unwrap_or_default();
        let installation = Some(installation.of(&env.env()));
        let mut levels = [wanted, holds.as_ref(), installation].into_iter().flatten();
        let asked = levels.any(|policy| policy.level(rule) == Level::Deny);
        if !asked || waived.is_some() {
            return Ok(());
        }
        let message = format!(
            "the policy of {env} asks for a reason ({rule}), and none was given; nothing was changed"
        );
        Err(Refusal::new(RefusalKind::Invalid, message)
            .hint("say it with `--why \"…\"`; it is recorded with your name"))
    }
}

/// What an environment is made a copy of, with its rows or without: who makes it may know its secrets.
fn original_of(event: &Event) -> Option<EnvId> {
    let Event::EnvironmentCreated { env, origin, .. } = event else {
        return None;
    };
    let from = &origin.as_ref()?.from;
    Some(EnvId::new(&env.stack(), from))
}

/// What a stack file declares for an environment; of one that this Ward cannot read nothing.
fn declared_in(text: &str, env: &EnvId) -> Option<Policy> {
    let stack = ward_stack::read("ward.toml", text).stack?;
    Some(stack.resolve(&env.env()).ok()?.policy)
}

/// Whether a reason is given. In the log and on the screens it is one line, and must not look like more.
fn is_said(actor: &Actor, why: &str) -> Result<bool, Refusal> {
    if why.contains(steers) || why.chars().count() > LONGEST {
        let message = format!(
            "a reason (--why) is one line of at most {LONGEST} letters, without control characters; nothing was changed"
        );
        let hint = "say the number of the ticket or the change, and put the text there";
        return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint));
    }
    Ok(*actor == Actor::ward() || says_anything(why))
}

/// Whether a letter or a digit is in it: what does not show, or says nothing, is no reason.
pub(crate) fn says_anything(why: &str) -> bool {
    why.chars().any(char::is_alphanumeric)
}

/// What somebody has to answer for later: what changes how an environment is, what runs in it or what it holds, and what
/// takes its rows elsewhere.
fn is_change(event: &Event) -> bool {
    match event {
        Event::EnvironmentCreated { copies, .. } => copies.is_some(),
        Event::EnvironmentExtended { .. }
        | Event::EnvironmentSlept { .. }
        | Event::EnvironmentEnding { .. }
        | Event::ReleaseRecorded { .. }
        | Event::DeploymentQueued { .. }
        | Event::DeploymentPaused { .. }
        | Event::DeploymentResumed { .. }
        | Event::DeploymentPromoted { .. }
        | Event::DeploymentCancelled { .. }
        | Event::MaintenanceBegan { .. }
        | Event::MaintenanceEnded { .. }
        | Event::PolicyEnforced { .. }
        | Event::ConfigChanged { .. }
        | Event::SecretChanged { .. }
        | Event::SecretUnset { .. }
        | Event::GoalChanged { .. }
        | Event::RunQueued { .. }
        | Event::RunStopped { .. }
        | Event::VolumeRestored { .. }
        | Event::VolumeDeleted { .. }
        | Event::PipelineBegan { .. }
        | Event::PipelineVoted { .. }
        | Event::CommandExecuted { .. } => true,
        // Environments that begin, what is answered for by itself, what is looked at, and what Ward and builds say.
        Event::EnvironmentAwaited { .. }
        | Event::ExpiryNear { .. }
        | Event::EnvironmentWoken { .. }
        | Event::EnvironmentDeleted { .. }
        | Event::ReleaseRetired { .. }
        | Event::DeploymentMoved { .. }
        | Event::DeploymentServed { .. }
        | Event::SchemaChanging { .. }
        | Event::ServiceExchanged { .. }
        | Event::PolicyWaived { .. }
        | Event::PasswordWithdrawn { .. }
        | Event::SecretsRekeyed { .. }
        | Event::DataFilled { .. }
        | Event::VolumeSnapshotted { .. }
        | Event::BackupBegan { .. }
        | Event::BackupTaken { .. }
        | Event::BackupRestored { .. }
        | Event::BackupFailed { .. }
        | Event::DataPurged { .. }
        | Event::RunTried { .. }
        | Event::RunLeftOut { .. }
        | Event::InstanceEnded { .. }
        | Event::InstanceGivenUp { .. }
        | Event::BuildEnded { .. }
        | Event::BuildMade { .. }
        | Event::BuildDropped { .. }
        | Event::SourceAdded { .. }
        | Event::SourceTokenSet { .. }
        | Event::SourceRemoved { .. }
        | Event::CommitSeen { .. }
        | Event::CommitMoved { .. }
        | Event::PipelineReached { .. }
        | Event::PipelineMoved { .. }
        | Event::ServerStarted { .. }
        | Event::GatewayStarted { .. }
        | Event::LogFoundAltered { .. } => false,
    }
}
