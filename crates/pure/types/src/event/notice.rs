//! Which events people are told of who do not look.

use super::Event;
use crate::pipeline::Position;
use crate::release::Phase;
use crate::run::Outcome;
use crate::source::Standing;

impl Event {
    /// Whether it is told to whoever asked for notices: how something ended that people wait for, what waits for them,
    /// what failed while nobody looked, and what somebody answers for. What is on its way is none.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        match self {
            Event::EnvironmentCreated { .. }
            | Event::ExpiryNear { .. }
            | Event::EnvironmentEnding { .. }
            | Event::EnvironmentDeleted { .. }
            | Event::PolicyWaived { .. }
            | Event::PolicyEnforced { .. }
            | Event::MaintenanceBegan { .. }
            | Event::MaintenanceEnded { .. }
            | Event::BackupFailed { .. }
            | Event::InstanceGivenUp { .. }
            | Event::RunLeftOut { .. }
            | Event::BuildEnded { .. }
            | Event::PipelineVoted { .. }
            | Event::GatewayStarted { .. }
            | Event::LogFoundAltered { .. } => true,
            Event::DeploymentMoved { phase, .. } => matches!(phase, Phase::Finished { .. }),
            Event::PipelineMoved { position, .. } => {
                matches!(
                    position,
                    Position::Approving { .. } | Position::Ended { .. }
                )
            }
            Event::CommitMoved { standing, .. } => matches!(standing, Standing::Failed { .. }),
            Event::RunTried { attempt, again, .. } => {
                let failed = matches!(attempt.outcome, Outcome::Failed { .. } | Outcome::Late);
                again.is_none() && failed
            }
            Event::EnvironmentAwaited { .. }
            | Event::EnvironmentExtended { .. }
            | Event::EnvironmentSlept { .. }
            | Event::EnvironmentWoken { .. }
            | Event::ReleaseRecorded { .. }
            | Event::ReleaseRetired { .. }
            | Event::DeploymentQueued { .. }
            | Event::DeploymentServed { .. }
            | Event::DeploymentPaused { .. }
            | Event::DeploymentResumed { .. }
            | Event::DeploymentPromoted { .. }
            | Event::DeploymentCancelled { .. }
            | Event::SchemaChanging { .. }
            | Event::ServiceExchanged { .. }
            | Event::ConfigChanged { .. }
            | Event::SecretChanged { .. }
            | Event::SecretUnset { .. }
            | Event::PasswordWithdrawn { .. }
            | Event::SecretsRekeyed { .. }
            | Event::GoalChanged { .. }
            | Event::DataFilled { .. }
            | Event::VolumeSnapshotted { .. }
            | Event::VolumeRestored { .. }
            | Event::VolumeDeleted { .. }
            | Event::BackupBegan { .. }
            | Event::BackupTaken { .. }
            | Event::BackupRestored { .. }
            | Event::DataPurged { .. }
            | Event::RunQueued { .. }
            | Event::RunStopped { .. }
            | Event::InstanceEnded { .. }
            | Event::BuildMade { .. }
            | Event::BuildDropped { .. }
            | Event::SourceAdded { .. }
            | Event::SourceTokenSet { .. }
            | Event::SourceRemoved { .. }
            | Event::CommitSeen { .. }
            | Event::PipelineBegan { .. }
            | Event::PipelineReached { .. }
            | Event::CommandExecuted { .. }
            | Event::ServerStarted { .. } => false,
        }
    }
}
