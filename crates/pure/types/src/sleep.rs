//! Sleep: an environment that nobody asks for anything stops, keeps its data, and starts again when somebody does.
//!
//! Decision: whether it sleeps is in the log and nowhere else. From `EnvironmentSlept` on the gateway holds what comes for
//! it, its instances stop, services before databases, and its release still serves as far as everybody else is
//! concerned: it is up, and only takes longer to answer. From `EnvironmentWoken` on it is started like anything else
//! that has lost its instances.

use serde::{Deserialize, Serialize};

use crate::event::MisfitEvent;
use crate::release::{Environment, Goal, Phase};
use crate::time::{Millis, Timestamp};

/// Shorter than this no environment may be idle: it would spend its time on going to bed and getting up.
pub const SHORTEST_IDLE: Millis = Millis::secs(1);
/// Longer than this it might as well be deleted, or never sleep.
pub const LONGEST_IDLE: Millis = Millis::secs(30 * 24 * 3600);
/// How long the gateway holds a request for an environment that sleeps or wakes.
pub const HELD_FOR: Millis = Millis::secs(30);

/// Whether an environment sleeps, and what woke it last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sleep {
    /// Since when it sleeps, and why; `None`: it is awake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asleep: Option<Asleep>,
    /// When it was woken last, and by what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woken: Option<Woken>,
}

/// That an environment sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asleep {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: Drowsiness,
}

/// Why an environment went to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drowsiness {
    /// Nobody had asked it for anything for as long as it declares.
    Idle,
    /// Somebody wanted it so.
    Asked,
}

/// That an environment was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Woken {
    /// When.
    pub at: Timestamp,
    /// By what.
    pub by: Alarm,
}

/// What wakes an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// A request that the gateway holds.
    Request,
    /// Somebody who wanted it so, or something of it.
    Asked,
    /// A deployment.
    Deployment,
    /// A job, or a command beside what serves. When that is over it sleeps again.
    Run,
}

impl Sleep {
    /// Whether there is nothing to say of it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Environment {
    /// Since when it sleeps, and why, while it does.
    #[must_use]
    pub fn asleep(&self) -> Option<&Asleep> {
        self.sleep.asleep.as_ref().filter(|_| self.goal == Goal::Up)
    }

    /// Whether its instances should run: it is to be up, and does not sleep.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.goal == Goal::Up && self.asleep().is_none()
    }

    /// What it is awake for, whoever asks: what is deployed or runs beside what serves.
    #[must_use]
    pub fn work(&self) -> Option<Alarm> {
        let over = |phase: &Phase| matches!(phase, Phase::Finished { .. });
        if self.deployments.values().any(|d| !over(&d.phase)) {
            return Some(Alarm::Deployment);
        }
        (!self.runs.open.is_empty()).then_some(Alarm::Run)
    }

    /// Whether it may sleep, as far as the log knows: something serves, and nothing is under way.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        let mut secrets = self.secrets.values();
        let rotates = secrets.any(|held| held.leaving.is_some());
        let busy = rotates || self.is_backed_up();
        self.is_awake() && self.current.is_some() && self.work().is_none() && !busy
    }

    pub(crate) fn fall_asleep(
        &mut self,
        at: Timestamp,
        cause: Drowsiness,
    ) -> Result<(), MisfitEvent> {
        self.must_live()?;
        if !self.may_sleep() {
            return Err(MisfitEvent::Sleepless(self.id.clone()));
        }
        self.sleep.asleep = Some(Asleep { since: at, cause });
        Ok(())
    }

    pub(crate) fn wake(&mut self, at: Timestamp, by: Alarm) -> Result<(), MisfitEvent> {
        self.must_live()?;
        if self.asleep().is_none() {
            return Err(MisfitEvent::Sleepless(self.id.clone()));
        }
        self.sleep = Sleep {
            asleep: None,
            woken: Some(Woken { at, by }),
        };
        Ok(())
    }
}
