//! A health check out of turn: how an instance is, for who must know it now and not at its next check.

use crate::id::DeploymentId;

/// A check that a deployment asked for, and what came of it. Observed, never an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// For which deployment.
    pub of: DeploymentId,
    /// What came of it.
    pub found: Found,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Awaited,
    /// It is healthy, and answered well since it was asked.
    Well,
    /// It is not, or did not answer in time: why, without a full stop.
    Ill(String),
}
