//! Whoever changes an environment says why, where its policy asks for that.
//!
//! Decision: this is asked where events come into the log, because each change comes there, whichever command it is; and
//! before a build, so that nobody waits for one in vain. What Ward does by itself has no reason but the events before.

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
const LONGEST: usize = 500;

impl Control {
    /// Whether a deploy of this says why, where that is asked for: before anything is built.
    pub(crate) fn reasoned(&self, actor: &Actor, why: &str, spec: &EnvSpec) -> Result<(), Refusal> {
        match is_said(actor, why)? {
            true => Ok(()),
            false => self.asks_for_reason(&spec.id, Some(&spec.policy)),
        }
    }

    /// The same of all that a run of a pipeline leads to.
    pub(crate) fn all_stages_reasoned(
        &self,
        actor: &Actor,
        why: &str,
        mut stages: impl Iterator<Item = EnvId>,
    ) -> Result<(), Refusal> {
        match is_said(actor, why)? {
            true => Ok(()),
            false => stages.try_for_each(|env| self.asks_for_reason(&env, None)),
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
            let wanted = match event {
                Event::ReleaseRecorded { release, .. } => Some(&release.spec.policy),
                _ => None,
            };
            for env in self.changed_by(event) {
                self.asks_for_reason(&env, wanted)?;
            }
        }
        Ok(())
    }

    /// A word in a pipeline changes every environment that it leads to.
    fn changed_by(&self, event: &Event) -> Vec<EnvId> {
        let state = self.store().state();
        let known = event.pipeline().and_then(|run| state.pipelines.get(&run));
        let run = match event {
            Event::PipelineBegan { run, .. } => Some(&**run),
            _ => known,
        };
        match run {
            Some(run) => (0..run.stages.len())
                .filter_map(|stage| run.env(stage))
                .collect(),
            None => event.env().cloned().into_iter().collect(),
        }
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

/// Whether a reason is given. In the log and on the screens it is one line, and must not look like more.
fn is_said(actor: &Actor, why: &str) -> Result<bool, Refusal> {
    if why.contains(steers) || why.chars().count() > LONGEST {
        let message = format!(
            "a reason (--why) is one line of at most {LONGEST} letters, without control characters; nothing was changed"
        );
        let hint = "say the number of the ticket or the change, and put the text there";
        return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint));
    }
    Ok(*actor == Actor::ward() || !why.trim().is_empty())
}

/// What somebody has to answer for later: what changes how an environment is, what runs in it or what it holds.
fn is_change(event: &Event) -> bool {
    match event {
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
        | Event::PipelineVoted { .. } => true,
        // Environments that begin, what is answered for by itself, what is looked at, and what Ward and builds say.
        Event::EnvironmentCreated { .. }
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
        | Event::CommandExecuted { .. }
        | Event::ServerStarted { .. }
        | Event::GatewayStarted { .. }
        | Event::LogFoundAltered { .. } => false,
    }
}
