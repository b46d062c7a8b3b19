//! What one environment does just now, for people who look.

use ward_plan::{Observed, Plan, Waiting};

/// What one environment does just now.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// What is seen.
    pub observed: Observed,
    /// What is waited for, in sentences.
    pub waiting: Vec<String>,
    /// Of those, the one that says at which stage a deployment is held.
    pub stage: Option<String>,
    /// Which deployments wait for another to end, in sentences.
    pub queued: Vec<String>,
    /// What only time will change, in sentences: releases that are kept warm.
    pub keeping: Vec<String>,
    /// Steps that failed at the last turn, in sentences.
    pub troubles: Vec<String>,
    /// How many events the log held when this was planned.
    pub events: u64,
    /// Whether nothing had to be done and nothing was waited for, but for the end of a warm release.
    pub at_rest: bool,
}

/// Whether nothing is to be done and nothing waited for, but for what only time will change.
pub(crate) fn rests(plan: &Plan) -> bool {
    plan.actions.is_empty() && plan.waiting.iter().all(only_time_changes)
}

fn only_time_changes(waiting: &Waiting) -> bool {
    matches!(
        waiting,
        Waiting::Warm { .. }
            | Waiting::Run { .. }
            | Waiting::RunAgain { .. }
            | Waiting::RunQueue { .. }
            | Waiting::RunUnprepared { .. }
    )
}

impl Live {
    /// What stands between now and rest.
    pub fn waits_on(&self) -> impl Iterator<Item = &String> {
        self.waiting.iter().chain(&self.troubles)
    }

    /// After a turn that came to a plan.
    pub(crate) fn of(observed: Observed, plan: &Plan, troubles: Vec<String>, events: u64) -> Self {
        let mut live = Self {
            observed,
            troubles,
            events,
            ..Self::default()
        };
        for waiting in &plan.waiting {
            let list = match waiting {
                time if only_time_changes(time) => &mut live.keeping,
                Waiting::Queue { .. } => &mut live.queued,
                _ => &mut live.waiting,
            };
            list.push(waiting.to_string());
            if let Waiting::Stage { .. } = waiting {
                live.stage = Some(waiting.to_string());
            }
        }
        live.at_rest = live.troubles.is_empty() && rests(plan);
        live
    }

    /// After a turn that could carry out no plan.
    pub(crate) fn stuck(observed: Observed, trouble: String) -> Self {
        Self {
            observed,
            troubles: vec![trouble],
            ..Self::default()
        }
    }
}
