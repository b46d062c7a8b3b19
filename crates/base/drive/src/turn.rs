//! What a turn came to, and when the next one is due if nothing is seen to change before.

use std::time::Duration;

use ward_plan::{Plan, Waiting};
use ward_types::time::Timestamp;

use crate::live::Live;

/// Even when nothing is seen to change, so that nothing that was missed is missed for long.
const TICK: Duration = Duration::from_secs(1);
/// While something is waited for that nobody announces, such as the end of a drain.
const WATCHFUL: Duration = Duration::from_millis(20);
/// While a release on trial takes requests: what it answers is judged so often. A canary with a tenth of 200
/// requests a second has been given four meanwhile, which is what it takes to see that it fails them all.
const JUDGING: Duration = Duration::from_millis(200);
/// After a step that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// What a turn came to.
#[derive(Debug)]
pub struct Turn {
    /// What was seen, and what is waited for.
    pub live: Live,
    /// When to turn again.
    pub next: Next,
}

/// When to turn again, at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: something was done, and it is to be seen what that came to.
    Now,
    /// After a while, because a step failed, or came to nothing that can be seen.
    Later,
    /// When something changes, or at the alarm.
    Alarm {
        /// The plan's alarm.
        at: Option<Timestamp>,
        /// How long what runs without a check still takes to count as well.
        settles: Option<Duration>,
        /// How long at most, by what is waited for.
        limit: Duration,
    },
}

impl Turn {
    pub(crate) fn stuck(live: Live) -> Self {
        let next = Next::Alarm {
            at: None,
            settles: None,
            limit: TICK,
        };
        Self { live, next }
    }
}

impl Next {
    pub(crate) fn after(plan: &Plan, troubles: &[String], settles: Option<Duration>) -> Self {
        if !troubles.is_empty() {
            return Self::Later;
        }
        if !plan.actions.is_empty() {
            return Self::Now;
        }
        let unannounced = |waiting: &Waiting| {
            matches!(
                waiting,
                Waiting::Drain { .. } | Waiting::Acknowledgement { .. } | Waiting::Gateway { .. }
            )
        };
        let judged = |waiting: &Waiting| matches!(waiting, Waiting::Stage { takes, .. } if !takes.is_empty());
        Self::Alarm {
            at: plan.wake,
            settles,
            limit: match () {
                () if plan.waiting.iter().any(unannounced) => WATCHFUL,
                () if plan.waiting.iter().any(judged) => JUDGING,
                () => TICK,
            },
        }
    }

    /// How long the next turn may be away.
    #[must_use]
    pub fn within(self, now: Timestamp) -> Duration {
        match self {
            Self::Now => Duration::ZERO,
            Self::Later => AGAIN,
            Self::Alarm { at, settles, limit } => {
                let alarm = at.map(|at| Duration::from_millis(at.since(now).0));
                let alarms = [alarm, settles].into_iter().flatten();
                let soonest = alarms.min().unwrap_or(TICK);
                limit.min(soonest.max(Duration::from_millis(1)))
            }
        }
    }
}
