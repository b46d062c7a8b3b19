//! The end of an environment: only of one that has an end, once, and not before nothing of it is left. Whether the
//! moment has come the log asks itself.

use ward_types::life::Cause;
use ward_types::release::{DataState, Goal, Phase};

use super::Objection;
use super::facts::Case;
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let life = &case.env.life;
    let lives = life.ending.is_none() && life.deleted.is_none();
    for action in &case.plan.actions {
        match action {
            Action::End { cause } => {
                let due = match cause {
                    Cause::Expired => life.expires.is_some(),
                    Cause::Unmade => is_unmade(case),
                    Cause::Asked => false,
                };
                if !due || !lives || case.plan.actions.len() > 1 {
                    objections.push(Objection::EndsUnasked);
                }
            }
            Action::WarnOfEnd => {
                let told = life.expires.is_none_or(|expiry| expiry.warned.is_some());
                if told || !lives {
                    objections.push(Objection::WarnsAgain);
                }
            }
            Action::Delete if !is_gone(case) => objections.push(Objection::DeletesWhatIsThere),
            _ => {}
        }
    }
}

/// A copy of another's data that nothing has served from, and nothing is to.
fn is_unmade(case: &Case) -> bool {
    let env = case.env;
    let over = |phase: &Phase| matches!(phase, Phase::Finished { .. });
    let mut deployments = env.deployments.values();
    let new = env.data == DataState::New && env.current.is_none();
    new && env.life.copies.is_some() && deployments.all(|d| over(&d.phase))
}

fn is_gone(case: &Case) -> bool {
    let env = case.env;
    let ends = env.life.ending.is_some() && env.life.deleted.is_none();
    let mut deployments = env.deployments.values();
    let over = deployments.all(|d| matches!(d.phase, Phase::Finished { .. }));
    let routed = case.observed.gateway.as_ref();
    let routed = routed.is_some_and(|gateway| !gateway.pools.is_empty());
    let runs = case.all().next().is_some();
    ends && over && !routed && !runs && env.goal == Goal::Purged && env.data_gone
}
