//! A health check out of turn: how an instance is, for who must know it now and not at its next check.

use crate::id::DeploymentId;
use crate::time::Timestamp;

/// A check that a deployment asked for, and what came of it. Observed, never an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// For what.
    pub of: Occasion,
    /// What came of it.
    pub found: Found,
}

/// What a check is asked for: one serves it to its end, or until it was paused and is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// Which deployment.
    pub deployment: DeploymentId,
    /// When that was resumed last, if it was.
    pub resumed: Option<Timestamp>,
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
