//! Data: removed only when that was asked for and nothing runs.

use ward_types::release::Goal;

use super::Objection;
use super::facts::{Case, runs};
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let purges = case.plan.actions.contains(&Action::PurgeData);
    let free = case.env.goal == Goal::Purged && !case.all().any(runs);
    if purges && !free {
        objections.push(Objection::PurgesData);
    }
}
